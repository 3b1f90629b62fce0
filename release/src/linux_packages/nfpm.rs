//! Lets `nfpm` write a planned package.
//!
//! Contract: the package's bytes depend on the plan and nfpm's version alone. Everything that nfpm could take from its
//! surroundings is given to it: times, modes, owners, the name of the build host; its files lie in a folder of their own
//! under names that do not matter. It signs no rpm, since its OpenPGP signatures have random parts: see
//! [`crate::repository::openpgp`]. An apk gets none, either: its users check the release's minisign signature of the file.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::contents::{Content, Role};
use super::names::{APK_RELEASE, RPM_RELEASE};
use super::{Format, Kind, MAINTAINER, Package, Script, tool};
use crate::date;
use crate::files;
use crate::plan::HOME;
use crate::process;

/// The product's licence as SPDX names it.
const LICENCE: &str = "Apache-2.0";

/// Writes the package into a folder under its own name and returns its path.
///
/// # Errors
///
/// nfpm fails, or a file cannot be written.
pub fn build(package: &Package, nfpm: &Path, folder: &Path) -> Result<PathBuf> {
    files::create_folder(folder)?;
    let scratch = tempfile::tempdir()?;
    let config = configuration(package, scratch.path())?;
    let config_path = scratch.path().join("nfpm.json");
    fs::write(&config_path, serde_json::to_vec(&config)?)?;
    let path = folder.join(package.file_name());
    // Written elsewhere first: a killed run must not leave half a package under its name.
    let partial = folder.join(format!(".{}.partial", package.file_name()));
    let mut command = process::clean_command(nfpm);
    command.env("SOURCE_DATE_EPOCH", package.source_date_epoch.to_string());
    command.args(["package", "--packager", packager(package.id.format), "--config"]).arg(&config_path);
    tool::output(command.arg("--target").arg(&partial))?;
    fs::rename(&partial, &path).with_context(|| format!("cannot rename {} to its name", partial.display()))?;
    Ok(path)
}

fn packager(format: Format) -> &'static str {
    match format {
        Format::Deb => "deb",
        Format::Rpm => "rpm",
        Format::Apk => "apk",
        Format::Arch => "archlinux",
    }
}

/// nfpm's configuration; JSON is YAML, too.
fn configuration(package: &Package, scratch: &Path) -> Result<Value> {
    let Package { id, version, .. } = package;
    let time = date::rfc3339(package.source_date_epoch);
    let mut config = json!({
        "name": id.kind.package_name(),
        "arch": id.format.machine(id.machine),
        "platform": "linux",
        "version": version.upstream(id.format),
        "version_schema": "none",
        "maintainer": MAINTAINER,
        "vendor": "The Cairn authors",
        "homepage": HOME,
        "license": LICENCE,
        "section": "database",
        "priority": "optional",
        "description": format!("{}\n{}", summary(id.kind), description(id.kind)),
        "mtime": time,
        "umask": 0o022,
        "disable_globbing": true,
        "depends": package.depends()?,
        "provides": package.provides,
        "conflicts": package.conflicts,
        "replaces": package.replaces,
        "contents": contents(package, scratch)?,
        "scripts": scripts(package)?,
    });
    let fields = config.as_object_mut().expect("it is one");
    match id.format {
        Format::Deb => {
            fields.insert("deb".to_owned(), json!({ "compression": "xz", "arch": id.format.machine(id.machine) }));
        }
        Format::Rpm => rpm(package, scratch, &time, fields)?,
        Format::Apk => {
            let apk = json!({ "arch": id.format.machine(id.machine), "scripts": upgrade_scripts(package) });
            fields.insert("apk".to_owned(), apk);
            fields.insert("release".to_owned(), json!(APK_RELEASE));
        }
        Format::Arch => {
            let scripts = upgrade_scripts(package);
            let arch = json!({ "arch": id.format.machine(id.machine), "packager": MAINTAINER, "scripts": scripts });
            fields.insert("archlinux".to_owned(), arch);
            fields.insert("release".to_owned(), json!(RPM_RELEASE));
        }
    }
    Ok(config)
}

