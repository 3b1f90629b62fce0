//! The changelog, from one file a change to the release notes.
//!
//! A change leaves a fragment, `changelog.d/NAME.KIND.md`, so that two changes never meet in one place. A release folds
//! the fragments into `CHANGELOG.md` as the section of its version. The same section becomes the release notes, which
//! add how to verify and the digests. Equal inputs give equal text; the day comes from outside.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use toml::value::Date;

use crate::digest::is_sha256;
use crate::files::{self, FILE_MODE};
use crate::support;

/// File with the changelog in the source tree.
pub const CHANGELOG_NAME: &str = "CHANGELOG.md";

/// Folder of the fragments in the source tree.
pub const FRAGMENTS_FOLDER: &str = "changelog.d";

/// The file in the folder of fragments that is none: it says how to write one.
const EXPLANATION: &str = "README.md";

/// What stands in the place of a section's day until its release.
const UNRELEASED: &str = "unreleased";

/// Kinds of fragments and their headings, in the order of a section.
const KINDS: [(&str, &str); 8] = [
    ("added", "Added"),
    ("changed", "Changed"),
    ("removed", "Removed"),
    ("fixed", "Fixed"),
    ("security", "Security"),
    ("upgrade", UPGRADE),
    ("downgrade", DOWNGRADE),
    ("known-issue", KNOWN_ISSUES),
];

const UPGRADE: &str = "Upgrade";
const DOWNGRADE: &str = "Downgrade";
const KNOWN_ISSUES: &str = "Known issues";

/// Parts that every section has: who upgrades must not have to guess whether nothing is to be said or nobody said it.
const REQUIRED: [&str; 3] = [UPGRADE, DOWNGRADE, KNOWN_ISSUES];

/// Headings of the release notes, in their order.
const NOTES: [&str; 6] = ["Changes", UPGRADE, DOWNGRADE, "Verify", "Digests", KNOWN_ISSUES];

/// One change, as it waits for its release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// File name.
    pub file: String,
    /// Heading that it belongs under.
    pub heading: &'static str,
    /// Its text, without white space around it.
    pub text: String,
}

/// The changes of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The version.
    pub version: String,
    /// Day of the release as text; none until then.
    pub date: Option<String>,
    /// Text by heading, in order; the text before the first heading has an empty one.
    pub parts: Vec<(String, String)>,
}

/// A file of the release, as the release notes list it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asset {
    /// File name.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

/// How much of the changelog must be ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Any commit: something is said about the version, be it in fragments.
    Rehearsal,
    /// The commit that is released: one section with its day, and no fragments.
    Release,
}

impl Fragment {
    /// Makes a fragment of a file's name and text.
    ///
    /// # Errors
    ///
    /// What is wrong with it, as a sentence.
    pub fn parse(file: &str, text: &str) -> Result<Self, String> {
        let kind = file.strip_suffix(".md").and_then(|stem| stem.split_once('.')).map(|(_, kind)| kind);
        let Some((_, heading)) = KINDS.iter().find(|(known, _)| Some(*known) == kind) else {
            let kinds: Vec<_> = KINDS.iter().map(|(kind, _)| *kind).collect();
            return Err(format!("{file} is not named NAME.KIND.md with a kind of {}", kinds.join(", ")));
        };
        let text = text.trim();
        if text.is_empty() || text.lines().any(|line| line.starts_with('#')) {
            return Err(format!("{file} must have text and no headings"));
        }
        Ok(Self { file: file.to_owned(), heading, text: text.to_owned() })
    }

    /// The text as one entry of a list.
    fn entry(&self) -> String {
        let mut lines = self.text.lines();
        let mut entry = format!("- {}\n", lines.next().unwrap_or_default());
        for line in lines {
            let indent = if line.is_empty() { "" } else { "  " };
            writeln!(entry, "{indent}{line}").expect("writing to a string does not fail");
        }
        entry
    }
}

/// Reads the fragments of a folder, sorted by file name; a folder that is not there has none.
///
/// # Errors
///
/// A file that cannot be read or that is no fragment.
pub fn read_fragments(folder: &Path) -> Result<Vec<Fragment>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let names = files::names_in(folder).with_context(|| format!("cannot read the folder {}", folder.display()))?;
    names.iter().filter(|name| *name != EXPLANATION).map(|name| read_fragment(&folder.join(name), name)).collect()
}

fn read_fragment(path: &Path, name: &str) -> Result<Fragment> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    match Fragment::parse(name, &text) {
        Ok(fragment) => Ok(fragment),
        Err(why) => bail!("{FRAGMENTS_FOLDER}: {why}"),
    }
}

impl Section {
    /// Finds the section of a version in a changelog.
    #[must_use]
    pub fn find(changelog: &str, version: &str) -> Option<Self> {
        let (heading, body) = sections(changelog).find(|(heading, _)| heading_version(heading) == Some(version))?;
        let date = heading.split_once(" (").and_then(|(_, rest)| rest.strip_suffix(')'));
        let date = date.filter(|date| *date != UNRELEASED).map(str::to_owned);
        Some(Self { version: version.to_owned(), date, parts: parts(body) })
    }

