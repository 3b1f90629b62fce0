//! `keys.json`: the keys that sign releases, in the order in which they came, and which of them were revoked.
//!
//! The list only grows. Of its keys that are not revoked the last is the next one, and the one before it signs releases. The
//! next key is announced while the one before it still signs, so that whoever has verified a release knows whom later ones
//! may be from. Each key but the first was named by an earlier one: its endorsement is a minisign signature of its text. So
//! one key that a user trusts leads to all later ones, however many releases lie between, and a key that was stolen leads
//! nowhere as soon as a list says so: a revoked key vouches for none.
//!
//! The list itself is a file of each release, signed as any other. Left out: thresholds, and dates on which keys expire.

use std::collections::BTreeSet;
use std::io::Cursor;

use anyhow::{Context, Result, ensure};
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

/// Most bytes of the reason for a revocation, which users are shown.
pub const MAX_REASON_BYTES: usize = 200;

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
        // Nobody has signed for the bytes yet: nothing of them may reach a terminal that could act on it.
        let plain = |text: String| text.chars().filter(|c| !c.is_control()).collect::<String>();
        let list: Self = serde_json::from_slice(bytes).map_err(|e| plain(e.to_string()))?;
        list.check()?;
        Ok(list)
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
        self.with(signing, next)?.without(&lost, Revocation { day, reason, releases: Vec::new() })?.checked()
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
        self.clone().without(key, revocation)?.checked()
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

    fn without(mut self, key: &str, revocation: Revocation) -> Result<Self> {
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

    /// The earlier key whose endorsement the key at this place has.
    fn endorser(&self, at: usize) -> Option<&ReleaseKey> {
        let key = &self.keys[at];
        let signature = Signature::decode(key.endorsement.as_deref()?).ok()?;
        if signature.trusted_comment() != endorsement_comment(&key.public_key) {
            return None;
        }
        let signed_by = |earlier: &&ReleaseKey| {
            let public = PublicKey::from_base64(&earlier.public_key);
            public.is_ok_and(|public| public.verify(key.public_key.as_bytes(), &signature, false).is_ok())
        };
        self.keys[..at].iter().find(signed_by)
    }

    /// The keys that these stand behind: they themselves, those that they named, and so on, but no revoked one and none that
    /// only a revoked one has named.
    #[must_use]
    pub fn vouched_by<'a>(&'a self, trusted: &BTreeSet<&str>) -> BTreeSet<&'a str> {
        let mut vouched = BTreeSet::new();
        for (at, key) in self.keys.iter().enumerate() {
            let named = || self.endorser(at).is_some_and(|by| vouched.contains(by.public_key.as_str()));
            if key.revoked.is_none() && (trusted.contains(key.public_key.as_str()) || named()) {
                vouched.insert(key.public_key.as_str());
            }
        }
        vouched
    }

    /// What is said of the key, if it is revoked.
    #[must_use]
    pub fn revocation(&self, key: &str) -> Option<&Revocation> {
        self.keys.iter().find(|it| it.public_key == key)?.revoked.as_ref()
    }

    /// Whether one of both lists is how the other one began.
    #[must_use]
    pub fn agrees_with(&self, other: &Self) -> bool {
        self.keys.iter().zip(&other.keys).all(|(one, another)| one.public_key == another.public_key)
    }
}

impl Revocation {
    fn check(&self) -> Result<(), String> {
        let Self { day, reason, releases } = self;
        parse_day(day).map_err(|e| e.to_string())?;
        let plain = reason.chars().all(|c| c == ' ' || c.is_ascii_graphic());
        if !plain || reason.trim().is_empty() || reason.len() > MAX_REASON_BYTES {
            return Err(format!("the reason {reason:?} is not a line of 1 to {MAX_REASON_BYTES} ASCII characters"));
        }
        match releases.iter().find(|release| !is_sha256(&release.sha256)) {
            Some(bad) => Err(format!("the sha256 of {:?} is not 64 lower-case hexadecimal digits", bad.version)),
            None => Ok(()),
        }
    }
}

/// What an endorsement says; no signature of a release's file has a comment of this form.
fn endorsement_comment(next: &str) -> String {
    format!("product={PRODUCT} next-key={next}")
}
