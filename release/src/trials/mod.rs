//! Trials: packages are installed and used in a root file system of their own, as root and for real.
//!
//! A trial is a list of named checks in a fixed order; each builds on the state that the one before it left, so the first
//! failure ends it. The root is a copy of one that the caller keeps (made by debootstrap, minbase) and is gone afterwards.
//! Programs run by `chroot` with a clean environment.
//!
//! Left out: a running systemd. The unit's command line, user, working folder, umask and environment are those of the
//! installed unit; its sandbox is judged by [`crate::linux_packages::unit`] alone.

pub mod deb;
pub mod file_server;
pub mod image;
pub mod installer;
mod lifecycle;
pub mod repository;
mod root;
pub mod rpm;
mod service;

use std::path::Path;

use anyhow::{Result, ensure};

use crate::linux_packages::tool::Finished;

pub use lifecycle::make_older;

/// The packages of one version.
#[derive(Debug, Clone, Copy)]
pub struct Packages<'a> {
    /// The server's.
    pub server: &'a Path,
    /// The client's.
    pub client: &'a Path,
    /// That of etcd's names.
    pub etcd_names: &'a Path,
}

/// How one check of a trial went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What holds if it passed, as a sentence.
    pub name: &'static str,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It holds.
    Passed,
    /// It does not, for this reason.
    Failed(String),
    /// An earlier check failed.
    NotRun,
}

/// A check and how it is made.
type Step<S> = (&'static str, fn(&mut S) -> Result<()>);

/// Makes the checks in order until one fails.
fn run_steps<S>(stage: &mut S, steps: impl IntoIterator<Item = Step<S>>) -> Vec<Check> {
    let mut has_failed = false;
    let run = |(name, step): Step<S>| {
        if has_failed {
            return Check { name, outcome: Outcome::NotRun };
        }
        let outcome = step(stage).map_or_else(|e| Outcome::Failed(format!("{e:#}")), |()| Outcome::Passed);
        has_failed = outcome != Outcome::Passed;
        Check { name, outcome }
    };
    steps.into_iter().map(run).collect()
}

/// Makes checks that do not build on each other: all of them, whatever came of those before.
fn run_all<S>(stage: &mut S, steps: impl IntoIterator<Item = Step<S>>) -> Vec<Check> {
    steps.into_iter().flat_map(|step| run_steps(stage, [step])).collect()
}

/// Nothing, if a program refused for one of these reasons; that it refused for another one proves nothing.
fn refused(finished: &Finished, reasons: &[&str]) -> Result<()> {
    let said = finished.all();
    ensure!(!finished.status.success(), "it was accepted: {}", said.trim());
    ensure!(
        reasons.iter().any(|reason| said.contains(reason)),
        "it was refused, but not for {reasons:?}: {}",
        said.trim()
    );
    Ok(())
}

/// All that a program said, if it was content.
fn accepted(finished: &Finished) -> Result<String> {
    let said = finished.all();
    ensure!(finished.status.success(), "it failed ({}): {}", finished.status, said.trim());
    Ok(said)
}

/// The checks that do not hold, as sentences; empty if the whole trial passed.
#[must_use]
pub fn violations(checks: &[Check]) -> Vec<String> {
    let sentence = |check: &Check| match &check.outcome {
        Outcome::Passed => None,
        Outcome::Failed(reason) => Some(format!("not so: {}: {reason}", check.name)),
        Outcome::NotRun => Some(format!("not tried: {}", check.name)),
    };
    checks.iter().filter_map(sentence).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    use anyhow::bail;

    use super::*;

    fn finished(code: i32, said: &str) -> Finished {
        Finished { status: ExitStatus::from_raw(code << 8), stdout: String::new(), stderr: said.to_owned() }
    }

    #[test]
    fn a_refusal_counts_for_its_reason_alone() {
        let reasons = ["BADSIG", "BAD signature"];
        assert!(refused(&finished(1, "E: BADSIG of a key"), &reasons).is_ok());
        let error = refused(&finished(0, "E: BADSIG of a key"), &reasons).unwrap_err().to_string();
        assert_eq!(error, "it was accepted: E: BADSIG of a key");
        let error = refused(&finished(1, "no route to host"), &reasons).unwrap_err().to_string();
        assert!(error.starts_with("it was refused, but not for [\"BADSIG\", "), "{error}");
    }

    #[test]
    fn a_program_that_fails_was_not_content_whatever_it_said() {
        assert_eq!(accepted(&finished(0, "done")).unwrap(), "done");
        let error = accepted(&finished(3, "done")).unwrap_err().to_string();
        assert_eq!(error, "it failed (exit status: 3): done");
    }

    #[test]
    fn the_first_check_that_fails_ends_the_trial_and_the_rest_counts_as_not_tried() {
        let steps: [Step<u32>; 3] = [
            ("one", |count| {
                *count += 1;
                Ok(())
            }),
            ("two", |_| bail!("no")),
            ("three", |count| {
                *count += 1;
                Ok(())
            }),
        ];
        let mut count = 0;
        let checks = run_steps(&mut count, steps);
        assert_eq!(count, 1);
        assert_eq!(violations(&checks), ["not so: two: no", "not tried: three"]);
    }
}
