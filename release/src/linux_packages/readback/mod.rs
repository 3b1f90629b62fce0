//! Reads a finished package back and compares it with its plan.
//!
//! Contract: what is judged comes from the final bytes, by the format's own tools where there are some (dpkg-deb, rpm),
//! else by the tar that the format is. Metadata, list of files, types, modes, owners, times, contents, configuration files
//! and dependencies must be the planned ones, and the dependencies those of the programs *in the package*.
//!
//! Left out: scripts, which the installation trials run.

mod formats;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use tar::EntryType;

use super::contents::Role;
use super::dependencies::{self, Needs};
use super::{Content, Format, Package};
use crate::files::EXECUTABLE_MODE;
use crate::machine::Machine;

/// What a finished package says and holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Finished {
    /// Its name.
    pub name: String,
    /// Its version, with the number of the packaging where the format has one.
    pub version: String,
    /// What it runs on, in the format's word.
    pub machine: String,
    /// What it depends on, without what the package manager itself provides.
    pub depends: BTreeSet<String>,
    /// Names that it also answers to.
    pub provides: BTreeSet<String>,
    /// Packages that cannot be installed beside it.
    pub conflicts: BTreeSet<String>,
    /// Packages that it takes the place of.
    pub replaces: BTreeSet<String>,
    /// Files whose edited content an upgrade keeps.
    pub configuration: BTreeSet<String>,
    /// What it installs, by absolute path.
    pub entries: BTreeMap<String, Found>,
    /// What the programs in it need.
    pub needs: Needs,
    /// Programs in it, and what each is for; none is a machine that no package is made for.
    pub programs: BTreeMap<String, Option<Machine>>,
}

/// One thing that a finished package installs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub kind: FoundKind,
    /// Its permissions; of no meaning for a link.
    pub mode: u32,
    /// Its owner, as `root:root` or by number.
    pub owner: String,
    /// Seconds since 1970.
    pub mtime: u64,
}

/// What an installed thing is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundKind {
    /// A file with this SHA-256.
    File(String),
    /// A symbolic link to this path.
    Link(String),
    /// A folder.
    Folder,
    /// Something that no package of ours may hold.
    Other,
}

/// Reads a package.
///
/// # Errors
///
/// It cannot be read as a package of its format, or a tool is missing.
pub fn read(path: &Path, format: Format) -> Result<Finished> {
    let read = match format {
        Format::Deb => formats::deb,
        Format::Rpm => formats::rpm,
        Format::Apk => formats::apk,
        Format::Arch => formats::arch,
    };
    read(path).with_context(|| format!("cannot read the package {}", path.display()))
}

/// The version that a package names, with the number of the packaging where the format has one.
///
/// # Errors
///
/// It cannot be read as a package of its format or names none, or a tool is missing.
pub fn version(path: &Path, format: Format) -> Result<String> {
    formats::version(path, format).with_context(|| format!("cannot read the package {}", path.display()))
}

