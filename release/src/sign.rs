//! Writes `release.json` and a detached minisign signature of every file of the release folder.
//!
//! Nothing is signed before the folder was compared with plan and checksums. A signature that is there already and
//! says the same of the same bytes under the same key is kept, so that a second run changes nothing.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use minisign::SignatureBox;

use crate::checksum;
use crate::comment::TrustedComment;
use crate::digest::digest_file;
use crate::files::{self, FILE_MODE};
use crate::key_list::{KEYS_NAME, KeyList};
use crate::keys::SigningKey;
use crate::manifest::{Entry, MANIFEST_NAME, Manifest, Platform, SCHEMA, SUMS_NAME};
use crate::oci;
use crate::plan::{ArtifactKind, Plan, SIGNATURE_SUFFIX, Target};

/// Writes the manifest and all signatures into the release folder.
///
/// # Errors
///
/// The folder is not what the plan and `SHA256SUMS` say, `keys.json` names another key, or a file cannot be read or written.
pub fn sign(plan: &Plan, dir: &Path, key: &SigningKey) -> Result<()> {
    files::remove_partials(dir, plan.files.iter().map(String::as_str))?;
    let made_before = plan.artifacts.iter().map(|artifact| artifact.name.as_str()).chain([SUMS_NAME]);
    files::check_names(dir, made_before, plan.files.iter().map(String::as_str))?;
    check_key(dir, key)?;
    let manifest = manifest(plan, dir)?;
    check_sums(&manifest, dir)?;
    files::write_bytes(&dir.join(MANIFEST_NAME), FILE_MODE, manifest.to_json().as_bytes())?;
    for name in plan.signed_files() {
        sign_file(plan, dir, name, key)?;
    }
    files::check_names(dir, plan.files.iter().map(String::as_str), plan.files.iter().map(String::as_str))
}

/// Signs a file that is no part of the release folder, and writes its sum beside it.
///
/// # Errors
///
/// The file cannot be read, or a file beside it not be written.
pub fn sign_alone(plan: &Plan, path: &Path, key: &SigningKey) -> Result<()> {
    let name = path.file_name().and_then(|name| name.to_str()).context("the file has no name")?;
    let dir = path.parent().context("the file is in no folder")?;
    let digest = digest_file(path).with_context(|| format!("cannot read {name}"))?;
    let sum = checksum::render(&[(name.to_owned(), digest.sha256)]);
    files::write_bytes(&dir.join(format!("{name}.sha256")), FILE_MODE, sum.as_bytes())?;
    sign_file(plan, dir, name, key)
}

/// What the manifest of this folder says.
fn manifest(plan: &Plan, dir: &Path) -> Result<Manifest> {
    let artifacts = plan.artifacts.iter().map(|a| (a.name.as_str(), a.kind, a.target.clone()));
    let mut entries = Vec::new();
    for (name, kind, target) in artifacts.chain([(SUMS_NAME, ArtifactKind::Checksums, None)]) {
        let digest = digest_file(&dir.join(name)).with_context(|| format!("cannot read {name}"))?;
        entries.push(Entry { name: name.to_owned(), kind, target, size: digest.size, sha256: digest.sha256 });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let platform = |target: &Target| Platform {
        name: target.name.clone(),
        triple: target.triple.clone(),
        glibc: target.glibc_floor().cloned(),
        cpu: target.cpu_baseline.clone(),
        page_bytes: target.elf.page_bytes,
    };
    let archive = plan.artifacts_of(ArtifactKind::OciArchive).next();
    let images = archive.map(|archive| oci::images_in_archive(&dir.join(&archive.name))).transpose()?;
    Ok(Manifest {
        schema: SCHEMA,
        product: plan.product.clone(),
        version: plan.version.clone(),
        sequence: plan.sequence,
        commit: plan.commit.clone(),
        tree: plan.tree.clone(),
        source_date_epoch: plan.source_date_epoch,
        targets: plan.targets.iter().map(platform).collect(),
        images: images.unwrap_or_default(),
        files: entries,
    })
}

/// Whether `keys.json` of the folder names this key: users take from it whose signatures to expect.
///
/// # Errors
///
/// It names another one, or cannot be read.
pub(crate) fn check_key(dir: &Path, key: &SigningKey) -> Result<()> {
    let list = KeyList::read(&dir.join(KEYS_NAME))?;
    let (listed, given) = (list.signing(), key.public_key());
    ensure!(listed == given, "{KEYS_NAME} says that {listed} signs releases; the secret key given is that of {given}");
    Ok(())
}

fn check_sums(manifest: &Manifest, dir: &Path) -> Result<()> {
    let text = fs::read_to_string(dir.join(SUMS_NAME))?;
    let listed = checksum::parse(&text).map_err(anyhow::Error::msg).context(SUMS_NAME)?;
    let entries = manifest.files.iter().filter(|entry| entry.kind != ArtifactKind::Checksums);
    let actual: Vec<_> = entries.map(|entry| (entry.name.clone(), entry.sha256.clone())).collect();
    ensure!(listed == actual, "{SUMS_NAME} does not fit the artifacts; run `cairn-release checksum` again");
    Ok(())
}

fn sign_file(plan: &Plan, dir: &Path, name: &str, key: &SigningKey) -> Result<()> {
    let path = dir.join(name);
    let comment = TrustedComment {
        product: plan.product.clone(),
        version: plan.version.clone(),
        file: name.to_owned(),
        sha256: digest_file(&path).with_context(|| format!("cannot read {name}"))?.sha256,
        sequence: plan.sequence,
    }
    .to_string();
    let signature_path = dir.join(format!("{name}{SIGNATURE_SUFFIX}"));
    if is_signed(&path, &signature_path, &comment, key) {
        return Ok(());
    }
    let untrusted = format!("signature of {name}, made by cairn-release");
    let file = fs::File::open(&path)?;
    let signature = minisign::sign(Some(&key.public), &key.secret, file, Some(&comment), Some(&untrusted))
        .with_context(|| format!("cannot sign {name}"))?;
    files::write_bytes(&signature_path, FILE_MODE, &signature.to_bytes())
}

/// Whether the file has this key's signature with this comment already.
fn is_signed(path: &Path, signature_path: &Path, comment: &str, key: &SigningKey) -> bool {
    let Ok(signature) = SignatureBox::from_file(signature_path) else { return false };
    let Ok(file) = fs::File::open(path) else { return false };
    signature.trusted_comment().is_ok_and(|said| said == comment)
        && minisign::verify(&key.public, &signature, file, true, false, false).is_ok()
}
