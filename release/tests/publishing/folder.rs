//! The folder: whole versions appear at once, nothing published changes, and a killed run is resumed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use cairn_release::publish::{Error, Folder, Mode, Outcome, publish_trees};
use serde_json::{Value, json};

use crate::fixture::{EPOCH, Failing, Made, Maker, VERSION, When, contents, kill_everywhere, write};

struct Site {
    scratch: tempfile::TempDir,
    folder: Folder,
}

impl Site {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let folder = Folder::new(scratch.path());
        Self { scratch, folder }
    }

    fn path(&self) -> &Path {
        self.scratch.path()
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path().join(path)).unwrap()).unwrap()
    }

    fn stable(&self) -> Value {
        self.json("channels/stable.json")["version"].clone()
    }
}

impl cairn_release::publish::Target for Site {
    fn name(&self) -> String {
        self.folder.name()
    }

    fn steps<'a>(
        &'a self,
        release: &'a cairn_release::publish::Verified,
    ) -> Result<Vec<Box<dyn cairn_release::publish::Step + 'a>>, Error> {
        self.folder.steps(release)
    }
}

/// A release with a package repository, that has older packages too, and an installer, all of the content.
fn with_trees(maker: &Maker, version: &str, sequence: u64, content: &str, older: &[(&str, &str)]) -> Made {
    let mut made = maker.release(version, sequence, content);
    let deb = deb(version);
    made.add_apt(&[older, &[(deb.as_str(), content)]].concat(), EPOCH + sequence);
    made.add_tree("", &[("install.sh", content)]);
    made
}

fn deb(version: &str) -> String {
    format!("pool/main/c/cairn/cairn-server_{version}_amd64.deb")
}

#[test]
fn a_release_is_laid_out_as_on_the_real_site() {
    let (maker, site) = (Maker::new(), Site::new());
    let made = maker.usual();
    made.publish(&site).unwrap();
    let mut expected: BTreeMap<_, _> =
        made.files().into_iter().map(|(name, bytes)| (format!("releases/{VERSION}/{name}"), bytes)).collect();
    let sha256 = cairn_release::digest::digest_file(&made.dir.join("release.json")).unwrap().sha256;
    let index = site.json("releases/index.json");
    assert_eq!(
        index,
        json!({"schema": 1, "product": "cairn", "versions": [
            {"version": VERSION, "sequence": 7, "date": EPOCH, "sha256": sha256, "state": "good"}]})
    );
    let channel = json!({"schema": 1, "product": "cairn", "channel": "stable",
        "version": VERSION, "sequence": 7, "sha256": sha256});
    assert_eq!(site.json("channels/stable.json"), channel);
    let mut found = contents(site.path());
    for path in ["releases/index.json", "channels/stable.json"] {
        expected.insert(path.to_owned(), found.get(path).unwrap().clone());
    }
    assert!(found == expected, "{:?}", found.keys());
    found.clear();
    assert!(!site.path().join(".staging").exists());
}

#[test]
fn publishing_again_changes_nothing_and_says_so() {
    let (maker, site) = (Maker::new(), Site::new());
    let made = with_trees(&maker, VERSION, 7, "right", &[]);
    let first = made.publish(&site).unwrap();
    assert!(first.steps.iter().all(|(_, outcome)| *outcome == Outcome::Uploaded), "{first}");
    let before = contents(site.path());
    let second = made.publish(&site).unwrap();
    assert!(second.nothing_to_do());
    assert!(second.to_string().contains("already, nothing changed"), "{second}");
    assert!(contents(site.path()) == before);
}

#[test]
fn a_dry_run_only_says_what_it_would_do() {
    let (maker, site) = (Maker::new(), Site::new());
    let made = maker.usual();
    let report = made.dry_run(&site).unwrap();
    assert_eq!(report.mode, Mode::DryRun);
    assert!(report.to_string().contains("would upload   releases/1.2.3/SHA256SUMS\n"), "{report}");
    assert!(contents(site.path()).is_empty());
}

