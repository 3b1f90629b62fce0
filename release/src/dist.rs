//! `dist` (crate cargo-dist) and our plan name the same archives, targets, programs and versions.
//!
//! `dist` names an archive by package and Rust's name of the platform and cannot be told otherwise, so the two sets of
//! names are compared through one rule: its `PACKAGE-TRIPLE.tar.gz` is our `PACKAGE-VERSION-TARGET.tar.gz`. That rule
//! stands in [`Wanted::archives`] and nowhere else. Each of its packages is a `dist.toml` below `packaging/dist/`, since
//! our archives hold programs of several crates. Two comparisons: [`check_files`] reads the configuration and needs no
//! program, [`check_plan`] reads what `dist plan` makes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::process;

/// Name of dist's configuration in the root of the source tree.
pub const CONFIG_NAME: &str = "dist-workspace.toml";

/// Version of dist's manifest format and behaviour that was reviewed.
pub const DIST_VERSION: &str = "0.34.0";

/// What our plan says, as plain lists.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Version of the product.
    pub version: String,
    /// Our short name of each platform and Rust's name.
    pub targets: Vec<(String, String)>,
    /// The beginning of each archive's name (`cairn`, `cairn-client`) and the programs in it.
    pub packages: Vec<(String, Vec<String>)>,
    /// Lowest glibc that the programs run with, as `2.28`.
    pub glibc_floor: String,
    /// File names of our archives for users.
    pub archives: Vec<String>,
}

/// An archive as both sides describe it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Archive {
    name: String,
    programs: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Config {
    workspace: Workspace,
    dist: Settings,
}

#[derive(Deserialize)]
struct Workspace {
    members: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Settings {
    cargo_dist_version: String,
    targets: Vec<String>,
    min_glibc_version: BTreeMap<String, String>,
    unix_archive: String,
    checksum: String,
    installers: Vec<String>,
}

#[derive(Deserialize)]
struct PackageFile {
    package: Package,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    binaries: Vec<String>,
}

#[derive(Deserialize)]
struct DistPlan {
    dist_version: String,
    releases: Vec<DistRelease>,
    artifacts: BTreeMap<String, DistArtifact>,
}

#[derive(Deserialize)]
struct DistRelease {
    app_name: String,
    app_version: String,
    artifacts: Vec<String>,
}

#[derive(Deserialize)]
struct DistArtifact {
    kind: String,
    #[serde(default)]
    target_triples: Vec<String>,
    #[serde(default)]
    assets: Vec<DistAsset>,
}

#[derive(Deserialize)]
struct DistAsset {
    name: String,
    kind: String,
}

impl Wanted {
    /// dist's name of each of our archives, with the programs in it.
    fn archives(&self) -> BTreeMap<String, Archive> {
        let pairs = self.packages.iter().flat_map(|package| self.targets.iter().map(move |target| (package, target)));
        let names = pairs.map(|((package, programs), (target, triple))| {
            let name = format!("{package}-{}-{target}.tar.gz", self.version);
            (format!("{package}-{triple}.tar.gz"), Archive { name, programs: programs.iter().cloned().collect() })
        });
        names.collect()
    }

