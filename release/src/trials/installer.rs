//! The shell installer against a file server: what it must refuse first, then installing, using and removing.
//!
//! Systems that the machine is not are played by programs that stand before the real ones in `PATH`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::file_server::FileServer;
use super::repository::{change_byte, files_below};
use super::{Check, Step, accepted, refused, run_all};
use crate::digest::digest_file;
use crate::installer::INSTALLER_NAME;
use crate::linux_packages::tool::{self, Finished};
use crate::manifest::{MANIFEST_NAME, SUMS_NAME};
use crate::plan::SIGNATURE_SUFFIX;
use crate::{files, process, smoke};

/// What is tried.
#[derive(Debug, Clone, Copy)]
pub struct Trial<'a> {
    /// The signed release folder with the installer; it stays as it is.
    pub release: &'a Path,
    /// Name of the archive for this machine with all programs.
    pub archive: &'a str,
    /// Name of the one with the client programs.
    pub client_archive: &'a str,
    /// Name of the one with all programs that need no glibc, where the release has it.
    pub static_archive: Option<&'a str>,
}

impl Trial<'_> {
    fn archives(&self) -> impl Iterator<Item = &str> {
        [self.archive, self.client_archive].into_iter().chain(self.static_archive)
    }
}

/// All programs that the installer may need but minisign.
const TOOLS: [(&str, &str); 24] = [
    ("cat", "coreutils"),
    ("chmod", "coreutils"),
    ("cp", "coreutils"),
    ("curl", "curl"),
    ("cut", "coreutils"),
    ("dirname", "coreutils"),
    ("find", "findutils"),
    ("getconf", "libc-bin"),
    ("grep", "grep"),
    ("gzip", "gzip"),
    ("id", "coreutils"),
    ("ldd", "libc-bin"),
    ("mkdir", "coreutils"),
    ("mktemp", "coreutils"),
    ("mv", "coreutils"),
    ("rm", "coreutils"),
    ("rmdir", "coreutils"),
    ("sed", "sed"),
    ("sh", "dash"),
    ("sha256sum", "coreutils"),
    ("sort", "coreutils"),
    ("tar", "tar"),
    ("touch", "coreutils"),
    ("uname", "coreutils"),
];

/// Makes all checks.
///
/// # Errors
///
/// A file of the release or a program is missing.
pub fn run(trial: &Trial<'_>) -> Result<Vec<Check>> {
    tool::find("minisign", "minisign")?;
    for name in [INSTALLER_NAME, SUMS_NAME, MANIFEST_NAME].into_iter().chain(trial.archives()) {
        ensure!(trial.release.join(name).is_file(), "{} lacks {name}", trial.release.display());
    }
    let steps = refused_downloads().into_iter().chain(refused_systems()).chain(installations());
    Ok(run_all(&mut { *trial }, steps))
}

fn refused_downloads<'a>() -> [Step<Trial<'a>>; 7] {
    [
        ("the installer refuses an archive with a changed byte", |trial| {
            let stage = Stage::new(trial)?;
            change_byte(&stage.file(trial.archive))?;
            stage.is_refused(&[], "is not the released file")
        }),
        ("the installer refuses a changed archive that the server's own lists vouch for", |trial| {
            let stage = Stage::new(trial)?;
            stage.replace_archive(trial.archive)?;
            stage.is_refused(&["--no-minisign"], "is not the released file")
        }),
        ("an installer with another sum refuses the released archive", |trial| {
            let stage = Stage::new(trial)?;
            let sum = digest_file(&stage.file(trial.archive))?.sha256;
            stage.edit_script(&sum, &"0".repeat(sum.len()))?;
            stage.is_refused(&[], "is not the released file")
        }),
        ("the installer refuses the signature of another file", |trial| {
            let stage = Stage::new(trial)?;
            let signature = |name: &str| stage.file(&format!("{name}{SIGNATURE_SUFFIX}"));
            fs::copy(signature(SUMS_NAME), signature(trial.archive))?;
            stage.is_refused(&["--minisign"], "does not fit")
        }),
        ("the installer refuses changed sums beside the released archive", |trial| {
            let stage = Stage::new(trial)?;
            fs::write(stage.file(SUMS_NAME), "nothing\n")?;
            stage.is_refused(&[], "does not list")
        }),
        ("the installer refuses when a file is missing on the server", |trial| {
            let stage = Stage::new(trial)?;
            fs::remove_file(stage.file(trial.archive))?;
            stage.is_refused(&[], "cannot download")
        }),
        ("half of the installer does nothing", |trial| {
            let stage = Stage::new(trial)?;
            let script = fs::read(&stage.script)?;
            fs::write(&stage.script, &script[..script.len() / 2])?;
            let said = stage.run(&[])?;
            ensure!(!said.all().contains("downloading"), "it began: {}", said.all());
            stage.nothing_was_installed()
        }),
    ]
}

