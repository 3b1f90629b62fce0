//! The ordinary life of a log: appending, replacing, rolling over, releasing, resetting, opening again.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use cairn_types::{ClusterId, LogIndex, MemberId, Term};
use cairn_wal::{Identity, LogPosition, Wal, WalError};

use crate::support::*;

#[test]
fn a_new_log_is_empty_and_for_its_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("deep/wal");
    let (wal, recovered) = open(&log);
    assert!(recovered.created);
    assert_eq!((recovered.first_index, recovered.last_index), (LogIndex(1), LogIndex(0)));
    assert_eq!(stored(&wal), []);
    assert_eq!(fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(&segments(&log)[0]).unwrap().permissions().mode() & 0o777, 0o600);
    drop(wal);
    assert!(!open(&log).1.created);
}

#[test]
fn what_was_appended_is_there_after_opening_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut wal, _) = open(dir.path());
    wal.append(&entries(1..=3, 1, 10), Some(hard_state(1, 2))).unwrap();
    wal.append(&[], Some(hard_state(2, 3))).unwrap();
    wal.append(&entries(4..=4, 2, 0), None).unwrap();
    let before = stored(&wal);
    drop(wal);
    let (wal, recovered) = open(dir.path());
    assert_eq!(stored(&wal), before);
    assert_eq!(before, [entries(1..=3, 1, 10), entries(4..=4, 2, 0)].concat());
    assert_eq!(recovered.hard_state, hard_state(2, 3));
    assert_eq!((recovered.last_index, recovered.last_term, recovered.repaired_bytes), (LogIndex(4), Term(2), 0));
}

#[test]
fn durable_appends_work_as_unsynced_ones_do() {
    let dir = tempfile::tempdir().unwrap();
    let options = cairn_wal::WalOptions { sync: true, ..options() };
    let (mut wal, _) = Wal::open(dir.path(), options).unwrap();
    for index in 1..=40 {
        wal.append(&[entry(index, 1, 500)], Some(hard_state(1, index))).unwrap();
    }
    wal.release_to(LogIndex(20)).unwrap();
    drop(wal);
    let (wal, recovered) = Wal::open(dir.path(), options).unwrap();
    assert_eq!(recovered.last_index, LogIndex(40));
    assert_eq!(stored(&wal), entries(recovered.first_index.0..=40, 1, 500));
}

#[test]
fn an_empty_append_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut wal, _) = open(dir.path());
    let before = fs::read(&segments(dir.path())[0]).unwrap();
    wal.append(&[], None).unwrap();
    assert_eq!(fs::read(&segments(dir.path())[0]).unwrap(), before);
}

#[test]
fn a_conflicting_suffix_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let (mut wal, _) = open(dir.path());
    wal.append(&entries(1..=9, 1, 20), Some(hard_state(1, 4))).unwrap();
    wal.append(&entries(5..=6, 3, 30), Some(hard_state(3, 4))).unwrap();
    let expected = [entries(1..=4, 1, 20), entries(5..=6, 3, 30)].concat();
    assert_eq!(stored(&wal), expected);
    assert_eq!(wal.reader().term(LogIndex(4)).unwrap(), Term(1));
    assert_eq!(wal.reader().term(LogIndex(5)).unwrap(), Term(3));
    assert!(matches!(wal.reader().term(LogIndex(7)), Err(WalError::Unavailable { .. })));
    drop(wal);
    assert_eq!(stored(&open(dir.path()).0), expected);
}

#[test]
fn the_whole_log_can_be_replaced_from_its_first_entry() {
    let dir = tempfile::tempdir().unwrap();
    let (mut wal, _) = open(dir.path());
    wal.append(&entries(1..=200, 1, 100), None).unwrap();
    wal.append(&entries(1..=2, 2, 100), None).unwrap();
    drop(wal);
    let (wal, recovered) = open(dir.path());
    assert_eq!(stored(&wal), entries(1..=2, 2, 100));
    assert_eq!(recovered.start, LogPosition::default());
}

