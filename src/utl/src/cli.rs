//! Flags, by etcdutl's names.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use cairn_api::ETCD_VERSION;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

#[derive(Parser)]
#[command(about = "Works on snapshots and data directories while no server runs", disable_version_flag = true)]
pub(crate) struct Cli {
    /// How to print the answer.
    #[arg(short = 'w', long, global = true, value_enum, default_value_t = Format::Simple)]
    pub(crate) write_out: Format,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Simple,
    Json,
    Table,
    Fields,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Examines and restores snapshots.
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Prints the version.
    Version,
    /// Prints the completion script for a shell.
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Prints hash, revision, number of keys and size of a snapshot.
    Status {
        /// The file that `snapshot save` wrote.
        file: PathBuf,
    },
    /// Makes the data directory of a new one-member cluster from a snapshot.
    Restore(Restore),
}

#[derive(Args)]
pub(crate) struct Restore {
    /// The file that `snapshot save` wrote.
    pub(crate) file: PathBuf,
    /// The data directory to make; it must not exist. [default: <name>.cairn]
    #[arg(long)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Where to put the Raft log, if not in the data directory.
    #[arg(long)]
    pub(crate) wal_dir: Option<PathBuf>,
    /// Name of the member.
    #[arg(long, default_value = "default")]
    pub(crate) name: String,
    /// The members of the new cluster, `name=url`; this version knows clusters of one. [default: <name>=<peer URLs>]
    #[arg(long)]
    pub(crate) initial_cluster: Option<String>,
    /// Token of the new cluster, from which its ids are made.
    #[arg(long, default_value = "etcd-cluster")]
    pub(crate) initial_cluster_token: String,
    /// Peer URLs of the member, separated by commas.
    #[arg(long, default_value = "http://localhost:2380")]
    pub(crate) initial_advertise_peer_urls: String,
    /// Reads the file although its SHA-256 is missing or wrong.
    #[arg(long)]
    pub(crate) skip_hash_check: bool,
    /// How much to add to the revision, so that it is above what clients have seen.
    #[arg(long, default_value_t = 0)]
    pub(crate) bump_revision: u64,
    /// Marks all history as compacted, so that watchers notice the restore.
    #[arg(long, requires = "bump_revision")]
    pub(crate) mark_compacted: bool,
}

/// The name to answer as: `etcdutl` where the program was started by that name.
pub(crate) fn program_name(argument: Option<&OsString>) -> &'static str {
    let name = argument.and_then(|argument| Path::new(argument).file_name());
    if name.is_some_and(|name| name == "etcdutl") { "etcdutl" } else { "cairnutl" }
}

pub(crate) fn command(name: &'static str) -> clap::Command {
    // Not clap's own --version: etcdutl has a subcommand, and the release tool asks every program with the flag.
    Cli::command()
        .name(name)
        .bin_name(name)
        .disable_version_flag(false)
        .version(one_line_version(name))
        .subcommand(cairn_manual::subcommand())
}

fn one_line_version(name: &str) -> String {
    if name == "etcdutl" { ETCD_VERSION.to_owned() } else { format!("{} (API version 3.6)", env!("CARGO_PKG_VERSION")) }
}

pub(crate) fn version(name: &str) -> String {
    if name == "etcdutl" {
        return format!("etcdutl version: {ETCD_VERSION}\nAPI version: 3.6\n");
    }
    format!("cairnutl version: {}\nAPI version: 3.6\n", env!("CARGO_PKG_VERSION"))
}
