//! The JSON documents of the OCI image and distribution specifications, as far as this crate writes and reads them.
//!
//! Structs of our own instead of a library's, because the order of their fields decides the bytes of a release, and
//! because Docker's `Healthcheck` is not part of the specification's configuration.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::machine::Machine;

/// Annotations and labels.
pub type Annotations = BTreeMap<String, String>;

/// Media type of an image index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of a manifest, of an image or of another artifact.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of the configuration of an image.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Media type of a layer.
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// Media type of the configuration of an artifact that has none.
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// Content of the configuration of an artifact that has none.
pub const EMPTY_CONTENT: &[u8] = b"{}";
/// Version of all documents that have one.
pub const SCHEMA_VERSION: u32 = 2;
/// Version of the form of the folder.
pub const LAYOUT_VERSION: &str = "1.0.0";

/// Content of the file `oci-layout`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LayoutFile {
    /// Version of the form of the folder.
    pub image_layout_version: String,
}

/// Names some bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the bytes are.
    pub media_type: String,
    /// `sha256:` and 64 hexadecimal digits.
    pub digest: String,
    /// Number of bytes.
    pub size: u64,
    /// What an artifact's manifest describes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// What an image runs on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// More about the bytes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Annotations,
}

impl Descriptor {
    /// The hexadecimal digits of the digest; none if it is not SHA-256.
    #[must_use]
    pub fn sha256(&self) -> Option<&str> {
        self.digest.strip_prefix("sha256:").filter(|hex| crate::digest::is_sha256(hex))
    }
}

/// What an image runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Platform {
    /// In Go's words.
    pub architecture: String,
    /// In Go's words.
    pub os: String,
    /// Version of the architecture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// Linux on a machine.
    #[must_use]
    pub fn linux(machine: Machine) -> Self {
        Self {
            architecture: machine.debian().to_owned(),
            os: "linux".to_owned(),
            variant: machine.image_variant().map(str::to_owned),
        }
    }
}

/// Several manifests under one digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// [`INDEX`].
    pub media_type: String,
    /// The manifests.
    pub manifests: Vec<Descriptor>,
    /// About all of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Annotations,
}

impl Index {
    /// An index of these manifests.
    #[must_use]
    pub fn new(manifests: Vec<Descriptor>, annotations: Annotations) -> Self {
        Self { schema_version: SCHEMA_VERSION, media_type: INDEX.to_owned(), manifests, annotations }
    }
}

/// An image or another artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// [`MANIFEST`].
    pub media_type: String,
    /// What it is, if it is no image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Configuration of an image, [`EMPTY_CONTENT`] of others.
    pub config: Descriptor,
    /// Layers of an image, files of others.
    pub layers: Vec<Descriptor>,
    /// The manifest that this one says something about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// More about it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Annotations,
}

/// Configuration of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// Time, as RFC 3339 has it.
    pub created: String,
    /// Who made it.
    pub author: String,
    /// In Go's words.
    pub architecture: String,
    /// In Go's words.
    pub os: String,
    /// Version of the architecture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// How a container of the image is started.
    pub config: Execution,
    /// The layers' contents.
    pub rootfs: RootFs,
    /// Where each layer comes from.
    pub history: Vec<History>,
}

/// How a container is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Execution {
    /// User and group.
    pub user: String,
    /// Ports as `2379/tcp`.
    pub exposed_ports: BTreeMap<String, Empty>,
    /// Variables as `NAME=value`.
    pub env: Vec<String>,
    /// Program and first arguments.
    pub entrypoint: Vec<String>,
    /// Arguments that whoever runs the image replaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Folders that outlive a container.
    pub volumes: BTreeMap<String, Empty>,
    /// Folder in which the program is started.
    pub working_dir: String,
    /// As the annotations of the manifest.
    pub labels: Annotations,
    /// Signal that asks the program to stop.
    pub stop_signal: String,
    /// How Docker finds out whether the program is well; others ignore it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
}

/// `{}`: the specification has sets as maps to nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// Docker's health check; times in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `CMD`, program and arguments.
    pub test: Vec<String>,
    /// Time between two checks.
    pub interval: u64,
    /// Time that one may take.
    pub timeout: u64,
    /// Time after the start within which a failure does not count.
    pub start_period: u64,
    /// Failures in a row that make a container unhealthy.
    pub retries: u32,
}

/// The layers' contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Digests of the layers without compression.
    pub diff_ids: Vec<String>,
}

/// Where a layer comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Time, as RFC 3339 has it.
    pub created: String,
    /// What made it.
    pub created_by: String,
    /// What is in it.
    pub comment: String,
}

/// One image in `manifest.json`, by which `docker load` finds its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DockerImage {
    /// Path of the configuration.
    pub config: String,
    /// Names with tags.
    pub repo_tags: Vec<String>,
    /// Paths of the layers.
    pub layers: Vec<String>,
}
