//! The plan of a release: a pure function from the source tree's facts to everything that the release consists of.
//!
//! Equal [`Inputs`] give equal plans, byte for byte as JSON. Every name of a file is made here and nowhere else. The
//! plan reads no file, clock or environment; [`crate::workspace`] gathers the inputs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::gates::policy::{self, ElfPolicy, GlibcVersion, Linking};
use crate::installer::INSTALLER_NAME;
use crate::key_list::KEYS_NAME;
use crate::linux_packages::{self, Format};
use crate::manifest::{MANIFEST_NAME, SCHEMA, SUMS_NAME};
use crate::steps;

/// The product that this pipeline releases.
pub const PRODUCT: &str = "cairn";

/// Home of the project, as artifacts name it. Files that cannot take it from here are held to it by a test.
pub const HOME: &str = "https://cairn.example";

/// Suffix of the detached signature of a file.
pub const SIGNATURE_SUFFIX: &str = ".minisig";

/// Shells for which each binary generates completions; also the folder names under `completions/`.
pub const SHELLS: [&str; 3] = ["bash", "fish", "zsh"];

/// The programs, the cargo package that builds each, and whether it has the storage engine in it.
const BINARIES: [(&str, &str, bool); 4] = [
    ("cairn-bench", "cairn-bench", false),
    ("cairnctl", "cairn-ctl", false),
    ("cairnd", "cairn-server", true),
    ("cairnutl", "cairn-utl", true),
];

/// The program that verifies a release where there is no network; it is in the site bundle only.
const VERIFIER: (&str, &str, bool) = ("cairn-release", "cairn-release", false);

/// The programs of the client archive: what is used from another machine than the server's.
const CLIENT_BINARIES: [&str; 3] = ["cairn-bench", "cairnctl", "cairnutl"];

/// Files of the source tree that go into every archive, as (place in the archive, place in the tree).
const SOURCE_FILES: [(&str, &str); 2] = [("LICENSE", "LICENSE"), ("README.md", "packaging/README.md")];

/// Files of the source tree that only the archive with the server has.
const SERVER_FILES: [(&str, &str); 1] = [("etc/cairn.env", "packaging/cairn.env")];

/// Oldest glibc on which the programs start: that of EL 8, the oldest distribution that is still supported at large.
const GLIBC_FLOOR: (u32, u32) = (2, 28);

/// Why no plan can be made of the inputs.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A file is not the TOML that it should be.
    #[error("{file} is not valid")]
    Toml {
        /// The file, relative to the root of the source tree.
        file: &'static str,
        /// What the parser says.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// The version could not be that of distribution packages.
    #[error(transparent)]
    Package(#[from] linux_packages::VersionError),
    /// The scope names a target that is not one of ours.
    #[error("there is no target {0}")]
    Target(String),
    /// The version could not be part of a file name.
    #[error("version {0:?} in Cargo.toml is empty or has characters other than letters, digits, '.', '+' and '-'")]
    Version(String),
}

/// The facts that a plan is made of.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// Text of the root `Cargo.toml`: the one source of the version.
    pub cargo_toml: String,
    /// Text of `release/release.toml`.
    pub release_toml: String,
    /// Commit that is released, if the tree is a git checkout.
    pub commit: Option<String>,
    /// Git's id of the commit's tree.
    pub tree: Option<String>,
    /// Seconds since 1970 that every artifact carries as its time.
    pub source_date_epoch: u64,
    /// How much of the release is made.
    pub scope: Scope,
}

/// How much of a release is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Everything: what is published.
    Full,
    /// One target, by its name, and no second build: what fits into every test run.
    Fast(String),
}

impl Scope {
    /// The fast scope on the machine that runs this program.
    #[must_use]
    pub fn of_this_machine() -> Self {
        let name = if std::env::consts::ARCH == "aarch64" { "linux-arm64" } else { "linux-amd64" };
        Self::Fast(name.to_owned())
    }
}

