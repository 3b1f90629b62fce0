//! What one shard promises, case by case.

use super::super::ring::RingRead;
use super::super::testing::AsOf;
use super::*;

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
    assert!(matches!(world.ring.after(1), RingRead::Behind { .. }), "nobody subscribes any more");
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
fn a_watcher_that_caught_up_was_sent_nothing_that_its_stream_has_not_reached() {
    for ring_bytes in [1, 1 << 20] {
        let mut world = World::new(ring_bytes, 1 << 20);
        world.create(0, key_create("b"));
        world.put("a", "2");
        world.publish();
        world.deliver();
        world.put("a", "3"); // in the store, and in the large ring too, but the shard has not taken it from there
        if ring_bytes > 1 {
            world.publish();
        }
        world.create(0, pb::WatchCreateRequest { start_revision: 2, progress_notify: true, ..key_create("a") });
        assert!(!world.catch_up());
        world.shard.tick(TICK_MS);
        world.shard.tick(2 * TICK_MS);
        while world.receive(0) {}
        let told: Vec<_> = world.clients[0].responses[2..]
            .iter()
            .map(|r| (r.watch_id, r.header.as_ref().unwrap().revision, r.events.len()))
            .collect();
        assert_eq!(told, [(1, 2, 1), (1, 2, 0)], "progress names all that was sent");
        world.settle();
        world.clients[0].watchers[&1].check(&world.history);
    }
}

#[test]
fn catching_up_waits_for_a_view_that_shows_what_the_ring_has() {
    let mut world = roomy();
    world.ring.subscribe(); // as another shard does
    world.put("a", "2");
    world.put("a", "3");
    world.publish();
    let create = pb::WatchCreateRequest { start_revision: 2, prev_kv: true, ..key_create("a") };
    world.clients[0].asked.push(create.clone());
    let union = RequestUnion::CreateRequest(create);
    let old = AsOf(1, &world.history);
    let feed = Feed { ring: &world.ring, history: &old, now_ms: 0 };
    world.shard.request(StreamId(0), pb::WatchRequest { request_union: Some(union) }, feed);
    assert!(world.shard.catch_up(feed).unwrap(), "there is more to do");
    let events = &world.responses(0)[1].events;
    assert_eq!(events.len(), 2);
    assert_eq!(events[1].prev_kv.as_ref().map(|kv| kv.mod_revision), Some(2));
}

#[test]
fn progress_is_not_behind_a_watcher_that_was_created_while_it_was_waited_for() {
    let mut world = roomy();
    world.create(0, key_create("b"));
    world.put("a", "2");
    world.publish();
    world.request(0, RequestUnion::ProgressRequest(pb::WatchProgressRequest {}));
    world.put("a", "3");
    world.create(0, pb::WatchCreateRequest { progress_notify: true, ..key_create("a") });
    world.deliver();
    world.shard.tick(TICK_MS);
    while world.receive(0) {}
    let told = |responses: &[pb::WatchResponse]| {
        responses.iter().map(|r| (r.watch_id, r.created, r.header.as_ref().unwrap().revision)).collect::<Vec<_>>()
    };
    assert_eq!(told(&world.clients[0].responses), [(0, true, 1), (1, true, 3)], "the ring is at 2");
    world.clients[0].responses.clear();
    assert_eq!(told(&world.responses(0)), [(-1, false, 3)]);
    world.shard.tick(2 * TICK_MS);
    assert_eq!(told(&world.responses(0)), [(1, false, 3)]);
}

#[test]
fn previous_versions_end_at_the_compaction_whether_from_the_ring_or_from_the_store() {
    for ring_bytes in [1, 1 << 20] {
        let mut world = World::new(ring_bytes, 1 << 20);
        world.create(0, pb::WatchCreateRequest { start_revision: 4, prev_kv: true, ..key_create("a") });
        for _ in 2..=6 {
            world.put("a", "x");
        }
        world.history.compacted = 4;
        let responses = world.responses(0);
        let events = responses.iter().flat_map(|response| &response.events);
        let prev: Vec<_> = events.map(|event| event.prev_kv.as_ref().map(|kv| kv.mod_revision)).collect();
        assert_eq!(prev, [None, Some(4), Some(5)], "a ring of {ring_bytes} bytes");
    }
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
