//! The facts of an ELF file that the gates judge, read from the file alone.
//!
//! Contract: what the loader reads (program headers, the dynamic table, required versions) is found or the file is
//! refused; a file whose section headers hide its dynamic table is never taken for a static one. Only 64-bit
//! little-endian files are read: we build no others.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use object::read::elf::{ElfFile64, FileHeader as _, ProgramHeader as _, SectionHeader as _, Sym as _};
use object::{LittleEndian, Object as _, elf};
use serde::Serialize;

use super::policy::GlibcVersion;

type File<'a> = ElfFile64<'a, LittleEndian>;

/// Prefix of the versions of glibc's symbols.
pub(super) const GLIBC_PREFIX: &str = "GLIBC_";

/// What a gate wants to know about an ELF file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ElfFacts {
    /// Number of the machine in the header.
    pub machine: u16,
    /// Whether the file can be loaded at any address (`ET_DYN`): libraries and position-independent programs.
    pub position_independent: bool,
    /// Path of the loader; programs without one are static.
    pub interpreter: Option<String>,
    /// The build id in hexadecimal digits.
    pub build_id: Option<String>,
    /// The parts that are loaded, in the order of the file.
    pub segments: Vec<Segment>,
    /// Whether the stack is executable; none if the file does not say.
    pub executable_stack: Option<bool>,
    /// Whether a part of the data becomes read-only after relocation.
    pub relro: bool,
    /// What the loader is asked for; none in a static file that is not position-independent.
    pub dynamic: Option<Dynamic>,
    /// Sections with symbols or debug information that users do not need.
    pub debug_sections: Vec<String>,
}

/// A part of the file that is loaded into memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Segment {
    /// Where it begins in the file.
    pub offset: u64,
    /// Where it begins in memory, relative to the load address.
    pub address: u64,
    /// Bytes in memory.
    pub memory_bytes: u64,
    /// Alignment in bytes.
    pub align: u64,
    /// Whether it is writable.
    pub writable: bool,
    /// Whether it is executable.
    pub executable: bool,
}

/// What a file asks of the loader.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Dynamic {
    /// Libraries that must be there, in the file's order.
    pub needed: Vec<String>,
    /// Folders that the file adds to the search for libraries (`RPATH`, `RUNPATH`).
    pub search_paths: Vec<String>,
    /// Whether all symbols are bound before the program starts.
    pub bind_now: bool,
    /// Whether the file says that it is a program (`DF_1_PIE`).
    pub says_pie: bool,
    /// Whether relocations write into code.
    pub text_relocations: bool,
    /// Versions that libraries must have.
    pub required: Vec<Requirement>,
    /// Symbols that come from libraries.
    pub imports: BTreeSet<String>,
}

/// A version that a library must have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Requirement {
    /// The library.
    pub library: String,
    /// Name of the version, such as `GLIBC_2.28`.
    pub version: String,
    /// The symbols of this version; there are versions without symbols, which stand for a feature of the loader.
    pub symbols: BTreeSet<String>,
}

impl ElfFacts {
    /// Reads the facts of a file that is in memory.
    ///
    /// # Errors
    ///
    /// The bytes are no 64-bit little-endian ELF file, or a table of it is broken or missing.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let file = File::parse(bytes).context("this is no ELF file of 64 bits")?;
        let endian = LittleEndian;
        if !file.is_little_endian() {
            bail!("this is a big-endian ELF file; we build only little-endian ones");
        }
        let mut facts = Self {
            machine: file.elf_header().e_machine(endian).0,
            position_independent: file.elf_header().e_type(endian) == elf::ET_DYN,
            interpreter: None,
            build_id: file.build_id().context("the notes cannot be read")?.map(hex),
            segments: Vec::new(),
            executable_stack: None,
            relro: false,
            dynamic: None,
            debug_sections: debug_sections(&file)?,
        };
        for header in file.elf_program_headers() {
            let flags = header.p_flags(endian);
            match header.p_type(endian) {
                elf::PT_LOAD => facts.segments.push(segment(header)),
                elf::PT_GNU_STACK => facts.executable_stack = Some(flags.contains(elf::PF_X)),
                elf::PT_GNU_RELRO => facts.relro = true,
                elf::PT_DYNAMIC => facts.dynamic = Some(dynamic(&file)?),
                elf::PT_INTERP => {
                    let path = header.interpreter(endian, bytes).context("the loader's path cannot be read")?;
                    facts.interpreter = Some(text(path.unwrap_or_default()));
                }
                _ => {}
            }
        }
        Ok(facts)
    }

    /// Highest version of glibc that the file needs; none if it needs no glibc.
    #[must_use]
    pub fn highest_glibc(&self) -> Option<GlibcVersion> {
        let required = self.dynamic.as_ref().map_or(&[][..], |dynamic| &dynamic.required);
        required.iter().filter_map(|one| one.version.strip_prefix(GLIBC_PREFIX)?.parse().ok()).max()
    }
}

