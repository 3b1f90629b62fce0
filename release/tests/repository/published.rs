//! A release is added to what is published, a renewal signs it again; neither loses a package nor believes a stranger.

use std::fs;
use std::path::Path;
use std::process::Command;

use cairn_release::digest::digest_file;
use cairn_release::publish::{Error, Folder, Mode, SITE_URL, Tree, publish_trees};
use cairn_release::repository::listing::{self, Listing};
use cairn_release::repository::openpgp::SigningKey;
use cairn_release::repository::published::{NOTHING, Published, TakenOver, preview, renew};
use cairn_release::repository::{self, apt, yum};
use cairn_release::trials::file_server::FileServer;

use crate::fixture::{EPOCH, accepted, assert_accepted, assert_refused, change, deb, name_of, pair, rpm, time, tree};

/// Adds a server of this version to the repositories below `root`.
fn add(root: &Path, scratch: &Path, version: &str, key: &SigningKey, time: u64) {
    let debs = [deb(scratch, "cairn-server", version, "amd64"), deb(scratch, "cairn-etcd-names", version, "all")];
    let rpms = [rpm(scratch, "cairn-server", version, Some(key))];
    repository::publish(root, &debs, &rpms, time, key).unwrap();
}

fn take_over(place: &str, key: &SigningKey, to: &Path) -> anyhow::Result<TakenOver> {
    Published::at(place)?.take_over(key, to)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn listed(root: &Path, at: &str) -> Listing {
    listing::read(&Folder::new(root), at, None).unwrap().unwrap()
}

/// Brings the repositories below `from` to the site as a release does.
fn publish(from: &Path, site: &Path) -> Result<(), Error> {
    let trees = ["apt", "yum"].map(|at| Tree { dir: from.join(at), at: at.to_owned() });
    publish_trees(&Folder::new(site), &trees, Mode::Publish).map(drop)
}

#[test]
fn a_hot_fix_keeps_every_published_version_installable() {
    let scratch = tempfile::tempdir().unwrap();
    let (path, one) = (|name: &str| scratch.path().join(name), pair(scratch.path(), "one"));
    let site = path("site");
    for (number, version) in ["0.1.0", "0.2.0", "0.1.1"].into_iter().enumerate() {
        let sealed = path(&format!("sealed-{version}"));
        let place = if number == 0 { NOTHING } else { text(&site) };
        let taken = take_over(place, &one.key, &sealed).unwrap();
        assert_eq!(taken.packages, 3 * number);
        // All commits are of one time; clients want each index newer than the one before.
        add(&sealed, scratch.path(), version, &one.key, taken.next_time(EPOCH));
        publish(&sealed, &site).unwrap();
    }
    let (debs, rpms) = (listed(&site, "apt"), listed(&site, "yum"));
    assert_eq!((debs.time, rpms.time), (EPOCH + 2, EPOCH + 2));
    for version in ["0.1.0", "0.2.0", "0.1.1"] {
        for name in [format!("cairn-server_{version}_amd64.deb"), format!("cairn-etcd-names_{version}_all.deb")] {
            let found = debs.packages.iter().find(|(path, _)| path.ends_with(&format!("/{name}")));
            assert_eq!(*found.unwrap().1, digest_file(&path(&name)).unwrap(), "{name}");
        }
        let name = format!("cairn-server-{version}-1.noarch.rpm");
        assert_eq!(rpms.packages[&format!("packages/{name}")], digest_file(&path(&name)).unwrap());
    }
    assert_eq!((debs.packages.len(), rpms.packages.len()), (6, 3));
}

#[test]
fn a_folder_and_the_site_over_http_are_taken_over_alike() {
    let scratch = tempfile::tempdir().unwrap();
    let (path, one) = (|name: &str| scratch.path().join(name), pair(scratch.path(), "one"));
    add(&path("site"), scratch.path(), "1.0~rc1", &one.key, EPOCH);
    let server = FileServer::start(&path("site")).unwrap();
    let taken = take_over(text(&path("site")), &one.key, &path("a")).unwrap();
    assert_eq!(taken, TakenOver { packages: 3, time: Some(EPOCH) });
    assert_eq!(take_over(server.url(), &one.key, &path("b")).unwrap(), taken);
    assert_eq!(tree(&path("a")), tree(&path("b")));
    let state = |place: &str| Published::at(place).unwrap().state().unwrap();
    assert_eq!(state(server.url()), state(text(&path("site"))));
    assert!(state(NOTHING).is_empty() && state(server.url()).len() == 2);
}

#[test]
fn the_published_version_with_other_bytes_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let (path, one) = (|name: &str| scratch.path().join(name), pair(scratch.path(), "one"));
    add(&path("site"), scratch.path(), "1.0", &one.key, EPOCH);
    take_over(text(&path("site")), &one.key, &path("sealed")).unwrap();
    fs::write(path("cairn-server-1.0-amd64/usr/share/cairn/more"), "more").unwrap();
    let other = deb(scratch.path(), "cairn-server", "1.0", "amd64");
    let error = repository::publish(&path("sealed"), &[other], &[], EPOCH + 1, &one.key).unwrap_err();
    assert!(format!("{error:#}").contains("published bytes never change"), "{error:#}");
}

