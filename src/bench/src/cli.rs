//! Flags.

use clap::{Args, CommandFactory, Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cairn-bench",
    version,
    about = "Measures an etcd-compatible server with puts and gets in a closed loop"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Writes keys: one after the other, or at random within --key-space.
    Put(Options),
    /// Reads single keys at random within --key-space.
    Range(Options),
}

#[derive(Args)]
pub(crate) struct Options {
    /// Address of the server.
    #[arg(long, default_value = "127.0.0.1:2379")]
    pub(crate) endpoint: String,
    /// Clients, each with one request under way.
    #[arg(long, default_value_t = 1)]
    pub(crate) clients: usize,
    /// Connections that the clients share.
    #[arg(long, default_value_t = 1)]
    pub(crate) conns: usize,
    /// Requests in all.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) total: u64,
    /// Bytes of a key.
    #[arg(long, default_value_t = 16)]
    pub(crate) key_size: usize,
    /// Bytes of a value.
    #[arg(long, default_value_t = 256)]
    pub(crate) val_size: usize,
    /// Number of distinct keys; 0: as many as requests, in order.
    #[arg(long, default_value_t = 0)]
    pub(crate) key_space: u64,
    /// Reads without asking the leader.
    #[arg(long)]
    pub(crate) serializable: bool,
    /// Process id of the server: its CPU time and memory are reported too.
    #[arg(long)]
    pub(crate) server_pid: Option<u32>,
}

pub(crate) fn command() -> clap::Command {
    Cli::command().subcommand(cairn_manual::subcommand())
}
