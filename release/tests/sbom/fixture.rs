//! A small source tree whose programs have crates of all kinds: own and foreign, native and such that only the compiler
//! runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cairn_release::sbom::{Components, Form, Inventory, Request, ShippedFile, Subject, Toolchain};
use tempfile::TempDir;

/// The platform of these tests.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-gnu";

/// What the catalogue of the tree says; its one part is in `pressed-sys`.
const NATIVE_TOML: &str = r#"
[[part]]
name = "pressed"
crate = "pressed-sys"
version = ["+press-", "-0-g"]
licence = "BSD-2-Clause"
purl = "pkg:github/someone/pressed@v{version}"
texts = ["vendor/COPYING", "vendor/table.h#comment"]
cxx = true
signs = ["hex:00ff10", "pressed: bad block"]
exact = "pressed {version}"

[[part]]
name = "option"
crate = "pressed-sys"
feature = "option"
licence = "MIT"
purl = "pkg:generic/option"
texts = ["vendor/COPYING"]
signs = ["option: "]

[[runtime]]
name = "libcxx"
toolchain = "zig"
in = "cxx"
version_in = ["lib/__config", "_LIBCPP_VERSION"]
licence = "Apache-2.0 WITH LLVM-exception"
purl = "pkg:generic/libcxx@{version}"
texts = ["lib/LICENSE.TXT"]
signs = ["NSt3__1"]

[[runtime]]
name = "compiler-rt"
toolchain = "zig"
in = "every"
licence = "MIT"
purl = "pkg:generic/compiler-rt@{version}"
texts = ["nowhere"]
texts_else = ["LICENSE"]
unprovable = "has no texts"

[[pure]]
crate = "careful"
why = "links nothing, it wants to be alone"
"#;

/// A tree in a temporary folder.
pub(crate) struct Tree {
    scratch: TempDir,
}

impl Tree {
    /// The usual tree: `server` needs everything, `client` only `helper`.
    pub(crate) fn new() -> Self {
        let tree = Self { scratch: tempfile::tempdir().unwrap() };
        tree.write("tree/Cargo.toml", "[workspace]\nresolver = \"3\"\nmembers = [\"server\", \"client\"]\n");
        tree.write("tree/release/native.toml", NATIVE_TOML);
        tree.write(
            "tree/deny.toml",
            "[licenses]\nallow = [\"Apache-2.0\", \"Apache-2.0 WITH LLVM-exception\", \"BSD-2-Clause\", \"MIT\"]\n",
        );
        tree.package(
            "tree/server",
            "server",
            "0.1.0",
            "license = \"Apache-2.0\"",
            &needs(&["helper", "pressed-sys", "careful", "derive"]),
        );
        tree.package("tree/client", "client", "0.1.0", "license = \"Apache-2.0\"", &needs(&["helper"]));
        let helper = "license = \"MIT/Apache-2.0\"\nrepository = \"https://example.org/helper\"";
        tree.package(
            "others/helper",
            "helper",
            "1.2.3",
            helper,
            "[build-dependencies]\nbuilder = { path = \"../builder\" }\n",
        );
        tree.package("others/builder", "builder", "1.0.0", "license = \"GPL-3.0-only\"", "");
        tree.package("others/derive", "derive", "1.0.0", "license = \"GPL-3.0-only\"", "[lib]\nproc-macro = true\n");
        tree.package("others/careful", "careful", "1.0.0", "license = \"MIT\"\nlinks = \"careful\"", "");
        let pressed = "license = \"MIT\"\nlinks = \"pressed\"";
        tree.package(
            "others/pressed-sys",
            "pressed-sys",
            "2.0.0+press-1.10.0-0-gabc",
            pressed,
            "[features]\noption = []\n",
        );
        for folder in ["helper", "careful", "pressed-sys"] {
            tree.write(&format!("others/{folder}/build.rs"), "fn main() {}\n");
        }
        tree.write("others/helper/LICENSE-MIT", "the MIT text  \r\nof helper\r\n");
        tree.write("others/helper/LICENSE-APACHE", "the Apache text\n");
        tree.write("others/careful/license.md", "\n\nthe MIT text\nof helper\n\n");
        tree.write("others/pressed-sys/LICENSE", "the text of pressed-sys\n");
        tree.write("others/pressed-sys/vendor/COPYING", "the text of pressed\n");
        tree.write("others/pressed-sys/vendor/table.h", "/* a table */\n/* Copyright of the table */\nint table;\n");
        tree.write("zig/LICENSE", "the text of zig\n");
        tree.write("zig/lib/LICENSE.TXT", "the text of libcxx\n");
        tree.write("zig/lib/__config", "#  ifndef _LIBCPP_VERSION\n#  define _LIBCPP_VERSION 220108\n");
        tree.lock();
        tree
    }

