//! The plan is pure and says everything.

use std::collections::BTreeSet;
use std::process::Command;

use cairn_release::plan::{Artifact, ArtifactKind, Inputs, Plan, PlanError, Scope, Target};
use cairn_release::{steps, workspace};

use crate::fixture::{EPOCH, source_tree};

fn inputs(version: &str, scope: Scope) -> Inputs {
    Inputs {
        cargo_toml: format!("[workspace.package]\nversion = \"{version}\"\n"),
        release_toml: "sequence = 7\n".to_owned(),
        commit: Some("0123456789abcdef0123456789abcdef01234567".to_owned()),
        tree: Some("89abcdef0123456789abcdef0123456789abcdef".to_owned()),
        source_date_epoch: EPOCH,
        scope,
    }
}

fn plan_of(version: &str) -> Plan {
    Plan::new(&inputs(version, Scope::Full)).expect("the inputs are valid")
}

fn plan() -> Plan {
    plan_of("1.2.3")
}

/// To accept a changed plan, run with UPDATE_PLAN=1 and read the difference before you commit it.
#[test]
fn the_plan_is_the_one_that_was_reviewed() {
    if std::env::var_os("UPDATE_PLAN").is_some() {
        std::fs::write(source_tree().join("release/tests/pipeline/plan.json"), plan().to_json()).unwrap();
    }
    assert_eq!(plan().to_json(), include_str!("plan.json"));
}

#[test]
fn equal_inputs_give_equal_plans() {
    assert_eq!(plan().to_json(), plan().to_json());
}

#[test]
fn the_version_of_the_cargo_manifest_is_in_every_archive_name() {
    let plan = plan_of("4.5.6-rc.1");
    let archives: Vec<_> = plan.artifacts.iter().filter(|artifact| artifact.name.ends_with(".tar.gz")).collect();
    assert!(archives.len() >= 8, "{archives:?}");
    assert!(archives.iter().all(|artifact| artifact.name.contains("-4.5.6-rc.1-")), "{archives:?}");
}

#[test]
fn every_artifact_has_its_target_and_its_name_in_the_file_list() {
    let plan = plan();
    for artifact in &plan.artifacts {
        assert!(artifact.target.as_ref().is_none_or(|name| plan.target(name).is_some()));
        assert!(plan.files.contains(&artifact.name));
    }
}

#[test]
fn a_fast_plan_is_the_part_of_the_full_one_that_is_for_its_target() {
    let fast = Plan::new(&inputs("1.2.3", Scope::Fast("linux-arm64".to_owned()))).unwrap();
    let full = plan();
    assert!(fast.artifacts.iter().all(|artifact| full.artifacts.contains(artifact)));
    let wanted = |artifact: &&Artifact| {
        artifact.kind != ArtifactKind::Apk && artifact.target.as_deref().is_none_or(|target| target == "linux-arm64")
    };
    assert!(full.artifacts.iter().filter(wanted).eq(&fast.artifacts));
    assert_eq!(fast.scope(), Scope::Fast("linux-arm64".to_owned()));
    assert!(Plan::new(&inputs("1.2.3", Scope::Fast("linux-riscv64".to_owned()))).is_err());
}

#[test]
fn alpine_s_packages_and_no_others_hold_static_programs() {
    let plan = plan();
    for kind in [ArtifactKind::Deb, ArtifactKind::Rpm, ArtifactKind::ArchLinux, ArtifactKind::Apk] {
        let targets = plan.artifacts_of(kind).filter_map(|artifact| plan.target(artifact.target.as_deref()?));
        let are_static: Vec<_> = targets.map(Target::is_static).collect();
        assert_eq!(are_static, [kind == ArtifactKind::Apk; 4], "server and client for two machines: {kind:?}");
    }
    assert!(plan.image_targets().all(|target| !target.is_static()));
    assert_eq!(plan.image_targets().count(), 2);
}

#[test]
fn each_gate_is_proven_by_one_step() {
    let gates = plan().gates;
    assert_eq!(gates, steps::gates(&Scope::Full));
    assert_eq!(gates.iter().collect::<BTreeSet<_>>().len(), gates.len());
}

