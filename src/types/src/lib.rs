//! The vocabulary that every other crate shares: identifiers, revisions, key ranges, log entries and limits.
//!
//! Contract: plain values without I/O, clocks or protocol buffers; everything here may appear in a persisted format, so
//! a change of meaning is a change of format. Left out: wire messages (`cairn-api`) and persisted keys
//! (`cairn-state::schema`).

mod ids;
mod key_range;
pub mod layout;
pub mod limits;
mod log;
mod revision;

pub use ids::{ClusterId, LeaseId, MemberId};
pub use key_range::KeyRange;
pub use log::{Entry, EntryKind, HardState, LogIndex, Term};
pub use revision::Revision;
