//! Signed static repositories: folders that any web server or file share can offer as they are.
//!
//! [`apt`] and [`yum`] each add packages to a folder and index all that is in it. [`published`] first brings into that
//! folder what a site lists already, so that older versions stay installable: an index only grows. [`openpgp`] signs,
//! because these two are the formats whose clients ask for OpenPGP. Contract: the same folder, packages, time and key give
//! the same bytes; a package that is there under its name with other bytes is refused; what clients read first is written
//! last, so that a killed run leaves the state before it and a second run completes it.
//!
//! Left out: removing versions, and keys' custody.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::digest::digest_file;
use crate::files::{self, FILE_MODE};
use crate::publish::SITE_URL;

pub mod apt;
pub mod listing;
pub mod openpgp;
pub mod published;
pub mod yum;

/// Folder of the apt repository, on the site and beside the other one.
pub const APT: &str = "apt";

/// Folder of the yum repository.
pub const YUM: &str = "yum";

/// Name of the archive key in the root of a repository, as apt's `Signed-By` and rpm's `gpgkey` read it.
pub const KEYRING_NAME: &str = "cairn-archive-keyring.asc";

/// Adds packages to both repositories below `root`, as the site will serve them.
///
/// # Errors
///
/// As [`apt::publish`] and [`yum::publish`].
pub fn publish(root: &Path, debs: &[PathBuf], rpms: &[PathBuf], time: u64, key: &openpgp::SigningKey) -> Result<()> {
    let url = |place| format!("{SITE_URL}/{place}");
    apt::publish(&root.join(APT), debs, apt::Publication { url: &url(APT), time }, key)?;
    yum::publish(&root.join(YUM), rpms, apt::Publication { url: &url(YUM), time }, key)
}

/// Puts a package into the pool; the same bytes may be there already, others may not.
fn add(from: &Path, to: &Path) -> Result<()> {
    let digest = digest_file(from).with_context(|| format!("cannot read {}", from.display()))?;
    if to.exists() {
        let same = digest_file(to).with_context(|| format!("cannot read {}", to.display()))? == digest;
        let (from, to) = (from.display(), to.display());
        ensure!(same, "{from} differs from the published {to}; published bytes never change: raise the version");
        return Ok(());
    }
    files::create_folder(to.parent().context("a package's place is in a folder")?)?;
    let mut source = File::open(from)?;
    files::write_whole(to, FILE_MODE, |writer| Ok(io::copy(&mut source, writer)?)).map(drop)
}

/// Writes a file unless it has these bytes already: a repository that did not change keeps its times for mirrors.
fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    files::write_bytes(path, FILE_MODE, bytes)
}
