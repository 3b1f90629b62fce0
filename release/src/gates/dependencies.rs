//! Gate over the list of crates that cargo-auditable embeds in a program: it equals the list that we publish.
//!
//! Left out: what is not Rust. The list knows nothing of RocksDB and its like; the SBOM has them from elsewhere.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use auditable_info::json_from_slice;
use serde::{Deserialize, Serialize};

/// Most bytes of a list, unpacked.
const MAX_LIST_BYTES: usize = 16 << 20;

/// Word of cargo-auditable for a crate that only the build used.
const BUILD_KIND: &str = "build";

/// A crate of which a program is made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Dependency {
    /// Name of the crate.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Where it came from, in the words of cargo-auditable: `crates.io`, `local`, `git` or `registry`; none if unknown.
    pub source: Option<String>,
    /// Whether only build scripts and macros use it, so that none of it need be in the program.
    pub build_only: bool,
}

/// The part of cargo-auditable's JSON that matters here.
#[derive(Deserialize)]
struct List {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    source: Option<String>,
    kind: Option<String>,
}

/// Reads the list that is embedded in a program, sorted.
///
/// # Errors
///
/// There is none, or it cannot be read.
pub fn embedded(bytes: &[u8]) -> Result<Vec<Dependency>> {
    let json = json_from_slice(bytes, MAX_LIST_BYTES)
        .context("has no embedded list of crates that can be read (section .dep-v0); build with cargo auditable")?;
    let list: List = serde_json::from_str(&json).context("has a list of crates in an unknown form")?;
    let mut list: Vec<_> = list.packages.into_iter().map(Dependency::from).collect();
    list.sort();
    Ok(list)
}

impl From<Package> for Dependency {
    fn from(package: Package) -> Self {
        let Package { name, version, source, kind } = package;
        Self { name, version, source, build_only: kind.is_some_and(|kind| kind == BUILD_KIND) }
    }
}

/// The list that is embedded in the program equals the published one; sources are compared where both are known.
///
/// Whether `build_only` is set makes no difference: a caller who publishes no such crates filters [`embedded`] and
/// calls [`compare`].
#[must_use]
pub fn dependencies(name: &str, bytes: &[u8], published: &[Dependency]) -> Vec<String> {
    match embedded(bytes) {
        Ok(embedded) => compare(name, &embedded, published),
        Err(error) => vec![format!("{name}: {error:#}")],
    }
}

/// What is in one of the lists and not in the other.
#[must_use]
pub fn compare(name: &str, embedded: &[Dependency], published: &[Dependency]) -> Vec<String> {
    let (embedded, published) = (by_key(embedded), by_key(published));
    let mut violations = Vec::new();
    for (key @ (crate_name, version), source) in &embedded {
        match (published.get(key), source) {
            (None, _) => violations
                .push(format!("{name}: {crate_name} {version} is in the program, but the published list lacks it")),
            (Some(Some(said)), Some(is)) if said != is => violations
                .push(format!("{name}: {crate_name} {version} came from {is}, but the published list says {said}")),
            _ => {}
        }
    }
    for (crate_name, version) in published.keys().filter(|key| !embedded.contains_key(*key)) {
        violations.push(format!("{name}: {crate_name} {version} is in the published list, but not in the program"));
    }
    violations
}

fn by_key(list: &[Dependency]) -> BTreeMap<(&str, &str), Option<&str>> {
    list.iter().map(|one| ((one.name.as_str(), one.version.as_str()), one.source.as_deref())).collect()
}
