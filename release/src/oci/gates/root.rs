//! The root file system that the layers of an image make together.

use std::collections::BTreeMap;
use std::io::Read;

use anyhow::{Context, Result, bail, ensure};
use flate2::read::GzDecoder;
use sha2::{Digest as _, Sha256};

use crate::oci::Layout;
use crate::oci::spec::Descriptor;

/// Most bytes of all layers together, unpacked: what is larger is not ours, and could fill the memory.
const MAX_UNPACKED_BYTES: u64 = 1 << 30;

/// One entry of the file system.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) mode: u32,
    pub(super) owner: u64,
    pub(super) kind: Kind,
}

/// What an entry is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File(Vec<u8>),
    Folder,
    Link(String),
}

/// Everything by path, without a slash at either end.
#[derive(Debug, Default)]
pub(super) struct Root {
    pub(super) nodes: BTreeMap<String, Node>,
    /// Digests of the layers without compression.
    pub(super) diff_ids: Vec<String>,
}

impl Root {
    /// Reads all layers.
    pub(super) fn read(layout: &Layout, layers: &[Descriptor]) -> Result<Self> {
        let mut root = Self::default();
        let mut left = MAX_UNPACKED_BYTES;
        for layer in layers {
            let digest = &layer.digest;
            let file = std::fs::File::open(layout.path(layer)?).with_context(|| format!("the layer {digest}"))?;
            let mut hashing = Hashing { inner: GzDecoder::new(file).take(left), hasher: Sha256::new() };
            root.add(&mut hashing).with_context(|| format!("the layer {digest} cannot be read"))?;
            left = hashing.inner.limit();
            ensure!(left > 0, "the image has more than {MAX_UNPACKED_BYTES} bytes");
            let hex: String = hashing.hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            root.diff_ids.push(format!("sha256:{hex}"));
        }
        Ok(root)
    }

    fn add(&mut self, layer: &mut impl Read) -> Result<()> {
        let mut archive = tar::Archive::new(&mut *layer);
        for entry in archive.entries()? {
            let mut entry = entry?;
            let path = String::from_utf8(entry.path_bytes().into_owned()).context("a path is no text")?;
            let header = entry.header().clone();
            let kind = match header.entry_type() {
                tar::EntryType::Regular => {
                    let mut bytes = Vec::new();
                    entry.read_to_end(&mut bytes)?;
                    Kind::File(bytes)
                }
                tar::EntryType::Directory => Kind::Folder,
                tar::EntryType::Symlink => {
                    let to = entry.link_name()?.context("a link leads nowhere")?;
                    Kind::Link(to.to_string_lossy().into_owned())
                }
                other => bail!("{path} is neither file, folder nor symbolic link but {other:?}"),
            };
            let node = Node { mode: header.mode()?, owner: header.uid()?, kind };
            self.nodes.insert(path.trim_end_matches('/').to_owned(), node);
        }
        // What follows the archive's end belongs to the digest, too.
        std::io::copy(layer, &mut std::io::sink())?;
        Ok(())
    }

    /// The entry at an absolute path.
    pub(super) fn at(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path.trim_start_matches('/'))
    }

    /// Contents of the files.
    pub(super) fn files(self) -> BTreeMap<String, Vec<u8>> {
        let file = |(path, node): (String, Node)| match node.kind {
            Kind::File(bytes) => Some((path, bytes)),
            _ => None,
        };
        self.nodes.into_iter().filter_map(file).collect()
    }
}

struct Hashing<R> {
    inner: R,
    hasher: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        Ok(n)
    }
}
