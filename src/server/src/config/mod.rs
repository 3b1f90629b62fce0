//! The configuration: what was asked for, checked as a whole before anything is touched.
//!
//! Contract: a flag either has the effect that its help says, or the start is refused with a message that says what to
//! do instead; none is accepted and ignored.

mod args;
mod docs;
mod flags;
mod health_check;
#[cfg(test)]
mod tests;
mod value;

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use cairn_types::limits::{DEFAULT_MAX_REQUEST_BYTES, DEFAULT_MAX_TXN_OPS};
use thiserror::Error;

pub use args::command;
pub(crate) use args::{Persona, Request, Settings, read};
pub(crate) use docs::generate;
use flags::{FLAGS, Kind, Support};
pub(crate) use health_check::HealthCheck;
pub(crate) use value::Url;

/// The default for `--memory-budget` is at most this many bytes.
const MAX_DEFAULT_MEMORY_BYTES: u64 = 192 << 20;

/// Why the program does not start.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// clap's own words; also how help is printed.
    #[error(transparent)]
    CommandLine(clap::Error),
    /// A word that is neither a flag nor a flag's value.
    #[error("'{0}' is not a valid flag (a switch takes its value behind '=': --flag=false)")]
    Word(String),
    /// Bytes that are no text.
    #[error("{0:?} is not valid UTF-8")]
    NotText(OsString),
    /// Set twice; etcd's text.
    #[error(
        "conflicting environment variable {variable:?} is shadowed by corresponding command-line flag (either unset \
         environment variable or disable flag): --{flag}"
    )]
    Shadowed {
        /// The variable.
        variable: String,
        /// The flag.
        flag: &'static str,
    },
    /// A flag of etcd's that has no effect here.
    #[error("--{flag}={value} is refused: {instead}")]
    Unsupported {
        /// The flag.
        flag: &'static str,
        /// Its value.
        value: String,
        /// What to do instead.
        instead: &'static str,
    },
    /// The address that the health check should ask.
    #[error("{0}")]
    HealthCheck(String),
    /// A value that cannot be read.
    #[error("invalid value {value:?} for flag --{flag}: {reason}")]
    Value {
        /// The flag.
        flag: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Values that do not fit together.
    #[error("{0}")]
    Together(String),
}

impl ConfigError {
    /// The exit code of the process: 2 for a wrong command line, 1 for the rest, as etcd has it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Shadowed { .. } => 1,
            _ => 2,
        }
    }
}

/// Who decides how much history is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AutoCompaction {
    Off,
    Periodic(Duration),
    Revisions(i64),
}

/// When the store is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QuotaConfig {
    /// When the disk has less than the reserve left.
    Disk,
    Bytes(u64),
    Never,
}

/// Where log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LogOutput {
    Stderr,
    Stdout,
    File(PathBuf),
}

/// How the log looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogConfig {
    pub(crate) level: String,
    pub(crate) json: bool,
    pub(crate) outputs: Vec<LogOutput>,
}

/// How clients are served.
#[derive(Clone, Debug)]
pub(crate) struct ServeConfig {
    pub(crate) listen: Vec<Url>,
    pub(crate) max_request_bytes: u32,
    pub(crate) max_txn_ops: usize,
    pub(crate) max_concurrent_streams: u32,
    /// `None`: never ask.
    pub(crate) keepalive_interval: Option<Duration>,
    pub(crate) keepalive_timeout: Duration,
    pub(crate) reuse_port: bool,
    pub(crate) progress_notify_interval: Duration,
    pub(crate) slow_request: Duration,
}

/// How the member runs.
#[derive(Clone, Debug)]
pub(crate) struct NodeConfig {
    pub(crate) name: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) wal_dir: Option<PathBuf>,
    pub(crate) peer_urls: Vec<String>,
    pub(crate) client_urls: Vec<String>,
    pub(crate) cluster_token: String,
    pub(crate) heartbeat: Duration,
    pub(crate) election: Duration,
    pub(crate) memory_budget_bytes: u64,
    pub(crate) quota: QuotaConfig,
    pub(crate) max_request_bytes: u32,
    pub(crate) auto_compaction: AutoCompaction,
    pub(crate) compaction_batch: usize,
    pub(crate) compaction_pause: Duration,
    pub(crate) slow_apply: Duration,
    pub(crate) sync: bool,
}