fn rpm(package: &Package, scratch: &Path, time: &str, fields: &mut Map<String, Value>) -> Result<()> {
    let id = package.id;
    let rpm = json!({
        "arch": id.format.machine(id.machine),
        "summary": summary(id.kind),
        "group": "Applications/Databases",
        "packager": MAINTAINER,
        // Not the machine's: the bytes must not depend on it.
        "buildhost": HOME.trim_start_matches("https://"),
        "compression": "xz",
    });
    let changes: Vec<_> = package.changes.iter().map(|change| json!({ "note": change })).collect();
    let version = package.version.full(id.format);
    let changelog = json!([{ "semver": version, "date": time, "packager": MAINTAINER, "changes": changes }]);
    let path = scratch.join("changelog.json");
    fs::write(&path, serde_json::to_vec(&changelog)?)?;
    fields.insert("rpm".to_owned(), rpm);
    fields.insert("changelog".to_owned(), json!(path));
    fields.insert("release".to_owned(), json!(RPM_RELEASE));
    Ok(())
}

/// Writes the contents of the package into files and lists them.
fn contents(package: &Package, scratch: &Path) -> Result<Vec<Value>> {
    let folder = scratch.join("contents");
    files::create_folder(&folder)?;
    let mut list = Vec::new();
    for (index, (path, content)) in package.contents.iter().enumerate() {
        let mut entry = json!({ "dst": path, "file_info": { "owner": "root", "group": "root" } });
        match content {
            Content::File { mode, bytes, role } => {
                let source = folder.join(index.to_string());
                fs::write(&source, bytes)?;
                entry["src"] = json!(source);
                entry["file_info"]["mode"] = json!(mode);
                entry["type"] = json!(content_type(package.id.format, *role));
            }
            Content::Link(to) => {
                entry["src"] = json!(to);
                entry["type"] = json!("symlink");
            }
            Content::Folder => {
                entry["file_info"]["mode"] = json!(files::EXECUTABLE_MODE);
                entry["type"] = json!("dir");
            }
        }
        list.push(entry);
    }
    Ok(list)
}

fn content_type(format: Format, role: Role) -> &'static str {
    match (role, format) {
        (Role::Configuration, _) => "config|noreplace",
        (Role::Documentation, Format::Rpm) => "doc",
        (Role::Licence, Format::Rpm) => "license",
        _ => "file",
    }
}

fn scripts(package: &Package) -> Result<Value> {
    let mut scripts = Map::new();
    for (script, path) in &package.scripts {
        let name = match script {
            Script::PostInstall => "postinstall",
            Script::PreRemove => "preremove",
            Script::PostRemove => "postremove",
        };
        scripts.insert(name.to_owned(), json!(absolute(path)?));
    }
    Ok(Value::Object(scripts))
}

/// apk and pacman run other scripts at an upgrade than at the first installation; ours tells both apart itself.
fn upgrade_scripts(package: &Package) -> Value {
    let after = package.scripts.iter().find(|(script, _)| *script == Script::PostInstall);
    after.map_or_else(|| json!({}), |(_, path)| json!({ "postupgrade": path }))
}

/// nfpm resolves relative paths by a rule of its own.
fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("cannot find {}", path.display()))
}

fn summary(kind: Kind) -> &'static str {
    match kind {
        Kind::Server => "Replicated key-value store with the etcd v3 API - server",
        Kind::Client => "Replicated key-value store with the etcd v3 API - client tools",
        Kind::EtcdNames => "Replicated key-value store with the etcd v3 API - etcd's names",
    }
}

/// Paragraph of the description; its lines are as wide as Debian wants them.
fn description(kind: Kind) -> &'static str {
    match kind {
        Kind::Server => {
            "Cairn is a strongly consistent key-value store that speaks the etcd v3 API\n\
             and keeps its data in RocksDB. This package has the server cairnd and its\n\
             systemd unit, which is neither enabled nor started by the installation."
        }
        Kind::Client => {
            "Cairn is a strongly consistent key-value store that speaks the etcd v3 API.\n\
             This package has the command-line client cairnctl, the offline tool cairnutl\n\
             for snapshots and the load generator cairn-bench."
        }
        Kind::EtcdNames => {
            "Cairn is a strongly consistent key-value store that speaks the etcd v3 API.\n\
             This package has links from etcd, etcdctl and etcdutl to Cairn's programs,\n\
             which behave as those under these names. It takes the place of etcd."
        }
    }
}
