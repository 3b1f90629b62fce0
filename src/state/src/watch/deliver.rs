//! Matching events with watchers and handing them to streams.

use bytes::Bytes;

use super::History;
use super::encode::{Payload, SharedRevision, WatchOut};
use super::index::{Index, WatcherIx};
use super::ring::RingRead;
use super::shard::{Feed, Mode, NO_PENDING, Shard, Watcher};
use crate::error::ReadError;

/// The events that one watcher gets next.
#[derive(Debug)]
pub(super) struct Pending {
    watcher: WatcherIx,
    /// The revisions of its first and last event.
    first: i64,
    last: i64,
    event_bytes: usize,
    events: Payload,
}

/// The events of one revision on their way to those who match.
struct Gather<'a> {
    index: &'a Index,
    watchers: &'a mut [Watcher],
    pending: &'a mut Vec<Pending>,
    large: &'a mut Vec<u32>,
    message_bytes: usize,
}

impl Gather<'_> {
    /// Offers the events to all watchers in `mode` whose next revision is not below `from`.
    fn offer(
        &mut self,
        revision: &SharedRevision,
        mode: Mode,
        from: i64,
        history: &dyn History,
    ) -> Result<(), ReadError> {
        let Self { index, watchers, pending, large, message_bytes } = self;
        for (ix, event) in revision.events().iter().enumerate() {
            let mut failed = None;
            index.matching(&event.key, |watcher_ix| {
                let watcher = &mut watchers[watcher_ix as usize];
                let due = watcher.mode == mode && watcher.next >= from && watcher.next <= revision.revision();
                if !due || !watcher.wants(event.kind) {
                    return;
                }
                match revision.encoded(ix, watcher.prev_kv, history) {
                    Ok(bytes) => {
                        let entry = pending_of(pending, watcher_ix, watcher);
                        if entry.append(revision.revision(), bytes, *message_bytes) {
                            large.push(watcher.pending);
                        }
                    }
                    Err(error) => failed = Some(error),
                }
            });
            if let Some(error) = failed {
                return Err(error);
            }
        }
        Ok(())
    }
}

fn pending_of<'a>(pending: &'a mut Vec<Pending>, ix: WatcherIx, watcher: &mut Watcher) -> &'a mut Pending {
    if watcher.pending == NO_PENDING {
        watcher.pending = u32::try_from(pending.len()).expect("at most one for each watcher");
        pending.push(Pending { watcher: ix, first: 0, last: 0, event_bytes: 0, events: Payload::None });
    }
    &mut pending[watcher.pending as usize]
}

impl Pending {
    /// Adds an event; true where it is the one that makes the message large.
    fn append(&mut self, revision: i64, event: Bytes, message_bytes: usize) -> bool {
        if self.event_bytes == 0 {
            self.first = revision;
        }
        let before = self.event_bytes;
        self.last = revision;
        self.event_bytes += event.len();
        self.events.push(event);
        before < message_bytes && self.event_bytes >= message_bytes
    }
}

impl Shard {
    /// Takes what the ring has published and queues it for the watchers that follow it. Stops at what is newer than the
    /// view, where a previous version might not be found; then [`is_behind`](Self::is_behind) still holds.
    ///
    /// # Errors
    /// Where the store fails.
    pub fn deliver(&mut self, feed: Feed<'_>) -> Result<(), ReadError> {
        if !self.is_behind(feed.ring) {
            return Ok(());
        }
        match feed.ring.after(self.position) {
            RingRead::Batches(batches) => {
                for batch in batches.iter().take_while(|batch| batch.last <= feed.history.revision()) {
                    for revision in &batch.revisions {
                        if revision.revision() > self.position {
                            self.offer(revision, Mode::Live, i64::MIN, feed.history)?;
                            self.send_large(None);
                        }
                    }
                    self.send_pending(None);
                    self.position = batch.last;
                }
            }
            RingRead::Behind { head } => self.leave_ring(head),
        }
        self.answer_progress();
        Ok(())
    }

    /// Offers the events of one revision to the watchers in `mode`.
    pub(super) fn offer(
        &mut self,
        revision: &SharedRevision,
        mode: Mode,
        from: i64,
        history: &dyn History,
    ) -> Result<(), ReadError> {
        let index = if mode == Mode::Live { &self.live } else { &self.behind };
        let (watchers, pending, large) = (&mut self.watchers, &mut self.pending, &mut self.large);
        Gather { index, watchers, pending, large, message_bytes: self.message_bytes }
            .offer(revision, mode, from, history)
    }

    /// Queues what has grown large, so that no message is larger than it must be; called between two revisions.
    pub(super) fn send_large(&mut self, header: Option<i64>) {
        while let Some(ix) = self.large.pop() {
            self.send(ix, header);
        }
    }

    /// Queues everything that was gathered. The header names `header`, or else the message's last revision.
    pub(super) fn send_pending(&mut self, header: Option<i64>) {
        self.large.clear();
        for ix in 0..self.pending.len() {
            self.send(u32::try_from(ix).expect("at most one for each watcher"), header);
            self.watchers[self.pending[ix].watcher as usize].pending = NO_PENDING;
        }
        self.pending.clear();
    }

    fn send(&mut self, ix: u32, header: Option<i64>) {
        let pending = &mut self.pending[ix as usize];
        let (ix, first, last) = (pending.watcher, pending.first, pending.last);
        let events = std::mem::take(&mut pending.events);
        let event_bytes = std::mem::take(&mut pending.event_bytes);
        if event_bytes == 0 {
            return;
        }
        let limit = self.max_message_bytes;
        let watcher = &mut self.watchers[ix as usize];
        let stream_id = watcher.stream;
        let revision = header.unwrap_or(last);
        let message = WatchOut { watch_id: watcher.id, revision, events, event_bytes, ..WatchOut::default() };
        let stream = self.streams[stream_id.0 as usize].as_ref().expect("a watcher's stream is open");
        let queued = if watcher.fragment {
            stream.outbox.try_push(message.fragments(limit))
        } else {
            stream.outbox.try_push([message])
        };
        if queued {
            watcher.progress_due = false;
            self.mark_ready(stream_id);
        } else {
            self.block(ix, first);
        }
    }

    /// Lets a watcher wait for its client; it goes on with revision `next`, from the store.
    fn block(&mut self, ix: WatcherIx, next: i64) {
        // A member of a cohort stays listed there until the step of catching up ends, which is where this comes from.
        self.set_mode(ix, Mode::Blocked);
        self.watchers[ix as usize].next = next;
        self.stream_of(ix).blocked.push(ix);
    }

    /// The ring has dropped what the shard did not take yet: its watchers read the store instead.
    fn leave_ring(&mut self, head: i64) {
        let first_missed = self.position + 1;
        self.position = head;
        let streams: Vec<_> = self.streams.iter().flatten().flat_map(|s| s.watchers.values().copied()).collect();
        for ix in streams {
            let watcher = &mut self.watchers[ix as usize];
            if watcher.mode == Mode::Live && watcher.next <= head {
                watcher.next = watcher.next.max(first_missed);
                self.set_mode(ix, Mode::CatchUp);
                self.join_cohort(ix);
            }
        }
    }
}
