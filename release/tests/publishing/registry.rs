//! The registry: Debian's docker-registry takes the images, and gives them back byte for byte.

use std::collections::BTreeMap;
use std::fs;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use cairn_release::digest::digest_with;
use cairn_release::manifest::{Image, MANIFEST_NAME, Manifest};
use cairn_release::process::{POLL, RUN_LIMIT, clean_command, find_program, output};
use cairn_release::publish::{Error, Login, Registry, Secret, Target, Verified};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::fixture::{self, Failing, Made, Maker, VERSION, When, cairn_release, client, kill_everywhere, write};
use crate::server::{Reply, Server};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// `cairn` with the password `hunter2`, as bcrypt has it.
const HTPASSWD: &str = "cairn:$2y$04$abcdefghijklmnopqrstuuV3duMsC0HpUex6N9qapiuOHHWkwRXVm\n";

/// A registry on a port of its own.
struct Service {
    scratch: TempDir,
    child: Child,
    url: String,
    repositories: AtomicUsize,
}

impl Service {
    fn start() -> Self {
        Self::start_with("")
    }

    fn start_with(more: &str) -> Self {
        let program = find_program("docker-registry").expect("install the Debian package `docker-registry`");
        let scratch = tempfile::tempdir().unwrap();
        let (config, log) = (scratch.path().join("config.yml"), scratch.path().join("log"));
        let root = scratch.path().join("data");
        let text = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:0\n{more}",
            root.display()
        );
        write(&config, text.as_bytes());
        write(&scratch.path().join("htpasswd"), HTPASSWD.as_bytes());
        let mut command = clean_command(&program);
        command.arg("serve").arg(&config).current_dir(scratch.path());
        let child = command.stdout(Stdio::null()).stderr(File::create(&log).unwrap()).spawn().unwrap();
        let mut service = Self { scratch, child, url: String::new(), repositories: AtomicUsize::new(0) };
        service.url = format!("http://{}", service.address(&log));
        service
    }

    /// The address that the registry says it listens on.
    fn address(&mut self, log: &Path) -> String {
        let deadline = Instant::now() + RUN_LIMIT;
        loop {
            let said = fs::read_to_string(log).unwrap();
            if let Some((_, rest)) = said.split_once("listening on ") {
                let end = rest.find(|c: char| c != '.' && c != ':' && !c.is_ascii_digit());
                if let Some(end) = end {
                    return rest[..end].to_owned();
                }
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "docker-registry does not listen: {said}");
            thread::sleep(POLL);
        }
    }

    /// A repository that nobody used yet.
    fn repository(&self) -> Repository<'_> {
        let name = format!("cairn/test-{}", self.repositories.fetch_add(1, Ordering::SeqCst));
        let registry = Registry::new(&self.url, &name, client(), Login::Anonymous).unwrap();
        Repository { service: self, name, registry }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Repository<'a> {
    service: &'a Service,
    name: String,
    registry: Registry,
}

impl Repository<'_> {
    fn get(&self, rest: &str) -> Option<Vec<u8>> {
        let url = format!("{}/v2/{}/{rest}", self.service.url, self.name);
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut response = agent.get(url).header("accept", format!("{INDEX}, {MANIFEST}")).call().unwrap();
        match response.status().as_u16() {
            200 => Some(response.body_mut().read_to_vec().unwrap()),
            404 => None,
            status => panic!("{rest}: {status}"),
        }
    }

    fn tags(&self) -> Vec<String> {
        let Some(bytes) = self.get("tags/list") else { return Vec::new() };
        let list: Value = serde_json::from_slice(&bytes).unwrap();
        let mut tags: Vec<_> =
            list["tags"].as_array().into_iter().flatten().map(|tag| tag.as_str().unwrap().to_owned()).collect();
        tags.sort();
        tags
    }

    /// Everything that can be reached from a tag.
    fn state(&self) -> BTreeMap<String, Vec<u8>> {
        let mut state = BTreeMap::new();
        let mut left: Vec<_> = self.tags().into_iter().map(|tag| format!("manifests/{tag}")).collect();
        while let Some(path) = left.pop() {
            let bytes = self.get(&path).unwrap_or_else(|| panic!("{path} can be reached and is not there"));
            if path.starts_with("manifests/") {
                let document: Value = serde_json::from_slice(&bytes).unwrap();
                let list = |name: &str| document[name].as_array().cloned().unwrap_or_default();
                let blobs = list("layers").into_iter().chain([document["config"].clone()]);
                let digest = |value: Value| value["digest"].as_str().map(str::to_owned);
                left.extend(blobs.filter_map(digest).map(|digest| format!("blobs/{digest}")));
                left.extend(
                    list("manifests").into_iter().filter_map(digest).map(|digest| format!("manifests/{digest}")),
                );
            }
            state.insert(path, bytes);
        }
        state
    }
}

