//! One version is named everywhere.

use std::fs;
use std::path::Path;
use std::process::Command;

use cairn_release::digest::digest_with;
use cairn_release::linux_packages::Format;
use cairn_release::oci::REF_NAME;
use cairn_release::versions::{self, Form, Found, violations};

fn found(form: Form, version: &str) -> Found {
    Found::new("place", form, Some(version.to_owned()))
}

fn version(found: &Found) -> Option<&str> {
    found.version.as_deref()
}

#[test]
fn each_place_that_differs_is_named_and_no_other() {
    let places = [
        Found::new("right", Form::Plain, Some("1.2.3".to_owned())),
        Found::new("CHANGELOG.md", Form::Plain, Some("1.2.2".to_owned())),
        Found::new("cairnd.1", Form::Plain, None),
    ];
    let expected = ["CHANGELOG.md names version 1.2.2, not 1.2.3", "cairnd.1 names no version; it should name 1.2.3"];
    assert_eq!(violations("1.2.3", &places), expected);
    assert_eq!(violations("1.2.3", &[]), ["no place was looked at for its version"]);
}

#[test]
fn packages_write_the_version_in_their_own_form_exactly() {
    let version = "1.2.0-rc.1";
    let forms = [
        (Form::Plain, "1.2.0-rc.1"),
        (Form::Package(Format::Deb), "1.2.0~rc1"),
        (Form::Package(Format::Rpm), "1.2.0~rc1-1"),
        (Form::Package(Format::Apk), "1.2.0_rc1-r0"),
        (Form::Package(Format::Arch), "1.2.0rc1-1"),
    ];
    for (form, text) in forms {
        assert_eq!(violations(version, &[found(form, text)]), [""; 0], "{form:?}");
    }
    // Without the tilde the candidate would be newer than the release for dpkg and rpm.
    let wrong = violations(version, &[found(Form::Package(Format::Deb), "1.2.0-rc1")]);
    assert_eq!(wrong, ["place names version 1.2.0-rc1, not 1.2.0~rc1"]);
    for (form, text) in [
        (Form::Plain, "1.2.3-1"),
        (Form::Package(Format::Rpm), "1.2.3"),
        (Form::Package(Format::Rpm), "1.2.30-1"),
        (Form::Package(Format::Apk), "1.2.3-1"),
    ] {
        assert_eq!(violations("1.2.3", &[found(form, text)]).len(), 1, "{form:?} {text}");
    }
}

#[test]
fn programs_print_it_in_their_first_line() {
    for (name, output) in [
        ("cairnd", "cairnd Version: 1.2.3\netcd API Version: 3.6.0\n"),
        ("cairnctl", "cairnctl version: 1.2.3\netcdctl version: 3.6.0\n"),
        ("cairnutl", "cairnutl 1.2.3 (API version 3.6)\n"),
        ("cairn-bench", "cairn-bench 1.2.3\n"),
        ("cairnctl", "cairnctl version 1.2.3, API 3.6.5"),
    ] {
        assert_eq!(version(&versions::of_version_output(name, output)), Some("1.2.3"), "{output}");
    }
    assert_eq!(version(&versions::of_version_output("cairnd", "etcd Version: 3.6.0\n")), None);
    let absent = versions::of_program("cairnd", &mut Command::new("/nowhere/cairnd"));
    assert!(violations("1.2.3", &[absent])[0].starts_with("cairnd --version (cannot start "));
}

#[test]
fn the_lock_names_it_for_each_package_of_the_tree() {
    let lock = "version = 4\n[[package]]\nname = \"cairn-a\"\nversion = \"1.2.3\"\n[[package]]\nname = \"cairn-b\"\nversion = \
                \"1.2.2\"\n[[package]]\nname = \"x\"\nversion = \"9.0.0\"\nsource = \"registry\"\nchecksum = \"00\"\n";
    let wrong = violations("1.2.3", &versions::of_cargo_lock(lock));
    assert_eq!(wrong, ["Cargo.lock, package cairn-b names version 1.2.2, not 1.2.3"]);
    assert_eq!(
        violations("1.2.3", &versions::of_cargo_lock("{")),
        ["Cargo.lock names no version; it should name 1.2.3"]
    );
}

