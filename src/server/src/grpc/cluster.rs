//! The Cluster service. This version has one member: the list is served, and changes get etcd's refusals where there
//! is one.

use std::sync::Arc;

use cairn_api::ApiError;
use cairn_api::etcdserverpb as pb;
use cairn_api::etcdserverpb::cluster_server::Cluster;
use tonic::{Request, Response, Status};

use super::core::{Core, unsupported};

/// The service.
#[derive(Clone)]
pub(crate) struct ClusterService(pub(crate) Arc<Core>);

impl ClusterService {
    fn members(&self) -> Result<Vec<pb::Member>, Status> {
        self.0.node.view().members().map_err(|error| self.0.read_error(error))
    }

    fn check_exists(&self, id: u64) -> Result<(), Status> {
        if self.members()?.iter().any(|member| member.id == id) { Ok(()) } else { Err(ApiError::MemberNotFound.into()) }
    }
}

fn valid_urls(urls: &[String]) -> Result<(), Status> {
    let valid = |url: &String| url.starts_with("http://") || url.starts_with("https://");
    if !urls.is_empty() && urls.iter().all(valid) { Ok(()) } else { Err(ApiError::MemberUrlsInvalid.into()) }
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn member_add(
        &self,
        request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        let request = request.into_inner();
        valid_urls(&request.peer_ur_ls)?;
        let known = self.members()?;
        if known.iter().flat_map(|member| &member.peer_ur_ls).any(|url| request.peer_ur_ls.contains(url)) {
            return Err(ApiError::PeerUrlsExist.into());
        }
        Err(unsupported("adding a member"))
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        self.check_exists(request.into_inner().id)?;
        // What etcd's strict check says about the last member of a cluster.
        Err(ApiError::NotEnoughStarted.into())
    }

    async fn member_update(
        &self,
        request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        let request = request.into_inner();
        valid_urls(&request.peer_ur_ls)?;
        self.check_exists(request.id)?;
        Err(unsupported("changing the peer URLs of a member"))
    }

    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        if request.into_inner().linearizable {
            self.0.node.linearizable().await?;
        }
        let members = self.members()?;
        Ok(Response::new(pb::MemberListResponse { header: self.0.cluster_header(), members }))
    }

    async fn member_promote(
        &self,
        request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        self.check_exists(request.into_inner().id)?;
        Err(ApiError::MemberNotLearner.into())
    }
}
