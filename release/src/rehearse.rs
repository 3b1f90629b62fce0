//! Plays a whole release on one machine with throwaway keys: the real steps, in their order, to the end, then what users do.
//!
//! First everything is fetched; then the program starts itself again in a network namespace that has only a loopback
//! interface, makes and seals the release on top of an older one, publishes both into a folder, verifies the release from
//! there alone, and installs and runs every kind of artifact. A rehearsal that failed or was killed goes on where it was;
//! the throwaway keys go when it has passed, so that the next one begins again.

mod trials;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::files::{self, FILE_MODE};
use crate::inputs;
use crate::journal::Progress;
use crate::key_list::{KEYS_NAME, KeyList};
use crate::keys::{self, SECRET_MODE, SigningKey};
use crate::plan::{Gate, Scope};
use crate::process;
use crate::repository::openpgp;
use crate::run::{self, Report, Step};
use crate::site::{MINISIGN_KEY_NAME, OPENPGP_KEY_NAME, SecretKeys, Site};
use crate::steps::{self, MAKE, SEAL};
use crate::toolchain::require;
use crate::verify;

/// Name in the throwaway OpenPGP key.
const USER_ID: &str = "Cairn rehearsal <rehearsal@cairn.example>";

/// The throwaway keys, each in a folder of its name: those of the release before, those of this one, those of the next one,
/// and some that sign nothing, which every trial of a signature must refuse.
const PREVIOUS: &str = "previous";
const CURRENT: &str = "current";
const NEXT: &str = "next";
const WRONG: &str = "wrong";

/// Most files of a folder whose size is told.
const MAX_FILES: usize = 100_000;

/// What to rehearse, and how.
#[derive(Debug)]
pub struct Rehearsal {
    /// Plan and places; its keys are the throwaway ones.
    pub site: Site,
    /// Only say which steps would run, and change nothing.
    pub dry_run: bool,
    /// Forget what an earlier rehearsal did.
    pub anew: bool,
    /// This process has no network already.
    pub offline: bool,
}

/// Steps before sealing: a release is added to repositories that are published, so an older version must be there.
const BEFORE: &[Step] = &[step("older version", &[], |site| vec![older(&site.out)], trials::older_version)];

/// Steps after sealing that every rehearsal has.
const AFTER: &[Step] = &[
    step("publish into a folder", &[], |site| vec![site.published()], trials::publish),
    step("verify what is published", &[Gate::PublishedVerifies], nothing, trials::audit),
    step("change keys", &[Gate::KeyLifeCycle], nothing, trials::change_keys),
    step("use the archive", &[Gate::Smoke], nothing, trials::smoke),
    step("install the debs", &[Gate::InstallDeb], nothing, trials::debs),
    step("install the rpms", &[Gate::InstallRpm], nothing, trials::rpms),
    step("install by apt", &[Gate::InstallApt], nothing, trials::apt),
    step("install by dnf", &[Gate::InstallYum], nothing, trials::dnf),
    step("install by script", &[Gate::InstallScript], nothing, trials::installer),
    step("run the image", &[Gate::RunImage], nothing, trials::image),
    step("kill at every step", &[Gate::Resumable], nothing, trials::kill_at_every_step),
];

/// Further steps of a full rehearsal.
const FULL: &[Step] = &[
    step("check the vendored archive", &[], nothing, trials::vendored),
    step("use the other architecture", &[Gate::SmokeEmulated], nothing, trials::smoke_emulated),
    step("build again elsewhere", &[Gate::Reproducible], nothing, trials::second_build),
];

const fn step(
    name: &'static str,
    gates: &'static [Gate],
    outputs: fn(&Site) -> Vec<PathBuf>,
    act: fn(&Site) -> Result<String>,
) -> Step {
    Step { name, gates, inputs: steps::nothing, outputs, act }
}

fn nothing(_: &Site) -> Vec<PathBuf> {
    Vec::new()
}

/// The steps of a rehearsal after sealing.
pub fn steps(scope: &Scope) -> impl Iterator<Item = &'static Step> {
    let full = if *scope == Scope::Full { FULL } else { &[] };
    AFTER.iter().chain(full)
}

/// Rehearses and prints the table to standard output, or what would run; true if every step passed.
///
/// # Errors
///
/// What prevents the first step: an output folder of others, or keys, inputs or a namespace that cannot be made.
pub fn rehearse(rehearsal: &Rehearsal) -> Result<bool> {
    let site = &rehearsal.site;
    if rehearsal.dry_run {
        let progress = steps::progress(site)?;
        let progress = if rehearsal.anew { Progress::none(&site.out) } else { progress };
        print!("{}", run::preview(&all_steps(site), site, &progress));
        return Ok(true);
    }
    if rehearsal.offline {
        return offline(site);
    }
    if rehearsal.anew {
        steps::ensure_ours(site)?;
        files::empty_folder(&site.out)?;
    }
    // First of all, so that the folder is known as ours wherever the rehearsal ends.
    steps::open_journal(site)?;
    make_keys(site)?;
    files::create_folder(&site.work)?;
    inputs::fetch(site)?;
    let status = process::start(&mut without_network()?)?.wait()?;
    if status.success() {
        fs::remove_dir_all(keys_folder(&site.out)).context("cannot remove the throwaway keys")?;
    }
    Ok(status.success())
}

/// Folder of the throwaway keys.
fn keys_folder(out: &Path) -> PathBuf {
    out.join("throwaway-keys")
}

