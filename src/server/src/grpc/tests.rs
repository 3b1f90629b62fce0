//! The services over a real connection, as a client sees them.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use cairn_api::etcdserverpb as pb;
use cairn_api::etcdserverpb::kv_client::KvClient;
use cairn_api::etcdserverpb::maintenance_client::MaintenanceClient;
use sha2::{Digest, Sha256};
use tokio::sync::watch as watch_channel;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};

use crate::config::{Config, HealthCheck, Settings};
use crate::health_check;
use crate::node::{self, Fatal, Node};

struct Server {
    node: Arc<Node>,
    address: SocketAddr,
    stop: watch_channel::Sender<bool>,
    serving: JoinHandle<anyhow::Result<()>>,
    _temp: tempfile::TempDir,
}

impl Server {
    async fn start() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let mut config = Config::new(Settings::default()).unwrap();
        config.node.data_dir = temp.path().join("data");
        config.node.memory_budget_bytes = 32 << 20;
        config.node.sync = false;
        config.serve.listen[0].port = 0;
        config.serve.max_request_bytes = 1 << 20;
        config.node.max_request_bytes = 1 << 20;
        let Config { node, serve, .. } = config;
        let fatal = Fatal::new(|reason| panic!("{reason}"));
        let node = tokio::task::spawn_blocking(move || node::start(node, fatal)).await.unwrap().unwrap();
        node.become_ready().await.unwrap();
        let node = Arc::new(node);
        let listeners = super::listen(&serve).unwrap();
        let address = listeners[0].local_addr().unwrap();
        let (stop, stopping) = watch_channel::channel(false);
        let served = node.clone();
        let serving = tokio::spawn(async move { super::serve(served, &serve, listeners, stopping).await });
        Self { node, address, stop, serving, _temp: temp }
    }

    async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        self.serving.await.unwrap().unwrap();
        tokio::task::spawn_blocking(move || self.node.stop()).await.unwrap();
    }

    async fn get(&self, path: &str) -> String {
        let (address, path) = (self.address, path.to_owned());
        let ask = move || {
            let mut connection = std::net::TcpStream::connect(address).unwrap();
            write!(connection, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
            let mut answer = String::new();
            connection.read_to_string(&mut answer).unwrap();
            answer
        };
        tokio::task::spawn_blocking(ask).await.unwrap()
    }
}

fn put(key: String, value: impl Into<Bytes>) -> pb::PutRequest {
    pb::PutRequest { key: key.into(), value: value.into(), ..Default::default() }
}

