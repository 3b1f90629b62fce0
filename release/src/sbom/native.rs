//! `release/native.toml`: which C and C++ code is inside crates and which of it toolchains add, and how to see it.
//!
//! Versions are never written there: a part's comes out of its crate's version, a runtime's out of the toolchain's own
//! files. [`Catalogue::program_violations`] is the gate over final bytes: every part that is listed has a sign in the
//! program, and no part that is not listed has one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use memchr::memmem;
use serde::Deserialize;

use super::components::{Component, Components, Kind, LicenceText};

/// Place of the catalogue below the root of the source tree.
pub const NATIVE_TOML: &str = "release/native.toml";

/// Mark of a text that is a comment inside a source.
const COMMENT_MARK: &str = "#comment";

/// Mark of a sign that is given as bytes.
const HEX_MARK: &str = "hex:";

/// What separates major, minor and patch in the number that libc++ gives as its version.
const LLVM_FIELD: u64 = 100;

/// What `native.toml` says.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// Code inside crates.
    #[serde(rename = "part")]
    parts: Vec<Part>,
    /// Code that toolchains add.
    #[serde(rename = "runtime")]
    runtimes: Vec<Runtime>,
    /// Crates whose look deceives.
    #[serde(rename = "pure")]
    pure: Vec<Pure>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    name: String,
    #[serde(rename = "crate")]
    in_crate: String,
    feature: Option<String>,
    version: Option<Vec<String>>,
    licence: String,
    purl: String,
    cpe: Option<String>,
    texts: Vec<String>,
    #[serde(default)]
    cxx: bool,
    signs: Vec<String>,
    exact: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Runtime {
    name: String,
    toolchain: String,
    #[serde(rename = "in")]
    scope: Scope,
    version_in: Option<[String; 2]>,
    licence: String,
    purl: String,
    cpe: Option<String>,
    texts: Vec<String>,
    #[serde(default)]
    texts_else: Vec<String>,
    #[serde(default)]
    signs: Vec<String>,
    unprovable: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Scope {
    Every,
    Cxx,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pure {
    #[serde(rename = "crate")]
    name: String,
    why: String,
}

/// A toolchain that adds code of its own to the programs that it links.
#[derive(Debug, Clone)]
pub struct Toolchain {
    /// `rust`, `zig`, `musl` (which is in zig) or `gcc-static`, as in `native.toml`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Folder with its files: rustc's sysroot, the folder with zig's `lib` and `LICENSE`.
    pub folder: PathBuf,
}

/// A crate as far as native code is concerned.
pub(super) struct CrateFacts<'a> {
    pub(super) name: &'a str,
    pub(super) version: &'a str,
    pub(super) folder: &'a Path,
    pub(super) features: &'a BTreeSet<String>,
}

impl Catalogue {
    /// Reads `native.toml` of a source tree.
    ///
    /// # Errors
    ///
    /// The file cannot be read or breaks its own rules.
    pub fn read(root: &Path) -> Result<Self> {
        let path = root.join(NATIVE_TOML);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let catalogue: Self = toml::from_str(&text).with_context(|| format!("{NATIVE_TOML} is not valid"))?;
        catalogue.check().map_err(anyhow::Error::msg).context(NATIVE_TOML)?;
        Ok(catalogue)
    }

    fn check(&self) -> Result<(), String> {
        let known: BTreeSet<_> = ["rust", "zig", "musl", "gcc-static"].into();
        for runtime in &self.runtimes {
            if !known.contains(runtime.toolchain.as_str()) {
                return Err(format!("{}: no toolchain is called {:?}", runtime.name, runtime.toolchain));
            }
            if runtime.signs.is_empty() && runtime.unprovable.as_deref().is_none_or(str::is_empty) {
                return Err(format!("{} has neither signs nor a reason why it has none", runtime.name));
            }
        }
        for part in &self.parts {
            if part.signs.is_empty() {
                return Err(format!("{} has no signs", part.name));
            }
            if part.version.as_ref().is_some_and(|fields| fields.is_empty() || fields.len() > 2) {
                return Err(format!("{}: version must be one or two texts", part.name));
            }
        }
        let signs = self.parts.iter().flat_map(|part| &part.signs);
        for sign in signs.chain(self.runtimes.iter().flat_map(|runtime| &runtime.signs)) {
            pattern(sign).ok_or_else(|| format!("the sign {sign:?} is no text and no hexadecimal bytes"))?;
        }
        self.pure.iter().find(|pure| pure.why.is_empty()).map_or(Ok(()), |pure| Err(format!("{}: why?", pure.name)))
    }

    /// Whether the catalogue says something about this crate.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.parts.iter().any(|part| part.in_crate == name) || self.pure.iter().any(|pure| pure.name == name)
    }

    /// The native parts of a crate.
    pub(super) fn parts_of(&self, facts: &CrateFacts<'_>) -> Result<Vec<Component>> {
        let of_crate = self.parts.iter().filter(|part| part.in_crate == facts.name);
        let compiled = of_crate.filter(|part| part.feature.as_ref().is_none_or(|f| facts.features.contains(f)));
        compiled.map(|part| part.component(facts)).collect()
    }

    /// The parts that the toolchains add to a program, which has C++ in it or not.
    pub(super) fn runtimes(&self, toolchains: &[Toolchain], has_cxx: bool) -> Result<Vec<Component>> {
        let mut found = Vec::new();
        for toolchain in toolchains {
            if !self.runtimes.iter().any(|runtime| runtime.toolchain == toolchain.name) {
                bail!("{NATIVE_TOML} knows nothing of the toolchain {:?}", toolchain.name);
            }
            let of_toolchain = self.runtimes.iter().filter(|runtime| runtime.toolchain == toolchain.name);
            for runtime in of_toolchain.filter(|runtime| has_cxx || runtime.scope == Scope::Every) {
                found.push(runtime.component(toolchain)?);
            }
        }
        Ok(found)
    }

    /// Whether the named native part is C++.
    pub(super) fn is_cxx(&self, name: &str) -> bool {
        self.parts.iter().any(|part| part.name == name && part.cxx)
    }

    /// Holds a program's bytes to its list of native parts: listed parts must be there, others must not.
    #[must_use]
    pub fn program_violations(&self, program: &str, bytes: &[u8], components: &Components) -> Vec<String> {
        let versions: BTreeMap<_, _> = components
            .iter()
            .filter(|component| component.kind == Kind::Native)
            .map(|component| (component.name.as_str(), component.version.as_str()))
            .collect();
        let parts = self.parts.iter().map(|part| (&part.name, &part.signs, part.exact.as_deref()));
        let runtimes = self.runtimes.iter().map(|runtime| (&runtime.name, &runtime.signs, None));
        let mut violations = Vec::new();
        for (name, signs, exact) in parts.chain(runtimes).filter(|(_, signs, _)| !signs.is_empty()) {
            let sign = signs.iter().find(|sign| has(bytes, sign));
            match (versions.get(name.as_str()), sign) {
                (Some(_), None) => violations.push(format!(
                    "{program}: {name} is listed but has no sign in it; was it built without, or has {NATIVE_TOML} old signs?"
                )),
                (None, Some(sign)) => violations
                    .push(format!("{program}: {name} is in it (it has {sign:?}) but is not listed; see {NATIVE_TOML}")),
                (Some(version), Some(_)) => {
                    let wanted = exact.map(|exact| exact.replace("{version}", version));
                    violations.extend(wanted.filter(|wanted| !has(bytes, wanted)).map(|wanted| {
                        format!("{program}: {name} is listed as {version}, but {wanted:?} is not in it")
                    }));
                }
                (None, None) => {}
            }
        }
        violations
    }
}

