//! The archive holds what it should, in one form.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use cairn_release::plan::Plan;
use flate2::read::GzDecoder;

use crate::fixture::{EPOCH, Release, VERSION, make_archive, make_program, make_programs, plan};

/// Packages programs from `bin_dir` and returns the error's whole chain.
fn refusal(plan: &Plan, bin_dir: &Path, dir: &Path) -> String {
    let error = make_archive(plan, bin_dir, dir).unwrap_err();
    assert!(!dir.join(&plan.artifacts[0].name).exists(), "a refused archive must not be left behind");
    format!("{error:#}")
}

#[test]
fn two_runs_give_the_same_bytes() {
    let plan = plan();
    let bytes = [0, 1].map(|_| {
        let scratch = tempfile::tempdir().unwrap();
        let (bin, dir) = (scratch.path().join("bin"), scratch.path().join("out"));
        make_programs(&bin, VERSION);
        make_archive(&plan, &bin, &dir).unwrap();
        fs::read(dir.join(&plan.artifacts[0].name)).unwrap()
    });
    assert!(bytes[0] == bytes[1], "the archives differ");
}

#[test]
fn the_archive_holds_programs_docs_licence_and_sample_under_one_folder() {
    let release = Release::unsigned(plan());
    let names: Vec<_> = entries(&release).into_keys().collect();
    let expected = include_str!("archive.txt").lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(names, expected);
}

#[test]
fn entries_are_sorted_and_carry_no_trace_of_the_machine() {
    let release = Release::unsigned(plan());
    let mut previous = String::new();
    let mut folders_are_over = false;
    for (name, header) in in_order(&release) {
        let is_folder = header.entry_type().is_dir();
        assert!(!(is_folder && folders_are_over), "{name}: folders come first");
        if !is_folder && !folders_are_over {
            folders_are_over = true;
            previous.clear();
        }
        assert!(previous < name, "{name} comes after {previous}");
        previous = name.clone();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0), "{name}");
        assert_eq!(header.mtime().unwrap(), EPOCH, "{name}");
        assert_eq!(header.username().unwrap().unwrap_or_default(), "", "{name}");
        let mode = if is_folder || name.contains("/bin/") { 0o755 } else { 0o644 };
        assert_eq!(header.mode().unwrap(), mode, "{name}");
    }
}

#[test]
fn gzip_s_header_carries_neither_time_nor_name() {
    let release = Release::unsigned(plan());
    let bytes = fs::read(release.file(&release.archive())).unwrap();
    assert_eq!(bytes[3], 0, "flags: no name, no comment");
    assert_eq!(bytes[4..8], [0; 4], "time");
}

#[test]
fn a_program_of_another_version_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    make_programs(scratch.path(), VERSION);
    for other in ["1.2.4", "11.2.3", "1.2.3-dev", "1.2.30"] {
        make_program(scratch.path(), "cairnutl", other, "");
        let error = refusal(&plan(), scratch.path(), &scratch.path().join("out"));
        assert!(error.contains("cairnutl --version says") && error.contains(other), "{error}");
    }
}

#[test]
fn a_missing_program_is_refused_by_name() {
    let scratch = tempfile::tempdir().unwrap();
    make_programs(scratch.path(), VERSION);
    fs::remove_file(scratch.path().join("cairnctl")).unwrap();
    let error = refusal(&plan(), scratch.path(), &scratch.path().join("out"));
    assert!(error.contains("cairnctl"), "{error}");
}

#[test]
fn a_program_without_man_page_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    make_programs(scratch.path(), VERSION);
    let path = scratch.path().join("cairnd");
    let script = fs::read_to_string(&path).unwrap().replace("/man/cairnd.1", "/man/other.1");
    fs::write(&path, script).unwrap();
    let error = refusal(&plan(), scratch.path(), &scratch.path().join("out"));
    assert!(error.contains("no man page cairnd.1"), "{error}");
}

#[test]
fn a_program_without_completions_for_a_shell_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    make_programs(scratch.path(), VERSION);
    let path = scratch.path().join("cairnctl");
    let script = fs::read_to_string(&path).unwrap().replace("completions/zsh/_cairnctl", "completions/zsh/_other");
    fs::write(&path, script).unwrap();
    let error = refusal(&plan(), scratch.path(), &scratch.path().join("out"));
    assert!(error.contains("no completion of its name for zsh"), "{error}");
}

#[test]
fn a_program_that_fails_shows_what_it_said() {
    let scratch = tempfile::tempdir().unwrap();
    make_programs(scratch.path(), VERSION);
    let path = scratch.path().join("cairn-bench");
    fs::write(&path, "#!/bin/sh\necho no such luck >&2\nexit 3\n").unwrap();
    let error = refusal(&plan(), scratch.path(), &scratch.path().join("out"));
    assert!(error.contains("no such luck") && error.contains("exit status: 3"), "{error}");
}

/// Paths (folders with a slash at the end) and headers, in the archive's order.
fn in_order(release: &Release) -> Vec<(String, tar::Header)> {
    let file = fs::File::open(release.file(&release.archive())).unwrap();
    let mut archive = tar::Archive::new(GzDecoder::new(file));
    let entries = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        (String::from_utf8(entry.path_bytes().into_owned()).unwrap(), entry.header().clone())
    });
    entries.collect()
}

fn entries(release: &Release) -> BTreeMap<String, tar::Header> {
    in_order(release).into_iter().collect()
}
