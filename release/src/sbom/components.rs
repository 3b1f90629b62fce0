//! What programs are made of: crates and native code with versions, licences, origins and texts.
//!
//! [`Inventory::gather`] asks cargo once per build; [`Inventory::of`] gives the list of any set of programs, so that
//! each archive and package has the list of exactly the programs that are in it. Everything is sorted; the list names
//! no path of the machine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, MetadataCommand, Package};
use serde::Deserialize;

use super::graph::{self, Graph, Key};
use super::native::{Catalogue, CrateFacts, Toolchain};

/// Build dependencies that make a crate suspect of compiling native code.
const COMPILERS: [&str; 5] = ["autotools", "cc", "cmake", "cxx-build", "nasm-rs"];

/// Beginnings of the names of files with licence texts, in small letters.
const TEXT_NAMES: [&str; 6] = ["license", "licence", "copying", "copyright", "notice", "unlicense"];

/// What a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A crate of this source tree.
    Own,
    /// A crate of somebody else.
    Crate,
    /// C or C++ inside a crate, or what a toolchain adds.
    Native,
    /// A package of a distribution, whose files are shipped as they are.
    Package,
}

/// A licence text of a component.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LicenceText {
    /// Path of the file in the component's source.
    pub file: String,
    /// The text with plain line ends and without blanks at their ends, so that equal texts are equal.
    pub text: String,
}

impl LicenceText {
    /// A text as it is compared and printed.
    pub(super) fn new(file: &str, text: &str) -> Self {
        let lines: Vec<_> = text.trim_end().lines().map(str::trim_end).collect();
        let start = lines.iter().position(|line| !line.is_empty()).unwrap_or(0);
        Self { file: file.to_owned(), text: lines[start..].join("\n") }
    }
}

/// One thing that a program is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// Its name.
    pub name: String,
    /// Its version; empty if it is not known.
    pub version: String,
    /// What it is.
    pub kind: Kind,
    /// SPDX licence expression; none if its author gives none that can be read.
    pub licence: Option<String>,
    /// Package URL.
    pub purl: String,
    /// Name in the vulnerability databases that use CPE.
    pub cpe: Option<String>,
    /// SHA-256 of its archive: of a crate's, from the lock file; of a package.
    pub sha256: Option<String>,
    /// Where its source is kept.
    pub repository: Option<String>,
    /// What brings it: a crate's source or a toolchain, as a phrase.
    pub contained_in: Option<String>,
    /// Licence texts found in its source.
    pub texts: Vec<LicenceText>,
}

impl Component {
    /// Name that is unique in any list of components.
    #[must_use]
    pub fn id(&self) -> String {
        let kind = match self.kind {
            Kind::Own | Kind::Crate => "crate",
            Kind::Native => "native",
            Kind::Package => "package",
        };
        let Self { name, version, .. } = self;
        if version.is_empty() { format!("{kind}:{name}") } else { format!("{kind}:{name}@{version}") }
    }
}

/// The components of an artifact and how they need each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Components {
    /// Ids of the programs' own crates, and of what the artifact has beside programs.
    pub roots: BTreeSet<String>,
    /// All components by id.
    pub all: BTreeMap<String, Component>,
    /// What each component needs or contains, by id.
    pub needs: BTreeMap<String, BTreeSet<String>>,
}

impl Components {
    /// All components, sorted by id.
    pub fn iter(&self) -> impl Iterator<Item = &Component> {
        self.all.values()
    }

    /// Name and version of every crate: what the list that is embedded in a program should have.
    #[must_use]
    pub fn crates(&self) -> BTreeSet<(String, String)> {
        let crates = self.iter().filter(|component| matches!(component.kind, Kind::Own | Kind::Crate));
        crates.map(|component| (component.name.clone(), component.version.clone())).collect()
    }

    /// Adds something that the artifact has beside its programs.
    pub fn add_beside(&mut self, component: Component) {
        let id = self.add(component);
        self.roots.insert(id);
    }

    /// Adds something that every program needs.
    pub fn add_runtime(&mut self, component: Component) {
        let id = self.add(component);
        for root in &self.roots {
            self.needs.entry(root.clone()).or_default().insert(id.clone());
        }
    }

    fn add(&mut self, component: Component) -> String {
        let id = component.id();
        self.needs.entry(id.clone()).or_default();
        self.all.entry(id.clone()).or_insert(component);
        id
    }

