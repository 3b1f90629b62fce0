//! Which program stands behind a member, and where it is found.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// A server program and the client tool that belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// `cairnd` and `cairnctl` of this build: in `CAIRN_BIN_DIR`, or beside the test binary.
    Cairn,
    /// etcd and etcdctl 3.5.1, in the folder that `CAIRN_PEER_DIR` names.
    Etcd351,
    /// The distribution's etcd and etcdctl 3.4, on `PATH`.
    Etcd34,
}

/// The peer under test. `CAIRN_TEST_SUBJECT=etcd` puts etcd 3.5.1 in its place, which tests the suites themselves: a
/// comparison of etcd with etcd must find nothing.
#[must_use]
pub fn subject() -> Peer {
    match env::var("CAIRN_TEST_SUBJECT").as_deref() {
        Ok("etcd") => Peer::Etcd351,
        _ => Peer::Cairn,
    }
}

impl Peer {
    /// The server program.
    ///
    /// # Errors
    /// It is not installed; the message says which command installs it.
    pub fn server(self) -> anyhow::Result<PathBuf> {
        self.program("cairnd", "etcd")
    }

    /// The client tool.
    ///
    /// # Errors
    /// It is not installed; the message says which command installs it.
    pub fn ctl(self) -> anyhow::Result<PathBuf> {
        self.program("cairnctl", "etcdctl")
    }

    fn program(self, ours: &str, theirs: &str) -> anyhow::Result<PathBuf> {
        match self {
            Self::Cairn => own_program(ours),
            Self::Etcd351 => {
                let dir = env::var_os("CAIRN_PEER_DIR")
                    .context("CAIRN_PEER_DIR names no folder with etcd 3.5.1: run `./dev test`, which installs it")?;
                let path = Path::new(&dir).join(theirs);
                path.is_file().then_some(path).with_context(|| {
                    format!("no {theirs} in CAIRN_PEER_DIR={}: run `./dev test`, which installs it", dir.display())
                })
            }
            Self::Etcd34 => on_path(theirs).with_context(|| {
                format!("no {theirs} on PATH (Debian: etcd-client, etcd-server): run `./dev test`, which installs it")
            }),
        }
    }
}

fn own_program(name: &str) -> anyhow::Result<PathBuf> {
    let hint = || format!("{name} is not built: run `./dev test`, or name its folder in CAIRN_BIN_DIR");
    if let Some(dir) = env::var_os("CAIRN_BIN_DIR") {
        let path = Path::new(&dir).join(name);
        return path.is_file().then_some(path).with_context(hint);
    }
    let exe = env::current_exe().context("the path of the test program")?;
    // Test binaries are in target/<profile>/deps, programs in target/<profile>.
    exe.ancestors().skip(1).take(2).map(|dir| dir.join(name)).find(|path| path.is_file()).with_context(hint)
}

fn on_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|dir| dir.join(name)).find(|path| path.is_file())
}