    /// Whether the plan's own archives are those of the rule: else comparing with the rule proves nothing.
    fn check_rule(&self) -> Option<String> {
        let ruled: BTreeSet<_> = self.archives().into_values().map(|archive| archive.name).collect();
        let planned: BTreeSet<_> = self.archives.iter().cloned().collect();
        (ruled != planned)
            .then(|| format!("our plan has the archives {planned:?}, its packages and targets give {ruled:?}"))
    }
}

/// The gate without the program: `dist-workspace.toml` and the packages below `packaging/dist/` say what our plan says.
///
/// # Errors
///
/// A file is missing or cannot be read.
pub fn check_files(root: &Path, wanted: &Wanted) -> Result<Vec<String>> {
    let config: Config = match toml::from_str(&read(root, CONFIG_NAME)?) {
        Ok(config) => config,
        Err(e) => return Ok(vec![format!("{CONFIG_NAME} is not as expected: {}", e.message())]),
    };
    let mut violations: Vec<_> = wanted.check_rule().into_iter().collect();
    violations.extend(check_settings(&config.dist, wanted));
    let mut packages = BTreeMap::new();
    for member in &config.workspace.members {
        let name = format!("{}/dist.toml", member.strip_prefix("dist:").unwrap_or(member));
        match toml::from_str(&read(root, &name)?) {
            Ok(PackageFile { package }) => {
                packages.insert(package.name.clone(), package);
            }
            Err(e) => violations.push(format!("{name} is not as expected: {}", e.message())),
        }
    }
    for (name, programs) in &wanted.packages {
        match packages.remove(name) {
            None => violations.push(format!("{CONFIG_NAME}: no package {name}")),
            Some(package) => violations.extend(check_package(&package, programs, wanted)),
        }
    }
    violations.extend(packages.into_keys().map(|name| format!("{CONFIG_NAME}: package {name} is not in our plan")));
    Ok(violations)
}

fn check_settings(settings: &Settings, wanted: &Wanted) -> Vec<String> {
    let mut violations = Vec::new();
    let mut hold = |what: &str, found: String, wanted: String| {
        if found != wanted {
            violations.push(format!("{CONFIG_NAME}: {what} is {found}, in our plan {wanted}"));
        }
    };
    let triples: BTreeSet<_> = wanted.targets.iter().map(|(_, triple)| triple).collect();
    hold("targets", format!("{:?}", settings.targets.iter().collect::<BTreeSet<_>>()), format!("{triples:?}"));
    let floor = BTreeMap::from([("*", wanted.glibc_floor.as_str())]);
    hold("min-glibc-version", format!("{:?}", settings.min_glibc_version), format!("{floor:?}"));
    hold("cargo-dist-version", settings.cargo_dist_version.clone(), DIST_VERSION.to_owned());
    hold("unix-archive", settings.unix_archive.clone(), ".tar.gz".to_owned());
    hold("checksum", settings.checksum.clone(), "sha256".to_owned());
    hold("installers", format!("{:?}", settings.installers), format!("{:?}", ["shell"]));
    violations
}

fn check_package(package: &Package, programs: &[String], wanted: &Wanted) -> Vec<String> {
    let mut violations = Vec::new();
    if package.version != wanted.version {
        violations.push(format!(
            "packaging/dist/{}/dist.toml has version {}, our plan {}",
            package.name, package.version, wanted.version
        ));
    }
    let (found, planned): (BTreeSet<_>, BTreeSet<_>) = (package.binaries.iter().collect(), programs.iter().collect());
    if found != planned {
        violations.push(format!("packaging/dist/{}/dist.toml has {found:?}, our plan {planned:?}", package.name));
    }
    violations
}

/// What `dist plan` prints for the source tree, as JSON. The program needs `cargo` in `PATH` and no network.
///
/// # Errors
///
/// The program fails, or its output is no text.
pub fn plan(program: &Path, root: &Path) -> Result<String> {
    let mut command = process::clean_command(program);
    process::output(command.current_dir(root).args(["plan", "--output-format=json"]))
}

/// The gate on dist's own words: its plan has our archives with our programs, in our version, and nothing else to run.
///
/// # Errors
///
/// The text is not the JSON of `dist plan`.
pub fn check_plan(json: &str, wanted: &Wanted) -> Result<Vec<String>> {
    let plan: DistPlan = serde_json::from_str(json).context("this is not the output of dist plan")?;
    let mut violations: Vec<_> = wanted.check_rule().into_iter().collect();
    if plan.dist_version != DIST_VERSION {
        violations.push(format!("dist is version {}, {CONFIG_NAME} was written for {DIST_VERSION}", plan.dist_version));
    }
    for release in &plan.releases {
        if release.app_version != wanted.version {
            let DistRelease { app_name, app_version, .. } = release;
            violations.push(format!("dist plans {app_name} in version {app_version}, we in {}", wanted.version));
        }
        let installer = format!("{}-installer.sh", release.app_name);
        if !release.artifacts.contains(&installer) {
            violations.push(format!("dist plans no {installer}"));
        }
    }
    let mut planned = wanted.archives();
    for (name, artifact) in plan.artifacts.iter().filter(|(_, artifact)| artifact.kind == "executable-zip") {
        match planned.remove(name) {
            None => violations.push(format!("dist plans {name}, which none of our archives is")),
            Some(archive) => violations.extend(check_archive(name, artifact, &archive)),
        }
    }
    let missing = planned.into_values().map(|archive| format!("dist plans nothing that is our {}", archive.name));
    violations.extend(missing);
    Ok(violations)
}

fn check_archive(name: &str, artifact: &DistArtifact, archive: &Archive) -> Option<String> {
    let programs = artifact.assets.iter().filter(|asset| asset.kind == "executable");
    let programs: BTreeSet<_> = programs.map(|asset| asset.name.clone()).collect();
    let names_platform = artifact.target_triples.iter().any(|triple| name.contains(triple.as_str()));
    (programs != archive.programs || !names_platform).then(|| {
        format!(
            "dist's {name} for {:?} has {programs:?}, our {} has {:?}",
            artifact.target_triples, archive.name, archive.programs
        )
    })
}

fn read(root: &Path, name: &str) -> Result<String> {
    let path = root.join(name);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}
