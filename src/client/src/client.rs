//! Endpoints, deadlines and retries; and one method for each unary call.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cairn_api::etcdserverpb::*;
use cairn_api::health;
use prost::Message;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

use crate::retry::{MAX_ATTEMPTS, Repeat, Verdict, backoff, describe, judge};
use crate::{Error, KeepAlive, Watcher, endpoint};

/// Largest message that is received, in bytes (etcd's client: MaxInt32).
const MAX_RECEIVE_BYTES: usize = 0x7fff_ffff;

/// How a client behaves. The defaults are those of etcd's client, with a deadline.
#[derive(Clone, Debug)]
pub struct Options {
    /// Longest time to make one connection.
    pub dial_timeout: Duration,
    /// Longest time of one unary call, all its attempts together; `None`: no limit but that of attempts.
    pub timeout: Option<Duration>,
    /// A connection in use that was silent for so long is probed.
    pub keepalive_time: Duration,
    /// A probe that is not answered for so long breaks the connection.
    pub keepalive_timeout: Duration,
    /// Largest request, in bytes; larger ones fail here with `ResourceExhausted`, as in etcd's client.
    pub max_send_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            dial_timeout: Duration::from_secs(2),
            timeout: Some(Duration::from_secs(10)),
            keepalive_time: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
            max_send_bytes: 2 << 20,
        }
    }
}

/// A handle to a cluster. Cloning is cheap and shares the connections.
#[derive(Clone, Debug)]
pub struct Client {
    channels: Arc<[Channel]>,
    /// Counts calls; its remainder is the endpoint of the next one.
    next: Arc<AtomicUsize>,
    options: Arc<Options>,
}

/// Where a call is to go, and how often it was tried.
struct Attempts {
    first: usize,
    deadline: Option<Instant>,
    tried: u32,
}

macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident = $stub:ident.$call:ident, $repeat:ident: $request:ty => $response:ty;)*) => {
        impl Client {
            $($(#[$doc])*
            ///
            /// # Errors
            /// What the server answered, or [`Error::DeadlineExceeded`].
            pub async fn $name(&self, request: $request) -> Result<$response, Error> {
                let send = |channel, request| async move { $stub(channel).$call(request).await };
                self.unary(Repeat::$repeat, request, send).await
            })*
        }
    };
}

unary! {
    /// Reads keys.
    range = kv_stub.range, Always: RangeRequest => RangeResponse;
    /// Writes a key.
    put = kv_stub.put, IfNotSent: PutRequest => PutResponse;
    /// Deletes keys.
    delete_range = kv_stub.delete_range, IfNotSent: DeleteRangeRequest => DeleteRangeResponse;
    /// Compares, then does one of two lists of operations.
    txn = kv_stub.txn, IfNotSent: TxnRequest => TxnResponse;
    /// Forgets history.
    compact = kv_stub.compact, IfNotSent: CompactionRequest => CompactionResponse;
    /// Creates a lease.
    lease_grant = lease_stub.lease_grant, IfNotSent: LeaseGrantRequest => LeaseGrantResponse;
    /// Ends a lease and deletes its keys.
    lease_revoke = lease_stub.lease_revoke, IfNotSent: LeaseRevokeRequest => LeaseRevokeResponse;
    /// How long a lease has to live, and its keys if wanted.
    lease_time_to_live = lease_stub.lease_time_to_live, Always: LeaseTimeToLiveRequest => LeaseTimeToLiveResponse;
    /// All leases.
    leases = lease_stub.lease_leases, Always: LeaseLeasesRequest => LeaseLeasesResponse;
    /// The members of the cluster.
    member_list = cluster_stub.member_list, Always: MemberListRequest => MemberListResponse;
    /// Lists, raises or clears alarms.
    alarm = maintenance_stub.alarm, Always: AlarmRequest => AlarmResponse;
    /// The state of the member that answers.
    status = maintenance_stub.status, Always: StatusRequest => StatusResponse;
    /// Asks the member that answers to give space back.
    defragment = maintenance_stub.defragment, IfNotSent: DefragmentRequest => DefragmentResponse;
    /// Checksum of the whole store of the member that answers.
    hash = maintenance_stub.hash, Always: HashRequest => HashResponse;
    /// Checksum of the history up to a revision, of the member that answers.
    hash_kv = maintenance_stub.hash_kv, Always: HashKvRequest => HashKvResponse;
    /// Whether authentication is enabled.
    auth_status = auth_stub.auth_status, Always: AuthStatusRequest => AuthStatusResponse;
    /// gRPC health of the member that answers.
    health = health_stub.check, Always: health::HealthCheckRequest => health::HealthCheckResponse;
}

