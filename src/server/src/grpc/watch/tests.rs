//! The service over a real connection, on a store in memory.

use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use cairn_api::etcdserverpb::watch_client::WatchClient;
use cairn_api::etcdserverpb::watch_request::RequestUnion;
use cairn_state::{Command as StateCommand, EntryBuilder, Origin, StateMachine};
use cairn_storage::MemoryEngine;
use cairn_types::{Entry, EntryKind, LogIndex, Term};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::Code;
use tonic::transport::{Channel, Server};

use super::*;

struct World {
    machine: StateMachine,
    index: u64,
    service: WatchService,
    has_leader: Arc<AtomicBool>,
    channel: Channel,
}

/// One stream as its client has it.
struct Client {
    requests: Option<mpsc::UnboundedSender<pb::WatchRequest>>,
    responses: Streaming<pb::WatchResponse>,
}

impl World {
    async fn start() -> Self {
        let machine = StateMachine::open(Arc::new(MemoryEngine::new())).expect("an empty store opens");
        let has_leader = Arc::new(AtomicBool::new(true));
        let leader = Arc::clone(&has_leader);
        let service = WatchService::new(WatchDeps {
            store: machine.store(),
            header: Arc::new(|| (11, 22, 33)),
            has_leader: Arc::new(move || leader.load(Ordering::SeqCst)),
            election_timeout: Duration::from_millis(20),
            progress_interval: Duration::from_millis(100),
            max_request_bytes: 1 << 20,
            shards: 2,
        })
        .expect("threads start");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let router = Server::builder().add_service(service.clone());
        tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
        let endpoint = Channel::from_shared(format!("http://{address}")).expect("an address");
        let channel = endpoint.connect().await.expect("the server listens");
        Self { machine, index: 0, service, has_leader, channel }
    }

    fn put(&mut self, key: &str, value: impl Into<Bytes>) {
        self.index += 1;
        let mut entry = EntryBuilder::new(Origin::default());
        let key = Bytes::copy_from_slice(key.as_bytes());
        entry.push(&StateCommand::Put(pb::PutRequest { key, value: value.into(), ..Default::default() }));
        let (index, term, kind) = (LogIndex(self.index), Term(1), EntryKind::Normal);
        self.machine.apply(&[Entry { index, term, kind, data: entry.finish() }]).expect("a put applies");
    }

    async fn watch(&self, metadata: &[(&'static str, &'static str)]) -> Result<Client, Status> {
        let (requests, receiver) = mpsc::unbounded_channel();
        let mut request = Request::new(UnboundedReceiverStream::new(receiver));
        for (key, value) in metadata {
            request.metadata_mut().insert(*key, value.parse().expect("ascii"));
        }
        let responses = WatchClient::new(self.channel.clone()).watch(request).await?.into_inner();
        Ok(Client { requests: Some(requests), responses })
    }

    async fn watch_key(&self, create: pb::WatchCreateRequest) -> Client {
        let mut client = self.watch(&[]).await.expect("the server serves");
        client.send(RequestUnion::CreateRequest(create));
        assert!(client.next().await.created);
        client
    }
}

impl Client {
    fn send(&self, union: RequestUnion) {
        let request = pb::WatchRequest { request_union: Some(union) };
        self.requests.as_ref().expect("open").send(request).expect("the stream is open");
    }

    async fn next(&mut self) -> pb::WatchResponse {
        self.responses.message().await.expect("no error").expect("not the end")
    }

    async fn error(&mut self) -> Status {
        loop {
            match self.responses.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream ended without an error"),
                Err(status) => return status,
            }
        }
    }
}

fn key(key: &'static str) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest { key: Bytes::from_static(key.as_bytes()), ..Default::default() }
}

