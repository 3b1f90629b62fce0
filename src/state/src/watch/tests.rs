//! Shards against a model: a watcher gets what filtering the whole history would give it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use cairn_api::etcdserverpb as pb;
use cairn_api::etcdserverpb::watch_request::RequestUnion;
use cairn_api::mvccpb;
use cairn_types::KeyRange;
use proptest::prelude::*;
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
                    assert_eq!(watched.events.len(), due, "progress comes after what it covers");
                    watched.progress = revision;
                }
            }
        } else {
            self.watchers.get_mut(&response.watch_id).expect("created before").take_events(response, history);
        }
    }
}

fn key_create(key: &'static str) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest { key: Bytes::from_static(key.as_bytes()), ..Default::default() }
}

fn roomy() -> World {
    World::new(1 << 20, 1 << 20)
}

#[test]
fn ids_count_from_zero_and_skip_those_that_were_chosen() {
    let mut world = roomy();
    for watch_id in [0, 1, 0, 7, 7, 0] {
        world.create(0, pb::WatchCreateRequest { watch_id, ..key_create("a") });
    }
    let responses = world.responses(0);
    assert_eq!(responses.iter().map(|r| r.watch_id).collect::<Vec<_>>(), [0, 1, 2, 7, -1, 3]);
    assert!(responses[4].created && responses[4].canceled);
    assert_eq!(responses[4].cancel_reason, "mvcc: duplicate watch ID provided on the WatchStream");
    assert!(responses.iter().all(|r| r.created && r.header.as_ref().unwrap().revision == 1));
}

#[test]
fn a_request_that_cannot_be_watched_is_refused_in_one_response() {
    let mut world = roomy();
    world.create(0, pb::WatchCreateRequest { range_end: Bytes::from_static(b"a"), ..key_create("b") });
    world.create(0, pb::WatchCreateRequest { start_revision: -1, ..key_create("b") });
    let reasons: Vec<_> =
        world.responses(0).into_iter().map(|r| (r.watch_id, r.created, r.canceled, r.cancel_reason)).collect();
    let compacted = "etcdserver: mvcc: required revision has been compacted";
    let refusal = |reason: &str| (-1, true, true, reason.to_owned());
    assert_eq!(reasons, [refusal("mvcc: watcher range is empty"), refusal(compacted)]);
}

#[test]
fn a_compacted_start_is_answered_with_created_and_then_with_the_compaction() {
    let mut world = roomy();
    for _ in 0..5 {
        world.put("a", "x");
    }
    world.publish();
    world.history.compacted = 4;
    world.create(0, pb::WatchCreateRequest { start_revision: 3, ..key_create("a") });
    world.create(0, pb::WatchCreateRequest { start_revision: 4, ..key_create("a") });
    let responses = world.responses(0);
    assert!(responses[0].created && !responses[0].canceled);
    assert!(responses[1].created);
    let ended = &responses[2];
    assert_eq!((ended.watch_id, ended.canceled, ended.compact_revision), (0, true, 4));
    assert_eq!((ended.header.as_ref().unwrap().revision, ended.cancel_reason.as_str()), (0, ""));
    assert_eq!(responses[3].events.len(), 3, "the compaction's own revision is still there");
    world.create(0, pb::WatchCreateRequest { watch_id: 0, ..key_create("a") });
    world.request(0, RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: 0 }));
    let responses = world.responses(0);
    assert_eq!((responses[0].watch_id, responses[1].watch_id, responses[1].canceled), (2, 0, true));
}

#[test]
fn cancelling_is_answered_once_and_unknown_ids_are_ignored() {
    let mut world = roomy();
    world.create(0, key_create("a"));
    for watch_id in [9, 0, 0] {
        world.request(0, RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id }));
    }
    world.put("a", "x");
    let responses = world.responses(0);
    assert_eq!(responses.len(), 2);
    assert!(responses[1].canceled && !responses[1].created);
    assert_eq!(world.shard.stats().watchers, 0);
    assert!(matches!(world.ring.after(1), super::ring::RingRead::Behind { .. }), "nobody subscribes any more");
}

#[test]
fn a_watcher_of_the_future_gets_nothing_before_its_start_and_holds_progress_back() {
    let mut world = roomy();
    world.create(0, pb::WatchCreateRequest { start_revision: 4, ..key_create("a") });
    world.put("a", "2");
    world.put("a", "3");
    world.request(0, RequestUnion::ProgressRequest(pb::WatchProgressRequest {}));
    assert_eq!(world.responses(0).len(), 1, "created only");
    world.put("a", "4");
    world.settle();
    world.request(0, RequestUnion::ProgressRequest(pb::WatchProgressRequest {}));
    let responses = world.responses(0);
    assert_eq!(responses[0].events.len(), 1);
    assert_eq!((responses[1].watch_id, responses[1].header.as_ref().unwrap().revision), (-1, 4));
}

