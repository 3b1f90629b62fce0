//! Shards against a model: a watcher gets what filtering the whole history would give it.

mod random;
mod scenarios;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use cairn_api::etcdserverpb as pb;
use cairn_api::etcdserverpb::watch_request::RequestUnion;
use cairn_api::mvccpb;
use cairn_types::KeyRange;
use prost::Message;

use super::testing::TestHistory;
use super::{Feed, HeaderIds, History, Outbox, Shard, StreamId, WatchRing};
use crate::event::EventKind;

/// One watcher as its client knows it.
#[derive(Clone, Debug)]
struct Watched {
    create: pb::WatchCreateRequest,
    /// The start that counts, known from the created response.
    start: i64,
    events: Vec<mvccpb::Event>,
    /// A progress response said that everything up to here has come.
    progress: i64,
    /// The last message said that it goes on.
    fragment: bool,
    ended: bool,
}

#[derive(Debug, Default)]
struct Client {
    /// Create requests without a response, in order.
    asked: Vec<pb::WatchCreateRequest>,
    watchers: BTreeMap<i64, Watched>,
    /// Those that were cancelled by either side, for the final comparison.
    finished: Vec<Watched>,
    responses: Vec<pb::WatchResponse>,
}

struct World {
    history: TestHistory,
    ring: WatchRing,
    published: usize,
    shard: Shard,
    outboxes: Vec<Arc<Outbox>>,
    clients: Vec<Client>,
    now_ms: u64,
}

const STREAMS: u32 = 3;
const TICK_MS: u64 = 1_000;

impl World {
    fn new(ring_bytes: usize, queue_bytes: usize) -> Self {
        let mut shard = Shard::new(400);
        let outboxes: Vec<_> = (0..STREAMS).map(|_| Arc::new(Outbox::new(queue_bytes))).collect();
        for (id, outbox) in (0..STREAMS).zip(&outboxes) {
            shard.open(StreamId(id), Arc::clone(outbox), TICK_MS, 0);
        }
        Self {
            history: TestHistory::default(),
            ring: WatchRing::new(1, ring_bytes),
            published: 0,
            shard,
            outboxes,
            clients: (0..STREAMS).map(|_| Client::default()).collect(),
            now_ms: 0,
        }
    }

    fn put(&mut self, key: &str, value: &str) {
        self.history.write(&[(Bytes::copy_from_slice(key.as_bytes()), Some(Bytes::copy_from_slice(value.as_bytes())))]);
    }

    fn delete(&mut self, key: &str) {
        self.history.write(&[(Bytes::copy_from_slice(key.as_bytes()), None)]);
    }

    fn publish(&mut self) {
        let events = self.history.revisions[self.published..].iter().cloned().map(Arc::new).collect();
        self.published = self.history.revisions.len();
        self.ring.publish(events, self.history.revision());
    }

    fn request(&mut self, stream: usize, union: RequestUnion) {
        if let RequestUnion::CreateRequest(create) = &union {
            self.clients[stream].asked.push(create.clone());
        }
        let feed = Feed { ring: &self.ring, history: &self.history, now_ms: self.now_ms };
        let id = StreamId(u32::try_from(stream).unwrap());
        self.shard.request(id, pb::WatchRequest { request_union: Some(union) }, feed);
    }

    fn create(&mut self, stream: usize, create: pb::WatchCreateRequest) {
        self.request(stream, RequestUnion::CreateRequest(create));
    }

    fn deliver(&mut self) {
        let feed = Feed { ring: &self.ring, history: &self.history, now_ms: self.now_ms };
        self.shard.deliver(feed).expect("in memory");
    }

    fn catch_up(&mut self) -> bool {
        let feed = Feed { ring: &self.ring, history: &self.history, now_ms: self.now_ms };
        self.shard.catch_up(feed).expect("in memory")
    }

    /// The client takes in one response.
    fn receive(&mut self, stream: usize) -> bool {
        let Some(popped) = self.outboxes[stream].pop() else { return false };
        if popped.resume {
            self.shard.drained(StreamId(u32::try_from(stream).unwrap()));
        }
        let mut buffer = BytesMut::new();
        popped.response.encode(HeaderIds::default(), &mut buffer);
        let response = pb::WatchResponse::decode(buffer.freeze()).expect("a response decodes");
        let history = &self.history;
        self.clients[stream].take_in(response, history);
        true
    }

    /// Everything that is possible happens.
    fn settle(&mut self) {
        self.publish();
        loop {
            self.deliver();
            let more = self.catch_up();
            let mut received = false;
            for stream in 0..self.clients.len() {
                while self.receive(stream) {
                    received = true;
                }
            }
            if !more && !received && !self.shard.is_behind(&self.ring) {
                break;
            }
        }
    }

