//! The steps that make a release, in their order, and the gates that each proves.
//!
//! A step reads the plan, the source tree, what the steps before it wrote, and the inputs that it names; [`crate::run`]
//! keeps what is done. [`crate::inputs::fetch`] comes before all of them and alone uses the network.

mod check;
mod given;
pub(crate) mod make;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::digest::digest_bytes;
use crate::files;
use crate::journal::{self, Digests, JOURNAL_NAME, Journal, Progress};
use crate::plan::{ArtifactKind, Gate, Scope};
use crate::run::{Step, StepResult};
use crate::site::Site;

/// The steps that need no secret: they end with everything but signatures.
pub const MAKE: &[Step] = &[
    Step {
        name: "keys",
        gates: &[],
        inputs: given::public_keys,
        outputs: |site| [vec![site.public_keys()], kinds(site, &[ArtifactKind::KeyList])].concat(),
        act: make::keys,
    },
    Step {
        name: "check the tree",
        gates: &[Gate::Changelog, Gate::SupportTable, Gate::PinnedInputs],
        inputs: nothing,
        outputs: none,
        act: check::tree,
    },
    // Before all that uses them: what another toolchain made is made again.
    Step {
        name: "materials",
        gates: &[],
        inputs: given::materials,
        outputs: |site| vec![site.materials()],
        act: make::materials,
    },
    Step {
        name: "source archives",
        gates: &[Gate::SourceEqualsTree],
        inputs: nothing,
        outputs: |site| kinds(site, &[ArtifactKind::Source, ArtifactKind::VendoredSource]),
        act: make::sources,
    },
    Step {
        name: "build",
        gates: &[],
        inputs: given::programs,
        outputs: |site| if site.given_programs.is_some() { none(site) } else { each_target(site, Site::built) },
        act: make::build,
    },
    Step {
        name: "split debug information",
        gates: &[],
        inputs: nothing,
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
        inputs: nothing,
        outputs: none,
        act: check::programs,
    },
    Step { name: "documents", gates: &[], inputs: nothing, outputs: |site| vec![site.docs()], act: make::documents },
    Step {
        name: "licences",
        gates: &[Gate::Licences],
        inputs: nothing,
        outputs: |site| kinds(site, &[ArtifactKind::Licences]),
        act: make::licences,
    },
    Step {
        name: "archives",
        gates: &[Gate::ArchiveComplete],
        inputs: nothing,
        outputs: |site| kinds(site, &[ArtifactKind::Archive, ArtifactKind::ClientArchive, ArtifactKind::DebugArchive]),
        act: make::archives,
    },
    Step {
        name: "bills of materials",
        gates: &[],
        inputs: nothing,
        outputs: |site| kinds(site, &[ArtifactKind::CycloneDx, ArtifactKind::Spdx]),
        act: make::bills,
    },
    Step {
        name: "packages",
        gates: &[],
        inputs: nothing,
        outputs: |site| [kinds(site, &PACKAGES[..PACKAGES.len() - 1]), vec![site.unsigned()]].concat(),
        act: make::packages,
    },
    Step {
        name: "images",
        gates: &[Gate::ImageLayout],
        inputs: nothing,
        outputs: |site| [vec![site.layout()], kinds(site, &[ArtifactKind::OciArchive])].concat(),
        act: make::images,
    },
    Step {
        name: "installer",
        gates: &[],
        inputs: nothing,
        outputs: |site| kinds(site, &[ArtifactKind::Installer]),
        act: make::installer,
    },
];

