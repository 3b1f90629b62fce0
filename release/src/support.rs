//! Which branches get fixes until when: `support.toml`, the one source of the table of supported versions.
//!
//! Reading is strict: unknown fields, times of day, dates out of order and branches out of order are refused. The table
//! shows dates and no state, because a state would need a clock and a committed table would become false by itself.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use toml::value::{Date, Datetime};

use crate::changelog::Stage;

/// Line before the generated table.
pub const TABLE_START: &str = "<!-- supported versions: generated from support.toml -->";

/// Line after the generated table.
pub const TABLE_END: &str = "<!-- end of supported versions -->";

/// The content of `support.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Support {
    /// All branches, newest first.
    pub branches: Vec<Branch>,
}

/// A line of releases that shares a minor version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// Its releases' version up to the minor number, for example `0.1`.
    pub name: String,
    /// Name of the branch in git.
    pub git: String,
    /// What was promised; none before the first release.
    pub dates: Option<Dates>,
}

/// The dates of a branch, each before the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dates {
    /// Day of the first release: from here on all fixes.
    pub start: Date,
    /// First day on which only bugs that lose data or availability are fixed, and security.
    pub maintenance: Date,
    /// First day on which only security is fixed.
    pub security_only: Date,
    /// First day without any fix.
    pub end_of_life: Date,
}

/// What a branch gets on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It has no release yet.
    Planned,
    /// All fixes.
    Active,
    /// Fixes for lost data, lost availability and security.
    Maintenance,
    /// Fixes for security.
    SecurityOnly,
    /// Nothing.
    EndOfLife,
}

/// Kinds of fixes, by what they are worth to somebody who does not want to change versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fix {
    /// An ordinary bug.
    Bug,
    /// Data or availability is lost.
    Severe,
    /// A vulnerability.
    Security,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    branch: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Entry {
    name: String,
    git: String,
    start: Option<Datetime>,
    maintenance: Option<Datetime>,
    security_only: Option<Datetime>,
    end_of_life: Option<Datetime>,
}

impl Support {
    /// Reads `support.toml`.
    ///
    /// # Errors
    ///
    /// What is wrong with it, as a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|e| format!("support.toml is not valid: {}", e.message()))?;
        let branches = file.branch.into_iter().map(branch).collect::<Result<Vec<_>, _>>()?;
        let numbers: Vec<_> = branches.iter().map(|branch| minor(&branch.name)).collect::<Result<_, _>>()?;
        if branches.is_empty() {
            return Err("support.toml lists no branch".to_owned());
        }
        for (pair, numbers) in branches.windows(2).zip(numbers.windows(2)) {
            let [newer, older] = pair else { continue };
            if numbers[0] <= numbers[1] {
                return Err(format!(
                    "support.toml lists branch {} before {}; the newest comes first, each once",
                    newer.name, older.name
                ));
            }
            let started = |branch: &Branch| branch.dates.map(|dates| dates.start);
            if started(older).is_none() || started(newer).is_some_and(|newer| Some(newer) < started(older)) {
                return Err(format!("branch {} cannot start after the newer branch {}", older.name, newer.name));
            }
        }
        Ok(Self { branches })
    }

    /// The branch that a version belongs to.
    #[must_use]
    pub fn branch_of(&self, version: &str) -> Option<&Branch> {
        let mut parts = version.splitn(3, '.');
        let name = format!("{}.{}", parts.next()?, parts.next()?);
        parts.next()?;
        self.branches.iter().find(|branch| branch.name == name)
    }

    /// The branches that need a fix of this kind on this day, newest first.
    pub fn backports(&self, fix: Fix, day: Date) -> impl Iterator<Item = &Branch> {
        self.branches.iter().filter(move |branch| match branch.state(day) {
            State::Active => true,
            State::Maintenance => fix != Fix::Bug,
            State::SecurityOnly => fix == Fix::Security,
            State::Planned | State::EndOfLife => false,
        })
    }

    /// The table of supported versions as Markdown, without markers.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = "| version | first release | severe bugs and security only | security only | end of life |\n\
                         |---|---|---|---|---|\n"
            .to_owned();
        for Branch { name, dates, .. } in &self.branches {
            let cells = match dates {
                Some(Dates { start, maintenance, security_only, end_of_life }) => {
                    format!("{start} | from {maintenance} | from {security_only} | {end_of_life}")
                }
                None => "not released yet | - | - | -".to_owned(),
            };
            writeln!(table, "| {name} | {cells} |").expect("writing to a string does not fail");
        }
        table
    }
}

