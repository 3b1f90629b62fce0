//! Provenance: a signed statement about what a release was made of, how, and what came out.
//!
//! An in-toto statement (v1) with a SLSA provenance predicate (v1) in a DSSE envelope, one line in `*.intoto.jsonl`.
//! It claims SLSA Build level 1 and nothing more: the build runs as an ordinary process, so whoever controls the machine
//! controls the statement. That is true on a hosted runner as well, as long as the same job builds and signs. The level
//! is a field of the statement that [`verify`] insists on.
//!
//! Equal inputs give equal bytes: there is no time in it, and the id of the invocation is computed from the content.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::dsse::{self, EnvelopeError, VerifyingKey};
use crate::keys::SigningKey;
use crate::plan::HOME;
use crate::sbom::sha256;

/// End of the file name of a provenance.
pub const SUFFIX: &str = ".intoto.jsonl";

/// Media type of the statement inside the envelope.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// Type of the statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// Type of the predicate.
pub const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";

/// What the parameters of the build mean.
pub const BUILD_TYPE: &str = "https://cairn.example/build/v1";

/// Who builds: this tool, on whatever machine its user has.
pub const BUILDER_ID: &str = "https://cairn.example/builder/cairn-release/v1";

/// The SLSA Build level that is claimed.
pub const LEVEL: u32 = 1;

/// Why not more.
const LEVEL_REASON: &str = "built and signed by one process on a machine that its user controls; \
    the platform neither isolates the build nor keeps the key from it";

/// What the provenance is about.
#[derive(Debug, Clone)]
pub struct Build {
    /// Version of the product.
    pub version: String,
    /// Commit that is released.
    pub commit: Option<String>,
    /// Names of the targets.
    pub targets: Vec<String>,
    /// Settings that the user of the tool does not choose, such as flags of compilers, by name.
    pub internal: BTreeMap<String, String>,
    /// What went in besides the commit: the lock file, toolchains, packagers.
    pub materials: Vec<Material>,
    /// Name and SHA-256 of what came out: of files, and of images' manifests by `cairn:TAG`.
    pub subjects: BTreeMap<String, String>,
}

/// Something that went into the build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Material {
    /// What it is.
    pub name: String,
    /// Where it is from, or what identifies it.
    pub uri: String,
    /// Its hashes, by algorithm (`sha256`, `gitCommit`).
    pub digest: BTreeMap<String, String>,
}