/// Everything that a release consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Version of the form of this document.
    pub schema: u32,
    /// Name of the product.
    pub product: String,
    /// Version of the product, equal in every artifact.
    pub version: String,
    /// Number of the release in the order of all releases.
    pub sequence: u64,
    /// Commit that is released; none outside a git checkout.
    pub commit: Option<String>,
    /// Git's id of the commit's tree.
    pub tree: Option<String>,
    /// Seconds since 1970 that every artifact carries as its time.
    pub source_date_epoch: u64,
    /// What is built for.
    pub targets: Vec<Target>,
    /// What is published, without checksums, manifest and signatures.
    pub artifacts: Vec<Artifact>,
    /// Every file name of the release folder, sorted: nothing else may be in it and nothing may be missing.
    pub files: Vec<String>,
    /// What must hold before the release may be published.
    pub gates: Vec<Gate>,
}

/// A platform, what is built for it and what the built bytes must keep to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Target {
    /// Short name, as in file names.
    pub name: String,
    /// Rust's name of the platform.
    pub triple: String,
    /// Name of the architecture in each format.
    pub arch: Architecture,
    /// What its programs must look like: glibc floor, libraries, page size.
    pub elf: ElfPolicy,
    /// Name of the processor baseline.
    pub cpu_baseline: String,
    /// What tells rustc the baseline.
    pub rustflags: Vec<String>,
    /// What tells the C and C++ compiler the baseline.
    pub cflags: Vec<String>,
    /// Programs that users install, sorted by name.
    pub binaries: Vec<Binary>,
    /// The program that comes with the site bundle.
    pub verifier: Binary,
}

/// Names of an architecture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Architecture {
    /// In Rust's triples and in `uname -m`.
    pub machine: String,
    /// In Debian packages and OCI images.
    pub debian: String,
    /// Variant in OCI images.
    pub oci_variant: Option<String>,
}

/// A program of the release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Binary {
    /// File name of the program.
    pub name: String,
    /// Cargo package that builds it.
    pub package: String,
    /// Whether the storage engine is in it: then its C++ must be protected and use the baseline's instructions.
    pub has_engine: bool,
}

impl Target {
    /// Every program that is built.
    pub fn programs(&self) -> impl Iterator<Item = &Binary> {
        self.binaries.iter().chain([&self.verifier])
    }

    /// What this program of the target must look like.
    #[must_use]
    pub fn policy(&self, binary: &Binary) -> ElfPolicy {
        if binary.has_engine { self.elf.clone().with_stack_protector() } else { self.elf.clone() }
    }

    /// Whether everything that the programs need is in them.
    #[must_use]
    pub fn is_static(&self) -> bool {
        self.elf.linking == Linking::Static
    }

    /// Oldest glibc on which the programs start; none if they need no glibc.
    #[must_use]
    pub fn glibc_floor(&self) -> Option<&GlibcVersion> {
        match &self.elf.linking {
            Linking::Dynamic { glibc_floor, .. } => Some(glibc_floor),
            Linking::Static => None,
        }
    }
}

/// A published file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Artifact {
    /// File name.
    pub name: String,
    /// What it is.
    pub kind: ArtifactKind,
    /// Name of the target that it is for, if it is for one.
    pub target: Option<String>,
    /// What an archive of programs holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive: Option<ArchiveContent>,
}

