//! A static apt repository: `pool/` with the packages, `dists/stable/` with the signed index of all of them.
//!
//! The pool is the state: every index is made anew from the packages in it, so nothing can be listed that is not there.
//! Indexes are listed by SHA-256 only and published under `by-hash/` too, where nothing is ever replaced or removed, because
//! a client that read the old `Release` asks for the old index a moment later (they are a few kilobytes each).
//! `Valid-Until` ends what a stale mirror, or somebody who plays one, can hide; before then a release or
//! [`super::published::renew`] must sign the index again.
//!
//! Left out: sources, translations, `Contents`, further suites.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, bail, ensure};
use flate2::read::GzDecoder;
use flate2::{Compression, GzBuilder};

use super::listing::{Listing, Place};
use super::openpgp::SigningKey;
use super::{KEYRING_NAME, add, write_if_changed};
use crate::digest::{Digest, digest_file, digest_with};
use crate::files;
use crate::publish::{Error, Store};
use crate::tarball::GZIP_LEVEL;

/// Suite and code name: one line of releases, in the order of versions.
pub const SUITE: &str = "stable";

/// The one component.
pub const COMPONENT: &str = "main";

/// Folder of the packages.
const POOL: &str = "pool";

/// Architectures that have an index; packages for `all` are in each of them.
pub const ARCHITECTURES: [&str; 2] = ["amd64", "arm64"];

/// Days for which clients trust a published index. Half a year: releases and a renewal now and then keep it valid, and an
/// index that a mirror holds back is noticed. [`crate::audit`] asks for the renewal.
pub const VALID_DAYS: u64 = 180;

/// The file that clients ask for first: the index of indexes, with its signature around it.
pub const ENTRANCE: &str = "dists/stable/InRelease";

pub(crate) const DAY_SECONDS: u64 = 24 * 60 * 60;

/// Name of the sample of a source entry in the root of the repository.
pub const SOURCES_NAME: &str = "cairn.sources";

/// Most bytes of a package's control file.
const MAX_CONTROL_BYTES: u64 = 1 << 20;

/// First bytes of an ar archive, size of a member's header, and the mark at its end.
const AR_MAGIC: &[u8] = b"!<arch>\n";
const AR_HEADER_BYTES: usize = 60;
const AR_HEADER_END: &[u8] = b"`\n";

/// Where and when a repository is published.
#[derive(Debug, Clone, Copy)]
pub struct Publication<'a> {
    /// Address under which clients will find the repository; only the sample source entry names it.
    pub url: &'a str,
    /// Time of the publication in seconds since 1970; clients refuse an index from the future.
    pub time: u64,
}

/// Adds packages to the repository in `root`, which need not exist yet, and signs the index of all of them.
///
/// # Errors
///
/// A package cannot be read, is for another architecture, or is there already with other bytes; the key cannot sign; a
/// file cannot be written.
pub fn publish(root: &Path, debs: &[PathBuf], publication: Publication<'_>, key: &SigningKey) -> Result<()> {
    for deb in debs {
        let control = Control::read(deb)?;
        add(deb, &root.join(control.pool_path()))?;
    }
    let packages = read_pool(root)?;
    ensure!(!packages.is_empty(), "{} has no packages to publish", root.display());
    write_if_changed(&root.join(KEYRING_NAME), &key.public_armored()?)?;
    write_if_changed(&root.join(SOURCES_NAME), sources(publication.url).as_bytes())?;

    let suite = root.join("dists").join(SUITE);
    let mut sums = BTreeMap::new();
    for architecture in ARCHITECTURES {
        let index = index(&packages, architecture);
        for (name, bytes) in [("Packages.gz", gzip(index.as_bytes())?), ("Packages", index.into_bytes())] {
            let folder = format!("{COMPONENT}/binary-{architecture}");
            let digest = digest_with(bytes.as_slice(), |_| {})?;
            let by_hash = suite.join(&folder).join("by-hash/SHA256");
            files::create_folder(&by_hash)?;
            write_if_changed(&by_hash.join(&digest.sha256), &bytes)?;
            write_if_changed(&suite.join(&folder).join(name), &bytes)?;
            sums.insert(format!("{folder}/{name}"), digest);
        }
    }
    let release = release(&sums, publication.time);
    // `InRelease` is what clients ask for first, so it comes last.
    write_if_changed(&suite.join("Release"), release.as_bytes())?;
    write_if_changed(&suite.join("Release.gpg"), &key.sign_detached(release.as_bytes(), publication.time)?)?;
    write_if_changed(&root.join(ENTRANCE), &key.sign_cleartext(release.as_bytes(), publication.time)?)
}

