//! A client of the etcd v3 API, for our tools and tests.
//!
//! Contract: a [`Client`] spreads calls over its endpoints and fails over between them. Calls that only read are retried
//! while the servers are unavailable; calls that write are retried only if the request surely never left this process.
//! A call ends by its deadline. [`Watcher`] and [`KeepAlive`] outlive a broken connection.
//!
//! Left out: TLS, users and tokens, name-service discovery. A deadline that runs out says so in the words of etcd's own
//! tool, because scripts compare them.

mod client;
mod endpoint;
mod error;
mod keep_alive;
mod retry;
mod watch;

pub use client::{Client, Options};
pub use error::{Error, status_text};
pub use keep_alive::KeepAlive;
pub use watch::{Progress, Watcher};