#[test]
fn other_bytes_under_a_published_version_are_refused_by_name_and_change_nothing() {
    let (maker, site) = (Maker::new(), Site::new());
    maker.usual().publish(&site).unwrap();
    let before = contents(site.path());
    let error = maker.release(VERSION, 7, "another build").publish(&site).unwrap_err();
    let Error::Conflict { file, .. } = &error else { panic!("{error:?}") };
    assert_eq!(file, "releases/1.2.3/SHA256SUMS");
    assert_eq!(error.exit_code(), 30);
    assert!(error.to_string().contains("publish under a new version"), "{error}");
    assert!(contents(site.path()) == before);
}

#[test]
fn a_folder_that_does_not_verify_is_not_published() {
    let (maker, site) = (Maker::new(), Site::new());
    let made = maker.usual();
    fs::write(made.dir.join("SHA256SUMS"), "changed").unwrap();
    let error = made.publish(&site).unwrap_err();
    assert!(matches!(error, Error::NotVerified(_)), "{error:?}");
    assert_eq!(error.exit_code(), 32);
    let other = Maker::new();
    let made = Made { public_key: other.public_key.clone(), ..maker.release("1.2.4", 8, "right") };
    assert_eq!(made.publish(&site).unwrap_err().exit_code(), 32);
    assert!(contents(site.path()).is_empty());
}

#[test]
fn a_run_that_was_killed_anywhere_is_resumed_to_the_same_site() {
    let maker = Maker::new();
    // The package index is the first thing by which anybody finds the version.
    let made = maker.usual();
    let visible = |site: &Site| site.path().join("releases").join(VERSION).exists();
    kill_everywhere(&made, Site::new, visible, |site| contents(site.path()));
}

#[test]
fn a_run_with_trees_that_was_killed_anywhere_is_resumed_to_the_same_site() {
    let maker = Maker::new();
    let made = with_trees(&maker, VERSION, 7, "right", &[]);
    let visible = |site: &Site| site.path().join("releases/index.json").exists();
    kill_everywhere(&made, Site::new, visible, |site| contents(site.path()));
}

#[test]
fn package_indexes_come_after_what_they_list_and_the_signed_one_last() {
    let (maker, site) = (Maker::new(), Site::new());
    let report = with_trees(&maker, VERSION, 7, "right", &[]).dry_run(&site).unwrap();
    let names: Vec<_> = report.steps.iter().map(|(name, _)| name.as_str()).collect();
    let at = |wanted: &str| names.iter().position(|name| name.contains(wanted)).unwrap_or_else(|| panic!("{wanted}"));
    let order = [
        at("pool/"),
        at("releases/1.2.3/SHA256SUMS"),
        at("releases/1.2.3/release.json.minisig"),
        names.iter().position(|name| *name == "releases/1.2.3/release.json").unwrap(),
        names.iter().position(|name| *name == "releases/1.2.3/").unwrap(),
        at("/Packages"),
        names.iter().position(|name| *name == "apt/dists/stable/Release").unwrap(),
        at("InRelease"),
        at("releases/index.json"),
        at("channels/stable.json"),
    ];
    assert!(order.is_sorted(), "{names:#?}");
}

#[test]
fn what_a_killed_run_of_another_build_left_is_no_obstacle() {
    let (maker, site) = (Maker::new(), Site::new());
    let other = maker.release(VERSION, 7, "another build");
    other.publish(&Failing::new(&site, 3, When::After)).unwrap_err();
    write(&site.path().join(".staging/1.2.3/.SHA256SUMS.partial"), b"half");
    write(&site.path().join(".staging/1.2.3/left-over"), b"half");
    let made = maker.usual();
    made.publish(&site).unwrap();
    assert!(contents(&site.path().join("releases").join(VERSION)) == made.files());
}

#[test]
fn a_published_version_that_lost_or_got_a_file_is_damage() {
    let (maker, site) = (Maker::new(), Site::new());
    let made = maker.usual();
    made.publish(&site).unwrap();
    let place = site.path().join("releases/1.2.3");
    write(&place.join("extra"), b"by hand");
    let error = made.publish(&site).unwrap_err();
    assert!(error.to_string().contains("releases/1.2.3/extra is not part of the release"), "{error}");
    fs::remove_file(place.join("extra")).unwrap();
    fs::remove_file(place.join("SHA256SUMS.minisig")).unwrap();
    let error = made.publish(&site).unwrap_err();
    assert!(matches!(&error, Error::Damaged { file, .. } if file.ends_with("SHA256SUMS.minisig")), "{error:?}");
    assert_eq!(error.exit_code(), 33);
}

