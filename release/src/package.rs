//! Makes the archive of a target: the same bytes for the same inputs, whoever runs it, when and where.
//!
//! One top folder, entries sorted, owner 0:0 without names, two fixed modes, one time, plain ustar headers, gzip
//! without name and time. Man pages and completions come from the programs themselves (`generate-docs`, hidden), which
//! keeps this crate free of theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

use crate::files::{self, EXECUTABLE_MODE, FILE_MODE};
use crate::plan::{Artifact, Plan, SHELLS, Target};
use crate::process;

/// Compression level of archives: fixed, because it decides the bytes.
const GZIP_LEVEL: u32 = 9;

/// Value of gzip's "operating system" byte that says nothing.
const GZIP_OS_UNKNOWN: u8 = 255;

/// Path below the top folder, and mode and content of the file there.
type Entries = BTreeMap<String, (u32, Vec<u8>)>;

/// Writes every artifact of the plan into the release folder, from the programs in the folder that `bin_dir` names.
///
/// # Errors
///
/// A program, a man page, a completion or a file of the tree is missing, or a program reports another version.
pub fn package(plan: &Plan, root: &Path, bin_dir: impl Fn(&Target) -> PathBuf, dir: &Path) -> Result<()> {
    files::create_folder(dir)?;
    for artifact in &plan.artifacts {
        let target = plan.target(&artifact.target).context("the plan has an artifact without its target")?;
        let bin_dir = bin_dir(target);
        check_versions(target, &bin_dir, &plan.version)?;
        let entries = gather(artifact, target, root, &bin_dir)?;
        files::write_whole(&dir.join(&artifact.name), FILE_MODE, |writer| {
            write_archive(writer, &artifact.top_folder, &entries, plan.source_date_epoch)
        })?;
    }
    Ok(())
}

/// Gate: every program's `--version` has the plan's version as a word.
fn check_versions(target: &Target, bin_dir: &Path, version: &str) -> Result<()> {
    for binary in &target.binaries {
        let said = process::output(process::clean_command(&bin_dir.join(&binary.name)).arg("--version"))?;
        let is_separator = |c: char| !(c.is_ascii_alphanumeric() || ".+-".contains(c));
        let found = said.split(is_separator).any(|word| word == version);
        ensure!(found, "{} --version says {:?}, not {version}; build it again", binary.name, said.trim());
    }
    Ok(())
}

fn gather(artifact: &Artifact, target: &Target, root: &Path, bin_dir: &Path) -> Result<Entries> {
    let mut entries = Entries::new();
    for binary in &target.binaries {
        let program = bin_dir.join(&binary.name);
        entries.insert(format!("bin/{}", binary.name), (EXECUTABLE_MODE, read(&program)?));
        gather_docs(&binary.name, &program, &mut entries)?;
    }
    for file in &artifact.source_files {
        entries.insert(file.path.clone(), (FILE_MODE, read(&root.join(&file.from))?));
    }
    Ok(entries)
}

/// Lets a program write its man pages and completions, and takes them.
fn gather_docs(name: &str, program: &Path, entries: &mut Entries) -> Result<()> {
    let folder = tempfile::tempdir()?;
    process::output(process::clean_command(program).args(["generate-docs", "--out"]).arg(folder.path()))?;
    files::check_names(folder.path(), ["completions", "man"].into_iter(), ["completions", "man"].into_iter())
        .with_context(|| format!("{name} generate-docs"))?;
    files::check_names(&folder.path().join("completions"), SHELLS.into_iter(), SHELLS.into_iter())
        .with_context(|| format!("{name} generate-docs"))?;
    let man_page = format!("{name}.1");
    take(&folder.path().join("man"), "man/man1", |file| file == man_page, entries)
        .with_context(|| format!("{name} generate-docs wrote no man page {man_page}"))?;
    for shell in SHELLS {
        let source = folder.path().join("completions").join(shell);
        take(&source, &format!("completions/{shell}"), |file| file.contains(name), entries)
            .with_context(|| format!("{name} generate-docs wrote no completion of its name for {shell}"))?;
    }
    Ok(())
}

/// Takes all files of a folder, of which one must be the expected one.
fn take(from: &Path, to: &str, is_expected: impl Fn(&str) -> bool, entries: &mut Entries) -> Result<()> {
    let names = files::names_in(from)?;
    ensure!(names.iter().any(|name| is_expected(name)), "{} has only {names:?}", from.display());
    for name in names {
        let path = from.join(&name);
        ensure!(fs::symlink_metadata(&path)?.is_file(), "{} is not a plain file", path.display());
        let place = format!("{to}/{name}");
        if entries.insert(place.clone(), (FILE_MODE, read(&path)?)).is_some() {
            bail!("two programs generate {place}");
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn write_archive(writer: impl Write, top: &str, entries: &Entries, mtime: u64) -> Result<()> {
    let gzip = GzBuilder::new().mtime(0).operating_system(GZIP_OS_UNKNOWN).write(writer, Compression::new(GZIP_LEVEL));
    let mut tar = Builder::new(gzip);
    for folder in folders(entries) {
        // A folder's path ends with a slash, which also sorts it before what is in it.
        append(&mut tar, EntryType::Directory, &format!("{top}/{folder}"), EXECUTABLE_MODE, mtime, &[])?;
    }
    for (path, (mode, content)) in entries {
        append(&mut tar, EntryType::Regular, &format!("{top}/{path}"), *mode, mtime, content)?;
    }
    tar.into_inner()?.finish()?;
    Ok(())
}

fn append(
    tar: &mut Builder<impl Write>,
    kind: EntryType,
    path: &str,
    mode: u32,
    mtime: u64,
    data: &[u8],
) -> Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_path(path).with_context(|| format!("{path} does not fit into an archive"))?;
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(mtime);
    header.set_size(data.len() as u64);
    header.set_cksum();
    tar.append(&header, data)?;
    Ok(())
}

/// Every folder that the entries need, the top one as the empty path, parents first.
fn folders(entries: &Entries) -> BTreeSet<String> {
    let parents = entries.keys().flat_map(|path| path.match_indices('/').map(|(at, _)| path[..=at].to_owned()));
    std::iter::once(String::new()).chain(parents).collect()
}
