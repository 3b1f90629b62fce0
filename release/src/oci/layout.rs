//! Reads a layout. Nothing in it is trusted: sizes are limited and digests checked with every document that is read.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;

use super::annotations::REF_NAME;
use super::spec::{Descriptor, Index};
use crate::digest;

/// Name of the file that says that a folder is a layout.
pub(super) const LAYOUT_FILE: &str = "oci-layout";

/// Name of the file that lists what is in a layout.
pub(super) const INDEX_FILE: &str = "index.json";

/// Most bytes of a document.
pub(super) const MAX_DOCUMENT_BYTES: u64 = 4 << 20;

/// An OCI layout on disk.
#[derive(Debug)]
pub struct Layout {
    dir: PathBuf,
    index: Index,
}

impl Layout {
    /// Opens a layout.
    ///
    /// # Errors
    ///
    /// Its index is missing or no index.
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join(INDEX_FILE);
        let file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut bytes = Vec::new();
        file.take(MAX_DOCUMENT_BYTES).read_to_end(&mut bytes)?;
        let index = serde_json::from_slice(&bytes).with_context(|| format!("{} is no image index", path.display()))?;
        Ok(Self { dir: dir.to_owned(), index })
    }

    /// What the layout lists.
    #[must_use]
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The entry with this tag.
    #[must_use]
    pub fn tagged(&self, tag: &str) -> Option<&Descriptor> {
        self.index.manifests.iter().find(|entry| entry.annotations.get(REF_NAME).is_some_and(|name| name == tag))
    }

    /// Where a blob is.
    ///
    /// # Errors
    ///
    /// The digest is not SHA-256, or not of its form.
    pub fn path(&self, descriptor: &Descriptor) -> Result<PathBuf> {
        let hex = descriptor.sha256().with_context(|| format!("{:?} is no SHA-256 digest", descriptor.digest))?;
        Ok(self.dir.join("blobs/sha256").join(hex))
    }

    /// Reads a blob that is a JSON document.
    ///
    /// # Errors
    ///
    /// It is missing, too large, not what its digest says, or of another form.
    pub fn document<T: DeserializeOwned>(&self, descriptor: &Descriptor) -> Result<T> {
        let digest = &descriptor.digest;
        ensure!(
            descriptor.size <= MAX_DOCUMENT_BYTES,
            "{digest} has {} bytes, too many for a document",
            descriptor.size
        );
        let bytes = fs::read(self.path(descriptor)?).with_context(|| format!("the blob {digest} cannot be read"))?;
        let found = digest::digest_with(bytes.as_slice(), |_| {})?;
        ensure!(
            *digest == format!("sha256:{}", found.sha256),
            "the blob {digest} has the digest sha256:{}",
            found.sha256
        );
        serde_json::from_slice(&bytes).with_context(|| format!("the blob {digest} is not of the form it should have"))
    }
}