    /// Root of the tree.
    pub(crate) fn root(&self) -> PathBuf {
        self.scratch.path().join("tree")
    }

    /// Writes a file below the temporary folder.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.scratch.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Replaces a text in a file.
    pub(crate) fn replace(&self, path: &str, from: &str, to: &str) {
        let full = self.scratch.path().join(path);
        let text = fs::read_to_string(&full).unwrap();
        assert!(text.contains(from), "{path} has no {from:?}");
        fs::write(full, text.replace(from, to)).unwrap();
    }

    /// Removes a file.
    pub(crate) fn remove(&self, path: &str) {
        fs::remove_file(self.scratch.path().join(path)).unwrap();
    }

    fn package(&self, folder: &str, name: &str, version: &str, fields: &str, rest: &str) {
        let head = format!("[package]\nname = \"{name}\"\nversion = \"{version}\"\nedition = \"2024\"\n{fields}\n");
        self.write(&format!("{folder}/Cargo.toml"), &format!("{head}\n{rest}"));
        self.write(&format!("{folder}/src/lib.rs"), "");
    }

    /// Makes the lock file fit the manifests.
    pub(crate) fn lock(&self) {
        let mut cargo = Command::new(env!("CARGO"));
        let output = cargo.current_dir(self.root()).args(["generate-lockfile", "--offline"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// The toolchain that adds code to the programs.
    pub(crate) fn zig(&self) -> Toolchain {
        Toolchain { name: "zig".to_owned(), version: "0.17.1".to_owned(), folder: self.scratch.path().join("zig") }
    }

    /// What the programs are made of, each built by itself.
    pub(crate) fn inventory(&self) -> Inventory {
        let builds: [&[&str]; 2] = [&["server"], &["client"]];
        let (root, toolchains) = (self.root(), [self.zig()]);
        Inventory::gather(&Request { root: &root, target: TARGET, builds: &builds, toolchains: &toolchains }).unwrap()
    }

    /// What the server is made of.
    pub(crate) fn server(&self) -> Components {
        self.inventory().of(&["server"]).unwrap()
    }
}

fn needs(names: &[&str]) -> String {
    let lines = names.iter().map(|name| format!("{name} = {{ path = \"../../others/{name}\" }}\n"));
    format!("[dependencies]\n{}", lines.collect::<String>())
}

/// The files of the archive of these tests.
pub(crate) fn files() -> Vec<ShippedFile> {
    [("LICENSE", None), ("bin/server", Some("server"))]
        .map(|(path, package)| ShippedFile::read(path, path.as_bytes(), package).unwrap())
        .to_vec()
}

/// The archive of these tests.
pub(crate) fn subject(files: &[ShippedFile]) -> Subject<'_> {
    Subject {
        name: "cairn",
        version: "0.1.0",
        form: Form::Archive,
        artifact: "cairn-0.1.0-linux-amd64.tar.gz",
        sha256: Some("5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"),
        target: TARGET,
        commit: Some("0123456789abcdef0123456789abcdef01234567"),
        source_date_epoch: 1_700_000_000,
        files,
    }
}

/// Root of the real source tree.
pub(crate) fn source_tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package is in the workspace").to_owned()
}
