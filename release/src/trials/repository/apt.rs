//! The apt repository, used by apt in a Debian root.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::{Served, Stranger, Trial, files_below};
use crate::linux_packages::tool::Finished;
use crate::publish::SITE_URL;
use crate::repository::apt::{self, Control, DAY_SECONDS, Publication, SOURCES_NAME, VALID_DAYS};
use crate::trials::lifecycle::{self, Manager, Stage};
use crate::trials::root::Root;
use crate::trials::{Check, Step, accepted, deb, refused, run_all, run_steps};

/// Where the user puts the key and the source entry, and where apt keeps what it knows of sources.
const KEYRING: &str = "/usr/share/keyrings/cairn-archive-keyring.asc";
const SOURCES: &str = "/etc/apt/sources.list.d/cairn.sources";
const LISTS: &str = "/var/lib/apt/lists";

/// What apt's defaults are, against a root that was made for continuous integration and reverts the last two.
const STRICT: [&str; 3] =
    ["APT::Update::Error-Mode=any", "Acquire::Check-Date=true", "Acquire::Check-Valid-Until=true"];

/// Makes all checks.
///
/// # Errors
///
/// The root cannot be copied, or `gpg` is missing.
pub fn run(trial: &Trial<'_>) -> Result<Vec<Check>> {
    let root = Root::copy(trial.base, trial.scratch)?;
    fs::write(root.path("/etc/apt/sources.list"), "")?;
    let mut refusing = Refusing { root, trial, stranger: Stranger::new(trial)? };
    let mut checks = run_all(&mut refusing, [going_on()]);
    checks.extend(run_all(&mut refusing, refusals()));
    let served = Served::copy(trial)?;
    accepted(&update(&refusing.root, &served, &served.keyring())?).context("apt does not take the repository")?;
    let mut stage = Stage::new(refusing.root, Box::new(Apt), trial.current, trial.previous);
    let after: [Step<Stage<'_>>; 1] = [("a purge takes the configuration, and never the data", deb::purge)];
    checks.extend(run_steps(&mut stage, lifecycle::steps().into_iter().chain(after)));
    Ok(checks)
}

/// What the refusals share.
struct Refusing<'a> {
    root: Root,
    trial: &'a Trial<'a>,
    stranger: Stranger,
}

fn going_on<'a>() -> Step<Refusing<'a>> {
    ("apt goes on with the keyring of the version before", |it| {
        accepted(&update(&it.root, &Served::copy(it.trial)?, it.trial.keyring)?).map(drop)
    })
}

fn refusals<'a>() -> [Step<Refusing<'a>>; 5] {
    [
        ("apt refuses the repository with another key", |it| {
            let served = Served::copy(it.trial)?;
            refused(&update(&it.root, &served, &it.stranger.public)?, &["NO_PUBKEY", "Missing key"])
        }),
        ("apt refuses a changed signed index", |it| {
            let is_signed = |name: &str| name.ends_with("/InRelease") || name.ends_with("/Release");
            let served = Served::changed(it.trial, is_signed)?;
            refused(&update(&it.root, &served, it.trial.keyring)?, &["BADSIG", "NOSPLIT", "BAD signature"])
        }),
        ("apt refuses a changed list of packages", |it| {
            let served = Served::changed(it.trial, |name| name.contains("/binary-"))?;
            refused(&update(&it.root, &served, it.trial.keyring)?, &["Hash Sum mismatch"])
        }),
        ("apt refuses a repository that is no longer valid", |it| {
            let served = Served::copy(it.trial)?;
            let time = it.trial.time.saturating_sub((VALID_DAYS + 1) * DAY_SECONDS);
            fs::remove_dir_all(served.path().join("dists"))?;
            let debs = files_below(&served.path().join("pool"))?;
            let publication = Publication { url: &format!("{SITE_URL}/{}", it.trial.repository), time };
            apt::publish(served.path(), &debs, publication, &it.stranger.key)?;
            refused(&update(&it.root, &served, &it.stranger.public)?, &["is expired"])
        }),
        ("apt refuses a changed package", |it| {
            let served = Served::changed(it.trial, |name| name.ends_with(".deb"))?;
            accepted(&update(&it.root, &served, it.trial.keyring)?).context("the lists are as they were")?;
            let installed = it.root.run(&["apt-get", "install", "--yes", "cairn-client"])?;
            it.root.succeed(&["apt-get", "clean"])?;
            refused(&installed, &["Hash Sum mismatch"])
        }),
    ]
}

/// Lets apt read what is served, and nothing that it read before.
fn update(root: &Root, served: &Served, key: &Path) -> Result<Finished> {
    root.succeed(&["rm", "-rf", LISTS])?;
    fs::copy(key, root.path(KEYRING)).with_context(|| format!("cannot copy {}", key.display()))?;
    fs::write(root.path(SOURCES), served.sample(SOURCES_NAME)?)?;
    root.run(&[&["apt-get", "update"][..], &STRICT.map(|option| ["-o", option]).concat()].concat())
}

/// apt that knows the repository: packages are named with their version, and their files tell these only.
struct Apt;

impl Manager for Apt {
    fn install(&self, root: &Root, packages: &[&Path]) -> Result<String> {
        let mut words = ["apt-get", "install", "--yes", "--no-install-recommends", "--reinstall", "--allow-downgrades"]
            .map(str::to_owned)
            .to_vec();
        words.extend(deb::KEEP_EDITED.map(str::to_owned));
        for package in packages {
            let Control { package, version, .. } = Control::read(package)?;
            words.push(format!("{package}={version}"));
        }
        root.succeed(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn remove(&self, root: &Root, names: &[&str]) -> Result<String> {
        root.succeed(&[&["apt-get", "remove", "--yes"], names].concat())
    }

    fn version(&self, root: &Root, name: &str) -> Result<String> {
        root.succeed(&["dpkg-query", "--show", "--showformat=${Version}", name])
    }

    fn kept_configuration(&self) -> &'static str {
        crate::linux_packages::CONFIGURATION_FILE
    }

    fn offered_configuration(&self) -> &'static str {
        deb::OFFERED_CONFIGURATION
    }
}
