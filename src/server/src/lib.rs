//! `cairnd`: one member of a cluster as a process.
//!
//! Contract: here, and only here, live threads, clocks, sockets and the configuration. What the store means is
//! `cairn-state`'s, what members agree on is `cairn-consensus`'s; this crate moves entries between them, the log and the
//! network, and answers clients in etcd's words. Any failure after which a promise could be broken ends the process.
//!
//! Left out, and refused with a message: more than one member, TLS, users and roles, the JSON gateway, metrics.

mod build_info;
mod clock;
pub mod config;
mod data_dir;
mod grpc;
mod health_check;
mod logging;
mod node;
mod notify;
mod run;

pub use run::main;

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
