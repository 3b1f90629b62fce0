//! The signature inside of an rpm, as rpm itself sees it; [`crate::repository::openpgp`] makes it.
//!
//! No other package of ours has one: for debs apt trusts the repository's signature, for the others there is the release's
//! minisign signature of the file.

use std::path::Path;

use anyhow::{Context, Result};

use super::tool;
use crate::process;

/// Gate: an rpm is signed with this OpenPGP key; the key is the armored public one.
///
/// # Errors
///
/// rpm is missing or does not take the key.
pub fn rpm_violations(package: &Path, public_key: &Path) -> Result<Vec<String>> {
    let rpm = tool::find("rpm", "rpm")?;
    let database = tempfile::tempdir()?;
    let ask = |argument: &str| {
        let mut command = process::clean_command(&rpm);
        command.arg("--dbpath").arg(database.path()).arg(argument);
        command
    };
    tool::output(ask("--import").arg(public_key)).context("rpm does not take the key")?;
    let finished = tool::run(ask("--checksig").arg(package))?;
    // rpm is content with a package that has no signature at all; then it speaks of digests alone.
    if finished.status.success() && finished.stdout.trim_end().ends_with(": digests signatures OK") {
        return Ok(Vec::new());
    }
    Ok(vec![format!("{} is not signed with the key: rpm says {:?}", package.display(), finished.all().trim())])
}
