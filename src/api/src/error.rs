//! The one table from error to gRPC code and etcd's text.
//!
//! Go clients recognise errors by their exact text, so the text is the contract and the code comes second. Codes are
//! those that etcd 3.6 puts on the wire, also where its own table says otherwise (`too many requests` is Unknown there).

use std::fmt;

/// A gRPC status code, by its number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
#[allow(missing_docs, reason = "the names are gRPC's own")]
pub enum Code {
    Canceled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

macro_rules! errors {
    ($($name:ident, $code:ident, $text:literal;)*) => {
        /// An error that etcd's API has a text for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum ApiError {
            $(#[doc = $text] $name,)*
        }

        impl ApiError {
            /// All of them, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The gRPC code that carries it.
            #[must_use]
            pub const fn code(self) -> Code {
                match self { $(Self::$name => Code::$code,)* }
            }

            /// The text, byte for byte as etcd sends it.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

errors! {
    EmptyKey, InvalidArgument, "etcdserver: key is not provided";
    KeyNotFound, InvalidArgument, "etcdserver: key not found";
    ValueProvided, InvalidArgument, "etcdserver: value is provided";
    LeaseProvided, InvalidArgument, "etcdserver: lease is provided";
    TooManyOps, InvalidArgument, "etcdserver: too many operations in txn request";
    DuplicateKey, InvalidArgument, "etcdserver: duplicate key given in txn request";
    InvalidClientApiVersion, InvalidArgument, "etcdserver: invalid client api version";
    InvalidSortOption, InvalidArgument, "etcdserver: invalid sort option";
    Compacted, OutOfRange, "etcdserver: mvcc: required revision has been compacted";
    FutureRev, OutOfRange, "etcdserver: mvcc: required revision is a future revision";
    NoSpace, ResourceExhausted, "etcdserver: mvcc: database space exceeded";
    LeaseNotFound, NotFound, "etcdserver: requested lease not found";
    LeaseExists, FailedPrecondition, "etcdserver: lease already exists";
    LeaseTtlTooLarge, OutOfRange, "etcdserver: too large lease TTL";
    WatchCanceled, Canceled, "etcdserver: watch canceled";
    MemberIdExists, FailedPrecondition, "etcdserver: member ID already exist";
    PeerUrlsExist, FailedPrecondition, "etcdserver: Peer URLs already exists";
    NotEnoughStarted, Unknown, "etcdserver: re-configuration failed due to not enough started members";
    MemberUrlsInvalid, InvalidArgument, "etcdserver: given member URLs are invalid";
    MemberNotFound, NotFound, "etcdserver: member not found";
    MemberNotLearner, FailedPrecondition, "etcdserver: can only promote a learner member";
    LearnerNotReady, FailedPrecondition, "etcdserver: can only promote a learner member which is in sync with leader";
    TooManyLearners, FailedPrecondition, "etcdserver: too many learner members in cluster";
    ClusterIdMismatch, FailedPrecondition, "etcdserver: cluster ID mismatch";
    RequestTooLarge, InvalidArgument, "etcdserver: request is too large";
    TooManyRequests, Unknown, "etcdserver: too many requests";
    RootUserDoesNotExist, FailedPrecondition, "etcdserver: root user does not exist";
    RootUserDoesNotHaveRootRole, FailedPrecondition, "etcdserver: root user does not have root role";
    UserNameAlreadyExists, FailedPrecondition, "etcdserver: user name already exists";
    UserEmpty, InvalidArgument, "etcdserver: user name is empty";
    UserNameNotFound, FailedPrecondition, "etcdserver: user name not found";
    RoleNameAlreadyExists, FailedPrecondition, "etcdserver: role name already exists";
    RoleNameNotFound, FailedPrecondition, "etcdserver: role name not found";
    RoleNameIsEmpty, InvalidArgument, "etcdserver: role name is empty";
    AuthenticationFailedInvalidUserIdOrPassword, InvalidArgument, "etcdserver: authentication failed, invalid user ID or password";
    PermissionNotGiven, InvalidArgument, "etcdserver: permission not given";
    PermissionDenied, PermissionDenied, "etcdserver: permission denied";
    RoleIsNotGrantedToTheUser, FailedPrecondition, "etcdserver: role is not granted to the user";
    PermissionIsNotGrantedToTheRole, FailedPrecondition, "etcdserver: permission is not granted to the role";
    AuthNotEnabled, FailedPrecondition, "etcdserver: authentication is not enabled";
    InvalidAuthToken, Unauthenticated, "etcdserver: invalid auth token";
    InvalidAuthManagement, InvalidArgument, "etcdserver: invalid auth management";
    AuthOldRevision, InvalidArgument, "etcdserver: revision of auth store is old";
    NoLeader, Unavailable, "etcdserver: no leader";
    NotLeader, FailedPrecondition, "etcdserver: not leader";
    LeaderChanged, Unavailable, "etcdserver: leader changed";
    NotCapable, FailedPrecondition, "etcdserver: not capable";
    Stopped, Unavailable, "etcdserver: server stopped";
    Timeout, Unavailable, "etcdserver: request timed out";
    TimeoutLeaderFailure, Unavailable, "etcdserver: request timed out, possibly due to previous leader failure";
    TimeoutConnectionLost, Unavailable, "etcdserver: request timed out, possibly due to connection lost";
    TimeoutWaitApplied, Unavailable, "etcdserver: request timed out, waiting for the applied index took too long";
    UnhealthyCluster, Unavailable, "etcdserver: unhealthy cluster";
    Corrupt, DataLoss, "etcdserver: corrupt cluster";
    NotSupportedForLearner, FailedPrecondition, "etcdserver: rpc not supported for learner";
    BadLeaderTransferee, FailedPrecondition, "etcdserver: bad leader transferee";
    WrongDowngradeTargetVersionFormat, InvalidArgument, "etcdserver: wrong downgrade target version format";
    InvalidDowngradeTargetVersion, InvalidArgument, "etcdserver: invalid downgrade target version";
    ClusterVersionNotFoundDuringDowngrade, FailedPrecondition, "etcdserver: cluster version not found during downgrade";
    ClusterHasADowngradeJobInProgress, FailedPrecondition, "etcdserver: cluster has a downgrade job in progress";
    NoInflightDowngradeJob, FailedPrecondition, "etcdserver: no inflight downgrade job";
    RequestCanceled, Canceled, "etcdserver: request canceled";
    ContextDeadlineExceeded, DeadlineExceeded, "etcdserver: context deadline exceeded";
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for ApiError {}

#[cfg(any(feature = "client", feature = "server"))]
impl From<ApiError> for tonic::Status {
    fn from(error: ApiError) -> Self {
        Self::new(tonic::Code::from_i32(error.code() as i32), error.text())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A client looks an error up by its text alone, so two errors with one text would be one error.
    #[test]
    fn every_text_is_etcd_s_and_no_other_error_has_it() {
        let texts: BTreeSet<_> = ApiError::ALL.iter().map(|error| error.text()).collect();
        assert_eq!(texts.len(), ApiError::ALL.len());
        assert!(texts.iter().all(|text| text.starts_with("etcdserver: ")), "{texts:?}");
    }

    /// Codes on the wire that differ from what the name suggests, as a real etcd answers.
    #[test]
    fn codes_are_those_on_the_wire() {
        assert_eq!(ApiError::TooManyRequests.code(), Code::Unknown);
        assert_eq!(ApiError::NotEnoughStarted.code(), Code::Unknown);
        assert_eq!(ApiError::NoSpace.code(), Code::ResourceExhausted);
        assert_eq!(ApiError::Compacted.code(), Code::OutOfRange);
        assert_eq!(ApiError::AuthNotEnabled.code(), Code::FailedPrecondition);
    }

    #[cfg(feature = "server")]
    #[test]
    fn a_status_has_code_and_text_of_the_table() {
        for error in ApiError::ALL {
            let status = tonic::Status::from(*error);
            assert_eq!((status.code() as i32, status.message()), (error.code() as i32, error.text()));
        }
    }
}
