//! One member as a process of its own.

use std::fs::{self, OpenOptions};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, bail};
use cairn_api::etcdserverpb::RangeRequest;
use cairn_api::etcdserverpb::kv_client::KvClient;
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

use crate::{Peer, wait_until};

/// Lines of the log that a failure prints.
const LOG_TAIL_LINES: usize = 40;

/// How often a start is tried again with other ports, because somebody took the chosen ones in between.
const PORT_ATTEMPTS: usize = 5;

/// What a member is started with beyond its addresses and its directory.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Further flags.
    pub flags: Vec<String>,
    /// Keep everything under this directory, which must exist and is not removed; without it a temporary one is used.
    pub root: Option<PathBuf>,
}

impl Options {
    /// Options with these flags.
    #[must_use]
    pub fn flags(flags: &[&str]) -> Self {
        Self { flags: flags.iter().map(|&flag| flag.to_owned()).collect(), ..Self::default() }
    }
}

/// A running member, or one that was stopped and can be started again on the same data.
///
/// The process is killed and reaped when the value is dropped. It also dies with the thread that started it, should that
/// not get to run destructors; so start members from threads that last, never from `spawn_blocking`.
#[derive(Debug)]
pub struct Member {
    peer: Peer,
    options: Options,
    /// Removes the directory on drop; `None` where the caller owns the directory.
    _temp: Option<TempDir>,
    root: PathBuf,
    client_port: u16,
    peer_port: u16,
    child: Option<Child>,
}

impl Member {
    /// Starts a member with an empty data directory and waits until it serves linearizable reads.
    ///
    /// # Errors
    /// The program is missing, ended, or does not serve in time; the message carries the end of its log.
    pub async fn start(peer: Peer, options: Options) -> anyhow::Result<Self> {
        for _ in 0..PORT_ATTEMPTS {
            let mut member = Self::prepare(peer, options.clone())?;
            match member.restart().await {
                Err(error) if format!("{error:#}").to_lowercase().contains("address already in use") => {}
                started => return started.map(|()| member),
            }
        }
        bail!("no free ports for a member after {PORT_ATTEMPTS} attempts")
    }

    /// Chooses ports and directory of a member without starting it; [`Member::restart`] does.
    ///
    /// # Errors
    /// No temporary directory can be made, or no port is free.
    pub fn prepare(peer: Peer, options: Options) -> anyhow::Result<Self> {
        let temp = match options.root {
            Some(_) => None,
            None => {
                Some(tempfile::Builder::new().prefix("cairn-test-").tempdir().context("make a temporary directory")?)
            }
        };
        let root = match (&options.root, &temp) {
            (Some(root), _) => root.clone(),
            (None, Some(temp)) => temp.path().to_owned(),
            (None, None) => bail!("a member needs a directory"),
        };
        let (client_port, peer_port) = (free_port()?, free_port()?);
        Ok(Self { peer, options, _temp: temp, root, client_port, peer_port, child: None })
    }