fn refused_systems<'a>() -> [Step<Trial<'a>>; 8] {
    [
        ("the installer refuses an architecture without programs", |trial| {
            let stage = Stage::new(trial)?;
            stage.play("uname", "[ \"$1\" = -m ] && echo riscv64 || echo Linux")?;
            stage.is_refused(&[], "no programs for the architecture riscv64")
        }),
        ("the installer refuses another operating system", |trial| {
            let stage = Stage::new(trial)?;
            stage.play("uname", "[ \"$1\" = -m ] && echo x86_64 || echo Darwin")?;
            stage.is_refused(&[], "Linux only")
        }),
        ("the installer gives no programs for glibc to musl", |trial| {
            let stage = Stage::new(trial)?;
            stage.play("getconf", "exit 1")?;
            stage.play("ldd", "echo 'musl libc (x86_64)' >&2; echo 'Version 1.2.5' >&2; exit 1")?;
            stage.gets_static_programs(trial, "this system uses musl")
        }),
        ("the installer gives no programs for glibc to one that is too old", |trial| {
            let stage = Stage::new(trial)?;
            stage.play("getconf", "echo glibc 2.17")?;
            stage.gets_static_programs(trial, "this system has glibc 2.17")
        }),
        ("the installer gives no programs for glibc to a C library of unknown version", |trial| {
            let stage = Stage::new(trial)?;
            stage.play("getconf", "exit 1")?;
            stage.play("ldd", "exit 1")?;
            stage.gets_static_programs(trial, "cannot tell the version of glibc")
        }),
        ("the installer refuses to do without minisign when told so", |trial| {
            let stage = Stage::new(trial)?.without(&[])?;
            stage.is_refused(&["--minisign"], "minisign is not there")
        }),
        ("the installer refuses when it has no program for sums", |trial| {
            let stage = Stage::new(trial)?.without(&["sha256sum"])?;
            stage.is_refused(&[], "cannot verify")
        }),
        ("the installer refuses programs that do not run here", |trial| {
            let stage = Stage::new(trial)?;
            // An archive of the right sum whose client ends with an error, as on a processor that is too old.
            stage.play("tar", "PATH=${PATH#*:}; tar \"$@\" && for p in \"$4\"/*/bin/cairnctl; do printf '#!/bin/sh\\nexit 132\\n' > \"$p\"; done")?;
            stage.is_refused(&[], "do not run on this machine")
        }),
    ]
}

fn installations<'a>() -> [Step<Trial<'a>>; 7] {
    [
        ("a dry run changes nothing", |trial| {
            let stage = Stage::new(trial)?;
            let said = accepted(&stage.run(&["--dry-run"])?)?;
            ensure!(said.contains(trial.archive), "it does not name the archive: {said}");
            stage.nothing_was_installed()
        }),
        ("the installer installs by sum and signature, and the server serves", |trial| {
            let stage = Stage::new(trial)?;
            let said = accepted(&stage.run(&["--minisign"])?)?;
            ensure!(said.contains("minisign signatures"), "it does not say that it used minisign: {said}");
            smoke::smoke(&stage.prefix, &[])
        }),
        ("the installer installs over itself and leaves nothing half done", |trial| {
            let stage = Stage::new(trial)?;
            accepted(&stage.run(&[])?)?;
            let first = stage.installed()?;
            accepted(&stage.run(&[])?)?;
            ensure!(stage.installed()? == first, "the second run left {:?}", stage.installed()?);
            Ok(())
        }),
        ("the installer works without minisign, by its sums", |trial| {
            let stage = Stage::new(trial)?.without(&[])?;
            let said = accepted(&stage.run(&[])?)?;
            ensure!(said.contains("minisign was not used"), "it does not say that minisign was not used: {said}");
            Ok(())
        }),
        ("the client alone has no server, and replaces a whole installation", |trial| {
            let stage = Stage::new(trial)?;
            accepted(&stage.run(&[])?)?;
            accepted(&stage.run(&["--client-only"])?)?;
            let programs = files::names_in(&stage.prefix.join("bin"))?;
            ensure!(programs.contains("cairnctl") && !programs.contains("cairnd"), "bin has {programs:?}");
            Ok(())
        }),
        ("the installer removes all that it installed and nothing else", |trial| {
            let stage = Stage::new(trial)?;
            files::create_folder(&stage.prefix.join("bin"))?;
            fs::write(stage.prefix.join("bin/mine"), "not Cairn's")?;
            accepted(&stage.run(&[])?)?;
            accepted(&stage.run(&["--uninstall"])?)?;
            ensure!(stage.installed()? == ["bin/mine"], "left is {:?}", stage.installed()?);
            Ok(())
        }),
        ("the installer follows no list out of its prefix", |trial| {
            let stage = Stage::new(trial)?;
            accepted(&stage.run(&[])?)?;
            let outside = stage.scratch.path().join("outside");
            fs::write(&outside, "keep")?;
            fs::write(stage.prefix.join("share/cairn/installed-files"), "../outside\n")?;
            refused(&stage.run(&["--uninstall"])?, &["is damaged"])?;
            ensure!(outside.exists(), "it removed a file outside of the prefix");
            Ok(())
        }),
    ]
}

