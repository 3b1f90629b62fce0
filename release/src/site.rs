//! Where a run keeps its things: one place for every path below the output folder and the build folder.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::plan::{Artifact, ArtifactKind, Plan, Target};
use crate::sbom::Inventory;
use crate::toolchain::Toolchain;

/// File name of the minisign public key that signs releases.
pub const MINISIGN_KEY_NAME: &str = "cairn.pub";

/// File name of the OpenPGP public key, or keys, of packages and repositories.
pub const OPENPGP_KEY_NAME: &str = "cairn.asc";

/// Name of cargo's target folder.
const TARGET_DIR: &str = "target";

/// The same for builds that compile the standard library. The build script of proc-macro2 watches the variable that allows
/// it: in one folder, builds with and without would run it again in turn, and all behind it, up to RocksDB.
const STD_TARGET_DIR: &str = "target-std";

/// Name of cargo's target folder for builds with a toolchain.
#[must_use]
pub const fn target_dir_name(toolchain: &Toolchain) -> &'static str {
    if toolchain.builds_std { STD_TARGET_DIR } else { TARGET_DIR }
}

/// The plan and the places of one run.
#[derive(Debug)]
pub struct Site {
    /// What is made.
    pub plan: Plan,
    /// Root of the source tree.
    pub root: PathBuf,
    /// Folder for all output.
    pub out: PathBuf,
    /// Folder for exported trees, cargo's target folder and roots of distributions: what a later run finds again.
    pub work: PathBuf,
    /// Folder with a folder of programs per target that were built already; without one they are built.
    pub given_programs: Option<PathBuf>,
    /// Folder with the public keys, `cairn.pub`, `cairn.asc` and `keys.json`, that belong to the secret ones.
    pub given_public_keys: PathBuf,
    /// The secret keys that sign; only the sealing steps read them.
    pub keys: SecretKeys,
    /// Folder or address of the site whose package repositories this release is added to, as
    /// [`crate::repository::published::Published::at`] takes it; only the sealing steps read them.
    pub published_repositories: String,
    /// What the programs are made of, by name of the target, as far as a step has asked: each takes cargo a second.
    pub inventories: RefCell<BTreeMap<String, Rc<Inventory>>>,
}

/// Files with the secret keys of a run.
#[derive(Debug, Clone)]
pub struct SecretKeys {
    /// Minisign key of the release.
    pub minisign: PathBuf,
    /// OpenPGP key of RPM packages and repositories, in ASCII armour.
    pub openpgp: PathBuf,
}

impl SecretKeys {
    /// The keys in a folder, such as the throwaway ones of a rehearsal.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self { minisign: folder.join("minisign.key"), openpgp: folder.join("openpgp.asc") }
    }
}

impl Site {
    /// The release folder: what is published, with signatures.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.out.join(self.plan.folder_name())
    }

    /// Path of an artifact in the release folder.
    #[must_use]
    pub fn path(&self, kind: ArtifactKind, target: Option<&Target>) -> PathBuf {
        self.path_of(self.plan.artifact(kind, target))
    }

    /// Path of this artifact in the release folder.
    #[must_use]
    pub fn path_of(&self, artifact: &Artifact) -> PathBuf {
        self.dir().join(&artifact.name)
    }

    /// The target's programs as the compiler left them.
    #[must_use]
    pub fn built(&self, target: &Target) -> PathBuf {
        self.built_folder().join(&target.name)
    }

    /// Folder with a folder of programs per target, as the compiler left them.
    #[must_use]
    pub fn built_folder(&self) -> PathBuf {
        self.given_programs.clone().unwrap_or_else(|| self.out.join("built"))
    }

    /// The target's programs as they are shipped.
    #[must_use]
    pub fn programs(&self, target: &Target) -> PathBuf {
        self.out.join("programs").join(&target.name)
    }

    /// The target's debug information, by build id.
    #[must_use]
    pub fn debug(&self, target: &Target) -> PathBuf {
        self.out.join("debug").join(&target.name)
    }

    /// Packages that get a signature inside before they are published.
    #[must_use]
    pub fn unsigned(&self) -> PathBuf {
        self.out.join("unsigned")
    }

    /// Man pages and completions, a folder per program.
    #[must_use]
    pub fn docs(&self) -> PathBuf {
        self.out.join("docs")
    }

    /// The images as an OCI layout.
    #[must_use]
    pub fn layout(&self) -> PathBuf {
        self.out.join("oci")
    }

    /// Public keys, as users have them.
    #[must_use]
    pub fn public_keys(&self) -> PathBuf {
        self.out.join("keys")
    }

    /// The minisign public key.
    #[must_use]
    pub fn minisign_public_key(&self) -> PathBuf {
        self.public_keys().join(MINISIGN_KEY_NAME)
    }

    /// The OpenPGP public key.
    #[must_use]
    pub fn openpgp_public_key(&self) -> PathBuf {
        self.public_keys().join(OPENPGP_KEY_NAME)
    }

    /// The apt and yum repositories.
    #[must_use]
    pub fn repositories(&self) -> PathBuf {
        self.out.join("repositories")
    }

    /// The one file for sites without network.
    #[must_use]
    pub fn bundle(&self) -> PathBuf {
        self.out.join("bundle")
    }

    /// The list of what went into the release besides the commit.
    #[must_use]
    pub fn materials(&self) -> PathBuf {
        self.out.join("materials.json")
    }

    /// Lists of crates that are embedded in the target's programs, a file per package.
    #[must_use]
    pub fn crate_lists(&self, target: &Target) -> PathBuf {
        self.out.join("crate-lists").join(&target.name)
    }

    /// The folder that a rehearsal publishes into.
    #[must_use]
    pub fn published(&self) -> PathBuf {
        self.out.join("published")
    }

    /// The exported tree of the commit.
    #[must_use]
    pub fn tree(&self) -> PathBuf {
        self.work.join("tree")
    }

    /// Cargo's target folder.
    #[must_use]
    pub fn target_dir(&self) -> PathBuf {
        self.work.join(TARGET_DIR)
    }

    /// The target that this machine runs without emulation, or the first; the one for glibc comes before the static one.
    #[must_use]
    pub fn native(&self) -> &Target {
        let native = self.plan.targets.iter().find(|target| target.arch.machine == std::env::consts::ARCH);
        native.unwrap_or(&self.plan.targets[0])
    }

    /// The toolchain for a target.
    ///
    /// # Errors
    ///
    /// None of this machine's has it.
    pub fn toolchain(&self, target: &Target) -> anyhow::Result<Toolchain> {
        Toolchain::find(&self.root, target)
    }
}
