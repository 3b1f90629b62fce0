//! The git tree of a commit: every path with its mode, git's id of its content, and the content.
//!
//! Git's ids are SHA-1 over a header and the content; we compute them ourselves, so that what git printed is proven by the
//! commit's tree id and so that an archive can be compared without asking git again.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, Permissions};
use std::io::{Seek, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use sha1::{Digest as _, Sha1};

use super::run;
use crate::files::{self, EXECUTABLE_MODE, FILE_MODE};
use crate::process::RUN_LIMIT;
use crate::tarball::Entry;
use crate::workspace::git_command;

/// Hexadecimal digits of an id.
const ID_DIGITS: usize = 40;

/// A kind of file as git knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A file that is no program.
    File,
    /// A file that is one.
    Executable,
    /// A symbolic link.
    Link,
}

impl Mode {
    fn parse(text: &str) -> Option<Self> {
        [Self::File, Self::Executable, Self::Link].into_iter().find(|mode| mode.to_string() == text)
    }
}

/// As git writes it.
impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "100644",
            Self::Executable => "100755",
            Self::Link => "120000",
        })
    }
}

/// A file of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeFile {
    /// What kind of file it is.
    pub mode: Mode,
    /// Git's id of the content.
    pub blob: String,
    /// The content, of a link the path that it leads to.
    pub content: Vec<u8>,
}

impl TreeFile {
    /// The file as an archive has it.
    #[must_use]
    pub fn entry(&self) -> Entry {
        match self.mode {
            Mode::File => Entry::Bytes(FILE_MODE, self.content.clone()),
            Mode::Executable => Entry::Bytes(EXECUTABLE_MODE, self.content.clone()),
            Mode::Link => Entry::Link(String::from_utf8_lossy(&self.content).into_owned()),
        }
    }
}

/// The tree of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitTree {
    /// Git's id of the tree: equal trees have equal ids, whatever their history is.
    pub id: String,
    /// Its files by path.
    pub files: BTreeMap<String, TreeFile>,
}

impl GitTree {
    /// Reads the tree of `commit` from the repository at `root`; the work tree plays no part.
    ///
    /// # Errors
    ///
    /// Git fails, the tree has a submodule or a name that is no text, or what git printed is not the commit's tree.
    pub fn read(root: &Path, commit: &str) -> Result<Self> {
        let id = run(
            git(root).args(["rev-parse", "--verify", "--end-of-options", &format!("{commit}^{{tree}}")]),
            RUN_LIMIT,
        )
        .with_context(|| format!("no commit {commit:?} in {}", root.display()))?;
        let id = String::from_utf8(id)?.trim().to_owned();
        ensure!(id.len() == ID_DIGITS, "{} names its objects by another hash than SHA-1", root.display());
        let listing = run(git(root).args(["ls-tree", "-r", "-z", "--full-tree", &id]), RUN_LIMIT)?;
        let mut files = parse_listing(std::str::from_utf8(&listing).context("a name in the tree is no UTF-8 text")?)?;
        read_contents(root, &mut files)?;
        let computed = tree_id(&files);
        ensure!(computed == id, "git listed a tree with the id {computed}, but the tree of {commit} is {id}");
        Ok(Self { id, files })
    }

    /// Content of a text file of the tree.
    ///
    /// # Errors
    ///
    /// There is no such file, or it is no text.
    pub fn text(&self, path: &str) -> Result<&str> {
        let file = self.files.get(path).with_context(|| format!("the commit has no file {path}"))?;
        std::str::from_utf8(&file.content).with_context(|| format!("{path} is no UTF-8 text"))
    }

    /// Writes the tree's files below an empty folder.
    ///
    /// # Errors
    ///
    /// A file cannot be written.
    pub fn write_to(&self, folder: &Path) -> Result<()> {
        for (path, file) in &self.files {
            let to = folder.join(path);
            files::create_folder(to.parent().context("a file is in a folder")?)?;
            let cannot = || format!("cannot write {}", to.display());
            if file.mode == Mode::Link {
                symlink(std::str::from_utf8(&file.content)?, &to).with_context(cannot)?;
                continue;
            }
            fs::write(&to, &file.content).with_context(cannot)?;
            let mode = if file.mode == Mode::Executable { EXECUTABLE_MODE } else { FILE_MODE };
            fs::set_permissions(&to, Permissions::from_mode(mode)).with_context(cannot)?;
        }
        Ok(())
    }
}

/// Computes git's id of a file's content, piece by piece.
#[derive(Debug)]
pub struct BlobHasher(Sha1);

