//! How each format is taken apart.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use flate2::read::{GzDecoder, MultiGzDecoder};
use tar::Archive;

use super::{Finished, add_entry};
use crate::linux_packages::{Format, tool};
use crate::process;

/// The member of an apk or Arch package that has its metadata.
const PKGINFO: &str = ".PKGINFO";

/// Members of an apk or Arch package that are no content: metadata and scripts.
fn is_metadata(path: &str) -> bool {
    path.starts_with('.') && !path.starts_with("./")
}

fn absolute(path: &str) -> String {
    let path = path.strip_prefix('.').unwrap_or(path);
    format!("/{}", path.trim_matches('/'))
}

/// Takes a tar; metadata is returned by name.
fn take_tar(reader: impl Read, finished: &mut Finished) -> Result<BTreeMap<String, String>> {
    let mut metadata = BTreeMap::new();
    let mut archive = Archive::new(reader);
    // The parts of an apk are tars without an end.
    archive.set_ignore_zeros(true);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = String::from_utf8(entry.path_bytes().into_owned()).context("a path is no text")?;
        if is_metadata(&path) {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            metadata.insert(path, String::from_utf8_lossy(&bytes).into_owned());
        } else if absolute(&path) != "/" {
            add_entry(finished, absolute(&path), &mut entry)?;
        }
    }
    Ok(metadata)
}

/// The version that a package names. Nothing behind it is read, so that this is quick.
pub(super) fn version(path: &Path, format: Format) -> Result<String> {
    let info = match format {
        Format::Deb => return deb_field(path, "Version"),
        Format::Rpm => return Ok(rpm_lines(path, "%{VERSION}-%{RELEASE}")?.concat()),
        Format::Apk => first_pkginfo(MultiGzDecoder::new(BufReader::new(File::open(path)?)))?,
        Format::Arch => first_pkginfo(zstd(path)?)?,
    };
    let version = info.lines().find_map(|line| line.strip_prefix("pkgver = "));
    Ok(version.context("its .PKGINFO names no version")?.trim().to_owned())
}

fn first_pkginfo(reader: impl Read) -> Result<String> {
    let mut archive = Archive::new(reader);
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.path_bytes().as_ref() == PKGINFO.as_bytes() {
            let mut text = String::new();
            entry.read_to_string(&mut text)?;
            return Ok(text);
        }
    }
    bail!("it has no {PKGINFO}")
}

fn dpkg_deb(path: &Path, arguments: &[&str]) -> Result<Command> {
    let mut command = process::clean_command(&tool::find("dpkg-deb", "dpkg")?);
    command.arg(arguments[0]).arg(path).args(&arguments[1..]);
    Ok(command)
}

fn deb_field(path: &Path, name: &str) -> Result<String> {
    Ok(tool::output(&mut dpkg_deb(path, &["--field", name])?)?.trim().to_owned())
}

pub(super) fn deb(path: &Path) -> Result<Finished> {
    let field = |name: &str| deb_field(path, name);
    let list = |name: &str| {
        Ok::<_, anyhow::Error>(field(name)?.split(", ").filter(|s| !s.is_empty()).map(str::to_owned).collect())
    };
    let mut finished = Finished {
        name: field("Package")?,
        version: field("Version")?,
        machine: field("Architecture")?,
        depends: list("Depends")?,
        provides: list("Provides")?,
        conflicts: list("Conflicts")?,
        replaces: list("Replaces")?,
        ..Finished::default()
    };
    take_tar(BufReader::new(tool::output_file(&mut dpkg_deb(path, &["--fsys-tarfile"])?)?), &mut finished)?;
    let mut control = Archive::new(tool::output_file(&mut dpkg_deb(path, &["--ctrl-tarfile"])?)?);
    for entry in control.entries()? {
        let mut entry = entry?;
        if entry.path()?.ends_with("conffiles") {
            let mut text = String::new();
            entry.read_to_string(&mut text)?;
            finished.configuration = text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
        }
    }
    Ok(finished)
}

