//! The apt repository is deterministic, grows, and is what apt takes with its key and with no other.

use std::fs;
use std::path::Path;
use std::process::Command;

use cairn_release::repository::apt::{self, VALID_DAYS, date};
use cairn_release::repository::openpgp::SigningKey;
use cairn_release::trials::file_server::FileServer;

use crate::fixture::{
    EPOCH, accepted, assert_accepted, assert_refused, change, deb, pair, program, publication, said, time, tree,
};

const IN_RELEASE: &str = "dists/stable/InRelease";

/// An `apt-get` that knows one repository and nothing of this machine.
fn apt_get(scratch: &Path, url: &str, keyring: &Path) -> Command {
    for folder in ["state/lists/partial", "cache/archives/partial", "etc"] {
        fs::create_dir_all(scratch.join(folder)).unwrap();
    }
    fs::write(scratch.join("state/status"), "").unwrap();
    fs::write(scratch.join("etc/list"), format!("deb [signed-by={}] {url} stable main\n", keyring.display())).unwrap();
    let mut command = program("apt-get", "apt");
    for (name, place) in [
        ("Dir::State", "state"),
        ("Dir::State::status", "state/status"),
        ("Dir::Cache", "cache"),
        ("Dir::Etc::sourcelist", "etc/list"),
        ("Dir::Etc::sourceparts", "etc/none"),
        ("Dir::Etc::parts", "etc/none"),
        ("Dir::Etc::main", "etc/none"),
    ] {
        command.args(["-o", &format!("{name}={}", scratch.join(place).display())]);
    }
    command.args(["-o", "APT::Architecture=amd64", "-o", "APT::Architectures=amd64", "-o", "APT::Sandbox::User="]);
    command.args(["-o", "APT::Update::Error-Mode=any", "-o", "Acquire::http::Proxy=DIRECT"]);
    // Images for continuous integration switch this off, and apt reads their settings before ours.
    command.args(["-o", "Acquire::Check-Date=true", "-o", "Acquire::Check-Valid-Until=true"]);
    command.current_dir(scratch);
    command
}

/// Lets a fresh apt read the repository: whether it was content, and what it said.
pub(crate) fn update(repository: &Path, keyring: &Path) -> (bool, String) {
    let scratch = tempfile::tempdir().unwrap();
    let server = FileServer::start(repository).unwrap();
    said(apt_get(scratch.path(), server.url(), keyring).arg("update"))
}

fn published(root: &Path, folder: &Path, key: &SigningKey, time: u64) {
    let debs = [
        deb(folder, "cairn-server", "1.0-1", "amd64"),
        deb(folder, "cairn-server", "1.0-1", "arm64"),
        deb(folder, "cairn-etcd-names", "1.0-1", "all"),
    ];
    apt::publish(root, &debs, publication(time), key).unwrap();
}

#[test]
fn the_release_file_has_exactly_these_fields() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("apt");
    published(&root, scratch.path(), &pair(scratch.path(), "one").key, EPOCH);
    let text = fs::read_to_string(root.join("dists/stable/Release")).unwrap();
    let (head, sums) = text.split_once("SHA256:\n").unwrap();
    assert_eq!(
        head,
        "Origin: Cairn\nLabel: Cairn\nSuite: stable\nCodename: stable\nDate: Tue, 14 Nov 2023 22:13:20 UTC\n\
         Valid-Until: Sun, 12 May 2024 22:13:20 UTC\nAcquire-By-Hash: yes\nArchitectures: amd64 arm64\nComponents: main\n\
         Description: Releases of Cairn, a distributed key-value store\n"
    );
    let names: Vec<_> = sums.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
    assert_eq!(
        names,
        ["amd64", "arm64"].map(|a| ["Packages", "Packages.gz"].map(|n| format!("main/binary-{a}/{n}"))).concat()
    );
}

#[test]
fn each_architecture_lists_its_packages_and_those_for_all() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("apt");
    published(&root, scratch.path(), &pair(scratch.path(), "one").key, EPOCH);
    for (architecture, other) in [("amd64", "arm64"), ("arm64", "amd64")] {
        let text = fs::read_to_string(root.join(format!("dists/stable/main/binary-{architecture}/Packages"))).unwrap();
        assert!(text.contains(&format!("pool/main/c/cairn-server/cairn-server_1.0-1_{architecture}.deb")), "{text}");
        assert!(text.contains("pool/main/c/cairn-etcd-names/cairn-etcd-names_1.0-1_all.deb"), "{text}");
        assert!(text.contains("Description: Test\n With a second line.\nFilename: "), "{text}");
        assert!(!text.contains(other) && !text.contains("MD5") && !text.contains("SHA1"), "{text}");
    }
}

#[test]
fn equal_packages_make_an_equal_repository_and_a_second_run_changes_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let one = pair(scratch.path(), "one");
    let roots = ["a", "b"].map(|name| scratch.path().join(name).join("apt"));
    for root in &roots {
        published(root, root.parent().unwrap(), &one.key, EPOCH);
    }
    let first = tree(&roots[0]);
    assert_eq!(first, tree(&roots[1]));
    published(&roots[0], roots[0].parent().unwrap(), &one.key, EPOCH);
    assert_eq!(first, tree(&roots[0]));
}