    fn merge(&mut self, other: &Self) {
        self.roots.extend(other.roots.iter().cloned());
        self.all.extend(other.all.iter().map(|(id, component)| (id.clone(), component.clone())));
        for (id, needs) in &other.needs {
            self.needs.entry(id.clone()).or_default().extend(needs.iter().cloned());
        }
    }
}

/// What to ask about.
#[derive(Debug)]
pub struct Request<'a> {
    /// Root of the source tree.
    pub root: &'a Path,
    /// Rust's name of the platform, without a glibc version.
    pub target: &'a str,
    /// The packages that each cargo command of the build builds together: packages share their features within one.
    pub builds: &'a [&'a [&'a str]],
    /// The toolchains that add code of their own.
    pub toolchains: &'a [Toolchain],
}

/// The components of every program of a target.
#[derive(Debug)]
pub struct Inventory {
    /// What is known of native code.
    pub catalogue: Catalogue,
    programs: BTreeMap<String, Program>,
}

#[derive(Debug)]
struct Program {
    components: Components,
    /// Crates that may have native code of which the catalogue says nothing.
    unknown: BTreeSet<String>,
    /// Cargo's own names of the crates, for [`super::precursor`].
    crate_ids: BTreeMap<String, String>,
}

impl Inventory {
    /// Gathers the components of all packages.
    ///
    /// # Errors
    ///
    /// Cargo fails (offline, so a crate may be missing), or `native.toml` is invalid or does not fit the toolchains.
    pub fn gather(request: &Request<'_>) -> Result<Self> {
        let catalogue = Catalogue::read(request.root)?;
        let source = Source::read(request)?;
        let mut programs = BTreeMap::new();
        for packages in request.builds {
            for (package, graph) in graph::resolve(request.root, request.target, packages)? {
                let program = source.program(&package, &graph, &catalogue, request.toolchains)?;
                programs.insert(package, program);
            }
        }
        Ok(Self { catalogue, programs })
    }

    /// The components of some of the packages together.
    ///
    /// # Errors
    ///
    /// A package was not asked for when this was gathered.
    pub fn of(&self, packages: &[&str]) -> Result<Components> {
        let mut components = Components::default();
        for package in packages {
            components.merge(&self.program(package)?.components);
        }
        Ok(components)
    }

    /// Cargo's own names of a package's crates, by id.
    pub(super) fn crate_ids(&self, package: &str) -> Result<&BTreeMap<String, String>> {
        Ok(&self.program(package)?.crate_ids)
    }

    /// Crates that look as if they had native code and are not in `native.toml`.
    #[must_use]
    pub fn coverage_violations(&self) -> Vec<String> {
        let unknown: BTreeSet<_> = self.programs.values().flat_map(|program| &program.unknown).collect();
        unknown.into_iter().map(|what| format!("{what}; add it to {}", super::native::NATIVE_TOML)).collect()
    }

    fn program(&self, package: &str) -> Result<&Program> {
        self.programs.get(package).with_context(|| format!("the components of {package} were not gathered"))
    }
}

/// What cargo and the lock file know of all crates of the tree.
struct Source {
    packages: BTreeMap<Key, Package>,
    own: BTreeSet<Key>,
    checksums: BTreeMap<Key, String>,
}

#[derive(Deserialize)]
struct LockFile {
    package: Vec<LockedPackage>,
}

#[derive(Deserialize)]
struct LockedPackage {
    name: String,
    version: String,
    checksum: Option<String>,
}

impl Source {
    fn read(request: &Request<'_>) -> Result<Self> {
        let metadata = metadata(request)?;
        let members: BTreeSet<_> = metadata.workspace_members.iter().collect();
        let own = metadata.packages.iter().filter(|package| members.contains(&package.id)).map(key).collect();
        let packages = metadata.packages.iter().map(|package| (key(package), package.clone())).collect();
        let path = request.root.join("Cargo.lock");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let lock: LockFile = toml::from_str(&text).context("Cargo.lock is not valid")?;
        let locked = lock.package.into_iter().filter_map(|p| Some(((p.name, p.version), p.checksum?)));
        Ok(Self { packages, own, checksums: locked.collect() })
    }

