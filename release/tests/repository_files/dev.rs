//! What `./dev` does with secrets and when, seen with a `cairn-release` that only notes how it is called.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use cairn_release::process;
use tempfile::TempDir;

use crate::source_tree;

/// Programs that bring code of others; none may run where secrets are.
const BRINGING: [&str; 11] =
    ["apt-get", "cargo", "curl", "dpkg", "dpkg-query", "git", "pip", "python3", "rustc", "rustup", "sudo"];

/// Files of the tree that `./dev` reads before it runs anything.
const FILES: [&str; 4] = ["Cargo.toml", "CHANGELOG.md", "dev", "support.toml"];

/// A tree with the real `dev`, in which every program that brings something fails, and the pipeline's notes its calls.
struct Tree {
    root: TempDir,
}

impl Tree {
    fn new() -> Self {
        let tree = Self { root: tempfile::tempdir().unwrap() };
        for name in FILES {
            fs::copy(source_tree().join(name), tree.path(name)).unwrap();
        }
        for name in BRINGING {
            tree.program(&format!("bin/{name}"), "echo \"$0 was run\" >&2; exit 99");
        }
        // It notes what it is called with and what is in the files of keys, and may fail at a word.
        tree.program(
            "target/release/cairn-release",
            "for word; do case $word in */minisign.key | */openpgp.asc) word=$(cat \"$word\"); esac; \
             printf '%s ' \"$word\" >>calls; [ \"$word\" != \"$FAILS_AT\" ] || exit 3; done; echo >>calls",
        );
        for part in ["bundle", "oci", "repositories", &format!("cairn-{}", crate::version())] {
            fs::create_dir_all(tree.path("dist").join(part)).unwrap();
        }
        tree
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn program(&self, name: &str, body: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn dev(&self, command: &str, variables: &[(&str, &str)]) -> Output {
        let mut dev = process::clean_command(&self.path("dev"));
        let system = std::env::var("PATH").unwrap();
        dev.env("PATH", format!("{}:{system}", self.path("bin").display()));
        dev.env("HOME", self.root.path()).env("CAIRN_TARGET_DIR", self.path("target")).arg(command);
        dev.envs(variables.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
        process::start(&mut dev).unwrap().wait_with_output().unwrap()
    }

    /// How the pipeline was called by a command that ended well.
    #[track_caller]
    fn calls(&self, command: &str, variables: &[(&str, &str)]) -> Vec<String> {
        let output = self.dev(command, variables);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        lines(&self.path("calls"))
    }
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| line.trim_end().to_owned()).collect()
}

const SEALING: [(&str, &str); 3] = [
    ("CAIRN_RELEASE_MINISIGN_KEY", "secret-1"),
    ("CAIRN_RELEASE_OPENPGP_KEY", "secret-2"),
    ("CAIRN_RELEASE_REPOSITORIES", "https://site.example"),
];

const PLACES: [(&str, &str); 3] = [
    ("GITHUB_REPOSITORY", "cairn/cairn"),
    ("CAIRN_RELEASE_SITE", "https://site.example"),
    ("CAIRN_RELEASE_REGISTRY", "https://registry.example"),
];

/// The call of the pipeline with which a release is published.
fn publish(more: &str) -> String {
    let version = crate::version();
    format!("publish --public-key packaging/keys/cairn.pub --version {version} --dir dist/cairn-{version} {more}")
}

/// The call of the pipeline with which a place is verified afterwards.
fn audit(place: &str) -> String {
    let version = crate::version();
    format!("audit --public-key packaging/keys/keys.json --version {version} --local dist/cairn-{version} {place}")
}

const GITHUB: &str = "--github cairn/cairn --tree bundle=dist/bundle --changelog CHANGELOG.md";
const SITE: &str = "--http https://site.example --tree bundle=dist/bundle --tree apt=dist/repositories/apt \
                    --tree yum=dist/repositories/yum";
const REGISTRY: &str = "--registry https://registry.example --layout dist/oci --repository cairn/cairnd";

#[test]
fn sealing_runs_nothing_but_the_pipeline_and_leaves_one_file_without_keys() {
    let tree = Tree::new();
    let call = "seal --minisign-key secret-1 --openpgp-key secret-2 --repositories https://site.example";
    assert_eq!(tree.calls("seal-release", &SEALING), [call]);
    let sealed = process::output(Command::new("tar").arg("-tf").arg(tree.path("sealed-release.tar"))).unwrap();
    let sealed: Vec<_> = sealed.lines().map(|line| line.trim_end_matches('/')).collect();
    assert_eq!(sealed, [&*format!("dist/cairn-{}", crate::version()), "dist/bundle", "dist/oci", "dist/repositories"],);
}

#[test]
fn a_release_is_published_on_github_alone_where_no_other_place_is_named() {
    let calls = Tree::new().calls("publish-release", &[PLACES[0], ("CAIRN_RELEASE_SITE", "")]);
    assert_eq!(calls, [publish(&format!("--dry-run {GITHUB}")), publish(GITHUB), audit("--github cairn/cairn")],);
}

#[test]
fn every_place_is_asked_before_any_gets_a_byte_and_verified_after_all_have_them() {
    assert_eq!(
        Tree::new().calls("publish-release", &PLACES),
        [
            publish(&format!("--dry-run {REGISTRY}")),
            publish(&format!("--dry-run {SITE}")),
            publish(&format!("--dry-run {GITHUB}")),
            publish(REGISTRY),
            publish(SITE),
            publish(GITHUB),
            audit(REGISTRY),
            audit("--http https://site.example"),
            audit("--github cairn/cairn"),
        ],
    );
}

#[test]
fn a_place_that_refuses_ends_it_before_anything_is_sent() {
    for place in ["--registry", "--http", "--github"] {
        let tree = Tree::new();
        let output = tree.dev("publish-release", &[&PLACES[..], &[("FAILS_AT", place)]].concat());
        assert_eq!(output.status.code(), Some(3), "{place}");
        assert!(lines(&tree.path("calls")).iter().all(|call| call.contains("--dry-run")), "{place}");
    }
}

#[test]
fn without_a_pipeline_nothing_is_built_where_secrets_are() {
    for (command, variables) in [("seal-release", &SEALING[..]), ("publish-release", &PLACES[..])] {
        let tree = Tree::new();
        fs::remove_file(tree.path("target/release/cairn-release")).unwrap();
        let output = tree.dev(command, variables);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("is not built: run ./dev prepare-"), "{said}");
    }
}

#[test]
fn an_audit_is_green_until_the_day_of_the_first_release_and_then_needs_one() {
    let tree = Tree::new();
    for first in ["", "start = 9999-12-31\n"] {
        fs::write(tree.path("support.toml"), first).unwrap();
        let output = tree.dev("audit-release", &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.contains("nothing to verify"), "{said}");
    }
    fs::write(tree.path("support.toml"), "start = 9999-12-31\nstart = 2020-01-01\n").unwrap();
    // It goes on to build what audits, which this tree cannot.
    assert!(!tree.dev("audit-release", &[]).status.success());
}
