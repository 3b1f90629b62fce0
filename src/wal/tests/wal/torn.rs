//! The last batch is torn at every byte and in every mix of sectors; what is left is always whole batches.

use std::fs;
use std::path::PathBuf;

use cairn_types::{Entry, HardState, LogIndex};
use proptest::prelude::*;

use crate::support::*;

/// A segment with some batches, and what the log held after each of them.
struct Batches {
    name: PathBuf,
    content: Vec<u8>,
    /// What the segment contained before the last batch, from an earlier use of the file or zeros.
    before: Vec<u8>,
    /// Where each batch ends, beginning with the end of the header, and the log as it was then.
    states: Vec<(usize, Vec<Entry>, HardState)>,
}

/// Batches of several shapes; `recycled` puts them over frames of an earlier use.
fn batches(recycled: bool) -> Batches {
    let dir = tempfile::tempdir().unwrap();
    let (mut wal, _) = open(dir.path());
    let mut first = 1;
    if recycled {
        while segments(dir.path()).last().unwrap().file_stem().unwrap() != "0000000000000006" {
            wal.append(&[entry(first, 1, 80)], None).unwrap();
            wal.release_to(LogIndex(first)).unwrap();
            first += 1;
        }
        wal.reset_to(LogIndex(first), cairn_types::Term(1), hard_state(1, first)).unwrap();
        first += 1;
    }
    let name = segments(dir.path()).last().unwrap().clone();
    let mut content = fs::read(&name).unwrap();
    let start = if recycled { HEADER + entry_frame(80) + 40 + HARD_STATE_FRAME } else { HEADER };
    let mut end = start;
    let mut states = vec![(end, stored(&wal), if recycled { hard_state(1, first - 1) } else { HardState::default() })];
    let mut before = content.clone();
    let script: [(Vec<Entry>, Option<HardState>, usize); 4] = [
        (entries(first..=first + 2, 2, 33), Some(hard_state(2, first)), 3 * entry_frame(33) + HARD_STATE_FRAME),
        (vec![], Some(hard_state(3, first + 1)), HARD_STATE_FRAME),
        // Replaces two entries: a truncation of 40 bytes goes first.
        (
            entries(first + 1..=first + 4, 3, 80),
            Some(hard_state(3, first + 2)),
            40 + 4 * entry_frame(80) + HARD_STATE_FRAME,
        ),
        (entries(first + 5..=first + 7, 3, 21), None, 3 * entry_frame(21)),
    ];
    for (batch, state, bytes) in script {
        before.clone_from(&content);
        wal.append(&batch, state).unwrap();
        content = fs::read(&name).unwrap();
        let hard_state = state.unwrap_or(states.last().unwrap().2);
        end += bytes;
        states.push((end, stored(&wal), hard_state));
    }
    Batches { name, content, before, states }
}

impl Batches {
    /// Opens the log with the segment being `content`, of which the first `intact` bytes are as they were written.
    fn check(&self, content: &[u8], intact: usize) {
        let dir = with_segment(&self.name, content);
        let (end, expected, hard_state) =
            self.states.iter().rfind(|(end, ..)| *end <= intact).expect("the header is intact");
        let (mut wal, recovered) = open(dir.path());
        assert_eq!(stored(&wal), *expected, "intact to {intact}");
        assert_eq!(recovered.hard_state, *hard_state, "intact to {intact}");
        assert!(size(recovered.repaired_bytes) <= self.content.len() - end);
        // The log goes on, and nothing of what was cut comes back, whatever the new batch covers of it.
        let next = recovered.last_index.0 + 1;
        let more = [entry(next, 9, 21)];
        wal.append(&more, None).unwrap();
        let expected = [expected.as_slice(), &more].concat();
        drop(wal);
        let (wal, recovered) = open(dir.path());
        assert_eq!(stored(&wal), expected, "again, intact to {intact}");
        assert_eq!((recovered.hard_state, recovered.repaired_bytes), (*hard_state, 0));
    }

    /// How far `content` is what was written. A tear may leave the padding, or bytes that were there before and are equal;
    /// what a file lacks counts as zeros.
    fn intact(&self, content: &[u8]) -> usize {
        let differs = |at: &usize| content.get(*at).copied().unwrap_or(0) != self.content[*at];
        (0..self.end()).find(differs).unwrap_or(self.end())
    }

    fn end(&self) -> usize {
        self.states.last().unwrap().0
    }
}

