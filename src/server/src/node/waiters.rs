//! Who waits for which entry of the log.
//!
//! A proposal's place in the log is known when it is proposed. Whatever is applied at that place decides: the same
//! origin brings the answers, another one means that the entry was lost in a change of leader, and then its proposers
//! are told so. Nobody is left waiting for an entry that can no longer come.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use cairn_api::ApiError;
use cairn_state::{AppliedEntry, Outcome};
use cairn_types::LogIndex;
use tokio::sync::oneshot;

use super::admission::Ticket;

/// Where one command's outcome goes.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) reply: oneshot::Sender<Outcome>,
    pub(crate) _ticket: Ticket,
}

impl Waiter {
    /// The client may have gone away; then nobody wants to know.
    pub(crate) fn answer(self, outcome: Outcome) {
        let _nobody_waits = self.reply.send(outcome);
    }
}

#[derive(Debug)]
struct Pending {
    sequence: u64,
    waiters: Vec<Waiter>,
}

/// All entries that were proposed here and not yet applied, by their place in the log.
#[derive(Debug)]
pub(crate) struct Waiters {
    member: u64,
    pending: Mutex<BTreeMap<LogIndex, Pending>>,
}

impl Waiters {
    pub(crate) fn new(member: u64) -> Self {
        Self { member, pending: Mutex::new(BTreeMap::new()) }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<LogIndex, Pending>> {
        self.pending.lock().expect("no thread panics while it holds the waiters")
    }

    /// Registers the proposers of the entry at `index`. Who waited for another entry at that place has lost.
    pub(crate) fn insert(&self, index: LogIndex, sequence: u64, waiters: Vec<Waiter>) {
        let displaced = self.lock().insert(index, Pending { sequence, waiters });
        displaced.into_iter().for_each(lost);
    }

    /// Answers those who waited for these entries, which were applied in this order and are visible to readers.
    pub(crate) fn complete(&self, applied: Vec<AppliedEntry>) {
        let mut answers = Vec::with_capacity(applied.len());
        {
            let mut pending = self.lock();
            for entry in applied {
                if let Some(waiting) = pending.remove(&entry.index) {
                    answers.push((waiting, entry));
                }
            }
        }
        for (waiting, entry) in answers {
            if entry.origin.member == self.member && entry.origin.sequence == waiting.sequence {
                assert_eq!(waiting.waiters.len(), entry.outcomes.len(), "each command of an entry has one outcome");
                waiting.waiters.into_iter().zip(entry.outcomes).for_each(|(waiter, outcome)| waiter.answer(outcome));
            } else {
                lost(waiting);
            }
        }
    }
}

fn lost(pending: Pending) {
    pending.waiters.into_iter().for_each(|waiter| waiter.answer(Err(ApiError::LeaderChanged)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::admission::Admission;
    use cairn_state::{Origin, Response};
    use cairn_types::Term;

    fn waiter() -> (Waiter, oneshot::Receiver<Outcome>) {
        let (reply, answer) = oneshot::channel();
        (Waiter { reply, _ticket: Admission::default().admit_own(1) }, answer)
    }

    fn applied(member: u64, sequence: u64) -> AppliedEntry {
        let origin = Origin { member, sequence };
        AppliedEntry { index: LogIndex(5), term: Term(1), origin, outcomes: vec![Ok(Response::LeaseCheckpoint)] }
    }

    #[test]
    fn the_entry_that_was_waited_for_brings_its_outcomes() {
        let waiters = Waiters::new(1);
        let (waiter, mut answer) = waiter();
        waiters.insert(LogIndex(5), 9, vec![waiter]);
        waiters.complete(vec![applied(1, 9)]);
        assert_eq!(answer.try_recv().unwrap(), Ok(Response::LeaseCheckpoint));
    }

    #[test]
    fn another_entry_at_that_place_means_that_the_leader_changed() {
        for (member, sequence) in [(2, 9), (1, 8)] {
            let waiters = Waiters::new(1);
            let (waiter, mut answer) = waiter();
            waiters.insert(LogIndex(5), 9, vec![waiter]);
            waiters.complete(vec![applied(member, sequence)]);
            assert_eq!(answer.try_recv().unwrap(), Err(ApiError::LeaderChanged));
        }
    }

    #[test]
    fn a_place_that_is_proposed_anew_releases_who_waited_before() {
        let waiters = Waiters::new(1);
        let (first, mut lost) = waiter();
        let (second, _answer) = waiter();
        waiters.insert(LogIndex(5), 9, vec![first]);
        waiters.insert(LogIndex(5), 10, vec![second]);
        assert_eq!(lost.try_recv().unwrap(), Err(ApiError::LeaderChanged));
    }
}