#[test]
fn the_channel_moves_forward_only() {
    let (maker, site) = (Maker::new(), Site::new());
    maker.release("1.2.3", 7, "a").publish(&site).unwrap();
    maker.release("1.3.0", 8, "b").publish(&site).unwrap();
    assert_eq!(site.stable(), "1.3.0");
    // A fix of the older line.
    let report = maker.release("1.2.4", 9, "c").publish(&site).unwrap();
    assert!(report.steps.contains(&("channels/stable.json".to_owned(), Outcome::LeftNewer)), "{report}");
    assert_eq!(site.stable(), "1.3.0");
    // A run of an earlier release again.
    assert!(maker.release("1.2.3", 7, "a-again").dry_run(&site).is_err());
    let listed = site.json("releases/index.json")["versions"].clone();
    let versions: Vec<_> = listed.as_array().unwrap().iter().map(|entry| entry["version"].clone()).collect();
    assert_eq!(versions, ["1.2.3", "1.3.0", "1.2.4"]);
}

#[test]
fn a_pre_release_never_becomes_stable() {
    let (maker, site) = (Maker::new(), Site::new());
    maker.release("2.0.0-rc.1", 7, "a").publish(&site).unwrap();
    assert!(site.path().join("releases/2.0.0-rc.1/release.json").exists());
    assert!(!site.path().join("channels/stable.json").exists());
    maker.release("2.0.0", 8, "b").publish(&site).unwrap();
    maker.release("2.1.0-rc.1", 9, "c").publish(&site).unwrap();
    assert_eq!(site.stable(), "2.0.0");
}

#[test]
fn a_release_number_is_used_once_and_does_not_contradict_the_version() {
    let (maker, site) = (Maker::new(), Site::new());
    maker.release("1.2.3", 7, "a").publish(&site).unwrap();
    let error = maker.release("1.2.4", 7, "b").publish(&site).unwrap_err();
    assert_eq!(error.exit_code(), 38);
    assert!(error.to_string().contains("release number 7 is version 1.2.3 already"), "{error}");
    assert_eq!(maker.release("1.2.4", 6, "c").publish(&site).unwrap_err().exit_code(), 38);
    assert!(!site.path().join("releases/1.2.4").exists());
}

