//! What the state machine promises, on every engine.
//!
//! `golden`: scripts and their transcripts (`tests/scripts`). `model`: random requests against a model that is obvious.
//! `faults`: engines that fail, and crashes. One target, so that RocksDB is linked once.

mod commands;
mod faults;
mod golden;
mod harness;
mod model;
mod random;
mod render;
mod runner;
mod watching;
mod words;
