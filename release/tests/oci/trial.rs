//! The images of the programs that stand beside this test are used for real.
//!
//! Needed: the built programs ($CAIRN_BIN_DIR, else the folder that cargo builds them in), root, and the Debian packages
//! docker.io ($CAIRN_DOCKERD names a `dockerd` elsewhere), docker-registry, skopeo and umoci.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use cairn_release::machine::Machine;
use cairn_release::oci::{Facts, Image, Runtime, write_archive, write_layout};
use cairn_release::sbom::{Component, Kind};
use cairn_release::trials::image;

use crate::fixture::sbom;

/// The C library of this machine, as an unpacked package would have it. An image with it is for this machine alone.
pub(crate) fn host_runtime(root: &Path) -> Runtime {
    let triplet = host().triplet();
    let to = root.join("lib").join(triplet);
    fs::create_dir_all(&to).unwrap();
    let loaders = ["ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"];
    let libraries = ["libc.so.6", "libdl.so.2", "libgcc_s.so.1", "libm.so.6", "libpthread.so.0", "libstdc++.so.6"];
    for name in loaders.into_iter().chain(libraries) {
        let places = ["/lib", "/usr/lib"].map(|folder| Path::new(folder).join(triplet).join(name));
        if let Some(from) = places.iter().find(|path| path.exists()) {
            fs::copy(from, to.join(name)).unwrap();
        }
    }
    let licence = root.join("usr/share/doc/libc6");
    fs::create_dir_all(&licence).unwrap();
    let text = fs::read("/usr/share/doc/libc6/copyright").unwrap_or_else(|_| b"the licence of libc6\n".to_vec());
    fs::write(licence.join("copyright"), text).unwrap();
    Runtime { root: root.to_owned(), package: libc_package() }
}

/// What is said of it, whatever version this machine has.
fn libc_package() -> Component {
    Component {
        name: "libc6".to_owned(),
        version: "2.36-9+deb12u10".to_owned(),
        kind: Kind::Package,
        licence: Some("LGPL-2.1-or-later".to_owned()),
        purl: "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64&distro=bookworm&upstream=glibc".to_owned(),
        cpe: None,
        sha256: Some("5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03".to_owned()),
        repository: None,
        contained_in: None,
        texts: Vec::new(),
    }
}

pub(crate) fn host() -> Machine {
    if cfg!(target_arch = "aarch64") { Machine::Arm64 } else { Machine::Amd64 }
}

/// The folder with the built programs.
fn programs() -> PathBuf {
    let beside = || env::current_exe().unwrap().parent().unwrap().parent().unwrap().to_owned();
    let folder = env::var_os("CAIRN_BIN_DIR").map_or_else(beside, PathBuf::from);
    assert!(
        folder.join("cairnd").is_file(),
        "{} has no cairnd; build it first: cargo build --release --workspace --bins",
        folder.display()
    );
    folder
}

/// A layout of this machine's architecture.
fn layout(scratch: &Path, facts: &Facts) -> PathBuf {
    let image = Image {
        machine: host(),
        programs: programs(),
        runtime: Some(host_runtime(&scratch.join("libc"))),
        documents: BTreeMap::new(),
    };
    let dir = scratch.join("layout");
    write_layout(&dir, facts, &[image], |_, manifest| Ok(sbom(manifest))).unwrap();
    dir
}

fn facts() -> Facts {
    Facts::new(env!("CARGO_PKG_VERSION"), None, 1_700_000_000)
}

#[test]
fn an_engine_pulls_the_image_by_digest_and_runs_it_read_only_as_anybody() {
    let scratch = tempfile::tempdir().unwrap();
    let facts = facts();
    let dir = layout(scratch.path(), &facts);
    let file = scratch.path().join("oci.tar");
    write_archive(&dir, &facts, &file).unwrap();
    let dockerd = env::var_os("CAIRN_DOCKERD").map(PathBuf::from);
    let tools = image::Tools::find(dockerd.as_deref()).unwrap();
    let seen = image::with_engine(&dir, &file, &facts.version, &tools).map_err(|e| format!("{e:#}")).unwrap();
    println!("{}", seen.join("\n"));
}

#[test]
fn the_image_works_from_the_layout_alone() {
    let scratch = tempfile::tempdir().unwrap();
    let facts = facts();
    let dir = layout(scratch.path(), &facts);
    let seen = image::unpacked(&dir, &facts.version, host(), None).map_err(|e| format!("{e:#}")).unwrap();
    println!("{}", seen.join("\n"));
}
