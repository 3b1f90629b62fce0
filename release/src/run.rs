//! Runs steps in order, with the journal: what is done and unchanged is kept, the rest is made.
//!
//! From the first step that has to be made on, every later one is made again: a step may read what any earlier one wrote.
//! A run that is killed at any point and started again ends with the bytes of a run that was not, because each step's
//! outputs depend on the plan, the tree, the inputs that it names and the outputs before it alone. Left out: programs of
//! the machine that no step names as inputs, such as gpg and objcopy; a release folder is not to outlive their upgrade.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::journal::{Digests, Journal, Progress};
use crate::plan::Gate;
use crate::site::Site;

/// A part of a release: what it makes, what it proves, how.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Its name, as in the journal and the table.
    pub name: &'static str,
    /// Gates that the step proves when it passes.
    pub gates: &'static [Gate],
    /// What it reads besides the plan, the tree and the outputs of earlier steps; an error means that something is missing.
    pub inputs: fn(&Site) -> Result<Digests>,
    /// Files and folders that it makes.
    pub outputs: fn(&Site) -> Vec<PathBuf>,
    /// Does it; the text is a remark for the table, or empty.
    pub act: fn(&Site) -> Result<String>,
}

/// How one step went.
#[derive(Debug, Clone)]
pub struct StepResult {
    /// Name of the step.
    pub name: &'static str,
    /// Gates that the step proves when it passes.
    pub gates: &'static [Gate],
    /// Time that it took.
    pub took: Duration,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It did its work; with a remark, if there is something to say.
    Passed(String),
    /// An earlier run did it, and its outputs are unchanged.
    Kept,
    /// It failed, for this reason.
    Failed(String),
    /// It was not reached.
    NotRun,
}

/// What a run leaves to read: one result for every step.
#[derive(Debug)]
pub struct Report {
    /// The steps, in order.
    pub steps: Vec<StepResult>,
}

impl Report {
    /// Whether every step was reached and none failed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.steps.iter().all(|step| matches!(step.outcome, Outcome::Passed(_) | Outcome::Kept))
    }
}

/// Runs the steps and stops at the first that fails.
pub fn run(steps: &[Step], site: &Site, journal: &mut Journal, mut seen: impl FnMut(&StepResult)) -> Report {
    let mut results: Vec<StepResult> = Vec::new();
    let (mut again, mut failed) = (false, false);
    for step in steps {
        let started = Instant::now();
        let outcome = if failed {
            Outcome::NotRun
        } else if !again && is_kept(step, site, journal.progress()) {
            Outcome::Kept
        } else {
            again = true;
            act(step, site, journal).map_or_else(|e| Outcome::Failed(format!("{e:#}")), Outcome::Passed)
        };
        failed |= matches!(outcome, Outcome::Failed(_));
        let result = StepResult { name: step.name, gates: step.gates, took: started.elapsed(), outcome };
        seen(&result);
        results.push(result);
    }
    Report { steps: results }
}

/// Says what [`run`] would do, a line for each step, and changes nothing.
#[must_use]
pub fn preview(steps: &[Step], site: &Site, progress: &Progress) -> String {
    let mut again = false;
    let lines = steps.iter().map(|step| {
        again = again || !is_kept(step, site, progress);
        format!("{:<28} {}\n", step.name, if again { "would run" } else { "kept" })
    });
    lines.collect()
}

fn is_kept(step: &Step, site: &Site, progress: &Progress) -> bool {
    (step.inputs)(site).is_ok_and(|inputs| progress.is_done_from(step.name, &inputs))
}

fn act(step: &Step, site: &Site, journal: &mut Journal) -> Result<String> {
    journal.started(step.name)?;
    // Before the work: what changes meanwhile is found different by the next run.
    let inputs = (step.inputs)(site)?;
    let remark = (step.act)(site)?;
    journal.done(step.name, inputs, &(step.outputs)(site))?;
    Ok(remark)
}

impl fmt::Display for StepResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (result, remark) = match &self.outcome {
            Outcome::Passed(remark) => ("ok", remark.as_str()),
            Outcome::Kept => ("kept", ""),
            Outcome::Failed(_) => ("FAILED", ""),
            Outcome::NotRun => ("not run", ""),
        };
        write!(f, "{:<28} {result:<8} {:>7.1} s  {remark}", self.name, self.took.as_secs_f64())?;
        if let Outcome::Failed(reason) = &self.outcome {
            write!(f, "\n    {}", reason.replace('\n', "\n    "))?;
        }
        Ok(())
    }
}
