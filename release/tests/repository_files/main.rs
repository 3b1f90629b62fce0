//! The files beside the code: what they say is held to what is, and each gate on them is seen to fail on a bad example.

mod changelog;
mod cross;
mod dev;
mod dist;
mod dockerfiles;
mod github;
mod home;
mod programs;
mod support;
mod tag;
mod workflows;

use std::fs;
use std::path::{Path, PathBuf};

use cairn_release::plan::{Inputs, Plan, Scope};

/// Root of the real source tree.
fn source_tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package is in the workspace").to_owned()
}

/// Text of a file of the real source tree.
fn source_file(name: &str) -> String {
    fs::read_to_string(source_tree().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Version of the product.
fn version() -> String {
    let manifest: toml::Table = source_file("Cargo.toml").parse().expect("Cargo.toml is TOML");
    manifest["workspace"]["package"]["version"].as_str().expect("the version is a string").to_owned()
}

/// The whole plan of a release of this version.
fn full_plan(version: &str) -> Plan {
    let inputs = Inputs {
        cargo_toml: format!("[workspace.package]\nversion = \"{version}\"\n"),
        release_toml: "sequence = 1\n".to_owned(),
        commit: None,
        tree: None,
        source_date_epoch: 0,
        scope: Scope::Full,
    };
    Plan::new(&inputs).expect("the inputs are valid")
}

/// The text with a part exchanged that it must have.
fn exchange(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "the good example has no {from:?}");
    text.replacen(from, to, 1)
}
