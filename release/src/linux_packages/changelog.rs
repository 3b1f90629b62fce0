//! What is new in a version, out of CHANGELOG.md and into the forms of packages.

use anyhow::{Context, Result, bail};

use super::MAINTAINER;
use crate::date;

/// Widest line of a Debian changelog.
const WIDTH: usize = 79;

/// The changes of one version: the list under its heading `## VERSION`.
///
/// # Errors
///
/// There is no such heading or nothing under it.
pub fn changes_of(changelog: &str, version: &str) -> Result<Vec<String>> {
    let is_heading = |line: &&str| line.strip_prefix("## ").and_then(|rest| rest.split(' ').next()) == Some(version);
    let mut lines = changelog.lines();
    lines.find(is_heading).with_context(|| format!("CHANGELOG.md has no heading `## {version}`; write its changes"))?;
    let mut changes: Vec<String> = Vec::new();
    for line in lines.take_while(|line| !line.starts_with("## ")) {
        let text = line.trim();
        match (text.strip_prefix("- "), changes.last_mut()) {
            (Some(text), _) => changes.push(text.to_owned()),
            (None, Some(change)) if line.starts_with("  ") && !text.is_empty() => {
                change.push(' ');
                change.push_str(text);
            }
            _ => {}
        }
    }
    if changes.is_empty() {
        bail!("CHANGELOG.md has no list of changes under `## {version}`; write it");
    }
    Ok(changes)
}

/// The changelog of a Debian package, with the one version.
pub(super) fn debian(package: &str, version: &str, changes: &[String], epoch: u64) -> String {
    let mut text = format!("{package} ({version}) unstable; urgency=medium\n\n");
    for change in changes {
        text.push_str(&wrapped("  * ", "    ", change));
    }
    text.push_str(&format!("\n -- {MAINTAINER}  {}\n", date::rfc2822(epoch)));
    text
}

fn wrapped(first: &str, next: &str, words: &str) -> String {
    let (mut text, mut line) = (String::new(), first.to_owned());
    let mut is_empty = true;
    for word in words.split_whitespace() {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            text.push_str(&line);
            text.push('\n');
            next.clone_into(&mut line);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    text + &line + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGELOG: &str = "# Changes\n\n## 0.2.0\n\n- One.\n- Two\n  lines.\n\n## 0.1.0 (2023-11-14)\n\n- First.\n";

    #[test]
    fn the_changes_of_a_version_are_the_list_under_its_heading() {
        assert_eq!(changes_of(CHANGELOG, "0.2.0").unwrap(), ["One.", "Two lines."]);
        assert_eq!(changes_of(CHANGELOG, "0.1.0").unwrap(), ["First."]);
    }

    #[test]
    fn a_version_without_changes_is_refused() {
        let error = changes_of(CHANGELOG, "0.3.0").unwrap_err().to_string();
        assert_eq!(error, "CHANGELOG.md has no heading `## 0.3.0`; write its changes");
    }

    #[test]
    fn a_debian_changelog_has_its_form_and_narrow_lines() {
        let changes = ["Short.".to_owned(), "word ".repeat(30)];
        let text = debian("cairn-server", "0.1.0", &changes, 1_700_000_000);
        assert!(text.starts_with("cairn-server (0.1.0) unstable; urgency=medium\n\n  * Short.\n  * word"), "{text}");
        assert!(
            text.ends_with("\n\n -- The Cairn authors <packages@cairn.example>  Tue, 14 Nov 2023 22:13:20 +0000\n")
        );
        assert!(text.lines().all(|line| line.len() <= 80 && line.trim_end() == line), "{text}");
    }
}
