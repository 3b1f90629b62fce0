//! Layouts of programs that are nothing but an ELF header, and changes to documents with all that depends on them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use cairn_release::digest::{digest_file, digest_with};
use cairn_release::machine::Machine;
use cairn_release::oci::spec::Descriptor;
use cairn_release::oci::{Attachment, Facts, Image, Written, write_layout};
use serde_json::Value;
use tempfile::TempDir;

/// Version of the images.
pub(crate) const VERSION: &str = "1.2.3";

/// Artifact type of the documents that are attached.
pub(crate) const SBOM: &str = "application/vnd.cyclonedx+json";

/// What the images say of themselves.
pub(crate) fn facts() -> Facts {
    Facts::new(VERSION, Some("0123456789abcdef0123456789abcdef01234567"), 1_700_000_000)
}

/// The header of a 64-bit ELF file that is linked to nothing.
pub(crate) fn static_program(machine: Machine) -> Vec<u8> {
    let number: u16 = match machine {
        Machine::Amd64 => 62,
        Machine::Arm64 => 183,
    };
    let mut header = vec![0; 64];
    // Magic, 64 bits, little endian, version; then type, machine, version and the headers' sizes.
    header[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    header[16] = 2;
    header[18..20].copy_from_slice(&number.to_le_bytes());
    header[20] = 1;
    header[52] = 64;
    header
}

/// Writes the three programs.
pub(crate) fn make_programs(folder: &Path, machine: Machine) {
    fs::create_dir_all(folder).unwrap();
    for name in ["cairnctl", "cairnd", "cairnutl"] {
        fs::write(folder.join(name), static_program(machine)).unwrap();
    }
}

/// An image of static programs.
pub(crate) fn image(scratch: &Path, machine: Machine) -> Image {
    let programs = scratch.join("bin").join(machine.debian());
    make_programs(&programs, machine);
    let licence = Path::new(env!("CARGO_MANIFEST_DIR")).join("../LICENSE");
    Image { machine, programs, runtime: None, documents: BTreeMap::from([("LICENSE".to_owned(), licence)]) }
}

/// An SBOM that names what it is about.
pub(crate) fn sbom(subject: &Descriptor) -> Vec<Attachment> {
    vec![Attachment {
        artifact_type: SBOM.to_owned(),
        media_type: SBOM.to_owned(),
        name: "sbom.cdx.json".to_owned(),
        bytes: format!("{{\"about\":\"{}\"}}\n", subject.digest).into_bytes(),
    }]
}

/// A layout of two images with an SBOM for each.
pub(crate) struct Made {
    pub(crate) scratch: TempDir,
    pub(crate) dir: PathBuf,
    pub(crate) written: Written,
}

pub(crate) fn made() -> Made {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("layout");
    let images = Machine::ALL.map(|machine| image(scratch.path(), machine));
    let written = write_layout(&dir, &facts(), &images, |_, manifest| Ok(sbom(manifest))).unwrap();
    Made { scratch, dir, written }
}

impl Made {
    /// Path of a blob.
    pub(crate) fn blob(&self, digest: &str) -> PathBuf {
        self.dir.join("blobs/sha256").join(digest.strip_prefix("sha256:").unwrap())
    }

    /// A document of the layout.
    pub(crate) fn json(&self, digest: &str) -> Value {
        serde_json::from_slice(&fs::read(self.blob(digest)).unwrap()).unwrap()
    }

    /// Digest of the manifest for amd64.
    pub(crate) fn image(&self) -> String {
        self.written.images[0].1.digest.clone()
    }

    /// Digest of the configuration for amd64.
    pub(crate) fn config(&self) -> String {
        self.json(&self.image())["config"]["digest"].as_str().unwrap().to_owned()
    }

    /// Changes the configuration for amd64, as someone would who can also change all that names it.
    pub(crate) fn edit_config(&self, change: impl FnOnce(&mut Value)) {
        self.edit(&self.config(), change);
    }

    /// Changes a document, and every document that names it, up to the layout's index.
    pub(crate) fn edit(&self, digest: &str, change: impl FnOnce(&mut Value)) {
        let mut document = self.json(digest);
        change(&mut document);
        self.replace(digest, &serde_json::to_vec(&document).unwrap());
    }

    /// Puts a blob in the place of another one.
    pub(crate) fn replace(&self, old: &str, bytes: &[u8]) {
        let new = self.add(bytes);
        if new == old {
            return;
        }
        fs::remove_file(self.blob(old)).unwrap();
        let path = self.dir.join("index.json");
        let mut index = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        rename(&mut index, old, &new, bytes.len());
        fs::write(&path, serde_json::to_vec(&index).unwrap()).unwrap();
        for entry in fs::read_dir(self.dir.join("blobs/sha256")).unwrap() {
            let path = entry.unwrap().path();
            let Ok(mut document) = serde_json::from_slice(&fs::read(&path).unwrap_or_default()) else { continue };
            if rename(&mut document, old, &new, bytes.len()) {
                let digest = format!("sha256:{}", digest_file(&path).unwrap().sha256);
                self.replace(&digest, &serde_json::to_vec(&document).unwrap());
            }
        }
    }

    /// Adds a blob and returns its digest.
    pub(crate) fn add(&self, bytes: &[u8]) -> String {
        let digest = format!("sha256:{}", digest_with(bytes, |_| {}).unwrap().sha256);
        fs::write(self.blob(&digest), bytes).unwrap();
        digest
    }
}

/// Renames a blob in a document; whether it was named there.
fn rename(value: &mut Value, old: &str, new: &str, size: usize) -> bool {
    match value {
        Value::Object(map) => {
            let mut found = map.get("digest").is_some_and(|digest| digest == old);
            if found {
                map.insert("digest".to_owned(), new.into());
                map.insert("size".to_owned(), size.into());
            }
            for child in map.values_mut() {
                found |= rename(child, old, new, size);
            }
            found
        }
        // All of them, where `any` would stop at the first.
        Value::Array(list) => {
            list.iter_mut().filter_map(|child| rename(child, old, new, size).then_some(())).count() > 0
        }
        _ => false,
    }
}
