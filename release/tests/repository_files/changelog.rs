//! The changelog: how changes become a section, and a section the release notes.

use std::fs;
use std::process::Command;

use cairn_release::changelog::{self, Asset, FRAGMENTS_FOLDER, Fragment, Section, Stage};
use cairn_release::process::output;
use tempfile::TempDir;

use crate::support::day;
use crate::{exchange, source_file, source_tree, version};

const CHANGELOG: &str = "\
# Changes

## 1.1.0 (unreleased)

- Something that was there before.

### Upgrade

Nothing to do.

### Downgrade

Nothing to do.

### Known issues

None.

## 1.0.0 (2030-01-31)

- The first.
";

fn fragment(file: &str, text: &str) -> Fragment {
    Fragment::parse(file, text).unwrap()
}

fn fragments() -> Vec<Fragment> {
    vec![
        fragment("zebra.fixed.md", "A fix.\n"),
        fragment("second.added.md", "Two lines\nof text.\n"),
        fragment("first.added.md", "One line.\n"),
    ]
}

fn assets() -> Vec<Asset> {
    let asset = |name: &str, digit: &str| Asset { name: name.to_owned(), size: 5, sha256: digit.repeat(64) };
    vec![asset("b.tar.gz", "b"), asset("a.tar.gz", "a")]
}

#[test]
fn the_changelog_speaks_of_the_version_that_comes_next() {
    let fragments = changelog::read_fragments(&source_tree().join(FRAGMENTS_FOLDER)).unwrap();
    let found = changelog::check(&source_file("CHANGELOG.md"), &fragments, &version(), Stage::Rehearsal);
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn a_release_folds_the_fragments_into_its_section() {
    let folded = changelog::fold(CHANGELOG, &fragments(), "1.1.0", day("2031-02-27")).unwrap();
    assert_eq!(
        folded,
        "\
# Changes

## 1.1.0 (2031-02-27)

- Something that was there before.

### Added

- One line.
- Two lines
  of text.

### Fixed

- A fix.

### Upgrade

Nothing to do.

### Downgrade

Nothing to do.

### Known issues

None.

## 1.0.0 (2030-01-31)

- The first.
"
    );
    assert_eq!(changelog::check(&folded, &[], "1.1.0", Stage::Release), Vec::<String>::new());
}

/// A tree with a version, this changelog and a fragment.
fn tree(changelog: &str) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("Cargo.toml", "[workspace.package]\nversion = \"1.1.0\"\n"),
        ("release/release.toml", "sequence = 1\n"),
        ("CHANGELOG.md", changelog),
        ("changelog.d/README.md", "how to"),
        ("changelog.d/first.added.md", "One line.\n"),
    ] {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn fold_command(root: &TempDir, day: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cairn-release"));
    command.args(["changelog", "--fold", day, "--root"]).arg(root.path()).env("SOURCE_DATE_EPOCH", "0");
    command
}

#[test]
fn the_command_folds_and_deletes_the_fragments_or_only_says_so() {
    let root = tree(CHANGELOG);
    let (fragment, changelog) = (root.path().join("changelog.d/first.added.md"), root.path().join("CHANGELOG.md"));
    let said = output(fold_command(&root, "2030-12-31").arg("--dry-run")).unwrap();
    assert!(said.starts_with("## 1.1.0 (2030-12-31)\n") && said.contains("- One line.\n"), "{said}");
    assert!(fragment.exists() && fs::read_to_string(&changelog).unwrap() == CHANGELOG);
    assert_eq!(output(&mut fold_command(&root, "2030-12-31")).unwrap(), said);
    let folded = fs::read_to_string(&changelog).unwrap();
    assert!(folded.contains(&said) && folded.contains("## 1.0.0 (2030-01-31)"), "{folded}");
    assert!(!fragment.exists() && root.path().join("changelog.d/README.md").exists());
    let again = output(&mut fold_command(&root, "2031-01-01")).unwrap_err();
    assert!(format!("{again:#}").contains("1.1.0 was released on 2030-12-31; raise the version"), "{again:#}");
}

#[test]
fn the_command_refuses_what_a_release_would_be_refused_for() {
    for (changelog, day, why) in [
        (CHANGELOG, "tomorrow", "\"tomorrow\" is no day as YYYY-MM-DD"),
        (
            &*exchange(CHANGELOG, "### Downgrade\n\nNothing to do.\n\n", ""),
            "2030-12-31",
            "has no part \"### Downgrade\"",
        ),
    ] {
        let root = tree(changelog);
        let error = format!("{:#}", output(&mut fold_command(&root, day)).unwrap_err());
        assert!(error.contains(why), "{error}");
        assert_eq!(fs::read_to_string(root.path().join("CHANGELOG.md")).unwrap(), changelog);
    }
}

#[test]
fn the_order_of_the_fragments_does_not_matter() {
    let mut reversed = fragments();
    reversed.reverse();
    let fold = |fragments: &[Fragment]| changelog::fold(CHANGELOG, fragments, "1.1.0", day("1970-01-01")).unwrap();
    assert_eq!(fold(&fragments()), fold(&reversed));
}

#[test]
fn a_version_that_is_not_in_the_changelog_gets_a_section_of_its_own() {
    let folded = changelog::fold(CHANGELOG, &fragments(), "1.2.0", day("1970-01-01")).unwrap();
    assert!(folded.starts_with("# Changes\n\n## 1.2.0 (1970-01-01)\n\n### Added\n"), "{folded}");
    assert!(folded.contains("\n\n## 1.1.0 (unreleased)\n\n- Something"), "{folded}");
    let first = changelog::fold("# Changes\n", &fragments(), "0.1.0", day("1970-01-01")).unwrap();
    assert!(first.starts_with("# Changes\n\n## 0.1.0 (1970-01-01)\n\n### Added\n"), "{first}");
}

#[test]
fn a_released_version_and_a_version_without_changes_are_not_folded() {
    let fold = |fragments: &[Fragment], version| changelog::fold(CHANGELOG, fragments, version, day("1970-01-01"));
    assert_eq!(
        fold(&fragments(), "1.0.0").unwrap_err(),
        "CHANGELOG.md says that 1.0.0 was released on 2030-01-31; raise the version"
    );
    assert_eq!(fold(&[], "1.2.0").unwrap_err(), "neither CHANGELOG.md nor changelog.d says anything about 1.2.0");
}

#[test]
fn a_release_without_section_is_refused() {
    let violation = ["CHANGELOG.md has no section for 1.2.0; fold the fragments of changelog.d into it"];
    assert_eq!(changelog::check(CHANGELOG, &fragments(), "1.2.0", Stage::Release), violation);
    assert_eq!(changelog::check(CHANGELOG, &[], "1.2.0", Stage::Rehearsal), violation);
    assert_eq!(changelog::check(CHANGELOG, &[], "1.1", Stage::Release).len(), 1, "a part of a version is another one");
}

#[test]
fn a_release_without_day_or_with_waiting_fragments_is_refused() {
    let waiting = &fragments()[..1];
    assert_eq!(
        changelog::check(CHANGELOG, waiting, "1.1.0", Stage::Release),
        [
            "the section of 1.1.0 in CHANGELOG.md has no day of the form (2030-12-31)",
            "changelog.d/zebra.fixed.md is not in CHANGELOG.md yet",
        ]
    );
    assert_eq!(changelog::check(CHANGELOG, waiting, "1.1.0", Stage::Rehearsal), Vec::<String>::new());
    let wrong = exchange(CHANGELOG, "unreleased", "some day");
    assert_eq!(
        changelog::check(&wrong, &[], "1.1.0", Stage::Release),
        ["the section of 1.1.0 in CHANGELOG.md has no day of the form (2030-12-31)"]
    );
}

#[test]
fn a_section_that_leaves_the_way_back_open_to_guess_is_refused() {
    let silent = exchange(CHANGELOG, "### Downgrade\n\nNothing to do.\n\n", "");
    assert_eq!(
        changelog::check(&silent, &[], "1.1.0", Stage::Rehearsal),
        ["the section of 1.1.0 in CHANGELOG.md has no part \"### Downgrade\"; if there is nothing to say, say that"]
    );
    let empty = exchange(CHANGELOG, "- Something that was there before.\n", "");
    assert_eq!(
        changelog::check(&empty, &[], "1.1.0", Stage::Rehearsal),
        ["the section of 1.1.0 in CHANGELOG.md names no change"]
    );
}

#[test]
fn a_file_that_is_no_fragment_is_refused() {
    for file in ["plain.md", "x.fixd.md", "x.fixed.txt", "fixed.md"] {
        assert!(Fragment::parse(file, "text").unwrap_err().contains("is not named NAME.KIND.md"), "{file}");
    }
    assert_eq!(Fragment::parse("x.fixed.md", " \n").unwrap_err(), "x.fixed.md must have text and no headings");
    assert_eq!(Fragment::parse("x.fixed.md", "a\n## b").unwrap_err(), "x.fixed.md must have text and no headings");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("README.md"), "how to").unwrap();
    assert_eq!(changelog::read_fragments(folder.path()).unwrap(), []);
    fs::write(folder.path().join("x.other.md"), "text").unwrap();
    assert!(changelog::read_fragments(folder.path()).is_err());
}

