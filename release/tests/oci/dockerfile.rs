//! The Dockerfile makes the image that we release, of what is pinned.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use cairn_release::licences;
use cairn_release::machine::Machine;
use cairn_release::plan::{Inputs, Plan, Scope};
use serde_json::{Value, json};

use crate::fixture::{facts, made};

/// The instructions of the Dockerfile with their arguments; continued lines are joined, comments left out.
fn instructions() -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Dockerfile");
    let text = fs::read_to_string(path).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let joined = lines.join("\n").replace("\\\n", " ");
    let split = |line: &str| line.split_once(' ').map(|(word, rest)| (word.to_owned(), rest.trim().to_owned()));
    joined.lines().filter_map(split).collect()
}

/// The arguments of an instruction in the last stage, which stands there once.
fn of_the_image(instruction: &str) -> String {
    let all = instructions();
    let last_stage = all.iter().rposition(|(word, _)| word == "FROM").unwrap();
    let mut found = all[last_stage..].iter().filter(|(word, _)| word == instruction);
    let (_, arguments) = found.next().unwrap_or_else(|| panic!("no {instruction}"));
    assert!(found.next().is_none(), "{instruction} twice");
    arguments.clone()
}

fn pairs(text: &str) -> BTreeMap<String, String> {
    let mut rest = text.trim();
    let mut pairs = BTreeMap::new();
    while let Some((name, value)) = rest.split_once('=') {
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap(),
            None => value.split_once(' ').unwrap_or((value, "")),
        };
        pairs.insert(name.to_owned(), value.to_owned());
        rest = after.trim();
    }
    pairs
}

/// The configuration of a released image.
fn released() -> Value {
    let made = made();
    made.json(&made.config())["config"].clone()
}

