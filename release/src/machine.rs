//! The machines that we build for, and what each is called by those who have to tell them apart.
//!
//! Left out: the baseline of processor instructions, which is the plan's, and names that one format alone has.

use std::fmt;

use object::elf;
use serde::{Deserialize, Serialize};

/// The machines that we build for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Machine {
    /// 64-bit x86, at least x86-64-v2.
    Amd64,
    /// 64-bit Arm, at least Armv8-A with CRC instructions.
    Arm64,
}

impl Machine {
    /// All, in the order in which lists of them are published.
    pub const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// The machine with this number in the ELF header.
    #[must_use]
    pub fn of_elf_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|machine| machine.elf_number() == number)
    }

    /// The machine that this program runs on.
    #[must_use]
    pub fn here() -> Option<Self> {
        Self::ALL.into_iter().find(|machine| machine.uname() == std::env::consts::ARCH)
    }

    /// Debian's name, which is also Go's, and so that of images.
    #[must_use]
    pub fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// The kernel's name, as `uname -m` says it, which is also the one in Rust's triples and in most packages.
    #[must_use]
    pub fn uname(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    /// Version of the architecture, where images name one.
    #[must_use]
    pub fn image_variant(self) -> Option<&'static str> {
        match self {
            Self::Amd64 => None,
            Self::Arm64 => Some("v8"),
        }
    }

    /// Name of the folder for libraries in Debian's packages, in which their loader looks first.
    #[must_use]
    pub fn triplet(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-linux-gnu",
            Self::Arm64 => "aarch64-linux-gnu",
        }
    }

    /// The machine's number in the ELF header.
    #[must_use]
    pub fn elf_number(self) -> u16 {
        match self {
            Self::Amd64 => elf::EM_X86_64.0,
            Self::Arm64 => elf::EM_AARCH64.0,
        }
    }

    /// Path of glibc's loader, as a program names it.
    #[must_use]
    pub fn interpreter(self) -> &'static str {
        match self {
            Self::Amd64 => "/lib64/ld-linux-x86-64.so.2",
            Self::Arm64 => "/lib/ld-linux-aarch64.so.1",
        }
    }

    /// Name of glibc's loader, as a needed library.
    #[must_use]
    pub fn loader(self) -> &'static str {
        self.interpreter().rsplit('/').next().unwrap_or_default()
    }

    /// Bytes of the largest page that a kernel of this machine uses.
    #[must_use]
    pub fn largest_page_bytes(self) -> u64 {
        match self {
            Self::Amd64 => 4 << 10,
            Self::Arm64 => 64 << 10,
        }
    }

    /// Program that emulates the machine for one process.
    #[must_use]
    pub fn emulator(self) -> &'static str {
        match self {
            Self::Amd64 => "qemu-x86_64",
            Self::Arm64 => "qemu-aarch64",
        }
    }

    /// An emulated processor that has our baseline and nothing that came later: x86-64-v2 without AVX, or Armv8.0-A
    /// with CRC and without the atomics of Armv8.1.
    #[must_use]
    pub fn oldest_cpu(self) -> &'static str {
        match self {
            Self::Amd64 => "Nehalem",
            Self::Arm64 => "cortex-a53",
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.debian())
    }
}
