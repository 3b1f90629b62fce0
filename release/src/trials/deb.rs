//! The debs, installed by apt and dpkg in a Debian root.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::lifecycle::{self, Manager, Stage};
use super::root::Root;
use super::{Check, Packages, Step, run_steps};
use crate::linux_packages::{CONFIGURATION, CONFIGURATION_FILE, DATA_DIR};

/// What upgrades without a person say to dpkg, which otherwise asks about an edited configuration and fails without an
/// answer. One that nobody edited is no question, so the option does not keep it.
pub(super) const KEEP_EDITED: [&str; 2] = ["-o", "Dpkg::Options::=--force-confold"];

/// Where dpkg puts the configuration that it was not to install.
pub(super) const OFFERED_CONFIGURATION: &str = "/etc/cairn/cairn.env.dpkg-dist";

/// What a trial of debs needs; it needs to be root, too.
#[derive(Debug, Clone, Copy)]
pub struct Trial<'a> {
    /// Root file system of the Debian release to try on, which stays as it is.
    pub base: &'a Path,
    /// Folder that receives the copy of the root while the trial runs.
    pub scratch: &'a Path,
    /// The packages that are to be released.
    pub current: Packages<'a>,
    /// Those of an older version.
    pub previous: Packages<'a>,
}

/// Makes all checks.
///
/// # Errors
///
/// The root cannot be copied.
pub fn run(trial: &Trial<'_>) -> Result<Vec<Check>> {
    let root = Root::copy(trial.base, trial.scratch)?;
    let mut stage = Stage::new(root, Box::new(Apt), trial.current, trial.previous);
    let before: [Step<Stage<'_>>; 1] = [("a deb whose dependencies are missing is refused", refuse_unmet)];
    let after: [Step<Stage<'_>>; 1] = [("a purge takes the configuration, and never the data", purge)];
    Ok(run_steps(&mut stage, before.into_iter().chain(lifecycle::steps()).chain(after)))
}

struct Apt;

impl Manager for Apt {
    fn install(&self, root: &Root, packages: &[&Path]) -> Result<String> {
        let inside = packages.iter().map(|package| root.take_in(package)).collect::<Result<Vec<_>>>()?;
        let mut words = vec!["apt-get", "install", "--yes", "--no-install-recommends", "--reinstall"];
        words.push("--allow-downgrades");
        words.extend(KEEP_EDITED);
        words.extend(inside.iter().map(String::as_str));
        root.succeed(&words)
    }

    fn remove(&self, root: &Root, names: &[&str]) -> Result<String> {
        root.succeed(&[&["apt-get", "remove", "--yes"], names].concat())
    }

    fn version(&self, root: &Root, name: &str) -> Result<String> {
        root.succeed(&["dpkg-query", "--show", "--showformat=${Version}", name])
    }

    fn kept_configuration(&self) -> &'static str {
        CONFIGURATION_FILE
    }

    fn offered_configuration(&self) -> &'static str {
        OFFERED_CONFIGURATION
    }
}

fn refuse_unmet(stage: &mut Stage<'_>) -> Result<()> {
    let inside = stage.root.take_in(stage.current.etcd_names)?;
    let finished = stage.root.run(&["dpkg", "--install", &inside])?;
    ensure!(!finished.status.success(), "dpkg installed it");
    let said = finished.all();
    ensure!(said.contains("cairn-etcd-names depends on cairn-client"), "dpkg said: {said}");
    stage.root.succeed(&["dpkg", "--purge", "cairn-etcd-names"]).context("cannot take it away again")?;
    Ok(())
}

pub(super) fn purge(stage: &mut Stage<'_>) -> Result<()> {
    let said = stage.root.succeed(&["apt-get", "purge", "--yes", "cairn-server", "cairn-client"])?;
    ensure!(said.contains("The data of Cairn stays in /var/lib/cairn"), "it said: {said}");
    ensure!(!stage.root.has(CONFIGURATION), "{CONFIGURATION} is still there");
    lifecycle::expect_data(stage)?;
    let owner = stage.root.succeed(&["stat", "--format=%U:%G", DATA_DIR])?;
    ensure!(owner.trim_end() == "cairn:cairn", "{DATA_DIR} belongs to {owner}");
    let known = stage.root.succeed(&["dpkg", "--list"])?;
    ensure!(!known.contains("cairn-"), "dpkg still knows a package: {known}");
    Ok(())
}