impl BlobHasher {
    /// Starts with the number of bytes that will come.
    #[must_use]
    pub fn new(size: u64) -> Self {
        Self(Sha1::new_with_prefix(format!("blob {size}\0")))
    }

    /// Adds some bytes.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The id.
    #[must_use]
    pub fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}

/// Git without what replaced objects would change.
fn git(root: &Path) -> Command {
    let mut command = git_command(root);
    command.arg("--no-replace-objects");
    command
}

fn parse_listing(listing: &str) -> Result<BTreeMap<String, TreeFile>> {
    let records = listing.split('\0').filter(|record| !record.is_empty());
    records.map(|record| parse_record(record).with_context(|| format!("git lists {record:?}"))).collect()
}

/// `MODE TYPE ID<tab>PATH`.
fn parse_record(record: &str) -> Result<(String, TreeFile)> {
    let (facts, path) = record.split_once('\t').context("it has no path")?;
    let [mode, kind, id] = facts.split(' ').collect::<Vec<_>>()[..] else { bail!("it has not three fields") };
    ensure!(kind == "blob", "it is a {kind}; submodules are not supported: their files would be missing");
    let mode = Mode::parse(mode).with_context(|| format!("mode {mode} is not supported"))?;
    Ok((path.to_owned(), TreeFile { mode, blob: id.to_owned(), content: Vec::new() }))
}

/// Asks git for all contents at once.
fn read_contents(root: &Path, files: &mut BTreeMap<String, TreeFile>) -> Result<()> {
    let mut wanted = tempfile::tempfile()?;
    for file in files.values() {
        writeln!(wanted, "{}", file.blob)?;
    }
    wanted.rewind()?;
    let answer = run(git(root).args(["cat-file", "--batch"]).stdin(wanted), RUN_LIMIT)?;
    let mut rest = answer.as_slice();
    for (path, file) in files {
        file.content = next_blob(&mut rest, &file.blob).with_context(|| format!("git gave no content of {path}"))?;
        let mut hasher = BlobHasher::new(file.content.len() as u64);
        hasher.update(&file.content);
        ensure!(hasher.finish() == file.blob, "git gave for {path} a content that has not the id {}", file.blob);
        ensure!(
            file.mode != Mode::Link || std::str::from_utf8(&file.content).is_ok(),
            "the link {path} leads to a path that is no UTF-8 text"
        );
    }
    Ok(())
}

/// `ID blob SIZE<line feed>CONTENT<line feed>`.
fn next_blob(rest: &mut &[u8], id: &str) -> Result<Vec<u8>> {
    let end = rest.iter().position(|byte| *byte == b'\n').context("its answer ends early")?;
    let head = std::str::from_utf8(&rest[..end])?;
    let size = head.strip_prefix(id).and_then(|head| head.strip_prefix(" blob "));
    let size: usize = size.with_context(|| format!("it answers {head:?}"))?.parse()?;
    let content = rest.get(end + 1..).and_then(|rest| rest.get(..size)).context("its answer ends early")?;
    *rest = rest.get(end + 1 + size + 1..).context("its answer ends early")?;
    Ok(content.to_vec())
}

/// Git's id of a folder with these files below it.
fn tree_id(files: &BTreeMap<String, TreeFile>) -> String {
    let listed: Vec<_> = files.iter().map(|(path, file)| (path.as_str(), file)).collect();
    hex(&folder_id(&listed))
}

fn folder_id(files: &[(&str, &TreeFile)]) -> Vec<u8> {
    let mut folders: BTreeMap<&str, Vec<(&str, &TreeFile)>> = BTreeMap::new();
    // Git sorts a folder as if its name ended with a slash.
    let mut records: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (path, file) in files {
        match path.split_once('/') {
            Some((folder, below)) => folders.entry(folder).or_default().push((below, file)),
            None => {
                let record = record(&file.mode.to_string(), path, &unhex(&file.blob));
                records.insert((*path).to_owned(), record);
            }
        }
    }
    for (name, below) in folders {
        records.insert(format!("{name}/"), record("40000", name, &folder_id(&below)));
    }
    let body = records.into_values().collect::<Vec<_>>().concat();
    Sha1::new_with_prefix(format!("tree {}\0", body.len())).chain_update(body).finalize().to_vec()
}

fn record(mode: &str, name: &str, id: &[u8]) -> Vec<u8> {
    [mode.as_bytes(), b" ", name.as_bytes(), b"\0", id].concat()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of an id; what is no id gives bytes that fit no tree.
fn unhex(id: &str) -> Vec<u8> {
    let pairs = id.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap_or_default());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap_or_default()).collect()
}
