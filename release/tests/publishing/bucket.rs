//! The bucket: a server that takes PUT, honours conditions and dies at any request.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use cairn_release::publish::{AwsKey, Bucket, Credentials, Error, Secret};

use crate::fixture::{Made, Maker, VERSION, client, kill_everywhere};
use crate::server::{Got, Reply, Server};

type Objects = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// A bucket and what it may know.
struct Store {
    server: Server,
    objects: Objects,
    bucket: Bucket,
}

fn etag(bytes: &[u8]) -> String {
    let digest = cairn_release::digest::digest_with(bytes, |_| {}).unwrap();
    format!("\"{}\"", digest.sha256)
}

/// Conditions as S3 has them; what is there is never replaced without one.
fn answer(objects: &Objects, got: &Got) -> Reply {
    let mut objects = objects.lock().unwrap();
    let found = objects.get(&got.path).cloned();
    match (got.method.as_str(), found) {
        ("GET", Some(bytes)) => Reply::new(200, bytes.clone()).header("etag", etag(&bytes)),
        ("PUT", found) => {
            let fits = match (got.header("if-none-match"), got.header("if-match")) {
                (Some("*"), None) => found.is_none(),
                (None, Some(mark)) => found.is_some_and(|bytes| etag(&bytes) == mark),
                _ => panic!("a PUT without condition: {}", got.path),
            };
            if !fits {
                return Reply::new(412, "PreconditionFailed");
            }
            objects.insert(got.path.clone(), got.body.clone());
            Reply::new(200, "")
        }
        ("GET", None) => Reply::new(404, "NoSuchKey"),
        _ => panic!("a bucket is only asked and written: {} {}", got.method, got.path),
    }
}

impl Store {
    fn with(credentials: Credentials, answer: impl Fn(&Objects, &Got) -> Reply + Send + Sync + 'static) -> Self {
        let objects = Objects::default();
        let seen = Arc::clone(&objects);
        let server = Server::start(move |got| answer(&seen, got));
        let bucket = Bucket::new(&format!("{}/site/", server.url), client(), credentials).unwrap();
        Self { server, objects, bucket }
    }

    fn new() -> Self {
        Self::with(Credentials::None, answer)
    }

    fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        self.objects.lock().unwrap().clone()
    }

    fn visible(&self) -> bool {
        self.objects().contains_key("/site/releases/1.2.3/release.json")
    }
}

impl cairn_release::publish::Target for Store {
    fn name(&self) -> String {
        cairn_release::publish::Target::name(&self.bucket)
    }

    fn steps<'a>(
        &'a self,
        release: &'a cairn_release::publish::Verified,
    ) -> Result<Vec<Box<dyn cairn_release::publish::Step + 'a>>, Error> {
        self.bucket.steps(release)
    }
}

/// The release with what stands beside it.
fn made(maker: &Maker) -> Made {
    let mut made = maker.usual();
    made.add_tree("apt", &[("pool/c/cairn_1.2.3~a+b_amd64.deb", "deb"), ("dists/stable/Release", "signed")]);
    made
}

#[test]
fn a_release_is_laid_out_as_in_a_folder() {
    let (maker, store) = (Maker::new(), Store::new());
    let made = made(&maker);
    made.publish(&store.bucket).unwrap();
    let site = tempfile::tempdir().unwrap();
    made.publish(&cairn_release::publish::Folder::new(site.path())).unwrap();
    let expected: BTreeMap<_, _> = crate::fixture::contents(site.path())
        .into_iter()
        .map(|(path, bytes)| (format!("/site/{}", path.replace('+', "%2B")), bytes))
        .collect();
    assert!(store.objects() == expected, "{:?}", store.objects().keys());
}

#[test]
fn the_manifest_is_the_last_file_and_the_pointers_follow() {
    let (maker, store) = (Maker::new(), Store::new());
    made(&maker).publish(&store.bucket).unwrap();
    let written: Vec<_> = store.server.log().into_iter().filter(|line| line.starts_with("PUT")).collect();
    let last: Vec<_> = written.iter().rev().take(5).rev().map(String::as_str).collect();
    assert_eq!(
        last,
        [
            "PUT /site/releases/1.2.3/release.json.minisig",
            "PUT /site/releases/1.2.3/release.json",
            "PUT /site/apt/dists/stable/Release",
            "PUT /site/releases/index.json",
            "PUT /site/channels/stable.json",
        ]
    );
}

