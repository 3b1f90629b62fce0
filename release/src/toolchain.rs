//! Finds what compiles for a target: a Rust toolchain that has the target's standard library, and the programs beside it.
//!
//! The pinned toolchain comes first. Where it lacks a target and rustup cannot fetch it (no network), any other rustc of
//! the machine that has it serves, for example the distribution's; provenance records which one it was, so that a rebuild
//! can use the same.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::plan::Target;
use crate::process;

/// A Rust toolchain: a folder with `rustc` and `cargo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    /// Folder of both programs.
    pub bin: PathBuf,
    /// What `rustc -vV` says, one line each.
    pub version: String,
    /// Folder of the standard library's targets.
    pub sysroot: PathBuf,
}

impl Toolchain {
    /// The first toolchain that can build for the target: the pinned one, then every `rustc` in `PATH`, then the usual places.
    ///
    /// # Errors
    ///
    /// None has the target; the message says what to install.
    pub fn find(root: &Path, target: &Target) -> Result<Self> {
        let mut seen = Vec::new();
        for bin in candidates(root) {
            let Ok(toolchain) = Self::of(&bin) else { continue };
            if toolchain.has(&target.triple) {
                return Ok(toolchain);
            }
            seen.push(toolchain.short_version());
        }
        bail!(
            "no Rust toolchain has the target {} (looked at: {}); run `rustup target add {}` or install the Debian \
             packages rustc-web, cargo-web and libstd-rust-web-dev:{}",
            target.triple,
            seen.join(", "),
            target.triple,
            target.arch.debian
        )
    }

    fn of(bin: &Path) -> Result<Self> {
        let rustc = bin.join("rustc");
        if !bin.join("cargo").is_file() {
            bail!("{} has no cargo", bin.display());
        }
        let version = process::output(process::clean_command(&rustc).arg("-vV"))?;
        let sysroot = process::output(process::clean_command(&rustc).args(["--print", "sysroot"]))?;
        Ok(Self { bin: bin.to_owned(), version, sysroot: PathBuf::from(sysroot.trim()) })
    }

    fn has(&self, triple: &str) -> bool {
        let libraries = self.sysroot.join("lib/rustlib").join(triple).join("lib");
        std::fs::read_dir(libraries).is_ok_and(|mut entries| {
            entries.any(|entry| entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("libstd-")))
        })
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
