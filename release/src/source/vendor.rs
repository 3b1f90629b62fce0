//! The source archive with every crate of `Cargo.lock` beside the tree, from which Cairn builds without network.
//!
//! Contract: the git tree stays as it is; what is added is below `vendor/`: one folder for each crate of `Cargo.lock` that
//! is not ours, and [`CONFIG_PATH`]. That one is a file of its own and not a change of the tree's `.cargo/config.toml`,
//! so that this archive, too, can be compared with the commit. [`violations`] compares with `Cargo.lock` alone;
//! [`crate_violations`] also with the packed crates, whose sums `Cargo.lock` has: together they leave no file unproven.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use flate2::read::GzDecoder;
use serde::Deserialize;
use tar::Archive;

use super::contents::Contents;
use super::run;
use super::tree::GitTree;
use crate::digest::{digest_file, digest_with};
use crate::files::{self, EXECUTABLE_MODE, FILE_MODE};
use crate::process;
use crate::tarball::{Entries, Entry};

/// The folder that is added to the tree.
pub const FOLDER: &str = "vendor";

/// The file that makes cargo take the crates from there.
pub const CONFIG_PATH: &str = "vendor/config.toml";

/// Its content.
pub const CONFIG: &str = r#"# Builds this tree from the crates in this folder, without network:
#
#     cargo --config vendor/config.toml build --release --locked --offline --workspace --bins
#
# Everything outside of vendor/ is the git tree as it was released; its own .cargo/config.toml stays in force.

[source.crates-io]
replace-with = "vendored-sources"

[source.vendored-sources]
directory = "vendor"
"#;

/// The file in which cargo keeps the sums of a vendored crate.
const CHECKSUM_NAME: &str = ".cargo-checksum.json";

/// Longest time that cargo may take to gather the crates.
const VENDOR_LIMIT: Duration = Duration::from_secs(600);

/// Longest time that cargo may take to check the program in [`try_offline`].
const CHECK_LIMIT: Duration = Duration::from_secs(3600);

/// Variables by which cargo and the toolchain's launcher find their own folders.
const TOOLCHAIN_VARIABLES: [&str; 3] = ["HOME", "CARGO_HOME", "RUSTUP_HOME"];

/// A crate that `Cargo.lock` takes from a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedCrate {
    /// Name and version as the name of its folder: `NAME-VERSION`.
    pub folder: String,
    /// SHA-256 of its packed form.
    pub checksum: String,
}

/// How far [`try_offline`] could keep the network away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Cargo ran in a network namespace of its own, without any interface.
    Off,
    /// This machine permits no such namespace; only cargo's own `--offline` was in force.
    On,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<LockPackage>,
}

#[derive(Deserialize)]
struct LockPackage {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
}

#[derive(Deserialize)]
struct Checksums {
    files: BTreeMap<String, String>,
    package: Option<String>,
}

/// The crates of a `Cargo.lock` that are not part of the tree.
///
/// # Errors
///
/// It does not parse, or a crate comes from a place that names no checksum.
pub fn locked_crates(lock: &str) -> Result<Vec<LockedCrate>> {
    let lock: Lock = toml::from_str(lock).context("Cargo.lock is not valid")?;
    let foreign = lock.package.into_iter().filter(|package| package.source.is_some());
    let locked = foreign.map(|LockPackage { name, version, checksum, .. }| {
        let checksum = checksum.with_context(|| format!("Cargo.lock has no checksum of {name} {version}"))?;
        Ok(LockedCrate { folder: format!("{name}-{version}"), checksum })
    });
    locked.collect()
}

/// Gathers what the vendored archive holds. The crates stay in `work`, which must be an empty folder and must be there
/// until the archive is written. Needs no network where cargo has fetched the crates before.
///
/// # Errors
///
/// The tree has such a folder already, or cargo fails.
pub fn entries(tree: &GitTree, cargo: &Path, work: &Path) -> Result<Entries> {
    ensure!(!tree.files.keys().any(|path| is_vendored(path)), "the commit has files in {FOLDER}/ already");
    tree.write_to(work)?;
    let mut command = toolchain_command(cargo);
    command.current_dir(work).args(["vendor", "--locked", "--offline", "--quiet", "--versioned-dirs", FOLDER]);
    run(&mut command, VENDOR_LIMIT)
        .context("cannot gather the crates; run `cargo fetch --locked` with network first")?;
    let mut entries = super::entries(tree);
    add_folder(&mut entries, work, FOLDER)?;
    entries.insert(CONFIG_PATH.to_owned(), Entry::Bytes(FILE_MODE, CONFIG.into()));
    Ok(entries)
}

