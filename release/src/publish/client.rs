//! A small HTTP client: deadlines on everything, bounded retries where they are harmless, files streamed.
//!
//! Certificates are checked against the system's (or `SSL_CERT_FILE`'s). Credentials go over TLS or to this machine
//! itself, never elsewhere, never into an error and never along with a redirect to another host.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls_native_certs::CertificateResult;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::Error;

/// Most attempts at a request that may be repeated.
pub(crate) const MAX_ATTEMPTS: u32 = 4;

/// Pause before the second attempt; each further one waits twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Longest time to a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);

/// Longest time of a request without its content.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);

/// Rate below which content counts as stuck.
const MIN_BYTES_PER_SECOND: u64 = 64 << 10;

/// Most bytes of an answer that is kept in memory.
pub(crate) const MAX_ANSWER_BYTES: u64 = 8 << 20;

/// Most characters of an answer that are shown in an error.
const MAX_SHOWN_CHARS: usize = 300;

/// Most redirects that are followed.
const MAX_REDIRECTS: u32 = 5;

/// Something that must not be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub(crate) String);

impl Secret {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The environment's value, if it is set and not empty.
    #[must_use]
    pub fn from_environment(name: &str) -> Option<Self> {
        std::env::var(name).ok().filter(|text| !text.is_empty()).map(Self)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The HTTP client that all network targets use.
#[derive(Debug, Clone)]
pub struct Client {
    agent: Agent,
    first_pause: Duration,
}

/// What a request sends.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    Empty,
    Bytes(Vec<u8>),
    File { path: PathBuf, size: u64 },
}

/// A request that can be sent more than once.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    method: &'static str,
    url: String,
    headers: Vec<(String, String)>,
    secret_headers: Vec<(String, Secret)>,
    body: Body,
    /// Bytes that the answer may have, for the deadline.
    expected_bytes: u64,
    repeatable: bool,
}

