//! Bills of materials in CycloneDX 1.6, as JSON.
//!
//! The serial number is computed from the document without it, so equal content has an equal number. The composition is
//! called incomplete, because the C library's start-up objects are not listed (see `release/native.toml`).

use serde::Serialize;

use super::{Component, Components, Form, Kind, ShippedFile, Subject, sha256, to_json};
use crate::date::rfc3339;
use crate::plan::HOME;

/// End of the file name of such a document.
pub const SUFFIX: &str = ".cdx.json";

/// Reference of the artifact within the document.
const ARTIFACT: &str = "artifact";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Bom {
    #[serde(rename = "$schema")]
    schema: &'static str,
    bom_format: &'static str,
    spec_version: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    serial_number: String,
    version: u32,
    metadata: Metadata,
    components: Vec<Item>,
    dependencies: Vec<Dependency>,
    compositions: Vec<Composition>,
}

#[derive(Serialize)]
struct Metadata {
    timestamp: String,
    lifecycles: [Lifecycle; 1],
    tools: Tools,
    component: Item,
}

#[derive(Serialize)]
struct Lifecycle {
    phase: &'static str,
}

#[derive(Serialize)]
struct Tools {
    components: [Item; 1],
}

/// A component in the sense of the format: the artifact, a crate, a native part, a file, a tool.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    r#type: &'static str,
    #[serde(rename = "bom-ref", skip_serializing_if = "String::is_empty")]
    bom_ref: String,
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hashes: Vec<Hash>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    licenses: Vec<License>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpe: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purl: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    external_references: Vec<Reference>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    properties: Vec<Property>,
}

#[derive(Serialize)]
struct Hash {
    alg: &'static str,
    content: String,
}

#[derive(Serialize)]
struct License {
    expression: String,
}

#[derive(Serialize)]
struct Reference {
    r#type: &'static str,
    url: String,
}

#[derive(Serialize)]
struct Property {
    name: &'static str,
    value: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Dependency {
    r#ref: String,
    depends_on: Vec<String>,
}

#[derive(Serialize)]
struct Composition {
    aggregate: &'static str,
    assemblies: [&'static str; 1],
}

/// Writes the bill of materials of an artifact.
#[must_use]
pub fn render(components: &Components, subject: &Subject<'_>) -> Vec<u8> {
    let listed = components.iter().map(component);
    let files = subject.files.iter().map(file);
    let mut bom = Bom {
        schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
        bom_format: "CycloneDX",
        spec_version: "1.6",
        serial_number: String::new(),
        version: 1,
        metadata: Metadata {
            timestamp: rfc3339(subject.source_date_epoch),
            lifecycles: [Lifecycle { phase: "build" }],
            tools: Tools { components: [tool()] },
            component: artifact(subject),
        },
        components: listed.chain(files).collect(),
        dependencies: dependencies(components, subject),
        compositions: vec![Composition { aggregate: "incomplete", assemblies: [ARTIFACT] }],
    };
    bom.serial_number = serial_number(&sha256(&to_json(&bom)));
    to_json(&bom)
}

/// A UUID of version 8 (RFC 9562: its bits are the maker's) out of a hash.
fn serial_number(sha256: &str) -> String {
    let [a, b, c, d, e] = [&sha256[..8], &sha256[8..12], &sha256[13..16], &sha256[17..20], &sha256[20..32]];
    format!("urn:uuid:{a}-{b}-8{c}-8{d}-{e}")
}

fn tool() -> Item {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Item { r#type: "application", name: env!("CARGO_PKG_NAME").to_owned(), version, ..Item::default() }
}

fn artifact(subject: &Subject<'_>) -> Item {
    let mut properties = vec![
        Property { name: "cairn:artifact", value: subject.artifact.to_owned() },
        Property { name: "cairn:target", value: subject.target.to_owned() },
    ];
    properties.extend(subject.commit.map(|commit| Property { name: "cairn:commit", value: commit.to_owned() }));
    Item {
        r#type: match subject.form {
            Form::Archive => "application",
            Form::Image { .. } => "container",
        },
        bom_ref: ARTIFACT.to_owned(),
        name: subject.name.to_owned(),
        version: subject.version.to_owned(),
        hashes: subject.sha256.map(sha256_hash).into_iter().collect(),
        purl: Some(subject.purl()),
        external_references: vec![Reference { r#type: "website", url: HOME.to_owned() }],
        properties,
        ..Item::default()
    }
}

fn component(component: &Component) -> Item {
    let Component { name, version, kind, licence, purl, cpe, sha256, repository, contained_in, .. } = component;
    let mut properties = vec![Property {
        name: "cairn:kind",
        value: match kind {
            Kind::Own => "crate of this product".to_owned(),
            Kind::Crate => "crate".to_owned(),
            Kind::Native => "native code".to_owned(),
            Kind::Package => "package of a distribution".to_owned(),
        },
    }];
    properties.extend(contained_in.clone().map(|value| Property { name: "cairn:contained-in", value }));
    Item {
        r#type: "library",
        bom_ref: component.id(),
        name: name.clone(),
        version: version.clone(),
        scope: Some("required"),
        hashes: sha256.as_deref().map(sha256_hash).into_iter().collect(),
        licenses: licence.clone().map(|expression| License { expression }).into_iter().collect(),
        cpe: cpe.clone(),
        purl: Some(purl.clone()),
        external_references: repository.clone().map(|url| Reference { r#type: "vcs", url }).into_iter().collect(),
        properties,
    }
}

fn file(file: &ShippedFile) -> Item {
    Item {
        r#type: "file",
        bom_ref: file_ref(file),
        name: file.path.clone(),
        hashes: vec![sha256_hash(&file.sha256)],
        ..Item::default()
    }
}

fn file_ref(file: &ShippedFile) -> String {
    format!("file:{}", file.path)
}

fn sha256_hash(content: &str) -> Hash {
    Hash { alg: "SHA-256", content: content.to_owned() }
}

/// The artifact needs the programs' crates, a program needs its own one, and so on.
fn dependencies(components: &Components, subject: &Subject<'_>) -> Vec<Dependency> {
    let roots = components.roots.iter().cloned().collect();
    let mut dependencies = vec![Dependency { r#ref: ARTIFACT.to_owned(), depends_on: roots }];
    for (id, needs) in &components.needs {
        dependencies.push(Dependency { r#ref: id.clone(), depends_on: needs.iter().cloned().collect() });
    }
    for file in subject.files {
        let root = super::root_of(components, file).map(str::to_owned);
        dependencies.push(Dependency { r#ref: file_ref(file), depends_on: root.into_iter().collect() });
    }
    dependencies
}
