//! Every blob is what its digest says, is there, and is needed; documents about images are found by their subject.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::digest;
use crate::files;
use crate::oci::annotations::REF_NAME;
use crate::oci::archive::{DOCKER_FILE, docker_image, unpack_archive};
use crate::oci::layout::{INDEX_FILE, LAYOUT_FILE, Layout};
use crate::oci::spec::{
    CONFIG, Descriptor, DockerImage, INDEX, Index, LAYER, LAYOUT_VERSION, LayoutFile, MANIFEST, Manifest,
};
use crate::oci::write::fallback_tag;

/// The folder is a layout, all blobs that it speaks of are there with the right digest and size, and no others are.
///
/// # Errors
///
/// The folder or its index cannot be read.
pub fn layout(dir: &Path) -> Result<Vec<String>> {
    let mut violations = Vec::new();
    let names = files::names_in(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let expected = BTreeSet::from([LAYOUT_FILE, INDEX_FILE, "blobs"].map(str::to_owned));
    violations.extend(names.difference(&expected).map(|name| format!("{name} is no part of a layout")));
    violations.extend(layout_file(dir).err().map(|e| format!("{LAYOUT_FILE}: {e:#}")));
    let layout = Layout::open(dir)?;
    let mut seen = Seen::default();
    layout.index().manifests.iter().for_each(|entry| seen.visit(&layout, entry));
    violations.append(&mut seen.violations);
    for subject in seen.subjects.difference(&seen.digests) {
        violations.push(format!("a document is about {subject}, which the layout lacks"));
    }
    let blobs = files::names_in(&dir.join("blobs/sha256")).unwrap_or_default();
    let stray = blobs.iter().filter(|name| !seen.digests.contains(&format!("sha256:{name}")));
    violations.extend(stray.map(|name| format!("blobs/sha256/{name} is a blob that nothing speaks of")));
    violations.extend(repeated_tags(&layout));
    Ok(violations)
}

fn layout_file(dir: &Path) -> Result<()> {
    let file: LayoutFile = serde_json::from_slice(&fs::read(dir.join(LAYOUT_FILE))?)?;
    anyhow::ensure!(file.image_layout_version == LAYOUT_VERSION, "version {:?}", file.image_layout_version);
    Ok(())
}

fn repeated_tags(layout: &Layout) -> Vec<String> {
    let mut tags = BTreeSet::new();
    let all = layout.index().manifests.iter().filter_map(|entry| entry.annotations.get(REF_NAME));
    all.filter(|tag| !tags.insert(*tag)).map(|tag| format!("two entries have the tag {tag}")).collect()
}

/// What a walk from the layout's index has met.
#[derive(Default)]
struct Seen {
    digests: BTreeSet<String>,
    subjects: BTreeSet<String>,
    violations: Vec<String>,
}

impl Seen {
    fn visit(&mut self, layout: &Layout, descriptor: &Descriptor) {
        if let Err(e) = check_blob(layout, descriptor) {
            self.violations.push(format!("{e:#}"));
        }
        // The second time its size has been checked, and what it leads to is known.
        if !self.digests.insert(descriptor.digest.clone()) {
            return;
        }
        match self.children(layout, descriptor) {
            Ok(children) => children.iter().for_each(|child| self.visit(layout, child)),
            Err(e) => self.violations.push(format!("{e:#}")),
        }
    }

    fn children(&mut self, layout: &Layout, descriptor: &Descriptor) -> Result<Vec<Descriptor>> {
        match descriptor.media_type.as_str() {
            INDEX => Ok(layout.document::<Index>(descriptor)?.manifests),
            MANIFEST => {
                let manifest: Manifest = layout.document(descriptor)?;
                self.violations.extend(unfit_types(descriptor, &manifest));
                self.subjects.extend(manifest.subject.map(|subject| subject.digest));
                Ok(std::iter::once(manifest.config).chain(manifest.layers).collect())
            }
            _ => Ok(Vec::new()),
        }
    }
}

/// A manifest without artifact type is an image, and that has a configuration and layers that engines understand.
fn unfit_types(descriptor: &Descriptor, manifest: &Manifest) -> Vec<String> {
    if manifest.artifact_type.is_some() {
        return Vec::new();
    }
    let parts = std::iter::once((CONFIG, &manifest.config)).chain(manifest.layers.iter().map(|layer| (LAYER, layer)));
    let unfit = parts.filter(|(expected, part)| part.media_type != *expected);
    let say = |part: &Descriptor| format!("the image {} has a part of type {}", descriptor.digest, part.media_type);
    unfit.map(|(_, part)| say(part)).collect()
}

fn check_blob(layout: &Layout, descriptor: &Descriptor) -> Result<()> {
    let named = &descriptor.digest;
    let found =
        digest::digest_file(&layout.path(descriptor)?).with_context(|| format!("the blob {named} is missing"))?;
    anyhow::ensure!(
        found.size == descriptor.size,
        "the blob {named} has {} bytes, not {}",
        found.size,
        descriptor.size
    );
    let digest = format!("sha256:{}", found.sha256);
    anyhow::ensure!(digest == *named, "the blob {named} has the digest {digest}");
    Ok(())
}

/// Each image of this version has documents of all these types that name it, in both ways of finding them.
///
/// # Errors
///
/// The layout cannot be read, or has no index of this version.
pub fn referrers(dir: &Path, version: &str, artifact_types: &[&str]) -> Result<Vec<String>> {
    let layout = Layout::open(dir)?;
    let top = layout.tagged(version).with_context(|| format!("no entry has the tag {version}"))?;
    let images = layout.document::<Index>(top)?.manifests;
    let mut about: BTreeMap<String, Vec<Descriptor>> = BTreeMap::new();
    for entry in layout.index().manifests.iter().filter(|entry| entry.artifact_type.is_some()) {
        if let Some(subject) = layout.document::<Manifest>(entry)?.subject {
            about.entry(subject.digest).or_default().push(entry.clone());
        }
    }
    let mut violations = Vec::new();
    for subject in &images {
        let listed = about.remove(&subject.digest).unwrap_or_default();
        let has = |wanted: &str| listed.iter().any(|entry| entry.artifact_type.as_deref() == Some(wanted));
        let missing = artifact_types.iter().filter(|wanted| !has(wanted));
        violations.extend(missing.map(|wanted| format!("nothing of type {wanted} is about {}", subject.digest)));
        for entry in &listed {
            violations.extend(silent_documents(&layout, entry, subject)?);
        }
        let tag = fallback_tag(&subject.digest);
        let tagged = layout.tagged(&tag).map(|list| layout.document::<Index>(list)).transpose()?;
        if tagged.map(|list| list.manifests).unwrap_or_default() != listed {
            violations.push(format!("the list with the tag {tag} is not what the layout has about {}", subject.digest));
        }
    }
    violations.extend(about.into_keys().map(|digest| format!("{digest} has documents and is no image of {version}")));
    Ok(violations)
}

/// The documents of a referrer that do not say, by its digest, what they are about: a copy that has lost its descriptor is
/// about anything.
fn silent_documents(layout: &Layout, referrer: &Descriptor, subject: &Descriptor) -> Result<Vec<String>> {
    let sha256 = subject.sha256().with_context(|| format!("{:?} is no SHA-256 digest", subject.digest))?;
    let mut violations = Vec::new();
    for document in layout.document::<Manifest>(referrer)?.layers {
        if !layout.document::<serde_json::Value>(&document)?.to_string().contains(sha256) {
            violations.push(format!("the document {} about {} does not name it", document.digest, subject.digest));
        }
    }
    Ok(violations)
}

/// The file has a layout that fits, and `docker load` gets the image that it should.
///
/// # Errors
///
/// The file cannot be unpacked.
pub fn archive(file: &Path, version: &str) -> Result<Vec<String>> {
    let scratch = tempfile::tempdir()?;
    let dir = scratch.path().join("layout");
    unpack_archive(file, &dir)?;
    let docker = fs::read(dir.join(DOCKER_FILE));
    files::remove_if_there(&dir.join(DOCKER_FILE))?;
    let mut violations = layout(&dir)?;
    let expected = docker_image(&Layout::open(&dir)?, version)?;
    let found: Option<Vec<DockerImage>> = docker.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    if found != Some(vec![expected]) {
        violations.push(format!("{DOCKER_FILE} does not name the image of {version} that Docker should load"));
    }
    Ok(violations)
}
