//! etcd's wire: messages and service stubs generated from `proto/`, and the one table of error texts and codes.
//!
//! Contract: nothing here decides anything. Stubs stand behind the features `client` and `server`, so that crates that
//! need only messages link no gRPC.

pub mod error;

pub use error::{ApiError, Code};

/// The etcd API that this product implements: what clients are told on the wire, because they switch features on it, and
/// what its programs answer as under etcd's names.
pub const ETCD_VERSION: &str = "3.6.0";

/// Generated code is not ours to document or to lint.
macro_rules! generated {
    ($(#[$doc:meta])* $name:ident, $package:literal) => {
        $(#[$doc])*
        #[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, clippy::allow_attributes_without_reason, reason = "generated code")]
        pub mod $name {
            include!(concat!(env!("OUT_DIR"), "/", $package, ".rs"));
        }
    };
}

generated! {
    /// The stored pair and its change event.
    mvccpb, "mvccpb"
}
generated! {
    /// Users, roles, permissions.
    authpb, "authpb"
}
generated! {
    /// The client API.
    etcdserverpb, "etcdserverpb"
}
generated! {
    /// gRPC health checking.
    health, "grpc.health.v1"
}
