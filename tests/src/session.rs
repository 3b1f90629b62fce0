//! A conversation with one member, written down call by call.

use std::fmt::Debug;

use anyhow::Context;
use cairn_api::etcdserverpb as pb;
use cairn_api::etcdserverpb::{
    auth_client::AuthClient, cluster_client::ClusterClient, kv_client::KvClient, lease_client::LeaseClient,
    maintenance_client::MaintenanceClient, watch_client::WatchClient,
};
use cairn_api::health::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient};
use cairn_testkit::{DEADLINE, Member, Options, Peer};
use sha2::{Digest, Sha256};
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use crate::normal::Normal;

/// The size in bytes of the hash behind a snapshot.
const HASH_BYTES: usize = 32;

/// One call and what came of it.
#[derive(Clone, Debug)]
pub struct Step {
    /// The name that the scenario gave, or method and number.
    pub label: String,
    /// The request, for the reader of a difference.
    pub request: String,
    /// The normalised answer.
    pub outcome: String,
}

/// A member and the stubs to talk to it.
pub struct Session {
    /// The member itself.
    pub member: Member,
    channel: Channel,
    steps: Vec<Step>,
    label: Option<&'static str>,
}

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident: $client:ident.$rpc:ident($request:ty) -> $response:ty;)*) => {
        $($(#[$doc])*
        pub async fn $name(&mut self, request: $request) -> Option<$response> {
            let shown = format!("{request:?}");
            let mut client = $client::new(self.channel.clone()).max_decoding_message_size(usize::MAX);
            let answer = tokio::time::timeout(DEADLINE, client.$rpc(request)).await;
            let answer = answer.unwrap_or_else(|_| Err(Status::cancelled("no answer in time")));
            self.record(stringify!($name), shown, answer)
        })*
    };
}