    fn program(
        &self,
        package: &str,
        graph: &Graph,
        catalogue: &Catalogue,
        toolchains: &[Toolchain],
    ) -> Result<Program> {
        let mut components = Components::default();
        let mut unknown = BTreeSet::new();
        let mut crate_ids = BTreeMap::new();
        let mut has_cxx = false;
        for (key, features) in &graph.features {
            let known = self.packages.get(key).with_context(|| format!("cargo metadata lacks {} {}", key.0, key.1))?;
            let id = components.add(self.component(key, known)?);
            crate_ids.insert(id.clone(), known.id.repr.clone());
            if key.0 == package {
                components.roots.insert(id.clone());
            }
            let folder = folder(known);
            for part in catalogue.parts_of(&CrateFacts { name: &key.0, version: &key.1, folder: &folder, features })? {
                has_cxx |= catalogue.is_cxx(&part.name);
                let part = components.add(part);
                components.needs.entry(id.clone()).or_default().insert(part);
            }
            if !catalogue.knows(&key.0) {
                unknown.extend(suspicion(known));
            }
        }
        for (from, to) in &graph.needs {
            let to = to.iter().map(crate_id);
            components.needs.entry(crate_id(from)).or_default().extend(to);
        }
        for runtime in catalogue.runtimes(toolchains, has_cxx)? {
            components.add_runtime(runtime);
        }
        Ok(Program { components, unknown, crate_ids })
    }

    fn component(&self, key: &Key, package: &Package) -> Result<Component> {
        let own = self.own.contains(key);
        let version = super::in_purl(&key.1);
        // A crate of ours is in no registry: under `pkg:cargo` scanners would take a stranger's for it.
        let scheme = if own { "generic" } else { "cargo" };
        Ok(Component {
            name: key.0.clone(),
            version: key.1.clone(),
            kind: if own { Kind::Own } else { Kind::Crate },
            licence: package.license.as_deref().and_then(canonical_expression),
            purl: format!("pkg:{scheme}/{}@{version}", key.0),
            cpe: None,
            sha256: self.checksums.get(key).cloned(),
            repository: package.repository.clone(),
            contained_in: None,
            texts: texts(package)?,
        })
    }
}

fn metadata(request: &Request<'_>) -> Result<Metadata> {
    let options = ["--locked", "--offline", "--filter-platform", request.target].map(str::to_owned).to_vec();
    let mut command = MetadataCommand::new();
    command.cargo_path(graph::cargo()).manifest_path(request.root.join("Cargo.toml")).other_options(options);
    command.exec().context("cargo metadata failed; `cargo fetch` brings crates that are missing")
}

fn key(package: &Package) -> Key {
    (package.name.to_string(), package.version.to_string())
}

fn crate_id((name, version): &Key) -> String {
    format!("crate:{name}@{version}")
}

fn folder(package: &Package) -> PathBuf {
    package.manifest_path.parent().map(|folder| folder.as_std_path().to_owned()).unwrap_or_default()
}

/// Why a crate may have native code.
fn suspicion(package: &Package) -> Option<String> {
    let (name, version) = (&package.name, &package.version);
    if let Some(links) = &package.links {
        return Some(format!("{name} {version} links the native library {links:?}"));
    }
    let build = package.dependencies.iter().filter(|need| need.kind == cargo_metadata::DependencyKind::Build);
    let compiler = build.map(|need| need.name.as_str()).find(|name| COMPILERS.contains(name))?;
    Some(format!("{name} {version} is built with {compiler}, so it may compile native code"))
}

/// The expression in the one form that SPDX has; crates also write `MIT/Apache-2.0`.
fn canonical_expression(licence: &str) -> Option<String> {
    let canonical = spdx::Expression::canonicalize(licence).ok()?.unwrap_or_else(|| licence.to_owned());
    spdx::Expression::parse(&canonical).ok().map(|_| canonical)
}

/// The licence texts in a crate's folder, sorted by name.
fn texts(package: &Package) -> Result<Vec<LicenceText>> {
    let folder = folder(package);
    let mut paths = BTreeSet::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        if TEXT_NAMES.iter().any(|start| name.starts_with(start)) && path.is_file() {
            paths.insert(path);
        }
    }
    paths.extend(package.license_file().map(cargo_metadata::camino::Utf8PathBuf::into_std_path_buf));
    let text = |path: &PathBuf| {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(LicenceText::new(&name, &String::from_utf8_lossy(&bytes)))
    };
    paths.iter().map(text).collect()
}
