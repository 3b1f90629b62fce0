//! Runs the images as users do: from a registry by digest with a Docker Engine, and from the layout alone.
//!
//! Registry and engine are processes of the trial with all their files in a scratch folder; they end with it, whatever
//! happens. Containers get what a careful operator gives them: a root file system that is read-only, no capabilities, a
//! user that the image has never heard of. An image for another architecture is unpacked and its programs are started in
//! it by a statically linked emulator, because an engine would need the kernel to know the emulator.
//!
//! Both need root: the engine for namespaces, the other for its change of root.

use std::fs::{self, Permissions};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use crate::digest::digest_with;
use crate::files;
use crate::machine::Machine;
use crate::oci::spec::{ImageConfig, Manifest};
use crate::oci::{Layout, STATE_FOLDER, image_tag};
use crate::plan::PRODUCT;
use crate::process;
use crate::running::Running;
use crate::smoke::free_port;

/// Longest wait for a condition.
const LIMIT: Duration = Duration::from_secs(120);

/// A user and a group that no image knows.
const STRANGER: &str = "12345:12345";

/// Name of the container.
const CONTAINER: &str = "cairn-trial";

/// Programs that the trial with an engine uses.
#[derive(Debug, Clone)]
pub struct Tools {
    /// The engine.
    pub dockerd: PathBuf,
    /// Its client.
    pub docker: PathBuf,
    /// Copies images.
    pub skopeo: PathBuf,
    /// Keeps images.
    pub registry: PathBuf,
}

impl Tools {
    /// Finds the programs; `dockerd` may be told, so that an unpacked package does.
    ///
    /// # Errors
    ///
    /// The names of the Debian packages to install.
    pub fn find(dockerd: Option<&Path>) -> Result<Self> {
        let dockerd = dockerd.map_or_else(|| find("dockerd", "docker.io"), |path| Ok(path.to_owned()))?;
        // A package that is unpacked somewhere has the client in the folder beside.
        let beside = dockerd.parent().and_then(Path::parent).map(|usr| usr.join("bin/docker"));
        let docker = match beside.filter(|path| path.is_file()) {
            Some(path) => path,
            None => find("docker", "docker.io")?,
        };
        Ok(Self {
            dockerd,
            docker,
            skopeo: find("skopeo", "skopeo")?,
            registry: find("docker-registry", "docker-registry")?,
        })
    }
}

fn find(program: &str, package: &str) -> Result<PathBuf> {
    process::find_program(program)
        .with_context(|| format!("the program {program} is missing; install the Debian package `{package}`"))
}

/// Pushes a layout to a registry, pulls it by digest, and uses a container of it; then loads the file with the layout.
/// Returns what was seen.
///
/// # Errors
///
/// The first thing that did not work, with the end of the logs.
pub fn with_engine(layout: &Path, archive: &Path, version: &str, tools: &Tools) -> Result<Vec<String>> {
    ensure_root()?;
    let scratch = Scratch::new()?;
    let mut seen = Vec::new();
    let registry = Registry::start(tools, scratch.path())?;
    let digest = push(layout, archive, version, tools, &registry, &mut seen)?;
    let engine = Engine::start(tools, scratch.path())?;
    let name = format!("{}/{PRODUCT}@{digest}", registry.address);
    engine.docker(&["pull", "--quiet", &name])?;
    seen.push(format!("a Docker Engine pulls {PRODUCT}@{digest}"));
    let tried = try_container(&engine, &name, &mut seen)
        .and_then(|()| load(&engine, archive, version, &mut seen))
        .with_context(|| format!("the container's log ends with:\n{}", engine.container_log()));
    tried.with_context(|| format!("the engine failed; {}", engine.process.log_tail()))?;
    engine.process.stop()?;
    Ok(seen)
}

/// Copies the index with all images, and asks registry and file for its bytes. What refers to them stays behind: this version of
/// skopeo knows no artifact types, and what it does not know it cannot copy unchanged.
fn push(
    layout: &Path,
    archive: &Path,
    version: &str,
    tools: &Tools,
    to: &Registry,
    seen: &mut Vec<String>,
) -> Result<String> {
    let layout = Layout::open(layout)?;
    let top = layout.tagged(version).with_context(|| format!("the layout has no tag {version}"))?;
    let source = format!("oci:{}:{version}", layout.dir().display());
    let target = format!("docker://{}/{PRODUCT}:{version}", to.address);
    let mut copy = to.skopeo(tools, &["copy", "--quiet", "--all", "--preserve-digests", "--dest-tls-verify=false"]);
    process::output(copy.args([&source, &target]))?;
    for (what, place) in [("a registry", target), ("the file", format!("oci-archive:{}:{version}", archive.display()))]
    {
        let mut inspect = to.skopeo(tools, &["inspect", "--raw", "--tls-verify=false"]);
        let raw = process::output(inspect.arg(place))?;
        let found = format!("sha256:{}", digest_with(raw.as_bytes(), |_| {})?.sha256);
        ensure!(found == top.digest, "{what} has {found} for {version}, not {}", top.digest);
        seen.push(format!("{what} has {version} with the digest {found}"));
    }
    Ok(top.digest.clone())
}