#[test]
fn entries_that_leave_a_gap_are_refused_and_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut wal, _) = open(dir.path());
    wal.append(&entries(1..=2, 1, 1), None).unwrap();
    let gap = wal.append(&[entry(4, 1, 1)], None).unwrap_err();
    assert_eq!(gap.to_string(), "log: entry 4 does not continue the log, which accepts 1 to 3");
    assert!(wal.append(&[entry(3, 1, 1), entry(5, 1, 1)], None).is_err());
    assert!(wal.append(&[entry(0, 1, 1)], None).is_err());
    wal.append(&[entry(3, 1, 1)], None).unwrap();
    assert_eq!(stored(&wal), entries(1..=3, 1, 1));
}

#[test]
fn a_batch_larger_than_a_segment_gets_a_segment_of_its_own_size() {
    let dir = tempfile::tempdir().unwrap();
    let (mut wal, _) = open(dir.path());
    wal.append(&entries(1..=1, 1, 10), None).unwrap();
    wal.append(&entries(2..=4, 1, 100_000), Some(hard_state(1, 1))).unwrap();
    wal.append(&entries(5..=5, 1, 5_000), None).unwrap();
    let expected = [entries(1..=1, 1, 10), entries(2..=4, 1, 100_000), entries(5..=5, 1, 5_000)].concat();
    assert_eq!(stored(&wal), expected);
    drop(wal);
    let (mut wal, recovered) = open(dir.path());
    assert_eq!(stored(&wal), expected);
    assert_eq!(recovered.segments, 3);
    wal.release_to(LogIndex(4)).unwrap();
    drop(wal);
    assert_eq!(stored(&open(dir.path()).0), entries(5..=5, 1, 5_000));
    let oversized = files(dir.path(), "spare").iter().filter(|path| fs::metadata(path).unwrap().len() != SMALL).count();
    assert_eq!(oversized, 0, "only standard segments are kept for later use");
}

#[test]
fn the_hard_state_survives_every_rotation_and_release() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).0.append(&[], Some(hard_state(9, 1))).unwrap();
    for index in 1..=60 {
        let (mut wal, recovered) = open(dir.path());
        assert_eq!(recovered.hard_state, hard_state(9, 1));
        wal.append(&[entry(index, 9, 1_000)], None).unwrap();
        drop(wal);
        let (mut wal, _) = open(dir.path());
        wal.release_to(LogIndex(index)).unwrap();
        assert_eq!(segments(dir.path()).len(), 1, "only the segment being written is left");
    }
    assert_eq!(open(dir.path()).1.hard_state, hard_state(9, 1));
}

#[test]
fn release_keeps_all_entries_above_the_given_one() {
    let dir = tempfile::tempdir().unwrap();
    let (mut wal, _) = open(dir.path());
    for index in 1..=50 {
        wal.append(&[entry(index, index / 10, 700)], None).unwrap();
    }
    let mut wal = Some(wal);
    for released in 0..=55 {
        let mut log = wal.take().unwrap();
        log.release_to(LogIndex(released)).unwrap();
        let reader = log.reader();
        let first = reader.first_index();
        assert!(first <= LogIndex(released + 1));
        assert_eq!(stored(&log), (first.0..=50).map(|index| entry(index, index / 10, 700)).collect::<Vec<_>>());
        assert_eq!(reader.term(reader.start().index).unwrap(), Term((first.0 - 1) / 10));
        if first.0 > 1 {
            let gone = reader.entries(LogIndex(first.0 - 1), LogIndex(51), 1).unwrap_err();
            assert!(matches!(gone, WalError::Released { .. }), "{gone}");
        }
        drop(log);
        let (again, recovered) = open(dir.path());
        assert_eq!((recovered.first_index, recovered.last_index), (first, LogIndex(50)));
        assert_eq!(recovered.start, reader.start());
        wal = Some(again);
    }
    assert_eq!(segments(dir.path()).len(), 1);
}

#[test]
fn a_released_segment_is_used_again_and_its_old_frames_are_not_seen() {
    let dir = tempfile::tempdir().unwrap();
    let (mut wal, _) = open(dir.path());
    for index in 1..=100 {
        // Frames of one size, so that the old ones lie exactly where the new log ends.
        wal.append(&[entry(index, 1, 200)], None).unwrap();
        wal.release_to(LogIndex(index)).unwrap();
    }
    drop(wal);
    let (mut wal, recovered) = open(dir.path());
    assert_eq!((recovered.last_index, recovered.repaired_bytes), (LogIndex(100), 0));
    let last = fs::read(segments(dir.path()).last().unwrap()).unwrap();
    assert!(last[size(SMALL) - 1000..].iter().any(|byte| *byte != 0), "the segment holds frames of its earlier use");
    wal.append(&[entry(101, 1, 200)], None).unwrap();
    assert_eq!(stored(&wal).last(), Some(&entry(101, 1, 200)));
    let kept = files(dir.path(), "wal").len() + files(dir.path(), "spare").len();
    assert!(kept <= 4, "segments are recycled, not added: {kept}");
}

