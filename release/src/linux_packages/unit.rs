//! The systemd unit: what it starts and how exposed it leaves the host.

use std::fs;

use anyhow::{Context, Result, bail, ensure};

use super::tool;
use crate::process;

/// Highest exposure that a unit of ours may have, of 10.
pub const MAX_EXPOSURE: f64 = 2.0;

/// A unit file as a list of settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Section, name and value, in the file's order.
    settings: Vec<(String, String, String)>,
}

impl Unit {
    /// Reads a unit file.
    ///
    /// # Errors
    ///
    /// A line that is no comment, section or setting, or that goes on in the next one.
    pub fn parse(text: &str) -> Result<Self> {
        let mut section = String::new();
        let mut settings = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';'])) {
            ensure!(!line.ends_with('\\'), "the line {line:?} goes on in the next one; write it in one");
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                name.clone_into(&mut section);
                continue;
            }
            let (name, value) = line.split_once('=').with_context(|| format!("the line {line:?} is no setting"))?;
            settings.push((section.clone(), name.trim().to_owned(), value.trim().to_owned()));
        }
        Ok(Self { settings })
    }

    /// Values of a setting, in order.
    #[must_use]
    pub fn values(&self, section: &str, name: &str) -> Vec<&str> {
        let is_it = |setting: &&(String, String, String)| setting.0 == section && setting.1 == name;
        self.settings.iter().filter(is_it).map(|(_, _, value)| value.as_str()).collect()
    }

    /// The one value of a setting.
    ///
    /// # Errors
    ///
    /// The unit has none or several.
    pub fn value<'a>(&'a self, section: &str, name: &str) -> Result<&'a str> {
        match self.values(section, name).as_slice() {
            [value] => Ok(value),
            [] => bail!("the unit has no {name}= in [{section}]"),
            _ => bail!("the unit has {name}= in [{section}] more than once"),
        }
    }

    /// The words of the command line that the unit starts, for those who start it without systemd.
    ///
    /// # Errors
    ///
    /// There is not one plain command line: prefixes, quotes, variables and specifiers only systemd could resolve.
    pub fn exec_start(&self) -> Result<Vec<String>> {
        let line = self.value("Service", "ExecStart")?;
        let is_plain = line.starts_with('/') && !line.contains(['"', '\'', '$', '%', '\\', ';']);
        ensure!(is_plain, "ExecStart={line} is more than a path and words, which only systemd could start");
        Ok(line.split_whitespace().map(str::to_owned).collect())
    }
}

/// Variables of an environment file, as systemd would set them.
///
/// # Errors
///
/// A line that is no `NAME=value`, or with quotes or a backslash, whose rules are left to systemd.
pub fn environment(text: &str) -> Result<Vec<(String, String)>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';']));
    lines
        .map(|line| match line.split_once('=') {
            Some((name, value)) if !line.contains(['"', '\'', '\\']) => Ok((name.to_owned(), value.trim().to_owned())),
            _ => bail!("the line {line:?} of the environment file is no plain NAME=value"),
        })
        .collect()
}

/// What `systemd-analyze security` gives a unit: 0 is closed, 10 is open.
///
/// # Errors
///
/// systemd-analyze is missing or says no number.
pub fn exposure(text: &str) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("cairn.service");
    fs::write(&path, text)?;
    let mut command = process::clean_command(&tool::find("systemd-analyze", "systemd")?);
    let finished = tool::run(command.args(["security", "--offline=true", "--no-pager"]).arg(&path))?;
    let said = finished.stdout.lines().find_map(|line| line.split_once("Overall exposure level for cairn.service: "));
    let number = said.and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    number.with_context(|| format!("systemd-analyze gives no exposure: {}", finished.all().trim()))
}

/// Gate: the unit leaves the host no more exposed than [`MAX_EXPOSURE`].
///
/// # Errors
///
/// As [`exposure`].
pub fn exposure_violations(text: &str) -> Result<Vec<String>> {
    let exposure = exposure(text)?;
    let sentence = format!("the unit's exposure is {exposure:.1}, more than {MAX_EXPOSURE:.1}; harden it");
    Ok(if exposure > MAX_EXPOSURE { vec![sentence] } else { Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_of_a_unit_is_its_words() {
        let unit = Unit::parse("[Service]\n# why\nExecStart=/usr/bin/cairnd --name one\n").unwrap();
        assert_eq!(unit.exec_start().unwrap(), ["/usr/bin/cairnd", "--name", "one"]);
    }

    #[test]
    fn a_command_line_that_only_systemd_could_resolve_is_refused() {
        for line in ["-/usr/bin/cairnd", "/usr/bin/cairnd --name %H", "/usr/bin/cairnd $OPTIONS", "/bin/sh -c 'x'"] {
            let unit = Unit::parse(&format!("[Service]\nExecStart={line}\n")).unwrap();
            assert!(unit.exec_start().is_err(), "{line}");
        }
        assert!(Unit::parse("[Service]\n").unwrap().exec_start().is_err());
    }

    #[test]
    fn an_environment_file_is_its_plain_assignments() {
        let variables = environment("# comment\n\nA=1\nB=http://x?y=2\n#C=3\n").unwrap();
        assert_eq!(variables, [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "http://x?y=2".to_owned())]);
        assert!(environment("A=\"1\"").is_err());
    }
}
