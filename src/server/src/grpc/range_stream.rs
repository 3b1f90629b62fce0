//! RangeStream (etcd 3.7): a list in chunks of one pinned revision; memory holds a chunk or two, whatever its size.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use cairn_api::etcdserverpb as pb;
use cairn_api::etcdserverpb::range_request::{SortOrder, SortTarget};
use cairn_api::mvccpb::KeyValue;
use cairn_state::{ReadError, ReadView};
use cairn_types::limits::RANGE_STREAM_CHUNK_BYTES;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::core::Core;

/// Chunks that wait for the client; at the limit the read waits.
const MAX_CHUNKS_AHEAD: usize = 2;

type Sender = mpsc::Sender<Result<pb::RangeStreamResponse, Status>>;

/// What a stream cannot do is refused before it begins.
///
/// # Errors
/// Those of Range; Unimplemented for orders other than that of the keys, and for revision filters.
pub(crate) fn validate(request: &pb::RangeRequest) -> Result<(), Status> {
    cairn_state::validate::range(request)?;
    let by_key = request.sort_order() == SortOrder::Ascend && request.sort_target() == SortTarget::Key;
    if request.sort_order() != SortOrder::None && !by_key {
        return Err(Status::unimplemented("RangeStream does not support custom sort orders"));
    }
    let filters =
        [request.min_mod_revision, request.max_mod_revision, request.min_create_revision, request.max_create_revision];
    if filters.iter().any(|filter| *filter != 0) {
        return Err(Status::unimplemented("RangeStream does not support revision filters"));
    }
    Ok(())
}

/// Starts to read; ends when the client goes away.
pub(crate) fn run(
    core: Arc<Core>,
    view: Arc<ReadView>,
    request: pb::RangeRequest,
) -> ReceiverStream<Result<pb::RangeStreamResponse, Status>> {
    let (sender, receiver) = mpsc::channel(MAX_CHUNKS_AHEAD);
    tokio::spawn(async move {
        let (worker, chunks) = (core.clone(), sender.clone());
        if let Err(status) = core.stream(move || read(&worker, &view, &request, &chunks)).await {
            let _client_has_gone = sender.send(Err(status)).await;
        }
    });
    ReceiverStream::new(receiver)
}

fn read(core: &Core, view: &ReadView, request: &pb::RangeRequest, chunks: &Sender) -> Result<(), ReadError> {
    let send = |response| chunks.blocking_send(Ok(pb::RangeStreamResponse { range_response: Some(response) })).is_ok();
    let mut chunk = Vec::new();
    let mut bytes = 0;
    let mut sent = 0_i64;
    let mut listening = true;
    let count = if request.count_only {
        view.range(request)?.count
    } else {
        view.visit(request, &mut |mut kv: KeyValue| {
            if request.limit > 0 && sent == request.limit {
                return ControlFlow::Continue(());
            }
            if request.keys_only {
                kv.value = Bytes::new();
            }
            sent += 1;
            bytes += kv.encoded_len();
            chunk.push(kv);
            if bytes >= RANGE_STREAM_CHUNK_BYTES {
                bytes = 0;
                listening = send(pb::RangeResponse { kvs: std::mem::take(&mut chunk), ..Default::default() });
            }
            if listening { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?
    };
    if listening {
        let header = Some(core.node.header(view.revision));
        send(pb::RangeResponse { header, kvs: chunk, more: !request.count_only && count > sent, count });
    }
    Ok(())
}