/// The site of a rehearsal: its keys are below its output folder.
#[must_use]
pub fn keys_of(out: &Path) -> (SecretKeys, PathBuf) {
    let folder = keys_folder(out);
    (SecretKeys::in_folder(&folder.join(CURRENT)), folder.join("public"))
}

/// The public halves of some of the throwaway keys.
struct PublicKeys {
    minisign: PathBuf,
    openpgp: PathBuf,
}

impl PublicKeys {
    fn in_folder(folder: &Path) -> Self {
        Self { minisign: folder.join(MINISIGN_KEY_NAME), openpgp: folder.join(OPENPGP_KEY_NAME) }
    }
}

/// The throwaway keys of a name, secret and public.
fn throwaway(out: &Path, name: &str) -> (SecretKeys, PublicKeys) {
    let folder = keys_folder(out).join(name);
    (SecretKeys::in_folder(&folder), PublicKeys::in_folder(&folder))
}

/// Folder with the packages of an older version, and a site with repositories of them.
#[must_use]
pub fn older(out: &Path) -> PathBuf {
    out.join("older")
}

/// Makes what is missing of the keys: those of this release follow others, and are followed.
fn make_keys(site: &Site) -> Result<()> {
    for name in [PREVIOUS, CURRENT, NEXT, WRONG] {
        let (secret, public) = throwaway(&site.out, name);
        if !public.openpgp.exists() {
            files::empty_folder(&keys_folder(&site.out).join(name))?;
            keys::generate(&secret.minisign, &public.minisign, None)?;
            openpgp::generate(USER_ID, site.plan.source_date_epoch, &secret.openpgp, &public.openpgp, None)?;
        }
    }
    let [previous, current, next] = [PREVIOUS, CURRENT, NEXT].map(|name| throwaway(&site.out, name));
    // As docs/RELEASING.md says: what the one key signs, the other one's keyring takes, too.
    add_public_half(&previous.0.openpgp, &current.1.openpgp)?;
    add_public_half(&current.0.openpgp, &previous.1.openpgp)?;
    let folder = &site.given_public_keys;
    if folder.join(KEYS_NAME).exists() {
        return Ok(());
    }
    files::create_folder(folder)?;
    let public = PublicKeys::in_folder(folder);
    fs::copy(&current.1.minisign, &public.minisign)?;
    let both = openpgp::SigningKey::read(&current.0.openpgp, None)?.public_armored()?;
    files::write_bytes(&public.openpgp, FILE_MODE, &both)?;
    let signing = |keys: &SecretKeys| SigningKey::read(&keys.minisign, None);
    let list = KeyList::begin(&signing(&previous.0)?, &verify::read_key(&current.1.minisign)?)?;
    let list = list.rotate(&signing(&current.0)?, &verify::read_key(&next.1.minisign)?)?;
    files::write_bytes(&folder.join(KEYS_NAME), FILE_MODE, list.to_json().as_bytes())
}

/// Puts a public key behind a secret one, if it is not there.
fn add_public_half(secret: &Path, public: &Path) -> Result<()> {
    let (text, public) = (fs::read_to_string(secret)?, fs::read_to_string(public)?);
    if text.ends_with(&public) {
        return Ok(());
    }
    files::write_bytes(secret, SECRET_MODE, (text + &public).as_bytes())
}

/// This program with its own arguments, in a namespace without network.
fn without_network() -> Result<Command> {
    let mut command = Command::new(require("unshare", "the Debian package util-linux")?);
    command.args(["--net", "--"]).arg(env::current_exe().context("cannot tell where this program is")?);
    command.args(env::args_os().skip(1)).arg("--offline").stdin(Stdio::null());
    Ok(command)
}

fn all_steps(site: &Site) -> Vec<Step> {
    MAKE.iter().chain(BEFORE).chain(SEAL).chain(steps(&site.plan.scope())).copied().collect()
}

fn offline(site: &Site) -> Result<bool> {
    let ip = require("ip", "the Debian package iproute2")?;
    process::output(process::clean_command(&ip).args(["link", "set", "lo", "up"]))?;
    let interfaces = process::output(process::clean_command(&ip).args(["-o", "link"]))?;
    ensure!(interfaces.lines().count() == 1, "there is more than a loopback interface:\n{interfaces}");
    let report = run::run(&all_steps(site), site, &mut steps::open_journal(site)?, steps::show);
    print_table(site, &report);
    Ok(report.passed())
}

fn print_table(site: &Site, report: &Report) {
    println!("\nstep                         result      time");
    for step in &report.steps {
        println!("{step}");
    }
    println!("\nfile or folder                                             bytes");
    for (name, bytes) in sizes(site) {
        println!("{name:<52} {bytes:>12}");
    }
}

/// The sizes in bytes of what is there: each file of the release folder, and as a whole each folder that is published beside it.
#[must_use]
pub fn sizes(site: &Site) -> Vec<(String, u64)> {
    let size = |path: &Path| -> Option<u64> {
        let files = files::files_below(path, MAX_FILES).ok()?;
        files.iter().map(|file| Some(fs::metadata(file).ok()?.len())).sum()
    };
    let files = site.plan.files.iter().map(|name| (name.clone(), site.dir().join(name)));
    let folders = [site.layout(), site.repositories(), site.bundle()].map(|folder| {
        let name = folder.file_name().unwrap_or_default().display().to_string();
        (format!("{name}/"), folder)
    });
    files.chain(folders).filter_map(|(name, path)| Some((name, size(&path)?))).collect()
}