#[test]
fn all_that_was_sent_is_read_back_before_the_version_becomes_visible() {
    let maker = Maker::new();
    let store = Store::with(Credentials::None, |objects, got| {
        // A proxy that loses the end of what it passes on.
        if got.method == "PUT" && got.path.ends_with("amd64.tar.gz") {
            objects.lock().unwrap().insert(got.path.clone(), got.body[..100].to_vec());
            return Reply::new(200, "");
        }
        answer(objects, got)
    });
    let error = maker.usual().publish(&store.bucket).unwrap_err();
    assert!(error.to_string().contains("cairn-1.2.3-linux-amd64.tar.gz"), "{error}");
    assert!(!store.visible());
}

#[test]
fn publishing_again_only_asks() {
    let (maker, store) = (Maker::new(), Store::new());
    let made = made(&maker);
    made.publish(&store.bucket).unwrap();
    store.server.forget_log();
    assert!(made.publish(&store.bucket).unwrap().nothing_to_do());
    made.dry_run(&store.bucket).unwrap();
    assert!(store.server.log().iter().all(|line| line.starts_with("GET ")), "{:?}", store.server.log());
}

#[test]
fn other_bytes_under_a_published_version_are_refused_before_anything_is_sent() {
    let (maker, store) = (Maker::new(), Store::new());
    maker.usual().publish(&store.bucket).unwrap();
    store.server.forget_log();
    let error = maker.release(VERSION, 7, "another build").publish(&store.bucket).unwrap_err();
    assert!(matches!(&error, Error::Conflict { file, .. } if file == "releases/1.2.3/SHA256SUMS"), "{error:?}");
    assert!(store.server.log().iter().all(|line| line.starts_with("GET ")));
}

#[test]
fn a_run_that_was_killed_anywhere_is_resumed_to_the_same_bucket() {
    let maker = Maker::new();
    kill_everywhere(
        &made(&maker),
        Store::new,
        |store| store.objects().contains_key("/site/releases/index.json"),
        Store::objects,
    );
}

#[test]
fn a_server_that_dies_at_any_request_leaves_nothing_visible_that_is_not_whole() {
    let maker = Maker::new();
    let made = maker.usual();
    let whole = Store::new();
    made.publish(&whole.bucket).unwrap();
    let requests = whole.server.log().len();
    for late in [false, true] {
        for lives in 0..requests {
            let store = Store::new();
            store.server.die_after(lives, late);
            let error = made.publish(&store.bucket).unwrap_err();
            assert!(matches!(error, Error::Unreachable { .. }), "{lives}: {error:?}");
            assert_eq!(error.exit_code(), 31);
            if store.visible() {
                for name in made.files().keys() {
                    assert!(store.objects().contains_key(&format!("/site/releases/1.2.3/{name}")), "{lives}: {name}");
                }
            }
            store.server.revive();
            made.publish(&store.bucket).unwrap();
            assert!(store.objects() == whole.objects(), "died at {lives}, late: {late}");
        }
    }
}

#[test]
fn a_failure_that_passes_is_tried_again_and_one_that_stays_is_not_tried_for_ever() {
    let maker = Maker::new();
    let failures = Arc::new(Mutex::new(3));
    let left = Arc::clone(&failures);
    let store = Store::with(Credentials::None, move |objects, got| {
        let mut left = left.lock().unwrap();
        if got.method == "PUT" && *left > 0 {
            *left -= 1;
            return Reply::new(503, "SlowDown");
        }
        answer(objects, got)
    });
    let made = maker.usual();
    made.publish(&store.bucket).unwrap();
    *failures.lock().unwrap() = usize::MAX;
    store.server.forget_log();
    let error = maker.release("1.2.4", 8, "next").publish(&store.bucket).unwrap_err();
    assert!(error.to_string().contains("status 503"), "{error}");
    assert_eq!(store.server.log().iter().filter(|line| line.starts_with("PUT")).count(), 4);
}

#[test]
fn somebody_who_was_faster_is_not_overwritten() {
    let maker = Maker::new();
    let store = Store::with(Credentials::None, |objects, got| {
        if got.method == "PUT" && got.path.ends_with("SHA256SUMS") {
            objects.lock().unwrap().entry(got.path.clone()).or_insert_with(|| b"theirs".to_vec());
        }
        answer(objects, got)
    });
    let error = maker.usual().publish(&store.bucket).unwrap_err();
    assert!(matches!(&error, Error::Conflict { file, .. } if file == "releases/1.2.3/SHA256SUMS"), "{error:?}");
    assert!(!store.visible());
}

