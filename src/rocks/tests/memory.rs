//! The one memory budget holds, and jemalloc is tuned.

use std::ffi::{CStr, c_char, c_int, c_void};

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

/// An option of jemalloc as it is in effect.
#[expect(unsafe_code, reason = "jemalloc is asked through its C function")]
fn jemalloc_option<T: Default>(name: &CStr) -> T {
    // SAFETY: the declaration is that of jemalloc's manual.
    unsafe extern "C" {
        fn mallctl(
            name: *const c_char,
            old: *mut c_void,
            old_len: *mut usize,
            new: *mut c_void,
            new_len: usize,
        ) -> c_int;
    }
    let mut value = T::default();
    let mut len = size_of::<T>();
    let (old, new) = ((&raw mut value).cast(), std::ptr::null_mut());
    // SAFETY: `old` points to `len` writable bytes, and jemalloc refuses where the option has another length; the callers
    // name types for which every bit pattern that jemalloc writes is valid.
    let status = unsafe { mallctl(name.as_ptr(), old, &raw mut len, new, 0) };
    assert_eq!(status, 0, "{} can be read", name.to_string_lossy());
    value
}

#[test]
fn jemalloc_is_in_use_and_tuned() {
    assert_eq!(jemalloc_option::<u32>(c"opt.narenas"), 4);
    assert!(jemalloc_option::<bool>(c"opt.background_thread"));
    assert_eq!(jemalloc_option::<isize>(c"opt.dirty_decay_ms"), 1_000);
    assert_eq!(jemalloc_option::<isize>(c"opt.muzzy_decay_ms"), 0);
    let before = allocated_by_this_thread();
    // The compiler would leave out an allocation that nobody looks at.
    let held = std::hint::black_box(vec![1_u8; 32 << 20]);
    let after = allocated_by_this_thread();
    assert!(after >= before + held.len(), "Rust's allocations are jemalloc's: {before} then {after}");
}

fn allocated_by_this_thread() -> usize {
    usize::try_from(jemalloc_option::<u64>(c"thread.allocated")).expect("it fits in memory")
}
