//! Small programs built with gcc, good ones and ones with a certain fault.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cairn_release::gates::elf::ElfFacts;
use cairn_release::gates::policy::{ElfPolicy, GlibcVersion, Machine};
use tempfile::TempDir;

/// The machine of these tests.
#[cfg(target_arch = "x86_64")]
pub(crate) const HOST: Machine = Machine::Amd64;
/// The machine of these tests.
#[cfg(target_arch = "aarch64")]
pub(crate) const HOST: Machine = Machine::Arm64;

/// Flags of a program without fault.
pub(crate) const GOOD: [&str; 9] = [
    "-O1",
    "-fPIE",
    "-pie",
    "-fstack-protector-all",
    "-Wl,-z,relro,-z,now,-z,noexecstack",
    "-Wl,--build-id",
    "-Wl,--as-needed",
    "-Wl,-z,max-page-size=65536",
    "-s",
];

/// A program that does nothing.
pub(crate) const NOTHING: &str = "int main(void) { return 0; }\n";

/// A folder in which programs are built.
pub(crate) struct Workshop {
    pub(crate) folder: TempDir,
}

impl Workshop {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Compiles `source`, a file of this name with these contents, with the flags alone.
    pub(crate) fn gcc(&self, source: (&str, &str), flags: &[&str], to: &str) -> PathBuf {
        fs::write(self.path(source.0), source.1).unwrap();
        let out = self.path(to);
        let mut command = Command::new("gcc");
        command.current_dir(self.folder.path()).env("LC_ALL", "C").arg("-o").arg(&out).arg(source.0).args(flags);
        let output = command.output().expect("gcc must be installed: Debian packages `gcc` and `libc6-dev`");
        assert!(output.status.success(), "gcc: {}", String::from_utf8_lossy(&output.stderr));
        out
    }

    /// A program that would be good but for these flags, which come last.
    pub(crate) fn program(&self, flags: &[&str]) -> PathBuf {
        self.gcc(("nothing.c", NOTHING), &[&GOOD, flags].concat(), "nothing")
    }
}

/// The facts of a program that is good but for these flags.
pub(crate) fn facts_with(flags: &[&str]) -> ElfFacts {
    facts_of(&Workshop::new().program(flags))
}

pub(crate) fn facts_of(path: &Path) -> ElfFacts {
    ElfFacts::read(&fs::read(path).unwrap()).unwrap()
}

/// What a good program of this host must keep to, with the glibc of this host.
pub(crate) fn policy_for(facts: &ElfFacts) -> ElfPolicy {
    let floor = facts.highest_glibc().unwrap_or(GlibcVersion::new(2, 0));
    ElfPolicy::dynamic(HOST, floor).with_stack_protector()
}
