//! Gate over two builds: they are equal bit for bit, or the first difference is named as closely as it can be.
//!
//! A difference is followed through the layers of [`super::layers`] to the member, in programs to the section and the
//! nearest symbol, in tar headers to the field. Compared are names, contents and link targets. Left out: modes and
//! times of the files themselves, which no download carries.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use object::{Object as _, ObjectSection as _};

use super::layers::{self, Kind, Layer, Limits, Member};
use super::listed;

/// Bytes of each side that a sentence shows.
const SHOWN_BYTES: usize = 8;

/// Most names that a sentence lists.
const MAX_LISTED: usize = 12;

/// Sections that follow from others: when one of these differs, the reason is elsewhere.
const DERIVED_SECTIONS: [&str; 9] = [
    ".note.gnu.build-id",
    ".gnu_debuglink",
    ".rela.dyn",
    ".relr.dyn",
    ".eh_frame_hdr",
    ".eh_frame",
    ".gcc_except_table",
    ".symtab",
    ".gnu_debugdata",
];

/// The fields of a tar header: name and the place behind its last byte.
const TAR_FIELDS: [(&str, usize); 16] = [
    ("name", 100),
    ("mode", 108),
    ("owner's number", 116),
    ("group's number", 124),
    ("size", 136),
    ("time", 148),
    ("checksum", 156),
    ("kind", 157),
    ("link target", 257),
    ("format", 263),
    ("format version", 265),
    ("owner's name", 297),
    ("group's name", 329),
    ("device", 345),
    ("name's first part", 500),
    ("padding", 512),
];

/// Compares two folders or two files: violations if they are not equal bit for bit, with the first difference.
///
/// # Errors
///
/// One of them cannot be read, or one is a file and the other a folder.
pub fn difference(first: &Path, second: &Path) -> Result<Vec<String>> {
    match (first.is_dir(), second.is_dir()) {
        (true, true) => difference_of_folders(first, second),
        (false, false) => {
            let name = first.file_name().unwrap_or_default().to_string_lossy();
            Ok(difference_of_bytes(&name, &read(first)?, &read(second)?).into_iter().collect())
        }
        _ => bail!("{} and {} are not both files or both folders", first.display(), second.display()),
    }
}

/// Compares the bytes of two files of this name; none if they are equal.
#[must_use]
pub fn difference_of_bytes(name: &str, first: &[u8], second: &[u8]) -> Option<String> {
    let budget = Limits::default().unpacked_bytes;
    (first != second).then(|| Comparison { budgets: [budget, budget] }.differing(name, first, second, 0))
}

fn difference_of_folders(first: &Path, second: &Path) -> Result<Vec<String>> {
    let (mut ones, mut others) = (BTreeMap::new(), BTreeMap::new());
    list(first, "", &mut ones)?;
    list(second, "", &mut others)?;
    let mut violations = Vec::new();
    for (which, names, other) in [("first", &ones, &others), ("second", &others, &ones)] {
        let only = names.keys().filter(|name| !other.contains_key(*name));
        violations.extend(only.map(|name| format!("{name}: only the {which} build has it")));
    }
    let mut differing = Vec::new();
    for (name, one) in &ones {
        let Some(other) = others.get(name) else { continue };
        match (one, other) {
            (Item::Link(one), Item::Link(other)) if one == other => {}
            (Item::File, Item::File) => {
                let (one, other) = (read(&first.join(name))?, read(&second.join(name))?);
                if one != other {
                    // Only the first in detail: the others are often its consequences, like checksums.
                    let detailed = differing.is_empty().then(|| difference_of_bytes(name, &one, &other));
                    violations.extend(detailed.flatten());
                    differing.push(name);
                }
            }
            _ => violations.push(format!("{name}: is {one} in the first build and {other} in the second")),
        }
    }
    if differing.len() > 1 {
        violations.push(format!("{} files differ: {}", differing.len(), shortened(&differing)));
    }
    Ok(violations)
}