#[test]
fn a_progress_request_waits_until_the_ring_has_brought_what_the_store_shows() {
    let mut world = roomy();
    world.create(0, key_create("b"));
    world.put("a", "x"); // visible in the store, not yet in the ring
    world.request(0, RequestUnion::ProgressRequest(pb::WatchProgressRequest {}));
    while world.receive(0) {}
    assert_eq!(std::mem::take(&mut world.clients[0].responses).len(), 1);
    let responses = world.responses(0);
    assert_eq!((responses[0].watch_id, responses[0].header.as_ref().unwrap().revision), (-1, 2));
    world.request(1, RequestUnion::ProgressRequest(pb::WatchProgressRequest {}));
    assert!(world.responses(1).is_empty(), "a stream without watchers has no progress");
}

#[test]
fn ticks_tell_idle_watchers_how_far_they_are() {
    let mut world = roomy();
    world.create(0, pb::WatchCreateRequest { progress_notify: true, ..key_create("a") });
    world.create(0, pb::WatchCreateRequest { progress_notify: true, ..key_create("b") });
    world.put("a", "x");
    world.responses(0);
    assert_eq!(world.shard.next_tick_ms(), Some(TICK_MS));
    world.shard.tick(TICK_MS - 1);
    assert!(world.responses(0).is_empty());
    world.shard.tick(TICK_MS);
    let ids = |responses: Vec<pb::WatchResponse>| responses.iter().map(|r| r.watch_id).collect::<Vec<_>>();
    assert_eq!(ids(world.responses(0)), [1], "the other one got an event meanwhile");
    assert_eq!(world.shard.next_tick_ms(), Some(2 * TICK_MS));
    world.shard.tick(2 * TICK_MS + 5);
    assert_eq!(ids(world.responses(0)), [0, 1]);
    world.shard.close(StreamId(0), &world.ring);
    assert_eq!(world.shard.next_tick_ms(), None);
}