impl Request {
    pub(crate) fn new(method: &'static str, url: impl Into<String>) -> Self {
        Self {
            method,
            url: url.into(),
            headers: Vec::new(),
            secret_headers: Vec::new(),
            body: Body::Empty,
            expected_bytes: MAX_ANSWER_BYTES,
            repeatable: true,
        }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn secret_header(mut self, name: &str, value: Secret) -> Self {
        self.secret_headers.push((name.to_owned(), value));
        self
    }

    pub(crate) fn body(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    /// The answer may be this long.
    pub(crate) fn expecting(mut self, bytes: u64) -> Self {
        self.expected_bytes = bytes;
        self
    }

    /// Doing it twice would not be the same as doing it once.
    pub(crate) fn once(mut self) -> Self {
        self.repeatable = false;
        self
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Method and address without the query, which may have tokens of the server's.
    pub(crate) fn shown(&self) -> String {
        format!("{} {}", self.method, self.url.split('?').next().unwrap_or_default())
    }

    fn deadline(&self) -> Duration {
        let sent = match &self.body {
            Body::Empty => 0,
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::File { size, .. } => *size,
        };
        REQUEST_LIMIT + Duration::from_secs((sent + self.expected_bytes) / MIN_BYTES_PER_SECOND)
    }

    fn unreachable(&self, why: impl fmt::Display) -> Error {
        Error::Unreachable { request: self.shown(), why: why.to_string() }
    }

    /// The error for an answer that makes no sense.
    pub(crate) fn answer_error(&self, why: impl fmt::Display) -> Error {
        Error::Answer { request: self.shown(), why: why.to_string() }
    }
}

/// Status and headers of an answer, with what was read of it.
#[derive(Debug)]
pub(crate) struct Answer<T = Vec<u8>> {
    pub(crate) status: u16,
    headers: ureq::http::HeaderMap,
    pub(crate) body: T,
}

impl<T> Answer<T> {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Answer {
    /// Accepts these statuses only; `hint` names the variables that give credentials.
    pub(crate) fn expect(self, statuses: &[u16], request: &Request, hint: &'static str) -> Result<Self, Error> {
        match self.status {
            status if statuses.contains(&status) => Ok(self),
            status @ (401 | 403) => Err(Error::Denied { request: request.shown(), status, hint }),
            status => {
                let text = String::from_utf8_lossy(&self.body);
                let said: String = text.chars().filter(|c| !c.is_control()).take(MAX_SHOWN_CHARS).collect();
                Err(request.answer_error(format!("status {status} {said}").trim_end()))
            }
        }
    }
}

impl Client {
    /// A client that trusts the system's certificates.
    #[must_use]
    pub fn new() -> Self {
        // A machine without certificates can still publish to itself; for others the handshake fails with a reason.
        Self { agent: agent(&rustls_native_certs::load_native_certs()), first_pause: FIRST_PAUSE }
    }

    /// The same client, which trusts the certificates of a PEM file and no others.
    ///
    /// # Errors
    ///
    /// The file cannot be read or has no certificate.
    pub fn with_certificates(self, path: &Path) -> Result<Self, Error> {
        let found = rustls_native_certs::load_certs_from_paths(Some(path), None);
        if found.certs.is_empty() {
            let why = found.errors.first().map_or("has no certificate".to_owned(), ToString::to_string);
            return Err(Error::Local { path: path.to_owned(), source: io::Error::other(why) });
        }
        Ok(Self { agent: agent(&found), ..self })
    }

    /// The same client with another pause before the second attempt.
    #[must_use]
    pub fn with_first_pause(mut self, pause: Duration) -> Self {
        self.first_pause = pause;
        self
    }

    /// Sends a request and keeps the answer in memory.
    pub(crate) fn send(&self, request: &Request) -> Result<Answer, Error> {
        self.send_with(request, |_, _, reader| read_bounded(reader))
    }

    /// Sends a request and hands status, length and content to `read`, which starts anew at each attempt.
    pub(crate) fn send_with<T>(
        &self,
        request: &Request,
        mut read: impl FnMut(u16, Option<u64>, &mut dyn Read) -> io::Result<T>,
    ) -> Result<Answer<T>, Error> {
        check_confidential(request)?;
        let attempts = if request.repeatable { MAX_ATTEMPTS } else { 1 };
        let mut attempt = 1;
        loop {
            let failed = match self.send_once(request, &mut read) {
                Ok(answer) if attempt == attempts || !is_passing(answer.status) => {
                    return if is_passing(answer.status) {
                        Err(request.unreachable(format!("status {}", answer.status)))
                    } else {
                        Ok(answer)
                    };
                }
                Ok(_) => None,
                Err(e) => Some(e),
            };
            if attempt == attempts || matches!(failed, Some(Error::Local { .. })) {
                return Err(failed.unwrap_or_else(|| request.unreachable("no answer")));
            }
            thread::sleep(self.first_pause * 2_u32.pow(attempt - 1));
            attempt += 1;
        }
    }

    fn send_once<T>(
        &self,
        request: &Request,
        read: &mut impl FnMut(u16, Option<u64>, &mut dyn Read) -> io::Result<T>,
    ) -> Result<Answer<T>, Error> {
        let mut builder = ureq::http::Request::builder().method(request.method).uri(&request.url);
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        for (name, value) in &request.secret_headers {
            builder = builder.header(name, &value.0);
        }
        let bad = |e: ureq::http::Error| request.answer_error(e);
        let sent = match &request.body {
            Body::Empty if matches!(request.method, "GET" | "HEAD") => {
                self.run(request, builder.body(()).map_err(bad)?)
            }
            Body::Empty => self.run(request, builder.body(Vec::new()).map_err(bad)?),
            Body::Bytes(bytes) => self.run(request, builder.body(bytes.as_slice()).map_err(bad)?),
            Body::File { path, .. } => {
                let file = File::open(path).map_err(|source| Error::Local { path: path.clone(), source })?;
                self.run(request, builder.body(file).map_err(bad)?)
            }
        };
        let response = sent.map_err(|e| request.unreachable(e))?;
        let (parts, body) = response.into_parts();
        let status = parts.status.as_u16();
        let body = read(status, body.content_length(), &mut body.into_reader()).map_err(|e| request.unreachable(e))?;
        Ok(Answer { status, headers: parts.headers, body })
    }

    fn run<S: ureq::AsSendBody>(
        &self,
        request: &Request,
        built: ureq::http::Request<S>,
    ) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        // On a redirect the library drops `authorization` but no other header.
        let foreign_secret = request.secret_headers.iter().any(|(name, _)| name != "authorization");
        let configured = self
            .agent
            .configure_request(built)
            .timeout_global(Some(request.deadline()))
            .max_redirects(if foreign_secret { 0 } else { MAX_REDIRECTS })
            .max_redirects_will_error(!foreign_secret)
            .build();
        self.agent.run(configured)
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

fn agent(trusted: &CertificateResult) -> Agent {
    let roots: Vec<_> = trusted.certs.iter().map(|found| Certificate::from_der(found.as_ref()).to_owned()).collect();
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::new_with_certs(&roots))
        .build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .max_redirects(MAX_REDIRECTS)
        .user_agent("cairn-release")
        .timeout_connect(Some(CONNECT_LIMIT))
        .build();
    config.into()
}

/// Reads an answer that must fit into memory.
pub(crate) fn read_bounded(reader: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(MAX_ANSWER_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_ANSWER_BYTES {
        return Err(io::Error::other(format!("the answer has more than {MAX_ANSWER_BYTES} bytes")));
    }
    Ok(bytes)
}

/// Whether the status is of a failure that may pass by itself.
fn is_passing(status: u16) -> bool {
    matches!(status, 429 | 500 | 502 | 503 | 504)
}

/// Credentials must not travel in the clear.
fn check_confidential(request: &Request) -> Result<(), Error> {
    if request.secret_headers.is_empty() || is_confidential(&request.url) {
        return Ok(());
    }
    let why = "credentials would be sent in the clear; use https".to_owned();
    Err(Error::Input { what: request.shown(), why })
}

/// Whether nobody else hears what is sent to this address.
pub(crate) fn is_confidential(url: &str) -> bool {
    let Ok(uri) = url.parse::<ureq::http::Uri>() else { return false };
    let local = matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
    uri.scheme_str() == Some("https") || (uri.scheme_str() == Some("http") && local)
}

/// Percent-encodes a path as RFC 3986 has it; only letters, digits, `-._~` and the slash stay.
pub(crate) fn encode_path(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                encoded.push(char::from(byte))
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// An address without the slashes at its end, of a scheme that we speak.
pub(crate) fn base_url(text: &str) -> Result<String, Error> {
    let bad = |why: &str| Error::Input { what: text.to_owned(), why: why.to_owned() };
    let uri: ureq::http::Uri = text.parse().map_err(|_| bad("is not an address"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
        return Err(bad("is not an address with http:// or https:// and a host"));
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) || uri.query().is_some() {
        // The text of the error must not repeat what may be a password.
        let what = "the target's address".to_owned();
        return Err(Error::Input {
            what,
            why: "has a user or a query; credentials come from the environment".to_owned(),
        });
    }
    Ok(text.trim_end_matches('/').to_owned())
}
