//! Everything that a build fetches is named by its content, and the workflows only call the tool: an offline linter.
//!
//! [`lint`] reads the workflows under `.github/workflows/`, every Dockerfile of the tree, `Cross.toml` and `dev`, and asks
//! nobody: whether a hash is the right one is for the review of the change that brings it. [`programs`] runs the
//! linters of others over the same files.
//!
//! Left out: actions of our own (a folder `.github/actions` is refused), here-documents in Dockerfiles, and variables
//! in commands, which are taken as they stand.

mod commands;
pub mod dockerfile;
pub mod programs;
pub mod workflow;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::digest::is_sha256;
use crate::files;

/// Folders that hold output or foreign files and no part of the source.
const SKIPPED_FOLDERS: [&str; 4] = [".git", "dist", "node_modules", "target"];

/// Lints the whole source tree.
///
/// # Errors
///
/// A folder or file that cannot be read.
pub fn lint(root: &Path) -> Result<Vec<String>> {
    let mut violations = Vec::new();
    let workflows = workflows(root)?;
    if workflows.is_empty() {
        violations.push(".github/workflows: there is no workflow".to_owned());
    }
    if root.join(".github/actions").exists() {
        violations
            .push(".github/actions: actions of our own are not checked; call the tool from the workflow".to_owned());
    }
    for name in &workflows {
        violations.extend(workflow::lint(name, &read(root, name)?));
    }
    for name in dockerfiles(root)? {
        violations.extend(dockerfile::lint(&name, &read(root, &name)?));
    }
    if root.join("Cross.toml").exists() {
        violations.extend(cross_toml(&read(root, "Cross.toml")?));
    }
    if root.join("dev").exists() {
        violations.extend(script("dev", &read(root, "dev")?));
    }
    Ok(violations)
}

/// Names of the workflows below the root, sorted.
///
/// # Errors
///
/// The folder is there and cannot be read.
pub fn workflows(root: &Path) -> Result<Vec<String>> {
    let folder = root.join(".github/workflows");
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let names = files::names_in(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let is_workflow = |name: &String| name.ends_with(".yml") || name.ends_with(".yaml");
    Ok(names.into_iter().filter(is_workflow).map(|name| format!(".github/workflows/{name}")).collect())
}

/// Lints the text of `Cross.toml`: every target's image comes from our Dockerfile or is named by its digest.
#[must_use]
pub fn cross_toml(text: &str) -> Vec<String> {
    let table: toml::Table = match text.parse() {
        Ok(table) => table,
        Err(e) => return vec![format!("Cross.toml: not TOML: {}", toml::de::Error::message(&e))],
    };
    let mut violations = Vec::new();
    let targets = table.get("target").and_then(toml::Value::as_table);
    let targets = targets.into_iter().flatten().map(|(name, settings)| (format!("target {name}"), settings));
    let build = table.get("build").map(|settings| ("build".to_owned(), settings));
    for (place, settings) in targets.chain(build) {
        let image = settings.get("image").map(|image| image.get("name").unwrap_or(image));
        match image.and_then(toml::Value::as_str) {
            Some(image) if !names_digest(image) => {
                violations.push(format!("Cross.toml: {place}: image {image} is not named by its sha256 digest"));
            }
            None if settings.get("dockerfile").is_none() && place != "build" => {
                violations
                    .push(format!("Cross.toml: {place}: neither image nor dockerfile, so cross takes its default"));
            }
            _ => {}
        }
        let steps = settings.get("pre-build").and_then(toml::Value::as_array).into_iter().flatten();
        for step in steps.filter_map(toml::Value::as_str) {
            let found = commands::unpinned(step);
            violations.extend(found.into_iter().map(|found| format!("Cross.toml: {place}: {found}")));
        }
    }
    violations
}

/// Lints a shell script that installs what workflows run; unlike theirs, its commands may use all of the shell.
#[must_use]
pub fn script(file: &str, text: &str) -> Vec<String> {
    commands::unpinned(text).into_iter().map(|found| format!("{file}: {found}")).collect()
}

/// Whether a reference to an image ends in `@sha256:` and a digest.
fn names_digest(image: &str) -> bool {
    image.rsplit_once("@sha256:").is_some_and(|(name, digest)| !name.is_empty() && is_sha256(digest))
}

/// Whether the text is a full hash of a commit.
fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Whether the word `latest` stands in the text, as in `ubuntu-latest` or `image:latest`.
fn says_latest(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == "latest")
}

/// Names of all Dockerfiles below the root, sorted.
fn dockerfiles(root: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let path = root.join(&folder);
        let entries = fs::read_dir(&path).with_context(|| format!("cannot read {}", path.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot read {}", path.display()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let place = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
            let kind = entry.file_type().with_context(|| format!("cannot read {place}"))?;
            if kind.is_dir() && !SKIPPED_FOLDERS.contains(&name.as_str()) {
                folders.push(place);
            } else if kind.is_file() && is_dockerfile(&name) {
                found.insert(place);
            }
        }
    }
    Ok(found)
}

fn is_dockerfile(name: &str) -> bool {
    // With a capital letter before the dot, as the tools want it: `dockerfile.rs` is none.
    let named = ["Dockerfile", "Containerfile"].iter().filter_map(|kind| name.strip_prefix(kind));
    let named = named.filter(|rest| *rest != ".dockerignore").any(|rest| rest.is_empty() || rest.starts_with('.'));
    named || name.ends_with(".dockerfile") || name.ends_with(".Dockerfile")
}

fn read(root: &Path, name: &str) -> Result<String> {
    let path = root.join(name);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}
