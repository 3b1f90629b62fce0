//! Uses a packaged archive as a user would: unpacks it, starts its server, puts and gets with its client, stops it.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;

use crate::files;
use crate::plan::Artifact;
use crate::process;
use crate::running::Running;

/// Longest time from the start of the server until it answers.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Key and value that are put and got.
const KEY: &str = "cairn/release/smoke";
const VALUE: &str = "the packaged binaries work";

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
    let program = |name: &str| command(&unpacked.join("bin").join(name), emulator);
    let url = format!("http://127.0.0.1:{}", free_port()?);
    let mut server = program("cairnd");
    server.args(["--name", "smoke", "--listen-client-urls", &url, "--advertise-client-urls", &url]);
    server.arg("--data-dir").arg(scratch.path().join("data")).current_dir(scratch.path());
    let server = Running::start(server, &scratch.path().join("cairnd.log"))?;
    let tried = put_and_get(&server, &program, &url).and_then(|()| server.stop());
    tried.with_context(|| format!("the packaged server failed; {}", server.log_tail()))
}

fn put_and_get(server: &Running, program: &dyn Fn(&str) -> Command, url: &str) -> Result<()> {
    let client = |args: &[&str]| {
        let mut command = program("cairnctl");
        process::output(command.args(["--endpoints", url]).args(args))
    };
    let deadline = Instant::now() + START_LIMIT;
    while let Err(e) = client(&["endpoint", "health"]) {
        server.ensure_running()?;
        if Instant::now() >= deadline {
            return Err(e).context("the server did not become healthy in time");
        }
        thread::sleep(process::POLL);
    }
    client(&["put", KEY, VALUE])?;
    let got = client(&["get", "--print-value-only", KEY])?;
    ensure!(got.trim_end() == VALUE, "put {VALUE:?}, got {got:?}");
    Ok(())
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
