//! What `cairnd build-info` says about itself, read from the final program, under an emulator where it must be.
//!
//! Contract: the JSON is parsed strictly, so that the server and this module cannot drift apart in silence.
//! [`BuildInfo::violations`] holds it to what was declared for the target.
//!
//! Left out: the allocator's page size, which [`crate::gates::pages`] judges; what can be read from the file itself, since a
//! program's word about its libc or hardening would prove nothing.

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::process;

/// The hidden subcommand of the server.
pub const SUBCOMMAND: &str = "build-info";

/// Rust's names of the features of x86-64-v2, as the compiler reports them for `target-cpu=x86-64-v2`.
pub const X86_64_V2: [&str; 9] = ["cmpxchg16b", "fxsr", "popcnt", "sse", "sse2", "sse3", "sse4.1", "sse4.2", "ssse3"];

/// Rust's names of the features of armv8-a with CRC, as the compiler reports them for `target-feature=+crc`.
pub const ARMV8_A_CRC: [&str; 2] = ["crc", "neon"];

/// What compilers report beside these without asking more of a processor: how the C library is linked and how atomics are
/// called; and what x86-64-v2 has anyway under names that only a build with unstable ones shows, such as one that compiles
/// the standard library.
const ASKING_NOTHING: [&str; 4] = ["crt-static", "lahfsahf", "outline-atomics", "x87"];

/// What the server says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildInfo {
    /// Version of the product.
    pub version: String,
    /// Commit that it was built from, if the build said so.
    pub commit: Option<String>,
    /// Rust's name of the platform.
    pub target: String,
    /// Rust's names of the processor features that the code takes for granted, sorted.
    pub cpu_features: Vec<String>,
    /// The compiler's name, version and date.
    pub rustc: String,
    /// Who serves memory.
    pub allocator: Allocator,
    /// Whether an overflow of a number stops the program.
    pub overflow_checks: bool,
    /// RocksDB's version.
    pub rocksdb: String,
}

/// What the server says about its allocator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allocator {
    /// Its name.
    pub name: String,
    /// The largest page of a system on which it works.
    pub page_size_bytes: u64,
}

/// What was declared for a target.
#[derive(Debug, Clone, Copy)]
pub struct Declared<'a> {
    /// Version of the product.
    pub version: &'a str,
    /// Commit that is released.
    pub commit: Option<&'a str>,
    /// Rust's name of the platform.
    pub target: &'a str,
    /// Features of the processor: all of them must be used, and no other.
    pub cpu_features: &'a [&'a str],
}

impl BuildInfo {
    /// Asks a server program; `emulator` is the command, with its arguments, that runs programs of its architecture.
    ///
    /// # Errors
    ///
    /// It cannot be run or answers something else.
    pub fn ask(program: &Path, emulator: &[&str]) -> Result<Self> {
        let mut command = match emulator {
            [] => process::clean_command(program),
            [emulator, arguments @ ..] => {
                let mut command = process::clean_command(Path::new(emulator));
                command.args(arguments).arg(program);
                command
            }
        };
        Self::parse(&process::output(command.arg(SUBCOMMAND))?).with_context(|| program.display().to_string())
    }

    /// Reads the JSON.
    ///
    /// # Errors
    ///
    /// A field is missing, unknown or of another type.
    pub fn parse(json: &str) -> Result<Self> {
        serde_json::from_str(json).context("build-info is not what this version of cairn-release knows")
    }

    /// What is not as it was declared.
    #[must_use]
    pub fn violations(&self, declared: &Declared<'_>) -> Vec<String> {
        let mut violations = Vec::new();
        let mut check = |what: &str, is: &str, should: &str| {
            if is != should {
                violations.push(format!("build-info: {what} is {is}, not {should}"));
            }
        };
        check("version", &self.version, declared.version);
        check("commit", self.commit.as_deref().unwrap_or("unknown"), declared.commit.unwrap_or("unknown"));
        check("target", &self.target, declared.target);
        check("allocator", &self.allocator.name, "jemalloc");
        check("check of overflows", if self.overflow_checks { "on" } else { "off" }, "on");
        let lacking = declared.cpu_features.iter().filter(|name| !self.cpu_features.iter().any(|is| is == *name));
        violations.extend(lacking.map(|name| format!("build-info: the declared processor feature {name} is not used")));
        let known = |name: &str| declared.cpu_features.contains(&name) || ASKING_NOTHING.contains(&name);
        let extra = self.cpu_features.iter().filter(|name| !known(name));
        violations
            .extend(extra.map(|name| format!("build-info: needs the processor feature {name}, which is not declared")));
        violations
    }
}
