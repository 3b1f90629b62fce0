//! Members as real processes: ours, and real etcds beside them, for the suites under `tests/`.
//!
//! Contract: a [`Member`] serves when [`Member::start`] returns, its process never outlives the value, its directory
//! goes with it, and every wait is on a condition with a deadline. A missing program is an error that names the command
//! which provides it; nothing is ever skipped. Left out: clusters of several members, which come with the cluster itself.

mod member;
mod peer;
mod run;
mod wait;

pub use member::{Member, Options};
pub use peer::{Peer, subject};
pub use run::{Finished, run, run_until_lines};
pub use wait::{DEADLINE, wait_until};
