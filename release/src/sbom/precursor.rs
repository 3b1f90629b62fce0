//! The list of crates that cargo-auditable is to embed in a program.
//!
//! Left alone, cargo-auditable asks `cargo metadata`, which names crates that are not in the program (see
//! `graph.rs`). It prefers a file in the form of cargo's SBOM precursor (RFC 3553), which stable cargo does not write
//! yet; so we write it, out of the same components as the bills of materials, and pass its path in [`VARIABLE`] to a
//! build of that one package. Build dependencies are not in it: they are not in the program.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

use super::components::{Inventory, Kind};

/// Environment variable in which cargo-auditable looks for the file.
pub const VARIABLE: &str = "CARGO_SBOM_PATH";

/// Version of the form of the file.
const FORM: u32 = 1;

#[derive(Serialize)]
struct Precursor<'a> {
    version: u32,
    root: usize,
    crates: Vec<Crate<'a>>,
    rustc: Rustc<'a>,
}

#[derive(Serialize)]
struct Crate<'a> {
    id: &'a str,
    kind: [&'static str; 1],
    features: [&'static str; 0],
    dependencies: Vec<Dependency>,
}

#[derive(Serialize)]
struct Dependency {
    index: usize,
    kind: &'static str,
}

/// What the form wants to know of the compiler; cargo-auditable embeds none of it.
#[derive(Serialize)]
struct Rustc<'a> {
    version: &'a str,
    wrapper: Option<&'a str>,
    workspace_wrapper: Option<&'a str>,
    commit_hash: &'a str,
    host: &'a str,
    verbose_version: &'a str,
}

/// The file for the program of one package.
///
/// # Errors
///
/// The package's components were not gathered.
pub fn render(inventory: &Inventory, package: &str) -> Result<Vec<u8>> {
    let components = inventory.of(&[package])?;
    let cargo_ids = inventory.crate_ids(package)?;
    let crates = || components.all.iter().filter(|(_, component)| component.kind != Kind::Native);
    let indices: BTreeMap<_, _> = crates().enumerate().map(|(index, (id, _))| (id.as_str(), index)).collect();
    let entry = |(id, _): (&String, _)| {
        let needs = components.needs[id].iter().filter_map(|id| indices.get(id.as_str()));
        let dependencies = needs.map(|&index| Dependency { index, kind: "normal" }).collect();
        let kind = [if components.roots.contains(id) { "bin" } else { "lib" }];
        Crate { id: &cargo_ids[id], kind, features: [], dependencies }
    };
    let root = components.roots.iter().map(|id| indices[id.as_str()]).next().unwrap_or_default();
    let rustc =
        Rustc { version: "", wrapper: None, workspace_wrapper: None, commit_hash: "", host: "", verbose_version: "" };
    Ok(super::to_json(&Precursor { version: FORM, root, crates: crates().map(entry).collect(), rustc }))
}
