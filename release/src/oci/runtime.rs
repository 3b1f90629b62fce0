//! Which shared libraries the programs need, and where in an unpacked C library package they are.
//!
//! An image from scratch has no loader and no libc. Programs that are linked dynamically bring theirs along as a layer of
//! its own: exactly the files that the ELF headers ask for, directly and through one another, with the licences that came
//! with them. Static programs need nothing, and get nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::files::{EXECUTABLE_MODE, FILE_MODE};
use crate::gates::elf::ElfFacts;
use crate::machine::Machine;
use crate::sbom::Component;
use crate::tarball::{Entries, Entry};

/// The package of a C library, of which an image gets files.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// Folder into which it was unpacked: `lib/…`, `usr/share/doc/…`.
    pub root: PathBuf,
    /// The package.
    pub package: Component,
}

impl Runtime {
    /// The package with its version, as the image names it: `libc6 2.36-9`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{} {}", self.package.name, self.package.version)
    }
}

/// What a program or a library asks of its loader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linkage {
    /// Path of the loader; libraries and static programs have none.
    pub interpreter: Option<String>,
    /// Names of libraries.
    pub needed: Vec<String>,
}

impl Linkage {
    /// Reads the headers of a 64-bit ELF file.
    ///
    /// # Errors
    ///
    /// It is none, or one for another machine.
    pub fn read(bytes: &[u8], machine: Machine) -> Result<Self> {
        let facts = ElfFacts::read(bytes)?;
        let found = Machine::of_elf_number(facts.machine).map_or("another machine", Machine::debian);
        ensure!(found == machine.debian(), "built for {found}, not for {machine}");
        Ok(Self { interpreter: facts.interpreter, needed: facts.dynamic.unwrap_or_default().needed })
    }
}

/// The files that make these programs start, and the licences of where they come from; empty for static programs.
///
/// # Errors
///
/// A program that is no ELF file for the machine, a library that is missing, or a runtime without licence.
pub(super) fn layer(programs: &[PathBuf], runtime: Option<&Runtime>, machine: Machine) -> Result<Entries> {
    let mut entries = Entries::new();
    let mut waiting = Vec::new();
    for program in programs {
        let linkage = linkage(program, machine)?;
        if linkage == (Linkage { interpreter: None, needed: Vec::new() }) {
            continue;
        }
        let Some(runtime) = runtime else {
            bail!(
                "{} is linked dynamically ({}); give the folder of an unpacked C library package",
                program.display(),
                linkage.needed.join(", ")
            );
        };
        if let Some(path) = &linkage.interpreter {
            let name = path.rsplit('/').next().unwrap_or_default();
            let from = find(runtime, name, machine)?;
            entries.insert(path.trim_start_matches('/').to_owned(), Entry::File(EXECUTABLE_MODE, from));
        }
        waiting.extend(linkage.needed);
    }
    let Some(runtime) = runtime.filter(|_| !waiting.is_empty()) else { return Ok(entries) };
    let mut seen = BTreeSet::new();
    while let Some(name) = waiting.pop() {
        if is_loader(&name) || !seen.insert(name.clone()) {
            continue;
        }
        let from = find(runtime, &name, machine)?;
        waiting.extend(linkage(&from, machine)?.needed);
        entries.insert(format!("lib/{}/{name}", machine.triplet()), Entry::File(FILE_MODE, from));
    }
    entries.extend(licences(runtime)?);
    Ok(entries)
}

/// What is missing in a file system for its programs to start, as sentences.
#[must_use]
pub(super) fn violations(files: &BTreeMap<String, Vec<u8>>, machine: Machine) -> Vec<String> {
    let library = |name: &str| format!("lib/{}/{name}", machine.triplet());
    let mut violations = Vec::new();
    for (path, bytes) in files {
        if !path.starts_with("usr/bin/") && !path.starts_with("lib/") {
            continue;
        }
        match Linkage::read(bytes, machine) {
            Err(e) => violations.push(format!("{path}: {e:#}")),
            Ok(linkage) => {
                let loader = linkage.interpreter.iter().map(|path| path.trim_start_matches('/').to_owned());
                let libraries = linkage.needed.iter().filter(|name| !is_loader(name)).map(|name| library(name));
                let missing = loader.chain(libraries).filter(|needed| !files.contains_key(needed));
                violations.extend(missing.map(|needed| format!("{path} needs {needed}, which the image lacks")));
            }
        }
    }
    violations
}

/// The loader is there by its path already when somebody asks for it by its name.
fn is_loader(name: &str) -> bool {
    name.starts_with("ld-linux")
}

fn linkage(path: &Path, machine: Machine) -> Result<Linkage> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Linkage::read(&bytes, machine).with_context(|| path.display().to_string())
}

/// Finds a library. A link that leads out of the folder is passed over: it would be a file of this machine.
fn find(runtime: &Runtime, name: &str, machine: Machine) -> Result<PathBuf> {
    let root = runtime.root.canonicalize().with_context(|| format!("cannot read {}", runtime.root.display()))?;
    let folders = ["lib/", "usr/lib/"].map(|folder| format!("{folder}{}", machine.triplet()));
    let candidates = folders.iter().filter_map(|folder| root.join(folder).join(name).canonicalize().ok());
    candidates.filter(|path| path.starts_with(&root)).find(|path| path.is_file()).with_context(|| {
        format!("{} has no {name} in {}; unpack the package that has it there", root.display(), folders.join(" or "))
    })
}

fn licences(runtime: &Runtime) -> Result<Entries> {
    let docs = runtime.root.join("usr/share/doc");
    let mut entries = Entries::new();
    for package in crate::files::names_in(&docs).unwrap_or_default() {
        let path = docs.join(&package).join("copyright");
        if let Ok(text) = fs::read(&path) {
            entries.insert(format!("usr/share/doc/{package}/copyright"), Entry::Bytes(FILE_MODE, text));
        }
    }
    ensure!(!entries.is_empty(), "{} has no copyright file; libraries need theirs", docs.display());
    Ok(entries)
}
