//! OpenPGP keys and signatures for the package repositories, made by GnuPG.
//!
//! Keys are RSA with 3072 bits and every hash is SHA-256. Ed25519 would be smaller, but rpm of EL8 knows RSA only, while
//! `gpgv`, `sqv` and rpm of today all take RSA-3072. PKCS#1 v1.5 signatures draw no random bits, so with the time given
//! equal input has equal signatures. GnuPG (Debian: `gpg`) instead of a library, because real repository keys live on
//! smart cards that it speaks to, and because the pure-Rust one brings 130 crates, among them an `rsa` with an open
//! advisory (RUSTSEC-2023-0071: private-key operations that leak through time).
//!
//! Each [`SigningKey`] works in a scratch home of its own: the user's keyring, settings and agent are neither read nor
//! changed. A passphrase comes from the environment only. Left out: subkeys, expiry and revocation.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::files::{self, FILE_MODE};
use crate::keys::{self, SECRET_MODE};
use crate::process;

/// Environment variable with the passphrase of the secret key.
pub const PASSPHRASE_VARIABLE: &str = "CAIRN_RELEASE_OPENPGP_PASSPHRASE";

/// Kind and size of the keys that we make.
pub const ALGORITHM: &str = "rsa3072";

/// The armor that opens a secret key.
const SECRET_ARMOR: &str = "-----BEGIN PGP PRIVATE KEY BLOCK-----";

/// A secret key that is ready to sign.
pub struct SigningKey {
    home: Home,
    fingerprint: String,
}

/// The passphrase that the environment gives, if it does.
#[must_use]
pub fn passphrase_from_environment() -> Option<String> {
    env::var(PASSPHRASE_VARIABLE).ok().filter(|passphrase| !passphrase.is_empty())
}

/// Makes a key pair that is created at `time` (seconds since 1970) and never expires; writes both halves armored.
///
/// # Errors
///
/// One of the files exists already (a lost key cannot be had back) or cannot be written, or `gpg` is missing or fails.
pub fn generate(user_id: &str, time: u64, secret: &Path, public: &Path, passphrase: Option<&str>) -> Result<()> {
    keys::ensure_new([secret, public])?;
    let home = Home::new(passphrase)?;
    process::output(home.gpg_at(time)?.args(["--quick-generate-key", user_id, ALGORITHM, "sign", "never"]))?;
    let key = home.only_key()?;
    let armored = process::output(key.home.gpg()?.arg("--export-secret-keys"))?;
    files::write_bytes(secret, SECRET_MODE, armored.as_bytes())?;
    files::write_bytes(public, FILE_MODE, &key.public_armored()?)
}

