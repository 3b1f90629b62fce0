//! Reading, also while the log is written, replaced and released.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use cairn_types::{LogIndex, Term};
use cairn_wal::WalError;

use crate::support::*;

#[test]
fn a_read_stops_at_the_byte_limit_but_gives_at_least_one_entry() {
    let dir = tempfile::tempdir().unwrap();
    let (mut wal, _) = open(dir.path());
    wal.append(&entries(1..=100, 1, 100), None).unwrap();
    let reader = wal.reader();
    let read = |bytes| reader.entries(LogIndex(10), LogIndex(101), bytes).unwrap().len();
    assert_eq!((read(0), read(1), read(entry_frame(100)), read(3 * entry_frame(100))), (1, 1, 1, 3));
    assert_eq!(read(usize::MAX), 91);
    assert_eq!(reader.entries(LogIndex(5), LogIndex(5), 100).unwrap(), []);
}

#[test]
fn what_is_not_stored_is_a_typed_error() {
    let dir = tempfile::tempdir().unwrap();
    let (mut wal, _) = open(dir.path());
    wal.reset_to(LogIndex(10), Term(2), hard_state(2, 10)).unwrap();
    wal.append(&entries(11..=12, 3, 5), None).unwrap();
    let reader = wal.reader();
    assert!(matches!(
        reader.entries(LogIndex(10), LogIndex(12), 9),
        Err(WalError::Released { index: LogIndex(10), first: LogIndex(11) })
    ));
    assert!(matches!(
        reader.entries(LogIndex(11), LogIndex(14), 9),
        Err(WalError::Unavailable { index: LogIndex(13), last: LogIndex(12) })
    ));
    assert_eq!(reader.term(LogIndex(10)).unwrap(), Term(2));
    assert_eq!(reader.term(LogIndex(12)).unwrap(), Term(3));
    assert!(matches!(reader.term(LogIndex(9)), Err(WalError::Released { .. })));
    assert!(matches!(reader.term(LogIndex(13)), Err(WalError::Unavailable { .. })));
}

#[test]
fn entries_around_a_replaced_suffix_are_read_from_where_they_lie() {
    let dir = tempfile::tempdir().unwrap();
    let options = cairn_wal::WalOptions { segment_bytes: 1 << 20, ..options() };
    let (mut wal, _) = cairn_wal::Wal::open(dir.path(), options).unwrap();
    wal.append(&entries(1..=2, 1, 100), None).unwrap();
    wal.append(&entries(3..=9, 1, 20_000), None).unwrap();
    wal.append(&entries(3..=4, 2, 100), None).unwrap();
    assert_eq!(stored(&wal), [entries(1..=2, 1, 100), entries(3..=4, 2, 100)].concat());
}

#[test]
fn a_reader_beside_the_writer_sees_only_whole_truth() {
    let dir = tempfile::tempdir().unwrap();
    let (mut wal, _) = open(dir.path());
    let done = AtomicBool::new(false);
    let check = |reader: cairn_wal::WalReader| {
        let mut reads = 0_u64;
        while !done.load(Ordering::Acquire) || reads == 0 {
            let (low, high) = (reader.first_index(), reader.last_index().next());
            match reader.entries(low, high, 4_000) {
                Ok(found) => {
                    for (found, index) in found.iter().zip(low.0..) {
                        assert_eq!(*found, entry(index, found.term.0, 150));
                    }
                    reads += 1;
                }
                Err(WalError::Released { .. } | WalError::Unavailable { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..2 {
            let reader = wal.reader();
            scope.spawn(|| check(reader));
        }
        let (mut next, mut term) = (1, 1);
        for round in 0..1_500 {
            wal.append(&entries(next..=next + 2, term, 150), None).unwrap();
            next += 3;
            if round % 10 == 9 {
                (next, term) = (next - 2, term + 1);
                wal.append(&[entry(next, term, 150)], None).unwrap();
                next += 1;
            }
            if next > 40 {
                wal.release_to(LogIndex(next - 40)).unwrap();
            }
        }
        done.store(true, Ordering::Release);
    });
}

#[test]
fn a_reader_outlives_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    let (mut wal, _) = open(dir.path());
    wal.append(&entries(1..=3, 1, 10), None).unwrap();
    let reader = wal.reader();
    drop(wal);
    assert_eq!(reader.entries(LogIndex(1), LogIndex(4), 1_000).unwrap(), entries(1..=3, 1, 10));
}
