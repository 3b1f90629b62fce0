//! A layout as one file: a tar that `skopeo copy oci-archive:FILE:VERSION` reads, and `docker load`, too.
//!
//! Docker finds its way by `manifest.json`, which names the blobs of one image; that image is the one for amd64 where
//! there is one. The blobs are in the file once.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::Facts;
use super::annotations::REF_NAME;
use super::layout::{INDEX_FILE, LAYOUT_FILE, Layout, MAX_DOCUMENT_BYTES};
use super::spec::{Descriptor, DockerImage, Index, Manifest};
use super::write::{image_tag, is_fallback_tag};
use crate::files::{self, FILE_MODE};
use crate::machine::Machine;
use crate::manifest;
use crate::plan::PRODUCT;
use crate::tarball::{self, Entries, Entry};

/// Name of the file by which `docker load` finds its way.
pub(super) const DOCKER_FILE: &str = "manifest.json";

/// Writes the file.
///
/// # Errors
///
/// The layout is not one of ours, or cannot be read, or the file not be written.
pub fn write_archive(layout: &Path, facts: &Facts, file: &Path) -> Result<()> {
    let layout = Layout::open(layout)?;
    let docker = serde_json::to_vec(&[docker_image(&layout, &facts.version)?])?;
    let mut entries = Entries::from([(DOCKER_FILE.to_owned(), Entry::Bytes(FILE_MODE, docker))]);
    for name in [LAYOUT_FILE, INDEX_FILE] {
        entries.insert(name.to_owned(), Entry::File(FILE_MODE, layout.dir().join(name)));
    }
    let blobs = "blobs/sha256";
    for name in files::names_in(&layout.dir().join(blobs))? {
        entries.insert(format!("{blobs}/{name}"), Entry::File(FILE_MODE, layout.dir().join(blobs).join(&name)));
    }
    files::write_whole(file, FILE_MODE, |writer| {
        tarball::write_tar(writer, "", &entries, facts.source_date_epoch)?;
        Ok(())
    })
}

/// What such a file has under tags for users: the index and its images, in the order of the layout.
///
/// # Errors
///
/// The file cannot be read, or has no index of a layout.
pub fn images_in_archive(file: &Path) -> Result<Vec<manifest::Image>> {
    let open = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    for entry in tar::Archive::new(open).entries_with_seek()? {
        let entry = entry?;
        if entry.path()? != Path::new(INDEX_FILE) {
            continue;
        }
        let index: Index = serde_json::from_reader(entry.take(MAX_DOCUMENT_BYTES))
            .with_context(|| format!("{INDEX_FILE} of {} is no image index", file.display()))?;
        let named = index.manifests.into_iter().filter_map(|mut entry| {
            let tag = entry.annotations.remove(REF_NAME)?;
            (!is_fallback_tag(&tag)).then_some(manifest::Image { tag, digest: entry.digest })
        });
        return Ok(named.collect());
    }
    bail!("{} has no {INDEX_FILE}", file.display())
}

/// What `manifest.json` has to say of a layout.
///
/// # Errors
///
/// The layout has no image under the tags of this version.
pub(super) fn docker_image(layout: &Layout, version: &str) -> Result<DockerImage> {
    let tags = Machine::ALL.map(|machine| image_tag(version, machine));
    let image = tags.iter().find_map(|tag| layout.tagged(tag));
    let image = image.with_context(|| format!("the layout has no image with the tag {}", tags.join(" or ")))?;
    let manifest: Manifest = layout.document(image)?;
    let path = |blob: &Descriptor| blob.sha256().map(|hex| format!("blobs/sha256/{hex}")).context("no SHA-256 digest");
    Ok(DockerImage {
        config: path(&manifest.config)?,
        repo_tags: vec![format!("{PRODUCT}:{version}")],
        layers: manifest.layers.iter().map(path).collect::<Result<_>>()?,
    })
}

/// Unpacks such a file into a folder of its own; only plain files and folders are accepted.
///
/// # Errors
///
/// The file cannot be read, or has anything else in it.
pub fn unpack_archive(file: &Path, into: &Path) -> Result<()> {
    let open = || File::open(file).with_context(|| format!("cannot read {}", file.display()));
    for entry in tar::Archive::new(open()?).entries()? {
        let entry = entry?;
        let kind = entry.header().entry_type();
        ensure!(kind.is_file() || kind.is_dir(), "{} has {:?}, which is no file", file.display(), entry.path()?);
    }
    fs::create_dir_all(into)?;
    tar::Archive::new(open()?).unpack(into).with_context(|| format!("cannot unpack {}", file.display()))
}
