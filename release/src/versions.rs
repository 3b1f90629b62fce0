//! The gate that one version is named everywhere: lock file, change log, documents, programs, man pages, packages, images.
//!
//! Contract: a collector does not guess, and does not fail but for files that cannot be read. It takes one place and gives
//! what that place names, in the words of the place; a place that names no version gives a [`Found`] without one, which is
//! a violation. [`violations`] is the one comparison. Packages write versions in forms of their own ([`Form`]), so the
//! expected version is turned into the form and compared letter by letter, never the other way round.
//!
//! Left out: `release.json`, which is written afterwards, and which [`crate::verify`] holds to the version; what the server
//! says in its build-info, see [`crate::build_info`].

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::files;
use crate::linux_packages::{self, Format, readback};
use crate::oci::{Layout, REF_NAME, is_fallback_tag};
use crate::process;

/// The annotation of container images that names their version.
const IMAGE_VERSION: &str = "org.opencontainers.image.version";

/// Words after which a document names our version, in lower case.
const PRODUCT_WORDS: [&str; 5] = ["cairn-bench", "cairnctl", "cairnutl", "cairnd", "cairn"];

/// Documents that speak of this version and no other, relative to the root of the source tree. Others tell history.
const DOCUMENTS: [&str; 2] = ["README.md", "docs/COMPATIBILITY.md"];

/// The folder whose files, at any depth, do so, too.
const PACKAGING: &str = "packaging";

/// How a place writes versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As in Cargo.toml: `1.2.0-rc.1`.
    Plain,
    /// As packages of this format do, with the number of the packaging where the format has one: `1.2.0~rc1-1`.
    Package(Format),
}

impl Form {
    /// The version in this form; one that no package can have stays as it is.
    #[must_use]
    pub fn write(self, version: &str) -> String {
        match self {
            Self::Plain => version.to_owned(),
            Self::Package(format) => {
                linux_packages::Version::parse(version).map_or_else(|_| version.to_owned(), |it| it.full(format))
            }
        }
    }
}

/// What one place names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The place, as a person would look for it.
    pub place: String,
    /// How versions are written there.
    pub form: Form,
    /// The version as it stands there, if there is one.
    pub version: Option<String>,
}

impl Found {
    /// What was found in a place.
    #[must_use]
    pub fn new(place: impl Into<String>, form: Form, version: Option<String>) -> Self {
        Self { place: place.into(), form, version }
    }
}

/// Every place that does not name `version`.
#[must_use]
pub fn violations(version: &str, found: &[Found]) -> Vec<String> {
    if found.is_empty() {
        return vec!["no place was looked at for its version".to_owned()];
    }
    let wrong = found.iter().filter_map(|Found { place, form, version: found }| match found {
        None => Some(format!("{place} names no version; it should name {}", form.write(version))),
        Some(found) if *found == form.write(version) => None,
        Some(found) => Some(format!("{place} names version {found}, not {}", form.write(version))),
    });
    wrong.collect()
}

/// What the source tree at `root` names: lock file, change log, documents, packaging files.
///
/// # Errors
///
/// A file cannot be read.
pub fn of_tree(root: &Path) -> Result<Vec<Found>> {
    let mut found = of_cargo_lock(&read(root, "Cargo.lock")?);
    found.push(of_changelog("CHANGELOG.md", &read(root, "CHANGELOG.md")?));
    let mut documents: Vec<_> = DOCUMENTS.iter().map(|path| (*path).to_owned()).collect();
    add_files(root, PACKAGING, &mut documents)?;
    for path in documents {
        found.extend(of_document(&path, &read(root, &path)?));
    }
    Ok(found)
}

/// Starts a program with `--version`. One that cannot be run names no version, and the place says why.
#[must_use]
pub fn of_program(name: &str, program: &mut Command) -> Found {
    match process::output(program.arg("--version")) {
        Ok(output) => of_version_output(name, &output),
        Err(e) => Found::new(format!("{name} --version ({e:#})"), Form::Plain, None),
    }
}

/// What a program printed: its first line starts with its name and has the version as the first word with a digit.
#[must_use]
pub fn of_version_output(name: &str, output: &str) -> Found {
    let rest = output.lines().next().and_then(|line| line.strip_prefix(name));
    let words = rest.map(|rest| rest.split([' ', ',']).filter(|word| starts_with_digit(word)));
    Found::new(format!("{name} --version"), Form::Plain, words.and_then(|mut words| words.next()).map(str::to_owned))
}

/// The packages of a `Cargo.lock` that are part of the tree, each of which has the product's version.
#[must_use]
pub fn of_cargo_lock(text: &str) -> Vec<Found> {
    #[derive(Deserialize)]
    struct Lock {
        package: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        version: String,
        source: Option<String>,
    }
    let packages = toml::from_str::<Lock>(text).map(|lock| lock.package).unwrap_or_default();
    let own = packages.into_iter().filter(|package| package.source.is_none());
    let found: Vec<_> = own
        .map(|package| Found::new(format!("Cargo.lock, package {}", package.name), Form::Plain, Some(package.version)))
        .collect();
    if found.is_empty() { vec![Found::new("Cargo.lock", Form::Plain, None)] } else { found }
}

