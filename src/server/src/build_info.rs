//! What this program was built from and for, as JSON: `cairnd build-info`.
//!
//! Contract: it opens no file and no socket and reads no configuration, so that it answers under an emulator and on a
//! machine where the server would not start. `cairn-release` reads it from the final program (`release/src/build_info.rs`
//! there knows each field), so a new field here is a new field there.

use std::panic;

use serde::Serialize;

use crate::VERSION;

/// The name of the hidden subcommand.
pub(crate) const SUBCOMMAND: &str = "build-info";

#[derive(Serialize)]
struct BuildInfo {
    version: &'static str,
    /// Set by whoever builds a release; a tree has no other way to know.
    commit: Option<&'static str>,
    target: &'static str,
    /// Rust's names of the processor features that the code takes for granted, sorted.
    cpu_features: Vec<&'static str>,
    rustc: &'static str,
    allocator: Allocator,
    overflow_checks: bool,
    rocksdb: &'static str,
}

#[derive(Serialize)]
struct Allocator {
    name: &'static str,
    /// The largest page of a system on which the allocator works.
    page_size_bytes: usize,
}

/// The text, with a line feed at its end.
pub(crate) fn text() -> String {
    let mut cpu_features: Vec<_> =
        env!("CAIRN_BUILD_CPU_FEATURES").split(',').filter(|name| !name.is_empty()).collect();
    cpu_features.sort_unstable();
    let info = BuildInfo {
        version: VERSION,
        commit: option_env!("CAIRN_COMMIT"),
        target: env!("CAIRN_BUILD_TARGET"),
        cpu_features,
        rustc: env!("CAIRN_BUILD_RUSTC"),
        allocator: Allocator { name: "jemalloc", page_size_bytes: cairn_rocks::allocator_page_size_bytes() },
        overflow_checks: overflow_is_checked(),
        rocksdb: env!("CAIRN_BUILD_ROCKSDB"),
    };
    let mut text = serde_json::to_string_pretty(&info).expect("strings, numbers and lists");
    text.push('\n');
    text
}

/// Tries it: the compiler tells the program in no other way.
fn overflow_is_checked() -> bool {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let checked = panic::catch_unwind(|| std::hint::black_box(u8::MAX) + std::hint::black_box(1)).is_err();
    panic::set_hook(usual);
    checked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_build_says_what_it_is_and_that_overflows_are_checked() {
        let info: serde_json::Value = serde_json::from_str(&text()).unwrap();
        assert_eq!(info["version"], VERSION);
        assert_eq!(info["overflow_checks"], true);
        assert!(info["target"].as_str().unwrap().contains(std::env::consts::ARCH), "{info}");
        assert!(info["rocksdb"].as_str().unwrap().split('.').count() == 3, "{info}");
        assert!(info["allocator"]["page_size_bytes"].as_u64().unwrap().is_power_of_two(), "{info}");
    }
}