/// Everything.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) node: NodeConfig,
    pub(crate) serve: ServeConfig,
    pub(crate) log: LogConfig,
    pub(crate) warnings: Vec<String>,
}

/// The texts, and how to read them.
struct Values {
    settings: Settings,
}

impl Values {
    fn given(&self, flag: &'static str) -> Option<&str> {
        self.settings.values.get(flag).map(String::as_str)
    }

    fn text(&self, flag: &'static str) -> &str {
        let default = || flags::find(flag).expect("only flags of the table are asked for").default;
        self.given(flag).unwrap_or_else(default)
    }

    fn wrong(&self, flag: &'static str, reason: impl Into<String>) -> ConfigError {
        ConfigError::Value { flag, value: self.text(flag).to_owned(), reason: reason.into() }
    }

    fn number<T: std::str::FromStr>(&self, flag: &'static str) -> Result<T, ConfigError> {
        self.text(flag).parse().map_err(|_| self.wrong(flag, "not a whole number in range"))
    }

    fn duration(&self, flag: &'static str) -> Result<Duration, ConfigError> {
        value::duration(self.text(flag)).ok_or_else(|| self.wrong(flag, "not a duration such as 300ms, 5s or 1h30m"))
    }

    /// etcd takes 0 as "the default" for these.
    fn duration_or_default(&self, flag: &'static str) -> Result<Duration, ConfigError> {
        match self.duration(flag)? {
            Duration::ZERO => {
                let default = flags::find(flag).and_then(|flag| value::duration(flag.default));
                Ok(default.expect("the table's defaults are durations"))
            }
            duration => Ok(duration),
        }
    }

    fn switch(&self, flag: &'static str) -> Result<bool, ConfigError> {
        parse_bool(self.text(flag)).ok_or_else(|| self.wrong(flag, "neither true nor false"))
    }

    fn urls(&self, flag: &'static str) -> Result<Vec<Url>, ConfigError> {
        value::urls(self.text(flag)).map_err(|reason| self.wrong(flag, reason))
    }

    fn listen_urls(&self, flag: &'static str) -> Result<Vec<Url>, ConfigError> {
        let urls = self.urls(flag)?;
        for url in &urls {
            if url.scheme != "http" {
                return Err(self.wrong(
                    flag,
                    format!("{} cannot be listened on: TLS and unix sockets are not supported yet", url.text),
                ));
            }
            if url.host != "localhost" && url.host.parse::<IpAddr>().is_err() {
                return Err(self.wrong(flag, format!("expected IP in URL for binding ({})", url.text)));
            }
        }
        Ok(urls)
    }
}

/// Go's notations of a truth value.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

impl Config {
    /// Checks what was set.
    pub(crate) fn new(mut settings: Settings) -> Result<Self, ConfigError> {
        let warnings = std::mem::take(&mut settings.warnings);
        let values = Values { settings };
        refuse_unsupported(&values.settings)?;
        let log = log_config(&values)?;
        Ok(Self { node: node_config(&values)?, serve: serve_config(&values)?, log, warnings })
    }
}

fn refuse_unsupported(settings: &Settings) -> Result<(), ConfigError> {
    for flag in FLAGS {
        let Some(value) = settings.values.get(flag.name) else { continue };
        let accepted = match flag.support {
            Support::Works => continue,
            Support::Only(values, _) => {
                values.contains(&value.as_str())
                    || flag.kind == Kind::Bool
                        && parse_bool(value).is_some_and(|value| values.contains(&value.to_string().as_str()))
            }
            Support::Refused(_) => value.is_empty(),
        };
        if !accepted {
            let (Support::Only(_, instead) | Support::Refused(instead)) = flag.support else { continue };
            return Err(ConfigError::Unsupported { flag: flag.name, value: value.clone(), instead });
        }
    }
    Ok(())
}

