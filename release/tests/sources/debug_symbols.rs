//! Stripped programs and their debug files belong together.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cairn_release::debug_symbols::{self, DEPENDENCIES_SECTION};
use cairn_release::tarball::Entry;
use object::{Object, ObjectSection};
use tempfile::TempDir;

use crate::fixture::{TOP, write_archive};

/// A program with a list of dependencies as cargo-auditable leaves it.
const PROGRAM: &str = r#"#include <stdio.h>
__attribute__((section(".dep-v0"), used)) static const char dependencies[] = "the list";
static int answer(int question) { return question + NUMBER; }
int main(int count, char **words) { (void)words; printf("%d\n", answer(count)); return 0; }
"#;

struct Split {
    scratch: TempDir,
    built: PathBuf,
    stripped: PathBuf,
    debug: PathBuf,
}

fn compile(folder: &Path, name: &str, flags: &[&str]) -> PathBuf {
    let (source, program) = (folder.join("program.c"), folder.join(name));
    fs::write(&source, PROGRAM).unwrap();
    let output = Command::new("gcc").args(flags).arg("-o").arg(&program).arg(&source).output();
    let output = output.expect("gcc must be installed: Debian package `gcc`");
    assert!(output.status.success(), "gcc: {}", String::from_utf8_lossy(&output.stderr));
    program
}

fn split(number: &str) -> Split {
    let scratch = tempfile::tempdir().unwrap();
    let built = compile(scratch.path(), "built", &["-g", "-Wl,--build-id=sha1", &format!("-DNUMBER={number}")]);
    let stripped = scratch.path().join("stripped");
    let objcopy = debug_symbols::find_objcopy().unwrap();
    let id = debug_symbols::split(&objcopy, &built, &stripped, scratch.path()).unwrap();
    let (first, rest) = id.split_at(2);
    let debug = scratch.path().join(format!("usr/lib/debug/.build-id/{first}/{rest}.debug"));
    Split { scratch, built, stripped, debug }
}

impl Split {
    fn violations(&self) -> Vec<String> {
        let [built, stripped, debug] = [&self.built, &self.stripped, &self.debug].map(|path| fs::read(path).unwrap());
        debug_symbols::violations("program", &built, &stripped, &debug).unwrap()
    }
}

#[test]
fn a_stripped_program_runs_and_keeps_what_it_must() {
    let split = split("41");
    assert_eq!(split.violations(), [""; 0]);
    let output = Command::new(&split.stripped).output().unwrap();
    assert_eq!(output.stdout, b"42\n");
    let (stripped, debug) = (fs::read(&split.stripped).unwrap(), fs::read(&split.debug).unwrap());
    let (stripped, debug) = (object::File::parse(&*stripped).unwrap(), object::File::parse(&*debug).unwrap());
    assert!(stripped.section_by_name(".symtab").is_none());
    assert_eq!(stripped.section_by_name(DEPENDENCIES_SECTION).unwrap().data().unwrap(), b"the list\0");
    assert_eq!(stripped.build_id().unwrap().unwrap(), debug.build_id().unwrap().unwrap());
    assert!(debug.section_by_name(".symtab").is_some());
}

#[test]
fn equal_programs_give_equal_bytes_wherever_they_are() {
    let (first, second) = (split("1"), split("1"));
    // Debug information has the path of the source; everything else must not depend on the folder.
    fs::copy(&first.built, &second.built).unwrap();
    let (stripped, root) = (second.scratch.path().join("again"), second.scratch.path().join("again-debug"));
    let id = debug_symbols::split(&debug_symbols::find_objcopy().unwrap(), &second.built, &stripped, &root).unwrap();
    assert_eq!(fs::read(&first.stripped).unwrap(), fs::read(&stripped).unwrap());
    let again = root.join(format!("usr/lib/debug/.build-id/{}/{}.debug", &id[..2], &id[2..]));
    assert_eq!(fs::read(&first.debug).unwrap(), fs::read(again).unwrap());
}

#[test]
fn a_program_without_a_build_id_is_refused_with_the_way_out() {
    let scratch = tempfile::tempdir().unwrap();
    let program = compile(scratch.path(), "built", &["-g", "-Wl,--build-id=none", "-DNUMBER=1"]);
    let objcopy = debug_symbols::find_objcopy().unwrap();
    let refusal = debug_symbols::split(&objcopy, &program, &scratch.path().join("x"), scratch.path()).unwrap_err();
    assert!(
        refusal.to_string().ends_with("has no build id; build it with -C link-arg=-Wl,--build-id=sha1"),
        "{refusal}"
    );
}

#[test]
fn a_program_without_debug_information_is_refused() {
    let split = split("1");
    let objcopy = debug_symbols::find_objcopy().unwrap();
    let again = split.scratch.path().join("again");
    let refusal = debug_symbols::split(&objcopy, &split.stripped, &again, split.scratch.path()).unwrap_err();
    assert!(
        refusal.to_string().contains("has no debug information; build it with CARGO_PROFILE_RELEASE_DEBUG="),
        "{refusal}"
    );
}

#[test]
fn a_program_that_is_not_stripped_is_found() {
    let mut split = split("1");
    split.stripped = split.built.clone();
    let expected = [
        "program is not stripped: it has the section .symtab",
        "program is not stripped: it has the section .debug_info",
        "program does not name its debug file with its checksum",
    ];
    assert_eq!(split.violations(), expected);
}

#[test]
fn a_lost_list_of_dependencies_is_found() {
    let split = split("1");
    let mut strip = Command::new(debug_symbols::find_objcopy().unwrap());
    assert!(strip.args(["--remove-section", DEPENDENCIES_SECTION]).arg(&split.stripped).status().unwrap().success());
    assert_eq!(split.violations(), ["program lost its section .dep-v0 when it was stripped"]);
}

#[test]
fn the_debug_file_of_another_program_is_found() {
    let (mut one, other) = (split("1"), split("2"));
    one.debug = other.debug.clone();
    let found = one.violations();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("program has the build id ") && found[0].contains(", its debug file "), "{found:?}");
    one.debug = one.stripped.clone();
    assert_eq!(one.violations()[0], "the debug file of program has no section .debug_info");
}

#[test]
fn an_archive_has_the_debug_files_of_its_programs_and_no_other() {
    let (one, other) = (split("1"), split("2"));
    let mut entries = debug_symbols::entries(one.scratch.path()).unwrap();
    let archive = write_archive(one.scratch.path(), &entries);
    let violations = |programs: &[(&str, &Path)]| debug_symbols::archive_violations(&archive, TOP, programs).unwrap();
    assert_eq!(violations(&[("one", &one.stripped)]), [""; 0]);
    let found = violations(&[("other", &other.stripped)]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].ends_with("is the debug file of no program"), "{found:?}");
    assert!(found[1].ends_with("is missing, the debug file of other"), "{found:?}");
    for entry in entries.values_mut() {
        *entry = Entry::File(0o644, other.debug.clone());
    }
    let archive = write_archive(one.scratch.path(), &entries);
    let found = debug_symbols::archive_violations(&archive, TOP, &[("one", &one.stripped)]).unwrap();
    assert!(found[0].starts_with("one has the build id "), "{found:?}");
}
