//! Bills of materials in SPDX 2.3, as JSON.
//!
//! The namespace ends with the hash of the document without it, so equal content has an equal namespace and other
//! content another one.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::{Component, Components, Form, Kind, Subject, sha256, to_json};
use crate::date::rfc3339;
use crate::plan::HOME;

/// End of the file name of such a document.
pub const SUFFIX: &str = ".spdx.json";

/// What the format wants where nothing is said.
const NO_ASSERTION: &str = "NOASSERTION";

/// Id of the document.
const DOCUMENT: &str = "SPDXRef-DOCUMENT";

/// Id of the artifact.
const ARTIFACT: &str = "SPDXRef-Artifact";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    spdx_version: &'static str,
    data_license: &'static str,
    #[serde(rename = "SPDXID")]
    id: &'static str,
    name: &'a str,
    document_namespace: String,
    creation_info: CreationInfo,
    packages: Vec<Package<'a>>,
    files: Vec<File<'a>>,
    relationships: Vec<Relationship>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CreationInfo {
    created: String,
    creators: [&'static str; 2],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Package<'a> {
    name: &'a str,
    #[serde(rename = "SPDXID")]
    id: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    version_info: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    package_file_name: Option<&'a str>,
    download_location: &'static str,
    files_analyzed: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checksums: Vec<Checksum<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_info: Option<String>,
    license_concluded: &'static str,
    license_declared: &'a str,
    copyright_text: &'static str,
    external_refs: Vec<ExternalRef>,
    primary_package_purpose: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Checksum<'a> {
    algorithm: &'static str,
    checksum_value: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExternalRef {
    reference_category: &'static str,
    reference_type: &'static str,
    reference_locator: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct File<'a> {
    file_name: String,
    #[serde(rename = "SPDXID")]
    id: String,
    checksums: [Checksum<'a>; 2],
    license_concluded: &'static str,
    license_info_in_files: [&'static str; 1],
    copyright_text: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Relationship {
    spdx_element_id: String,
    related_spdx_element: String,
    relationship_type: &'static str,
}

/// Writes the bill of materials of an artifact.
#[must_use]
pub fn render(components: &Components, subject: &Subject<'_>) -> Vec<u8> {
    let mut packages = vec![artifact(subject)];
    packages.extend(components.iter().map(package));
    let mut document = Document {
        spdx_version: "SPDX-2.3",
        data_license: "CC0-1.0",
        id: DOCUMENT,
        name: subject.artifact,
        document_namespace: format!("{HOME}/spdx/"),
        creation_info: CreationInfo {
            created: rfc3339(subject.source_date_epoch),
            creators: ["Organization: Cairn", concat!("Tool: cairn-release-", env!("CARGO_PKG_VERSION"))],
        },
        packages,
        files: files(subject),
        relationships: relationships(components, subject),
    };
    let hash = sha256(&to_json(&document));
    write!(document.document_namespace, "{}-{hash}", subject.artifact).expect("writing to a string does not fail");
    to_json(&document)
}

fn artifact<'a>(subject: &Subject<'a>) -> Package<'a> {
    let source = subject.commit.map(|commit| format!("built for {} from the commit {commit}", subject.target));
    Package {
        name: subject.name,
        id: ARTIFACT.to_owned(),
        version_info: subject.version,
        package_file_name: (subject.form == Form::Archive).then_some(subject.artifact),
        download_location: NO_ASSERTION,
        files_analyzed: false,
        checksums: subject.sha256.map(|value| checksum("SHA256", value)).into_iter().collect(),
        source_info: Some(source.unwrap_or_else(|| format!("built for {}", subject.target))),
        license_concluded: NO_ASSERTION,
        license_declared: "Apache-2.0",
        copyright_text: NO_ASSERTION,
        external_refs: vec![purl(subject.purl())],
        primary_package_purpose: match subject.form {
            Form::Archive => "APPLICATION",
            Form::Image { .. } => "CONTAINER",
        },
    }
}

fn package(component: &Component) -> Package<'_> {
    let mut external_refs = vec![purl(component.purl.clone())];
    external_refs.extend(component.cpe.clone().map(|reference_locator| ExternalRef {
        reference_category: "SECURITY",
        reference_type: "cpe23Type",
        reference_locator,
    }));
    Package {
        name: &component.name,
        id: package_id(&component.id()),
        version_info: &component.version,
        package_file_name: None,
        download_location: NO_ASSERTION,
        files_analyzed: false,
        checksums: component.sha256.as_deref().map(|value| checksum("SHA256", value)).into_iter().collect(),
        source_info: component.contained_in.as_ref().map(|place| format!("native code in {place}")),
        license_concluded: NO_ASSERTION,
        license_declared: component.licence.as_deref().unwrap_or(NO_ASSERTION),
        copyright_text: NO_ASSERTION,
        external_refs,
        primary_package_purpose: "LIBRARY",
    }
}

fn purl(reference_locator: String) -> ExternalRef {
    ExternalRef { reference_category: "PACKAGE-MANAGER", reference_type: "purl", reference_locator }
}

fn checksum<'a>(algorithm: &'static str, checksum_value: &'a str) -> Checksum<'a> {
    Checksum { algorithm, checksum_value }
}

fn files<'a>(subject: &Subject<'a>) -> Vec<File<'a>> {
    let file = |(index, file): (usize, &'a super::ShippedFile)| File {
        file_name: format!("./{}", file.path),
        id: file_id(index),
        checksums: [checksum("SHA1", &file.sha1), checksum("SHA256", &file.sha256)],
        license_concluded: NO_ASSERTION,
        license_info_in_files: [NO_ASSERTION],
        copyright_text: NO_ASSERTION,
    };
    subject.files.iter().enumerate().map(file).collect()
}

fn file_id(index: usize) -> String {
    format!("SPDXRef-File-{index}")
}

/// An id may have letters, digits, dots and hyphens only; other characters become their number, between dots.
fn package_id(id: &str) -> String {
    let mut text = "SPDXRef-".to_owned();
    for c in id.chars() {
        match c {
            ':' | '@' => text.push('-'),
            c if c.is_ascii_alphanumeric() || ".-".contains(c) => text.push(c),
            c => write!(text, ".{:x}.", u32::from(c)).expect("writing to a string does not fail"),
        }
    }
    text
}

fn relationships(components: &Components, subject: &Subject<'_>) -> Vec<Relationship> {
    let relation = |from: String, kind, to: String| Relationship {
        spdx_element_id: from,
        related_spdx_element: to,
        relationship_type: kind,
    };
    let mut all = vec![relation(DOCUMENT.to_owned(), "DESCRIBES", ARTIFACT.to_owned())];
    let native: BTreeMap<_, _> = components.all.iter().filter(|(_, it)| it.kind == Kind::Native).collect();
    for root in &components.roots {
        all.push(relation(ARTIFACT.to_owned(), "DEPENDS_ON", package_id(root)));
    }
    for (from, needs) in &components.needs {
        for to in needs {
            // What a toolchain adds to a program is not in the source of the program's crate.
            let contained = native.contains_key(to) && !components.roots.contains(from);
            let kind = if contained { "CONTAINS" } else { "DEPENDS_ON" };
            all.push(relation(package_id(from), kind, package_id(to)));
        }
    }
    for (index, file) in subject.files.iter().enumerate() {
        all.push(relation(ARTIFACT.to_owned(), "CONTAINS", file_id(index)));
        if let Some(root) = super::root_of(components, file) {
            let shipped_as_it_is = components.all[root].kind == Kind::Package;
            let kind = if shipped_as_it_is { "CONTAINED_BY" } else { "GENERATED_FROM" };
            all.push(relation(file_id(index), kind, package_id(root)));
        }
    }
    all
}
