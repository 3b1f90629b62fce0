//! A static yum repository: `packages/` with the rpm packages, `repodata/` with the signed index of all of them.
//!
//! The index is written by `createrepo_c` (Debian: `createrepo-c`), the reference for a format without a standard; its
//! clocks are stopped by fixed times, and no database is made, whose bytes no option fixes. One repository has all
//! architectures: clients take what fits. Indexes are gzip, which EL8 reads, and have their hash in their names, under
//! which nothing published is ever replaced or removed, because a client that read the old `repomd.xml` asks for them a
//! moment later. The packages carry signatures of their own, see [`super::openpgp::SigningKey::sign_rpm`].
//!
//! Left out: groups, modules, update notices.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;

use super::listing::{Listing, Place, unpacked};
use super::openpgp::SigningKey;
use super::{KEYRING_NAME, add, write_if_changed};
use crate::digest::Digest;
use crate::publish::Error;
use crate::{files, process};

pub use super::apt::Publication;

/// Name of the sample of a repository file in the root of the repository.
pub const REPO_NAME: &str = "cairn.repo";

/// Folder of the packages.
const PACKAGES: &str = "packages";

/// The index that names all others.
const INDEX: &str = "repomd.xml";

/// The file that clients ask for first, [`INDEX`] in its place; its signature is beside it.
pub const ENTRANCE: &str = "repodata/repomd.xml";

/// Adds packages to the repository in `root`, which need not exist yet, and signs the index of all of them.
///
/// # Errors
///
/// A package is there already with other bytes, `createrepo_c` is missing or refuses a package, the key cannot sign, or
/// a file cannot be written.
pub fn publish(root: &Path, rpms: &[PathBuf], publication: Publication<'_>, key: &SigningKey) -> Result<()> {
    let packages = root.join(PACKAGES);
    for rpm in rpms {
        let name = rpm.file_name().with_context(|| format!("{} has no file name", rpm.display()))?;
        add(rpm, &packages.join(name))?;
    }
    // The index lists the files' times; these must not tell when somebody copied them.
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(publication.time);
    for name in files::names_in(&packages).with_context(|| format!("{} has no packages to publish", root.display()))? {
        ensure!(name.ends_with(".rpm"), "{} is no rpm package; remove it", packages.join(name).display());
        File::options().write(true).open(packages.join(&name))?.set_modified(time)?;
    }
    write_if_changed(&root.join(KEYRING_NAME), &key.public_armored()?)?;
    write_if_changed(&root.join(REPO_NAME), repo(publication.url).as_bytes())?;
    let scratch = tempfile::tempdir()?;
    create(root, scratch.path(), publication.time)?;
    let (from, to) = (scratch.path().join("repodata"), root.join("repodata"));
    files::create_folder(&to)?;
    for name in files::names_in(&from)?.iter().filter(|name| *name != INDEX) {
        write_if_changed(&to.join(name), &fs::read(from.join(name))?)?;
    }
    // Clients that come between the two find a signature that does not fit and try again.
    let index = fs::read(from.join(INDEX))?;
    write_if_changed(&to.join(format!("{INDEX}.asc")), &key.sign_detached(&index, publication.time)?)?;
    write_if_changed(&to.join(INDEX), &index)
}

/// What the repository at a place lists; none if there is none. With a key the signature must be the key's.
pub(super) fn listing(place: &Place<'_>, key: Option<&SigningKey>) -> Result<Option<Listing>, Error> {
    let Some(index) = place.signed(ENTRANCE)? else { return Ok(None) };
    if let Some(key) = key {
        let name = format!("{ENTRANCE}.asc");
        let signature = place.signed(&name)?.ok_or_else(|| place.damaged(&name, "is missing"))?;
        let checked = key.verify_detached(&index, &signature);
        checked.map_err(|e| place.damaged(ENTRANCE, format!("is {e:#}")))?;
    }
    let index = String::from_utf8_lossy(&index);
    let bad = |why: &str| place.damaged(ENTRANCE, why);
    let time = elements(&index, "revision").next().and_then(|element| element.text().parse().ok());
    let mut listing = Listing::new(time.ok_or_else(|| bad("has no time as its revision"))?);
    let primary = elements(&index, "data").find(|data| data.attribute("type") == Some("primary"));
    let primary = primary.ok_or_else(|| bad("names no list of packages"))?;
    let (name, digest) = primary
        .child("size")
        .and_then(|size| primary.file(size.text()))
        .ok_or_else(|| bad("names no list of packages with its sum"))?;
    let packed = place.index(name, &digest)?;
    let text = unpacked(GzDecoder::new(packed.as_slice()));
    let text = text.map_err(|e| place.damaged(name, format!("cannot be unpacked: {e}")))?;
    for package in elements(&text, "package") {
        let size = package.child("size").and_then(|size| size.attribute("package"));
        let listed = size
            .and_then(|size| package.file(size))
            .ok_or_else(|| "lists a package without place, size or sum".to_owned());
        let added = listed.and_then(|(path, digest)| listing.add(path, PACKAGES, digest));
        added.map_err(|why| place.damaged(name, why))?;
    }
    Ok(Some(listing))
}

