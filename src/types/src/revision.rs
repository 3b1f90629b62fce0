//! The position of one change in the store's history.

use std::fmt;

/// One change: `main` is the store revision of the request that made it, `sub` its place within that request.
///
/// Ordered as the changes happened. `main` starts at 1 (the empty store); the first write has main 2. Both are
/// non-negative, so that their big-endian bytes sort as the numbers do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    /// The store revision, as `KeyValue.mod_revision` shows it.
    pub main: i64,
    /// The position among the changes of the same request, from 0.
    pub sub: u32,
}

impl Revision {
    /// The revision of a store in which nothing was ever written.
    pub const EMPTY_STORE: i64 = 1;

    /// A revision from its parts.
    #[must_use]
    pub const fn new(main: i64, sub: u32) -> Self {
        Self { main, sub }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.main, self.sub)
    }
}
