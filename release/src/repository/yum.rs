//! A static yum repository: `packages/` with the rpm packages, `repodata/` with the signed index of all of them.
//!
//! The index is written by `createrepo_c` (Debian: `createrepo-c`), the reference for a format without a standard; its
//! clocks are stopped by fixed times, and no database is made, whose bytes no option fixes. One repository has all
//! architectures: clients take what fits. Indexes are gzip, which EL8 reads, and keep their names with the hash for good,
//! because a client that read the old `repomd.xml` asks for them a moment later. The packages carry signatures of their
//! own, see [`super::openpgp::SigningKey::sign_rpm`].
//!
//! Left out: groups, modules, update notices.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};

use super::openpgp::SigningKey;
use super::{KEYRING_NAME, add, write_if_changed};
use crate::{files, process};

pub use super::apt::Publication;

/// Name of the sample of a repository file in the root of the repository.
pub const REPO_NAME: &str = "cairn.repo";

/// Folder of the packages.
const PACKAGES: &str = "packages";

/// The index that names all others.
const INDEX: &str = "repomd.xml";

/// Adds packages to the repository in `root`, which need not exist yet, and signs the index of all of them.
///
/// # Errors
///
/// A package is there already with other bytes, `createrepo_c` is missing or refuses a package, the key cannot sign, or
/// a file cannot be written.
pub fn publish(root: &Path, rpms: &[PathBuf], publication: Publication<'_>, key: &SigningKey) -> Result<()> {
    let packages = root.join(PACKAGES);
    for rpm in rpms {
        let name = rpm.file_name().with_context(|| format!("{} has no file name", rpm.display()))?;
        add(rpm, &packages.join(name))?;
    }
    // The index lists the files' times; these must not tell when somebody copied them.
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(publication.time);
    for name in files::names_in(&packages).with_context(|| format!("{} has no packages to publish", root.display()))? {
        ensure!(name.ends_with(".rpm"), "{} is no rpm package; remove it", packages.join(name).display());
        File::options().write(true).open(packages.join(&name))?.set_modified(time)?;
    }
    write_if_changed(&root.join(KEYRING_NAME), &key.public_armored()?)?;
    write_if_changed(&root.join(REPO_NAME), repo(publication.url).as_bytes())?;
    let scratch = tempfile::tempdir()?;
    create(root, scratch.path(), publication.time)?;
    let (from, to) = (scratch.path().join("repodata"), root.join("repodata"));
    files::create_folder(&to)?;
    for name in files::names_in(&from)?.iter().filter(|name| *name != INDEX) {
        write_if_changed(&to.join(name), &fs::read(from.join(name))?)?;
    }
    // Clients that come between the two find a signature that does not fit and try again.
    let index = fs::read(from.join(INDEX))?;
    write_if_changed(&to.join(format!("{INDEX}.asc")), &key.sign_detached(&index, publication.time)?)?;
    write_if_changed(&to.join(INDEX), &index)
}

fn create(root: &Path, out: &Path, time: u64) -> Result<()> {
    let program = process::find_program("createrepo_c")
        .context("the program createrepo_c is missing; install the Debian package `createrepo-c`")?;
    let mut command = process::clean_command(&program);
    command.args(["--quiet", "--no-database", "--checksum", "sha256", "--general-compress-type", "gz"]);
    command.args(["--workers", "1", "--set-timestamp-to-revision", "--revision", &time.to_string()]);
    process::output(command.arg("--outputdir").arg(out).arg(root)).map(drop)
}

fn repo(url: &str) -> String {
    let url = url.trim_end_matches('/');
    format!(
        "# Put this file into /etc/yum.repos.d/.\n\
         [cairn]\nname=Cairn\nbaseurl={url}\nenabled=1\ngpgcheck=1\nrepo_gpgcheck=1\ngpgkey={url}/{KEYRING_NAME}\n"
    )
}
