//! The newest events, published once by the apply thread and read by every shard.
//!
//! Contract: the publisher never waits for a watcher: it takes a lock that readers hold only to clone a few pointers. The
//! ring holds at most its maximum of bytes; what is dropped at the maximum is still in the store. Without a subscriber
//! nothing is kept and publishing costs one comparison. An event's wire form is made on first use and shared by all.
//!
//! Left out: matching (`shard`), and waking whoever reads: that is the callback's business.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::encode::SharedRevision;
use crate::event::RevisionEvents;

/// What the apply thread published in one step.
#[derive(Debug)]
pub(super) struct RingBatch {
    pub(super) revisions: Vec<SharedRevision>,
    /// The revision up to which this batch completes the history.
    pub(super) last: i64,
    bytes: usize,
}

/// What a reader gets.
#[derive(Debug)]
pub(super) enum RingRead {
    /// Everything after the asked revision, in order; the first batch may begin before it.
    Batches(Vec<Arc<RingBatch>>),
    /// Some of it was dropped; it is in the store. The ring ends at `head`.
    Behind { head: i64 },
}

#[derive(Debug)]
struct Inner {
    batches: VecDeque<Arc<RingBatch>>,
    bytes: usize,
    /// Every event after this revision is in `batches`.
    floor: i64,
    /// The last published revision; `floor <= head`.
    head: i64,
}

/// The shared ring of the newest events.
pub struct WatchRing {
    inner: Mutex<Inner>,
    /// A copy of `Inner::head` for those who only compare.
    head: AtomicI64,
    subscribers: AtomicUsize,
    max_bytes: usize,
    on_publish: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl fmt::Debug for WatchRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchRing").field("head", &self.revision()).finish_non_exhaustive()
    }
}

impl WatchRing {
    /// An empty ring behind `revision`, which keeps at most `max_bytes` (see `limits::MAX_WATCH_RING_BYTES`).
    #[must_use]
    pub fn new(revision: i64, max_bytes: usize) -> Self {
        Self {
            inner: Mutex::new(Inner { batches: VecDeque::new(), bytes: 0, floor: revision, head: revision }),
            head: AtomicI64::new(revision),
            subscribers: AtomicUsize::new(0),
            max_bytes,
            on_publish: OnceLock::new(),
        }
    }

    /// Sets what is called, on the publisher's thread, after events were published that somebody subscribed to. It must
    /// not block. The first callback stays.
    pub fn on_publish(&self, callback: Box<dyn Fn() + Send + Sync>) {
        // A second server on the same store would be a mistake of the program, which its tests show at once.
        let first = self.on_publish.set(callback).is_ok();
        debug_assert!(first, "the ring has one callback");
    }

    /// Publishes what one applied batch changed: its revisions in ascending order, all above the last published one, and
    /// the store revision after it. The view that shows them must be readable *before* this call, because a watcher that
    /// does not find its events here looks for them there.
    pub fn publish(&self, events: Vec<Arc<RevisionEvents>>, revision: i64) {
        if events.is_empty() && revision == self.revision() {
            return; // applied, but nothing that a watcher could see
        }
        let batch = (self.subscribers.load(Ordering::Acquire) > 0).then(|| {
            let bytes = events.iter().map(|events| SharedRevision::cost(events)).sum();
            let revisions = events.into_iter().map(SharedRevision::new).collect();
            Arc::new(RingBatch { revisions, last: revision, bytes })
        });
        let dropped = {
            let mut inner = self.lock();
            debug_assert!(revision >= inner.head, "revisions are published in order");
            inner.head = revision;
            self.head.store(revision, Ordering::Release);
            match &batch {
                Some(batch) => inner.push(Arc::clone(batch), self.max_bytes),
                None => inner.clear(),
            }
        };
        // Freed outside of the lock, for a reader may be waiting for it.
        drop(dropped);
        if batch.is_some()
            && let Some(wake) = self.on_publish.get()
        {
            wake();
        }
    }

