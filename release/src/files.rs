//! Files that appear whole or not at all, and listings of folders.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Mode of published files, whatever the umask is.
pub const FILE_MODE: u32 = 0o644;

/// Mode of programs and folders, whatever the umask is.
pub const EXECUTABLE_MODE: u32 = 0o755;

/// Writes a file under a temporary name beside its own and renames it when it is complete and on disk.
///
/// The temporary name depends on the file's name alone, so a run that was killed leaves nothing that a second run
/// does not overwrite. Two runs at once on one folder are not supported.
///
/// # Errors
///
/// The writer's, or a failure to create, sync or rename the file.
pub fn write_whole<T>(path: &Path, mode: u32, write: impl FnOnce(&mut BufWriter<File>) -> Result<T>) -> Result<T> {
    let partial = partial_path(path)?;
    let file = File::create(&partial).with_context(|| format!("cannot create {}", partial.display()))?;
    // Before the content: a secret key must at no moment be readable by others.
    file.set_permissions(Permissions::from_mode(mode))?;
    let mut writer = BufWriter::new(file);
    let result = write(&mut writer).with_context(|| format!("cannot write {}", path.display()))?;
    let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all().with_context(|| format!("cannot sync {}", partial.display()))?;
    fs::rename(&partial, path).with_context(|| format!("cannot rename {} to its name", partial.display()))?;
    Ok(result)
}

/// [`write_whole`] for bytes that are in memory.
///
/// # Errors
///
/// As [`write_whole`].
pub fn write_bytes(path: &Path, mode: u32, bytes: &[u8]) -> Result<()> {
    write_whole(path, mode, |writer| Ok(writer.write_all(bytes)?))
}

/// Removes what a killed run left of files with these names; the files themselves stay.
///
/// # Errors
///
/// There is such a file and it cannot be removed.
pub fn remove_partials<'a>(folder: &Path, names: impl Iterator<Item = &'a str>) -> Result<()> {
    for name in names {
        remove_if_there(&partial_path(&folder.join(name))?)?;
    }
    Ok(())
}

/// Removes a file; that it is not there is fine.
///
/// # Errors
///
/// The file is there and cannot be removed.
pub fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Creates a folder and its parents.
///
/// # Errors
///
/// The folder can be neither created nor found.
pub fn create_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot create the folder {}", path.display()))
}

/// Makes a folder that has nothing in it.
///
/// # Errors
///
/// What is there cannot be removed, or the folder not be created.
pub fn empty_folder(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot empty {}", path.display()))
        }
        _ => create_folder(path),
    }
}

/// Names of all that is in a folder, at its top level, hidden ones too.
///
/// # Errors
///
/// The folder cannot be read.
pub fn names_in(folder: &Path) -> io::Result<BTreeSet<String>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// Refuses a folder that is missing one of `required` or that has anything which is not in `allowed`.
///
/// # Errors
///
/// The names that are missing or too many.
pub fn check_names<'a>(
    folder: &Path,
    required: impl Iterator<Item = &'a str>,
    allowed: impl Iterator<Item = &'a str>,
) -> Result<()> {
    let mut extra = names_in(folder).with_context(|| format!("cannot read the folder {}", folder.display()))?;
    let missing: Vec<_> = required.filter(|name| !extra.contains(*name)).map(str::to_owned).collect();
    allowed.for_each(|name| {
        extra.remove(name);
    });
    if !missing.is_empty() {
        bail!("{} lacks {}; run the steps before this one again", folder.display(), missing.join(", "));
    }
    if !extra.is_empty() {
        let extra: Vec<_> = extra.into_iter().collect();
        bail!("{} has files that are not in the plan: {}; remove them", folder.display(), extra.join(", "));
    }
    Ok(())
}

fn partial_path(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().with_context(|| format!("{} has no file name", path.display()))?;
    Ok(path.with_file_name(format!(".{}.partial", name.to_string_lossy())))
}

/// All plain files at or below a path, sorted; links are not followed and not listed.
///
/// # Errors
///
/// A folder cannot be read, or there are more than `most` files.
pub fn files_below(path: &Path, most: usize) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![path.to_owned()];
    while let Some(path) = open.pop() {
        let cannot = || format!("cannot read {}", path.display());
        let kind = fs::symlink_metadata(&path).with_context(cannot)?.file_type();
        if kind.is_dir() {
            for entry in fs::read_dir(&path).with_context(cannot)? {
                open.push(entry.with_context(cannot)?.path());
            }
        } else if kind.is_file() {
            found.push(path);
        }
        if found.len() > most {
            bail!("more than {most} files in one place; is the output folder the right one?");
        }
    }
    found.sort();
    Ok(found)
}
