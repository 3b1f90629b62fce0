//! The GitHub release: a small server that behaves as the documentation of the service says. Never run against the real
//! one.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex};

use cairn_release::digest::digest_with;
use cairn_release::publish::{Error, GitHub, Secret, Step, Target, Verified};
use serde_json::{Value, json};

use crate::fixture::{Made, Maker, VERSION, cairn_release, client, contents, kill_everywhere, said, write};
use crate::server::{Got, Reply, Server};

const TOKEN: &str = "hunter2";

const CHANGELOG: &str = "\
# Changes

## 2.0.0 (2031-01-02)

- A change of 2.0.0.

### Upgrade

Nothing to do.

### Downgrade

Nothing to do.

### Known issues

None.
";

/// The changelog of all versions that tests publish.
fn changelog() -> String {
    let section = CHANGELOG.strip_prefix("# Changes\n").unwrap();
    let versions = ["2.0.0", "2.0.0-rc.1", "1.3.0", "1.2.4", VERSION];
    format!("# Changes\n{}", versions.map(|version| section.replace("2.0.0", version)).join(""))
}

/// The repository at a server, for a token and a changelog.
fn target(server: &Server, changelog: &str) -> GitHub {
    GitHub::new(&server.url, "cairn/cairn", client(), Secret::new(TOKEN), changelog.to_owned()).unwrap()
}

struct Asset {
    id: usize,
    release: usize,
    name: String,
    complete: bool,
    bytes: Vec<u8>,
}

/// What the service knows.
#[derive(Default)]
struct Repository {
    url: String,
    /// Tag, draft, and the last settings.
    releases: BTreeMap<usize, (String, bool, Value)>,
    assets: Vec<Asset>,
    next: usize,
    /// Older instances state no digest.
    without_digests: bool,
}

impl Repository {
    fn release(&self, id: usize) -> Value {
        let (tag, draft, settings) = &self.releases[&id];
        json!({"id": id, "tag_name": tag, "draft": draft, "prerelease": settings["prerelease"],
            "upload_url": format!("{}/upload/{id}/assets{{?name,label}}", self.url)})
    }

    fn asset(&self, asset: &Asset) -> Value {
        let sha256 = digest_with(asset.bytes.as_slice(), |_| {}).unwrap().sha256;
        let digest = (!self.without_digests).then(|| format!("sha256:{sha256}"));
        let state = if asset.complete { "uploaded" } else { "starter" };
        json!({"id": asset.id, "name": asset.name, "state": state, "size": asset.bytes.len(), "digest": digest})
    }

    fn answer(&mut self, got: &Got) -> Reply {
        assert_eq!(got.header("authorization"), Some("Bearer hunter2"));
        let json = |status, value: Value| Reply::new(status, value.to_string());
        let path = got.path.split('?').next().unwrap();
        let rest = path.trim_start_matches("/repos/cairn/cairn/releases").trim_start_matches('/').to_owned();
        let parts: Vec<_> = rest.split('/').collect();
        let page = |all: Vec<Value>| {
            let number = |name| got.parameter(name).unwrap().parse::<usize>().unwrap();
            let (per_page, page) = (number("per_page"), number("page"));
            json(200, all.into_iter().skip(per_page * (page - 1)).take(per_page).collect())
        };
        match (got.method.as_str(), parts.as_slice()) {
            ("GET", [""]) => page(self.releases.keys().rev().map(|id| self.release(*id)).collect()),
            ("POST", [""]) => {
                let body: Value = serde_json::from_slice(&got.body).unwrap();
                self.next += 1;
                let tag = body["tag_name"].as_str().unwrap().to_owned();
                assert_eq!(body["draft"], true);
                self.releases.insert(self.next, (tag, true, body));
                json(201, self.release(self.next))
            }
            ("GET", [id, "assets"]) => {
                let id: usize = id.parse().unwrap();
                page(self.assets.iter().filter(|asset| asset.release == id).map(|asset| self.asset(asset)).collect())
            }
            ("GET", ["assets", id]) => {
                let found = self.assets.iter().find(|asset| asset.id.to_string() == *id).unwrap();
                assert_eq!(got.header("accept"), Some("application/octet-stream"));
                Reply::new(200, found.bytes.clone())
            }
            ("DELETE", ["assets", id]) => {
                let at = self.assets.iter().position(|asset| asset.id.to_string() == *id).unwrap();
                assert!(!self.assets[at].complete, "a whole file must never be removed");
                self.assets.remove(at);
                Reply::new(204, "")
            }
            ("POST", ["upload", id, "assets"]) => self.upload(id.parse().unwrap(), got),
            ("PATCH", [id]) => {
                let id: usize = id.parse().unwrap();
                let body: Value = serde_json::from_slice(&got.body).unwrap();
                let release = self.releases.get_mut(&id).unwrap();
                (release.1, release.2) = (body["draft"].as_bool().unwrap(), body);
                json(200, self.release(id))
            }
            _ => panic!("not in the documentation: {} {}", got.method, got.path),
        }
    }

