//! The rehearsal goes to the end or says which step failed and why.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::fixture::{VERSION, make_program, make_programs, source_tree};

/// A source tree of its own, so that the version is the pretending programs'.
fn make_tree(root: &Path) {
    fs::create_dir_all(root.join("release")).unwrap();
    fs::create_dir_all(root.join("packaging")).unwrap();
    fs::write(root.join("Cargo.toml"), format!("[workspace.package]\nversion = \"{VERSION}\"\n")).unwrap();
    for name in ["LICENSE", "packaging/README.md", "packaging/cairn.env", "release/release.toml"] {
        fs::copy(source_tree().join(name), root.join(name)).unwrap();
    }
}

fn rehearse(root: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cairn-release"));
    command.arg("rehearse").arg("--root").arg(root).arg("--bin-dir").arg(root.join("bin"));
    command.args(more).env("SOURCE_DATE_EPOCH", "1700000000").output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn it_ends_with_a_folder_that_a_user_can_verify() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path();
    make_tree(root);
    make_programs(&root.join("bin"), VERSION);
    let output = rehearse(root, &[]);
    assert!(output.status.success(), "{}", text(&output));
    let steps = ["build", "package", "checksum", "sign", "verify", "stock minisign", "unpack", "start, put, get, stop"];
    for step in steps {
        let result = if step == "build" { " skipped " } else { " ok " };
        let line = text(&output).lines().find(|line| line.starts_with(step)).map(str::to_owned);
        assert!(line.is_some_and(|line| line.contains(result)), "{step}: {}", text(&output));
    }
    let mut verify = Command::new(env!("CARGO_BIN_EXE_cairn-release"));
    verify.args(["verify", "--version", VERSION]);
    verify.arg("--dir").arg(root.join("dist/cairn-1.2.3")).arg("--public-key").arg(root.join("dist/throwaway.pub"));
    assert!(verify.output().unwrap().status.success());
    assert!(!root.join("dist/throwaway.key").exists(), "the secret key must not outlive the rehearsal");
}

#[test]
fn it_can_be_repeated_in_the_same_folder() {
    let scratch = tempfile::tempdir().unwrap();
    make_tree(scratch.path());
    make_programs(&scratch.path().join("bin"), VERSION);
    for _ in 0..2 {
        let output = rehearse(scratch.path(), &[]);
        assert!(output.status.success(), "{}", text(&output));
    }
}

#[test]
fn a_server_that_ends_by_itself_fails_it_with_its_log() {
    let scratch = tempfile::tempdir().unwrap();
    make_tree(scratch.path());
    make_programs(&scratch.path().join("bin"), VERSION);
    make_program(&scratch.path().join("bin"), "cairnd", VERSION, "echo 'no disk for me' >&2; exit 1");
    let output = rehearse(scratch.path(), &[]);
    assert!(!output.status.success());
    assert!(text(&output).contains("no disk for me"), "{}", text(&output));
}

#[test]
fn a_client_that_gets_another_value_fails_it() {
    let scratch = tempfile::tempdir().unwrap();
    make_tree(scratch.path());
    make_programs(&scratch.path().join("bin"), VERSION);
    let client = "[ \"$1\" = --endpoints ] && shift 2; [ -e \"$here/serving\" ] && echo something";
    make_program(&scratch.path().join("bin"), "cairnctl", VERSION, client);
    let output = rehearse(scratch.path(), &[]);
    assert!(!output.status.success());
    assert!(text(&output).contains("got \"something"), "{}", text(&output));
}

#[test]
fn a_program_of_another_version_fails_it_before_anything_is_signed() {
    let scratch = tempfile::tempdir().unwrap();
    make_tree(scratch.path());
    make_programs(&scratch.path().join("bin"), "9.9.9");
    let output = rehearse(scratch.path(), &[]);
    assert!(!output.status.success());
    assert!(text(&output).contains("sign                         not run"), "{}", text(&output));
}

#[test]
fn the_plan_of_this_tree_is_printed_as_json() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cairn-release"));
    command.arg("plan").arg("--root").arg(source_tree()).env("SOURCE_DATE_EPOCH", "1700000000");
    let output = command.output().unwrap();
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).expect("the plan is JSON");
    assert_eq!(plan["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(plan["product"], "cairn");
}

#[test]
fn without_a_time_for_the_artifacts_it_says_how_to_give_one() {
    let scratch = tempfile::tempdir().unwrap();
    make_tree(scratch.path());
    let mut command = Command::new(env!("CARGO_BIN_EXE_cairn-release"));
    command.arg("plan").arg("--root").arg(scratch.path()).env_remove("SOURCE_DATE_EPOCH");
    let output = command.output().unwrap();
    assert!(!output.status.success());
    assert!(text(&output).contains("set SOURCE_DATE_EPOCH"), "{}", text(&output));
}
