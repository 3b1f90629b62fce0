//! Gates over what a program asks of the system that it runs on: machine, loader, libraries and their versions.

use super::elf::{Dynamic, ElfFacts, GLIBC_PREFIX};
use super::listed;
use super::policy::{ElfPolicy, GlibcVersion, Linking};

/// Prefixes of versions that only the C++ runtime of a compiler has: it is to be linked statically.
const CXX_RUNTIME_PREFIXES: [&str; 2] = ["GLIBCXX_", "CXXABI_"];

/// Most symbols that a sentence names.
const MAX_NAMED_SYMBOLS: usize = 8;

/// The program is for the policy's machine.
#[must_use]
pub fn machine(name: &str, facts: &ElfFacts, policy: &ElfPolicy) -> Vec<String> {
    let (is, wanted) = (facts.machine, policy.machine.elf_number());
    if is == wanted {
        return Vec::new();
    }
    vec![format!("{name}: is for ELF machine number {is}, but {} is number {wanted}", policy.machine)]
}

/// No symbol needs a newer glibc than the floor, and none needs the runtime of a C++ compiler.
#[must_use]
pub fn glibc_floor(name: &str, facts: &ElfFacts, policy: &ElfPolicy) -> Vec<String> {
    let Some(dynamic) = &facts.dynamic else {
        return Vec::new();
    };
    let floor = match &policy.linking {
        Linking::Dynamic { glibc_floor, .. } => Some(glibc_floor),
        Linking::Static => None,
    };
    let mut violations = Vec::new();
    for one in &dynamic.required {
        let Some(why) = too_new(&one.version, floor) else {
            continue;
        };
        let mut symbols: Vec<_> = one.symbols.iter().take(MAX_NAMED_SYMBOLS).cloned().collect();
        if one.symbols.len() > MAX_NAMED_SYMBOLS {
            symbols.push(format!("{} more", one.symbols.len() - MAX_NAMED_SYMBOLS));
        }
        let what = if symbols.is_empty() { "the file itself".to_owned() } else { listed(symbols) };
        let verb = if one.symbols.len() > 1 { "need" } else { "needs" };
        violations.push(format!("{name}: {what} {verb} {} of {}, {why}", one.version, one.library));
    }
    violations
}

/// Why this version may not be required; none if it may.
fn too_new(version: &str, floor: Option<&GlibcVersion>) -> Option<String> {
    if CXX_RUNTIME_PREFIXES.iter().any(|prefix| version.starts_with(prefix)) {
        return Some("but the C++ runtime must be linked statically".to_owned());
    }
    // Versions of other libraries: whether the library may be needed at all is the business of `needed`.
    let number = version.strip_prefix(GLIBC_PREFIX)?;
    let Some(floor) = floor else {
        return Some("but a static program needs no glibc".to_owned());
    };
    match number.parse::<GlibcVersion>() {
        Ok(number) if number <= *floor => None,
        Ok(_) => Some(format!("above the floor {floor}")),
        // GLIBC_PRIVATE changes with every release; GLIBC_ABI_… stands for a feature of newer loaders.
        Err(_) => Some("which no release of glibc promises at the floor".to_owned()),
    }
}

/// Loader, needed libraries and search paths are the policy's; a static program has none of them.
#[must_use]
pub fn needed(name: &str, facts: &ElfFacts, policy: &ElfPolicy) -> Vec<String> {
    let none = Dynamic::default();
    let dynamic = facts.dynamic.as_ref().unwrap_or(&none);
    let mut violations = match &policy.linking {
        Linking::Dynamic { needed, .. } => dynamic_violations(name, facts, policy, dynamic, needed),
        Linking::Static => static_violations(name, facts, dynamic),
    };
    for path in &dynamic.search_paths {
        violations.push(format!("{name}: searches {path:?} for libraries (RPATH or RUNPATH), but must name no folder"));
    }
    violations
}

fn dynamic_violations(
    name: &str,
    facts: &ElfFacts,
    policy: &ElfPolicy,
    dynamic: &Dynamic,
    allowed: &[String],
) -> Vec<String> {
    let mut violations = Vec::new();
    let wanted = policy.machine.interpreter();
    match facts.interpreter.as_deref() {
        Some(path) if path == wanted => {}
        Some(path) => violations.push(format!("{name}: wants the loader {path:?}, but it must be {wanted:?}")),
        None => violations.push(format!("{name}: names no loader, but it must be {wanted:?}")),
    }
    for library in dynamic.needed.iter().filter(|library| !allowed.contains(library)) {
        violations.push(format!("{name}: needs {library}, but may need only {}", listed(allowed)));
    }
    violations
}

fn static_violations(name: &str, facts: &ElfFacts, dynamic: &Dynamic) -> Vec<String> {
    let mut violations = Vec::new();
    if let Some(path) = &facts.interpreter {
        violations.push(format!("{name}: wants the loader {path:?}, but must be static"));
    }
    for library in &dynamic.needed {
        violations.push(format!("{name}: needs {library}, but must be static"));
    }
    violations
}
