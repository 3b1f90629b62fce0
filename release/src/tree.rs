//! Exports the tree of a commit into a folder, so that a build sees what was committed and nothing else.
//!
//! Files that have their content already are left alone: cargo decides by their time what it must compile again, and a
//! time that never changed would make it trust a stale result.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use anyhow::{Context, Result};

use crate::files;
use crate::source::tree::{GitTree, Mode, TreeFile};

/// Most files that an exported tree may have.
const MAX_FILES: usize = 100_000;

/// Makes `folder` equal to the tree: writes what differs, removes what is not in it.
///
/// # Errors
///
/// The folder cannot be written.
pub fn export(tree: &GitTree, folder: &Path) -> Result<()> {
    files::create_folder(folder)?;
    let wanted: BTreeSet<_> = tree.files.keys().map(|path| folder.join(path)).collect();
    for path in files::files_below(folder, MAX_FILES)? {
        if !wanted.contains(&path) {
            files::remove_if_there(&path)?;
        }
    }
    for (path, file) in &tree.files {
        let path = folder.join(path);
        write(&path, file).with_context(|| format!("cannot export {}", path.display()))?;
    }
    Ok(())
}

fn write(path: &Path, file: &TreeFile) -> Result<()> {
    if let Some(folder) = path.parent() {
        files::create_folder(folder)?;
    }
    let mode = match file.mode {
        Mode::File => files::FILE_MODE,
        Mode::Executable => files::EXECUTABLE_MODE,
        Mode::Link => {
            files::remove_if_there(path)?;
            return Ok(symlink(String::from_utf8_lossy(&file.content).as_ref(), path)?);
        }
    };
    if fs::read(path).is_ok_and(|present| present == file.content) {
        return Ok(fs::set_permissions(path, Permissions::from_mode(mode))?);
    }
    files::write_bytes(path, mode, &file.content)
}
