//! Blobs: bytes under the name of their hash.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::spec::{Annotations, Descriptor, LAYER};
use crate::files::{self, FILE_MODE};
use crate::tarball::{self, Entries, GZIP_LEVEL, GZIP_OS_UNKNOWN};

/// A folder of blobs that is being filled.
#[derive(Debug)]
pub(super) struct Blobs {
    folder: PathBuf,
}

/// A layer that was written.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) descriptor: Descriptor,
    /// Digest of the layer without compression.
    pub(super) diff_id: String,
}

impl Blobs {
    /// The blobs of a layout; makes the folder.
    pub(super) fn create(layout: &Path) -> Result<Self> {
        let folder = layout.join("blobs/sha256");
        files::create_folder(&folder)?;
        Ok(Self { folder })
    }

    /// Writes bytes as they are.
    pub(super) fn put(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor> {
        let mut hashed = Hashed::new(io::sink());
        hashed.write_all(bytes)?;
        let (size, sha256) = hashed.finish();
        files::write_bytes(&self.folder.join(&sha256), FILE_MODE, bytes)?;
        Ok(descriptor(media_type, size, &sha256))
    }

    /// Writes a document.
    pub(super) fn put_json(&self, media_type: &str, document: &impl Serialize) -> Result<Descriptor> {
        self.put(media_type, &serde_json::to_vec(document)?)
    }

    /// Writes a layer; its name is known only when it is complete.
    pub(super) fn put_layer(&self, entries: &Entries, mtime: u64) -> Result<Layer> {
        let unnamed = self.folder.join("layer");
        let ((_, diff_id), (size, sha256)) = files::write_whole(&unnamed, FILE_MODE, |file| {
            let mut packed = Hashed::new(file);
            let builder = GzBuilder::new().mtime(0).operating_system(GZIP_OS_UNKNOWN);
            let gzip = builder.write(&mut packed, Compression::new(GZIP_LEVEL));
            let plain = tarball::write_tar(Hashed::new(gzip), "", entries, mtime)?;
            let (gzip, diff) = plain.into_parts();
            gzip.finish()?;
            Ok((diff, packed.finish()))
        })?;
        let path = self.folder.join(&sha256);
        std::fs::rename(&unnamed, &path).with_context(|| format!("cannot rename a layer to {}", path.display()))?;
        Ok(Layer { descriptor: descriptor(LAYER, size, &sha256), diff_id: format!("sha256:{diff_id}") })
    }
}

fn descriptor(media_type: &str, size: u64, sha256: &str) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest: format!("sha256:{sha256}"),
        size,
        artifact_type: None,
        platform: None,
        annotations: Annotations::new(),
    }
}

/// Size and SHA-256 of some bytes.
type Sum = (u64, String);

/// Hashes and counts what passes through.
struct Hashed<W> {
    inner: W,
    hasher: Sha256,
    size: u64,
}

impl<W> Hashed<W> {
    fn new(inner: W) -> Self {
        Self { inner, hasher: Sha256::new(), size: 0 }
    }

    fn finish(self) -> Sum {
        self.into_parts().1
    }

    fn into_parts(self) -> (W, Sum) {
        let mut sha256 = String::with_capacity(64);
        for byte in self.hasher.finalize() {
            write!(sha256, "{byte:02x}").expect("writing to a string does not fail");
        }
        (self.inner, (self.size, sha256))
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        self.size += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