/// What is wrong with a finished vendored archive: the tree must be the commit's, and every crate that of `Cargo.lock`.
///
/// # Errors
///
/// The archive cannot be read to its end, or the commit's `Cargo.lock` does not parse.
pub fn violations(archive: &Path, top: &str, tree: &GitTree) -> Result<Vec<String>> {
    let contents =
        Contents::read(archive, top, |path| path == CONFIG_PATH || path.ends_with(&format!("/{CHECKSUM_NAME}")))?;
    let mut violations = contents.violations.clone();
    violations.extend(contents.differences(tree, is_vendored));
    let config = contents.files.get(CONFIG_PATH).and_then(|member| member.kept.as_deref());
    if config != Some(CONFIG.as_bytes()) {
        violations.push(format!("{CONFIG_PATH} is missing or not the one that makes cargo use the crates"));
    }
    let locked = locked_crates(tree.text("Cargo.lock")?)?;
    for locked in &locked {
        violations.extend(check_folder(&contents, locked));
    }
    let known: BTreeSet<_> = locked.iter().map(|locked| locked.folder.as_str()).collect();
    let paths = contents.files.keys().filter_map(|path| path.strip_prefix("vendor/"));
    let folders: BTreeSet<_> = paths.filter_map(|path| path.split_once('/').map(|(folder, _)| folder)).collect();
    let extra = folders.difference(&known);
    violations.extend(extra.map(|folder| format!("{FOLDER}/{folder} is no crate of Cargo.lock")));
    let loose = contents.files.keys().filter_map(|path| path.strip_prefix("vendor/"));
    let loose = loose.filter(|path| !path.contains('/') && format!("{FOLDER}/{path}") != CONFIG_PATH);
    violations.extend(loose.map(|path| format!("{FOLDER}/{path} belongs to no crate")));
    Ok(violations)
}

/// The folders in which cargo keeps the packed crates that it downloaded: one for each registry.
///
/// # Errors
///
/// There is none: cargo has not fetched anything.
pub fn packed_crates() -> Result<Vec<PathBuf>> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::home_dir().map(|home| home.join(".cargo"))).context("there is no home folder")?;
    let cache = home.join("registry/cache");
    let names = files::names_in(&cache)
        .with_context(|| format!("cannot read {}; run `cargo fetch --locked` with network first", cache.display()))?;
    Ok(names.iter().map(|name| cache.join(name)).collect())
}

/// What is wrong with the vendored crates compared with the packed ones, each a `NAME-VERSION.crate` in one of the folders
/// `packed`: it must have the sum of `Cargo.lock`, and each vendored file must come from it unchanged.
///
/// # Errors
///
/// The archive or a packed crate cannot be read.
pub fn crate_violations(archive: &Path, top: &str, lock: &str, packed: &[PathBuf]) -> Result<Vec<String>> {
    let contents = Contents::read(archive, top, |_| false)?;
    let mut violations = Vec::new();
    for locked in locked_crates(lock)? {
        let name = format!("{}.crate", locked.folder);
        let path = packed.iter().map(|folder| folder.join(&name)).find(|path| path.is_file());
        let path =
            path.with_context(|| format!("cargo has no {name}; run `cargo fetch --locked` with network first"))?;
        let digest = digest_file(&path).with_context(|| format!("cannot read the crate {}", path.display()))?;
        if digest.sha256 != locked.checksum {
            violations.push(format!("{}.crate has not the checksum of Cargo.lock", locked.folder));
            continue;
        }
        let original = unpacked_sums(&path, &locked.folder)?;
        for (file, sha256) in files_of(&contents, &locked.folder).filter(|(file, _)| *file != CHECKSUM_NAME) {
            if original.get(file).map(String::as_str) != Some(sha256) {
                violations.push(format!("{FOLDER}/{}/{file} is not as in the crate that was published", locked.folder));
            }
        }
    }
    Ok(violations)
}

/// Unpacks a vendored archive into the empty folder `work` and lets cargo resolve and check `package` there with an empty
/// cargo home and without network, as a distribution does.
///
/// # Errors
///
/// The archive cannot be unpacked, or cargo fails.
pub fn try_offline(archive: &Path, top: &str, cargo: &Path, package: &str, work: &Path) -> Result<Network> {
    let file = File::open(archive).with_context(|| format!("cannot read {}", archive.display()))?;
    Archive::new(GzDecoder::new(file)).unpack(work).with_context(|| format!("cannot unpack {}", archive.display()))?;
    let isolation = isolation();
    let home = work.join("empty-cargo-home");
    files::create_folder(&home)?;
    let cargo_in_tree = |arguments: &[&str]| {
        let mut command = match isolation {
            Some(unshare) => toolchain_command(Path::new(unshare[0])),
            None => toolchain_command(cargo),
        };
        if let Some(unshare) = isolation {
            command.args(&unshare[1..]).arg(cargo);
        }
        command.current_dir(work.join(top)).env("CARGO_HOME", &home).env("CARGO_TARGET_DIR", work.join("target"));
        // By its name, rustup's launcher would be found, which obeys the `rust-toolchain.toml` that some crates have.
        command.env("RUSTC", cargo.with_file_name("rustc"));
        command.args(["--config", CONFIG_PATH]).args(arguments).args(["--locked", "--offline"]);
        run(&mut command, CHECK_LIMIT).context("the vendored archive does not build by itself")
    };
    cargo_in_tree(&["metadata", "--format-version", "1"])?;
    cargo_in_tree(&["check", "--quiet", "--package", package])?;
    Ok(if isolation.is_some() { Network::Off } else { Network::On })
}

