//! Writes a layout: layers, configurations, manifests, the index, and what refers to them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::annotations::{CREATED, Facts, REF_NAME, RUNTIME, TITLE};
use super::blobs::{Blobs, Layer};
use super::layout;
use super::rootfs::{self, DATA_FOLDER, STATE_FOLDER, USER_ID};
use super::runtime::{self, Runtime};
use super::spec::{
    Annotations, CONFIG, Descriptor, EMPTY, EMPTY_CONTENT, Empty, Execution, Healthcheck, History, INDEX, ImageConfig,
    Index, LAYOUT_VERSION, LayoutFile, MANIFEST, Manifest, Platform, RootFs, SCHEMA_VERSION,
};
use crate::files::{self, FILE_MODE};
use crate::machine::Machine;
use crate::tarball::Entries;

/// Port on which clients are served.
const CLIENT_PORT: u16 = 2_379;

/// Nanoseconds of a second, the unit of Docker's health check.
const SECOND: u64 = 1_000_000_000;

/// What an image is made of.
#[derive(Debug, Clone)]
pub struct Image {
    /// What the programs were built for.
    pub machine: Machine,
    /// Folder with the programs.
    pub programs: PathBuf,
    /// The C library; needed by programs that are linked dynamically, unused by static ones.
    pub runtime: Option<Runtime>,
    /// Files for `/usr/share/doc/cairn`, by name: licences above all.
    pub documents: BTreeMap<String, PathBuf>,
}

/// A document about an image: a bill of materials.
#[derive(Debug, Clone)]
pub struct Attachment {
    /// What it is, as a media type; tools find it by that.
    pub artifact_type: String,
    /// Media type of the bytes.
    pub media_type: String,
    /// File name.
    pub name: String,
    /// The document.
    pub bytes: Vec<u8>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The index: what users pull.
    pub index: Descriptor,
    /// The images.
    pub images: Vec<(Machine, Descriptor)>,
}

/// The tag of one image alone; the index has the version itself.
#[must_use]
pub fn image_tag(version: &str, machine: Machine) -> String {
    format!("{version}-{}", machine.debian())
}

/// The tag under which registries that know no referrers keep the list of them.
#[must_use]
pub fn fallback_tag(digest: &str) -> String {
    digest.replacen(':', "-", 1)
}

/// Whether a tag is such a one, and none that users give.
pub(crate) fn is_fallback_tag(tag: &str) -> bool {
    tag.starts_with("sha256-")
}

/// Writes the layout into a folder, which is there when it is complete and not before. An old one is replaced.
///
/// `attachments` is asked for each image with its manifest: a document about an image names its digest, and that is known
/// only here.
///
/// # Errors
///
/// A program, library or document is missing or unfit, no image is given or one twice, or the folder cannot be written.
pub fn write_layout(
    dir: &Path,
    facts: &Facts,
    images: &[Image],
    attachments: impl Fn(&Image, &Descriptor) -> Result<Vec<Attachment>>,
) -> Result<Written> {
    let mut machines: Vec<_> = images.iter().map(|image| image.machine).collect();
    machines.dedup();
    ensure!(
        !images.is_empty() && machines.is_sorted() && machines.len() == images.len(),
        "give one image for each architecture, in the order of the index"
    );
    let name = dir.file_name().with_context(|| format!("{} has no name", dir.display()))?;
    let partial = dir.with_file_name(format!(".{}.partial", name.to_string_lossy()));
    remove_folder(&partial)?;
    let blobs = Blobs::create(&partial)?;
    let mut manifests = Vec::new();
    for image in images {
        let manifest = write_image(&blobs, facts, image)
            .with_context(|| format!("cannot make the image for {}", image.machine.debian()))?;
        manifests.push(Descriptor { platform: Some(Platform::linux(image.machine)), ..manifest });
    }
    let index = blobs.put_json(INDEX, &Index::new(manifests.clone(), facts.annotations()))?;
    let mut top = vec![tagged(&index, &facts.version)];
    let written = Written { index, images: machines.into_iter().zip(manifests).collect() };
    for (machine, manifest) in &written.images {
        top.push(tagged(manifest, &image_tag(&facts.version, *machine)));
    }
    for (image, (_, manifest)) in images.iter().zip(&written.images) {
        top.extend(write_referrers(&blobs, facts, manifest, &attachments(image, manifest)?)?);
    }
    let layout_file = LayoutFile { image_layout_version: LAYOUT_VERSION.to_owned() };
    files::write_bytes(&partial.join(layout::LAYOUT_FILE), FILE_MODE, &serde_json::to_vec(&layout_file)?)?;
    let index_json = serde_json::to_vec(&Index::new(top, Annotations::new()))?;
    files::write_bytes(&partial.join(layout::INDEX_FILE), FILE_MODE, &index_json)?;
    remove_folder(dir)?;
    fs::rename(&partial, dir).with_context(|| format!("cannot rename {} to its name", partial.display()))?;
    Ok(written)
}

