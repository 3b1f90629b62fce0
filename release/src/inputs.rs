//! What a release needs from the network: crates, the images' C library, a small Debian to try packages in.
//!
//! All else works without network. What is there already is kept, so that fetching can be cut off and started again.
//! Left out: programs of the machine, which [`crate::doctor`] names.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::compile;
use crate::digest::digest_file;
use crate::files::{self, FILE_MODE};
use crate::plan::Target;
use crate::process;
use crate::sbom::{Component, Kind, in_purl};
use crate::site::Site;
use crate::toolchain::require;

/// Release of Debian whose C library is in the images and on which packages are tried.
pub const DEBIAN_RELEASE: &str = "bookworm";

/// The Debian package of the C library.
pub const LIBC_PACKAGE: &str = "libc6";

/// Environment variable that asks for a version of [`LIBC_PACKAGE`]; else the newest goes into the images.
pub const LIBC_VARIABLE: &str = "CAIRN_RELEASE_LIBC6_VERSION";

/// The Debian source package that [`LIBC_PACKAGE`] is built from.
const LIBC_SOURCE: &str = "glibc";

/// What Debian's copyright file says of the libraries in [`LIBC_PACKAGE`]; an image has the file.
const LIBC_LICENCE: &str = "LGPL-2.1-or-later";

/// One thing to fetch.
struct Input {
    name: &'static str,
    is_there: fn(&Site) -> Result<bool>,
    fetch: fn(&Site) -> Result<()>,
}

const INPUTS: &[Input] = &[
    Input { name: "crates", is_there: crates_are_there, fetch: fetch_crates },
    Input { name: "C library of images", is_there: runtimes_are_there, fetch: fetch_runtimes },
    Input {
        name: "Debian to try packages in",
        is_there: |site| Ok(base_root(site).join("etc/debian_version").is_file()),
        fetch: fetch_base_root,
    },
];

/// Fetches what is not there.
///
/// # Errors
///
/// Something cannot be had; what is there already is kept.
pub fn fetch(site: &Site) -> Result<()> {
    for input in INPUTS {
        if !(input.is_there)(site)? {
            (input.fetch)(site).with_context(|| format!("cannot fetch: {}", input.name))?;
        }
    }
    Ok(())
}

/// Says what [`fetch`] would do, a line for each thing.
///
/// # Errors
///
/// A toolchain that is asked for its crates is missing.
pub fn preview(site: &Site) -> Result<String> {
    let lines = INPUTS.iter().map(|input| {
        let state = if (input.is_there)(site)? { "there" } else { "to be fetched" };
        Ok(format!("{:<28} {state}\n", input.name))
    });
    lines.collect()
}

/// Each toolchain has a place of its own for them.
fn crates_are_there(site: &Site) -> Result<bool> {
    for target in &site.plan.targets {
        if !compile::is_fetched(&site.root, target, &site.toolchain(target)?)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn fetch_crates(site: &Site) -> Result<()> {
    site.plan.targets.iter().try_for_each(|target| compile::fetch(&site.root, target, &site.toolchain(target)?))
}

/// Folder with the unpacked C library of a target.
#[must_use]
pub fn libc_runtime(site: &Site, target: &Target) -> PathBuf {
    site.work.join("runtime").join(&target.arch.debian)
}

/// The Debian package that was unpacked into [`libc_runtime`].
///
/// # Errors
///
/// It was not fetched.
pub fn libc_package(site: &Site, target: &Target) -> Result<Component> {
    let folder = libc_runtime(site, target);
    let read = |name: &str| {
        let text = fs::read_to_string(folder.join(name));
        text.with_context(|| format!("no C library for {}; run `cairn-release fetch`", target.name))
    };
    let version = read("version")?;
    let (arch, in_purl) = (&target.arch.debian, in_purl(&version));
    Ok(Component {
        name: LIBC_PACKAGE.to_owned(),
        kind: Kind::Package,
        licence: Some(LIBC_LICENCE.to_owned()),
        // Debian's list of weaknesses knows the source package.
        purl: format!(
            "pkg:deb/debian/{LIBC_PACKAGE}@{in_purl}?arch={arch}&distro={DEBIAN_RELEASE}&upstream={LIBC_SOURCE}"
        ),
        version,
        cpe: None,
        sha256: Some(read("sha256")?),
        repository: None,
        contained_in: None,
        texts: Vec::new(),
    })
}

/// Folder with a small Debian, which trials copy.
#[must_use]
pub fn base_root(site: &Site) -> PathBuf {
    site.work.join("roots").join(DEBIAN_RELEASE)
}

/// The version that somebody asked for, such as `2.36-9+deb12u10`.
fn wanted_libc() -> Option<String> {
    env::var(LIBC_VARIABLE).ok().filter(|version| !version.is_empty())
}

/// The version is written last.
fn has_runtime(site: &Site, target: &Target) -> bool {
    let there = fs::read_to_string(libc_runtime(site, target).join("version")).ok();
    there.is_some_and(|there| wanted_libc().is_none_or(|wanted| wanted == there))
}

fn runtimes_are_there(site: &Site) -> Result<bool> {
    Ok(site.plan.image_targets().all(|target| has_runtime(site, target)))
}

fn fetch_runtimes(site: &Site) -> Result<()> {
    let mut missing = site.plan.image_targets().filter(|target| !has_runtime(site, target));
    missing.try_for_each(|target| fetch_runtime(site, target))
}

/// Downloads Debian's C library through apt, which checks its signature, and unpacks it.
///
/// Its version is not pinned: a security update must reach the images, and Debian keeps no other one. Materials name what
/// was taken.
fn fetch_runtime(site: &Site, target: &Target) -> Result<()> {
    let folder = libc_runtime(site, target);
    let scratch = tempfile::tempdir()?;
    let mut apt = process::clean_command(&require("apt-get", "the Debian package apt")?);
    let version = wanted_libc().map(|version| format!("={version}")).unwrap_or_default();
    apt.args(["download", &format!("{LIBC_PACKAGE}:{}{version}", target.arch.debian)]).current_dir(scratch.path());
    process::output(&mut apt).context("cannot download the C library; `apt-get update` may help")?;
    let names = files::names_in(scratch.path())?;
    let name = names.iter().find(|name| name.ends_with(".deb")).context("apt-get download left no package")?;
    let deb = scratch.path().join(name);
    files::empty_folder(&folder)?;
    let dpkg = require("dpkg-deb", "the Debian package dpkg")?;
    process::output(process::clean_command(&dpkg).arg("-x").arg(&deb).arg(&folder))?;
    let version = process::output(process::clean_command(&dpkg).arg("-f").arg(&deb).arg("Version"))?;
    let digest = digest_file(&deb)?;
    files::write_bytes(&folder.join("sha256"), FILE_MODE, digest.sha256.as_bytes())?;
    files::write_bytes(&folder.join("version"), FILE_MODE, version.trim().as_bytes())
}

fn fetch_base_root(site: &Site) -> Result<()> {
    let root = base_root(site);
    let partial = root.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial).with_context(|| format!("cannot empty {}", partial.display()))?;
    }
    files::create_folder(&partial)?;
    let debootstrap = require("debootstrap", "the Debian package debootstrap")?;
    let mut command = process::clean_command(&debootstrap);
    command.args(["--variant=minbase", DEBIAN_RELEASE]).arg(&partial).stdout(Stdio::null());
    let status = process::start(&mut command)?.wait()?;
    ensure!(status.success(), "debootstrap failed ({status}); it needs root and a Debian mirror");
    fs::rename(&partial, &root).with_context(|| format!("cannot rename {}", partial.display()))
}
