//! A release on GitHub, or on what imitates its interface: a draft gets all files and is published last.
//!
//! Its notes are made of the changelog, whose section of the version must be ready for a release. GitHub has no folders:
//! a tree must be flat, such as the site bundle with its sum and signature, and its files stand beside the release's.
//!
//! Only writers see a draft. Files are compared by the digest that the service states, or are downloaded where it states
//! none. A file whose upload broke off is removed before it is sent again; nothing else is ever removed.
//!
//! The service gives some file names another form; such names are refused before anything is sent.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use serde::Deserialize;
use serde_json::json;

use super::client::{Answer, Body, Client, Request, Secret, base_url, encode_path};
use super::{Error, Found, LocalFile, Part, Step, Target, Tree, Verified, compare};
use crate::changelog::{self, Section, Stage};
use crate::digest::{Digest, digest_with};
use crate::manifest::Entry;

/// Environment variables that give credentials.
const HINT: &str = "GITHUB_TOKEN to a token that may write the repository's contents";

/// Version of the interface that this module was written for.
const API_VERSION: &str = "2022-11-28";

/// Releases that are asked for at once: each carries all its files, and an answer must fit into memory.
const RELEASES_PER_PAGE: usize = 20;

/// Files that are asked for at once.
const ASSETS_PER_PAGE: usize = 100;

/// Most pages of a list.
const MAX_PAGES: usize = 100;

/// Most characters of a release's notes.
const MAX_NOTES_CHARS: usize = 125_000;

/// State of a file that is complete.
const UPLOADED: &str = "uploaded";

/// The releases of a repository.
#[derive(Debug, Clone)]
pub struct GitHub {
    base: String,
    repository: String,
    token: Secret,
    client: Client,
    changelog: String,
}

/// A release as the service tells it.
#[derive(Debug, Clone, Deserialize)]
struct Remote {
    id: u64,
    tag_name: String,
    draft: bool,
    #[serde(default)]
    prerelease: bool,
    upload_url: String,
}

/// A file as the service tells it.
#[derive(Debug, Clone, Deserialize)]
struct Asset {
    id: u64,
    name: String,
    state: String,
    size: u64,
    digest: Option<String>,
}

