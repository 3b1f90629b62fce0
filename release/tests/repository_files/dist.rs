//! `dist` and our plan agree: by its configuration, and by what the program says where it is installed.

use std::fs;

use cairn_release::dist::{self, CONFIG_NAME, Wanted};
use cairn_release::plan::ArtifactKind;
use cairn_release::process;

use crate::{exchange, full_plan, source_file, source_tree, version};

/// The output of `dist plan` for the tree when this test was written, to see the gate fail without the program.
const PLAN: &str = include_str!("dist-plan.json");

/// Version in that output.
const PLAN_VERSION: &str = "0.1.0";

/// What our plan of this version says.
fn wanted(version: &str) -> Wanted {
    let plan = full_plan(version);
    let archives = |kind| plan.artifacts_of(kind).map(|artifact| artifact.name.clone()).collect::<Vec<_>>();
    let programs = |kind| plan.artifact(kind, plan.targets.first()).archive.clone().unwrap().binaries;
    Wanted {
        version: version.to_owned(),
        targets: plan.targets.iter().map(|target| (target.name.clone(), target.triple.clone())).collect(),
        packages: vec![
            ("cairn".to_owned(), programs(ArtifactKind::Archive)),
            ("cairn-client".to_owned(), programs(ArtifactKind::ClientArchive)),
        ],
        glibc_floor: plan.targets[0].glibc_floor().unwrap().to_string(),
        archives: [archives(ArtifactKind::Archive), archives(ArtifactKind::ClientArchive)].concat(),
    }
}

/// Checks a copy of the configuration with a part of a file exchanged.
fn check_changed(file: &str, from: &str, to: &str) -> Vec<String> {
    let root = tempfile::tempdir().unwrap();
    for name in [CONFIG_NAME, "packaging/dist/cairn/dist.toml", "packaging/dist/cairn-client/dist.toml"] {
        let text = source_file(name);
        let text = if name == file { exchange(&text, from, to) } else { text };
        fs::create_dir_all(root.path().join(name).parent().unwrap()).unwrap();
        fs::write(root.path().join(name), text).unwrap();
    }
    dist::check_files(root.path(), &wanted(&version())).unwrap()
}

fn check_plan(from: &str, to: &str) -> Vec<String> {
    dist::check_plan(&exchange(PLAN, from, to), &wanted(PLAN_VERSION)).unwrap()
}

#[test]
fn the_configuration_says_what_the_plan_says() {
    assert_eq!(dist::check_files(&source_tree(), &wanted(&version())).unwrap(), Vec::<String>::new());
}

/// `dist` is a large program that the release does not need, so the test takes it only where it is.
#[test]
fn dist_plans_the_archives_of_our_plan() {
    let Some(program) = process::find_program("dist") else {
        eprintln!("dist is not in PATH (crate cargo-dist): only its configuration and a recorded plan are checked");
        return;
    };
    let plan = dist::plan(&program, &source_tree()).unwrap();
    assert_eq!(dist::check_plan(&plan, &wanted(&version())).unwrap(), Vec::<String>::new());
}

#[test]
fn the_recorded_plan_passes() {
    assert_eq!(dist::check_plan(PLAN, &wanted(PLAN_VERSION)).unwrap(), Vec::<String>::new());
}

/// What dist calls to build, run as dist runs it, in a tree where the pipeline has left a program or nothing.
#[test]
fn the_build_command_copies_the_programs_of_each_target() {
    for (target, triple) in wanted(PLAN_VERSION).targets {
        let root = tempfile::tempdir().unwrap();
        let (package, programs) = (root.path().join("packaging/dist/cairn"), root.path().join("dist/programs"));
        fs::create_dir_all(&package).unwrap();
        let build = || {
            let mut command = process::clean_command(&source_tree().join("packaging/dist/build"));
            process::output(command.current_dir(&package).env("CARGO_DIST_TARGET", &triple))
        };
        let refusal = format!("{:#}", build().unwrap_err());
        assert!(refusal.contains("run `cairn-release make` first"), "{refusal}");
        fs::create_dir_all(programs.join(&target)).unwrap();
        fs::write(programs.join(&target).join("cairnd"), &target).unwrap();
        build().unwrap();
        assert_eq!(fs::read_to_string(package.join("out/cairnd")).unwrap(), target);
    }
}