    /// Starts the program on the data that is there and waits until it serves.
    ///
    /// # Errors
    /// As [`Member::start`].
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.spawn()?;
        let what = format!("{:?} on {} serves", self.peer, self.endpoint());
        let endpoint = self.endpoint();
        let child = self.child.as_mut().context("the member was just started")?;
        let ready = wait_until(&what, async || {
            if let Some(status) = child.try_wait().context("look after the process")? {
                bail!("it ended with {status}");
            }
            Ok(serves(&endpoint).await.then_some(()))
        });
        ready.await.with_context(|| format!("start {:?}; its log ends with:\n{}", self.peer, self.log_tail()))
    }

    /// Starts the program without waiting for anything.
    ///
    /// # Errors
    /// The program is missing or cannot be executed.
    pub fn spawn(&mut self) -> anyhow::Result<()> {
        self.kill();
        let log = OpenOptions::new().create(true).append(true).open(self.log_path()).context("open the log")?;
        let mut command = self.command()?;
        command.stdin(Stdio::null()).stdout(log.try_clone().context("share the log")?).stderr(log);
        self.child = Some(command.spawn().with_context(|| format!("execute {:?}", command.get_program()))?);
        Ok(())
    }

    /// The command line of this member, as [`Member::spawn`] executes it.
    ///
    /// # Errors
    /// The program is missing.
    pub fn command(&self) -> anyhow::Result<Command> {
        // setpriv (util-linux, on every Debian) asks the kernel to kill the server when this program dies, whatever
        // the reason; it replaces itself with the server, so the process id is the server's.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(self.peer.server()?).process_group(0);
        let (client, peer) = (self.endpoint(), format!("http://127.0.0.1:{}", self.peer_port));
        for (flag, value) in [
            ("--name", "m0"),
            ("--data-dir", self.data_dir().to_str().context("a data directory that is not UTF-8")?),
            ("--listen-client-urls", &client),
            ("--advertise-client-urls", &client),
            ("--listen-peer-urls", &peer),
            ("--initial-advertise-peer-urls", &peer),
            ("--initial-cluster", &format!("m0={peer}")),
        ] {
            command.arg(format!("{flag}={value}"));
        }
        if self.peer == Peer::Etcd351 {
            // Only what the other side answers matters here, not whether it would survive a power cut.
            command.args(["--unsafe-no-fsync", "--log-level=warn"]);
        }
        command.args(&self.options.flags);
        Ok(command)
    }

    /// Ends the process with SIGKILL, if it runs, and reaps it.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(&child, Signal::KILL);
            let _ = child.wait();
        }
    }

    /// Asks the process to end with SIGTERM and waits for it.
    ///
    /// # Errors
    /// It does not run, or does not end in time.
    pub async fn terminate(&mut self) -> anyhow::Result<ExitStatus> {
        signal(self.child.as_ref().context("the member does not run")?, Signal::TERM);
        self.wait_for_exit().await
    }

    /// Waits until the process has ended by itself.
    ///
    /// # Errors
    /// It does not run, or does not end in time.
    pub async fn wait_for_exit(&mut self) -> anyhow::Result<ExitStatus> {
        let child = self.child.as_mut().context("the member does not run")?;
        let status =
            wait_until("the process ends", async || child.try_wait().context("look after the process")).await?;
        self.child = None;
        Ok(status)
    }

    /// Whether the process runs: it was started, and has not ended by itself.
    ///
    /// # Errors
    /// The operating system does not tell.
    pub fn is_running(&mut self) -> anyhow::Result<bool> {
        let Some(child) = self.child.as_mut() else { return Ok(false) };
        Ok(child.try_wait().context("look after the process")?.is_none())
    }

    /// Which program it is.
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// Process id while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// The client URL.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.client_port)
    }

    /// `host:port` of the client URL, the form in which tools take endpoints.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.client_port)
    }

    /// The port of the peer URL.
    #[must_use]
    pub fn peer_port(&self) -> u16 {
        self.peer_port
    }

    /// Where it keeps its data.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.root.join("data")
    }

    /// A directory for files of the test, with the lifetime of the member.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        &self.root
    }

    /// What the program has written to standard output and error, over all its starts.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn log(&self) -> anyhow::Result<String> {
        let bytes = fs::read(self.log_path()).context("read the log")?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The last lines of the log, for messages.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let log = self.log().unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    /// A connection without retries.
    ///
    /// # Errors
    /// It cannot be made.
    pub async fn connect(&self) -> anyhow::Result<Channel> {
        let endpoint = Endpoint::from_shared(self.endpoint()).context("an endpoint from a port")?;
        endpoint.connect().await.with_context(|| format!("connect to {}", self.endpoint()))
    }

    fn log_path(&self) -> PathBuf {
        self.root.join("log")
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("---- log of {:?} on {} ends with:\n{}", self.peer, self.endpoint(), self.log_tail());
        }
    }
}

fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // The group is the child's own. It is gone already only if the program ended, which the following wait reports.
        let _ = kill_process_group(pid, signal);
    }
}

/// Whether a linearizable read succeeds.
async fn serves(endpoint: &str) -> bool {
    let Ok(endpoint) = Endpoint::from_shared(endpoint.to_owned()) else { return false };
    let Ok(channel) = endpoint.connect().await else { return false };
    let request = RangeRequest { key: "ready".into(), count_only: true, ..RangeRequest::default() };
    KvClient::new(channel).range(request).await.is_ok()
}

/// A port that nobody listens on, below the range from which the kernel takes the ports of outgoing connections: a
/// client that retries against a killed server could otherwise be given the server's own port and hold it.
fn free_port() -> anyhow::Result<u16> {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 22_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test programs that run at the same moment begin at different places.
    let start =
        u16::try_from(std::process::id().wrapping_mul(97) % u32::from(COUNT)).context("a remainder below 22000")?;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port =
            FIRST + u16::try_from((u32::from(start) + u32::from(step)) % u32::from(COUNT)).context("below 22000")?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port between {FIRST} and {}", FIRST + COUNT)
}