    fn upload(&mut self, release: usize, got: &Got) -> Reply {
        assert!(self.releases[&release].1, "a published release is immutable");
        let name = got.parameter("name").unwrap().to_owned();
        if self.assets.iter().any(|asset| asset.release == release && asset.name == name) {
            return Reply::new(422, r#"{"errors": [{"code": "already_exists"}]}"#);
        }
        self.next += 1;
        self.assets.push(Asset { id: self.next, release, name, complete: true, bytes: got.body.clone() });
        Reply::new(201, self.asset(self.assets.last().unwrap()).to_string())
    }
}

struct Service {
    server: Server,
    repository: Arc<Mutex<Repository>>,
    target: GitHub,
}

impl Service {
    fn new() -> Self {
        let repository = Arc::new(Mutex::new(Repository::default()));
        let seen = Arc::clone(&repository);
        let server = Server::start(move |got| seen.lock().unwrap().answer(got));
        repository.lock().unwrap().url.clone_from(&server.url);
        let target = target(&server, &changelog());
        Self { server, repository, target }
    }

    /// The files of a tag's release and whether it is published.
    fn files(&self, tag: &str) -> (bool, BTreeMap<String, Vec<u8>>) {
        let repository = self.repository.lock().unwrap();
        let mut files = BTreeMap::new();
        let mut published = false;
        for (id, (_, draft, _)) in repository.releases.iter().filter(|(_, release)| release.0 == tag) {
            published |= !draft;
            let assets = repository.assets.iter().filter(|asset| asset.release == *id);
            files.extend(assets.map(|asset| (asset.name.clone(), asset.bytes.clone())));
        }
        (published, files)
    }

    fn published(&self) -> bool {
        self.files("v1.2.3").0
    }

    fn settings(&self, tag: &str) -> Value {
        let repository = self.repository.lock().unwrap();
        repository.releases.values().find(|release| release.0 == tag).unwrap().2.clone()
    }
}

impl Target for Service {
    fn name(&self) -> String {
        self.target.name()
    }

