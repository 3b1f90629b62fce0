//! Plays a whole release on one machine with a throwaway key: the commands' own code, in their order, to the end.
//!
//! The result stays in the output folder; the secret key exists only in a temporary folder and is gone afterwards.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::keys::{self, SigningKey};
use crate::plan::{Gate, Plan, SIGNATURE_SUFFIX};
use crate::verify::Request;
use crate::{checksum, compile, files, package, process, sign, smoke, verify};

/// Name of the throwaway public key in the output folder.
pub const PUBLIC_KEY_NAME: &str = "throwaway.pub";

/// What a rehearsal needs to know.
#[derive(Debug)]
pub struct Rehearsal<'a> {
    /// Root of the source tree.
    pub root: &'a Path,
    /// Folder that receives programs, release folder and throwaway public key.
    pub out: &'a Path,
    /// Folder with programs that were built already; without one they are built.
    pub bin_dir: Option<&'a Path>,
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
    /// It did its work.
    Passed,
    /// Its result was given from outside.
    Skipped,
    /// It failed, for this reason.
    Failed(String),
}

/// What a rehearsal leaves to read.
#[derive(Debug)]
pub struct Report {
    /// The steps that ran, in order; the last one is the failed one, if one failed.
    pub steps: Vec<StepResult>,
    /// Name and size in bytes of every file of the release folder.
    pub sizes: Vec<(String, u64)>,
}

impl Report {
    /// Whether every step was reached and none failed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.steps.len() == STEPS.len() && !self.steps.iter().any(|step| matches!(step.outcome, Outcome::Failed(_)))
    }
}

struct Step {
    name: &'static str,
    gates: &'static [Gate],
    run: fn(&Stage<'_>) -> Result<()>,
}

/// Name of the step that is skipped when the programs are given.
const BUILD: &str = "build";

/// The steps after the plan.
const STEPS: [Step; 8] = [
    Step { name: BUILD, gates: &[], run: |stage| stage.build() },
    Step { name: "package", gates: &[Gate::VersionsEqual, Gate::ArchiveComplete], run: |stage| stage.package() },
    Step { name: "checksum", gates: &[], run: |stage| stage.checksum() },
    Step { name: "sign", gates: &[], run: |stage| stage.sign() },
    Step { name: "verify", gates: &[Gate::FolderComplete, Gate::SignaturesMatch], run: |stage| stage.verify() },
    Step { name: "stock minisign", gates: &[Gate::StockMinisign], run: |stage| stage.stock_minisign() },
    Step { name: "unpack", gates: &[], run: |stage| stage.unpack() },
    Step { name: "start, put, get, stop", gates: &[Gate::Smoke], run: |stage| stage.smoke() },
];

/// Gates that the rehearsal proves, in order.
pub fn proven_gates() -> impl Iterator<Item = Gate> {
    STEPS.iter().flat_map(|step| step.gates.iter().copied())
}

/// Runs all steps and stops at the first that fails; the report has its error.
///
/// # Errors
///
/// Only what prevents the first step: a scratch folder or the output folder that cannot be made.
pub fn rehearse(plan: &Plan, rehearsal: &Rehearsal<'_>) -> Result<Report> {
    let scratch = tempfile::tempdir()?;
    files::create_folder(rehearsal.out)?;
    let dir = rehearsal.out.join(plan.folder_name());
    let public_key = rehearsal.out.join(PUBLIC_KEY_NAME);
    let stage = Stage { plan, rehearsal, dir, public_key, scratch: scratch.path() };
    stage.clear()?;
    let mut steps = Vec::new();
    for step in &STEPS {
        let started = Instant::now();
        let outcome = match (step.run)(&stage) {
            Ok(()) if step.name == BUILD && rehearsal.bin_dir.is_some() => Outcome::Skipped,
            Ok(()) => Outcome::Passed,
            Err(e) => Outcome::Failed(format!("{e:#}")),
        };
        let failed = matches!(outcome, Outcome::Failed(_));
        steps.push(StepResult { name: step.name, gates: step.gates, took: started.elapsed(), outcome });
        if failed {
            break;
        }
    }
    Ok(Report { steps, sizes: stage.sizes() })
}

/// The places that the steps share.
struct Stage<'a> {
    plan: &'a Plan,
    rehearsal: &'a Rehearsal<'a>,
    dir: PathBuf,
    public_key: PathBuf,
    scratch: &'a Path,
}