#[test]
fn every_file_that_is_no_signature_has_one() {
    let plan = plan();
    let names: BTreeSet<_> = plan.files.iter().cloned().collect();
    assert!(plan.signed_files().all(|name| names.contains(&format!("{name}.minisig"))));
    assert_eq!(plan.signed_files().count() * 2, plan.files.len());
}

#[test]
fn a_version_that_would_leave_its_file_name_is_refused() {
    for version in ["", "1.0/..", "1 0"] {
        assert!(matches!(Plan::new(&inputs(version, Scope::Full)), Err(PlanError::Version(v)) if v == version));
    }
}

#[test]
fn an_unknown_field_of_the_release_file_is_refused() {
    let inputs = Inputs { release_toml: "sequence = 1\nsequense = 2\n".to_owned(), ..inputs("1.0.0", Scope::Full) };
    assert!(matches!(Plan::new(&inputs), Err(PlanError::Toml { file: "release/release.toml", .. })));
}

#[test]
fn the_source_tree_is_found_from_a_folder_inside_it() {
    let root = source_tree();
    assert_eq!(workspace::find_root(&root.join("release/src")).unwrap(), root);
}

#[test]
fn files_that_the_archive_takes_from_the_tree_are_there() {
    for archive in plan().artifacts.into_iter().filter_map(|artifact| artifact.archive) {
        for file in archive.source_files {
            assert!(source_tree().join(&file.from).is_file(), "{} is missing", file.from);
        }
    }
}

#[test]
fn the_sample_configuration_sets_only_options_of_the_server() {
    let known = [
        "CAIRN_NAME",
        "CAIRN_DATA_DIR",
        "CAIRN_LISTEN_CLIENT_URLS",
        "CAIRN_ADVERTISE_CLIENT_URLS",
        "CAIRN_QUOTA_BACKEND_BYTES",
        "CAIRN_MEMORY_BUDGET",
        "CAIRN_LOG_LEVEL",
    ];
    let text = std::fs::read_to_string(source_tree().join("packaging/cairn.env")).unwrap();
    let assignments = text.lines().filter_map(|line| line.trim_start_matches('#').split_once('='));
    let names: Vec<_> = assignments.map(|(name, _)| name).filter(|name| name.starts_with("CAIRN_")).collect();
    assert_eq!(names, known);
}

#[test]
fn the_plan_of_this_tree_is_printed_as_json() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cairn-release"));
    command.arg("plan").arg("--root").arg(source_tree()).env("SOURCE_DATE_EPOCH", "1700000000");
    let output = command.output().unwrap();
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).expect("the plan is JSON");
    assert_eq!(plan["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(plan["product"], "cairn");
}

#[test]
fn without_a_time_for_the_artifacts_it_says_how_to_give_one() {
    let scratch = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(scratch.path().join("release")).unwrap();
    std::fs::write(scratch.path().join("release/release.toml"), "sequence = 1\n").unwrap();
    std::fs::write(scratch.path().join("Cargo.toml"), "[workspace.package]\nversion = \"1.2.3\"\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cairn-release"));
    command.arg("plan").arg("--root").arg(scratch.path()).env_remove("SOURCE_DATE_EPOCH");
    let output = command.output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("set SOURCE_DATE_EPOCH"), "{output:?}");
}

#[test]
fn a_tracked_file_that_differs_from_the_commit_is_named_and_an_untracked_one_is_not() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path();
    let git = |args: &[&str]| {
        let settings = ["-c", "user.name=test", "-c", "user.email=test@localhost"];
        let output = Command::new("git").arg("-C").arg(root).args(settings).args(args).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    git(&["init", "--quiet"]);
    std::fs::write(root.join("kept"), "one").unwrap();
    git(&["add", "kept"]);
    git(&["commit", "--quiet", "--message=first"]);
    std::fs::write(root.join("loose"), "new").unwrap();
    assert_eq!(workspace::uncommitted(root).unwrap(), Vec::<String>::new());
    std::fs::write(root.join("kept"), "two").unwrap();
    assert_eq!(workspace::uncommitted(root).unwrap(), ["kept: changed and not committed"]);
}