    /// The last published revision.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.head.load(Ordering::Acquire)
    }

    /// From now on events are kept. Returns the last published revision: all after it will be in the ring, as long as the
    /// caller reads faster than `max_bytes` are published.
    pub(super) fn subscribe(&self) -> i64 {
        let inner = self.lock();
        self.subscribers.fetch_add(1, Ordering::AcqRel);
        inner.head
    }

    /// Ends one subscription.
    pub(super) fn unsubscribe(&self) {
        self.subscribers.fetch_sub(1, Ordering::AcqRel);
    }

    /// What came after `revision`.
    pub(super) fn after(&self, revision: i64) -> RingRead {
        if self.revision() <= revision {
            return RingRead::Batches(Vec::new());
        }
        let inner = self.lock();
        if revision < inner.floor {
            return RingRead::Behind { head: inner.head };
        }
        let first = inner.batches.partition_point(|batch| batch.last <= revision);
        RingRead::Batches(inner.batches.range(first..).cloned().collect())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing between lock and unlock can panic half-way through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Adds a batch and returns those that had to go.
    fn push(&mut self, batch: Arc<RingBatch>, max_bytes: usize) -> Vec<Arc<RingBatch>> {
        self.bytes += batch.bytes;
        self.batches.push_back(batch);
        let mut dropped = Vec::new();
        while self.bytes > max_bytes
            && let Some(oldest) = self.batches.pop_front()
        {
            self.bytes -= oldest.bytes;
            self.floor = oldest.last;
            dropped.push(oldest);
        }
        dropped
    }

    fn clear(&mut self) -> Vec<Arc<RingBatch>> {
        self.floor = self.head;
        self.bytes = 0;
        self.batches.drain(..).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use bytes::Bytes;

    use super::*;
    use crate::event::{ChangeEvent, EventKind};

    fn events(revision: i64, value: usize) -> Arc<RevisionEvents> {
        let event = ChangeEvent {
            kind: EventKind::Put,
            key: Bytes::from_static(b"k"),
            kv: Bytes::from(vec![0; value]),
            created: true,
            prev: None,
            prev_kv: None,
        };
        Arc::new(RevisionEvents { revision, events: vec![event] })
    }

    fn revisions(read: RingRead) -> Option<Vec<i64>> {
        match read {
            RingRead::Batches(batches) => {
                Some(batches.iter().flat_map(|batch| &batch.revisions).map(SharedRevision::revision).collect())
            }
            RingRead::Behind { .. } => None,
        }
    }

    #[test]
    fn a_subscriber_finds_everything_after_its_position() {
        let ring = WatchRing::new(1, 1 << 20);
        assert_eq!(ring.subscribe(), 1);
        ring.publish(vec![events(2, 1), events(3, 1)], 3);
        ring.publish(vec![events(4, 1)], 4);
        assert_eq!(revisions(ring.after(1)), Some(vec![2, 3, 4]));
        assert_eq!(revisions(ring.after(3)), Some(vec![4]));
        assert_eq!(revisions(ring.after(4)), Some(vec![]));
        assert_eq!(revisions(ring.after(9)), Some(vec![]));
    }

    #[test]
    fn without_subscribers_only_the_revision_moves() {
        let ring = WatchRing::new(1, 1 << 20);
        ring.publish(vec![events(2, 1)], 2);
        assert_eq!(ring.revision(), 2);
        assert_eq!(revisions(ring.after(1)), None);
        assert_eq!(ring.subscribe(), 2);
        ring.publish(vec![events(3, 1)], 3);
        assert_eq!(revisions(ring.after(2)), Some(vec![3]));
        ring.unsubscribe();
        ring.publish(vec![events(4, 1)], 4);
        assert_eq!(revisions(ring.after(3)), None);
    }

    #[test]
    fn at_its_maximum_the_ring_drops_the_oldest_and_says_so() {
        let ring = WatchRing::new(1, 10_000);
        ring.subscribe();
        for revision in 2..20 {
            ring.publish(vec![events(revision, 1_000)], revision);
        }
        assert!(matches!(ring.after(1), RingRead::Behind { head: 19 }));
        assert_eq!(revisions(ring.after(18)), Some(vec![19]));
        ring.publish(vec![events(20, 100_000)], 20);
        assert!(matches!(ring.after(19), RingRead::Behind { head: 20 }), "larger than the whole ring");
    }

    #[test]
    fn the_callback_comes_once_per_batch_that_somebody_wants() {
        let ring = WatchRing::new(1, 1 << 20);
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&calls);
        ring.on_publish(Box::new(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        }));
        ring.publish(vec![events(2, 1)], 2);
        assert_eq!(calls.load(Ordering::SeqCst), 0);
        ring.subscribe();
        ring.publish(vec![events(3, 1), events(4, 1)], 4);
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }
}