impl SigningKey {
    /// Reads an armored secret key; the passphrase is not needed for one in the clear.
    ///
    /// # Errors
    ///
    /// The file cannot be read or is not one secret key, or `gpg` is missing.
    pub fn read(path: &Path, passphrase: Option<&str>) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        if !text.contains(SECRET_ARMOR) {
            bail!(
                "{} is no armored OpenPGP secret key; make one with `gpg --export-secret-keys --armor`",
                path.display()
            );
        }
        let home = Home::new(passphrase)?;
        let copy = home.file("secret");
        files::write_bytes(&copy, SECRET_MODE, text.as_bytes())?;
        process::output(home.gpg()?.arg("--import").arg(&copy))?;
        fs::remove_file(copy)?;
        home.only_key().with_context(|| format!("cannot use the key in {}", path.display()))
    }

    /// Fingerprint of the key, 40 upper-case hexadecimal digits.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The public half, armored, with the public keys that stand in the file of the secret one: what they signed is still
    /// in use.
    ///
    /// # Errors
    ///
    /// `gpg` fails.
    pub fn public_armored(&self) -> Result<Vec<u8>> {
        Ok(process::output(self.home.gpg()?.arg("--export"))?.into_bytes())
    }

    /// An armored signature of the bytes, made at `time`.
    ///
    /// # Errors
    ///
    /// The passphrase is wrong, the key is younger than `time`, or `gpg` fails otherwise.
    pub fn sign_detached(&self, bytes: &[u8], time: u64) -> Result<Vec<u8>> {
        self.sign(bytes, time, "--detach-sign")
    }

    /// The text with a signature around it, made at `time`. The text must end with a line feed.
    ///
    /// # Errors
    ///
    /// As [`SigningKey::sign_detached`].
    pub fn sign_cleartext(&self, text: &[u8], time: u64) -> Result<Vec<u8>> {
        self.sign(text, time, "--clear-sign")
    }

    /// Puts a signature, made at `time`, into an rpm package, in place of the one that it may have.
    ///
    /// For packages that were built without one: unlike `nfpm`'s own, it depends on no clock.
    ///
    /// # Errors
    ///
    /// The file is no rpm package, or `rpmsign` (Debian: `rpm`) is missing or fails.
    pub fn sign_rpm(&self, package: &Path, time: u64) -> Result<()> {
        let rpmsign = process::find_program("rpmsign")
            .context("the program rpmsign is missing; install the Debian package `rpm`")?;
        // Whole words of our own make the command, because rpm's macro differs from version to version.
        let sign = format!(
            "%{{__gpg}} gpg {} --local-user {} --digest-algo SHA256 --detach-sign \
             --output %{{__signature_filename}} %{{__plaintext_filename}}",
            self.home.arguments(Some(time)).join(" "),
            self.fingerprint,
        );
        // `rpmsign` rewrites the file; a copy keeps a killed run from leaving half of it.
        let copy = self.home.file("package.rpm");
        fs::copy(package, &copy).with_context(|| format!("cannot read {}", package.display()))?;
        let mut command = process::clean_command(&rpmsign);
        command.env("HOME", self.home.0.path()).env("SOURCE_DATE_EPOCH", time.to_string());
        command.args(["--define", &format!("__gpg {}", program()?.display())]);
        command.args(["--define", &format!("_gpg_name {}", self.fingerprint)]);
        command.args(["--define", &format!("__gpg_sign_cmd {sign}"), "--resign"]).arg(&copy);
        process::output(&mut command)?;
        let bytes = fs::read(&copy)?;
        fs::remove_file(copy)?;
        files::write_bytes(package, FILE_MODE, &bytes)
    }

    /// The text of a message that [`SigningKey::sign_cleartext`] made.
    ///
    /// Public keys that stand in the file of the secret one count like its own half, so that a new key can go on with what
    /// an older one signed.
    ///
    /// # Errors
    ///
    /// The message is not signed, changed, or signed with another key.
    pub fn verified_text(&self, message: &[u8]) -> Result<Vec<u8>> {
        let (signed, text) = (self.home.file("signed"), self.home.file("text"));
        fs::write(&signed, message)?;
        self.verify(&[Path::new("--output"), &text, Path::new("--decrypt"), &signed])?;
        Ok(fs::read(text)?)
    }

    /// Checks a signature that [`SigningKey::sign_detached`] made; the same keys count as in [`SigningKey::verified_text`].
    ///
    /// # Errors
    ///
    /// It is no signature of these bytes, or of another key.
    pub fn verify_detached(&self, bytes: &[u8], signature: &[u8]) -> Result<()> {
        let (signed, beside) = (self.home.file("signed"), self.home.file("signature"));
        fs::write(&signed, bytes)?;
        fs::write(&beside, signature)?;
        self.verify(&[Path::new("--verify"), &beside, &signed])
    }

    fn verify(&self, arguments: &[&Path]) -> Result<()> {
        let mut command = self.home.gpg()?;
        command.args(["--trust-model", "always", "--status-fd", "1"]).args(arguments);
        let said =
            process::output(&mut command).with_context(|| format!("not signed with the key {}", self.fingerprint))?;
        // GnuPG also passes what nobody signed.
        let good = said.lines().any(|line| line.starts_with("[GNUPG:] GOODSIG "));
        ensure!(good, "not signed with the key {}", self.fingerprint);
        Ok(())
    }

    fn sign(&self, bytes: &[u8], time: u64, how: &str) -> Result<Vec<u8>> {
        let data = self.home.file("data");
        fs::write(&data, bytes)?;
        let mut command = self.home.gpg_at(time)?;
        command.args(["--local-user", &self.fingerprint, "--digest-algo", "SHA256", "--output", "-", how]).arg(&data);
        Ok(process::output(&mut command)?.into_bytes())
    }
}

/// A GnuPG home of our own; its agent ends with it.
struct Home(TempDir);

impl Home {
    fn new(passphrase: Option<&str>) -> Result<Self> {
        let home = Self(tempfile::Builder::new().prefix("gpg").tempdir()?);
        files::write_bytes(&home.file("passphrase"), SECRET_MODE, passphrase.unwrap_or_default().as_bytes())?;
        Ok(home)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The arguments that every call has.
    fn arguments(&self, time: Option<u64>) -> Vec<String> {
        let home = self.0.path().display().to_string();
        let passphrase = self.file("passphrase").display().to_string();
        let fixed = ["--batch", "--no-tty", "--quiet", "--yes", "--no-options", "--pinentry-mode", "loopback"];
        let mut arguments = vec!["--homedir".to_owned(), home, "--passphrase-file".to_owned(), passphrase];
        arguments.extend(fixed.map(str::to_owned));
        // The mark stops the clock there: GnuPG would let it run on from a time without it.
        arguments.extend(time.iter().flat_map(|time| ["--faked-system-time".to_owned(), format!("{time}!")]));
        arguments
    }

    fn gpg(&self) -> Result<Command> {
        let mut command = process::clean_command(&program()?);
        command.args(self.arguments(None)).arg("--armor");
        Ok(command)
    }

    fn gpg_at(&self, time: u64) -> Result<Command> {
        let mut command = process::clean_command(&program()?);
        command.args(self.arguments(Some(time))).args(["--armor", "--cert-digest-algo", "SHA256"]);
        Ok(command)
    }

    fn only_key(self) -> Result<SigningKey> {
        let list = process::output(self.gpg()?.args(["--with-colons", "--list-secret-keys"]))?;
        let mut fingerprints = list.lines().filter_map(|line| line.strip_prefix("fpr:")?.split(':').nth(8));
        let (Some(fingerprint), None) = (fingerprints.next(), fingerprints.next()) else {
            bail!("there is not one secret key without subkeys, as rpm of EL8 wants it");
        };
        let fingerprint = fingerprint.to_owned();
        Ok(SigningKey { home: self, fingerprint })
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // The agent would also end by itself when its folder is gone, but only at its next look.
        if let Some(program) = process::find_program("gpgconf") {
            let mut command = process::clean_command(&program);
            let _ = process::output(command.arg("--homedir").arg(self.0.path()).args(["--kill", "all"]));
        }
    }
}

fn program() -> Result<PathBuf> {
    process::find_program("gpg").context("the program gpg is missing; install the Debian package `gpg`")
}
