//! What a member starts from, and whether it fits together.
//!
//! The library takes inconsistent storage for a fault of its caller and panics. What comes from a disk is therefore
//! checked here first: a damaged or mixed-up data directory is an error with a text, before anything runs.

use cairn_types::{Entry, HardState, LogIndex, Term};

use crate::conf::ConfState;
use crate::error::ConsensusError;

/// What the disk holds when a member starts.
#[derive(Clone, Debug)]
pub struct Start {
    /// The last hard state in the log; the default for a new member. Its commit may lie below `applied`: it is written
    /// lazily, and what was applied was committed.
    pub hard_state: HardState,
    /// The members as of the applied index, from the store; [`ConfState::bootstrap`] for a new cluster. Empty only for
    /// a member that is to be added and has applied nothing.
    pub conf_state: ConfState,
    /// The last entry that is durably applied to the store, and its term; zeros for a new member.
    pub applied: (LogIndex, Term),
    /// The durable log after `applied`, in order. Entries up to `applied` may precede; they are checked and left out.
    pub entries: Vec<Entry>,
}

/// Beyond this no index or term is taken from anybody, so that sums never overflow.
pub(crate) const MAX_NUMBER: u64 = 1 << 62;

impl Start {
    /// Checks everything and normalises: only entries after `applied`, commit not below it.
    pub(crate) fn validated(mut self) -> Result<Self, ConsensusError> {
        self.check_numbers()?;
        let (applied, applied_term) = self.applied;
        if applied > LogIndex(0) || self.conf_state != ConfState::default() {
            self.conf_state.validate()?;
        }
        self.check_sequence()?;
        if let Some(entry) = self.entries.iter().find(|entry| entry.index == applied)
            && entry.term != applied_term
        {
            return Err(ConsensusError::AppliedTermMismatch { index: applied, applied: applied_term, log: entry.term });
        }
        self.entries.retain(|entry| entry.index > applied);
        let (last, last_term) = self.entries.last().map_or((applied, applied_term), |entry| (entry.index, entry.term));
        let hard_state = &mut self.hard_state;
        if hard_state.term < last_term {
            return Err(ConsensusError::TermBehindLog { hard_state: hard_state.term, log: last_term });
        }
        if hard_state.commit > last {
            return Err(ConsensusError::CommitBeyondLog { commit: hard_state.commit, last });
        }
        hard_state.commit = hard_state.commit.max(applied);
        Ok(self)
    }

    fn check_numbers(&self) -> Result<(), ConsensusError> {
        let last = self.entries.last();
        let numbers = [
            ("the term of the hard state", self.hard_state.term.0),
            ("the commit index of the hard state", self.hard_state.commit.0),
            ("the applied index", self.applied.0.0),
            ("the applied term", self.applied.1.0),
            ("the index of the last entry", last.map_or(0, |entry| entry.index.0)),
            ("the term of the last entry", last.map_or(0, |entry| entry.term.0)),
        ];
        match numbers.into_iter().find(|(_, value)| *value > MAX_NUMBER) {
            Some((what, value)) => Err(ConsensusError::Absurd { what, value }),
            None => Ok(()),
        }
    }