#[test]
fn the_batches_end_where_the_format_says() {
    for recycled in [false, true] {
        let log = batches(recycled);
        let changed = |at: &usize| log.content[*at] != log.before[*at];
        let last = (0..log.content.len()).rev().find(changed).unwrap();
        assert!(last < log.end() && last >= log.end() - 8, "{last} {}", log.end());
    }
}

#[test]
fn a_file_that_ends_at_any_byte_loses_only_the_batches_it_cuts() {
    let log = batches(false);
    for cut in HEADER..=log.end() {
        log.check(&log.content[..cut], log.intact(&log.content[..cut]));
    }
}

#[test]
fn a_write_that_stopped_at_any_byte_leaves_whole_batches() {
    for recycled in [false, true] {
        let log = batches(recycled);
        for cut in log.states[3].0..=log.end() {
            let content = [&log.content[..cut], &log.before[cut..]].concat();
            log.check(&content, log.intact(&content));
        }
    }
}

#[test]
fn zeros_in_place_of_any_suffix_leave_whole_batches() {
    let log = batches(false);
    for cut in HEADER..=log.end() {
        let mut content = log.content.clone();
        content[cut..].fill(0);
        log.check(&content, log.intact(&content));
    }
}

#[test]
fn any_damaged_byte_of_the_last_batch_cuts_exactly_that_batch() {
    let log = batches(true);
    for at in log.states[3].0..log.end() {
        let mut content = log.content.clone();
        content[at] ^= 0x10;
        log.check(&content, at);
    }
}

#[test]
fn the_torn_first_batch_of_a_new_segment_leaves_the_segments_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut wal, _) = open(dir.path());
    wal.append(&entries(1..=20, 1, 100), Some(hard_state(1, 5))).unwrap();
    let before = stored(&wal);
    wal.append(&entries(21..=35, 1, 100), Some(hard_state(2, 6))).unwrap();
    drop(wal);
    let last = segments(dir.path()).last().unwrap().clone();
    let mut content = fs::read(&last).unwrap();
    assert_eq!(segments(dir.path()).len(), 2);
    content[HEADER + 500] ^= 1;
    fs::write(&last, content).unwrap();
    let (mut wal, recovered) = open(dir.path());
    assert_eq!((stored(&wal), recovered.hard_state), (before, hard_state(1, 5)));
    assert!(recovered.repaired_bytes > 0);
    wal.append(&entries(21..=21, 2, 10), None).unwrap();
    assert_eq!(open(dir.path()).1.last_index, LogIndex(21));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// A disk may write the sectors of one unsynced write in any order.
    #[test]
    fn any_subset_of_the_sectors_of_the_last_batch_is_a_torn_tail(
        sizes in prop::collection::vec(0..700_usize, 1..8), kept in prop::collection::vec(any::<bool>(), 16), recycled: bool,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (mut wal, _) = open(dir.path());
        let mut first = 1;
        while recycled && segments(dir.path()).last().unwrap().file_stem().unwrap() != "0000000000000005" {
            wal.append(&[entry(first, 1, 300)], None).unwrap();
            wal.release_to(LogIndex(first)).unwrap();
            first += 1;
        }
        wal.append(&[entry(first, 1, 100)], None).unwrap();
        let (earlier, name) = (stored(&wal), segments(dir.path()).last().unwrap().clone());
        let before = fs::read(&name).unwrap();
        let batch: Vec<_> = sizes.iter().zip(first + 1..).map(|(bytes, index)| entry(index, 2, *bytes)).collect();
        wal.append(&batch, None).unwrap();
        prop_assume!(segments(dir.path()).last().unwrap() == &name);
        drop(wal);
        let after = fs::read(&name).unwrap();
        let mut mixed = after.clone();
        for (sector, _) in kept.iter().enumerate().filter(|(_, kept)| !**kept) {
            mixed[sector * 512..(sector + 1) * 512].copy_from_slice(&before[sector * 512..(sector + 1) * 512]);
        }
        let whole = mixed == after;
        fs::write(&name, &mixed).unwrap();
        let (mut wal, recovered) = open(dir.path());
        let expected = if whole { [earlier, batch].concat() } else { earlier };
        prop_assert_eq!(&stored(&wal), &expected);
        let more = [entry(recovered.last_index.0 + 1, 3, sizes[0])];
        wal.append(&more, None).unwrap();
        drop(wal);
        prop_assert_eq!(stored(&open(dir.path()).0), [expected.as_slice(), &more].concat());
    }
}
