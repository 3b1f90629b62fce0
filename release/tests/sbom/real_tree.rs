//! The real tree: all of its native code is known, and all of its licences are allowed and have texts.

use std::collections::BTreeSet;
use std::fs;

use cairn_release::licences::{self, Allowed};
use cairn_release::oci::AUTHORITIES_CRATE;
use cairn_release::sbom::{Inventory, Request};

use crate::documents::check_schemas;
use crate::fixture::{files, source_tree, subject};

/// The packages with the shipped programs.
const PACKAGES: [&str; 4] = ["cairn-bench", "cairn-ctl", "cairn-server", "cairn-utl"];

fn inventory(target: &str) -> Inventory {
    let builds = PACKAGES.each_ref().map(std::slice::from_ref);
    let root = source_tree();
    Inventory::gather(&Request { root: &root, target, builds: &builds, toolchains: &[] }).unwrap()
}

#[test]
fn every_crate_with_native_code_is_in_the_catalogue() {
    for target in ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"] {
        assert_eq!(inventory(target).coverage_violations(), Vec::<String>::new(), "{target}");
    }
}

#[test]
fn the_server_has_rocksdb_lz4_zstd_and_jemalloc_in_the_versions_of_the_lock_file() {
    let lock = fs::read_to_string(source_tree().join("Cargo.lock")).unwrap();
    let server = inventory("x86_64-unknown-linux-gnu").of(&["cairn-server"]).unwrap();
    let native: BTreeSet<_> = server.all.keys().filter_map(|id| id.strip_prefix("native:")).collect();
    let names: Vec<_> = native.iter().filter_map(|id| id.split('@').next()).collect();
    assert_eq!(names, ["jemalloc", "lz4", "rocksdb", "zstd"]);
    for id in native {
        let (_, version) = id.split_once('@').unwrap();
        assert!(
            lock.contains(&format!("+{version}"))
                || lock.contains(&format!("-{version}"))
                || lock.contains(&format!(".{version}\"")),
            "{id}"
        );
    }
}

/// Images have them from this crate, and their bills of materials name it.
#[test]
fn the_verifier_has_the_crate_of_the_certificate_authorities() {
    let (root, builds) = (source_tree(), [["cairn-release"].as_slice()]);
    let request = Request { root: &root, target: "x86_64-unknown-linux-gnu", builds: &builds, toolchains: &[] };
    let all = Inventory::gather(&request).unwrap().of(&["cairn-release"]).unwrap();
    let found = all.iter().find(|component| component.name == AUTHORITIES_CRATE).unwrap();
    assert_eq!(found.licence.as_deref(), Some("CDLA-Permissive-2.0"));
}

#[test]
fn the_client_has_no_native_code() {
    let client = inventory("x86_64-unknown-linux-gnu").of(&["cairn-ctl", "cairn-bench"]).unwrap();
    assert!(client.all.keys().all(|id| !id.starts_with("native:")));
}

#[test]
fn every_licence_is_allowed_and_has_a_text() {
    let allowed = Allowed::read(&source_tree()).unwrap();
    let all = inventory("aarch64-unknown-linux-gnu").of(&PACKAGES).unwrap();
    assert_eq!(licences::violations(&all, &allowed), Vec::<String>::new());
}

#[test]
fn every_crate_of_others_has_the_checksum_of_the_lock_file() {
    let all = inventory("x86_64-unknown-linux-gnu").of(&PACKAGES).unwrap();
    let without = all.iter().filter(|it| it.purl.starts_with("pkg:cargo/") && it.sha256.is_none());
    assert_eq!(without.map(|it| it.id()).collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn its_documents_fit_the_official_schemas() {
    let all = inventory("x86_64-unknown-linux-gnu").of(&PACKAGES).unwrap();
    check_schemas(&all, &subject(&files()));
}

#[test]
fn its_documents_and_texts_name_no_folder_of_this_machine() {
    let all = inventory("x86_64-unknown-linux-gnu").of(&PACKAGES).unwrap();
    let root = source_tree();
    let files = files();
    for bytes in [
        cairn_release::sbom::cyclonedx::render(&all, &subject(&files)),
        cairn_release::sbom::spdx::render(&all, &subject(&files)),
        licences::render(&all, "cairn", "0.1.0", "linux-amd64").into_bytes(),
    ] {
        let text = String::from_utf8(bytes).unwrap();
        assert!(!text.contains(root.to_str().unwrap()) && !text.contains("/registry/src/"));
    }
}
