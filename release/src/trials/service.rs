//! The installed server, started as its unit says but without systemd.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::root::Root;
use crate::linux_packages::UNIT_FILE;
use crate::linux_packages::unit::{self, Unit};
use crate::process;

/// Longest time from the start until the server says that it is ready, and from SIGTERM until it has ended.
const LIMIT: Duration = Duration::from_secs(60);

/// Socket of the service manager that we play, in the root.
const NOTIFY_SOCKET: &str = "/run/n";

/// The server's log, in the root.
const LOG: &str = "/srv/cairnd.log";

/// Most bytes of the log that an error shows.
const MAX_LOG_SHOWN: usize = 4 << 10;

/// The running server; killed when dropped.
pub(super) struct Service {
    child: Child,
    manager: UnixDatagram,
}

impl Service {
    /// Starts what the installed unit starts and waits until it says that it is ready.
    pub(super) fn start(root: &Root) -> Result<Self> {
        let unit = Unit::parse(&root.read(UNIT_FILE)?)?;
        let setting = |name: &str| unit.value("Service", name);
        let mut variables = unit::environment(&root.read(setting("EnvironmentFile")?)?)?;
        variables.push(("NOTIFY_SOCKET".to_owned(), NOTIFY_SOCKET.to_owned()));
        let manager = bind(root)?;
        let user = format!("{}:{}", setting("User")?, setting("Group")?);
        let mut command = root.command(&user, setting("WorkingDirectory")?, &variables)?;
        command.args(["/bin/sh", "-c", &format!("umask {} && exec \"$0\" \"$@\"", setting("UMask")?)]);
        let log = File::create(root.path(LOG))?;
        command.args(unit.exec_start()?).stdout(log.try_clone()?).stderr(log);
        let mut service = Self { child: process::start(&mut command)?, manager };
        service.wait_for("READY=1").with_context(|| log_tail(root))?;
        Ok(service)
    }

    /// Process of the server.
    pub(super) fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Stops the server with SIGTERM, as systemd does, and expects that it says so and ends cleanly.
    pub(super) fn stop(mut self, root: &Root) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        self.wait_for("STOPPING=1").with_context(|| log_tail(root))?;
        let Some(status) = process::wait_for(&mut self.child, LIMIT)? else {
            bail!("the server did not stop within {} s after SIGTERM; {}", LIMIT.as_secs(), log_tail(root));
        };
        let by_signal = status.signal() == Some(Signal::TERM.as_raw());
        ensure!(by_signal || status.success(), "the server stopped with {status}; {}", log_tail(root));
        Ok(())
    }

    fn wait_for(&mut self, message: &str) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        let mut buffer = [0; 4096];
        loop {
            match self.manager.recv(&mut buffer) {
                Ok(size) if buffer[..size].split(|byte| *byte == b'\n').any(|line| line == message.as_bytes()) => {
                    return Ok(());
                }
                Ok(_) => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    ensure!(self.is_running()?, "the server ended before it said {message}");
                }
                Err(e) => return Err(e).context("cannot listen to the server"),
            }
            ensure!(Instant::now() < deadline, "the server did not say {message}, which Type=notify promises");
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Already ended after `stop`; then both calls fail, and nothing is left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Listens as a service manager, to a server that may not write where we do.
fn bind(root: &Root) -> Result<UnixDatagram> {
    let path = root.path(NOTIFY_SOCKET);
    crate::files::remove_if_there(&path)?;
    let manager = UnixDatagram::bind(&path).with_context(|| format!("cannot listen on {}", path.display()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
    manager.set_read_timeout(Some(process::POLL))?;
    Ok(manager)
}

fn log_tail(root: &Root) -> String {
    let text = fs::read(root.path(LOG)).unwrap_or_default();
    let tail = &text[text.len().saturating_sub(MAX_LOG_SHOWN)..];
    format!("the server's log ends with:\n{}", String::from_utf8_lossy(tail))
}
