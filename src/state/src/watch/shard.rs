//! Streams, their watchers, and the requests that create and cancel them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use cairn_api::ApiError;
use cairn_api::etcdserverpb as pb;
use cairn_api::etcdserverpb::watch_create_request::FilterType;
use cairn_api::etcdserverpb::watch_request::RequestUnion;
use cairn_types::KeyRange;
use cairn_types::limits::{MAX_WATCH_CATCH_UP_BYTES, WATCH_MESSAGE_BYTES};

use super::History;
use super::deliver::Pending;
use super::encode::WatchOut;
use super::index::{Index, Place, WatchRange, WatcherIx};
use super::outbox::Outbox;
use super::ring::WatchRing;
use crate::event::EventKind;

/// The `watch_id` of answers that concern no single watcher.
pub(super) const NO_WATCHER: i64 = -1;
/// `Watcher::pending` of a watcher for which nothing is gathered.
pub(super) const NO_PENDING: u32 = u32::MAX;

const REASON_EMPTY_RANGE: &str = "mvcc: watcher range is empty";
const REASON_DUPLICATE_ID: &str = "mvcc: duplicate watch ID provided on the WatchStream";

/// A stream's place in its shard, chosen by the caller, who may use it again once the stream was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId(pub u32);

/// What a shard looks at while it works; as of the call, never kept.
#[derive(Clone, Copy)]
pub struct Feed<'a> {
    /// Where the newest events are.
    pub ring: &'a WatchRing,
    /// A view that was taken during this round of work.
    pub history: &'a dyn History,
    /// Milliseconds on a clock that never goes back.
    pub now_ms: u64,
}

/// Counts for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardStats {
    /// Open streams.
    pub streams: usize,
    /// Watchers on them.
    pub watchers: usize,
    /// Those that read the store, or wait for their client to take in what is queued.
    pub behind: usize,
}

/// How a watcher gets its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// From the ring; it has everything up to the shard's position that is not before `next`, and nothing behind it.
    Live,
    /// From the store, as a member of the cohort at `next`, up to the shard's position.
    CatchUp,
    /// Its stream's queue was full when revision `next` was due; it continues there once the queue has drained.
    Blocked,
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are the options of a request")]
pub(super) struct Watcher {
    pub(super) stream: StreamId,
    pub(super) id: i64,
    /// The first revision that it was not offered yet.
    pub(super) next: i64,
    /// The start that the client named; 0 where it named none.
    pub(super) start: i64,
    pub(super) mode: Mode,
    pub(super) place: Place,
    /// Its place in its cohort; only while it catches up.
    pub(super) cohort_slot: u32,
    pub(super) pending: u32,
    pub(super) prev_kv: bool,
    pub(super) fragment: bool,
    pub(super) progress: bool,
    /// Whether the next tick sends a progress notification: no events were sent since the last.
    pub(super) progress_due: bool,
    no_put: bool,
    no_delete: bool,
}

impl Watcher {
    pub(super) fn wants(&self, kind: EventKind) -> bool {
        match kind {
            EventKind::Put => !self.no_put,
            EventKind::Delete => !self.no_delete,
        }
    }
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) outbox: Arc<Outbox>,
    pub(super) watchers: BTreeMap<i64, WatcherIx>,
    /// Ids of watchers that a compaction ended and the client has not cancelled yet: still taken, as in etcd.
    pub(super) ended: BTreeSet<i64>,
    next_id: i64,
    /// How many of its watchers are not `Live`.
    pub(super) behind: u32,
    pub(super) blocked: Vec<WatcherIx>,
    pub(super) opened_ms: u64,
    pub(super) progress_interval_ms: u64,
    /// How many of its watchers want progress notifications, and when the next are due if any does.
    pub(super) progress_watchers: u32,
    pub(super) next_tick_ms: u64,
    /// The revision that a progress request waits for.
    pub(super) progress_request: Option<i64>,
    pub(super) ready: bool,
}

