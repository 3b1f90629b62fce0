//! The yum repository, used by dnf with all signature checks on, in a root of its own.
//!
//! The root is a Debian with an empty rpm database, because no rpm distribution is at hand: its glibc and shell are real,
//! the packages' scripts run and the server starts, but what the packages require is known to dnf through a stand-in
//! package that lists the root's libraries. That a real distribution names them the same way is not shown here.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::{Served, Stranger, Trial};
use crate::linux_packages::tool::{self, Finished};
use crate::process;
use crate::publish::SITE_URL;
use crate::repository::yum::{self, Publication, REPO_NAME};
use crate::trials::lifecycle::{self, Manager, Stage};
use crate::trials::root::Root;
use crate::trials::rpm::{self, make_stand_in};
use crate::trials::{Check, Step, accepted, refused, run_all, run_steps};

/// Debian's rpm keeps its database in the home folder, within the root that it works on; all that look at it must agree.
const HOME: &str = "/root";

/// Makes all checks; `nfpm` is the program of that name, which makes the stand-in.
///
/// # Errors
///
/// The root cannot be copied, or a program is missing.
pub fn run(trial: &Trial<'_>, nfpm: &Path) -> Result<Vec<Check>> {
    let root = Root::copy(trial.base, trial.scratch)?;
    let stand_in = make_stand_in(&root, nfpm)?;
    let mut rpm = process::clean_command(&tool::find("rpm", "rpm")?);
    rpm.env("HOME", HOME).arg("--root").arg(root.top()).args(["--define", "_pkgverify_level none", "--install"]);
    tool::output(rpm.arg(stand_in))?;
    let mut refusing = Refusing { root, trial, stranger: Stranger::new(trial)? };
    let mut checks = run_all(&mut refusing, [going_on()]);
    checks.extend(run_all(&mut refusing, refusals()));
    let dnf = Dnf { served: Served::copy(trial)? };
    let mut stage = Stage::new(refusing.root, Box::new(dnf), trial.current, trial.previous);
    checks.extend(run_steps(&mut stage, lifecycle::steps()));
    Ok(checks)
}

/// What the refusals share.
struct Refusing<'a> {
    root: Root,
    trial: &'a Trial<'a>,
    stranger: Stranger,
}

impl Refusing<'_> {
    fn reads(&self, served: &Served, key: &Path) -> Result<Finished> {
        fs::copy(key, served.keyring())?;
        dnf(&self.root, served, &["makecache"])
    }

    fn installs(&self, served: &Served, key: &Path) -> Result<Finished> {
        let client = name_and_version(self.trial.current.client)?.join("-");
        fs::copy(key, served.keyring())?;
        dnf(&self.root, served, &["install", &client])
    }
}

fn going_on<'a>() -> Step<Refusing<'a>> {
    ("dnf goes on with the keyring of the version before", |it| {
        accepted(&it.reads(&Served::copy(it.trial)?, it.trial.keyring)?).map(drop)
    })
}

fn refusals<'a>() -> [Step<Refusing<'a>>; 6] {
    [
        ("dnf refuses the repository with another key", |it| {
            refused(&it.reads(&Served::copy(it.trial)?, &it.stranger.public)?, &["Bad GPG signature"])
        }),
        ("dnf refuses a changed signed index", |it| {
            let served = Served::changed(it.trial, |name| name.ends_with("/repomd.xml"))?;
            refused(&it.reads(&served, it.trial.keyring)?, &["Bad GPG signature"])
        }),
        ("dnf refuses a repository without a signature", |it| {
            let served = Served::copy(it.trial)?;
            fs::remove_file(served.path().join("repodata/repomd.xml.asc"))?;
            refused(&it.reads(&served, it.trial.keyring)?, &["repomd.xml.asc"])
        }),
        ("dnf refuses a changed list of packages", |it| {
            let served = Served::changed(it.trial, |name| name.ends_with("-primary.xml.gz"))?;
            refused(&it.reads(&served, it.trial.keyring)?, &["checksum"])
        }),
        ("dnf refuses a changed package", |it| {
            let served = Served::changed(it.trial, |name| name.ends_with(".rpm"))?;
            refused(&it.installs(&served, it.trial.keyring)?, &["checksum doesn't match"])
        }),
        ("dnf refuses packages that are signed with another key than the repository", |it| {
            let served = Served::copy(it.trial)?;
            fs::remove_dir_all(served.path().join("repodata"))?;
            let url = format!("{SITE_URL}/{}", it.trial.repository);
            let publication = Publication { url: &url, time: it.trial.time };
            yum::publish(served.path(), &[], publication, &it.stranger.key)?;
            refused(&it.installs(&served, &it.stranger.public)?, &["GPG check FAILED"])
        }),
    ]
}

