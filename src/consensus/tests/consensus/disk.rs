//! A model of one member's disk: the log, and the store with its applied index.

#![expect(clippy::disallowed_types, reason = "the member's log reader and the model look at the same disk")]

use std::sync::{Arc, Mutex, MutexGuard};

use cairn_consensus::{ConfState, LogReadError, LogReader, Start};
use cairn_types::{Entry, HardState, LogIndex, Term};

/// What survives a crash.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contents {
    pub(crate) hard_state: HardState,
    /// The entry before the first of `entries`.
    pub(crate) base: (LogIndex, Term),
    pub(crate) entries: Vec<Entry>,
    pub(crate) conf_state: ConfState,
    pub(crate) applied: (LogIndex, Term),
}

impl Contents {
    pub(crate) fn last_index(&self) -> LogIndex {
        LogIndex(self.base.0.0 + self.entries.len() as u64)
    }

    pub(crate) fn entry(&self, index: LogIndex) -> Option<&Entry> {
        let offset = index.0.checked_sub(self.base.0.0 + 1)?;
        self.entries.get(usize::try_from(offset).expect("small"))
    }

    /// Entries replace what the log holds from the first one's index on.
    pub(crate) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(first.index > self.base.0, "a released entry would be written anew");
        assert!(first.index <= self.last_index().next(), "the write would leave a hole");
        self.entries.retain(|entry| entry.index < first.index);
        self.entries.extend_from_slice(entries);
    }

    /// Forgets entries up to `upto`, which the store holds.
    pub(crate) fn release(&mut self, upto: LogIndex) {
        assert!(upto <= self.applied.0);
        if let Some(entry) = self.entry(upto) {
            self.base = (upto, entry.term);
            self.entries.retain(|entry| entry.index > upto);
        }
    }
}

/// Handle to a disk; the log reader of its member.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Arc<Mutex<Contents>>);

impl Disk {
    pub(crate) fn with_members(conf_state: ConfState) -> Self {
        Self(Arc::new(Mutex::new(Contents { conf_state, ..Contents::default() })))
    }

    pub(crate) fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().expect("no test panics while it holds the lock and goes on")
    }

    pub(crate) fn start(&self) -> Start {
        let contents = self.contents();
        Start {
            hard_state: contents.hard_state,
            conf_state: contents.conf_state.clone(),
            applied: contents.applied,
            entries: contents.entries.clone(),
        }
    }
}

impl LogReader for Disk {
    fn entries(&self, low: LogIndex, high: LogIndex, max_bytes: usize) -> Result<Vec<Entry>, LogReadError> {
        let contents = self.contents();
        let mut entries = Vec::new();
        let mut bytes = 0;
        for index in (low.0..high.0).map(LogIndex) {
            let Some(entry) = contents.entry(index) else { break };
            bytes += entry.data.len();
            if bytes > max_bytes && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        if entries.is_empty() { Err(LogReadError::Released(low)) } else { Ok(entries) }
    }

    fn term(&self, index: LogIndex) -> Result<Term, LogReadError> {
        let contents = self.contents();
        if index == contents.base.0 {
            return Ok(contents.base.1);
        }
        contents.entry(index).map(|entry| entry.term).ok_or(LogReadError::Released(index))
    }

    fn first_index(&self) -> LogIndex {
        self.contents().base.0.next()
    }
}
