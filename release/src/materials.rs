//! What went into a release besides the commit, as provenance names it: toolchains, tools, the images' C library.
//!
//! Contract: a hash is that of a file's bytes, and the name says which file it is (`pkg:generic/rust@1.95.0#bin/cargo`), so
//! that whoever has such a toolchain can compare. No name has a path of the machine in it. Left out: programs that only
//! check, and those that make repositories (createrepo_c) of what is finished: no byte of the release is theirs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::digest::digest_file;
use crate::files;
use crate::machine::Machine;
use crate::oci::Linkage;
use crate::process;
use crate::provenance::Material;
use crate::toolchain::{Toolchain, std_source};

/// Beginnings of the names of the libraries that are the compiler; `rustc` itself only starts them.
const COMPILER_LIBRARIES: [&str; 2] = ["librustc_driver", "libLLVM"];

/// Lists materials; each file is read once.
#[derive(Debug, Default)]
pub struct Materials {
    listed: Vec<Material>,
    hashes: BTreeMap<PathBuf, String>,
}

impl Materials {
    /// What was listed.
    #[must_use]
    pub fn into_list(self) -> Vec<Material> {
        self.listed
    }

    /// Lists something whose hash is known.
    pub fn add(&mut self, material: Material) {
        self.listed.push(material);
    }

    /// Lists a file.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn add_file(&mut self, name: String, uri: String, path: &Path) -> Result<()> {
        if !self.hashes.contains_key(path) {
            let digest = digest_file(path).with_context(|| format!("cannot read {}", path.display()))?;
            self.hashes.insert(path.to_owned(), digest.sha256);
        }
        let digest = [("sha256".to_owned(), self.hashes[path].clone())].into();
        self.listed.push(Material { name, uri, digest });
        Ok(())
    }

    /// Lists a tool; `version` are the arguments that let it say its version, none for one that does not.
    ///
    /// # Errors
    ///
    /// It cannot be read or started.
    pub fn add_tool(&mut self, name: &str, program: &Path, version: &[&str]) -> Result<()> {
        let mut uri = format!("pkg:generic/{name}");
        if !version.is_empty() {
            let said = process::output(process::clean_command(program).args(version))?;
            let version = version_in(&said).with_context(|| format!("{name} does not say its version: {said}"))?;
            uri.push_str(&format!("@{version}"));
        }
        self.add_file(name.to_owned(), uri, program)
    }

    /// Lists compiler, cargo and standard library that make the programs of a target; `triple` is Rust's name of it.
    ///
    /// # Errors
    ///
    /// A file of the toolchain is missing or cannot be read.
    pub fn add_toolchain(&mut self, toolchain: &Toolchain, target: &str, triple: &str) -> Result<()> {
        let uri = |path: &Path| {
            let place = path.strip_prefix(&toolchain.sysroot).unwrap_or(path.file_name().map_or(path, Path::new));
            format!("pkg:generic/rust@{}#{}", toolchain.release(), place.display())
        };
        for path in compiler(toolchain)? {
            self.add_file(format!("rustc for {target}"), uri(&path), &path)?;
        }
        let cargo = toolchain.bin.join("cargo");
        self.add_file(format!("cargo for {target}"), uri(&cargo), &cargo)?;
        if toolchain.builds_std {
            // Of the source, which has thousands of files, the one that names all that is compiled besides it.
            let lock = std_source(toolchain).join("library/Cargo.lock");
            return self.add_file(format!("source of the standard library for {target}"), uri(&lock), &lock);
        }
        let folder = toolchain.sysroot.join("lib/rustlib").join(triple).join("lib");
        // It names all that it was linked with, by hash, so that it stands for the library's other crates.
        let names = files::names_in(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let std = names.iter().find(|name| name.starts_with("libstd-") && name.ends_with(".rlib"));
        let std = folder.join(std.with_context(|| format!("{} has no libstd", folder.display()))?);
        self.add_file(format!("standard library for {target}"), uri(&std), &std)
    }
}

/// `rustc`, and the libraries that it is made of.
fn compiler(toolchain: &Toolchain) -> Result<Vec<PathBuf>> {
    let machine = Machine::here().context("toolchains of this machine are not known")?;
    // rustup has them in the first, Debian in the second.
    let lib = toolchain.sysroot.join("lib");
    let folders = [lib.clone(), lib.join(machine.triplet())];
    let mut found = vec![toolchain.bin.join("rustc")];
    let mut next = 0;
    while let Some(path) = found.get(next).cloned() {
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let needed = Linkage::read(&bytes, machine).with_context(|| path.display().to_string())?.needed;
        for name in needed.iter().filter(|name| COMPILER_LIBRARIES.iter().any(|start| name.starts_with(start))) {
            let library = folders.iter().map(|folder| folder.join(name)).find(|library| library.is_file());
            let library = library.with_context(|| format!("{} needs {name}, which is not there", path.display()))?;
            if !found.contains(&library) {
                found.push(library);
            }
        }
        next += 1;
    }
    Ok(found)
}

/// The first word with digits and dots alone: `0.24.0` of `cargo-zigbuild 0.24.0`.
fn version_in(said: &str) -> Option<&str> {
    let is_version = |word: &&str| word.contains('.') && word.split('.').all(|number| number.parse::<u32>().is_ok());
    said.split_whitespace().find(is_version)
}