/// Some of the server's watch streams, with all their watchers.
///
/// One thread drives it, in rounds: [`deliver`](Self::deliver) what the ring has, then [`request`](Self::request) for each
/// request that came, [`drained`](Self::drained) for each stream whose [`super::Popped`] said so, [`tick`](Self::tick)
/// when [`next_tick_ms`](Self::next_tick_ms) has come, one step of [`catch_up`](Self::catch_up), and then it wakes the
/// streams of [`take_ready`](Self::take_ready). After an error its state is undefined: drop it and end its streams.
#[derive(Debug)]
pub struct Shard {
    pub(super) max_message_bytes: usize,
    /// `WATCH_MESSAGE_BYTES`, and smaller in tests.
    pub(super) message_bytes: usize,
    /// `MAX_WATCH_CATCH_UP_BYTES`, and smaller in tests.
    pub(super) catch_up_bytes: usize,
    pub(super) watchers: Vec<Watcher>,
    free: Vec<WatcherIx>,
    pub(super) streams: Vec<Option<Stream>>,
    /// Watchers in mode `Live`.
    pub(super) live: Index,
    /// All other watchers.
    pub(super) behind: Index,
    /// Everything up to here was taken from the ring. Meaningless without watchers.
    pub(super) position: i64,
    subscribed: bool,
    pub(super) pending: Vec<Pending>,
    /// Those of `pending` that are large enough to be sent at the end of the revision.
    pub(super) large: Vec<u32>,
    /// Watchers that catch up, by the revision that they read next.
    pub(super) cohorts: BTreeMap<i64, Vec<WatcherIx>>,
    /// Where the last step of catching up ended.
    pub(super) served: i64,
    ready: Vec<StreamId>,
    pub(super) progress_requests: Vec<StreamId>,
    pub(super) ticks: BTreeSet<(u64, StreamId)>,
    pub(super) stats: ShardStats,
}

impl Shard {
    /// A shard without streams. Responses of watchers that ask for fragments are parted at `max_message_bytes` (etcd:
    /// `--max-request-bytes` and 512 KiB).
    #[must_use]
    pub fn new(max_message_bytes: usize) -> Self {
        Self {
            max_message_bytes,
            message_bytes: WATCH_MESSAGE_BYTES,
            catch_up_bytes: MAX_WATCH_CATCH_UP_BYTES,
            watchers: Vec::new(),
            free: Vec::new(),
            streams: Vec::new(),
            live: Index::default(),
            behind: Index::default(),
            position: 0,
            subscribed: false,
            pending: Vec::new(),
            large: Vec::new(),
            cohorts: BTreeMap::new(),
            served: 0,
            ready: Vec::new(),
            progress_requests: Vec::new(),
            ticks: BTreeSet::new(),
            stats: ShardStats::default(),
        }
    }

    /// Adds a stream without watchers. Its progress notifications are `progress_interval_ms` apart.
    pub fn open(&mut self, id: StreamId, outbox: Arc<Outbox>, progress_interval_ms: u64, now_ms: u64) {
        let ix = id.0 as usize;
        if self.streams.len() <= ix {
            self.streams.resize_with(ix + 1, || None);
        }
        debug_assert!(self.streams[ix].is_none(), "a stream's place is free");
        self.streams[ix] = Some(Stream {
            outbox,
            watchers: BTreeMap::new(),
            ended: BTreeSet::new(),
            next_id: 0,
            behind: 0,
            blocked: Vec::new(),
            opened_ms: now_ms,
            progress_interval_ms: progress_interval_ms.max(1),
            progress_watchers: 0,
            next_tick_ms: 0,
            progress_request: None,
            ready: false,
        });
        self.stats.streams += 1;
    }

    /// Removes a stream with all its watchers.
    pub fn close(&mut self, id: StreamId, ring: &WatchRing) {
        let Some(stream) = self.stream(id) else { return };
        let watchers: Vec<_> = std::mem::take(&mut stream.watchers).into_values().collect();
        for watcher in watchers {
            self.remove_watcher(watcher, ring);
        }
        self.streams[id.0 as usize] = None;
        self.stats.streams -= 1;
    }