fn try_container(engine: &Engine, image: &str, seen: &mut Vec<String>) -> Result<()> {
    let url = format!("http://127.0.0.1:{}", free_port()?);
    let mut run = vec!["run", "--detach", "--name", CONTAINER, "--network", "host", "--read-only", "--cap-drop", "ALL"];
    run.extend(["--security-opt", "no-new-privileges", "--user", STRANGER, "--health-interval", "1s"]);
    let listen = [format!("CAIRN_LISTEN_CLIENT_URLS={url}"), format!("CAIRN_ADVERTISE_CLIENT_URLS={url}")];
    run.extend(["--env", &listen[0], "--env", &listen[1], image]);
    engine.docker(&run)?;
    let state = |format: &str| engine.docker(&["inspect", "--format", format, CONTAINER]);
    wait_until("the container is healthy", || {
        let status = state("{{.State.Status}} {{.State.Health.Status}}")?;
        ensure!(status.starts_with("running"), "the container is {status}");
        Ok(status.trim() == "running healthy")
    })?;
    seen.push(format!("a container of it is healthy: read-only, as {STRANGER}, without capabilities"));
    let command = |args: &[&str]| {
        let mut command = engine.client();
        command.args(["exec", CONTAINER]).args(args);
        command
    };
    use_store(&command, &url, engine.scratch.as_path(), seen)?;
    let outside = process::output(&mut command(&["cairnctl", "--endpoints", &url, "snapshot", "save", "/outside.db"]));
    ensure!(outside.is_err(), "the container can write to its root file system");
    seen.push("it cannot write outside of its volume".to_owned());
    engine.docker(&["stop", "--time", "60", CONTAINER])?;
    let code = state("{{.State.ExitCode}}")?;
    ensure!(code.trim() == "0", "the container stopped with exit code {code}");
    engine.docker(&["rm", "--force", "--volumes", CONTAINER])?;
    seen.push("it stops with exit code 0".to_owned());
    Ok(())
}

/// The file with the layout is one that `docker load` takes.
fn load(engine: &Engine, archive: &Path, version: &str, seen: &mut Vec<String>) -> Result<()> {
    engine.docker(&["load", "--quiet", "--input", &archive.display().to_string()])?;
    let image = format!("{PRODUCT}:{version}");
    let said = engine.docker(&["run", "--rm", "--network", "host", "--read-only", &image, "--version"])?;
    ensure!(said.contains(version), "{image} --version says {said:?}");
    seen.push(format!("`docker load` takes the file, and {image} reports its version"));
    Ok(())
}

/// Unpacks one image of a layout and uses its programs with its folder as root. Returns what was seen.
///
/// `emulator` is a static program that runs that machine's programs; none where it is this one.
///
/// # Errors
///
/// The first thing that did not work, with the end of the server's log.
pub fn unpacked(layout: &Path, version: &str, machine: Machine, emulator: Option<&Path>) -> Result<Vec<String>> {
    ensure_root()?;
    let scratch = Scratch::new()?;
    let tag = image_tag(version, machine);
    let bundle = scratch.path().join("bundle");
    let mut umoci = process::clean_command(&find("umoci", "umoci")?);
    umoci.args(["unpack", "--image"]).arg(format!("{}:{tag}", layout.display())).arg(&bundle);
    process::output(umoci.env("HOME", scratch.path()))?;
    let mut seen = vec![format!("umoci unpacks {tag}")];
    let root = Root::new(bundle.join("rootfs"), emulator, variables(layout, &tag)?)?;
    let url = format!("http://127.0.0.1:{}", free_port()?);
    let mut server = root.command(&["cairnd"]);
    server.env("CAIRN_LISTEN_CLIENT_URLS", &url).env("CAIRN_ADVERTISE_CLIENT_URLS", &url);
    let server = Running::start(server, &scratch.path().join("cairnd.log"))?;
    let tried = try_unpacked(&root, &server, &url, scratch.path(), &mut seen);
    tried.and_then(|()| server.stop()).with_context(|| format!("the server failed; {}", server.log_tail()))?;
    seen.push("its server stops cleanly".to_owned());
    Ok(seen)
}

