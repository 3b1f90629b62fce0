//! The tag of a release: it makes a commit one, and must name the version of the tree.

use std::collections::BTreeSet;
use std::path::Path;

use cairn_release::changelog::Stage;
use cairn_release::{process, tag, workspace};
use tempfile::TempDir;

fn git(root: &Path, args: &[&str]) {
    let mut command = workspace::git_command(root);
    command.args(["-c", "user.name=x", "-c", "user.email=x@localhost"]).args(args);
    process::output(&mut command).unwrap();
}

/// A checkout with a commit before the one that has these tags.
fn checkout(tags: &[&str]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    git(root.path(), &["init", "--quiet"]);
    git(root.path(), &["commit", "--quiet", "--allow-empty", "--message=first"]);
    git(root.path(), &["tag", "v0.9.0"]);
    git(root.path(), &["commit", "--quiet", "--allow-empty", "--message=second"]);
    tags.iter().for_each(|tag| git(root.path(), &["tag", tag]));
    root
}

/// What the environment of a workflow says that this started.
fn started_by<'a>(kind: &'a str, name: &'a str) -> impl Fn(&str) -> Option<String> + 'a {
    move |variable| match variable {
        "GITHUB_REF_TYPE" => Some(kind.to_owned()),
        "GITHUB_REF_NAME" => Some(name.to_owned()),
        _ => None,
    }
}

fn tags(root: &TempDir, variable: impl Fn(&str) -> Option<String>) -> BTreeSet<String> {
    tag::tags(root.path(), variable).unwrap()
}

#[test]
fn a_commit_without_tag_is_rehearsed() {
    for (root, variable) in [
        (checkout(&[]), started_by("branch", "main")),
        (checkout(&["nightly", "vendored"]), started_by("branch", "v1.0.0")),
        (tempfile::tempdir().unwrap(), started_by("", "")),
    ] {
        let tags = tags(&root, variable);
        assert_eq!(tag::stage(&tags), Stage::Rehearsal, "{tags:?}");
        assert_eq!(tag::violations(&tags, "1.0.0"), Vec::<String>::new());
    }
}

#[test]
fn a_commit_with_the_tag_of_its_version_is_a_release() {
    for (root, variable) in [
        (checkout(&["v1.0.0", "nightly"]), started_by("branch", "main")),
        (checkout(&[]), started_by("tag", "v1.0.0")),
        (checkout(&["v1.0.0"]), started_by("tag", "v1.0.0")),
    ] {
        let tags = tags(&root, variable);
        assert_eq!(tag::stage(&tags), Stage::Release);
        assert_eq!(tag::violations(&tags, "1.0.0"), Vec::<String>::new());
    }
}

#[test]
fn the_tag_of_another_version_is_refused() {
    let violation = |tag: &str| {
        format!("the commit has the tag {tag}, but workspace.package.version is 1.0.0: tag it v1.0.0, or raise it")
    };
    for (name, root, variable) in [
        ("v2.0.0", checkout(&["v2.0.0"]), started_by("branch", "main")),
        ("v2.0.0", checkout(&["v1.0.0"]), started_by("tag", "v2.0.0")),
        ("v1.0.0-rc.1", checkout(&[]), started_by("tag", "v1.0.0-rc.1")),
        ("version-1", checkout(&[]), started_by("tag", "version-1")),
    ] {
        assert_eq!(tag::violations(&tags(&root, variable), "1.0.0"), [violation(name)]);
    }
}
