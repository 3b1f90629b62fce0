//! What a release says about where it comes from: source archives, debug symbols, build facts, versions.

mod build_info;
mod debug_symbols;
mod fixture;
mod source;
mod vendored;
mod versions;