/// An element of the XML that `createrepo_c` writes: it escapes every `<` and `>` that is no mark-up, puts values into
/// double quotes, and nests no element in one of the same name.
#[derive(Clone, Copy)]
struct Element<'a> {
    attributes: &'a str,
    content: &'a str,
}

/// The elements of this name, at any depth.
fn elements<'a>(text: &'a str, name: &str) -> impl Iterator<Item = Element<'a>> {
    let (open, close) = (format!("<{name}"), format!("</{name}>"));
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let (_, after) = rest.split_once(&open)?;
            let (tag, after) = after.split_once('>')?;
            rest = after;
            if let Some(attributes) = tag.strip_suffix('/').filter(|tag| tag.is_empty() || tag.starts_with(' ')) {
                return Some(Element { attributes, content: "" });
            }
            if tag.is_empty() || tag.starts_with(' ') {
                let (content, after) = after.split_once(&close)?;
                rest = after;
                return Some(Element { attributes: tag, content });
            }
        }
    })
}

impl<'a> Element<'a> {
    fn text(self) -> &'a str {
        self.content.trim()
    }

    fn attribute(self, name: &str) -> Option<&'a str> {
        let (_, after) = self.attributes.split_once(&format!(" {name}=\""))?;
        after.split_once('"').map(|(value, _)| value)
    }

    fn child(self, name: &str) -> Option<Element<'a>> {
        elements(self.content, name).next()
    }

    /// Place and digest of the file that the element describes, whose size is elsewhere for each kind.
    fn file(self, size: &str) -> Option<(&'a str, Digest)> {
        let checksum = self.child("checksum").filter(|sum| sum.attribute("type") == Some("sha256"))?;
        let digest = Digest { size: size.parse().ok()?, sha256: checksum.text().to_owned() };
        Some((self.child("location")?.attribute("href")?, digest))
    }
}

fn create(root: &Path, out: &Path, time: u64) -> Result<()> {
    let program = process::find_program("createrepo_c")
        .context("the program createrepo_c is missing; install the Debian package `createrepo-c`")?;
    let mut command = process::clean_command(&program);
    command.args(["--quiet", "--no-database", "--checksum", "sha256", "--general-compress-type", "gz"]);
    command.args(["--workers", "1", "--set-timestamp-to-revision", "--revision", &time.to_string()]);
    process::output(command.arg("--outputdir").arg(out).arg(root)).map(drop)
}

fn repo(url: &str) -> String {
    let url = url.trim_end_matches('/');
    format!(
        "# Put this file into /etc/yum.repos.d/.\n\
         [cairn]\nname=Cairn\nbaseurl={url}\nenabled=1\ngpgcheck=1\nrepo_gpgcheck=1\ngpgkey={url}/{KEYRING_NAME}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_by_their_whole_name_with_attributes_and_content() {
        let text = "<metadata packages=\"1\"><packager/><package type=\"rpm\"><size package=\"7\"/>\n\
                    <checksum type=\"sha256\"> ab </checksum><location href=\"packages/a.rpm\"/></package></metadata>";
        let packages: Vec<_> = elements(text, "package").collect();
        assert_eq!(packages.len(), 1);
        assert_eq!(packages[0].attribute("type"), Some("rpm"));
        assert_eq!(packages[0].child("size").unwrap().attribute("package"), Some("7"));
        let digest = Digest { size: 7, sha256: "ab".to_owned() };
        assert_eq!(packages[0].file("7"), Some(("packages/a.rpm", digest)));
        assert_eq!(packages[0].file("many"), None);
        assert!(elements("<package", "package").next().is_none());
        assert!(elements("<package>", "package").next().is_none());
    }
}
