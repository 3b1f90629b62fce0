//! Builds the programs once more, elsewhere and under other circumstances, and compares them bit for bit.
//!
//! Elsewhere is a folder beside the work folder with caches of its own: what the first build made is never there, and what a
//! rebuild compiled is there for the next one. Other are folder, host name, home, `$USER`, time zone, locale, umask, number
//! of jobs, and the time, in that it is later. Left out: another user id, a clock that was set, another machine, another
//! processor, cargo's and zig's own places.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::compile::{self, Build, Circumstances};
use crate::files;
use crate::gates::difference::difference;
use crate::plan::Target;
use crate::site::{Site, target_dir_name};
use crate::steps::{make, no_violations};
use crate::toolchain::require;
use crate::tree;

/// Name of the host on which it takes place.
const HOST: &str = "elsewhere";

/// Parallel jobs: a number that is not cargo's own choice on a machine of two processors.
const JOBS: u32 = 3;

/// Builds the programs of these targets and compares them, and their debug information, with those of the site.
///
/// # Errors
///
/// The build fails, or the first difference in each file that has one.
pub fn rebuild(site: &Site, targets: &[&Target]) -> Result<String> {
    if site.given_programs.is_some() {
        bail!("the programs were given; there is no build to compare with");
    }
    let folder = folder_beside(&site.work)?;
    let (tree, home) = (folder.join("tree"), folder.join("home"));
    tree::export(&make::git_tree(site)?, &tree)?;
    files::create_folder(&home)?;
    let mut violations = Vec::new();
    for target in targets {
        let toolchain = site.toolchain(target)?;
        let place = |name: &str| folder.join(name).join(&target.name);
        let (built, crate_lists) = (place("built"), place("crate-lists"));
        make::write_crate_lists(site, target, &crate_lists)?;
        compile::compile(
            &Build {
                tree: &tree,
                target,
                toolchain: &toolchain,
                target_dir: &folder.join(target_dir_name(&toolchain)),
                commit: site.plan.commit.as_deref(),
                circumstances: circumstances(&home)?,
            },
            &crate_lists,
            &built,
        )?;
        let (stripped, debug) = (place("programs"), place("debug"));
        let places = compile::folders_in_debug_information(&folder)?;
        make::split_programs(target, &built, &places, &stripped, &debug)?;
        violations.extend(difference(&site.programs(target), &stripped)?);
        violations.extend(difference(&site.debug(target), &debug)?);
    }
    no_violations(violations)?;
    Ok("programs and debug information, bit for bit".to_owned())
}

/// Says what [`rebuild`] would do, a line for each target.
///
/// # Errors
///
/// A toolchain is missing.
pub fn preview(site: &Site, targets: &[&Target]) -> Result<String> {
    let folder = folder_beside(&site.work)?;
    let lines = targets.iter().map(|target| {
        let (toolchain, programs) = (site.toolchain(target)?, site.programs(target));
        let compared = if programs.is_dir() { "to compare with" } else { "`make` comes first: nothing in" };
        Ok(format!(
            "{:<28} by {} in {}; {compared} {}\n",
            target.name,
            toolchain.short_version(),
            folder.display(),
            programs.display()
        ))
    });
    lines.collect()
}

/// A folder whose name is as long as the work folder's: names of folders are padded in debug information, not cut out.
fn folder_beside(work: &Path) -> Result<PathBuf> {
    let name = work.file_name().context("the work folder has no name")?.to_string_lossy();
    Ok(work.with_file_name("2".repeat(name.len())))
}

fn circumstances(home: &Path) -> Result<Circumstances> {
    let launcher = [
        require("unshare", "the Debian package util-linux")?.display().to_string(),
        "--uts".to_owned(),
        "--".to_owned(),
        "sh".to_owned(),
        "-c".to_owned(),
        format!("hostname {HOST}; umask 077; exec \"$@\""),
        "sh".to_owned(),
    ];
    let variables =
        [("HOME", &*home.display().to_string()), ("USER", "somebody"), ("TZ", "Asia/Kathmandu"), ("LC_ALL", "C.UTF-8")];
    Ok(Circumstances {
        variables: variables.map(|(name, value)| (name, value.to_owned())).to_vec(),
        jobs: Some(JOBS),
        launcher: launcher.to_vec(),
    })
}
