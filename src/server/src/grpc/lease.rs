//! The Lease service. Keep-alives are memory only and never wait for the log, except to clear a checkpoint.

use std::sync::Arc;

use cairn_api::ApiError;
use cairn_api::etcdserverpb as pb;
use cairn_api::etcdserverpb::lease_server::Lease;
use cairn_state::{Command, KeepAlive, Response as StateResponse};
use cairn_types::LeaseId;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::core::Core;
use super::kv::expect_response;

/// Renewals that were answered and not yet taken by the client; at the limit its stream is not read from.
const MAX_RESPONSES_AHEAD: usize = 64;

/// The service.
#[derive(Clone)]
pub(crate) struct LeaseService {
    pub(crate) core: Arc<Core>,
    /// Turns true when the server stops: streams then end.
    pub(crate) stopping: watch::Receiver<bool>,
}

async fn renew(core: &Core, id: LeaseId) -> Result<pb::LeaseKeepAliveResponse, ApiError> {
    let shared = core.node.shared();
    if !shared.progress.leads() {
        return Err(ApiError::NoLeader);
    }
    // The header is older than the renewal, as in etcd: whoever compares revisions must not see one from after it.
    let header = core.header();
    let lessor = shared.store.lessor();
    let mut outcome = lessor.keep_alive(id, shared.clock.now_ms());
    if outcome == KeepAlive::MustClearCheckpoint {
        let clear = pb::LeaseCheckpoint { id: id.0, remaining_ttl: 0 };
        core.node.propose(Command::LeaseCheckpoint(pb::LeaseCheckpointRequest { checkpoints: vec![clear] })).await?;
        outcome = lessor.keep_alive(id, shared.clock.now_ms());
    }
    let ttl = match outcome {
        KeepAlive::Renewed { ttl } => ttl,
        // A checkpoint that came in between is cleared by the client's next renewal.
        KeepAlive::NotFound | KeepAlive::MustClearCheckpoint => 0,
    };
    Ok(pb::LeaseKeepAliveResponse { header, id: id.0, ttl })
}

async fn keep_alive(
    core: Arc<Core>,
    mut requests: Streaming<pb::LeaseKeepAliveRequest>,
    responses: mpsc::Sender<Result<pb::LeaseKeepAliveResponse, Status>>,
    mut stopping: watch::Receiver<bool>,
) {
    loop {
        let request = tokio::select! {
            request = requests.message() => request,
            _ = stopping.wait_for(|stopping| *stopping) => Err(ApiError::Stopped.into()),
        };
        let response = match request {
            Ok(Some(request)) => renew(&core, LeaseId(request.id)).await.map_err(Status::from),
            Ok(None) => return,
            Err(status) => Err(status),
        };
        let failed = response.is_err();
        if responses.send(response).await.is_err() || failed {
            return;
        }
    }
}

#[tonic::async_trait]
impl Lease for LeaseService {
    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        let request = request.into_inner();
        self.core.node.check_quota(&Command::LeaseGrant(request))?;
        let response = self.core.node.grant(request).await?;
        expect_response!(response, LeaseGrant)
    }

    async fn lease_revoke(
        &self,
        request: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        let response = self.core.node.propose(Command::LeaseRevoke(request.into_inner())).await?;
        expect_response!(response, LeaseRevoke)
    }

    type LeaseKeepAliveStream = ReceiverStream<Result<pb::LeaseKeepAliveResponse, Status>>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let (responses, receiver) = mpsc::channel(MAX_RESPONSES_AHEAD);
        tokio::spawn(keep_alive(self.core.clone(), request.into_inner(), responses, self.stopping.clone()));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        let request = request.into_inner();
        let id = LeaseId(request.id);
        let shared = self.core.node.shared();
        let times = shared.store.lessor().time_to_live(id, shared.clock.now_ms());
        let keys = if request.keys && times.is_some() {
            let view = self.core.node.view();
            self.core.scan(move || view.lease_keys(id)).await?
        } else {
            Vec::new()
        };
        let (ttl, granted_ttl) = times.map_or((-1, 0), |times| (times.remaining_ttl, times.granted_ttl));
        Ok(Response::new(pb::LeaseTimeToLiveResponse { header: self.core.header(), id: id.0, ttl, granted_ttl, keys }))
    }

    async fn lease_leases(
        &self,
        _: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        let leases = self.core.node.shared().store.lessor().leases();
        let leases = leases.into_iter().map(|id| pb::LeaseStatus { id: id.0 }).collect();
        Ok(Response::new(pb::LeaseLeasesResponse { header: self.core.header(), leases }))
    }
}
