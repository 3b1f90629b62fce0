//! Progress: how far a stream's watchers are although nothing concerns them.

use super::encode::WatchOut;
use super::shard::{Feed, Mode, NO_WATCHER, Shard, Stream, StreamId};

impl Shard {
    /// Sends progress notifications to the watchers that asked for them, got no events since their last tick, and are not
    /// behind, on each stream whose time has come.
    pub fn tick(&mut self, now_ms: u64) {
        while let Some(&(due_ms, id)) = self.ticks.first()
            && due_ms <= now_ms
        {
            self.ticks.pop_first();
            self.tick_stream(id);
            let Some(stream) = self.stream(id) else { continue };
            stream.next_tick_ms = stream.tick_after(now_ms);
            let next_tick_ms = stream.next_tick_ms;
            self.ticks.insert((next_tick_ms, id));
        }
    }

    /// When [`tick`](Self::tick) has work next.
    #[must_use]
    pub fn next_tick_ms(&self) -> Option<u64> {
        self.ticks.first().map(|&(due_ms, _)| due_ms)
    }

    fn tick_stream(&mut self, id: StreamId) {
        let revision = self.position;
        let Some(stream) = self.streams.get_mut(id.0 as usize).and_then(Option::as_mut) else { return };
        let full = stream.outbox.is_full();
        let mut sent = false;
        for (&watch_id, &ix) in &stream.watchers {
            let watcher = &mut self.watchers[ix as usize];
            if !watcher.progress {
                continue;
            }
            let due = std::mem::replace(&mut watcher.progress_due, true);
            // One that began at a view ahead of the ring was told that revision, and progress does not go back.
            let reached = watcher.start <= revision && watcher.next <= revision + 1;
            if due && !full && watcher.mode == Mode::Live && reached {
                stream.outbox.push(WatchOut { watch_id, revision, ..WatchOut::default() });
                sent = true;
            }
        }
        if sent {
            self.mark_ready(id);
        }
    }

    /// One more watcher of the stream wants notifications.
    pub(super) fn want_ticks(&mut self, id: StreamId, now_ms: u64) {
        let Some(stream) = self.stream(id) else { return };
        stream.progress_watchers += 1;
        if stream.progress_watchers == 1 {
            stream.next_tick_ms = stream.tick_after(now_ms);
            let next_tick_ms = stream.next_tick_ms;
            self.ticks.insert((next_tick_ms, id));
        }
    }

    /// One watcher fewer wants them.
    pub(super) fn want_no_ticks(&mut self, id: StreamId) {
        let Some(stream) = self.stream(id) else { return };
        stream.progress_watchers -= 1;
        if stream.progress_watchers == 0 {
            let next_tick_ms = stream.next_tick_ms;
            self.ticks.remove(&(next_tick_ms, id));
        }
    }

    /// Answers once the ring has brought everything that the store shows now. A stream with a watcher that is behind or
    /// starts later gets no answer, as with etcd: the client asks again.
    pub(super) fn request_progress(&mut self, id: StreamId, feed: Feed<'_>) {
        let target = feed.history.revision();
        if !self.is_in_sync(id, target.max(self.position)) {
            return;
        }
        if target <= self.position {
            return self.answer(id, progress(self.position));
        }
        let Some(stream) = self.stream(id) else { return };
        if stream.progress_request.replace(target).is_none() {
            self.progress_requests.push(id);
        }
    }

    /// Answers the requests whose revision the shard has reached.
    pub(super) fn answer_progress(&mut self) {
        for id in std::mem::take(&mut self.progress_requests) {
            let position = self.position;
            let Some(stream) = self.stream(id) else { continue };
            match stream.progress_request {
                Some(target) if target > position => self.progress_requests.push(id),
                Some(_) => {
                    stream.progress_request = None;
                    if self.is_in_sync(id, position) {
                        self.answer(id, progress(position));
                    }
                }
                None => {} // of a stream that had this place before
            }
        }
    }

    fn is_in_sync(&self, id: StreamId, revision: i64) -> bool {
        let Some(stream) = self.streams.get(id.0 as usize).and_then(Option::as_ref) else { return false };
        stream.behind == 0
            && !stream.watchers.is_empty()
            && stream.watchers.values().all(|&ix| self.watchers[ix as usize].start <= revision)
    }
}

impl Stream {
    /// The first tick after `now_ms`; ticks are counted from when the stream was opened.
    fn tick_after(&self, now_ms: u64) -> u64 {
        let intervals = now_ms.saturating_sub(self.opened_ms) / self.progress_interval_ms + 1;
        self.opened_ms.saturating_add(intervals.saturating_mul(self.progress_interval_ms))
    }
}

fn progress(revision: i64) -> WatchOut {
    WatchOut { watch_id: NO_WATCHER, revision, ..WatchOut::default() }
}
