//! The offline site bundle: one tar with all that a site without a network needs to verify, install and mirror a release.
//!
//! It is made last, of things that are signed already, and adds nothing to them but a README; its own sum and signature
//! stand beside it. Not compressed, because what is in it is. Contract: equal contents give equal bytes. Symbolic links
//! and special files are refused: release folder, repositories and image have none, and a link could lead anywhere.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::digest::{digest_file, digest_with};
use crate::files::{self, EXECUTABLE_MODE, FILE_MODE};
use crate::plan::PRODUCT;
use crate::tarball::{self, Entries, Entry};

/// The README at the top of the bundle; `@VERSION@` and the like are put in.
const README: &str = include_str!("site_bundle.md");

/// Name of the README in the bundle.
const README_NAME: &str = "README.md";

/// A file or folder that goes into the bundle.
#[derive(Debug, Clone)]
pub struct Part<'a> {
    /// Place below the bundle's top folder.
    pub place: &'a str,
    /// Where it is now.
    pub from: &'a Path,
}

/// What a bundle holds.
#[derive(Debug, Clone)]
pub struct Contents<'a> {
    /// Version of the product.
    pub version: &'a str,
    /// Seconds since 1970 that every entry carries as its time.
    pub time: u64,
    /// The signed release folder.
    pub release: &'a Path,
    /// The signed apt repository.
    pub apt: &'a Path,
    /// The signed yum repository.
    pub yum: &'a Path,
    /// The images, as a folder with an OCI layout or as one archive.
    pub images: &'a Path,
    /// The minisign public key.
    pub minisign_key: &'a Path,
    /// The OpenPGP public key, armored.
    pub openpgp_key: &'a Path,
    /// The verifier for each target, by the target's name.
    pub verifiers: &'a [(&'a str, &'a Path)],
}

/// File name of the bundle.
#[must_use]
pub fn file_name(version: &str) -> String {
    format!("{}.tar", top_folder(version))
}

fn top_folder(version: &str) -> String {
    format!("{PRODUCT}-{version}-site")
}

/// Writes the bundle.
///
/// # Errors
///
/// A part is missing, empty or holds a link, or a file cannot be read or written.
pub fn write(path: &Path, contents: &Contents<'_>) -> Result<()> {
    let entries = entries(contents)?;
    files::write_whole(path, FILE_MODE, |writer| {
        tarball::write_tar(writer, &top_folder(contents.version), &entries, contents.time)?;
        Ok(())
    })
}

/// Compares a bundle's final bytes with what it should hold and returns what is wrong, as sentences.
///
/// # Errors
///
/// The bundle or a part cannot be read at all.
pub fn check(path: &Path, contents: &Contents<'_>) -> Result<Vec<String>> {
    let mut wanted = entries(contents)?;
    let mut wrong = Vec::new();
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let top = format!("{}/", top_folder(contents.version));
    for entry in tar::Archive::new(file).entries()? {
        let entry = entry.with_context(|| format!("{} is damaged", path.display()))?;
        if entry.header().entry_type().is_dir() {
            continue;
        }
        let name = entry.path()?.to_string_lossy().into_owned();
        match name.strip_prefix(&top).and_then(|name| wanted.remove(name)) {
            None => wrong.push(format!("the bundle has {name}, which does not belong into it")),
            Some(part) => {
                let found = digest_with(entry, |_| {})?;
                let same = match &part {
                    Entry::File(_, from) => digest_file(from)? == found,
                    Entry::Bytes(_, bytes) => digest_with(bytes.as_slice(), |_| {})? == found,
                    Entry::Link(_) | Entry::Folder(_) | Entry::OwnedFolder(..) => false,
                };
                if !same {
                    wrong.push(format!("{name} in the bundle differs from what was released"));
                }
            }
        }
    }
    wrong.extend(wanted.keys().map(|name| format!("the bundle lacks {name}")));
    Ok(wrong)
}

fn entries(contents: &Contents<'_>) -> Result<Entries> {
    let verifier_places: Vec<_> =
        contents.verifiers.iter().map(|(target, _)| format!("verifier/{target}/cairn-release")).collect();
    let mut parts = vec![
        Part { place: "release", from: contents.release },
        Part { place: "apt", from: contents.apt },
        Part { place: "yum", from: contents.yum },
        Part { place: "images", from: contents.images },
        Part { place: "keys/cairn.pub", from: contents.minisign_key },
        Part { place: "keys/cairn-archive-keyring.asc", from: contents.openpgp_key },
    ];
    for (place, (_, from)) in verifier_places.iter().zip(contents.verifiers) {
        parts.push(Part { place, from });
    }
    let mut entries = Entries::new();
    for Part { place, from } in parts {
        let before = entries.len();
        // An image that is one file keeps its name.
        if place == "images" && from.is_file() {
            let name = from.file_name().unwrap_or_default().to_string_lossy();
            collect(from, &format!("images/{name}"), &mut entries)?;
        } else {
            collect(from, place, &mut entries)?;
        }
        ensure!(entries.len() > before, "{} is empty; the bundle needs it as {place}", from.display());
    }
    let readme = README.replace("@VERSION@", contents.version);
    entries.insert(README_NAME.to_owned(), Entry::Bytes(FILE_MODE, readme.into_bytes()));
    Ok(entries)
}

fn collect(from: &Path, place: &str, entries: &mut Entries) -> Result<()> {
    let metadata = fs::symlink_metadata(from).with_context(|| format!("cannot read {}", from.display()))?;
    if metadata.is_dir() {
        let names = files::names_in(from).with_context(|| format!("cannot read the folder {}", from.display()))?;
        return names.iter().try_for_each(|name| collect(&from.join(name), &format!("{place}/{name}"), entries));
    }
    if !metadata.is_file() {
        bail!("{} is neither file nor folder; a bundle holds no links", from.display());
    }
    let mode = if metadata.permissions().mode() & 0o111 == 0 { FILE_MODE } else { EXECUTABLE_MODE };
    entries.insert(place.to_owned(), Entry::File(mode, from.to_owned()));
    Ok(())
}
