//! `release.json`, the signed list of everything that a release publishes.
//!
//! Reading is strict: unknown fields, names that could leave the folder, repeated names and a foreign product are
//! refused, so that a verifier decides on one meaning only.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::digest::is_sha256;
use crate::gates::policy::GlibcVersion;
use crate::plan::{ArtifactKind, PRODUCT, SIGNATURE_SUFFIX};

/// File name of the manifest.
pub const MANIFEST_NAME: &str = "release.json";

/// File name of the list of SHA-256 sums.
pub const SUMS_NAME: &str = "SHA256SUMS";

/// Version of the form of plan and manifest.
pub const SCHEMA: u32 = 1;

/// Longest file name in bytes that a manifest may list.
pub const MAX_NAME_BYTES: usize = 200;

/// The content of `release.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the form of this document: [`SCHEMA`].
    pub schema: u32,
    /// Name of the product.
    pub product: String,
    /// Version of the product.
    pub version: String,
    /// Number of the release in the order of all releases.
    pub sequence: u64,
    /// Commit that was released, if it was built from a git checkout.
    pub commit: Option<String>,
    /// Git's id of that commit's tree; whoever unpacks the source archive can compute it.
    pub tree: Option<String>,
    /// Seconds since 1970 that every artifact carries as its time.
    pub source_date_epoch: u64,
    /// What the files' targets ask of a machine, in the order of the plan.
    pub targets: Vec<Platform>,
    /// The images of the OCI archive by tag, as its index has them: that over all architectures first.
    pub images: Vec<Image>,
    /// Every published file but signatures and this manifest, sorted by name.
    pub files: Vec<Entry>,
}

/// What the programs of a target ask of a machine. Each line is held to the programs' bytes before the release is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Platform {
    /// Name of the target, as in file names.
    pub name: String,
    /// Rust's name of the platform.
    pub triple: String,
    /// Oldest glibc with which the programs start; none if they are static.
    pub glibc: Option<GlibcVersion>,
    /// Oldest processors.
    pub cpu: String,
    /// Bytes of the largest page of a kernel on which they run.
    pub page_bytes: u64,
}

/// An image, or the index over the images of all architectures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Its tag in any repository.
    pub tag: String,
    /// Its digest, by which registries and engines name it: `sha256:` and 64 hexadecimal digits.
    pub digest: String,
}

/// One published file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// File name.
    pub name: String,
    /// What it is.
    pub kind: ArtifactKind,
    /// Target that it is for, if it is for one.
    pub target: Option<String>,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of its bytes, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    ///
    /// What is wrong with it, as a phrase.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let manifest: Self = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The manifest as JSON with a line feed at its end.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).expect("a manifest has only strings, numbers and lists");
        json.push('\n');
        json
    }

    fn check(&self) -> Result<(), String> {
        if self.schema != SCHEMA {
            return Err(format!("its schema is {}, this program reads {SCHEMA}", self.schema));
        }
        if self.product != PRODUCT {
            return Err(format!("its product is {:?}, not {PRODUCT:?}", self.product));
        }
        let mut names = BTreeSet::new();
        for entry in &self.files {
            check_name(&entry.name)?;
            if !names.insert(entry.name.as_str()) {
                return Err(format!("it lists {} twice", entry.name));
            }
            if !is_sha256(&entry.sha256) {
                return Err(format!("the sha256 of {} is not 64 lower-case hexadecimal digits", entry.name));
            }
        }
        if !self.files.iter().any(|entry| entry.name == SUMS_NAME && entry.kind == ArtifactKind::Checksums) {
            return Err(format!("it does not list {SUMS_NAME}"));
        }
        Ok(())
    }
}

/// A name must stay inside the folder, be visible in a listing and not collide with manifest or signatures.
fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._+~-".contains(c);
    let starts_well = name.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if !starts_well || name.len() > MAX_NAME_BYTES || !name.chars().all(plain) {
        return Err(format!("it lists {name:?}, which is not a plain file name"));
    }
    if name == MANIFEST_NAME || name.ends_with(SIGNATURE_SUFFIX) {
        return Err(format!("it lists {name}, which must not be listed"));
    }
    Ok(())
}
