//! Reading a snapshot file: the container of `cairn_storage::snapshot_file` with a SHA-256 behind it.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use cairn_rocks::{RocksEngine, RocksOptions};
use cairn_state::StateMachine;
use cairn_storage::Engine;
use cairn_storage::snapshot_file;
use sha2::{Digest, Sha256};

const HASH_BYTES: u64 = 32;
/// Memory for the engine of an offline command.
const MEMORY_BYTES: u64 = 64 << 20;

/// Checks a snapshot and unpacks it into `target`, which must not exist.
pub(crate) fn unpack(file: &Path, target: &Path, skip_hash_check: bool) -> anyhow::Result<()> {
    let mut opened = File::open(file).with_context(|| format!("cannot open the snapshot {}", file.display()))?;
    let length = opened.metadata()?.len();
    if !skip_hash_check {
        let content =
            length.checked_sub(HASH_BYTES).context("the snapshot is shorter than its SHA-256; save it again")?;
        check(&mut opened, content).with_context(|| format!("in {}", file.display()))?;
    }
    opened.rewind()?;
    snapshot_file::unpack(BufReader::new(opened), target).with_context(|| format!("cannot read {}", file.display()))
}

fn check(file: &mut File, content: u64) -> anyhow::Result<()> {
    let mut hash = Sha256::new();
    io::copy(&mut file.take(content), &mut hash)?;
    let mut expected = [0; 32];
    file.read_exact(&mut expected)?;
    ensure!(
        hash.finalize().as_slice() == expected,
        "expected sha256 {expected:02x?}: the file was changed or cut, or has no SHA-256 behind it; save the snapshot again, \
         or restore with --skip-hash-check if it comes from a copied data directory"
    );
    Ok(())
}

/// The state in the folder of an engine.
pub(crate) fn open(folder: &Path) -> anyhow::Result<(StateMachine, Arc<dyn Engine>)> {
    let options = RocksOptions { memory_budget_bytes: MEMORY_BYTES, create_if_missing: false };
    let engine: Arc<dyn Engine> = Arc::new(RocksEngine::open(folder, options)?);
    Ok((StateMachine::open(engine.clone())?, engine))
}