/// The title line of a man page: `.TH NAME SECTION "DATE" "PROGRAM VERSION"`.
#[must_use]
pub fn of_man_page(place: &str, text: &str) -> Found {
    let title = text.lines().find_map(|line| line.strip_prefix(".TH "));
    // A page's section is one digit; a version has dots.
    let words = title.map(|title| title.split([' ', '"']).filter(|word| starts_with_digit(word) && word.contains('.')));
    Found::new(place, Form::Plain, words.and_then(|mut words| words.next()).map(|word| word.replace("\\-", "-")))
}

/// The newest release of a change log: its first heading of the second level.
#[must_use]
pub fn of_changelog(place: &str, text: &str) -> Found {
    let heading = text.lines().find_map(|line| line.strip_prefix("## "));
    let word = heading.and_then(|heading| heading.split_whitespace().next());
    let word = word.map(|word| word.trim_matches(['[', ']']).trim_start_matches('v').to_owned());
    Found::new(place, Form::Plain, word.filter(|word| starts_with_digit(word)))
}

/// What a finished package says. One that cannot be read names no version, and the place says why.
#[must_use]
pub fn of_package(path: &Path, format: Format) -> Found {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match readback::version(path, format) {
        Ok(version) => Found::new(name, Form::Package(format), Some(version)),
        Err(e) => Found::new(format!("{name} ({e:#})"), Form::Package(format), None),
    }
}

/// The annotations of everything in an OCI layout that has a version's tag: the index and each image. Lists of what refers
/// to these are tagged with a digest and have no annotations.
///
/// # Errors
///
/// The layout or a document of it cannot be read.
pub fn of_images(layout: &Path) -> Result<Vec<Found>> {
    let layout = Layout::open(layout)?;
    let tagged = layout.index().manifests.iter().filter_map(|entry| Some((entry.annotations.get(REF_NAME)?, entry)));
    let found = tagged.filter(|(tag, _)| !is_fallback_tag(tag)).map(|(tag, entry)| {
        let document: Value = layout.document(entry)?;
        let version = document.get("annotations").and_then(|annotations| annotations.get(IMAGE_VERSION));
        Ok(Found::new(format!("image {tag}"), Form::Plain, version.and_then(Value::as_str).map(str::to_owned)))
    });
    let found: Vec<_> = found.collect::<Result<_>>()?;
    Ok(if found.is_empty() { vec![Found::new("the images' layout", Form::Plain, None)] } else { found })
}

/// Every version that a document or packaging file names behind a name of ours: `Cairn 1.2.0`, `cairn-1.2.0-linux…`,
/// `cairnd version 1.2.0`, `cairn:1.2.0`. A document that names none is fine; etcd's versions do not count.
#[must_use]
pub fn of_document(place: &str, text: &str) -> Vec<Found> {
    let mut versions = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        // Versions and names are ASCII, so that the positions in both texts are the same.
        let lower = line.to_ascii_lowercase();
        for word in PRODUCT_WORDS {
            let starts = lower.match_indices(word).filter(|(at, _)| !lower[..*at].ends_with(is_name_part));
            for (at, _) in starts {
                if let Some(version) = version_behind(&line[at + word.len()..]) {
                    versions.insert((number + 1, at), version);
                }
            }
        }
    }
    let found = versions.into_iter();
    found.map(|((number, _), version)| Found::new(format!("{place}:{number}"), Form::Plain, Some(version))).collect()
}

/// The version that follows a name at once, but for a separator or the word "version".
fn version_behind(rest: &str) -> Option<String> {
    let rest = rest.trim_start_matches([' ', '-', '_', ':', '@', '=', '/', '`', '*']);
    let rest = rest.strip_prefix("version").map_or(rest, |rest| rest.trim_start_matches([' ', ':']));
    let rest = rest.strip_prefix('v').unwrap_or(rest);
    let numbers = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let base = rest[..numbers].trim_end_matches('.');
    let dots = base.matches('.').count();
    (starts_with_digit(base) && dots == 2).then(|| format!("{base}{}", pre_release(&rest[base.len()..])))
}

/// The pre-release part at the start of what follows a version: `-rc.1`, `-alpha.2`, `-beta`. In `cairn-1.2.0-linux-amd64`
/// the hyphen starts something else.
fn pre_release(rest: &str) -> &str {
    let known = ["-alpha", "-beta", "-rc", "-dev"].into_iter().find(|start| rest.starts_with(start));
    let Some(start) = known else { return "" };
    let tail = &rest[start.len()..];
    let numbers = tail.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(tail.len());
    let tail = tail[..numbers].trim_end_matches('.');
    &rest[..start.len() + tail.len()]
}

fn add_files(root: &Path, folder: &str, paths: &mut Vec<String>) -> Result<()> {
    let names = files::names_in(&root.join(folder)).with_context(|| format!("cannot read the folder {folder}"))?;
    for name in names {
        let path = format!("{folder}/{name}");
        if root.join(&path).is_dir() {
            add_files(root, &path, paths)?;
        } else {
            paths.push(path);
        }
    }
    Ok(())
}

/// A binary file has no line that we could read a version from, but it is no reason to stop.
fn read(root: &Path, path: &str) -> Result<String> {
    let bytes = fs::read(root.join(path)).with_context(|| format!("cannot read {path}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn starts_with_digit(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit())
}

fn is_name_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}
