//! A bucket of an S3-like store, or any server that takes PUT: one object per file of the site.
//!
//! A file is sent with `If-None-Match: *` and a pointer with `If-Match`, so that a store which knows them refuses to
//! replace what another run wrote meanwhile; one that does not still gets asked before each file. The version's objects
//! precede its `release.json`, that precedes the index. Nothing is ever deleted.

use std::time::{SystemTime, UNIX_EPOCH};

use super::client::{Body, Client, Request, Secret, base_url, encode_path, read_bounded};
use super::sigv4::{AwsKey, Canonical, amz_time, signature};
use super::site::{self, Content, Reading, Store};
use super::{Error, LocalFile, Step, Target, Verified};
use crate::digest::digest_with;

/// Environment variables that give credentials.
const HINT: &str = "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION, or CAIRN_PUBLISH_TOKEN";

/// Region of stores that have none.
const DEFAULT_REGION: &str = "us-east-1";

/// How long others may keep what never changes.
const FOREVER: &str = "public, max-age=31536000, immutable";

/// The same for what may change at any time.
const ASK_AGAIN: &str = "no-cache";

/// Most bytes that a single file of a site is expected to have, for the deadline of its download.
const MAX_FILE_BYTES: u64 = 4 << 30;

/// What a bucket wants to know of its writer.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// Nothing.
    None,
    /// A bearer token.
    Bearer(Secret),
    /// An AWS key that signs each request.
    Aws(AwsKey),
}

impl Credentials {
    /// What the environment gives: the AWS variables, else `CAIRN_PUBLISH_TOKEN`, else nothing.
    #[must_use]
    pub fn from_environment() -> Self {
        let text = |name| Secret::from_environment(name).map(|secret| secret.0);
        if let (Some(id), Some(secret)) = (text("AWS_ACCESS_KEY_ID"), Secret::from_environment("AWS_SECRET_ACCESS_KEY"))
        {
            let region = text("AWS_REGION").or_else(|| text("AWS_DEFAULT_REGION"));
            let region = region.unwrap_or_else(|| DEFAULT_REGION.to_owned());
            return Self::Aws(AwsKey { id, secret, session: Secret::from_environment("AWS_SESSION_TOKEN"), region });
        }
        Secret::from_environment("CAIRN_PUBLISH_TOKEN").map_or(Self::None, Self::Bearer)
    }
}

/// A site in a bucket.
#[derive(Debug, Clone)]
pub struct Bucket {
    base: String,
    client: Client,
    credentials: Credentials,
}

impl Bucket {
    /// The site below an address, such as `https://s3.example.org/bucket/prefix`.
    ///
    /// # Errors
    ///
    /// It is no address.
    pub fn new(base: &str, client: Client, credentials: Credentials) -> Result<Self, Error> {
        Ok(Self { base: base_url(base)?, client, credentials })
    }

    fn request(&self, method: &'static str, path: &str, payload_sha256: &str) -> Request {
        let url = format!("{}/{}", self.base, encode_path(path));
        let request = Request::new(method, url);
        match &self.credentials {
            Credentials::None => request,
            Credentials::Bearer(Secret(token)) => {
                request.secret_header("authorization", Secret(format!("Bearer {token}")))
            }
            Credentials::Aws(key) => sign(request, method, key, &amz_time(now()), payload_sha256),
        }
    }

    fn get(&self, path: &str, expected_bytes: u64, read: &mut Reading<'_>) -> Result<Option<String>, Error> {
        let request = self.request("GET", path, &sha256(&[])).expecting(expected_bytes);
        let answer = self.client.send_with(&request, |status, length, reader| match status {
            200 => read(length, reader).map(|()| Vec::new()),
            _ => read_bounded(reader),
        })?;
        let answer = answer.expect(&[200, 404], &request, HINT)?;
        Ok((answer.status == 200).then(|| answer.header("etag").unwrap_or_default().to_owned()))
    }

