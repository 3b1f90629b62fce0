//! The one memory budget holds, and programs that link the crate have the tuned allocator.

use std::fs;

use bytes::Bytes;
use cairn_rocks::{RocksEngine, RocksOptions};
use cairn_storage::{Batch, Column, Engine};

const MIB: u64 = 1 << 20;
const BUDGET_BYTES: u64 = 64 * MIB;
const DATA_BYTES: u64 = 300 * MIB;

/// Blocks that are in use at the moment of an insertion cannot be evicted for it.
const SLACK_BYTES: u64 = 4 * MIB;

const VALUE_BYTES: u64 = 4_096;

/// Bytes that do not compress, from a number.
fn value(mut seed: u64) -> Bytes {
    let words = (0..VALUE_BYTES / 8).flat_map(|_| {
        seed = seed.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        seed.to_be_bytes()
    });
    words.collect()
}

#[test]
fn blocks_and_write_buffers_together_stay_within_the_budget() {
    let dir = tempfile::tempdir().expect("a temporary folder can be made");
    let options = RocksOptions { memory_budget_bytes: BUDGET_BYTES, create_if_missing: true };
    let engine = RocksEngine::open(dir.path(), options).expect("a database can be opened");
    let mut highest = 0;
    let mut highest_buffers = 0;
    let mut check = |what: &str| {
        let usage = engine.memory_usage();
        assert!(usage.budgeted <= BUDGET_BYTES + SLACK_BYTES, "{what}: {usage:?}");
        assert!(usage.write_buffers <= usage.budgeted, "write buffers are part of the budget: {usage:?}");
        highest = highest.max(usage.budgeted);
        highest_buffers = highest_buffers.max(usage.write_buffers);
    };
    let count = DATA_BYTES / VALUE_BYTES;
    // Far apart, so that compaction has work to do.
    let key = |n: u64| n.reverse_bits().to_be_bytes();
    for n in (0..count).step_by(16) {
        let mut batch = Batch::new();
        for n in n..n + 16 {
            let column = Column::ALL[usize::try_from(n % 4).expect("it is small")];
            batch.put(column, key(n).to_vec(), value(n));
        }
        engine.write(&batch).expect("a batch can be written");
        check("while writing");
    }
    let view = engine.view().expect("a view can be taken");
    for column in Column::ALL {
        let mut cursor = view.scan(column, b"", None).expect("a scan can begin");
        while cursor.advance().expect("a cursor can move") {
            check("while reading");
        }
    }
    println!("at most {} MiB, of them write buffers {} MiB", highest / MIB, highest_buffers / MIB);
    assert!(highest >= BUDGET_BYTES * 3 / 4, "the budget is put to use: {highest}");
    let size = engine.size().expect("the size can be read");
    assert!(size.total >= DATA_BYTES * 9 / 10, "{size:?}");
}

/// The background thread is one of the settings: jemalloc starts none by itself.
#[test]
fn a_program_that_links_the_crate_has_the_settings() {
    drop(std::hint::black_box(vec![1_u8; 32 << 20]));
    let threads = fs::read_dir("/proc/self/task").expect("the threads can be listed");
    let names: Vec<_> = threads
        .map(|thread| fs::read_to_string(thread.expect("a thread can be read").path().join("comm")).unwrap_or_default())
        .collect();
    assert!(names.iter().any(|name| name.trim_end() == "jemalloc_bg_thd"), "{names:?}");
}