impl GitHub {
    /// The repository `OWNER/NAME` at the interface's address, such as `https://api.github.com`; `changelog` is the text of
    /// the file with the sections of all versions.
    ///
    /// # Errors
    ///
    /// The address or the name is none.
    pub fn new(base: &str, repository: &str, client: Client, token: Secret, changelog: String) -> Result<Self, Error> {
        let plain = |part: &str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) && part != ".."
        };
        if repository.split('/').count() != 2 || !repository.split('/').all(plain) {
            let why = "is not OWNER/NAME of a repository".to_owned();
            return Err(Error::Input { what: repository.to_owned(), why });
        }
        Ok(Self { base: base_url(base)?, repository: repository.to_owned(), token, client, changelog })
    }

    /// What the release says of itself.
    fn notes(&self, release: &Verified) -> Result<String, Error> {
        let version = release.manifest.version.as_str();
        let input = |why: String| Error::Input { what: "the changelog".to_owned(), why };
        let mut violations = changelog::check(&self.changelog, &[], version, Stage::Release);
        let Some(section) = Section::find(&self.changelog, version) else { return Err(input(violations.join("; "))) };
        let asset = |entry: &Entry| {
            let Entry { name, size, sha256, .. } = entry.clone();
            changelog::Asset { name, size, sha256 }
        };
        let assets: Vec<_> = release.manifest.files.iter().map(asset).collect();
        let notes = changelog::release_notes(version, &section, &assets);
        violations.extend(changelog::check_notes(&notes, version, &assets));
        let chars = notes.chars().count();
        if chars > MAX_NOTES_CHARS {
            violations
                .push(format!("the notes have {chars} characters, more than GitHub's {MAX_NOTES_CHARS}; shorten"));
        }
        if violations.is_empty() { Ok(notes) } else { Err(input(violations.join("; "))) }
    }

    /// The files of the release and those of its trees.
    fn files(&self, release: &Verified) -> Result<Vec<LocalFile>, Error> {
        let mut files = release.files.clone();
        for tree in &release.trees {
            let flat = Tree { at: String::new(), ..tree.clone() };
            files.extend(flat.files()?.into_iter().map(|(_, file)| file));
        }
        for file in &files {
            let same = files.iter().filter(|other| other.name == file.name).count();
            let why = if file.name.contains('/') {
                "is in a folder; GitHub has none"
            } else if !keeps_name(&file.name) {
                "GitHub would give this file another name"
            } else if same > 1 {
                "there are two files of this name"
            } else {
                continue;
            };
            return Err(Error::Input { what: file.name.clone(), why: why.to_owned() });
        }
        Ok(files)
    }

    fn request(&self, method: &'static str, rest: &str) -> Request {
        self.dress(Request::new(method, format!("{}/repos/{}/releases{rest}", self.base, self.repository)))
    }

    fn dress(&self, request: Request) -> Request {
        request
            .header("accept", "application/vnd.github+json")
            .header("x-github-api-version", API_VERSION)
            .secret_header("authorization", Secret(format!("Bearer {}", self.token.0)))
    }

    fn send(&self, request: &Request, statuses: &[u16]) -> Result<Answer, Error> {
        self.client.send(request)?.expect(statuses, request, HINT)
    }

    /// A whole list, page by page.
    fn list<T: for<'de> Deserialize<'de>>(&self, rest: &str, per_page: usize) -> Result<Vec<T>, Error> {
        let mut all = Vec::new();
        for page in 1..=MAX_PAGES {
            let request = self.request("GET", &format!("{rest}?per_page={per_page}&page={page}"));
            let items: Vec<T> = parse(&request, &self.send(&request, &[200])?)?;
            let last = items.len() < per_page;
            all.extend(items);
            if last {
                return Ok(all);
            }
        }
        Err(self.request("GET", rest).answer_error(format!("more than {MAX_PAGES} pages")))
    }
}

impl Target for GitHub {
    fn name(&self) -> String {
        format!("{}/{}", self.base, self.repository)
    }

    fn steps<'a>(&'a self, release: &'a Verified) -> Result<Vec<Box<dyn Step + 'a>>, Error> {
        let (files, notes) = (self.files(release)?, self.notes(release)?);
        let tag = format!("v{}", release.manifest.version);
        let releases: Vec<Remote> = self.list("", RELEASES_PER_PAGE)?;
        let mut ours = releases.iter().filter(|remote| remote.tag_name == tag);
        let found = ours.next().cloned();
        if ours.next().is_some() {
            let why = format!("has several releases or drafts for {tag}; remove the drafts that nobody needs");
            return Err(Error::Input { what: Target::name(self), why });
        }
        let latest = is_latest(release, &releases);
        let state = RefCell::new(Known { remote: found, assets: None });
        let names = files.iter().map(|file| file.name.clone()).collect();
        let session = Rc::new(Session { github: self, release, names, notes, tag, latest, state });
        let mut steps: Vec<Box<dyn Step + 'a>> = vec![Box::new(DraftStep(Rc::clone(&session)))];
        for file in files {
            steps.push(Box::new(AssetStep { session: Rc::clone(&session), file }));
        }
        steps.push(Box::new(PublishStep(session)));
        Ok(steps)
    }
}

/// Whether no published release has a higher version.
fn is_latest(release: &Verified, releases: &[Remote]) -> bool {
    let published = releases.iter().filter(|remote| !remote.draft && !remote.prerelease);
    let versions = published.filter_map(|remote| semver::Version::parse(remote.tag_name.strip_prefix('v')?).ok());
    release.version.pre.is_empty() && versions.max().is_none_or(|highest| highest <= release.version)
}

