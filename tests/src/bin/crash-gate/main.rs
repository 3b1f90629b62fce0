//! The crash gate: kills the server with SIGKILL at random moments under mixed load, starts it again on the same data,
//! and checks that nothing that it acknowledged is lost and nothing appears that nobody wrote.
//!
//! What it relies on: every client owns the keys behind its prefix and its lease ids, and has at most one request
//! without an answer, so all that may be there after a crash is the acknowledged state, or that and the one request. The
//! whole history, as watchers saw it, is kept in an independent model whose HashKV must be the server's. Load comes from
//! a seed, but the moment at which a kill hits it does not: a failed run keeps its data directory.

mod client;
mod load;
mod round;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use cairn_testkit::{Member, Options, subject};
use clap::Parser;
use round::Gate;

/// Kills a server under load, again and again, and checks what it has kept.
#[derive(Debug, Parser)]
struct Arguments {
    /// How often the server is killed.
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    /// Seed of the load; chosen anew without it.
    #[arg(long)]
    seed: Option<u64>,
    /// Clients that write at the same time.
    #[arg(long, default_value_t = 8)]
    clients: u32,
    /// Puts old data in place of the new after the second kill. The gate must notice; this is how it is tested itself.
    #[arg(long, hide = true)]
    sabotage: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("crash gate: {} rounds on {:?}, --seed {seed}", arguments.rounds, subject());
    match run(&arguments, seed).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}\nreplay the load with --seed {seed}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments, seed: u64) -> anyhow::Result<()> {
    let directory = tempfile::Builder::new().prefix("crash-gate-").tempdir().context("make a directory")?;
    let options = Options { root: Some(directory.path().to_owned()), ..Options::default() };
    let mut gate = Gate::new(Member::start(subject(), options).await?, seed, arguments.clients);
    gate.sabotage = arguments.sabotage;
    for number in 1..=arguments.rounds {
        if let Err(error) = gate.round(number).await {
            gate.stop();
            println!("{} passed, 1 failed", number - 1);
            if arguments.sabotage {
                return Err(error);
            }
            let kept: PathBuf = directory.keep();
            return Err(error.context(format!("round {number}; data and log are kept in {}", kept.display())));
        }
    }
    println!("{} rounds, {} acknowledged writes, 0 lost", arguments.rounds, gate.acknowledged());
    println!("{} passed, 0 failed", arguments.rounds);
    Ok(())
}
