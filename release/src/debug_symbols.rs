//! Debug information apart from the programs: stripped programs to ship, and their debug files by build id.
//!
//! Contract: [`split`] makes of one program a stripped one and `usr/lib/debug/.build-id/xx/yyyy.debug`, where every debugger
//! looks. The stripped program keeps its build id and [`DEPENDENCIES_SECTION`], and names its debug file with a checksum.
//! llvm-objcopy does the work: one program for every architecture. [`violations`] and [`archive_violations`] look at the
//! final bytes. Left out: packages of debug files, and a server that debuggers ask.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use flate2::Crc;
use flate2::read::GzDecoder;
use object::{Object, ObjectSection};
use sha1::{Digest as _, Sha1};
use tar::{Archive, EntryType};

use crate::files::{self, EXECUTABLE_MODE, FILE_MODE};
use crate::process;
use crate::tarball::{Entries, Entry};

/// The section in which cargo-auditable puts the list of dependencies.
pub const DEPENDENCIES_SECTION: &str = ".dep-v0";

/// Where debuggers look for debug files.
const DEBUG_FOLDER: &str = "usr/lib/debug/.build-id";

/// The section without which a debug file is of no use.
const DEBUG_SECTION: &str = ".debug_info";

/// The table of symbols that only debuggers read.
const SYMBOL_SECTION: &str = ".symtab";

/// Fewest bytes of a build id: the first names the folder, the others the file.
const MIN_BUILD_ID_BYTES: usize = 2;

/// Finds llvm-objcopy, as plain name or else the newest that has its version in its name.
///
/// # Errors
///
/// There is none.
pub fn find_objcopy() -> Result<PathBuf> {
    const NAME: &str = "llvm-objcopy";
    if let Some(program) = process::find_program(NAME) {
        return Ok(program);
    }
    let folders: Vec<_> =
        std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
    let names = folders.iter().filter_map(|folder| Some((folder, files::names_in(folder).ok()?)));
    let versioned = names.flat_map(|(folder, names)| {
        names.into_iter().filter_map(move |name| {
            let version: u32 = name.strip_prefix(NAME)?.strip_prefix('-')?.parse().ok()?;
            Some((version, folder.join(name)))
        })
    });
    let newest = versioned.max_by_key(|(version, _)| *version).map(|(_, program)| program);
    newest.context("the program llvm-objcopy is missing; install the Debian package `llvm`")
}

/// Writes a copy of a program that [`split`] can take, without what depends on the place where it was built.
///
/// Debug information of code that the linker brings itself (zig compiles libc++ on the spot) names folders that no compiler
/// flag reaches: each of `places` becomes its name with slashes behind it, which is as long and means the same. And the
/// linker's build id, which covers debug information, is replaced by one that is computed from the stripped program.
///
/// # Errors
///
/// A name is longer than its place, the program has no build id, or llvm-objcopy fails.
pub fn normalise(objcopy: &Path, program: &Path, places: &[(String, &str)], to: &Path) -> Result<()> {
    let mut bytes = read(program)?;
    for (place, name) in places {
        let padding = place.len().checked_sub(name.len()).with_context(|| format!("{name} is longer than {place}"))?;
        replace_all(&mut bytes, place.as_bytes(), format!("{name}{}", "/".repeat(padding)).as_bytes());
    }
    let id = raw_build_id(&bytes)?.with_context(|| format!("{} has no build id", program.display()))?;
    replace_all(&mut bytes, &id, &vec![0; id.len()]);
    files::write_bytes(to, EXECUTABLE_MODE, &bytes)?;
    let stripped = to.with_extension("stripped");
    let mut strip = process::clean_command(objcopy);
    process::output(strip.args(["--strip-all", "--keep-section", DEPENDENCIES_SECTION]).arg(to).arg(&stripped))?;
    let digest = Sha1::digest(read(&stripped)?);
    fs::remove_file(&stripped)?;
    let at = note_offset(&bytes)?;
    let note = bytes.get_mut(at..at + id.len()).context("the build id lies outside the file")?;
    note.copy_from_slice(digest.get(..id.len()).context("the linker's build id is longer than a SHA-1")?);
    files::write_bytes(to, EXECUTABLE_MODE, &bytes)
}

