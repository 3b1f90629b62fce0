//! The unpacked archive is used; what goes wrong is told with the server's log.

use std::path::Path;

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