impl Branch {
    /// What the branch gets on a day.
    #[must_use]
    pub fn state(&self, day: Date) -> State {
        match self.dates {
            None => State::Planned,
            Some(dates) if day < dates.start => State::Planned,
            Some(dates) if day < dates.maintenance => State::Active,
            Some(dates) if day < dates.security_only => State::Maintenance,
            Some(dates) if day < dates.end_of_life => State::SecurityOnly,
            Some(_) => State::EndOfLife,
        }
    }
}

/// The table of supported versions, or the branches that get security fixes on a day, one a line.
///
/// # Errors
///
/// `support.toml` cannot be read or is not valid, or the day is none.
pub fn answer(root: &Path, day: Option<&str>) -> Result<String> {
    let text = fs::read_to_string(root.join("support.toml")).context("cannot read support.toml")?;
    let support = Support::parse(&text).map_err(anyhow::Error::msg)?;
    let Some(day) = day else { return Ok(support.table()) };
    let day = parse_day(day)?;
    Ok(support.backports(Fix::Security, day).map(|branch| format!("{}\n", branch.name)).collect())
}

/// Reads a day like 2030-12-31.
///
/// # Errors
///
/// It is none.
pub fn parse_day(text: &str) -> Result<Date> {
    let day = text.parse::<Datetime>().ok().filter(|day| day.time.is_none() && day.offset.is_none());
    day.and_then(|day| day.date).with_context(|| format!("{text:?} is no day as YYYY-MM-DD"))
}

/// The gate: `support.toml` is valid, knows the version's branch, with its dates if it is released, and the document's
/// table is the one made of it.
///
/// `document` is the name of the file that holds the table, for the messages.
#[must_use]
pub fn check(support_toml: &str, version: &str, stage: Stage, document: &str, text: &str) -> Vec<String> {
    let support = match Support::parse(support_toml) {
        Ok(support) => support,
        Err(why) => return vec![why],
    };
    let mut violations = Vec::new();
    match support.branch_of(version) {
        None => violations.push(format!("support.toml has no branch for version {version}; add it")),
        Some(Branch { name, dates: None, .. }) if stage == Stage::Release => {
            violations.push(format!("support.toml has no dates for branch {name}, which is released; promise them"));
        }
        Some(_) => {}
    }
    match with_table(text, &support.table()) {
        Ok(wanted) if wanted == text => {}
        Ok(_) => violations.push(format!(
            "{document}: its table of supported versions is not the one of support.toml; `cairn-release support` prints that"
        )),
        Err(why) => violations.push(format!("{document}: {why}")),
    }
    violations
}

/// The text with the table between its markers exchanged.
///
/// # Errors
///
/// The text does not have both markers once, in their order.
pub fn with_table(text: &str, table: &str) -> Result<String, String> {
    let once = |marker: &str| text.matches(marker).count() == 1;
    let places = text.split_once(TABLE_START).and_then(|(before, rest)| Some((before, rest.split_once(TABLE_END)?)));
    match places {
        Some((before, (_, after))) if once(TABLE_START) && once(TABLE_END) => {
            Ok(format!("{before}{TABLE_START}\n{table}{TABLE_END}{after}"))
        }
        _ => Err(format!("it must have the lines {TABLE_START:?} and {TABLE_END:?} once, in this order")),
    }
}

fn branch(entry: Entry) -> Result<Branch, String> {
    let Entry { name, git, start, maintenance, security_only, end_of_life } = entry;
    let dates = match (start, maintenance, security_only, end_of_life) {
        (None, None, None, None) => None,
        (Some(start), Some(maintenance), Some(security_only), Some(end_of_life)) => Some(Dates {
            start: plain(&name, start)?,
            maintenance: plain(&name, maintenance)?,
            security_only: plain(&name, security_only)?,
            end_of_life: plain(&name, end_of_life)?,
        }),
        _ => return Err(format!("branch {name} needs all of its four dates, or none before its first release")),
    };
    if let Some(Dates { start, maintenance, security_only, end_of_life }) = dates
        && !(start < maintenance && maintenance < security_only && security_only < end_of_life)
    {
        return Err(format!(
            "the dates of branch {name} are not in the order start, maintenance, security-only, end-of-life"
        ));
    }
    Ok(Branch { name, git, dates })
}

fn plain(name: &str, date: Datetime) -> Result<Date, String> {
    match date {
        Datetime { date: Some(date), time: None, offset: None } => Ok(date),
        _ => Err(format!("branch {name} has {date}, which is no date of the form 2030-12-31")),
    }
}

fn minor(name: &str) -> Result<(u32, u32), String> {
    let numbers = name.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    numbers
        .filter(|(major, minor)| format!("{major}.{minor}") == name)
        .ok_or_else(|| format!("branch {name:?} is not of the form MAJOR.MINOR"))
}
