//! `build` gathers the programs of the plan from wherever cargo puts them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// A workspace whose four packages build programs that do nothing.
fn make_workspace(root: &Path, programs: [(&str, &str); 4]) {
    fs::create_dir_all(root.join("release")).unwrap();
    fs::write(root.join("release/release.toml"), "sequence = 1\n").unwrap();
    let members = programs.map(|(package, _)| format!("{package:?}")).join(", ");
    let manifest =
        format!("[workspace]\nresolver = \"3\"\nmembers = [{members}]\n[workspace.package]\nversion = \"1.2.3\"\n");
    fs::write(root.join("Cargo.toml"), manifest).unwrap();
    for (package, program) in programs {
        let folder = root.join(package);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("main.rs"), "fn main() {}\n").unwrap();
        let manifest = format!(
            "[package]\nname = {package:?}\nversion.workspace = true\nedition = \"2024\"\n\
             [[bin]]\nname = {program:?}\npath = \"main.rs\"\n"
        );
        fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    }
    let lock = Command::new(env!("CARGO")).args(["generate-lockfile", "--offline"]).current_dir(root).output().unwrap();
    assert!(lock.status.success(), "{lock:?}");
}

fn build(root: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cairn-release"));
    command.arg("build").arg("--root").arg(root).env("SOURCE_DATE_EPOCH", "1700000000");
    command.env("CARGO_TARGET_DIR", root.join("elsewhere")).output().unwrap()
}

#[test]
fn it_builds_each_program_and_honours_the_target_folder() {
    let scratch = tempfile::tempdir().unwrap();
    let programs = [
        ("cairn-bench", "cairn-bench"),
        ("cairn-ctl", "cairnctl"),
        ("cairn-server", "cairnd"),
        ("cairn-utl", "cairnutl"),
    ];
    make_workspace(scratch.path(), programs);
    let output = build(scratch.path());
    assert!(output.status.success(), "{output:?}");
    for (_, program) in programs {
        let path = scratch.path().join("dist/bin/linux-amd64").join(program);
        assert!(Command::new(path).status().unwrap().success(), "{program}");
    }
    assert!(!scratch.path().join("target").exists());
}

#[test]
fn a_program_that_no_package_builds_is_named() {
    let scratch = tempfile::tempdir().unwrap();
    let programs = [
        ("cairn-bench", "cairn-bench"),
        ("cairn-ctl", "cairn-control"),
        ("cairn-server", "cairnd"),
        ("cairn-utl", "cairnutl"),
    ];
    make_workspace(scratch.path(), programs);
    let output = build(scratch.path());
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("package cairn-ctl built no program cairnctl"), "{said}");
}
