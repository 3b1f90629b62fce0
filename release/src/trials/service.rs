//! The installed server, started as its unit says but without systemd.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::root::Root;
use crate::linux_packages::UNIT_FILE;
use crate::linux_packages::unit::{self, Unit};
use crate::process;
use crate::running::Running;

/// Longest time from the start until the server says that it is ready, and from SIGTERM until it says that it stops.
const LIMIT: Duration = Duration::from_secs(60);

/// Socket of the service manager that we play, in the root.
const NOTIFY_SOCKET: &str = "/run/n";

/// The server's log, in the root.
const LOG: &str = "/srv/cairnd.log";

/// The running server.
pub(super) struct Service {
    server: Running,
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
        command.args(unit.exec_start()?);
        let service = Self { server: Running::start(command, &root.path(LOG))?, manager };
        service.wait_for("READY=1").with_context(|| service.server.log_tail())?;
        Ok(service)
    }

    /// Fails if the server has ended.
    pub(super) fn ensure_running(&self) -> Result<()> {
        self.server.ensure_running().with_context(|| self.server.log_tail())
    }

    /// Stops the server with SIGTERM, as systemd does, and expects that it says so and ends cleanly.
    pub(super) fn stop(self) -> Result<()> {
        self.server.ask_to_stop()?;
        let stopped = self.wait_for("STOPPING=1").and_then(|()| self.server.wait_until_stopped());
        stopped.with_context(|| self.server.log_tail())
    }

    fn wait_for(&self, message: &str) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        let mut buffer = [0; 4096];
        loop {
            match self.manager.recv(&mut buffer) {
                Ok(size) if buffer[..size].split(|byte| *byte == b'\n').any(|line| line == message.as_bytes()) => {
                    return Ok(());
                }
                Ok(_) => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    self.server.ensure_running().with_context(|| format!("the server did not say {message}"))?;
                }
                Err(e) => return Err(e).context("cannot listen to the server"),
            }
            ensure!(Instant::now() < deadline, "the server did not say {message}, which Type=notify promises");
        }
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
