//! Agreement among members: a sans-IO driver around the `raft` library, the only crate that names it.
//!
//! Inputs are values: a tick, a message, a proposal, "the log wrote this", "the store applied that". Outputs are
//! [`Ready`]s: what to write, what to send and when, what is committed, which reads may be served from which index.
//! The same inputs give the same outputs, bit for bit; even the jitter of elections is a function of
//! [`Config::election_seed`] and the term.
//!
//! # What the caller does, in which order
//!
//! 1. Feed inputs, then take [`Consensus::ready`] until it returns `None`. Several Readies may be at the log writer.
//! 2. Per Ready: send `messages` at once; hand `append` and `hard_state` to the log writer, in the order of the
//!    sequences (entries replace what the log holds from the same index on).
//! 3. When that is durable, call [`Consensus::persisted`], *then* send its `messages_after_persist`.
//! 4. Apply `committed` in order. Where an entry is a change of members, call [`Consensus::apply_conf_change`] with it,
//!    in the same order, and persist the [`ConfState`] that it returns with the applied index. Then [`Consensus::applied`].
//! 5. A read may be served once the store has applied the index beside its token in `read_states`.
//!
//! # What is promised
//!
//! - Committed entries come out exactly once per start, in order, and never before this member's own log is durable up
//!   to them. After a restart they come out again from the applied index on.
//! - A leader's own vote for an entry counts only once its own log wrote it.
//! - No message speaks of a term, vote or entry that the disk may still forget, except those that a leader may send
//!   before its own write (Raft thesis, 10.2.1), and those only once its term is durable.
//! - A read token is never reused, in no term and by no restart ([`Config::incarnation`]); an acknowledgement that was
//!   delayed can therefore never stand for a later read.
//! - Data from the disk and messages from peers that do not fit are typed errors, not panics.
//!
//! Left out: clocks, sockets, files, threads (the caller's); what the entries mean (`cairn-state`); forwarding of
//! proposals to the leader (the caller's, who is told who leads).

mod cache;
mod check;
mod conf;
mod config;
mod driver;
mod error;
mod log_sink;
mod message;
mod pipeline;
mod reads;
mod ready;
mod start;
mod status;
mod wire;

pub use cache::LogReader;
pub use conf::{ConfChange, ConfState, MemberChange, Transition};
pub use config::Config;
pub use driver::Consensus;
pub use error::{
    ConfChangeError, ConfStateError, ConsensusError, LogReadError, MessageError, ProposeError, ReadIndexError,
    StepError, TransferError,
};
pub use log_sink::{LogLevel, LogSink};
pub use message::{Message, MessageKind};
pub use reads::{MAX_OUTSTANDING_READS, ReadToken};
pub use ready::{LeaderChange, Ready, ReadySequence, Snapshot};
pub use start::Start;
pub use status::{PeerProgress, ReplicationState, Role, Status};
