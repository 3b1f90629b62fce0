//! The route through `cross` (`Cross.toml`, `cross/`) is held to the plan and to what the pipeline's own build does.

use std::collections::{BTreeMap, BTreeSet};

use cairn_release::compile::{BUILD_ID, STACK_PROTECTOR};
use cairn_release::plan::Target;

use crate::{full_plan, source_file, version};

fn targets() -> Vec<Target> {
    full_plan(&version()).targets
}

/// The image's variables and their values.
fn variables() -> BTreeMap<String, String> {
    let text = source_file("cross/Dockerfile").replace("\\\n", " ");
    let line = text.lines().find_map(|line| line.strip_prefix("ENV ")).expect("the image sets variables");
    // A value has quotes around all of it or none; what stands between two of them is NAME=VALUE words or a value.
    let mut variables = BTreeMap::new();
    let mut quoted_name = None;
    for (at, part) in line.split('"').enumerate() {
        if at % 2 == 1 {
            variables.insert(quoted_name.take().expect("a value has a name"), part.to_owned());
            continue;
        }
        for (name, value) in part.split_whitespace().map(|word| word.split_once('=').expect("NAME=VALUE")) {
            if value.is_empty() {
                quoted_name = Some(name.to_owned());
            } else {
                variables.insert(name.to_owned(), value.to_owned());
            }
        }
    }
    variables
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

#[test]
fn it_asks_for_the_glibc_floor() {
    let wrapper = source_file("cross/zig-tool");
    for floor in targets().iter().filter_map(Target::glibc_floor) {
        assert!(wrapper.lines().any(|line| line == format!("*-gnu) platform=$platform.{floor} ;;")));
    }
}

#[test]
fn its_image_has_the_pipelines_compiler_and_flags() {
    let variables = variables();
    for target in targets() {
        let (platform, triple) = (target.triple.replace("-unknown", ""), target.triple.replace('-', "_"));
        let upper = triple.to_uppercase();
        let cflags = format!("{STACK_PROTECTOR} {}", target.cflags.join(" "));
        for (name, value) in [
            (format!("AR_{triple}"), format!("zig-{platform}-ar")),
            (format!("CC_{triple}"), format!("zig-{platform}-cc")),
            (format!("CXX_{triple}"), format!("zig-{platform}-c++")),
            (format!("CFLAGS_{triple}"), cflags.clone()),
            (format!("CXXFLAGS_{triple}"), cflags),
            (format!("CARGO_TARGET_{upper}_LINKER"), format!("zig-{platform}-cc")),
            (format!("CARGO_TARGET_{upper}_RUSTFLAGS"), format!("-C {BUILD_ID}")),
            (format!("{upper}_JEMALLOC_SYS_WITH_LG_PAGE"), target.elf.page_bytes.ilog2().to_string()),
        ] {
            assert_eq!(variables.get(&name), Some(&value), "{name} of cross/Dockerfile");
        }
    }
}

/// cargo adds the image's flags to these, which set the baseline.
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
