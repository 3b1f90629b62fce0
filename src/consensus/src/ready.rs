//! What consensus asks its caller to do.

use bytes::Bytes;
use cairn_types::{Entry, HardState, LogIndex, MemberId, Term};
use raft::eraftpb;

use crate::conf::ConfState;
use crate::message::Message;
use crate::reads::ReadToken;
use crate::status::Role;

/// Numbers the Readies of one start, upwards from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadySequence(pub u64);

/// A new leader, role or term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderChange {
    /// Who leads now, as far as this member knows.
    pub leader: Option<MemberId>,
    /// What this member is now.
    pub role: Role,
    /// The term now.
    pub term: Term,
}

/// A snapshot: where the state of the store at `index` can be had, not that state itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The last entry that it stands for.
    pub index: LogIndex,
    /// The term of that entry.
    pub term: Term,
    /// The members as of that entry.
    pub conf_state: ConfState,
    /// Opaque: how the receiver gets the content. It travels inside a peer message, so it is to be small.
    pub data: Bytes,
}

impl Snapshot {
    pub(crate) fn to_library(&self) -> eraftpb::Snapshot {
        let mut snapshot = eraftpb::Snapshot { data: self.data.clone(), ..Default::default() };
        let metadata = snapshot.mut_metadata();
        metadata.index = self.index.0;
        metadata.term = self.term.0;
        metadata.set_conf_state(self.conf_state.to_library());
        snapshot
    }

    pub(crate) fn from_library(snapshot: &eraftpb::Snapshot) -> Self {
        let metadata = snapshot.get_metadata();
        Self {
            index: LogIndex(metadata.index),
            term: Term(metadata.term),
            conf_state: ConfState::from_library(metadata.get_conf_state()),
            data: snapshot.data.clone(),
        }
    }
}

/// One portion of work. The crate's documentation gives the order in which it is to be done.
#[derive(Clone, Debug, PartialEq)]
pub struct Ready {
    /// To be named to [`crate::Consensus::persisted`] when what is to be written is written.
    pub sequence: ReadySequence,
    /// A snapshot that replaces log and store; installed before anything else of this Ready. The log then starts anew
    /// after it. Report [`crate::Consensus::applied`] with its index after [`crate::Consensus::persisted`].
    pub snapshot: Option<Snapshot>,
    /// Entries for the log, consecutive; they replace all that the log holds from the first one's index on.
    pub append: Vec<Entry>,
    /// The new hard state, to be written with or after `append` in the same write. One of which only the commit index is
    /// new comes with the next Ready that has something else to write.
    pub hard_state: Option<HardState>,
    /// May be sent at once.
    pub messages: Vec<Message>,
    /// To be sent after `persisted` was called for this Ready, and for all before it.
    pub messages_after_persist: Vec<Message>,
    /// Entries to apply, in order; durable here and on a quorum.
    pub committed: Vec<Entry>,
    /// Reads that may be served once the store has applied the index beside them.
    pub read_states: Vec<(ReadToken, LogIndex)>,
    /// Reads that will never be answered, because term or leader changed or too many waited; to be asked again or failed.
    pub dropped_reads: Vec<ReadToken>,
    /// Set when leader, role or term changed.
    pub leader_change: Option<LeaderChange>,
}

impl Ready {
    /// Whether there is anything to write, durably before `persisted` is called. Where not, `persisted` need not be called
    /// for this Ready, but it may be; its `messages_after_persist` still wait for the Readies before it.
    #[must_use]
    pub fn has_write(&self) -> bool {
        !self.append.is_empty() || self.hard_state.is_some() || self.snapshot.is_some()
    }
}
