//! The plan of a release: a pure function from the source tree's facts to everything that the release consists of.
//!
//! Equal [`Inputs`] give equal plans, byte for byte as JSON. Every name of a file is made here and nowhere else. The
//! plan reads no file, clock or environment; [`crate::workspace`] gathers the inputs.

use serde::{Deserialize, Serialize};

use crate::manifest::{MANIFEST_NAME, SCHEMA, SUMS_NAME};

/// The product that this pipeline releases.
pub const PRODUCT: &str = "cairn";

/// Suffix of the detached signature of a file.
pub const SIGNATURE_SUFFIX: &str = ".minisig";

/// Shells for which each binary generates completions; also the folder names under `completions/`.
pub const SHELLS: [&str; 3] = ["bash", "fish", "zsh"];

/// The binaries of the archive and the package that builds each.
const BINARIES: [(&str, &str); 4] =
    [("cairn-bench", "cairn-bench"), ("cairnctl", "cairn-ctl"), ("cairnd", "cairn-server"), ("cairnutl", "cairn-utl")];

/// Files of the source tree that go into the archive, as (place in the archive, place in the tree).
const SOURCE_FILES: [(&str, &str); 3] =
    [("LICENSE", "LICENSE"), ("README.md", "packaging/README.md"), ("etc/cairn.env", "packaging/cairn.env")];

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
    /// Seconds since 1970 that every artifact carries as its time.
    pub source_date_epoch: u64,
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

/// A platform and what is built for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Target {
    /// Short name, as in file names.
    pub name: String,
    /// Rust's name of the platform.
    pub triple: String,
    /// Programs that are built, sorted by name.
    pub binaries: Vec<Binary>,
}

/// A program of the release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Binary {
    /// File name of the program.
    pub name: String,
    /// Cargo package that builds it.
    pub package: String,
}

/// A published file that is made from the builds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Artifact {
    /// File name.
    pub name: String,
    /// What it is.
    pub kind: ArtifactKind,
    /// Name of the target that it is for.
    pub target: String,
    /// The one folder at the top of the archive.
    pub top_folder: String,
    /// Files that are taken from the source tree.
    pub source_files: Vec<SourceFile>,
}

/// The kinds of published files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArtifactKind {
    /// A tar.gz with programs, man pages, completions, README, licence and sample configuration.
    Archive,
    /// The list of SHA-256 sums.
    Checksums,
}

/// A file of the source tree that goes into an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceFile {
    /// Path below the archive's top folder.
    pub path: String,
    /// Path below the root of the source tree.
    pub from: String,
}

/// A condition that the final bytes must meet. Each one is checked by a step of [`crate::rehearse`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gate {
    /// Every packaged program reports the plan's version.
    VersionsEqual,
    /// The archive has every program, with man page and completions for every shell, and the files of the tree.
    ArchiveComplete,
    /// The release folder holds the planned files and no other, and manifest and checksums agree with their bytes.
    FolderComplete,
    /// Every file has a signature whose trusted comment names product, version, file, hash and sequence.
    SignaturesMatch,
    /// The stock minisign program accepts every signature.
    StockMinisign,
    /// The packaged server starts and the packaged client puts and gets through it.
    Smoke,
}

impl Gate {
    /// All gates, in the order in which the rehearsal reaches them.
    pub const ALL: [Gate; 6] = [
        Gate::VersionsEqual,
        Gate::ArchiveComplete,
        Gate::FolderComplete,
        Gate::SignaturesMatch,
        Gate::StockMinisign,
        Gate::Smoke,
    ];
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
        let targets = vec![target("linux-amd64", "x86_64-unknown-linux-gnu")];
        let artifacts: Vec<_> = targets.iter().map(|target| archive(&version, target)).collect();
        let files = file_names(&artifacts);
        Ok(Self {
            schema: SCHEMA,
            product: PRODUCT.to_owned(),
            version,
            sequence: release.sequence,
            commit: inputs.commit.clone(),
            source_date_epoch: inputs.source_date_epoch,
            targets,
            artifacts,
            files,
            gates: Gate::ALL.to_vec(),
        })
    }

    /// The plan as JSON with a line feed at its end.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).expect("a plan has only strings, numbers and lists");
        json.push('\n');
        json
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

    /// The target with this name; every artifact's target is one of the plan's.
    #[must_use]
    pub fn target(&self, name: &str) -> Option<&Target> {
        self.targets.iter().find(|target| target.name == name)
    }
}

fn parse<T: for<'de> Deserialize<'de>>(file: &'static str, text: &str) -> Result<T, PlanError> {
    toml::from_str(text).map_err(|source| PlanError::Toml { file, source: Box::new(source) })
}

fn target(name: &str, triple: &str) -> Target {
    let binaries = BINARIES
        .iter()
        .map(|(name, package)| Binary { name: (*name).to_owned(), package: (*package).to_owned() })
        .collect();
    Target { name: name.to_owned(), triple: triple.to_owned(), binaries }
}

fn archive(version: &str, target: &Target) -> Artifact {
    let top_folder = format!("{PRODUCT}-{version}-{}", target.name);
    let source_files = SOURCE_FILES
        .iter()
        .map(|(path, from)| SourceFile { path: (*path).to_owned(), from: (*from).to_owned() })
        .collect();
    Artifact {
        name: format!("{top_folder}.tar.gz"),
        kind: ArtifactKind::Archive,
        target: target.name.clone(),
        top_folder,
        source_files,
    }
}

fn file_names(artifacts: &[Artifact]) -> Vec<String> {
    let signed = artifacts.iter().map(|artifact| artifact.name.as_str()).chain([SUMS_NAME, MANIFEST_NAME]);
    let mut names: Vec<_> = signed.flat_map(|name| [name.to_owned(), format!("{name}{SIGNATURE_SUFFIX}")]).collect();
    names.sort();
    names
}