/// The kinds of published files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArtifactKind {
    /// A tar.gz with programs, man pages, completions, README, licences and sample configuration.
    Archive,
    /// A tar.gz with the programs that clients need.
    ClientArchive,
    /// A tar.gz with the programs' debug information, by build id.
    DebugArchive,
    /// A tar.gz that equals the commit's tree.
    Source,
    /// The same with the sources of every dependency.
    VendoredSource,
    /// A Debian package.
    Deb,
    /// An RPM package.
    Rpm,
    /// An Arch Linux package.
    ArchLinux,
    /// An Alpine package.
    Apk,
    /// An OCI layout with the images of all [`Plan::image_targets`], as one tar.
    OciArchive,
    /// A bill of materials in CycloneDX's form.
    CycloneDx,
    /// A bill of materials in SPDX's form.
    Spdx,
    /// The licences of everything that is linked in.
    Licences,
    /// The shell script that verifies and installs an archive.
    Installer,
    /// The keys that sign releases: which does so now, which comes next, which were revoked.
    KeyList,
    /// Signed statements about how the artifacts were made.
    Provenance,
    /// The list of SHA-256 sums.
    Checksums,
}

/// What an archive of programs holds, besides man pages, completions and licences.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ArchiveContent {
    /// The one folder at the top.
    pub top_folder: String,
    /// Names of its programs, sorted.
    pub binaries: Vec<String>,
    /// Files that are taken from the source tree.
    pub source_files: Vec<SourceFile>,
}

/// A file of the source tree that goes into an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceFile {
    /// Path below the archive's top folder.
    pub path: String,
    /// Path below the root of the source tree.
    pub from: String,
}

/// A condition that the final bytes must meet. Each one is checked by a step of [`crate::steps`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gate {
    /// The source archives equal the commit's tree, path by path, and vendored crates the lock file.
    SourceEqualsTree,
    /// Every place that names the version names the plan's.
    VersionsEqual,
    /// The changelog has a section of this version.
    Changelog,
    /// The table of supported versions is the one that `support.toml` gives.
    SupportTable,
    /// Workflows and Dockerfiles name nothing that can change behind the name.
    PinnedInputs,
    /// No program needs a symbol of a newer glibc than declared.
    GlibcFloor,
    /// The programs need no library but the declared ones and look for none in a place of their own.
    NeededLibraries,
    /// The programs are position independent, with read-only relocations, no executable stack and stack protectors.
    Hardening,
    /// The programs use the declared baseline, and no more: they run on the oldest processor that has it.
    InstructionSet,
    /// Segments and allocator are laid out for the declared page size.
    PageSize,
    /// The dependency list inside each program equals the bill of materials.
    EmbeddedDependencies,
    /// The C and C++ parts found in the programs are those of the bill of materials.
    NativeParts,
    /// Everything that is linked in has an allowed licence and its text is there.
    Licences,
    /// Each archive has every program, with man page and completions for every shell, and the files of the tree.
    ArchiveComplete,
    /// The service's exposure, as systemd rates it, is low.
    UnitExposure,
    /// Each package has the planned name, version, architecture, files, owners and modes.
    PackagesAsPlanned,
    /// Package dependencies are those that the programs' bytes demand, and not empty.
    PackageDependencies,
    /// The distributions' own linters have nothing to say.
    PackagesLint,
    /// The images are whole, run as a numeric user, have no shell, say what the plan says and have bills of materials.
    ImageLayout,
    /// No byte of any artifact names a path, user or host of the machine that built it.
    NoLocalNames,
    /// No artifact is larger than its budget.
    SizesInBudget,
    /// The release folder holds the planned files and no other, and manifest and checksums agree with their bytes.
    FolderComplete,
    /// Every file has a signature whose trusted comment names product, version, file, hash and sequence.
    SignaturesMatch,
    /// The stock minisign program accepts every signature.
    StockMinisign,
    /// What is published, in the place where users find it, verifies from there alone.
    PublishedVerifies,
    /// Who trusts the key before this one verifies the release, and what a revoked key signs is refused.
    KeyLifeCycle,
    /// The packaged server starts and the packaged client puts and gets through it.
    Smoke,
    /// The same for the other architecture, under emulation.
    SmokeEmulated,
    /// The Debian packages install, run, keep edited configuration and data, upgrade, downgrade and go.
    InstallDeb,
    /// The RPM packages install with signature checks on, run, upgrade and go.
    InstallRpm,
    /// apt installs from the signed repository and refuses a wrong key, changed lists and an expired one.
    InstallApt,
    /// dnf installs from the signed repository and refuses a wrong key.
    InstallYum,
    /// The installer installs what verifies and refuses what does not.
    InstallScript,
    /// A registry takes the image, an engine runs it read-only as any user, and it serves.
    RunImage,
    /// A run that is killed at any step and started again ends with the same bytes.
    Resumable,
    /// A second build, elsewhere and under other circumstances, gives the same bytes.
    Reproducible,
}

