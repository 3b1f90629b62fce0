//! Consensus from outside: single members, small scenarios, and whole clusters driven by a seed.
//!
//! `world` is a model of what surrounds consensus (a network that delays, doubles, drops and parts; disks that keep only
//! what was written; stores that lag) with the checkers; `scenarios` and `chaos` drive it, `lone_voter` and `refusals`
//! drive one member by hand.

mod chaos;
mod disk;
mod lone_voter;
mod refusals;
mod scenarios;
mod world;