#[test]
fn another_version_in_a_package_is_refused() {
    let version = version();
    let found =
        check_changed("packaging/dist/cairn/dist.toml", &format!("version = \"{version}\""), "version = \"9.9.9\"");
    assert_eq!(found, [format!("packaging/dist/cairn/dist.toml has version 9.9.9, our plan {version}")]);
}

#[test]
fn other_programs_or_packages_are_refused() {
    let found = check_changed("packaging/dist/cairn-client/dist.toml", "\"cairnctl\", ", "");
    assert_eq!(
        found,
        ["packaging/dist/cairn-client/dist.toml has {\"cairn-bench\", \"cairnutl\"}, our plan {\"cairn-bench\", \
          \"cairnctl\", \"cairnutl\"}"]
    );
    let found = check_changed("packaging/dist/cairn-client/dist.toml", "name = \"cairn-client\"", "name = \"other\"");
    assert_eq!(
        found,
        ["dist-workspace.toml: no package cairn-client", "dist-workspace.toml: package other is not in our plan"]
    );
}

#[test]
fn other_targets_another_floor_and_other_installers_are_refused() {
    let found = check_changed(CONFIG_NAME, "\"aarch64-unknown-linux-musl\",", "");
    assert_eq!(
        found,
        ["dist-workspace.toml: targets is {\"aarch64-unknown-linux-gnu\", \"x86_64-unknown-linux-gnu\", \
          \"x86_64-unknown-linux-musl\"}, in our plan {\"aarch64-unknown-linux-gnu\", \"aarch64-unknown-linux-musl\", \
          \"x86_64-unknown-linux-gnu\", \"x86_64-unknown-linux-musl\"}"]
    );
    let found = check_changed(CONFIG_NAME, "2.28", "2.36");
    assert_eq!(found, ["dist-workspace.toml: min-glibc-version is {\"*\": \"2.36\"}, in our plan {\"*\": \"2.28\"}"]);
    let found = check_changed(CONFIG_NAME, "[\"shell\"]", "[]");
    assert_eq!(found, ["dist-workspace.toml: installers is [], in our plan [\"shell\"]"]);
}

#[test]
fn an_archive_that_our_plan_names_otherwise_is_refused() {
    let mut other = wanted(PLAN_VERSION);
    other.archives.pop();
    let found = dist::check_plan(PLAN, &other).unwrap();
    assert!(found[0].starts_with("our plan has the archives {"), "{found:?}");
    let mut more = wanted(PLAN_VERSION);
    more.packages.pop();
    more.archives.truncate(4);
    assert_eq!(
        dist::check_plan(PLAN, &more).unwrap(),
        [
            "dist plans cairn-client-aarch64-unknown-linux-gnu.tar.gz, which none of our archives is",
            "dist plans cairn-client-aarch64-unknown-linux-musl.tar.gz, which none of our archives is",
            "dist plans cairn-client-x86_64-unknown-linux-gnu.tar.gz, which none of our archives is",
            "dist plans cairn-client-x86_64-unknown-linux-musl.tar.gz, which none of our archives is",
        ]
    );
}

#[test]
fn a_plan_that_lacks_or_changes_something_is_refused() {
    assert_eq!(
        check_plan("\"kind\": \"executable-zip\"", "\"kind\": \"other\""),
        ["dist plans nothing that is our cairn-0.1.0-linux-arm64.tar.gz"]
    );
    assert_eq!(
        check_plan("\"app_version\": \"0.1.0\"", "\"app_version\": \"0.2.0\""),
        ["dist plans cairn in version 0.2.0, we in 0.1.0"]
    );
    assert_eq!(check_plan("\"cairn-installer.sh\",", ""), ["dist plans no cairn-installer.sh"]);
    assert_eq!(
        check_plan("\"dist_version\": \"0.34.0\"", "\"dist_version\": \"0.35.0\""),
        ["dist is version 0.35.0, dist-workspace.toml was written for 0.34.0"]
    );
    let found = check_plan("\"name\": \"cairnd\"", "\"name\": \"other\"");
    assert!(found[0].starts_with("dist's cairn-aarch64-unknown-linux-gnu.tar.gz for "), "{found:?}");
    assert!(dist::check_plan("{}", &wanted(PLAN_VERSION)).is_err());
}
