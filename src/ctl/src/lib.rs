//! `cairnctl`, the command line client; under the name `etcdctl` it stands in for etcd's.
//!
//! Contract: what goes to stdout, the text after `Error: ` and the exit code equal etcdctl's for every command that is
//! here, in each output format. Data goes to stdout and nothing else does. Flags that concern what this version cannot do
//! (TLS, users, discovery) are refused, never accepted and ignored.
//!
//! Left out: everything that needs the store itself; that is the offline tool's.

mod cli;
mod client;
mod commands;
mod env;
mod failure;
mod go;
mod output;

use std::ffi::OsString;
use std::process::ExitCode;

use cli::Identity;
use failure::Failure;

/// The whole command line as clap knows it, under its own name: what completions and man pages are generated from.
#[must_use]
pub fn command() -> clap::Command {
    cli::command(&Identity::cairn())
}

/// Runs the tool. The first argument is the name that it was started under and decides between its two identities.
///
/// Commands that wait for events or input run until they are interrupted.
pub fn main_with_args(args: impl IntoIterator<Item = impl Into<OsString>>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    let identity = Identity::from_name(args.first());
    match run(&identity, args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(identity: &Identity, args: Vec<OsString>) -> Result<(), Failure> {
    let Some(matches) = cli::parse(identity, args.clone())? else {
        return Ok(());
    };
    env::warn_of_unknown(identity);
    commands::run(identity, &matches, &args)
}
