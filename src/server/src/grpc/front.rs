//! What stands before the gRPC services: etcd's checks of metadata, etcd's words where the transport has others, and
//! the two plain HTTP pages that probes ask for.

use std::sync::Arc;

use bytes::Bytes;
use cairn_api::ApiError;
use cairn_api::ETCD_VERSION;
use cairn_api::etcdserverpb as pb;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::{Code, Status};
use tower::ServiceExt;

use super::core::Core;
use super::hot::{HotCall, ResponseBody};
use super::kv::KvService;

/// Everything that answers on the client port.
pub(crate) struct Front {
    pub(crate) core: Arc<Core>,
    pub(crate) kv: KvService,
    /// The generated stubs and the watch service.
    pub(crate) routes: Routes,
    /// The largest message that is received, in bytes.
    pub(crate) message_limit: usize,
}

impl Front {
    /// Answers one request.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Response<ResponseBody> {
        if !is_grpc(request.headers()) {
            return Box::pin(page(&self.core, request.method(), request.uri())).await.map(ResponseBody::Other);
        }
        if let Err(error) = check_metadata(&self.core, request.headers()) {
            return Status::from(error).into_http().map(ResponseBody::Other);
        }
        if let Some(call) = HotCall::of(&request) {
            return call.answer(&self.kv, request.into_body(), self.message_limit).await;
        }
        // Boxed, so that the hot calls' future stays small.
        Box::pin(self.routed(request)).await.map(ResponseBody::Other)
    }

    async fn routed(&self, request: Request<Incoming>) -> Response<Body> {
        let Ok(response) = self.routes.clone().oneshot(request.map(Body::new)).await;
        match oversize(response.headers()) {
            Some(status) => status.into_http(),
            None => response,
        }
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
    Some(oversize_status(found, limit))
}

/// grpc-go's refusal of a message that is too large.
pub(crate) fn oversize_status(found: impl std::fmt::Display, limit: impl std::fmt::Display) -> Status {
    Status::new(Code::ResourceExhausted, format!("grpc: received message larger than max ({found} vs. {limit})"))
}

async fn page(core: &Core, method: &Method, uri: &http::Uri) -> Response<Body> {
    match (uri.path(), method) {
        ("/version", &Method::GET) => {
            let text = format!(
                r#"{{"etcdserver":"{ETCD_VERSION}","etcdcluster":"{ETCD_VERSION}","storage":"{ETCD_VERSION}","cairn":"{}"}}"#,
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
