//! Licences of everything that others wrote and we ship: the gate on them and the file with their texts.
//!
//! The expressions are held to the list of `deny.toml`, the same one that `cargo deny` uses, and the C++ parts are held
//! to it, too. A crate without a text of its own gets the texts of another crate from the same repository or else the
//! text that SPDX has for its licence, and the file says so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use spdx::{Expression, LicenseReq, Licensee};

use crate::sbom::{Component, Components, Kind, LicenceText};

/// Name of the file with the texts.
pub const FILE_NAME: &str = "THIRD-PARTY-LICENSES.txt";

/// The line between two texts.
const RULE: &str = "================================================================================";

#[derive(Deserialize)]
struct DenyToml {
    licenses: DenyLicences,
}

#[derive(Deserialize)]
struct DenyLicences {
    allow: Vec<String>,
}

/// The licences that `deny.toml` allows.
#[derive(Debug, Clone)]
pub struct Allowed(Vec<Licensee>);

impl Allowed {
    /// Reads `deny.toml` of a source tree.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or its list is missing or has something that is no SPDX licence.
    pub fn read(root: &Path) -> Result<Self> {
        let path = root.join("deny.toml");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).context("deny.toml")
    }

    fn parse(text: &str) -> Result<Self> {
        let deny: DenyToml = toml::from_str(text)?;
        let parse = |name: &String| Licensee::parse(name).with_context(|| format!("{name:?} is no SPDX licence"));
        Ok(Self(deny.licenses.allow.iter().map(parse).collect::<Result<_>>()?))
    }

    fn allows(&self, requirement: &LicenseReq) -> bool {
        self.0.iter().any(|licensee| licensee.satisfies(requirement))
    }
}

/// The gate: every component has a licence that is allowed, and a text.
#[must_use]
pub fn violations(components: &Components, allowed: &Allowed) -> Vec<String> {
    let mut violations = Vec::new();
    for component in components.iter() {
        let what = title(component);
        match component.licence.as_deref().map(Expression::parse) {
            None => violations.push(format!("{what} has no licence expression")),
            Some(Err(_)) => violations.push(format!("{what} has a licence expression that is not SPDX")),
            Some(Ok(expression)) => {
                if !expression.evaluate(|requirement| allowed.allows(requirement)) {
                    violations.push(format!("{what} is under {expression}, which deny.toml does not allow"));
                }
            }
        }
        if component.kind != Kind::Own && found_texts(components, component).1.is_empty() {
            violations.push(format!("{what} has no licence text"));
        }
    }
    violations
}

/// Where the texts of a component come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// Its own source.
    Own,
    /// A crate of the same repository.
    SameRepository,
    /// SPDX.
    Standard,
}

/// Writes the file with the licences of all components that are not ours.
#[must_use]
pub fn render(components: &Components, product: &str, version: &str, target: &str) -> String {
    let mut numbers = BTreeMap::new();
    let mut texts: Vec<(String, BTreeSet<String>)> = Vec::new();
    let mut list = String::new();
    let mut line = |text: &str| {
        list.push_str(text);
        list.push('\n');
    };
    for component in components.iter().filter(|component| component.kind != Kind::Own) {
        let (origin, found) = found_texts(components, component);
        let mut used = BTreeSet::new();
        for LicenceText { text, .. } in found {
            let number = *numbers.entry(text.clone()).or_insert_with(|| {
                texts.push((text, BTreeSet::new()));
                texts.len()
            });
            texts[number - 1].1.insert(title(component));
            used.insert(number);
        }
        line(&title(component));
        component.contained_in.iter().for_each(|place| line(&format!("    part of {place}")));
        line(&format!("    licence: {}", component.licence.as_deref().unwrap_or("not given")));
        component.repository.iter().for_each(|place| line(&format!("    source: {place}")));
        line(&format!("    {}{}", numbers_line(&used), remark(origin)));
    }
    assemble(&format!("{product} {version} ({target})"), &list, &texts)
}

fn assemble(what: &str, list: &str, texts: &[(String, BTreeSet<String>)]) -> String {
    let mut all = format!(
        "Software of others in {what}\n\n\
         These parts come with the product. Each has its licence and the numbers of the texts that follow the list.\n\n\
         {list}"
    );
    for (index, (text, users)) in texts.iter().enumerate() {
        let users: Vec<_> = users.iter().map(String::as_str).collect();
        write!(all, "\n{RULE}\nText {}, of {}\n{RULE}\n\n{text}\n", index + 1, users.join(", "))
            .expect("writing to a string does not fail");
    }
    all
}

fn numbers_line(numbers: &BTreeSet<usize>) -> String {
    let list: Vec<_> = numbers.iter().map(usize::to_string).collect();
    match list.as_slice() {
        [] => "no text".to_owned(),
        [one] => format!("text {one}"),
        many => format!("texts {}", many.join(", ")),
    }
}

fn remark(origin: Origin) -> &'static str {
    match origin {
        Origin::Own => "",
        Origin::SameRepository => " (of another crate of the same source; its own has none)",
        Origin::Standard => " (as SPDX has it; its source has none)",
    }
}

fn title(component: &Component) -> String {
    format!("{} {}", component.name, component.version).trim_end().to_owned()
}

/// The texts of a component, from the best place that has some.
fn found_texts(components: &Components, component: &Component) -> (Origin, Vec<LicenceText>) {
    if !component.texts.is_empty() {
        return (Origin::Own, component.texts.clone());
    }
    // Native code has a place of its own for its texts: that it is wrong must be seen.
    if component.kind == Kind::Native {
        return (Origin::Own, Vec::new());
    }
    let same_source = |other: &&Component| {
        other.repository.is_some() && other.repository == component.repository && other.licence == component.licence
    };
    let relative = components.iter().filter(same_source).find(|other| !other.texts.is_empty());
    if let Some(relative) = relative {
        return (Origin::SameRepository, relative.texts.clone());
    }
    (Origin::Standard, standard_texts(component))
}

fn standard_texts(component: &Component) -> Vec<LicenceText> {
    let Some(Ok(expression)) = component.licence.as_deref().map(Expression::parse) else { return Vec::new() };
    let ids: BTreeSet<_> = expression.requirements().filter_map(|it| it.req.license.id()).collect();
    ids.into_iter().map(|id| LicenceText { file: id.name.to_owned(), text: id.text().trim().to_owned() }).collect()
}
