//! The route through `cross` (`Cross.toml`, `cross/`) is held to the plan and to what the pipeline's own build does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use cairn_release::compile::{BUILD_ID, STACK_PROTECTOR};
use cairn_release::plan::Target;

use crate::{full_plan, source_file, source_tree, version};

fn targets() -> Vec<Target> {
    full_plan(&version()).targets
}

/// The image's variables and their values.
fn variables() -> BTreeMap<String, String> {
    let text = source_file("cross/Dockerfile").replace("\\\n", " ");
    let line = text.lines().find_map(|line| line.strip_prefix("ENV ")).expect("the image sets variables");
    let words = line.split_whitespace().map(|word| word.split_once('=').expect("NAME=VALUE"));
    words.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// A target's platform in the names of the image's compilers.
fn platform(target: &Target) -> String {
    target.triple.replace("-unknown", "")
}

/// The pinned packages of a list: names, versions and hashes.
fn pins(file: &str) -> BTreeSet<String> {
    let text = source_file(file).replace("\\\n", " ");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn it_has_every_target_of_the_plan_and_no_other() {
    let cross: toml::Table = source_file("Cross.toml").parse().unwrap();
    let found: BTreeSet<_> = cross["target"].as_table().unwrap().keys().cloned().collect();
    assert_eq!(found, targets().into_iter().map(|target| target.triple).collect());
}

/// `zig-tool` is run under the compiler's name; a program in cargo-zigbuild's place tells what it was asked for.
#[test]
fn its_compiler_has_the_pipelines_floor_and_flags() {
    let folder = tempfile::tempdir().unwrap();
    let asked = folder.path().join("cargo-zigbuild");
    fs::write(&asked, "#!/bin/sh\necho \"$@\"\n").unwrap();
    fs::set_permissions(&asked, Permissions::from_mode(0o755)).unwrap();
    for target in targets() {
        let platform = platform(&target);
        let compiler = folder.path().join(format!("zig-{platform}-cc"));
        symlink(source_tree().join("cross/zig-tool"), &compiler).unwrap();
        let done = Command::new(&compiler).args(["-c", "a.c"]).env("PATH", folder.path()).output().unwrap();
        let asked = String::from_utf8(done.stdout).unwrap();

        let floor = target.glibc_floor().map(|version| format!(".{version}")).unwrap_or_default();
        let build_id = BUILD_ID.strip_prefix("link-arg=").expect("it is an argument of the linker's");
        let flags = target.cflags.join(" ");
        let wanted = format!("zig cc -- -target {platform}{floor} {STACK_PROTECTOR} {build_id} {flags} -c a.c\n");
        assert_eq!(asked, wanted);
    }
}

#[test]
fn its_image_has_a_compiler_for_every_target() {
    let variables = variables();
    for target in targets() {
        let (platform, triple) = (platform(&target), target.triple.replace('-', "_"));
        let upper = triple.to_uppercase();
        for (name, value) in [
            (format!("AR_{triple}"), format!("zig-{platform}-ar")),
            (format!("CC_{triple}"), format!("zig-{platform}-cc")),
            (format!("CXX_{triple}"), format!("zig-{platform}-c++")),
            (format!("CARGO_TARGET_{upper}_LINKER"), format!("zig-{platform}-cc")),
            (format!("{upper}_JEMALLOC_SYS_WITH_LG_PAGE"), target.elf.page_bytes.ilog2().to_string()),
        ] {
            assert_eq!(variables.get(&name), Some(&value), "{name} of cross/Dockerfile");
        }
    }
}

#[test]
fn its_cargo_has_the_baseline_of_the_plan() {
    let config: toml::Table = source_file(".cargo/config.toml").parse().unwrap();
    for target in targets() {
        let flags = config["target"][&target.triple]["rustflags"].as_array().unwrap().iter();
        assert_eq!(flags.map(|flag| flag.as_str().unwrap()).collect::<Vec<_>>(), target.rustflags);
    }
}

#[test]
fn its_python_packages_are_those_of_the_pipeline() {
    let (image, pipeline) = (pins("cross/requirements.txt"), pins("release/requirements.txt"));
    assert!(!image.is_empty() && image.is_subset(&pipeline), "{image:?}");
}

/// Without them the programs would not name their commit, and would not be the same twice.
#[test]
fn it_hands_on_what_the_programs_are_stamped_with() {
    let cross: toml::Table = source_file("Cross.toml").parse().unwrap();
    let found = cross["build"]["env"]["passthrough"].as_array().unwrap().iter();
    let found: Vec<_> = found.map(|name| name.as_str().unwrap()).collect();
    assert_eq!(found, ["CAIRN_COMMIT", "SOURCE_DATE_EPOCH"]);
}