/// Runs dnf on the root with what is served, key included, and with nothing that it read before or that this machine is set to.
fn dnf(root: &Root, served: &Served, words: &[&str]) -> Result<Finished> {
    let fresh = TempDir::new()?;
    let path = |name: &str| fresh.path().join(name).display().to_string();
    fs::create_dir(path("log"))?;
    fs::write(path("dnf.conf"), "[main]\n")?;
    fs::write(path(REPO_NAME), served.sample(REPO_NAME)?)?;
    let mut command = process::clean_command(&tool::find("dnf", "dnf")?);
    command.env("HOME", HOME).arg("--installroot").arg(root.top()).arg("--config").arg(path("dnf.conf"));
    command.args(["--noplugins", "--assumeyes", "--releasever=8"]);
    for (name, value) in [
        ("reposdir", path("")),
        ("cachedir", path("cache")),
        ("logdir", path("log")),
        ("persistdir", path("persist")),
        ("module_platform_id", "platform:el8".to_owned()),
        ("install_weak_deps", "0".to_owned()),
        ("retries", "1".to_owned()),
        ("skip_if_unavailable", "0".to_owned()),
    ] {
        command.arg(format!("--setopt={name}={value}"));
    }
    tool::run(command.args(words))
}

fn query(root: Option<&Root>, words: &[&str], format: &str) -> Result<Finished> {
    let mut command = process::clean_command(&tool::find("rpm", "rpm")?);
    command.env("HOME", HOME);
    if let Some(root) = root {
        command.arg("--root").arg(root.top());
    }
    tool::run(command.args(["--query", "--nosignature", "--queryformat", format]).args(words))
}

fn name_and_version(package: &Path) -> Result<[String; 2]> {
    let path = package.display().to_string();
    let finished = query(None, &["--package", &path], "%{NAME} %{VERSION}-%{RELEASE}")?;
    ensure!(finished.status.success(), "{path} cannot be read: {}", finished.all().trim());
    let (name, version) = finished.stdout.split_once(' ').context("rpm says neither name nor version")?;
    Ok([name.to_owned(), version.to_owned()])
}

/// dnf that knows the repository: packages are named with their version, and their files tell these only.
struct Dnf {
    served: Served,
}

impl Manager for Dnf {
    fn install(&self, root: &Root, packages: &[&Path]) -> Result<String> {
        let wanted = packages.iter().map(|package| name_and_version(package)).collect::<Result<Vec<_>>>()?;
        let [name, version] = wanted.first().context("no packages are to be installed")?;
        let installed = query(Some(root), &[name], "%{VERSION}-%{RELEASE}")?;
        let action = if installed.status.success() && installed.stdout == *version { "reinstall" } else { "install" };
        let names: Vec<_> = wanted.iter().map(|package| package.join("-")).collect();
        let mut words = vec![action];
        words.extend(names.iter().map(String::as_str));
        let said = accepted(&dnf(root, &self.served, &words)?)?;
        // dnf calls it a success when there was "nothing to do".
        for [name, version] in &wanted {
            let found = self.version(root, name)?;
            ensure!(found == *version, "{name} is {found} after `dnf {}`: {said}", words.join(" "));
        }
        Ok(said)
    }

    fn remove(&self, root: &Root, names: &[&str]) -> Result<String> {
        accepted(&dnf(root, &self.served, &[&["remove"], names].concat())?)
    }

    fn version(&self, root: &Root, name: &str) -> Result<String> {
        let finished = query(Some(root), &[name], "%{VERSION}-%{RELEASE}")?;
        ensure!(finished.status.success(), "{name} is not installed: {}", finished.all().trim());
        Ok(finished.stdout)
    }

    fn kept_configuration(&self) -> &'static str {
        "/etc/cairn/cairn.env.rpmsave"
    }

    fn offered_configuration(&self) -> &'static str {
        rpm::OFFERED_CONFIGURATION
    }
}
