//! Both formats of the bill: structure, determinism, and the official schemas where they are at hand.

use std::collections::BTreeSet;
use std::fs;

use cairn_release::sbom::{Component, Components, Form, Kind, ShippedFile, Subject, cyclonedx, shipped_files, spdx};
use cairn_release::tarball::{Entries, Entry};
use serde_json::Value;

use crate::fixture::{Tree, files, source_tree, subject};

/// Place of the official schemas beside a checkout, below which names are given here.
const SCHEMAS: &str = "../shared/data/schemas";

/// The official schema of CycloneDX.
const CYCLONEDX_SCHEMA: &str = "cyclonedx-1.6/bom-1.6.schema.json";

/// The official schema of SPDX.
const SPDX_SCHEMA: &str = "spdx-2.3/spdx-schema.json";

/// Holds both documents of some components to the official schemas, if the checkout has them beside it.
pub(crate) fn check_schemas(components: &Components, subject: &Subject<'_>) {
    for (schema, document) in
        [(CYCLONEDX_SCHEMA, cyclonedx::render(components, subject)), (SPDX_SCHEMA, spdx::render(components, subject))]
    {
        assert_eq!(schema_errors(schema, &parsed(&document)).unwrap_or_default(), Vec::<String>::new(), "{schema}");
    }
}

/// What a schema says against a document; none if the schemas are not at hand.
fn schema_errors(schema: &str, document: &Value) -> Option<Vec<String>> {
    let folder = source_tree().join(SCHEMAS);
    if !folder.is_dir() {
        return None;
    }
    let read = |name: &str| parsed(&fs::read(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}")));
    let registry = jsonschema::Registry::new()
        .add("http://cyclonedx.org/schema/spdx.schema.json", read("cyclonedx-1.6/spdx.schema.json"))
        .and_then(|it| {
            it.add("http://cyclonedx.org/schema/jsf-0.82.schema.json", read("cyclonedx-1.6/jsf-0.82.schema.json"))
        })
        .and_then(jsonschema::RegistryBuilder::prepare)
        .unwrap();
    let options = jsonschema::options().with_registry(&registry).should_validate_formats(true);
    let validator = options.build(&read(schema)).unwrap();
    Some(validator.iter_errors(document).map(|e| format!("{}: {e}", e.instance_path())).collect())
}

fn parsed(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

fn texts<'a>(list: &'a Value, field: &str) -> Vec<&'a str> {
    list.as_array().unwrap().iter().map(|item| item[field].as_str().unwrap()).collect()
}

#[test]
fn the_documents_fit_the_official_schemas() {
    check_schemas(&Tree::new().server(), &subject(&files()));
}

#[test]
fn the_documents_of_an_image_fit_the_official_schemas() {
    let mut components = Tree::new().server();
    let libc = Component {
        name: "libc6".to_owned(),
        version: "2.36-9+deb12u10".to_owned(),
        kind: Kind::Package,
        licence: Some("LGPL-2.1-or-later".to_owned()),
        purl: "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64".to_owned(),
        ..components.all["crate:helper@1.2.3"].clone()
    };
    components.add_beside(libc);
    let mut files = files();
    files.push(ShippedFile::read("lib/libc.so.6", b"libc".as_slice(), Some("libc6")).unwrap());
    let form = Form::Image { architecture: "amd64", tag: "0.1.0-amd64" };
    let image = Subject { form, artifact: "cairn:0.1.0-amd64", ..subject(&files) };
    check_schemas(&components, &image);
}

/// Otherwise the tests above could pass because nothing is checked.
#[test]
fn the_official_schemas_refuse_other_documents() {
    let (server, files) = (Tree::new().server(), files());
    let mut bom = parsed(&cyclonedx::render(&server, &subject(&files)));
    bom["components"][0]["type"] = "crate".into();
    assert!(schema_errors(CYCLONEDX_SCHEMA, &bom).is_none_or(|errors| !errors.is_empty()));
    let mut document = parsed(&spdx::render(&server, &subject(&files)));
    document["packages"][0]["checksums"][0]["algorithm"] = "sha-256".into();
    assert!(schema_errors(SPDX_SCHEMA, &document).is_none_or(|errors| !errors.is_empty()));
}

