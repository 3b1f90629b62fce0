//! `keys.json`: the keys that sign releases, in the order in which they came, and which of them were revoked.
//!
//! The list only grows. Of its keys that are not revoked the last is the next one, and the one before it signs releases. The
//! next key is announced while the one before it still signs, so that whoever has verified a release knows whom later ones
//! may be from. Each key but the first was named by an earlier one: its endorsement is a minisign signature of its text. So
//! one key that a user trusts leads to all later ones, however many releases lie between. What a revoked key leads to is not
//! trusted.
//!
//! The list itself is a file of each release, signed as any other. Left out: thresholds, and dates on which keys expire.

use std::collections::BTreeSet;
use std::fs;
use std::io::Cursor;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use minisign_verify::{PublicKey, Signature};
use serde::{Deserialize, Serialize};

use crate::digest::is_sha256;
use crate::keys::SigningKey;
use crate::plan::PRODUCT;
use crate::support::parse_day;

/// File name of the list.
pub const KEYS_NAME: &str = "keys.json";

/// Version of the form of the list.
const SCHEMA: u32 = 1;

/// Most keys of a list: with one every year, those of two lifetimes.
pub const MAX_KEYS: usize = 128;

/// Most bytes of the reason for a revocation, or of what is wrong with a list: users are shown it.
pub const MAX_REASON_BYTES: usize = 200;

/// Most releases that a revoked key is said to have signed rightly.
pub const MAX_SIGNED_RELEASES: usize = 1000;

/// The content of `keys.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyList {
    /// Version of the form of this document: [`SCHEMA`].
    schema: u32,
    /// Name of the product.
    product: String,
    /// Oldest first, each once, at most [`MAX_KEYS`]; two at least are not revoked.
    keys: Vec<ReleaseKey>,
}

/// A key that signs releases, did so, or will.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseKey {
    /// The key as the second line of minisign's file has it.
    pub public_key: String,
    /// minisign's signature of that line by an earlier key; only the first one has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    endorsement: Option<String>,
    /// Why and since when it must not be trusted, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revocation>,
}

/// That a key must not be trusted any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// The day of the revocation, as YYYY-MM-DD.
    pub day: String,
    /// Why, in a few words of ASCII.
    pub reason: String,
    /// The releases that it signed rightly; they stay good.
    pub releases: Vec<SignedRelease>,
}

/// A release that a key signed before it was stolen or lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedRelease {
    /// Version of the product.
    pub version: String,
    /// SHA-256 of its `release.json`.
    pub sha256: String,
}

impl KeyList {
    /// The first list: a key that signs from now on, and the one that comes next.
    ///
    /// # Errors
    ///
    /// They are one key, or cannot be used.
    pub fn begin(signing: &SigningKey, next: &str) -> Result<Self> {
        let first = ReleaseKey { public_key: signing.public_key(), endorsement: None, revoked: None };
        let list = Self { schema: SCHEMA, product: PRODUCT.to_owned(), keys: vec![first] };
        list.with(signing, next)?.checked()
    }

