//! The programs' documents and the archives that hold both: the same bytes for the same inputs, whoever makes them.
//!
//! The form is [`crate::tarball`]'s. Man pages and completions come from the programs themselves (`generate-docs`, hidden),
//! which keeps this crate free of theirs. They are made once, by the programs that run on this machine, and serve every
//! target: they do not depend on the architecture. [`violations`] judges the finished archives.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::files::{self, EXECUTABLE_MODE, FILE_MODE};
use crate::plan::{ArchiveContent, Artifact, Binary, Plan, SHELLS};
use crate::process;
use crate::tarball::{self, Entries, Entry};

/// Name of the licence texts in an archive.
const LICENCES_NAME: &str = "THIRD-PARTY-LICENSES.txt";

/// Where the parts of an archive are.
#[derive(Debug, Clone)]
pub struct Parts<'a> {
    /// Root of the source tree.
    pub root: &'a Path,
    /// Folder with the target's programs.
    pub programs: PathBuf,
    /// Folder that [`write_docs`] filled.
    pub docs: &'a Path,
    /// File with the licences of what is linked in.
    pub licences: PathBuf,
}

/// Lets each program write its documents into `docs/NAME/` and checks that they are complete.
///
/// # Errors
///
/// A program cannot be run, reports another version, or lacks a man page or a completion.
pub fn write_docs(programs: &Path, binaries: &[Binary], version: &str, docs: &Path) -> Result<()> {
    for Binary { name, .. } in binaries {
        let program = programs.join(name);
        check_version(name, &program, version)?;
        let folder = docs.join(name);
        files::empty_folder(&folder)?;
        process::output(process::clean_command(&program).args(["generate-docs", "--out"]).arg(&folder))?;
        check_docs(name, &folder).with_context(|| format!("{name} generate-docs"))?;
    }
    merge_docs(binaries, docs)
}

/// The documents of all programs in one folder, which [`write_docs`] fills, too.
#[must_use]
pub fn all_docs(docs: &Path) -> PathBuf {
    docs.join("all")
}

fn merge_docs(binaries: &[Binary], docs: &Path) -> Result<()> {
    let all = all_docs(docs);
    files::empty_folder(&all)?;
    let parts = std::iter::once("man".to_owned()).chain(SHELLS.map(|shell| format!("completions/{shell}")));
    for part in parts {
        let to = all.join(&part);
        files::create_folder(&to)?;
        for binary in binaries {
            let from = docs.join(&binary.name).join(&part);
            for name in files::names_in(&from)? {
                let there = to.join(&name);
                ensure!(!there.exists(), "two programs generate {part}/{name}");
                fs::copy(from.join(&name), &there).with_context(|| format!("cannot copy {name}"))?;
            }
        }
    }
    Ok(())
}

fn check_version(name: &str, program: &Path, version: &str) -> Result<()> {
    let said = process::output(process::clean_command(program).arg("--version"))?;
    let is_separator = |c: char| !(c.is_ascii_alphanumeric() || ".+-".contains(c));
    let found = said.split(is_separator).any(|word| word == version);
    ensure!(found, "{name} --version says {:?}, not {version}; build it again", said.trim());
    Ok(())
}

fn check_docs(name: &str, folder: &Path) -> Result<()> {
    files::check_names(folder, ["completions", "man"].into_iter(), ["completions", "man"].into_iter())?;
    files::check_names(&folder.join("completions"), SHELLS.into_iter(), SHELLS.into_iter())?;
    let has = |folder: PathBuf, is_expected: &dyn Fn(&str) -> bool| -> Result<bool> {
        Ok(files::names_in(&folder)?.iter().any(|file| is_expected(file)))
    };
    let man_page = format!("{name}.1");
    ensure!(has(folder.join("man"), &|file| file == man_page)?, "wrote no man page {man_page}");
    for shell in SHELLS {
        let there = has(folder.join("completions").join(shell), &|file| file.contains(name))?;
        ensure!(there, "wrote no completion of its name for {shell}");
    }
    Ok(())
}

/// Writes an archive of the plan into the release folder.
///
/// # Errors
///
/// The artifact is no archive of programs, or a part of it is missing.
pub fn write(plan: &Plan, artifact: &Artifact, parts: &Parts<'_>, dir: &Path) -> Result<()> {
    let content = content_of(artifact)?;
    let entries = gather(content, parts)?;
    files::write_whole(&dir.join(&artifact.name), FILE_MODE, |writer| {
        tarball::write_tar_gz(writer, &content.top_folder, &entries, plan.source_date_epoch)
    })
}

/// Gate: a finished archive of the plan holds its programs, documents and files of the tree and the licences of what is
/// linked in, byte for byte as they were gathered, with the modes, owner and time of the release, and nothing else.
///
/// # Errors
///
/// As [`write`], or the archive cannot be read.
pub fn violations(plan: &Plan, artifact: &Artifact, parts: &Parts<'_>, dir: &Path) -> Result<Vec<String>> {
    let content = content_of(artifact)?;
    let entries = gather(content, parts)?;
    tarball::violations(&dir.join(&artifact.name), &content.top_folder, &entries, plan.source_date_epoch)
}

/// What an archive of the plan holds.
///
/// # Errors
///
/// As [`write`].
pub fn entries(artifact: &Artifact, parts: &Parts<'_>) -> Result<Entries> {
    gather(content_of(artifact)?, parts)
}

fn content_of(artifact: &Artifact) -> Result<&ArchiveContent> {
    artifact.archive.as_ref().with_context(|| format!("{} is no archive of programs", artifact.name))
}

fn gather(content: &ArchiveContent, parts: &Parts<'_>) -> Result<Entries> {
    let mut entries = Entries::new();
    for name in &content.binaries {
        let program = parts.programs.join(name);
        entries.insert(format!("bin/{name}"), Entry::Bytes(EXECUTABLE_MODE, read(&program)?));
        let docs = parts.docs.join(name);
        take(&docs.join("man"), "man/man1", &mut entries)?;
        for shell in SHELLS {
            take(&docs.join("completions").join(shell), &format!("completions/{shell}"), &mut entries)?;
        }
    }
    for file in &content.source_files {
        entries.insert(file.path.clone(), Entry::Bytes(FILE_MODE, read(&parts.root.join(&file.from))?));
    }
    entries.insert(LICENCES_NAME.to_owned(), Entry::Bytes(FILE_MODE, read(&parts.licences)?));
    Ok(entries)
}

/// Takes all files of a folder.
fn take(from: &Path, to: &str, entries: &mut Entries) -> Result<()> {
    let names = files::names_in(from).with_context(|| format!("cannot read {}", from.display()))?;
    for name in names {
        let path = from.join(&name);
        ensure!(fs::symlink_metadata(&path)?.is_file(), "{} is not a plain file", path.display());
        let place = format!("{to}/{name}");
        if entries.insert(place.clone(), Entry::Bytes(FILE_MODE, read(&path)?)).is_some() {
            bail!("two programs generate {place}");
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
