//! The commands `publish`, `renew` and `audit`: which place the arguments mean.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use cairn_release::audit::{self, Layout};
use cairn_release::publish::{
    self, Bucket, Client, Credentials, EXIT_CODES_HELP, Folder, GitHub, Login, Mode, Registry, Release, Secret, Store,
    Target, Tree,
};
use cairn_release::repository::openpgp::{self, SigningKey};
use cairn_release::repository::published::{self, Published};
use cairn_release::workspace;
use clap::Args;

/// Where GitHub's interface for programs is, unless the environment says otherwise.
const GITHUB_API: &str = "https://api.github.com";

/// Environment variable with the address of GitHub's interface, as its runners set it.
const GITHUB_API_VARIABLE: &str = "GITHUB_API_URL";

/// Where GitHub serves the files of releases, unless the environment says otherwise.
const GITHUB_SERVER: &str = "https://github.com";

/// Environment variable with the address of GitHub's pages and files, as its runners set it.
const GITHUB_SERVER_VARIABLE: &str = "GITHUB_SERVER_URL";

/// Environment variable with the repository for which a workflow runs, as GitHub's runners set it.
const GITHUB_REPOSITORY_VARIABLE: &str = "GITHUB_REPOSITORY";

/// Environment variable with the token for GitHub.
const GITHUB_TOKEN_VARIABLE: &str = "GITHUB_TOKEN";

#[derive(Args)]
#[command(after_help = EXIT_CODES_HELP)]
pub(crate) struct Publish {
    /// Signed release folder; without one, the trees alone are published, on a site.
    #[arg(long, value_name = "DIR", required_unless_present = "tree", requires_all = ["public_key", "version"])]
    dir: Option<PathBuf>,
    /// File with the minisign public key that must have signed it.
    #[arg(long, value_name = "FILE", requires = "dir")]
    public_key: Option<PathBuf>,
    /// Version that it must have.
    #[arg(long, value_name = "VERSION", requires = "dir")]
    version: Option<String>,
    #[command(flatten)]
    place: Place,
    /// Further folder that the site serves, as PLACE=DIR, such as apt=dist/repositories/apt; GitHub, which has no folders,
    /// takes its files beside the release's.
    #[arg(long, value_name = "PLACE=DIR")]
    tree: Vec<String>,
    /// Changelog, of which the notes of a GitHub release are made.
    #[arg(long, value_name = "FILE")]
    changelog: Option<PathBuf>,
    /// Ask what is there, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
#[command(after_help = EXIT_CODES_HELP)]
pub(crate) struct Audit {
    #[command(flatten)]
    place: Place,
    /// File with the minisign public key, or keys.json of a release that you have verified or from a source that you trust.
    #[arg(long, value_name = "FILE")]
    public_key: PathBuf,
    /// Version to check [default: the one that the channel `stable` names, or GitHub's newest release].
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    /// Lowest release number to accept.
    #[arg(long, value_name = "N", default_value_t = 0)]
    min_sequence: u64,
    /// Release folder that the published files must be equal to.
    #[arg(long, value_name = "DIR")]
    local: Option<PathBuf>,
    /// Put and get with the programs of the archives for this machine, too.
    #[arg(long = "use")]
    uses: bool,
}

#[derive(Args)]
#[command(after_help = EXIT_CODES_HELP)]
pub(crate) struct Renew {
    /// Folder or address of the site whose repositories are signed again.
    #[arg(long, value_name = "PLACE")]
    repositories: String,
    /// File with the OpenPGP secret key; $CAIRN_RELEASE_OPENPGP_PASSPHRASE decrypts it.
    #[arg(long, value_name = "FILE")]
    openpgp_key: PathBuf,
    /// Folder for the renewed repositories, apt and yum; must be new or empty.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Say what would be renewed, and write nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
struct Place {
    /// Folder with the site.
    #[arg(long, value_name = "DIR", group = "places")]
    folder: Option<PathBuf>,
    /// Address of the site, which understands PUT and GET as S3 does.
    #[arg(long, value_name = "URL", group = "places")]
    http: Option<String>,
    /// Repository of a GitHub release, OWNER/NAME [default where no place is named: $GITHUB_REPOSITORY].
    // Not clap's `env`: a runner sets the variable, and the other places would be in conflict with it there.
    #[arg(long, value_name = "OWNER/NAME", group = "places")]
    github: Option<String>,
    /// OCI registry with the images, such as https://registry.example.
    #[arg(long, value_name = "URL", requires = "repository", group = "places")]
    registry: Option<String>,
    /// Name of the images in the registry, such as cairn/cairnd.
    #[arg(long, value_name = "NAME", requires = "registry")]
    repository: Option<String>,
    /// OCI layout with the images.
    #[arg(long, value_name = "DIR", requires = "registry")]
    layout: Option<PathBuf>,
}

impl Place {
    /// The repository that the arguments name, or the one of the workflow that runs.
    fn github_repository(&self) -> Option<String> {
        self.github.clone().or_else(|| std::env::var(GITHUB_REPOSITORY_VARIABLE).ok())
    }