    /// Reads a list and checks what it says of itself.
    ///
    /// # Errors
    ///
    /// What is wrong with it, as a phrase.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let list: Result<Self, _> = serde_json::from_slice(bytes);
        let checked = list.map_err(|e| e.to_string()).and_then(|list| list.check().map(|()| list));
        // Nobody has signed for the bytes yet: they must not reach a terminal that acts on them, nor fill it.
        checked.map_err(|why| why.chars().filter(|c| is_plain(*c)).take(MAX_REASON_BYTES).collect())
    }

    /// Reads the list in a file that is ours, such as one in the source tree.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or as [`KeyList::parse`].
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&bytes).map_err(|why| anyhow!("{}: {why}", path.display()))
    }

    /// The list as JSON with a line feed at its end.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).expect("a list of keys has only strings and lists");
        json.push('\n');
        json
    }

    /// The keys, oldest first.
    #[must_use]
    pub fn keys(&self) -> &[ReleaseKey] {
        &self.keys
    }

    /// The key that signs releases.
    #[must_use]
    pub fn signing(&self) -> &str {
        self.nth_last(1)
    }

    /// The key that comes after it.
    #[must_use]
    pub fn next(&self) -> &str {
        self.nth_last(0)
    }

    fn nth_last(&self, n: usize) -> &str {
        let valid = self.keys.iter().rev().filter(|key| key.revoked.is_none()).nth(n);
        &valid.expect("every list has two keys that are not revoked").public_key
    }

    /// The list after its next key has become the one that signs; that key's secret half names the one after it.
    ///
    /// # Errors
    ///
    /// `signing` is not the next key, or `next` is in the list or is no key.
    pub fn rotate(&self, signing: &SigningKey, next: &str) -> Result<Self> {
        ensure!(
            signing.public_key() == self.next(),
            "{} is not the next key of the list, {}: only that one may follow",
            signing.public_key(),
            self.next()
        );
        self.with(signing, next)?.checked()
    }

    /// The list with another next key, because the present one was stolen or lost before it signed anything.
    ///
    /// # Errors
    ///
    /// `signing` is not the key that signs releases, or `next` is in the list or is no key.
    pub fn replace_next(&self, signing: &SigningKey, next: &str, day: String, reason: String) -> Result<Self> {
        ensure!(
            signing.public_key() == self.signing(),
            "{} is not the key that signs releases, {}: only that one may name another next key",
            signing.public_key(),
            self.signing()
        );
        let lost = self.next().to_owned();
        self.with(signing, next)?.revoking(&lost, Revocation { day, reason, releases: Vec::new() })?.checked()
    }

    /// The list with a key revoked that signed releases before; what is said of one that is revoked already is replaced.
    ///
    /// # Errors
    ///
    /// The key is not in the list, or is the one that signs now or comes next.
    pub fn revoke(&self, key: &str, revocation: Revocation) -> Result<Self> {
        ensure!(
            key != self.signing(),
            "{key} signs releases: first `keys rotate` to the next key, whose secret is elsewhere"
        );
        ensure!(key != self.next(), "{key} is the next key: `keys replace-next` names another in its place");
        self.clone().revoking(key, revocation)?.checked()
    }

    fn with(&self, by: &SigningKey, next: &str) -> Result<Self> {
        let comment = endorsement_comment(next);
        let signature = minisign::sign(Some(&by.public), &by.secret, Cursor::new(next), Some(&comment), None)
            .context("cannot sign the next key")?;
        let mut list = self.clone();
        let endorsement = Some(signature.to_string());
        list.keys.push(ReleaseKey { public_key: next.to_owned(), endorsement, revoked: None });
        Ok(list)
    }

    fn revoking(mut self, key: &str, revocation: Revocation) -> Result<Self> {
        let found = self.keys.iter_mut().find(|it| it.public_key == key);
        found.with_context(|| format!("{key} is not in the list"))?.revoked = Some(revocation);
        Ok(self)
    }

    fn checked(self) -> Result<Self> {
        self.check().map_err(anyhow::Error::msg)?;
        Ok(self)
    }

    fn check(&self) -> Result<(), String> {
        if self.schema != SCHEMA {
            return Err(format!("its schema is {}, this program reads {SCHEMA}", self.schema));
        }
        if self.product != PRODUCT {
            return Err(format!("its product is {:?}, not {PRODUCT:?}", self.product));
        }
        if self.keys.len() > MAX_KEYS {
            return Err(format!("it has {} keys, {MAX_KEYS} are the most", self.keys.len()));
        }
        let mut seen = BTreeSet::new();
        for (at, key) in self.keys.iter().enumerate() {
            let name = &key.public_key;
            PublicKey::from_base64(name).map_err(|e| format!("{name:?} in it is no minisign key: {e}"))?;
            if !seen.insert(name) {
                return Err(format!("it has the key {name} twice"));
            }
            if at > 0 && self.endorser(at).is_none() {
                return Err(format!("no earlier key of it has named {name}"));
            }
            key.revoked.as_ref().map_or(Ok(()), Revocation::check)?;
        }
        if self.keys.iter().filter(|key| key.revoked.is_none()).count() < 2 {
            return Err("it lacks a key that signs or the next one".to_owned());
        }
        Ok(())
    }

    /// Place of the earlier key that has named the one at this place.
    fn endorser(&self, at: usize) -> Option<usize> {
        let key = &self.keys[at];
        let signature = Signature::decode(key.endorsement.as_deref()?).ok()?;
        if signature.trusted_comment() != endorsement_comment(&key.public_key) {
            return None;
        }
        let signed_by = |earlier: &ReleaseKey| {
            let public = PublicKey::from_base64(&earlier.public_key);
            public.is_ok_and(|public| public.verify(key.public_key.as_bytes(), &signature, false).is_ok())
        };
        self.keys[..at].iter().position(signed_by)
    }

    /// The keys from one of `trusted` to the one that signs releases, each named by the one before it; none if no trusted key
    /// leads there. Revoked ones may be among them.
    #[must_use]
    pub fn path(&self, trusted: &[&str]) -> Option<Vec<&ReleaseKey>> {
        let mut at = self.keys.iter().position(|key| key.public_key == self.signing())?;
        let mut path = vec![&self.keys[at]];
        while !trusted.contains(&self.keys[at].public_key.as_str()) {
            at = self.endorser(at)?;
            path.push(&self.keys[at]);
        }
        path.reverse();
        Some(path)
    }

    /// What is said of the key, if it is revoked.
    #[must_use]
    pub fn revocation(&self, key: &str) -> Option<&Revocation> {
        self.keys.iter().find(|it| it.public_key == key)?.revoked.as_ref()
    }

    /// Whether this is the other list at the same time or later: with all of its keys, and with all of its revocations.
    #[must_use]
    pub fn goes_on_from(&self, other: &Self) -> bool {
        let has = |(ours, theirs): (&ReleaseKey, &ReleaseKey)| {
            ours.public_key == theirs.public_key && (ours.revoked.is_some() || theirs.revoked.is_none())
        };
        self.keys.len() >= other.keys.len() && self.keys.iter().zip(&other.keys).all(has)
    }
}

impl Revocation {
    fn check(&self) -> Result<(), String> {
        let Self { day, reason, releases } = self;
        parse_day(day).map_err(|e| e.to_string())?;
        if !reason.chars().all(is_plain) || reason.trim().is_empty() || reason.len() > MAX_REASON_BYTES {
            return Err(format!("the reason {reason:?} is not a line of 1 to {MAX_REASON_BYTES} ASCII characters"));
        }
        if releases.len() > MAX_SIGNED_RELEASES {
            return Err(format!("it lists {} releases of one key, {MAX_SIGNED_RELEASES} are the most", releases.len()));
        }
        for SignedRelease { version, sha256 } in releases {
            semver::Version::parse(version).map_err(|e| format!("{version:?} in it is no version: {e}"))?;
            if !is_sha256(sha256) {
                return Err(format!("the sha256 of {version} is not 64 lower-case hexadecimal digits"));
            }
        }
        Ok(())
    }
}

fn is_plain(c: char) -> bool {
    c == ' ' || c.is_ascii_graphic()
}

/// What an endorsement says; no signature of a release's file has a comment of this form.
fn endorsement_comment(next: &str) -> String {
    format!("product={PRODUCT} next-key={next}")
}
