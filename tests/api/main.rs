//! Every call of the API with its errors, on a real etcd and on Cairn: both must answer the same.
//!
//! Each test is one scenario on two fresh members. Revisions are compared exactly, so scenarios are written for an empty
//! store and every write counts.

mod alarm;
mod compact;
mod history;
mod kv;
mod lease;
mod limits;
mod maintenance;
mod random;
mod range;
mod txn;
mod txn_checks;
mod watch;
mod watch_errors;