impl Target for Repository<'_> {
    fn name(&self) -> String {
        self.registry.name()
    }

    fn steps<'a>(
        &'a self,
        release: &'a cairn_release::publish::Verified,
    ) -> Result<Vec<Box<dyn cairn_release::publish::Step + 'a>>, Error> {
        self.registry.steps(release)
    }
}

/// An OCI image layout that is being written.
struct Images {
    dir: PathBuf,
}

impl Images {
    fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let sha256 = digest_with(bytes, |_| {}).unwrap().sha256;
        write(&self.dir.join("blobs/sha256").join(&sha256), bytes);
        json!({"mediaType": media_type, "digest": format!("sha256:{sha256}"), "size": bytes.len()})
    }

    fn document(&self, document: &Value) -> Value {
        self.blob(document["mediaType"].as_str().unwrap(), document.to_string().as_bytes())
    }

    fn image(&self, architecture: &str, content: &str, version: &str) -> Value {
        let layer = format!("layer {architecture} {content}").repeat(1000);
        let config = json!({"architecture": architecture, "os": "linux", "config": {}, "rootfs":
            {"type": "layers", "diff_ids": [format!("sha256:{}", digest_with(layer.as_bytes(), |_| {}).unwrap().sha256)]}});
        let mut descriptor = self.document(&json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": self.blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes()),
            "layers": [self.blob("application/vnd.oci.image.layer.v1.tar", layer.as_bytes())],
            "annotations": {"org.opencontainers.image.version": version},
        }));
        descriptor["platform"] = json!({"architecture": architecture, "os": "linux"});
        descriptor
    }

    /// Two images, their index, and a document about the index.
    fn write(dir: PathBuf, content: &str, version: &str) -> PathBuf {
        let images = Self { dir };
        let annotations = json!({"org.opencontainers.image.version": version});
        let index = images.document(&json!({
            "schemaVersion": 2, "mediaType": INDEX, "annotations": annotations,
            "manifests": [images.image("amd64", content, version), images.image("arm64", content, version)],
        }));
        let sbom = images.document(&json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/vnd.cyclonedx+json",
            "config": images.blob("application/vnd.oci.empty.v1+json", b"{}"),
            "layers": [images.blob("application/vnd.cyclonedx+json", b"{\"bomFormat\":\"CycloneDX\"}")],
            "subject": index, "annotations": {"org.opencontainers.image.created": "2023-11-14T22:13:20Z"},
        }));
        // The order in the layout must not matter.
        let root = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [sbom, index]});
        write(&images.dir.join("index.json"), root.to_string().as_bytes());
        write(&images.dir.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#);
        images.dir
    }
}

/// A release with an image layout.
fn made(maker: &Maker, content: &str) -> Made {
    let mut made = maker.release(VERSION, 7, content);
    made.layout = Some(Images::write(made.beside("oci"), content, VERSION));
    made
}

