//! `cairnutl`: what can be done with a snapshot or a data directory while no server runs.
//!
//! Contract: a snapshot is read only after its SHA-256 was checked; a restore writes a data directory that did not exist
//! before, whole or not at all. Answers go to stdout, all else to stderr.
//!
//! Left out: etcd's own file formats.

mod cli;
mod restore;
mod snapshot;
mod status;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::FromArgMatches;

/// The command line, for man pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    cli::command("cairnutl")
}

/// Runs the program with these arguments; the first is its name, and `etcdutl` makes it answer as that.
pub fn main_with_args(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<_> = args.collect();
    let name = cli::program_name(args.first());
    let matches = cli::command(name).get_matches_from(args);
    let outcome = match matches.subcommand() {
        Some((cairn_manual::SUBCOMMAND, matches)) => cairn_manual::run(command(), matches).map_err(anyhow::Error::from),
        _ => cli::Cli::from_arg_matches(&matches).map_err(anyhow::Error::from).and_then(|cli| run(name, cli)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(name: &'static str, cli: cli::Cli) -> anyhow::Result<()> {
    match cli.command {
        cli::Command::Snapshot(cli::SnapshotCommand::Status { file }) => status::print(&file, cli.write_out),
        cli::Command::Snapshot(cli::SnapshotCommand::Restore(options)) => restore::run(&options),
        cli::Command::Version => {
            print!("{}", cli::version(name));
            Ok(())
        }
        cli::Command::Completion { shell } => {
            clap_complete::generate(shell, &mut cli::command(name), name, &mut std::io::stdout());
            Ok(())
        }
    }
}