#[test]
fn an_index_that_moves_meanwhile_is_read_again() {
    let maker = Maker::new();
    let others = Arc::new(Mutex::new(None));
    let pending = Arc::clone(&others);
    let store = Store::with(Credentials::None, move |objects, got| {
        if got.method == "PUT"
            && got.path.ends_with("index.json")
            && let Some(index) = pending.lock().unwrap().take()
        {
            objects.lock().unwrap().insert(got.path.clone(), index);
        }
        answer(objects, got)
    });
    maker.release("1.2.3", 7, "a").publish(&store.bucket).unwrap();
    let index = store.objects()["/site/releases/index.json"].clone();
    let text = String::from_utf8(index).unwrap();
    *others.lock().unwrap() = Some(text.replace("1.2.3", "1.2.2").replace('7', "6").into_bytes());
    maker.release("1.2.4", 8, "b").publish(&store.bucket).unwrap();
    let text = String::from_utf8(store.objects()["/site/releases/index.json"].clone()).unwrap();
    assert!(text.contains("1.2.2") && text.contains("1.2.4"), "{text}");
}

#[test]
fn a_store_without_conditions_is_written_without_them() {
    let maker = Maker::new();
    let store = Store::with(Credentials::None, |objects, got| {
        let conditional = got.header("if-none-match").or(got.header("if-match")).is_some();
        match got.method.as_str() {
            "PUT" if conditional => Reply::new(501, "NotImplemented"),
            "PUT" => {
                objects.lock().unwrap().insert(got.path.clone(), got.body.clone());
                Reply::new(200, "")
            }
            _ => answer(objects, got),
        }
    });
    maker.usual().publish(&store.bucket).unwrap();
    assert!(store.visible());
}

#[test]
fn every_request_is_signed_with_the_aws_key_and_says_its_hash() {
    let maker = Maker::new();
    let key = AwsKey {
        id: "AKID".to_owned(),
        secret: Secret::new("hunter2"),
        session: Some(Secret::new("session-token")),
        region: "eu-central-1".to_owned(),
    };
    let store = Store::with(Credentials::Aws(key), |objects, got| {
        let authorization = got.header("authorization").expect("unsigned");
        assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKID/"), "{authorization}");
        assert!(authorization.contains("/eu-central-1/s3/aws4_request, "));
        let names = "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token, ";
        assert!(authorization.contains(names), "{authorization}");
        assert_eq!(got.header("x-amz-security-token"), Some("session-token"));
        let sha256 = etag(&got.body).trim_matches('"').to_owned();
        assert_eq!(got.header("x-amz-content-sha256"), Some(sha256.as_str()));
        answer(objects, got)
    });
    maker.usual().publish(&store.bucket).unwrap();
}

#[test]
fn refused_credentials_are_an_error_of_their_own_that_shows_no_secret() {
    let maker = Maker::new();
    let store = Store::with(Credentials::Bearer(Secret::new("hunter2")), |_, got| {
        assert_eq!(got.header("authorization"), Some("Bearer hunter2"));
        Reply::new(403, "")
    });
    let error = maker.usual().publish(&store.bucket).unwrap_err();
    assert_eq!(error.exit_code(), 34);
    assert!(error.to_string().contains("CAIRN_PUBLISH_TOKEN"), "{error}");
    assert!(!format!("{error:?} {error:#}").contains("hunter2"));
}

#[test]
fn credentials_do_not_travel_in_the_clear() {
    let maker = Maker::new();
    let bucket =
        Bucket::new("http://s3.example/bucket", client(), Credentials::Bearer(Secret::new("hunter2"))).unwrap();
    let error = maker.usual().publish(&bucket).unwrap_err();
    assert!(error.to_string().contains("use https"), "{error}");
    let error = Bucket::new("https://user:hunter2@s3.example/", client(), Credentials::None).unwrap_err();
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[test]
fn a_place_that_nobody_listens_at_is_unreachable() {
    let maker = Maker::new();
    let url = Server::start(|_| Reply::new(200, "")).url.clone();
    let bucket = Bucket::new(&url, client(), Credentials::None).unwrap();
    assert_eq!(maker.usual().publish(&bucket).unwrap_err().exit_code(), 31);
}
