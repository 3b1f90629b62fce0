//! Packages of Linux distributions: deb, rpm, apk and Arch's, each split into server, client and etcd's names.
//!
//! [`Package::plan`] says what a package holds and needs, without writing anything; [`nfpm`] lets the program of that name
//! make it; [`readback`] reads the finished file with the format's own tools and compares it with the plan; [`signature`]
//! asks rpm about the key, [`lint`] the distributions' checkers; [`unit`] judges the systemd unit. Equal inputs give equal
//! bytes, wherever they lie.
//!
//! Left out: repositories ([`crate`]'s other modules), packages of debug symbols, an init script for hosts without
//! systemd (the apk has neither unit nor script).

mod changelog;
mod contents;
pub mod dependencies;
pub mod lint;
mod names;
pub mod nfpm;
pub mod readback;
pub mod signature;
pub mod tool;
pub mod unit;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

pub use changelog::changes_of;
pub use contents::{CONFIGURATION, CONFIGURATION_FILE, Content, DATA_DIR, UNIT_FILE};
pub use names::{Version, VersionError, file_name};

use crate::machine::Machine;
use dependencies::Needs;

/// Who answers for the packages.
pub const MAINTAINER: &str = "The Cairn authors <packages@cairn.example>";

/// The formats of packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// Debian, Ubuntu.
    Deb,
    /// Fedora, RHEL, SUSE.
    Rpm,
    /// Alpine.
    Apk,
    /// Arch.
    Arch,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 4] = [Self::Deb, Self::Rpm, Self::Apk, Self::Arch];
}

/// The packages that the product is split into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The server with unit, user and configuration.
    Server,
    /// The programs that talk to a server or look at its files.
    Client,
    /// The programs under etcd's names; stands in for the distribution's etcd.
    EtcdNames,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Server, Self::Client, Self::EtcdNames];

    /// Programs in the package.
    #[must_use]
    pub fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Server => &["cairnd"],
            Self::Client => &["cairn-bench", "cairnctl", "cairnutl"],
            Self::EtcdNames => &[],
        }
    }
}

/// Which package it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    /// What it holds.
    pub kind: Kind,
    /// How it is packed.
    pub format: Format,
    /// What it runs on. None is any machine, because nothing in it is machine code: exactly for [`Kind::EtcdNames`].
    pub machine: Option<Machine>,
}

impl Id {
    /// Every package of a release, sorted.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let machines = |kind| match kind {
            Kind::EtcdNames => vec![None],
            Kind::Server | Kind::Client => Machine::ALL.map(Some).to_vec(),
        };
        let of_kind = |kind| {
            Format::ALL
                .into_iter()
                .flat_map(move |format| machines(kind).into_iter().map(move |machine| Self { kind, format, machine }))
        };
        Kind::ALL.into_iter().flat_map(of_kind).collect()
    }

    /// File name of the package.
    #[must_use]
    pub fn file_name(self, version: &Version) -> String {
        file_name(self.kind, version, self.format, self.machine)
    }

    /// Whether a program may be in the package; none is a machine that no package is made for.
    fn is_for(self, program: Option<Machine>) -> bool {
        program.is_some() && program == self.machine
    }

    /// What it runs on, for a sentence.
    fn machine_shown(self) -> String {
        self.machine.map_or("every machine".to_owned(), |machine| format!("{machine:?}"))
    }
}

/// What packages are made of.
#[derive(Debug, Clone)]
pub struct Source<'a> {
    /// Version of the product.
    pub version: &'a Version,
    /// Seconds since 1970 that everything in the packages carries as its time.
    pub source_date_epoch: u64,
    /// Root of the source tree.
    pub tree: &'a Path,
    /// Folder with the programs for the machine; of no meaning for a package that has none.
    pub programs: &'a Path,
    /// Folder with `man/` and `completions/` of all programs, as their `generate-docs` writes them.
    pub docs: &'a Path,
    /// File with the licences of what is linked into the programs; of no meaning for a package that has none.
    pub licences: &'a Path,
    /// What is new in the version, a text without line feeds for each change; see [`changes_of`].
    pub changes: &'a [String],
}

/// A package before it is made: all that its bytes depend on.
#[derive(Debug, Clone)]
pub struct Package {
    /// Which it is.
    pub id: Id,
    /// Its version.
    pub version: Version,
    /// Time of everything in it.
    pub source_date_epoch: u64,
    /// What it installs, by absolute path.
    pub contents: BTreeMap<String, Content>,
    /// What its programs need of the host.
    pub needs: Needs,
    /// What else it depends on, in the format's spelling, sorted.
    pub own_depends: Vec<String>,
    /// Names that it also answers to.
    pub provides: Vec<String>,
    /// Packages that cannot be installed beside it.
    pub conflicts: Vec<String>,
    /// Packages whose files it may take over.
    pub replaces: Vec<String>,
    /// Scripts that the package manager runs.
    pub scripts: Vec<(Script, PathBuf)>,
    /// What is new in the version.
    pub changes: Vec<String>,
}

/// When a package manager runs a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// After the files were installed or replaced.
    PostInstall,
    /// Before the files are removed or replaced.
    PreRemove,
    /// After the files were removed or replaced.
    PostRemove,
}

