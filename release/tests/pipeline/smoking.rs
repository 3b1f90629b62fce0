//! The unpacked archive is used, by itself or in an emulator; what goes wrong is told with the server's log.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cairn_release::smoke;

use crate::fixture::{VERSION, make_program, make_programs};

/// Programs in the place that they have in an archive.
fn unpacked(root: &Path) {
    make_programs(&root.join("bin"), VERSION);
}

#[test]
fn a_server_that_serves_and_a_client_that_gets_what_it_put_pass() {
    let scratch = tempfile::tempdir().unwrap();
    unpacked(scratch.path());
    smoke::smoke(scratch.path(), &[]).unwrap();
}

#[test]
fn a_server_that_ends_by_itself_fails_with_its_log() {
    let scratch = tempfile::tempdir().unwrap();
    unpacked(scratch.path());
    make_program(&scratch.path().join("bin"), "cairnd", VERSION, "echo 'no disk for me' >&2; exit 1");
    let error = format!("{:#}", smoke::smoke(scratch.path(), &[]).unwrap_err());
    assert!(error.contains("no disk for me"), "{error}");
}

#[test]
fn a_client_that_gets_another_value_fails() {
    let scratch = tempfile::tempdir().unwrap();
    unpacked(scratch.path());
    let client = "[ \"$1\" = --endpoints ] && shift 2; [ -e \"$here/serving\" ] && echo something";
    make_program(&scratch.path().join("bin"), "cairnctl", VERSION, client);
    let error = format!("{:#}", smoke::smoke(scratch.path(), &[]).unwrap_err());
    assert!(error.contains("got \"something"), "{error}");
}

#[test]
fn a_server_that_does_not_stop_cleanly_fails() {
    let scratch = tempfile::tempdir().unwrap();
    unpacked(scratch.path());
    let server = "trap 'exit 7' TERM; touch \"$here/serving\"; while :; do sleep 0.02; done";
    make_program(&scratch.path().join("bin"), "cairnd", VERSION, server);
    let error = format!("{:#}", smoke::smoke(scratch.path(), &[]).unwrap_err());
    assert!(error.contains("it stopped with exit status: 7"), "{error}");
}

/// An emulator: it gets an argument of its own, then the program and its arguments.
fn emulator(folder: &Path, body: &str) -> PathBuf {
    let path = folder.join("emulator");
    fs::write(&path, format!("#!/bin/sh\nhere=$(dirname \"$0\")\n{body}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn in_an_emulator_every_program_is_started_by_it() {
    let scratch = tempfile::tempdir().unwrap();
    unpacked(scratch.path());
    let emulator = emulator(scratch.path(), "shift; echo \"${1##*/}\" >> \"$here/started\"; exec \"$@\"");
    smoke::smoke(scratch.path(), &[emulator.to_str().unwrap(), "-cpu"]).unwrap();
    let started = fs::read_to_string(scratch.path().join("started")).unwrap();
    let times = |program: &str| started.lines().filter(|name| *name == program).count();
    assert!(times("cairnd") >= 1 && times("cairnctl") >= 3, "{started}");
}

#[test]
fn a_program_that_the_emulator_cannot_run_fails_with_what_it_said() {
    let scratch = tempfile::tempdir().unwrap();
    unpacked(scratch.path());
    let emulator = emulator(scratch.path(), "echo 'uncaught target signal 4 (Illegal instruction)' >&2; exit 132");
    let error = format!("{:#}", smoke::smoke(scratch.path(), &[emulator.to_str().unwrap(), "-cpu"]).unwrap_err());
    assert!(error.contains("it ended by itself") && error.contains("Illegal instruction"), "{error}");
}

#[test]
fn a_client_that_answers_wrongly_in_the_emulator_fails() {
    let scratch = tempfile::tempdir().unwrap();
    unpacked(scratch.path());
    let wrong = "shift; case \"$*\" in *' get '*) echo other ;; *) exec \"$@\" ;; esac";
    let emulator = emulator(scratch.path(), wrong);
    let error = format!("{:#}", smoke::smoke(scratch.path(), &[emulator.to_str().unwrap(), "-cpu"]).unwrap_err());
    assert!(error.contains("got \"other"), "{error}");
}
