//! Whom a verifier trusts: one key, or a list of keys that the user has verified before or has from a source that is trusted.
//!
//! A key leads to the keys that followed it, as far as a release's own list is right about them. A list also knows which
//! keys were revoked, and that a release's list which does not go on from it is somebody else's.

use crate::key_list::{KEYS_NAME, KeyList, ReleaseKey, Revocation};
use crate::manifest::MANIFEST_NAME;
use crate::verify::Refusal;

/// What the user brings.
#[derive(Debug)]
pub(crate) enum Trust {
    /// A key, as the second line of minisign's file has it.
    Key(String),
    /// A list, which needs no signature.
    List(KeyList),
}

impl Trust {
    /// Whether it leads to the key that signs releases by a list of which only the form is known: then that key's signature
    /// is worth looking at. Revocations in the list do not count before it has been.
    ///
    /// # Errors
    ///
    /// It leads to another key, or the list contradicts the user's.
    pub(crate) fn leads_to<'a>(&self, list: &'a KeyList) -> Result<Vec<&'a ReleaseKey>, Refusal> {
        let path = match self {
            Self::Key(key) => list.path(&[key]),
            // An earlier list says nothing that the user's does not say better.
            Self::List(known) if known.goes_on_from(list) => return Ok(Vec::new()),
            Self::List(known) if list.goes_on_from(known) => list.path(&[known.signing(), known.next()]),
            Self::List(_) => {
                let why = "it does not go on from the list that you trust, nor that from it: somebody else made it";
                return Err(Refusal::BadKeys { file: KEYS_NAME, why: why.to_owned() });
            }
        };
        path.ok_or_else(|| Refusal::UnknownKey(KEYS_NAME.to_owned()))
    }

    /// Holds a release, whose list is verified, to what is known of the keys that lead to it; `sha256` is that of its manifest.
    ///
    /// # Errors
    ///
    /// One of them is revoked, and the release is none of those that it signed rightly.
    pub(crate) fn check_revocations(&self, path: &[&ReleaseKey], signer: &str, sha256: &str) -> Result<(), Refusal> {
        if let Some((key, revocation)) = path.iter().find_map(|key| Some((key, key.revoked.as_ref()?))) {
            let what_follows =
                "what it leads to is not trusted; get the new key, or its list, from a source that you trust";
            return Err(refusal(KEYS_NAME, &key.public_key, revocation, what_follows));
        }
        let Self::List(known) = self else { return Ok(()) };
        match known.revocation(signer) {
            Some(revocation) if !revocation.releases.iter().any(|release| release.sha256 == sha256) => {
                let what_follows = "this is none of the releases that it signed rightly; do not use it";
                Err(refusal(MANIFEST_NAME, signer, revocation, what_follows))
            }
            _ => Ok(()),
        }
    }
}

fn refusal(file: &str, key: &str, revocation: &Revocation, what_follows: &'static str) -> Refusal {
    let (day, reason) = (revocation.day.clone(), revocation.reason.clone());
    Refusal::RevokedKey { file: file.to_owned(), key: key.to_owned(), day, reason, what_follows }
}