    /// The site that the arguments name, if they name one.
    fn site(&self) -> Result<Option<Box<dyn Store>>> {
        Ok(match (&self.folder, &self.http) {
            (Some(folder), _) => Some(Box::new(Folder::new(folder))),
            (_, Some(url)) => Some(Box::new(Bucket::new(url, Client::new(), Credentials::from_environment())?)),
            _ => None,
        })
    }
}

/// The code with which the program ends on an error of these commands.
pub(crate) fn exit_code(error: &anyhow::Error) -> Option<u8> {
    error.downcast_ref::<publish::Error>().map(publish::Error::exit_code)
}

pub(crate) fn publish(args: &Publish) -> Result<()> {
    let trees = args.tree.iter().map(|text| tree(text)).collect::<Result<Vec<_>>>()?;
    let mode = if args.dry_run { Mode::DryRun } else { Mode::Publish };
    let report = match (&args.dir, &args.public_key, &args.version) {
        (Some(dir), Some(public_key), Some(version)) => {
            let release = Release { dir, public_key, version, trees: &trees, layout: args.place.layout.as_deref() };
            publish::publish(&*target(args)?, &release, mode)?
        }
        _ => {
            let site = args.place.site()?.context("trees alone are published on a site: give --folder or --http")?;
            publish::publish_trees(&*site, &trees, mode)?
        }
    };
    print!("{report}");
    Ok(())
}

fn tree(text: &str) -> Result<Tree> {
    let (at, dir) = text.split_once('=').with_context(|| format!("--tree {text} is not PLACE=DIR"))?;
    Ok(Tree { dir: PathBuf::from(dir), at: at.to_owned() })
}

fn target(args: &Publish) -> Result<Box<dyn Target>> {
    Ok(match (&args.place.folder, &args.place.http, &args.place.registry, &args.place.repository) {
        (Some(folder), ..) => Box::new(Folder::new(folder)),
        (_, Some(url), ..) => Box::new(Bucket::new(url, Client::new(), Credentials::from_environment())?),
        (_, _, Some(url), Some(name)) => Box::new(Registry::new(url, name, Client::new(), Login::from_environment())?),
        _ => {
            let none = "no place to publish to: give --folder, --http, --registry with --repository, or --github";
            let name = args.place.github_repository().context(none)?;
            let changelog = args.changelog.as_deref().context("give --changelog: a GitHub release has notes")?;
            let changelog =
                std::fs::read_to_string(changelog).with_context(|| format!("cannot read {}", changelog.display()))?;
            let token = Secret::from_environment(GITHUB_TOKEN_VARIABLE)
                .with_context(|| format!("set {GITHUB_TOKEN_VARIABLE} to a token that may write releases"))?;
            let api = variable_or(GITHUB_API_VARIABLE, GITHUB_API);
            Box::new(GitHub::new(&api, &name, Client::new(), token, changelog)?)
        }
    })
}

fn variable_or(variable: &str, default: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| default.to_owned())
}

/// Signs the published indexes again, at the time of now or of `SOURCE_DATE_EPOCH`.
pub(crate) fn renew(args: &Renew) -> Result<()> {
    let published = Published::at(&args.repositories)?;
    let key = SigningKey::read(&args.openpgp_key, openpgp::passphrase_from_environment().as_deref())?;
    let time = workspace::epoch_from_environment()?.unwrap_or_else(now);
    if args.dry_run {
        print!("{}", published::preview(&published, &key, time)?);
        return Ok(());
    }
    let renewed = published::renew(&published, &key, time, &args.out)?;
    println!("{}: {} packages, signed again", args.out.display(), renewed.packages);
    Ok(())
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

pub(crate) fn audit(args: &Audit) -> Result<()> {
    if let (Some(url), Some(name)) = (&args.place.registry, &args.place.repository) {
        return audit_registry(args, url, name);
    }
    let mut version = args.version.clone();
    let (store, layout): (Box<dyn Store>, _) = match args.place.site()? {
        Some(site) => (site, Layout::Site),
        None => {
            let none = "no place to look at: give --folder, --http, --registry with --repository, or --github";
            let name = args.place.github_repository().context(none)?;
            let releases = format!("{}/{name}/releases", variable_or(GITHUB_SERVER_VARIABLE, GITHUB_SERVER));
            // No credentials: those of the environment belong to another service, and what is published needs none.
            let at = |place: &str| Bucket::new(&format!("{releases}/{place}"), Client::new(), Credentials::None);
            let newest = || audit::version_at(&at("latest/download")?);
            let known = version.map_or_else(newest, Ok)?;
            let bucket = at(&format!("download/v{known}"))?;
            version = Some(known);
            (Box::new(bucket), Layout::Flat)
        }
    };
    let request = audit::Audit {
        store: &*store,
        layout,
        version: version.as_deref(),
        public_key: &args.public_key,
        min_sequence: args.min_sequence,
        local: args.local.as_deref(),
        time: now(),
    };
    let audited = if args.uses { audit::audit_and(&request, audit::use_archives)? } else { audit::audit(&request)? };
    println!("{}: {} files, {} bytes, all fit", audited.manifest.version, audited.files, audited.bytes);
    Ok(())
}

/// Whether a registry has the images of a local release.
fn audit_registry(args: &Audit, url: &str, name: &str) -> Result<()> {
    let needs = "a registry has images and no release folder: give --version, --local and --layout to compare with";
    let (Some(version), Some(dir), Some(layout)) = (&args.version, &args.local, &args.place.layout) else {
        anyhow::bail!(needs);
    };
    let release = Release { dir, public_key: &args.public_key, version, trees: &[], layout: Some(layout) };
    // No credentials: what is published is for everybody.
    let registry = Registry::new(url, name, Client::new(), Login::Anonymous)?;
    let report = audit::audit_target(&registry, &release)?;
    println!("{version}: {} things at {}, all there", report.steps.len(), report.target);
    Ok(())
}