#[test]
fn filters_drop_events_and_then_nothing_is_sent() {
    let mut world = roomy();
    world.create(0, pb::WatchCreateRequest { filters: vec![0], ..key_create("a") });
    world.create(0, pb::WatchCreateRequest { filters: vec![1], ..key_create("a") });
    world.put("a", "x");
    world.delete("a");
    let responses = world.responses(0);
    let events: Vec<_> = responses[2..].iter().map(|r| (r.watch_id, r.events.len(), r.events[0].r#type)).collect();
    assert_eq!(events, [(1, 1, 0), (0, 1, 1)]);
}

#[test]
fn a_client_that_reads_nothing_holds_one_queue_and_delays_nobody() {
    let mut world = World::new(1 << 20, 2_000);
    world.create(0, key_create("a"));
    world.create(1, key_create("a"));
    while world.receive(0) {}
    for round in 0..1_000 {
        world.put("a", "x");
        world.publish();
        world.deliver();
        while world.receive(1) {}
        assert_eq!(world.clients[1].watchers[&0].events.len(), round + 1, "the other stream is up to date");
    }
    assert_eq!(world.shard.stats().behind, 1);
    world.settle();
    assert_eq!(world.shard.stats().behind, 0);
    world.clients[0].watchers[&0].check(&world.history);
}

#[test]
fn watchers_far_behind_take_turns() {
    let mut world = World::new(1, 1 << 20);
    world.shard.catch_up_bytes = 1_000;
    for _ in 0..500 {
        world.put("a", "x");
    }
    world.publish();
    world.create(0, pb::WatchCreateRequest { start_revision: 1, ..key_create("a") });
    world.create(1, pb::WatchCreateRequest { start_revision: 495, ..key_create("a") });
    for _ in 0..4 {
        world.catch_up();
    }
    while world.receive(1) {}
    assert_eq!(world.clients[1].watchers[&0].events.len(), 7, "it did not wait for the one far behind");
    world.settle();
    world.clients[0].watchers[&0].check(&world.history);
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<(u8, bool)>),
    Publish,
    Deliver,
    CatchUp,
    Receive(u8, u8),
    Create(u8, Box<pb::WatchCreateRequest>, Option<u8>),
    Cancel(u8, u8),
    Progress(u8),
    Tick,
    Compact(u8),
    Reopen(u8),
}

fn name(key: u8) -> Bytes {
    Bytes::copy_from_slice(&[b'a' + key % 5])
}

fn create() -> impl Strategy<Value = pb::WatchCreateRequest> {
    let range_end = prop_oneof![Just(Bytes::new()), Just(Bytes::from_static(b"\0")), (0u8..6).prop_map(name)];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    let filters = prop_oneof![4 => Just(vec![]), 1 => Just(vec![0]), 1 => Just(vec![1]), 1 => Just(vec![0, 1])];
    (0u8..6, range_end, flags, filters, 0i64..3).prop_map(|(key, range_end, flags, filters, watch_id)| {
        let key = if key == 5 { Bytes::new() } else { name(key) };
        let (prev_kv, fragment, progress_notify) = flags;
        pb::WatchCreateRequest {
            key,
            range_end,
            prev_kv,
            fragment,
            progress_notify,
            filters,
            watch_id,
            start_revision: 0,
        }
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => prop::collection::vec((0u8..5, prop::bool::weighted(0.7)), 1..4).prop_map(Step::Write),
        6 => Just(Step::Publish),
        6 => Just(Step::Deliver),
        6 => Just(Step::CatchUp),
        8 => (any::<u8>(), 1u8..6).prop_map(|(stream, count)| Step::Receive(stream, count)),
        4 => (any::<u8>(), create(), any::<Option<u8>>()).prop_map(|(s, c, back)| Step::Create(s, Box::new(c), back)),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(stream, choice)| Step::Cancel(stream, choice)),
        2 => any::<u8>().prop_map(Step::Progress),
        1 => Just(Step::Tick),
        1 => any::<u8>().prop_map(Step::Compact),
        1 => any::<u8>().prop_map(Step::Reopen),
    ]
}

fn run(world: &mut World, step: Step) {
    let stream_of = |choice: u8| usize::from(choice) % STREAMS as usize;
    match step {
        Step::Write(changes) => {
            let changes: BTreeMap<_, _> = changes.into_iter().collect();
            let value = |put: bool| put.then(|| Bytes::from_static(b"some value of a few bytes"));
            let changes: Vec<_> = changes.into_iter().map(|(key, put)| (name(key), value(put))).collect();
            world.history.write(&changes);
        }
        Step::Publish => world.publish(),
        Step::Deliver => world.deliver(),
        Step::CatchUp => {
            world.catch_up();
        }
        Step::Receive(stream, count) => {
            for _ in 0..count {
                world.receive(stream_of(stream));
            }
        }
        Step::Create(stream, mut create, back) => {
            if let Some(back) = back {
                create.start_revision = (world.history.revision() + 3 - i64::from(back % 32)).max(1);
            }
            world.create(stream_of(stream), *create);
        }
        Step::Cancel(stream, choice) => {
            let watchers = &world.clients[stream_of(stream)].watchers;
            if let Some(&watch_id) = watchers.keys().nth(usize::from(choice) % watchers.len().max(1)) {
                world.request(stream_of(stream), RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id }));
            }
        }
        Step::Progress(stream) => {
            world.request(stream_of(stream), RequestUnion::ProgressRequest(pb::WatchProgressRequest {}));
        }
        Step::Tick => {
            world.now_ms += TICK_MS / 2 + 1;
            world.shard.tick(world.now_ms);
        }
        Step::Compact(back) => {
            let revision = world.history.revision() - i64::from(back % 16);
            world.history.compacted = world.history.compacted.max(revision.max(1));
        }
        Step::Reopen(stream) => {
            let stream = stream_of(stream);
            let id = StreamId(u32::try_from(stream).unwrap());
            world.shard.close(id, &world.ring);
            world.outboxes[stream] = Arc::new(Outbox::new(700));
            world.clients[stream] = Client::default();
            world.shard.open(id, Arc::clone(&world.outboxes[stream]), TICK_MS, world.now_ms);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_watcher_gets_its_events_in_order_and_once_whatever_happens(
        steps in prop::collection::vec(step(), 1..150),
        ring_bytes in prop_oneof![Just(1usize), Just(2_000), Just(1 << 20)],
        queue_bytes in prop_oneof![Just(300usize), Just(700), Just(1 << 20)],
        catch_up_bytes in prop_oneof![Just(1usize), Just(500), Just(1 << 20)],
        message_bytes in prop_oneof![Just(1usize), Just(200), Just(1 << 20)],
    ) {
        let mut world = World::new(ring_bytes, queue_bytes);
        world.shard.catch_up_bytes = catch_up_bytes;
        world.shard.message_bytes = message_bytes;
        for step in steps {
            run(&mut world, step);
        }
        world.settle();
        prop_assert_eq!(world.shard.stats().behind, 0);
        prop_assert_eq!(world.shard.stats().watchers, world.clients.iter().map(|client| client.watchers.len()).sum::<usize>());
        for watched in world.clients.iter().flat_map(|client| client.watchers.values()) {
            watched.check(&world.history);
        }
    }
}
