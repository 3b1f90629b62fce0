//! Uses a packaged archive as a user would: unpacks it, starts its server, puts and gets with its client, stops it.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use flate2::read::GzDecoder;
use rustix::process::{Pid, Signal, kill_process};

use crate::files;
use crate::plan::Artifact;
use crate::process;

/// Longest time from the start of the server until it answers.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Longest time from the signal to stop until the server has ended.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// Key and value that are put and got.
const KEY: &str = "cairn/release/smoke";
const VALUE: &str = "the packaged binaries work";

/// Most bytes of the server's log that an error shows.
const MAX_LOG_SHOWN: usize = 4 << 10;

/// Unpacks an archive and returns its top folder, which must be the only thing in it.
///
/// # Errors
///
/// The archive cannot be read or has more than the one folder.
pub fn unpack(archive: &Path, artifact: &Artifact, into: &Path) -> Result<PathBuf> {
    let content = artifact.archive.as_ref().with_context(|| format!("{} has no programs", artifact.name))?;
    unpack_top(archive, &content.top_folder, into)
}

/// As [`unpack`], for an archive of which only the name of its top folder is known.
///
/// # Errors
///
/// As [`unpack`].
pub fn unpack_top(archive: &Path, top_folder: &str, into: &Path) -> Result<PathBuf> {
    let file = File::open(archive).with_context(|| format!("cannot read {}", archive.display()))?;
    tar::Archive::new(GzDecoder::new(file)).unpack(into)?;
    let top = [top_folder];
    files::check_names(into, top.into_iter(), top.into_iter())?;
    Ok(into.join(top_folder))
}

/// Starts the server of an unpacked archive on a free port, puts and gets a key, and stops it with SIGTERM. `emulator` is a
/// command, with arguments, that runs programs of another architecture or as on an older processor; none if empty.
///
/// # Errors
///
/// The server does not start, answers wrongly or does not stop cleanly; the end of its log is in the error.
pub fn smoke(unpacked: &Path, emulator: &[&str]) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let log = scratch.path().join("cairnd.log");
    put_and_get(unpacked, emulator, scratch.path(), &log).with_context(|| {
        let text = fs::read(&log).unwrap_or_default();
        let tail = &text[text.len().saturating_sub(MAX_LOG_SHOWN)..];
        format!("the packaged server failed; its log ends with:\n{}", String::from_utf8_lossy(tail))
    })
}

fn put_and_get(unpacked: &Path, emulator: &[&str], scratch: &Path, log: &Path) -> Result<()> {
    let program = |name: &str| command(&unpacked.join("bin").join(name), emulator);
    let url = format!("http://127.0.0.1:{}", free_port()?);
    let mut server = Server::start(program("cairnd"), scratch, log, &url)?;
    let client = |args: &[&str]| {
        let mut command = program("cairnctl");
        process::output(command.args(["--endpoints", &url]).args(args))
    };
    let deadline = Instant::now() + START_LIMIT;
    while let Err(e) = client(&["endpoint", "health"]) {
        ensure!(server.child.try_wait()?.is_none(), "the server ended by itself");
        if Instant::now() >= deadline {
            return Err(e).context("the server did not become healthy in time");
        }
        thread::sleep(process::POLL);
    }
    client(&["put", KEY, VALUE])?;
    let got = client(&["get", "--print-value-only", KEY])?;
    ensure!(got.trim_end() == VALUE, "put {VALUE:?}, got {got:?}");
    server.stop()
}

/// A command that runs a program, by itself or in an emulator of its architecture.
fn command(program: &Path, emulator: &[&str]) -> Command {
    match emulator {
        [] => process::clean_command(program),
        [emulator, args @ ..] => {
            let mut command = process::clean_command(Path::new(emulator));
            command.args(args).arg(program);
            command
        }
    }
}

/// A port that was free a moment ago; the server must be told one, because clients need its address.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// The running server; killed when dropped.
struct Server {
    child: Child,
}

impl Server {
    fn start(mut command: Command, scratch: &Path, log: &Path, url: &str) -> Result<Self> {
        let output = File::create(log)?;
        command.args(["--name", "smoke", "--listen-client-urls", url, "--advertise-client-urls", url]);
        command.arg("--data-dir").arg(scratch.join("data"));
        command.current_dir(scratch).stdout(output.try_clone()?).stderr(output).stdin(Stdio::null());
        Ok(Self { child: process::start(&mut command)? })
    }

    /// A clean stop is exit code 0, 143 or the raised SIGTERM itself, as with etcd.
    fn stop(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let Some(status) = process::wait_for(&mut self.child, STOP_LIMIT)? else {
            bail!("the server did not stop within {} s after SIGTERM", STOP_LIMIT.as_secs());
        };
        let by_signal = status.signal() == Some(Signal::TERM.as_raw());
        ensure!(by_signal || matches!(status.code(), Some(0 | 143)), "the server stopped with {status}");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already ended after `stop`; then both calls fail, and nothing is left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