#[test]
fn what_our_key_does_not_vouch_for_is_not_taken_over() {
    let scratch = tempfile::tempdir().unwrap();
    let (path, one) = (|name: &str| scratch.path().join(name), pair(scratch.path(), "one"));
    add(&path("site"), scratch.path(), "1.0", &one.key, EPOCH);
    let refused = |reason: &str| {
        let taken = take_over(text(&path("site")), &one.key, &path("sealed"));
        let error = taken.expect_err(reason);
        assert!(format!("{error:#}").contains(reason), "{error:#}");
    };
    let names = tree(&path("site"));
    for (end, reason) in [
        ("dists/stable/InRelease", "InRelease is not signed with the key"),
        ("repodata/repomd.xml", "repomd.xml is not signed with the key"),
        ("-primary.xml.gz", "has not the listed sha256"),
        ("cairn-server_1.0_amd64.deb", "is not what the signed index lists"),
        ("cairn-server-1.0-1.noarch.rpm", "is not what the signed index lists"),
    ] {
        let file = path("site").join(name_of(&names, end));
        change(&file);
        refused(reason);
        change(&file);
        if !end.contains("stable") && !end.ends_with(".xml") {
            let bytes = fs::read(&file).unwrap();
            fs::remove_file(&file).unwrap();
            refused("is listed and not there");
            fs::write(&file, [bytes.as_slice(), b"more"].concat()).unwrap();
            refused(if end.ends_with("gz") { "has more than" } else { reason });
            fs::write(&file, bytes).unwrap();
        }
    }
    // What nobody signed, and what somebody else did.
    let entrance = path("site/apt").join(apt::ENTRANCE);
    let signed = fs::read(&entrance).unwrap();
    fs::copy(path("site/apt/dists/stable/Release"), &entrance).unwrap();
    refused("InRelease is not signed with the key");
    let two = pair(scratch.path(), "two");
    let text = fs::read(path("site/apt/dists/stable/Release")).unwrap();
    fs::write(&entrance, two.key.sign_cleartext(&text, EPOCH).unwrap()).unwrap();
    refused("InRelease is not signed with the key");
    fs::write(&entrance, signed).unwrap();
    let (index, signature) = (path("site/yum").join(yum::ENTRANCE), path("site/yum/repodata/repomd.xml.asc"));
    fs::write(&signature, two.key.sign_detached(&fs::read(&index).unwrap(), EPOCH).unwrap()).unwrap();
    refused("repomd.xml is not signed with the key");
    fs::remove_file(&signature).unwrap();
    refused("repomd.xml.asc is missing");
    fs::remove_file(index).unwrap();
    refused("has no yum; name the root of the site");
}

#[test]
fn a_new_key_that_knows_the_old_public_half_goes_on_with_the_repositories_and_clients_get_both() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    let (old, new) = (pair(scratch.path(), "old"), pair(scratch.path(), "new"));
    add(&path("site"), scratch.path(), "1.0", &old.key, time() - 1);
    assert!(take_over(text(&path("site")), &new.key, &path("sealed")).is_err());
    let both = fs::read_to_string(&new.secret).unwrap() + &fs::read_to_string(&old.public).unwrap();
    fs::write(path("both.asc"), both).unwrap();
    let both = SigningKey::read(&path("both.asc"), None).unwrap();
    assert_eq!(both.fingerprint(), new.key.fingerprint());
    take_over(text(&path("site")), &both, &path("new")).unwrap();
    add(&path("new"), scratch.path(), "1.1", &both, time());
    let keyring = path("new/apt/cairn-archive-keyring.asc");
    for site in ["new", "site"] {
        assert_accepted(crate::apt::update(&path(site).join("apt"), &keyring));
        assert_accepted(crate::yum::list(&path(site).join("yum"), &keyring));
    }
}