/// What the repository at a place lists; none if there is none. With a key the signature must be the key's.
pub(super) fn listing(place: &Place<'_>, key: Option<&SigningKey>) -> Result<Option<Listing>, Error> {
    let Some(message) = place.signed(ENTRANCE)? else { return Ok(None) };
    let release = match key {
        Some(key) => key.verified_text(&message).map_err(|e| place.damaged(ENTRANCE, format!("is {e:#}")))?,
        None => message,
    };
    let release = String::from_utf8_lossy(&release);
    let bad = |why: &str| place.damaged(ENTRANCE, why);
    let mut listing = Listing::new(time_field(&release, "Date").ok_or_else(|| bad("has no date"))?);
    let sums = release.lines().skip_while(|line| *line != "SHA256:").skip(1).take_while(|line| line.starts_with(' '));
    for line in sums.filter(|line| line.ends_with("/Packages")) {
        let words: Vec<_> = line.split_whitespace().collect();
        let [sha256, size, path] = words[..] else { return Err(bad("has a line of sums that is none")) };
        let digest =
            Digest { size: size.parse().map_err(|_| bad("has a size that is none"))?, sha256: sha256.to_owned() };
        let folder = path.trim_end_matches("Packages");
        // Under its hash it is there whatever else is published at this moment.
        let name = format!("dists/{SUITE}/{folder}by-hash/SHA256/{sha256}");
        let index = place.index(&name, &digest)?;
        for stanza in String::from_utf8_lossy(&index).split("\n\n").filter(|stanza| !stanza.trim().is_empty()) {
            let field = |name| field(stanza, name).unwrap_or_default();
            let size = field("Size").parse().map_err(|_| place.damaged(&name, "lists a package without a size"))?;
            let digest = Digest { size, sha256: field("SHA256").to_owned() };
            listing.add(field("Filename"), POOL, digest).map_err(|why| place.damaged(&name, why))?;
        }
    }
    Ok(Some(listing))
}

/// Seconds since 1970 until which clients trust the index in a site's folder `apt`; none if there is no such index.
///
/// The signature is not looked at, clients do that.
///
/// # Errors
///
/// The site does not answer, or the index does not say it.
pub(crate) fn valid_until(store: &dyn Store, at: &str) -> Result<Option<u64>, Error> {
    let place = Place { store, at };
    let Some(message) = place.signed(ENTRANCE)? else { return Ok(None) };
    let time = time_field(&String::from_utf8_lossy(&message), "Valid-Until");
    time.map(Some).ok_or_else(|| place.damaged(ENTRANCE, "does not say until when it is valid"))
}

/// The value of a field of one line.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn time_field(text: &str, name: &str) -> Option<u64> {
    parse_date(field(text, name)?)
}

/// The control fields of a package, as it has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    text: String,
    /// Name of the package.
    pub package: String,
    /// Version with the distribution's revision.
    pub version: String,
    /// Architecture, or `all`.
    pub architecture: String,
}

