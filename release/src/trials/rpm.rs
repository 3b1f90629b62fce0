//! The rpms, installed by rpm with its signature check on in a root of their own.
//!
//! The root has no rpms of a distribution, so nothing that a package requires is provided in it. A stand-in package says
//! what the root's libraries and programs provide, as rpm's own generator reads it from them; without it the packages are
//! refused.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::lifecycle::{self, Manager, Stage};
use super::root::Root;
use super::{Check, Packages, Step, run_steps};
use crate::linux_packages::tool::{self, Finished};
use crate::process;

/// Where rpm's generator for libraries is, within the Debian package `rpm`.
const GENERATOR: &str = "/usr/lib/rpm/elfdeps";

/// Programs that packages require by their path.
const PROGRAMS: [&str; 2] = ["/bin/sh", "/usr/sbin/useradd"];

/// Where rpm puts a configuration that would have replaced an edited one.
pub(super) const OFFERED_CONFIGURATION: &str = "/etc/cairn/cairn.env.rpmnew";

/// What a trial of rpms needs; it needs to be root, too.
#[derive(Debug, Clone, Copy)]
pub struct Trial<'a> {
    /// Root file system to try on, which stays as it is.
    pub base: &'a Path,
    /// Folder that receives the copy of the root while the trial runs.
    pub scratch: &'a Path,
    /// The packages that are to be released, signed.
    pub current: Packages<'a>,
    /// Those of an older version, signed, too.
    pub previous: Packages<'a>,
    /// The armored OpenPGP public key that they are signed with.
    pub public_key: &'a Path,
    /// Another key.
    pub wrong_key: &'a Path,
    /// The program nfpm, which makes the stand-in.
    pub nfpm: &'a Path,
}

/// Makes all checks.
///
/// # Errors
///
/// The root cannot be copied or rpm is missing.
pub fn run(trial: &Trial<'_>) -> Result<Vec<Check>> {
    let root = Root::copy(trial.base, trial.scratch)?;
    let rpm = Rpm { program: tool::find("rpm", "rpm")? };
    let stage = Stage::new(root, Box::new(rpm.clone()), trial.current, trial.previous);
    let mut keyed = Keyed { stage, rpm, trial };
    // rpm looks at signatures only when nothing is missing, so that comes first.
    let before: [Step<Keyed<'_>>; 2] = [
        ("an rpm is refused while the host lacks its libraries, and they are told", refuse_unmet),
        ("on a host with them it is refused while no key is known and with another key", refuse_wrong_key),
    ];
    let mut checks = run_steps(&mut keyed, before);
    if super::violations(&checks).is_empty() {
        checks.extend(run_steps(&mut keyed.stage, lifecycle::steps()));
    }
    Ok(checks)
}

/// The stage with what only rpm has.
struct Keyed<'a> {
    stage: Stage<'a>,
    rpm: Rpm,
    trial: &'a Trial<'a>,
}

#[derive(Clone)]
struct Rpm {
    program: PathBuf,
}

impl Rpm {
    fn ask(&self, root: &Root, words: &[&str], files: &[&Path]) -> Result<Finished> {
        let mut command = process::clean_command(&self.program);
        command.arg("--root").arg(root.top()).args(words).args(files);
        tool::run(&mut command)
    }

    fn succeed(&self, root: &Root, words: &[&str], files: &[&Path]) -> Result<String> {
        let finished = self.ask(root, words, files)?;
        ensure!(finished.status.success(), "rpm {} failed: {}", words.join(" "), finished.all().trim());
        Ok(finished.all())
    }

    /// Installs with the signature check on, which stock rpm leaves to dnf.
    fn install_checked(&self, root: &Root, packages: &[&Path]) -> Result<Finished> {
        let words = ["--define", "_pkgverify_level all", "--upgrade", "--oldpackage", "--replacepkgs"];
        self.ask(root, &words, packages)
    }
}