/// Exchanges every occurrence of some bytes by as many others.
fn replace_all(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    let found: Vec<_> = memchr::memmem::find_iter(bytes, from).collect();
    for at in found {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
}

fn raw_build_id(bytes: &[u8]) -> Result<Option<Vec<u8>>> {
    Ok(parse(bytes)?.build_id().context("its notes are damaged")?.map(<[u8]>::to_vec))
}

/// Where the bytes of the build id begin: behind the header and the name `GNU` of the note in its section.
fn note_offset(bytes: &[u8]) -> Result<usize> {
    const HEADER_AND_NAME_BYTES: u64 = 16;
    let elf = parse(bytes)?;
    let section = elf.section_by_name(".note.gnu.build-id").context("it has no section for its build id")?;
    let (start, _) = section.file_range().context("the section of its build id has no bytes")?;
    Ok(usize::try_from(start + HEADER_AND_NAME_BYTES)?)
}

/// Splits a program: the stripped one goes to `stripped`, the debug file below `debug_root`. Returns the build id.
///
/// # Errors
///
/// The program has no build id or no debug information, or llvm-objcopy fails.
pub fn split(objcopy: &Path, program: &Path, stripped: &Path, debug_root: &Path) -> Result<String> {
    let id = {
        let bytes = read(program)?;
        let elf = parse(&bytes).with_context(|| program.display().to_string())?;
        ensure!(
            has_section(&elf, DEBUG_SECTION),
            "{} has no debug information; build it with CARGO_PROFILE_RELEASE_DEBUG=line-tables-only",
            program.display()
        );
        build_id(&elf)?.with_context(|| {
            format!("{} has no build id; build it with -C link-arg=-Wl,--build-id=sha1", program.display())
        })?
    };
    let debug = debug_root.join(debug_path(&id)?);
    files::create_folder(debug.parent().context("a debug file is in a folder")?)?;
    let mut only_debug = process::clean_command(objcopy);
    process::output(only_debug.arg("--only-keep-debug").arg(program).arg(&debug))?;
    let mut strip = process::clean_command(objcopy);
    strip.args(["--strip-all", "--keep-section", DEPENDENCIES_SECTION]).arg("--add-gnu-debuglink").arg(&debug);
    process::output(strip.arg(program).arg(stripped))?;
    set_mode(&debug, FILE_MODE)?;
    set_mode(stripped, EXECUTABLE_MODE)?;
    Ok(id)
}

/// What the archive of debug files holds: those below `debug_root`.
///
/// # Errors
///
/// The folder cannot be read or has something else in it.
pub fn entries(debug_root: &Path) -> Result<Entries> {
    let folder = debug_root.join(DEBUG_FOLDER);
    let mut entries = Entries::new();
    for first in names(&folder)? {
        for file in names(&folder.join(&first))? {
            let from = folder.join(&first).join(&file);
            ensure!(file.ends_with(".debug") && from.is_file(), "{} is no debug file; remove it", from.display());
            entries.insert(format!("{DEBUG_FOLDER}/{first}/{file}"), Entry::File(FILE_MODE, from));
        }
    }
    ensure!(!entries.is_empty(), "{} has no debug files; split the programs first", folder.display());
    Ok(entries)
}

/// What is wrong with a stripped program and its debug file, given the program as it was built.
///
/// # Errors
///
/// One of the three is no ELF file.
pub fn violations(name: &str, built: &[u8], stripped: &[u8], debug: &[u8]) -> Result<Vec<String>> {
    let built = parse(built).with_context(|| format!("{name} as it was built"))?;
    let mut violations = Vec::new();
    let dependencies = |elf: &object::File<'_>| {
        elf.section_by_name_bytes(DEPENDENCIES_SECTION.as_bytes())
            .and_then(|section| section.data().ok().map(<[u8]>::to_vec))
    };
    let elf = parse(stripped).with_context(|| name.to_owned())?;
    if dependencies(&built) != dependencies(&elf) {
        violations.push(format!("{name} lost its section {DEPENDENCIES_SECTION} when it was stripped"));
    }
    if build_id(&built)? != build_id(&elf)? {
        violations.push(format!("{name} has another build id than before it was stripped"));
    }
    violations.extend(pair_violations(name, &elf, debug)?);
    Ok(violations)
}