#[derive(Deserialize)]
struct CargoToml {
    workspace: CargoWorkspace,
}

#[derive(Deserialize)]
struct CargoWorkspace {
    package: CargoPackage,
}

#[derive(Deserialize)]
struct CargoPackage {
    version: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReleaseToml {
    sequence: u64,
    /// For the script that installs them; nothing of it is in the plan.
    #[serde(default, rename = "tools")]
    _tools: BTreeMap<String, String>,
}

impl Plan {
    /// Makes the plan of a release.
    ///
    /// # Errors
    ///
    /// A file of the inputs that does not parse, or a version that cannot be part of a file name.
    pub fn new(inputs: &Inputs) -> Result<Self, PlanError> {
        let cargo: CargoToml = parse("Cargo.toml", &inputs.cargo_toml)?;
        let release: ReleaseToml = parse("release/release.toml", &inputs.release_toml)?;
        let version = cargo.workspace.package.version;
        if version.is_empty() || !version.chars().all(|c| c.is_ascii_alphanumeric() || ".+-".contains(c)) {
            return Err(PlanError::Version(version));
        }
        let targets = targets(&inputs.scope)?;
        let artifacts = artifacts(&version, &targets)?;
        let files = file_names(&artifacts);
        Ok(Self {
            schema: SCHEMA,
            product: PRODUCT.to_owned(),
            version,
            sequence: release.sequence,
            commit: inputs.commit.clone(),
            tree: inputs.tree.clone(),
            source_date_epoch: inputs.source_date_epoch,
            targets,
            artifacts,
            files,
            gates: steps::gates(&inputs.scope),
        })
    }

    /// The plan as JSON with a line feed at its end.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).expect("a plan has only strings, numbers and lists");
        json.push('\n');
        json
    }

    /// The scope that this plan was made for.
    #[must_use]
    pub fn scope(&self) -> Scope {
        match &self.targets[..] {
            [only] => Scope::Fast(only.name.clone()),
            _ => Scope::Full,
        }
    }

    /// Name of the folder that holds the release's files.
    #[must_use]
    pub fn folder_name(&self) -> String {
        format!("{}-{}", self.product, self.version)
    }

    /// The files that get a signature: all of the release folder that are not signatures themselves.
    pub fn signed_files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(String::as_str).filter(|name| !name.ends_with(SIGNATURE_SUFFIX))
    }

    /// The targets whose programs are in images: those that need a C library, which is in the images, too.
    pub fn image_targets(&self) -> impl Iterator<Item = &Target> {
        self.targets.iter().filter(|target| !target.is_static())
    }

    /// The target with this name; every artifact's target is one of the plan's.
    #[must_use]
    pub fn target(&self, name: &str) -> Option<&Target> {
        self.targets.iter().find(|target| target.name == name)
    }

    /// The artifacts of a kind, with their targets.
    pub fn artifacts_of(&self, kind: ArtifactKind) -> impl Iterator<Item = &Artifact> {
        self.artifacts.iter().filter(move |artifact| artifact.kind == kind)
    }

    /// The one artifact of a kind that is for a target, or for none.
    ///
    /// # Panics
    ///
    /// The plan has no such artifact, which the function that makes plans rules out.
    #[must_use]
    pub fn artifact(&self, kind: ArtifactKind, target: Option<&Target>) -> &Artifact {
        let mut all = self.artifacts_of(kind);
        let name = target.map(|target| target.name.as_str());
        all.find(|artifact| artifact.target.as_deref() == name).expect("every plan has one of each kind")
    }
}

