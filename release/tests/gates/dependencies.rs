//! The embedded list of crates.

use std::fs;
use std::io::Write as _;

use cairn_release::gates::dependencies::{Dependency, dependencies, embedded};
use flate2::Compression;
use flate2::write::ZlibEncoder;

use crate::building::{NOTHING, Workshop};
use crate::{assert_none, assert_one};

const LIST: &str = r#"{"packages":[
    {"name":"anyhow","version":"1.0.1","source":"crates.io","kind":"build"},
    {"name":"cairn-server","version":"0.1.0","source":"local","dependencies":[0,2],"root":true},
    {"name":"serde","version":"1.0.2","source":"crates.io"}]}"#;

/// A program with such a list in it.
fn program_with(list: &[u8]) -> Vec<u8> {
    let workshop = Workshop::new();
    fs::write(workshop.path("list.z"), list).unwrap();
    let section = "__asm__(\".pushsection .dep-v0,\\\"a\\\"\\n .incbin \\\"list.z\\\"\\n .popsection\");\n";
    let source = format!("{section}{NOTHING}");
    fs::read(workshop.gcc(("listed.c", &source), &["-O1", "-s"], "listed")).unwrap()
}

fn zlib(text: &str) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn crate_of(name: &str, version: &str, source: &str) -> Dependency {
    Dependency { name: name.into(), version: version.into(), source: Some(source.into()), build_only: false }
}

fn published() -> Vec<Dependency> {
    let mut anyhow = crate_of("anyhow", "1.0.1", "crates.io");
    anyhow.build_only = true;
    vec![anyhow, crate_of("cairn-server", "0.1.0", "local"), crate_of("serde", "1.0.2", "crates.io")]
}

#[test]
fn an_equal_list_passes_and_is_read_whole() {
    let bytes = program_with(&zlib(LIST));
    assert_eq!(embedded(&bytes).unwrap(), published());
    assert_none(&dependencies("it", &bytes, &published()));
}

#[test]
fn what_is_missing_and_what_is_too_much_is_named() {
    let bytes = program_with(&zlib(LIST));
    let mut list = published();
    list.remove(2);
    let sentence = "it: serde 1.0.2 is in the program, but the published list lacks it";
    assert_one(&dependencies("it", &bytes, &list), &[sentence]);
    let mut list = published();
    list.push(crate_of("tokio", "1.40.0", "crates.io"));
    let sentence = "it: tokio 1.40.0 is in the published list, but not in the program";
    assert_one(&dependencies("it", &bytes, &list), &[sentence]);
}

#[test]
fn another_version_is_both_missing_and_too_much() {
    let mut list = published();
    list[2].version = "1.0.3".into();
    let violations = dependencies("it", &program_with(&zlib(LIST)), &list);
    assert_eq!(violations.len(), 2, "{violations:#?}");
}

#[test]
fn another_source_is_named_where_both_are_known() {
    let mut list = published();
    list[2].source = Some("git".into());
    let bytes = program_with(&zlib(LIST));
    assert_one(
        &dependencies("it", &bytes, &list),
        &["serde 1.0.2 came from crates.io, but the published list says git"],
    );
    list[2].source = None;
    assert_none(&dependencies("it", &bytes, &list));
}

#[test]
fn a_program_without_a_list_is_refused() {
    let workshop = Workshop::new();
    let bytes = fs::read(workshop.gcc(("nothing.c", NOTHING), &["-O1"], "nothing")).unwrap();
    assert_one(&dependencies("it", &bytes, &published()), &["it: has no embedded list of crates", "cargo auditable"]);
}

#[test]
fn a_broken_list_is_refused() {
    assert_one(&dependencies("it", &program_with(b"no zlib"), &published()), &["it: has no embedded list"]);
    assert_one(&dependencies("it", &program_with(&zlib("[]")), &published()), &["in an unknown form"]);
}