    fn responses(&mut self, stream: usize) -> Vec<pb::WatchResponse> {
        self.settle();
        std::mem::take(&mut self.clients[stream].responses)
    }
}

/// What a watcher is owed, up to the end of the history.
fn owed(history: &TestHistory, watched: &Watched) -> Vec<(i64, EventKind, Bytes)> {
    let key = if watched.create.key.is_empty() { Bytes::from_static(b"\0") } else { watched.create.key.clone() };
    let range = KeyRange::from_request(key, watched.create.range_end.clone());
    let filtered = |kind| watched.create.filters.contains(&i32::from(kind == EventKind::Delete));
    let mut owed = Vec::new();
    for revision in history.revisions.iter().filter(|revision| revision.revision >= watched.start) {
        for event in revision.events.iter().filter(|event| range.contains(&event.key) && !filtered(event.kind)) {
            owed.push((revision.revision, event.kind, event.key.clone()));
        }
    }
    owed
}

impl Watched {
    fn got(&self) -> Vec<(i64, EventKind, Bytes)> {
        let plain = |event: &mvccpb::Event| {
            let kv = event.kv.as_ref().expect("an event has a pair");
            let kind = if event.r#type == 0 { EventKind::Put } else { EventKind::Delete };
            (kv.mod_revision, kind, kv.key.clone())
        };
        self.events.iter().map(plain).collect()
    }

    fn take_events(&mut self, response: pb::WatchResponse, history: &TestHistory) {
        let revision_of = |event: &mvccpb::Event| event.kv.as_ref().expect("an event has a pair").mod_revision;
        let header = response.header.as_ref().expect("always there").revision;
        let first = revision_of(response.events.first().expect("not a progress response"));
        let last = revision_of(response.events.last().expect("not empty"));
        assert!(header >= last, "the header is not older than the events");
        assert!(first > self.progress, "events come before the progress that covers them");
        if let Some(before) = self.events.last() {
            assert!(first > revision_of(before) || self.fragment, "a revision is not parted");
        }
        assert!(!response.fragment || self.create.fragment, "only those who asked get fragments");
        self.fragment = response.fragment;
        for event in response.events {
            let revision = revision_of(&event);
            let changes = &history.revisions[usize::try_from(revision - 2).unwrap()];
            let source = changes.events.iter().find(|e| e.key == event.kv.as_ref().unwrap().key).expect("it happened");
            match &event.prev_kv {
                Some(prev) => {
                    assert!(self.create.prev_kv);
                    assert_eq!(Some(prev.mod_revision), source.prev.map(|prev| prev.main));
                }
                None => assert!(!self.create.prev_kv || source.created || revision <= history.compacted),
            }
            self.events.push(event);
        }
    }

    fn check(&self, history: &TestHistory) {
        let (got, owed) = (self.got(), owed(history, self));
        if self.ended {
            assert_eq!(got, owed[..got.len()], "a prefix of {:?}", self.create);
        } else {
            assert_eq!(got, owed, "{:?} from {}", self.create, self.start);
        }
    }
}

impl Client {
    fn take_in(&mut self, response: pb::WatchResponse, history: &TestHistory) {
        self.responses.push(response.clone());
        let revision = response.header.as_ref().expect("always there").revision;
        if response.created {
            let create = self.asked.remove(0);
            if response.canceled {
                assert_eq!(response.watch_id, -1);
                return;
            }
            let start = if create.start_revision == 0 { revision + 1 } else { create.start_revision };
            let new = Watched { create, start, events: Vec::new(), progress: 0, fragment: false, ended: false };
            assert!(self.watchers.insert(response.watch_id, new).is_none(), "ids are unique");
        } else if response.canceled {
            let Some(mut watched) = self.watchers.remove(&response.watch_id) else { return };
            watched.ended = true;
            watched.check(history);
            if response.compact_revision != 0 {
                assert_eq!(revision, 0);
            }
            self.finished.push(watched);
        } else if response.events.is_empty() {
            for (&id, watched) in &mut self.watchers {
                if response.watch_id == -1 || response.watch_id == id {
                    let due = owed(history, watched).iter().filter(|(at, _, _)| *at <= revision).count();
                    assert_eq!(watched.events.len(), due, "progress comes after what it covers, and before the rest");
                    assert!(revision >= watched.progress, "progress does not go back");
                    assert!(revision >= watched.start - 1, "nor behind where the watcher began");
                    watched.progress = revision;
                }
            }
        } else {
            self.watchers.get_mut(&response.watch_id).expect("created before").take_events(response, history);
        }
    }
}
