//! The signature inside of an rpm, made by rpmsign with gpg and checked by rpm itself.
//!
//! Contract: equal package, key and time give equal bytes with a key whose signatures have no random part: RSA, which is
//! also the one kind that the oldest supported rpm knows. The key is never in a folder that others can read.
//!
//! A deb has none: apt trusts the repository's. An apk's is checked by apk alone, which Debian does not have.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::tool;
use crate::{files, process};

/// Mode of a private key.
const SECRET_MODE: u32 = 0o600;

/// Signs an rpm in place with an armored OpenPGP private key without passphrase, at a time.
///
/// # Errors
///
/// rpmsign or gpg is missing, the key is younger than the time, or it is no such key.
pub fn sign_rpm(package: &Path, secret_key: &Path, epoch: u64) -> Result<()> {
    let keyring = Keyring::with(secret_key)?;
    let options = format!("--batch --pinentry-mode loopback --passphrase '' --faked-system-time {epoch}!");
    let mut command = process::clean_command(&tool::find("rpmsign", "rpm")?);
    command.env("GNUPGHOME", keyring.home.path()).env("HOME", keyring.home.path());
    command.args(["--addsign", "--define", &format!("_gpg_name {}", keyring.fingerprint)]);
    command.args(["--define", &format!("_gpg_sign_cmd_extra_args {options}")]);
    command.args(["--define", &format!("__gpg {}", keyring.gpg.display())]).arg(package);
    tool::output(&mut command)?;
    Ok(())
}

/// Makes a throwaway RSA key without passphrase as `NAME.secret.asc` and `NAME.public.asc` in a folder, old enough for
/// packages of this time, and returns both paths.
///
/// # Errors
///
/// gpg is missing or fails, or a file cannot be written.
pub fn generate_throwaway(folder: &Path, name: &str, epoch: u64) -> Result<(PathBuf, PathBuf)> {
    let keyring = Keyring::empty()?;
    // A signature from before its key existed is worth nothing.
    let created = format!("{}!", epoch.saturating_sub(1));
    let user = format!("{name} (throwaway) <{name}@cairn.example>");
    tool::output(&mut keyring.ask(&[
        "--faked-system-time",
        &created,
        "--quick-generate-key",
        &user,
        "rsa3072",
        "sign",
        "never",
    ]))?;
    let secret = tool::output(&mut keyring.ask(&["--armor", "--export-secret-keys"]))?;
    let public = tool::output(&mut keyring.ask(&["--armor", "--export"]))?;
    let path = |kind: &str| folder.join(format!("{name}.{kind}.asc"));
    files::write_bytes(&path("secret"), SECRET_MODE, secret.as_bytes())?;
    files::write_bytes(&path("public"), files::FILE_MODE, public.as_bytes())?;
    Ok((path("secret"), path("public")))
}

/// A folder of gpg's for one key; gone when dropped.
struct Keyring {
    gpg: PathBuf,
    home: TempDir,
    fingerprint: String,
}

impl Keyring {
    fn empty() -> Result<Self> {
        let gpg = tool::find("gpg", "gnupg")?;
        let home = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir()?;
        Ok(Self { gpg, home, fingerprint: String::new() })
    }

    fn with(secret_key: &Path) -> Result<Self> {
        let mut keyring = Self::empty()?;
        tool::output(keyring.ask(&["--import"]).arg(secret_key))
            .with_context(|| format!("gpg does not take the key {}", secret_key.display()))?;
        let list = tool::output(&mut keyring.ask(&["--list-secret-keys", "--with-colons"]))?;
        let fingerprint =
            list.lines().find_map(|line| line.strip_prefix("fpr:")?.split(':').find(|field| !field.is_empty()));
        keyring.fingerprint = fingerprint.context("the file has no private key")?.to_owned();
        Ok(keyring)
    }

    fn ask(&self, arguments: &[&str]) -> Command {
        let mut command = process::clean_command(&self.gpg);
        command.env("GNUPGHOME", self.home.path()).args(["--batch", "--quiet", "--pinentry-mode", "loopback"]);
        command.args(["--passphrase", ""]).args(arguments);
        command
    }
}

impl Drop for Keyring {
    fn drop(&mut self) {
        // gpg leaves an agent running for its folder; without one this fails, and nothing is left to do.
        if let Ok(program) = tool::find("gpgconf", "gnupg") {
            let mut command = process::clean_command(&program);
            let _ = tool::run(command.env("GNUPGHOME", self.home.path()).args(["--kill", "gpg-agent"]));
        }
    }
}

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
