//! Owners, templates and updates, and that workflows call only what exists.

use std::collections::BTreeSet;
use std::process::Command;

use cairn_release::files;
use cairn_release::inputs::DEBIAN_RELEASE;
use cairn_release::pins::{self, workflow};
use yaml_rust2::{Yaml, YamlLoader};

use crate::{source_file, source_tree};

fn yaml(name: &str) -> Yaml {
    let mut documents = YamlLoader::load_from_str(&source_file(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_eq!(documents.len(), 1, "{name}");
    documents.remove(0)
}

/// Every command line of every workflow.
fn calls() -> Vec<String> {
    let workflows = pins::workflows(&source_tree()).unwrap();
    workflows.iter().flat_map(|name| workflow::calls(&source_file(name))).collect()
}

/// Every job of every workflow, with its place.
fn jobs() -> Vec<(String, Yaml)> {
    let workflows = pins::workflows(&source_tree()).unwrap();
    let jobs = workflows.iter().flat_map(|workflow| {
        let jobs = yaml(workflow)["jobs"].as_hash().expect("a workflow has jobs").clone();
        jobs.into_iter().map(move |(name, job)| (format!("{workflow}: {}", name.as_str().unwrap()), job))
    });
    jobs.collect()
}

#[test]
fn workflows_call_commands_that_dev_has() {
    let dev = source_file("dev");
    for call in calls().iter().filter_map(|call| call.strip_prefix("./dev ")) {
        let command = call.split(' ').next().unwrap();
        assert!(dev.contains(&format!("\n    {command}) ")), "./dev has no command {command}");
    }
}

#[test]
fn workflows_call_commands_that_cairn_release_has() {
    for call in calls() {
        let Some((_, arguments)) = call.split_once("cairn-release -- ") else { continue };
        let command = arguments.split(' ').next().unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_cairn-release")).args([command, "--help"]).output().unwrap();
        assert!(output.status.success(), "cairn-release has no command {command}");
    }
}

#[test]
fn every_job_runs_in_one_image_that_has_our_toolchain_and_the_debian_of_trials() {
    let toolchain: toml::Table = source_file("rust-toolchain.toml").parse().unwrap();
    let channel = toolchain["toolchain"]["channel"].as_str().unwrap();
    let tag = format!("rust:{channel}-{DEBIAN_RELEASE}@sha256:");
    let mut images = BTreeSet::new();
    for (name, job) in jobs() {
        let container = &job["container"];
        let image = container.as_str().or_else(|| container["image"].as_str()).unwrap_or_default();
        assert!(image.starts_with(&tag), "{name} runs in {image:?}, not in {tag}…");
        images.insert(image.to_owned());
    }
    assert_eq!(images.len(), 1, "{images:?}");
}

#[test]
fn only_a_job_that_rehearses_is_privileged_and_none_that_has_a_secret() {
    for (name, job) in jobs() {
        let text = format!("{job:?}");
        let rehearses = text.contains(".ci/run") || text.contains("./dev release");
        let privileged = job["container"]["options"].as_str().is_some_and(|options| options.contains("--privileged"));
        assert_eq!(privileged, rehearses, "{name}");
        assert!(!privileged || !text.contains("secrets."), "{name}");
    }
}

#[test]
fn continuous_integration_runs_what_a_developer_runs() {
    let calls = workflow::calls(&source_file(".github/workflows/ci.yml"));
    assert_eq!(calls, [r#"git config --global --add safe.directory "$GITHUB_WORKSPACE""#, ".ci/run"]);
}

#[test]
fn a_release_is_tested_built_signed_and_published_in_this_order() {
    let release = yaml(".github/workflows/release.yml");
    let needed = |job: &str| release["jobs"][job]["needs"].as_str().map(str::to_owned);
    assert_eq!(
        ["test", "build", "sign", "publish"].map(needed),
        [None, Some("test".to_owned()), Some("build".to_owned()), Some("sign".to_owned())]
    );
    let test = &release["jobs"]["test"]["steps"];
    assert!(test.as_vec().unwrap().iter().any(|step| step["run"].as_str() == Some(".ci/run")), "{test:?}");
}

#[test]
fn a_second_person_approves_every_job_with_a_secret_and_no_job_has_those_of_two() {
    for (name, job) in jobs() {
        let secrets =
            ["secrets.CAIRN_RELEASE_", "secrets.GITHUB_TOKEN"].map(|secret| format!("{job:?}").contains(secret));
        let (approved, wanted) = match name.as_str() {
            ".github/workflows/release.yml: sign" => (true, [true, false]),
            ".github/workflows/release.yml: publish" => (true, [false, true]),
            _ => (false, [false, false]),
        };
        assert_eq!(secrets, wanted, "{name}");
        assert_eq!(job["environment"]["name"].as_str() == Some("release"), approved, "{name}");
    }
}

/// What such a step runs compiles and installs nothing: `dev.rs` holds it to that.
#[test]
fn a_step_with_a_secret_runs_what_was_prepared_without_one() {
    for (name, job) in jobs() {
        assert!(!format!("{:?}", job["env"]).contains("secrets."), "{name}: every step has its secrets");
        let mut before = "";
        for step in job["steps"].as_vec().unwrap() {
            let run = step["run"].as_str().unwrap_or_default();
            if format!("{step:?}").contains("secrets.") {
                let prepares = match run {
                    "./dev seal-release" => "./dev prepare-sealing",
                    "./dev publish-release" => "./dev prepare-publishing",
                    _ => panic!("{name}: {run:?} has a secret"),
                };
                assert_eq!(before, prepares, "{name}");
            }
            before = run;
        }
    }
}

#[test]
fn every_night_dependencies_are_compared_with_the_advisories_of_that_day() {
    let calls = workflow::calls(&source_file(".github/workflows/nightly.yml"));
    assert!(calls.contains(&"./dev advisories".to_owned()), "{calls:?}");
}

#[test]
fn what_users_download_and_what_protects_them_has_two_owners() {
    let text = source_file(".github/CODEOWNERS");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let owners: Vec<(&str, usize)> = lines
        .map(|line| {
            let (path, owners) = line.split_once(' ').expect("path and owners");
            assert!(owners.split_whitespace().all(|owner| owner.starts_with("@cairn/")), "{line}");
            (path, owners.split_whitespace().count())
        })
        .collect();
    assert_eq!(owners[0].0, "*", "the first line is for all that no other line names");
    for (path, _) in &owners[1..] {
        assert!(source_tree().join(path.trim_start_matches('/')).exists(), "{path} has owners and is not there");
    }
    for path in ["/.ci/", "/.github/", "/packaging/", "/release/", "/SECURITY.md"] {
        let count = owners.iter().rfind(|(owned, _)| *owned == path).map_or(0, |(_, count)| *count);
        assert!(count >= 2, "{path} has {count} owners");
    }
}

#[test]
fn updates_come_grouped_and_a_week_late() {
    let dependabot = yaml(".github/dependabot.yml");
    let updates = dependabot["updates"].as_vec().unwrap();
    let ecosystems: Vec<_> = updates.iter().map(|update| update["package-ecosystem"].as_str().unwrap()).collect();
    assert_eq!(ecosystems, ["cargo", "github-actions", "docker", "pip"]);
    for update in updates {
        assert!(update["cooldown"]["default-days"].as_i64().is_some_and(|days| days >= 7), "{update:?}");
        assert!(update["groups"].as_hash().is_some(), "{update:?}");
    }
}

#[test]
fn updates_look_at_every_folder_that_pins_something() {
    let root = source_tree();
    let mut folders = files::names_in(&root).unwrap();
    folders.insert(String::new());
    // The etcd that we compare with stays at its version.
    folders.remove("tests");
    for update in yaml(".github/dependabot.yml")["updates"].as_vec().unwrap() {
        let file = match update["package-ecosystem"].as_str().unwrap() {
            "cargo" => "Cargo.lock",
            "docker" => "Dockerfile",
            "pip" => "requirements.txt",
            _ => continue,
        };
        let pinning = folders.iter().filter(|folder| root.join(folder).join(file).exists());
        let pinning: Vec<_> = pinning.map(|folder| format!("/{folder}")).collect();
        let listed: Vec<_> = update["directories"].as_vec().unwrap().iter().map(|at| at.as_str().unwrap()).collect();
        assert_eq!(listed, pinning, "{file}");
    }
}

#[test]
fn templates_are_there_and_send_vulnerabilities_elsewhere() {
    assert!(source_file(".github/PULL_REQUEST_TEMPLATE.md").contains("SECURITY.md"));
    let config = yaml(".github/ISSUE_TEMPLATE/config.yml");
    assert_eq!(config["blank_issues_enabled"].as_bool(), Some(false));
    assert!(config["contact_links"][0]["about"].as_str().unwrap().contains("SECURITY.md"));
    for name in ["bug", "feature"] {
        let template = yaml(&format!(".github/ISSUE_TEMPLATE/{name}.yml"));
        assert!(template["name"].as_str().is_some() && template["description"].as_str().is_some());
        assert!(template["body"].as_vec().is_some_and(|body| !body.is_empty()), "{name}");
    }
}
