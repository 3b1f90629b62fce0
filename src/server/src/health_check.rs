//! Asks a running server whether it serves, as the subcommand `healthcheck`.
//!
//! The question is `grpc.health.v1` Check over a connection of its own. A server that is still starting has its address
//! bound and answers nobody, so the deadline covers connecting and answering together.

use std::fmt::Display;

use cairn_api::health::HealthCheckRequest;
use cairn_api::health::health_check_response::ServingStatus;
use cairn_api::health::health_client::HealthClient;
use tonic::transport::Endpoint;

use crate::config::HealthCheck;

/// Asks once.
///
/// # Errors
/// Why the server does not count as healthy, as a phrase.
pub(crate) async fn ask(check: &HealthCheck) -> Result<(), String> {
    match tokio::time::timeout(check.deadline, answer(&check.endpoint.text)).await {
        Ok(Ok(ServingStatus::Serving)) => Ok(()),
        Ok(Ok(status)) => Err(format!("the server says {}", status.as_str_name())),
        Ok(Err(reason)) => Err(reason),
        Err(_) => Err(format!("no answer within {:?}", check.deadline)),
    }
}

async fn answer(url: &str) -> Result<ServingStatus, String> {
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|error| format!("not a URL: {error}"))?;
    let channel = endpoint.connect().await.map_err(|error| format!("cannot connect: {}", with_causes(&error)))?;
    let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
    let answer = answer.map_err(|status| format!("{:?}: {}", status.code(), status.message()))?;
    Ok(answer.into_inner().status())
}

fn with_causes(error: &dyn std::error::Error) -> impl Display {
    std::iter::successors(error.source(), |cause| cause.source()).last().map_or(error.to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Url;

    fn check(port: u16, deadline: Duration) -> HealthCheck {
        let text = format!("http://127.0.0.1:{port}");
        HealthCheck { endpoint: Url { text, scheme: "http".to_owned(), host: "127.0.0.1".to_owned(), port }, deadline }
    }

    #[tokio::test]
    async fn a_server_that_accepts_and_is_silent_is_not_healthy() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = silent.local_addr().unwrap().port();
        let reason = ask(&check(port, Duration::from_millis(50))).await.unwrap_err();
        assert_eq!(reason, "no answer within 50ms");
    }

    #[tokio::test]
    async fn a_port_where_nobody_listens_is_not_healthy() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let reason = ask(&check(port, Duration::from_secs(60))).await.unwrap_err();
        assert!(reason.starts_with("cannot connect: Connection refused"), "{reason}");
    }
}
