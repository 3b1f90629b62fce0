//! Entries and hard state of the Raft log, as the log on disk, consensus and apply hand them to one another.

use std::fmt;

use bytes::Bytes;

/// A position in the Raft log; the first entry has 1, and 0 stands for "before the log".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogIndex(pub u64);

/// A Raft term; 0 before the first election.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub u64);

impl LogIndex {
    /// The next position.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for LogIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What an entry's data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKind {
    /// Commands for the state machine, or nothing (the empty entry of a new leader).
    Normal,
    /// A change of one member (Raft's `ConfChange`).
    ConfChange,
    /// A joint change of members (Raft's `ConfChangeV2`).
    ConfChangeV2,
}

/// One entry of the Raft log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its position; entries of one log are consecutive.
    pub index: LogIndex,
    /// The term of the leader that proposed it; never decreases along the log.
    pub term: Term,
    /// How to read `data`.
    pub kind: EntryKind,
    /// The payload, opaque to consensus and to the log.
    pub data: Bytes,
}

/// What a member must never forget about elections (Raft thesis, figure 3.1: currentTerm, votedFor), and the commit
/// index, which only saves work after a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The latest term that this member has seen.
    pub term: Term,
    /// The member that got this member's vote in `term`, or 0.
    pub vote: u64,
    /// The highest index known to be committed.
    pub commit: LogIndex,
}
