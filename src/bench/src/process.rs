//! What the server's process used, from the kernel's own count.

use anyhow::Context;
use serde::Serialize;

/// Clock ticks a second in /proc/PID/stat, fixed on Linux's supported architectures.
const TICKS_PER_SEC: f64 = 100.0;

/// Resources of a process as of now.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Usage {
    /// User and system time, in seconds.
    pub(crate) cpu_secs: f64,
    /// Resident set, in bytes.
    pub(crate) rss_bytes: u64,
    /// Its anonymous part, in bytes.
    pub(crate) rss_anon_bytes: u64,
    /// Its highest value so far, in bytes.
    pub(crate) rss_peak_bytes: u64,
}

impl Usage {
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("no process {pid}"))?;
        let (_, fields) = stat.rsplit_once(')').context("unreadable /proc/PID/stat")?;
        let ticks = |n: usize| fields.split_whitespace().nth(n).and_then(|field| field.parse::<f64>().ok());
        let cpu_ticks =
            ticks(11).zip(ticks(12)).map(|(user, system)| user + system).context("unreadable /proc/PID/stat")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let kib = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name));
            let value =
                line.and_then(|line| line.split_whitespace().nth(1)).and_then(|value| value.parse::<u64>().ok());
            value.map(|kib| kib * 1024).with_context(|| format!("no {name} in /proc/PID/status"))
        };
        Ok(Self {
            cpu_secs: cpu_ticks / TICKS_PER_SEC,
            rss_bytes: kib("VmRSS:")?,
            rss_anon_bytes: kib("RssAnon:")?,
            rss_peak_bytes: kib("VmHWM:")?,
        })
    }
}
