//! The steps that make a release, in their order, and the gates that each proves.
//!
//! A step reads the plan, the source tree and what the steps before it wrote, and nothing else; [`crate::run`] keeps
//! what is done. [`crate::inputs::fetch`] comes before all of them and alone uses the network.

mod check;
pub(crate) mod make;

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::digest::digest_bytes;
use crate::journal::Journal;
use crate::plan::{ArtifactKind, Gate, Scope};
use crate::run::{self, Outcome, Report, Step, StepResult};
use crate::site::Site;

/// The steps that need no secret: they end with everything but signatures.
pub const MAKE: &[Step] = &[
    Step { name: "keys", gates: &[], outputs: |site| vec![site.public_keys()], act: make::keys },
    Step {
        name: "check the tree",
        gates: &[Gate::Changelog, Gate::SupportTable, Gate::PinnedInputs],
        outputs: none,
        act: check::tree,
    },
    Step {
        name: "source archives",
        gates: &[Gate::SourceEqualsTree],
        outputs: |site| kinds(site, &[ArtifactKind::Source, ArtifactKind::VendoredSource]),
        act: make::sources,
    },
    Step { name: "build", gates: &[], outputs: |site| each_target(site, Site::built), act: make::build },
    Step { name: "materials", gates: &[], outputs: |site| vec![site.materials()], act: make::materials },
    Step {
        name: "split debug information",
        gates: &[],
        outputs: |site| [each_target(site, Site::programs), each_target(site, Site::debug)].concat(),
        act: make::split,
    },
    Step {
        name: "check programs",
        gates: &[
            Gate::GlibcFloor,
            Gate::NeededLibraries,
            Gate::Hardening,
            Gate::InstructionSet,
            Gate::PageSize,
            Gate::EmbeddedDependencies,
            Gate::NativeParts,
        ],
        outputs: none,
        act: check::programs,
    },
    Step { name: "documents", gates: &[], outputs: |site| vec![site.docs()], act: make::documents },
    Step {
        name: "licences",
        gates: &[Gate::Licences],
        outputs: |site| kinds(site, &[ArtifactKind::Licences]),
        act: make::licences,
    },
    Step {
        name: "archives",
        gates: &[Gate::ArchiveComplete],
        outputs: |site| kinds(site, &[ArtifactKind::Archive, ArtifactKind::ClientArchive, ArtifactKind::DebugArchive]),
        act: make::archives,
    },
    Step {
        name: "bills of materials",
        gates: &[],
        outputs: |site| kinds(site, &[ArtifactKind::CycloneDx, ArtifactKind::Spdx]),
        act: make::bills,
    },
    Step {
        name: "packages",
        gates: &[],
        outputs: |site| [kinds(site, &PACKAGES[..PACKAGES.len() - 1]), vec![site.unsigned()]].concat(),
        act: make::packages,
    },
    Step {
        name: "images",
        gates: &[Gate::ImageLayout],
        outputs: |site| [vec![site.layout()], kinds(site, &[ArtifactKind::OciArchive])].concat(),
        act: make::images,
    },
    Step {
        name: "installer",
        gates: &[],
        outputs: |site| kinds(site, &[ArtifactKind::Installer]),
        act: make::installer,
    },
];

/// The steps that sign what [`MAKE`] left, and make of it what needs signatures: repositories and the site bundle.
pub const SEAL: &[Step] = &[
    Step {
        name: "sign packages",
        gates: &[],
        outputs: |site| kinds(site, &[ArtifactKind::Rpm]),
        act: make::sign_packages,
    },
    Step {
        name: "check packages",
        gates: &[Gate::UnitExposure, Gate::PackagesAsPlanned, Gate::PackageDependencies, Gate::PackagesLint],
        outputs: none,
        act: check::packages,
    },
    Step {
        name: "provenance",
        gates: &[],
        outputs: |site| kinds(site, &[ArtifactKind::Provenance]),
        act: make::provenance,
    },
    Step {
        name: "check all bytes",
        gates: &[Gate::VersionsEqual, Gate::NoLocalNames, Gate::SizesInBudget],
        outputs: none,
        act: check::bytes,
    },
    Step { name: "checksums", gates: &[], outputs: |site| vec![site.dir()], act: make::checksums },
    Step { name: "sign", gates: &[], outputs: |site| vec![site.dir()], act: make::sign },
    Step {
        name: "verify",
        gates: &[Gate::FolderComplete, Gate::SignaturesMatch],
        outputs: none,
        act: check::signatures,
    },
    Step { name: "stock minisign", gates: &[Gate::StockMinisign], outputs: none, act: check::stock_minisign },
    Step { name: "repositories", gates: &[], outputs: |site| vec![site.repositories()], act: make::repositories },
    Step { name: "site bundle", gates: &[], outputs: |site| vec![site.bundle()], act: make::bundle },
];

/// The formats of distribution packages; the last one has a signature inside.
pub(crate) const PACKAGES: &[ArtifactKind] =
    &[ArtifactKind::Deb, ArtifactKind::ArchLinux, ArtifactKind::Apk, ArtifactKind::Rpm];

/// Gates of a scope: those that [`MAKE`], [`SEAL`] and the rehearsal's steps prove, in their order.
#[must_use]
pub fn gates(scope: &Scope) -> Vec<Gate> {
    let steps = MAKE.iter().chain(SEAL).chain(crate::rehearse::steps(scope));
    steps.flat_map(|step| step.gates.iter().copied()).collect()
}

/// Runs steps with the journal of the output folder, or says which would run; prints each step as it ends.
///
/// # Errors
///
/// The journal cannot be read or written.
pub fn run_all(steps: &[Step], site: &Site, dry_run: bool) -> Result<Report> {
    let mut journal = open_journal(site)?;
    Ok(if dry_run { preview(steps, &journal) } else { run::run(steps, site, &mut journal, show) })
}

/// The journal of the site's output folder, for its plan and its given programs.
///
/// # Errors
///
/// It cannot be read or written.
pub fn open_journal(site: &Site) -> Result<Journal> {
    let digest = digest_bytes(site.plan.to_json().as_bytes());
    Journal::open(&site.out, &digest.sha256)
}

/// Prints what a run of these steps would do, and returns it.
pub fn preview(steps: &[Step], journal: &Journal) -> Report {
    let mut again = false;
    let results = steps.iter().map(|step| {
        again |= !journal.is_done(step.name);
        let outcome = if again { Outcome::NotRun } else { Outcome::Kept };
        let result = StepResult { name: step.name, gates: step.gates, took: std::time::Duration::ZERO, outcome };
        show(&result);
        result
    });
    Report { steps: results.collect() }
}

/// Prints the line of a step.
pub fn show(result: &StepResult) {
    eprintln!("{result}");
}

fn none(_: &Site) -> Vec<PathBuf> {
    Vec::new()
}

fn kinds(site: &Site, kinds: &[ArtifactKind]) -> Vec<PathBuf> {
    let artifacts = site.plan.artifacts.iter().filter(|artifact| kinds.contains(&artifact.kind));
    artifacts.map(|artifact| site.path_of(artifact)).collect()
}

fn each_target(site: &Site, place: impl Fn(&Site, &crate::plan::Target) -> PathBuf) -> Vec<PathBuf> {
    site.plan.targets.iter().map(|target| place(site, target)).collect()
}

/// Fails with all violations, one a line, if there are any.
pub(crate) fn no_violations(violations: Vec<String>) -> Result<()> {
    if violations.is_empty() {
        return Ok(());
    }
    bail!("{}", violations.join("\n"))
}