fn parse<T: for<'de> Deserialize<'de>>(file: &'static str, text: &str) -> Result<T, PlanError> {
    toml::from_str(text).map_err(|source| PlanError::Toml { file, source: Box::new(source) })
}

/// The targets of the scope.
fn targets(scope: &Scope) -> Result<Vec<Target>, PlanError> {
    let all = vec![amd64(), arm64(), with_musl(amd64()), with_musl(arm64())];
    match scope {
        Scope::Full => Ok(all),
        Scope::Fast(name) => {
            let one: Vec<_> = all.into_iter().filter(|target| target.name == *name).collect();
            if one.is_empty() { Err(PlanError::Target(name.clone())) } else { Ok(one) }
        }
    }
}

fn amd64() -> Target {
    Target {
        cpu_baseline: "x86-64-v2".to_owned(),
        rustflags: strings(&["-C", "target-cpu=x86-64-v2"]),
        cflags: strings(&["-mcpu=x86_64_v2"]),
        ..glibc_target(policy::Machine::Amd64)
    }
}

fn arm64() -> Target {
    Target {
        cpu_baseline: "armv8-a+crc".to_owned(),
        rustflags: strings(&["-C", "target-feature=+crc"]),
        cflags: strings(&["-mcpu=generic+crc"]),
        ..glibc_target(policy::Machine::Arm64)
    }
}

/// The same machine for any Linux, with another C library or none: everything is in the programs.
fn with_musl(glibc: Target) -> Target {
    let machine = glibc.elf.machine;
    let mut rustflags = glibc.rustflags.clone();
    rustflags.extend(strings(&["-C", "target-feature=+crt-static"]));
    // The C library and its start-up objects are zig's; rustc would look for some of its own. And zig, unlike rustc, takes
    // -pie for static programs, too, and ignores -static-pie.
    rustflags.extend(strings(&["-C", "link-self-contained=no", "-C", "link-arg=-pie"]));
    Target {
        rustflags,
        name: format!("{}-musl", glibc.name),
        triple: format!("{}-unknown-linux-musl", machine.uname()),
        elf: ElfPolicy::fully_static(machine),
        ..glibc
    }
}

