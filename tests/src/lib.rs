//! What the suites share: sessions that write down every answer, their comparison between a real etcd and ours, and an
//! independent model of the store's history.
//!
//! Contract: a scenario is code that talks to one fresh member through raw stubs, without retries; all that the member
//! answered goes into a transcript in a form in which ids, terms and sizes are replaced and revisions are not. Left out:
//! any opinion about what is right. etcd's transcript is the expectation, and [`known::KNOWN_DIFFERENCES`] is the only
//! place where an exception can be made.

pub mod compare;
pub mod known;
pub mod model;
pub mod normal;
pub mod ops;
pub mod session;
pub mod watch;

pub use compare::{compare, compare_with};
pub use session::Session;
