//! A container registry that speaks the OCI distribution protocol.
//!
//! Blobs go first, manifests by digest after what they refer to, the tag last; the tag is the version and is never
//! moved. Manifests about an image (its SBOMs) are found through the referrers interface; for a registry that has
//! none, the list under the tag `sha256-…` is kept, as the specification demands of clients.
//!
//! Left out: tags that move (`latest`), uploads in pieces, mounting blobs from other repositories.

use serde_json::{Value, json};

use super::client::{Answer, Body, Client, Request, Secret, base_url};
use super::layout::{ImageManifest, Layout};
use super::token::Tokens;
use super::{Error, Found, LocalFile, Part, Step, Target, Verified, compare};
use crate::digest::{Digest, digest_with};

/// Environment variables that give credentials.
pub(crate) const HINT: &str = "CAIRN_REGISTRY_USER and CAIRN_REGISTRY_PASSWORD, or CAIRN_REGISTRY_TOKEN";

/// Media type of an image index.
const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";

/// Media type of an image manifest.
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// Most characters of a tag.
const MAX_TAG_CHARS: usize = 128;

/// What a registry wants to know of its writer.
#[derive(Debug, Clone)]
pub enum Login {
    /// Nothing.
    Anonymous,
    /// A user with a password, as is or in exchange for a token, whichever the registry asks for.
    Basic {
        /// Name of the user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A bearer token that was had elsewhere.
    Token(Secret),
}

impl Login {
    /// What the environment gives: `CAIRN_REGISTRY_TOKEN`, else user and password, else nothing.
    #[must_use]
    pub fn from_environment() -> Self {
        if let Some(token) = Secret::from_environment("CAIRN_REGISTRY_TOKEN") {
            return Self::Token(token);
        }
        let user = Secret::from_environment("CAIRN_REGISTRY_USER");
        match (user, Secret::from_environment("CAIRN_REGISTRY_PASSWORD")) {
            (Some(Secret(user)), Some(password)) => Self::Basic { user, password },
            _ => Self::Anonymous,
        }
    }
}

/// A repository of a registry.
#[derive(Debug)]
pub struct Registry {
    base: String,
    repository: String,
    client: Client,
    tokens: Tokens,
}

impl Registry {
    /// The repository of the registry at an address, such as `cairn/cairnd` at `https://registry.example`.
    ///
    /// # Errors
    ///
    /// The address or the name is none.
    pub fn new(base: &str, repository: &str, client: Client, login: Login) -> Result<Self, Error> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "/._-".contains(c);
        if repository.is_empty() || !repository.chars().all(plain) || repository.split('/').any(str::is_empty) {
            let why = "is not the name of a repository".to_owned();
            return Err(Error::Input { what: repository.to_owned(), why });
        }
        let tokens = Tokens::new(login, repository);
        Ok(Self { base: base_url(base)?, repository: repository.to_owned(), client, tokens })
    }

    fn request(&self, method: &'static str, rest: &str) -> Request {
        Request::new(method, format!("{}/v2/{}/{rest}", self.base, self.repository))
    }

    /// Sends with the credentials that the registry asks for.
    fn send(&self, request: &Request, statuses: &[u16]) -> Result<Answer, Error> {
        let mut answer = self.client.send(&self.tokens.authorize(request.clone()))?;
        if answer.status == 401 {
            let challenge = answer.header("www-authenticate").unwrap_or_default().to_owned();
            if self.tokens.answer(&self.client, &challenge)? {
                answer = self.client.send(&self.tokens.authorize(request.clone()))?;
            }
        }
        answer.expect(statuses, request, HINT)
    }

    /// A manifest's bytes by tag or digest.
    fn manifest(&self, reference: &str) -> Result<Option<Vec<u8>>, Error> {
        let accept = format!("{INDEX_TYPE}, {MANIFEST_TYPE}");
        let request = self.request("GET", &format!("manifests/{reference}")).header("accept", accept);
        let answer = self.send(&request, &[200, 404])?;
        Ok((answer.status == 200).then_some(answer.body))
    }

