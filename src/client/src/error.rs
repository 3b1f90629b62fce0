//! What can go wrong, in the words of etcd's Go client.

use cairn_api::ApiError;
use tonic::{Code, Status};

/// A failed call.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection can be made to what was given as an endpoint.
    #[error("endpoint {endpoint:?} {reason}")]
    Endpoint {
        /// The endpoint as it was given.
        endpoint: String,
        /// Why it cannot be used.
        reason: &'static str,
    },
    /// The deadline passed. `last` is what the last attempt ran into, where there was one.
    #[error("context deadline exceeded")]
    DeadlineExceeded {
        /// Failure of the last attempt, for people; not part of the text that scripts compare.
        last: Option<String>,
    },
    /// The server, or the way to it, answered with an error.
    #[error("{}", status_text(.0))]
    Rpc(Box<Status>),
}

impl Error {
    /// The gRPC code, where a server or the transport gave one.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Rpc(status) => Some(status.code()),
            Self::DeadlineExceeded { .. } => Some(Code::DeadlineExceeded),
            Self::Endpoint { .. } => None,
        }
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Self::Rpc(Box::new(status))
    }
}

/// A status as etcd's Go client prints it: etcd's own texts alone, the two ends of a context by their Go names, anything
/// else with its code.
#[must_use]
pub fn status_text(status: &Status) -> String {
    let message = status.message();
    if ApiError::ALL.iter().any(|known| known.text() == message) {
        return message.to_owned();
    }
    match status.code() {
        Code::DeadlineExceeded => "context deadline exceeded".to_owned(),
        Code::Cancelled => "context canceled".to_owned(),
        code => format!("rpc error: code = {} desc = {message}", code_name(code)),
    }
}

/// The code's name as Go prints it.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_etcd_stands_alone_and_any_other_carries_its_code() {
        let known = Status::from(ApiError::Compacted);
        assert_eq!(status_text(&known), "etcdserver: mvcc: required revision has been compacted");
        let other = Status::unimplemented("unknown service x");
        assert_eq!(status_text(&other), "rpc error: code = Unimplemented desc = unknown service x");
        assert_eq!(status_text(&Status::deadline_exceeded("whatever")), "context deadline exceeded");
    }
}
