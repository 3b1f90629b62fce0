//! Messages between members, opaque but for their address, kind and bytes.

use bytes::Bytes;
use cairn_types::{Entry, EntryKind, HardState, LogIndex, MemberId, Term};
use prost::Message as _;
use raft::eraftpb;

use crate::conf::ConfState;
use crate::error::MessageError;
use crate::wire;

/// What a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// Entries for a follower, or only a commit index.
    Append,
    /// How far a follower's durable log agrees.
    AppendResponse,
    /// A candidate asks for a vote.
    Vote,
    /// The vote.
    VoteResponse,
    /// A member asks whether it could win an election.
    PreVote,
    /// The answer to that.
    PreVoteResponse,
    /// The leader lives.
    Heartbeat,
    /// A follower has heard it.
    HeartbeatResponse,
    /// A snapshot for a member whose next entry the log no longer holds.
    Snapshot,
    /// The receiver should start an election at once: the leadership is handed to it.
    TimeoutNow,
    /// A follower asks from which index it may read.
    ReadIndex,
    /// The answer to that.
    ReadIndexResponse,
    /// A kind that members do not exchange.
    Foreign,
}

/// A message from one member to another.
#[derive(Clone, PartialEq)]
pub struct Message(pub(crate) eraftpb::Message);

impl std::fmt::Debug for Message {
    /// Without the entries' data, which belongs to users.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message")
            .field("kind", &self.kind())
            .field("from", &self.from())
            .field("to", &self.to())
            .field("term", &self.0.term)
            .field("log_term", &self.0.log_term)
            .field("index", &self.0.index)
            .field("entries", &self.0.entries.len())
            .field("commit", &self.0.commit)
            .field("reject", &self.0.reject)
            .finish_non_exhaustive()
    }
}

impl Message {
    /// The sender.
    #[must_use]
    pub fn from(&self) -> MemberId {
        MemberId(self.0.from)
    }

    /// The recipient.
    #[must_use]
    pub fn to(&self) -> MemberId {
        MemberId(self.0.to)
    }

    /// The sender's term; 0 in a [`MessageKind::ReadIndex`].
    #[must_use]
    pub fn term(&self) -> Term {
        Term(self.0.term)
    }

    /// What it is for.
    #[must_use]
    pub fn kind(&self) -> MessageKind {
        use eraftpb::MessageType as Type;
        match self.0.msg_type {
            Type::MsgAppend => MessageKind::Append,
            Type::MsgAppendResponse => MessageKind::AppendResponse,
            Type::MsgRequestVote => MessageKind::Vote,
            Type::MsgRequestVoteResponse => MessageKind::VoteResponse,
            Type::MsgRequestPreVote => MessageKind::PreVote,
            Type::MsgRequestPreVoteResponse => MessageKind::PreVoteResponse,
            Type::MsgHeartbeat => MessageKind::Heartbeat,
            Type::MsgHeartbeatResponse => MessageKind::HeartbeatResponse,
            Type::MsgSnapshot => MessageKind::Snapshot,
            Type::MsgTimeoutNow => MessageKind::TimeoutNow,
            Type::MsgReadIndex => MessageKind::ReadIndex,
            Type::MsgReadIndexResp => MessageKind::ReadIndexResponse,
            Type::MsgHup
            | Type::MsgBeat
            | Type::MsgPropose
            | Type::MsgUnreachable
            | Type::MsgSnapStatus
            | Type::MsgCheckQuorum
            | Type::MsgTransferLeader => MessageKind::Foreign,
        }
    }

