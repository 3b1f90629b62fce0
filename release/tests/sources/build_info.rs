//! What the server says of itself is held to what was declared.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use cairn_release::build_info::{ARMV8_A_CRC, BuildInfo, Declared};

const JSON: &str = r#"{
  "version": "1.2.3",
  "commit": "0123456789abcdef0123456789abcdef01234567",
  "target": "aarch64-unknown-linux-gnu",
  "cpu_features": ["crc", "neon"],
  "rustc": "rustc 1.95.0 (59807616e 2026-04-14)",
  "allocator": { "name": "jemalloc", "page_size_bytes": 65536 },
  "overflow_checks": true,
  "rocksdb": "11.8.1"
}
"#;

const DECLARED: Declared<'_> = Declared {
    version: "1.2.3",
    commit: Some("0123456789abcdef0123456789abcdef01234567"),
    target: "aarch64-unknown-linux-gnu",
    cpu_features: &ARMV8_A_CRC,
};

/// What the gate says after one text in the JSON is another.
fn violations(from: &str, to: &str) -> Vec<String> {
    assert!(JSON.contains(from), "{from}");
    BuildInfo::parse(&JSON.replace(from, to)).unwrap().violations(&DECLARED)
}

#[test]
fn what_was_declared_passes() {
    assert_eq!(violations("1.2.3", "1.2.3"), [""; 0]);
}

#[test]
fn every_difference_is_found_by_its_name() {
    assert_eq!(violations("1.2.3", "1.2.4"), ["build-info: version is 1.2.4, not 1.2.3"]);
    assert_eq!(violations("true", "false"), ["build-info: check of overflows is off, not on"]);
    assert_eq!(violations("jemalloc", "system"), ["build-info: allocator is system, not jemalloc"]);
    assert_eq!(violations("\"crc\", ", ""), ["build-info: the declared processor feature crc is not used"]);
    let found = violations("\"neon\"", "\"neon\", \"sve\"");
    assert_eq!(found, ["build-info: needs the processor feature sve, which is not declared"]);
    assert_eq!(violations("\"neon\"", "\"neon\", \"outline-atomics\""), [""; 0]);
    let commit = "\"0123456789abcdef0123456789abcdef01234567\"";
    let expected = "build-info: commit is unknown, not 0123456789abcdef0123456789abcdef01234567";
    assert_eq!(violations(commit, "null"), [expected]);
}

#[test]
fn an_unknown_or_missing_field_is_refused() {
    for (from, to) in [("\"rocksdb\"", "\"other\""), ("{\n", "{ \"more\": 1,"), ("65536", "\"65536\"")] {
        let refusal = BuildInfo::parse(&JSON.replacen(from, to, 1)).unwrap_err();
        assert!(refusal.to_string().contains("is not what this version of cairn-release knows"), "{refusal}");
    }
}

#[test]
fn a_program_is_asked_directly_or_through_an_emulator() {
    let scratch = tempfile::tempdir().unwrap();
    let make = |name: &str, text: &str| {
        let path = scratch.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    let program = make("cairnd", &format!("#!/bin/sh\n[ \"$*\" = build-info ] && cat <<'END'\n{JSON}END\n"));
    let emulator = make("emulator", "#!/bin/sh\n[ \"$1\" = -cpu ] && shift 2 && exec \"$@\"\n");
    let expected = BuildInfo::parse(JSON).unwrap();
    assert_eq!(BuildInfo::ask(&program, &[]).unwrap(), expected);
    assert_eq!(BuildInfo::ask(&program, &[emulator.to_str().unwrap(), "-cpu", "old"]).unwrap(), expected);
}