    /// Sends an object on a condition; false if the condition does not hold.
    fn put(&self, path: &str, content: &Content<'_>, condition: (&str, &str), caching: &str) -> Result<bool, Error> {
        let (sha256, body) = match content {
            Content::Bytes(bytes) => (sha256(bytes), Body::Bytes(bytes.clone())),
            Content::File(file) => {
                (file.digest.sha256.clone(), Body::File { path: file.path.clone(), size: file.digest.size })
            }
        };
        let request = self
            .request("PUT", path, &sha256)
            .header("content-type", media_type(path))
            .header("cache-control", caching)
            .body(body);
        let conditional = match condition {
            (_, "") => request.clone(),
            (name, value) => request.clone().header(name, value),
        };
        let mut answer = self.client.send(&conditional)?;
        if answer.status == 501 {
            // The store knows no conditions; it was asked a moment ago.
            answer = self.client.send(&request)?;
        }
        let answer = answer.expect(&[200, 201, 204, 409, 412], &request, HINT)?;
        Ok(!matches!(answer.status, 409 | 412))
    }
}

impl Target for Bucket {
    fn name(&self) -> String {
        self.base.clone()
    }

    fn steps<'a>(&'a self, release: &'a Verified) -> Result<Vec<Box<dyn Step + 'a>>, Error> {
        site::steps(self, release)
    }
}

impl Store for Bucket {
    fn name(&self) -> String {
        self.base.clone()
    }

    fn read_with(&self, path: &str, read: &mut Reading<'_>) -> Result<bool, Error> {
        Ok(self.get(path, MAX_FILE_BYTES, read)?.is_some())
    }

    fn create(&self, path: &str, file: &LocalFile) -> Result<bool, Error> {
        self.put(path, &Content::File(file), ("if-none-match", "*"), FOREVER)
    }

    fn read_marked(&self, path: &str) -> Result<Option<(Vec<u8>, String)>, Error> {
        let mut bytes = Vec::new();
        let mark = self.get(path, 0, &mut |_, reader| {
            bytes = read_bounded(reader)?;
            Ok(())
        })?;
        Ok(mark.map(|mark| (bytes, mark)))
    }

    fn replace(&self, path: &str, content: &Content<'_>, mark: Option<&str>) -> Result<bool, Error> {
        // Without an ETag there is nothing to compare with.
        let condition = mark.map_or(("if-none-match", "*"), |mark| ("if-match", mark));
        self.put(path, content, condition, ASK_AGAIN)
    }
}

/// Adds the headers of AWS's signature.
fn sign(request: Request, method: &str, key: &AwsKey, time: &str, payload_sha256: &str) -> Request {
    let uri: ureq::http::Uri = request.url().parse().unwrap_or_default();
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let mut headers = vec![
        ("host".to_owned(), host.to_owned()),
        ("x-amz-content-sha256".to_owned(), payload_sha256.to_owned()),
        ("x-amz-date".to_owned(), time.to_owned()),
    ];
    if let Some(Secret(token)) = &key.session {
        headers.push(("x-amz-security-token".to_owned(), token.clone()));
    }
    let canonical = Canonical { method, path: uri.path(), query: "", headers: &headers, payload_sha256 };
    let mut request = request
        .header("x-amz-content-sha256", payload_sha256)
        .header("x-amz-date", time)
        .secret_header("authorization", Secret(signature(key, time, &canonical)));
    if let Some(token) = &key.session {
        request = request.secret_header("x-amz-security-token", token.clone());
    }
    request
}

/// A signature is good for some minutes only. No artifact depends on this clock.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

fn sha256(bytes: &[u8]) -> String {
    digest_with(bytes, |_| {}).expect("bytes in memory can be read").sha256
}

/// What a browser should take an object for.
fn media_type(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or(path);
    match name.rsplit_once('.') {
        Some((_, "json")) => "application/json",
        Some((_, "html")) => "text/html; charset=utf-8",
        Some((_, "xml")) => "application/xml",
        Some((_, "sh" | "txt" | "minisig" | "asc")) | None => "text/plain; charset=utf-8",
        Some(_) => "application/octet-stream",
    }
}
