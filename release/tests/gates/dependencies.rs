//! The embedded list of crates is read; that another one than the published is red stands with the bills of materials.

use std::fs;
use std::io::Write as _;

use cairn_release::gates::dependencies::embedded;
use flate2::Compression;
use flate2::write::ZlibEncoder;

use crate::building::{NOTHING, Workshop};

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

/// Why the list of a program cannot be read.
fn refusal(bytes: &[u8]) -> String {
    format!("{:#}", embedded(bytes).unwrap_err())
}

#[test]
fn what_only_the_build_used_is_not_in_the_program() {
    let crates = [("cairn-server", "0.1.0"), ("serde", "1.0.2")];
    let crates = crates.map(|(name, version)| (name.to_owned(), version.to_owned()));
    assert_eq!(embedded(&program_with(&zlib(LIST))).unwrap(), crates);
}

#[test]
fn a_program_without_a_list_is_refused() {
    let workshop = Workshop::new();
    let bytes = fs::read(workshop.gcc(("nothing.c", NOTHING), &["-O1"], "nothing")).unwrap();
    let refusal = refusal(&bytes);
    assert!(refusal.contains("has no embedded list of crates") && refusal.contains("cargo auditable"), "{refusal}");
}

#[test]
fn a_broken_list_is_refused() {
    let (no_zlib, no_list) = (refusal(&program_with(b"no zlib")), refusal(&program_with(&zlib("[]"))));
    assert!(no_zlib.contains("has no embedded list"), "{no_zlib}");
    assert!(no_list.contains("in an unknown form"), "{no_list}");
}
