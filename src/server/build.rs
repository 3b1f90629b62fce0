//! Hands facts of the build to `build_info`: what cargo knows only while it builds, and RocksDB's version.

use std::env;
use std::fs;
use std::process::Command;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../../Cargo.lock");
    let rustc = Command::new(env::var("RUSTC")?).arg("--version").output()?;
    tell("CAIRN_BUILD_RUSTC", String::from_utf8(rustc.stdout)?.trim());
    tell("CAIRN_BUILD_TARGET", &env::var("TARGET")?);
    tell("CAIRN_BUILD_CPU_FEATURES", &env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default());
    tell("CAIRN_BUILD_ROCKSDB", &rocksdb_version(&fs::read_to_string("../../Cargo.lock")?)?);
    Ok(())
}

fn tell(name: &str, value: &str) {
    println!("cargo:rustc-env={name}={value}");
}

/// RocksDB's own version is what follows the `+` in that of the package that brings it.
fn rocksdb_version(lock: &str) -> Result<String, String> {
    let entry = lock.split_once("name = \"librocksdb-sys\"").map(|(_, rest)| rest);
    let version = entry.and_then(|rest| rest.split('"').nth(1)).and_then(|version| version.split_once('+'));
    version.map(|(_, rocksdb)| rocksdb.to_owned()).ok_or_else(|| "Cargo.lock names no version of RocksDB".to_owned())
}
