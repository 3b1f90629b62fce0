//! What each package installs and where: the distributions' paths, our modes, root as the owner of everything.
//!
//! The data folder is in no package: a package manager that does not own it cannot remove it. The unit's
//! `StateDirectory=`, tmpfiles and the script make it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use flate2::{Compression, GzBuilder};

use super::{Format, Id, Kind, Source, changelog};
use crate::files::{EXECUTABLE_MODE, FILE_MODE};
use crate::tarball::GZIP_LEVEL;

/// Folder of the configuration.
pub const CONFIGURATION: &str = "/etc/cairn";

/// Configuration of the server: edited ones survive reinstallation and upgrade.
pub const CONFIGURATION_FILE: &str = "/etc/cairn/cairn.env";

/// Folder of the server's data.
pub const DATA_DIR: &str = "/var/lib/cairn";

/// The installed systemd unit.
pub const UNIT_FILE: &str = "/usr/lib/systemd/system/cairn.service";

/// Gzip's byte for Unix, which is what `gzip -9n` writes.
const GZIP_OS_UNIX: u8 = 3;

/// The line of the sample configuration that a package changes, and what it becomes.
const SAMPLE_DATA_DIR: &str = "CAIRN_DATA_DIR=default.cairn\n";
const PACKAGED_DATA_DIR: &str = "CAIRN_DATA_DIR=/var/lib/cairn/default.cairn\n";

/// One thing that a package installs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A file.
    File {
        /// Its permissions.
        mode: u32,
        /// Its content.
        bytes: Vec<u8>,
        /// What it is to the package manager.
        role: Role,
    },
    /// A symbolic link to this path.
    Link(String),
    /// A folder that belongs to the package alone.
    Folder,
}

/// What a file is to the package manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Nothing in particular.
    Plain,
    /// Configuration, which its users edit.
    Configuration,
    /// Documentation, which may be left out of an installation.
    Documentation,
    /// A licence, which may not.
    Licence,
}

type Contents = BTreeMap<String, Content>;

/// Everything that the package installs, by absolute path.
pub(super) fn gather(id: Id, source: &Source<'_>) -> Result<Contents> {
    let mut contents = Contents::new();
    for program in id.kind.programs() {
        add_program(program, id, source, &mut contents)?;
    }
    match id.kind {
        Kind::Server => add_service(id, source, &mut contents)?,
        Kind::EtcdNames => add_etcd_names(&mut contents),
        Kind::Client => {}
    }
    add_legal(id, source, &mut contents)?;
    Ok(contents)
}

fn add_program(program: &str, id: Id, source: &Source<'_>, contents: &mut Contents) -> Result<()> {
    let bytes = read(&source.programs.join(program))?;
    contents.insert(format!("/usr/bin/{program}"), Content::File { mode: EXECUTABLE_MODE, bytes, role: Role::Plain });
    let page = gzip(&read(&source.docs.join(format!("man/{program}.1")))?)?;
    contents.insert(format!("/usr/share/man/man1/{program}.1.gz"), file(page, Role::Documentation));
    let zsh = if id.format == Format::Deb { "vendor-completions" } else { "site-functions" };
    for (from, to) in [
        (format!("bash/{program}.bash"), format!("/usr/share/bash-completion/completions/{program}")),
        (format!("fish/{program}.fish"), format!("/usr/share/fish/vendor_completions.d/{program}.fish")),
        (format!("zsh/_{program}"), format!("/usr/share/zsh/{zsh}/_{program}")),
    ] {
        contents.insert(to, file(read(&source.docs.join("completions").join(from))?, Role::Plain));
    }
    Ok(())
}

fn add_service(id: Id, source: &Source<'_>, contents: &mut Contents) -> Result<()> {
    let packaging = source.tree.join("packaging");
    let sample = fs::read_to_string(packaging.join("cairn.env")).context("cannot read packaging/cairn.env")?;
    let configuration = packaged_configuration(&sample)?.into_bytes();
    contents.insert(CONFIGURATION_FILE.to_owned(), file(configuration, Role::Configuration));
    if id.format == Format::Rpm {
        contents.insert(CONFIGURATION.to_owned(), Content::Folder);
    }
    if id.format == Format::Apk {
        return Ok(());
    }
    let systemd = packaging.join("systemd");
    for (from, to) in [
        ("cairn.service", UNIT_FILE),
        ("cairn.sysusers", "/usr/lib/sysusers.d/cairn.conf"),
        ("cairn.tmpfiles", "/usr/lib/tmpfiles.d/cairn.conf"),
    ] {
        contents.insert(to.to_owned(), file(read(&systemd.join(from))?, Role::Plain));
    }
    Ok(())
}

