//! Publishing as its users see it: what is visible when, what a killed run leaves, what is refused, what an audit finds.
//!
//! Folder and registry are the real things; the other services are small servers that behave as documented.

mod auditing;
mod bucket;
mod fixture;
mod folder;
mod github;
mod registry;
mod server;
mod signature;
