//! Machine, glibc floor, needed libraries.

use std::fs;

use cairn_release::gates::elf::ElfFacts;
use cairn_release::gates::linkage::{glibc_floor, machine, needed};
use cairn_release::gates::pages::segment_pages;
use cairn_release::gates::policy::{ElfPolicy, GlibcVersion, Linking, Machine};

use crate::building::{GOOD, HOST, Workshop, facts_of, facts_with, policy_for};
use crate::{assert_none, assert_one, assert_some};

#[test]
fn a_good_program_passes_all() {
    let facts = facts_with(&[]);
    let policy = policy_for(&facts);
    assert_none(&machine("it", &facts, &policy));
    assert_none(&glibc_floor("it", &facts, &policy));
    assert_none(&needed("it", &facts, &policy));
}

#[test]
fn a_program_for_another_machine_is_refused() {
    let other = if HOST == Machine::Amd64 { Machine::Arm64 } else { Machine::Amd64 };
    let policy = ElfPolicy::dynamic(other, GlibcVersion::new(2, 99));
    let facts = facts_with(&[]);
    assert_one(&machine("it", &facts, &policy), &["it: is for ELF machine number", &format!("but {other} is")]);
    assert_some(&needed("it", &facts, &policy), &["wants the loader", other.interpreter()]);
}

#[test]
fn every_symbol_above_the_floor_is_named() {
    let workshop = Workshop::new();
    let source = "#include <stdlib.h>\nint main(void) { return arc4random() == 7; }\n";
    let facts = facts_of(&workshop.gcc(("random.c", source), &GOOD, "random"));
    let policy = ElfPolicy::dynamic(HOST, GlibcVersion::new(2, 28));
    let violations = glibc_floor("it", &facts, &policy);
    assert_some(&violations, &["it: arc4random needs GLIBC_2.36 of libc.so.6, above the floor 2.28"]);
    assert_some(&violations, &["__libc_start_main", "GLIBC_2.34", "above the floor 2.28"]);
    assert_eq!(violations.len(), 2, "{violations:#?}");
}

#[test]
fn a_version_that_only_the_loader_needs_is_named_too() {
    let mut facts = facts_with(&[]);
    let policy = policy_for(&facts);
    let dynamic = facts.dynamic.as_mut().unwrap();
    let mut feature = dynamic.required[0].clone();
    feature.version = "GLIBC_ABI_DT_RELR".to_owned();
    feature.symbols.clear();
    dynamic.required.push(feature);
    assert_one(&glibc_floor("it", &facts, &policy), &["the file itself needs GLIBC_ABI_DT_RELR of libc.so.6"]);
}

#[test]
fn the_runtime_of_a_cxx_compiler_is_refused_whatever_the_floor() {
    let workshop = Workshop::new();
    let source = "void _ZSt9terminatev(void);\nint main(int n, char **v) { if (n > 9) _ZSt9terminatev(); return 0; }\n";
    let flags = [&GOOD[..], &["-l:libstdc++.so.6"]].concat();
    let facts = facts_of(&workshop.gcc(("runtime.c", source), &flags, "runtime"));
    let policy = policy_for(&facts);
    let violations = glibc_floor("it", &facts, &policy);
    assert_one(&violations, &["_ZSt9terminatev needs GLIBCXX_3.4 of libstdc++.so.6", "must be linked statically"]);
    assert_one(&needed("it", &facts, &policy), &["it: needs libstdc++.so.6, but may need only libc.so.6"]);
}

#[test]
fn a_library_is_refused_unless_the_policy_lists_it() {
    let workshop = Workshop::new();
    workshop.gcc(("foreign.c", "int foreign(void) { return 0; }\n"), &["-shared", "-fPIC"], "libforeign.so");
    let source = "int foreign(void);\nint main(void) { return foreign(); }\n";
    let flags = [&GOOD[..], &["-L.", "-lforeign"]].concat();
    let facts = facts_of(&workshop.gcc(("user.c", source), &flags, "user"));
    let mut policy = policy_for(&facts);
    assert_one(&needed("it", &facts, &policy), &["it: needs libforeign.so, but may need only"]);
    let Linking::Dynamic { needed: allowed, .. } = &mut policy.linking else {
        panic!("the policy is of a dynamic one")
    };
    allowed.push("libforeign.so".to_owned());
    assert_none(&needed("it", &facts, &policy));
}

#[test]
fn a_folder_in_the_library_search_is_refused_in_both_its_forms() {
    for tag in ["-Wl,--disable-new-dtags", "-Wl,--enable-new-dtags"] {
        let facts = facts_with(&[tag, "-Wl,-rpath,/opt/lib"]);
        assert_one(&needed("it", &facts, &policy_for(&facts)), &["searches \"/opt/lib\" for libraries"]);
    }
}

#[test]
fn a_dynamic_program_is_no_static_one() {
    let facts = facts_with(&[]);
    let policy = ElfPolicy::fully_static(HOST);
    let violations = needed("it", &facts, &policy);
    assert_some(&violations, &["wants the loader", "must be static"]);
    assert_some(&violations, &["needs libc.so.6, but must be static"]);
    assert_some(&glibc_floor("it", &facts, &policy), &["GLIBC_", "but a static program needs no glibc"]);
}

#[test]
fn a_static_program_passes_as_one_and_not_as_a_dynamic_one() {
    let facts = facts_with(&["-static-pie"]);
    let policy = ElfPolicy::fully_static(HOST);
    assert_none(&needed("it", &facts, &policy));
    assert_none(&glibc_floor("it", &facts, &policy));
    let dynamic = ElfPolicy::dynamic(HOST, GlibcVersion::new(2, 28));
    assert_one(&needed("it", &facts, &dynamic), &["names no loader"]);
}

#[test]
fn a_file_that_hides_its_section_headers_is_not_taken_for_a_static_one() {
    let mut bytes = fs::read(Workshop::new().program(&[])).unwrap();
    // e_shoff, e_shnum and e_shstrndx of the ELF header.
    bytes[0x28..0x30].fill(0);
    bytes[0x3c..0x40].fill(0);
    let error = ElfFacts::read(&bytes).unwrap_err();
    assert!(format!("{error:#}").contains("no section header for it"), "{error:#}");
}

#[test]
fn what_is_no_elf_file_cannot_be_judged() {
    assert!(format!("{:#}", ElfFacts::read(b"#!/bin/sh\n").unwrap_err()).contains("no ELF file"));
}

#[test]
fn no_broken_file_stops_the_reader() {
    let good = fs::read(Workshop::new().program(&[])).unwrap();
    for at in (0..good.len().min(2000)).chain((2000..good.len()).step_by(7)) {
        for wrong in [0, 0x7f, 0xff] {
            let mut bytes = good.clone();
            bytes[at] = wrong;
            if let Ok(facts) = ElfFacts::read(&bytes) {
                let policy = policy_for(&facts);
                drop(segment_pages("it", &facts, &policy));
                drop(glibc_floor("it", &facts, &policy));
            }
        }
    }
}
