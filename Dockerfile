# An image of Cairn, built from this tree with the compilers of another image.
#
# As in the released images (release/src/oci), which tests check: how it is started and checked, its labels, users and
# documents, and the processors (.cargo/config.toml) and pages that its programs are compiled for.
#
# Other than there: compiler, C library and C++ library are the builder's, so that there is no oldest glibc and no promise of
# equal bytes; C++ has a stack protector if the builder's compiler does so by itself; no list of crates is in the programs, no
# bill of materials beside the image; licence texts are those of all crates that were fetched, as they come, and not that of
# Rust's own library; certificate authorities are Debian's.
#
#   docker build --build-arg BUILDER=NAME --build-arg DIGEST=sha256:… --build-arg REVISION="$(git rev-parse HEAD)" --tag cairn .
#
# BUILDER at DIGEST is an image with the compiler of rust-toolchain.toml, g++, libclang and Debian's ca-certificates. Neither has a
# default: a tag says something else every week, and a digest of somebody's image would be a promise that we cannot keep.
# Take the image that you trust, and ask for the digest of what you have:
#
#   docker inspect --format '{{index .RepoDigests 0}}' IMAGE
#
# Crates are pinned by Cargo.lock. Nothing else is downloaded.

ARG BUILDER
ARG DIGEST
FROM ${BUILDER}@${DIGEST} AS build
WORKDIR /cairn
COPY . .
ARG REVISION
# jemalloc's largest page is fixed when it is built; kernels for arm64 have pages of up to 64 KiB.
ENV AARCH64_UNKNOWN_LINUX_GNU_JEMALLOC_SYS_WITH_LG_PAGE=16
RUN ${REVISION:+env CAIRN_COMMIT=$REVISION} cargo build --release --locked -p cairn-server -p cairn-ctl -p cairn-utl
# An empty image has no C library: what the programs need of the builder's comes along, with its licences.
RUN set -eu; \
    mkdir -p /image/usr/bin /image/etc/ssl/certs /image/usr/share/doc/cairn /state/cairn; \
    cd target/release; \
    for program in cairnd cairnctl cairnutl; do \
        strip -o /image/usr/bin/$program $program; \
        ldd $program | grep -o '/[^ ]*' | while read -r library; do cp -L --parents "$library" /image; done; \
    done; \
    for package in libc6 libgcc-s1 libstdc++6; do cp -L --parents /usr/share/doc/$package/copyright /image; done; \
    ln -s cairnd /image/usr/bin/etcd; \
    ln -s cairnctl /image/usr/bin/etcdctl; \
    ln -s cairnutl /image/usr/bin/etcdutl; \
    cp /cairn/LICENSE /image/usr/share/doc/cairn/; \
    cd "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/; \
    find . -type f '(' -iname 'licen[cs]e*' -o -iname 'copying*' -o -iname 'copyright*' -o -iname 'notice*' \
        -o -iname 'unlicense*' ')' | sort | while read -r text; do printf '\n==== %s ====\n' "$text"; cat "$text"; done \
        >/image/usr/share/doc/cairn/THIRD-PARTY-LICENSES.txt; \
    cp -L /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/; \
    printf 'root:x:0:0:root:/:/sbin/nologin\ncairn:x:65532:65532:cairn:/var/lib/cairn:/sbin/nologin\n' >/image/etc/passwd; \
    printf 'root:x:0:\ncairn:x:65532:\n' >/image/etc/group; \
    printf 'passwd: files\ngroup: files\nhosts: files dns\n' >/image/etc/nsswitch.conf; \
    mkdir -p /image/tmp /image/var/lib; \
    chmod 1777 /image/tmp /state/cairn

FROM scratch
ARG VERSION
ARG REVISION
ARG CREATED
LABEL org.opencontainers.image.title="cairn" \
    org.opencontainers.image.description="A replicated key-value store that speaks the etcd v3 API" \
    org.opencontainers.image.authors="The Cairn authors" \
    org.opencontainers.image.vendor="The Cairn authors" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.url="https://cairn.example" \
    org.opencontainers.image.documentation="https://cairn.example/docs" \
    org.opencontainers.image.source="https://cairn.example/source" \
    org.opencontainers.image.base.name="scratch" \
    org.opencontainers.image.ref.name="${VERSION}" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.created="${CREATED}"
COPY --from=build /image/ /
COPY --from=build --chown=65532:65532 /state/ /var/lib/
ENV PATH=/usr/bin \
    CAIRN_DATA_DIR=/var/lib/cairn/data \
    CAIRN_LISTEN_CLIENT_URLS=http://0.0.0.0:2379 \
    CAIRN_ADVERTISE_CLIENT_URLS=http://127.0.0.1:2379
EXPOSE 2379/tcp
VOLUME ["/var/lib/cairn"]
WORKDIR /var/lib/cairn
USER 65532:65532
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s --retries=3 CMD ["/usr/bin/cairnd", "healthcheck"]
ENTRYPOINT ["/usr/bin/cairnd"]