    /// The bytes for the wire.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let message = &self.0;
        let entries = message.entries.iter().map(|entry| wire::Entry {
            entry_type: entry.entry_type as i32,
            term: entry.term,
            index: entry.index,
            data: entry.data.clone(),
            context: entry.context.clone(),
        });
        let wire = wire::Message {
            msg_type: message.msg_type as i32,
            to: message.to,
            from: message.from,
            term: message.term,
            log_term: message.log_term,
            index: message.index,
            entries: entries.collect(),
            commit: message.commit,
            snapshot: message.snapshot.as_ref().map(snapshot_to_wire),
            reject: message.reject,
            reject_hint: message.reject_hint,
            context: message.context.clone(),
            commit_term: message.commit_term,
        };
        wire.encode_to_vec().into()
    }

    /// Reads what [`Self::encode`] wrote; the data of entries stays in `bytes`.
    ///
    /// # Errors
    /// Where the bytes are damaged or name a kind that this version does not know.
    pub fn decode(bytes: Bytes) -> Result<Self, MessageError> {
        let wire = wire::Message::decode(bytes).map_err(|error| MessageError::Decode(error.to_string()))?;
        let entries = wire.entries.into_iter().map(entry_from_wire).collect::<Result<Vec<_>, _>>()?;
        let mut message = eraftpb::Message {
            msg_type: message_type(wire.msg_type)?,
            to: wire.to,
            from: wire.from,
            term: wire.term,
            log_term: wire.log_term,
            index: wire.index,
            entries: entries.into(),
            commit: wire.commit,
            commit_term: wire.commit_term,
            reject: wire.reject,
            reject_hint: wire.reject_hint,
            context: wire.context,
            ..Default::default()
        };
        if let Some(snapshot) = wire.snapshot {
            message.set_snapshot(snapshot_from_wire(snapshot));
        }
        Ok(Self(message))
    }
}

fn message_type(value: i32) -> Result<eraftpb::MessageType, MessageError> {
    use eraftpb::MessageType as Type;
    Ok(match value {
        3 => Type::MsgAppend,
        4 => Type::MsgAppendResponse,
        5 => Type::MsgRequestVote,
        6 => Type::MsgRequestVoteResponse,
        7 => Type::MsgSnapshot,
        8 => Type::MsgHeartbeat,
        9 => Type::MsgHeartbeatResponse,
        14 => Type::MsgTimeoutNow,
        15 => Type::MsgReadIndex,
        16 => Type::MsgReadIndexResp,
        17 => Type::MsgRequestPreVote,
        18 => Type::MsgRequestPreVoteResponse,
        _ => return Err(MessageError::Unknown { field: "kind", value }),
    })
}

fn entry_from_wire(entry: wire::Entry) -> Result<eraftpb::Entry, MessageError> {
    let entry_type = match entry.entry_type {
        0 => eraftpb::EntryType::EntryNormal,
        1 => eraftpb::EntryType::EntryConfChange,
        2 => eraftpb::EntryType::EntryConfChangeV2,
        value => return Err(MessageError::Unknown { field: "kind of entry", value }),
    };
    Ok(eraftpb::Entry {
        entry_type,
        term: entry.term,
        index: entry.index,
        data: entry.data,
        context: entry.context,
        ..Default::default()
    })
}

fn snapshot_to_wire(snapshot: &eraftpb::Snapshot) -> wire::Snapshot {
    let metadata = snapshot.metadata.as_ref().map(|metadata| wire::SnapshotMetadata {
        conf_state: metadata.conf_state.as_ref().map(|conf| ConfState::from_library(conf).to_wire()),
        index: metadata.index,
        term: metadata.term,
    });
    wire::Snapshot { data: snapshot.data.clone(), metadata }
}

fn snapshot_from_wire(wire: wire::Snapshot) -> eraftpb::Snapshot {
    let mut snapshot = eraftpb::Snapshot { data: wire.data, ..Default::default() };
    if let Some(metadata) = wire.metadata {
        let target = snapshot.mut_metadata();
        target.index = metadata.index;
        target.term = metadata.term;
        if let Some(conf) = metadata.conf_state {
            target.set_conf_state(ConfState::from_wire(conf).to_library());
        }
    }
    snapshot
}

