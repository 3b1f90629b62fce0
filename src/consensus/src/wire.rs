//! The bytes of peer messages, configurations and changes of members: protocol buffers with the field numbers of the
//! raft library's own definition.
//!
//! They are decoded here, by this workspace's codec, and not by the one that the library brings: that one is no longer
//! maintained and recurses without limit on unknown groups. Bytes fields are slices of the received buffer, not copies.

use bytes::Bytes;

/// One entry in a message.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Entry {
    #[prost(int32, tag = "1")]
    pub(crate) entry_type: i32,
    #[prost(uint64, tag = "2")]
    pub(crate) term: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) index: u64,
    #[prost(bytes = "bytes", tag = "4")]
    pub(crate) data: Bytes,
    #[prost(bytes = "bytes", tag = "6")]
    pub(crate) context: Bytes,
}

/// A set of members; also the form in which the state machine keeps it.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ConfState {
    #[prost(uint64, repeated, tag = "1")]
    pub(crate) voters: Vec<u64>,
    #[prost(uint64, repeated, tag = "2")]
    pub(crate) learners: Vec<u64>,
    #[prost(uint64, repeated, tag = "3")]
    pub(crate) voters_outgoing: Vec<u64>,
    #[prost(uint64, repeated, tag = "4")]
    pub(crate) learners_next: Vec<u64>,
    #[prost(bool, tag = "5")]
    pub(crate) auto_leave: bool,
}

/// What a snapshot stands for.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SnapshotMetadata {
    #[prost(message, optional, tag = "1")]
    pub(crate) conf_state: Option<ConfState>,
    #[prost(uint64, tag = "2")]
    pub(crate) index: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) term: u64,
}

/// A snapshot in a message; `data` says where the content is, it is not the content.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Snapshot {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) data: Bytes,
    #[prost(message, optional, tag = "2")]
    pub(crate) metadata: Option<SnapshotMetadata>,
}

/// A peer message.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Message {
    #[prost(int32, tag = "1")]
    pub(crate) msg_type: i32,
    #[prost(uint64, tag = "2")]
    pub(crate) to: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) from: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) term: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) log_term: u64,
    #[prost(uint64, tag = "6")]
    pub(crate) index: u64,
    #[prost(message, repeated, tag = "7")]
    pub(crate) entries: Vec<Entry>,
    #[prost(uint64, tag = "8")]
    pub(crate) commit: u64,
    #[prost(message, optional, tag = "9")]
    pub(crate) snapshot: Option<Snapshot>,
    #[prost(bool, tag = "10")]
    pub(crate) reject: bool,
    #[prost(uint64, tag = "11")]
    pub(crate) reject_hint: u64,
    #[prost(bytes = "bytes", tag = "12")]
    pub(crate) context: Bytes,
    #[prost(uint64, tag = "15")]
    pub(crate) commit_term: u64,
}

/// One step of a change of members.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ConfChangeSingle {
    #[prost(int32, tag = "1")]
    pub(crate) change_type: i32,
    #[prost(uint64, tag = "2")]
    pub(crate) node_id: u64,
}

/// A change of members, as the data of an entry.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ConfChangeV2 {
    #[prost(int32, tag = "1")]
    pub(crate) transition: i32,
    #[prost(message, repeated, tag = "2")]
    pub(crate) changes: Vec<ConfChangeSingle>,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) context: Bytes,
}
