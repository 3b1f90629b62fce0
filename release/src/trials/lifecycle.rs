//! The life of the packages on a host, the same for all package managers: install, use, reinstall, upgrade, downgrade,
//! remove. The managers' own ways are behind [`Manager`].

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::root::Root;
use super::service::Service;
use super::{Packages, Step};
use crate::files;
use crate::linux_packages::{CONFIGURATION, CONFIGURATION_FILE, Content, DATA_DIR, Package, UNIT_FILE};

/// Address in the packaged configuration, which the trial moves to a free port: its own edit of the configuration.
const PACKAGED_ADDRESS: &str = "127.0.0.1:2379";

/// Line that the edit adds.
const EDIT: &str = "# edited by the trial\n";

/// Key that is put before the upgrade and got after each change.
const KEY: &str = "cairn/trial/first";
const VALUE: &str = "written before the upgrade";

/// Line by which the configuration of the older packages differs.
const OLDER_COMMENT: &[u8] = b"# This comment is gone in the next version.\n";

/// Gives a package that stands for an older version another configuration than the present one. While both are equal, no
/// package manager has to choose between an edited configuration and a new one.
pub fn make_older(package: &mut Package) {
    if let Some(Content::File { bytes, .. }) = package.contents.get_mut(CONFIGURATION_FILE) {
        bytes.extend_from_slice(OLDER_COMMENT);
    }
}

/// What the trial asks of a package manager.
pub(super) trait Manager {
    /// Installs packages, be they newer, older or the same as the installed ones; returns what was said.
    fn install(&self, root: &Root, packages: &[&Path]) -> Result<String>;

    /// Removes packages as its users usually do; returns what was said.
    fn remove(&self, root: &Root, names: &[&str]) -> Result<String>;

    /// Version of an installed package, as the manager says it.
    fn version(&self, root: &Root, name: &str) -> Result<String>;

    /// Where the edited configuration is after the removal.
    fn kept_configuration(&self) -> &'static str;

    /// Where the new configuration is after an upgrade that kept an edited one.
    fn offered_configuration(&self) -> &'static str;
}

/// What the checks share.
pub(super) struct Stage<'a> {
    pub(super) root: Root,
    pub(super) manager: Box<dyn Manager + 'a>,
    pub(super) current: Packages<'a>,
    pub(super) previous: Packages<'a>,
    /// The configuration as the current packages bring it.
    brought: String,
    /// The configuration as the trial edited it.
    edited: String,
    url: String,
    service: Option<Service>,
    /// Versions of the server's packages, as installed at first and after the upgrade.
    versions: Vec<String>,
}

impl<'a> Stage<'a> {
    pub(super) fn new(
        root: Root,
        manager: Box<dyn Manager + 'a>,
        current: Packages<'a>,
        previous: Packages<'a>,
    ) -> Self {
        let (brought, edited, url, versions) = (String::new(), String::new(), String::new(), Vec::new());
        Self { root, manager, current, previous, brought, edited, url, service: None, versions }
    }

    fn install(&self, packages: Packages<'_>) -> Result<String> {
        self.manager.install(&self.root, &[packages.server, packages.client])
    }

    fn client(&self, words: &[&str]) -> Result<String> {
        self.root.succeed(&[&["/usr/bin/cairnctl", "--endpoints", &self.url], words].concat())
    }

    fn start(&mut self) -> Result<()> {
        self.service = Some(Service::start(&self.root)?);
        Ok(())
    }

    fn stop(&mut self) -> Result<()> {
        self.service.take().context("the server does not run")?.stop()
    }

    fn expect_value(&self) -> Result<()> {
        let got = self.client(&["get", "--print-value-only", KEY])?;
        ensure!(got.trim_end() == VALUE, "put {VALUE:?}, got {got:?}");
        Ok(())
    }

    /// No package manager left another configuration beside the one that is used.
    fn expect_one_configuration(&self) -> Result<()> {
        let names = files::names_in(&self.root.path(CONFIGURATION)).context("cannot read /etc/cairn in the root")?;
        ensure!(names.len() == 1, "{CONFIGURATION} has {names:?}, though nobody edited anything");
        Ok(())
    }

