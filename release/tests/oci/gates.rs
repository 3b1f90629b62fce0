//! The gates pass what we write, and each finds what is wrong in bytes that someone has changed.

use std::fs;

use cairn_release::machine::Machine;
use cairn_release::oci::{Layout, fallback_tag, gates, write_archive};
use cairn_release::tarball::{self, Entries, Entry};
use serde_json::json;

use crate::fixture::{Made, SBOM, VERSION, facts, made};

const NONE: [&str; 0] = [];

fn images(made: &Made) -> Vec<String> {
    gates::images(&made.dir, &facts(), &Machine::ALL).unwrap()
}

/// The one sentence that a gate says.
fn only(violations: Vec<String>) -> String {
    assert_eq!(violations.len(), 1, "{violations:#?}");
    violations.into_iter().next().unwrap()
}

fn assert_contains(violations: &[String], sentence: &str) {
    assert!(violations.iter().any(|violation| violation.contains(sentence)), "{violations:#?} lacks {sentence:?}");
}

/// Adds a layer with one file to the image for amd64.
fn add_file(made: &Made, path: &str, entry: Entry) {
    let mut layer = Vec::new();
    tarball::write_tar_gz(&mut layer, "", &Entries::from([(path.to_owned(), entry)]), 0).unwrap();
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(layer.as_slice()), &mut plain).unwrap();
    let diff_id = made.add(&plain);
    fs::remove_file(made.blob(&diff_id)).unwrap();
    let digest = made.add(&layer);
    let config = made.config();
    made.edit(&made.image(), |manifest| {
        let descriptor = json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest, "size": layer.len(),
        });
        manifest["layers"].as_array_mut().unwrap().push(descriptor);
    });
    made.edit(&config, |config| config["rootfs"]["diff_ids"].as_array_mut().unwrap().push(diff_id.into()));
}

#[test]
fn what_we_write_passes_all_gates() {
    let made = made();
    assert_eq!(gates::layout(&made.dir).unwrap(), NONE);
    assert_eq!(images(&made), NONE);
    assert_eq!(gates::referrers(&made.dir, VERSION, &[SBOM]).unwrap(), NONE);
    let file = made.scratch.path().join("oci.tar");
    write_archive(&made.dir, &facts(), &file).unwrap();
    assert_eq!(gates::archive(&file, VERSION).unwrap(), NONE);
}

#[test]
fn a_changed_blob_is_found() {
    let made = made();
    let layer = made.blob(made.json(&made.image())["layers"][0]["digest"].as_str().unwrap());
    let mut bytes = fs::read(&layer).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&layer, &bytes).unwrap();
    assert_contains(&gates::layout(&made.dir).unwrap(), "has the digest sha256:");
    bytes.pop();
    fs::write(&layer, &bytes).unwrap();
    assert_contains(&gates::layout(&made.dir).unwrap(), &format!("has {} bytes, not {}", bytes.len(), bytes.len() + 1));
}

#[test]
fn a_missing_blob_is_found() {
    let made = made();
    fs::remove_file(made.blob(&made.config())).unwrap();
    let violations = gates::layout(&made.dir).unwrap();
    assert_contains(
        &violations,
        &format!("the blob {} is missing", made.json(&made.image())["config"]["digest"].as_str().unwrap()),
    );
}

#[test]
fn a_blob_that_nothing_speaks_of_is_found() {
    let made = made();
    let digest = made.add(b"stray");
    let sentence = only(gates::layout(&made.dir).unwrap());
    assert_eq!(sentence, format!("blobs/sha256/{} is a blob that nothing speaks of", &digest["sha256:".len()..]));
}

