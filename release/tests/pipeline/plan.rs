//! The plan is pure and says everything.

use std::collections::BTreeSet;

use cairn_release::plan::{Inputs, Plan, PlanError};
use cairn_release::{rehearse, workspace};

use crate::fixture::{plan, plan_of, source_tree};

/// To accept a changed plan, copy the text from the failed assertion into `plan.json` and read the difference.
#[test]
fn the_plan_is_the_one_that_was_reviewed() {
    assert_eq!(plan().to_json(), include_str!("plan.json"));
}

#[test]
fn equal_inputs_give_equal_plans() {
    assert_eq!(plan().to_json(), plan().to_json());
}

#[test]
fn the_version_of_the_cargo_manifest_is_in_every_archive_name() {
    let plan = plan_of("4.5.6-rc.1", 1);
    assert!(plan.artifacts.iter().all(|artifact| artifact.name.contains("-4.5.6-rc.1-")), "{:?}", plan.artifacts);
}

#[test]
fn every_artifact_has_its_target_and_its_name_in_the_file_list() {
    let plan = plan();
    for artifact in &plan.artifacts {
        assert!(plan.target(&artifact.target).is_some());
        assert!(plan.files.contains(&artifact.name));
    }
}

#[test]
fn every_file_that_is_no_signature_has_one() {
    let plan = plan();
    let names: BTreeSet<_> = plan.files.iter().cloned().collect();
    assert!(plan.signed_files().all(|name| names.contains(&format!("{name}.minisig"))));
    assert_eq!(plan.signed_files().count() * 2, plan.files.len());
}

#[test]
fn the_rehearsal_proves_every_gate_in_the_plan_s_order() {
    assert_eq!(rehearse::proven_gates().collect::<Vec<_>>(), plan().gates);
}

#[test]
fn a_version_that_would_leave_its_file_name_is_refused() {
    for version in ["", "1.0/..", "1 0"] {
        let inputs = Inputs {
            cargo_toml: format!("[workspace.package]\nversion = \"{version}\"\n"),
            release_toml: "sequence = 1".to_owned(),
            commit: None,
            source_date_epoch: 0,
        };
        assert!(matches!(Plan::new(&inputs), Err(PlanError::Version(v)) if v == version));
    }
}

#[test]
fn an_unknown_field_of_the_release_file_is_refused() {
    let inputs = Inputs {
        cargo_toml: "[workspace.package]\nversion = \"1.0.0\"\n".to_owned(),
        release_toml: "sequence = 1\nsequense = 2\n".to_owned(),
        commit: None,
        source_date_epoch: 0,
    };
    assert!(matches!(Plan::new(&inputs), Err(PlanError::Toml { file: "release/release.toml", .. })));
}

#[test]
fn the_source_tree_is_found_from_a_folder_inside_it() {
    let root = source_tree();
    assert_eq!(workspace::find_root(&root.join("release/src")).unwrap(), root);
}

#[test]
fn files_that_the_archive_takes_from_the_tree_are_there() {
    for artifact in plan().artifacts {
        for file in artifact.source_files {
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