/// The document that the release's layout has at its top.
fn top(made: &Made) -> (String, Vec<u8>) {
    let dir = made.layout.as_ref().unwrap();
    let root: Value = serde_json::from_slice(&fs::read(dir.join("index.json")).unwrap()).unwrap();
    let descriptor = root["manifests"].as_array().unwrap().iter().find(|entry| entry["mediaType"] == INDEX).unwrap();
    let digest = descriptor["digest"].as_str().unwrap().to_owned();
    let bytes = fs::read(dir.join("blobs/sha256").join(&digest["sha256:".len()..])).unwrap();
    (digest, bytes)
}

#[test]
fn images_come_back_byte_for_byte_under_the_version_as_tag() {
    let (maker, service) = (Maker::new(), Service::start());
    let (made, repository) = (made(&maker, "right"), service.repository());
    let report = made.publish(&repository).unwrap();
    assert_eq!(report.steps.last().unwrap().0, "tag 1.2.3");
    let (digest, bytes) = top(&made);
    assert_eq!(repository.tags(), [VERSION.to_owned(), digest.replace(':', "-")]);
    let state = repository.state();
    assert_eq!(state["manifests/1.2.3"], bytes);
    // Two layers and configurations, and those of the SBOM.
    assert_eq!(state.keys().filter(|path| path.starts_with("blobs/")).count(), 6);
    for (path, bytes) in &state {
        if let Some((_, sha256)) = path.split_once("sha256:") {
            assert_eq!(digest_with(bytes.as_slice(), |_| {}).unwrap().sha256, sha256);
        }
    }
    let list: Value = serde_json::from_slice(&state[&format!("manifests/{}", digest.replace(':', "-"))]).unwrap();
    assert_eq!(list["manifests"][0]["artifactType"], "application/vnd.cyclonedx+json");
    assert_eq!(list["manifests"].as_array().unwrap().len(), 1);
}

#[test]
fn an_audit_names_the_first_thing_that_the_registry_lacks() {
    let (maker, service) = (Maker::new(), Service::start());
    let (made, repository) = (made(&maker, "right"), service.repository());
    let audit = || {
        let mut command = cairn_release("audit");
        command.arg("--public-key").arg(&made.public_key).args(["--version", VERSION]).arg("--local").arg(&made.dir);
        command.args(["--registry", &service.url, "--repository", &repository.name]);
        command.arg("--layout").arg(made.layout.as_ref().unwrap());
        command
    };
    let refused = |command: &mut Command| {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(39));
        String::from_utf8(output.stderr).unwrap()
    };
    let said = refused(&mut audit());
    assert!(said.starts_with("error: blob sha256:") && said.contains(": is not at http://"), "{said}");
    assert_eq!(repository.tags(), Vec::<String>::new());
    // All but the tag.
    made.publish(&Failing::new(&repository, made.dry_run(&repository).unwrap().steps.len() - 1, When::Before))
        .unwrap_err();
    let said = refused(&mut audit());
    assert!(said.starts_with("error: tag 1.2.3: is not at http://"), "{said}");
    made.publish(&repository).unwrap();
    let said = fixture::said(&mut audit());
    assert!(said.starts_with("1.2.3: ") && said.ends_with(", all there\n"), "{said}");
}

#[test]
fn skopeo_reads_the_images_back() {
    let program = find_program("skopeo").expect("install the Debian package `skopeo`");
    let (maker, service) = (Maker::new(), Service::start());
    let (made, repository) = (made(&maker, "right"), service.repository());
    made.publish(&repository).unwrap();
    let to = service.scratch.path().join("copy");
    let mut command: Command = clean_command(&program);
    command.args(["--insecure-policy", "--tmpdir"]).arg(service.scratch.path());
    command.args(["copy", "--all", "--src-tls-verify=false"]);
    command.arg(format!("docker://{}/{}:{VERSION}", &service.url["http://".len()..], repository.name));
    output(command.arg(format!("dir:{}", to.display())).env("HOME", service.scratch.path())).unwrap();
    let (_, bytes) = top(&made);
    assert_eq!(fs::read(to.join("manifest.json")).unwrap(), bytes);
    let wanted = repository.state();
    let blobs: Vec<_> = wanted.keys().filter_map(|path| path.strip_prefix("blobs/sha256:")).collect();
    let found = blobs.iter().filter(|sha256| to.join(sha256).exists()).count();
    assert_eq!(found, 4, "two configurations and two layers, but not the SBOM's");
}

