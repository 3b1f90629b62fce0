//! The rules of the design on who may depend on whom, held against the dependency graph that cargo resolves.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use cargo_metadata::{Metadata, MetadataCommand};

/// The package that compiles C++.
const CPP: &str = "librocksdb-sys";

fn metadata() -> Metadata {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let options = ["--locked", "--offline"].map(str::to_owned).to_vec();
    MetadataCommand::new()
        .manifest_path(manifest)
        .other_options(options)
        .exec()
        .expect("cargo metadata of this workspace")
}

/// The names of all packages that end up in programs with `root`: neither what tests nor what build scripts use. Asked of
/// `cargo tree`, because the metadata's graph joins the features that any member of the workspace wants.
fn normal_dependencies(root: &str) -> BTreeSet<String> {
    let mut tree = Command::new(env!("CARGO"));
    tree.current_dir(env!("CARGO_MANIFEST_DIR")).args(["tree", "--locked", "--offline", "--package", root]);
    let output = tree.args(["--edges=normal", "--prefix=none", "--format={p}"]).output().expect("cargo tree runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo tree --package {root}: {stderr}");
    let names = String::from_utf8(output.stdout).expect("names of packages are ASCII");
    names.lines().filter_map(|line| line.split(' ').next()).filter(|name| *name != root).map(str::to_owned).collect()
}

fn assert_free_of(crates: &[&str], forbidden: &[&str]) {
    for name in crates {
        let dependencies = normal_dependencies(name);
        for package in forbidden {
            assert!(!dependencies.contains(*package), "{name} must not depend on {package}, directly or indirectly");
        }
    }
}

#[test]
fn tools_and_the_pure_crates_never_link_rocksdb() {
    assert_free_of(
        &[
            "cairn-ctl",
            "cairn-client",
            "cairn-bench",
            "cairn-fuzz",
            "cairn-state",
            "cairn-consensus",
            "cairn-wal",
            "cairn-storage",
        ],
        &[CPP, "rocksdb", "cairn-rocks"],
    );
}

/// Otherwise the rule above could hold for want of the package.
#[test]
fn the_server_does_link_rocksdb() {
    assert!(normal_dependencies("cairn-server").contains(CPP));
}

#[test]
fn state_and_consensus_know_neither_runtime_nor_transport() {
    assert_free_of(&["cairn-state", "cairn-consensus"], &["tokio", "tonic", "hyper", "h2", "mio"]);
}

#[test]
fn the_base_knows_nothing_of_what_stands_on_it() {
    assert_free_of(&["cairn-types"], &["tokio", "tonic", "prost", "raft", "cairn-api"]);
    assert_free_of(
        &["cairn-storage", "cairn-wal"],
        &["cairn-state", "cairn-consensus", "cairn-server", "tokio", "tonic"],
    );
    assert_free_of(&["cairn-state"], &["cairn-consensus", "cairn-wal", "cairn-server", "raft"]);
}

#[test]
fn tools_do_not_contain_the_server() {
    let server = ["cairn-server", "cairn-state", "cairn-consensus", "cairn-wal", "raft"];
    assert_free_of(&["cairn-ctl", "cairn-client", "cairn-bench"], &server);
    assert_free_of(&["cairn-utl"], &["cairn-server", "axum"]);
}

#[test]
fn only_consensus_names_the_raft_library() {
    let metadata = metadata();
    for package in metadata.workspace_packages() {
        let names_raft = package.dependencies.iter().any(|dependency| dependency.name == "raft");
        assert_eq!(
            names_raft,
            package.name.as_str() == "cairn-consensus",
            "{}: depends on raft: {names_raft}",
            package.name
        );
    }
}

#[test]
fn unsafe_code_is_forbidden_everywhere_but_where_cpp_is_bound() {
    let metadata = metadata();
    let root = fs::read_to_string(metadata.workspace_root.join("Cargo.toml")).expect("the workspace manifest");
    assert!(root.contains("unsafe_code = \"forbid\""), "the workspace forbids unsafe code");
    for package in metadata.workspace_packages() {
        let manifest = fs::read_to_string(&package.manifest_path).expect("the manifest of a member");
        let inherits = manifest.contains("[lints]\nworkspace = true");
        assert!(inherits || package.name.as_str() == "cairn-rocks", "{} does not inherit the lints", package.name);
    }
}

#[test]
fn the_manifests_of_all_members_are_those_of_the_workspace() {
    for package in metadata().workspace_packages() {
        assert_eq!(package.license.as_deref(), Some("Apache-2.0"), "{}", package.name);
        assert_eq!(package.publish.as_deref(), Some(&[][..]), "{} could be published", package.name);
        assert!(package.rust_version.is_some(), "{} does not inherit the Rust version", package.name);
    }
}
