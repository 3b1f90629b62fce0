//! Gate over the sizes of published files: each has a budget and keeps to it, so that growth is a decision.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Stands for the version in a pattern.
pub const VERSION_MARK: &str = "{version}";

/// The most that the files of a release may weigh.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budgets {
    /// One for every file; the first that fits a name counts.
    pub budget: Vec<Budget>,
}

/// The most that a file may weigh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Budget {
    /// Name of the file, with `{version}` for the version and `*` for any characters.
    pub name: String,
    /// Most bytes that it may have.
    pub max_bytes: u64,
}

impl Budgets {
    /// Reads budgets from TOML: a `[[budget]]` table with `name` and `max-bytes` for each.
    ///
    /// # Errors
    ///
    /// The text is not such TOML.
    pub fn from_toml(text: &str) -> Result<Self> {
        toml::from_str(text).context("the budgets are not valid TOML with [[budget]] tables")
    }
}

/// Every file has a budget and is not larger.
#[must_use]
pub fn sizes(files: &[(String, u64)], version: &str, budgets: &Budgets) -> Vec<String> {
    let mut violations = Vec::new();
    for (name, bytes) in files {
        match budgets.budget.iter().find(|budget| fits(&budget.name.replace(VERSION_MARK, version), name)) {
            None => violations.push(format!("{name}: has {bytes} bytes and no budget; decide on one")),
            Some(budget) if *bytes > budget.max_bytes => violations.push(format!(
                "{name}: has {bytes} bytes, {} more than its budget of {}; shrink it or raise the budget of {:?}",
                bytes - budget.max_bytes,
                budget.max_bytes,
                budget.name
            )),
            Some(_) => {}
        }
    }
    violations
}

/// Whether a name is the pattern, in which `*` stands for any characters.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(name) = name.strip_prefix(head) else {
        return false;
    };
    let mut ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
    ends.any(|at| fits(rest, &name[at..]))
}
