//! Whom a verifier trusts: the key that its user gave, and every key that a list of keys adds to it.
//!
//! With the list of a release that was verified before, the user also learns of revocations, and that a release's list is
//! not somebody else's: both must be one list at two times.

use std::collections::BTreeSet;

use crate::key_list::{KEYS_NAME, KeyList, Revocation};
use crate::verify::Refusal;

/// The keys that count for one verification.
#[derive(Debug)]
pub(crate) struct Trust {
    given: String,
    known: Option<KeyList>,
}

impl Trust {
    /// One key, as the second line of minisign's file has it, and nothing else.
    pub(crate) fn in_key(given: String) -> Self {
        Self { given, known: None }
    }

    /// The key and all of a list that the key stands behind.
    pub(crate) fn with_list(self, known: KeyList) -> Self {
        Self { known: Some(known), ..self }
    }

    /// The key that must have signed the release with this list.
    ///
    /// # Errors
    ///
    /// Nothing that is trusted stands behind that key, or the list is not that of the release seen before.
    pub(crate) fn signer<'a>(&self, list: &'a KeyList) -> Result<&'a str, Refusal> {
        let signer = list.signing();
        let trusted: BTreeSet<&str> = match &self.known {
            None => BTreeSet::from([self.given.as_str()]),
            Some(known) if !known.agrees_with(list) => {
                let why = "it is not the list that was given at another time; somebody else made it".to_owned();
                return Err(Refusal::BadKeys { file: KEYS_NAME, why });
            }
            Some(known) => known.keys().iter().map(|key| key.public_key.as_str()).collect(),
        };
        // One that was revoked since counts for what it signed rightly, to which `check_release` holds it.
        let known_before = self.known.is_some() && trusted.contains(signer);
        if known_before || list.vouched_by(&trusted).contains(signer) {
            return Ok(signer);
        }
        let revoked = trusted.iter().find_map(|key| Some((*key, list.revocation(key)?)));
        Err(match revoked {
            Some((key, revocation)) => refusal(
                KEYS_NAME,
                key,
                revocation,
                "it vouches for no other key; get the new one from a source that you trust",
            ),
            None => Refusal::UnknownKey(KEYS_NAME.to_owned()),
        })
    }

    /// Holds a release that a revoked key signed to those that it signed rightly.
    ///
    /// # Errors
    ///
    /// It is none of them.
    pub(crate) fn check_release(&self, signer: &str, manifest: &str, sha256: &str) -> Result<(), Refusal> {
        match self.known.as_ref().and_then(|known| known.revocation(signer)) {
            Some(revocation) if !revocation.releases.iter().any(|release| release.sha256 == sha256) => Err(refusal(
                manifest,
                signer,
                revocation,
                "this is none of the releases that it signed rightly; do not use it",
            )),
            _ => Ok(()),
        }
    }
}

fn refusal(file: &str, key: &str, revocation: &Revocation, what_follows: &'static str) -> Refusal {
    let Revocation { day, reason, .. } = revocation.clone();
    Refusal::RevokedKey { file: file.to_owned(), key: key.to_owned(), day, reason, what_follows }
}
