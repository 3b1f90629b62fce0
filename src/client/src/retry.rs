//! Which failures may be tried again, and how long to wait before.

use std::error::Error as StdError;
use std::time::Duration;

use cairn_api::ApiError;
use tonic::{Code, ConnectError, Status};

/// Most attempts of one call after servers said that they are unavailable (etcd's number); then the call fails.
pub(crate) const MAX_ATTEMPTS: u32 = 100;

/// Wait before another attempt, without jitter (etcd's number).
const BACKOFF: Duration = Duration::from_millis(25);

/// Longest wait between two attempts to connect.
const MAX_CONNECT_BACKOFF: Duration = Duration::from_millis(400);

/// Whether a call may reach servers more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It reads, or doing it twice is doing it once.
    Always,
    /// It writes: only while the request surely was not sent.
    IfNotSent,
}

/// What a failed attempt says about the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// There was no connection; the request never left. Any call may go on.
    NotSent,
    /// It may have arrived; calls that may be repeated go on.
    MaybeSent,
    /// This member cannot answer; another one may.
    OtherEndpoint,
    /// The answer is the answer.
    Final,
}

/// Judges a failed attempt.
pub(crate) fn judge(status: &Status) -> Verdict {
    if caused_by::<ConnectError>(status) {
        return Verdict::NotSent;
    }
    if status.message() == ApiError::NotSupportedForLearner.text() {
        return Verdict::OtherEndpoint;
    }
    if status.code() == Code::Unavailable || is_transport_failure(status) {
        return Verdict::MaybeSent;
    }
    Verdict::Final
}

/// Whether the status was made on this side because the connection broke, rather than sent by a server.
pub(crate) fn is_transport_failure(status: &Status) -> bool {
    status.source().is_some()
}

/// How long to wait before attempt `attempt` (the first retry is 1): etcd's 25 ms ± 10 %, growing only where there is
/// nobody to connect to.
pub(crate) fn backoff(attempt: u32, verdict: Verdict) -> Duration {
    let base = match verdict {
        Verdict::NotSent => (BACKOFF * 2u32.saturating_pow(attempt.min(5).saturating_sub(1))).min(MAX_CONNECT_BACKOFF),
        _ => BACKOFF,
    };
    base.mul_f64(0.9 + 0.2 * fastrand::f64())
}

/// The failure for people, down to its first cause: a status alone says that connecting failed, not why.
pub(crate) fn describe(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = status.source();
    while let Some(error) = source {
        let part = error.to_string();
        if !text.ends_with(&part) {
            text = format!("{text}: {part}");
        }
        source = error.source();
    }
    text
}

fn caused_by<E: StdError + 'static>(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<E>() {
            return true;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_refusal_is_final_and_unavailability_is_not() {
        assert_eq!(judge(&Status::from(ApiError::Compacted)), Verdict::Final);
        assert_eq!(judge(&Status::from(ApiError::TooManyRequests)), Verdict::Final);
        assert_eq!(judge(&Status::from(ApiError::NoLeader)), Verdict::MaybeSent);
        assert_eq!(judge(&Status::from(ApiError::NotSupportedForLearner)), Verdict::OtherEndpoint);
    }

    #[test]
    fn a_wait_grows_only_while_nobody_can_be_reached() {
        assert!(backoff(50, Verdict::MaybeSent) < Duration::from_millis(30));
        assert!(backoff(50, Verdict::NotSent) > Duration::from_millis(300));
        assert!(backoff(1, Verdict::NotSent) < Duration::from_millis(30));
    }
}
