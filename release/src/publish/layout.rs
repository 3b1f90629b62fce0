//! An OCI image layout on disk, as far as it must be known to push it: what it holds and in which order it goes.
//!
//! Every blob is hashed before anything is sent. The image must carry the version that is published.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::{Error, LocalFile, digest_of};
use crate::digest::{Digest, is_sha256};

/// Most bytes of a manifest; registries take no larger ones.
pub(crate) const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// Deepest nesting of indexes.
const MAX_DEPTH: usize = 4;

/// Annotation with the version of an image.
const VERSION_ANNOTATION: &str = "org.opencontainers.image.version";

/// Annotation of the layout's index with the name of an image.
const REF_ANNOTATION: &str = "org.opencontainers.image.ref.name";

/// What is pushed, in order.
#[derive(Debug)]
pub(crate) struct Layout {
    /// Configurations and layers; the name is the digest.
    pub(crate) blobs: Vec<LocalFile>,
    /// Manifests and indexes, each after what it refers to.
    pub(crate) manifests: Vec<ImageManifest>,
    /// Digest of the manifest that gets the tag.
    pub(crate) top: String,
}

/// A manifest or index.
#[derive(Debug, Clone)]
pub(crate) struct ImageManifest {
    pub(crate) file: LocalFile,
    pub(crate) media_type: String,
    /// Digest of the manifest that this one is about.
    pub(crate) subject: Option<String>,
    /// The kind of a manifest that is about another one.
    pub(crate) artifact_type: Option<String>,
    pub(crate) annotations: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
    annotations: Option<Value>,
}

/// The fields of manifest and index that matter here; either has further ones.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    subject: Option<Descriptor>,
    artifact_type: Option<String>,
    annotations: Option<Value>,
}

impl Layout {
    /// Reads and hashes a layout.
    pub(crate) fn read(dir: &Path, version: &str) -> Result<Self, Error> {
        let root: Document = parse(&dir.join("index.json"))?;
        let mut reader = Reader { dir, seen: BTreeSet::new(), blobs: Vec::new(), manifests: Vec::new() };
        let mut roots = Vec::new();
        for descriptor in &root.manifests {
            let path = reader.file(descriptor)?.path;
            let document: Document = parse(&path)?;
            roots.push((document.subject.is_some(), descriptor));
        }
        // A registry may refuse what is about something that it does not have.
        roots.sort_by_key(|(about_another, _)| *about_another);
        for (_, descriptor) in &roots {
            reader.visit(descriptor, MAX_DEPTH)?;
        }
        let images: Vec<_> = roots.iter().filter(|(about, _)| !about).map(|(_, descriptor)| *descriptor).collect();
        let top = top(dir, &images, version)?;
        let Reader { blobs, manifests, .. } = reader;
        let image = manifests.iter().find(|manifest| manifest.file.name == top.digest);
        let said = image.and_then(|image| image.annotations.as_ref()?.get(VERSION_ANNOTATION)?.as_str());
        if said != Some(version) {
            let why = format!("the image's annotation {VERSION_ANNOTATION} is {said:?}, not {version:?}");
            return Err(input(dir, why));
        }
        Ok(Self { blobs, manifests, top: top.digest.clone() })
    }
}

/// The one image of a layout, or the one that is named by the version.
fn top<'a>(dir: &Path, images: &[&'a Descriptor], version: &str) -> Result<&'a Descriptor, Error> {
    let name = |image: &Descriptor| Some(image.annotations.as_ref()?.get(REF_ANNOTATION)?.as_str()? == version);
    let named: Vec<_> = images.iter().copied().filter(|image| name(image) == Some(true)).collect();
    match (images, named.as_slice()) {
        ([image], _) | (_, [image]) => Ok(*image),
        _ => Err(input(dir, format!("has {} images and not one of them is named {version}", images.len()))),
    }
}

struct Reader<'a> {
    dir: &'a Path,
    seen: BTreeSet<String>,
    blobs: Vec<LocalFile>,
    manifests: Vec<ImageManifest>,
}

impl Reader<'_> {
    fn visit(&mut self, descriptor: &Descriptor, depth: usize) -> Result<(), Error> {
        if !self.seen.insert(descriptor.digest.clone()) {
            return Ok(());
        }
        if depth == 0 {
            return Err(input(self.dir, format!("has indexes nested deeper than {MAX_DEPTH}")));
        }
        let file = self.file(descriptor)?;
        let document: Document = parse(&file.path)?;
        for child in &document.manifests {
            self.visit(child, depth - 1)?;
        }
        for blob in document.config.iter().chain(&document.layers) {
            if self.seen.insert(blob.digest.clone()) {
                let blob = self.file(blob)?;
                self.blobs.push(blob);
            }
        }
        // The specification takes the configuration's type where a manifest names none.
        let artifact_type = document.artifact_type.or_else(|| document.config.map(|config| config.media_type));
        self.manifests.push(ImageManifest {
            file,
            media_type: descriptor.media_type.clone(),
            subject: document.subject.map(|subject| subject.digest),
            artifact_type,
            annotations: document.annotations,
        });
        Ok(())
    }

    /// The file of a descriptor, compared with it.
    fn file(&self, descriptor: &Descriptor) -> Result<LocalFile, Error> {
        let hex = descriptor.digest.strip_prefix("sha256:").filter(|hex| is_sha256(hex));
        let hex = hex.ok_or_else(|| input(self.dir, format!("{:?} is not a digest of ours", descriptor.digest)))?;
        let path = self.dir.join("blobs/sha256").join(hex);
        let digest = digest_of(&path)?;
        if digest != (Digest { size: descriptor.size, sha256: hex.to_owned() }) {
            return Err(input(&path, "its content is not what its name and descriptor say".to_owned()));
        }
        Ok(LocalFile { name: descriptor.digest.clone(), path, digest })
    }
}

fn parse(path: &PathBuf) -> Result<Document, Error> {
    let local = |source| Error::Local { path: path.clone(), source };
    if fs::metadata(path).map_err(local)?.len() > MAX_MANIFEST_BYTES {
        return Err(local(io::Error::other(format!("larger than {MAX_MANIFEST_BYTES} bytes"))));
    }
    let bytes = fs::read(path).map_err(local)?;
    serde_json::from_slice(&bytes).map_err(|e| input(path, format!("is no manifest: {e}")))
}

fn input(path: &Path, why: String) -> Error {
    Error::Input { what: path.display().to_string(), why }
}
