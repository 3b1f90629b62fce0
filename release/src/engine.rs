//! Compiles the storage engine's C++ as releases have it, for builds that are no release: once for both, and what tests run
//! is what users get.
//!
//! The archive needs the C++ library that it was compiled with, which stands beside it; any linker takes both. Left out: the
//! C code of other crates, which takes seconds.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::compile::{self, Build, Circumstances};
use crate::files;
use crate::site::Site;

/// Leaves the engine and the C++ library for this machine's architecture in `folder`, as `librocksdb.a` and `libc++.a`.
///
/// # Errors
///
/// Something cannot be fetched or compiled, or the folder cannot be written.
pub fn engine(site: &Site, folder: &Path) -> Result<()> {
    let target = site.native();
    let toolchain = site.toolchain(target)?;
    compile::fetch(&site.root, target, &toolchain)?;
    let build = Build {
        tree: &site.tree(),
        target,
        toolchain: &toolchain,
        target_dir: &site.target_dir(),
        commit: None,
        circumstances: Circumstances::default(),
    };
    let archive = compile::engine(&build, &site.root)?;
    let scratch = tempfile::tempdir()?;
    let library = compile::cxx_library(target, scratch.path())?;
    files::create_folder(folder)?;
    for file in [archive, library] {
        let to = folder.join(file.file_name().unwrap_or_default());
        fs::copy(&file, &to).with_context(|| format!("cannot write {}", to.display()))?;
    }
    Ok(())
}

/// Says what [`engine`] would do.
///
/// # Errors
///
/// No toolchain has the target.
pub fn preview(site: &Site, folder: &Path) -> Result<String> {
    let target = site.native();
    let toolchain = site.toolchain(target)?.short_version();
    let files = [compile::ENGINE_ARCHIVE, compile::CXX_ARCHIVE].map(|name| folder.join(name).display().to_string());
    Ok(format!("{}: {} by zig, for {toolchain}\n", target.name, files.join(" and ")))
}