impl Package {
    /// Plans a package.
    ///
    /// # Errors
    ///
    /// A program, a document or a file of the tree is missing or is not what it should be, or a program is for another
    /// machine.
    pub fn plan(id: Id, source: &Source<'_>) -> Result<Self> {
        let contents =
            contents::gather(id, source).with_context(|| format!("cannot plan {}", id.file_name(source.version)))?;
        let mut needs = Needs::default();
        for program in id.kind.programs() {
            let path = source.programs.join(program);
            let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let cannot = || format!("cannot package {}", path.display());
            let machine = dependencies::machine_of_elf(&bytes).with_context(cannot)?;
            ensure!(id.is_for(machine), "{} is not for {}", path.display(), id.machine_shown());
            needs.merge(Needs::of_elf(&bytes).with_context(cannot)?);
        }
        let names = etcd_packages(id);
        // apk has conflicts among the dependencies, and a package that answers to a name cannot refuse it.
        let names = if id.format == Format::Apk { Vec::new() } else { names };
        Ok(Self {
            id,
            version: source.version.clone(),
            source_date_epoch: source.source_date_epoch,
            contents,
            needs,
            own_depends: own_depends(id, source.version),
            provides: names.clone(),
            // To rpm and pacman, replacing means to be offered in place of an installed etcd: nobody asked for that.
            replaces: if id.format == Format::Deb { names.clone() } else { Vec::new() },
            conflicts: names,
            scripts: scripts(id, source.tree),
            changes: source.changes.to_vec(),
        })
    }

    /// File name of the package.
    #[must_use]
    pub fn file_name(&self) -> String {
        self.id.file_name(&self.version)
    }

    /// All that the package depends on, sorted.
    ///
    /// # Errors
    ///
    /// A program needs a library that no package is known for.
    pub fn depends(&self) -> Result<Vec<String>> {
        let mut depends = self.needs.depends(self.id.format)?;
        depends.extend(self.own_depends.iter().cloned());
        depends.sort();
        Ok(depends)
    }
}

/// Packages of the distribution that have etcd's programs.
fn etcd_packages(id: Id) -> Vec<String> {
    let names: &[&str] = match (id.kind, id.format) {
        (Kind::Server | Kind::Client, _) => &[],
        (Kind::EtcdNames, Format::Deb) => &["etcd", "etcd-client", "etcd-server"],
        (Kind::EtcdNames, Format::Apk) => &["etcd", "etcd-ctl"],
        (Kind::EtcdNames, Format::Rpm | Format::Arch) => &["etcd"],
    };
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Dependencies that do not come from programs.
fn own_depends(id: Id, version: &Version) -> Vec<String> {
    match id.kind {
        Kind::Client => Vec::new(),
        Kind::Server => match id.format {
            // The script makes the user with useradd where systemd-sysusers is missing.
            Format::Deb => vec!["passwd".to_owned()],
            // rpm orders the package after the program that this path belongs to, whatever its package is called.
            Format::Rpm => vec!["/usr/sbin/useradd".to_owned()],
            Format::Apk | Format::Arch => Vec::new(),
        },
        Kind::EtcdNames => {
            let exactly = |kind: Kind| {
                let (name, full) = (kind.package_name(), version.full(id.format));
                match id.format {
                    Format::Deb => format!("{name} (= {full})"),
                    Format::Rpm => format!("{name} = {}", version.upstream(id.format)),
                    Format::Apk | Format::Arch => format!("{name}={full}"),
                }
            };
            let refused = if id.format == Format::Apk { etcd_packages(id) } else { Vec::new() };
            let refused = refused.into_iter().map(|name| format!("!{name}"));
            refused.chain([Kind::Client, Kind::Server].map(exactly)).collect()
        }
    }
}

fn scripts(id: Id, tree: &Path) -> Vec<(Script, PathBuf)> {
    if id.kind != Kind::Server {
        return Vec::new();
    }
    let folder = tree.join("packaging/scripts");
    [
        (Script::PostInstall, "server-postinstall.sh"),
        (Script::PreRemove, "server-preremove.sh"),
        (Script::PostRemove, "server-postremove.sh"),
    ]
    .map(|(script, name)| (script, folder.join(name)))
    .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_has_twenty_packages_with_names_of_their_own() {
        let version = Version::parse("0.1.0").unwrap();
        let mut names: Vec<_> = Id::all().into_iter().map(|id| id.file_name(&version)).collect();
        assert_eq!(names.len(), 20);
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 20);
    }

    #[test]
    fn no_program_may_be_in_a_package_for_any_machine_not_even_one_of_an_unknown_machine() {
        let names = Id { kind: Kind::EtcdNames, format: Format::Deb, machine: None };
        assert!(!names.is_for(Some(Machine::Amd64)));
        assert!(!names.is_for(None));
    }

    #[test]
    fn the_etcd_names_need_exactly_their_own_version_of_the_programs() {
        let version = Version::parse("1.2.0-rc.1").unwrap();
        let own = |format| own_depends(Id { kind: Kind::EtcdNames, format, machine: None }, &version);
        assert_eq!(own(Format::Deb), ["cairn-client (= 1.2.0~rc1)", "cairn-server (= 1.2.0~rc1)"]);
        assert_eq!(own(Format::Rpm), ["cairn-client = 1.2.0~rc1", "cairn-server = 1.2.0~rc1"]);
        assert_eq!(own(Format::Apk), ["!etcd", "!etcd-ctl", "cairn-client=1.2.0_rc1-r0", "cairn-server=1.2.0_rc1-r0"]);
    }
}
