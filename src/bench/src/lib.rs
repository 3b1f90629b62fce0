//! The load generator: puts and gets in a closed loop against any etcd, from any number of clients over any number of
//! connections, with the result as JSON.
//!
//! Contract: requests are encoded by hand onto HTTP/2, so that on a machine that client and server share most of the
//! time is the server's; every answer is checked for its gRPC status. It reports and judges nothing.
//!
//! Left out: TLS, authentication, open-loop load.

mod cli;
mod load;
mod process;
mod wire;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::FromArgMatches;

/// The command line, for man pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    cli::command()
}

/// Runs the program with these arguments (the first is its name).
pub fn main_with_args(args: impl Iterator<Item = OsString>) -> ExitCode {
    let matches = command().get_matches_from(args);
    let outcome = match matches.subcommand() {
        Some((cairn_manual::SUBCOMMAND, matches)) => cairn_manual::run(command(), matches).map_err(anyhow::Error::from),
        _ => cli::Cli::from_arg_matches(&matches).map_err(anyhow::Error::from).and_then(run),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: cli::Cli) -> anyhow::Result<()> {
    match cli.command {
        cli::Command::Put(options) => report(load::Workload::Put, &options),
        cli::Command::Range(options) => report(load::Workload::Range, &options),
    }
}

fn report(workload: load::Workload, options: &cli::Options) -> anyhow::Result<()> {
    let report = load::run(workload, options)?;
    println!("{}", serde_json::to_string_pretty(&report)?);
    anyhow::ensure!(
        report.errors == 0,
        "{} of {} requests failed; the first: {}",
        report.errors,
        report.total,
        report.first_error
    );
    Ok(())
}