impl Part {
    fn component(&self, facts: &CrateFacts<'_>) -> Result<Component> {
        let version = self.version_of(facts)?;
        let mut texts = Vec::new();
        for text in &self.texts {
            texts.extend(read_text(facts.folder, &text.replace("{version}", version))?);
        }
        Ok(Component {
            name: self.name.clone(),
            version: version.to_owned(),
            kind: Kind::Native,
            licence: Some(self.licence.clone()),
            purl: self.purl.replace("{version}", version),
            cpe: self.cpe.as_ref().map(|cpe| cpe.replace("{version}", version)),
            sha256: None,
            repository: None,
            contained_in: Some(format!("the crate {} {}", facts.name, facts.version)),
            texts,
        })
    }

    /// `1.10.0` of `1.11.1+lz4-1.10.0`; empty if the crate does not tell.
    fn version_of<'a>(&self, facts: &CrateFacts<'a>) -> Result<&'a str> {
        let Some(fields) = &self.version else { return Ok("") };
        let (_, rest) = facts.version.split_once(&fields[0]).with_context(|| {
            format!("the version of {} {} has no {:?}; correct {NATIVE_TOML}", facts.name, facts.version, fields[0])
        })?;
        let end = fields.get(1).and_then(|end| rest.find(end.as_str()));
        Ok(end.map_or(rest, |end| &rest[..end]))
    }
}

