//! Where each entry lies: the state that the writer, the readers and recovery share.
//!
//! Contract: it describes what is durable, and changes only by [`Index::apply`] (in the order of the frames on disk) and
//! by segments that come and go. Eight bytes per entry and sixteen per change of term; bounded because segments are released.
//!
//! Invariants: epochs of `segments` are consecutive; the live entries of a segment are consecutive, and those of a later
//! segment follow those of an earlier one; `start.index + number of live entries = last index`.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;

use cairn_types::{HardState, LogIndex, Term};

use crate::LogPosition;
use crate::format::{ENTRY_PREFIX_BYTES, FRAME_ALIGN, Stamp, frame_size};

/// The place of one entry in its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Where the frame begins, in units of `FRAME_ALIGN`.
    offset: u32,
    /// Length of the data.
    length: u32,
}

impl Slot {
    /// `None` if the place is beyond what the format allows.
    pub(crate) fn new(offset: u64, data_length: usize) -> Option<Self> {
        let offset = u32::try_from(offset / FRAME_ALIGN as u64).ok()?;
        Some(Self { offset, length: u32::try_from(data_length).ok()? })
    }

    /// Where the frame begins, in bytes.
    pub(crate) fn offset(self) -> u64 {
        u64::from(self.offset) * FRAME_ALIGN as u64
    }

    /// Bytes of the whole frame.
    pub(crate) fn frame_bytes(self) -> usize {
        frame_size(ENTRY_PREFIX_BYTES + self.length as usize)
    }
}

/// One change of the log, as a frame records it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Entry {
        position: LogPosition,
        slot: Slot,
    },
    HardState(HardState),
    /// Entries behind this position are void.
    Truncate(LogPosition),
    /// All entries are void; the log goes on behind this position.
    Mark(LogPosition),
}

/// A segment in use.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) epoch: u64,
    pub(crate) stamp: Stamp,
    pub(crate) file: Arc<File>,
    /// Size of the file.
    pub(crate) bytes: u64,
    /// Index of the first live entry; meaningless if there is none.
    first: LogIndex,
    slots: Vec<Slot>,
}

impl Segment {
    pub(crate) fn new(epoch: u64, stamp: Stamp, file: Arc<File>, bytes: u64) -> Self {
        Self { epoch, stamp, file, bytes, first: LogIndex(0), slots: Vec::new() }
    }

    fn last(&self) -> Option<LogIndex> {
        self.slots.len().checked_sub(1).map(|behind| LogIndex(self.first.0 + behind as u64))
    }

    fn keep_to(&mut self, index: LogIndex) {
        let keep = (index.0 + 1).saturating_sub(self.first.0);
        self.slots.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
    }
}

/// The entries from `first` on have this term, up to the next run.
#[derive(Clone, Copy, Debug)]
struct TermRun {
    first: LogIndex,
    term: Term,
}

#[derive(Debug, Default)]
pub(crate) struct Index {
    segments: VecDeque<Segment>,
    start: LogPosition,
    last_index: LogIndex,
    terms: VecDeque<TermRun>,
    hard_state: HardState,
}

impl Index {
    pub(crate) fn new(start: LogPosition, hard_state: HardState) -> Self {
        Self { start, last_index: start.index, hard_state, ..Self::default() }
    }

    pub(crate) fn start(&self) -> LogPosition {
        self.start
    }

    pub(crate) fn hard_state(&self) -> HardState {
        self.hard_state
    }

    pub(crate) fn last(&self) -> LogPosition {
        let term = self.terms.back().map_or(self.start.term, |run| run.term);
        LogPosition { index: self.last_index, term }
    }

    pub(crate) fn segment_count(&self) -> usize {
        self.segments.len()
    }

    pub(crate) fn push_segment(&mut self, segment: Segment) {
        self.segments.push_back(segment);
    }

    /// The term of an entry, or of `start`.
    pub(crate) fn term(&self, index: LogIndex) -> Option<Term> {
        if index == self.start.index {
            return Some(self.start.term);
        }
        if index < self.start.index || index > self.last_index {
            return None;
        }
        let after = self.terms.partition_point(|run| run.first <= index);
        after.checked_sub(1).map(|run| self.terms[run].term)
    }

    /// The segment and place of an entry.
    pub(crate) fn find(&self, index: LogIndex) -> Option<(&Segment, Slot)> {
        if index <= self.start.index || index > self.last_index {
            return None;
        }
        let segment = self.segments.iter().rev().find(|s| !s.slots.is_empty() && s.first <= index)?;
        let slot = *segment.slots.get(usize::try_from(index.0 - segment.first.0).ok()?)?;
        Some((segment, slot))
    }

    /// Takes over what a frame of the last segment says; the reason if it does not continue the log.
    pub(crate) fn apply(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Entry { position, slot } => return self.push(position, slot),
            Step::HardState(hard_state) => self.hard_state = hard_state,
            Step::Mark(position) => self.reset(position),
            // Below `start` when the segments that held the entries in between were released before the truncation.
            Step::Truncate(position) if position.index <= self.start.index => self.reset(position),
            Step::Truncate(position) if position.index > self.last_index => {
                return Err(format!("it ends the log at {}, and the log ends at {}", position.index, self.last_index));
            }
            Step::Truncate(position) if self.term(position.index) != Some(position.term) => {
                return Err(format!("it ends the log at {} with another term than that entry has", position.index));
            }
            Step::Truncate(position) => self.truncate(position.index),
        }
        Ok(())
    }

    fn push(&mut self, position: LogPosition, slot: Slot) -> Result<(), String> {
        if position.index != self.last_index.next() {
            return Err(format!("entry {} follows entry {}", position.index, self.last_index));
        }
        let segment = self.segments.back_mut().ok_or("there is no segment")?;
        if segment.slots.is_empty() {
            segment.first = position.index;
        }
        segment.slots.push(slot);
        if self.terms.back().is_none_or(|run| run.term != position.term) {
            self.terms.push_back(TermRun { first: position.index, term: position.term });
        }
        self.last_index = position.index;
        Ok(())
    }

    fn reset(&mut self, position: LogPosition) {
        self.segments.iter_mut().for_each(|segment| segment.slots.clear());
        self.terms.clear();
        self.start = position;
        self.last_index = position.index;
    }

    fn truncate(&mut self, last: LogIndex) {
        for segment in self.segments.iter_mut().rev().take_while(|s| s.slots.is_empty() || s.last() > Some(last)) {
            segment.keep_to(last);
        }
        while self.terms.back().is_some_and(|run| run.first > last) {
            self.terms.pop_back();
        }
        self.last_index = last;
    }

    /// Takes out the oldest segment if it is not the one being written and all its live entries are at or below `index`.
    pub(crate) fn pop_released(&mut self, index: LogIndex) -> Option<Segment> {
        let front = self.segments.front()?;
        if self.segments.len() < 2 || front.last().is_some_and(|last| last > index) {
            return None;
        }
        if let Some(last) = front.last() {
            let term = self.term(last)?;
            self.start = LogPosition { index: last, term };
            while self.terms.get(1).is_some_and(|run| run.first <= last.next()) {
                self.terms.pop_front();
            }
            if self.last_index == last {
                self.terms.clear();
            }
        }
        self.segments.pop_front()
    }
}
