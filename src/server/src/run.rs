//! The life of the process: command line, log, member, listeners, signals, end.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use cairn_api::ETCD_VERSION;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::config::{self, Config, ConfigError, HealthCheck, Persona, Request};
use crate::node::{self, Fatal, Node};
use crate::notify::{self, State};
use crate::{VERSION, build_info, grpc, health_check, logging};

/// How long requests may take to finish once the program is told to stop.
const GRACE: Duration = Duration::from_secs(5);

/// The exit code of a process that cannot go on.
const FAILED: u8 = 1;

/// Runs the program with these arguments, the first of which is its name.
#[must_use]
pub fn main(args: Vec<OsString>) -> ExitCode {
    let persona = Persona::of(args.first());
    let config = match config::read(persona, args, std::env::vars_os()) {
        Ok(Request::Version) => {
            print!("{}", version_text(persona));
            return ExitCode::SUCCESS;
        }
        Ok(Request::BuildInfo) => {
            print!("{}", build_info::text());
            return ExitCode::SUCCESS;
        }
        Ok(Request::GenerateDocs { out }) => return generate_docs(&out),
        Ok(Request::HealthCheck(check)) => return ask_for_health(&check),
        Ok(Request::Serve(settings)) => Config::new(settings),
        Err(error) => Err(error),
    };
    match config {
        Ok(config) => serve(config),
        Err(error) => refuse(&error),
    }
}

fn refuse(error: &ConfigError) -> ExitCode {
    if let ConfigError::CommandLine(error) = error {
        // It knows whether it is help, which goes to stdout, or an error.
        let _unwritable = error.print();
        return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(FAILED));
    }
    eprintln!("error: {error}");
    ExitCode::from(error.exit_code())
}

fn version_text(persona: Persona) -> String {
    let system = format!("{}/{}", std::env::consts::OS, architecture());
    match persona {
        Persona::Etcd => format!(
            "etcd Version: {ETCD_VERSION}\nGit SHA: cairnd-{VERSION}\nGo Version: none (Cairn {VERSION}, written in Rust)\nGo OS/Arch: {system}\n"
        ),
        Persona::Cairnd => format!("cairnd Version: {VERSION}\netcd API Version: {ETCD_VERSION}\nOS/Arch: {system}\n"),
    }
}

/// The processor's name as Go has it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn generate_docs(out: &std::path::Path) -> ExitCode {
    match config::generate(out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: cannot write the documents to {}: {error}", out.display());
            ExitCode::from(FAILED)
        }
    }
}

fn ask_for_health(check: &HealthCheck) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let asked =
        runtime.map_err(|error| error.to_string()).and_then(|runtime| runtime.block_on(health_check::ask(check)));
    match asked {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("error: {} is not healthy: {reason}", check.endpoint.text);
            ExitCode::from(FAILED)
        }
    }
}

fn serve(config: Config) -> ExitCode {
    if let Err(error) = logging::start(&config.log) {
        eprintln!("error: cannot log: {error}");
        return ExitCode::from(FAILED);
    }
    end_with_the_first_panic();
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    tracing::info!(
        version = VERSION, etcd_api = ETCD_VERSION, name = config.node.name, data_dir = %config.node.data_dir.display(),
        memory_budget_bytes = config.node.memory_budget_bytes, sync = config.node.sync, "starting cairnd"
    );
    if !config.node.sync {
        tracing::warn!("--unsafe-no-fsync is on: acknowledged writes are lost when the machine stops");
    }
    match run(config) {
        Ok(ended_by) => end(ended_by),
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "cannot serve");
            ExitCode::from(FAILED)
        }
    }
}

/// A panic anywhere means that an invariant does not hold: nothing may go on from there.
fn end_with_the_first_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(%backtrace, "panic: {panic}");
        std::process::exit(i32::from(FAILED));
    }));
}

fn run(config: Config) -> anyhow::Result<Signal> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("serve").build()?;
    runtime.block_on(async {
        let mut signals = Signals::new()?;
        // Bound before the member is opened, so that a taken address is found at once.
        let listeners = grpc::listen(&config.serve)?;
        let addresses: Vec<_> = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        let fatal = Fatal::new(|reason| {
            tracing::error!("{reason}; the process ends");
            std::process::exit(i32::from(FAILED));
        });
        let node_config = config.node.clone();
        let node = tokio::task::spawn_blocking(move || node::start(node_config, fatal)).await?;
        let node = Arc::new(node.map_err(anyhow::Error::from)?);
        let ended_by = tokio::select! {
            served = serve_until_stopped(&node, &config, listeners, &addresses, &mut signals) => served?,
        };
        tracing::info!("stopping: leases and the store are written down");
        let stopped = node.clone();
        tokio::task::spawn_blocking(move || stopped.stop()).await.context("cannot stop the member")?;
        tracing::info!("stopped");
        Ok(ended_by)
    })
}

async fn serve_until_stopped(
    node: &Arc<Node>,
    config: &Config,
    listeners: Vec<tokio::net::TcpListener>,
    addresses: &[std::net::SocketAddr],
    signals: &mut Signals,
) -> anyhow::Result<Signal> {
    tokio::select! {
        ready = node.become_ready() => ready.context("the member has not become ready")?,
        signal = signals.next() => return Ok(signal),
    }
    let (stop, stopping) = watch::channel(false);
    let serving = grpc::serve(node.clone(), &config.serve, listeners, stopping);
    tokio::pin!(serving);
    tracing::info!("ready to serve client requests");
    for address in addresses {
        tracing::info!(%address, traffic = "grpc+http", "serving client traffic insecurely; this is strongly discouraged!");
    }
    notify::notify(State::Ready);
    let signal = tokio::select! {
        served = &mut serving => {
            served?;
            anyhow::bail!("the listeners have ended by themselves");
        }
        signal = signals.next() => signal,
    };
    tracing::info!(signal = signal.name(), "received signal; shutting down");
    notify::notify(State::Stopping);
    stop.send_replace(true);
    match tokio::time::timeout(GRACE, serving).await {
        Ok(served) => served?,
        Err(_) => tracing::warn!("some requests did not end in time and are cut off"),
    }
    Ok(signal)
}

/// What ended the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signal {
    Terminate,
    Interrupt,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Terminate => "terminated",
            Self::Interrupt => "interrupt",
        }
    }

    fn number(self) -> i32 {
        match self {
            Self::Terminate => SignalKind::terminate().as_raw_value(),
            Self::Interrupt => SignalKind::interrupt().as_raw_value(),
        }
    }
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.interrupt.recv() => Signal::Interrupt,
        }
    }
}

/// As etcd: the signal ends the process after all, so that whoever sent it sees that; but the first process of a
/// container cannot die of it, and exits in order.
fn end(signal: Signal) -> ExitCode {
    if std::process::id() != 1
        && let Err(error) = signal_hook::low_level::emulate_default_handler(signal.number())
    {
        tracing::warn!(%error, "cannot end by the signal");
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_has_etcd_s_four_lines_under_etcd_s_name() {
        let text = version_text(Persona::Etcd);
        let keys: Vec<_> = text.lines().filter_map(|line| line.split_once(": ")).map(|(key, _)| key).collect();
        assert_eq!(keys, ["etcd Version", "Git SHA", "Go Version", "Go OS/Arch"]);
        assert!(text.starts_with("etcd Version: 3.6."));
    }

    #[test]
    fn under_its_own_name_it_says_both_versions() {
        let text = version_text(Persona::Cairnd);
        assert!(text.contains(VERSION) && text.contains(ETCD_VERSION));
    }
}
