//! Which Readies are at the log writer, and when the library may be told that one is durable.
//!
//! Two hazards of asynchronous writes are settled here:
//!
//! - **A truncation in flight.** Entry 5 of term 2 is written, then overwritten by term 3, then by the same entry of
//!   term 2 again. When the first write is done the library would take its entry for durable, while the disk is about to
//!   lose it. So a write is reported only once no write in flight replaces any part of it.
//! - **A term in flight.** A lone voter leads at once, before its new term is on disk. What it then tells a learner could
//!   be told differently after a crash, in the same term. [`Pipeline::durable_term`] tells which term may be spoken of.

use std::collections::VecDeque;

use raft::eraftpb;

use crate::ready::ReadySequence;

/// What one Ready asks the log to write.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Write {
    pub(crate) sequence: ReadySequence,
    /// Whether there is nothing to write at all: done as soon as all before it are.
    pub(crate) is_empty: bool,
    /// First and last index of its entries; for a snapshot its own index, twice.
    pub(crate) span: Option<(u64, u64)>,
    /// The term of its hard state.
    pub(crate) term: Option<u64>,
}

impl Write {
    pub(crate) fn new(
        sequence: ReadySequence,
        hard_state: Option<&eraftpb::HardState>,
        snapshot: Option<&eraftpb::Snapshot>,
        entries: &[eraftpb::Entry],
    ) -> Self {
        let snapshot = snapshot.map(|snapshot| snapshot.get_metadata().index);
        let first = snapshot.or_else(|| entries.first().map(|entry| entry.index));
        let span = first.map(|first| (first, entries.last().map_or(first, |entry| entry.index)));
        let is_empty = hard_state.is_none() && span.is_none();
        Self { sequence, is_empty, span, term: hard_state.map(|hard_state| hard_state.term) }
    }
}

/// Invariants: sequences in `in_flight` ascend; `written` covers what the log has written and the library was not told.
#[derive(Debug)]
pub(crate) struct Pipeline {
    in_flight: VecDeque<Write>,
    /// The last write that is done but not reported, and the highest index that any such write covers.
    written: Option<(ReadySequence, u64)>,
    durable_term: u64,
    last_issued: ReadySequence,
}

impl Pipeline {
    pub(crate) fn new(durable_term: u64) -> Self {
        Self { in_flight: VecDeque::new(), written: None, durable_term, last_issued: ReadySequence(0) }
    }

    /// A Ready goes out.
    pub(crate) fn issue(&mut self, write: Write) {
        assert!(write.sequence > self.last_issued, "Readies are numbered upwards");
        self.last_issued = write.sequence;
        self.in_flight.push_back(write);
    }

    /// The log wrote everything up to `sequence`; what the library may be told is durable, if anything.
    pub(crate) fn done(&mut self, sequence: ReadySequence) -> Option<ReadySequence> {
        assert!(sequence <= self.last_issued, "{sequence:?} was never given out");
        let is_done = |write: &&Write| write.sequence <= sequence || write.is_empty;
        while let Some(write) = self.in_flight.front().filter(is_done) {
            self.durable_term = write.term.unwrap_or(self.durable_term);
            let highest = self.written.map_or(0, |(_, highest)| highest);
            self.written = Some((write.sequence, highest.max(write.span.map_or(0, |(_, last)| last))));
            self.in_flight.pop_front();
        }
        let (upto, highest) = self.written?;
        let replaced = self.in_flight.iter().any(|write| write.span.is_some_and(|(first, _)| first <= highest));
        if replaced {
            return None;
        }
        self.written = None;
        Some(upto)
    }

    /// The last term that is on disk.
    pub(crate) fn durable_term(&self) -> u64 {
        self.durable_term
    }

    /// Whether any write is not done.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Whether entries or a snapshot are not durable yet, as the library sees it.
    pub(crate) fn has_entries(&self) -> bool {
        self.written.is_some_and(|(_, highest)| highest > 0) || self.in_flight.iter().any(|write| write.span.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(sequence: u64, span: Option<(u64, u64)>) -> Write {
        Write { sequence: ReadySequence(sequence), is_empty: span.is_none(), span, term: None }
    }

    #[test]
    fn a_ready_without_a_write_is_done_with_those_before_it() {
        let mut pipeline = Pipeline::new(1);
        pipeline.issue(write(1, Some((1, 1))));
        pipeline.issue(write(2, None));
        pipeline.issue(write(3, Some((2, 2))));
        assert_eq!(pipeline.done(ReadySequence(1)), Some(ReadySequence(2)));
        pipeline.issue(write(4, None));
        assert_eq!(pipeline.done(ReadySequence(3)), Some(ReadySequence(4)));
        assert!(pipeline.is_idle());
    }

    #[test]
    fn writes_are_reported_up_to_the_last_that_is_done() {
        let mut pipeline = Pipeline::new(1);
        for (sequence, span) in [(1, (1, 2)), (2, (3, 3)), (3, (4, 9))] {
            pipeline.issue(write(sequence, Some(span)));
        }
        assert_eq!(pipeline.done(ReadySequence(2)), Some(ReadySequence(2)));
        assert!(pipeline.has_entries());
        assert_eq!(pipeline.done(ReadySequence(2)), None);
        assert_eq!(pipeline.done(ReadySequence(3)), Some(ReadySequence(3)));
        assert!(pipeline.is_idle() && !pipeline.has_entries());
    }

    #[test]
    fn a_write_that_a_later_one_replaces_is_reported_only_with_it() {
        let mut pipeline = Pipeline::new(1);
        pipeline.issue(write(1, Some((5, 5))));
        pipeline.issue(write(2, Some((5, 5))));
        pipeline.issue(write(3, Some((5, 6))));
        assert_eq!(pipeline.done(ReadySequence(1)), None);
        assert_eq!(pipeline.done(ReadySequence(2)), None);
        assert!(pipeline.has_entries());
        assert_eq!(pipeline.done(ReadySequence(3)), Some(ReadySequence(3)));
    }

    #[test]
    fn a_term_is_durable_once_its_write_is_done() {
        let mut pipeline = Pipeline::new(1);
        pipeline.issue(Write { term: Some(4), is_empty: false, ..write(1, None) });
        assert_eq!(pipeline.durable_term(), 1);
        pipeline.done(ReadySequence(1));
        assert_eq!(pipeline.durable_term(), 4);
    }
}
