//! Gate over the instructions in a program: the declared baseline was really used.
//!
//! The sign is the CRC32C instruction, which both baselines have (SSE4.2, Armv8 CRC) and which RocksDB uses only where
//! the compiler was told of it. The log's Rust library brings the same instruction in any case. On x86 it has fewer of them
//! than the least that is asked for; on Arm RocksDB has few as well, but alone uses the forms for half-words and words,
//! so only those count. That nothing *above* the baseline is used without a test shows
//! only when the program runs: [`super::old_cpu`].

use anyhow::{Context, Result};
use object::{Object as _, ObjectSection as _, ObjectSegment as _, SectionKind};

use crate::machine::Machine;

/// Prefix byte of the x86 instruction.
const X86_PREFIX: u8 = 0xf2;

/// Opcodes of the x86 instruction, for a byte and for larger words.
const X86_OPCODES: [[u8; 3]; 2] = [[0x0f, 0x38, 0xf0], [0x0f, 0x38, 0xf1]];

/// Bits that all forms of the Arm instruction share: all but word size and registers.
const ARM_MASK: u32 = 0x7fe0_f000;

/// Their values in CRC32CB, CRC32CH, CRC32CW and CRC32CX.
const ARM_BITS: u32 = 0x1ac0_5000;

/// What the two bits between them say in CRC32CH and in CRC32CW.
const ARM_HALF_WORD_AND_WORD: [u32; 2] = [1, 2];

/// Fewest instructions of a program in which the storage engine was compiled for the baseline.
fn least(machine: Machine) -> usize {
    match machine {
        Machine::Amd64 => 20,
        // Its remainder of a half-word, and of a word.
        Machine::Arm64 => 2,
    }
}

/// The program, which has the storage engine, has the CRC32C instructions that the baseline gives it.
///
/// # Errors
///
/// The bytes are no object file.
pub fn crc_instructions(name: &str, bytes: &[u8], machine: Machine) -> Result<Vec<String>> {
    let (count, least) = (count_crc(bytes, machine)?, least(machine));
    if count >= least {
        return Ok(Vec::new());
    }
    Ok(vec![format!(
        "{name}: has {count} CRC32C instructions of the engine, fewer than {least}: the C++ parts were not compiled for the baseline \
         of {machine}"
    )])
}

/// Counts the CRC32C instructions in the executable parts of a program that can be the storage engine's.
///
/// On x86 the bytes may also occur inside another instruction, about once in a thousand programs.
///
/// # Errors
///
/// The bytes are no object file, or its code cannot be read.
pub fn count_crc(bytes: &[u8], machine: Machine) -> Result<usize> {
    let file = object::File::parse(bytes).context("this is no object file")?;
    let mut codes = Vec::new();
    for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
        codes.push(section.data().context("a section with code cannot be read")?);
    }
    // A file without section headers runs all the same.
    if codes.is_empty() {
        for segment in file.segments().filter(|segment| segment.permissions().executable()) {
            codes.push(segment.data().context("a segment with code cannot be read")?);
        }
    }
    Ok(codes.into_iter().map(|code| count_in(code, machine)).sum())
}

fn count_in(code: &[u8], machine: Machine) -> usize {
    match machine {
        Machine::Amd64 => (0..code.len()).filter(|at| is_x86_crc(&code[*at..])).count(),
        Machine::Arm64 => {
            code.as_chunks().0.iter().filter(|word| is_arm_crc_of_words(u32::from_le_bytes(**word))).count()
        }
    }
}

fn is_x86_crc(code: &[u8]) -> bool {
    let Some((&X86_PREFIX, rest)) = code.split_first() else {
        return false;
    };
    // A REX prefix stands between the two where a 64-bit word or a high register is used.
    let rest = match rest.split_first() {
        Some((0x40..=0x4f, rest)) => rest,
        _ => rest,
    };
    X86_OPCODES.iter().any(|opcode| rest.starts_with(opcode))
}

fn is_arm_crc_of_words(word: u32) -> bool {
    let is_64_bit = word >> 31 == 1;
    word & ARM_MASK == ARM_BITS && !is_64_bit && ARM_HALF_WORD_AND_WORD.contains(&(word >> 10 & 3))
}
