//! Source archives: the git tree of the released commit, alone and with every crate that it is built from.
//!
//! Contract: [`GitTree`] is read from git's objects, never from the work tree, and proves itself against the commit's tree
//! id. [`entries`] takes every file of it: `export-ignore` and other attributes are not honoured, because what is
//! released as source must be what can be reviewed, no more and no less. [`violations`] and [`vendor::violations`] read
//! the finished archive and compare path by path. Left out: git submodules, which are refused.

pub mod contents;
pub mod tree;
pub mod vendor;

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::tarball::Entries;
use contents::Contents;
use tree::GitTree;

/// Most bytes of an error message that are shown.
const MAX_MESSAGE_BYTES: u64 = 16 << 10;

/// What a source archive holds: the tree.
#[must_use]
pub fn entries(tree: &GitTree) -> Entries {
    tree.files.iter().map(|(path, file)| (path.clone(), file.entry())).collect()
}

/// What is wrong with a finished source archive, whose top folder is `top`.
///
/// # Errors
///
/// The archive is no tar.gz that can be read to its end.
pub fn violations(archive: &Path, top: &str, tree: &GitTree) -> Result<Vec<String>> {
    let contents = Contents::read(archive, top, |_| false)?;
    let mut violations = contents.violations.clone();
    violations.extend(contents.differences(tree, |_| false));
    Ok(violations)
}

/// Runs a command that prints more than a few lines or takes more than a minute, and returns what it printed.
fn run(command: &mut Command, limit: Duration) -> Result<Vec<u8>> {
    let (mut stdout, mut stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let mut child = process::start(command.stdout(stdout.try_clone()?).stderr(stderr.try_clone()?))?;
    let shown = || command.get_program().to_string_lossy().into_owned();
    let Some(status) = process::wait_for(&mut child, limit)? else {
        child.kill()?;
        child.wait()?;
        bail!("{} did not end within {} s", shown(), limit.as_secs());
    };
    if !status.success() {
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
        bail!("{} {} failed ({status}): {}", shown(), arguments.join(" "), tail(&mut stderr)?.trim());
    }
    let mut bytes = Vec::new();
    stdout.rewind()?;
    stdout.read_to_end(&mut bytes).with_context(|| format!("cannot read the output of {}", shown()))?;
    Ok(bytes)
}

/// The end of a long text, which is where a program says why it failed.
fn tail(file: &mut File) -> Result<String> {
    let length = file.metadata()?.len();
    file.seek(std::io::SeekFrom::Start(length.saturating_sub(MAX_MESSAGE_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