fn remove_folder(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn tagged(descriptor: &Descriptor, tag: &str) -> Descriptor {
    Descriptor { annotations: Annotations::from([(REF_NAME.to_owned(), tag.to_owned())]), ..descriptor.clone() }
}

/// What is in an image.
pub(super) struct Layers {
    pub(super) base: Entries,
    /// Empty if the programs are static.
    pub(super) libraries: Entries,
    pub(super) programs: Entries,
}

impl Layers {
    pub(super) fn of(image: &Image) -> Result<Self> {
        let paths = rootfs::program_paths(&image.programs);
        Ok(Self {
            base: rootfs::base(),
            libraries: runtime::layer(&paths, image.runtime.as_ref(), image.machine)?,
            programs: rootfs::programs(&image.programs, &image.documents),
        })
    }
}

fn write_image(blobs: &Blobs, facts: &Facts, image: &Image) -> Result<Descriptor> {
    let time = facts.source_date_epoch;
    let Layers { base, libraries, programs } = Layers::of(image)?;
    let mut annotations = facts.annotations();
    let mut layers = vec![("users, certificate authorities, folders".to_owned(), blobs.put_layer(&base, time)?)];
    if let Some(runtime) = image.runtime.as_ref().filter(|_| !libraries.is_empty()) {
        annotations.insert(RUNTIME.to_owned(), runtime.name());
        layers.push((format!("C library: {}", runtime.name()), blobs.put_layer(&libraries, time)?));
    }
    layers.push(("programs".to_owned(), blobs.put_layer(&programs, time)?));
    let config = blobs.put_json(CONFIG, &config(facts, image.machine, &annotations, &layers))?;
    blobs.put_json(
        MANIFEST,
        &Manifest {
            schema_version: SCHEMA_VERSION,
            media_type: MANIFEST.to_owned(),
            artifact_type: None,
            config,
            layers: layers.into_iter().map(|(_, layer)| layer.descriptor).collect(),
            subject: None,
            annotations,
        },
    )
}

fn config(facts: &Facts, machine: Machine, labels: &Annotations, layers: &[(String, Layer)]) -> ImageConfig {
    let created = facts.created();
    let platform = Platform::linux(machine);
    let history = layers.iter().map(|(comment, _)| History {
        created: created.clone(),
        created_by: "cairn-release".to_owned(),
        comment: comment.clone(),
    });
    ImageConfig {
        author: facts.authors.clone(),
        architecture: platform.architecture,
        os: platform.os,
        variant: platform.variant,
        config: execution(labels),
        rootfs: RootFs {
            kind: "layers".to_owned(),
            diff_ids: layers.iter().map(|(_, layer)| layer.diff_id.clone()).collect(),
        },
        history: history.collect(),
        created,
    }
}

/// Settings are variables and not arguments: who gives arguments of his own keeps them, and the health check sees them.
fn execution(labels: &Annotations) -> Execution {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    Execution {
        user: format!("{USER_ID}:{USER_ID}"),
        exposed_ports: BTreeMap::from([(format!("{CLIENT_PORT}/tcp"), Empty {})]),
        env: vec![
            "PATH=/usr/bin".to_owned(),
            format!("CAIRN_DATA_DIR={DATA_FOLDER}"),
            format!("CAIRN_LISTEN_CLIENT_URLS=http://0.0.0.0:{CLIENT_PORT}"),
            format!("CAIRN_ADVERTISE_CLIENT_URLS=http://127.0.0.1:{CLIENT_PORT}"),
        ],
        entrypoint: words(&["/usr/bin/cairnd"]),
        cmd: None,
        volumes: BTreeMap::from([(STATE_FOLDER.to_owned(), Empty {})]),
        working_dir: STATE_FOLDER.to_owned(),
        labels: labels.clone(),
        stop_signal: "SIGTERM".to_owned(),
        healthcheck: Some(Healthcheck {
            test: words(&["CMD", "/usr/bin/cairnd", "healthcheck"]),
            interval: 10 * SECOND,
            // More than the check's own deadline, so that its reason is seen.
            timeout: 5 * SECOND,
            // A member that replays a long log answers nobody yet and is not to be restarted for it.
            start_period: 300 * SECOND,
            retries: 3,
        }),
    }
}

/// Writes the documents about a manifest, and returns them and the list of them for the layout's index.
fn write_referrers(blobs: &Blobs, facts: &Facts, of: &Descriptor, documents: &[Attachment]) -> Result<Vec<Descriptor>> {
    let mut referrers = Vec::new();
    for document in documents {
        let annotations = Annotations::from([(CREATED.to_owned(), facts.created())]);
        let mut file = blobs.put(&document.media_type, &document.bytes)?;
        file.annotations.insert(TITLE.to_owned(), document.name.clone());
        let manifest = Manifest {
            schema_version: SCHEMA_VERSION,
            media_type: MANIFEST.to_owned(),
            artifact_type: Some(document.artifact_type.clone()),
            config: blobs.put(EMPTY, EMPTY_CONTENT)?,
            layers: vec![file],
            subject: Some(Descriptor { platform: None, annotations: Annotations::new(), ..of.clone() }),
            annotations: annotations.clone(),
        };
        let descriptor = blobs.put_json(MANIFEST, &manifest)?;
        referrers.push(Descriptor { artifact_type: manifest.artifact_type, annotations, ..descriptor });
    }
    if !referrers.is_empty() {
        let list = blobs.put_json(INDEX, &Index::new(referrers.clone(), Annotations::new()))?;
        referrers.push(tagged(&list, &fallback_tag(&of.digest)));
    }
    Ok(referrers)
}