impl Session {
    /// Starts a fresh member and connects to it.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start(peer: Peer, options: Options) -> anyhow::Result<Self> {
        let member = Member::start(peer, options).await?;
        let channel = member.connect().await?;
        Ok(Self { member, channel, steps: vec![], label: None })
    }

    /// Names the next call, so that the table of known differences can refer to it.
    pub fn step(&mut self, label: &'static str) -> &mut Self {
        self.label = Some(label);
        self
    }

    /// The transcript.
    #[must_use]
    pub fn into_steps(self) -> Vec<Step> {
        self.steps
    }

    /// The connection, for calls that are none of the transcript's business.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Stops the member, starts it again on the same data and connects anew.
    ///
    /// # Errors
    /// It does not stop or start.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.member.terminate().await?;
        self.member.restart().await?;
        self.channel = self.member.connect().await?;
        Ok(())
    }

    calls! {
        /// KV.Range
        range: KvClient.range(pb::RangeRequest) -> pb::RangeResponse;
        /// KV.Put
        put: KvClient.put(pb::PutRequest) -> pb::PutResponse;
        /// KV.DeleteRange
        delete: KvClient.delete_range(pb::DeleteRangeRequest) -> pb::DeleteRangeResponse;
        /// KV.Txn
        txn: KvClient.txn(pb::TxnRequest) -> pb::TxnResponse;
        /// KV.Compact
        compact_request: KvClient.compact(pb::CompactionRequest) -> pb::CompactionResponse;
        /// Lease.LeaseGrant
        lease_grant: LeaseClient.lease_grant(pb::LeaseGrantRequest) -> pb::LeaseGrantResponse;
        /// Lease.LeaseRevoke
        lease_revoke: LeaseClient.lease_revoke(pb::LeaseRevokeRequest) -> pb::LeaseRevokeResponse;
        /// Lease.LeaseTimeToLive
        lease_time_to_live: LeaseClient.lease_time_to_live(pb::LeaseTimeToLiveRequest) -> pb::LeaseTimeToLiveResponse;
        /// Lease.LeaseLeases
        lease_leases: LeaseClient.lease_leases(pb::LeaseLeasesRequest) -> pb::LeaseLeasesResponse;
        /// Cluster.MemberList
        member_list: ClusterClient.member_list(pb::MemberListRequest) -> pb::MemberListResponse;
        /// Maintenance.Status
        status: MaintenanceClient.status(pb::StatusRequest) -> pb::StatusResponse;
        /// Maintenance.Alarm
        alarm: MaintenanceClient.alarm(pb::AlarmRequest) -> pb::AlarmResponse;
        /// Maintenance.Defragment
        defragment: MaintenanceClient.defragment(pb::DefragmentRequest) -> pb::DefragmentResponse;
        /// Maintenance.Hash
        hash: MaintenanceClient.hash(pb::HashRequest) -> pb::HashResponse;
        /// Maintenance.HashKV
        hash_kv_request: MaintenanceClient.hash_kv(pb::HashKvRequest) -> pb::HashKvResponse;
        /// Auth.AuthStatus
        auth_status: AuthClient.auth_status(pb::AuthStatusRequest) -> pb::AuthStatusResponse;
        /// Health.Check
        health: HealthClient.check(HealthCheckRequest) -> HealthCheckResponse;
    }

    /// KV.Compact to a revision, not physical.
    pub async fn compact(&mut self, revision: i64) -> Option<pb::CompactionResponse> {
        self.compact_request(pb::CompactionRequest { revision, physical: false }).await
    }

    /// Maintenance.HashKV at a revision.
    pub async fn hash_kv(&mut self, revision: i64) -> Option<pb::HashKvResponse> {
        self.hash_kv_request(pb::HashKvRequest { revision }).await
    }

    /// Lease.LeaseGrant with a chosen id.
    pub async fn grant(&mut self, id: i64, ttl: i64) -> Option<pb::LeaseGrantResponse> {
        self.lease_grant(pb::LeaseGrantRequest { id, ttl }).await
    }

    /// Lease.LeaseKeepAlive: sends these ids over one stream and records as many answers.
    pub async fn keep_alive(&mut self, ids: &[i64]) {
        let requests: Vec<_> = ids.iter().map(|&id| pb::LeaseKeepAliveRequest { id }).collect();
        let shown = format!("{requests:?}");
        // The stream is kept open behind the last request, as clients do.
        let stream = futures::StreamExt::chain(tokio_stream::iter(requests), tokio_stream::pending());
        let mut answers = match LeaseClient::new(self.channel.clone()).lease_keep_alive(stream).await {
            Ok(answers) => answers.into_inner(),
            Err(status) => return self.write_down("keep_alive", shown, show_error(&status)),
        };
        for _ in ids {
            let outcome = match tokio::time::timeout(DEADLINE, answers.message()).await {
                Ok(Ok(Some(mut answer))) => {
                    answer.normalise();
                    format!("{answer:#?}")
                }
                Ok(Ok(None)) => "end of stream".to_owned(),
                Ok(Err(status)) => show_error(&status),
                Err(_) => "no answer".to_owned(),
            };
            self.write_down("keep_alive", shown.clone(), outcome);
        }
    }

    /// Maintenance.Snapshot: records the properties that every snapshot stream has, and returns its bytes.
    ///
    /// # Errors
    /// The stream ends with an error.
    pub async fn snapshot(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut client = MaintenanceClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX);
        let mut stream = client.snapshot(pb::SnapshotRequest {}).await.context("ask for a snapshot")?.into_inner();
        let (mut bytes, mut sizes, mut remaining, mut headers) = (vec![], vec![], vec![], 0);
        while let Some(chunk) = stream.message().await.context("read the snapshot")? {
            bytes.extend_from_slice(&chunk.blob);
            sizes.push(chunk.blob.len());
            remaining.push(chunk.remaining_bytes);
            headers += usize::from(chunk.header.is_some());
        }
        let body = bytes.len().checked_sub(HASH_BYTES).context("a snapshot shorter than its hash")?;
        let outcome = format!(
            "chunks of at most 32 KiB: {}\nlast chunk is the hash of the rest: {}\nremaining_bytes count down to 0: {}\nheaders: {}",
            sizes.iter().all(|&size| size <= 32 << 10),
            sizes.last() == Some(&HASH_BYTES) && Sha256::digest(&bytes[..body])[..] == bytes[body..],
            remaining.is_sorted_by(|a, b| a >= b) && remaining.last() == Some(&0),
            headers > 0,
        );
        self.write_down("snapshot", String::new(), outcome);
        Ok(bytes)
    }

    /// Opens a stream for watchers.
    #[must_use]
    pub fn watch(&self) -> crate::watch::Watch {
        crate::watch::Watch::open(WatchClient::new(self.channel.clone()))
    }

    fn record<T: Normal + Debug + Clone>(
        &mut self,
        method: &str,
        request: String,
        answer: Result<Response<T>, Status>,
    ) -> Option<T> {
        let answer = answer.map(Response::into_inner);
        let outcome = match answer.clone() {
            Ok(mut answer) => {
                answer.normalise();
                format!("{answer:#?}")
            }
            Err(status) => show_error(&status),
        };
        self.write_down(method, request, outcome);
        answer.ok()
    }

    /// Adds a step to the transcript.
    pub fn write_down(&mut self, method: &str, request: String, outcome: String) {
        let label = self.label.take().map_or_else(|| format!("{method} #{}", self.steps.len()), str::to_owned);
        self.steps.push(Step { label, request, outcome });
    }
}

/// An error as clients see it.
#[must_use]
pub fn show_error(status: &Status) -> String {
    let mut message = status.message().to_owned();
    if status.code() == Code::Unavailable && message.contains("error") {
        // The transport's own words about a lost connection differ from run to run.
        "connection lost".clone_into(&mut message);
    }
    format!("error {:?}: {message}", status.code())
}