impl Control {
    /// Reads the control fields of a package file.
    ///
    /// # Errors
    ///
    /// It cannot be read, is no Debian package, compresses its control file otherwise than with gzip, or is for an
    /// architecture that has no index.
    pub fn read(deb: &Path) -> Result<Self> {
        let file = File::open(deb).with_context(|| format!("cannot read {}", deb.display()))?;
        let text = control_text(BufReader::new(file)).with_context(|| format!("{} cannot be read", deb.display()))?;
        Self::parse(&text).with_context(|| format!("the control file of {}", deb.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let field = |name: &str| {
            let value = field(text, name).unwrap_or_default();
            // The values become a path.
            let plain = |c: char| c.is_ascii_alphanumeric() || ".+~:-".contains(c);
            let starts_well = value.starts_with(|c: char| c.is_ascii_alphanumeric());
            ensure!(starts_well && value.chars().all(plain), "{name} is {value:?}");
            Ok(value.to_owned())
        };
        let text = text.trim_end();
        ensure!(!text.lines().any(|line| line.trim().is_empty()), "it has an empty line, which ends a stanza");
        let control = Self {
            package: field("Package")?,
            version: field("Version")?,
            architecture: field("Architecture")?,
            text: text.to_owned(),
        };
        let architecture = control.architecture.as_str();
        let known = architecture == "all" || ARCHITECTURES.contains(&architecture);
        ensure!(known, "Architecture is {architecture:?}; the repository has {ARCHITECTURES:?}");
        Ok(control)
    }

    /// Where the package lies below the root of the repository.
    fn pool_path(&self) -> String {
        let Self { package, version, architecture, .. } = self;
        // An epoch's colon is left out of file names, as everywhere in Debian.
        let version = version.split_once(':').map_or(version.as_str(), |(_, version)| version);
        let initial = &package[..1];
        format!("{POOL}/{COMPONENT}/{initial}/{package}/{package}_{version}_{architecture}.deb")
    }

    fn is_for(&self, architecture: &str) -> bool {
        self.architecture == architecture || self.architecture == "all"
    }
}

/// A package of the pool.
struct Pooled {
    control: Control,
    path: String,
    digest: Digest,
}

fn read_pool(root: &Path) -> Result<Vec<Pooled>> {
    let mut paths = Vec::new();
    deb_files(&root.join(POOL), &mut paths)?;
    let mut packages = Vec::new();
    for file in paths {
        let control = Control::read(&file)?;
        let path = control.pool_path();
        let (found, wanted) = (file.display(), root.join(&path));
        ensure!(file == wanted, "{found} should be {}; the pool was changed by hand", wanted.display());
        packages.push(Pooled { control, path, digest: digest_file(&file)? });
    }
    packages.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(packages)
}

fn deb_files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("cannot read the folder {}", folder.display()))?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            deb_files(&entry.path(), found)?;
        } else if entry.path().extension().is_some_and(|extension| extension == "deb") {
            found.push(entry.path());
        }
    }
    Ok(())
}

fn index(packages: &[Pooled], architecture: &str) -> String {
    let mut text = String::new();
    for Pooled { control, path, digest } in packages.iter().filter(|pooled| pooled.control.is_for(architecture)) {
        let Digest { size, sha256 } = digest;
        writeln!(text, "{}\nFilename: {path}\nSize: {size}\nSHA256: {sha256}\n", control.text)
            .expect("writing to a string does not fail");
    }
    text
}

fn release(sums: &BTreeMap<String, Digest>, time: u64) -> String {
    let mut text = format!(
        "Origin: Cairn\nLabel: Cairn\nSuite: {SUITE}\nCodename: {SUITE}\nDate: {}\nValid-Until: {}\n\
         Acquire-By-Hash: yes\nArchitectures: {}\nComponents: {COMPONENT}\n\
         Description: Releases of Cairn, a distributed key-value store\nSHA256:\n",
        date(time),
        date(time + VALID_DAYS * DAY_SECONDS),
        ARCHITECTURES.join(" "),
    );
    for (path, Digest { size, sha256 }) in sums {
        writeln!(text, " {sha256} {size} {path}").expect("writing to a string does not fail");
    }
    text
}

fn sources(url: &str) -> String {
    format!(
        "# Put this file into /etc/apt/sources.list.d/ and {KEYRING_NAME} into /usr/share/keyrings/.\n\
         Types: deb\nURIs: {url}\nSuites: {SUITE}\nComponents: {COMPONENT}\nSigned-By: /usr/share/keyrings/{KEYRING_NAME}\n"
    )
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut writer = GzBuilder::new().mtime(0).write(Vec::new(), Compression::new(GZIP_LEVEL));
    writer.write_all(bytes)?;
    Ok(writer.finish()?)
}

