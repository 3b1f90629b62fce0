//! Gate over what makes a program harder to attack, and over what users do not need in it.
//!
//! Left out: control-flow integrity (CET, BTI): not all of our parts are built with it, and half of it is worth nothing.

use super::elf::ElfFacts;
use super::policy::{ElfPolicy, Linking};

/// The function that a broken stack guard calls.
const STACK_GUARD: &str = "__stack_chk_fail";

/// The program is position-independent, has full RELRO, no executable stack, no writable code, a build id, no symbols
/// and, where the policy demands it, the stack protector.
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
    let unguarded = policy.stack_protector && !guarded;
    violated(unguarded, "has no stack protector; compile C and C++ with -fstack-protector-strong");
    violated(facts.build_id.is_none(), "has no build id; link with --build-id");
    let debug = &facts.debug_sections;
    violated(!debug.is_empty(), &format!("is not stripped: it has {}", super::listed(debug)));
    violations
}
