//! What a layout consists of.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use cairn_release::machine::Machine;
use cairn_release::oci::spec::{INDEX, MANIFEST};
use cairn_release::oci::{
    Image, Layout, Linkage, Runtime, fallback_tag, gates, unpack_archive, write_archive, write_layout,
};

use crate::fixture::{Made, SBOM, VERSION, facts, image, made, sbom};

/// Every file of a folder by its path.
fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else {
            files.insert(path.display().to_string(), fs::read(&path).unwrap());
        }
    }
    files.into_iter().map(|(path, bytes)| (path.replace(&dir.display().to_string(), ""), bytes)).collect()
}

#[test]
fn two_runs_in_different_places_give_the_same_bytes_as_folder_and_as_file() {
    let [first, second] = [made(), made()];
    assert!(contents(&first.dir) == contents(&second.dir), "the layouts differ");
    let archives = [&first, &second].map(|made| {
        let file = made.scratch.path().join("oci.tar");
        write_archive(&made.dir, &facts(), &file).unwrap();
        fs::read(file).unwrap()
    });
    assert!(archives[0] == archives[1], "the files differ");
}

#[test]
fn the_version_is_the_tag_of_an_index_with_an_image_for_each_architecture() {
    let made = made();
    let top = Layout::open(&made.dir).unwrap().tagged(VERSION).unwrap().clone();
    assert_eq!((top.media_type.as_str(), &top.digest), (INDEX, &made.written.index.digest));
    let platforms: Vec<_> = made.json(&top.digest)["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| image["platform"].to_string())
        .collect();
    assert_eq!(
        platforms,
        [r#"{"architecture":"amd64","os":"linux"}"#, r#"{"architecture":"arm64","os":"linux","variant":"v8"}"#]
    );
    let layout = Layout::open(&made.dir).unwrap();
    assert_eq!(layout.tagged("1.2.3-arm64").unwrap().digest, made.written.images[1].1.digest);
}

#[test]
fn a_container_starts_the_server_as_nobody_in_particular_with_settings_of_a_container() {
    let made = made();
    let config = made.json(&made.config());
    assert_eq!(config["created"], "2023-11-14T22:13:20Z");
    let expected = serde_json::json!({
        "User": "65532:65532",
        "ExposedPorts": { "2379/tcp": {} },
        "Env": [
            "PATH=/usr/bin",
            "CAIRN_DATA_DIR=/var/lib/cairn/data",
            "CAIRN_LISTEN_CLIENT_URLS=http://0.0.0.0:2379",
            "CAIRN_ADVERTISE_CLIENT_URLS=http://127.0.0.1:2379",
        ],
        "Entrypoint": ["/usr/bin/cairnd"],
        "Volumes": { "/var/lib/cairn": {} },
        "WorkingDir": "/var/lib/cairn",
        "Labels": facts().annotations(),
        "StopSignal": "SIGTERM",
        "Healthcheck": {
            "Test": ["CMD", "/usr/bin/cairnd", "healthcheck"],
            "Interval": 10_000_000_000_u64,
            "Timeout": 5_000_000_000_u64,
            "StartPeriod": 300_000_000_000_u64,
            "Retries": 3,
        },
    });
    assert_eq!(config["config"], expected);
}

#[test]
fn an_image_of_static_programs_has_these_files_and_no_others() {
    let made = made();
    let mut names = Vec::new();
    for layer in made.json(&made.image())["layers"].as_array().unwrap() {
        let file = fs::File::open(made.blob(layer["digest"].as_str().unwrap())).unwrap();
        for entry in tar::Archive::new(flate2::read::GzDecoder::new(file)).entries().unwrap() {
            let header = entry.unwrap().header().clone();
            let (path, mode, owner) = (header.path().unwrap(), header.mode().unwrap(), header.uid().unwrap());
            names.push(format!("{} {mode:o} {owner}", path.display()));
        }
    }
    names.retain(|name| !name.ends_with("/ 755 0"));
    let expected = [
        "tmp/ 1777 0",
        "var/lib/cairn/ 1777 65532",
        "etc/group 644 0",
        "etc/nsswitch.conf 644 0",
        "etc/passwd 644 0",
        "etc/ssl/certs/ca-certificates.crt 644 0",
        "usr/share/doc/ca-certificates/copyright 644 0",
        "usr/bin/cairnctl 755 0",
        "usr/bin/cairnd 755 0",
        "usr/bin/cairnutl 755 0",
        "usr/bin/etcd 777 0",
        "usr/bin/etcdctl 777 0",
        "usr/bin/etcdutl 777 0",
        "usr/share/doc/cairn/LICENSE 644 0",
    ];
    assert_eq!(names, expected);
}

#[test]
fn a_document_about_an_image_is_found_by_its_subject_and_by_the_tag_for_old_registries() {
    let made = made();
    let layout = Layout::open(&made.dir).unwrap();
    for (_, subject) in &made.written.images {
        let list = made.json(&layout.tagged(&fallback_tag(&subject.digest)).unwrap().digest);
        let entry = &list["manifests"][0];
        assert_eq!((&entry["artifactType"], &entry["mediaType"]), (&SBOM.into(), &MANIFEST.into()));
        let manifest = made.json(entry["digest"].as_str().unwrap());
        assert_eq!(manifest["subject"]["digest"], subject.digest);
        let document = made.json(manifest["layers"][0]["digest"].as_str().unwrap());
        assert_eq!(document["about"], subject.digest);
    }
}

#[test]
fn a_folder_that_was_there_is_replaced_as_a_whole() {
    let made = made();
    let before = contents(&made.dir);
    fs::write(made.dir.join("blobs/sha256/leftover"), "old").unwrap();
    let images = Machine::ALL.map(|machine| image(made.scratch.path(), machine));
    write_layout(&made.dir, &facts(), &images, |_, manifest| Ok(sbom(manifest))).unwrap();
    assert!(contents(&made.dir) == before, "the second layout differs from the first");
}

#[test]
fn the_file_unpacks_to_the_layout_and_docker_s_list() {
    let Made { scratch, dir, .. } = made();
    let (file, into) = (scratch.path().join("oci.tar"), scratch.path().join("unpacked"));
    write_archive(&dir, &facts(), &file).unwrap();
    unpack_archive(&file, &into).unwrap();
    let mut unpacked = contents(&into);
    let docker: serde_json::Value = serde_json::from_slice(&unpacked.remove("/manifest.json").unwrap()).unwrap();
    assert_eq!(docker[0]["RepoTags"], serde_json::json!(["cairn:1.2.3"]));
    assert!(unpacked == contents(&dir), "the unpacked layout differs");
}

#[test]
fn a_program_for_another_architecture_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let arm = image(scratch.path(), Machine::Arm64);
    let wrong = Image { machine: Machine::Amd64, ..arm };
    let error = write_layout(&scratch.path().join("layout"), &facts(), &[wrong], |_, _| Ok(Vec::new())).unwrap_err();
    let error = format!("{error:#}");
    assert!(error.contains("cairnd: built for arm64, not for amd64"), "{error}");
    assert!(!scratch.path().join("layout").exists(), "a refused layout must not be left behind");
}

/// The architecture of this machine, whose own programs the next tests take.
pub(crate) fn host() -> Machine {
    if cfg!(target_arch = "aarch64") { Machine::Arm64 } else { Machine::Amd64 }
}

/// Three dynamic programs: this one.
pub(crate) fn dynamic(scratch: &Path, runtime: Option<Runtime>) -> Image {
    let mut image = image(scratch, host());
    for name in ["cairnctl", "cairnd", "cairnutl"] {
        fs::copy(std::env::current_exe().unwrap(), image.programs.join(name)).unwrap();
    }
    image.runtime = runtime;
    image
}

#[test]
fn dynamic_programs_bring_loader_and_libraries_with_their_licence_and_the_image_says_so() {
    let scratch = tempfile::tempdir().unwrap();
    let runtime = crate::trial::host_runtime(&scratch.path().join("libc"));
    let image = dynamic(scratch.path(), Some(runtime));
    let dir = scratch.path().join("layout");
    write_layout(&dir, &facts(), std::slice::from_ref(&image), |_, _| Ok(Vec::new())).unwrap();
    assert_eq!(gates::images(&dir, &facts(), &[host()]).unwrap(), [""; 0]);
    let program = fs::read(image.programs.join("cairnd")).unwrap();
    assert!(Linkage::read(&program, host()).unwrap().needed.contains(&"libc.so.6".to_owned()));
    let layout = Layout::open(&dir).unwrap();
    let index: cairn_release::oci::spec::Index = layout.document(layout.tagged(VERSION).unwrap()).unwrap();
    let manifest: cairn_release::oci::spec::Manifest = layout.document(&index.manifests[0]).unwrap();
    assert_eq!(manifest.annotations["example.cairn.image.runtime"], "libc6 2.36-9+deb12u10");
    assert_eq!(manifest.layers.len(), 3);
}

#[test]
fn dynamic_programs_without_a_c_library_or_with_one_that_lacks_a_file_are_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("layout");
    let refusal = |image| format!("{:#}", write_layout(&dir, &facts(), &[image], |_, _| Ok(Vec::new())).unwrap_err());
    let error = refusal(dynamic(scratch.path(), None));
    assert!(error.contains("is linked dynamically") && error.contains("libc.so.6"), "{error}");
    let runtime = crate::trial::host_runtime(&scratch.path().join("libc"));
    fs::remove_file(runtime.root.join("lib").join(host().triplet()).join("libc.so.6")).unwrap();
    let error = refusal(dynamic(scratch.path(), Some(runtime.clone())));
    assert!(error.contains("has no libc.so.6"), "{error}");
    let runtime = crate::trial::host_runtime(&runtime.root);
    fs::remove_dir_all(runtime.root.join("usr/share/doc")).unwrap();
    let error = refusal(dynamic(scratch.path(), Some(runtime)));
    assert!(error.contains("no copyright file"), "{error}");
}
