//! Watchers that read the store, together with others that are near.
//!
//! Those who read the same revision next form a cohort. A step scans from one cohort on for at most
//! `MAX_WATCH_CATCH_UP_BYTES` and takes along every cohort that it passes, so that a thousand watchers that start near one
//! another cost little more than one. Steps take the cohorts in turn: one that is far behind delays nobody.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::encode::{SharedRevision, WatchOut};
use super::index::WatcherIx;
use super::ring::{RingRead, WatchRing};
use super::shard::{Feed, Mode, Shard, StreamId};
use crate::error::ReadError;

impl Shard {
    /// One bounded step for the watchers that are behind. True where another step has work, perhaps only with a newer view.
    ///
    /// A watcher is read for up to where the shard has come with the ring and no further, also where the store shows more:
    /// so it rejoins the ring exactly, and what the shard says of its progress is true of every watcher.
    ///
    /// # Errors
    /// Where the store fails.
    pub fn catch_up(&mut self, feed: Feed<'_>) -> Result<bool, ReadError> {
        self.end_compacted(feed.history.compacted(), feed.ring);
        let Some(from) = self.next_cohort() else { return Ok(false) };
        // The view may be older than where the shard is; what it does not show yet has no previous versions there.
        let limit = self.position.min(feed.history.revision());
        let mut scan = Scan { from, limit, end: from - 1, bytes: 0 };
        match feed.ring.after(from - 1) {
            RingRead::Batches(batches) => {
                let revisions = batches.iter().flat_map(|batch| &batch.revisions);
                for revision in revisions.skip_while(|revision| revision.revision() < from) {
                    if !scan.step(self, revision, feed)? {
                        break;
                    }
                }
            }
            RingRead::Behind { .. } => {
                feed.history.scan(from, &mut |events| scan.step(self, &SharedRevision::new(Arc::new(events)), feed))?
            }
        }
        let end = if scan.bytes < self.catch_up_bytes { limit.max(from - 1) } else { scan.end };
        self.send_pending(Some(self.position));
        self.advance_cohorts(from, end);
        Ok(!self.cohorts.is_empty())
    }

    /// The stream has room again: its watchers go on where they stopped.
    pub fn drained(&mut self, id: StreamId) {
        let Some(stream) = self.stream(id) else { return };
        for ix in std::mem::take(&mut stream.blocked) {
            self.set_mode(ix, Mode::CatchUp);
            self.join_cohort(ix);
        }
    }

    pub(super) fn join_cohort(&mut self, ix: WatcherIx) {
        let cohort = self.cohorts.entry(self.watchers[ix as usize].next).or_default();
        self.watchers[ix as usize].cohort_slot =
            u32::try_from(cohort.len()).expect("watchers are numbered with 32 bits");
        cohort.push(ix);
    }

    pub(super) fn leave_cohort(&mut self, ix: WatcherIx) {
        let (next, slot) = (self.watchers[ix as usize].next, self.watchers[ix as usize].cohort_slot);
        let cohort = self.cohorts.get_mut(&next).expect("a watcher that catches up is in the cohort of its revision");
        cohort.swap_remove(slot as usize);
        if let Some(&moved) = cohort.get(slot as usize) {
            self.watchers[moved as usize].cohort_slot = slot;
        }
        if cohort.is_empty() {
            self.cohorts.remove(&next);
        }
    }

    /// The cohort after the one that had its turn last.
    fn next_cohort(&self) -> Option<i64> {
        let after = self.cohorts.range(self.served.saturating_add(1)..).next();
        after.or_else(|| self.cohorts.first_key_value()).map(|(&next, _)| next)
    }

    /// All cohorts between `from` and `end` were offered everything up to `end`: they become one, or rejoin the ring.
    fn advance_cohorts(&mut self, from: i64, end: i64) {
        let mut passed = self.cohorts.split_off(&from);
        let mut rest: BTreeMap<_, _> = passed.split_off(&(end.saturating_add(1)));
        self.cohorts.append(&mut rest);
        self.served = end.saturating_add(1);
        for ix in passed.into_values().flatten() {
            let watcher = &mut self.watchers[ix as usize];
            if watcher.mode != Mode::CatchUp {
                continue; // its stream's queue was full
            }
            watcher.next = end + 1;
            if end + 1 > self.position {
                self.set_mode(ix, Mode::Live);
            } else {
                self.join_cohort(ix);
            }
        }
    }

    /// Ends the watchers whose next revision is below the compaction.
    fn end_compacted(&mut self, compacted: i64, ring: &WatchRing) {
        while let Some((&next, cohort)) = self.cohorts.first_key_value()
            && next < compacted
        {
            for ix in cohort.clone() {
                let (id, stream) = (self.watchers[ix as usize].id, self.watchers[ix as usize].stream);
                let entry = self.stream_of(ix);
                entry.watchers.remove(&id);
                entry.ended.insert(id);
                self.remove_watcher(ix, ring);
                let ended =
                    WatchOut { watch_id: id, canceled: true, compact_revision: compacted, ..WatchOut::default() };
                self.answer(stream, ended);
            }
        }
    }
}

/// How far one step has come.
struct Scan {
    from: i64,
    /// The last revision that it may offer.
    limit: i64,
    end: i64,
    bytes: usize,
}

impl Scan {
    /// Offers one revision; false once the step has done its part.
    fn step(&mut self, shard: &mut Shard, revision: &SharedRevision, feed: Feed<'_>) -> Result<bool, ReadError> {
        if revision.revision() > self.limit {
            return Ok(false);
        }
        shard.offer(revision, Mode::CatchUp, self.from, feed.history)?;
        shard.send_large(Some(shard.position));
        self.end = revision.revision();
        self.bytes += revision.events().iter().map(crate::event::ChangeEvent::size).sum::<usize>();
        Ok(self.bytes < shard.catch_up_bytes)
    }
}