#[test]
fn a_renewed_index_is_valid_again_and_every_package_has_its_bytes() {
    let scratch = tempfile::tempdir().unwrap();
    let (path, one) = (|name: &str| scratch.path().join(name), pair(scratch.path(), "one"));
    let site = path("site");
    let long_ago = time() - apt::VALID_DAYS * 24 * 60 * 60;
    add(&site, scratch.path(), "1.0", &one.key, long_ago);
    assert_refused(crate::apt::update(&site.join("apt"), &one.public), "is expired");
    let before = tree(&site);
    let renewed = renew(&Published::at(text(&site)).unwrap(), &one.key, time(), &path("renewed")).unwrap();
    assert_eq!(renewed.packages, 3);
    publish(&path("renewed"), &site).unwrap();
    assert_accepted(crate::apt::update(&site.join("apt"), &one.public));
    let after = tree(&site);
    for (name, bytes) in before.iter().filter(|(name, _)| name.ends_with(".deb") || name.ends_with(".rpm")) {
        assert_eq!(after.get(name), Some(bytes), "{name}");
    }
    assert_eq!(listed(&site, "apt").packages, listed(&path("renewed"), "apt").packages);
    assert_eq!(listed(&site, "yum").time, time_of(&path("renewed")));
}

fn time_of(root: &Path) -> u64 {
    listed(root, "yum").time
}

#[test]
fn a_renewal_goes_forward_only_and_into_an_empty_folder() {
    let scratch = tempfile::tempdir().unwrap();
    let (path, one) = (|name: &str| scratch.path().join(name), pair(scratch.path(), "one"));
    add(&path("site"), scratch.path(), "1.0", &one.key, EPOCH);
    let published = Published::at(text(&path("site"))).unwrap();
    let error = renew(&published, &one.key, EPOCH, &path("renewed")).unwrap_err();
    assert!(error.to_string().contains("is the clock right?") && !path("renewed").exists(), "{error:#}");
    let error = renew(&Published::at(NOTHING).unwrap(), &one.key, EPOCH + 1, &path("renewed")).unwrap_err();
    assert!(error.to_string().contains("nothing is published"), "{error:#}");
    let error = renew(&published, &one.key, EPOCH + 1, &path("site")).unwrap_err();
    assert!(error.to_string().contains("site is not empty"), "{error:#}");
    let said = preview(&published, &one.key, EPOCH + 1).unwrap();
    assert!(said.starts_with("apt: 2 packages, of Tue, 14 Nov 2023 22:13:20 UTC, would be of Tue, 14"), "{said}");
}

#[test]
fn the_command_renews_at_the_time_of_the_environment_and_its_dry_run_writes_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let (path, one) = (|name: &str| scratch.path().join(name), pair(scratch.path(), "one"));
    add(&path("site"), scratch.path(), "1.0", &one.key, EPOCH);
    let command = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cairn-release"));
        command.env("SOURCE_DATE_EPOCH", (EPOCH + 60).to_string()).arg("renew");
        command.arg("--repositories").arg(path("site")).arg("--openpgp-key").arg(&one.secret);
        command.arg("--out").arg(path("renewed"));
        command
    };
    let said = accepted(command().arg("--dry-run"));
    assert!(said.contains("yum: 1 packages") && !path("renewed").exists(), "{said}");
    accepted(&mut command());
    assert_eq!(time_of(&path("renewed")), EPOCH + 60);
    let mut publish = Command::new(env!("CARGO_BIN_EXE_cairn-release"));
    publish.arg("publish").arg("--folder").arg(path("site"));
    for at in ["apt", "yum"] {
        publish.arg("--tree").arg(format!("{at}={}", path("renewed").join(at).display()));
    }
    let said = accepted(&mut publish);
    assert!(said.contains("uploaded       yum/repodata/repomd.xml\n"), "{said}");
    assert_eq!(time_of(&path("site")), EPOCH + 60);
}

#[test]
fn the_sample_entries_name_the_places_that_the_repositories_have_on_the_site() {
    let scratch = tempfile::tempdir().unwrap();
    let (site, one) = (scratch.path().join("site"), pair(scratch.path(), "one"));
    add(&site, scratch.path(), "1.0", &one.key, EPOCH);
    for (sample, field, name) in [
        ("apt/cairn.sources", "URIs: ", "/dists/stable/InRelease"),
        ("yum/cairn.repo", "baseurl=", "/repodata/repomd.xml"),
        ("yum/cairn.repo", "gpgkey=", ""),
    ] {
        let text = fs::read_to_string(site.join(sample)).unwrap();
        let address = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        let place = address.strip_prefix(&format!("{SITE_URL}/")).unwrap();
        assert!(Path::new(&format!("{}/{place}{name}", site.display())).is_file(), "{sample}: {address}");
    }
}

#[test]
fn sealing_wants_to_know_what_is_published() {
    let mut seal = Command::new(env!("CARGO_BIN_EXE_cairn-release"));
    seal.args(["seal", "--minisign-key", "none", "--openpgp-key", "none"]);
    assert_refused(crate::fixture::said(&mut seal), "--repositories <PLACE>");
}