impl Client {
    /// A client of these endpoints (`host:port`, or an `http://` URL). Connections are made on first use, so this does
    /// not fail where nobody listens: the first call does.
    ///
    /// # Errors
    /// [`Error::Endpoint`] where one cannot be understood, or where there is none.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn connect<S: AsRef<str>>(endpoints: impl IntoIterator<Item = S>, options: Options) -> Result<Self, Error> {
        let channels = endpoints
            .into_iter()
            .map(|endpoint| endpoint::channel(endpoint.as_ref(), &options))
            .collect::<Result<Vec<_>, _>>()?;
        if channels.is_empty() {
            return Err(Error::Endpoint { endpoint: String::new(), reason: "is missing: at least one is needed" });
        }
        Ok(Self { channels: channels.into(), next: Arc::default(), options: Arc::new(options) })
    }

    /// The same connections with another longest time for a call.
    #[must_use]
    pub fn with_timeout(&self, timeout: Option<Duration>) -> Self {
        let options = Options { timeout, ..(*self.options).clone() };
        Self { options: Arc::new(options), ..self.clone() }
    }

    /// A watch that survives the loss of its connection. `require_leader`: the server ends it while there is no leader,
    /// and it goes on at another endpoint.
    #[must_use]
    pub fn watch(&self, request: WatchCreateRequest, require_leader: bool) -> Watcher {
        Watcher::new(self.clone(), request, require_leader)
    }

    /// Keeps a lease alive for as long as [`KeepAlive::next`] is polled.
    #[must_use]
    pub fn keep_alive(&self, lease: i64) -> KeepAlive {
        KeepAlive::new(self.clone(), lease)
    }

    /// Renews a lease once. A TTL of 0 in the answer: there is no such lease.
    ///
    /// # Errors
    /// What the server answered, or [`Error::DeadlineExceeded`].
    pub async fn keep_alive_once(&self, lease: i64) -> Result<LeaseKeepAliveResponse, Error> {
        let send = |channel, request: Request<LeaseKeepAliveRequest>| async move {
            let stream = tokio_stream::once(request.into_inner());
            let mut answers = lease_stub(channel).lease_keep_alive(stream).await?;
            let answer = answers.get_mut().message().await?;
            answer.map(Response::new).ok_or_else(|| Status::unavailable("the stream ended without an answer"))
        };
        self.unary(Repeat::Always, LeaseKeepAliveRequest { id: lease }, send).await
    }

    /// A stream of the member's whole store. No deadline holds for it; it is not resumed.
    ///
    /// # Errors
    /// What the server answered when the stream was opened.
    pub async fn snapshot(&self) -> Result<Streaming<SnapshotResponse>, Error> {
        let send = |channel, request| async move { maintenance_stub(channel).snapshot(request).await };
        self.with_timeout(None).unary(Repeat::Always, SnapshotRequest {}, send).await
    }

    /// Raw stub on the endpoint whose turn it is: no retry, no deadline.
    #[must_use]
    pub fn kv(&self) -> kv_client::KvClient<Channel> {
        kv_stub(self.channel())
    }

    /// Raw stub, like [`Self::kv`].
    #[must_use]
    pub fn watches(&self) -> watch_client::WatchClient<Channel> {
        watch_client::WatchClient::new(self.channel()).max_decoding_message_size(MAX_RECEIVE_BYTES)
    }

    /// Raw stub, like [`Self::kv`].
    #[must_use]
    pub fn lease(&self) -> lease_client::LeaseClient<Channel> {
        lease_stub(self.channel())
    }

    /// Raw stub, like [`Self::kv`].
    #[must_use]
    pub fn cluster(&self) -> cluster_client::ClusterClient<Channel> {
        cluster_stub(self.channel())
    }

    /// Raw stub, like [`Self::kv`].
    #[must_use]
    pub fn maintenance(&self) -> maintenance_client::MaintenanceClient<Channel> {
        maintenance_stub(self.channel())
    }

    /// Raw stub, like [`Self::kv`].
    #[must_use]
    pub fn auth(&self) -> auth_client::AuthClient<Channel> {
        auth_stub(self.channel())
    }

    /// Raw stub, like [`Self::kv`].
    #[must_use]
    pub fn health_check(&self) -> health::health_client::HealthClient<Channel> {
        health_stub(self.channel())
    }

    /// The connection of the endpoint whose turn it is.
    fn channel(&self) -> Channel {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.channels[turn % self.channels.len()].clone()
    }

    /// One call with its attempts, until it succeeds, fails for good, or the deadline passes.
    async fn unary<Q, R, F, Fut>(&self, repeat: Repeat, request: Q, send: F) -> Result<R, Error>
    where
        Q: Message + Clone,
        F: Fn(Channel, Request<Q>) -> Fut,
        Fut: Future<Output = Result<Response<R>, Status>>,
    {
        self.check_size(request.encoded_len())?;
        let mut attempts = self.attempts();
        loop {
            let mut message = Request::new(request.clone());
            let failure = match attempts.deadline {
                None => send(attempts.channel(self), message).await,
                Some(deadline) => {
                    message.set_timeout(deadline.saturating_duration_since(Instant::now()));
                    let call = tokio::time::timeout_at(deadline, send(attempts.channel(self), message));
                    call.await.map_err(|_| Error::DeadlineExceeded { last: None })?
                }
            };
            match failure {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) => attempts.failed(self, repeat, status).await?,
            }
        }
    }

    fn attempts(&self) -> Attempts {
        let deadline = self.options.timeout.map(|timeout| Instant::now() + timeout);
        Attempts { first: self.next.fetch_add(1, Ordering::Relaxed), deadline, tried: 0 }
    }

    fn check_size(&self, size: usize) -> Result<(), Error> {
        let limit = self.options.max_send_bytes;
        if size <= limit {
            return Ok(());
        }
        let text = format!("trying to send message larger than max ({size} vs. {limit})");
        Err(Status::resource_exhausted(text).into())
    }
}