#[test]
fn a_registry_is_spoken_to_over_tls_and_only_if_its_certificate_is_trusted() {
    let (maker, folder) = (Maker::new(), tempfile::tempdir().unwrap());
    let (certificate, key) = (folder.path().join("tls.pem"), folder.path().join("tls.key"));
    let mut command = clean_command(&find_program("openssl").expect("install the Debian package `openssl`"));
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
    command.args(["-subj", "/CN=registry.example", "-addext", "subjectAltName=IP:127.0.0.1"]);
    command.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    output(command.arg("-keyout").arg(&key).arg("-out").arg(&certificate)).unwrap();
    let tls = format!("  tls:\n    certificate: {}\n    key: {}\n", certificate.display(), key.display());
    let service = Service::start_with(&tls);
    let url = service.url.replace("http://", "https://");
    let with = |client| Registry::new(&url, "cairn/cairnd", client, Login::Anonymous).unwrap();
    let made = made(&maker, "right");
    let error = made.publish(&with(client())).unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    let trusting = client().with_certificates(&certificate).unwrap();
    made.publish(&with(trusting.clone())).unwrap();
    assert!(made.publish(&with(trusting)).unwrap().nothing_to_do());
    assert_eq!(client().with_certificates(&key).unwrap_err().exit_code(), 36);
}

#[test]
fn publishing_again_changes_nothing_and_other_images_are_refused() {
    let (maker, service) = (Maker::new(), Service::start());
    let (made, repository) = (made(&maker, "right"), service.repository());
    assert!(!made.dry_run(&repository).unwrap().nothing_to_do());
    assert!(repository.tags().is_empty());
    made.publish(&repository).unwrap();
    let before = repository.state();
    assert!(made.publish(&repository).unwrap().nothing_to_do());
    let error = self::made(&maker, "another").publish(&repository).unwrap_err();
    assert!(matches!(&error, Error::Conflict { file, .. } if file == "tag 1.2.3"), "{error:?}");
    assert!(repository.state() == before);
}

#[test]
fn a_push_that_was_killed_anywhere_is_resumed_to_the_same_images() {
    let (maker, service) = (Maker::new(), Service::start());
    let visible = |repository: &Repository<'_>| repository.tags().iter().any(|tag| tag == VERSION);
    kill_everywhere(&made(&maker, "right"), || service.repository(), visible, Repository::state);
}

#[test]
fn the_tag_is_not_there_before_everything_else_is() {
    let (maker, service) = (Maker::new(), Service::start());
    let (made, repository) = (made(&maker, "right"), service.repository());
    let steps = made.dry_run(&repository).unwrap().steps.len();
    made.publish(&Failing::new(&repository, steps - 1, When::Before)).unwrap_err();
    assert!(!repository.tags().contains(&VERSION.to_owned()));
    assert_eq!(
        made.publish(&repository)
            .unwrap()
            .steps
            .iter()
            .filter(|(_, o)| *o == cairn_release::publish::Outcome::Uploaded)
            .count(),
        1
    );
}

#[test]
fn a_registry_that_wants_a_password_gets_it_and_no_other_is_accepted() {
    let auth = "auth:\n  htpasswd:\n    realm: test\n    path: htpasswd\n";
    let (maker, service) = (Maker::new(), Service::start_with(auth));
    let made = made(&maker, "right");
    let with = |login| Registry::new(&service.url, "cairn/cairnd", client(), login).unwrap();
    let basic = |password| Login::Basic { user: "cairn".to_owned(), password: Secret::new(password) };
    made.publish(&with(basic("hunter2"))).unwrap();
    for login in [Login::Anonymous, basic("guess"), Login::Token(Secret::new("guess"))] {
        let error = made.publish(&with(login)).unwrap_err();
        assert_eq!(error.exit_code(), 34, "{error:?}");
        assert!(!format!("{error:?}").contains("guess"));
    }
    assert!(made.publish(&with(basic("hunter2"))).unwrap().nothing_to_do());
}

