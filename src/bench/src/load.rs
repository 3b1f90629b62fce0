//! The closed loop: each client sends its next request when the last one was answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use bytes::{BufMut, Bytes, BytesMut};
use cairn_api::etcdserverpb::{PutRequest, RangeRequest};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::cli::Options;
use crate::process::Usage;
use crate::wire::{Connection, frame};

const HIGHEST_MICROS: u64 = 120_000_000;
const DIGITS: u8 = 3;

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Workload {
    Put,
    Range,
}

impl Workload {
    fn path(self) -> &'static str {
        match self {
            Self::Put => "/etcdserverpb.KV/Put",
            Self::Range => "/etcdserverpb.KV/Range",
        }
    }
}

/// The result of a run; latencies in microseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) workload: Workload,
    pub(crate) clients: usize,
    pub(crate) conns: usize,
    pub(crate) total: u64,
    pub(crate) errors: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) first_error: String,
    pub(crate) secs: f64,
    pub(crate) per_sec: f64,
    pub(crate) p50_us: u64,
    pub(crate) p90_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) p999_us: u64,
    pub(crate) max_us: u64,
    pub(crate) client_cpu_us_per_op: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_cpu_us_per_op: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<Usage>,
}

struct Plan {
    workload: Workload,
    next: AtomicU64,
    total: u64,
    key_space: u64,
    key_size: usize,
    /// Random bytes, of which each value is a piece: values that compress well would flatter whoever compresses.
    noise: Bytes,
    value_size: usize,
    serializable: bool,
}

impl Plan {
    fn value(&self, n: u64) -> Bytes {
        let start = usize::try_from(scatter(n)).unwrap_or(usize::MAX) % NOISE_BYTES;
        self.noise.slice(start..start + self.value_size)
    }

    fn request(&self, n: u64) -> anyhow::Result<Bytes> {
        let key = key(if self.key_space == 0 { n } else { scatter(n) % self.key_space }, self.key_size);
        match self.workload {
            Workload::Put => frame(&PutRequest { key, value: self.value(n), ..Default::default() }),
            Workload::Range => {
                let serializable = self.serializable;
                frame(&RangeRequest { key, serializable, ..Default::default() })
            }
        }
    }
}

/// Bytes of which values are cut.
const NOISE_BYTES: usize = 4 << 20;

/// The same random bytes in every run.
fn noise(value_size: usize) -> Bytes {
    (0..(NOISE_BYTES + value_size) as u64 / 8 + 1).flat_map(|n| scatter(n).to_le_bytes()).collect()
}

/// A fixed pseudo-random order (SplitMix64's finaliser), so that two runs touch the same keys.
fn scatter(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn key(n: u64, size: usize) -> Bytes {
    let digits = format!("{n:016}");
    let mut key = BytesMut::with_capacity(size.max(digits.len()));
    key.put_slice(digits.as_bytes());
    key.resize(size.max(digits.len()), b'k');
    key.freeze()
}

struct Tally {
    histogram: Histogram<u64>,
    errors: u64,
    first_error: String,
}

impl Tally {
    fn new() -> anyhow::Result<Self> {
        let histogram = Histogram::new_with_bounds(1, HIGHEST_MICROS, DIGITS)?;
        Ok(Self { histogram, errors: 0, first_error: String::new() })
    }

    fn fail(&mut self, error: &anyhow::Error) {
        if self.errors == 0 {
            self.first_error = format!("{error:#}");
        }
        self.errors += 1;
    }
}

async fn client(plan: Arc<Plan>, mut connection: Connection) -> anyhow::Result<Tally> {
    let mut tally = Tally::new()?;
    loop {
        let n = plan.next.fetch_add(1, Ordering::Relaxed);
        if n >= plan.total {
            return Ok(tally);
        }
        let framed = plan.request(n)?;
        let began = Instant::now();
        match connection.call(framed).await {
            Ok(()) => tally.histogram.saturating_record(micros(began.elapsed())),
            Err(error) => tally.fail(&error),
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).max(1)
}

/// Runs the load on one thread, so that the server has the rest of the machine.
pub(crate) fn run(workload: Workload, options: &Options) -> anyhow::Result<Report> {
    ensure!(options.clients > 0 && options.conns > 0, "--clients and --conns must be at least 1");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(workload, options))
}

async fn measure(workload: Workload, options: &Options) -> anyhow::Result<Report> {
    let plan = Arc::new(Plan {
        workload,
        next: AtomicU64::new(0),
        total: options.total,
        key_space: options.key_space,
        key_size: options.key_size,
        noise: noise(options.val_size),
        value_size: options.val_size,
        serializable: options.serializable,
    });
    let mut connections = Vec::with_capacity(options.conns);
    for _ in 0..options.conns {
        connections.push(Connection::open(&options.endpoint, workload.path()).await?);
    }
    let server_before = options.server_pid.map(Usage::of).transpose()?;
    let client_before = Usage::of(std::process::id())?;
    let began = Instant::now();
    let clients: Vec<_> = (0..options.clients)
        .map(|n| tokio::spawn(client(plan.clone(), connections[n % connections.len()].clone())))
        .collect();
    let mut all = Tally::new()?;
    for client in clients {
        let tally = client.await??;
        all.histogram.add(&tally.histogram)?;
        if all.errors == 0 {
            all.first_error = tally.first_error;
        }
        all.errors += tally.errors;
    }
    let secs = began.elapsed().as_secs_f64();
    let client_cpu = Usage::of(std::process::id())?.cpu_secs - client_before.cpu_secs;
    let server = options.server_pid.map(Usage::of).transpose()?;
    let per_op = |cpu_secs: f64| cpu_secs * 1e6 / as_f64(options.total);
    let quantile = |q: f64| all.histogram.value_at_quantile(q);
    Ok(Report {
        workload,
        clients: options.clients,
        conns: options.conns,
        total: options.total,
        errors: all.errors,
        secs,
        per_sec: as_f64(options.total - all.errors) / secs,
        p50_us: quantile(0.5),
        p90_us: quantile(0.9),
        p99_us: quantile(0.99),
        p999_us: quantile(0.999),
        max_us: all.histogram.max(),
        client_cpu_us_per_op: per_op(client_cpu),
        server_cpu_us_per_op: server.zip(server_before).map(|(after, before)| per_op(after.cpu_secs - before.cpu_secs)),
        server,
        first_error: all.first_error,
    })
}

/// Counts here stay far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "counts of requests stay far below 2^53")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_asked_size_and_differ() {
        assert_eq!(key(7, 20).as_ref(), b"0000000000000007kkkk");
        assert_eq!(key(7, 3).len(), 16, "never shorter than what makes it unique");
        assert_ne!(scatter(1), scatter(2));
    }
}
