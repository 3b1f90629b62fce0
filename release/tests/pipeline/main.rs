//! The release pipeline as its users see it: what the plan says, what the archive holds, what the verifier refuses.
//!
//! The programs are shell scripts that behave as the convention demands, so that no test waits for RocksDB.

mod archive;
mod changing_keys;
mod commands;
mod fixture;
mod keys;
mod names;
mod plan;
mod running;
mod signing;
mod smoking;
mod verifying;