#[test]
fn release_notes_have_every_part_and_every_digest() {
    let section = Section::find(CHANGELOG, "1.1.0").unwrap().with(&fragments());
    let notes = changelog::release_notes("1.1.0", &section, &assets());
    assert_eq!(changelog::check_notes(&notes, "1.1.0", &assets()), Vec::<String>::new());
    let headings: Vec<_> = notes.lines().filter(|line| line.starts_with("## ")).collect();
    assert_eq!(headings, ["## Changes", "## Upgrade", "## Downgrade", "## Verify", "## Digests", "## Known issues"]);
    assert!(notes.contains("--version 1.1.0\n"));
    let (a, b) = (notes.find("`a.tar.gz`").unwrap(), notes.find("`b.tar.gz`").unwrap());
    assert!(a < b, "files are sorted");
}

#[test]
fn release_notes_that_lack_something_are_refused() {
    let section = Section::find(CHANGELOG, "1.1.0").unwrap();
    let notes = changelog::release_notes("1.1.0", &section, &assets());
    let refused = |from: &str, to: &str| changelog::check_notes(&exchange(&notes, from, to), "1.1.0", &assets());
    assert_eq!(refused("## Verify", "## Check"), ["the release notes have no part \"## Verify\""]);
    assert_eq!(refused("\nNone.\n", ""), ["the part \"## Known issues\" of the release notes is empty"]);
    assert_eq!(refused(&"b".repeat(64), &"c".repeat(64)), ["the release notes do not give the digest of b.tar.gz"]);
    assert_eq!(refused("# Cairn 1.1.0", "# Cairn 1.0.0"), ["the release notes do not begin with \"# Cairn 1.1.0\""]);
}
