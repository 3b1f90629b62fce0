//! The thread that owns the state machine: everything that was committed meanwhile becomes one batch.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_state::{StateError, StateMachine};
use cairn_types::limits::MAX_LOG_WRITE_BYTES;
use cairn_types::{Entry, EntryKind, LogIndex, Term};
use crossbeam_channel::Receiver;
use thiserror::Error;

use super::progress::Progress;
use super::waiters::Waiters;
use crate::clock::Clock;

/// Why the thread stops the node.
#[derive(Debug, Error)]
pub(crate) enum ApplyError {
    #[error("cannot apply entries of the Raft log")]
    State(#[from] StateError),
    #[error(
        "entry {0} of the Raft log changes the members, which this version cannot do; start the version that wrote it"
    )]
    Membership(LogIndex),
}

/// The thread's state.
pub(crate) struct ApplyThread {
    pub(crate) machine: StateMachine,
    pub(crate) committed: Receiver<Vec<Entry>>,
    pub(crate) waiters: Arc<Waiters>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) slow: Duration,
    pub(crate) clock: Clock,
    pub(crate) lease_extension_ms: u64,
    /// The own term whose start the leases know of.
    pub(crate) promoted_in: Option<Term>,
}

impl ApplyThread {
    /// Runs until the raft thread is gone and all that it committed is applied.
    pub(crate) fn run(mut self) -> Result<(), ApplyError> {
        while let Ok(mut entries) = self.committed.recv() {
            let mut bytes = size(&entries);
            while bytes < MAX_LOG_WRITE_BYTES {
                let Ok(mut more) = self.committed.try_recv() else { break };
                bytes += size(&more);
                entries.append(&mut more);
            }
            self.apply(&entries, bytes)?;
        }
        Ok(())
    }

    fn apply(&mut self, entries: &[Entry], bytes: usize) -> Result<(), ApplyError> {
        if let Some(entry) = entries.iter().find(|entry| entry.kind != EntryKind::Normal) {
            return Err(ApplyError::Membership(entry.index));
        }
        let Some(last) = entries.last() else { return Ok(()) };
        // Before the first grants of an own term: only older leases get time for the change of leader.
        if self.promoted_in != Some(last.term) && self.progress.leads() && last.term == self.progress.term() {
            self.machine.store().lessor().promote(self.clock.now_ms(), self.lease_extension_ms);
            self.promoted_in = Some(last.term);
        }
        let begun = Instant::now();
        let applied = self.machine.apply(entries)?;
        let took = begun.elapsed();
        if took > self.slow {
            let (took, expected) = (format!("{took:?}"), format!("{:?}", self.slow));
            tracing::warn!(
                took,
                expected_duration = expected,
                entries = entries.len(),
                bytes,
                "apply request took too long"
            );
        }
        // The new state is visible to readers by now: an answer must never be ahead of what a read then shows.
        self.waiters.complete(applied);
        self.progress.set_applied(last.index, last.term, bytes);
        Ok(())
    }
}

fn size(entries: &[Entry]) -> usize {
    entries.iter().map(|entry| entry.data.len()).sum()
}