    /// The section with the fragments added, in the order of their kinds and then of their names.
    #[must_use]
    pub fn with(mut self, fragments: &[Fragment]) -> Self {
        let mut by_name: Vec<_> = fragments.iter().collect();
        by_name.sort_by(|a, b| a.file.cmp(&b.file));
        for (_, heading) in KINDS {
            let entries: String = by_name.iter().filter(|f| f.heading == heading).map(|f| f.entry()).collect();
            if entries.is_empty() {
                continue;
            }
            match self.parts.iter_mut().find(|(existing, _)| existing == heading) {
                Some((_, text)) => *text = format!("{text}\n{}", entries.trim_end()),
                None => self.parts.push((heading.to_owned(), entries.trim_end().to_owned())),
            }
        }
        let order: BTreeMap<_, _> = KINDS.iter().enumerate().map(|(at, (_, heading))| (*heading, at + 1)).collect();
        self.parts.sort_by_key(|(heading, _)| order.get(heading.as_str()).copied().unwrap_or_default());
        self
    }

    /// The section as it stands in the changelog.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut markdown = format!("## {} ({})\n", self.version, self.date.as_deref().unwrap_or(UNRELEASED));
        for (heading, text) in &self.parts {
            markdown.push_str(&part(heading, text));
        }
        markdown
    }

    fn text_of(&self, heading: &str) -> &str {
        self.parts.iter().find(|(existing, _)| existing == heading).map_or("", |(_, text)| text)
    }
}

/// The changelog with the fragments folded into the section of a version, which gets this day.
///
/// # Errors
///
/// The version has been released already, or there is nothing to say about it.
pub fn fold(changelog: &str, fragments: &[Fragment], version: &str, day: Date) -> Result<String, String> {
    let existing = Section::find(changelog, version);
    if let Some(Section { date: Some(date), .. }) = &existing {
        return Err(format!("CHANGELOG.md says that {version} was released on {date}; raise the version"));
    }
    if existing.is_none() && fragments.is_empty() {
        return Err(format!("neither CHANGELOG.md nor {FRAGMENTS_FOLDER} says anything about {version}"));
    }
    let section = existing.unwrap_or_else(|| empty_section(version));
    let section = Section { date: Some(day.to_string()), ..section }.with(fragments).to_markdown();
    let head = changelog.find("\n## ").map_or(changelog, |at| &changelog[..at]);
    let others = sections(changelog).filter(|(heading, _)| heading_version(heading) != Some(version));
    let others: String = others.map(|(heading, body)| format!("\n## {heading}\n{body}\n")).collect();
    Ok(format!("{}\n\n{section}{others}", head.trim_end()))
}

/// What folding the fragments of a source tree changes in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folding {
    /// The section of the version, for the one who folds to read.
    pub section: Section,
    /// New text of `CHANGELOG.md`.
    changelog: String,
    /// The fragments' files, which are in it now.
    pub fragments: Vec<PathBuf>,
}

impl Folding {
    /// Reads `CHANGELOG.md` and the fragments of the tree at `root`.
    ///
    /// # Errors
    ///
    /// A file cannot be read or is no fragment, the version was released already, or the section would not be what
    /// [`check`] wants of a release.
    pub fn plan(root: &Path, version: &str, day: Date) -> Result<Self> {
        let folder = root.join(FRAGMENTS_FOLDER);
        let fragments = read_fragments(&folder)?;
        let before = fs::read_to_string(root.join(CHANGELOG_NAME)).context("cannot read CHANGELOG.md")?;
        let changelog = fold(&before, &fragments, version, day).map_err(anyhow::Error::msg)?;
        let violations = check(&changelog, &[], version, Stage::Release);
        ensure!(violations.is_empty(), "{}", violations.join("\n"));
        let section = Section::find(&changelog, version).context("the section that was made is not found")?;
        let fragments = fragments.iter().map(|fragment| folder.join(&fragment.file)).collect();
        Ok(Self { section, changelog, fragments })
    }

    /// Writes `CHANGELOG.md`, then deletes the fragments: killed between the two, it leaves fragments that the gate
    /// refuses and git has still.
    ///
    /// # Errors
    ///
    /// A file cannot be written or deleted.
    pub fn apply(&self, root: &Path) -> Result<()> {
        files::write_bytes(&root.join(CHANGELOG_NAME), FILE_MODE, self.changelog.as_bytes())?;
        self.fragments.iter().try_for_each(|fragment| files::remove_if_there(fragment))
    }
}

