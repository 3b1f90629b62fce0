//! Gate over what makes a program harder to attack, and over what users do not need in it.
//!
//! Left out: control-flow integrity (CET, BTI): not all of our parts are built with it, and half of it is worth nothing.

use anyhow::{Context, Result};
use object::{Object, ObjectSymbol};

use super::elf::ElfFacts;
use super::policy::{ElfPolicy, Linking};

/// The function that a broken stack guard calls.
const STACK_GUARD: &str = "__stack_chk_fail";

/// What a program without a stack guard is told.
const UNGUARDED: &str = "has no stack protector; compile C and C++ with -fstack-protector-strong";

/// The debug file of a static program has the stack guard among its symbols: the linker leaves out what nothing calls.
///
/// # Errors
///
/// The bytes are no ELF file.
pub fn guarded_statically(name: &str, debug_file: &[u8], policy: &ElfPolicy) -> Result<Vec<String>> {
    if !policy.stack_protector || policy.linking != Linking::Static {
        return Ok(Vec::new());
    }
    let file = object::File::parse(debug_file).context("the debug file is no ELF file")?;
    let guarded = file.symbols().any(|symbol| symbol.name() == Ok(STACK_GUARD));
    Ok(if guarded { Vec::new() } else { vec![format!("{name}: {UNGUARDED}")] })
}

/// The program is position-independent, has full RELRO, no executable stack, no writable code, a build id, no symbols
/// and, where the policy demands it of a dynamic program, the stack protector; of a static one: [`guarded_statically`].
#[must_use]
pub fn hardening(name: &str, facts: &ElfFacts, policy: &ElfPolicy) -> Vec<String> {
    let mut violations = Vec::new();
    let mut violated = |is: bool, what: &str| {
        if is {
            violations.push(format!("{name}: {what}"));
        }
    };
    let dynamic = facts.dynamic.as_ref();
    let is_program = facts.interpreter.is_some() || dynamic.is_some_and(|dynamic| dynamic.says_pie);
    violated(!(facts.position_independent && is_program), "is no position-independent program; link with -pie");
    violated(!facts.relro, "has no read-only data after relocation; link with -z relro");
    // A static program binds nothing late.
    let binds_late = matches!(policy.linking, Linking::Dynamic { .. }) && !dynamic.is_some_and(|one| one.bind_now);
    violated(binds_late, "binds symbols late, which leaves the table of addresses writable; link with -z now");
    violated(
        facts.executable_stack.is_none(),
        "does not say that its stack is not executable; link with -z noexecstack",
    );
    violated(facts.executable_stack == Some(true), "has an executable stack; link with -z noexecstack");
    let writable_code = facts.segments.iter().any(|segment| segment.writable && segment.executable);
    violated(writable_code, "has memory that is writable and executable at once");
    violated(dynamic.is_some_and(|one| one.text_relocations), "has relocations in its code; compile with -fPIE");
    let guarded = dynamic.is_some_and(|one| one.imports.contains(STACK_GUARD));
    let unguarded = policy.stack_protector && policy.linking != Linking::Static && !guarded;
    violated(unguarded, UNGUARDED);
    violated(facts.build_id.is_none(), "has no build id; link with --build-id");
    let debug = &facts.debug_sections;
    violated(!debug.is_empty(), &format!("is not stripped: it has {}", super::listed(debug)));
    violations
}
