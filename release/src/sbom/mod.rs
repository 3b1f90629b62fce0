//! Bills of materials: what is in an archive or an image, down to the C++ that no Rust tool sees.
//!
//! [`Inventory`] gathers what each program is made of; [`cyclonedx`] and [`spdx`] write it for one artifact, and
//! [`crate::licences`] writes the licence texts. The gates compare it with bytes: [`embedded_violations`] with the list
//! that cargo-auditable put into a program, [`Catalogue::program_violations`] with the signs of native code.
//!
//! Equal inputs give equal bytes: the time is the release's, and what the formats want to be unique is computed from the
//! content. Left out: reading the list out of a program, and known weaknesses.

mod components;
pub mod cyclonedx;
mod graph;
mod native;
pub mod precursor;
pub mod spdx;

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use sha1::{Digest as _, Sha1};

pub use components::{Component, Components, Inventory, Kind, LicenceText, Request};
pub use native::{Catalogue, NATIVE_TOML, Toolchain};

use crate::digest::digest_with;
use crate::tarball::{Entries, Entry};

/// The artifact that a bill of materials is about.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    /// What the artifact is, such as `cairn` or `cairn-client`.
    pub name: &'a str,
    /// Version of the product.
    pub version: &'a str,
    /// What kind of thing the artifact is.
    pub form: Form<'a>,
    /// File name of the artifact, or reference of the image.
    pub artifact: &'a str,
    /// SHA-256 of the artifact, if it was made before its bill; of an image's manifest.
    pub sha256: Option<&'a str>,
    /// Rust's name of the platform.
    pub target: &'a str,
    /// Commit that is released.
    pub commit: Option<&'a str>,
    /// Seconds since 1970 that every artifact carries as its time.
    pub source_date_epoch: u64,
    /// The files in the artifact, sorted by path.
    pub files: &'a [ShippedFile],
}

/// What kind of thing an artifact is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form<'a> {
    /// A file that users download.
    Archive,
    /// An image that users pull from a registry.
    Image {
        /// Its architecture, by OCI's name.
        architecture: &'a str,
        /// Its tag.
        tag: &'a str,
    },
}

impl Subject<'_> {
    /// Package URL of the artifact; that of an image has its digest as version.
    fn purl(&self) -> String {
        let Self { name, version, form, sha256, .. } = self;
        match form {
            Form::Archive => format!("pkg:generic/{name}@{}", in_purl(version)),
            Form::Image { architecture, tag } => {
                let digest = sha256.map(|sha256| format!("@sha256%3A{sha256}")).unwrap_or_default();
                format!("pkg:oci/{name}{digest}?arch={architecture}&tag={}", in_purl(tag))
            }
        }
    }
}

/// A version as it stands in a package URL, where `+` would mean a blank.
pub(crate) fn in_purl(version: &str) -> String {
    version.replace('+', "%2B")
}

/// A file in an artifact.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShippedFile {
    /// Path in the artifact.
    pub path: String,
    /// SHA-1 of its bytes: SPDX demands it, nobody should rely on it.
    pub sha1: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// The package that it is the program of or a file of, if it is one.
    pub package: Option<String>,
}

impl ShippedFile {
    /// Hashes a file that is read to its end.
    ///
    /// # Errors
    ///
    /// The reader's.
    pub fn read(path: &str, reader: impl Read, package: Option<&str>) -> Result<Self> {
        let mut sha1 = Sha1::new();
        let digest = digest_with(reader, |piece| sha1.update(piece)).with_context(|| format!("cannot read {path}"))?;
        Ok(Self {
            path: path.to_owned(),
            sha1: hex(&sha1.finalize()),
            sha256: digest.sha256,
            package: package.map(str::to_owned),
        })
    }
}

/// Id of the component that a file is the program of or a part of, if it is one.
fn root_of<'a>(components: &'a Components, file: &ShippedFile) -> Option<&'a str> {
    let package = file.package.as_deref()?;
    components.roots.iter().map(String::as_str).find(|id| components.all.get(*id).is_some_and(|it| it.name == package))
}

/// The files of an artifact, with the package of each that is of one; links and folders have no content.
///
/// # Errors
///
/// A file cannot be read.
pub fn shipped_files<'a>(entries: &Entries, package_of: impl Fn(&str) -> Option<&'a str>) -> Result<Vec<ShippedFile>> {
    let mut files = Vec::new();
    for (path, entry) in entries {
        match entry {
            Entry::Bytes(_, bytes) => files.push(ShippedFile::read(path, bytes.as_slice(), package_of(path))?),
            Entry::File(_, from) => files.push(ShippedFile::read(path, open(from)?, package_of(path))?),
            Entry::Link(_) | Entry::Folder(_) | Entry::OwnedFolder(..) => {}
        }
    }
    Ok(files)
}

fn open(path: &Path) -> Result<std::fs::File> {
    std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Holds the list of runtime crates that is embedded in a program to the program's components.
#[must_use]
pub fn embedded_violations(program: &str, components: &Components, embedded: &[(String, String)]) -> Vec<String> {
    let listed = components.crates();
    let embedded: BTreeSet<_> = embedded.iter().cloned().collect();
    let lacking = listed.difference(&embedded).map(|(name, version)| {
        format!("{program}: {name} {version} is in the bill of materials but not in the list inside the program")
    });
    let extra = embedded.difference(&listed).map(|(name, version)| {
        format!("{program}: {name} {version} is in the list inside the program but not in the bill of materials")
    });
    lacking.chain(extra).collect()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
        text
    })
}

/// SHA-256 of some bytes, as hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    digest_with(bytes, |_| {}).expect("reading memory does not fail").sha256
}

/// A document as JSON with a line feed at its end.
pub(crate) fn to_json(document: &impl serde::Serialize) -> Vec<u8> {
    let mut json = serde_json::to_vec_pretty(document).expect("a document has only strings, numbers and lists");
    json.push(b'\n');
    json
}