    fn expect_edited(&self) -> Result<()> {
        ensure!(
            self.root.read(CONFIGURATION_FILE)? == self.edited,
            "{CONFIGURATION_FILE} is no longer as it was edited"
        );
        Ok(())
    }
}

/// The checks from the first installation to the removal.
pub(super) fn steps<'a>() -> Vec<Step<Stage<'a>>> {
    vec![
        ("a first installation starts and enables nothing and says what to do next", install_previous),
        ("it makes the user cairn without a shell and a data folder that is the user's alone", check_account),
        ("an upgrade and a downgrade exchange a configuration that nobody edited, without leaving another", exchange),
        ("the unit's command line, run as that user, says when it is ready; put and get work", use_edited),
        ("a reinstallation keeps the edited configuration", reinstall),
        ("an upgrade restarts nothing: the running server goes on, and its user is told how to restart", upgrade),
        ("it keeps the edited configuration and puts the new one beside it", check_offered),
        ("the new version has the data and the edited configuration", use_again),
        ("a downgrade keeps data and edited configuration", downgrade),
        ("etcd's names stand for the programs of their own version", etcd_names),
        ("a removal takes the programs, but neither data nor edited configuration, and says so", remove),
        ("an installation after it finds the data again", install_again),
    ]
}

fn install_previous(stage: &mut Stage<'_>) -> Result<()> {
    let said = stage.install(stage.previous)?;
    ensure!(said.contains("neither enabled nor started") && said.contains("systemctl enable --now"), "it said: {said}");
    ensure!(stage.root.has(UNIT_FILE), "{UNIT_FILE} is missing");
    let units = stage.root.succeed(&["find", "/etc/systemd", "/run/systemd", "-name", "*cairn*"]);
    // Neither folder is there without systemd, and then find fails, too.
    ensure!(!units.is_ok_and(|found| found.contains("cairn")), "the unit is enabled");
    stage.versions.push(stage.manager.version(&stage.root, "cairn-server")?);
    Ok(())
}

fn check_account(stage: &mut Stage<'_>) -> Result<()> {
    let passwd = stage.root.read("/etc/passwd")?;
    let line = passwd.lines().find(|line| line.starts_with("cairn:")).context("there is no user cairn")?;
    let fields: Vec<_> = line.split(':').collect();
    let [_, _, user, group, _, home, shell] = fields[..] else { anyhow::bail!("the user is {line:?}") };
    ensure!(home == DATA_DIR && shell.ends_with("nologin"), "the user is {line:?}");
    let (found, wanted) = (stage.root.mode_and_owner(DATA_DIR)?, format!("0700 {user}:{group}"));
    ensure!(found == wanted, "{DATA_DIR} is {found}, not {wanted}");
    Ok(())
}

fn exchange(stage: &mut Stage<'_>) -> Result<()> {
    let older = stage.root.read(CONFIGURATION_FILE)?;
    stage.install(stage.current)?;
    stage.brought = stage.root.read(CONFIGURATION_FILE)?;
    ensure!(stage.brought != older, "{CONFIGURATION_FILE} is still that of the older version");
    stage.expect_one_configuration()?;
    stage.install(stage.previous)?;
    ensure!(stage.root.read(CONFIGURATION_FILE)? == older, "{CONFIGURATION_FILE} is not that of the older version");
    stage.expect_one_configuration()
}

fn use_edited(stage: &mut Stage<'_>) -> Result<()> {
    let packaged = stage.root.read(CONFIGURATION_FILE)?;
    let address = format!("127.0.0.1:{}", TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port());
    edit(stage, &packaged.replace(PACKAGED_ADDRESS, &address))?;
    stage.url = format!("http://{address}");
    stage.start()?;
    stage.client(&["endpoint", "health"])?;
    stage.client(&["put", KEY, VALUE])?;
    stage.expect_value()
}

