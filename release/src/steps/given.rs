//! What steps read besides the plan, the tree and each other's outputs, by digest: content counts, not its place.

use anyhow::{Context, Result};

use crate::digest::{digest_bytes, digest_file};
use crate::journal::Digests;
use crate::plan::ArtifactKind;
use crate::provenance::Material;
use crate::repository::published::Published;
use crate::site::Site;
use crate::steps::make;

/// The public keys.
pub(super) fn public_keys(site: &Site) -> Result<Digests> {
    let names = [site.minisign_public_key(), site.openpgp_public_key(), site.path(ArtifactKind::KeyList, None)];
    let names = names.iter().filter_map(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned());
    let digest = |name: String| {
        let path = site.given_public_keys.join(&name);
        Ok((name, digest_file(&path).with_context(|| make::no_public_key(&path))?.sha256))
    };
    names.map(digest).collect()
}

/// Toolchains, C library, programs of other projects: all that provenance names.
pub(super) fn materials(site: &Site) -> Result<Digests> {
    let materials = make::materials_here(site)?.into_iter();
    // A compiler has several files: the place tells them apart.
    let input = |it: Material| (format!("{}: {}", it.name, it.uri), it.digest.into_values().collect());
    Ok(materials.map(input).collect())
}

/// The programs, if they are given and not built.
pub(super) fn programs(site: &Site) -> Result<Digests> {
    let mut digests = Digests::new();
    if site.given_programs.is_none() {
        return Ok(digests);
    }
    for target in &site.plan.targets {
        for binary in target.programs() {
            let path = site.built(target).join(&binary.name);
            let digest = digest_file(&path).with_context(|| format!("cannot read the program {}", path.display()))?;
            digests.insert(format!("{}/{}", target.name, binary.name), digest.sha256);
        }
    }
    Ok(digests)
}

/// The public half of the key that signs releases.
pub(super) fn release_key(site: &Site) -> Result<Digests> {
    let public = make::release_key(site)?.public.to_box()?;
    Ok(Digests::from([("minisign key".to_owned(), digest_bytes(&public.to_bytes()).sha256)]))
}

/// The fingerprint of the key that signs packages and repositories.
pub(super) fn repository_key(site: &Site) -> Result<Digests> {
    let key = make::repository_key(site)?;
    Ok(Digests::from([("OpenPGP key".to_owned(), digest_bytes(key.fingerprint().as_bytes()).sha256)]))
}

/// The indexes of the repositories that the release is added to.
pub(super) fn published_repositories(site: &Site) -> Result<Digests> {
    Published::at(&site.published_repositories)?.state()
}