#[test]
fn a_yanked_version_stays_yanked() {
    let (maker, site) = (Maker::new(), Site::new());
    let made = maker.usual();
    made.publish(&site).unwrap();
    let path = site.path().join("releases/index.json");
    let text = fs::read_to_string(&path).unwrap().replace("good", "yanked");
    fs::write(&path, &text).unwrap();
    assert!(made.publish(&site).unwrap().nothing_to_do());
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn package_indexes_move_on_and_not_back_while_packages_stay() {
    let (maker, site) = (Maker::new(), Site::new());
    let old = with_trees(&maker, "1.2.3", 7, "old", &[]);
    old.publish(&site).unwrap();
    let new = with_trees(&maker, "1.2.4", 8, "new", &[(&deb("1.2.3"), "old")]);
    new.publish(&site).unwrap();
    let read = |path: &str| fs::read_to_string(site.path().join(path)).unwrap();
    let index = read("apt/dists/stable/InRelease");
    assert!(index.starts_with("Date: Tue, 14 Nov 2023 22:13:28 UTC\n"), "{index}");
    assert_eq!(read("apt/cairn.sources"), "of Tue, 14 Nov 2023 22:13:28 UTC");
    assert_eq!(read("install.sh"), "new");
    assert_eq!(read("apt/pool/main/c/cairn/cairn-server_1.2.3_amd64.deb"), "old");
    let report = old.publish(&site).unwrap();
    assert!(report.nothing_to_do(), "{report}");
    assert!(report.to_string().contains("newer, left    apt/dists/stable/InRelease"), "{report}");
    assert!(report.to_string().contains("newer, left    install.sh"), "{report}");
    assert_eq!(read("apt/dists/stable/InRelease"), index);
    let mut other = maker.release("1.2.5", 9, "x");
    other.add_tree("apt", &[("pool/main/c/cairn/cairn-server_1.2.3_amd64.deb", "changed")]);
    assert!(matches!(other.publish(&site), Err(Error::Conflict { file, .. }) if file.contains("1.2.3_amd64.deb")));
}

#[test]
fn an_index_that_does_not_list_every_published_package_is_refused_before_anything_is_sent() {
    let (maker, site) = (Maker::new(), Site::new());
    with_trees(&maker, "1.2.3", 7, "old", &[]).publish(&site).unwrap();
    let before = contents(site.path());
    // A fix of the older line with the highest number, sealed without or before what is published.
    let error = with_trees(&maker, "1.1.1", 8, "fix", &[]).publish(&site).unwrap_err();
    assert!(matches!(&error, Error::Indexes { why, .. } if why.contains("lists pool/main/c/cairn/cairn-server_1.2.3")));
    assert_eq!(error.exit_code(), 40);
    let changed = with_trees(&maker, "1.1.2", 9, "fix", &[(&deb("1.2.3"), "other bytes")]);
    assert_eq!(changed.publish(&site).unwrap_err().exit_code(), 40);
    // Clients ignore an index that is older than the one that they know.
    let mut stale = maker.release("1.1.3", 10, "fix");
    stale.add_apt(&[(&deb("1.2.3"), "old"), (&deb("1.1.3"), "fix")], EPOCH);
    let error = stale.publish(&site).unwrap_err();
    assert!(matches!(&error, Error::Indexes { why, .. } if why.contains("is not newer")), "{error}");
    assert!(contents(site.path()) == before);
}

#[test]
fn a_renewed_index_replaces_an_older_one_without_a_release_and_never_a_newer_one() {
    let (maker, site) = (Maker::new(), Site::new());
    let made = with_trees(&maker, "1.2.3", 7, "old", &[]);
    made.publish(&site).unwrap();
    let mut renewed = maker.release("1.2.3", 7, "renewed");
    renewed.add_apt(&[(&deb("1.2.3"), "old")], EPOCH + 100);
    let folder = Folder::new(site.path());
    let report = publish_trees(&folder, &renewed.trees, Mode::Publish).unwrap();
    assert!(report.to_string().contains("uploaded       apt/dists/stable/InRelease"), "{report}");
    assert!(
        report.to_string().contains("already there  apt/pool/main/c/cairn/cairn-server_1.2.3_amd64.deb"),
        "{report}"
    );
    let after = contents(site.path());
    assert!(String::from_utf8_lossy(&after["apt/dists/stable/InRelease"]).contains("22:15:00 UTC"));
    assert!(!site.path().join(".staging").exists());
    assert!(publish_trees(&folder, &renewed.trees, Mode::Publish).unwrap().nothing_to_do());
    // The release with its own, older index again.
    let report = made.publish(&site).unwrap();
    assert!(report.to_string().contains("newer, left    apt/dists/stable/InRelease"), "{report}");
    assert!(contents(site.path()) == after);
}

#[test]
fn a_tree_cannot_write_where_releases_are() {
    let (maker, site) = (Maker::new(), Site::new());
    for at in ["releases", "channels", ".staging", "a/../b"] {
        let mut made = maker.release(VERSION, 7, &format!("tree-{}", at.replace(['/', '.'], "-")));
        made.add_tree(at, &[("file", "x")]);
        assert_eq!(made.publish(&site).unwrap_err().exit_code(), 37, "{at}");
    }
    assert!(contents(site.path()).is_empty());
}

#[test]
fn a_version_that_is_no_semantic_one_is_not_published() {
    let (maker, site) = (Maker::new(), Site::new());
    assert_eq!(maker.release("1.2", 7, "a").publish(&site).unwrap_err().exit_code(), 37);
}