    fn steps<'a>(&'a self, release: &'a Verified) -> Result<Vec<Box<dyn Step + 'a>>, Error> {
        self.target.steps(release)
    }
}

/// The command that publishes, as the workflow's job has its environment.
fn publish_command(made: &Made, service: &Service) -> Command {
    let mut command = cairn_release("publish");
    command.arg("--dir").arg(&made.dir).arg("--public-key").arg(&made.public_key).args(["--version", VERSION]);
    command.env("GITHUB_REPOSITORY", "cairn/cairn").env("GITHUB_API_URL", &service.server.url);
    command.env("GITHUB_TOKEN", TOKEN);
    let file = made.beside("CHANGELOG.md");
    write(&file, changelog().as_bytes());
    command.arg("--changelog").arg(file);
    command
}

#[test]
fn a_workflow_publishes_to_the_repository_that_it_runs_for() {
    let ((_maker, made), service) = (usual(), Service::new());
    said(&mut publish_command(&made, &service));
    assert!(service.files("v1.2.3") == (true, made.files()));
}

#[test]
fn a_workflow_publishes_to_another_place_where_one_is_named() {
    let ((_maker, made), service) = (usual(), Service::new());
    let site = tempfile::tempdir().unwrap();
    said(publish_command(&made, &service).arg("--folder").arg(site.path()));
    assert_eq!(contents(&site.path().join("releases").join(VERSION)), made.files());
    assert_eq!(service.server.log(), Vec::<String>::new());
}

fn usual() -> (Maker, Made) {
    let maker = Maker::new();
    let made = maker.usual();
    (maker, made)
}

#[test]
fn a_release_gets_all_files_as_a_draft_and_is_published_last() {
    let ((_maker, made), service) = (usual(), Service::new());
    let report = made.publish(&service).unwrap();
    assert_eq!(report.steps.first().unwrap().0, "draft v1.2.3");
    assert_eq!(report.steps.last().unwrap().0, "release v1.2.3");
    assert!(service.files("v1.2.3") == (true, made.files()));
    let log = service.server.log();
    let changes: Vec<_> = log.iter().filter(|line| !line.starts_with("GET")).collect();
    assert!(changes.last().unwrap().starts_with("PATCH "), "{changes:?}");
    assert!(made.publish(&service).unwrap().nothing_to_do());
}

#[test]
fn the_notes_are_the_section_of_the_version_with_every_digest() {
    let ((_maker, made), service) = (usual(), Service::new());
    made.publish(&service).unwrap();
    let body = service.settings("v1.2.3")["body"].as_str().unwrap().to_owned();
    assert!(body.starts_with("# Cairn 1.2.3\n") && body.contains("- A change of 1.2.3.\n"), "{body}");
    for (name, bytes) in made.files().iter().filter(|(name, _)| name.ends_with(".tar.gz")) {
        let sha256 = digest_with(bytes.as_slice(), |_| {}).unwrap().sha256;
        assert!(body.contains(&format!("| `{name}` | {} | `{sha256}` |", bytes.len())), "{body}");
    }
}

#[test]
fn a_version_whose_changelog_is_not_ready_is_not_published() {
    let (_maker, made) = usual();
    for (from, to, why) in [
        ("## 1.2.3 (2031-01-02)", "## 1.2.3 (unreleased)", "has no day"),
        ("## 1.2.3 (", "## 1.2.30 (", "has no section for 1.2.3"),
        ("- A change of 1.2.3.", "", "names no change"),
        ("- A change of 1.2.3.", &"x".repeat(125_000), "more than GitHub's 125000"),
    ] {
        let service = Service::new();
        let text = changelog();
        assert!(text.contains(from));
        let error = made.publish(&target(&service.server, &text.replace(from, to))).unwrap_err();
        assert_eq!(error.exit_code(), 37);
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!(service.server.log(), Vec::<String>::new());
    }
}

#[test]
fn a_draft_of_an_earlier_run_gets_the_notes_of_this_one() {
    let ((_maker, made), service) = (usual(), Service::new());
    service.server.die_after(4, false);
    made.publish(&service).unwrap_err();
    service.server.revive();
    let text = changelog().replace("- A change of 1.2.3.", "- Another change.");
    made.publish(&target(&service.server, &text)).unwrap();
    assert!(service.settings("v1.2.3")["body"].as_str().unwrap().contains("- Another change."));
}

#[test]
fn files_of_a_flat_tree_stand_beside_those_of_the_release() {
    let ((_maker, mut made), service) = (usual(), Service::new());
    made.add_tree("bundle", &[("cairn-1.2.3-site.tar", "all"), ("cairn-1.2.3-site.tar.minisig", "signed")]);
    made.publish(&service).unwrap();
    let mut wanted = made.files();
    wanted.insert("cairn-1.2.3-site.tar".to_owned(), b"all".to_vec());
    wanted.insert("cairn-1.2.3-site.tar.minisig".to_owned(), b"signed".to_vec());
    assert!(service.files("v1.2.3") == (true, wanted));
    assert!(made.publish(&service).unwrap().nothing_to_do());
}

#[test]
fn a_tree_that_github_cannot_show_is_refused() {
    for (file, why) in [
        ("dists/stable/Release", "GitHub has none"),
        ("a b", "another name"),
        ("release.json", "two files of this name"),
    ] {
        let ((_maker, mut made), service) = (usual(), Service::new());
        made.add_tree("tree", &[(file, "x")]);
        let error = made.publish(&service).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!(service.server.log(), Vec::<String>::new());
    }
}

#[test]
fn a_run_that_was_killed_anywhere_is_resumed_to_the_same_release() {
    let (_maker, made) = usual();
    kill_everywhere(&made, Service::new, Service::published, |service| service.files("v1.2.3").1);
}

#[test]
fn a_service_that_dies_at_any_request_has_one_release_in_the_end() {
    let (_maker, made) = usual();
    let whole = Service::new();
    made.publish(&whole).unwrap();
    for late in [false, true] {
        for lives in 0..whole.server.log().len() {
            let service = Service::new();
            service.server.die_after(lives, late);
            assert_eq!(made.publish(&service).unwrap_err().exit_code(), 31);
            service.server.revive();
            made.publish(&service).unwrap();
            assert!(service.files("v1.2.3") == (true, made.files()), "died at {lives}, late: {late}");
            assert_eq!(service.repository.lock().unwrap().releases.len(), 1, "died at {lives}, late: {late}");
        }
    }
}

#[test]
fn other_bytes_are_refused_whether_the_service_states_digests_or_not() {
    for without_digests in [false, true] {
        let ((maker, made), service) = (usual(), Service::new());
        service.repository.lock().unwrap().without_digests = without_digests;
        made.publish(&service).unwrap();
        assert!(made.publish(&service).unwrap().nothing_to_do());
        let error = maker.release(VERSION, 7, "another").publish(&service).unwrap_err();
        assert!(matches!(&error, Error::Conflict { file, .. } if file == "SHA256SUMS"), "{error:?}");
        assert!(service.files("v1.2.3") == (true, made.files()));
    }
}

#[test]
fn an_upload_that_broke_off_is_done_again() {
    let ((_maker, made), service) = (usual(), Service::new());
    service.server.die_after(4, false);
    made.publish(&service).unwrap_err();
    service.server.revive();
    {
        let mut repository = service.repository.lock().unwrap();
        let id = *repository.releases.keys().next().unwrap();
        let name = "release.json".to_owned();
        repository.assets.push(Asset { id: 99, release: id, name, complete: false, bytes: b"{".to_vec() });
    }
    made.publish(&service).unwrap();
    assert!(service.files("v1.2.3") == (true, made.files()));
}

#[test]
fn a_release_with_a_foreign_file_is_not_published() {
    let ((_maker, made), service) = (usual(), Service::new());
    service.server.die_after(4, false);
    made.publish(&service).unwrap_err();
    service.server.revive();
    {
        let mut repository = service.repository.lock().unwrap();
        let id = *repository.releases.keys().next().unwrap();
        let name = "notes.txt".to_owned();
        repository.assets.push(Asset { id: 99, release: id, name, complete: true, bytes: b"by hand".to_vec() });
    }
    let error = made.publish(&service).unwrap_err();
    assert!(error.to_string().contains("notes.txt is not part of the release"), "{error}");
    assert!(!service.published());
}

#[test]
fn only_the_highest_version_becomes_the_latest() {
    let (maker, service) = (Maker::new(), Service::new());
    for (version, sequence, latest, prerelease) in
        [("1.3.0", 7, "true", false), ("1.2.4", 8, "false", false), ("2.0.0-rc.1", 9, "false", true)]
    {
        maker.release(version, sequence, "a").publish(&service).unwrap();
        let settings = service.settings(&format!("v{version}"));
        assert_eq!((settings["make_latest"].as_str(), &settings["prerelease"]), (Some(latest), &json!(prerelease)));
    }
    maker.release("2.0.0", 10, "a").publish(&service).unwrap();
    assert_eq!(service.settings("v2.0.0")["make_latest"], "true");
}

#[test]
fn a_release_is_found_on_any_page() {
    let ((_maker, made), service) = (usual(), Service::new());
    made.publish(&service).unwrap();
    for number in 0..45 {
        let mut repository = service.repository.lock().unwrap();
        repository.next += 1;
        let id = repository.next;
        repository.releases.insert(id, (format!("v0.0.{number}"), false, json!({"prerelease": false})));
    }
    assert!(made.publish(&service).unwrap().nothing_to_do());
}

#[test]
fn two_drafts_for_one_version_are_for_a_person_to_sort_out() {
    let ((_maker, made), service) = (usual(), Service::new());
    for id in [1, 2] {
        let release = ("v1.2.3".to_owned(), true, json!({"prerelease": false}));
        service.repository.lock().unwrap().releases.insert(id, release);
    }
    let error = made.publish(&service).unwrap_err();
    assert!(error.to_string().contains("several releases or drafts"), "{error}");
}

#[test]
fn a_refused_token_is_named_by_its_variable_and_not_shown() {
    let (_maker, made) = usual();
    let server = Server::start(|_| Reply::new(401, r#"{"message": "Bad credentials"}"#));
    let target = target(&server, &changelog());
    let error = made.publish(&target).unwrap_err();
    assert_eq!(error.exit_code(), 34);
    assert!(error.to_string().contains("GITHUB_TOKEN"), "{error}");
    assert!(!format!("{error:?} {target:?}").contains(TOKEN));
}
