//! A program that runs beside this one with its output in a file, such as a server that is tried. It ends with its value.

use std::cell::RefCell;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::process;

/// Longest time from the signal to stop until the program has ended.
const STOP_LIMIT: Duration = Duration::from_secs(120);

/// Most bytes of a log that an error shows.
const MAX_LOG_SHOWN: usize = 4 << 10;

/// What a shell calls a program that SIGTERM ended; etcd ends with it, too.
const TERMINATED: i32 = 128 + 15;

/// The program and where its output goes.
pub(crate) struct Running {
    child: RefCell<Child>,
    log: PathBuf,
}

impl Running {
    /// Starts a program whose output goes to the file `log`.
    pub(crate) fn start(mut command: Command, log: &Path) -> Result<Self> {
        let output = File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
        command.stdout(output.try_clone()?).stderr(output).stdin(Stdio::null());
        Ok(Self { child: process::start(&mut command)?.into(), log: log.to_owned() })
    }

    /// Fails if the program has ended.
    pub(crate) fn ensure_running(&self) -> Result<()> {
        let ended = self.child.borrow_mut().try_wait()?;
        ensure!(ended.is_none(), "it ended by itself");
        Ok(())
    }

    /// Asks the program to stop, and expects that it does so cleanly.
    pub(crate) fn stop(&self) -> Result<()> {
        self.ask_to_stop()?;
        self.wait_until_stopped()
    }

    /// Sends SIGTERM, as systemd and container engines do.
    pub(crate) fn ask_to_stop(&self) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child.borrow()), Signal::TERM)?)
    }

    /// Waits for the end of a program that was asked to stop. A clean stop is exit code 0, 143 or the signal itself.
    pub(crate) fn wait_until_stopped(&self) -> Result<()> {
        let Some(status) = process::wait_for(&mut self.child.borrow_mut(), STOP_LIMIT)? else {
            bail!("it did not stop within {} s after SIGTERM", STOP_LIMIT.as_secs());
        };
        let by_signal = status.signal() == Some(Signal::TERM.as_raw());
        let is_clean = by_signal || matches!(status.code(), Some(0 | TERMINATED));
        ensure!(is_clean, "it stopped with {status}");
        Ok(())
    }

    /// The end of its log, for an error of the caller's.
    pub(crate) fn log_tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let tail = &text[text.len().saturating_sub(MAX_LOG_SHOWN)..];
        format!("its log ends with:\n{}", String::from_utf8_lossy(tail))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Gently first: a container engine has processes and mounts of its own to end.
        if matches!(self.child.get_mut().try_wait(), Ok(None)) && self.stop().is_err() {
            let _ = self.child.get_mut().kill();
            let _ = self.child.get_mut().wait();
        }
    }
}
