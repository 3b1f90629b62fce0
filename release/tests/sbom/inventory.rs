//! What is gathered of a tree: exactly the crates that are in each program, with the native code in them.

use cairn_release::sbom::{self, Inventory, Kind, Request, precursor};
use serde_json::Value;

use crate::fixture::{TARGET, Tree};

#[test]
fn a_program_has_its_crates_and_their_native_code_but_not_what_only_the_compiler_runs() {
    let ids: Vec<_> = Tree::new().server().all.into_keys().collect();
    assert_eq!(
        ids,
        [
            "crate:careful@1.0.0",
            "crate:helper@1.2.3",
            "crate:pressed-sys@2.0.0+press-1.10.0-0-gabc",
            "crate:server@0.1.0",
            "native:compiler-rt@0.17.1",
            "native:libcxx@22.1.8",
            "native:pressed@1.10.0",
        ]
    );
}

#[test]
fn a_program_without_cxx_has_no_cxx_runtime() {
    let client = Tree::new().inventory().of(&["client"]).unwrap();
    let ids: Vec<_> = client.all.into_keys().collect();
    assert_eq!(ids, ["crate:client@0.1.0", "crate:helper@1.2.3", "native:compiler-rt@0.17.1"]);
}

#[test]
fn native_code_needs_the_feature_that_compiles_it() {
    let tree = Tree::new();
    tree.replace(
        "tree/server/Cargo.toml",
        "path = \"../../others/pressed-sys\"",
        "path = \"../../others/pressed-sys\", features = [\"option\"]",
    );
    assert!(tree.server().all.contains_key("native:option"));
}

#[test]
fn components_know_kind_licence_purl_and_place() {
    let server = Tree::new().server();
    let helper = &server.all["crate:helper@1.2.3"];
    assert_eq!(helper.kind, Kind::Crate);
    assert_eq!(helper.licence.as_deref(), Some("MIT OR Apache-2.0"));
    assert_eq!(helper.purl, "pkg:cargo/helper@1.2.3");
    let pressed_sys = &server.all["crate:pressed-sys@2.0.0+press-1.10.0-0-gabc"];
    assert_eq!(pressed_sys.purl, "pkg:cargo/pressed-sys@2.0.0%2Bpress-1.10.0-0-gabc");
    let own = &server.all["crate:server@0.1.0"];
    assert_eq!((own.kind, own.purl.as_str()), (Kind::Own, "pkg:generic/server@0.1.0"));
    let pressed = &server.all["native:pressed@1.10.0"];
    assert_eq!(pressed.contained_in.as_deref(), Some("the crate pressed-sys 2.0.0+press-1.10.0-0-gabc"));
    assert_eq!(pressed.purl, "pkg:github/someone/pressed@v1.10.0");
    let texts: Vec<_> = pressed.texts.iter().map(|text| text.text.as_str()).collect();
    assert_eq!(texts, ["the text of pressed", " Copyright of the table"]);
    assert!(server.needs["crate:pressed-sys@2.0.0+press-1.10.0-0-gabc"].contains("native:pressed@1.10.0"));
    assert!(server.needs["crate:server@0.1.0"].contains("native:libcxx@22.1.8"));
}

#[test]
fn several_programs_together_have_the_components_of_all() {
    let inventory = Tree::new().inventory();
    let both = inventory.of(&["server", "client"]).unwrap();
    assert_eq!(both.roots.len(), 2);
    assert_eq!(both.all.len(), inventory.of(&["server"]).unwrap().all.len() + 1);
}

#[test]
fn a_package_that_was_not_gathered_is_an_error() {
    let error = Tree::new().inventory().of(&["builder"]).unwrap_err();
    assert_eq!(error.to_string(), "the components of builder were not gathered");
}

#[test]
fn a_crate_that_links_native_code_of_which_the_catalogue_says_nothing_is_found() {
    let tree = Tree::new();
    assert_eq!(tree.inventory().coverage_violations(), Vec::<String>::new());
    tree.replace("tree/release/native.toml", "crate = \"careful\"", "crate = \"careless\"");
    assert_eq!(
        tree.inventory().coverage_violations(),
        ["careful 1.0.0 links the native library \"careful\"; add it to release/native.toml"]
    );
}

#[test]
fn a_crate_that_is_built_with_a_c_compiler_is_found() {
    let tree = Tree::new();
    tree.write("others/cc/Cargo.toml", "[package]\nname = \"cc\"\nversion = \"1.0.0\"\nedition = \"2024\"\n");
    tree.write("others/cc/src/lib.rs", "");
    tree.replace("others/helper/Cargo.toml", "[build-dependencies]", "[build-dependencies]\ncc = { path = \"../cc\" }");
    tree.lock();
    assert_eq!(
        tree.inventory().coverage_violations(),
        ["helper 1.2.3 is built with cc, so it may compile native code; add it to release/native.toml"]
    );
}

#[test]
fn a_crate_whose_version_no_longer_names_its_native_code_is_an_error() {
    let tree = Tree::new();
    tree.replace("others/pressed-sys/Cargo.toml", "+press-1.10.0-0-gabc", "+1.10.0");
    tree.lock();
    let (root, builds): (_, [&[&str]; 1]) = (tree.root(), [&["server"]]);
    let request = Request { root: &root, target: TARGET, builds: &builds, toolchains: &[] };
    let error = Inventory::gather(&request).unwrap_err();
    let said = "the version of pressed-sys 2.0.0+1.10.0 has no \"+press-\"; correct release/native.toml";
    assert_eq!(error.to_string(), said);
}

#[test]
fn the_list_inside_a_program_must_be_the_one_of_the_bill() {
    let server = Tree::new().server();
    let mut embedded: Vec<_> = server.crates().into_iter().collect();
    assert_eq!(sbom::embedded_violations("server", &server, &embedded), Vec::<String>::new());
    embedded.retain(|(name, _)| name != "helper");
    embedded.push(("libz-sys".to_owned(), "1.1.31".to_owned()));
    assert_eq!(
        sbom::embedded_violations("server", &server, &embedded),
        [
            "server: helper 1.2.3 is in the bill of materials but not in the list inside the program",
            "server: libz-sys 1.1.31 is in the list inside the program but not in the bill of materials",
        ]
    );
}

#[test]
fn the_list_to_embed_has_the_crates_of_the_program_as_a_tree() {
    let json = precursor::render(&Tree::new().inventory(), "client").unwrap();
    let list: Value = serde_json::from_slice(&json).unwrap();
    let ids: Vec<_> = list["crates"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 2);
    assert!(ids[0].ends_with("/client#0.1.0") && ids[1].ends_with("/helper#1.2.3"), "{ids:?}");
    assert_eq!(list["root"], 0);
    assert_eq!(list["crates"][0]["dependencies"][0]["index"], 1);
}