fn try_unpacked(root: &Root, server: &Running, url: &str, scratch: &Path, seen: &mut Vec<String>) -> Result<()> {
    let healthy = || process::output(&mut root.command(&["cairnd", "healthcheck", "--endpoint", url]));
    wait_until("the server is healthy", || {
        server.ensure_running()?;
        Ok(healthy().is_ok())
    })?;
    seen.push(format!("its server is healthy, in the image's own file system, as {STRANGER}"));
    use_store(&|args| root.command(args), url, scratch, seen)
}

/// Variables of an image's configuration.
fn variables(layout: &Path, tag: &str) -> Result<Vec<String>> {
    let layout = Layout::open(layout)?;
    let image = layout.tagged(tag).with_context(|| format!("the layout has no tag {tag}"))?;
    let manifest: Manifest = layout.document(image)?;
    Ok(layout.document::<ImageConfig>(&manifest.config)?.config.env)
}

/// Makes the devices that every container engine gives: the storage engine takes its randomness from one.
fn make_devices(root: &Path) -> Result<()> {
    const MODE: u32 = 0o666;
    let folder = root.join("dev");
    fs::create_dir_all(&folder)?;
    for (name, minor) in [("null", 3), ("zero", 5), ("random", 8), ("urandom", 9)] {
        let path = folder.join(name);
        let cannot = || format!("cannot make the device {}", path.display());
        mknodat(CWD, &path, FileType::CharacterDevice, Mode::from(MODE), makedev(1, minor)).with_context(cannot)?;
        // The umask has no say in it.
        fs::set_permissions(&path, Permissions::from_mode(MODE)).with_context(cannot)?;
    }
    Ok(())
}

/// An unpacked image as a root.
struct Root {
    folder: PathBuf,
    chroot: PathBuf,
    emulator: Option<String>,
    variables: Vec<(String, String)>,
}

impl Root {
    fn new(folder: PathBuf, emulator: Option<&Path>, variables: Vec<String>) -> Result<Self> {
        if let Some(emulator) = emulator {
            fs::copy(emulator, folder.join("emulator")).with_context(|| {
                format!("cannot copy {}; the Debian package `qemu-user-static` has emulators", emulator.display())
            })?;
        }
        make_devices(&folder)?;
        let pair = |variable: String| variable.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        Ok(Self {
            folder,
            chroot: find("chroot", "coreutils")?,
            emulator: emulator.map(|_| "/emulator".to_owned()),
            variables: variables.into_iter().filter_map(pair).collect(),
        })
    }

    /// A program of the image, as the stranger and with the image's variables.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = process::clean_command(&self.chroot);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.arg(format!("--userspec={STRANGER}")).arg("--groups=").arg(&self.folder).args(&self.emulator);
        command.arg(format!("/usr/bin/{}", args[0])).args(&args[1..]);
        command
    }
}

/// Puts, gets, watches and saves a snapshot, each with the programs of the image.
fn use_store(command: &dyn Fn(&[&str]) -> Command, url: &str, scratch: &Path, seen: &mut Vec<String>) -> Result<()> {
    let (key, value) = ("cairn/trial", "the image works");
    let client = |args: &[&str]| process::output(&mut command(&[&["cairnctl", "--endpoints", url], args].concat()));
    client(&["put", key, value])?;
    let got = client(&["get", "--print-value-only", key])?;
    ensure!(got.trim_end() == value, "put {value:?}, got {got:?}");
    let log = scratch.join("watch.log");
    // From the first revision on, so that it does not matter whether the watch or the put is first.
    let watch = Running::start(command(&["cairnctl", "--endpoints", url, "watch", "--rev", "1", key]), &log)?;
    wait_until("the watch sees the put", || {
        watch.ensure_running().with_context(|| watch.log_tail())?;
        Ok(watch.log_tail().contains(value))
    })?;
    drop(watch);
    let backup = format!("{STATE_FOLDER}/backup.db");
    client(&["snapshot", "save", &backup])?;
    let status = process::output(&mut command(&["cairnutl", "snapshot", "status", &backup, "-w", "json"]))?;
    ensure!(status.contains("totalKey"), "the snapshot's status is {status:?}");
    let stock = process::output(&mut command(&["etcdctl", "--endpoints", url, "get", "--print-value-only", key]))?;
    ensure!(stock.trim_end() == value, "as etcdctl it got {stock:?}");
    let wrong = process::output(&mut command(&["cairnd", "healthcheck", "--endpoint", "http://127.0.0.1:1"]));
    ensure!(wrong.is_err(), "the health check passes where nobody serves");
    seen.push("put, get, watch and snapshot work, also under etcd's names".to_owned());
    Ok(())
}