#[test]
fn man_pages_and_the_change_log_name_it_in_their_titles() {
    let page = ".ie \\n(.g .ds Aq \\(aq\n.TH cairn-bench 1  \"cairn-bench 1.2.3\" \n.SH NAME\n";
    assert_eq!(version(&versions::of_man_page("cairn-bench.1", page)), Some("1.2.3"));
    let candidate = ".TH cairnd 1  \"cairnd 1.2.0\\-rc.1\" \n";
    assert_eq!(version(&versions::of_man_page("cairnd.1", candidate)), Some("1.2.0-rc.1"));
    assert_eq!(version(&versions::of_man_page("cairnd.1", ".TH cairnd 1\n")), None);
    let log = "# Changes\n\n## 1.2.3 (2026-11-01)\n\n- 9.9.9\n\n## 1.2.2\n";
    assert_eq!(version(&versions::of_changelog("CHANGELOG.md", log)), Some("1.2.3"));
    assert_eq!(version(&versions::of_changelog("CHANGELOG.md", "## [1.2.3] - 2026-11-01\n")), Some("1.2.3"));
    assert_eq!(version(&versions::of_changelog("CHANGELOG.md", "# Changes\n\n## Unreleased\n\n## 1.2.3\n")), None);
}

/// A layout whose one image has these annotations, with a list of what refers to it.
fn layout(annotations: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let blobs = folder.path().join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let entry = |document: &str, tag: &str| {
        let digest = digest_with(document.as_bytes(), |_| {}).unwrap();
        fs::write(blobs.join(&digest.sha256), document).unwrap();
        format!(
            r#"{{"mediaType":"","digest":"sha256:{}","size":{},"annotations":{{"{REF_NAME}":"{tag}"}}}}"#,
            digest.sha256, digest.size
        )
    };
    let image = entry(&format!("{{\"annotations\":{annotations}}}"), "1.2.3-amd64");
    let list = entry("{}", "sha256-0123");
    let index = format!(r#"{{"schemaVersion":2,"mediaType":"","manifests":[{image},{list}]}}"#);
    fs::write(folder.path().join("index.json"), index).unwrap();
    folder
}

#[test]
fn images_name_it_in_an_annotation() {
    let named = |annotations: &str| versions::of_images(layout(annotations).path()).unwrap();
    let other = named(r#"{"org.opencontainers.image.version":"1.2.2"}"#);
    assert_eq!(violations("1.2.3", &other), ["image 1.2.3-amd64 names version 1.2.2, not 1.2.3"]);
    assert_eq!(violations("1.2.2", &other), [""; 0]);
    let none = "image 1.2.3-amd64 names no version; it should name 1.2.3";
    assert_eq!(violations("1.2.3", &named(r#"{"version":"1.2.3"}"#)), [none]);
}

#[test]
fn documents_name_it_behind_a_name_of_ours_only() {
    let text = "# Cairn 1.2.3\n\nLike etcd 3.5.1, on RocksDB 11.8.1. `cairnctl version 1.2.3`; cairn-1.2.2-linux-amd64.tar.gz,\n\
                example.org/cairn:1.2.0-rc.1. Cairn v1.2.3. cairn-VERSION-source.tar.gz, my-cairn_x, Cairn 7, concairn 4.4.4\n";
    let named = versions::of_document("docs/X.md", text);
    let named: Vec<_> = named.iter().map(|found| (found.place.as_str(), found.version.as_deref().unwrap())).collect();
    let expected = [
        ("docs/X.md:1", "1.2.3"),
        ("docs/X.md:3", "1.2.3"),
        ("docs/X.md:3", "1.2.2"),
        ("docs/X.md:4", "1.2.0-rc.1"),
        ("docs/X.md:4", "1.2.3"),
    ];
    assert_eq!(named, expected);
    assert!(
        violations("1.2.3", &versions::of_document("docs/X.md", text))[0]
            .starts_with("docs/X.md:3 names version 1.2.2")
    );
}

#[test]
fn this_tree_names_one_version() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package is in the workspace");
    let found = versions::of_tree(root).unwrap();
    assert_eq!(violations(env!("CARGO_PKG_VERSION"), &found), [""; 0]);
    assert!(found.iter().any(|found| found.place == "CHANGELOG.md"));
}
