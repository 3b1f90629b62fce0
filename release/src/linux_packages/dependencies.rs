//! What a program needs of the host, read from its ELF, and the dependencies of packages that follow.
//!
//! Contract: nothing is assumed and nothing is looked up on the machine that packages: libraries and symbol versions of
//! the final bytes decide, so that a package cross-built on a newer system is as right as a native one. A library that no
//! package is known for is an error.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};

use super::Format;
use crate::gates::elf::ElfFacts;
use crate::gates::policy::GLIBC_LIBRARIES;
use crate::machine::Machine;

/// Libraries that belong to glibc; its loader is one of them.
fn glibc_libraries() -> impl Iterator<Item = &'static str> {
    GLIBC_LIBRARIES.into_iter().chain(Machine::ALL.map(Machine::loader))
}

/// First GCC whose libstdc++ has a symbol version, for the versions that are in use; older ones every host has.
const GLIBCXX_OF_GCC: [(&str, u32); 8] = [
    ("GLIBCXX_3.4.26", 9),
    ("GLIBCXX_3.4.27", 9),
    ("GLIBCXX_3.4.28", 10),
    ("GLIBCXX_3.4.29", 11),
    ("GLIBCXX_3.4.30", 12),
    ("GLIBCXX_3.4.31", 13),
    ("GLIBCXX_3.4.32", 14),
    ("GLIBCXX_3.4.33", 14),
];

/// The machine that a program is for; none for one that no package is made for.
///
/// # Errors
///
/// It is no readable 64-bit ELF.
pub fn machine_of_elf(data: &[u8]) -> Result<Option<Machine>> {
    Ok(Machine::of_elf_number(ElfFacts::read(data)?.machine))
}

/// Libraries that a program loads, and of each the symbol versions that it must have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    libraries: BTreeMap<String, BTreeSet<String>>,
}

impl Needs {
    /// Reads a program; a fully static one needs nothing.
    ///
    /// # Errors
    ///
    /// It is no readable 64-bit ELF.
    pub fn of_elf(data: &[u8]) -> Result<Self> {
        let dynamic = ElfFacts::read(data)?.dynamic.unwrap_or_default();
        let mut needs = Self::default();
        for library in dynamic.needed {
            needs.libraries.entry(library).or_default();
        }
        for required in dynamic.required {
            needs.libraries.entry(required.library).or_default().insert(required.version);
        }
        Ok(needs)
    }

    /// Adds what another program of the same package needs.
    pub fn merge(&mut self, other: Self) {
        for (library, versions) in other.libraries {
            self.libraries.entry(library).or_default().extend(versions);
        }
    }

    /// The dependencies of a package with this program, sorted.
    ///
    /// # Errors
    ///
    /// A library or version of a library that is not known, or any for Alpine, whose C library is musl.
    pub fn depends(&self, format: Format) -> Result<Vec<String>> {
        if format == Format::Rpm {
            return Ok(self.rpm());
        }
        if let (Format::Apk, Some(library)) = (format, self.libraries.keys().next()) {
            bail!("a program needs {library}; packages for Alpine hold static programs");
        }
        let mut depends = BTreeSet::new();
        if let Some((major, minor)) = self.highest_glibc()? {
            depends.insert(match format {
                Format::Deb => format!("libc6 (>= {major}.{minor})"),
                _ => format!("glibc>={major}.{minor}"),
            });
        }
        for library in self.libraries.keys().filter(|library| !glibc_libraries().any(|of_glibc| of_glibc == *library)) {
            let dependency = match (library.as_str(), format) {
                ("libstdc++.so.6", Format::Deb) => format!("libstdc++6 (>= {})", self.oldest_gcc()?),
                ("libgcc_s.so.1", Format::Deb) => "libgcc-s1".to_owned(),
                ("libstdc++.so.6" | "libgcc_s.so.1", _) => "gcc-libs".to_owned(),
                _ => bail!("no package is known for {library}; link it statically or name its package here"),
            };
            depends.insert(dependency);
        }
        Ok(depends.into_iter().collect())
    }

    /// As rpm's own generator writes them: a capability for each library and for each version of it.
    fn rpm(&self) -> Vec<String> {
        let capabilities = self.libraries.iter().flat_map(|(library, versions)| {
            let versions = versions.iter().map(String::as_str);
            std::iter::once("").chain(versions).map(move |version| format!("{library}({version})(64bit)"))
        });
        let sorted: BTreeSet<_> = capabilities.collect();
        sorted.into_iter().collect()
    }

    /// The glibc that all versioned symbols are in; none for a program without glibc.
    fn highest_glibc(&self) -> Result<Option<(u32, u32)>> {
        let mut highest = None;
        for library in glibc_libraries() {
            let Some(versions) = self.libraries.get(library) else { continue };
            for version in versions {
                highest = highest.max(Some(glibc_version(version).with_context(|| format!("{library} {version}"))?));
            }
            // A library without versioned symbols is still glibc's.
            highest = highest.or(Some((2, 0)));
        }
        Ok(highest)
    }

    fn oldest_gcc(&self) -> Result<u32> {
        let versions = self.libraries.get("libstdc++.so.6").into_iter().flatten();
        let mut gcc = 5;
        for version in versions.filter(|version| version.starts_with("GLIBCXX_3.4.")) {
            let known = GLIBCXX_OF_GCC.iter().find(|(name, _)| name == version);
            let number: u32 = version.trim_start_matches("GLIBCXX_3.4.").parse().unwrap_or(u32::MAX);
            match known {
                Some((_, since)) => gcc = gcc.max(*since),
                None if number < 26 => {}
                None => bail!("no GCC is known for {version}; add it here"),
            }
        }
        Ok(gcc)
    }
}

