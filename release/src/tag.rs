//! The tag `vVERSION`, which makes a commit a release; a commit without one is rehearsed.
//!
//! Git and a workflow's environment say which tags there are. All of them must name the version of the tree: nobody
//! finds a release again that was made under the tag of another one.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;

use crate::changelog::Stage;
use crate::process;
use crate::workspace;

/// Environment variable of GitHub's runners: whether a branch or a tag started the workflow.
const REF_TYPE_VARIABLE: &str = "GITHUB_REF_TYPE";

/// Environment variable of GitHub's runners with the name of that branch or tag.
const REF_NAME_VARIABLE: &str = "GITHUB_REF_NAME";

/// The tags of a release that the commit has: those with `v` and a digit first, and the one that started the workflow,
/// whatever its name. None outside a git checkout.
///
/// # Errors
///
/// git cannot be asked.
pub fn tags(root: &Path, variable: impl Fn(&str) -> Option<String>) -> Result<BTreeSet<String>> {
    let mut tags = BTreeSet::new();
    if variable(REF_TYPE_VARIABLE).as_deref() == Some("tag") {
        tags.extend(variable(REF_NAME_VARIABLE));
    }
    if root.join(".git").exists() {
        let listed = process::output(workspace::git_command(root).args(["tag", "--points-at", "HEAD"]))?;
        tags.extend(listed.lines().filter(|tag| names_version(tag)).map(str::to_owned));
    }
    Ok(tags)
}

fn names_version(tag: &str) -> bool {
    tag.strip_prefix('v').is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit()))
}

/// How much must be ready of a commit with these tags.
#[must_use]
pub fn stage(tags: &BTreeSet<String>) -> Stage {
    if tags.is_empty() { Stage::Rehearsal } else { Stage::Release }
}

/// The gate: every tag names the version of the tree.
#[must_use]
pub fn violations(tags: &BTreeSet<String>, version: &str) -> Vec<String> {
    let others = tags.iter().filter(|tag| tag.strip_prefix('v') != Some(version));
    let violation = |tag| {
        format!(
            "the commit has the tag {tag}, but workspace.package.version is {version}: tag it v{version}, or raise it"
        )
    };
    others.map(violation).collect()
}