#[test]
fn truncation_below_a_released_segment_is_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let (mut wal, _) = open(dir.path());
    wal.append(&entries(1..=30, 1, 100), None).unwrap();
    wal.append(&entries(31..=60, 1, 100), None).unwrap();
    wal.append(&entries(21..=40, 2, 100), None).unwrap();
    assert!(segments(dir.path()).len() >= 3);
    // The first segment holds 1 to 20, the second none that counts.
    wal.release_to(LogIndex(20)).unwrap();
    assert_eq!(wal.reader().start(), LogPosition { index: LogIndex(20), term: Term(1) });
    drop(wal);
    let (wal, recovered) = open(dir.path());
    assert_eq!(recovered.start, LogPosition { index: LogIndex(20), term: Term(1) });
    assert_eq!(stored(&wal), entries(21..=40, 2, 100));
}

#[test]
fn a_reset_log_goes_on_behind_the_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let (mut wal, _) = open(dir.path());
    wal.append(&entries(1..=100, 1, 300), Some(hard_state(1, 90))).unwrap();
    wal.append(&entries(101..=110, 1, 300), None).unwrap();
    wal.reset_to(LogIndex(5_000), Term(8), hard_state(9, 5_000)).unwrap();
    assert_eq!(segments(dir.path()).len(), 1);
    assert!(matches!(wal.append(&[entry(5_000, 9, 1)], None), Err(WalError::NotConsecutive { .. })));
    drop(wal);
    let (mut wal, recovered) = open(dir.path());
    assert_eq!(recovered.start, LogPosition { index: LogIndex(5_000), term: Term(8) });
    assert_eq!((recovered.last_index, recovered.last_term), (LogIndex(5_000), Term(8)));
    assert_eq!(recovered.hard_state, hard_state(9, 5_000));
    wal.append(&entries(5_001..=5_003, 9, 10), None).unwrap();
    drop(wal);
    assert_eq!(stored(&open(dir.path()).0), entries(5_001..=5_003, 9, 10));
}

#[test]
fn the_log_of_another_member_or_cluster_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path());
    for identity in [
        Identity { member: MemberId(0x3f), ..options().identity },
        Identity { cluster: ClusterId(0xc2), ..options().identity },
    ] {
        let error = Wal::open(dir.path(), cairn_wal::WalOptions { identity, ..options() }).err().unwrap();
        let WalError::Identity { found, expected, .. } = error else { panic!("{error}") };
        assert_eq!((found, expected), (options().identity, identity));
    }
}

#[test]
fn another_segment_size_applies_to_new_segments_only() {
    let dir = tempfile::tempdir().unwrap();
    let (mut wal, _) = open(dir.path());
    wal.append(&entries(1..=100, 1, 300), None).unwrap();
    drop(wal);
    for segment_bytes in [3 * SMALL, SMALL, 0, 10_000] {
        let options = cairn_wal::WalOptions { segment_bytes, ..options() };
        let (mut wal, recovered) = Wal::open(dir.path(), options).unwrap();
        let next = recovered.last_index.0 + 1;
        wal.append(&entries(next..=next + 40, 1, 300), None).unwrap();
        assert_eq!(stored(&wal), entries(1..=next + 40, 1, 300));
    }
}

#[test]
fn files_of_others_and_unfinished_spares_do_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).0.append(&entries(1..=2, 1, 3), None).unwrap();
    fs::write(dir.path().join("0000000000000007.tmp"), b"half").unwrap();
    fs::write(dir.path().join("0000000000000099.spare"), b"short").unwrap();
    fs::write(dir.path().join("notes.txt"), b"mine").unwrap();
    let (wal, _) = open(dir.path());
    assert_eq!(stored(&wal), entries(1..=2, 1, 3));
    assert!(!dir.path().join("0000000000000007.tmp").exists());
    assert!(!dir.path().join("0000000000000099.spare").exists());
    assert!(dir.path().join("notes.txt").exists());
}