#[test]
fn its_image_is_started_as_the_released_one() {
    let released = released();
    let list = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(json!(of_the_image("USER")), released["User"]);
    assert_eq!(json!(of_the_image("WORKDIR")), released["WorkingDir"]);
    assert_eq!(json!(of_the_image("STOPSIGNAL")), released["StopSignal"]);
    assert_eq!(list(&of_the_image("ENTRYPOINT")), released["Entrypoint"]);
    assert_eq!(json!({ of_the_image("EXPOSE"): {} }), released["ExposedPorts"]);
    let volume = list(&of_the_image("VOLUME"))[0].as_str().unwrap().to_owned();
    assert_eq!(json!({ volume: {} }), released["Volumes"]);
    let variables: Vec<_> = released["Env"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(pairs(&of_the_image("ENV")), pairs(&variables.join(" ")));
}

#[test]
fn its_image_is_checked_as_the_released_one() {
    let check = &released()["Healthcheck"];
    let text = of_the_image("HEALTHCHECK");
    let (options, test) = text.split_once(" CMD ").unwrap();
    let test = serde_json::from_str::<Vec<String>>(test).unwrap();
    assert_eq!(json!([vec!["CMD".to_owned()], test].concat()), check["Test"]);
    let nanoseconds = |name: &str| format!("{}s", check[name].as_u64().unwrap() / 1_000_000_000);
    let expected = BTreeMap::from([
        ("--interval".to_owned(), nanoseconds("Interval")),
        ("--timeout".to_owned(), nanoseconds("Timeout")),
        ("--start-period".to_owned(), nanoseconds("StartPeriod")),
        ("--retries".to_owned(), check["Retries"].to_string()),
    ]);
    assert_eq!(pairs(options), expected);
}

#[test]
fn its_labels_are_those_of_the_released_image() {
    let mut expected = facts().annotations();
    let given = [("version", "VERSION"), ("ref.name", "VERSION"), ("revision", "REVISION"), ("created", "CREATED")];
    for (name, argument) in given {
        expected.insert(format!("org.opencontainers.image.{name}"), format!("${{{argument}}}"));
    }
    assert_eq!(pairs(&of_the_image("LABEL")), expected);
}

#[test]
fn it_takes_no_image_that_is_not_named_by_its_digest_and_downloads_nothing_but_locked_crates() {
    let all = instructions();
    let bases: Vec<_> = all.iter().filter(|(word, _)| word == "FROM").map(|(_, base)| base.as_str()).collect();
    assert_eq!(bases, ["${BUILDER}@${DIGEST} AS build", "scratch"]);
    for argument in ["BUILDER", "DIGEST"] {
        assert!(all.contains(&("ARG".to_owned(), argument.to_owned())), "{argument} has no default");
    }
    for (_, arguments) in all.iter().filter(|(word, _)| word == "RUN") {
        for tool in ["apt", "curl", "wget", "git", "rustup", "pip"] {
            let runs = arguments.split([' ', ';', '|', '&']).any(|word| word == tool || word == format!("{tool}-get"));
            assert!(!runs, "{tool} in {arguments}");
        }
        assert!(!arguments.contains("cargo ") || arguments.contains("--locked"), "{arguments}");
    }
    assert!(all.iter().all(|(word, _)| word != "ADD"), "ADD downloads");
}

/// The plan of the release.
fn plan() -> Plan {
    let inputs = Inputs {
        cargo_toml: "[workspace]\n[workspace.package]\nversion = \"1.2.3\"\n".to_owned(),
        release_toml: "sequence = 1\n".to_owned(),
        commit: None,
        tree: None,
        source_date_epoch: 0,
        scope: Scope::Full,
    };
    Plan::new(&inputs).unwrap()
}

/// Whether the first part of a path in the root of the tree is sent to the builder.
fn is_sent(name: &str) -> bool {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.dockerignore")).unwrap();
    text.lines().any(|line| line.strip_prefix('!') == Some(name))
}

#[test]
fn its_programs_are_compiled_for_the_processors_and_pages_of_the_released_ones() {
    assert!(is_sent(".cargo"), "the builder does not get the baseline");
    let config = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cargo/config.toml")).unwrap();
    let config: toml::Value = toml::from_str(&config).unwrap();
    let all = instructions();
    for target in plan().image_targets() {
        let flags = config["target"][&target.triple]["rustflags"].as_array().unwrap();
        assert_eq!(flags.iter().filter_map(toml::Value::as_str).collect::<Vec<_>>(), target.rustflags);
        let platform = target.triple.to_uppercase().replace('-', "_");
        let page = format!("{platform}_JEMALLOC_SYS_WITH_LG_PAGE={}", target.elf.page_bytes.ilog2());
        // Without it jemalloc takes the builder's, which is right where there is one size.
        let one_size = target.elf.machine == Machine::Amd64;
        assert!(one_size || all.contains(&("ENV".to_owned(), page.clone())), "no {page}");
    }
}

#[test]
fn its_programs_name_the_commit_that_its_label_names() {
    let all = instructions();
    let build = all.iter().position(|(_, arguments)| arguments.contains("cargo build")).unwrap();
    assert!(all[build].1.starts_with("${REVISION:+env CAIRN_COMMIT=$REVISION} "), "{}", all[build].1);
    assert!(all[..build].contains(&("ARG".to_owned(), "REVISION".to_owned())), "the build does not get it");
}

#[test]
fn everything_that_its_build_reads_is_sent_to_the_builder() {
    let workspace = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml")).unwrap();
    let workspace: toml::Value = toml::from_str(&workspace).unwrap();
    let members = workspace["workspace"]["members"].as_array().unwrap().iter().filter_map(toml::Value::as_str);
    for path in members.chain(["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "LICENSE"]) {
        let top = path.split('/').next().unwrap();
        assert!(is_sent(top), "{path}");
    }
}

#[test]
fn its_documents_are_those_of_the_released_image() {
    let build: String = instructions().into_iter().filter(|(word, _)| word == "RUN").map(|(_, text)| text).collect();
    assert!(build.contains("cp /cairn/LICENSE /image/usr/share/doc/cairn/;"), "{build}");
    assert!(build.contains(&format!(">/image/usr/share/doc/cairn/{};", licences::FILE_NAME)), "{build}");
}

#[test]
fn its_users_are_those_of_the_released_image() {
    let made = made();
    let layer = made.json(&made.image())["layers"][0]["digest"].as_str().unwrap().to_owned();
    let file = fs::File::open(made.blob(&layer)).unwrap();
    let build: String = instructions().into_iter().filter(|(word, _)| word == "RUN").map(|(_, text)| text).collect();
    for entry in tar::Archive::new(flate2::read::GzDecoder::new(file)).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        if ["etc/passwd", "etc/group", "etc/nsswitch.conf"].contains(&path.as_str()) {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut entry, &mut text).unwrap();
            let expected = format!("printf '{}' >/image/{path}", text.replace('\n', "\\n"));
            assert!(build.contains(&expected), "the Dockerfile lacks {expected}");
        }
    }
}
