//! The distributions' own checkers: lintian for debs, rpmlint for rpms.
//!
//! Contract: errors and warnings are violations, each the checker's sentence. An exception stands with its reason in
//! `packaging/debian/*.lintian-overrides` or `packaging/rpm/rpmlint.toml`, and [`unexplained`] finds one without. Left out:
//! apk and Arch packages, whose checkers Debian does not have.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};

use super::tool;
use crate::process;

/// Gate: lintian has nothing to say about a deb.
///
/// # Errors
///
/// lintian is missing or cannot judge.
pub fn lintian(package: &Path) -> Result<Vec<String>> {
    let home = tempfile::tempdir()?;
    let mut command = process::clean_command(&tool::find("lintian", "lintian")?);
    command.env("HOME", home.path()).args(["--no-cfg", "--profile", "debian", "--color", "never", "--allow-root"]);
    let finished = tool::run(command.args(["--tag-display-limit", "0"]).arg(package))?;
    ensure!(matches!(finished.status.code(), Some(0 | 2)), "lintian failed: {}", finished.all().trim());
    Ok(lines(&finished.stdout, |line| line.starts_with("E: ") || line.starts_with("W: ")))
}

/// Gate: rpmlint has nothing to say about an rpm; `config` is `packaging/rpm/rpmlint.toml`, `public_key` the armored key
/// that the rpm must be signed with.
///
/// # Errors
///
/// rpmlint is missing or cannot judge.
pub fn rpmlint(package: &Path, config: &Path, public_key: &Path) -> Result<Vec<String>> {
    let program = tool::find("rpmlint", "rpmlint")?;
    let home = tempfile::tempdir()?;
    // rpmlint asks rpm about the signature, and rpm finds its keys by this file.
    let database = home.path().join("database");
    fs::write(home.path().join(".rpmmacros"), format!("%_dbpath {}\n", database.display()))?;
    let mut import = process::clean_command(&tool::find("rpm", "rpm")?);
    tool::output(import.env("HOME", home.path()).arg("--import").arg(public_key))?;
    let mut command = process::clean_command(&program);
    command.env("HOME", home.path()).env("XDG_CONFIG_HOME", home.path()).arg("--config").arg(config);
    let finished = tool::run(command.arg(package))?;
    // Without its last line it has not judged, whatever its exit code is.
    ensure!(finished.stdout.contains("packages and 0 specfiles checked"), "rpmlint failed: {}", finished.all().trim());
    Ok(lines(&finished.stdout, |line| line.contains(": E: ") || line.contains(": W: ")))
}

fn lines(text: &str, is_violation: impl Fn(&str) -> bool) -> Vec<String> {
    text.lines().map(str::trim).filter(|line| is_violation(line)).map(str::to_owned).collect()
}

/// Gate: every exception of a list stands below a comment with its reason, one comment for each group of lines.
#[must_use]
pub fn unexplained(file: &str, text: &str) -> Vec<String> {
    let mut has_reason = false;
    let mut violations = Vec::new();
    for line in text.lines().map(str::trim) {
        match line {
            "" => has_reason = false,
            "Filters = [" | "]" => {}
            _ if line.starts_with('#') => has_reason = true,
            _ if has_reason => {}
            _ => violations.push(format!("{file}: the exception {line:?} has no reason above it")),
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_without_a_reason_is_red() {
        let text = "# It is so.\na-tag path\n\nanother-tag path\n";
        let sentence = "x.overrides: the exception \"another-tag path\" has no reason above it";
        assert_eq!(unexplained("x.overrides", text), [sentence]);
    }

    #[test]
    fn exceptions_with_reasons_are_green() {
        assert!(unexplained("x.toml", "Filters = [\n    # It is so.\n    \"a\",\n    \"b\",\n]\n").is_empty());
    }
}
