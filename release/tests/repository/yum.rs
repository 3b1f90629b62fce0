//! The yum repository is deterministic, grows, and is what dnf takes with its key and with no other.

use std::fs;
use std::path::Path;

use cairn_release::repository::openpgp::SigningKey;
use cairn_release::repository::{KEYRING_NAME, yum};
use cairn_release::trials::file_server::FileServer;

use crate::fixture::{
    EPOCH, assert_accepted, assert_refused, change, name_of, pair, program, publication, rpm, said, tree,
};

/// Lets a fresh dnf read the repository with this key in it and list its packages.
pub(crate) fn list(repository: &Path, key: &Path) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let scratch = folder.path();
    fs::create_dir(scratch.join("log")).unwrap();
    let url = FileServer::start(repository).unwrap().url().to_owned();
    // The sample file is what users get; only the address is that of the test.
    let sample = fs::read_to_string(repository.join(yum::REPO_NAME)).unwrap();
    assert!(sample.contains("\ngpgcheck=1\nrepo_gpgcheck=1\n"), "{sample}");
    fs::copy(key, repository.join(KEYRING_NAME)).unwrap();
    let address = sample.lines().find_map(|line| line.strip_prefix("baseurl=")).unwrap();
    fs::write(scratch.join("cairn.repo"), sample.replace(address, &url)).unwrap();
    let mut command = program("dnf", "dnf");
    fs::write(scratch.join("dnf.conf"), "[main]\n").unwrap();
    command.arg("--config").arg(scratch.join("dnf.conf"));
    command.env("HOME", scratch).args(["--noplugins", "--assumeyes", "--releasever=8"]);
    command.arg("--installroot").arg(scratch.join("root"));
    let path = |name: &str| scratch.join(name).display().to_string();
    for setting in [
        format!("reposdir={}", scratch.display()),
        format!("cachedir={}", path("cache")),
        format!("logdir={}", path("log")),
        format!("persistdir={}", path("persist")),
        "module_platform_id=platform:el8".to_owned(),
        "retries=1".to_owned(),
        "skip_if_unavailable=0".to_owned(),
    ] {
        command.arg(format!("--setopt={setting}"));
    }
    said(command.args(["repoquery", "--showduplicates", "--all"]))
}

fn published(root: &Path, folder: &Path, key: &SigningKey) {
    fs::create_dir_all(folder).unwrap();
    let rpms = [rpm(folder, "cairn-server", "1.0", Some(key)), rpm(folder, "cairn-client", "1.0", Some(key))];
    yum::publish(root, &rpms, publication(EPOCH), key).unwrap();
}

#[test]
fn equal_packages_make_an_equal_repository_and_a_second_run_changes_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let one = pair(scratch.path(), "one");
    let roots = ["a", "b"].map(|name| scratch.path().join(name).join("yum"));
    for root in &roots {
        published(root, root.parent().unwrap(), &one.key);
    }
    let first = tree(&roots[0]);
    assert_eq!(first, tree(&roots[1]));
    published(&roots[0], roots[0].parent().unwrap(), &one.key);
    assert_eq!(first, tree(&roots[0]));
    assert_eq!(first.keys().filter(|name| name.ends_with(".xml.gz")).count(), 3, "{:?}", first.keys());
}

#[test]
fn a_second_version_adds_to_the_first_and_dnf_lists_both() {
    let scratch = tempfile::tempdir().unwrap();
    let (root, one) = (scratch.path().join("yum"), pair(scratch.path(), "one"));
    published(&root, scratch.path(), &one.key);
    let before = tree(&root);
    let newer = rpm(scratch.path(), "cairn-server", "1.1", Some(&one.key));
    yum::publish(&root, &[newer], publication(EPOCH + 60), &one.key).unwrap();
    let after = tree(&root);
    for (name, bytes) in before.iter().filter(|(name, _)| name.ends_with(".rpm") || name.ends_with(".gz")) {
        assert_eq!(after.get(name), Some(bytes), "{name}");
    }
    let text = assert_accepted(list(&root, &one.public));
    for package in ["cairn-server-0:1.0-1.noarch", "cairn-server-0:1.1-1.noarch", "cairn-client-0:1.0-1.noarch"] {
        assert!(text.contains(package), "{text}");
    }
}

#[test]
fn published_bytes_never_change_under_their_name() {
    let scratch = tempfile::tempdir().unwrap();
    let (root, one) = (scratch.path().join("yum"), pair(scratch.path(), "one"));
    published(&root, scratch.path(), &one.key);
    let before = tree(&root);
    let unsigned = rpm(scratch.path(), "cairn-server", "1.0", None);
    let error = yum::publish(&root, &[unsigned], publication(EPOCH), &one.key).unwrap_err();
    assert!(format!("{error:#}").contains("published bytes never change"), "{error:#}");
    assert_eq!(tree(&root), before);
}

#[test]
fn dnf_refuses_another_key_a_changed_index_and_a_missing_signature() {
    let scratch = tempfile::tempdir().unwrap();
    let (root, one) = (scratch.path().join("yum"), pair(scratch.path(), "one"));
    published(&root, scratch.path(), &one.key);
    assert_accepted(list(&root, &one.public));
    assert_refused(list(&root, &pair(scratch.path(), "two").public), "Bad GPG signature");
    let primary = root.join(name_of(&tree(&root), "-primary.xml.gz"));
    change(&primary);
    assert_refused(list(&root, &one.public), "checksum");
    change(&primary);
    change(&root.join("repodata/repomd.xml"));
    assert_refused(list(&root, &one.public), "Bad GPG signature");
    change(&root.join("repodata/repomd.xml"));
    fs::remove_file(root.join("repodata/repomd.xml.asc")).unwrap();
    assert_refused(list(&root, &one.public), "repomd.xml.asc");
}
