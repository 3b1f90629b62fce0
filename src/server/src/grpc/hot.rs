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
    let mut whole = Bytes::new();
    while !body.is_end_stream() {
        let Some(frame) = body.frame().await else { break };
        let frame = frame.map_err(|error| Status::new(Code::Cancelled, error.to_string()))?;
        let Ok(chunk) = frame.into_data() else { continue };
        whole = if whole.is_empty() { chunk } else { [whole, chunk].concat().into() };
        check_length(&whole, limit)?;
    }
    if whole.len() < PREFIX_BYTES {
        return Err(Status::internal("a unary request has no message"));
    }
    if whole[0] != 0 {
        return Err(Status::internal("a compressed message without grpc-encoding"));
    }
    let message = whole.split_off(PREFIX_BYTES);
    if message.len() != message_length(&whole) {
        return Err(Status::internal("a unary request has more or less than one message"));
    }
    Ok(message)
}

fn message_length(prefix: &[u8]) -> usize {
    prefix.get(1..PREFIX_BYTES).map_or(0, |length| length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
}

/// Refuses a message as soon as its length is known, so that it is never held.
fn check_length(received: &[u8], limit: usize) -> Result<(), Status> {
    let length = message_length(received);
    if length > limit { Err(oversize_status(length, limit)) } else { Ok(()) }
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

    #[test]
    fn a_message_is_refused_when_its_prefix_says_that_it_is_too_large() {
        assert!(check_length(&[0, 0, 0], 1).is_ok(), "the length is not known yet");
        assert!(check_length(&[0, 0, 0, 0, 9, 1], 9).is_ok());
        let status = check_length(&[0, 0, 0, 1, 0], 255).unwrap_err();
        assert_eq!(status.message(), "grpc: received message larger than max (256 vs. 255)");
    }
}
