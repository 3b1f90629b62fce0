//! What provenance says of toolchains and tools: hashes of files, which anybody can compare.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use cairn_release::digest::digest_file;
use cairn_release::machine::Machine;
use cairn_release::materials::Materials;
use cairn_release::oci::Linkage;
use cairn_release::toolchain::Toolchain;

/// A toolchain with the `rustc` that compiled this test; what that needs, and all else, is as small as can be.
fn toolchain(sysroot: &Path) -> Toolchain {
    let write = |path: &str, bytes: &[u8]| {
        let path = sysroot.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let rustc = fs::read(Path::new(env!("CARGO")).with_file_name("rustc")).unwrap();
    let needed = Linkage::read(&rustc, host()).unwrap().needed;
    write("bin/rustc", &rustc);
    write("bin/cargo", b"cargo");
    // Its header alone, which needs nothing.
    for library in needed.iter().filter(|name| name.starts_with("librustc_driver")) {
        write(&format!("lib/{library}"), &elf_header(&rustc));
    }
    write("lib/rustlib/some-platform/lib/libstd-1.rlib", b"std");
    write("lib/rustlib/src/rust/library/Cargo.lock", b"version = 4");
    let version = "rustc 1.95.0 (59807616e 2026-04-14)\nrelease: 1.95.0\n".to_owned();
    Toolchain { bin: sysroot.join("bin"), version, sysroot: sysroot.to_owned(), builds_std: false }
}

fn host() -> Machine {
    if cfg!(target_arch = "aarch64") { Machine::Arm64 } else { Machine::Amd64 }
}

/// The header of a 64-bit ELF file, without programs and sections.
fn elf_header(file: &[u8]) -> Vec<u8> {
    let mut header = file[..64].to_vec();
    // Places, then numbers, of what is not there.
    header[32..48].fill(0);
    header[56..64].fill(0);
    header
}

/// What is listed of a toolchain: names and places.
fn listed(toolchain: &Toolchain) -> Vec<(String, String)> {
    let mut materials = Materials::default();
    materials.add_toolchain(toolchain, "linux-here", "some-platform").unwrap();
    let listed = materials.into_list().into_iter().map(|material| {
        let (package, place) = material.uri.split_once('#').unwrap();
        assert_eq!(package, "pkg:generic/rust@1.95.0");
        let sha256 = digest_file(&toolchain.sysroot.join(place)).unwrap().sha256;
        assert_eq!(material.digest, [("sha256".to_owned(), sha256)].into(), "{place}");
        (material.name, place.to_owned())
    });
    listed.collect()
}

#[test]
fn a_toolchain_is_listed_by_files_with_their_hashes_and_its_compiler_by_the_library_that_is_it() {
    let sysroot = tempfile::tempdir().unwrap();
    let listed = listed(&toolchain(sysroot.path()));
    let names: Vec<_> = listed.iter().map(|(name, _)| &**name).collect();
    let expected = ["rustc for linux-here", "rustc for linux-here", "cargo for linux-here"];
    assert_eq!(names, [expected.as_slice(), &["standard library for linux-here"]].concat());
    assert!(listed[1].1.starts_with("lib/librustc_driver-"), "{listed:?}");
    assert_eq!(listed[3].1, "lib/rustlib/some-platform/lib/libstd-1.rlib");
}

#[test]
fn a_standard_library_that_is_compiled_with_the_programs_is_listed_by_its_source() {
    let sysroot = tempfile::tempdir().unwrap();
    let listed = listed(&Toolchain { builds_std: true, ..toolchain(sysroot.path()) });
    let (name, place) = listed.last().unwrap();
    assert_eq!(
        (&**name, &**place),
        ("source of the standard library for linux-here", "lib/rustlib/src/rust/library/Cargo.lock",)
    );
}

#[test]
fn a_compiler_that_lacks_a_part_of_itself_is_refused() {
    let sysroot = tempfile::tempdir().unwrap();
    let toolchain = toolchain(sysroot.path());
    for name in fs::read_dir(sysroot.path().join("lib")).unwrap().map(|entry| entry.unwrap().path()) {
        if name.is_file() {
            fs::remove_file(name).unwrap();
        }
    }
    let error = Materials::default().add_toolchain(&toolchain, "linux-here", "some-platform").unwrap_err();
    assert!(error.to_string().contains("needs librustc_driver-"), "{error}");
}

#[test]
fn a_tool_is_listed_by_its_own_hash_and_by_the_version_that_it_says() {
    let scratch = tempfile::tempdir().unwrap();
    let program = scratch.path().join("tool");
    fs::write(&program, "#!/bin/sh\necho \"the tool\nGitVersion:    2.48.0\nbuilt 2026.\"\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut materials = Materials::default();
    materials.add_tool("tool", &program, &["--version"]).unwrap();
    materials.add_tool("silent", &program, &[]).unwrap();
    let listed = materials.into_list();
    assert_eq!([&*listed[0].uri, &*listed[1].uri], ["pkg:generic/tool@2.48.0", "pkg:generic/silent"]);
    assert_eq!(listed[0].digest["sha256"], digest_file(&program).unwrap().sha256);
    fs::write(&program, "#!/bin/sh\necho unknown\n").unwrap();
    let error = Materials::default().add_tool("tool", &program, &["--version"]).unwrap_err();
    assert!(error.to_string().contains("tool does not say its version: unknown"), "{error}");
}