/// How to start a program without network, if this machine permits it.
fn isolation() -> Option<&'static [&'static str]> {
    let ways: [&[&str]; 2] = [&["unshare", "--net"], &["unshare", "--map-root-user", "--net"]];
    ways.into_iter().find(|way| {
        let mut command = process::clean_command(Path::new(way[0]));
        process::output(command.args(&way[1..]).arg("true")).is_ok()
    })
}

fn toolchain_command(program: &Path) -> Command {
    let mut command = process::clean_command(program);
    for name in TOOLCHAIN_VARIABLES {
        if let Some(value) = env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

fn is_vendored(path: &str) -> bool {
    path.strip_prefix(FOLDER).is_some_and(|rest| rest.starts_with('/'))
}

/// Adds every file below a folder; of its mode only counts whether it is a program.
fn add_folder(entries: &mut Entries, root: &Path, folder: &str) -> Result<()> {
    let full = root.join(folder);
    for entry in fs::read_dir(&full).with_context(|| format!("cannot read the folder {}", full.display()))? {
        let entry = entry?;
        let name = entry.file_name().into_string().map_err(|name| anyhow::anyhow!("{name:?} is no UTF-8 text"))?;
        let path = format!("{folder}/{name}");
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            add_folder(entries, root, &path)?;
        } else if metadata.is_file() {
            let mode = if metadata.permissions().mode() & 0o111 == 0 { FILE_MODE } else { EXECUTABLE_MODE };
            entries.insert(path, Entry::File(mode, entry.path()));
        } else {
            bail!("{path} is neither file nor folder; no crate has such a thing");
        }
    }
    Ok(())
}

/// The files of a vendored crate as (path below its folder, SHA-256).
fn files_of<'a>(contents: &'a Contents, folder: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    contents.files.iter().filter_map(move |(path, member)| {
        let below = path.strip_prefix("vendor/")?.strip_prefix(folder)?.strip_prefix('/')?;
        Some((below, member.sha256.as_str()))
    })
}

fn check_folder(contents: &Contents, locked: &LockedCrate) -> Vec<String> {
    let folder = &locked.folder;
    let list = contents.files.get(&format!("{FOLDER}/{folder}/{CHECKSUM_NAME}"));
    let Some(list) = list.and_then(|member| member.kept.as_deref()) else {
        return vec![format!("{FOLDER}/{folder} is missing or has no {CHECKSUM_NAME}; Cargo.lock names the crate")];
    };
    let Ok(mut list) = serde_json::from_slice::<Checksums>(list) else {
        return vec![format!("{FOLDER}/{folder}/{CHECKSUM_NAME} is not valid")];
    };
    let mut violations = Vec::new();
    if list.package.as_ref() != Some(&locked.checksum) {
        violations.push(format!("{FOLDER}/{folder} has not the checksum of Cargo.lock"));
    }
    for (file, sha256) in files_of(contents, folder).filter(|(file, _)| *file != CHECKSUM_NAME) {
        match list.files.remove(file) {
            None => violations.push(format!("{FOLDER}/{folder}/{file} is not in its {CHECKSUM_NAME}")),
            Some(listed) if listed != sha256 => {
                violations.push(format!("{FOLDER}/{folder}/{file} differs from its {CHECKSUM_NAME}"));
            }
            Some(_) => {}
        }
    }
    violations.extend(list.files.into_keys().map(|file| format!("{FOLDER}/{folder}/{file} is missing")));
    violations
}

/// SHA-256 of every file of a packed crate, by path.
fn unpacked_sums(packed: &PathBuf, folder: &str) -> Result<BTreeMap<String, String>> {
    let cannot = || format!("cannot read the crate {}", packed.display());
    let mut sums = BTreeMap::new();
    for entry in Archive::new(GzDecoder::new(File::open(packed)?)).entries().with_context(cannot)? {
        let entry = entry.with_context(cannot)?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if let Some(below) = path.strip_prefix(folder).and_then(|path| path.strip_prefix('/')) {
            sums.insert(below.to_owned(), digest_with(entry, |_| {}).with_context(cannot)?.sha256);
        }
    }
    Ok(sums)
}