/// Takes an entry of a package's tar; `name` is its absolute path.
fn add_entry(finished: &mut Finished, name: String, entry: &mut tar::Entry<'_, impl Read>) -> Result<()> {
    let header = entry.header().clone();
    let kind = match header.entry_type() {
        EntryType::Regular | EntryType::Continuous => {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            if bytes.starts_with(b"\x7fELF") {
                finished.programs.insert(name.clone(), dependencies::machine_of_elf(&bytes)?);
                finished.needs.merge(Needs::of_elf(&bytes).with_context(|| format!("in {name}"))?);
            }
            FoundKind::File(sha256(&bytes))
        }
        EntryType::Symlink => {
            let to = entry.link_name()?.context("a link without target")?;
            FoundKind::Link(to.to_string_lossy().into_owned())
        }
        EntryType::Directory => FoundKind::Folder,
        _ => FoundKind::Other,
    };
    let owner = if header.uid()? == 0 && header.gid()? == 0 {
        let name = |bytes: Option<&[u8]>| match bytes {
            None | Some(b"") => "root".to_owned(),
            Some(name) => String::from_utf8_lossy(name).into_owned(),
        };
        format!("{}:{}", name(header.username_bytes()), name(header.groupname_bytes()))
    } else {
        format!("{}:{}", header.uid()?, header.gid()?)
    };
    let found = Found { kind, mode: header.mode()? & 0o7777, owner, mtime: header.mtime()? };
    finished.entries.insert(name, found);
    Ok(())
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Gate: the finished package is the planned one, and depends on what the programs in it need.
#[must_use]
pub fn violations(package: &Package, finished: &Finished) -> Vec<String> {
    let (file, format) = (package.file_name(), package.id.format);
    let mut violations = Vec::new();
    let mut equal = |what: &str, planned: &str, found: &str| {
        if planned != found {
            violations.push(format!("{file} has the {what} {found:?}, planned is {planned:?}"));
        }
    };
    equal("name", package.id.kind.package_name(), &finished.name);
    equal("version", &package.version.full(format), &finished.version);
    equal("machine", format.machine(package.id.machine), &finished.machine);
    for (what, planned, found) in [
        ("provided names", &package.provides, &finished.provides),
        ("conflicts", &package.conflicts, &finished.conflicts),
        ("replaced packages", &package.replaces, &finished.replaces),
    ] {
        equal(what, &joined(planned), &joined(found));
    }
    equal("configuration files", &joined(&planned_configuration(package)), &joined(&finished.configuration));
    violations.extend(entry_violations(package, finished));
    for (path, machine) in finished.programs.iter().filter(|(_, machine)| !package.id.is_for(**machine)) {
        let machine = machine.map_or("another machine".to_owned(), |machine| format!("{machine:?}"));
        violations.push(format!("{file}: {path} is for {machine}, not for {}", package.id.machine_shown()));
    }
    let found: Vec<_> = finished.depends.iter().cloned().collect();
    violations.extend(dependencies::violations(&file, &finished.needs, format, &package.own_depends, &found));
    violations
}

fn joined<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    names.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn planned_configuration(package: &Package) -> Vec<String> {
    let is_configuration = |content: &Content| matches!(content, Content::File { role: Role::Configuration, .. });
    match package.id.format {
        // apk knows no such mark: it keeps every edited file below /etc.
        Format::Apk => Vec::new(),
        _ => package
            .contents
            .iter()
            .filter(|(_, content)| is_configuration(content))
            .map(|(path, _)| path.clone())
            .collect(),
    }
}

fn entry_violations(package: &Package, finished: &Finished) -> Vec<String> {
    let file = package.file_name();
    let mut violations = Vec::new();
    for (path, content) in &package.contents {
        match finished.entries.get(path) {
            None => violations.push(format!("{file} lacks {path}")),
            Some(found) => violations.extend(difference(content, found).map(|what| format!("{file}: {path} {what}"))),
        }
    }
    for (path, found) in &finished.entries {
        let is_parent = found.kind == FoundKind::Folder
            && package.contents.keys().any(|planned| planned.starts_with(&format!("{path}/")));
        if !package.contents.contains_key(path) && !is_parent {
            violations.push(format!("{file} holds {path}, which is not planned"));
        }
        if found.kind == FoundKind::Folder && found.mode != EXECUTABLE_MODE {
            violations
                .push(format!("{file}: the folder {path} has mode {:04o}, not {EXECUTABLE_MODE:04o}", found.mode));
        }
        if found.owner != "root:root" {
            violations.push(format!("{file}: {path} belongs to {}, not to root:root", found.owner));
        }
        if found.mtime != package.source_date_epoch {
            violations.push(format!("{file}: {path} has the time {}, not the release's", found.mtime));
        }
    }
    violations
}

/// How a thing differs from its plan.
fn difference(planned: &Content, found: &Found) -> Option<String> {
    match (planned, &found.kind) {
        (Content::File { bytes, .. }, FoundKind::File(digest)) if sha256(bytes) != *digest => {
            Some("has another content than planned".to_owned())
        }
        (Content::File { mode, .. }, FoundKind::File(_)) if *mode != found.mode => {
            Some(format!("has mode {:04o}, planned is {mode:04o}", found.mode))
        }
        (Content::Link(planned), FoundKind::Link(to)) if planned != to => {
            Some(format!("leads to {to}, planned is {planned}"))
        }
        (Content::File { .. }, FoundKind::File(_))
        | (Content::Link(_), FoundKind::Link(_))
        | (Content::Folder, FoundKind::Folder) => None,
        _ => Some("is of another type than planned".to_owned()),
    }
}