/// What is wrong with an archive of debug files: it must have the debug file of each of `programs`, given by name and
/// path, and no other file.
///
/// # Errors
///
/// The archive or a program cannot be read.
pub fn archive_violations(archive: &Path, top: &str, programs: &[(&str, &Path)]) -> Result<Vec<String>> {
    let mut violations = Vec::new();
    let mut wanted = BTreeMap::new();
    for (name, path) in programs {
        match build_id(&parse(&read(path)?).with_context(|| (*name).to_owned())?)? {
            Some(id) => {
                wanted.insert(format!("{top}/{}", debug_path(&id)?), (*name, *path));
            }
            None => violations.push(format!("{name} has no build id")),
        }
    }
    let cannot = || format!("cannot read the archive {}", archive.display());
    let file = File::open(archive).with_context(cannot)?;
    for entry in Archive::new(GzDecoder::new(file)).entries().with_context(cannot)? {
        let mut entry = entry.with_context(cannot)?;
        if entry.header().entry_type() == EntryType::Directory {
            continue;
        }
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        match wanted.remove(&path) {
            Some((name, program)) => {
                let mut debug = Vec::new();
                entry.read_to_end(&mut debug).with_context(cannot)?;
                violations.extend(pair_violations(name, &parse(&read(program)?)?, &debug)?);
            }
            None => violations.push(format!("{path} is the debug file of no program")),
        }
    }
    violations
        .extend(wanted.into_iter().map(|(path, (name, _))| format!("{path} is missing, the debug file of {name}")));
    Ok(violations)
}

/// Path of the debug file with this build id, below the root of a system or of debug files.
///
/// # Errors
///
/// It is no build id.
pub fn debug_path(id: &str) -> Result<String> {
    ensure!(id.is_ascii() && id.len() >= 2 * MIN_BUILD_ID_BYTES, "{id:?} is too short for a build id");
    let (first, rest) = id.split_at(2);
    Ok(format!("{DEBUG_FOLDER}/{first}/{rest}.debug"))
}

fn pair_violations(name: &str, stripped: &object::File<'_>, debug: &[u8]) -> Result<Vec<String>> {
    let mut violations = Vec::new();
    for section in [SYMBOL_SECTION, DEBUG_SECTION] {
        if has_section(stripped, section) {
            violations.push(format!("{name} is not stripped: it has the section {section}"));
        }
    }
    let debug_elf = parse(debug).with_context(|| format!("the debug file of {name}"))?;
    if !has_section(&debug_elf, DEBUG_SECTION) {
        violations.push(format!("the debug file of {name} has no section {DEBUG_SECTION}"));
    }
    let (id, debug_id) = (build_id(stripped)?, build_id(&debug_elf)?);
    if id.is_none() || id != debug_id {
        let shown = |id: Option<String>| id.unwrap_or_else(|| "none".to_owned());
        violations.push(format!("{name} has the build id {}, its debug file {}", shown(id), shown(debug_id)));
    }
    let mut crc = Crc::new();
    crc.update(debug);
    if stripped.gnu_debuglink()?.map(|(_, sum)| sum) != Some(crc.sum()) {
        violations.push(format!("{name} does not name its debug file with its checksum"));
    }
    Ok(violations)
}

fn parse(bytes: &[u8]) -> Result<object::File<'_>> {
    object::File::parse(bytes).context("it is no ELF file")
}

fn build_id(elf: &object::File<'_>) -> Result<Option<String>> {
    let id = elf.build_id().context("its notes are damaged")?;
    Ok(id.map(|id| id.iter().map(|byte| format!("{byte:02x}")).collect()))
}

fn has_section(elf: &object::File<'_>, name: &str) -> bool {
    elf.section_by_name(name).is_some()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let names = files::names_in(folder).with_context(|| format!("cannot read the folder {}", folder.display()))?;
    Ok(names.into_iter().collect())
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if !path.is_file() {
        bail!("llvm-objcopy wrote no {}", path.display());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("cannot set mode of {}", path.display()))
}
