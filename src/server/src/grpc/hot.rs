//! The calls that make up nearly all load (Put, Range, DeleteRange, Txn), without the generated stubs.
//!
//! Contract: on the wire as the stubs would have it, for less: the message is decoded from the buffer that it arrived
//! in, the answer is one buffer, and there is neither a router nor a stream in between. What arrives compressed goes to
//! the stubs.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use cairn_api::etcdserverpb::kv_server::Kv;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use prost::Message;
use tonic::body::Body;
use tonic::{Code, Status};

use super::front::oversize_status;
use super::kv::KvService;

/// Bytes in front of a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// A call that is answered here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HotCall {
    Put,
    Range,
    DeleteRange,
    Txn,
}

impl HotCall {
    /// The call that a request is, if it is one of these and not compressed.
    pub(crate) fn of<B>(request: &Request<B>) -> Option<Self> {
        let method = request.uri().path().strip_prefix("/etcdserverpb.KV/")?;
        let call = match method {
            "Put" => Self::Put,
            "Range" => Self::Range,
            "DeleteRange" => Self::DeleteRange,
            "Txn" => Self::Txn,
            _ => return None,
        };
        let encoding = request.headers().get(GRPC_ENCODING);
        encoding.is_none_or(|encoding| encoding == "identity").then_some(call)
    }

    /// Reads the request's one message of at most `limit` bytes and answers it.
    pub(crate) async fn answer(self, kv: &KvService, body: Incoming, limit: usize) -> Response<ResponseBody> {
        let answered = match read_message(body, limit).await {
            Ok(message) => self.call(kv, message).await,
            Err(status) => Err(status),
        };
        let body = match answered {
            Ok(framed) => ResponseBody::Unary { message: Some(framed), ended: false },
            Err(status) => return status.into_http::<Body>().map(ResponseBody::Other),
        };
        let mut response = Response::new(body);
        let grpc = HeaderValue::from_static("application/grpc");
        response.headers_mut().insert(http::header::CONTENT_TYPE, grpc);
        response
    }

    async fn call(self, kv: &KvService, message: Bytes) -> Result<Bytes, Status> {
        match self {
            Self::Put => frame(kv.put(decode(message)?).await?.get_ref()),
            Self::Range => frame(kv.range(decode(message)?).await?.get_ref()),
            Self::DeleteRange => frame(kv.delete_range(decode(message)?).await?.get_ref()),
            Self::Txn => frame(kv.txn(decode(message)?).await?.get_ref()),
        }
    }
}

fn decode<M: Message + Default>(message: Bytes) -> Result<tonic::Request<M>, Status> {
    M::decode(message).map(tonic::Request::new).map_err(|error| Status::internal(error.to_string()))
}

fn frame(message: &impl Message) -> Result<Bytes, Status> {
    let length = message.encoded_len();
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + length);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(length).map_err(|_| Status::resource_exhausted("the answer is larger than 4 GiB"))?);
    message.encode(&mut framed).map_err(|error| Status::internal(error.to_string()))?;
    Ok(framed.freeze())
}

/// The message of a unary request, to the end of its body. Nearly always it is one chunk, which is then not copied.
async fn read_message(mut body: Incoming, limit: usize) -> Result<Bytes, Status> {
    let mut received = Received::default();
    while !body.is_end_stream() {
        let Some(frame) = body.frame().await else { break };
        let frame = frame.map_err(|error| Status::new(Code::Cancelled, error.to_string()))?;
        if let Ok(chunk) = frame.into_data() {
            received.add(chunk, limit)?;
        }
    }
    received.message()
}

/// What has arrived of a message, with its prefix. Never more than the prefix announces, and that never above a limit.
#[derive(Default)]
struct Received {
    first: Bytes,
    /// Everything, once there is a second chunk.
    whole: BytesMut,
}

impl Received {
    fn bytes(&self) -> &[u8] {
        if self.whole.is_empty() { &self.first } else { &self.whole }
    }

    fn add(&mut self, chunk: Bytes, limit: usize) -> Result<(), Status> {
        if self.bytes().is_empty() {
            self.first = chunk;
        } else {
            if self.whole.is_empty() {
                self.whole.reserve(self.first.len().max(PREFIX_BYTES + message_length(&self.first).min(limit)));
                self.whole.put_slice(&self.first);
            }
            self.whole.put_slice(&chunk);
        }
        let received = self.bytes();
        let Some(announced) = received.len().checked_sub(PREFIX_BYTES).map(|_| message_length(received)) else {
            return Ok(());
        };
        if announced > limit {
            return Err(oversize_status(announced, limit));
        }
        if received.len() - PREFIX_BYTES > announced {
            return Err(Status::internal("a unary request has more than one message"));
        }
        Ok(())
    }

