//! The deterministic replicated state machine: what etcd calls mvcc, txn, watch, lease, alarm and membership.
//!
//! Contract: the same entries in the same order give the same store, the same answers and the same events on every
//! member, whatever batches they come in. There is no clock, no thread, no randomness and no hash-ordered iteration in
//! here; time is a value that the caller hands in. [`StateMachine`] is the write side and belongs to one thread;
//! [`Store`] is the read side, shared by all. An error is either part of the answer ([`cairn_api::ApiError`]), the same
//! on every member, or a [`StateError`], which stops the node.
//!
//! Left out: agreement (`cairn-consensus`), durability (`cairn-wal`, the engine), the network (`cairn-server`).

mod apply;
mod command;
mod compaction;
mod error;
mod event;
mod hash;
pub mod identity;
mod lease;
mod overlay;
mod quota;
mod read;
mod record;
pub mod schema;
mod store;
mod txn;
pub mod validate;
pub mod watch;
mod write;

pub use apply::{AppliedEntry, Outcome, Response, StateMachine};
pub use command::{Command, CommandError, EntryBuilder, ExpireLeases, MemberAttributes, Origin, decode_entry};
pub use compaction::{Compactor, Progress};
pub use error::{ReadError, StateError};
pub use event::{ChangeEvent, EventKind, RevisionEvents};
pub use hash::HashKv;
pub use lease::{KeepAlive, LeaseTimes, Lessor};
pub use quota::{cost, needs_space};
pub use read::EventCursor;
pub use store::{ReadView, Store};
