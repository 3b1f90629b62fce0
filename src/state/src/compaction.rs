//! The deletion of history that a compaction made unreachable: in the background, in small steps, resumed after a
//! restart.
//!
//! It walks the changes after the previous compaction up to this one, and of each deletes the version that it
//! superseded; of a tombstone below the compaction, the tombstone too. So its cost follows what was changed, not how
//! many keys there are. A tombstone exactly at the compaction stays until the next one: a watch from there sees it.
//!
//! Its deletions go to the engine beside those of the apply thread. They touch only what no read at or above the
//! compaction can reach, so it makes no difference to replicas how far each has come.

use std::sync::Arc;

use bytes::Bytes;
use cairn_storage::{Batch, Column, Engine};
use cairn_types::Revision;

use crate::error::StateError;
use crate::event::EventKind;
use crate::record::{Change, decode_kv};
use crate::schema::{META_COMPACTION_DONE, hist_key, parse_rev_key, rev_key};
use crate::store::Store;

/// What a step found to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing is left to delete.
    Idle,
    /// A step was done and more may follow.
    More,
    /// The compaction at this revision is done and durable with the next flush; its space should be reclaimed, see
    /// [`Compactor::reclaim`].
    Done(i64),
}

/// Deletes what compactions left behind. One per store; driven by a thread of the caller's that pauses between steps.
pub struct Compactor {
    store: Arc<Store>,
    /// The compaction under way and the change to go on from.
    current: Option<(i64, Revision)>,
}

impl Compactor {
    /// A compactor that resumes where the last run of the program stopped.
    #[must_use]
    pub fn new(store: Arc<Store>) -> Self {
        Self { store, current: None }
    }

    /// Looks at up to `max_changes` changes (at least one) and deletes what they superseded.
    ///
    /// # Errors
    /// Where the engine fails or the data is damaged.
    pub fn step(&mut self, max_changes: usize) -> Result<Progress, StateError> {
        let view = self.store.view();
        let done = self.store.compaction_done();
        if self.current.is_none() {
            if view.compacted <= done {
                return Ok(Progress::Idle);
            }
            // Also the changes at the previous compaction: a tombstone may have been kept there.
            self.current = Some((view.compacted, Revision::new(done.max(0), 0)));
        }
        let Some((target, from)) = self.current else { return Ok(Progress::Idle) };
        let mut batch = Batch::new();
        let end = rev_key(Revision::new(target + 1, 0));
        let mut cursor = view.view.scan(Column::Rev, &rev_key(from), Some(&end))?;
        let mut resume = None;
        for looked_at in 0.. {
            if !cursor.advance()? {
                break;
            }
            let revision = parse_rev_key(cursor.key())?;
            if looked_at >= max_changes.max(1) {
                resume = Some(revision);
                break;
            }
            delete_superseded(&mut batch, revision, cursor.value(), target)?;
        }
        if resume.is_none() {
            batch.put(Column::Meta, META_COMPACTION_DONE, target.to_be_bytes().to_vec());
        }
        self.store.engine().write(&batch)?;
        self.current = resume.map(|revision| (target, revision));
        if resume.is_some() {
            return Ok(Progress::More);
        }
        self.store.renew_view()?;
        self.store.set_compaction_done(target);
        Ok(Progress::Done(target))
    }

    /// Gives the space below `revision` back to the disk. Slow; may be skipped, the engine then does it in time.
    ///
    /// # Errors
    /// Where the engine fails.
    pub fn reclaim(store: &Store, revision: i64) -> Result<(), StateError> {
        Ok(store.engine().reclaim(Column::Rev, &[], &rev_key(Revision::new(revision + 1, 0)))?)
    }
}

fn delete_superseded(batch: &mut Batch, revision: Revision, value: &[u8], target: i64) -> Result<(), StateError> {
    let change = Change::decode(Bytes::copy_from_slice(value))?;
    let key = decode_kv(change.kv)?.key;
    if let Some(prev) = change.prev {
        batch.delete(Column::Rev, rev_key(prev));
        batch.delete(Column::Hist, hist_key(&key, prev));
    }
    if change.kind == EventKind::Delete && revision.main < target {
        batch.delete(Column::Rev, rev_key(revision));
        batch.delete(Column::Hist, hist_key(&key, revision));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use cairn_api::etcdserverpb::{CompactionRequest, PutRequest};
    use cairn_storage::MemoryEngine;
    use cairn_types::{Entry, EntryKind, LogIndex, Term};

    use super::*;
    use crate::{Command, EntryBuilder, Origin, StateMachine};

    #[test]
    fn a_member_that_is_idle_does_not_hold_on_to_what_a_compaction_deleted() {
        let mut machine = StateMachine::open(Arc::new(MemoryEngine::new())).unwrap();
        let put = |value: &'static str| PutRequest { key: "k".into(), value: value.into(), ..Default::default() };
        let mut builder = EntryBuilder::new(Origin::default());
        builder.push(&Command::Put(put("old")));
        builder.push(&Command::Put(put("new")));
        builder.push(&Command::Compact(CompactionRequest { revision: 3, physical: false }));
        let entry = Entry { index: LogIndex(1), term: Term(1), kind: EntryKind::Normal, data: builder.finish() };
        machine.apply(&[entry]).unwrap();
        let store = machine.store();
        let superseded = Revision::new(2, 0);
        assert!(store.view().kv_at(superseded).unwrap().is_some());
        assert_eq!(Compactor::new(store.clone()).step(100).unwrap(), Progress::Done(3));
        assert!(store.view().kv_at(superseded).unwrap().is_none(), "nothing was applied since");
        assert_eq!(store.view().revision, 3);
    }
}