/// The steps that sign what [`MAKE`] left, and make of it what needs signatures: repositories and the site bundle.
pub const SEAL: &[Step] = &[
    Step {
        name: "sign packages",
        gates: &[],
        inputs: given::repository_key,
        outputs: |site| kinds(site, &[ArtifactKind::Rpm]),
        act: make::sign_packages,
    },
    Step {
        name: "check packages",
        gates: &[Gate::UnitExposure, Gate::PackagesAsPlanned, Gate::PackageDependencies, Gate::PackagesLint],
        inputs: nothing,
        outputs: none,
        act: check::packages,
    },
    Step {
        name: "provenance",
        gates: &[],
        inputs: given::release_key,
        outputs: |site| kinds(site, &[ArtifactKind::Provenance]),
        act: make::provenance,
    },
    Step {
        name: "check all bytes",
        gates: &[Gate::VersionsEqual, Gate::NoLocalNames, Gate::SizesInBudget],
        inputs: nothing,
        outputs: none,
        act: check::bytes,
    },
    Step { name: "checksums", gates: &[], inputs: nothing, outputs: |site| vec![site.dir()], act: make::checksums },
    Step { name: "sign", gates: &[], inputs: nothing, outputs: |site| vec![site.dir()], act: make::sign },
    Step {
        name: "verify",
        gates: &[Gate::FolderComplete, Gate::SignaturesMatch],
        inputs: nothing,
        outputs: none,
        act: check::signatures,
    },
    Step {
        name: "stock minisign",
        gates: &[Gate::StockMinisign],
        inputs: nothing,
        outputs: none,
        act: check::stock_minisign,
    },
    Step {
        name: "repositories",
        gates: &[],
        inputs: given::published_repositories,
        outputs: |site| vec![site.repositories()],
        act: make::repositories,
    },
    Step { name: "site bundle", gates: &[], inputs: nothing, outputs: |site| vec![site.bundle()], act: make::bundle },
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

/// What is done in the site's output folder for its plan. Reading it changes nothing.
///
/// # Errors
///
/// The folder has files of others, or its journal cannot be read.
pub fn progress(site: &Site) -> Result<Progress> {
    ensure_ours(site)?;
    Progress::read(&site.out, &plan_digest(site))
}

/// The journal of the site's output folder for its plan; what another plan did there is forgotten.
///
/// # Errors
///
/// The folder has files of others, or the journal cannot be read or written.
pub fn open_journal(site: &Site) -> Result<Journal> {
    ensure_ours(site)?;
    Journal::open(&site.out, &plan_digest(site))
}

fn plan_digest(site: &Site) -> String {
    digest_bytes(site.plan.to_json().as_bytes()).sha256
}

/// Refuses an output folder in which others keep files: steps write over what is there, and a rehearsal that begins anew
/// removes all of it. Ours has a journal, or nothing but a work folder, which fetching makes before there is a journal.
///
/// # Errors
///
/// The folder has other files, or cannot be read.
pub fn ensure_ours(site: &Site) -> Result<()> {
    let out = &site.out;
    if !out.exists() || journal::is_in(out)? {
        return Ok(());
    }
    let names = files::names_in(out).with_context(|| format!("cannot read the output folder {}", out.display()))?;
    match names.into_iter().find(|name| name != JOURNAL_NAME && out.join(name) != site.work) {
        None => Ok(()),
        Some(name) => bail!(
            "the output folder {} has files of others, such as {name}, and no journal of a release; name an empty one or \
             one that does not exist",
            out.display()
        ),
    }
}

/// Refuses to seal what did not pass every step of [`MAKE`], with every gate, or was changed since.
///
/// # Errors
///
/// The first step that is not done for this plan, or the journal cannot be read.
pub fn ensure_made(site: &Site) -> Result<()> {
    let progress = progress(site)?;
    // Not the inputs: what seals may be another machine, with other toolchains.
    match MAKE.iter().find(|step| !progress.is_done(step.name)) {
        None => Ok(()),
        Some(step) => bail!(
            "nothing is sealed: the step {:?} of `make` is not done in {} for this plan, or its files were changed since; run \
             `cairn-release make` with the same tree, time and targets",
            step.name,
            site.out.display()
        ),
    }
}

/// Prints the line of a step.
pub fn show(result: &StepResult) {
    eprintln!("{result}");
}

/// Inputs of a step that has none.
pub(crate) fn nothing(_: &Site) -> Result<Digests> {
    Ok(Digests::new())
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
