//! Builds the programs of a target from an exported tree, so that the bytes depend on the commit and the toolchain alone.
//!
//! zig, through cargo-zigbuild, is compiler and linker of the C and C++ half and sets the glibc floor; cargo-auditable
//! leaves the dependency list in each program. Paths of the machine are mapped away on both sides of the language border,
//! the baseline is the plan's, and of our environment only what is named here reaches the build. Nothing is fetched:
//! [`fetch`] comes before, with the network on.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use cargo_metadata::Message;

use crate::files;
use crate::plan::Target;
use crate::process;
use crate::sbom::precursor;
use crate::toolchain::{self, Toolchain, require};

/// Name of the cargo profile of released programs.
const PROFILE: &str = "dist";

/// What stands for the places whose real paths must not be in the programs.
const TREE_NAME: &str = "/cairn";
const TARGET_NAME: &str = "/target";
const CRATES_NAME: &str = "/cargo";
const STD_NAME: &str = "/rustc";

/// The same for folders that only debug information names.
const ZIG_NAME: &str = "/zig";
const WORK_NAME: &str = "/work";
const CACHE_NAME: &str = "/cache";

/// zig's cache in the target folder. zig finds its compiled libraries there by what it was told to compile, not by the folder
/// in which it started, which they name: the cache takes another name when [`write_linker`] starts zig elsewhere.
const ZIG_CACHE: &str = "zig-from-root";

/// Folder of linkers in the target folder, one for each platform.
const LINKERS: &str = "linker";

/// What C and C++ are protected with.
pub const STACK_PROTECTOR: &str = "-fstack-protector-strong";

/// What makes rustc's linker leave a build id.
pub const BUILD_ID: &str = "link-arg=-Wl,--build-id=sha1";

/// The crate whose build compiles the storage engine.
const ENGINE_CRATE: &str = "librocksdb-sys";

/// File name of the storage engine's C++, as that build leaves it.
pub const ENGINE_ARCHIVE: &str = "librocksdb.a";

/// File name of zig's C++ library, as one archive.
pub const CXX_ARCHIVE: &str = "libc++.a";

/// A subcommand of cargo that is a program of its own, `cargo-NAME`, with what brings it.
type Subcommand = (&'static str, &'static str);

const AUDITABLE: Subcommand = ("auditable", "the crate cargo-auditable");
const ZIGBUILD: Subcommand = ("zigbuild", "the Python package cargo-zigbuild");

/// Separator of cargo's encoded flags.
const FLAG_SEPARATOR: &str = "\u{1f}";

/// One build.
#[derive(Debug, Clone)]
pub struct Build<'a> {
    /// The exported tree of the commit.
    pub tree: &'a Path,
    /// What is built for.
    pub target: &'a Target,
    /// What builds.
    pub toolchain: &'a Toolchain,
    /// Cargo's target folder.
    pub target_dir: &'a Path,
    /// Commit that the programs name; none outside a git checkout.
    pub commit: Option<&'a str>,
    /// What the second build of a comparison does otherwise: variables, and the number of jobs.
    pub circumstances: Circumstances,
}