#[tokio::test]
async fn a_change_reaches_its_watcher_with_a_whole_header() {
    let mut world = World::start().await;
    let mut client = world.watch_key(pb::WatchCreateRequest { prev_kv: true, ..key("a") }).await;
    world.put("a", "1");
    world.put("a", "2");
    let mut events = Vec::new();
    while events.len() < 2 {
        let response = client.next().await;
        let header = response.header.expect("always there");
        assert_eq!((header.cluster_id, header.member_id, header.raft_term), (11, 22, 33));
        events.extend(response.events);
    }
    let values = events.iter().map(|e| (e.kv.clone().unwrap().value, e.prev_kv.clone().map(|kv| kv.value)));
    let expected = [(Bytes::from("1"), None), (Bytes::from("2"), Some(Bytes::from("1")))];
    assert_eq!(values.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_start_in_the_past_reads_the_store() {
    let mut world = World::start().await;
    for value in ["1", "2", "3"] {
        world.put("a", value);
    }
    let mut client = world.watch_key(pb::WatchCreateRequest { start_revision: 3, prev_kv: true, ..key("a") }).await;
    let response = client.next().await;
    assert_eq!(response.header.unwrap().revision, 4);
    let prev: Vec<_> = response.events.iter().map(|event| event.prev_kv.clone().unwrap().value).collect();
    assert_eq!(prev, ["1", "2"]);
}

#[tokio::test]
async fn closing_the_requests_does_not_end_the_watchers() {
    let mut world = World::start().await;
    let mut client = world.watch_key(key("a")).await;
    client.requests = None;
    world.put("a", "1");
    assert_eq!(client.next().await.events.len(), 1);
}

#[tokio::test]
async fn a_client_that_does_not_read_delays_neither_writers_nor_others() {
    let mut world = World::start().await;
    let mut slow = world.watch_key(key("a")).await;
    let mut fast = world.watch_key(key("a")).await;
    let rounds = 3 * MAX_WATCH_QUEUE_BYTES / (64 << 10);
    for _ in 0..rounds {
        world.put("a", vec![b'x'; 64 << 10]);
        assert_eq!(fast.next().await.events.len(), 1);
    }
    let mut revisions = Vec::new();
    while revisions.len() < rounds {
        revisions.extend(slow.next().await.events.iter().map(|event| event.kv.as_ref().unwrap().mod_revision));
    }
    assert!(revisions.into_iter().eq((2..).take(rounds)), "all of them, in order");
}

#[tokio::test]
async fn more_requests_than_are_read_ahead_are_all_answered_in_order() {
    let mut world = World::start().await;
    let mut client = world.watch(&[]).await.unwrap();
    for _ in 0..10 * MAX_WATCH_REQUESTS_AHEAD {
        client.send(RequestUnion::CreateRequest(key("a")));
    }
    for id in 0..10 * MAX_WATCH_REQUESTS_AHEAD {
        assert_eq!(client.next().await.watch_id, i64::try_from(id).unwrap());
    }
    world.put("a", "1");
    for _ in 0..10 * MAX_WATCH_REQUESTS_AHEAD {
        assert_eq!(client.next().await.events.len(), 1);
    }
    drop(client);
    while world.service.stats() != ShardStats::default() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn progress_comes_on_request_and_on_time() {
    let mut world = World::start().await;
    let mut client = world.watch_key(pb::WatchCreateRequest { progress_notify: true, ..key("a") }).await;
    world.put("b", "1");
    client.send(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}));
    let (mut asked, mut ticked) = (false, false);
    while !(asked && ticked) {
        let response = client.next().await;
        assert!(response.events.is_empty() && !response.created);
        assert!(response.watch_id == 0 || response.header.unwrap().revision == 2);
        asked |= response.watch_id == -1;
        ticked |= response.watch_id == 0;
    }
}

#[tokio::test]
async fn a_stream_that_needs_a_leader_is_refused_or_ended_without_one() {
    let world = World::start().await;
    let mut client = world.watch(&[("hasleader", "true")]).await.expect("there is a leader");
    world.has_leader.store(false, Ordering::SeqCst);
    let status = client.error().await;
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "etcdserver: no leader"));
    let status = world.watch(&[("hasleader", "true")]).await.err().expect("no leader");
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "etcdserver: no leader"));
    assert!(world.watch(&[]).await.is_ok(), "others are served");
}

#[tokio::test]
async fn a_shutdown_ends_streams_with_an_error_that_clients_retry() {
    let world = World::start().await;
    let mut client = world.watch_key(key("a")).await;
    world.service.shutdown();
    let status = client.error().await;
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "etcdserver: server stopped"));
    let status = world.watch(&[]).await.err().expect("stopped");
    assert_eq!(status.message(), "etcdserver: server stopped");
}
