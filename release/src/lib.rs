//! The release pipeline of Cairn: plan, act, verify.
//!
//! [`plan`] is pure: version, targets, names and gates as one value. Every other module executes a part of that value
//! and takes nothing else for granted, so that each step can be run again alone: [`compile`], [`package`], [`checksum`],
//! [`sign`]. [`verify`] trusts no plan, only a public key and a version that the user brings; it is what a user runs.
//! [`rehearse`] plays all of it with a throwaway key and uses the result.
//!
//! Left out: further targets and formats, the journal that resumes a killed run, publishing.

pub mod checksum;
pub mod comment;
pub mod compile;
pub mod digest;
pub mod files;
pub mod keys;
pub mod manifest;
pub mod package;
pub mod plan;
pub mod process;
pub mod rehearse;
pub mod sign;
pub mod smoke;
pub mod verify;
pub mod workspace;