    fn message(self) -> Result<Bytes, Status> {
        let mut message = if self.whole.is_empty() { self.first } else { self.whole.freeze() };
        if message.len() < PREFIX_BYTES || message.len() - PREFIX_BYTES < message_length(&message) {
            return Err(Status::internal("a unary request ends before its message does"));
        }
        let prefix = message.split_to(PREFIX_BYTES);
        if prefix[0] != 0 {
            return Err(Status::internal("a compressed message without grpc-encoding"));
        }
        Ok(message)
    }
}

/// The length that a prefix announces, in bytes.
fn message_length(prefix: &[u8]) -> usize {
    prefix.get(1..PREFIX_BYTES).map_or(0, |length| length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
}

/// The body of an answer: one message and its trailers, or what a generated stub made.
pub(crate) enum ResponseBody {
    Unary {
        message: Option<Bytes>,
        /// Whether the trailers are sent.
        ended: bool,
    },
    Other(Body),
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.get_mut() {
            Self::Other(body) => Pin::new(body).poll_frame(context),
            Self::Unary { message, ended } => Poll::Ready(match message.take() {
                Some(message) => Some(Ok(Frame::data(message))),
                None if *ended => None,
                None => {
                    *ended = true;
                    let mut trailers = HeaderMap::with_capacity(1);
                    trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
                    Some(Ok(Frame::trailers(trailers)))
                }
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Unary { ended, .. } => *ended,
            Self::Other(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            // Not exact: a content-length would be one more header to send.
            Self::Unary { .. } => SizeHint::default(),
            Self::Other(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_uncompressed_calls_of_the_hot_kind_are_taken() {
        let request = |path: &str, encoding: Option<&str>| {
            let mut request = Request::post(path);
            if let Some(encoding) = encoding {
                request = request.header(GRPC_ENCODING, encoding);
            }
            HotCall::of(&request.body(()).unwrap())
        };
        assert_eq!(request("/etcdserverpb.KV/Put", None), Some(HotCall::Put));
        assert_eq!(request("/etcdserverpb.KV/Txn", Some("identity")), Some(HotCall::Txn));
        assert_eq!(request("/etcdserverpb.KV/Put", Some("gzip")), None);
        assert_eq!(request("/etcdserverpb.KV/Compact", None), None);
        assert_eq!(request("/etcdserverpb.Lease/Put", None), None);
    }

    fn receive(chunks: &[&'static [u8]], limit: usize) -> Result<Bytes, Status> {
        let mut received = Received::default();
        chunks.iter().try_for_each(|chunk| received.add(Bytes::from_static(chunk), limit))?;
        received.message()
    }

    #[test]
    fn a_message_may_come_in_any_pieces() {
        let chunks: [&[&'static [u8]]; 3] =
            [&[b"\0\0\0\0\x03abc"], &[b"\0\0", b"\0\0\x03ab", b"c"], &[b"\0\0\0\0\x03", b"abc"]];
        for pieces in chunks {
            assert_eq!(receive(pieces, 9).unwrap().as_ref(), b"abc");
        }
    }

    #[test]
    fn a_message_is_refused_when_its_prefix_says_that_it_is_too_large() {
        assert!(receive(&[b"\0\0\0\0\x03abc"], 3).is_ok());
        let status = receive(&[b"\0\0\0\x01\0"], 255).unwrap_err();
        assert_eq!(status.message(), "grpc: received message larger than max (256 vs. 255)");
    }

    #[test]
    fn more_or_less_than_was_announced_is_refused_as_soon_as_it_shows() {
        let mut received = Received::default();
        received.add(Bytes::from_static(b"\0\0\0\0\x01a"), 9).unwrap();
        assert!(received.add(Bytes::from_static(b"b"), 9).is_err(), "it is not kept until the end");
        assert!(receive(&[b"\0\0\0\0\x03ab"], 9).is_err());
        assert!(receive(&[b"\0\0\0"], 9).is_err());
        assert!(receive(&[b"\x01\0\0\0\x01a"], 9).is_err(), "compressed");
    }
}