#[test]
fn cyclonedx_lists_crates_native_code_and_files_and_refers_only_to_what_it_lists() {
    let bom = parsed(&cyclonedx::render(&Tree::new().server(), &subject(&files())));
    assert_eq!((bom["bomFormat"].as_str(), bom["specVersion"].as_str()), (Some("CycloneDX"), Some("1.6")));
    assert_eq!(bom["metadata"]["timestamp"], "2023-11-14T22:13:20Z");
    let refs = texts(&bom["components"], "bom-ref");
    for wanted in ["crate:helper@1.2.3", "native:pressed@1.10.0", "native:libcxx@22.1.8", "file:bin/server"] {
        assert!(refs.contains(&wanted), "{refs:?}");
    }
    let known: BTreeSet<_> = refs.iter().copied().chain(["artifact"]).collect();
    assert_eq!(known.len(), refs.len() + 1, "every reference is unique");
    for dependency in bom["dependencies"].as_array().unwrap() {
        assert!(known.contains(dependency["ref"].as_str().unwrap()), "{dependency}");
        let needs = dependency["dependsOn"].as_array().unwrap();
        assert!(needs.iter().all(|need| known.contains(need.as_str().unwrap())), "{dependency}");
    }
    let program = bom["dependencies"].as_array().unwrap().iter().find(|it| it["ref"] == "file:bin/server").unwrap();
    assert_eq!(program["dependsOn"][0], "crate:server@0.1.0");
}

#[test]
fn spdx_lists_crates_native_code_and_files_and_refers_only_to_what_it_lists() {
    let document = parsed(&spdx::render(&Tree::new().server(), &subject(&files())));
    assert_eq!(document["spdxVersion"], "SPDX-2.3");
    assert_eq!(document["creationInfo"]["created"], "2023-11-14T22:13:20Z");
    let mut ids = texts(&document["packages"], "SPDXID");
    ids.extend(texts(&document["files"], "SPDXID"));
    ids.push("SPDXRef-DOCUMENT");
    let known: BTreeSet<_> = ids.iter().copied().collect();
    assert_eq!(known.len(), ids.len(), "every id is unique");
    assert!(ids.iter().all(|id| id.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c))), "{ids:?}");
    let mut relations = BTreeSet::new();
    for relation in document["relationships"].as_array().unwrap() {
        let [from, kind, to] =
            ["spdxElementId", "relationshipType", "relatedSpdxElement"].map(|field| relation[field].as_str().unwrap());
        assert!(known.contains(from) && known.contains(to), "{relation}");
        relations.insert((from, kind, to));
    }
    let pressed_sys = "SPDXRef-crate-pressed-sys-2.0.0.2b.press-1.10.0-0-gabc";
    for wanted in [
        ("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-Artifact"),
        (pressed_sys, "CONTAINS", "SPDXRef-native-pressed-1.10.0"),
        ("SPDXRef-crate-server-0.1.0", "DEPENDS_ON", "SPDXRef-native-libcxx-22.1.8"),
        ("SPDXRef-File-1", "GENERATED_FROM", "SPDXRef-crate-server-0.1.0"),
    ] {
        assert!(relations.contains(&wanted), "{wanted:?} is not in {relations:?}");
    }
}

#[test]
fn equal_trees_in_different_places_give_equal_documents() {
    let files = files();
    let [one, two] = [Tree::new().server(), Tree::new().server()];
    assert!(cyclonedx::render(&one, &subject(&files)) == cyclonedx::render(&two, &subject(&files)));
    assert!(spdx::render(&one, &subject(&files)) == spdx::render(&two, &subject(&files)));
}

#[test]
fn other_content_gives_another_serial_number_and_namespace() {
    let server = Tree::new().server();
    let files = files();
    let (one, two) = (subject(&files), subject(&files[..1]));
    let serial = |subject| parsed(&cyclonedx::render(&server, subject))["serialNumber"].clone();
    let namespace = |subject| parsed(&spdx::render(&server, subject))["documentNamespace"].clone();
    assert_ne!(serial(&one), serial(&two));
    assert_ne!(namespace(&one), namespace(&two));
}

#[test]
fn the_files_of_an_archive_are_hashed_and_links_are_not_files() {
    let mut entries = Entries::new();
    entries.insert("bin/cairnd".to_owned(), Entry::Bytes(0o755, b"abc".to_vec()));
    entries.insert("bin/etcd".to_owned(), Entry::Link("cairnd".to_owned()));
    let files = shipped_files(&entries, |path| path.strip_prefix("bin/").map(|_| "cairn-server")).unwrap();
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].sha1, "a9993e364706816aba3e25717850c26c9cd0d89d");
    assert_eq!(files[0].sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(files[0].package.as_deref(), Some("cairn-server"));
}
