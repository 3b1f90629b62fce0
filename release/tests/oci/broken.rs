//! The trial of an image is red where the image does not do what its users need. The programs are of a few lines of C.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cairn_release::oci::{Image, write_archive, write_layout};
use cairn_release::trials::image;

use crate::fixture::{VERSION, facts, sbom};
use crate::trial::{host, host_runtime};

/// A server that seems to be healthy.
const HEALTHY: &str = r#"
    #include <unistd.h>
    int main(int argc, char **argv) { if (argc < 2) pause(); return 0; }
"#;

/// A client to which every command succeeds and every key has one value.
const FORGETFUL: &str = r#"
    #include <stdio.h>
    int main(void) { puts("something else"); return 0; }
"#;

/// A layout of this machine's architecture with these programs.
fn layout(scratch: &Path, server: &str, client: &str) -> PathBuf {
    let programs = scratch.join("bin");
    fs::create_dir_all(&programs).unwrap();
    for (name, source) in [("cairnd", server), ("cairnctl", client), ("cairnutl", client)] {
        let text = scratch.join(format!("{name}.c"));
        fs::write(&text, source).unwrap();
        let status = Command::new("gcc").arg(&text).arg("-o").arg(programs.join(name)).status();
        assert!(status.expect("gcc must be installed").success(), "{name} does not compile");
    }
    let runtime = Some(host_runtime(&scratch.join("libc")));
    let dir = scratch.join("layout");
    let image = Image { machine: host(), programs, runtime, documents: BTreeMap::new() };
    write_layout(&dir, &facts(), &[image], |_, manifest| Ok(sbom(manifest))).unwrap();
    dir
}

/// Why the trial from the layout alone is red.
fn unpacked(server: &str, client: &str) -> String {
    let scratch = tempfile::tempdir().unwrap();
    let dir = layout(scratch.path(), server, client);
    format!("{:#}", image::unpacked(&dir, VERSION, host(), None).unwrap_err())
}

#[test]
fn a_server_that_ends_by_itself_is_red_with_what_it_said() {
    let server = "#include <stdio.h>\nint main(void) { fputs(\"no disk for me\", stderr); return 1; }";
    let error = unpacked(server, FORGETFUL);
    assert!(error.contains("it ended by itself") && error.contains("no disk for me"), "{error}");
}

#[test]
fn a_client_that_gets_another_value_than_it_put_is_red() {
    let error = unpacked(HEALTHY, FORGETFUL);
    assert!(error.contains("put \"the image works\", got \"something else\\n\""), "{error}");
}

#[test]
fn in_an_engine_an_image_that_works_as_its_own_user_alone_is_red() {
    let own = r#"
        #include <stdio.h>
        #include <unistd.h>
        int main(void) { if (getuid() == 65532) pause(); fputs("not as you", stderr); return 1; }
    "#;
    let scratch = tempfile::tempdir().unwrap();
    let dir = layout(scratch.path(), own, FORGETFUL);
    let file = scratch.path().join("oci.tar");
    write_archive(&dir, &facts(), &file).unwrap();
    let dockerd = env::var_os("CAIRN_DOCKERD").map(PathBuf::from);
    let tools = image::Tools::find(dockerd.as_deref()).unwrap();
    let error = format!("{:#}", image::with_engine(&dir, &file, VERSION, &tools).unwrap_err());
    assert!(error.contains("the container is exited") && error.contains("not as you"), "{error}");
}