    /// Entries are consecutive and their terms never fall; the first follows `applied` or lies before.
    fn check_sequence(&self) -> Result<(), ConsensusError> {
        let (applied, applied_term) = self.applied;
        let Some(first) = self.entries.first() else { return Ok(()) };
        if first.index > applied.next() {
            return Err(ConsensusError::Gap { applied, first: first.index });
        }
        let mut expected = first.index;
        let mut before = if first.index > applied { applied_term } else { Term(0) };
        for entry in &self.entries {
            if entry.index != expected || entry.index == LogIndex(0) {
                return Err(ConsensusError::NotConsecutive { expected, found: entry.index });
            }
            if entry.term < before || entry.term == Term(0) {
                return Err(ConsensusError::TermDecreases { index: entry.index, before, term: entry.term });
            }
            before = entry.term;
            expected = expected.next();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use cairn_types::{EntryKind, MemberId};

    use super::*;

    fn entry(index: u64, term: u64) -> Entry {
        Entry { index: LogIndex(index), term: Term(term), kind: EntryKind::Normal, data: Bytes::new() }
    }

    /// Applied up to entry 4 of term 2; entries 4..=6 in the log; entry 5 known as committed.
    fn sound() -> Start {
        Start {
            hard_state: HardState { term: Term(3), vote: 1, commit: LogIndex(5) },
            conf_state: ConfState::bootstrap([MemberId(1)]),
            applied: (LogIndex(4), Term(2)),
            entries: vec![entry(4, 2), entry(5, 2), entry(6, 3)],
        }
    }

    fn refusal(change: impl FnOnce(&mut Start)) -> ConsensusError {
        let mut start = sound();
        change(&mut start);
        start.validated().expect_err("it does not fit together")
    }

    #[test]
    fn entries_that_are_already_applied_are_left_out() {
        let start = sound().validated().expect("it fits");
        assert_eq!(start.entries, [entry(5, 2), entry(6, 3)]);
    }

    #[test]
    fn what_was_applied_was_committed_even_if_the_hard_state_is_older() {
        let mut start = sound();
        start.hard_state.commit = LogIndex(2);
        assert_eq!(start.validated().expect("it fits").hard_state.commit, LogIndex(4));
    }

    #[test]
    fn a_commit_beyond_the_log_is_lost_data() {
        assert_eq!(
            refusal(|start| start.hard_state.commit = LogIndex(7)),
            ConsensusError::CommitBeyondLog { commit: LogIndex(7), last: LogIndex(6) }
        );
        assert_eq!(
            refusal(|start| start.entries.clear()),
            ConsensusError::CommitBeyondLog { commit: LogIndex(5), last: LogIndex(4) }
        );
    }

    #[test]
    fn a_gap_between_store_and_log_is_refused() {
        assert_eq!(
            refusal(|start| start.applied = (LogIndex(2), Term(1))),
            ConsensusError::Gap { applied: LogIndex(2), first: LogIndex(4) }
        );
    }

    #[test]
    fn a_hole_in_the_log_is_refused() {
        assert_eq!(
            refusal(|start| drop(start.entries.remove(1))),
            ConsensusError::NotConsecutive { expected: LogIndex(5), found: LogIndex(6) }
        );
    }

    #[test]
    fn a_term_that_falls_is_refused() {
        assert_eq!(
            refusal(|start| start.entries[2].term = Term(1)),
            ConsensusError::TermDecreases { index: LogIndex(6), before: Term(2), term: Term(1) }
        );
        assert_eq!(
            refusal(|start| {
                start.entries.remove(0);
                start.applied.1 = Term(3);
            }),
            ConsensusError::TermDecreases { index: LogIndex(5), before: Term(3), term: Term(2) }
        );
    }

    #[test]
    fn a_hard_state_older_than_the_log_is_refused() {
        assert_eq!(
            refusal(|start| start.hard_state.term = Term(2)),
            ConsensusError::TermBehindLog { hard_state: Term(2), log: Term(3) }
        );
    }

    #[test]
    fn a_store_of_another_history_is_refused() {
        assert_eq!(
            refusal(|start| start.applied.1 = Term(1)),
            ConsensusError::AppliedTermMismatch { index: LogIndex(4), applied: Term(1), log: Term(2) }
        );
    }

    #[test]
    fn an_applied_store_without_members_is_refused() {
        assert!(matches!(refusal(|start| start.conf_state = ConfState::default()), ConsensusError::ConfState(_)));
    }

    #[test]
    fn numbers_that_no_log_reaches_are_refused() {
        assert!(matches!(refusal(|start| start.hard_state.term = Term(u64::MAX)), ConsensusError::Absurd { .. }));
    }
}
