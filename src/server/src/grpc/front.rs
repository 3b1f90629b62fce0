//! What stands before the gRPC services: etcd's checks of metadata, etcd's words where the transport has others, and
//! the two plain HTTP pages that probes ask for.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use cairn_api::ApiError;
use cairn_api::etcdserverpb as pb;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::core::Core;
use crate::API_VERSION;

/// Puts [`Front`] before a service.
#[derive(Clone)]
pub(crate) struct FrontLayer(pub(crate) Arc<Core>);

impl<S> Layer<S> for FrontLayer {
    type Service = Front<S>;

    fn layer(&self, inner: S) -> Front<S> {
        Front { inner, core: self.0.clone() }
    }
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Front<S> {
    inner: S,
    core: Arc<Core>,
}

type BoxFuture<E> = Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>;

impl<S> Service<Request<Body>> for Front<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if !is_grpc(request.headers()) {
            let core = self.core.clone();
            return Box::pin(async move { Ok(page(&core, request.method(), request.uri()).await) });
        }
        if let Err(error) = check_metadata(&self.core, request.headers()) {
            return Box::pin(async move { Ok(Status::from(error).into_http()) });
        }
        let response = self.inner.call(request);
        Box::pin(async move {
            let mut response = response.await?;
            if let Some(status) = oversize(response.headers()) {
                response = status.into_http();
            }
            Ok(response)
        })
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| value.starts_with("application/grpc"))
}

fn check_metadata(core: &Core, headers: &HeaderMap) -> Result<(), ApiError> {
    if headers.get("client-api-version").is_some_and(|version| std::str::from_utf8(version.as_bytes()).is_err()) {
        return Err(ApiError::InvalidClientApiVersion);
    }
    let needs_leader = headers.get("hasleader").is_some_and(|value| value == "true");
    if needs_leader && core.node.shared().progress.leader() == 0 {
        return Err(ApiError::NoLeader);
    }
    Ok(())
}

/// tonic's refusal of a message that is too large, in the words of grpc-go, by which clients know it.
fn oversize(headers: &HeaderMap) -> Option<Status> {
    if headers.get("grpc-status").is_none_or(|status| status != "11") {
        return None;
    }
    let status = Status::from_header_map(headers)?;
    let rest = status.message().strip_prefix("Error, decoded message length too large: found ")?;
    let (found, rest) = rest.split_once(" bytes, the limit is: ")?;
    let limit = rest.strip_suffix(" bytes")?;
    Some(Status::new(Code::ResourceExhausted, format!("grpc: received message larger than max ({found} vs. {limit})")))
}

async fn page(core: &Core, method: &Method, uri: &http::Uri) -> Response<Body> {
    match (uri.path(), method) {
        ("/version", &Method::GET) => {
            let text = format!(
                r#"{{"etcdserver":"{API_VERSION}","etcdcluster":"{API_VERSION}","storage":"{API_VERSION}","cairn":"{}"}}"#,
                crate::VERSION
            );
            answer(StatusCode::OK, "application/json", text)
        }
        ("/health", &Method::GET) => health(core, uri.query().unwrap_or_default()).await,
        ("/version" | "/health", _) => {
            answer(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "Method Not Allowed\n".to_owned())
        }
        _ => answer(StatusCode::NOT_FOUND, "text/plain", "404 page not found\n".to_owned()),
    }
}

async fn health(core: &Core, query: &str) -> Response<Body> {
    let parameters: Vec<_> = query.split('&').filter_map(|parameter| parameter.split_once('=')).collect();
    let serializable = parameters.contains(&("serializable", "true"));
    match unhealthy(core, serializable, &parameters).await {
        None => answer(StatusCode::OK, "application/json", r#"{"health":"true","reason":""}"#.to_owned()),
        Some(reason) => {
            let text = serde_json::json!({"health": "false", "reason": reason}).to_string();
            answer(StatusCode::SERVICE_UNAVAILABLE, "application/json", text)
        }
    }
}

async fn unhealthy(core: &Core, serializable: bool, parameters: &[(&str, &str)]) -> Option<String> {
    let view = core.node.view();
    let alarms = match view.alarms() {
        Ok(alarms) => alarms,
        Err(error) => return Some(format!("RANGE ERROR:{error}")),
    };
    let counts = |alarm: &&pb::AlarmMember| !parameters.contains(&("exclude", alarm.alarm().as_str_name()));
    if let Some(alarm) = alarms.iter().find(counts) {
        return Some(format!("ALARM {}", alarm.alarm().as_str_name()));
    }
    if serializable {
        return None;
    }
    if core.node.shared().progress.leader() == 0 {
        return Some("RAFT NO LEADER".to_owned());
    }
    core.node.linearizable().await.err().map(|error| format!("RANGE ERROR:{error}"))
}

fn answer(status: StatusCode, content_type: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Body::new(http_body_util::Full::new(Bytes::from(text))));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_is_too_large_is_refused_in_grpc_s_words() {
        let text = "Error, decoded message length too large: found 3000000 bytes, the limit is: 2097152 bytes";
        let response: Response<Body> = Status::out_of_range(text).into_http();
        let status = oversize(response.headers()).unwrap();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.message(), "grpc: received message larger than max (3000000 vs. 2097152)");
    }

    #[test]
    fn other_refusals_are_left_as_they_are() {
        let response: Response<Body> = Status::from(ApiError::Compacted).into_http();
        assert!(oversize(response.headers()).is_none());
    }
}