fn segment(header: &elf::ProgramHeader64<LittleEndian>) -> Segment {
    let endian = LittleEndian;
    let flags = header.p_flags(endian);
    Segment {
        offset: header.p_offset(endian),
        address: header.p_vaddr(endian),
        memory_bytes: header.p_memsz(endian),
        align: header.p_align(endian),
        writable: flags.contains(elf::PF_W),
        executable: flags.contains(elf::PF_X),
    }
}

/// Called for a file with a dynamic segment.
fn dynamic(file: &File<'_>) -> Result<Dynamic> {
    let table = file.elf_dynamic_table().context("the dynamic table cannot be read")?;
    // Without it the loader would find what we do not: strip with `--strip-all`, which keeps the section headers.
    if table.is_empty() {
        bail!("there is a dynamic segment, but no section header for it; keep the section headers");
    }
    let mut dynamic = Dynamic::default();
    let mut wants_versions = false;
    for entry in &table {
        let string = || table.string(entry).map(text).context("the dynamic table names no valid string");
        match entry.tag {
            elf::DT_NEEDED => dynamic.needed.push(string()?),
            elf::DT_RPATH | elf::DT_RUNPATH => dynamic.search_paths.push(string()?),
            elf::DT_BIND_NOW => dynamic.bind_now = true,
            elf::DT_TEXTREL => dynamic.text_relocations = true,
            elf::DT_VERNEED => wants_versions = true,
            elf::DT_FLAGS => {
                dynamic.bind_now |= entry.val & elf::DF_BIND_NOW.0 != 0;
                dynamic.text_relocations |= entry.val & elf::DF_TEXTREL.0 != 0;
            }
            elf::DT_FLAGS_1 => {
                dynamic.bind_now |= entry.val & elf::DF_1_NOW.0 != 0;
                dynamic.says_pie |= entry.val & elf::DF_1_PIE.0 != 0;
            }
            _ => {}
        }
    }
    dynamic.required = requirements(file).context("the required versions cannot be read")?;
    if wants_versions && dynamic.required.is_empty() {
        bail!("the loader is asked for versions, but no section header tells which; keep the section headers");
    }
    add_imports(file, &mut dynamic).context("the dynamic symbols cannot be read")?;
    Ok(dynamic)
}

fn requirements(file: &File<'_>) -> Result<Vec<Requirement>> {
    let (endian, data, sections) = (LittleEndian, file.data(), file.elf_section_table());
    let Some((mut libraries, link)) = sections.gnu_verneed(endian, data)? else {
        return Ok(Vec::new());
    };
    let strings = sections.strings(endian, data, link)?;
    let mut required = Vec::new();
    while let Some((library, mut versions)) = libraries.next()? {
        while let Some(version) = versions.next()? {
            required.push(Requirement {
                library: text(library.file(endian, strings)?),
                version: text(version.name(endian, strings)?),
                symbols: BTreeSet::new(),
            });
        }
    }
    Ok(required)
}

/// Adds the undefined symbols, each also to the version that it needs.
fn add_imports(file: &File<'_>, dynamic: &mut Dynamic) -> Result<()> {
    let endian = LittleEndian;
    let symbols = file.elf_dynamic_symbol_table();
    let versions = file.elf_section_table().versions(endian, file.data())?;
    for (index, symbol) in symbols.enumerate() {
        if !symbol.is_undefined(endian) || symbol.st_name(endian) == 0 {
            continue;
        }
        let name = text(symbol.name(endian, symbols.strings())?);
        if let Some(versions) = &versions
            && let Some(version) = versions.version(versions.version_index(endian, index).index())?
        {
            let (library, version) = (text(version.file().unwrap_or_default()), text(version.name()));
            let found = dynamic.required.iter_mut().find(|one| one.library == library && one.version == version);
            if let Some(requirement) = found {
                requirement.symbols.insert(name.clone());
            }
        }
        dynamic.imports.insert(name);
    }
    Ok(())
}

/// Names a script of gdb's in 34 bytes that are loaded with the program, so that no tool strips them; it says nothing of
/// the program.
const GDB_SCRIPTS: &str = ".debug_gdb_scripts";

fn debug_sections(file: &File<'_>) -> Result<Vec<String>> {
    let sections = file.elf_section_table();
    let mut found = Vec::new();
    for section in sections.iter() {
        let name = text(sections.section_name(LittleEndian, section).context("a section has no valid name")?);
        let is_debug = (name.starts_with(".debug_") || name.starts_with(".zdebug_")) && name != GDB_SCRIPTS;
        if is_debug || section.sh_type(LittleEndian) == elf::SHT_SYMTAB {
            found.push(name);
        }
    }
    Ok(found)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
        text
    })
}
