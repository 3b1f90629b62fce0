//! The source tree that is released: finds it and gathers the facts that a plan is made of.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::plan::{Inputs, Plan, Scope};
use crate::process;

/// Environment variable that sets the time of all artifacts, in seconds since 1970.
pub const EPOCH_VARIABLE: &str = "SOURCE_DATE_EPOCH";

/// Finds the root of the source tree: the nearest folder at or above `start` that has `release/release.toml`.
///
/// # Errors
///
/// There is none.
pub fn find_root(start: &Path) -> Result<PathBuf> {
    let root = start.ancestors().find(|folder| folder.join("release/release.toml").is_file());
    root.map(Path::to_owned).with_context(|| format!("{} is not in a checkout of Cairn; use --root", start.display()))
}

/// Makes the plan of the tree at `root`.
///
/// The time of the artifacts is `SOURCE_DATE_EPOCH` or else the time of the commit.
///
/// # Errors
///
/// A file is missing or invalid, or neither the variable is set nor the tree a git checkout with a commit.
pub fn plan(root: &Path, scope: Scope) -> Result<Plan> {
    let commit = git(root, &["rev-parse", "HEAD"]);
    let source_date_epoch = match epoch_from_environment()? {
        Some(epoch) => epoch,
        None => commit_time(root)?,
    };
    let inputs = Inputs {
        cargo_toml: read(root, "Cargo.toml")?,
        release_toml: read(root, "release/release.toml")?,
        commit: commit.ok(),
        tree: git(root, &["rev-parse", "HEAD^{tree}"]).ok(),
        source_date_epoch,
        scope,
    };
    Ok(Plan::new(&inputs)?)
}

/// The time that `SOURCE_DATE_EPOCH` sets, if it is set.
///
/// # Errors
///
/// It is no number.
pub fn epoch_from_environment() -> Result<Option<u64>> {
    let Ok(text) = env::var(EPOCH_VARIABLE) else { return Ok(None) };
    text.parse().map(Some).with_context(|| format!("{EPOCH_VARIABLE}={text:?} is not a number of seconds"))
}

fn read(root: &Path, name: &str) -> Result<String> {
    let path = root.join(name);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

fn commit_time(root: &Path) -> Result<u64> {
    let text = git(root, &["log", "-1", "--format=%ct"])
        .with_context(|| format!("no time for the artifacts: set {EPOCH_VARIABLE} or release from a git checkout"))?;
    Ok(text.parse()?)
}

/// First line of git's answer. Asks only about the tree itself: a checkout around it says nothing about this one.
fn git(root: &Path, args: &[&str]) -> Result<String> {
    if !root.join(".git").exists() {
        bail!("{} is not a git checkout", root.display());
    }
    let text = process::output(git_command(root).args(args))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// Tracked files that differ from the commit, as sentences: a release takes its packaging from the tree at `root`, and that
/// must be the commit's. None outside a git checkout, where there is no commit to differ from.
///
/// # Errors
///
/// git cannot be asked.
pub fn uncommitted(root: &Path) -> Result<Vec<String>> {
    if !root.join(".git").exists() {
        return Ok(Vec::new());
    }
    let status = process::output(git_command(root).args(["status", "--porcelain", "--untracked-files=no"]))?;
    Ok(status.lines().map(|line| format!("{}: changed and not committed", line.get(3..).unwrap_or(line))).collect())
}

/// A command of git's that works on the tree at `root`.
#[must_use]
pub fn git_command(root: &Path) -> Command {
    let mut command = process::clean_command(Path::new("git"));
    // HOME holds git's list of folders that it may read although another user owns them.
    if let Some(home) = env::var_os("HOME") {
        command.env("HOME", home);
    }
    command.arg("-C").arg(root);
    command
}
