//! `cairn-release`: command line of the release pipeline. Data goes to standard output, all else to standard error.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use cairn_release::keys::{self, SigningKey};
use cairn_release::plan::{Plan, Target};
use cairn_release::rehearse::{self, Rehearsal};
use cairn_release::verify::{self, EXIT_CODES_HELP, Refusal, Request};
use cairn_release::{checksum, compile, package, sign, workspace};
use clap::{Args, Parser, Subcommand};

/// Plans, builds, signs and verifies releases of Cairn.
#[derive(Parser)]
#[command(name = "cairn-release", version, after_help = EXIT_CODES_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the plan of the release as JSON: version, targets, artifacts, file names, gates.
    Plan(Tree),
    /// Build the programs in release mode into OUT/bin/TARGET.
    Build(Tree),
    /// Make the archives in OUT/cairn-VERSION; the same inputs give the same bytes.
    Package(Package),
    /// Write SHA256SUMS over the artifacts.
    Checksum(Tree),
    /// Write release.json and a minisign signature of every file.
    Sign(Sign),
    /// Check a release folder without plan and network; every way to be wrong has an exit code of its own.
    #[command(after_help = EXIT_CODES_HELP)]
    Verify(Verify),
    /// Make a minisign key pair; with $CAIRN_RELEASE_KEY_PASSWORD the secret key is encrypted.
    Keygen(Keygen),
    /// Play a whole release with a throwaway key, start the packaged server, put and get; print a table of steps.
    #[command(visible_alias = "all")]
    Rehearse(Package),
}

#[derive(Args)]
struct Tree {
    /// Root of the source tree [default: the one around the current folder].
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Folder for all output [default: ROOT/dist].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Args)]
struct Package {
    #[command(flatten)]
    tree: Tree,
    /// Folder with programs that were built already [default: OUT/bin/TARGET].
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
}

#[derive(Args)]
struct Sign {
    #[command(flatten)]
    tree: Tree,
    /// File with the minisign secret key; $CAIRN_RELEASE_KEY_PASSWORD decrypts it.
    #[arg(long, value_name = "FILE")]
    secret_key: PathBuf,
}

#[derive(Args)]
struct Verify {
    /// Folder with the downloaded files of one release and nothing else.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// File with the minisign public key, from a source that you trust.
    #[arg(long, value_name = "FILE")]
    public_key: PathBuf,
    /// Version that the release should have.
    #[arg(long, value_name = "VERSION")]
    version: String,
    /// Lowest release number to accept; give the number of the last release that you saw.
    #[arg(long, value_name = "N", default_value_t = 0)]
    min_sequence: u64,
}

#[derive(Args)]
struct Keygen {
    /// File for the secret key; must not exist.
    #[arg(long, value_name = "FILE")]
    secret_key: PathBuf,
    /// File for the public key; must not exist.
    #[arg(long, value_name = "FILE")]
    public_key: PathBuf,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            let refusal = error.downcast_ref::<Refusal>();
            refusal.map_or(ExitCode::FAILURE, |refusal| ExitCode::from(refusal.exit_code()))
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Plan(tree) => print!("{}", Site::new(tree)?.plan.to_json()),
        Command::Build(tree) => {
            let site = Site::new(tree)?;
            for target in &site.plan.targets {
                compile::compile(&site.root, target, &compile::default_bin_dir(&site.out, target))?;
            }
        }
        Command::Package(Package { tree, bin_dir }) => {
            let site = Site::new(tree)?;
            package::package(&site.plan, &site.root, |target| site.bin_dir(target, bin_dir.as_deref()), &site.dir())?;
        }
        Command::Checksum(tree) => {
            let site = Site::new(tree)?;
            checksum::checksum(&site.plan, &site.dir())?;
        }
        Command::Sign(Sign { tree, secret_key }) => {
            let site = Site::new(tree)?;
            let key = SigningKey::read(&secret_key, keys::password_from_environment())?;
            sign::sign(&site.plan, &site.dir(), &key)?;
        }
        Command::Verify(args) => run_verify(&args)?,
        Command::Keygen(Keygen { secret_key, public_key }) => {
            keys::generate(&secret_key, &public_key, keys::password_from_environment())?;
        }
        Command::Rehearse(Package { tree, bin_dir }) => {
            let site = Site::new(tree)?;
            let rehearsal = Rehearsal { root: &site.root, out: &site.out, bin_dir: bin_dir.as_deref() };
            let report = rehearse::rehearse(&site.plan, &rehearsal)?;
            print!("{report}");
            return Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn run_verify(args: &Verify) -> Result<()> {
    let manifest = verify::verify(&Request {
        dir: &args.dir,
        public_key: &args.public_key,
        version: &args.version,
        min_sequence: args.min_sequence,
    })?;
    println!("{} {} (release number {}): all files fit", manifest.product, manifest.version, manifest.sequence);
    for entry in &manifest.files {
        println!("{}  {}  {} bytes", entry.sha256, entry.name, entry.size);
    }
    Ok(())
}

/// The tree, its plan and the place of the output.
struct Site {
    root: PathBuf,
    out: PathBuf,
    plan: Plan,
}

impl Site {
    fn new(tree: Tree) -> Result<Self> {
        let root = match tree.root {
            Some(root) => root,
            None => workspace::find_root(&std::env::current_dir().context("cannot tell the current folder")?)?,
        };
        let out = tree.out.unwrap_or_else(|| root.join("dist"));
        let plan = workspace::plan(&root)?;
        Ok(Self { root, out, plan })
    }

    fn dir(&self) -> PathBuf {
        self.out.join(self.plan.folder_name())
    }

    fn bin_dir(&self, target: &Target, given: Option<&Path>) -> PathBuf {
        given.map_or_else(|| compile::default_bin_dir(&self.out, target), Path::to_owned)
    }
}
