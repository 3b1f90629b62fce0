//! `cairn-release`: command line of the release pipeline. Data goes to standard output, all else to standard error.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use cairn_release::changelog::Folding;
use cairn_release::plan::{Plan, Scope};
use cairn_release::rehearse::{self, Rehearsal};
use cairn_release::repository::openpgp;
use cairn_release::repository::published::NOTHING;
use cairn_release::run::{self, Step};
use cairn_release::site::{SecretKeys, Site};
use cairn_release::steps::{self, MAKE, SEAL};
use cairn_release::verify::{self, EXIT_CODES_HELP, Refusal, Request};
use cairn_release::{doctor, engine, inputs, keys, rebuild, support, workspace};
use clap::{Args, Parser, Subcommand};

/// Plans, makes, publishes and verifies releases of Cairn.
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
    /// Say what this machine lacks for a release, by package name.
    Doctor(Doctor),
    /// Compile the storage engine's C++ for this machine's architecture as releases have it, into OUT, for other builds.
    Engine(Engine),
    /// Fetch everything that a release needs from the network; no later step uses it.
    Fetch(Fetch),
    /// Make and check all that needs no secret, step by step; a run that was cut off goes on where it was.
    Make(Make),
    /// Build the programs once more, elsewhere and under other circumstances, and compare them with those of `make`.
    Rebuild(Rebuild),
    /// Sign what `make` left, and make repositories and the site bundle of it.
    Seal(Seal),
    /// Check a release folder without plan and network; every way to be wrong has an exit code of its own.
    #[command(after_help = EXIT_CODES_HELP)]
    Verify(Verify),
    /// Make key pairs: minisign's for releases, OpenPGP's for packages and repositories.
    Keygen(Keygen),
    /// Keep the list of keys that sign releases: go on to the next one, revoke one.
    #[command(subcommand)]
    Keys(key_commands::Keys),
    /// Publish a signed release; what is there already is never changed, and the version becomes visible last.
    Publish(publishing::Publish),
    /// Sign the published package indexes again before they expire, without a release.
    Renew(publishing::Renew),
    /// Download what is published and verify it, as a user would.
    Audit(publishing::Audit),
    /// Play a whole release with throwaway keys and without network, install and run all of it; print a table of steps.
    Rehearse(Rehearse),
    /// Print the table of supported versions that SECURITY.md has, or the branches that need a backport today.
    Support(Support),
    /// Fold the fragments of changelog.d into CHANGELOG.md as the section of the version, and print it.
    Changelog(Changelog),
}

#[derive(Args)]
struct Places {
    /// Root of the source tree [default: the one around the current folder].
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Folder for all output and for nothing else [default: ROOT/dist].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Folder for build trees and roots of distributions, which later runs find again [default: OUT/work].
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
}

#[derive(Args)]
struct Tree {
    #[command(flatten)]
    places: Places,
    /// This machine's architecture alone, and no second build.
    #[arg(long)]
    fast: bool,
}

#[derive(Args)]
struct Doctor {
    #[command(flatten)]
    tree: Tree,
    /// Print only the names of the Debian packages that are missing.
    #[arg(long)]
    packages: bool,
    /// Only what `seal` and `publish` need of a machine that makes nothing.
    #[arg(long)]
    seal: bool,
}

