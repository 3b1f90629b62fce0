//! A small git repository, and archives made of its tree.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use cairn_release::source::tree::GitTree;
use cairn_release::tarball::{self, Entries};
use tempfile::TempDir;

/// Time of all archives in these tests.
pub(crate) const EPOCH: u64 = 1_700_000_000;

/// Top folder of all archives in these tests.
pub(crate) const TOP: &str = "cairn-1.2.3";

/// A repository with one commit that has what could go wrong: a program, a link, deep and long paths, names that sort
/// differently in git than as text, and attributes that ask for files to be left out.
pub(crate) struct Repository {
    pub(crate) scratch: TempDir,
}

impl Repository {
    pub(crate) fn new() -> Self {
        let repository = Self { scratch: tempfile::tempdir().unwrap() };
        repository.write("README.md", "a store\n");
        repository.write(".gitattributes", "hidden.txt export-ignore\n*.txt text=auto\n");
        repository.write("hidden.txt", "never leave me out\n");
        repository.write("sub/file.rs", "fn main() {}\n");
        repository.write("sub.rs", "// sorts before the folder sub in git\n");
        repository.write(&format!("deep/{}/{}", "folder".repeat(20), "name with spaces and é".repeat(5)), "long\n");
        repository.write("dev", "#!/bin/sh\n");
        fs::set_permissions(repository.root().join("dev"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink("sub/file.rs", repository.root().join("link")).unwrap();
        repository.git(&["init", "--quiet"]);
        repository.commit();
        repository
    }

    pub(crate) fn root(&self) -> &Path {
        self.scratch.path()
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn commit(&self) {
        self.git(&["add", "--all"]);
        self.git(&["-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "--quiet", "--message=a"]);
    }

    pub(crate) fn git(&self, arguments: &[&str]) {
        let mut command = Command::new("git");
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).arg("-C").arg(self.root());
        let output = command.args(arguments).output().expect("git must be installed: Debian package `git`");
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    pub(crate) fn tree(&self) -> GitTree {
        GitTree::read(self.root(), "HEAD").unwrap()
    }
}

/// Writes an archive into a folder.
pub(crate) fn write_archive(folder: &Path, entries: &Entries) -> PathBuf {
    let path = folder.join("archive.tar.gz");
    tarball::write_tar_gz(fs::File::create(&path).unwrap(), TOP, entries, EPOCH).unwrap();
    path
}

/// The cargo that runs these tests.
pub(crate) fn cargo() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}