/// A registry on this machine alone.
struct Registry {
    address: String,
    home: PathBuf,
    _process: Running,
}

impl Registry {
    fn start(tools: &Tools, scratch: &Path) -> Result<Self> {
        let home = scratch.join("registry");
        files::create_folder(&home)?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let config = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n",
            home.join("data").display()
        );
        let file = home.join("config.yml");
        fs::write(&file, config)?;
        let mut command = process::clean_command(&tools.registry);
        command.arg("serve").arg(&file).env("OTEL_TRACES_EXPORTER", "none");
        let process = Running::start(command, &home.join("log"))?;
        wait_until("the registry listens", || {
            process.ensure_running().with_context(|| process.log_tail())?;
            Ok(TcpStream::connect(&address).is_ok())
        })?;
        Ok(Self { address, home, _process: process })
    }

    /// skopeo without anybody's credentials and rules.
    fn skopeo(&self, tools: &Tools, args: &[&str]) -> Command {
        let mut command = process::clean_command(&tools.skopeo);
        command.env("HOME", &self.home).env("TMPDIR", &self.home).arg("--insecure-policy").args(args);
        command
    }
}

/// An engine of our own beside whatever runs on this machine.
struct Engine {
    process: Running,
    docker: PathBuf,
    socket: String,
    scratch: PathBuf,
}

impl Engine {
    fn start(tools: &Tools, scratch: &Path) -> Result<Self> {
        let scratch = scratch.join("engine");
        files::create_folder(&scratch)?;
        let socket = format!("unix://{}", scratch.join("socket").display());
        let config = scratch.join("daemon.json");
        fs::write(&config, "{}")?;
        let mut command = process::clean_command(&tools.dockerd);
        command.env("HOME", &scratch).env("TMPDIR", &scratch).arg("--config-file").arg(config);
        command.arg("--data-root").arg(scratch.join("data")).arg("--exec-root").arg(scratch.join("exec"));
        command.arg("--pidfile").arg(scratch.join("pid")).args(["--host", &socket]);
        // No bridge, no rules: the machine's network stays as it is. vfs works on every file system.
        command.args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"]);
        command.args(["--ip-masq=false", "--userland-proxy=false", "--storage-driver=vfs"]);
        let process = Running::start(command, &scratch.join("log"))?;
        let engine = Self { process, docker: tools.docker.clone(), socket, scratch };
        wait_until("the engine answers", || {
            engine.process.ensure_running().with_context(|| engine.process.log_tail())?;
            Ok(engine.docker(&["version"]).is_ok())
        })?;
        Ok(engine)
    }

    fn client(&self) -> Command {
        let mut command = process::clean_command(&self.docker);
        command.env("DOCKER_CONFIG", self.scratch.join("client")).args(["--host", &self.socket]);
        command
    }

    fn docker(&self, args: &[&str]) -> Result<String> {
        process::output(self.client().args(args))
    }

    /// What the container said, and what its health check last did.
    fn container_log(&self) -> String {
        let mut command = self.client();
        let output = command.args(["logs", "--tail", "20", CONTAINER]).output();
        let said = output.map(|output| String::from_utf8_lossy(&output.stderr).into_owned()).unwrap_or_default();
        let checks = self.docker(&["inspect", "--format", "{{range .State.Health.Log}}{{.Output}}{{end}}", CONTAINER]);
        format!("{said}\n{}", checks.unwrap_or_default())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Otherwise the container's processes would outlive an engine that is killed. Fails where there is none.
        let _ = self.docker(&["rm", "--force", "--volumes", CONTAINER]);
    }
}

/// A scratch folder that is free of mounts before it is removed.
struct Scratch {
    folder: tempfile::TempDir,
}

impl Scratch {
    fn new() -> Result<Self> {
        Ok(Self { folder: tempfile::tempdir()? })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let places = mounts.lines().rev().filter_map(|line| line.split(' ').nth(1));
        for place in places.filter(|place| Path::new(place).starts_with(self.path())) {
            // A mount that stays would be emptied with the folder; what cannot be unmounted is reported by the removal.
            let _ = Command::new("umount").arg(place).status();
        }
    }
}

fn ensure_root() -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "only root can try images: start this as root");
    Ok(())
}

fn wait_until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    while !holds().with_context(|| format!("while waiting until {what}"))? {
        ensure!(Instant::now() < deadline, "{} s have passed, but not until {what}", LIMIT.as_secs());
        thread::sleep(process::POLL);
    }
    Ok(())
}
