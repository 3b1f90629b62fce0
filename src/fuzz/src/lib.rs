//! What damaged disks, wrong peers and odd clients may send us: functions that take any bytes, for a fuzzer.
//!
//! Contract: a target returns whatever the bytes are, and panics exactly where a promise of the crate that reads them is
//! broken. Its inputs are self-contained: the same bytes do the same. [`Target::seeds`] are sound inputs, from which a
//! fuzzer departs. `fuzz/` links each target with libFuzzer (`./dev fuzz`); the tests here damage the seeds at random,
//! so that every test run has some of it.
//!
//! Left out: HTTP, HPACK and TLS, which are other projects' and fuzzed there; RocksDB's own files.

mod entry;
mod input;
mod log;
mod peer;
mod requests;

/// A part that reads bytes which it cannot trust.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name, of the file in `fuzz/fuzz_targets/` too.
    pub name: &'static str,
    /// Reads the bytes and holds the part to its promises.
    ///
    /// # Panics
    /// Where a promise is broken.
    pub run: fn(&[u8]),
    /// Sound inputs.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "entry", run: entry::run, seeds: entry::seeds },
    Target { name: "log", run: log::run, seeds: log::seeds },
    Target { name: "peer", run: peer::run, seeds: peer::seeds },
    Target { name: "requests", run: requests::run, seeds: requests::seeds },
];

/// The target of this name.
///
/// # Panics
/// Where there is none.
#[must_use]
pub fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| panic!("there is no target {name}"))
}
