//! The package repositories, used over HTTP by the programs that their users have.
//!
//! First what must be refused: another key, changed bytes, old indexes. Then the whole life of the packages, the same as
//! in the trials of single files but out of the signed repository, as its own sample entry says. The repository that is
//! tried stays as it is; a copy of it is served from this machine, and changed where a check needs that.

pub mod apt;
pub mod dnf;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::Packages;
use super::file_server::FileServer;
use crate::files;
use crate::publish::SITE_URL;
use crate::repository::KEYRING_NAME;
use crate::repository::apt::{DAY_SECONDS, VALID_DAYS};
use crate::repository::openpgp::{self, SigningKey};

/// A published repository and what is in it. The trial needs to be root.
#[derive(Debug, Clone, Copy)]
pub struct Trial<'a> {
    /// Root file system of a Debian to try on, which stays as it is.
    pub base: &'a Path,
    /// Folder that receives copies while the trial runs.
    pub scratch: &'a Path,
    /// The published site.
    pub site: &'a Path,
    /// Folder of the repository on the site.
    pub repository: &'a str,
    /// The keyring that users of the older version have.
    pub keyring: &'a Path,
    /// Seconds since 1970 at which the repository was published.
    pub time: u64,
    /// The packages that are to be released; they are in the repository.
    pub current: Packages<'a>,
    /// Those of an older version; they are in the repository, too.
    pub previous: Packages<'a>,
}

/// A copy of a repository in its place behind a server.
struct Served {
    _folder: TempDir,
    repository: PathBuf,
    server: FileServer,
}

impl Served {
    fn copy(trial: &Trial<'_>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("repository-").tempdir_in(trial.scratch)?;
        for path in files_below(&trial.site.join(trial.repository))? {
            let copy = folder.path().join(path.strip_prefix(trial.site)?);
            files::create_folder(copy.parent().context("a copy is in a folder")?)?;
            fs::copy(&path, &copy).with_context(|| format!("cannot copy {}", path.display()))?;
        }
        let server = FileServer::start(folder.path())?;
        Ok(Self { repository: folder.path().join(trial.repository), _folder: folder, server })
    }

    /// A copy with one byte changed in each file that `which` picks by its path below the root of the repository.
    fn changed(trial: &Trial<'_>, which: fn(&str) -> bool) -> Result<Self> {
        let served = Self::copy(trial)?;
        let mut changed = 0;
        for path in files_below(served.path())? {
            if which(&path.strip_prefix(served.path())?.to_string_lossy()) {
                change_byte(&path)?;
                changed += 1;
            }
        }
        ensure!(changed > 0, "the repository has no file of the kind that was to be changed");
        Ok(served)
    }

    fn path(&self) -> &Path {
        &self.repository
    }

    /// The archive key, where users fetch it.
    fn keyring(&self) -> PathBuf {
        self.path().join(KEYRING_NAME)
    }

    /// The sample entry of this name, with nothing but the site's address exchanged for the server's.
    fn sample(&self, name: &str) -> Result<String> {
        let path = self.path().join(name);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(text.contains(SITE_URL), "{name} does not name {SITE_URL}: {text}");
        Ok(text.replace(SITE_URL, self.server.url()))
    }
}

/// A key that users do not have, older than anything that it signs in a trial.
struct Stranger {
    key: SigningKey,
    public: PathBuf,
    _folder: TempDir,
}

impl Stranger {
    fn new(trial: &Trial<'_>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (secret, public) = (folder.path().join("secret.asc"), folder.path().join("public.asc"));
        let time = trial.time.saturating_sub(2 * VALID_DAYS * DAY_SECONDS);
        openpgp::generate("Somebody else <somebody@else.example>", time, &secret, &public, None)?;
        Ok(Self { key: SigningKey::read(&secret, None)?, public, _folder: folder })
    }
}

/// Changes one byte in the middle of a file.
pub(super) fn change_byte(path: &Path) -> Result<()> {
    let mut bytes = fs::read(path)?;
    let middle = bytes.len() / 2;
    let byte = bytes.get_mut(middle).with_context(|| format!("{} is empty", path.display()))?;
    *byte = if *byte == b'x' { b'y' } else { b'x' };
    fs::write(path, bytes)?;
    Ok(())
}

/// Every file below a folder, sorted.
pub(super) fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for name in files::names_in(folder).with_context(|| format!("cannot read the folder {}", folder.display()))? {
        let path = folder.join(name);
        if path.is_dir() {
            found.extend(files_below(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}