    /// Serves one request; its answer, if it has one, is in the stream's queue when this returns. A progress request may
    /// be answered by a later [`deliver`](Self::deliver).
    pub fn request(&mut self, id: StreamId, request: pb::WatchRequest, feed: Feed<'_>) {
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => self.create(id, create, feed),
            Some(RequestUnion::CancelRequest(cancel)) => self.cancel(id, cancel.watch_id, feed),
            Some(RequestUnion::ProgressRequest(_)) => self.request_progress(id, feed),
            None => {} // etcd does not end a stream over it either
        }
    }

    /// The streams that got something to send since the last call.
    pub fn take_ready(&mut self) -> Vec<StreamId> {
        let ready = std::mem::take(&mut self.ready);
        for id in &ready {
            if let Some(stream) = self.stream(*id) {
                stream.ready = false;
            }
        }
        ready
    }

    /// Whether [`deliver`](Self::deliver) has work.
    #[must_use]
    pub fn is_behind(&self, ring: &WatchRing) -> bool {
        self.subscribed && ring.revision() > self.position
    }

    /// Counts for metrics.
    #[must_use]
    pub fn stats(&self) -> ShardStats {
        self.stats
    }

    pub(super) fn stream(&mut self, id: StreamId) -> Option<&mut Stream> {
        self.streams.get_mut(id.0 as usize)?.as_mut()
    }

    /// The stream of a watcher, which lives as long as its watchers do.
    pub(super) fn stream_of(&mut self, ix: WatcherIx) -> &mut Stream {
        let id = self.watchers[ix as usize].stream;
        self.stream(id).expect("a watcher's stream is open")
    }

    pub(super) fn mark_ready(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(id.0 as usize).and_then(Option::as_mut)
            && !std::mem::replace(&mut stream.ready, true)
        {
            self.ready.push(id);
        }
    }

    /// Queues an answer.
    pub(super) fn answer(&mut self, id: StreamId, response: WatchOut) {
        if let Some(stream) = self.stream(id) {
            stream.outbox.push(response);
            self.mark_ready(id);
        }
    }

    fn current(&self, feed: Feed<'_>) -> i64 {
        let revision = feed.history.revision();
        if self.subscribed { revision.max(self.position) } else { revision.max(feed.ring.revision()) }
    }

    fn create(&mut self, id: StreamId, create: pb::WatchCreateRequest, feed: Feed<'_>) {
        let revision = self.current(feed);
        let Some(stream) = self.stream(id) else { return };
        let created = WatchOut { created: true, revision, ..WatchOut::default() };
        let range = match stream.check(&create) {
            Ok(range) => range,
            Err(cancel_reason) => {
                let refusal = WatchOut { watch_id: NO_WATCHER, canceled: true, cancel_reason, ..created };
                return self.answer(id, refusal);
            }
        };
        let watch_id = stream.assign_id(create.watch_id);
        if let Some(target) = &mut stream.progress_request {
            *target = revision.max(*target); // the answer must not name less than this one
        }
        self.answer(id, WatchOut { watch_id, ..created });
        if !std::mem::replace(&mut self.subscribed, true) {
            self.position = feed.ring.subscribe();
        }
        self.add_watcher(id, watch_id, &create, &range, revision, feed);
    }

    fn add_watcher(
        &mut self,
        id: StreamId,
        watch_id: i64,
        create: &pb::WatchCreateRequest,
        range: &KeyRange,
        revision: i64,
        feed: Feed<'_>,
    ) {
        let start = create.start_revision;
        let next = if start == 0 { revision + 1 } else { start };
        let live = next > self.position && next >= feed.history.compacted();
        let index = if live { &mut self.live } else { &mut self.behind };
        let filtered = |filter: FilterType| create.filters.contains(&(filter as i32));
        let ix = self.free.pop();
        let new = ix.unwrap_or_else(|| u32::try_from(self.watchers.len()).expect("watchers are numbered with 32 bits"));
        let watcher = Watcher {
            stream: id,
            id: watch_id,
            next,
            start,
            mode: if live { Mode::Live } else { Mode::CatchUp },
            place: index.insert(WatchRange::from(range), new),
            cohort_slot: 0,
            pending: NO_PENDING,
            prev_kv: create.prev_kv,
            fragment: create.fragment,
            progress: create.progress_notify,
            progress_due: true,
            no_put: filtered(FilterType::Noput),
            no_delete: filtered(FilterType::Nodelete),
        };
        match ix {
            Some(ix) => self.watchers[ix as usize] = watcher,
            None => self.watchers.push(watcher),
        }
        self.stats.watchers += 1;
        self.stream_of(new).watchers.insert(watch_id, new);
        if !live {
            self.stats.behind += 1;
            self.stream_of(new).behind += 1;
            self.join_cohort(new);
        }
        if create.progress_notify {
            self.want_ticks(id, feed.now_ms);
        }
    }

    fn cancel(&mut self, id: StreamId, watch_id: i64, feed: Feed<'_>) {
        let revision = self.current(feed);
        let Some(stream) = self.stream(id) else { return };
        if let Some(watcher) = stream.watchers.remove(&watch_id) {
            self.remove_watcher(watcher, feed.ring);
        } else if !stream.ended.remove(&watch_id) {
            return; // unknown ids are ignored
        }
        self.answer(id, WatchOut { watch_id, revision, canceled: true, ..WatchOut::default() });
    }

    /// Forgets a watcher that was already taken out of its stream's `watchers`.
    pub(super) fn remove_watcher(&mut self, ix: WatcherIx, ring: &WatchRing) {
        let Watcher { mode, place, progress, stream, .. } = self.watchers[ix as usize];
        let index = if mode == Mode::Live { &mut self.live } else { &mut self.behind };
        if let Some(moved) = index.remove(place).moved {
            self.watchers[moved as usize].place = place;
        }
        match mode {
            Mode::Live => {}
            Mode::CatchUp => self.leave_cohort(ix),
            Mode::Blocked => self.stream_of(ix).blocked.retain(|&other| other != ix),
        }
        if mode != Mode::Live {
            self.stats.behind -= 1;
            self.stream_of(ix).behind -= 1;
        }
        if progress {
            self.want_no_ticks(stream);
        }
        self.free.push(ix);
        self.stats.watchers -= 1;
        if self.stats.watchers == 0 {
            self.subscribed = false;
            ring.unsubscribe();
        }
    }

    /// Lets a watcher change between `live` and `behind`.
    pub(super) fn set_mode(&mut self, ix: WatcherIx, mode: Mode) {
        let watcher = &mut self.watchers[ix as usize];
        let (was_live, is_live) = (watcher.mode == Mode::Live, mode == Mode::Live);
        watcher.mode = mode;
        if was_live == is_live {
            return;
        }
        let place = watcher.place;
        let (from, to) = if is_live { (&mut self.behind, &mut self.live) } else { (&mut self.live, &mut self.behind) };
        let removed = from.remove(place);
        self.watchers[ix as usize].place = to.insert(removed.range, ix);
        if let Some(moved) = removed.moved {
            self.watchers[moved as usize].place = place;
        }
        if is_live {
            self.stats.behind -= 1;
            self.stream_of(ix).behind -= 1;
        } else {
            self.stats.behind += 1;
            self.stream_of(ix).behind += 1;
        }
    }
}

impl Stream {
    /// The range of a new watcher, or the reason why it cannot be.
    fn check(&self, create: &pb::WatchCreateRequest) -> Result<KeyRange, &'static str> {
        // etcd's keys are never empty, so that the first possible key is the zero byte.
        let key = if create.key.is_empty() { Bytes::from_static(b"\0") } else { create.key.clone() };
        let range = KeyRange::from_request(key, create.range_end.clone());
        if create.start_revision < 0 {
            return Err(ApiError::Compacted.text());
        }
        if range.is_empty() {
            return Err(REASON_EMPTY_RANGE);
        }
        if create.watch_id != 0 && self.is_taken(create.watch_id) {
            return Err(REASON_DUPLICATE_ID);
        }
        Ok(range)
    }

    fn is_taken(&self, id: i64) -> bool {
        self.watchers.contains_key(&id) || self.ended.contains(&id)
    }

    /// The id that was asked for, or for 0 the next free one.
    fn assign_id(&mut self, asked: i64) -> i64 {
        if asked != 0 {
            return asked;
        }
        while self.is_taken(self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        self.next_id - 1
    }
}