    fn put_manifest(&self, reference: &str, media_type: &str, body: Body) -> Result<Answer, Error> {
        let request = self.request("PUT", &format!("manifests/{reference}")).header("content-type", media_type);
        self.send(&request.body(body), &[201])
    }
}

impl Target for Registry {
    fn name(&self) -> String {
        format!("{}/{}", self.base, self.repository)
    }

    fn steps<'a>(&'a self, release: &'a Verified) -> Result<Vec<Box<dyn Step + 'a>>, Error> {
        let input = |why: &str| Error::Input { what: Target::name(self), why: why.to_owned() };
        let dir = release.layout.as_deref().ok_or_else(|| input("needs an OCI image layout"))?;
        let tag = release.manifest.version.clone();
        if tag.len() > MAX_TAG_CHARS || tag.contains('+') {
            return Err(input("the version cannot be a tag: it is too long or has a '+'"));
        }
        let layout = Layout::read(dir, &tag)?;
        // The layout has no signature of its own.
        let signed = release.manifest.images.iter().find(|image| image.tag == tag);
        if let Some(signed) = signed.filter(|signed| signed.digest != layout.top) {
            let why = format!("{} is {}, and release.json names {}", dir.display(), layout.top, signed.digest);
            return Err(input(&format!("the image layout is not the release's: {why}")));
        }
        let mut steps: Vec<Box<dyn Step + 'a>> = Vec::new();
        for file in layout.blobs {
            steps.push(Box::new(BlobStep { registry: self, file }));
        }
        let top = layout.manifests.iter().find(|manifest| manifest.file.name == layout.top).cloned();
        for manifest in &layout.manifests {
            let reference = manifest.file.name.clone();
            steps.push(Box::new(ManifestStep {
                registry: self,
                manifest: manifest.clone(),
                reference,
                part: Part::File,
            }));
        }
        for manifest in layout.manifests {
            if let Some(subject) = manifest.subject.clone() {
                steps.push(Box::new(ReferrerStep { registry: self, manifest, subject }));
            }
        }
        if let Some(manifest) = top {
            steps.push(Box::new(ManifestStep { registry: self, manifest, reference: tag, part: Part::Seal }));
        }
        Ok(steps)
    }
}

/// A configuration or layer.
struct BlobStep<'a> {
    registry: &'a Registry,
    file: LocalFile,
}

impl Step for BlobStep<'_> {
    fn name(&self) -> String {
        format!("blob {}", self.file.name)
    }

    fn part(&self) -> Part {
        Part::File
    }

    fn ask(&self) -> Result<Found, Error> {
        // A registry checks a blob against its digest when it takes it, so its name says what its bytes are.
        let request = self.registry.request("HEAD", &format!("blobs/{}", self.file.name));
        let answer = self.registry.send(&request, &[200, 404])?;
        Ok(if answer.status == 200 { Found::Same } else { Found::Missing })
    }

    fn put(&self) -> Result<(), Error> {
        let registry = self.registry;
        let start = registry.request("POST", "blobs/uploads/");
        let answer = registry.send(&start, &[202])?;
        let location = answer.header("location").ok_or_else(|| start.answer_error("no location to send to"))?;
        let location = within(&registry.base, location).ok_or_else(|| start.answer_error("a foreign location"))?;
        let joint = if location.contains('?') { '&' } else { '?' };
        let request = Request::new("PUT", format!("{location}{joint}digest={}", self.file.name))
            .header("content-type", "application/octet-stream")
            // A session is used up by the first attempt; the next run starts another.
            .once()
            .body(Body::File { path: self.file.path.clone(), size: self.file.digest.size });
        registry.send(&request, &[201]).map(drop)
    }
}

