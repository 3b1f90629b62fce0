//! `SHA256SUMS`: the sums of all artifacts, in the form that `sha256sum --check` reads.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};

use crate::digest::{digest_file, is_sha256};
use crate::files::{self, FILE_MODE};
use crate::manifest::SUMS_NAME;
use crate::plan::Plan;

/// Writes `SHA256SUMS` over the plan's artifacts into the release folder.
///
/// # Errors
///
/// An artifact cannot be read, or the list not be written.
pub fn checksum(plan: &Plan, dir: &Path) -> Result<()> {
    let mut sums = Vec::new();
    for artifact in &plan.artifacts {
        let digest = digest_file(&dir.join(&artifact.name))
            .with_context(|| format!("cannot read {}; run `cairn-release make` again, then `seal`", artifact.name))?;
        sums.push((artifact.name.clone(), digest.sha256));
    }
    files::write_bytes(&dir.join(SUMS_NAME), FILE_MODE, render(&sums).as_bytes())
}

/// The text of the list, sorted by name.
#[must_use]
pub fn render(sums: &[(String, String)]) -> String {
    let mut sums: Vec<_> = sums.iter().collect();
    sums.sort();
    sums.iter().fold(String::new(), |mut text, (name, sha256)| {
        writeln!(text, "{sha256}  {name}").expect("writing to a string does not fail");
        text
    })
}

/// Reads a list as (name, sum) pairs; only the exact form that [`render`] writes is accepted.
///
/// # Errors
///
/// What is wrong with it, as a phrase.
pub fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut sums = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let pair = line.split_once("  ").filter(|(sha256, name)| is_sha256(sha256) && !name.is_empty());
        let (sha256, name) = pair.ok_or_else(|| format!("line {} is not a sum and a name", number + 1))?;
        sums.push((name.to_owned(), sha256.to_owned()));
    }
    if render(&sums) != text {
        return Err("it is not sorted by name or does not end with a line feed".to_owned());
    }
    Ok(sums)
}
