//! The facts that every document of an image carries, as `org.opencontainers.image` annotations and labels.

use crate::date::rfc3339;
use crate::plan::{HOME, PRODUCT};

use super::spec::Annotations;

/// Prefix of the names that the OCI image specification defines.
const STANDARD: &str = "org.opencontainers.image";

/// Name of a document under which tools find it in a layout.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Name of a file in an artifact that is no image.
pub(super) const TITLE: &str = "org.opencontainers.image.title";

/// Time of a document.
pub(super) const CREATED: &str = "org.opencontainers.image.created";

/// The foreign runtime libraries in an image; a name of ours, since there is none for it.
pub const RUNTIME: &str = "example.cairn.image.runtime";

/// What a release says of itself in its images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Version of the product, also the tag.
    pub version: String,
    /// Commit that is released; none outside a git checkout.
    pub revision: Option<String>,
    /// Seconds since 1970.
    pub source_date_epoch: u64,
    /// Who made it.
    pub authors: String,
    /// Who distributes it.
    pub vendor: String,
    /// SPDX expression.
    pub licenses: String,
    /// Home page.
    pub url: String,
    /// Documentation.
    pub documentation: String,
    /// Source code.
    pub source: String,
    /// One sentence.
    pub description: String,
}

impl Facts {
    /// The facts of a release of this product.
    #[must_use]
    pub fn new(version: &str, revision: Option<&str>, source_date_epoch: u64) -> Self {
        Self {
            version: version.to_owned(),
            revision: revision.map(str::to_owned),
            source_date_epoch,
            authors: "The Cairn authors".to_owned(),
            vendor: "The Cairn authors".to_owned(),
            licenses: "Apache-2.0".to_owned(),
            url: HOME.to_owned(),
            documentation: format!("{HOME}/docs"),
            source: format!("{HOME}/source"),
            description: "A replicated key-value store that speaks the etcd v3 API".to_owned(),
        }
    }

    /// The time as RFC 3339 has it.
    #[must_use]
    pub fn created(&self) -> String {
        rfc3339(self.source_date_epoch)
    }

    /// The annotations of the index and of every image, and the labels of every configuration.
    ///
    /// There is no `base.digest`: the base is empty, and nothing has no digest.
    #[must_use]
    pub fn annotations(&self) -> Annotations {
        let values = [
            ("created", Some(self.created())),
            ("authors", Some(self.authors.clone())),
            ("url", Some(self.url.clone())),
            ("documentation", Some(self.documentation.clone())),
            ("source", Some(self.source.clone())),
            ("version", Some(self.version.clone())),
            ("revision", self.revision.clone()),
            ("vendor", Some(self.vendor.clone())),
            ("licenses", Some(self.licenses.clone())),
            ("ref.name", Some(self.version.clone())),
            ("title", Some(PRODUCT.to_owned())),
            ("description", Some(self.description.clone())),
            ("base.name", Some("scratch".to_owned())),
        ];
        let named = values.into_iter().filter_map(|(name, value)| Some((format!("{STANDARD}.{name}"), value?)));
        named.collect()
    }
}
