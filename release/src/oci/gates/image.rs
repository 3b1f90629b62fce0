//! The images say what the release says, run as nobody in particular, and have nothing in them that they do not need.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};

use super::root::{Kind, Node, Root};
use crate::machine::Machine;
use crate::oci::annotations::{Facts, RUNTIME};
use crate::oci::rootfs::{CA_BUNDLE, USER_ID};
use crate::oci::spec::{Annotations, Descriptor, Execution, ImageConfig, Index, Manifest, Platform};
use crate::oci::{Layout, runtime};

/// Names of programs that read commands.
const SHELLS: [&str; 12] =
    ["ash", "bash", "busybox", "csh", "dash", "fish", "ksh", "mksh", "sh", "tcsh", "toybox", "zsh"];

/// Set-user-ID and set-group-ID.
const PRIVILEGE_BITS: u32 = 0o6000;

/// The index of the release has exactly these images, and each is as it should be.
///
/// # Errors
///
/// The layout has no such index, or a document or layer of it cannot be read.
pub fn images(dir: &Path, facts: &Facts, machines: &[Machine]) -> Result<Vec<String>> {
    let layout = Layout::open(dir)?;
    let top = layout.tagged(&facts.version).with_context(|| format!("no entry has the tag {}", facts.version))?;
    let index: Index = layout.document(top)?;
    let mut violations = differences("the index", &facts.annotations(), &index.annotations);
    let found: Vec<_> = index.manifests.iter().filter_map(|image| image.platform.clone()).collect();
    let expected: Vec<_> = machines.iter().copied().map(Platform::linux).collect();
    if found != expected || found.len() != index.manifests.len() {
        violations.push(format!("the index has images for {found:?}, not for {expected:?}"));
    }
    for image in &index.manifests {
        let machine = machines.iter().find(|wanted| image.platform == Some(Platform::linux(**wanted)));
        if let Some(machine) = machine {
            let found = image_violations(&layout, facts, *machine, image)?;
            violations.extend(found.into_iter().map(|violation| format!("{machine}: {violation}")));
        }
    }
    Ok(violations)
}

fn image_violations(layout: &Layout, facts: &Facts, machine: Machine, image: &Descriptor) -> Result<Vec<String>> {
    let manifest: Manifest = layout.document(image)?;
    let config: ImageConfig = layout.document(&manifest.config)?;
    let root = Root::read(layout, &manifest.layers)?;
    let mut violations = Vec::new();
    for (place, found) in [("the manifest", &manifest.annotations), ("the configuration", &config.config.labels)] {
        let mut expected = facts.annotations();
        // Which C library it is, the programs decide; both places have to agree on it.
        expected.extend(manifest.annotations.get(RUNTIME).map(|name| (RUNTIME.to_owned(), name.clone())));
        violations.extend(differences(place, &expected, found));
    }
    violations.extend(config_violations(facts, machine, &config, &root));
    violations.extend(execution_violations(&config.config, &root));
    violations.extend(root.nodes.iter().filter_map(|(path, node)| unwanted(path, node)));
    let bundle = root.at(CA_BUNDLE).map(|node| &node.kind);
    if !matches!(bundle, Some(Kind::File(bytes)) if bytes.starts_with(b"-----BEGIN CERTIFICATE-----")) {
        violations.push(format!("{CA_BUNDLE} has no certificates"));
    }
    violations.extend(runtime::violations(&root.files(), machine));
    Ok(violations)
}

/// How some annotations differ from those that should be there.
fn differences(place: &str, expected: &Annotations, found: &Annotations) -> Vec<String> {
    let names: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    let say = |value: Option<&String>| value.map_or("nothing".to_owned(), |value| format!("{value:?}"));
    let different = names.into_iter().filter(|name| expected.get(*name) != found.get(*name));
    let sentences = different
        .map(|name| format!("{place} has {} for {name}, not {}", say(found.get(name)), say(expected.get(name))));
    sentences.collect()
}

fn config_violations(facts: &Facts, machine: Machine, config: &ImageConfig, root: &Root) -> Vec<String> {
    let mut violations = Vec::new();
    let platform = Platform::linux(machine);
    let found = (&config.architecture, &config.os, &config.variant);
    if found != (&platform.architecture, &platform.os, &platform.variant) {
        violations.push(format!("the configuration is for {found:?}"));
    }
    if config.created != facts.created() {
        violations.push(format!("the configuration was created {}, not {}", config.created, facts.created()));
    }
    if config.rootfs.diff_ids != root.diff_ids {
        violations.push("the configuration speaks of other layers than the manifest".to_owned());
    }
    violations
}

fn execution_violations(execution: &Execution, root: &Root) -> Vec<String> {
    let mut violations = Vec::new();
    let ids: Vec<_> = execution.user.split(':').map(str::parse::<u32>).collect();
    if ids.len() != 2 || !ids.iter().all(|id| id.as_ref().is_ok_and(|id| *id != 0)) {
        violations.push(format!("the user {:?} is not a number other than 0 with a group", execution.user));
    }
    violations.extend(not_a_program("the entry point", execution.entrypoint.first(), root));
    match &execution.healthcheck {
        Some(check) if check.test.first().is_some_and(|form| form == "CMD") => {
            violations.extend(not_a_program("the health check", check.test.get(1), root));
        }
        Some(check) => violations.push(format!("the health check {:?} needs a shell", check.test)),
        None => violations.push("there is no health check".to_owned()),
    }
    if execution.stop_signal != "SIGTERM" {
        violations.push(format!("the stop signal is {:?}, not SIGTERM", execution.stop_signal));
    }
    if execution.volumes.is_empty() {
        violations.push("no folder outlives the container".to_owned());
    }
    for volume in execution.volumes.keys() {
        let open = |node: &Node| node.kind == Kind::Folder && node.mode == 0o1777 && node.owner == USER_ID;
        if !root.at(volume).is_some_and(open) {
            violations.push(format!("the volume {volume} is no folder of user {USER_ID} that any user can write to"));
        }
    }
    violations
}

fn not_a_program(what: &str, path: Option<&String>, root: &Root) -> Option<String> {
    let runs = |node: &Node| matches!(node.kind, Kind::File(_)) && node.mode & 0o111 == 0o111;
    let path = path.map_or("", String::as_str);
    let is_program = path.starts_with('/') && root.at(path).is_some_and(runs);
    (!is_program).then(|| format!("{what} {path:?} is no program in the image"))
}

/// What is wrong with an entry of the file system.
fn unwanted(path: &str, node: &Node) -> Option<String> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let runs = match &node.kind {
        Kind::File(_) => node.mode & 0o111 != 0,
        Kind::Link(_) => true,
        Kind::Folder => false,
    };
    if runs && SHELLS.contains(&name) {
        return Some(format!("{path} is a shell"));
    }
    if node.mode & PRIVILEGE_BITS != 0 {
        return Some(format!("{path} has mode {:o}, which gives privileges", node.mode));
    }
    if matches!(node.kind, Kind::File(_)) && node.mode & 0o022 != 0 {
        return Some(format!("{path} has mode {:o}, so that others can change it", node.mode));
    }
    if node.kind == Kind::Folder && node.mode & 0o002 != 0 && node.mode & 0o1000 == 0 {
        return Some(format!("{path} has mode {:o}, so that others can replace what is in it", node.mode));
    }
    None
}
