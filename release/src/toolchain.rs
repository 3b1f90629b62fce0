//! Finds what compiles for a target: a Rust toolchain that has the target's standard library, and the programs beside it.
//!
//! The pinned toolchain comes first. Where it lacks a target and rustup cannot fetch it (no network), any other rustc of
//! the machine that has it serves, for example the distribution's; provenance records which one it was, so that a rebuild
//! can use the same. One that has the standard library's source has every target: it compiles the library, too.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::machine::Machine;
use crate::plan::Target;
use crate::process;

/// Where a toolchain has the standard library's source, if it has it.
#[must_use]
pub fn std_source(toolchain: &Toolchain) -> PathBuf {
    toolchain.sysroot.join("lib/rustlib/src/rust")
}

/// The Debian packages of a toolchain that has the target, for where rustup cannot fetch it.
#[must_use]
pub fn debian_packages(target: &Target) -> [&'static str; 3] {
    match (target.is_static(), target.elf.machine) {
        (true, _) => ["rustc-web", "cargo-web", "rust-web-src"],
        (false, Machine::Amd64) => ["rustc-web", "cargo-web", "libstd-rust-web-dev:amd64"],
        (false, Machine::Arm64) => ["rustc-web", "cargo-web", "libstd-rust-web-dev:arm64"],
    }
}

/// A Rust toolchain: a folder with `rustc` and `cargo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    /// Folder of both programs.
    pub bin: PathBuf,
    /// What `rustc -vV` says, one line each.
    pub version: String,
    /// Folder of the standard library's targets.
    pub sysroot: PathBuf,
    /// Whether the standard library for the target that it was found for comes from its source.
    pub builds_std: bool,
}

impl Toolchain {
    /// The first toolchain that can build for the target: the pinned one, then every `rustc` in `PATH`, then the usual places.
    ///
    /// # Errors
    ///
    /// None has the target; the message says what to install.
    pub fn find(root: &Path, target: &Target) -> Result<Self> {
        // Each asks two programs: those behind the right one are not asked.
        let toolchains = candidates(root).into_iter().filter_map(|bin| Self::of(&bin).ok());
        Self::choose(toolchains, &target.triple).or_else(|unfit| {
            let seen: Vec<_> = unfit.iter().map(Self::short_version).collect();
            bail!(
                "no Rust toolchain has the target {} (looked at: {}); run `rustup target add {}` or install the Debian \
                 packages {}",
                target.triple,
                seen.join(", "),
                target.triple,
                debian_packages(target).join(" ")
            )
        })
    }

    /// The first that has the platform's standard library, else the first that can compile it; all of them if none can.
    fn choose(toolchains: impl IntoIterator<Item = Self>, triple: &str) -> Result<Self, Vec<Self>> {
        let mut unfit = Vec::new();
        for toolchain in toolchains {
            if toolchain.has(triple) {
                return Ok(toolchain);
            }
            unfit.push(toolchain);
        }
        match unfit.iter().position(Self::has_source) {
            Some(first) => Ok(Self { builds_std: true, ..unfit.swap_remove(first) }),
            None => Err(unfit),
        }
    }

    fn of(bin: &Path) -> Result<Self> {
        let rustc = bin.join("rustc");
        if !bin.join("cargo").is_file() {
            bail!("{} has no cargo", bin.display());
        }
        let version = process::output(process::clean_command(&rustc).arg("-vV"))?;
        let sysroot = process::output(process::clean_command(&rustc).args(["--print", "sysroot"]))?;
        Ok(Self { bin: bin.to_owned(), version, sysroot: PathBuf::from(sysroot.trim()), builds_std: false })
    }

    fn has(&self, triple: &str) -> bool {
        let libraries = self.sysroot.join("lib/rustlib").join(triple).join("lib");
        std::fs::read_dir(libraries).is_ok_and(|mut entries| {
            entries.any(|entry| entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("libstd-")))
        })
    }

    fn has_source(&self) -> bool {
        // The lock file is what cargo looks for; some installations have a part of the source, for editors.
        std_source(self).join("library/Cargo.lock").is_file()
    }

    /// The number of the version, such as `1.95.0`.
    #[must_use]
    pub fn release(&self) -> &str {
        self.version.lines().find_map(|line| line.strip_prefix("release: ")).unwrap_or_default()
    }

    /// The first line of the version, such as `rustc 1.95.0 (…)`.
    #[must_use]
    pub fn short_version(&self) -> String {
        self.version.lines().next().unwrap_or_default().to_owned()
    }
}

/// Folders with a `rustc`, the pinned toolchain's first; rustup's proxies stand for it and are resolved to it.
fn candidates(root: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if let Some(rustc) = process::find_program("rustc") {
        let mut command = process::clean_command(&rustc);
        for name in ["HOME", "RUSTUP_HOME", "CARGO_HOME"] {
            if let Some(value) = env::var_os(name) {
                command.env(name, value);
            }
        }
        let sysroot = process::output(command.current_dir(root).args(["--print", "sysroot"]));
        folders.extend(sysroot.ok().map(|sysroot| Path::new(sysroot.trim()).join("bin")));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    folders.extend(env::split_paths(&path).filter(|folder| folder.join("rustc").is_file()));
    folders.push(PathBuf::from("/usr/bin"));
    folders
}

/// A program that the pipeline cannot do without, by the name under which it is found.
///
/// # Errors
///
/// It is not in `PATH`; the message says where it comes from.
pub fn require(program: &str, comes_from: &str) -> Result<PathBuf> {
    process::find_program(program).with_context(|| {
        format!("the program {program} is missing; install {comes_from} (`cairn-release doctor` lists all)")
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A toolchain with these files below its sysroot.
    fn toolchain(sysroot: &Path, name: &str, files: &[&str]) -> Toolchain {
        for file in files {
            let path = sysroot.join(name).join("lib/rustlib").join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let sysroot = sysroot.join(name);
        Toolchain { bin: sysroot.join("bin"), version: format!("rustc {name}"), sysroot, builds_std: false }
    }

    #[test]
    fn a_compiled_standard_library_is_preferred_to_its_source_and_the_source_to_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let bare = toolchain(folder.path(), "bare", &["src/rust/library/std/Cargo.toml"]);
        let source = toolchain(folder.path(), "source", &["src/rust/library/Cargo.lock"]);
        let complete = toolchain(folder.path(), "complete", &["some-platform/lib/libstd-1.rlib"]);
        let all = [bare.clone(), source.clone(), complete.clone()];
        assert_eq!(Toolchain::choose(all.clone(), "some-platform"), Ok(complete));
        assert_eq!(Toolchain::choose(all, "other-platform"), Ok(Toolchain { builds_std: true, ..source }));
        assert_eq!(Toolchain::choose([bare.clone()], "some-platform"), Err(vec![bare]));
    }
}
