//! The release pipeline of Cairn: plan, act, verify.
//!
//! [`plan`] is pure: version, targets, names and gates as one value. [`steps`] is the list of what executes it, [`run`] and
//! [`journal`] let a killed run go on, [`rehearse`] plays all of it with throwaway keys and then uses the result as users
//! would. [`gates`], and the checks of the modules that write a format, read final bytes and return what is wrong as
//! sentences. [`verify`] trusts no plan, only a public key and a version that the user brings; [`publish`] and [`audit`]
//! know nothing of how a release was made.
//!
//! Dependencies point that way, too: what writes or reads one format knows neither plan nor site, which [`steps`] alone
//! brings together.

pub mod archive;
pub mod audit;
pub mod build_info;
pub mod changelog;
pub mod checksum;
pub mod comment;
pub mod compile;
mod date;
pub mod debug_symbols;
pub mod digest;
pub mod dist;
pub mod doctor;
pub mod dsse;
pub mod engine;
pub mod files;
pub mod gates;
pub mod inputs;
pub mod installer;
pub mod journal;
pub mod key_list;
pub mod keys;
pub mod licences;
pub mod linux_packages;
pub mod machine;
pub mod manifest;
pub mod materials;
pub mod oci;
pub mod pins;
pub mod plan;
pub mod process;
pub mod provenance;
pub mod publish;
pub mod rebuild;
pub mod rehearse;
pub mod repository;
pub mod run;
mod running;
pub mod sbom;
pub mod sign;
pub mod site;
pub mod site_bundle;
pub mod smoke;
pub mod source;
pub mod steps;
pub mod support;
pub mod tag;
pub mod tarball;
pub mod toolchain;
pub mod tree;
pub mod trials;
mod trust;
pub mod verify;
pub mod versions;
pub mod workspace;
