//! Names, versions and file names of the packages: pure functions, and the only place where they are made.
//!
//! Contract: a pre-release sorts below its release by each format's own comparison, `1.2.0~rc1` below `1.2.0`. Versions
//! that not every format can express are refused instead of bent.

use super::{Format, Kind};
use crate::machine::Machine;

/// Number of times that one version was packaged; the pipeline never packages one twice.
pub(super) const RPM_RELEASE: &str = "1";

/// As [`RPM_RELEASE`]; apk counts from zero.
pub(super) const APK_RELEASE: &str = "0";

/// Why a version cannot be that of packages.
#[derive(Debug, thiserror::Error)]
#[error(
    "version {0:?} does not fit all package formats; it must be MAJOR.MINOR.PATCH, or that with -alpha.N, -beta.N or -rc.N"
)]
pub struct VersionError(String);

/// A version as all formats can have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    release: String,
    /// Stage and number before the release, as `rc1`.
    pre: Option<String>,
}

impl Version {
    /// Takes a version as it stands in Cargo.toml.
    ///
    /// # Errors
    ///
    /// It has another form, or build metadata.
    pub fn parse(text: &str) -> Result<Self, VersionError> {
        let refuse = || VersionError(text.to_owned());
        let (release, pre) = text.split_once('-').map_or((text, None), |(release, pre)| (release, Some(pre)));
        let numbers: Vec<_> = release.split('.').collect();
        if numbers.len() != 3 || !numbers.iter().all(|number| is_number(number)) {
            return Err(refuse());
        }
        let pre = match pre.map(|pre| pre.split_once('.').ok_or_else(refuse)).transpose()? {
            Some((stage @ ("alpha" | "beta" | "rc"), number)) if is_number(number) => Some(format!("{stage}{number}")),
            Some(_) => return Err(refuse()),
            None => None,
        };
        Ok(Self { release: release.to_owned(), pre })
    }

    /// The product's version in a format's spelling, without the number of the packaging.
    #[must_use]
    pub fn upstream(&self, format: Format) -> String {
        let separator = match format {
            Format::Deb | Format::Rpm => "~",
            Format::Apk => "_",
            // pacman takes letters that follow the numbers at once for a pre-release.
            Format::Arch => "",
        };
        self.pre.as_ref().map_or_else(|| self.release.clone(), |pre| format!("{}{separator}{pre}", self.release))
    }

    /// The version that the package's metadata and other packages' dependencies on it have.
    #[must_use]
    pub fn full(&self, format: Format) -> String {
        let upstream = self.upstream(format);
        match format {
            Format::Deb => upstream,
            Format::Rpm | Format::Arch => format!("{upstream}-{RPM_RELEASE}"),
            Format::Apk => format!("{upstream}-r{APK_RELEASE}"),
        }
    }
}

fn is_number(text: &str) -> bool {
    let leading_zero = text.len() > 1 && text.starts_with('0');
    !text.is_empty() && !leading_zero && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl Kind {
    /// Name of the package, equal in all formats.
    #[must_use]
    pub fn package_name(self) -> &'static str {
        match self {
            Self::Server => "cairn-server",
            Self::Client => "cairn-client",
            Self::EtcdNames => "cairn-etcd-names",
        }
    }
}

impl Format {
    /// The end of the file name.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Deb => "deb",
            Self::Rpm => "rpm",
            Self::Apk => "apk",
            Self::Arch => "pkg.tar.zst",
        }
    }

    /// The format's word for a machine; none is any.
    #[must_use]
    pub fn machine(self, machine: Option<Machine>) -> &'static str {
        match (machine, self) {
            (Some(machine), Self::Deb) => machine.debian(),
            (Some(machine), Self::Rpm | Self::Apk | Self::Arch) => machine.uname(),
            (None, Self::Deb) => "all",
            (None, Self::Rpm | Self::Apk) => "noarch",
            (None, Self::Arch) => "any",
        }
    }
}

/// File name of a package.
#[must_use]
pub fn file_name(kind: Kind, version: &Version, format: Format, machine: Option<Machine>) -> String {
    let (name, version) = (kind.package_name(), version.full(format));
    let (machine, extension) = (format.machine(machine), format.extension());
    match format {
        Format::Deb => format!("{name}_{version}_{machine}.{extension}"),
        Format::Rpm | Format::Apk => format!("{name}-{version}.{machine}.{extension}"),
        Format::Arch => format!("{name}-{version}-{machine}.{extension}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_spells_a_pre_release_so_that_it_sorts_below_the_release() {
        let version = Version::parse("1.2.0-rc.1").unwrap();
        let full: Vec<_> = Format::ALL.iter().map(|format| version.full(*format)).collect();
        assert_eq!(full, ["1.2.0~rc1", "1.2.0~rc1-1", "1.2.0_rc1-r0", "1.2.0rc1-1"]);
    }

    #[test]
    fn file_names_follow_each_format_s_custom() {
        let version = Version::parse("0.1.0").unwrap();
        let name = |kind, format, machine| file_name(kind, &version, format, machine);
        let (amd64, arm64) = (Some(Machine::Amd64), Some(Machine::Arm64));
        assert_eq!(name(Kind::Server, Format::Deb, amd64), "cairn-server_0.1.0_amd64.deb");
        assert_eq!(name(Kind::Server, Format::Rpm, amd64), "cairn-server-0.1.0-1.x86_64.rpm");
        assert_eq!(name(Kind::Client, Format::Apk, arm64), "cairn-client-0.1.0-r0.aarch64.apk");
        assert_eq!(name(Kind::Client, Format::Arch, arm64), "cairn-client-0.1.0-1-aarch64.pkg.tar.zst");
        assert_eq!(name(Kind::EtcdNames, Format::Deb, None), "cairn-etcd-names_0.1.0_all.deb");
    }

    #[test]
    fn a_version_that_a_format_could_not_express_is_refused() {
        for text in ["1.2", "1.2.0-rc", "1.2.0-rc1", "1.2.0-dev.1", "1.2.0+build", "1.02.0", "1.2.0-rc.1.2", ""] {
            assert!(Version::parse(text).is_err(), "{text}");
        }
    }
}
