//! Bills of materials of an image: its programs' components, the C library and the certificate authorities.
//!
//! An image is named by the digest of its manifest, which is known as soon as it is written, and by its tag. Left out: a
//! bill of the index over the images, since each of them has other parts.

use anyhow::{Context, Result};

use super::annotations::Facts;
use super::rootfs::CA_BUNDLE;
use super::spec::Descriptor;
use super::write::{Attachment, Image, Layers, image_tag};
use crate::plan::PRODUCT;
use crate::sbom::{Component, Components, Form, Subject, cyclonedx, shipped_files, spdx};

/// Media types of an image's bills.
pub const BILL_TYPES: [&str; 2] = ["application/vnd.cyclonedx+json", "application/spdx+json"];

/// The crate of this tool whose data are the certificate authorities.
pub const AUTHORITIES_CRATE: &str = "webpki-root-certs";

/// What is known of an image's parts.
#[derive(Debug, Clone)]
pub struct Parts<'a> {
    /// Rust's name of the platform.
    pub target: &'a str,
    /// Name of each program, and the cargo package that builds it.
    pub programs: &'a [(&'a str, &'a str)],
    /// What the programs are made of.
    pub components: Components,
    /// The crate with the certificate authorities.
    pub authorities: Component,
}

/// The bills of an image that has this manifest: one of each of [`BILL_TYPES`].
///
/// # Errors
///
/// A file of the image cannot be read, or is no part of one.
pub fn bills(image: &Image, manifest: &Descriptor, parts: &Parts<'_>, facts: &Facts) -> Result<Vec<Attachment>> {
    let Layers { base, libraries, programs } = Layers::of(image)?;
    let mut components = parts.components.clone();
    let package_of = |path: &str| {
        let name = path.strip_prefix("usr/bin/")?;
        parts.programs.iter().find(|(program, _)| *program == name).map(|(_, package)| *package)
    };
    let mut files = shipped_files(&base, |path| (path == CA_BUNDLE).then_some(parts.authorities.name.as_str()))?;
    files.extend(shipped_files(&programs, package_of)?);
    if let Some(runtime) = image.runtime.as_ref().filter(|_| !libraries.is_empty()) {
        files.extend(shipped_files(&libraries, |_| Some(runtime.package.name.as_str()))?);
        components.add_runtime(runtime.package.clone());
        components.add_beside(runtime.package.clone());
    }
    components.add_beside(parts.authorities.clone());
    files.sort();
    let tag = image_tag(&facts.version, image.machine);
    let artifact = format!("{PRODUCT}:{tag}");
    let subject = Subject {
        name: PRODUCT,
        version: &facts.version,
        form: Form::Image { architecture: image.machine.debian(), tag: &tag },
        artifact: &artifact,
        sha256: Some(manifest.sha256().context("the manifest has no SHA-256 digest")?),
        target: parts.target,
        commit: facts.revision.as_deref(),
        source_date_epoch: facts.source_date_epoch,
        files: &files,
    };
    let documents = [cyclonedx::render(&components, &subject), spdx::render(&components, &subject)];
    let attach = |(media_type, (suffix, bytes)): (&str, (&str, Vec<u8>))| Attachment {
        artifact_type: media_type.to_owned(),
        media_type: media_type.to_owned(),
        name: format!("{PRODUCT}-{tag}-image{suffix}"),
        bytes,
    };
    let forms = BILL_TYPES.into_iter().zip([cyclonedx::SUFFIX, spdx::SUFFIX].into_iter().zip(documents));
    Ok(forms.map(attach).collect())
}
