//! gRPC by hand on hyper's HTTP/2 client: one message out, one message back, status checked.

use std::net::ToSocketAddrs;

use anyhow::{Context, bail, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;

/// Bytes in front of a gRPC message: compression flag and length.
const PREFIX_BYTES: usize = 5;
const WINDOW_BYTES: u32 = 4 << 20;

#[derive(Clone)]
pub(crate) struct Connection {
    sender: http2::SendRequest<Full<Bytes>>,
    authority: String,
}

impl Connection {
    pub(crate) async fn open(endpoint: &str) -> anyhow::Result<Self> {
        let authority = endpoint.trim_start_matches("http://").to_owned();
        let address = authority.to_socket_addrs()?.next().with_context(|| format!("{authority} has no address"))?;
        let stream =
            tokio::net::TcpStream::connect(address).await.with_context(|| format!("cannot connect to {authority}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .handshake(TokioIo::new(stream))
            .await?;
        tokio::spawn(connection);
        Ok(Self { sender, authority })
    }

    /// Sends a framed message and checks that the answer is one message with status 0.
    pub(crate) async fn call(&mut self, path: &str, framed: Bytes) -> anyhow::Result<()> {
        let request = http::Request::post(format!("http://{}{path}", self.authority))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(framed))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        ensure!(response.status() == http::StatusCode::OK, "HTTP status {}", response.status());
        if let Some(status) = response.headers().get("grpc-status") {
            check(status, response.headers())?;
        }
        let body = response.into_body().collect().await?;
        let Some(trailers) = body.trailers() else { bail!("the answer has no trailers") };
        let Some(status) = trailers.get("grpc-status") else { bail!("the answer has no grpc-status") };
        check(status, trailers)
    }
}

fn check(status: &http::HeaderValue, headers: &http::HeaderMap) -> anyhow::Result<()> {
    let message = headers.get("grpc-message").map_or("", |message| message.to_str().unwrap_or("?"));
    ensure!(status == "0", "gRPC status {}: {message}", status.to_str().unwrap_or("?"));
    Ok(())
}

pub(crate) fn frame(message: &impl Message) -> anyhow::Result<Bytes> {
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + message.encoded_len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.encoded_len())?);
    message.encode(&mut framed)?;
    Ok(framed.freeze())
}
