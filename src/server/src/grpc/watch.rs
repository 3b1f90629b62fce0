//! The gRPC side of Watch: streams in, shards on threads of their own, encoded responses out.
//!
//! Contract: one gRPC stream belongs to one shard (`cairn_state::watch`) and costs no task of its own: the connection's
//! task reads its requests and takes its responses while it sends. A client that reads slowly fills its own queue and then
//! stops being read from; nobody else notices. Shards run on threads because watchers that are behind read the disk.
//! The service is written by hand, since generated stubs would decode and encode every event again for each receiver.
//!
//! Left out: matching and order (`cairn_state::watch`), authentication.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use cairn_api::ApiError;
use cairn_api::etcdserverpb as pb;
use cairn_state::Store;
#[cfg(test)]
use cairn_state::watch::ShardStats;
use cairn_state::watch::{Outbox, StreamId, WatchOut};
use cairn_types::limits::{GRPC_OVERHEAD_BYTES, MAX_WATCH_QUEUE_BYTES, MAX_WATCH_REQUESTS_AHEAD};
use futures::Stream;
use futures::task::AtomicWaker;
use tonic::codec::CompressionEncoding;
use tonic::{Request, Response, Status, Streaming};

use self::codec::WatchCodec;
use self::driver::{Command, Driver, ShardHandle, lock};

mod codec;
mod driver;
#[cfg(test)]
mod tests;

const PATH: &str = "/etcdserverpb.Watch/Watch";
/// The metadata by which a client asks to be turned away by a member without a leader.
const REQUIRE_LEADER_KEY: &str = "hasleader";

/// What the service needs from the server.
#[derive(Clone)]
pub(crate) struct WatchDeps {
    /// What is watched.
    pub(crate) store: Arc<Store>,
    /// Cluster id, member id and the current Raft term, for response headers.
    pub(crate) header: Arc<dyn Fn() -> (u64, u64, u64) + Send + Sync>,
    /// Whether this member knows a leader.
    pub(crate) has_leader: Arc<dyn Fn() -> bool + Send + Sync>,
    /// `--election-timeout`.
    pub(crate) election_timeout: Duration,
    /// `--watch-progress-notify-interval`.
    pub(crate) progress_interval: Duration,
    /// `--max-request-bytes`.
    pub(crate) max_request_bytes: u32,
    /// How many threads match events, at least 1.
    pub(crate) shards: usize,
}

/// The Watch service. Clones share everything; [`shutdown`](Self::shutdown) ends it.
#[derive(Clone)]
pub(crate) struct WatchService {
    inner: Arc<Inner>,
}

struct Inner {
    deps: WatchDeps,
    shards: Vec<Arc<ShardHandle>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    opened: AtomicUsize,
}

