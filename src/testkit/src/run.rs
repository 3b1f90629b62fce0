//! Programs that run to their end: client tools, and servers that must refuse to start.

use std::process::{Output, Stdio};

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

use crate::DEADLINE;

/// What a program left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output, lossily decoded.
    pub stdout: String,
    /// Standard error, lossily decoded.
    pub stderr: String,
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs `command` to its end with `stdin` as input.
///
/// # Errors
/// It cannot be started, or it did not end within [`DEADLINE`] (it is killed then).
pub async fn run(mut command: Command, stdin: &str) -> anyhow::Result<Finished> {
    let name = format!("{:?}", command.as_std());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().with_context(|| format!("start {name}"))?;
    if let Some(mut input) = child.stdin.take() {
        // A program that ends without reading its input closes the pipe; its output tells the rest.
        let _ = input.write_all(stdin.as_bytes()).await;
    }
    match tokio::time::timeout(DEADLINE, child.wait_with_output()).await {
        Ok(output) => Ok(output.with_context(|| format!("wait for {name}"))?.into()),
        Err(_) => bail!("{name} did not end within {} s", DEADLINE.as_secs()),
    }
}

/// Runs `command` until it has written `lines` lines to standard output, kills it, and returns them.
///
/// # Errors
/// It cannot be started, or it ended or stayed silent before it had written so many.
pub async fn run_until_lines(mut command: Command, lines: usize) -> anyhow::Result<String> {
    let name = format!("{:?}", command.as_std());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
    let mut child = command.spawn().with_context(|| format!("start {name}"))?;
    let mut output = BufReader::new(child.stdout.take().context("no pipe to the program")?).lines();
    let mut text = String::new();
    for seen in 0..lines {
        let line = tokio::time::timeout(DEADLINE, output.next_line()).await.with_context(|| {
            format!("{name}: only {seen} of {lines} lines within {} s:\n{text}", DEADLINE.as_secs())
        })??;
        text.push_str(&line.with_context(|| format!("{name} ended after {seen} of {lines} lines:\n{text}"))?);
        text.push('\n');
    }
    child.kill().await.with_context(|| format!("kill {name}"))?;
    Ok(text)
}
