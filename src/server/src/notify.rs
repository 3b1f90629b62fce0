//! Tells a service manager how far the process is: the protocol of `sd_notify(3)`, one datagram for each state.
//!
//! Contract: without `NOTIFY_SOCKET` nothing happens, and a manager that cannot be told stops nothing; that is logged.
//! Left out: the watchdog. A ping is worth something only if it stops when the member no longer makes progress, and one
//! from a timer of the runtime would go on beside a stuck apply thread.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Variable in which the manager names its socket.
const SOCKET: &str = "NOTIFY_SOCKET";

/// Longest time that a manager with a full queue holds us up.
const SEND_LIMIT: Duration = Duration::from_secs(1);

/// What a service manager wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Clients are served from now on.
    Ready,
    /// The process has begun to stop.
    Stopping,
}

impl State {
    fn message(self) -> &'static [u8] {
        match self {
            Self::Ready => b"READY=1",
            Self::Stopping => b"STOPPING=1",
        }
    }
}

/// Tells the service manager, if one wants to know.
pub(crate) fn notify(state: State) {
    if let Some(socket) = std::env::var_os(SOCKET)
        && let Err(error) = send(&socket, state)
    {
        tracing::warn!(%error, ?state, ?socket, "cannot tell the service manager");
    }
}

fn send(socket: &OsStr, state: State) -> io::Result<()> {
    // As in systemd: a name that begins with @ is abstract, which has a zero byte there.
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let datagram = UnixDatagram::unbound()?;
    datagram.set_write_timeout(Some(SEND_LIMIT))?;
    datagram.send_to_addr(state.message(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(manager: &UnixDatagram) -> Vec<u8> {
        let mut message = [0; 64];
        let size = manager.recv(&mut message).unwrap();
        message[..size].to_vec()
    }

    #[test]
    fn each_state_is_one_datagram_to_a_socket_with_a_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), State::Ready).unwrap();
        send(path.as_os_str(), State::Stopping).unwrap();
        assert_eq!(received(&manager), b"READY=1");
        assert_eq!(received(&manager), b"STOPPING=1");
    }

    #[test]
    fn a_name_that_begins_with_an_at_sign_is_an_abstract_socket() {
        let name = format!("cairn-notify-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        send(OsStr::new(&format!("@{name}")), State::Ready).unwrap();
        assert_eq!(received(&manager), b"READY=1");
    }

    #[test]
    fn a_manager_that_is_not_there_is_an_error_and_no_panic() {
        let folder = tempfile::tempdir().unwrap();
        let error = send(folder.path().join("nobody").as_os_str(), State::Ready).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