impl Stage<'_> {
    /// Removes what an earlier rehearsal made, by the plan's names: anything else in the folder is for `sign` to refuse.
    fn clear(&self) -> Result<()> {
        let names = || self.plan.files.iter().map(String::as_str);
        files::remove_partials(&self.dir, names())?;
        names().try_for_each(|name| files::remove_if_there(&self.dir.join(name)))?;
        files::remove_if_there(&self.public_key)
    }

    fn build(&self) -> Result<()> {
        if self.rehearsal.bin_dir.is_some() {
            return Ok(());
        }
        for target in &self.plan.targets {
            let bin_dir = compile::default_bin_dir(self.rehearsal.out, target);
            compile::forget(target, &bin_dir)?;
            compile::compile(self.rehearsal.root, target, &bin_dir)?;
        }
        Ok(())
    }

    fn package(&self) -> Result<()> {
        let Rehearsal { root, out, bin_dir } = self.rehearsal;
        let bin_dir = |target: &_| bin_dir.map_or_else(|| compile::default_bin_dir(out, target), Path::to_owned);
        package::package(self.plan, root, bin_dir, &self.dir)
    }

    fn checksum(&self) -> Result<()> {
        checksum::checksum(self.plan, &self.dir)
    }

    fn sign(&self) -> Result<()> {
        let secret = self.scratch.join("throwaway.key");
        keys::generate(&secret, &self.public_key, None)?;
        sign::sign(self.plan, &self.dir, &SigningKey::read(&secret, None)?)
    }

    fn verify(&self) -> Result<()> {
        let request =
            Request { dir: &self.dir, public_key: &self.public_key, version: &self.plan.version, min_sequence: 0 };
        let manifest = verify::verify(&request)?;
        // The verifier knows no plan; here the plan is the promise that the signed list must keep.
        let listed: Vec<_> = manifest.files.iter().map(|entry| entry.name.as_str()).collect();
        let lacking: Vec<_> =
            self.plan.artifacts.iter().filter(|artifact| !listed.contains(&artifact.name.as_str())).collect();
        if !lacking.is_empty() {
            bail!("release.json lacks {lacking:?}");
        }
        Ok(())
    }

    fn stock_minisign(&self) -> Result<()> {
        let program = process::find_program("minisign")
            .context("the program minisign is missing; install the Debian package `minisign`")?;
        for name in self.plan.signed_files() {
            let mut command = process::clean_command(&program);
            command.arg("-V").arg("-q").arg("-p").arg(&self.public_key);
            command.arg("-x").arg(self.dir.join(format!("{name}{SIGNATURE_SUFFIX}")));
            process::output(command.arg("-m").arg(self.dir.join(name)))?;
        }
        Ok(())
    }

    fn unpack(&self) -> Result<()> {
        for artifact in &self.plan.artifacts {
            let into = self.unpacked(&artifact.target);
            files::create_folder(&into)?;
            smoke::unpack(&self.dir.join(&artifact.name), artifact, &into)?;
        }
        Ok(())
    }

    fn smoke(&self) -> Result<()> {
        for artifact in &self.plan.artifacts {
            smoke::smoke(&self.unpacked(&artifact.target).join(&artifact.top_folder))?;
        }
        Ok(())
    }

    fn unpacked(&self, target: &str) -> PathBuf {
        self.scratch.join("unpacked").join(target)
    }

    fn sizes(&self) -> Vec<(String, u64)> {
        let size = |name: &String| Some((name.clone(), fs::metadata(self.dir.join(name)).ok()?.len()));
        self.plan.files.iter().filter_map(size).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<28} {:<8} {:>9}", "step", "result", "time")?;
        for step in &self.steps {
            let result = match step.outcome {
                Outcome::Passed => "ok",
                Outcome::Skipped => "skipped",
                Outcome::Failed(_) => "FAILED",
            };
            writeln!(f, "{:<28} {result:<8} {:>7.1} s", step.name, step.took.as_secs_f64())?;
        }
        for step in STEPS.iter().skip(self.steps.len()) {
            writeln!(f, "{:<28} {:<8} {:>9}", step.name, "not run", "-")?;
        }
        writeln!(f, "\n{:<48} {:>12}", "file", "bytes")?;
        for (name, size) in &self.sizes {
            writeln!(f, "{name:<48} {size:>12}")?;
        }
        for step in &self.steps {
            if let Outcome::Failed(error) = &step.outcome {
                writeln!(f, "\nstep {:?} failed: {error}", step.name)?;
            }
        }
        Ok(())
    }
}