fn edit(stage: &mut Stage<'_>, text: &str) -> Result<()> {
    stage.edited = text.to_owned() + EDIT;
    fs::write(stage.root.path(CONFIGURATION_FILE), &stage.edited)?;
    Ok(())
}

fn reinstall(stage: &mut Stage<'_>) -> Result<()> {
    stage.install(stage.previous)?;
    stage.expect_edited()
}

fn upgrade(stage: &mut Stage<'_>) -> Result<()> {
    install_current(stage)?;
    stage.service.as_ref().context("the server does not run")?.ensure_running()?;
    stage.expect_value()?;
    stage.stop()
}

fn install_current(stage: &mut Stage<'_>) -> Result<()> {
    let said = stage.install(stage.current)?;
    ensure!(said.contains("Restart one member at a time") && !said.contains("enable --now"), "it said: {said}");
    stage.versions.push(stage.manager.version(&stage.root, "cairn-server")?);
    ensure!(stage.versions[0] != stage.versions[1], "both packages have the version {}", stage.versions[0]);
    Ok(())
}

fn check_offered(stage: &mut Stage<'_>) -> Result<()> {
    stage.expect_edited()?;
    let offered = stage.manager.offered_configuration();
    ensure!(stage.root.read(offered)? == stage.brought, "{offered} is not the configuration of the new version");
    Ok(())
}

fn use_again(stage: &mut Stage<'_>) -> Result<()> {
    stage.expect_edited()?;
    stage.start()?;
    stage.expect_value()?;
    stage.stop()
}

fn downgrade(stage: &mut Stage<'_>) -> Result<()> {
    stage.install(stage.previous)?;
    let version = stage.manager.version(&stage.root, "cairn-server")?;
    ensure!(version == stage.versions[0], "installed is {version}");
    use_again(stage)?;
    stage.install(stage.current)?;
    Ok(())
}

fn etcd_names(stage: &mut Stage<'_>) -> Result<()> {
    stage.manager.install(&stage.root, &[stage.current.etcd_names])?;
    let said = stage.root.succeed(&["/usr/bin/etcd", "--version"])?;
    ensure!(said.starts_with("etcd Version: "), "etcd --version says {said:?}");
    stage.start()?;
    let got = stage.root.succeed(&["/usr/bin/etcdctl", "--endpoints", &stage.url, "get", "--print-value-only", KEY])?;
    ensure!(got.trim_end() == VALUE, "etcdctl got {got:?}");
    stage.stop()
}

fn remove(stage: &mut Stage<'_>) -> Result<()> {
    let said = stage.manager.remove(&stage.root, &["cairn-etcd-names", "cairn-server", "cairn-client"])?;
    ensure!(said.contains("The data of Cairn stays in /var/lib/cairn"), "it said: {said}");
    for path in ["/usr/bin/cairnd", "/usr/bin/cairnctl", "/usr/bin/etcd", UNIT_FILE] {
        ensure!(!stage.root.has(path), "{path} is still there");
    }
    expect_data(stage)?;
    let kept = stage.manager.kept_configuration();
    ensure!(stage.root.read(kept)? == stage.edited, "{kept} is not as it was edited");
    Ok(())
}

fn install_again(stage: &mut Stage<'_>) -> Result<()> {
    let kept = stage.manager.kept_configuration();
    stage.install(stage.current)?;
    if kept != CONFIGURATION_FILE {
        fs::rename(stage.root.path(kept), stage.root.path(CONFIGURATION_FILE))?;
    }
    use_again(stage)
}

/// The data of the server that the trial used is there.
pub(super) fn expect_data(stage: &Stage<'_>) -> Result<()> {
    let data = stage.root.path(&format!("{DATA_DIR}/default.cairn"));
    let has_files = fs::read_dir(&data).is_ok_and(|mut entries| entries.next().is_some());
    ensure!(has_files, "the data in {DATA_DIR} is gone");
    Ok(())
}

#[cfg(test)]
mod tests;
