//! Whatever happens, in whatever order, each watcher gets what it is owed.

use proptest::prelude::*;

use super::*;

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