/// Whether the service leaves a file's name as it is.
fn keeps_name(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || "._+-".contains(c))
        && !name.starts_with('.')
        && !name.ends_with('.')
}

/// What the steps of one release share.
struct Session<'a> {
    github: &'a GitHub,
    release: &'a Verified,
    /// Names of all files that it should have.
    names: BTreeSet<String>,
    notes: String,
    tag: String,
    latest: bool,
    state: RefCell<Known>,
}

/// What is known of the release at the service.
struct Known {
    remote: Option<Remote>,
    /// None after something was sent.
    assets: Option<Vec<Asset>>,
}

impl Session<'_> {
    fn remote(&self) -> Option<Remote> {
        self.state.borrow().remote.clone()
    }

    /// The release, which an earlier step made.
    fn made(&self) -> Result<Remote, Error> {
        self.remote().ok_or_else(|| self.damaged(format!("draft {}", self.tag), "is not there"))
    }

    /// All files of the release at the service.
    fn assets(&self) -> Result<Vec<Asset>, Error> {
        let mut state = self.state.borrow_mut();
        let Some(remote) = &state.remote else { return Ok(Vec::new()) };
        if let Some(assets) = &state.assets {
            return Ok(assets.clone());
        }
        let assets: Vec<Asset> = self.github.list(&format!("/{}/assets", remote.id), ASSETS_PER_PAGE)?;
        state.assets = Some(assets.clone());
        Ok(assets)
    }

    fn forget_assets(&self) {
        self.state.borrow_mut().assets = None;
    }

    fn damaged(&self, file: String, why: &str) -> Error {
        Error::Damaged { target: self.github.name(), file, why: why.to_owned() }
    }
}

/// The draft that receives the files.
struct DraftStep<'a>(Rc<Session<'a>>);

impl Step for DraftStep<'_> {
    fn name(&self) -> String {
        format!("draft {}", self.0.tag)
    }

    fn part(&self) -> Part {
        Part::Shared
    }

    fn ask(&self) -> Result<Found, Error> {
        Ok(if self.0.remote().is_some() { Found::Same } else { Found::Missing })
    }

    fn put(&self) -> Result<(), Error> {
        let Session { github, release, tag, notes, .. } = &*self.0;
        let mut content = json!({
            "tag_name": tag,
            "name": format!("{} {}", release.manifest.product, release.manifest.version),
            "body": notes,
            "draft": true,
            "prerelease": !release.version.pre.is_empty(),
        });
        if let Some(commit) = &release.manifest.commit {
            content["target_commitish"] = json!(commit);
        }
        // A second draft would be another one: if the answer is lost, the next run finds the first.
        let request = github.request("POST", "").once().body(Body::Bytes(content.to_string().into_bytes()));
        let remote: Remote = parse(&request, &github.send(&request, &[201])?)?;
        if remote.tag_name != *tag || !remote.draft {
            return Err(request.answer_error("it made something else than a draft of ours"));
        }
        self.0.state.borrow_mut().remote = Some(remote);
        Ok(())
    }
}

/// A file of the release.
struct AssetStep<'a> {
    session: Rc<Session<'a>>,
    file: LocalFile,
}

