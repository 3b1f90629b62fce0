//! The bills of materials of an image: what is in it, and nothing that is only in an archive.

use std::collections::{BTreeMap, BTreeSet};

use cairn_release::machine::Machine;
use cairn_release::oci::spec::{Descriptor, MANIFEST};
use cairn_release::oci::{Attachment, BILL_TYPES, Image, Parts, bills};
use cairn_release::sbom::{Component, Components, Kind};
use serde_json::Value;

use crate::fixture::{facts, image};
use crate::layout::{dynamic, host};

/// The programs of an image, with the package of each.
const PROGRAMS: [(&str, &str); 3] = [("cairnctl", "cairn-ctl"), ("cairnd", "cairn-server"), ("cairnutl", "cairn-utl")];

fn component(name: &str, kind: Kind) -> Component {
    Component {
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        kind,
        licence: Some("Apache-2.0".to_owned()),
        purl: format!("pkg:cargo/{name}@1.0.0"),
        cpe: None,
        sha256: None,
        repository: None,
        contained_in: None,
        texts: Vec::new(),
    }
}

/// Each program is made of its own crate alone.
fn parts() -> Parts<'static> {
    let mut components = Components::default();
    PROGRAMS.iter().for_each(|(_, package)| components.add_beside(component(package, Kind::Own)));
    let authorities = component("webpki-root-certs", Kind::Crate);
    Parts { target: "x86_64-unknown-linux-gnu", programs: &PROGRAMS, components, authorities }
}

/// Digest of the manifest of every image here.
const DIGEST: &str = "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";

/// The bills of an image, and the same as JSON.
fn bills_of(image: &Image) -> (Vec<Attachment>, [Value; 2]) {
    let manifest = Descriptor {
        media_type: MANIFEST.to_owned(),
        digest: DIGEST.to_owned(),
        size: 0,
        artifact_type: None,
        platform: None,
        annotations: BTreeMap::new(),
    };
    let bills = bills(image, &manifest, &parts(), &facts()).unwrap();
    let documents = [0, 1].map(|at: usize| serde_json::from_slice(&bills[at].bytes).unwrap());
    (bills, documents)
}

fn names<'a>(list: &'a Value, field: &str) -> BTreeSet<&'a str> {
    list.as_array().unwrap().iter().filter_map(|item| item[field].as_str()).collect()
}

#[test]
fn an_image_has_a_bill_in_both_forms_that_names_its_digest_and_tag() {
    let scratch = tempfile::tempdir().unwrap();
    let (attached, [cyclonedx, spdx]) = bills_of(&image(scratch.path(), Machine::Arm64));
    assert_eq!(attached.iter().map(|bill| &*bill.artifact_type).collect::<Vec<_>>(), BILL_TYPES);
    assert_eq!(attached[0].name, "cairn-1.2.3-arm64-image.cdx.json");
    let sha256 = DIGEST.strip_prefix("sha256:").unwrap();
    let purl = format!("pkg:oci/cairn@sha256%3A{sha256}?arch=arm64&tag=1.2.3-arm64");
    let subject = &cyclonedx["metadata"]["component"];
    assert_eq!((&subject["type"], &subject["purl"]), (&"container".into(), &purl.clone().into()));
    assert_eq!(subject["hashes"][0]["content"], sha256);
    assert_eq!(spdx["name"], "cairn:1.2.3-arm64");
    let package = &spdx["packages"][0];
    assert_eq!(package["primaryPackagePurpose"], "CONTAINER");
    assert_eq!(
        (&package["externalRefs"][0]["referenceLocator"], &package["packageFileName"]),
        (&purl.into(), &Value::Null)
    );
}

#[test]
fn a_bill_of_static_programs_lists_them_and_the_certificate_authorities() {
    let scratch = tempfile::tempdir().unwrap();
    let (_, [cyclonedx, spdx]) = bills_of(&image(scratch.path(), Machine::Amd64));
    let expected = BTreeSet::from([
        "crate:cairn-ctl@1.0.0",
        "crate:cairn-server@1.0.0",
        "crate:cairn-utl@1.0.0",
        "crate:webpki-root-certs@1.0.0",
        "file:etc/group",
        "file:etc/nsswitch.conf",
        "file:etc/passwd",
        "file:etc/ssl/certs/ca-certificates.crt",
        "file:usr/bin/cairnctl",
        "file:usr/bin/cairnd",
        "file:usr/bin/cairnutl",
        "file:usr/share/doc/ca-certificates/copyright",
        "file:usr/share/doc/cairn/LICENSE",
    ]);
    assert_eq!(names(&cyclonedx["components"], "bom-ref"), expected);
    assert_eq!(spdx["files"].as_array().unwrap().len(), 9);
    let dependencies = cyclonedx["dependencies"].as_array().unwrap();
    for (file, made_of) in [
        ("file:usr/bin/cairnd", "crate:cairn-server@1.0.0"),
        ("file:etc/ssl/certs/ca-certificates.crt", "crate:webpki-root-certs@1.0.0"),
    ] {
        let needs = dependencies.iter().find(|it| it["ref"] == file).unwrap();
        assert_eq!(needs["dependsOn"], serde_json::json!([made_of]));
    }
}

#[test]
fn a_bill_of_dynamic_programs_lists_the_c_library_whose_files_the_image_has() {
    let scratch = tempfile::tempdir().unwrap();
    let runtime = crate::trial::host_runtime(&scratch.path().join("libc"));
    let (_, [cyclonedx, spdx]) = bills_of(&dynamic(scratch.path(), Some(runtime)));
    let components = cyclonedx["components"].as_array().unwrap();
    let libc = components.iter().find(|it| it["bom-ref"] == "package:libc6@2.36-9+deb12u10").unwrap();
    assert_eq!(libc["licenses"][0]["expression"], "LGPL-2.1-or-later");
    assert!(libc["purl"].as_str().unwrap().starts_with("pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?"), "{libc}");
    let needs: BTreeMap<_, _> = cyclonedx["dependencies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["ref"].as_str().unwrap(), it["dependsOn"].to_string()))
        .collect();
    let library = format!("file:lib/{}/libc.so.6", host().triplet());
    for who in ["artifact", "crate:cairn-server@1.0.0", &library] {
        assert!(needs[who].contains("package:libc6@2.36-9+deb12u10"), "{who}: {needs:#?}");
    }
    let relations = names(&spdx["relationships"], "relationshipType");
    assert!(relations.contains("CONTAINED_BY"), "{relations:?}");
}

#[test]
fn the_c_library_that_static_programs_do_not_take_is_in_no_bill() {
    let scratch = tempfile::tempdir().unwrap();
    let runtime = crate::trial::host_runtime(&scratch.path().join("libc"));
    let image = Image { runtime: Some(runtime), ..image(scratch.path(), host()) };
    let (_, [cyclonedx, _]) = bills_of(&image);
    assert!(!names(&cyclonedx["components"], "name").contains("libc6"));
}

#[test]
fn equal_images_in_different_places_have_equal_bills() {
    let [one, other] = [(), ()].map(|()| {
        let scratch = tempfile::tempdir().unwrap();
        let (attached, _) = bills_of(&image(scratch.path(), Machine::Amd64));
        attached.into_iter().map(|bill| bill.bytes).collect::<Vec<_>>()
    });
    assert!(one == other, "the bills differ");
}