fn glibc_version(version: &str) -> Result<(u32, u32)> {
    if version == "GLIBC_ABI_DT_RELR" {
        return Ok((2, 36));
    }
    let numbers = version.strip_prefix("GLIBC_").context("this is no version of glibc")?;
    let mut numbers = numbers.split('.').map(str::parse);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        bail!("this is no version of glibc");
    };
    Ok((major, minor))
}

/// Gate: a package depends on what the programs in it need, on all of it and on nothing that looks like a library
/// otherwise; `own` are the dependencies that do not come from programs.
#[must_use]
pub fn violations(package: &str, needs: &Needs, format: Format, own: &[String], found: &[String]) -> Vec<String> {
    let wanted = match needs.depends(format) {
        Ok(wanted) => wanted,
        Err(e) => return vec![format!("{package}: {e:#}")],
    };
    let found: BTreeSet<&str> = found.iter().map(String::as_str).collect();
    let wanted: BTreeSet<&str> = wanted.iter().chain(own).map(String::as_str).collect();
    let mut violations = Vec::new();
    if found.is_empty() && !wanted.is_empty() {
        violations.push(format!("{package} depends on nothing, but its programs need the libraries of the host"));
    }
    violations.extend(wanted.difference(&found).map(|lacks| format!("{package} does not depend on {lacks}")));
    violations.extend(
        found.difference(&wanted).map(|extra| format!("{package} depends on {extra}, which nothing in it needs")),
    );
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(libraries: &[(&str, &[&str])]) -> Needs {
        let libraries = libraries.iter().map(|(name, versions)| {
            ((*name).to_owned(), versions.iter().map(|version| (*version).to_owned()).collect())
        });
        Needs { libraries: libraries.collect() }
    }

    fn server() -> Needs {
        needs(&[
            ("libc.so.6", &["GLIBC_2.17", "GLIBC_2.28", "GLIBC_2.3.4"]),
            ("libm.so.6", &["GLIBC_2.27"]),
            ("libdl.so.2", &[]),
            ("ld-linux-x86-64.so.2", &["GLIBC_2.3"]),
        ])
    }

    #[test]
    fn the_highest_version_of_a_symbol_decides_and_numbers_are_compared_as_numbers() {
        assert_eq!(server().depends(Format::Deb).unwrap(), ["libc6 (>= 2.28)"]);
        assert_eq!(server().depends(Format::Arch).unwrap(), ["glibc>=2.28"]);
        let old = needs(&[("libc.so.6", &["GLIBC_2.4", "GLIBC_2.17"])]);
        assert_eq!(old.depends(Format::Deb).unwrap(), ["libc6 (>= 2.17)"]);
    }

    #[test]
    fn an_rpm_requires_each_version_of_each_library() {
        let requires = server().depends(Format::Rpm).unwrap();
        assert!(requires.contains(&"libc.so.6(GLIBC_2.28)(64bit)".to_owned()), "{requires:?}");
        assert!(requires.contains(&"libdl.so.2()(64bit)".to_owned()), "{requires:?}");
        assert_eq!(requires.len(), 9);
    }

    #[test]
    fn the_c_plus_plus_runtime_is_a_dependency_where_it_is_not_linked_in() {
        let needs = needs(&[
            ("libc.so.6", &["GLIBC_2.36"]),
            ("libstdc++.so.6", &["CXXABI_1.3", "GLIBCXX_3.4", "GLIBCXX_3.4.30"]),
            ("libgcc_s.so.1", &["GCC_3.0"]),
        ]);
        let depends = needs.depends(Format::Deb).unwrap();
        assert_eq!(depends, ["libc6 (>= 2.36)", "libgcc-s1", "libstdc++6 (>= 12)"]);
    }

    #[test]
    fn a_static_program_depends_on_nothing() {
        for format in Format::ALL {
            assert_eq!(Needs::default().depends(format).unwrap(), [""; 0]);
        }
    }

    #[test]
    fn a_program_for_glibc_has_no_place_in_alpine_s_packages() {
        let error = server().depends(Format::Apk).unwrap_err();
        assert!(error.to_string().contains("packages for Alpine hold static programs"), "{error}");
    }

    #[test]
    fn a_library_without_a_known_package_is_refused() {
        let error = needs(&[("libsnappy.so.1", &[])]).depends(Format::Deb).unwrap_err();
        assert!(error.to_string().contains("no package is known for libsnappy.so.1"), "{error}");
    }

    #[test]
    fn a_package_without_dependencies_is_red() {
        let found = violations("cairn-server.deb", &server(), Format::Deb, &[], &[]);
        let sentence = "cairn-server.deb depends on nothing, but its programs need the libraries of the host";
        assert_eq!(found, [sentence, "cairn-server.deb does not depend on libc6 (>= 2.28)"]);
    }

    #[test]
    fn a_package_that_depends_on_another_glibc_than_its_programs_need_is_red() {
        let found = violations("p", &server(), Format::Deb, &[], &["libc6 (>= 2.36)".to_owned()]);
        let sentences =
            ["p does not depend on libc6 (>= 2.28)", "p depends on libc6 (>= 2.36), which nothing in it needs"];
        assert_eq!(found, sentences);
    }

    #[test]
    fn a_package_with_the_dependencies_of_its_programs_is_green() {
        let found = ["cairn-base".to_owned(), "libc6 (>= 2.28)".to_owned()];
        assert!(violations("p", &server(), Format::Deb, &["cairn-base".to_owned()], &found).is_empty());
    }
}
