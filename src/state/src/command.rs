//! What members agree on: commands, and how several of them share one Raft entry.
//!
//! Contract: an entry's data is `origin (16 bytes) ‖ { length (u32) ‖ kind (1 byte) ‖ message }*`, all numbers
//! little-endian. The message is the client's own request, so that nothing is re-encoded between the wire and the log;
//! kinds are never renumbered. An empty entry (a new leader's) holds no commands. See docs/format/raft-entry.md.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use cairn_api::etcdserverpb as pb;
use prost::Message;
use thiserror::Error;

/// Who proposed an entry, so that its proposer finds the requests that wait for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The proposing member.
    pub member: u64,
    /// Unique among the entries of that member, over restarts too (it begins with the boot's random part).
    pub sequence: u64,
}

/// The member's own name and client URLs, published when it starts (etcd's `cluster_member_attr_set`).
#[derive(Clone, PartialEq, Eq, Message)]
pub struct MemberAttributes {
    /// Which member.
    #[prost(uint64, tag = "1")]
    pub member: u64,
    /// `--name`.
    #[prost(string, tag = "2")]
    pub name: String,
    /// `--advertise-client-urls`, sorted.
    #[prost(string, repeated, tag = "3")]
    pub client_urls: Vec<String>,
}

/// Leases that ran out on the leader's clock; each that still exists is revoked with a revision of its own.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ExpireLeases {
    /// Which, at most `MAX_REVOKES_PER_ENTRY`.
    #[prost(int64, repeated, tag = "1")]
    pub ids: Vec<i64>,
}

/// One request that changes replicated state.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each is named after the request that it carries")]
pub enum Command {
    Put(pb::PutRequest),
    DeleteRange(pb::DeleteRangeRequest),
    Txn(pb::TxnRequest),
    Compact(pb::CompactionRequest),
    LeaseGrant(pb::LeaseGrantRequest),
    LeaseRevoke(pb::LeaseRevokeRequest),
    LeaseCheckpoint(pb::LeaseCheckpointRequest),
    ExpireLeases(ExpireLeases),
    Alarm(pb::AlarmRequest),
    MemberAttributes(MemberAttributes),
}

/// An entry that this version cannot read. Fatal: applying a guess would make members differ.
#[derive(Debug, Error)]
pub enum CommandError {
    /// The frame around the commands is cut or too long.
    #[error("a Raft entry of {length} bytes ends in the middle of a command at byte {offset}")]
    Cut {
        /// Where the command begins.
        offset: usize,
        /// How long the entry is.
        length: usize,
    },
    /// A kind that a newer version wrote.
    #[error("a Raft entry holds a command of unknown kind {0}; it was written by a newer version")]
    UnknownKind(u8),
    /// The message inside does not decode.
    #[error("a command of kind {kind} in a Raft entry does not decode")]
    Malformed {
        /// The kind of the command.
        kind: u8,
        /// What the decoder said.
        #[source]
        source: prost::DecodeError,
    },
}

const ORIGIN_BYTES: usize = 16;
const FRAME_BYTES: usize = 5;

macro_rules! kinds {
    ($($kind:literal => $name:ident;)*) => {
        impl Command {
            fn kind(&self) -> u8 {
                match self { $(Self::$name(_) => $kind,)* }
            }

            /// The bytes that [`EntryBuilder::push`] will add for it.
            #[must_use]
            pub fn encoded_len(&self) -> usize {
                FRAME_BYTES + match self { $(Self::$name(message) => message.encoded_len(),)* }
            }

            fn encode_message(&self, buffer: &mut BytesMut) {
                match self {
                    $(Self::$name(message) => message.encode(buffer).expect("a BytesMut grows as needed"),)*
                }
            }

            fn decode(kind: u8, message: Bytes) -> Result<Self, CommandError> {
                match kind {
                    $($kind => Message::decode(message).map(Self::$name),)*
                    unknown => return Err(CommandError::UnknownKind(unknown)),
                }
                .map_err(|source| CommandError::Malformed { kind, source })
            }
        }
    };
}