/// What rpm says of a package in a query's format, line by line.
fn rpm_lines(path: &Path, format: &str) -> Result<Vec<String>> {
    let database = tempfile::tempdir()?;
    let mut command = process::clean_command(&tool::find("rpm", "rpm")?);
    command.arg("--dbpath").arg(database.path()).args(["--query", "--package", "--queryformat", format]).arg(path);
    Ok(tool::output(&mut command)?.lines().map(str::to_owned).filter(|line| !line.is_empty()).collect())
}

pub(super) fn rpm(path: &Path) -> Result<Finished> {
    let ask = |format: &str| rpm_lines(path, format);
    let is_from_rpm = |name: &str| name.starts_with("rpmlib(") || name == "/bin/sh" || name.starts_with("config(");
    let names = |format: &str, own: &str| -> Result<BTreeSet<String>> {
        Ok(ask(format)?.into_iter().filter(|name| !is_from_rpm(name) && !name.starts_with(own)).collect())
    };
    let [name, version, machine] = <[String; 3]>::try_from(ask("%{NAME}\n%{VERSION}-%{RELEASE}\n%{ARCH}\n")?)
        .map_err(|lines| anyhow::anyhow!("rpm says {lines:?}"))?;
    // A package provides itself, as `name = version` and `name(machine) = version`.
    let itself = |format: &str| -> Result<BTreeSet<String>> {
        let is_itself = |found: &str| {
            found.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with(" = ") || rest.starts_with('('))
        };
        Ok(names(format, "rpmlib(")?.into_iter().filter(|found| !is_itself(found)).collect())
    };
    let mut finished = Finished {
        depends: names("[%{REQUIRENEVRS}\n]", "rpmlib(")?,
        provides: itself("[%{PROVIDENEVRS}\n]")?,
        conflicts: names("[%{CONFLICTNEVRS}\n]", "rpmlib(")?,
        replaces: names("[%{OBSOLETENEVRS}\n]", "rpmlib(")?,
        ..Finished::default()
    };
    for line in ask("[%{FILEFLAGS:fflags}\t%{FILENAMES}\n]")? {
        let (flags, file) = line.split_once('\t').context("a file without flags")?;
        if flags.contains('c') && flags.contains('n') {
            finished.configuration.insert(file.to_owned());
        }
    }
    let mut command = tool::command_reading(&tool::find("rpm2archive", "rpm")?, path)?;
    take_tar(GzDecoder::new(tool::output_file(command.arg("-"))?), &mut finished)?;
    (finished.name, finished.version, finished.machine) = (name, version, machine);
    Ok(finished)
}

pub(super) fn apk(path: &Path) -> Result<Finished> {
    let mut finished = Finished::default();
    let metadata = take_tar(MultiGzDecoder::new(BufReader::new(File::open(path)?)), &mut finished)?;
    take_pkginfo(&metadata, "arch", &mut finished)?;
    Ok(finished)
}

fn zstd(path: &Path) -> Result<impl Read> {
    ruzstd::decoding::StreamingDecoder::new(BufReader::new(File::open(path)?))
        .map_err(|e| anyhow::anyhow!("it is no zstd: {e}"))
}

pub(super) fn arch(path: &Path) -> Result<Finished> {
    let mut finished = Finished::default();
    let metadata = take_tar(zstd(path)?, &mut finished)?;
    take_pkginfo(&metadata, "arch", &mut finished)?;
    Ok(finished)
}

/// Takes the metadata of apk and Arch: a line `name = value` each, several for lists.
fn take_pkginfo(metadata: &BTreeMap<String, String>, machine: &str, finished: &mut Finished) -> Result<()> {
    let text = metadata.get(PKGINFO).with_context(|| format!("it has no {PKGINFO}"))?;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, value)) = line.split_once(" = ") else { continue };
        let value = value.trim().to_owned();
        match name {
            "pkgname" => finished.name = value,
            "pkgver" => finished.version = value,
            _ if name == machine => finished.machine = value,
            "depend" => drop(finished.depends.insert(value)),
            "provides" => drop(finished.provides.insert(value)),
            "conflict" | "conflicts" => drop(finished.conflicts.insert(value)),
            "replaces" => drop(finished.replaces.insert(value)),
            "backup" => drop(finished.configuration.insert(absolute(&value))),
            _ => {}
        }
    }
    Ok(())
}
