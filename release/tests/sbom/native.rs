//! The gate that looks for native code in the bytes of a program.

use crate::fixture::Tree;

/// A program with the signs of all that the server lists.
const PROGRAM: &[u8] = b"\x7fELF\x00\xff\x10 pressed 1.10.0 NSt3__1 end";

#[test]
fn a_program_with_the_signs_of_its_native_code_and_no_others_passes() {
    assert_eq!(violations(PROGRAM), Vec::<String>::new());
}

#[test]
fn native_code_that_is_listed_but_not_there_is_found() {
    let said = violations(b"\x7fELF\x00\xff\x10 pressed 1.10.0");
    assert_eq!(said.len(), 1);
    assert!(said[0].starts_with("server: libcxx is listed but has no sign in it"), "{said:?}");
}

#[test]
fn native_code_that_is_there_but_not_listed_is_found() {
    let tree = Tree::new();
    let inventory = tree.inventory();
    let client = inventory.of(&["client"]).unwrap();
    assert_eq!(inventory.catalogue.program_violations("client", b"\x7fELF", &client), Vec::<String>::new());
    assert_eq!(
        inventory.catalogue.program_violations("client", b"\x7fELF option: none", &client),
        ["client: option is in it (it has \"option: \") but is not listed; see release/native.toml"]
    );
}

#[test]
fn native_code_of_another_version_is_found() {
    assert_eq!(
        violations(b"\x7fELF\x00\xff\x10 pressed 1.9.0 NSt3__1"),
        ["server: pressed is listed as 1.10.0, but \"pressed 1.10.0\" is not in it"]
    );
}

#[test]
fn a_catalogue_that_breaks_its_rules_is_refused() {
    for (from, to, said) in [
        ("unprovable = \"has no texts\"", "", "compiler-rt has neither signs nor a reason why it has none"),
        ("\"hex:00ff10\"", "\"hex:0g\"", "the sign \"hex:0g\" is no text and no hexadecimal bytes"),
        ("\"hex:00ff10\"", "\"hex:0\"", "the sign \"hex:0\" is no text and no hexadecimal bytes"),
        ("signs = [\"option: \"]", "signs = []", "option has no signs"),
        ("why = \"links nothing, it wants to be alone\"", "why = \"\"", "careful: why?"),
        ("toolchain = \"zig\"", "toolchain = \"zag\"", "libcxx: no toolchain is called \"zag\""),
    ] {
        let tree = Tree::new();
        tree.replace("tree/release/native.toml", from, to);
        let error = cairn_release::sbom::Catalogue::read(&tree.root()).unwrap_err();
        assert_eq!(error.root_cause().to_string(), said);
    }
}

fn violations(program: &[u8]) -> Vec<String> {
    let inventory = Tree::new().inventory();
    inventory.catalogue.program_violations("server", program, &inventory.of(&["server"]).unwrap())
}
