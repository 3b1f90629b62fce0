//! gRPC health checking: the whole server, under the empty name.

use cairn_api::health::health_check_response::ServingStatus;
use cairn_api::health::health_server::Health;
use cairn_api::health::{HealthCheckRequest, HealthCheckResponse};
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Clone)]
pub(crate) struct HealthService {
    /// Turns true when the server stops.
    pub(crate) stopping: watch::Receiver<bool>,
}

fn check(service: &str) -> Result<(), Status> {
    if service.is_empty() { Ok(()) } else { Err(Status::not_found("unknown service")) }
}

fn response(stopping: bool) -> HealthCheckResponse {
    let status = if stopping { ServingStatus::NotServing } else { ServingStatus::Serving };
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        check(&request.into_inner().service)?;
        Ok(Response::new(response(*self.stopping.borrow())))
    }

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        check(&request.into_inner().service)?;
        let mut stopping = self.stopping.clone();
        let now = response(*stopping.borrow());
        let end = async move {
            // An error means that the server is gone altogether.
            let _stopped = stopping.wait_for(|stopping| *stopping).await;
            Ok(response(true))
        };
        Ok(Response::new(stream::once(async move { Ok(now) }).chain(stream::once(end)).boxed()))
    }
}
