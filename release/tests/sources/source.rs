//! The source archive is the git tree of the commit.

use std::fs;
use std::io::Write;

use cairn_release::source::{self, tree::GitTree};
use cairn_release::tarball::{Entries, Entry};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::fixture::{EPOCH, Repository, TOP, write_archive};

/// What the gate says of an archive of the tree after `change`.
fn violations(change: impl FnOnce(&mut Entries)) -> Vec<String> {
    let repository = Repository::new();
    let tree = repository.tree();
    let mut entries = source::entries(&tree);
    change(&mut entries);
    let scratch = tempfile::tempdir().unwrap();
    source::violations(&write_archive(scratch.path(), &entries), TOP, &tree).unwrap()
}

#[test]
fn an_archive_of_the_tree_passes_and_equal_trees_give_equal_bytes() {
    assert_eq!(violations(|_| {}), [""; 0]);
    let scratch = tempfile::tempdir().unwrap();
    let [first, second] = [(); 2].map(|()| {
        let archive = write_archive(scratch.path(), &source::entries(&Repository::new().tree()));
        fs::read(archive).unwrap()
    });
    assert_eq!(first, second);
}

#[test]
fn the_tree_is_the_commit_s_whatever_the_work_tree_and_the_attributes_say() {
    let repository = Repository::new();
    let committed = repository.tree();
    repository.write("README.md", "changed and not committed\n");
    repository.write("untracked", "");
    assert_eq!(repository.tree(), committed);
    assert_eq!(committed.text("README.md").unwrap(), "a store\n");
    assert!(committed.files.contains_key("hidden.txt"), "export-ignore is not honoured");
}

#[test]
fn an_older_commit_can_be_read_and_an_unknown_one_is_refused() {
    let repository = Repository::new();
    let first = repository.tree();
    repository.write("README.md", "a better store\n");
    repository.commit();
    assert_ne!(repository.tree().id, first.id);
    assert_eq!(GitTree::read(repository.root(), "HEAD~1").unwrap(), first);
    let refusal = format!("{:#}", GitTree::read(repository.root(), "v9").unwrap_err());
    assert!(refusal.starts_with("no commit \"v9\""), "{refusal}");
}

#[test]
fn a_submodule_is_refused() {
    let repository = Repository::new();
    let commit = "0123456789abcdef0123456789abcdef01234567";
    repository.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},library")]);
    repository.git(&["-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "--quiet", "--message=a"]);
    let refusal = format!("{:#}", GitTree::read(repository.root(), "HEAD").unwrap_err());
    assert!(refusal.contains("submodules are not supported"), "{refusal}");
}

#[test]
fn a_changed_file_is_found() {
    let found = violations(|entries| {
        entries.insert("README.md".to_owned(), Entry::Bytes(0o644, b"another store\n".to_vec()));
    });
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("README.md is the git blob ") && found[0].contains("in the commit it is "),
        "{found:?}"
    );
}

#[test]
fn a_file_too_many_is_found_and_an_empty_folder_too() {
    let found = violations(|entries| {
        entries.insert("m4/build-to-host.m4".to_owned(), Entry::Bytes(0o644, Vec::new()));
        entries.insert("empty".to_owned(), Entry::Folder(0o755));
    });
    assert_eq!(
        found,
        ["empty/ is not in the commit", "m4/ is not in the commit", "m4/build-to-host.m4 is not in the commit"]
    );
}

#[test]
fn a_missing_file_is_found() {
    let found = violations(|entries| {
        entries.remove("hidden.txt");
    });
    assert_eq!(found, ["hidden.txt is missing; the commit has it"]);
}

#[test]
fn a_changed_mode_is_found() {
    let found = violations(|entries| {
        entries.insert("dev".to_owned(), Entry::Bytes(0o644, b"#!/bin/sh\n".to_vec()));
        entries.insert("sub.rs".to_owned(), Entry::Bytes(0o4755, Vec::new()));
    });
    let expected = [
        "sub.rs is a file with the mode 4755, which git does not have",
        "dev has the mode 100644; the commit has it with 100755",
        "sub.rs is missing; the commit has it",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_link_that_leads_elsewhere_is_found_and_so_is_a_link_made_a_file() {
    let found = violations(|entries| {
        entries.insert("link".to_owned(), Entry::Link("/etc/passwd".to_owned()));
    });
    assert!(found.len() == 1 && found[0].starts_with("link is the git blob "), "{found:?}");
    let found = violations(|entries| {
        entries.insert("link".to_owned(), Entry::Bytes(0o644, b"sub/file.rs".to_vec()));
    });
    assert_eq!(found, ["link has the mode 100644; the commit has it with 120000"]);
}

/// A tar with one entry, then `behind`, all compressed, then `after`.
fn odd_archive(kind: tar::EntryType, path: &str, behind: &[u8], after: &[u8]) -> Vec<String> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_mtime(EPOCH);
    header.set_size(0);
    header.set_link_name("README.md").unwrap();
    builder.append_data(&mut header, path, std::io::empty()).unwrap();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&builder.into_inner().unwrap()).unwrap();
    gzip.write_all(behind).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("odd.tar.gz");
    fs::write(&path, [gzip.finish().unwrap(), after.to_vec()].concat()).unwrap();
    source::violations(&path, TOP, &Repository::new().tree()).unwrap()
}

#[test]
fn what_no_source_archive_may_hold_is_found() {
    let regular = tar::EntryType::Regular;
    let check = |found: Vec<String>, expected: &str| assert!(found.iter().any(|found| found == expected), "{found:?}");
    check(odd_archive(regular, "elsewhere/file", b"", b""), "elsewhere/file is outside of the folder cairn-1.2.3");
    check(
        odd_archive(tar::EntryType::Link, "cairn-1.2.3/copy", b"", b""),
        "copy is neither file nor link nor folder but of the kind Link",
    );
    check(odd_archive(regular, "cairn-1.2.3/dev", b"payload", b""), "the archive has bytes behind its end");
    check(odd_archive(regular, "cairn-1.2.3/dev", b"", b"payload"), "the archive has bytes behind its end");
    let clean = odd_archive(regular, "cairn-1.2.3/dev", &[0; 512], b"");
    assert!(!clean.iter().any(|found| found.contains("behind its end")), "{clean:?}");
}
