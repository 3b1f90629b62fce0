//! The project's home is named by the plan's module, and every other place agrees.

use cairn_release::linux_packages::MAINTAINER;
use cairn_release::plan::HOME;
use cairn_release::provenance::{BUILD_TYPE, BUILDER_ID};

use crate::source_file;

/// Files that cannot take it from there, and what they say; `@` is the home.
const PLACES: [(&str, &[&str]); 6] = [
    ("Dockerfile", &["image.url=\"@\"", "image.documentation=\"@/docs\"", "image.source=\"@/source\""]),
    ("dist-workspace.toml", &["\nsimple-download-url = \"@/releases/{tag}\"\n"]),
    ("packaging/debian/copyright", &["\nSource: @\n"]),
    ("packaging/dist/cairn/dist.toml", &["\nhomepage = \"@\"\n"]),
    ("packaging/dist/cairn-client/dist.toml", &["\nhomepage = \"@\"\n"]),
    (".github/ISSUE_TEMPLATE/config.yml", &[" url: @/security\n"]),
];

/// What a text does not say of the things that it should say of the home.
fn lacking(text: &str, parts: &[&str], home: &str) -> Vec<String> {
    parts.iter().map(|part| part.replace('@', home)).filter(|part| !text.contains(part)).collect()
}

#[test]
fn every_file_names_the_home_of_the_plan() {
    for (file, parts) in PLACES {
        let text = source_file(file);
        assert_eq!(lacking(&text, parts, HOME), [""; 0], "{file} does not say where the project is");
        assert_eq!(lacking(&text, parts, "https://elsewhere.example").len(), parts.len(), "{file}");
    }
}

#[test]
fn packages_and_provenance_name_the_home_of_the_plan() {
    assert!(BUILD_TYPE.starts_with(HOME) && BUILDER_ID.starts_with(HOME), "{BUILD_TYPE}, {BUILDER_ID}");
    let host = HOME.strip_prefix("https://").expect("the home is a web page");
    assert!(MAINTAINER.ends_with(&format!("@{host}>")), "{MAINTAINER}");
}
