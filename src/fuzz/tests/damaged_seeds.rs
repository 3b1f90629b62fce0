//! Every target on its seeds, and on seeds with random damage: the little of a fuzzer's work that fits into a test run.

use std::collections::BTreeSet;
use std::path::Path;

use cairn_fuzz::{TARGETS, target};

/// Damaged copies of each seed.
const ROUNDS: u64 = 500;

/// Most changes to one copy.
const MAX_CHANGES: usize = 8;

fn damage(bytes: &mut Vec<u8>, random: &mut fastrand::Rng) {
    for _ in 0..random.usize(1..=MAX_CHANGES) {
        let at = random.usize(0..=bytes.len());
        match random.u8(0..5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, random.u8(..)),
            2 => drop(bytes.drain(at..bytes.len().min(at + random.usize(1..8)))),
            3 => {
                let again = bytes[at..bytes.len().min(at + random.usize(1..64))].to_vec();
                drop(bytes.splice(at..at, again));
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = if random.bool() { random.u8(..) } else { *byte ^ (1 << random.u8(0..8)) };
                }
            }
        }
    }
}

/// Each seed and its damaged copies; a panic names the target, and its message the promise.
fn check(name: &str) {
    let target = target(name);
    for (number, seed) in (target.seeds)().into_iter().enumerate() {
        (target.run)(&seed);
        for round in 0..ROUNDS {
            let mut bytes = seed.clone();
            damage(&mut bytes, &mut fastrand::Rng::with_seed(round));
            let outcome = std::panic::catch_unwind(|| (target.run)(&bytes));
            assert!(outcome.is_ok(), "{name}, seed {number}, round {round}: {bytes:02x?}");
        }
    }
}

#[test]
fn entries_of_the_log_decode_or_are_refused() {
    check("entry");
}

#[test]
fn a_damaged_log_opens_or_is_refused() {
    check("log");
}

#[test]
fn a_peer_may_say_anything() {
    check("peer");
}

#[test]
fn accepted_requests_keep_every_promise() {
    check("requests");
}

/// Name and version of each package that a lock file names.
fn locked(path: &str) -> BTreeSet<(String, String)> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap();
    let field =
        |part: &str, name: &str| Some(part.split_once(&format!("\n{name} = \""))?.1.split_once('"')?.0.to_owned());
    let packages = text.split("[[package]]").skip(1);
    packages.map(|part| (field(part, "name").unwrap(), field(part, "version").unwrap())).collect()
}

/// Otherwise the programs would search other code than the one that is released. `cargo update` in `fuzz/` mends it.
#[test]
fn the_programs_are_built_of_what_the_workspace_is_built_of() {
    let workspace = locked("Cargo.lock");
    let others: Vec<_> = locked("fuzz/Cargo.lock").difference(&workspace).map(|(name, _)| name.clone()).collect();
    assert_eq!(others, ["arbitrary", "cairn-fuzz-programs", "libfuzzer-sys"]);
}

#[test]
fn every_target_has_a_program_of_its_name_and_seeds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/fuzz_targets");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), TARGETS.len());
    for target in TARGETS {
        let program = std::fs::read_to_string(folder.join(format!("{}.rs", target.name))).unwrap();
        assert!(program.contains(&format!("cairn_fuzz::target(\"{}\")", target.name)), "{program}");
        assert!(!(target.seeds)().is_empty(), "{}", target.name);
    }
}
