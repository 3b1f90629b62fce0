//! The commands: how each is written on the command line, and what it does.

mod admin;
mod endpoint;
mod kv;
mod lease;
mod snapshot;
mod txn;
mod watch;

use std::ffi::OsString;

use clap::{ArgMatches, Command};

use crate::cli::{self, Identity};
use crate::client::Globals;
use crate::failure::{Exit, Failure};

/// All commands, in the order of the help.
pub(crate) fn all() -> Vec<Command> {
    vec![
        kv::get_command(),
        kv::put_command(),
        kv::del_command(),
        txn::command(),
        watch::command(),
        lease::command(),
        kv::compaction_command(),
        endpoint::command(),
        admin::member_command(),
        admin::alarm_command(),
        admin::defrag_command(),
        snapshot::command(),
        admin::version_command(),
        admin::completion_command(),
        cairn_manual::subcommand(),
    ]
}

/// Runs the command that was given; `raw` is the whole command line.
pub(crate) fn run(identity: &Identity, matches: &ArgMatches, raw: &[OsString]) -> Result<(), Failure> {
    let Some((name, matches)) = matches.subcommand() else { return Ok(()) };
    match name {
        "version" => return admin::version(identity),
        "completion" => return admin::completion(identity, matches),
        cairn_manual::SUBCOMMAND => {
            let command = cli::command(&Identity::cairn());
            return cairn_manual::run(command, matches).map_err(|error| Failure::new(Exit::Io, error.to_string()));
        }
        _ => {}
    }
    let globals = Globals::from(identity, cli::innermost(matches));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Exit::Error, format!("cannot start: {error}")))?;
    let result = runtime.block_on(dispatch(&globals, name, matches, raw));
    // Input is read on a thread of its own, which may be waiting still.
    runtime.shutdown_background();
    result
}

async fn dispatch(globals: &Globals, name: &str, matches: &ArgMatches, raw: &[OsString]) -> Result<(), Failure> {
    match (name, matches.subcommand()) {
        ("get", _) => kv::get(globals, matches).await,
        ("put", _) => kv::put(globals, matches).await,
        ("del", _) => kv::del(globals, matches).await,
        ("compaction", _) => kv::compaction(globals, matches).await,
        ("txn", _) => txn::run(globals, matches).await,
        ("watch", _) => watch::run(globals, matches, raw).await,
        ("lease", Some((name, matches))) => lease::run(globals, name, matches).await,
        ("endpoint", Some((name, matches))) => endpoint::run(globals, name, matches).await,
        ("member", Some((_, matches))) => admin::member_list(globals, matches).await,
        ("alarm", Some((name, matches))) => admin::alarm(globals, name, matches).await,
        ("defrag", _) => admin::defrag(globals, matches).await,
        ("snapshot", Some((_, matches))) => snapshot::save(globals, matches).await,
        _ => Err(Failure::new(Exit::BadFeature, format!("unknown command {name:?}"))),
    }
}