/// The sample configuration with the data where the unit keeps it.
fn packaged_configuration(sample: &str) -> Result<String> {
    ensure!(
        sample.matches(SAMPLE_DATA_DIR).count() == 1,
        "packaging/cairn.env must have the line {:?} once; the packages put their folder there",
        SAMPLE_DATA_DIR.trim_end()
    );
    Ok(sample.replace(SAMPLE_DATA_DIR, PACKAGED_DATA_DIR))
}

fn add_etcd_names(contents: &mut Contents) {
    for (etcd, cairn) in [("etcd", "cairnd"), ("etcdctl", "cairnctl"), ("etcdutl", "cairnutl")] {
        contents.insert(format!("/usr/bin/{etcd}"), Content::Link(cairn.to_owned()));
        contents.insert(format!("/usr/share/man/man1/{etcd}.1.gz"), Content::Link(format!("{cairn}.1.gz")));
    }
}

/// Licence, copyright and changelog, in each distribution's way.
fn add_legal(id: Id, source: &Source<'_>, contents: &mut Contents) -> Result<()> {
    let name = id.kind.package_name();
    let docs = format!("/usr/share/doc/{name}");
    let licences = format!("/usr/share/licenses/{name}");
    let collected = (id.kind != Kind::EtcdNames).then(|| read(source.licences)).transpose()?;
    if id.format == Format::Deb {
        let text = changelog::debian(name, &source.version.full(id.format), source.changes, source.source_date_epoch);
        contents.insert(format!("{docs}/changelog.gz"), file(gzip(text.as_bytes())?, Role::Plain));
        let copyright = read(&source.tree.join("packaging/debian/copyright"))?;
        contents.insert(format!("{docs}/copyright"), file(copyright, Role::Plain));
        let overrides = source.tree.join(format!("packaging/debian/{name}.lintian-overrides"));
        if overrides.is_file() {
            contents.insert(format!("/usr/share/lintian/overrides/{name}"), file(read(&overrides)?, Role::Plain));
        }
        if let Some(bytes) = collected {
            contents.insert(format!("{docs}/third-party-licenses.gz"), file(gzip(&bytes)?, Role::Plain));
        }
        return Ok(());
    }
    contents.insert(format!("{licences}/LICENSE"), file(read(&source.tree.join("LICENSE"))?, Role::Licence));
    if let Some(bytes) = collected {
        contents.insert(format!("{licences}/THIRD-PARTY-LICENSES"), file(bytes, Role::Licence));
    }
    if id.format == Format::Rpm {
        let changes = read(&source.tree.join("CHANGELOG.md"))?;
        contents.insert(format!("{docs}/CHANGELOG.md"), file(changes, Role::Documentation));
        contents.insert(docs, Content::Folder);
        contents.insert(licences, Content::Folder);
    }
    Ok(())
}

fn file(bytes: Vec<u8>, role: Role) -> Content {
    Content::File { mode: FILE_MODE, bytes, role }
}

/// As `gzip -9n`: without name and time.
fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let gzip = GzBuilder::new().mtime(0).operating_system(GZIP_OS_UNIX);
    let mut writer = gzip.write(Vec::new(), Compression::new(GZIP_LEVEL));
    writer.write_all(bytes)?;
    Ok(writer.finish()?)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packaged_configuration_differs_from_the_sample_in_the_data_folder_alone() {
        let sample = "CAIRN_NAME=default\nCAIRN_DATA_DIR=default.cairn\n";
        let packaged = "CAIRN_NAME=default\nCAIRN_DATA_DIR=/var/lib/cairn/default.cairn\n";
        assert_eq!(packaged_configuration(sample).unwrap(), packaged);
        assert!(packaged.contains(DATA_DIR));
    }

    #[test]
    fn a_sample_whose_data_folder_cannot_be_found_is_refused() {
        let error = packaged_configuration("CAIRN_NAME=default\n").unwrap_err().to_string();
        assert!(error.contains("must have the line \"CAIRN_DATA_DIR=default.cairn\" once"), "{error}");
    }

    #[test]
    fn compressed_pages_have_the_header_of_gzip_9n() {
        let bytes = gzip(b"page").unwrap();
        assert_eq!(bytes[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, GZIP_OS_UNIX]);
    }
}
