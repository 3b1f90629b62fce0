//! The declared instructions are used, and no others.

use std::fs;

use cairn_release::gates::instructions::{count_crc, crc_instructions};
use cairn_release::gates::old_cpu::run_on_old_cpu;
use cairn_release::gates::policy::Machine;

use crate::building::{HOST, NOTHING, Workshop};
use crate::{assert_none, assert_one};

/// All forms of the instruction on x86: with and without prefix, of a register and of memory.
const X86_FORMS: [&str; 6] = [
    "0xf2, 0x0f, 0x38, 0xf0, 0x3e",
    "0xf2, 0x0f, 0x38, 0xf1, 0xc8",
    "0xf2, 0x48, 0x0f, 0x38, 0xf1, 0x01",
    "0xf2, 0x4a, 0x0f, 0x38, 0xf1, 0x14, 0xe9",
    "0xf2, 0x44, 0x0f, 0x38, 0xf0, 0xc0",
    "0x66, 0xf2, 0x0f, 0x38, 0xf1, 0xc8",
];

/// An object file whose code is these bytes.
fn code(directives: &str) -> Vec<u8> {
    let workshop = Workshop::new();
    fs::read(workshop.gcc(("code.s", &format!(".text\n{directives}\n")), &["-c"], "code.o")).unwrap()
}

#[test]
fn every_form_of_the_x86_instruction_is_found() {
    let bytes: String = X86_FORMS.iter().map(|form| format!(".byte {form}\n")).collect();
    assert_eq!(count_crc(&code(&bytes), Machine::Amd64).unwrap(), X86_FORMS.len());
}

#[test]
fn the_engine_s_forms_of_the_arm_instruction_are_found_and_their_neighbours_are_not() {
    // crc32ch and crc32cw, the second with the zero register.
    assert_eq!(count_crc(&code(".long 0x1ac15422, 0x1adf5bff\n"), Machine::Arm64).unwrap(), 2);
    // The log's crc32cb and crc32cx; crc32h (the other polynomial), a 64-bit form of a word, udiv, and the right bits at
    // an odd place.
    let others =
        ".long 0x1ac05000, 0x9ac05c00, 0x1ac14422, 0x9ac15822, 0x9ac00800\n.byte 0\n.long 0x1ac15422\n.byte 0, 0, 0\n";
    assert_eq!(count_crc(&code(others), Machine::Arm64).unwrap(), 0);
}

#[test]
fn a_program_without_the_instruction_is_refused() {
    let workshop = Workshop::new();
    let bytes = fs::read(workshop.gcc(("nothing.c", NOTHING), &["-O1"], "nothing")).unwrap();
    let violations = crc_instructions("it", &bytes, HOST).unwrap();
    assert_one(
        &violations,
        &["it: has 0 CRC32C instructions of the engine, fewer than", "not compiled for the baseline"],
    );
}

#[test]
fn a_program_with_enough_of_them_passes() {
    let x86 = |count: usize| code(&".byte 0xf2, 0x0f, 0x38, 0xf0, 0x3e\n".repeat(count));
    assert_none(&crc_instructions("it", &x86(20), Machine::Amd64).unwrap());
    assert_one(&crc_instructions("it", &x86(19), Machine::Amd64).unwrap(), &["has 19 CRC32C", "fewer than 20"]);
    let arm = |words: &str| code(&format!(".long {words}\n"));
    assert_none(&crc_instructions("it", &arm("0x1ac15422, 0x1adf5bff"), Machine::Arm64).unwrap());
    let log_alone = arm(&["0x1ac05000, 0x9ac05c00"; 9].join(", "));
    assert_one(&crc_instructions("it", &log_alone, Machine::Arm64).unwrap(), &["has 0 CRC32C", "fewer than 2"]);
}

#[test]
fn what_is_no_program_cannot_be_judged() {
    assert!(count_crc(b"text", Machine::Amd64).is_err());
}

#[cfg(target_arch = "x86_64")]
mod emulated {
    use super::*;

    /// Runs a program that consists of this statement on the oldest processor.
    fn run(statement: &str) -> Vec<String> {
        let workshop = Workshop::new();
        let source = format!("#include <stdlib.h>\nint main(void) {{ {statement} return 0; }}\n");
        let program = workshop.gcc(("statement.c", &source), &["-O1"], "statement");
        let emulator = cairn_release::process::find_program(HOST.emulator());
        let emulator = emulator.expect("qemu-x86_64 must be installed: Debian package `qemu-user`");
        run_on_old_cpu(&program, &["argument"], &emulator, HOST.oldest_cpu()).unwrap()
    }

    #[test]
    fn a_program_that_uses_avx2_dies_on_the_old_processor() {
        let violations = run(r#"__asm__ volatile("vpaddd %%ymm0, %%ymm1, %%ymm2" ::: "memory");"#);
        assert_one(&violations, &["statement: died of signal 4 on Nehalem: it uses an instruction which", "lacks"]);
    }

    #[test]
    fn a_program_that_uses_the_declared_baseline_runs() {
        let crc = "crc32q %%rax, %%rcx\n popcnt %%rax, %%rcx\n pcmpgtq %%xmm0, %%xmm1";
        assert_none(&run(&format!("__asm__ volatile(\"{}\" ::: \"rcx\", \"cc\");", crc.replace('\n', "\\n"))));
    }

    #[test]
    fn a_program_that_aborts_or_fails_is_named_with_what_it_said() {
        assert_one(&run("abort();"), &["statement: died of signal 6 on Nehalem", "it said", "signal 6"]);
        assert_one(&run("exit(3);"), &["statement: failed (exit status: 3) on Nehalem"]);
    }
}
