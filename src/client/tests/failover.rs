//! What the client does when servers fail, against servers that fail as told.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cairn_api::ApiError;
use cairn_api::etcdserverpb::*;
use cairn_api::mvccpb::{Event, KeyValue};
use cairn_client::{Client, Error, Options};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A server that refuses the first `refusals` unary calls and plays scripted watch streams.
#[derive(Clone, Default)]
struct Fake {
    refusals: usize,
    calls: Arc<AtomicUsize>,
    /// One list of responses per stream; each stream ends with an error after its list.
    streams: Arc<Mutex<Vec<Vec<WatchResponse>>>>,
    /// What the streams were asked to begin at.
    starts: Arc<Mutex<Vec<i64>>>,
    renewals: Arc<AtomicUsize>,
}

impl Fake {
    async fn start(&self) -> SocketAddr {
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).expect("a free port");
        let address = incoming.local_addr().unwrap();
        let server = tonic::transport::Server::builder()
            .add_service(kv_server::KvServer::new(self.clone()))
            .add_service(watch_server::WatchServer::new(self.clone()))
            .add_service(lease_server::LeaseServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(incoming));
        address
    }

    fn answer<T: Default>(&self) -> Result<Response<T>, Status> {
        match self.calls.fetch_add(1, Ordering::SeqCst) < self.refusals {
            true => Err(ApiError::NoLeader.into()),
            false => Ok(Response::new(T::default())),
        }
    }
}

#[tonic::async_trait]
impl kv_server::Kv for Fake {
    type RangeStreamStream = Answers<RangeStreamResponse>;
    async fn range(&self, _: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        self.answer()
    }
    async fn range_stream(&self, _: Request<RangeRequest>) -> Result<Response<Self::RangeStreamStream>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn put(&self, _: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        self.answer()
    }
    async fn delete_range(&self, _: Request<DeleteRangeRequest>) -> Result<Response<DeleteRangeResponse>, Status> {
        self.answer()
    }
    async fn txn(&self, _: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        self.answer()
    }
    async fn compact(&self, _: Request<CompactionRequest>) -> Result<Response<CompactionResponse>, Status> {
        self.answer()
    }
}

#[tonic::async_trait]
impl watch_server::Watch for Fake {
    type WatchStream = Answers<WatchResponse>;
    async fn watch(&self, request: Request<Streaming<WatchRequest>>) -> Result<Response<Self::WatchStream>, Status> {
        assert_eq!(request.metadata().get("hasleader").unwrap(), "true");
        let Some(watch_request::RequestUnion::CreateRequest(create)) =
            request.into_inner().message().await?.and_then(|message| message.request_union)
        else {
            return Err(Status::invalid_argument("a creation comes first"));
        };
        self.starts.lock().unwrap().push(create.start_revision);
        let mut streams = self.streams.lock().unwrap();
        let script = if streams.is_empty() { Vec::new() } else { streams.remove(0) };
        let end = std::iter::once(Err(Status::unavailable("the connection broke")));
        Ok(Response::new(Box::pin(tokio_stream::iter(script.into_iter().map(Ok).chain(end)))))
    }
}

#[tonic::async_trait]
impl lease_server::Lease for Fake {
    type LeaseKeepAliveStream = Answers<LeaseKeepAliveResponse>;
    async fn lease_grant(&self, _: Request<LeaseGrantRequest>) -> Result<Response<LeaseGrantResponse>, Status> {
        self.answer()
    }
    async fn lease_revoke(&self, _: Request<LeaseRevokeRequest>) -> Result<Response<LeaseRevokeResponse>, Status> {
        self.answer()
    }
    /// Every other renewal breaks the stream; the fifth finds the lease gone.
    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let renewals = self.renewals.clone();
        let answers = request.into_inner().map(move |renewal| match renewals.fetch_add(1, Ordering::SeqCst) {
            number if number % 2 == 1 => Err(Status::unavailable("the connection broke")),
            number => Ok(LeaseKeepAliveResponse { id: renewal?.id, ttl: if number < 4 { 1 } else { 0 }, header: None }),
        });
        Ok(Response::new(Box::pin(answers)))
    }
    async fn lease_time_to_live(
        &self,
        _: Request<LeaseTimeToLiveRequest>,
    ) -> Result<Response<LeaseTimeToLiveResponse>, Status> {
        self.answer()
    }
    async fn lease_leases(&self, _: Request<LeaseLeasesRequest>) -> Result<Response<LeaseLeasesResponse>, Status> {
        self.answer()
    }
}

