//! Damage before the last batch is found and refused: the log never opens with less than it acknowledged.

use std::fs;

use cairn_types::LogIndex;
use cairn_wal::WalError;

use crate::support::*;

#[test]
fn every_flipped_byte_before_the_last_batch_refuses_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (mut wal, _) = open(dir.path());
    wal.append(&entries(1..=2, 1, 33), Some(hard_state(1, 1))).unwrap();
    wal.append(&entries(2..=4, 2, 9), Some(hard_state(2, 2))).unwrap();
    let last_batch = HEADER + 2 * entry_frame(33) + 40 + 3 * entry_frame(9) + 2 * HARD_STATE_FRAME;
    wal.append(&entries(5..=5, 2, 9), None).unwrap();
    drop(wal);
    let name = &segments(dir.path())[0];
    let content = fs::read(name).unwrap();
    for at in 0..last_batch {
        for bit in [1, 0x80] {
            let mut content = content.clone();
            content[at] ^= bit;
            let damaged = with_segment(name, &content);
            let error = open_error(damaged.path());
            let WalError::Damaged { file, offset, .. } = &error else { panic!("byte {at}: {error}") };
            assert_eq!(file.file_name(), name.file_name());
            let (offset, at) = (size(*offset), at);
            assert!(offset <= at && (at < HEADER || offset >= HEADER), "byte {at} was reported at {offset}");
            assert_eq!(fs::read(file).unwrap(), content, "a refused log is left as it is");
        }
    }
}

#[test]
fn every_flipped_byte_of_an_earlier_segment_refuses_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (mut wal, _) = open(dir.path());
    for index in 1..=6 {
        wal.append(&[entry(index, 1, 1_500)], Some(hard_state(1, index))).unwrap();
    }
    drop(wal);
    let first = segments(dir.path())[0].clone();
    assert_eq!(segments(dir.path()).len(), 3);
    let content = fs::read(&first).unwrap();
    let end = HEADER + 2 * (entry_frame(1_500) + HARD_STATE_FRAME);
    for at in (HEADER - 10..end).filter(|at| at % 7 == 0 || at % 512 < 24) {
        let mut damaged = content.clone();
        damaged[at] ^= 4;
        fs::write(&first, damaged).unwrap();
        let error = open_error(dir.path());
        assert!(matches!(error, WalError::Damaged { .. }), "byte {at}: {error}");
    }
    fs::write(&first, content).unwrap();
    assert_eq!(open(dir.path()).1.last_index, LogIndex(6));
}

#[test]
fn zeroed_and_cut_regions_before_the_last_batch_refuse_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (mut wal, _) = open(dir.path());
    for index in 1..=5 {
        wal.append(&[entry(index, 1, 300)], None).unwrap();
    }
    drop(wal);
    let name = &segments(dir.path())[0];
    let content = fs::read(name).unwrap();
    for from in (HEADER..HEADER + 3 * entry_frame(300)).step_by(8) {
        let mut content = content.clone();
        content[from..from + 64].fill(0);
        let error = open_error(with_segment(name, &content).path());
        assert!(matches!(error, WalError::Damaged { .. }), "zeros from {from}: {error}");
    }
}

#[test]
fn a_whole_batch_that_is_replaced_by_an_older_one_refuses_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (mut wal, _) = open(dir.path());
    for index in 1..=4 {
        wal.append(&[entry(index, 1, 40)], None).unwrap();
    }
    drop(wal);
    let name = &segments(dir.path())[0];
    let mut content = fs::read(name).unwrap();
    let frame = entry_frame(40);
    content.copy_within(HEADER..HEADER + frame, HEADER + 2 * frame);
    assert!(matches!(open_error(with_segment(name, &content).path()), WalError::Damaged { .. }));
}

#[test]
fn a_segment_that_is_shorter_than_its_successor_says_refuses_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (mut wal, _) = open(dir.path());
    for index in 1..=6 {
        wal.append(&[entry(index, 1, 1_500)], None).unwrap();
    }
    drop(wal);
    let first = &segments(dir.path())[0];
    let content = fs::read(first).unwrap();
    for length in [0, 100, HEADER, HEADER + 1_000] {
        fs::write(first, &content[..length]).unwrap();
        assert!(matches!(open_error(dir.path()), WalError::Damaged { .. }));
    }
}

#[test]
fn a_missing_segment_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (mut wal, _) = open(dir.path());
    wal.append(&entries(1..=100, 1, 30), None).unwrap();
    wal.append(&entries(101..=200, 1, 30), None).unwrap();
    drop(wal);
    let second = segments(dir.path())[1].clone();
    assert!(segments(dir.path()).len() >= 3);
    fs::remove_file(&second).unwrap();
    let error = open_error(dir.path());
    let WalError::MissingSegment { file } = error else { panic!("{error}") };
    assert_eq!(file, second);
}

#[test]
fn a_segment_under_another_name_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).0.append(&entries(1..=1, 1, 1), None).unwrap();
    let segment = &segments(dir.path())[0];
    fs::rename(segment, dir.path().join("0000000000000002.wal")).unwrap();
    let error = open_error(dir.path()).to_string();
    assert!(error.contains("is damaged at byte 0: the epoch in its header is not that of its name"), "{error}");
}

#[test]
fn the_message_says_where_why_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let (mut wal, _) = open(dir.path());
    wal.append(&entries(1..=1, 1, 8), None).unwrap();
    wal.append(&entries(2..=2, 1, 8), None).unwrap();
    drop(wal);
    let name = &segments(dir.path())[0];
    let mut content = fs::read(name).unwrap();
    content[HEADER + 30] ^= 1;
    fs::write(name, content).unwrap();
    let error = open_error(dir.path()).to_string();
    let place = format!(
        "log: {} is damaged at byte 4096: a frame is not intact, and a later batch at byte 4144 is",
        name.display()
    );
    assert!(error.starts_with(&place), "{error}");
    assert!(error.contains("restore this member from a snapshot"), "{error}");
}

#[test]
fn a_reader_reports_bytes_that_rot_while_the_log_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let (mut wal, _) = open(dir.path());
    wal.append(&entries(1..=3, 1, 50), None).unwrap();
    let name = &segments(dir.path())[0];
    let mut content = fs::read(name).unwrap();
    content[HEADER + entry_frame(50) + 60] ^= 1;
    fs::write(name, content).unwrap();
    let reader = wal.reader();
    assert_eq!(reader.entries(LogIndex(1), LogIndex(2), 1_000).unwrap(), entries(1..=1, 1, 50));
    let error = reader.entries(LogIndex(1), LogIndex(4), 1_000).unwrap_err();
    let WalError::Damaged { offset, .. } = error else { panic!("{error}") };
    assert_eq!(size(offset), HEADER + entry_frame(50));
}
