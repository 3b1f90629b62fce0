//! The KV service. Order of checks as in etcd: room, then form, then admission, then size.

use std::sync::Arc;
use std::time::Instant;

use cairn_api::ApiError;
use cairn_api::etcdserverpb as pb;
use cairn_api::etcdserverpb::kv_server::Kv;
use cairn_state::{Command, ReadView, Response as StateResponse, validate};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::core::Core;
use super::range_stream;

/// The service.
#[derive(Clone)]
pub(crate) struct KvService(pub(crate) Arc<Core>);

impl KvService {
    async fn read_view(&self, serializable: bool) -> Result<Arc<ReadView>, ApiError> {
        if serializable { Ok(self.0.node.view()) } else { self.0.node.linearizable().await }
    }

    async fn read_txn(&self, request: pb::TxnRequest) -> Result<Response<pb::TxnResponse>, Status> {
        let view = self.read_view(validate::is_serializable(&request)).await?;
        let mut response = self.0.scan(move || view.read_txn(&request)).await?;
        self.0.fill(&mut response.header);
        Ok(Response::new(response))
    }
}

/// The response of a command that was proposed; any other kind would be a bug of the state machine.
macro_rules! expect_response {
    ($response:expr, $kind:ident) => {
        match $response {
            StateResponse::$kind(response) => Ok(Response::new(response)),
            other => Err(Status::internal(format!("the state machine answered {other:?}"))),
        }
    };
}
pub(crate) use expect_response;

#[tonic::async_trait]
impl Kv for KvService {
    async fn range(&self, request: Request<pb::RangeRequest>) -> Result<Response<pb::RangeResponse>, Status> {
        let begun = Instant::now();
        let request = request.into_inner();
        validate::range(&request)?;
        let view = self.read_view(request.serializable).await?;
        // What is in memory is answered here: handing it to another thread would cost more than to read it.
        let answered = view.range_from_memory(&request).map_err(|error| self.0.read_error(error))?;
        let mut response = match answered {
            Some(response) => response,
            None => self.0.scan(move || view.range(&request)).await?,
        };
        self.0.fill(&mut response.header);
        self.0.finished("Range", begun);
        Ok(Response::new(response))
    }

    type RangeStreamStream = ReceiverStream<Result<pb::RangeStreamResponse, Status>>;

    async fn range_stream(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        let request = request.into_inner();
        range_stream::validate(&request)?;
        let view = self.read_view(request.serializable).await?;
        Ok(Response::new(range_stream::run(self.0.clone(), view, request)))
    }

    async fn put(&self, request: Request<pb::PutRequest>) -> Result<Response<pb::PutResponse>, Status> {
        let begun = Instant::now();
        let command = Command::Put(request.into_inner());
        self.0.node.check_quota(&command)?;
        if let Command::Put(request) = &command {
            validate::put(request)?;
        }
        let response = self.0.node.propose(command).await?;
        self.0.finished("Put", begun);
        expect_response!(response, Put)
    }

    async fn delete_range(
        &self,
        request: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        let begun = Instant::now();
        let request = request.into_inner();
        validate::delete_range(&request)?;
        let response = self.0.node.propose(Command::DeleteRange(request)).await?;
        self.0.finished("DeleteRange", begun);
        expect_response!(response, DeleteRange)
    }

    async fn txn(&self, request: Request<pb::TxnRequest>) -> Result<Response<pb::TxnResponse>, Status> {
        let begun = Instant::now();
        let command = Command::Txn(request.into_inner());
        self.0.node.check_quota(&command)?;
        if let Command::Txn(request) = &command {
            validate::txn(request, self.0.max_txn_ops)?;
            if validate::is_read_only(request) {
                let response = self.read_txn(request.clone()).await;
                self.0.finished("Txn", begun);
                return response;
            }
        }
        let response = self.0.node.propose(command).await?;
        self.0.finished("Txn", begun);
        expect_response!(response, Txn)
    }

    async fn compact(
        &self,
        request: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        let response = self.0.node.compact(request.into_inner()).await?;
        expect_response!(response, Compact)
    }
}