kinds! {
    1 => Put;
    2 => DeleteRange;
    3 => Txn;
    4 => Compact;
    5 => LeaseGrant;
    6 => LeaseRevoke;
    7 => LeaseCheckpoint;
    8 => ExpireLeases;
    9 => Alarm;
    10 => MemberAttributes;
}

/// Collects commands into the data of one entry.
#[derive(Debug)]
pub struct EntryBuilder {
    buffer: BytesMut,
}

impl EntryBuilder {
    /// An entry of this proposer without commands.
    #[must_use]
    pub fn new(origin: Origin) -> Self {
        let mut buffer = BytesMut::with_capacity(512);
        buffer.put_u64_le(origin.member);
        buffer.put_u64_le(origin.sequence);
        Self { buffer }
    }

    /// Adds a command behind those that are there.
    ///
    /// # Panics
    /// Where the command is larger than 4 GiB, which no accepted request is.
    pub fn push(&mut self, command: &Command) {
        let message =
            u32::try_from(command.encoded_len() - FRAME_BYTES).expect("requests are limited to far below 4 GiB");
        self.buffer.put_u32_le(message);
        self.buffer.put_u8(command.kind());
        command.encode_message(&mut self.buffer);
    }

    /// How many bytes the entry has so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether no command was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.len() == ORIGIN_BYTES
    }

    /// The entry's data.
    #[must_use]
    pub fn finish(self) -> Bytes {
        self.buffer.freeze()
    }
}

/// Reads an entry's data: its proposer and its commands in order. `None` for the empty entry of a new leader.
///
/// # Errors
/// Where the data was not made by [`EntryBuilder`] of this version or an older one.
pub fn decode_entry(mut data: Bytes) -> Result<Option<(Origin, Vec<Command>)>, CommandError> {
    if data.is_empty() {
        return Ok(None);
    }
    let length = data.len();
    if length < ORIGIN_BYTES {
        return Err(CommandError::Cut { offset: 0, length });
    }
    let origin = Origin { member: data.get_u64_le(), sequence: data.get_u64_le() };
    let mut commands = Vec::new();
    while data.has_remaining() {
        let offset = length - data.remaining();
        if data.remaining() < FRAME_BYTES {
            return Err(CommandError::Cut { offset, length });
        }
        let message = data.get_u32_le() as usize;
        let kind = data.get_u8();
        if data.remaining() < message {
            return Err(CommandError::Cut { offset, length });
        }
        commands.push(Command::decode(kind, data.split_to(message))?);
    }
    Ok(Some((origin, commands)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &'static str) -> Command {
        Command::Put(pb::PutRequest { key: Bytes::from_static(key.as_bytes()), ..Default::default() })
    }

    #[test]
    fn an_entry_gives_back_its_proposer_and_its_commands_in_order() {
        let origin = Origin { member: 7, sequence: 9 };
        let commands = vec![put("a"), Command::ExpireLeases(ExpireLeases { ids: vec![1, 2] }), put("b")];
        let mut builder = EntryBuilder::new(origin);
        assert!(builder.is_empty());
        commands.iter().for_each(|command| builder.push(command));
        let expected = 16 + commands.iter().map(Command::encoded_len).sum::<usize>();
        assert_eq!(builder.len(), expected);
        assert_eq!(decode_entry(builder.finish()).unwrap(), Some((origin, commands)));
    }

    #[test]
    fn the_empty_entry_of_a_new_leader_holds_nothing() {
        assert_eq!(decode_entry(Bytes::new()).unwrap(), None);
    }

    #[test]
    fn an_entry_cut_anywhere_is_refused_and_never_read_in_part() {
        let mut builder = EntryBuilder::new(Origin::default());
        builder.push(&put("key"));
        let whole = builder.finish();
        for length in 1..whole.len() {
            if length == ORIGIN_BYTES {
                continue; // an entry without commands
            }
            assert!(decode_entry(whole.slice(..length)).is_err(), "cut to {length} bytes");
        }
    }

    #[test]
    fn a_command_of_a_newer_version_stops_the_reader() {
        let mut data = EntryBuilder::new(Origin::default()).finish().to_vec();
        data.extend_from_slice(&[0, 0, 0, 0, 250]);
        assert!(matches!(decode_entry(Bytes::from(data)), Err(CommandError::UnknownKind(250))));
    }
}
