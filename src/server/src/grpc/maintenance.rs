//! The Maintenance service of this member.

use std::sync::Arc;

use cairn_api::ApiError;
use cairn_api::ETCD_VERSION;
use cairn_api::etcdserverpb as pb;
use cairn_api::etcdserverpb::maintenance_server::Maintenance;
use cairn_state::{Command, Response as StateResponse};
use cairn_types::limits::MAX_CONCURRENT_SNAPSHOTS;
use tokio::sync::Semaphore;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::core::{Core, unsupported};
use super::kv::expect_response;
use super::snapshot;

/// The service.
#[derive(Clone)]
pub(crate) struct MaintenanceService {
    core: Arc<Core>,
    snapshots: Arc<Semaphore>,
}

impl MaintenanceService {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core, snapshots: Arc::new(Semaphore::new(MAX_CONCURRENT_SNAPSHOTS)) }
    }

    fn errors(&self) -> Result<Vec<String>, Status> {
        let mut errors = Vec::new();
        if self.core.node.shared().progress.leader() == 0 {
            errors.push(ApiError::NoLeader.text().to_owned());
        }
        let alarms = self.core.node.view().alarms().map_err(|error| self.core.read_error(error))?;
        // The text form of the message, with the blank that protobuf's printer leaves at its end.
        errors.extend(
            alarms.iter().map(|alarm| format!("memberID:{} alarm:{} ", alarm.member_id, alarm.alarm().as_str_name())),
        );
        Ok(errors)
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[tonic::async_trait]
impl Maintenance for MaintenanceService {
    async fn alarm(&self, request: Request<pb::AlarmRequest>) -> Result<Response<pb::AlarmResponse>, Status> {
        let response = self.core.node.propose(Command::Alarm(request.into_inner())).await?;
        expect_response!(response, Alarm)
    }

    async fn status(&self, _: Request<pb::StatusRequest>) -> Result<Response<pb::StatusResponse>, Status> {
        let shared = self.core.node.shared();
        let (total, in_use) = shared.quota.size();
        Ok(Response::new(pb::StatusResponse {
            header: self.core.header(),
            version: ETCD_VERSION.to_owned(),
            // Clients divide by it.
            db_size: signed(total.max(1)),
            leader: shared.progress.leader(),
            raft_index: shared.progress.commit().0,
            raft_term: shared.progress.term().0,
            raft_applied_index: shared.progress.applied().0,
            errors: self.errors()?,
            db_size_in_use: signed(in_use.max(1)),
            is_learner: false,
            storage_version: ETCD_VERSION.to_owned(),
            db_size_quota: signed(shared.quota.limit()),
            downgrade_info: Some(pb::DowngradeInfo::default()),
        }))
    }

    async fn defragment(&self, _: Request<pb::DefragmentRequest>) -> Result<Response<pb::DefragmentResponse>, Status> {
        self.core.node.reclaim();
        Ok(Response::new(pb::DefragmentResponse { header: None }))
    }

    async fn hash(&self, _: Request<pb::HashRequest>) -> Result<Response<pb::HashResponse>, Status> {
        let view = self.core.node.view();
        let hash = self.core.scan(move || view.hash()).await?;
        Ok(Response::new(pb::HashResponse { header: self.core.header(), hash }))
    }

    async fn hash_kv(&self, request: Request<pb::HashKvRequest>) -> Result<Response<pb::HashKvResponse>, Status> {
        let revision = request.into_inner().revision;
        let view = self.core.node.view();
        let current = view.revision;
        let hash = self.core.scan(move || view.hash_kv(revision)).await?;
        Ok(Response::new(pb::HashKvResponse {
            header: Some(self.core.node.header(current)),
            hash: hash.hash,
            compact_revision: hash.compact_revision,
            hash_revision: hash.hash_revision,
        }))
    }

    type SnapshotStream = ReceiverStream<Result<pb::SnapshotResponse, Status>>;

    async fn snapshot(&self, _: Request<pb::SnapshotRequest>) -> Result<Response<Self::SnapshotStream>, Status> {
        let Ok(permit) = self.snapshots.clone().try_acquire_owned() else {
            return Err(ApiError::TooManyRequests.into());
        };
        Ok(Response::new(snapshot::run(self.core.node.shared().clone(), permit)))
    }

    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        let shared = self.core.node.shared();
        if !shared.progress.leads() {
            return Err(ApiError::NotLeader.into());
        }
        if request.into_inner().target_id != shared.member.0 {
            return Err(ApiError::BadLeaderTransferee.into());
        }
        Ok(Response::new(pb::MoveLeaderResponse { header: None }))
    }

    async fn downgrade(&self, _: Request<pb::DowngradeRequest>) -> Result<Response<pb::DowngradeResponse>, Status> {
        Err(unsupported("a downgrade"))
    }
}
