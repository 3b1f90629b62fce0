//! What is in an image: users, certificate authorities, folders, programs. No shell, no package manager, nothing else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::files::{EXECUTABLE_MODE, FILE_MODE};
use crate::plan::PRODUCT;
use crate::tarball::{Entries, Entry};

/// User and group under which a container runs unless told otherwise.
pub const USER_ID: u64 = 65_532;

/// Folder that volumes are mounted on.
pub const STATE_FOLDER: &str = "/var/lib/cairn";

/// Data directory of the server: below the volume, so that the server makes it with a mode and an owner of its own.
pub const DATA_FOLDER: &str = "/var/lib/cairn/data";

/// Path of the certificate authorities in an image.
pub const CA_BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";

/// Programs of an image, each with the name under which it stands in for a program of etcd.
pub const PROGRAMS: [(&str, &str); 3] = [("cairnd", "etcd"), ("cairnctl", "etcdctl"), ("cairnutl", "etcdutl")];

/// Anybody may create files here, and only their owner may remove them.
const SHARED_MODE: u32 = 0o1777;

/// Characters in a line of PEM.
const PEM_LINE: usize = 64;

/// Users, certificate authorities and folders.
///
/// The state folder belongs to the usual user, and is as open as `/tmp`: a volume takes mode and owner from it, and has to
/// work for whatever user the container is given.
pub(super) fn base() -> Entries {
    let text = |text: String| Entry::Bytes(FILE_MODE, text.into_bytes());
    let passwd = format!(
        "root:x:0:0:root:/:/sbin/nologin\n{PRODUCT}:x:{USER_ID}:{USER_ID}:{PRODUCT}:{STATE_FOLDER}:/sbin/nologin\n"
    );
    let authorities_licence = include_str!("CDLA-Permissive-2.0.txt").to_owned();
    Entries::from([
        ("etc/passwd".to_owned(), text(passwd)),
        ("etc/group".to_owned(), text(format!("root:x:0:\n{PRODUCT}:x:{USER_ID}:\n"))),
        ("etc/nsswitch.conf".to_owned(), text("passwd: files\ngroup: files\nhosts: files dns\n".to_owned())),
        (CA_BUNDLE.to_owned(), text(authorities())),
        ("usr/share/doc/ca-certificates/copyright".to_owned(), text(authorities_licence)),
        ("tmp".to_owned(), Entry::Folder(SHARED_MODE)),
        (STATE_FOLDER[1..].to_owned(), Entry::OwnedFolder(SHARED_MODE, USER_ID)),
    ])
}

/// Mozilla's certificate authorities as PEM, in the order of their bytes. `Cargo.lock` pins which ones.
fn authorities() -> String {
    let mut certificates: Vec<_> = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().map(AsRef::as_ref).collect();
    certificates.sort_unstable();
    let mut pem = String::new();
    for certificate in certificates {
        let text: Vec<_> = STANDARD.encode::<&[u8]>(certificate).into_bytes();
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in text.chunks(PEM_LINE) {
            pem.extend(line.iter().map(|byte| char::from(*byte)));
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    pem
}

/// Paths of the programs in the folder that has them.
pub(super) fn program_paths(folder: &Path) -> Vec<PathBuf> {
    PROGRAMS.iter().map(|(name, _)| folder.join(name)).collect()
}

/// The programs, their names of etcd's, and documents by file name.
pub(super) fn programs(folder: &Path, documents: &BTreeMap<String, PathBuf>) -> Entries {
    let mut entries = Entries::new();
    for (name, etcd_name) in PROGRAMS {
        entries.insert(format!("usr/bin/{name}"), Entry::File(EXECUTABLE_MODE, folder.join(name)));
        entries.insert(format!("usr/bin/{etcd_name}"), Entry::Link(name.to_owned()));
    }
    for (name, path) in documents {
        entries.insert(format!("usr/share/doc/{PRODUCT}/{name}"), Entry::File(FILE_MODE, path.clone()));
    }
    entries
}