#[test]
fn a_registry_that_wants_a_token_is_given_one_from_where_it_says() {
    let maker = Maker::new();
    let address = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let known = std::sync::Arc::clone(&address);
    let server = Server::start(move |got| {
        if got.path.starts_with("/token?") {
            assert_eq!(got.header("authorization"), Some("Basic Y2Fpcm46aHVudGVyMg=="));
            assert_eq!(got.parameter("service"), Some("the%20registry"));
            assert_eq!(got.parameter("scope"), Some("repository%3Acairn/cairnd%3Apull%2Cpush"));
            return Reply::new(200, r#"{"token": "short-lived"}"#);
        }
        if got.header("authorization") != Some("Bearer short-lived") {
            let realm = format!("{}/token", known.lock().unwrap());
            let challenge = format!("Bearer realm=\"{realm}\",service=\"the registry\",scope=\"x\"");
            return Reply::new(401, "").header("www-authenticate", challenge);
        }
        Reply::new(404, "")
    });
    *address.lock().unwrap() = server.url.clone();
    let login = Login::Basic { user: "cairn".to_owned(), password: Secret::new("hunter2") };
    let registry = Registry::new(&server.url, "cairn/cairnd", client(), login.clone()).unwrap();
    let report = made(&maker, "right").dry_run(&registry).unwrap();
    assert!(!report.nothing_to_do());
    assert_eq!(server.log().iter().filter(|line| line.contains("/token?")).count(), 1, "the token is kept");
    // Nobody may send us elsewhere with the password.
    *address.lock().unwrap() = "http://elsewhere.example".to_owned();
    let registry = Registry::new(&server.url, "cairn/cairnd", client(), login).unwrap();
    let error = made(&maker, "second").dry_run(&registry).unwrap_err();
    assert!(error.to_string().contains("others can listen"), "{error}");
}

#[test]
fn a_layout_of_other_images_than_the_signed_list_names_is_not_pushed() {
    let maker = Maker::new();
    let made = made(&maker, "right");
    let registry = Registry::new("http://127.0.0.1:1", "cairn/cairnd", client(), Login::Anonymous).unwrap();
    let steps_for = |digest: String| {
        let mut manifest = Manifest::parse(&fs::read(made.dir.join(MANIFEST_NAME)).unwrap()).unwrap();
        manifest.images.push(Image { tag: VERSION.to_owned(), digest });
        let version = semver::Version::parse(VERSION).unwrap();
        let layout = made.layout.clone();
        let verified = Verified { manifest, version, files: Vec::new(), trees: Vec::new(), layout };
        registry.steps(&verified).map(|steps| steps.len()).map_err(|e| e.to_string())
    };
    assert!(steps_for(top(&made).0).unwrap() > 1);
    let error = steps_for(format!("sha256:{}", "0".repeat(64))).unwrap_err();
    assert!(error.contains("the image layout is not the release's"), "{error}");
}

#[test]
fn a_layout_that_is_damaged_or_of_another_version_is_not_pushed() {
    let (maker, service) = (Maker::new(), Service::start());
    let repository = service.repository();
    let mut other = maker.release(VERSION, 7, "other");
    other.layout = Some(Images::write(other.beside("oci"), "other", "9.9.9"));
    let error = other.publish(&repository).unwrap_err();
    assert!(error.to_string().contains("9.9.9"), "{error}");
    let damaged = made(&maker, "damaged");
    let layer = fs::read_dir(damaged.layout.as_ref().unwrap().join("blobs/sha256")).unwrap().next().unwrap().unwrap();
    fs::write(layer.path(), "changed").unwrap();
    assert_eq!(damaged.publish(&repository).unwrap_err().exit_code(), 37);
    let without = maker.release(VERSION, 7, "without");
    assert!(without.publish(&repository).unwrap_err().to_string().contains("needs an OCI image layout"));
    assert!(repository.tags().is_empty());
}