/// What must not change the bytes.
#[derive(Debug, Clone, Default)]
pub struct Circumstances {
    /// Further environment variables.
    pub variables: Vec<(&'static str, String)>,
    /// Number of parallel jobs, if not cargo's own choice.
    pub jobs: Option<u32>,
    /// A program with arguments that starts cargo, for example under another host name.
    pub launcher: Vec<String>,
}

/// Fetches the crates of the lock file, which is all that a build needs from the network.
///
/// # Errors
///
/// Cargo cannot be started or fails.
pub fn fetch(root: &Path, target: &Target, toolchain: &Toolchain) -> Result<()> {
    let status = process::start(&mut cargo_fetch(root, target, toolchain))?.wait()?;
    ensure!(status.success(), "cargo fetch failed ({status}); its messages are above");
    Ok(())
}

/// Whether [`fetch`] has nothing to do.
///
/// # Errors
///
/// Cargo cannot be started.
pub fn is_fetched(root: &Path, target: &Target, toolchain: &Toolchain) -> Result<bool> {
    let mut command = cargo_fetch(root, target, toolchain);
    Ok(process::start(command.args(["--offline", "--quiet"]).stderr(Stdio::null()))?.wait()?.success())
}

fn cargo_fetch(root: &Path, target: &Target, toolchain: &Toolchain) -> Command {
    let mut command = Command::new(toolchain.bin.join("cargo"));
    command.args(["fetch", "--locked"]).current_dir(root).stdin(Stdio::null());
    if toolchain.builds_std {
        // cargo asks it where the source is, and would ask the first in PATH.
        command.env("RUSTC", toolchain.bin.join("rustc"));
        build_std(&mut command);
        command.args(["--target", &target.triple]);
    }
    command
}

/// Lets cargo compile the standard library, too: of a stable toolchain it must be allowed.
fn build_std(command: &mut Command) {
    command.args(["-Z", "build-std=std,panic_unwind"]).env("RUSTC_BOOTSTRAP", "1");
}

/// Builds the target's programs and copies them, with their debug information, into `bin_dir`.
///
/// `crate_lists` has the list of crates to embed, a file per package; see [`crate::sbom::precursor`].
///
/// # Errors
///
/// A program of the toolchain is missing, cargo fails, or a program of the plan was not among what it built.
pub fn compile(build: &Build<'_>, crate_lists: &Path, bin_dir: &Path) -> Result<()> {
    files::create_folder(bin_dir)?;
    for binary in build.target.programs() {
        // One cargo command for each: the list of crates that is embedded is that of one program.
        let mut command = cargo(build, &[AUDITABLE, ZIGBUILD], &binary.package)?;
        command.arg("--bins").env(precursor::VARIABLE, crate_lists.join(&binary.package));
        let built = programs(build.target, command)?;
        let from = built.get(&binary.name).with_context(|| {
            format!("package {} built no program {}; does its Cargo.toml name it?", binary.package, binary.name)
        })?;
        let mut source = File::open(from).with_context(|| format!("cannot read {}", from.display()))?;
        files::write_whole(&bin_dir.join(&binary.name), files::EXECUTABLE_MODE, |writer| {
            Ok(io::copy(&mut source, writer)?)
        })?;
    }
    Ok(())
}

/// Compiles the storage engine's C++ alone, with the flags that programs have, and returns its archive.
///
/// A later [`compile`] of the same build finds it compiled, and the other way round. Only the name of the build's tree
/// counts, which need not be there yet: crates are those of the lock file in `workspace`.
///
/// # Errors
///
/// A program of the toolchain is missing, or cargo fails.
pub fn engine(build: &Build<'_>, workspace: &Path) -> Result<PathBuf> {
    // The crate by itself: cargo then chooses features for the whole workspace, and so the same ones as for programs.
    let mut command = cargo(build, &[ZIGBUILD], ENGINE_CRATE)?;
    command.current_dir(workspace);
    let mut out_dir = None;
    run(build.target, command, |message| {
        if let Message::BuildScriptExecuted(script) = message
            && script.package_id.repr.contains(ENGINE_CRATE)
        {
            out_dir = Some(script.out_dir.into_std_path_buf());
        }
    })?;
    Ok(out_dir.with_context(|| format!("cargo ran no build script of {ENGINE_CRATE}"))?.join(ENGINE_ARCHIVE))
}

/// Compiles zig's C++ library, as programs of the target have it, and returns it as one archive below `scratch`.
///
/// # Errors
///
/// zig is missing or fails, or names no archive of the library.
pub fn cxx_library(target: &Target, scratch: &Path) -> Result<PathBuf> {
    let source = scratch.join("empty.cc");
    fs::write(&source, "int main() {}\n").with_context(|| format!("cannot write {}", source.display()))?;
    let run_zig = |arguments: &[&str]| {
        let mut zig = process::clean_command(&zig()?);
        // A cache of its own: programs find in theirs what was compiled as for them, in the same folder.
        zig.args(arguments).current_dir(scratch).env("ZIG_GLOBAL_CACHE_DIR", scratch.join(ZIG_CACHE));
        let done = zig.env("ZIG_VERBOSE_LINK", "1").output().context("cannot start zig")?;
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        ensure!(done.status.success(), "zig {} failed ({}): {}", arguments.join(" "), done.status, said.trim());
        Ok(said)
    };
    let platform = format!("{}-linux-gnu{}", target.arch.machine, floor(target));
    let mut arguments = vec!["c++", "-O3", "-target", &platform, "empty.cc", "-o", "empty"];
    arguments.extend(target.cflags.iter().map(String::as_str));
    // zig compiles the library when a program is linked, and tells where it is in the linker's command line.
    let said = run_zig(&arguments)?;
    let part = |name: &str| {
        let path = said.split_whitespace().rfind(|word| Path::new(word).ends_with(name));
        path.with_context(|| format!("zig linked no {name}: {}", said.trim()))
    };
    let all = scratch.join(CXX_ARCHIVE);
    fs::copy(scratch.join(part(CXX_ARCHIVE)?), &all).with_context(|| format!("cannot write {}", all.display()))?;
    run_zig(&["ar", "qL", CXX_ARCHIVE, part("libc++abi.a")?])?;
    Ok(all)
}

/// Runs cargo and returns the path of every program that it built, by name.
fn programs(target: &Target, command: Command) -> Result<BTreeMap<String, PathBuf>> {
    let mut built = BTreeMap::new();
    run(target, command, |message| {
        if let Message::CompilerArtifact(artifact) = message
            && let Some(executable) = artifact.executable
        {
            built.insert(artifact.target.name, executable.into_std_path_buf());
        }
    })?;
    Ok(built)
}

/// Runs cargo and hands on what it reports.
fn run(target: &Target, mut command: Command, mut report: impl FnMut(Message)) -> Result<()> {
    let mut child = process::start(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
    let stdout = child.stdout.take().expect("standard output was piped");
    for message in Message::parse_stream(BufReader::new(stdout)) {
        report(message.context("cannot read what cargo reports")?);
    }
    let status = child.wait()?;
    ensure!(status.success(), "cargo failed for {} ({status}); its messages are above", target.name);
    Ok(())
}

/// A build of one package; of `subcommands` each wraps the next.
fn cargo(build: &Build<'_>, subcommands: &[Subcommand], package: &str) -> Result<Command> {
    let (target, cargo) = (build.target, build.toolchain.bin.join("cargo"));
    let mut words = build.circumstances.launcher.iter().map(OsString::from).chain([cargo.into_os_string()]);
    let mut command = Command::new(words.next().expect("cargo is always there"));
    command.args(words).current_dir(build.tree);
    command.args(subcommands.iter().map(|(name, _)| name)).args(["--locked", "--offline"]);
    command.args(["--profile", PROFILE, "--message-format=json-render-diagnostics"]);
    command.args(["--target", &format!("{}{}", target.triple, floor(target)), "--package", package]);
    if let Some(jobs) = build.circumstances.jobs {
        command.args(["--jobs", &jobs.to_string()]);
    }
    set_environment(&mut command, build)?;
    write_linker(build)?;
    if build.toolchain.builds_std {
        build_std(&mut command);
    }
    command.env("PATH", path(build.toolchain, subcommands)?);
    Ok(command)
}

/// The glibc floor as cargo-zigbuild and zig want it, behind the name of the platform.
fn floor(target: &Target) -> String {
    target.glibc_floor().map(|version| format!(".{version}")).unwrap_or_default()
}

/// Place of the program that links for the target.
fn linker(build: &Build<'_>) -> PathBuf {
    build.target_dir.join(LINKERS).join(&build.target.triple)
}

/// Writes [`linker`]: zig, through cargo-zigbuild's wrapper, in the root folder. zig compiles its libraries when it links
/// first, and their debug information names the folder in which it does.
fn write_linker(build: &Build<'_>) -> Result<()> {
    let script = format!("#!/bin/sh\ncd / && exec \"$CC_{}\" \"$@\"\n", build.target.triple.replace('-', "_"));
    files::create_folder(&build.target_dir.join(LINKERS))?;
    files::write_bytes(&linker(build), files::EXECUTABLE_MODE, script.as_bytes())
}

fn set_environment(command: &mut Command, build: &Build<'_>) -> Result<()> {
    let target = build.target;
    let cargo_home = cargo_home()?;
    command.env_clear().env("LC_ALL", "C").env("TZ", "UTC");
    // cargo-zigbuild keeps its wrappers below HOME.
    command.env("HOME", env::var_os("HOME").context("HOME is not set")?).env("CARGO_HOME", &cargo_home);
    command.env("CARGO_TARGET_DIR", build.target_dir).env("CARGO_ZIGBUILD_ZIG_PATH", zig()?);
    // Its cache must not be one that others fill, whose linkers start elsewhere.
    command.env("ZIG_GLOBAL_CACHE_DIR", build.target_dir.join(ZIG_CACHE));
    // A fixed time, not the release's: build scripts watch the variable, and each commit would compile RocksDB again.
    command.env("SOURCE_DATE_EPOCH", "0").env("ZERO_AR_DATE", "1");
    if let Some(commit) = build.commit {
        command.env("CAIRN_COMMIT", commit);
    }
    let places = places(build, &cargo_home)?;
    // The tree has no C: its place enters the flags of Rust alone. (Cargo compiles RocksDB again where these differ, too.)
    let tree = (build.tree.display().to_string(), TREE_NAME.to_owned());
    let mut rustflags = target.rustflags.clone();
    rustflags.extend(["-C", BUILD_ID].map(str::to_owned));
    if build.toolchain.builds_std {
        let source =
            toolchain::std_source(build.toolchain).canonicalize().context("the standard library has no source")?;
        rustflags.push(format!("--remap-path-prefix={}={STD_NAME}", source.display()));
    }
    rustflags.extend(places.iter().chain([&tree]).map(|(from, to)| format!("--remap-path-prefix={from}={to}")));
    command.env("CARGO_ENCODED_RUSTFLAGS", rustflags.join(FLAG_SEPARATOR));
    // Line tables and not more: all that there is to know about RocksDB's types is a gigabyte.
    let mut cflags = vec!["-g1".to_owned(), STACK_PROTECTOR.to_owned()];
    cflags.extend(target.cflags.iter().cloned());
    cflags.extend(places.iter().map(|(from, to)| format!("-ffile-prefix-map={from}={to}")));
    let suffix = target.triple.replace('-', "_");
    command.env(format!("CARGO_TARGET_{}_LINKER", suffix.to_uppercase()), linker(build));
    for name in ["CFLAGS", "CXXFLAGS"] {
        command.env(format!("{name}_{suffix}"), cflags.join(" "));
    }
    // jemalloc's largest page is fixed when it is built.
    command.env("JEMALLOC_SYS_WITH_LG_PAGE", target.elf.page_bytes.ilog2().to_string());
    command.envs(build.circumstances.variables.iter().map(|(name, value)| (name, value)));
    Ok(())
}

/// Real paths of this machine that hold C code, and the names that stand for them in the programs.
fn places(build: &Build<'_>, cargo_home: &Path) -> Result<Vec<(String, String)>> {
    let sources = cargo_home.join("registry/src");
    let mut places = Vec::new();
    for registry in files::names_in(&sources).with_context(|| format!("no crates in {}", sources.display()))? {
        places.push((sources.join(registry).display().to_string(), CRATES_NAME.to_owned()));
    }
    places.push((build.target_dir.display().to_string(), TARGET_NAME.to_owned()));
    Ok(places)
}

/// Folders that debug information names in spite of all flags, and the names that stand for them: zig's own, since it
/// compiles its C++ library while it links, and the one that a build works in.
///
/// # Errors
///
/// zig is not installed.
pub fn folders_in_debug_information(work: &Path) -> Result<Vec<(String, &'static str)>> {
    let zig = zig()?;
    let zig = zig.parent().context("zig is in no folder")?;
    let mut places = vec![(zig.display().to_string(), ZIG_NAME), (work.display().to_string(), WORK_NAME)];
    if let Some(home) = env::var_os("HOME") {
        places.push((Path::new(&home).join(".cache").display().to_string(), CACHE_NAME));
    }
    Ok(places)
}

/// The toolchain's programs first, then cargo's subcommands, then the system's.
fn path(toolchain: &Toolchain, subcommands: &[Subcommand]) -> Result<OsString> {
    let mut folders = vec![toolchain.bin.clone()];
    for (name, comes_from) in subcommands {
        let folder = require(&format!("cargo-{name}"), comes_from)?.parent().map(Path::to_owned);
        folders.extend(folder);
    }
    folders.extend(["/usr/bin", "/bin"].map(PathBuf::from));
    Ok(env::join_paths(folders)?)
}

/// zig's own program: the Python package wraps it, and the wrapper needs the package's own Python.
///
/// # Errors
///
/// The package is not installed beside cargo-zigbuild.
pub fn zig() -> Result<PathBuf> {
    if let Some(path) = process::find_program("zig") {
        return Ok(path);
    }
    let wrapper = require("python-zig", "the Python package ziglang")?;
    let prefix = wrapper.parent().and_then(Path::parent).context("python-zig is in no folder")?;
    let libraries = prefix.join("lib");
    let pythons = files::names_in(&libraries).with_context(|| format!("cannot read {}", libraries.display()))?;
    let mut programs = pythons.iter().map(|python| libraries.join(python).join("site-packages/ziglang/zig"));
    programs.find(|program| program.is_file()).context("the Python package ziglang has no zig; install it again")
}

fn cargo_home() -> Result<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    home.context("neither CARGO_HOME nor HOME is set; cargo has no place for crates")
}
