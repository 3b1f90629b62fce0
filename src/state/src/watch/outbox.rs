//! The queue between a shard and one stream.
//!
//! Contract: responses leave in the order in which they entered. Events are refused while the queue holds its maximum of
//! bytes (one message may go beyond it); the shard is told when it has drained below half. Answers to requests always fit:
//! the stream stops reading requests while its queue is full.
//!
//! Left out: waking the stream, which is the caller's business.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::encode::WatchOut;

/// The capacity that an empty queue may keep, in responses.
const IDLE_CAPACITY: usize = 16;

#[derive(Debug, Default)]
struct Inner {
    queue: VecDeque<WatchOut>,
    bytes: usize,
    /// The shard was refused and waits for room.
    refused: bool,
}

/// One stream's responses that were not sent yet.
#[derive(Debug)]
pub struct Outbox {
    inner: Mutex<Inner>,
    max_bytes: usize,
}

/// What [`Outbox::pop`] took.
#[derive(Debug)]
pub struct Popped {
    /// The oldest response.
    pub response: WatchOut,
    /// Whether the shard waits for room and there is some again: call [`super::Shard::drained`].
    pub resume: bool,
}

impl Outbox {
    /// An empty queue for `max_bytes` (see `limits::MAX_WATCH_QUEUE_BYTES`).
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self { inner: Mutex::default(), max_bytes }
    }

    /// Takes the oldest response.
    pub fn pop(&self) -> Option<Popped> {
        let mut inner = self.lock();
        let response = inner.queue.pop_front()?;
        inner.bytes -= response.size();
        if inner.queue.is_empty() && inner.queue.capacity() > IDLE_CAPACITY {
            inner.queue.shrink_to(IDLE_CAPACITY);
        }
        let resume = inner.refused && inner.bytes < self.max_bytes / 2;
        inner.refused &= !resume;
        Some(Popped { response, resume })
    }

    /// Whether events are refused now.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.lock().bytes >= self.max_bytes
    }

    /// Adds an answer to a request, or a notification that there is at most one of for each watcher.
    pub(super) fn push(&self, response: WatchOut) {
        let mut inner = self.lock();
        inner.bytes += response.size();
        inner.queue.push_back(response);
    }

    /// Adds the parts of one message, or none of them where the queue is full; then the shard waits for room.
    pub(super) fn try_push(&self, parts: impl IntoIterator<Item = WatchOut>) -> bool {
        let mut inner = self.lock();
        if inner.bytes >= self.max_bytes {
            inner.refused = true;
            return false;
        }
        for part in parts {
            inner.bytes += part.size();
            inner.queue.push_back(part);
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing between lock and unlock can panic half-way through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(event_bytes: usize) -> WatchOut {
        WatchOut { event_bytes, ..WatchOut::default() }
    }

    #[test]
    fn a_full_queue_refuses_events_until_it_has_drained_below_half() {
        let outbox = Outbox::new(1_000);
        assert!(outbox.try_push([response(300)]));
        assert!(outbox.try_push([response(900), response(900)]), "one message may go beyond the maximum");
        assert!(outbox.is_full());
        assert!(!outbox.try_push([response(1)]));
        outbox.push(response(0)); // answers still fit
        assert!(!outbox.pop().unwrap().resume);
        assert!(!outbox.pop().unwrap().resume);
        assert!(outbox.pop().unwrap().resume);
        assert!(!outbox.pop().unwrap().resume, "told once");
        assert!(outbox.pop().is_none());
        assert!(outbox.try_push([response(1)]));
    }
}