/// What is under a name of a folder.
enum Item {
    File,
    Link(String),
}

impl std::fmt::Display for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Item::File => f.write_str("a file"),
            Item::Link(to) => write!(f, "a link to {to:?}"),
        }
    }
}

fn list(root: &Path, below: &str, items: &mut BTreeMap<String, Item>) -> Result<()> {
    let folder = root.join(below);
    let cannot = || format!("cannot read the folder {}", folder.display());
    for entry in fs::read_dir(&folder).with_context(cannot)? {
        let entry = entry.with_context(cannot)?;
        let Ok(name) = entry.file_name().into_string() else {
            bail!("{} has a file whose name is no text", folder.display());
        };
        let name = if below.is_empty() { name } else { format!("{below}/{name}") };
        let kind = entry.file_type().with_context(cannot)?;
        if kind.is_dir() {
            list(root, &name, items)?;
        } else if kind.is_symlink() {
            let to = fs::read_link(entry.path()).with_context(cannot)?;
            items.insert(name, Item::Link(to.to_string_lossy().into_owned()));
        } else {
            items.insert(name, Item::File);
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// What may still be unpacked of either side.
struct Comparison {
    budgets: [u64; 2],
}

impl Comparison {
    /// The sentence about two contents that are not equal.
    fn differing(&mut self, place: &str, first: &[u8], second: &[u8], depth: usize) -> String {
        if depth < layers::MAX_DEPTH {
            // What cannot be opened is compared as it is.
            let [one_budget, other_budget] = &mut self.budgets;
            let opened = (layers::open(first, one_budget), layers::open(second, other_budget));
            if let (Ok(Some(one)), Ok(Some(other))) = opened
                && one.kind == other.kind
            {
                return self.layers(place, (first, &one), (second, &other), depth);
            }
        }
        plain_difference(place, first, second)
    }

    fn layers(
        &mut self,
        place: &str,
        (first, one): (&[u8], &Layer<'_>),
        (second, other): (&[u8], &Layer<'_>),
        depth: usize,
    ) -> String {
        if let Some(sentence) = unequal_names(place, one, other) {
            return sentence;
        }
        let mut pairs: Vec<_> = one.members.iter().zip(&other.members).filter(|(a, b)| a.bytes != b.bytes).collect();
        // A stable sort: the first difference that is not a consequence comes first.
        pairs.sort_by_key(|(member, _)| one.kind == Kind::Elf && DERIVED_SECTIONS.contains(&member.name.as_str()));
        let Some((a, b)) = pairs.first() else {
            return frame_difference(place, (first, one), (second, other));
        };
        let inner = if a.name.is_empty() { place.to_owned() } else { format!("{place} > {}", a.name) };
        let mut sentence = if a.may_nest {
            self.differing(&inner, &a.bytes, &b.bytes, depth + 1)
        } else {
            plain_difference(&inner, &a.bytes, &b.bytes)
        };
        if one.kind == Kind::Elf {
            sentence.push_str(&symbol_hint(first, a, &b.bytes));
        }
        if pairs.len() > 1 {
            let names: Vec<_> = pairs.iter().map(|(member, _)| &member.name).collect();
            let _ = write!(sentence, " ({} members of {place} differ: {})", pairs.len(), shortened(&names));
        }
        sentence
    }
}

fn unequal_names(place: &str, one: &Layer<'_>, other: &Layer<'_>) -> Option<String> {
    let names = |layer: &Layer<'_>| -> Vec<String> { layer.members.iter().map(|member| member.name.clone()).collect() };
    let (ones, others) = (names(one), names(other));
    if let Some(name) = ones.iter().find(|name| !others.contains(name)) {
        return Some(format!("{place}: only the first build has {name}"));
    }
    if let Some(name) = others.iter().find(|name| !ones.contains(name)) {
        return Some(format!("{place}: only the second build has {name}"));
    }
    if let Some((a, b)) = ones.iter().zip(&others).find(|(a, b)| a != b) {
        return Some(format!(
            "{place}: has the same members in another order: {a} stands where the second build has {b}"
        ));
    }
    (ones.len() != others.len()).then(|| format!("{place}: has {} members and {}", ones.len(), others.len()))
}

/// All members are equal, so that the difference is around them.
fn frame_difference(place: &str, (first, one): (&[u8], &Layer<'_>), (second, other): (&[u8], &Layer<'_>)) -> String {
    if one.kind == Kind::Stream {
        return format!("{}; unpacked, both are equal", plain_difference(place, first, second));
    }
    let gaps = layers::frame(first, one).into_iter().zip(layers::frame(second, other));
    let Some(((gap, a), (_, b))) = gaps.into_iter().find(|((_, a), (_, b))| a != b) else {
        return plain_difference(place, first, second);
    };
    let at = gap + first_difference(a, b);
    let next = one.members.iter().filter(|member| member.at.is_some_and(|start| start > at)).min_by_key(|one| one.at);
    let whose = next
        .map_or("what stands after the last member".to_owned(), |member| format!("what stands before {}", member.name));
    let field = if one.kind == Kind::Tar { tar_field(at) } else { String::new() };
    format!(
        "{}, in {whose}{field}; the members are equal",
        shown(place, at, &first[at..], &second[at.min(second.len())..])
    )
}

/// Entries of a tar begin at multiples of 512 bytes.
fn tar_field(at: usize) -> String {
    let within = at % 512;
    let field = TAR_FIELDS.iter().find(|(_, end)| within < *end);
    field.map_or(String::new(), |(name, _)| format!(" (as a tar header: the {name})"))
}

fn plain_difference(place: &str, first: &[u8], second: &[u8]) -> String {
    let at = first_difference(first, second);
    let mut sentence = shown(place, at, first.get(at..).unwrap_or_default(), second.get(at..).unwrap_or_default());
    if first.len() != second.len() {
        let _ = write!(sentence, "; the sizes are {} and {}", first.len(), second.len());
    }
    sentence
}

fn first_difference(first: &[u8], second: &[u8]) -> usize {
    let common = first.len().min(second.len());
    first.iter().zip(second).position(|(a, b)| a != b).unwrap_or(common)
}

fn shown(place: &str, at: usize, first: &[u8], second: &[u8]) -> String {
    let show = |bytes: &[u8]| match bytes.get(..bytes.len().min(SHOWN_BYTES)) {
        None | Some([]) => "the end".to_owned(),
        Some(bytes) => format!("\"{}\"", bytes.escape_ascii()),
    };
    format!(
        "{place}: differs first at byte {at}, where the first build has {} and the second {}",
        show(first),
        show(second)
    )
}

/// The symbol of the first file at or before the difference within a section; empty without one.
fn symbol_hint(file: &[u8], section: &Member<'_>, other: &[u8]) -> String {
    let Ok(file) = object::File::parse(file) else {
        return String::new();
    };
    let Some(base) = file.section_by_name(&section.name).map(|section| section.address()).filter(|base| *base != 0)
    else {
        return String::new();
    };
    let address = base.saturating_add(first_difference(&section.bytes, other) as u64);
    // A symbol of another section says nothing: data has fewer symbols than code.
    match file.symbol_map().before(address).filter(|symbol| symbol.address() >= base) {
        Some(symbol) => format!("; the nearest symbol is {}+{:#x}", symbol.name(), address - symbol.address()),
        None => String::new(),
    }
}

fn shortened<T: ToString>(names: &[T]) -> String {
    let mut shown: Vec<_> = names.iter().take(MAX_LISTED).map(ToString::to_string).collect();
    if names.len() > MAX_LISTED {
        shown.push(format!("{} more", names.len() - MAX_LISTED));
    }
    listed(shown)
}