/// The statement.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    #[serde(rename = "_type")]
    statement_type: String,
    subject: Vec<Subject>,
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Subject {
    name: String,
    digest: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Predicate {
    build_definition: BuildDefinition,
    run_details: RunDetails,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BuildDefinition {
    build_type: String,
    external_parameters: ExternalParameters,
    internal_parameters: BTreeMap<String, String>,
    resolved_dependencies: Vec<Material>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct ExternalParameters {
    version: String,
    commit: Option<String>,
    targets: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct RunDetails {
    builder: Builder,
    metadata: RunMetadata,
    // SLSA wants fields of one's own to begin with a name of one's own.
    #[serde(rename = "cairn_slsaBuildLevel")]
    level: u32,
    #[serde(rename = "cairn_slsaBuildLevelReason")]
    level_reason: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Builder {
    id: String,
    version: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RunMetadata {
    invocation_id: String,
}

impl Statement {
    /// Makes the statement about a build.
    #[must_use]
    pub fn new(build: &Build) -> Self {
        let source = build.commit.iter().map(|commit| Material {
            name: "source".to_owned(),
            uri: format!("git+{HOME}/cairn.git@{commit}"),
            digest: [("gitCommit".to_owned(), commit.clone())].into(),
        });
        let mut materials: Vec<_> = source.chain(build.materials.iter().cloned()).collect();
        materials.sort_by(|a, b| (&a.name, &a.uri).cmp(&(&b.name, &b.uri)));
        let mut targets = build.targets.clone();
        targets.sort();
        let subject = |(name, sha256): (&String, &String)| Subject {
            name: name.clone(),
            digest: [("sha256".to_owned(), sha256.clone())].into(),
        };
        let mut statement = Self {
            statement_type: STATEMENT_TYPE.to_owned(),
            subject: build.subjects.iter().map(subject).collect(),
            predicate_type: PREDICATE_TYPE.to_owned(),
            predicate: Predicate {
                build_definition: BuildDefinition {
                    build_type: BUILD_TYPE.to_owned(),
                    external_parameters: ExternalParameters {
                        version: build.version.clone(),
                        commit: build.commit.clone(),
                        targets,
                    },
                    internal_parameters: build.internal.clone(),
                    resolved_dependencies: materials,
                },
                run_details: run_details(),
            },
        };
        let hash = sha256(&statement.to_json());
        statement.predicate.run_details.metadata.invocation_id = format!("{BUILDER_ID}#{hash}");
        statement
    }

    /// The signed statement: the content of the provenance file.
    ///
    /// # Errors
    ///
    /// The secret key is damaged.
    pub fn seal(&self, key: &SigningKey) -> anyhow::Result<Vec<u8>> {
        dsse::seal(&self.to_json(), PAYLOAD_TYPE, key)
    }

    /// The commit that the build names.
    #[must_use]
    pub fn commit(&self) -> Option<&str> {
        self.predicate.build_definition.external_parameters.commit.as_deref()
    }

    /// The SLSA Build level that it claims.
    #[must_use]
    pub fn level(&self) -> u32 {
        self.predicate.run_details.level
    }

    /// What went into the build.
    #[must_use]
    pub fn materials(&self) -> &[Material] {
        &self.predicate.build_definition.resolved_dependencies
    }

    /// SHA-256 of a file that came out of the build.
    #[must_use]
    pub fn sha256_of(&self, name: &str) -> Option<&str> {
        let subject = self.subject.iter().find(|subject| subject.name == name)?;
        subject.digest.get("sha256").map(String::as_str)
    }

    fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a statement has only strings, numbers and lists")
    }
}

fn run_details() -> RunDetails {
    let version = [(env!("CARGO_PKG_NAME").to_owned(), env!("CARGO_PKG_VERSION").to_owned())].into();
    RunDetails {
        builder: Builder { id: BUILDER_ID.to_owned(), version },
        metadata: RunMetadata { invocation_id: String::new() },
        level: LEVEL,
        level_reason: LEVEL_REASON.to_owned(),
    }
}

/// Why a provenance is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The public key cannot be used.
    #[error("not a minisign public key: {0}")]
    BadPublicKey(String),
    /// The envelope is not one, or not signed by the key.
    #[error("the provenance is refused: {0}")]
    Envelope(EnvelopeError),
    /// It is signed, but no statement with a provenance of ours.
    #[error("the provenance makes no sense ({0}); it was made wrongly, report it")]
    Malformed(String),
    /// A type that this program does not know.
    #[error("the {what} of the provenance is {found:?}, not {wanted:?}")]
    UnknownType {
        /// Which type it is.
        what: &'static str,
        /// What the provenance says.
        found: String,
        /// What this program knows.
        wanted: &'static str,
    },
    /// A level that nobody gave it.
    #[error("the provenance claims SLSA Build level {0}; this builder has level {LEVEL}")]
    WrongLevel(u32),
    /// It is about another version.
    #[error("the provenance is about version {found}, not {wanted}")]
    WrongVersion {
        /// What the provenance says.
        found: String,
        /// What the user asked for.
        wanted: String,
    },
    /// A file that the build did not make.
    #[error("{0}: the provenance does not name it; do not use it")]
    UnknownFile(String),
    /// A file that the build made with other content.
    #[error("{0}: its content is not what the provenance says; get the file again from another place")]
    ChangedFile(String),
}

/// What a user wants to know.
#[derive(Debug)]
pub struct Check<'a> {
    /// Content of the provenance file.
    pub envelope: &'a [u8],
    /// Text of the minisign public key file, from a source that the user trusts.
    pub public_key: &'a str,
    /// Version that it should be about.
    pub version: &'a str,
    /// File name and SHA-256 of the files at hand; the provenance may name more.
    pub files: &'a BTreeMap<String, String>,
}

/// Checks a provenance, offline, and that it is about these files.
///
/// # Errors
///
/// The first thing that is not as it should be.
pub fn verify(check: &Check<'_>) -> Result<Statement, Refusal> {
    let key = VerifyingKey::parse(check.public_key).map_err(Refusal::BadPublicKey)?;
    let payload = key.open(check.envelope, PAYLOAD_TYPE).map_err(Refusal::Envelope)?;
    check_types(&payload)?;
    let statement: Statement = serde_json::from_slice(&payload).map_err(|e| Refusal::Malformed(e.to_string()))?;
    let Predicate { build_definition, run_details } = &statement.predicate;
    check_type("build type", &build_definition.build_type, BUILD_TYPE)?;
    check_type("builder", &run_details.builder.id, BUILDER_ID)?;
    if run_details.level != LEVEL {
        return Err(Refusal::WrongLevel(run_details.level));
    }
    let found = &build_definition.external_parameters.version;
    if found != check.version {
        return Err(Refusal::WrongVersion { found: found.clone(), wanted: check.version.to_owned() });
    }
    for (name, sha256) in check.files {
        match statement.sha256_of(name) {
            None => return Err(Refusal::UnknownFile(name.clone())),
            Some(said) if said != sha256 => return Err(Refusal::ChangedFile(name.clone())),
            Some(_) => {}
        }
    }
    Ok(statement)
}

/// The types come first: a statement of another type may have other fields, and that is what should be said of it.
fn check_types(payload: &[u8]) -> Result<(), Refusal> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Types {
        #[serde(rename = "_type")]
        statement_type: String,
        predicate_type: String,
    }
    let types: Types = serde_json::from_slice(payload).map_err(|e| Refusal::Malformed(e.to_string()))?;
    check_type("statement type", &types.statement_type, STATEMENT_TYPE)?;
    check_type("predicate type", &types.predicate_type, PREDICATE_TYPE)
}

fn check_type(what: &'static str, found: &str, wanted: &'static str) -> Result<(), Refusal> {
    if found == wanted { Ok(()) } else { Err(Refusal::UnknownType { what, found: found.to_owned(), wanted }) }
}
