//! The small files of a site that change: the index of versions and the channel.
//!
//! They are for finding things and for people. Nothing is trusted because they say so.

use serde::{Deserialize, Serialize};

use super::Error;
use crate::digest::is_sha256;
use crate::plan::PRODUCT;

/// Place of the index of all versions.
pub const INDEX_PATH: &str = "releases/index.json";

/// Place of the pointer to the newest stable version.
pub const CHANNEL_PATH: &str = "channels/stable.json";

/// Name of the only channel.
pub(crate) const CHANNEL: &str = "stable";

/// Version of the form of index and channel.
pub(crate) const SCHEMA: u32 = 1;

/// The content of `releases/index.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// Version of the form of this document.
    pub schema: u32,
    /// Name of the product.
    pub product: String,
    /// All versions, by release number.
    pub versions: Vec<IndexEntry>,
}

/// A published version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexEntry {
    /// The version.
    pub version: String,
    /// Number of the release in the order of all releases.
    pub sequence: u64,
    /// Seconds since 1970 that the release carries as its time.
    pub date: u64,
    /// SHA-256 of its `release.json`.
    pub sha256: String,
    /// Whether it should be used.
    pub state: State,
}

/// Whether a published version should be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Yes.
    Good,
    /// No; its files stay for those who have it.
    Yanked,
}

/// The content of `channels/stable.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    /// Version of the form of this document.
    pub schema: u32,
    /// Name of the product.
    pub product: String,
    /// Name of the channel.
    pub channel: String,
    /// The version that it points to.
    pub version: String,
    /// That version's release number.
    pub sequence: u64,
    /// SHA-256 of that version's `release.json`.
    pub sha256: String,
}

impl Index {
    /// Reads an index; none at all is an empty one.
    pub(crate) fn parse(target: &str, bytes: Option<&[u8]>) -> Result<Self, Error> {
        let Some(bytes) = bytes else {
            return Ok(Self { schema: SCHEMA, product: PRODUCT.to_owned(), versions: Vec::new() });
        };
        let index: Self = parse(target, INDEX_PATH, bytes)?;
        let why = if index.schema != SCHEMA || index.product != PRODUCT {
            "is of another product or form"
        } else if index.versions.iter().any(|entry| !is_sha256(&entry.sha256)) {
            "has a sum that is none"
        } else if !index.versions.is_sorted_by(|a, b| a.sequence < b.sequence) {
            "is not sorted by release number"
        } else {
            return Ok(index);
        };
        Err(damaged(target, INDEX_PATH, why.to_owned()))
    }
}

impl Channel {
    /// Reads a channel.
    pub(crate) fn parse(target: &str, bytes: &[u8]) -> Result<Self, Error> {
        let channel: Self = parse(target, CHANNEL_PATH, bytes)?;
        if channel.schema != SCHEMA || channel.product != PRODUCT || channel.channel != CHANNEL {
            return Err(damaged(target, CHANNEL_PATH, "is of another product, channel or form".to_owned()));
        }
        Ok(channel)
    }
}

/// A pointer as JSON with a line feed at its end.
pub(crate) fn to_json(value: &impl Serialize) -> String {
    let mut json = serde_json::to_string_pretty(value).expect("pointers have only strings, numbers and lists");
    json.push('\n');
    json
}

fn parse<T: for<'de> Deserialize<'de>>(target: &str, path: &str, bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|e| damaged(target, path, format!("is not what it should be: {e}")))
}

fn damaged(target: &str, path: &str, why: String) -> Error {
    Error::Damaged { target: target.to_owned(), file: path.to_owned(), why }
}