impl AssetStep<'_> {
    fn found(&self) -> Result<Option<Asset>, Error> {
        Ok(self.session.assets()?.into_iter().find(|asset| asset.name == self.file.name))
    }

    /// What the service says that it has, or what it has.
    fn digest(&self, asset: &Asset) -> Result<Digest, Error> {
        let stated = asset.digest.as_deref().and_then(|digest| digest.strip_prefix("sha256:"));
        if let Some(sha256) = stated {
            return Ok(Digest { size: asset.size, sha256: sha256.to_owned() });
        }
        let github = self.session.github;
        let url = format!("{}/repos/{}/releases/assets/{}", github.base, github.repository, asset.id);
        let request = Request::new("GET", url)
            .header("accept", "application/octet-stream")
            .secret_header("authorization", Secret(format!("Bearer {}", github.token.0)))
            .expecting(asset.size);
        let answer = github.client.send_with(&request, |_, _, reader| digest_with(reader, |_| {}))?;
        match answer.status {
            200 => Ok(answer.body),
            status => Err(request.answer_error(format!("status {status}"))),
        }
    }

    /// Removes what an upload that broke off left in a draft.
    fn remove_stump(&self, remote: &Remote) -> Result<(), Error> {
        if let Some(asset) = self.found()?.filter(|asset| remote.draft && asset.state != UPLOADED) {
            let request = self.session.github.request("DELETE", &format!("/assets/{}", asset.id));
            self.session.github.send(&request, &[204, 404])?;
        }
        Ok(())
    }
}

impl Step for AssetStep<'_> {
    fn name(&self) -> String {
        self.file.name.clone()
    }

    fn part(&self) -> Part {
        Part::File
    }

    fn ask(&self) -> Result<Found, Error> {
        let asset = self.found()?.filter(|asset| asset.state == UPLOADED);
        let found = asset.map(|asset| self.digest(&asset)).transpose()?;
        compare(self.session.github.name(), &self.file.name, found.as_ref(), &self.file.digest)
    }

    fn put(&self) -> Result<(), Error> {
        let (github, remote) = (self.session.github, self.session.made()?);
        self.remove_stump(&remote)?;
        let place = remote.upload_url.split('{').next().unwrap_or_default();
        let request = github
            .dress(Request::new("POST", format!("{place}?name={}", encode_path(&self.file.name))))
            .header("content-type", "application/octet-stream")
            .once()
            .body(Body::File { path: self.file.path.clone(), size: self.file.digest.size });
        self.session.forget_assets();
        let asset: Asset = parse(&request, &github.send(&request, &[201])?)?;
        if asset.name != self.file.name {
            return Err(self.session.damaged(self.file.name.clone(), &format!("was given the name {}", asset.name)));
        }
        Ok(())
    }
}

/// The change from draft to release.
struct PublishStep<'a>(Rc<Session<'a>>);

impl PublishStep<'_> {
    fn check_foreign(&self) -> Result<(), Error> {
        match self.0.assets()?.into_iter().find(|asset| !self.0.names.contains(&asset.name)) {
            Some(asset) => Err(self.0.damaged(asset.name, "is not part of the release")),
            None => Ok(()),
        }
    }
}

impl Step for PublishStep<'_> {
    fn name(&self) -> String {
        format!("release {}", self.0.tag)
    }

    fn part(&self) -> Part {
        Part::Seal
    }

    fn ask(&self) -> Result<Found, Error> {
        self.check_foreign()?;
        let published = self.0.remote().is_some_and(|remote| !remote.draft);
        Ok(if published { Found::Same } else { Found::Missing })
    }

    fn put(&self) -> Result<(), Error> {
        self.check_foreign()?;
        let (github, remote) = (self.0.github, self.0.made()?);
        // The draft may be of an earlier run, with the changelog of then.
        let content = json!({
            "body": self.0.notes,
            "draft": false,
            "prerelease": !self.0.release.version.pre.is_empty(),
            "make_latest": self.0.latest.to_string(),
        });
        let request = github.request("PATCH", &format!("/{}", remote.id));
        let request = request.body(Body::Bytes(content.to_string().into_bytes()));
        let remote: Remote = parse(&request, &github.send(&request, &[200])?)?;
        if remote.draft {
            return Err(request.answer_error("it is still a draft"));
        }
        self.0.state.borrow_mut().remote = Some(remote);
        Ok(())
    }
}

fn parse<T: for<'de> Deserialize<'de>>(request: &Request, answer: &Answer) -> Result<T, Error> {
    serde_json::from_slice(&answer.body).map_err(|e| request.answer_error(e))
}