/// A copy of the release folder behind a server, an empty prefix, and the `PATH` of the trial.
struct Stage {
    scratch: TempDir,
    served: PathBuf,
    script: PathBuf,
    prefix: PathBuf,
    url: String,
    path: String,
}

impl Stage {
    fn new(trial: &Trial<'_>) -> Result<Self> {
        let scratch = tempfile::tempdir()?;
        let (served, played) = (scratch.path().join("served"), scratch.path().join("played"));
        files::create_folder(&served)?;
        files::create_folder(&played)?;
        // Only what the installer may ask for: a release has gigabytes of other things.
        for name in [SUMS_NAME, MANIFEST_NAME].into_iter().chain(trial.archives()) {
            for name in [name.to_owned(), format!("{name}{SIGNATURE_SUFFIX}")] {
                fs::copy(trial.release.join(&name), served.join(&name))
                    .with_context(|| format!("cannot copy {name}"))?;
            }
        }
        let script = scratch.path().join(INSTALLER_NAME);
        fs::copy(trial.release.join(INSTALLER_NAME), &script)?;
        let url = FileServer::start(&served)?.url().to_owned();
        let path = format!("{}:{}", played.display(), std::env::var("PATH")?);
        let prefix = scratch.path().join("a prefix");
        Ok(Self { scratch, served, script, prefix, url, path })
    }

    /// The same with the usual tools alone, without minisign and these.
    fn without(mut self, missing: &[&str]) -> Result<Self> {
        let tools = self.scratch.path().join("tools");
        files::create_folder(&tools)?;
        for (name, package) in TOOLS.iter().filter(|(name, _)| !missing.contains(name)) {
            symlink(tool::find(name, package)?, tools.join(name))?;
        }
        self.path = tools.display().to_string();
        Ok(self)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.served.join(name)
    }

    /// Puts a program before the real one.
    fn play(&self, name: &str, body: &str) -> Result<()> {
        let path = self.scratch.path().join("played").join(name);
        fs::write(&path, format!("#!/bin/sh\n{body}\n"))?;
        fs::set_permissions(path, fs::Permissions::from_mode(files::EXECUTABLE_MODE))?;
        Ok(())
    }

    /// Changes the archive, and the lists so that they fit again: what somebody can do who has the server, not the key.
    fn replace_archive(&self, archive: &str) -> Result<()> {
        let before = digest_file(&self.file(archive))?.sha256;
        change_byte(&self.file(archive))?;
        let after = digest_file(&self.file(archive))?.sha256;
        for name in [SUMS_NAME, MANIFEST_NAME] {
            let text = fs::read_to_string(self.file(name))?;
            fs::write(self.file(name), text.replace(&before, &after))?;
        }
        Ok(())
    }

    fn edit_script(&self, from: &str, to: &str) -> Result<()> {
        let text = fs::read_to_string(&self.script)?;
        ensure!(text.contains(from), "the installer does not have {from}");
        fs::write(&self.script, text.replace(from, to))?;
        Ok(())
    }

    fn run(&self, arguments: &[&str]) -> Result<Finished> {
        let mut command = process::clean_command(&tool::find("sh", "dash")?);
        command.env("PATH", &self.path).env("HOME", self.scratch.path()).env("CAIRN_INSTALL_URL", &self.url);
        tool::run(command.arg(&self.script).arg("--prefix").arg(&self.prefix).args(arguments))
    }

    fn is_refused(&self, arguments: &[&str], reason: &str) -> Result<()> {
        refused(&self.run(arguments)?, &[reason])?;
        self.nothing_was_installed()
    }

    /// Where programs for glibc do not run, it installs those that need none, and refuses if the release has none.
    fn gets_static_programs(&self, trial: &Trial<'_>, reason: &str) -> Result<()> {
        let Some(archive) = trial.static_archive else { return self.is_refused(&[], reason) };
        let said = accepted(&self.run(&[])?)?;
        ensure!(said.contains(reason) && said.contains(archive), "it does not say what it installs, and why: {said}");
        ensure!(self.prefix.join("bin/cairnd").is_file(), "it installed {:?}", self.installed()?);
        Ok(())
    }

    fn nothing_was_installed(&self) -> Result<()> {
        ensure!(!self.prefix.exists(), "it wrote {:?} all the same", self.installed()?);
        Ok(())
    }

    fn installed(&self) -> Result<Vec<String>> {
        let name = |path: &PathBuf| Ok(path.strip_prefix(&self.prefix)?.to_string_lossy().into_owned());
        files_below(&self.prefix)?.iter().map(name).collect()
    }
}
