//! Foreign programs that judge or read packages: where they are and what they said, whatever their exit code is.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process;

/// Longest time for a program that compresses, installs or judges packages.
pub const LIMIT: Duration = Duration::from_secs(600);

/// Most bytes of text that are taken from a program.
const MAX_TEXT_BYTES: u64 = 16 << 20;

/// What a program that ended said.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Finished {
    /// Both outputs, for a search or an error.
    #[must_use]
    pub fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// Finds a program, or says which package has it.
///
/// # Errors
///
/// It is not in `PATH`.
pub fn find(program: &str, package: &str) -> Result<PathBuf> {
    process::find_program(program)
        .with_context(|| format!("the program {program} is missing; install the Debian package `{package}`"))
}

/// Runs a command to its end, within [`LIMIT`].
///
/// # Errors
///
/// It cannot be started or does not end; a failure of its own is in the result.
pub fn run(command: &mut Command) -> Result<Finished> {
    let stdout = tempfile::tempfile()?;
    let (status, stderr) = run_into(command, &stdout)?;
    Ok(Finished { status, stdout: text(stdout)?, stderr })
}

/// Runs a command that must succeed and returns its standard output as text.
///
/// # Errors
///
/// As [`run`], or it fails.
pub fn output(command: &mut Command) -> Result<String> {
    let finished = run(command)?;
    if !finished.status.success() {
        bail!("{} failed ({}): {}", shown(command), finished.status, finished.all().trim());
    }
    Ok(finished.stdout)
}

/// Runs a command that must succeed and returns its standard output as a file, from its beginning.
///
/// # Errors
///
/// As [`output`].
pub fn output_file(command: &mut Command) -> Result<File> {
    let mut stdout = tempfile::tempfile()?;
    let (status, stderr) = run_into(command, &stdout)?;
    if !status.success() {
        bail!("{} failed ({status}): {}", shown(command), stderr.trim());
    }
    stdout.rewind()?;
    Ok(stdout)
}

/// A command with the clean environment of all our programs, standard input from a file.
///
/// # Errors
///
/// The file cannot be opened.
pub fn command_reading(program: &Path, input: &Path) -> Result<Command> {
    let mut command = process::clean_command(program);
    command.stdin(File::open(input).with_context(|| format!("cannot read {}", input.display()))?);
    Ok(command)
}

fn run_into(command: &mut Command, stdout: &File) -> Result<(ExitStatus, String)> {
    let stderr = tempfile::tempfile()?;
    let mut child = process::start(command.stdout(stdout.try_clone()?).stderr(stderr.try_clone()?))?;
    let Some(status) = process::wait_for(&mut child, LIMIT)? else {
        child.kill()?;
        child.wait()?;
        bail!("{} did not end within {} s", shown(command), LIMIT.as_secs());
    };
    Ok((status, text(stderr)?))
}

/// The words of a command, without its environment.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

fn text(mut file: File) -> Result<String> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(MAX_TEXT_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