impl Attempts {
    /// The endpoint of this attempt: every attempt goes to the next one.
    fn channel(&self, client: &Client) -> Channel {
        let turn = self.first.wrapping_add(usize::try_from(self.tried).unwrap_or(0));
        client.channels[turn % client.channels.len()].clone()
    }

    /// Waits until the next attempt may start, or says why there is none.
    async fn failed(&mut self, client: &Client, repeat: Repeat, status: Status) -> Result<(), Error> {
        let verdict = judge(&status);
        let again = match verdict {
            Verdict::Final => false,
            Verdict::NotSent => self.deadline.is_some() || self.tried < MAX_ATTEMPTS,
            Verdict::MaybeSent => repeat == Repeat::Always && self.tried < MAX_ATTEMPTS,
            Verdict::OtherEndpoint => self.tried + 1 < u32::try_from(client.channels.len()).unwrap_or(u32::MAX),
        };
        if !again {
            return Err(status.into());
        }
        self.tried = self.tried.saturating_add(1);
        let start = Instant::now() + backoff(self.tried, verdict);
        match self.deadline {
            Some(deadline) if start >= deadline => {
                tokio::time::sleep_until(deadline).await;
                Err(Error::DeadlineExceeded { last: Some(describe(&status)) })
            }
            _ => {
                tokio::time::sleep_until(start).await;
                Ok(())
            }
        }
    }
}

fn kv_stub(channel: Channel) -> kv_client::KvClient<Channel> {
    kv_client::KvClient::new(channel).max_decoding_message_size(MAX_RECEIVE_BYTES)
}

fn lease_stub(channel: Channel) -> lease_client::LeaseClient<Channel> {
    lease_client::LeaseClient::new(channel).max_decoding_message_size(MAX_RECEIVE_BYTES)
}

fn cluster_stub(channel: Channel) -> cluster_client::ClusterClient<Channel> {
    cluster_client::ClusterClient::new(channel)
}

fn maintenance_stub(channel: Channel) -> maintenance_client::MaintenanceClient<Channel> {
    maintenance_client::MaintenanceClient::new(channel).max_decoding_message_size(MAX_RECEIVE_BYTES)
}

fn auth_stub(channel: Channel) -> auth_client::AuthClient<Channel> {
    auth_client::AuthClient::new(channel)
}

fn health_stub(channel: Channel) -> health::health_client::HealthClient<Channel> {
    health::health_client::HealthClient::new(channel)
}