#[test]
fn a_second_version_adds_to_the_first() {
    let scratch = tempfile::tempdir().unwrap();
    let (root, one) = (scratch.path().join("apt"), pair(scratch.path(), "one"));
    published(&root, scratch.path(), &one.key, time() - 60);
    let before = tree(&root);
    let newer = deb(scratch.path(), "cairn-server", "1.1-1", "amd64");
    apt::publish(&root, &[newer], publication(time()), &one.key).unwrap();
    let after = tree(&root);
    // Packages and by-hash indexes stay, so that clients with the old index get what it names.
    for (name, bytes) in before.iter().filter(|(name, _)| name.starts_with("pool/") || name.contains("/by-hash/")) {
        assert_eq!(after.get(name), Some(bytes), "{name}");
    }
    let server = FileServer::start(&root).unwrap();
    accepted(apt_get(scratch.path(), server.url(), &one.public).arg("update"));
    for version in ["1.0-1", "1.1-1"] {
        let package = format!("cairn-server={version}");
        accepted(apt_get(scratch.path(), server.url(), &one.public).args(["download", &package]));
    }
}

#[test]
fn published_bytes_never_change_under_their_name() {
    let scratch = tempfile::tempdir().unwrap();
    let (root, one) = (scratch.path().join("apt"), pair(scratch.path(), "one"));
    published(&root, scratch.path(), &one.key, EPOCH);
    let before = tree(&root);
    let other = scratch.path().join("cairn-server-1.0-1-amd64/usr/share/cairn/more");
    fs::write(other, "more").unwrap();
    let deb = deb(scratch.path(), "cairn-server", "1.0-1", "amd64");
    let error = apt::publish(&root, &[deb], publication(EPOCH), &one.key).unwrap_err();
    assert!(format!("{error:#}").contains("published bytes never change"), "{error:#}");
    assert_eq!(tree(&root), before);
}

#[test]
fn what_is_no_package_of_ours_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let (root, one) = (scratch.path().join("apt"), pair(scratch.path(), "one"));
    let mips = deb(scratch.path(), "cairn-server", "1.0-1", "mips");
    let error = apt::publish(&root, &[mips], publication(EPOCH), &one.key).unwrap_err();
    assert!(format!("{error:#}").contains("Architecture is \"mips\""), "{error:#}");
    let junk = scratch.path().join("junk.deb");
    fs::write(&junk, "not a package").unwrap();
    let error = apt::publish(&root, &[junk], publication(EPOCH), &one.key).unwrap_err();
    assert!(format!("{error:#}").contains("it is no Debian package"), "{error:#}");
}

#[test]
fn apt_takes_the_repository_with_its_key_and_no_other() {
    let scratch = tempfile::tempdir().unwrap();
    let (root, one) = (scratch.path().join("apt"), pair(scratch.path(), "one"));
    published(&root, scratch.path(), &one.key, time());
    assert_accepted(update(&root, &one.public));
    assert_accepted(update(&root, &root.join("cairn-archive-keyring.asc")));
    assert_refused(update(&root, &pair(scratch.path(), "two").public), "NO_PUBKEY");
}

#[test]
fn apt_refuses_a_changed_index_and_a_changed_signature() {
    let scratch = tempfile::tempdir().unwrap();
    let (root, one) = (scratch.path().join("apt"), pair(scratch.path(), "one"));
    published(&root, scratch.path(), &one.key, time());
    let names: Vec<_> = tree(&root).into_keys().filter(|name| name.contains("/binary-")).collect();
    names.iter().for_each(|name| change(&root.join(name)));
    assert_refused(update(&root, &one.public), "Hash Sum mismatch");
    names.iter().for_each(|name| change(&root.join(name)));
    assert_accepted(update(&root, &one.public));
    for name in [IN_RELEASE, "dists/stable/Release", "dists/stable/Release.gpg"] {
        let text = fs::read_to_string(root.join(name)).unwrap();
        fs::write(root.join(name), text.replace("Label: Cairn", "Label: Other")).unwrap();
    }
    assert_refused(update(&root, &one.public), "BADSIG");
}

#[test]
fn apt_refuses_a_repository_that_was_not_published_for_long() {
    let scratch = tempfile::tempdir().unwrap();
    let (root, one) = (scratch.path().join("apt"), pair(scratch.path(), "one"));
    published(&root, scratch.path(), &one.key, time() - VALID_DAYS * 24 * 60 * 60);
    assert_refused(update(&root, &one.public), "is expired");
    published(&root, scratch.path(), &one.key, time());
    assert_accepted(update(&root, &one.public));
}

#[test]
fn dates_agree_with_the_calendar() {
    assert_eq!(date(0), "Thu, 01 Jan 1970 00:00:00 UTC");
    assert_eq!(date(951_827_696), "Tue, 29 Feb 2000 12:34:56 UTC");
    assert_eq!(date(1_700_000_000), "Tue, 14 Nov 2023 22:13:20 UTC");
    assert_eq!(date(1_735_689_599), "Tue, 31 Dec 2024 23:59:59 UTC");
    assert_eq!(date(4_107_542_400), "Mon, 01 Mar 2100 00:00:00 UTC");
}