async fn client_of(fake: &Fake) -> Client {
    Client::connect([fake.start().await.to_string()], Options::default()).unwrap()
}

/// An address that nobody listens on.
fn dead_endpoint() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().unwrap().to_string()
}

#[tokio::test]
async fn a_read_is_tried_again_while_the_server_is_unavailable() {
    let fake = Fake { refusals: 2, ..Fake::default() };
    client_of(&fake).await.range(RangeRequest::default()).await.unwrap();
    assert_eq!(fake.calls.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_write_that_reached_a_server_is_not_tried_again() {
    let fake = Fake { refusals: 2, ..Fake::default() };
    let error = client_of(&fake).await.put(PutRequest::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "etcdserver: no leader");
    assert_eq!(fake.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn reads_and_writes_go_to_another_endpoint_when_one_cannot_be_reached() {
    let fake = Fake::default();
    let endpoints = [dead_endpoint(), format!("http://{}", fake.start().await), dead_endpoint()];
    let client = Client::connect(endpoints, Options::default()).unwrap();
    for _ in 0..6 {
        client.put(PutRequest::default()).await.unwrap();
        client.range(RangeRequest::default()).await.unwrap();
    }
    assert_eq!(fake.calls.load(Ordering::SeqCst), 12);
}

#[tokio::test]
async fn a_call_that_reaches_nobody_ends_by_its_deadline_with_the_cause() {
    let options = Options { timeout: Some(Duration::from_millis(100)), ..Options::default() };
    let client = Client::connect([dead_endpoint()], options).unwrap();
    let error = client.put(PutRequest::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "context deadline exceeded");
    let Error::DeadlineExceeded { last: Some(cause) } = error else { panic!("there was an attempt") };
    assert!(cause.contains("refused"), "{cause}");
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused_before_it_is_sent() {
    let options = Options { max_send_bytes: 10, ..Options::default() };
    let client = Client::connect([dead_endpoint()], options).unwrap();
    let error = client.put(PutRequest { value: vec![0; 9].into(), ..Default::default() }).await.unwrap_err();
    let text = "rpc error: code = ResourceExhausted desc = trying to send message larger than max (11 vs. 10)";
    assert_eq!(error.to_string(), text);
}

fn events(revisions: &[i64], fragment: bool) -> WatchResponse {
    let event =
        |&mod_revision| Event { kv: Some(KeyValue { mod_revision, ..Default::default() }), ..Default::default() };
    WatchResponse { events: revisions.iter().map(event).collect(), fragment, ..Default::default() }
}

fn created(revision: i64) -> WatchResponse {
    let header = Some(ResponseHeader { revision, ..Default::default() });
    WatchResponse { header, created: true, ..Default::default() }
}

#[tokio::test]
async fn a_watch_goes_on_after_the_last_whole_revision_that_it_saw() {
    let fake = Fake::default();
    let canceled = WatchResponse { canceled: true, compact_revision: 9, ..Default::default() };
    *fake.streams.lock().unwrap() = vec![
        vec![created(4)],
        vec![created(4), events(&[5], false), events(&[6, 7], false), events(&[8], true)],
        vec![created(8), events(&[8], true), events(&[8, 9], false)],
        vec![created(9), canceled],
    ];
    let mut watcher = client_of(&fake).await.watch(WatchCreateRequest::default(), true);
    let mut seen = Vec::new();
    while let Some(response) = watcher.next().await.unwrap() {
        seen.push(response.events.iter().map(|event| event.kv.as_ref().unwrap().mod_revision).collect::<Vec<_>>());
    }
    assert_eq!(seen, [vec![5], vec![6, 7], vec![8, 8, 9], vec![]]);
    assert_eq!(*fake.starts.lock().unwrap(), [0, 5, 8, 10]);
    assert!(watcher.next().await.unwrap().is_none(), "a watch that ended stays so");
}

#[tokio::test]
async fn a_lease_is_renewed_over_broken_streams_until_it_is_gone() {
    let fake = Fake::default();
    let mut keep_alive = client_of(&fake).await.keep_alive(7);
    let mut answers = 0;
    while let Some(answer) = keep_alive.next().await.unwrap() {
        assert_eq!((answer.id, answer.ttl), (7, 1));
        answers += 1;
    }
    assert_eq!(answers, 2);
    assert!(keep_alive.next().await.unwrap().is_none());
}