fn log_config(values: &Values) -> Result<LogConfig, ConfigError> {
    let level = values.text("log-level");
    if !["debug", "info", "warn", "error", "dpanic", "panic", "fatal"].contains(&level) {
        return Err(values.wrong("log-level", "not one of debug, info, warn, error, panic, fatal"));
    }
    let json = match values.text("log-format") {
        "json" => true,
        "console" => false,
        _ => return Err(values.wrong("log-format", "neither json nor console")),
    };
    let output = |name: &str| match name {
        "default" | "stderr" => Ok(LogOutput::Stderr),
        "stdout" => Ok(LogOutput::Stdout),
        "systemd/journal" => Err(values.wrong("log-outputs", "log to stderr; systemd passes it on to its journal")),
        path => Ok(LogOutput::File(PathBuf::from(path))),
    };
    let outputs = values.text("log-outputs").split(',').map(output).collect::<Result<_, _>>()?;
    Ok(LogConfig { level: level.to_owned(), json, outputs })
}

fn serve_config(values: &Values) -> Result<ServeConfig, ConfigError> {
    if values.given("listen-client-urls").is_some() && values.given("advertise-client-urls").is_none() {
        return Err(ConfigError::Together(
            "--advertise-client-urls is required when --listen-client-urls is set explicitly".to_owned(),
        ));
    }
    // Every listener of the runtime reuses its address; the flag asks for what already is so.
    values.switch("socket-reuse-address")?;
    Ok(ServeConfig {
        listen: values.listen_urls("listen-client-urls")?,
        max_request_bytes: max_request_bytes(values)?,
        max_txn_ops: values.number::<u32>("max-txn-ops")?.try_into().unwrap_or(usize::MAX),
        max_concurrent_streams: values.number("max-concurrent-streams")?,
        keepalive_interval: Some(values.duration("grpc-keepalive-interval")?).filter(|interval| !interval.is_zero()),
        keepalive_timeout: values.duration("grpc-keepalive-timeout")?,
        reuse_port: values.switch("socket-reuse-port")?,
        progress_notify_interval: values.duration_or_default("watch-progress-notify-interval")?,
        slow_request: values.duration("warning-unary-request-duration")?,
    })
}

fn max_request_bytes(values: &Values) -> Result<u32, ConfigError> {
    values.number::<u32>("max-request-bytes").and_then(|bytes| {
        let fits = bytes <= i32::MAX.cast_unsigned() - cairn_types::limits::GRPC_OVERHEAD_BYTES;
        if fits { Ok(bytes) } else { Err(values.wrong("max-request-bytes", "more than gRPC can carry")) }
    })
}

fn node_config(values: &Values) -> Result<NodeConfig, ConfigError> {
    let name = values.text("name").to_owned();
    let data_dir = values.given("data-dir").map_or_else(|| PathBuf::from(format!("{name}.cairn")), PathBuf::from);
    let texts = |urls: Vec<Url>| urls.into_iter().map(|url| url.text).collect::<Vec<_>>();
    values.listen_urls("listen-peer-urls")?;
    let peer_urls = texts(values.urls("initial-advertise-peer-urls")?);
    check_initial_cluster(values, &name, &peer_urls)?;
    let (heartbeat, election) = raft_times(values)?;
    let batch = values.number::<u32>("compaction-batch-limit")?;
    Ok(NodeConfig {
        name,
        data_dir,
        wal_dir: values.given("wal-dir").map(PathBuf::from),
        peer_urls,
        client_urls: texts(values.urls("advertise-client-urls")?),
        cluster_token: values.text("initial-cluster-token").to_owned(),
        heartbeat,
        election,
        memory_budget_bytes: memory_budget(values)?,
        quota: quota(values)?,
        max_request_bytes: max_request_bytes(values)?,
        auto_compaction: auto_compaction(values)?,
        compaction_batch: if batch == 0 { 1_000 } else { usize::try_from(batch).unwrap_or(usize::MAX) },
        compaction_pause: values.duration_or_default("compaction-sleep-interval")?,
        slow_apply: values.duration("warning-apply-duration")?,
        sync: !values.switch("unsafe-no-fsync")?,
    })
}

