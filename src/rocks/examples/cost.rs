//! What the engine's calls cost on this machine, one thread, everything in memory: a sanity check for changes of options.
//! Run with `cargo run --release -p cairn-rocks --example cost`.

use std::hint::black_box;
use std::time::Instant;

use cairn_rocks::{RocksEngine, RocksOptions};
use cairn_storage::{Batch, Column, Engine, EngineError};

const KEYS: u64 = 100_000;
const BATCH_PUTS: u64 = 100;

fn key(n: u64) -> Vec<u8> {
    format!("/registry/things/namespace/object-{:032}", n.wrapping_mul(7_919) % KEYS).into_bytes()
}

/// A key that was never written, between those that were.
fn absent_key(n: u64) -> Vec<u8> {
    let mut key = key(n);
    key.push(b'.');
    key
}

/// Prints the mean time of one of `count` calls.
fn measure(what: &str, count: u64, mut call: impl FnMut(u64) -> Result<(), EngineError>) -> Result<(), EngineError> {
    let start = Instant::now();
    (0..count).try_for_each(&mut call)?;
    let nanos = start.elapsed().as_nanos() / u128::from(count);
    println!("{what:<52} {nanos:>8} ns");
    Ok(())
}

fn write(engine: &RocksEngine, from: u64) -> Result<(), EngineError> {
    let mut batch = Batch::new();
    for n in from..from + BATCH_PUTS {
        batch.put(Column::Cur, key(n), vec![b'v'; 256]);
    }
    engine.write(&batch)
}

fn read(engine: &RocksEngine, state: &str) -> Result<(), EngineError> {
    let view = engine.view()?;
    measure(&format!("get of 256 B, {state}"), KEYS, |n| {
        black_box(view.get(Column::Cur, &key(n))?);
        Ok(())
    })?;
    measure(&format!("get of an absent key, {state}"), KEYS, |n| {
        black_box(view.get(Column::Cur, &absent_key(n))?);
        Ok(())
    })?;
    let mut cursor = view.scan(Column::Cur, b"", None)?;
    measure(&format!("step of a scan, {state}"), KEYS, |_| {
        cursor.advance()?;
        black_box((cursor.key(), cursor.value()));
        Ok(())
    })?;
    measure(&format!("scan of one entry, {state}"), KEYS / 10, |n| {
        let mut cursor = view.scan(Column::Cur, &key(n), None)?;
        black_box(cursor.advance()?);
        Ok(())
    })
}

fn main() -> Result<(), EngineError> {
    let dir = std::env::temp_dir().join(format!("cairn-rocks-cost-{}", std::process::id()));
    let options = RocksOptions { memory_budget_bytes: 512 << 20, create_if_missing: true };
    let engine = RocksEngine::open(&dir, options)?;
    measure("key() of this program, to subtract", KEYS, |n| {
        black_box(key(n));
        Ok(())
    })?;
    measure("write of a batch of 100 puts of 64 + 256 B", KEYS / BATCH_PUTS, |n| write(&engine, n * BATCH_PUTS))?;
    measure("view, taken and dropped", KEYS, |_| {
        black_box(engine.view()?);
        Ok(())
    })?;
    measure("write of one put and a view", KEYS / 10, |n| {
        let mut batch = Batch::new();
        batch.put(Column::Meta, "applied", n.to_be_bytes().to_vec());
        engine.write(&batch)?;
        black_box(engine.view()?);
        Ok(())
    })?;
    measure("size", 1_000, |_| {
        black_box(engine.size()?);
        Ok(())
    })?;
    read(&engine, "in the write buffer")?;
    measure("flush", 1, |_| engine.flush())?;
    read(&engine, "from files, first time")?;
    read(&engine, "in the block cache")?;
    drop(engine);
    measure("open", 10, |_| RocksEngine::open(&dir, options).map(drop))?;
    std::fs::remove_dir_all(&dir).map_err(|source| EngineError::Io { operation: "remove", path: dir, source })
}