/// What the targets have in common; the baseline is for the caller to set.
fn glibc_target(machine: policy::Machine) -> Target {
    let binary = |&(name, package, has_engine): &(&str, &str, bool)| Binary {
        name: name.to_owned(),
        package: package.to_owned(),
        has_engine,
    };
    Target {
        name: format!("linux-{machine}"),
        triple: format!("{}-unknown-linux-gnu", machine.uname()),
        arch: Architecture {
            machine: machine.uname().to_owned(),
            debian: machine.debian().to_owned(),
            oci_variant: machine.image_variant().map(str::to_owned),
        },
        elf: ElfPolicy::dynamic(machine, GlibcVersion::new(GLIBC_FLOOR.0, GLIBC_FLOOR.1)),
        cpu_baseline: String::new(),
        rustflags: Vec::new(),
        cflags: Vec::new(),
        binaries: BINARIES.iter().map(binary).collect(),
        verifier: binary(&VERIFIER),
    }
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Every artifact of the release.
fn artifacts(version: &str, targets: &[Target]) -> Result<Vec<Artifact>, PlanError> {
    let mut artifacts = packages(version, targets)?;
    let mut add = |name: String, kind, target: Option<&Target>, archive| {
        artifacts.push(Artifact { name, kind, target: target.map(|target| target.name.clone()), archive });
    };
    for target in targets {
        let stem = format!("{PRODUCT}-{version}-{}", target.name);
        let client = format!("{PRODUCT}-client-{version}-{}", target.name);
        add(format!("{stem}.tar.gz"), ArtifactKind::Archive, Some(target), Some(server_archive(&stem, target)));
        add(format!("{client}.tar.gz"), ArtifactKind::ClientArchive, Some(target), Some(client_archive(&client)));
        add(format!("{stem}-debug.tar.gz"), ArtifactKind::DebugArchive, Some(target), None);
        add(format!("{stem}.cdx.json"), ArtifactKind::CycloneDx, Some(target), None);
        add(format!("{stem}.spdx.json"), ArtifactKind::Spdx, Some(target), None);
        add(format!("{stem}-licenses.txt"), ArtifactKind::Licences, Some(target), None);
    }
    for (name, kind) in [
        (format!("{PRODUCT}-{version}-source.tar.gz"), ArtifactKind::Source),
        (format!("{PRODUCT}-{version}-vendor.tar.gz"), ArtifactKind::VendoredSource),
        (format!("{PRODUCT}-{version}-oci.tar"), ArtifactKind::OciArchive),
        (INSTALLER_NAME.to_owned(), ArtifactKind::Installer),
        (KEYS_NAME.to_owned(), ArtifactKind::KeyList),
        (format!("{PRODUCT}-{version}.intoto.jsonl"), ArtifactKind::Provenance),
    ] {
        add(name, kind, None, None);
    }
    Ok(artifacts)
}

fn server_archive(top_folder: &str, target: &Target) -> ArchiveContent {
    ArchiveContent {
        top_folder: top_folder.to_owned(),
        binaries: target.binaries.iter().map(|binary| binary.name.clone()).collect(),
        source_files: source_files(SOURCE_FILES.iter().chain(&SERVER_FILES)),
    }
}

fn client_archive(top_folder: &str) -> ArchiveContent {
    ArchiveContent {
        top_folder: top_folder.to_owned(),
        binaries: strings(&CLIENT_BINARIES),
        source_files: source_files(SOURCE_FILES.iter()),
    }
}

fn source_files<'a>(files: impl Iterator<Item = &'a (&'a str, &'a str)>) -> Vec<SourceFile> {
    files.map(|(path, from)| SourceFile { path: (*path).to_owned(), from: (*from).to_owned() }).collect()
}

/// The distribution packages of these targets, and those that are for all of them.
fn packages(version: &str, targets: &[Target]) -> Result<Vec<Artifact>, PlanError> {
    let version = linux_packages::Version::parse(version)?;
    let artifact = |id: linux_packages::Id| {
        let mut fitting = targets.iter().filter(|target| target.is_static() == (id.format == Format::Apk));
        let target = fitting.find(|target| id.machine.is_none() || Some(target.elf.machine) == id.machine)?;
        let target = id.machine.is_some().then(|| target.name.clone());
        Some(Artifact { name: id.file_name(&version), kind: kind_of(id.format), target, archive: None })
    };
    Ok(linux_packages::Id::all().into_iter().filter_map(artifact).collect())
}

/// The kind of artifact that a package of this format is. Alpine's hold static programs, since its C library is musl; all
/// others hold those for glibc.
#[must_use]
pub fn kind_of(format: Format) -> ArtifactKind {
    match format {
        Format::Deb => ArtifactKind::Deb,
        Format::Rpm => ArtifactKind::Rpm,
        Format::Arch => ArtifactKind::ArchLinux,
        Format::Apk => ArtifactKind::Apk,
    }
}

/// Every file name of a release folder with these artifacts, sorted.
#[must_use]
pub fn file_names(artifacts: &[Artifact]) -> Vec<String> {
    let signed = artifacts.iter().map(|artifact| artifact.name.as_str()).chain([SUMS_NAME, MANIFEST_NAME]);
    let mut names: Vec<_> = signed.flat_map(|name| [name.to_owned(), format!("{name}{SIGNATURE_SUFFIX}")]).collect();
    names.sort();
    names
}
