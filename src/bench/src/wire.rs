//! gRPC by hand on HTTP/2: one message out, one message back, status checked.

use std::net::ToSocketAddrs;

use anyhow::{Context, bail, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use prost::Message;

/// Bytes in front of a gRPC message: compression flag and length.
const PREFIX_BYTES: usize = 5;
const WINDOW_BYTES: u32 = 4 << 20;

/// A connection that many clients share.
#[derive(Clone)]
pub(crate) struct Connection {
    sender: SendRequest<Bytes>,
    uri: Uri,
}

impl Connection {
    /// Connects; all calls go to the method `path`.
    pub(crate) async fn open(endpoint: &str, path: &str) -> anyhow::Result<Self> {
        let authority = endpoint.trim_start_matches("http://");
        let address = authority.to_socket_addrs()?.next().with_context(|| format!("{authority} has no address"))?;
        let stream =
            tokio::net::TcpStream::connect(address).await.with_context(|| format!("cannot connect to {authority}"))?;
        stream.set_nodelay(true)?;
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
        let (sender, connection) = builder.handshake(stream).await?;
        tokio::spawn(connection);
        Ok(Self { sender, uri: format!("http://{authority}{path}").parse()? })
    }

    /// Sends a framed message and checks that the answer is a message with status 0.
    pub(crate) async fn call(&mut self, framed: Bytes) -> anyhow::Result<()> {
        let mut request = Request::new(());
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        headers.insert("te", HeaderValue::from_static("trailers"));
        std::future::poll_fn(|context| self.sender.poll_ready(context)).await?;
        let (response, mut body) = self.sender.send_request(request, false)?;
        body.send_data(framed, true)?;
        let response = response.await?;
        ensure!(response.status() == StatusCode::OK, "HTTP status {}", response.status());
        if response.headers().contains_key("grpc-status") {
            check(response.headers())?;
        }
        let mut body = response.into_body();
        while let Some(data) = body.data().await {
            body.flow_control().release_capacity(data?.len())?;
        }
        let Some(trailers) = body.trailers().await? else { bail!("the answer has no trailers") };
        check(&trailers)
    }
}

fn check(headers: &HeaderMap) -> anyhow::Result<()> {
    let text = |name| headers.get(name).map_or("none", |value: &HeaderValue| value.to_str().unwrap_or("unreadable"));
    let status = text("grpc-status");
    ensure!(status == "0", "gRPC status {status}: {}", text("grpc-message"));
    Ok(())
}

pub(crate) fn frame(message: &impl Message) -> anyhow::Result<Bytes> {
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + message.encoded_len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.encoded_len())?);
    message.encode(&mut framed)?;
    Ok(framed.freeze())
}