/// The library's form of an entry; the data is shared, not copied.
pub(crate) fn entry_to_library(entry: Entry) -> eraftpb::Entry {
    let entry_type = match entry.kind {
        EntryKind::Normal => eraftpb::EntryType::EntryNormal,
        EntryKind::ConfChange => eraftpb::EntryType::EntryConfChange,
        EntryKind::ConfChangeV2 => eraftpb::EntryType::EntryConfChangeV2,
    };
    eraftpb::Entry { entry_type, term: entry.term.0, index: entry.index.0, data: entry.data, ..Default::default() }
}

/// The workspace's form of an entry; the data is shared, not copied.
pub(crate) fn entry_from_library(entry: eraftpb::Entry) -> Entry {
    let kind = match entry.entry_type {
        eraftpb::EntryType::EntryNormal => EntryKind::Normal,
        eraftpb::EntryType::EntryConfChange => EntryKind::ConfChange,
        eraftpb::EntryType::EntryConfChangeV2 => EntryKind::ConfChangeV2,
    };
    Entry { index: LogIndex(entry.index), term: Term(entry.term), kind, data: entry.data }
}

pub(crate) fn hard_state_to_library(hard_state: HardState) -> eraftpb::HardState {
    eraftpb::HardState {
        term: hard_state.term.0,
        vote: hard_state.vote,
        commit: hard_state.commit.0,
        ..Default::default()
    }
}

pub(crate) fn hard_state_from_library(hard_state: &eraftpb::HardState) -> HardState {
    HardState { term: Term(hard_state.term), vote: hard_state.vote, commit: LogIndex(hard_state.commit) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full_message() -> eraftpb::Message {
        let entry = Entry {
            index: LogIndex(8),
            term: Term(3),
            kind: EntryKind::ConfChangeV2,
            data: Bytes::from_static(b"data"),
        };
        let mut message = eraftpb::Message {
            msg_type: eraftpb::MessageType::MsgAppend,
            to: 2,
            from: 1,
            term: 4,
            log_term: 3,
            index: 7,
            entries: vec![entry_to_library(entry)].into(),
            commit: 6,
            commit_term: 2,
            reject: true,
            reject_hint: 5,
            context: Bytes::from_static(b"context"),
            ..Default::default()
        };
        let snapshot = message.mut_snapshot();
        snapshot.data = Bytes::from_static(b"where");
        snapshot.mut_metadata().index = 9;
        snapshot.mut_metadata().term = 3;
        snapshot.mut_metadata().set_conf_state(ConfState::bootstrap([MemberId(1), MemberId(2)]).to_library());
        message
    }

    #[test]
    fn every_field_of_a_message_survives_the_wire() {
        let message = Message(full_message());
        assert_eq!(Message::decode(message.encode()), Ok(message));
    }

    #[test]
    fn the_data_of_a_received_entry_is_a_slice_of_the_received_bytes() {
        let bytes = Message(full_message()).encode();
        let range = bytes.as_ptr_range();
        let message = Message::decode(bytes.clone()).expect("it was just encoded");
        assert!(range.contains(&message.0.entries[0].data.as_ptr()));
    }

    #[test]
    fn bytes_that_are_no_message_are_an_error() {
        assert!(matches!(Message::decode(Bytes::from_static(&[0xff; 9])), Err(MessageError::Decode(_))));
        // Kind 2 is a proposal: those are requests to the leader, not messages between members.
        assert_eq!(
            Message::decode(Bytes::from_static(&[8, 2])),
            Err(MessageError::Unknown { field: "kind", value: 2 })
        );
        let nested_groups = vec![0x0b; 1 << 20];
        assert!(Message::decode(nested_groups.into()).is_err(), "unknown groups must not exhaust the stack");
    }

    #[test]
    fn a_message_cut_at_any_byte_does_not_panic() {
        let bytes = Message(full_message()).encode();
        for length in 0..bytes.len() {
            let _ = Message::decode(bytes.slice(..length));
        }
    }
}
