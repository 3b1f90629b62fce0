//! A root file system for one trial: a copy, used by `chroot`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::linux_packages::tool::{self, Finished};
use crate::process;

/// Folders of programs in the root.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Folder in the root that receives packages.
const PACKAGES: &str = "/srv/packages";

/// The copy; gone when dropped.
pub(super) struct Root {
    folder: TempDir,
}

impl Root {
    /// Copies a root file system into a folder of its own below `scratch`.
    pub(super) fn copy(base: &Path, scratch: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("root-").tempdir_in(scratch)?;
        let mut copy = process::clean_command(&tool::find("cp", "coreutils")?);
        tool::output(copy.args(["--archive", "--reflink=auto"]).arg(base.join(".")).arg(folder.path()))
            .with_context(|| format!("cannot copy the root file system {}", base.display()))?;
        let root = Self { folder };
        fs::create_dir_all(root.path(PACKAGES))?;
        Ok(root)
    }

    /// Where an absolute path of the root is outside of it.
    pub(super) fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join(inside.trim_start_matches('/'))
    }

    /// The top of the root.
    pub(super) fn top(&self) -> &Path {
        self.folder.path()
    }

    /// A command in the root as a user of the root, with these variables and no others.
    pub(super) fn command(&self, user: &str, folder: &str, variables: &[(String, String)]) -> Result<Command> {
        let mut command = process::clean_command(&tool::find("chroot", "coreutils")?);
        command.arg(format!("--userspec={user}")).arg(self.top());
        command.args(["/usr/bin/env", "--ignore-environment"]).arg(format!("--chdir={folder}"));
        command.args([format!("PATH={PATH}"), "LC_ALL=C".to_owned(), "DEBIAN_FRONTEND=noninteractive".to_owned()]);
        command.args(variables.iter().map(|(name, value)| format!("{name}={value}")));
        Ok(command)
    }

    /// Runs a program in the root as root.
    pub(super) fn run(&self, words: &[&str]) -> Result<Finished> {
        tool::run(self.command("root:root", "/", &[])?.args(words))
    }

    /// Runs a program in the root as root; it must succeed. Returns all that it said.
    pub(super) fn succeed(&self, words: &[&str]) -> Result<String> {
        let finished = self.run(words)?;
        if !finished.status.success() {
            bail!("{} failed ({}): {}", words.join(" "), finished.status, finished.all().trim());
        }
        Ok(finished.all())
    }

    /// Copies a package into the root and returns its path there.
    pub(super) fn take_in(&self, package: &Path) -> Result<String> {
        let name = package.file_name().context("a package without a name")?.to_string_lossy().into_owned();
        let inside = format!("{PACKAGES}/{name}");
        fs::copy(package, self.path(&inside)).with_context(|| format!("cannot copy {}", package.display()))?;
        Ok(inside)
    }

    /// Text of a file of the root.
    pub(super) fn read(&self, inside: &str) -> Result<String> {
        fs::read_to_string(self.path(inside)).with_context(|| format!("cannot read {inside} in the root"))
    }

    /// Whether something is there, be it a dangling link.
    pub(super) fn has(&self, inside: &str) -> bool {
        fs::symlink_metadata(self.path(inside)).is_ok()
    }

    /// Mode and numeric owner, as `0700 998:998`.
    pub(super) fn mode_and_owner(&self, inside: &str) -> Result<String> {
        let metadata = fs::metadata(self.path(inside)).with_context(|| format!("cannot find {inside} in the root"))?;
        Ok(format!("{:04o} {}:{}", metadata.mode() & 0o7777, metadata.uid(), metadata.gid()))
    }
}