/// The months and their days when the year is not a leap year.
const MONTHS: [(&str, u64); 12] = [
    ("Jan", 31),
    ("Feb", 28),
    ("Mar", 31),
    ("Apr", 30),
    ("May", 31),
    ("Jun", 30),
    ("Jul", 31),
    ("Aug", 31),
    ("Sep", 30),
    ("Oct", 31),
    ("Nov", 30),
    ("Dec", 31),
];

/// A time as RFC 5322 writes it, which is the form of `Date` and `Valid-Until`.
#[must_use]
pub fn date(time: u64) -> String {
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let (mut day, second) = (time / DAY_SECONDS, time % DAY_SECONDS);
    let weekday = WEEKDAYS[usize::try_from(day % 7).expect("a number below 7")];
    let mut year = 1970;
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let mut name = "Dec";
    for (month, days) in MONTHS {
        let days = days + u64::from(month == "Feb" && is_leap(year));
        if day < days {
            name = month;
            break;
        }
        day -= days;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{weekday}, {:02} {name} {year} {hour:02}:{minute:02}:{second:02} UTC", day + 1)
}

/// The time that [`date`] wrote so.
fn parse_date(text: &str) -> Option<u64> {
    let words: Vec<_> = text.split(' ').collect();
    let [_, day, month, year, clock, _] = words[..] else { return None };
    let month = MONTHS.iter().position(|(name, _)| *name == month)? + 1;
    let time = humantime::parse_rfc3339(&format!("{year}-{month:02}-{day}T{clock}Z")).ok()?;
    let time = time.duration_since(UNIX_EPOCH).ok()?.as_secs();
    (date(time) == text).then_some(time)
}

/// Finds `control.tar.gz` in the ar archive and the file `control` in that.
fn control_text(mut deb: impl Read) -> Result<String> {
    let mut magic = [0; AR_MAGIC.len()];
    deb.read_exact(&mut magic)?;
    ensure!(magic == AR_MAGIC, "it is no Debian package");
    loop {
        let mut header = [0; AR_HEADER_BYTES];
        deb.read_exact(&mut header).context("it has no control file")?;
        ensure!(header.ends_with(AR_HEADER_END), "it is damaged");
        let name = String::from_utf8_lossy(&header[..16]);
        let size: u64 = String::from_utf8_lossy(&header[48..58]).trim().parse().context("it is damaged")?;
        let mut member = deb.by_ref().take(size);
        match name.trim_end().trim_end_matches('/') {
            "control.tar.gz" => return control_of(GzDecoder::new(member)),
            "control.tar" => return control_of(member),
            other if other.starts_with("control.") => {
                bail!("its {other} is not compressed with gzip; set that in the packager")
            }
            _ => {}
        }
        io::copy(&mut member, &mut io::sink())?;
        // Members start at even places.
        io::copy(&mut deb.by_ref().take(size % 2), &mut io::sink())?;
    }
}

fn control_of(tar: impl Read) -> Result<String> {
    for entry in tar::Archive::new(tar).entries()? {
        let entry = entry?;
        if entry.path()?.strip_prefix("./").unwrap_or(&entry.path()?) == Path::new("control") {
            let mut text = String::new();
            entry.take(MAX_CONTROL_BYTES).read_to_string(&mut text)?;
            return Ok(text);
        }
    }
    bail!("it has no control file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_read_as_it_was_written_and_no_other_text_is_one() {
        for time in [0, 951_827_696, 1_700_000_000, 1_735_689_599, 4_107_542_400] {
            assert_eq!(parse_date(&date(time)), Some(time));
        }
        for text in [
            "",
            "now",
            "Wed, 14 Nov 2023 22:13:20 UTC",
            "Tue, 14 Nov 2023 22:13:20 CET",
            "Tue, 31 Feb 2023 00:00:00 UTC",
        ] {
            assert_eq!(parse_date(text), None, "{text}");
        }
    }
}