impl WatchService {
    /// Starts the shards and becomes the store's one listener for new events.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub(crate) fn new(deps: WatchDeps) -> std::io::Result<Self> {
        let mut shards = Vec::new();
        let mut threads = Vec::new();
        for number in 0..deps.shards.max(1) {
            let (handle, thread) = Driver::spawn(number, &deps)?;
            shards.push(handle);
            threads.push(thread);
        }
        let listeners = shards.clone();
        deps.store.ring().on_publish(Box::new(move || listeners.iter().for_each(|shard| shard.wake())));
        let inner = Inner { deps, shards, threads: Mutex::new(threads), opened: AtomicUsize::new(0) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Ends all streams with `server stopped` and waits for the shards, which takes them a step of work at most.
    pub(crate) fn shutdown(&self) {
        self.inner.shutdown();
    }

    /// Counts over all shards.
    #[cfg(test)]
    pub(crate) fn stats(&self) -> ShardStats {
        let mut sum = ShardStats::default();
        for shard in &self.inner.shards {
            let stats = shard.stats();
            sum.streams += stats.streams;
            sum.watchers += stats.watchers;
            sum.behind += stats.behind;
        }
        sum
    }

    fn open(&self, requests: Request<Streaming<pb::WatchRequest>>) -> Result<Responses, Status> {
        let deps = &self.inner.deps;
        let needs_leader = requests.metadata().get(REQUIRE_LEADER_KEY).is_some_and(|value| value == "true");
        if needs_leader && !(deps.has_leader)() {
            return Err(ApiError::NoLeader.into());
        }
        let number = self.inner.opened.fetch_add(1, Ordering::Relaxed);
        let shard = Arc::clone(&self.inner.shards[number % self.inner.shards.len()]);
        let line = Arc::new(Line {
            outbox: Arc::new(Outbox::new(MAX_WATCH_QUEUE_BYTES)),
            waker: AtomicWaker::new(),
            unserved: AtomicUsize::new(0),
            end: OnceLock::new(),
            needs_leader,
        });
        // Spread over a tenth of the interval, so that the streams of a restarted server do not all speak at once.
        let interval = u64::try_from(deps.progress_interval.as_millis()).unwrap_or(u64::MAX).max(100);
        let interval = interval.saturating_add(fastrand::u64(..=interval / 10));
        let id = shard.open(Arc::clone(&line), interval).ok_or(Status::from(ApiError::Stopped))?;
        Ok(Responses { requests: Some(requests.into_inner()), line, shard, id, ended: false })
    }
}

impl Inner {
    fn shutdown(&self) {
        for shard in &self.shards {
            shard.stop();
        }
        for thread in lock(&self.threads).drain(..) {
            if thread.join().is_err() {
                tracing::error!("a watch shard has panicked");
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl tonic::server::NamedService for WatchService {
    const NAME: &'static str = "etcdserverpb.Watch";
}

impl tower::Service<http::Request<tonic::body::Body>> for WatchService {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            if request.uri().path() != PATH {
                return Ok(Status::unimplemented("").into_http());
            }
            let codec = WatchCodec::new(Arc::clone(&service.inner.deps.header));
            let limit = service.inner.deps.max_request_bytes.saturating_add(GRPC_OVERHEAD_BYTES) as usize;
            let mut grpc = tonic::server::Grpc::new(codec)
                .accept_compressed(CompressionEncoding::Gzip)
                .max_decoding_message_size(limit);
            Ok(grpc.streaming(Opener(service), request).await)
        })
    }
}

struct Opener(WatchService);

impl tonic::server::StreamingService<pb::WatchRequest> for Opener {
    type Response = WatchOut;
    type ResponseStream = Responses;
    type Future = std::future::Ready<Result<Response<Responses>, Status>>;

    fn call(&mut self, request: Request<Streaming<pb::WatchRequest>>) -> Self::Future {
        std::future::ready(self.0.open(request).map(Response::new))
    }
}

/// What a stream's connection and its shard share.
struct Line {
    outbox: Arc<Outbox>,
    waker: AtomicWaker,
    /// Requests that the shard has not served yet.
    unserved: AtomicUsize,
    /// Why the server ends the stream, once it does.
    end: OnceLock<ApiError>,
    needs_leader: bool,
}

impl Line {
    fn end(&self, reason: ApiError) {
        // The first reason is the one that the client gets.
        let _ = self.end.set(reason);
        self.waker.wake();
    }
}

/// The responses of one stream. Polling it also reads the stream's requests.
struct Responses {
    /// `None` once the client has closed its half, which does not end the watchers.
    requests: Option<Streaming<pb::WatchRequest>>,
    line: Arc<Line>,
    shard: Arc<ShardHandle>,
    id: StreamId,
    ended: bool,
}

impl Responses {
    /// Hands on what the client has sent, as long as its queue has room for the answers.
    fn read_requests(&mut self, cx: &mut Context<'_>) -> Result<(), Status> {
        while let Some(requests) = &mut self.requests {
            if self.line.unserved.load(Ordering::Acquire) >= MAX_WATCH_REQUESTS_AHEAD || self.line.outbox.is_full() {
                break; // the shard wakes us when it has served one, and taking from the queue polls us again
            }
            match Pin::new(requests).poll_next(cx) {
                Poll::Ready(Some(request)) => {
                    self.line.unserved.fetch_add(1, Ordering::AcqRel);
                    self.shard.send(Command::Request(self.id, request?));
                }
                Poll::Ready(None) => self.requests = None,
                Poll::Pending => break,
            }
        }
        Ok(())
    }
}

impl Stream for Responses {
    type Item = Result<WatchOut, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        // Before the looks below, so that what changes after them wakes us.
        this.line.waker.register(cx.waker());
        if let Err(status) = this.read_requests(cx) {
            this.ended = true;
            return Poll::Ready(Some(Err(status)));
        }
        if let Some(&reason) = this.line.end.get() {
            this.ended = true;
            return Poll::Ready(Some(Err(reason.into())));
        }
        let Some(popped) = this.line.outbox.pop() else { return Poll::Pending };
        if popped.resume {
            this.shard.send(Command::Drained(this.id));
        }
        Poll::Ready(Some(Ok(popped.response)))
    }
}

impl Drop for Responses {
    fn drop(&mut self) {
        self.shard.send(Command::Close(self.id));
    }
}