/// An upload's address on the same server: nobody else gets the credentials.
fn within(base: &str, location: &str) -> Option<String> {
    let origin: ureq::http::Uri = base.parse().ok()?;
    if location.starts_with('/') {
        return Some(format!("{}://{}{location}", origin.scheme_str()?, origin.authority()?));
    }
    let uri: ureq::http::Uri = location.parse().ok()?;
    (uri.scheme() == origin.scheme() && uri.authority() == origin.authority()).then(|| location.to_owned())
}

/// A manifest or index, by digest or by tag.
struct ManifestStep<'a> {
    registry: &'a Registry,
    manifest: ImageManifest,
    reference: String,
    part: Part,
}

impl Step for ManifestStep<'_> {
    fn name(&self) -> String {
        match self.part {
            Part::Seal => format!("tag {}", self.reference),
            Part::File | Part::Shared => format!("manifest {}", self.reference),
        }
    }

    fn part(&self) -> Part {
        self.part
    }

    fn ask(&self) -> Result<Found, Error> {
        let found = self.registry.manifest(&self.reference)?.map(|bytes| digest(&bytes));
        compare(self.registry.name(), &self.name(), found.as_ref(), &self.manifest.file.digest)
    }

    fn put(&self) -> Result<(), Error> {
        let ImageManifest { file, media_type, .. } = &self.manifest;
        // The protocol cannot set a tag on a condition, so it is asked for as late as possible.
        if self.part == Part::Seal && self.ask()? == Found::Same {
            return Ok(());
        }
        let body = Body::File { path: file.path.clone(), size: file.digest.size };
        self.registry.put_manifest(&self.reference, media_type, body).map(drop)
    }
}

/// The entry in the list of what is about an image, for a registry that keeps no such list itself.
struct ReferrerStep<'a> {
    registry: &'a Registry,
    manifest: ImageManifest,
    subject: String,
}

impl ReferrerStep<'_> {
    fn tag(&self) -> String {
        self.subject.replace(':', "-")
    }

    /// The list with our entry; none if it is in it, or if the registry keeps the list.
    fn updated(&self) -> Result<Option<Value>, Error> {
        let request = self.registry.request("GET", &format!("referrers/{}", self.subject));
        let request = request.header("accept", INDEX_TYPE);
        let answer = self.registry.send(&request, &[200, 404])?;
        if answer.status == 200 {
            return Ok(None);
        }
        let mut list = match self.registry.manifest(&self.tag())? {
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|e| request.answer_error(e))?,
            None => json!({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": []}),
        };
        let entries = list.get_mut("manifests").and_then(Value::as_array_mut);
        let entries = entries.ok_or_else(|| request.answer_error("the list under its tag is none"))?;
        if entries.iter().any(|entry| entry.get("digest").and_then(Value::as_str) == Some(&self.manifest.file.name)) {
            return Ok(None);
        }
        entries.push(self.entry());
        Ok(Some(list))
    }

    fn entry(&self) -> Value {
        let ImageManifest { file, media_type, artifact_type, annotations, .. } = &self.manifest;
        let mut entry = json!({"mediaType": media_type, "digest": file.name, "size": file.digest.size});
        if let Some(kind) = artifact_type {
            entry["artifactType"] = json!(kind);
        }
        if let Some(annotations) = annotations {
            entry["annotations"] = annotations.clone();
        }
        entry
    }
}

impl Step for ReferrerStep<'_> {
    fn name(&self) -> String {
        format!("referrer {} of {}", self.manifest.file.name, self.subject)
    }

    fn part(&self) -> Part {
        Part::Shared
    }

    fn ask(&self) -> Result<Found, Error> {
        Ok(if self.updated()?.is_some() { Found::Missing } else { Found::Same })
    }

    fn put(&self) -> Result<(), Error> {
        let Some(list) = self.updated()? else { return Ok(()) };
        self.registry.put_manifest(&self.tag(), INDEX_TYPE, Body::Bytes(list.to_string().into_bytes())).map(drop)
    }
}

fn digest(bytes: &[u8]) -> Digest {
    digest_with(bytes, |_| {}).expect("bytes in memory can be read")
}
