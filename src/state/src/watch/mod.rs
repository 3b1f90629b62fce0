//! Watch: from applied changes to the responses of each stream.
//!
//! The apply thread publishes each batch once to the [`WatchRing`]. A [`Shard`] owns many streams with their watchers,
//! matches what the ring brings by an interval index and appends to the queue of each stream, its [`Outbox`]. A watcher
//! that starts in the past, or whose queue is full, or that the ring has left behind, reads the store ([`History`]) in
//! bounded steps together with others that are near, and then rejoins the ring.
//!
//! Contract, for each watcher: every event of its range from its start on, in order, once, all events of one revision
//! together; or one response that says from which revision on the history still exists. A progress response with
//! revision R comes after everything up to R and before everything else, for each watcher that it concerns. Writers never
//! wait: what a client does not take in costs its own stream only.
//!
//! Left out: gRPC, threads, clocks and wakers. A shard does nothing by itself; the server calls it (see `Shard`).

mod catch_up;
mod deliver;
mod encode;
mod index;
mod outbox;
mod progress;
mod ring;
mod shard;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use cairn_types::Revision;

pub use encode::{HeaderIds, WatchOut};
pub use outbox::{Outbox, Popped};
pub use ring::WatchRing;
pub use shard::{Feed, Shard, ShardStats, StreamId};

use crate::error::ReadError;
use crate::event::RevisionEvents;
use crate::store::ReadView;

/// What watchers that are behind read, as of one moment.
pub trait History {
    /// The last revision in it.
    fn revision(&self) -> i64;

    /// The revision of the last compaction, or -1. Changes before it may be incomplete.
    fn compacted(&self) -> i64;

    /// Hands the changes of each revision from `from` on to `visit`, in order, until it answers false or all were seen.
    ///
    /// # Errors
    /// Where the store fails, and what `visit` returns.
    fn scan(
        &self,
        from: i64,
        visit: &mut dyn FnMut(RevisionEvents) -> Result<bool, ReadError>,
    ) -> Result<(), ReadError>;

    /// One version of a key, encoded, or `None` where it was compacted.
    ///
    /// # Errors
    /// Where the store fails.
    fn kv_at(&self, revision: Revision) -> Result<Option<Bytes>, ReadError>;
}

impl History for ReadView {
    fn revision(&self) -> i64 {
        self.revision
    }

    fn compacted(&self) -> i64 {
        self.compacted
    }

    fn scan(
        &self,
        from: i64,
        visit: &mut dyn FnMut(RevisionEvents) -> Result<bool, ReadError>,
    ) -> Result<(), ReadError> {
        let mut cursor = self.events(from)?;
        while let Some(events) = cursor.next_revision()? {
            if !visit(events)? {
                break;
            }
        }
        Ok(())
    }

    fn kv_at(&self, revision: Revision) -> Result<Option<Bytes>, ReadError> {
        Self::kv_at(self, revision)
    }
}
