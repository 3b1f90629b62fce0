//! Builds the programs of the plan with cargo and gathers them in one folder.
//!
//! Cargo says itself where the programs are, so every way to set the target folder (`CARGO_TARGET_DIR`, configuration)
//! is honoured. On a host of the target's own kind no `--target` is passed: it would build RocksDB a second time.

use std::collections::BTreeMap;
use std::env;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use cargo_metadata::Message;

use crate::files;
use crate::plan::Target;
use crate::process;

/// Builds the target's programs in release mode and copies them into `bin_dir`.
///
/// # Errors
///
/// Cargo cannot be started or fails, or a program of the plan was not among what it built.
pub fn compile(root: &Path, target: &Target, bin_dir: &Path) -> Result<()> {
    let built = build(root, target)?;
    files::create_folder(bin_dir)?;
    for binary in &target.binaries {
        let from = built.get(&binary.name).with_context(|| {
            format!("package {} built no program {}; does its Cargo.toml name it?", binary.package, binary.name)
        })?;
        let mut source = File::open(from).with_context(|| format!("cannot read {}", from.display()))?;
        files::write_whole(&bin_dir.join(&binary.name), files::EXECUTABLE_MODE, |writer| {
            Ok(io::copy(&mut source, writer)?)
        })?;
    }
    Ok(())
}

/// Runs cargo and returns the path of every program that it built, by name.
fn build(root: &Path, target: &Target) -> Result<BTreeMap<String, PathBuf>> {
    let mut command = Command::new(cargo());
    command.current_dir(root).args(["build", "--release", "--locked", "--bins"]);
    command.arg("--message-format=json-render-diagnostics");
    for binary in &target.binaries {
        command.args(["--package", &binary.package]);
    }
    if host_triple()? != target.triple {
        command.args(["--target", &target.triple]);
    }
    let mut child = process::start(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
    let stdout = child.stdout.take().expect("standard output was piped");
    let mut built = BTreeMap::new();
    for message in Message::parse_stream(BufReader::new(stdout)) {
        if let Message::CompilerArtifact(artifact) = message.context("cannot read what cargo reports")?
            && let Some(executable) = artifact.executable
        {
            built.insert(artifact.target.name, executable.into_std_path_buf());
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("cargo build failed ({status}); its messages are above");
    }
    Ok(built)
}

fn host_triple() -> Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().context("cannot start rustc")?;
    let text = String::from_utf8(output.stdout).context("rustc's version is no text")?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc -vV names no host")
}

/// The cargo that runs us, so that a pinned toolchain stays pinned.
fn cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

/// Folder into which [`compile`] puts a target's programs below the output folder.
#[must_use]
pub fn default_bin_dir(out: &Path, target: &Target) -> PathBuf {
    out.join("bin").join(&target.name)
}

/// Removes the programs of an earlier build, so that a rehearsal can never package them by mistake.
///
/// # Errors
///
/// A file is there and cannot be removed.
pub fn forget(target: &Target, bin_dir: &Path) -> Result<()> {
    target.binaries.iter().try_for_each(|binary| files::remove_if_there(&bin_dir.join(&binary.name)))
}
