//! Hardening, one fault at a time.

use std::fs;
use std::path::Path;

use cairn_release::gates::hardening::{guarded_statically, hardening};
use cairn_release::gates::policy::ElfPolicy;

use crate::building::{GOOD, HOST, NOTHING, Workshop, facts_of, facts_with, policy_for};
use crate::{assert_none, assert_one};

/// Builds a program with one more flag and expects one violation.
#[track_caller]
fn refused(flags: &[&str], sentence: &str) {
    let facts = facts_with(flags);
    assert_one(&hardening("it", &facts, &policy_for(&facts)), &["it: ", sentence]);
}

#[test]
fn a_good_program_passes() {
    let facts = facts_with(&[]);
    assert_none(&hardening("it", &facts, &policy_for(&facts)));
}

#[test]
fn a_program_at_a_fixed_address_is_refused() {
    refused(&["-no-pie", "-fno-pie"], "is no position-independent program");
}

#[test]
fn a_shared_library_is_no_program() {
    let workshop = Workshop::new();
    let flags = ["-shared", "-fPIC", "-s", "-Wl,-z,now", "-Wl,--build-id"];
    let facts = facts_of(&workshop.gcc(("nothing.c", NOTHING), &flags, "libnothing.so"));
    let policy = ElfPolicy::dynamic(HOST, "2.28".parse().unwrap());
    assert_one(&hardening("it", &facts, &policy), &["is no position-independent program"]);
}

#[test]
fn a_program_without_relro_is_refused() {
    refused(&["-Wl,-z,norelro"], "has no read-only data after relocation");
}

#[test]
fn a_program_with_half_of_relro_is_refused() {
    refused(&["-Wl,-z,lazy"], "binds symbols late");
}

#[test]
fn an_executable_stack_is_refused() {
    refused(&["-Wl,-z,execstack"], "has an executable stack");
}

#[test]
fn a_program_that_says_nothing_of_its_stack_is_refused() {
    let mut facts = facts_with(&[]);
    facts.executable_stack = None;
    assert_one(&hardening("it", &facts, &policy_for(&facts)), &["does not say that its stack is not executable"]);
}

#[test]
fn memory_that_is_writable_and_executable_is_refused() {
    let workshop = Workshop::new();
    let source = format!("__attribute__((section(\".both,\\\"awx\\\",@progbits#\"))) int both = 1;\n{NOTHING}");
    let facts = facts_of(&workshop.gcc(("both.c", &source), &GOOD, "both"));
    assert_one(&hardening("it", &facts, &policy_for(&facts)), &["writable and executable at once"]);
}

#[test]
fn relocations_in_code_are_refused() {
    let mut facts = facts_with(&[]);
    facts.dynamic.as_mut().unwrap().text_relocations = true;
    assert_one(&hardening("it", &facts, &policy_for(&facts)), &["has relocations in its code"]);
}

#[test]
fn a_missing_stack_protector_is_refused_where_it_is_demanded() {
    refused(&["-fno-stack-protector"], "has no stack protector");
    let facts = facts_with(&["-fno-stack-protector"]);
    let mut policy = policy_for(&facts);
    policy.stack_protector = false;
    assert_none(&hardening("it", &facts, &policy));
}

#[test]
fn a_program_without_build_id_is_refused() {
    refused(&["-Wl,--build-id=none"], "has no build id");
}

#[test]
fn symbols_and_debug_information_are_refused() {
    let workshop = Workshop::new();
    let with_symbols: Vec<_> = GOOD.into_iter().filter(|flag| *flag != "-s").collect();
    let facts = facts_of(&workshop.gcc(("nothing.c", NOTHING), &with_symbols, "symbols"));
    assert_one(&hardening("it", &facts, &policy_for(&facts)), &["is not stripped: it has .symtab"]);
    let with_debug = [&with_symbols[..], &["-g"]].concat();
    let facts = facts_of(&workshop.gcc(("nothing.c", NOTHING), &with_debug, "debug"));
    assert_one(&hardening("it", &facts, &policy_for(&facts)), &["is not stripped", ".debug_info", ".symtab"]);
}

#[test]
fn a_static_position_independent_program_passes() {
    let facts = facts_with(&["-static-pie"]);
    assert_none(&hardening("it", &facts, &ElfPolicy::fully_static(HOST)));
}

#[test]
fn a_program_of_the_distribution_is_position_independent_and_stripped() {
    let facts = facts_of(Path::new("/usr/bin/true"));
    let violations = hardening("true", &facts, &policy_for(&facts));
    // Debian binds late by default.
    assert!(violations.iter().all(|violation| violation.contains("binds symbols late")), "{violations:#?}");
}

/// A program without any library, whose own function for a broken guard goes where nothing calls it.
const ALONE: &str = "unsigned long __stack_chk_guard = 1;
void __stack_chk_fail(void) { for (;;) {} }
__attribute__((noinline)) int first(volatile char *text) { return *text; }
void _start(void) { volatile char text[64] = {1}; while (first(text)) {} }
";

#[test]
fn a_static_program_is_asked_for_its_stack_protector_by_its_symbols() {
    let workshop = Workshop::new();
    let judge = |protection: &str, policy: &ElfPolicy| {
        let flags = ["-O1", "-nostdlib", "-static", "-ffunction-sections", "-Wl,--gc-sections", protection];
        let program = workshop.gcc(("alone.c", ALONE), &flags, "alone");
        guarded_statically("it", &fs::read(program).unwrap(), policy).unwrap()
    };
    let policy = ElfPolicy::fully_static(HOST);
    let demanding = policy.clone().with_stack_protector();
    assert_none(&judge("-fstack-protector-all", &demanding));
    assert_one(&judge("-fno-stack-protector", &demanding), &["it: has no stack protector"]);
    assert_none(&judge("-fno-stack-protector", &policy));
    assert_none(&judge(
        "-fno-stack-protector",
        &ElfPolicy::dynamic(HOST, "2.28".parse().unwrap()).with_stack_protector(),
    ));
    assert!(guarded_statically("it", b"no program", &demanding).is_err());
}