#[derive(Args)]
struct Engine {
    #[command(flatten)]
    places: Places,
    /// Say what would be compiled, and compile nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
struct Fetch {
    #[command(flatten)]
    tree: Tree,
    /// Say what is there and what would be fetched, and fetch nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
struct Make {
    #[command(flatten)]
    tree: Tree,
    /// Folder with the public keys, cairn.pub, cairn.asc and keys.json, that belong to the secret ones [default: ROOT/packaging/keys].
    #[arg(long, value_name = "DIR")]
    public_keys: Option<PathBuf>,
    /// Folder with a folder of programs per target that were built already.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Say which steps would run, and run none.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
struct Rebuild {
    #[command(flatten)]
    tree: Tree,
    /// Only this target, by its name in the plan; may be repeated [default: all].
    #[arg(long = "target", value_name = "NAME")]
    targets: Vec<String>,
    /// Say what would be built where and compared with what, and build nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
struct Seal {
    #[command(flatten)]
    tree: Tree,
    /// File with the minisign secret key; $CAIRN_RELEASE_KEY_PASSWORD decrypts it.
    #[arg(long, value_name = "FILE")]
    minisign_key: PathBuf,
    /// File with the OpenPGP secret key; $CAIRN_RELEASE_OPENPGP_PASSPHRASE decrypts it.
    #[arg(long, value_name = "FILE")]
    openpgp_key: PathBuf,
    /// Folder or address of the site whose apt and yum repositories the release is added to; "none" before the first one.
    #[arg(long, value_name = "PLACE")]
    repositories: String,
    /// Say which steps would run, and run none.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
struct Verify {
    /// Folder with the downloaded files of one release and nothing else.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// File with the minisign public key, from a source that you trust; or keys.json from there, or of the newest release
    /// that you have verified: then revocations in it count, and a list that does not go on from it is refused.
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
    /// File for the minisign secret key; must not exist.
    #[arg(long, value_name = "FILE", requires = "public_key")]
    secret_key: Option<PathBuf>,
    /// File for the minisign public key; must not exist.
    #[arg(long, value_name = "FILE", requires = "secret_key")]
    public_key: Option<PathBuf>,
    /// File for the OpenPGP secret key; must not exist.
    #[arg(long, value_name = "FILE", requires_all = ["openpgp_public_key", "user_id"])]
    openpgp_secret_key: Option<PathBuf>,
    /// File for the OpenPGP public key; must not exist.
    #[arg(long, value_name = "FILE", requires = "openpgp_secret_key")]
    openpgp_public_key: Option<PathBuf>,
    /// Name and address in the OpenPGP key.
    #[arg(long, value_name = "NAME <ADDRESS>", requires = "openpgp_secret_key")]
    user_id: Option<String>,
    /// Creation time of the OpenPGP key in seconds since 1970; no signature that it makes can be older.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    created: u64,
    /// Say which files would be written, and write none.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
struct Rehearse {
    #[command(flatten)]
    tree: Tree,
    /// Folder with a folder of programs per target that were built already.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Say which steps would run, and run none.
    #[arg(long)]
    dry_run: bool,
    /// Start from nothing instead of going on where the last rehearsal stopped.
    #[arg(long)]
    anew: bool,
    /// Set by the rehearsal for the part of itself that it starts without network.
    #[arg(long, hide = true)]
    offline: bool,
}

#[derive(Args)]
struct Support {
    /// Root of the source tree [default: the one around the current folder].
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// A day as YYYY-MM-DD: print the branches that still get fixes then.
    #[arg(long, value_name = "DAY")]
    backports: Option<String>,
}

#[derive(Args)]
struct Changelog {
    /// Root of the source tree [default: the one around the current folder].
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// The day of the release as YYYY-MM-DD.
    #[arg(long, value_name = "DAY")]
    fold: String,
    /// Print the section and the fragments that are in it, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            let refusal = error.downcast_ref::<Refusal>().map(Refusal::exit_code);
            let code = refusal.or_else(|| publishing::exit_code(&error));
            code.map_or(ExitCode::FAILURE, ExitCode::from)
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Plan(tree) => print!("{}", tree.site()?.plan.to_json()),
        Command::Doctor(Doctor { tree, packages, seal }) => {
            let site = tree.site()?;
            let work = if seal { doctor::Work::Seal } else { doctor::Work::All };
            let found = doctor::examine(&site.root, &site.plan, work);
            if packages {
                println!("{}", found.debian_packages.join(" "));
            } else {
                print!("{}", found.text);
                return Ok(if found.healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
        }
        Command::Engine(Engine { places, dry_run }) => {
            let site = places.site(Scope::of_this_machine())?;
            if dry_run {
                print!("{}", engine::preview(&site, &site.out)?);
            } else {
                engine::engine(&site, &site.out)?;
            }
        }
        Command::Fetch(Fetch { tree, dry_run: true }) => print!("{}", inputs::preview(&tree.site()?)?),
        Command::Fetch(Fetch { tree, dry_run: false }) => inputs::fetch(&tree.site()?)?,
        Command::Make(args) => return carry_out(MAKE, &args.site()?, args.dry_run),
        Command::Rebuild(Rebuild { tree, targets, dry_run }) => {
            let site = tree.site()?;
            let named =
                targets.iter().map(|name| site.plan.target(name).with_context(|| format!("there is no target {name}")));
            let named: Vec<_> =
                if targets.is_empty() { site.plan.targets.iter().collect() } else { named.collect::<Result<_>>()? };
            if dry_run {
                print!("{}", rebuild::preview(&site, &named)?);
            } else {
                eprintln!("{}", rebuild::rebuild(&site, &named)?);
            }
        }
        Command::Seal(Seal { tree, minisign_key, openpgp_key, repositories, dry_run }) => {
            let keys = SecretKeys { minisign: minisign_key, openpgp: openpgp_key };
            let site = Site { keys, published_repositories: repositories, ..tree.site()? };
            steps::ensure_made(&site)?;
            return carry_out(SEAL, &site, dry_run);
        }
        Command::Verify(args) => run_verify(&args)?,
        Command::Keygen(args) => run_keygen(&args)?,
        Command::Keys(command) => key_commands::run(command)?,
        Command::Publish(args) => publishing::publish(&args)?,
        Command::Renew(args) => publishing::renew(&args)?,
        Command::Audit(args) => publishing::audit(&args)?,
        Command::Rehearse(Rehearse { tree, programs, dry_run, anew, offline }) => {
            let site = tree.site()?;
            let published_repositories = rehearse::older(&site.out).display().to_string();
            let site = Site { given_programs: programs, published_repositories, ..site };
            let rehearsal = Rehearsal { site, dry_run, anew, offline };
            return Ok(if rehearse::rehearse(&rehearsal)? { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Support(Support { root, backports }) => {
            let root = root_of(root)?;
            print!("{}", support::answer(&root, backports.as_deref())?);
        }
        Command::Changelog(args) => run_changelog(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs the steps, or says which would run and changes nothing.
fn carry_out(steps: &[Step], site: &Site, dry_run: bool) -> Result<ExitCode> {
    if dry_run {
        print!("{}", run::preview(steps, site, &steps::progress(site)?));
        return Ok(ExitCode::SUCCESS);
    }
    let report = run::run(steps, site, &mut steps::open_journal(site)?, steps::show);
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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

fn run_keygen(args: &Keygen) -> Result<()> {
    let files = [&args.secret_key, &args.public_key, &args.openpgp_secret_key, &args.openpgp_public_key];
    let files: Vec<_> = files.into_iter().flatten().map(PathBuf::as_path).collect();
    if files.is_empty() {
        anyhow::bail!("name the files: --secret-key and --public-key, or --openpgp-secret-key and its companions");
    }
    keys::ensure_new(files.iter().copied())?;
    if args.dry_run {
        files.iter().for_each(|file| println!("{}", file.display()));
        return Ok(());
    }
    if let (Some(secret), Some(public)) = (&args.secret_key, &args.public_key) {
        keys::generate(secret, public, keys::password_from_environment())?;
    }
    if let (Some(secret), Some(public), Some(user_id)) =
        (&args.openpgp_secret_key, &args.openpgp_public_key, &args.user_id)
    {
        let passphrase = openpgp::passphrase_from_environment();
        openpgp::generate(user_id, args.created, secret, public, passphrase.as_deref())?;
    }
    Ok(())
}

fn run_changelog(Changelog { root, fold, dry_run }: Changelog) -> Result<()> {
    let root = root_of(root)?;
    let version = workspace::plan(&root, Scope::Full)?.version;
    let folding = Folding::plan(&root, &version, support::parse_day(&fold)?)?;
    print!("{}", folding.section.to_markdown());
    for fragment in &folding.fragments {
        eprintln!("{} {}", if dry_run { "would delete" } else { "deleted" }, fragment.display());
    }
    if dry_run { Ok(()) } else { folding.apply(&root) }
}

fn root_of(given: Option<PathBuf>) -> Result<PathBuf> {
    match given {
        Some(root) => Ok(root),
        None => workspace::find_root(&std::env::current_dir().context("cannot tell the current folder")?),
    }
}

impl Tree {
    fn site(&self) -> Result<Site> {
        self.places.site(if self.fast { Scope::of_this_machine() } else { Scope::Full })
    }
}

impl Places {
    /// The plan and the places of a command. The keys are a rehearsal's throwaway ones, below the output folder; commands
    /// with other keys put them in.
    fn site(&self, scope: Scope) -> Result<Site> {
        let absolute = |path: &Path| std::path::absolute(path).context("cannot tell the current folder");
        let root = absolute(&root_of(self.root.clone())?)?;
        let out = absolute(&self.out.clone().unwrap_or_else(|| root.join("dist")))?;
        let work = absolute(&self.work.clone().unwrap_or_else(|| out.join("work")))?;
        let plan: Plan = workspace::plan(&root, scope)?;
        let (keys, given_public_keys) = rehearse::keys_of(&out);
        Ok(Site {
            plan,
            root,
            out,
            work,
            given_programs: None,
            given_public_keys,
            keys,
            published_repositories: NOTHING.to_owned(),
            inventories: RefCell::default(),
        })
    }
}

impl Make {
    fn site(&self) -> Result<Site> {
        let site = self.tree.site()?;
        let given_public_keys = self.public_keys.clone().unwrap_or_else(|| site.root.join("packaging/keys"));
        Ok(Site { given_programs: self.programs.clone(), given_public_keys, ..site })
    }
}

mod key_commands;
mod publishing;