fn check_initial_cluster(values: &Values, name: &str, peer_urls: &[String]) -> Result<(), ConfigError> {
    let Some(cluster) = values.given("initial-cluster") else { return Ok(()) };
    let mut named = Vec::new();
    for member in cluster.split(',') {
        let Some((member_name, url)) = member.trim().split_once('=') else {
            return Err(values.wrong("initial-cluster", "a member has the form name=url"));
        };
        named.push((member_name, url));
    }
    if named.iter().any(|(other, _)| *other != name) {
        if !named.iter().any(|(other, _)| *other == name) {
            return Err(ConfigError::Together(format!(
                "couldn't find local name {name:?} in the initial cluster configuration"
            )));
        }
        return Err(values.wrong("initial-cluster", "more than one member is not supported yet; name this one only"));
    }
    let mut urls: Vec<_> = named.iter().map(|(_, url)| *url).collect();
    let mut advertised: Vec<_> = peer_urls.iter().map(String::as_str).collect();
    urls.sort_unstable();
    advertised.sort_unstable();
    if urls != advertised {
        return Err(ConfigError::Together(format!(
            "--initial-cluster has {cluster} but missing from --initial-advertise-peer-urls={}",
            peer_urls.join(",")
        )));
    }
    Ok(())
}

fn raft_times(values: &Values) -> Result<(Duration, Duration), ConfigError> {
    let heartbeat: u64 = values.number("heartbeat-interval")?;
    let election: u64 = values.number("election-timeout")?;
    if heartbeat == 0 {
        return Err(values.wrong("heartbeat-interval", "must be >0"));
    }
    if heartbeat.saturating_mul(5) > election {
        return Err(ConfigError::Together(format!(
            "--election-timeout[{election}ms] should be at least as 5 times as --heartbeat-interval[{heartbeat}ms]"
        )));
    }
    if election > 50_000 {
        return Err(ConfigError::Together(format!(
            "--election-timeout[{election}ms] is too long, and should be set less than 50000ms"
        )));
    }
    Ok((Duration::from_millis(heartbeat), Duration::from_millis(election)))
}

fn memory_budget(values: &Values) -> Result<u64, ConfigError> {
    let Some(text) = values.given("memory-budget") else {
        let eighth = rustix::system::sysinfo().totalram / 8;
        return Ok(MAX_DEFAULT_MEMORY_BYTES.min(eighth).max(cairn_rocks::MIN_MEMORY_BUDGET_BYTES));
    };
    match value::bytes(text) {
        Some(bytes) if bytes >= cairn_rocks::MIN_MEMORY_BUDGET_BYTES => Ok(bytes),
        Some(_) => Err(values.wrong("memory-budget", "at least 32MiB")),
        None => Err(values.wrong("memory-budget", "not a size such as 256MiB or 1GiB")),
    }
}

fn quota(values: &Values) -> Result<QuotaConfig, ConfigError> {
    let bytes: i64 = values.number("quota-backend-bytes")?;
    Ok(match u64::try_from(bytes) {
        Ok(0) => QuotaConfig::Disk,
        Ok(bytes) => QuotaConfig::Bytes(bytes),
        Err(_) => QuotaConfig::Never,
    })
}

fn auto_compaction(values: &Values) -> Result<AutoCompaction, ConfigError> {
    const FLAG: &str = "auto-compaction-retention";
    let text = values.text(FLAG);
    match values.text("auto-compaction-mode") {
        _ if text == "0" || text.is_empty() => Ok(AutoCompaction::Off),
        "revision" => match values.number::<i64>(FLAG)? {
            0 => Ok(AutoCompaction::Off),
            revisions if revisions > 0 => Ok(AutoCompaction::Revisions(revisions)),
            _ => Err(values.wrong(FLAG, "must not be negative")),
        },
        "periodic" => match text.parse::<u32>().map(|hours| Duration::from_secs(u64::from(hours) * 3_600)) {
            Ok(hours) => Ok(AutoCompaction::Periodic(hours)),
            Err(_) => values
                .duration(FLAG)
                .map(|period| if period.is_zero() { AutoCompaction::Off } else { AutoCompaction::Periodic(period) }),
        },
        _ => Err(values.wrong("auto-compaction-mode", "neither periodic nor revision")),
    }
}

const _: () = assert!(
    DEFAULT_MAX_REQUEST_BYTES == 1_572_864 && DEFAULT_MAX_TXN_OPS == 128,
    "the table of flags names these defaults"
);
