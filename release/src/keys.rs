//! Minisign keys: makes and reads them, in the stock program's file formats.
//!
//! A password comes from the environment only, never from the command line, where other users could read it. Without
//! one the secret key is stored in the clear, which is right for a throwaway key and for nothing else.

use std::env;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use minisign::{KeyPair, PublicKey, SecretKey, SecretKeyBox};

use crate::files::{self, FILE_MODE};

/// Environment variable with the password of the secret key.
pub const PASSWORD_VARIABLE: &str = "CAIRN_RELEASE_KEY_PASSWORD";

/// Mode of a file with a secret key.
pub(crate) const SECRET_MODE: u32 = 0o600;

/// A secret key that is ready to sign, with its public half.
pub struct SigningKey {
    pub(crate) secret: SecretKey,
    pub(crate) public: PublicKey,
}

/// The password that the environment gives, if it does.
#[must_use]
pub fn password_from_environment() -> Option<String> {
    env::var(PASSWORD_VARIABLE).ok().filter(|password| !password.is_empty())
}

/// None of the files of new keys exists.
///
/// # Errors
///
/// One does: a lost key cannot be had back.
pub fn ensure_new<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Result<()> {
    match paths.into_iter().find(|path| path.exists()) {
        Some(path) => bail!("{} exists; a key is never overwritten: choose another name", path.display()),
        None => Ok(()),
    }
}

/// Makes a key pair and writes both halves; with a password the secret one is encrypted.
///
/// # Errors
///
/// One of the files exists already (a lost key cannot be had back), or cannot be written.
pub fn generate(secret_path: &Path, public_path: &Path, password: Option<String>) -> Result<()> {
    ensure_new([secret_path, public_path])?;
    let pair = match password {
        Some(password) => KeyPair::generate_encrypted_keypair(Some(password))?,
        None => KeyPair::generate_unencrypted_keypair()?,
    };
    let secret = pair.sk.to_box(Some("minisign secret key of cairn-release"))?;
    files::write_bytes(secret_path, SECRET_MODE, &secret.to_bytes())?;
    files::write_bytes(public_path, FILE_MODE, &pair.pk.to_box()?.to_bytes())
}

impl SigningKey {
    /// Reads a secret key; the password decrypts it and is not needed for one in the clear.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is no secret key, or is encrypted and the password is missing or wrong.
    pub fn read(path: &Path, password: Option<String>) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let open = SecretKeyBox::from_string(&text)?.into_unencrypted_secret_key();
        let secret = match (open, password) {
            (Ok(secret), _) => secret,
            (Err(_), Some(password)) => SecretKeyBox::from_string(&text)?
                .into_secret_key(Some(password))
                .with_context(|| format!("cannot decrypt {} with ${PASSWORD_VARIABLE}", path.display()))?,
            (Err(e), None) => {
                return Err(e).with_context(|| {
                    format!("{} is damaged or encrypted; set {PASSWORD_VARIABLE} to its password", path.display())
                });
            }
        };
        let public = PublicKey::from_secret_key(&secret)?;
        Ok(Self { secret, public })
    }

    /// The public half, as the second line of the stock program's file has it.
    #[must_use]
    pub fn public_key(&self) -> String {
        self.public.to_base64()
    }
}