impl Manager for Rpm {
    fn install(&self, root: &Root, packages: &[&Path]) -> Result<String> {
        let finished = self.install_checked(root, packages)?;
        ensure!(finished.status.success(), "rpm failed: {}", finished.all().trim());
        Ok(finished.all())
    }

    fn remove(&self, root: &Root, names: &[&str]) -> Result<String> {
        self.succeed(root, &[&["--erase"], names].concat(), &[])
    }

    fn version(&self, root: &Root, name: &str) -> Result<String> {
        self.succeed(root, &["--query", "--queryformat", "%{VERSION}-%{RELEASE}", name], &[])
    }

    fn kept_configuration(&self) -> &'static str {
        "/etc/cairn/cairn.env.rpmsave"
    }

    fn offered_configuration(&self) -> &'static str {
        OFFERED_CONFIGURATION
    }
}

fn refuse_unmet(keyed: &mut Keyed<'_>) -> Result<()> {
    let Keyed { stage, rpm, .. } = keyed;
    let finished = rpm.install_checked(&stage.root, &[stage.current.server])?;
    let said = finished.all();
    ensure!(!finished.status.success() && said.contains("libc.so.6(GLIBC_"), "rpm said: {said}");
    Ok(())
}

fn refuse_wrong_key(keyed: &mut Keyed<'_>) -> Result<()> {
    let Keyed { stage, rpm, trial } = keyed;
    let stand_in = make_stand_in(&stage.root, trial.nfpm)?;
    // Made here and now: nobody signed it.
    rpm.succeed(&stage.root, &["--define", "_pkgverify_level none", "--install"], &[&stand_in])?;
    let refused = |state: &str| -> Result<()> {
        let finished = rpm.install_checked(&stage.root, &[stage.current.server])?;
        let said = finished.all();
        ensure!(!finished.status.success() && said.contains("does not verify"), "{state}, rpm said: {said}");
        Ok(())
    };
    refused("without a key")?;
    rpm.succeed(&stage.root, &["--import"], &[trial.wrong_key])?;
    refused("with another key")?;
    rpm.succeed(&stage.root, &["--import"], &[trial.public_key])?;
    Ok(())
}

/// Makes a package of no files that provides what the root has.
pub(super) fn make_stand_in(root: &Root, nfpm: &Path) -> Result<PathBuf> {
    let mut provides = Vec::new();
    for folder in ["/lib", "/usr/lib"] {
        for library in libraries(&root.path(folder))? {
            let mut command = process::clean_command(Path::new(GENERATOR));
            let said =
                tool::output(command.arg("--provides").arg(&library)).context("install the Debian package `rpm`")?;
            provides.extend(said.lines().map(str::to_owned));
        }
    }
    for program in PROGRAMS {
        ensure!(root.has(program), "the root has no {program}");
        provides.push(program.to_owned());
    }
    provides.sort();
    provides.dedup();
    let config = json!({
        "name": "trial-host", "arch": "noarch", "platform": "linux", "version": "1", "release": "1",
        "maintainer": "none", "description": "what the root of the trial has", "provides": provides,
        "rpm": { "buildhost": "localhost" },
    });
    let (path, package) = (root.path("/srv/trial-host.json"), root.path("/srv/trial-host.rpm"));
    fs::write(&path, serde_json::to_vec(&config)?)?;
    let mut command = process::clean_command(nfpm);
    tool::output(command.args(["package", "--packager", "rpm", "--config"]).arg(&path).arg("--target").arg(&package))?;
    Ok(package)
}

/// The libraries of the machine's folder, as `/usr/lib/x86_64-linux-gnu/libc.so.6`, without links to them.
fn libraries(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut libraries = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().ends_with("-linux-gnu") || !entry.file_type()?.is_dir() {
            continue;
        }
        for library in fs::read_dir(entry.path())? {
            let library = library?;
            if library.file_type()?.is_file() && library.file_name().to_string_lossy().contains(".so") {
                libraries.push(library.path());
            }
        }
    }
    Ok(libraries)
}
