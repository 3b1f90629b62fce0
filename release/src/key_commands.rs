//! The commands `keys …`: they keep `keys.json`, and `cairn.pub` beside it, in a folder that releases are made with.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use cairn_release::files::{self, FILE_MODE};
use cairn_release::key_list::{KEYS_NAME, KeyList, Revocation, SignedRelease};
use cairn_release::keys::{self, SigningKey};
use cairn_release::site::MINISIGN_KEY_NAME;
use cairn_release::verify;
use clap::{Args, Subcommand};

#[derive(Subcommand)]
pub(crate) enum Keys {
    /// Begin the list: the key that signs releases, and the next one.
    Begin(Naming),
    /// Go on to the next key, whose secret half names the one after it.
    Rotate(Naming),
    /// Name another next key, because the present one was stolen or lost; the key that signs releases does it.
    ReplaceNext(Replacing),
    /// Revoke a key that signed releases before: after `rotate`, if it was the one that signs.
    Revoke(Revoking),
    /// Print the keys, oldest first.
    Show(Place),
}

#[derive(Args)]
pub(crate) struct Place {
    /// Folder with keys.json and cairn.pub [default: packaging/keys of the tree around the current folder].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Naming {
    #[command(flatten)]
    place: Place,
    /// File with the minisign secret key that signs releases from now on; $CAIRN_RELEASE_KEY_PASSWORD decrypts it.
    #[arg(long, value_name = "FILE")]
    minisign_key: PathBuf,
    /// File with the public half of the key that comes after it.
    #[arg(long, value_name = "FILE")]
    next: PathBuf,
    /// Print what the list would be, and write nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
pub(crate) struct Replacing {
    #[command(flatten)]
    naming: Naming,
    #[command(flatten)]
    why: Why,
}

#[derive(Args)]
pub(crate) struct Revoking {
    #[command(flatten)]
    place: Place,
    /// File with the public half of the key.
    #[arg(long, value_name = "FILE")]
    public_key: PathBuf,
    #[command(flatten)]
    why: Why,
    /// Folder with release.json, and its signature, of a release that the key signed rightly and that stays good; may be
    /// repeated.
    #[arg(long = "release", value_name = "DIR")]
    releases: Vec<PathBuf>,
    /// Print what the list would be, and write nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
struct Why {
    /// The day as YYYY-MM-DD.
    #[arg(long, value_name = "DAY")]
    day: String,
    /// Why the key must not be trusted, in a few words that its users will read.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub(crate) fn run(command: Keys) -> Result<()> {
    match command {
        Keys::Begin(Naming { place, minisign_key, next, dry_run }) => {
            let dir = place.dir()?;
            keys::ensure_new([&*dir.join(KEYS_NAME)])?;
            let (key, public) = (secret(&minisign_key)?, dir.join(MINISIGN_KEY_NAME));
            ensure!(
                !public.exists() || verify::read_key(&public)? == key.public_key(),
                "{} is another key than {}; a key is never overwritten",
                public.display(),
                minisign_key.display()
            );
            write(&dir, &KeyList::begin(&key, &verify::read_key(&next)?)?, dry_run)
        }
        Keys::Rotate(Naming { place, minisign_key, next, dry_run }) => {
            let dir = place.dir()?;
            write(&dir, &read(&dir)?.rotate(&secret(&minisign_key)?, &verify::read_key(&next)?)?, dry_run)
        }
        Keys::ReplaceNext(Replacing { naming: Naming { place, minisign_key, next, dry_run }, why }) => {
            let (dir, key, next) = (place.dir()?, secret(&minisign_key)?, verify::read_key(&next)?);
            write(&dir, &read(&dir)?.replace_next(&key, &next, why.day, why.reason)?, dry_run)
        }
        Keys::Revoke(Revoking { place, public_key, why: Why { day, reason }, releases, dry_run }) => {
            let dir = place.dir()?;
            let key = verify::read_key(&public_key)?;
            let releases = releases.iter().map(|dir| signed_release(dir, &key)).collect::<Result<_>>()?;
            write(&dir, &read(&dir)?.revoke(&key, Revocation { day, reason, releases })?, dry_run)
        }
        Keys::Show(place) => {
            print!("{}", shown(&read(&place.dir()?)?));
            Ok(())
        }
    }
}

impl Place {
    fn dir(self) -> Result<PathBuf> {
        match self.dir {
            Some(dir) => Ok(dir),
            None => Ok(super::root_of(None)?.join("packaging/keys")),
        }
    }
}

fn secret(path: &Path) -> Result<SigningKey> {
    SigningKey::read(path, keys::password_from_environment())
}

fn read(dir: &Path) -> Result<KeyList> {
    KeyList::read(&dir.join(KEYS_NAME)).context("no list of keys; `keys begin` makes one")
}

fn signed_release(dir: &Path, key: &str) -> Result<SignedRelease> {
    let signed = verify::manifest_signed_by(dir, key).with_context(|| dir.display().to_string());
    signed.map(|(manifest, digest)| SignedRelease { version: manifest.version, sha256: digest.sha256 })
}

/// Writes the list and the key that signs releases, and says which keys there are now.
fn write(dir: &Path, list: &KeyList, dry_run: bool) -> Result<()> {
    if !dry_run {
        files::create_folder(dir)?;
        // The list last: a command that was killed before can be given again.
        let public = minisign::PublicKey::from_base64(list.signing())?.to_box()?;
        files::write_bytes(&dir.join(MINISIGN_KEY_NAME), FILE_MODE, &public.to_bytes())?;
        files::write_bytes(&dir.join(KEYS_NAME), FILE_MODE, list.to_json().as_bytes())?;
    }
    print!("{}", shown(list));
    Ok(())
}

/// A line for each key.
fn shown(list: &KeyList) -> String {
    let state = |key: &str| match list.revocation(key) {
        Some(revocation) => format!(
            "revoked on {} ({}); {} releases stay good",
            revocation.day,
            revocation.reason,
            revocation.releases.len()
        ),
        None if key == list.signing() => "signs releases".to_owned(),
        None if key == list.next() => "comes next".to_owned(),
        None => "signed releases before".to_owned(),
    };
    list.keys().iter().map(|key| format!("{}  {}\n", key.public_key, state(&key.public_key))).collect()
}
