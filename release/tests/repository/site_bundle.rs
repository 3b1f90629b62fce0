//! The site bundle has everything, nothing else, and the same bytes each time.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use cairn_release::site_bundle::{self, Contents};
use tempfile::TempDir;

use crate::fixture::{EPOCH, tree};

struct Site {
    scratch: TempDir,
}

impl Site {
    fn new() -> Self {
        let site = Self { scratch: tempfile::tempdir().unwrap() };
        for name in [
            "release/SHA256SUMS",
            "apt/pool/a.deb",
            "yum/packages/a.rpm",
            "oci/index.json",
            "k.pub",
            "k.asc",
            "verifier",
        ] {
            fs::create_dir_all(site.path(name).parent().unwrap()).unwrap();
            fs::write(site.path(name), name).unwrap();
        }
        fs::set_permissions(site.path("verifier"), fs::Permissions::from_mode(0o700)).unwrap();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Does something with the contents.
    fn with<T>(&self, act: impl FnOnce(&Contents<'_>) -> T) -> T {
        let [release, apt, yum, images, minisign_key, openpgp_key, verifier] =
            ["release", "apt", "yum", "oci", "k.pub", "k.asc", "verifier"].map(|name| self.path(name));
        act(&Contents {
            version: "1.2.3",
            time: EPOCH,
            release: &release,
            apt: &apt,
            yum: &yum,
            images: &images,
            minisign_key: &minisign_key,
            openpgp_key: &openpgp_key,
            verifiers: &[("linux-amd64", &verifier)],
        })
    }

    fn write(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        self.with(|contents| site_bundle::write(&path, contents)).unwrap();
        path
    }

    fn check(&self, bundle: &Path) -> Vec<String> {
        self.with(|contents| site_bundle::check(bundle, contents)).unwrap()
    }
}

#[test]
fn a_bundle_has_every_part_at_its_place_and_says_how_to_use_it() {
    let site = Site::new();
    let bundle = site.write("bundle.tar");
    assert_eq!(site.check(&bundle), Vec::<String>::new());
    tar::Archive::new(File::open(bundle).unwrap()).unpack(site.path("unpacked")).unwrap();
    let found = tree(&site.path("unpacked"));
    let names = [
        "README.md",
        "apt/pool/a.deb",
        "images/index.json",
        "keys/cairn-archive-keyring.asc",
        "keys/cairn.pub",
        "release/SHA256SUMS",
        "verifier/linux-amd64/cairn-release",
        "yum/packages/a.rpm",
    ];
    assert!(found.keys().eq(names.map(|name| format!("cairn-1.2.3-site/{name}")).iter()), "{:?}", found.keys());
    let readme = String::from_utf8(found["cairn-1.2.3-site/README.md"].clone()).unwrap();
    assert!(readme.contains("--version 1.2.3") && !readme.contains("@VERSION@"), "{readme}");
}

#[test]
fn equal_parts_make_equal_bundles_whatever_their_modes_and_times() {
    let (one, two) = (Site::new(), Site::new());
    fs::set_permissions(two.path("k.pub"), fs::Permissions::from_mode(0o600)).unwrap();
    File::open(two.path("k.pub")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(fs::read(one.write("bundle.tar")).unwrap(), fs::read(two.write("other.tar")).unwrap());
}

#[test]
fn the_check_names_what_is_missing_changed_or_too_much() {
    let site = Site::new();
    let bundle = site.write("bundle.tar");
    fs::write(site.path("release/SHA256SUMS"), "other").unwrap();
    fs::remove_file(site.path("apt/pool/a.deb")).unwrap();
    fs::write(site.path("apt/pool/b.deb"), "new").unwrap();
    assert_eq!(
        site.check(&bundle),
        [
            "the bundle has cairn-1.2.3-site/apt/pool/a.deb, which does not belong into it",
            "cairn-1.2.3-site/release/SHA256SUMS in the bundle differs from what was released",
            "the bundle lacks apt/pool/b.deb",
        ]
    );
}

#[test]
fn links_and_missing_parts_are_refused() {
    let site = Site::new();
    symlink("SHA256SUMS", site.path("release/link")).unwrap();
    let error = site.with(|contents| site_bundle::write(&site.path("b.tar"), contents)).unwrap_err();
    assert!(format!("{error:#}").contains("a bundle holds no links"), "{error:#}");
    fs::remove_file(site.path("release/link")).unwrap();
    fs::remove_dir_all(site.path("apt/pool")).unwrap();
    let error = site.with(|contents| site_bundle::write(&site.path("b.tar"), contents)).unwrap_err();
    assert!(format!("{error:#}").contains("is empty; the bundle needs it as apt"), "{error:#}");
    assert!(!site.path("b.tar").exists());
}