fn everything() -> pb::RangeRequest {
    pb::RangeRequest { key: Bytes::from_static(b"\0"), range_end: Bytes::from_static(b"\0"), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chunks_of_a_stream_together_are_the_answer_to_the_same_range() {
    let server = Server::start().await;
    let mut client = KvClient::new(server.channel().await);
    for key in 0..20 {
        client.put(put(format!("key-{key:03}"), vec![7; 50_000])).await.unwrap();
    }
    for (limit, keys_only, count_only) in [(0, false, false), (7, false, false), (0, true, false), (0, false, true)] {
        let request = pb::RangeRequest { limit, keys_only, count_only, ..everything() };
        let whole =
            client.clone().max_decoding_message_size(16 << 20).range(request.clone()).await.unwrap().into_inner();
        let mut stream = client.range_stream(request).await.unwrap().into_inner();
        let mut merged = pb::RangeResponse::default();
        while let Some(chunk) = stream.message().await.unwrap() {
            let chunk = chunk.range_response.unwrap();
            merged.kvs.extend(chunk.kvs);
            (merged.header, merged.more, merged.count) = (chunk.header, chunk.more, chunk.count);
        }
        assert_eq!(merged, whole);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_refuses_what_it_cannot_do() {
    let server = Server::start().await;
    let mut client = KvClient::new(server.channel().await);
    let sorted = pb::RangeRequest { sort_order: 2, ..everything() };
    let status = client.range_stream(sorted).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unimplemented, "RangeStream does not support custom sort orders")
    );
    let filtered = pb::RangeRequest { min_mod_revision: 1, ..everything() };
    let status = client.range_stream(filtered).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unimplemented, "RangeStream does not support revision filters")
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_and_requests_that_are_too_large_get_the_texts_that_clients_know() {
    let server = Server::start().await;
    let mut client = KvClient::new(server.channel().await);
    let status = client.put(put("a".to_owned(), vec![0; 2 << 20])).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.message(), "grpc: received message larger than max (2097160 vs. 1572864)");
    let status = client.put(put("a".to_owned(), vec![0; 1 << 20])).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "etcdserver: request is too large"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_requires_a_leader_is_served_while_there_is_one() {
    let server = Server::start().await;
    let mut client = KvClient::new(server.channel().await);
    let mut request = Request::new(everything());
    request.metadata_mut().insert("hasleader", "true".parse().unwrap());
    client.range(request).await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_counts_down_and_ends_with_its_hash() {
    let server = Server::start().await;
    let channel = server.channel().await;
    KvClient::new(channel.clone()).put(put("a".to_owned(), vec![1; 100_000])).await.unwrap();
    let mut stream = MaintenanceClient::new(channel).snapshot(pb::SnapshotRequest {}).await.unwrap().into_inner();
    let mut chunks = Vec::new();
    while let Some(chunk) = stream.message().await.unwrap() {
        chunks.push(chunk);
    }
    let hash = chunks.pop().unwrap();
    assert_eq!(hash.remaining_bytes, 0);
    let mut remaining = chunks[0].remaining_bytes + chunks[0].blob.len() as u64;
    assert_eq!(remaining % 512, 0, "stock etcdctl looks for a size of 512 n + 32");
    let mut digest = Sha256::new();
    for chunk in &chunks {
        remaining -= chunk.blob.len() as u64;
        assert_eq!(chunk.remaining_bytes, remaining);
        digest.update(&chunk.blob);
    }
    assert_eq!(digest.finalize().as_slice(), hash.blob);
    let temporary = server.node.shared().temporary.clone();
    while std::fs::read_dir(&temporary).unwrap().next().is_some() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_get_pages_and_other_paths_get_404() {
    let server = Server::start().await;
    let health = server.get("/health").await;
    assert!(health.starts_with("HTTP/1.1 200") && health.ends_with(r#"{"health":"true","reason":""}"#), "{health}");
    assert!(server.get("/version").await.contains(r#""etcdserver":"3.6."#));
    assert!(server.get("/v3/kv/range").await.starts_with("HTTP/1.1 404"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_check_passes_while_the_server_serves_and_no_longer() {
    let server = Server::start().await;
    let mut endpoint = Config::new(Settings::default()).unwrap().serve.listen[0].clone();
    endpoint.text = format!("http://{}", server.address);
    let check = HealthCheck { endpoint, deadline: std::time::Duration::from_secs(60) };
    health_check::ask(&check).await.unwrap();
    server.stop().await;
    health_check::ask(&check).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_stops_while_clients_hold_streams_open() {
    let server = Server::start().await;
    let mut client = pb::lease_client::LeaseClient::new(server.channel().await);
    let (requests, receiver) = tokio::sync::mpsc::channel(1);
    requests.send(pb::LeaseKeepAliveRequest { id: 5 }).await.unwrap();
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut responses = client.lease_keep_alive(stream).await.unwrap().into_inner();
    assert_eq!(responses.message().await.unwrap().unwrap().ttl, 0);
    server.stop().await;
    let status = responses.message().await.unwrap_err();
    assert_eq!(status.message(), "etcdserver: server stopped");
}

#[tokio::test]
async fn a_read_whose_client_has_given_up_holds_its_place_until_it_ends() {
    let server = Server::start().await;
    let core = super::core::Core::new(server.node.clone(), &Config::new(Settings::default()).unwrap().serve);
    let (end, held) = std::sync::mpsc::channel::<()>();
    let held = Arc::new(std::sync::Mutex::new(held));
    for _ in 0..cairn_types::limits::MAX_CONCURRENT_SCANS {
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let held = held.clone();
        let read = core.scan(move || {
            begun.send(()).unwrap();
            let _ended = held.lock().unwrap().recv();
            Ok(())
        });
        tokio::select! {
            ended = read => panic!("{ended:?}"),
            begun = has_begun => begun.unwrap(),
        }
    }
    let mut next = std::pin::pin!(core.scan(|| Ok(())));
    assert!(futures::poll!(next.as_mut()).is_pending(), "all places are held by reads that still run");
    core.stream(|| Ok(())).await.expect("streams have places of their own");
    drop(end);
    next.await.unwrap();
    server.stop().await;
}
