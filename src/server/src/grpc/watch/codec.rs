//! From requests on the wire, and to responses on the wire: events are already encoded.

use std::sync::Arc;

use cairn_api::etcdserverpb as pb;
use cairn_state::watch::{HeaderIds, WatchOut};
use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Buffers begin small, since most streams are idle, and are sent once this many bytes are encoded.
const BUFFERS: (usize, usize) = (512, 32 << 10);

type HeaderSource = Arc<dyn Fn() -> (u64, u64, u64) + Send + Sync>;

/// Requests are decoded as usual; of a response only the prefix is encoded here.
pub(super) struct WatchCodec {
    header: HeaderSource,
}

pub(super) struct WatchEncoder {
    header: HeaderSource,
}

pub(super) struct WatchDecoder;

impl WatchCodec {
    pub(super) fn new(header: HeaderSource) -> Self {
        Self { header }
    }
}

impl Codec for WatchCodec {
    type Encode = WatchOut;
    type Decode = pb::WatchRequest;
    type Encoder = WatchEncoder;
    type Decoder = WatchDecoder;

    fn encoder(&mut self) -> WatchEncoder {
        WatchEncoder { header: Arc::clone(&self.header) }
    }

    fn decoder(&mut self) -> WatchDecoder {
        WatchDecoder
    }
}

impl Encoder for WatchEncoder {
    type Item = WatchOut;
    type Error = Status;

    fn encode(&mut self, response: WatchOut, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let (cluster_id, member_id, raft_term) = (self.header)();
        buffer.reserve(response.size());
        response.encode(HeaderIds { cluster_id, member_id, raft_term }, buffer);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFERS.0, BUFFERS.1)
    }
}

impl Decoder for WatchDecoder {
    type Item = pb::WatchRequest;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<pb::WatchRequest>, Status> {
        pb::WatchRequest::decode(buffer).map(Some).map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFERS.0, BUFFERS.1)
    }
}