#[test]
fn a_file_that_is_no_part_of_a_layout_and_a_wrong_version_of_it_are_found() {
    let made = made();
    fs::write(made.dir.join("README"), "hello").unwrap();
    assert_eq!(only(gates::layout(&made.dir).unwrap()), "README is no part of a layout");
    fs::remove_file(made.dir.join("README")).unwrap();
    fs::write(made.dir.join("oci-layout"), r#"{"imageLayoutVersion":"9.0.0"}"#).unwrap();
    assert_eq!(only(gates::layout(&made.dir).unwrap()), "oci-layout: version \"9.0.0\"");
}

#[test]
fn a_digest_that_leads_out_of_the_folder_is_refused() {
    let made = made();
    made.edit(&made.image(), |manifest| manifest["config"]["digest"] = "sha256:../../index.json".into());
    assert_contains(&gates::layout(&made.dir).unwrap(), "\"sha256:../../index.json\" is no SHA-256 digest");
}

#[test]
fn an_annotation_of_another_release_is_found_wherever_it_is() {
    const NAME: &str = "org.opencontainers.image.version";
    let made = made();
    made.edit(&made.written.index.digest, |index| index["annotations"][NAME] = "1.2.4".into());
    assert_eq!(only(images(&made)), format!("the index has \"1.2.4\" for {NAME}, not \"1.2.3\""));
    let made = crate::fixture::made();
    made.edit(&made.image(), |manifest| {
        manifest["annotations"].as_object_mut().unwrap().remove(NAME);
    });
    assert_eq!(only(images(&made)), format!("amd64: the manifest has nothing for {NAME}, not \"1.2.3\""));
    let made = crate::fixture::made();
    made.edit_config(|config| config["config"]["Labels"]["extra"] = "x".into());
    assert_eq!(only(images(&made)), "amd64: the configuration has \"x\" for extra, not nothing");
}

#[test]
fn a_user_who_is_root_or_has_a_name_is_found() {
    for user in ["0:0", "65532:0", "cairn", "", "65532"] {
        let made = made();
        made.edit_config(|config| config["config"]["User"] = user.into());
        let expected = format!("amd64: the user {user:?} is not a number other than 0 with a group");
        assert_eq!(only(images(&made)), expected);
    }
}

#[test]
fn a_missing_health_check_and_one_that_needs_a_shell_are_found() {
    let made = made();
    made.edit_config(|config| {
        config["config"].as_object_mut().unwrap().remove("Healthcheck");
    });
    assert_eq!(only(images(&made)), "amd64: there is no health check");
    let made = crate::fixture::made();
    made.edit_config(|config| config["config"]["Healthcheck"]["Test"] = json!(["CMD-SHELL", "cairnd healthcheck"]));
    assert!(only(images(&made)).ends_with("needs a shell"));
    let made = crate::fixture::made();
    made.edit_config(|config| config["config"]["Healthcheck"]["Test"][1] = "/bin/true".into());
    assert_eq!(only(images(&made)), "amd64: the health check \"/bin/true\" is no program in the image");
}

#[test]
fn an_entry_point_that_is_not_there_and_another_stop_signal_are_found() {
    let made = made();
    made.edit_config(|config| config["config"]["Entrypoint"] = json!(["cairnd"]));
    assert_eq!(only(images(&made)), "amd64: the entry point \"cairnd\" is no program in the image");
    let made = crate::fixture::made();
    made.edit_config(|config| config["config"]["StopSignal"] = "SIGKILL".into());
    assert_eq!(only(images(&made)), "amd64: the stop signal is \"SIGKILL\", not SIGTERM");
}

#[test]
fn a_shell_is_found_even_as_a_link() {
    let made = made();
    add_file(&made, "bin/sh", Entry::Link("/usr/bin/cairnd".to_owned()));
    assert_eq!(only(images(&made)), "amd64: bin/sh is a shell");
    let made = crate::fixture::made();
    add_file(&made, "usr/local/bin/busybox", Entry::Bytes(0o755, b"#!".to_vec()));
    assert_eq!(only(images(&made)), "amd64: usr/local/bin/busybox is a shell");
}

#[test]
fn files_that_give_privileges_or_that_others_can_change_are_found() {
    let made = made();
    add_file(&made, "opt/tool", Entry::Bytes(0o4755, Vec::new()));
    assert_eq!(only(images(&made)), "amd64: opt/tool has mode 4755, which gives privileges");
    let made = crate::fixture::made();
    add_file(&made, "etc/hosts", Entry::Bytes(0o666, Vec::new()));
    assert_eq!(only(images(&made)), "amd64: etc/hosts has mode 666, so that others can change it");
    let made = crate::fixture::made();
    add_file(&made, "srv", Entry::Folder(0o777));
    assert_eq!(only(images(&made)), "amd64: srv has mode 777, so that others can replace what is in it");
}

#[test]
fn a_volume_that_only_one_user_can_write_to_is_found() {
    let made = made();
    add_file(&made, "var/lib/cairn", Entry::OwnedFolder(0o755, 65_532));
    let sentence = only(images(&made));
    assert_eq!(sentence, "amd64: the volume /var/lib/cairn is no folder of user 65532 that any user can write to");
}

#[test]
fn a_program_for_another_architecture_and_one_without_its_libraries_are_found() {
    let made = made();
    let program = crate::fixture::static_program(Machine::Arm64);
    add_file(&made, "usr/bin/tool", Entry::Bytes(0o755, program));
    assert_eq!(only(images(&made)), "amd64: usr/bin/tool: built for arm64, not for amd64");
    if cfg!(target_arch = "x86_64") {
        let made = crate::fixture::made();
        add_file(&made, "usr/bin/tool", Entry::Bytes(0o755, fs::read(std::env::current_exe().unwrap()).unwrap()));
        assert_contains(&images(&made), "needs lib64/ld-linux-x86-64.so.2, which the image lacks");
        assert_contains(&images(&made), "needs lib/x86_64-linux-gnu/libc.so.6, which the image lacks");
    }
}

#[test]
fn a_configuration_of_other_layers_or_another_time_is_found() {
    let made = made();
    made.edit_config(|config| config["rootfs"]["diff_ids"][0] = "sha256:00".into());
    assert_eq!(only(images(&made)), "amd64: the configuration speaks of other layers than the manifest");
    let made = crate::fixture::made();
    made.edit_config(|config| config["created"] = "2024-01-01T00:00:00Z".into());
    assert!(only(images(&made)).starts_with("amd64: the configuration was created 2024-01-01T00:00:00Z, not "));
}

#[test]
fn a_missing_architecture_is_found() {
    let made = made();
    made.edit(&made.written.index.digest, |index| {
        index["manifests"].as_array_mut().unwrap().pop();
    });
    assert!(only(images(&made)).starts_with("the index has images for ["));
}

#[test]
fn an_image_without_sbom_and_a_list_that_is_not_complete_are_found() {
    let made = made();
    let violations = gates::referrers(&made.dir, VERSION, &[SBOM, "application/vnd.in-toto+json"]).unwrap();
    assert_eq!(violations.len(), 2, "{violations:#?}");
    assert_contains(&violations, "nothing of type application/vnd.in-toto+json is about sha256:");
    let index = made.dir.join("index.json");
    let mut document: serde_json::Value = serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
    document["manifests"].as_array_mut().unwrap().retain(|entry| entry.get("artifactType").is_none());
    fs::write(&index, serde_json::to_vec(&document).unwrap()).unwrap();
    let violations = gates::referrers(&made.dir, VERSION, &[SBOM]).unwrap();
    assert_contains(&violations, "is not what the layout has about sha256:");
}

#[test]
fn an_sbom_of_another_image_and_one_of_no_image_are_found() {
    let made = made();
    let layout = Layout::open(&made.dir).unwrap();
    let [amd64, arm64] = [0, 1].map(|at| made.written.images[at].1.digest.clone());
    let list = made.json(&layout.tagged(&fallback_tag(&amd64)).unwrap().digest);
    let referrer = made.json(list["manifests"][0]["digest"].as_str().unwrap());
    let document = referrer["layers"][0]["digest"].as_str().unwrap();
    made.edit(document, |bill| bill["about"] = arm64.clone().into());
    let sentence = only(gates::referrers(&made.dir, VERSION, &[SBOM]).unwrap());
    assert!(sentence.ends_with(&format!(" about {amd64} does not name it")), "{sentence}");
    let made = crate::fixture::made();
    made.edit(&made.written.index.digest, |index| {
        index["manifests"].as_array_mut().unwrap().pop();
    });
    let sentence = only(gates::referrers(&made.dir, VERSION, &[SBOM]).unwrap());
    assert_eq!(sentence, format!("{arm64} has documents and is no image of {VERSION}"));
}

#[test]
fn a_file_with_which_docker_would_load_something_else_is_found() {
    let made = made();
    let file = made.scratch.path().join("oci.tar");
    write_archive(&made.dir, &facts(), &file).unwrap();
    let mut entries = Entries::new();
    for entry in tar::Archive::new(fs::File::open(&file).unwrap()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        let is_docker_s = path == "manifest.json";
        if !path.ends_with('/') {
            entries.insert(path, Entry::Bytes(0o644, if is_docker_s { b"[]".to_vec() } else { bytes }));
        }
    }
    tarball::write_tar(fs::File::create(&file).unwrap(), "", &entries, 0).unwrap();
    let sentence = only(gates::archive(&file, VERSION).unwrap());
    assert_eq!(sentence, "manifest.json does not name the image of 1.2.3 that Docker should load");
}
