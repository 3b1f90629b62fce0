//! Reads the list of crates that cargo-auditable embeds in a program; [`crate::sbom::embedded_violations`] holds it to the
//! list that we publish.
//!
//! Left out: what is not Rust. The list knows nothing of RocksDB and its like; the SBOM has them from elsewhere.

use anyhow::{Context, Result};
use auditable_info::json_from_slice;
use serde::Deserialize;

/// Most bytes of a list, unpacked.
const MAX_LIST_BYTES: usize = 16 << 20;

/// Word of cargo-auditable for a crate that only build scripts and macros use, so that none of it need be in the program.
const BUILD_KIND: &str = "build";

/// The part of cargo-auditable's JSON that matters here.
#[derive(Deserialize)]
struct List {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    kind: Option<String>,
}

/// Name and version of each crate in the program, by the list that is embedded in it, sorted.
///
/// # Errors
///
/// There is none, or it cannot be read.
pub fn embedded(bytes: &[u8]) -> Result<Vec<(String, String)>> {
    let json = json_from_slice(bytes, MAX_LIST_BYTES)
        .context("has no embedded list of crates that can be read (section .dep-v0); build with cargo auditable")?;
    let list: List = serde_json::from_str(&json).context("has a list of crates in an unknown form")?;
    let in_program = list.packages.into_iter().filter(|package| package.kind.as_deref() != Some(BUILD_KIND));
    let mut list: Vec<_> = in_program.map(|package| (package.name, package.version)).collect();
    list.sort();
    Ok(list)
}
