//! The commands `publish` and `audit`: which place the arguments mean.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use cairn_release::audit::{self, Layout};
use cairn_release::publish::{
    self, Bucket, Client, Credentials, EXIT_CODES_HELP, Folder, GitHub, Login, Mode, Registry, Release, Secret, Store,
    Target, Tree,
};
use clap::Args;

/// Where GitHub's interface for programs is, unless the environment says otherwise.
const GITHUB_API: &str = "https://api.github.com";

/// Environment variable with the address of GitHub's interface, as its runners set it.
const GITHUB_API_VARIABLE: &str = "GITHUB_API_URL";

/// Environment variable with the token for GitHub.
const GITHUB_TOKEN_VARIABLE: &str = "GITHUB_TOKEN";

#[derive(Args)]
#[command(after_help = EXIT_CODES_HELP)]
pub(crate) struct Publish {
    /// Signed release folder.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// File with the minisign public key that must have signed it.
    #[arg(long, value_name = "FILE")]
    public_key: PathBuf,
    /// Version that it must have.
    #[arg(long, value_name = "VERSION")]
    version: String,
    #[command(flatten)]
    place: Place,
    /// OCI registry to publish the images to, such as https://registry.example.
    #[arg(long, value_name = "URL", requires = "repository", group = "places")]
    registry: Option<String>,
    /// Name of the images in the registry, such as cairn/cairnd.
    #[arg(long, value_name = "NAME", requires = "registry")]
    repository: Option<String>,
    /// OCI layout with the images.
    #[arg(long, value_name = "DIR", requires = "registry")]
    layout: Option<PathBuf>,
    /// Further folder that the site serves, as PLACE=DIR, such as apt=dist/repositories/apt.
    #[arg(long, value_name = "PLACE=DIR")]
    tree: Vec<String>,
    /// Ask what is there, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
#[command(after_help = EXIT_CODES_HELP)]
pub(crate) struct Audit {
    #[command(flatten)]
    place: Place,
    /// File with the minisign public key.
    #[arg(long, value_name = "FILE")]
    public_key: PathBuf,
    /// Version to check [default: the one that the channel `stable` names].
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    /// Lowest release number to accept.
    #[arg(long, value_name = "N", default_value_t = 0)]
    min_sequence: u64,
    /// Release folder that the published files must be equal to.
    #[arg(long, value_name = "DIR")]
    local: Option<PathBuf>,
}

#[derive(Args)]
struct Place {
    /// Folder with the site.
    #[arg(long, value_name = "DIR", group = "places")]
    folder: Option<PathBuf>,
    /// Address of the site, which understands PUT and GET as S3 does.
    #[arg(long, value_name = "URL", group = "places")]
    http: Option<String>,
    /// Repository of a GitHub release, OWNER/NAME.
    #[arg(long, value_name = "OWNER/NAME", env = "GITHUB_REPOSITORY", group = "places")]
    github: Option<String>,
}

/// The code with which the program ends on an error of these commands.
pub(crate) fn exit_code(error: &anyhow::Error) -> Option<u8> {
    error.downcast_ref::<publish::Error>().map(publish::Error::exit_code)
}

pub(crate) fn publish(args: &Publish) -> Result<()> {
    let trees = args.tree.iter().map(|text| tree(text)).collect::<Result<Vec<_>>>()?;
    let release = Release {
        dir: &args.dir,
        public_key: &args.public_key,
        version: &args.version,
        trees: &trees,
        layout: args.layout.as_deref(),
    };
    let mode = if args.dry_run { Mode::DryRun } else { Mode::Publish };
    print!("{}", publish::publish(&*target(args)?, &release, mode)?);
    Ok(())
}

fn tree(text: &str) -> Result<Tree> {
    let (at, dir) = text.split_once('=').with_context(|| format!("--tree {text} is not PLACE=DIR"))?;
    Ok(Tree { dir: PathBuf::from(dir), at: at.to_owned(), moving: Vec::new() })
}

fn target(args: &Publish) -> Result<Box<dyn Target>> {
    let place = &args.place;
    Ok(match (&place.folder, &place.http, &args.registry, &args.repository, &place.github) {
        (Some(folder), ..) => Box::new(Folder::new(folder)),
        (_, Some(url), ..) => Box::new(Bucket::new(url, Client::new(), Credentials::from_environment())?),
        (_, _, Some(url), Some(name), _) => {
            Box::new(Registry::new(url, name, Client::new(), Login::from_environment())?)
        }
        (_, _, _, _, Some(name)) => {
            let api = std::env::var(GITHUB_API_VARIABLE).unwrap_or_else(|_| GITHUB_API.to_owned());
            let token = Secret::from_environment(GITHUB_TOKEN_VARIABLE)
                .with_context(|| format!("set {GITHUB_TOKEN_VARIABLE} to a token that may write releases"))?;
            Box::new(GitHub::new(&api, name, Client::new(), token)?)
        }
        _ => bail!("no place to publish to: give --folder, --http, --registry with --repository, or --github"),
    })
}

pub(crate) fn audit(args: &Audit) -> Result<()> {
    let (store, layout): (Box<dyn Store>, _) = match (&args.place.folder, &args.place.http, &args.place.github) {
        (Some(folder), ..) => (Box::new(Folder::new(folder)), Layout::Site),
        (_, Some(url), _) => {
            (Box::new(Bucket::new(url, Client::new(), Credentials::from_environment())?), Layout::Site)
        }
        (_, _, Some(name)) => {
            let version = args.version.as_deref().context("a GitHub release is found by --version")?;
            let url = format!("https://github.com/{name}/releases/download/v{version}");
            (Box::new(Bucket::new(&url, Client::new(), Credentials::from_environment())?), Layout::Flat)
        }
        _ => bail!("no place to look at: give --folder, --http or --github"),
    };
    let audited = audit::audit(&audit::Audit {
        store: &*store,
        layout,
        version: args.version.as_deref(),
        public_key: &args.public_key,
        min_sequence: args.min_sequence,
        local: args.local.as_deref(),
    })?;
    println!("{}: {} files, {} bytes, all fit", audited.manifest.version, audited.files, audited.bytes);
    Ok(())
}
