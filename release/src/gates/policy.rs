//! What a program of a target must look like: the declared side of the ELF gates.
//!
//! The values are plain, so that the plan can hold them and print them; reading an ELF file is [`super::elf`]'s part.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use crate::machine::Machine;

/// Libraries of glibc that any Linux with glibc has; the loader of the machine comes on top.
pub const GLIBC_LIBRARIES: [&str; 5] = ["libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1"];

/// A version of glibc, as in `GLIBC_2.2.5`; compared number by number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GlibcVersion(Vec<u32>);

/// Why a text is no version of glibc.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no version of glibc; it should look like 2.28")]
pub struct NoGlibcVersion(String);

impl GlibcVersion {
    /// The version with these two numbers.
    #[must_use]
    pub fn new(major: u32, minor: u32) -> Self {
        Self(vec![major, minor])
    }
}

impl FromStr for GlibcVersion {
    type Err = NoGlibcVersion;

    fn from_str(text: &str) -> Result<Self, NoGlibcVersion> {
        let numbers: Option<Vec<_>> = text.split('.').map(|number| number.parse().ok()).collect();
        match numbers {
            Some(numbers) if numbers.len() >= 2 => Ok(Self(numbers)),
            _ => Err(NoGlibcVersion(text.to_owned())),
        }
    }
}

impl fmt::Display for GlibcVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<_> = self.0.iter().map(u32::to_string).collect();
        f.write_str(&numbers.join("."))
    }
}

impl TryFrom<String> for GlibcVersion {
    type Error = NoGlibcVersion;

    fn try_from(text: String) -> Result<Self, NoGlibcVersion> {
        text.parse()
    }
}

impl From<GlibcVersion> for String {
    fn from(version: GlibcVersion) -> Self {
        version.to_string()
    }
}

/// How a program finds its libraries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Linking {
    /// Through glibc's loader.
    Dynamic {
        /// Highest version of glibc that a symbol may need.
        glibc_floor: GlibcVersion,
        /// Names of the libraries that the program may need, such as `libc.so.6`.
        needed: Vec<String>,
    },
    /// Not at all: everything is in the program.
    Static,
}

/// What a program of a target must look like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ElfPolicy {
    /// Machine that it is for.
    pub machine: Machine,
    /// How it finds its libraries.
    pub linking: Linking,
    /// Bytes of the largest page that it must run on: of segments and of the allocator.
    pub page_bytes: u64,
    /// Whether it must use the stack protector. It shows where C or C++ is linked: among the
    /// imports of a dynamic program, among the symbols in the debug file of a static one.
    pub stack_protector: bool,
}

impl ElfPolicy {
    /// A dynamic program that needs glibc's own libraries and nothing else, of this version at most.
    #[must_use]
    pub fn dynamic(machine: Machine, glibc_floor: GlibcVersion) -> Self {
        let needed = GLIBC_LIBRARIES.into_iter().chain([machine.loader()]).map(str::to_owned).collect();
        Self {
            machine,
            linking: Linking::Dynamic { glibc_floor, needed },
            page_bytes: machine.largest_page_bytes(),
            stack_protector: false,
        }
    }

    /// A program with everything in it.
    #[must_use]
    pub fn fully_static(machine: Machine) -> Self {
        Self { machine, linking: Linking::Static, page_bytes: machine.largest_page_bytes(), stack_protector: false }
    }

    /// The policy with the stack protector demanded.
    #[must_use]
    pub fn with_stack_protector(mut self) -> Self {
        self.stack_protector = true;
        self
    }
}
