//! The shell installer: the template `packaging/install.sh.in` with the facts of one release put in.
//!
//! The sums of the archives and the public key are in the script itself, so that whoever has the right script needs to
//! trust neither server nor network. It is made after the archives and before `SHA256SUMS`, and is listed and signed as
//! any other file. Every value is checked to be of few characters: none can end the quotes around it.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::digest::{digest_file, is_sha256};
use crate::files::{self, EXECUTABLE_MODE};

/// Place of the template in the source tree.
pub const TEMPLATE: &str = "packaging/install.sh.in";

/// File name of the installer.
pub const INSTALLER_NAME: &str = "install.sh";

/// An archive that the installer can install.
#[derive(Debug, Clone)]
pub struct Archive<'a> {
    /// Short name of the target, as `linux-amd64`.
    pub target: &'a str,
    /// Whether it lacks the server.
    pub client_only: bool,
    /// File name in the release folder; without `.tar.gz` it is the archive's top folder.
    pub name: &'a str,
}

/// What the template needs to know.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// Version of the product.
    pub version: &'a str,
    /// Address of the release folder.
    pub base_url: &'a str,
    /// Lowest version of glibc, as `2.28`.
    pub glibc_floor: &'a str,
    /// The public key: the text of the file, or its second line alone.
    pub minisign_key: &'a str,
    /// The archives, whose sums are read from the release folder.
    pub archives: &'a [Archive<'a>],
}

/// Writes the installer into the release folder, which has the archives already.
///
/// # Errors
///
/// An archive cannot be read, or as [`render`].
pub fn write(template: &Path, facts: &Facts<'_>, dir: &Path) -> Result<()> {
    let text = std::fs::read_to_string(template).with_context(|| format!("cannot read {}", template.display()))?;
    let mut sums = Vec::new();
    for archive in facts.archives {
        let digest = digest_file(&dir.join(archive.name))
            .with_context(|| format!("cannot read {}; make the archives first", archive.name))?;
        sums.push(digest.sha256);
    }
    let script = render(&text, facts, &sums)?;
    files::write_bytes(&dir.join(INSTALLER_NAME), EXECUTABLE_MODE, script.as_bytes())
}

/// The installer's text; `sums` are those of the archives, in their order.
///
/// # Errors
///
/// A value has characters that the script must not have, or the template has a place for something else.
pub fn render(template: &str, facts: &Facts<'_>, sums: &[String]) -> Result<String> {
    ensure!(sums.len() == facts.archives.len(), "{} sums for {} archives", sums.len(), facts.archives.len());
    let key = facts.minisign_key.trim_end().lines().last().unwrap_or_default();
    let mut script = template.to_owned();
    for (place, value) in [
        ("@VERSION@", checked("version", facts.version, "._+~-")?),
        ("@BASE_URL@", checked("address", facts.base_url.trim_end_matches('/'), "._+~-:/")?),
        ("@GLIBC_FLOOR@", checked("glibc floor", facts.glibc_floor, ".")?),
        ("@MINISIGN_KEY@", checked("public key", key, "+/=")?),
        ("@ARCHIVES@", &archives(facts.archives, sums)?),
    ] {
        ensure!(script.contains(place), "{TEMPLATE} has no place for {place}");
        script = script.replace(place, value);
    }
    if let Some(line) = script.lines().find(|line| has_place(line)) {
        bail!("{TEMPLATE} has a place that nothing fills: {}", line.trim());
    }
    Ok(script)
}

fn archives(archives: &[Archive<'_>], sums: &[String]) -> Result<String> {
    let mut lines = Vec::new();
    for (Archive { target, client_only, name }, sum) in archives.iter().zip(sums) {
        let kind = if *client_only { "client" } else { "all" };
        ensure!(is_sha256(sum), "{sum:?} is no SHA-256 sum");
        ensure!(name.ends_with(".tar.gz"), "{name} is no .tar.gz, which is all that the installer unpacks");
        lines.push(format!("{} {kind} {} {sum}", checked("target", target, "-")?, checked("name", name, "._+~-")?));
    }
    Ok(lines.join("\n"))
}

fn checked<'a>(what: &str, value: &'a str, also: &str) -> Result<&'a str> {
    let plain = value.chars().all(|c| c.is_ascii_alphanumeric() || also.contains(c));
    ensure!(plain && !value.is_empty(), "the {what} {value:?} must not be in a shell script");
    Ok(value)
}

/// Whether the line has an `@NAME@`.
fn has_place(line: &str) -> bool {
    let name = |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    let mut parts = line.split('@').skip(1).collect::<Vec<_>>();
    parts.pop();
    parts.iter().any(name)
}