impl Runtime {
    fn component(&self, toolchain: &Toolchain) -> Result<Component> {
        let version = match &self.version_in {
            Some([file, name]) => llvm_version(&toolchain.folder.join(file), name)?,
            None => toolchain.version.clone(),
        };
        let mut texts = Vec::new();
        for places in [&self.texts, &self.texts_else] {
            if texts.is_empty() {
                for text in places {
                    texts.extend(read_text(&toolchain.folder, text)?);
                }
            }
        }
        Ok(Component {
            name: self.name.clone(),
            purl: self.purl.replace("{version}", &version),
            cpe: self.cpe.as_ref().map(|cpe| cpe.replace("{version}", &version)),
            version,
            kind: Kind::Native,
            licence: Some(self.licence.clone()),
            sha256: None,
            repository: None,
            contained_in: Some(format!("the toolchain {} {}", toolchain.name, toolchain.version)),
            texts,
        })
    }
}

/// `22.1.8` of the line `#  define _LIBCPP_VERSION 220108`.
fn llvm_version(header: &Path, name: &str) -> Result<String> {
    let text = fs::read_to_string(header).with_context(|| format!("cannot read {}", header.display()))?;
    let value = text.lines().find_map(|line| {
        let (_, value) = line.split_once("define ")?;
        value.trim_start().strip_prefix(name)?.trim().parse::<u64>().ok()
    });
    let number = value.with_context(|| format!("{} does not define {name}", header.display()))?;
    let (major, minor, patch) =
        (number / LLVM_FIELD / LLVM_FIELD, number / LLVM_FIELD % LLVM_FIELD, number % LLVM_FIELD);
    Ok(format!("{major}.{minor}.{patch}"))
}

/// A licence text; none if the file is not there, which the gate on licences reports.
fn read_text(folder: &Path, place: &str) -> Result<Option<LicenceText>> {
    let (file, comment) = place.strip_suffix(COMMENT_MARK).map_or((place, false), |file| (file, true));
    let path = folder.join(file);
    if !path.is_file() {
        return Ok(None);
    }
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let text = if comment { copyright_comment(&text).map(str::to_owned) } else { Some(text) };
    let text = text.with_context(|| format!("{} has no comment with a copyright", path.display()))?;
    Ok(Some(LicenceText::new(file, &text)))
}

/// The first block comment that has a copyright in it.
fn copyright_comment(source: &str) -> Option<&str> {
    let comments = source.split("/*").skip(1).filter_map(|rest| rest.split_once("*/"));
    comments.map(|(comment, _)| comment).find(|comment| comment.contains("Copyright"))
}

fn has(bytes: &[u8], sign: &str) -> bool {
    pattern(sign).is_some_and(|pattern| memmem::find(bytes, &pattern).is_some())
}

/// The bytes to look for; none for an empty sign and for wrong hexadecimal digits.
fn pattern(sign: &str) -> Option<Vec<u8>> {
    let Some(hex) = sign.strip_prefix(HEX_MARK) else {
        return Some(sign.as_bytes().to_vec()).filter(|bytes| !bytes.is_empty());
    };
    let digits: Vec<_> = hex.chars().map(|c| c.to_digit(16)).collect::<Option<_>>()?;
    let bytes = digits.chunks(2).map(|pair| match *pair {
        [high, low] => u8::try_from(high << 4 | low).ok(),
        _ => None,
    });
    bytes.collect::<Option<Vec<_>>>().filter(|bytes| !bytes.is_empty())
}