/// The gate: the changelog says what somebody who takes this version must know.
#[must_use]
pub fn check(changelog: &str, fragments: &[Fragment], version: &str, stage: Stage) -> Vec<String> {
    let section = Section::find(changelog, version);
    if section.is_none() && (stage == Stage::Release || fragments.is_empty()) {
        return vec![format!(
            "CHANGELOG.md has no section for {version}; fold the fragments of {FRAGMENTS_FOLDER} into it"
        )];
    }
    let mut violations = Vec::new();
    if stage == Stage::Release {
        let day = section.as_ref().and_then(|section| section.date.as_deref());
        if day.is_none_or(|day| support::parse_day(day).is_err()) {
            violations.push(format!("the section of {version} in CHANGELOG.md has no day of the form (2030-12-31)"));
        }
        let waiting = fragments.iter().map(|f| format!("{FRAGMENTS_FOLDER}/{} is not in CHANGELOG.md yet", f.file));
        violations.extend(waiting);
    }
    let section = section.unwrap_or_else(|| empty_section(version)).with(fragments);
    if !section.parts.iter().any(|(heading, text)| !REQUIRED.contains(&heading.as_str()) && !text.is_empty()) {
        violations.push(format!("the section of {version} in CHANGELOG.md names no change"));
    }
    for heading in REQUIRED.iter().filter(|heading| section.text_of(heading).is_empty()) {
        violations.push(format!(
            "the section of {version} in CHANGELOG.md has no part \"### {heading}\"; if there is nothing to say, say that"
        ));
    }
    violations
}

/// The release notes as Markdown; [`check_notes`] holds them to what they must have.
#[must_use]
pub fn release_notes(version: &str, section: &Section, assets: &[Asset]) -> String {
    let mut notes = format!("# Cairn {version}\n");
    if let Some(date) = &section.date {
        write!(notes, "\nReleased on {date}.\n").expect("writing to a string does not fail");
    }
    for heading in NOTES {
        let text = match heading {
            "Changes" => changes(section),
            "Verify" => how_to_verify(version),
            "Digests" => digests(assets),
            own => section.text_of(own).to_owned(),
        };
        write!(notes, "\n## {heading}\n\n{}\n", text.trim()).expect("writing to a string does not fail");
    }
    notes
}

/// The gate on the release notes' final text: every part is there, none is empty, every file has its digest.
#[must_use]
pub fn check_notes(notes: &str, version: &str, assets: &[Asset]) -> Vec<String> {
    let mut violations = Vec::new();
    if !notes.starts_with(&format!("# Cairn {version}\n")) {
        violations.push(format!("the release notes do not begin with \"# Cairn {version}\""));
    }
    let found: BTreeMap<_, _> = sections(notes).collect();
    for heading in NOTES {
        match found.get(heading) {
            None => violations.push(format!("the release notes have no part \"## {heading}\"")),
            Some(text) if text.trim().is_empty() => {
                violations.push(format!("the part \"## {heading}\" of the release notes is empty"));
            }
            Some(_) => {}
        }
    }
    for asset in assets.iter().filter(|asset| !notes.contains(&row(asset)) || !is_sha256(&asset.sha256)) {
        violations.push(format!("the release notes do not give the digest of {}", asset.name));
    }
    violations
}

fn changes(section: &Section) -> String {
    let own = section.parts.iter().filter(|(heading, _)| !REQUIRED.contains(&heading.as_str()));
    own.map(|(heading, text)| part(heading, text)).collect()
}

fn how_to_verify(version: &str) -> String {
    format!(
        "Put the files of the release into a folder of their own; take the public key from a source that you trust, not\n\
         from beside them. Offline, with a `cairn-release` that you have already:\n\n\
         ```sh\n\
         cairn-release verify --dir . --public-key cairn.pub --version {version}\n\
         ```\n\n\
         Or with the stock programs; read in the trusted comment that product, version and file are the right ones:\n\n\
         ```sh\n\
         minisign -V -p cairn.pub -m SHA256SUMS\n\
         sha256sum --check --ignore-missing SHA256SUMS\n\
         ```\n"
    )
}

fn digests(assets: &[Asset]) -> String {
    let mut sorted: Vec<_> = assets.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let rows: String = sorted.into_iter().map(row).collect();
    format!("| file | bytes | SHA-256 |\n|---|---|---|\n{rows}")
}

fn row(Asset { name, size, sha256 }: &Asset) -> String {
    format!("| `{name}` | {size} | `{sha256}` |\n")
}

fn empty_section(version: &str) -> Section {
    Section { version: version.to_owned(), date: None, parts: Vec::new() }
}

fn part(heading: &str, text: &str) -> String {
    if heading.is_empty() { format!("\n{text}\n") } else { format!("\n### {heading}\n\n{text}\n") }
}

/// Heading and trimmed body of each section of the second level.
fn sections(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let starts = text.match_indices("\n## ").map(|(at, mark)| at + mark.len());
    starts.map(|start| {
        let section = text[start..].split("\n## ").next().unwrap_or_default();
        let (heading, body) = section.split_once('\n').unwrap_or((section, ""));
        (heading.trim(), body.trim_end_matches('\n'))
    })
}

fn heading_version(heading: &str) -> Option<&str> {
    heading.split_whitespace().next()
}

fn parts(body: &str) -> Vec<(String, String)> {
    let text = format!("\n{body}");
    let mut pieces = text.split("\n### ");
    let first = pieces.next().unwrap_or_default().trim();
    let first = (!first.is_empty()).then(|| (String::new(), first.to_owned()));
    let rest = pieces.map(|piece| {
        let (heading, text) = piece.split_once('\n').unwrap_or((piece, ""));
        (heading.trim().to_owned(), text.trim().to_owned())
    });
    first.into_iter().chain(rest).collect()
}
