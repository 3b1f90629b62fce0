//! Gates: functions over final bytes that return what is wrong, one sentence each; an empty list means passed.
//!
//! Contract of every gate: it takes the bytes that users will get (or facts read from them), never a setting that was
//! meant to produce them; it names every violation that it finds, not only the first; a sentence begins with the name
//! of the file and says what is and what should be. A `Result` is returned only where something could not be looked at
//! at all. Gates change nothing and depend on no plan: what is allowed comes as a small value of the caller's.
//!
//! Here are the gates over programs ([`linkage`], [`hardening`], [`pages`], [`instructions`], [`old_cpu`], most of them on
//! top of [`elf`]; [`dependencies`] reads for one of [`crate::sbom`]) and over the bytes of any artifact ([`leaks`],
//! [`difference`], both on top of [`layers`], and [`sizes`]).

pub mod dependencies;
pub mod difference;
pub mod elf;
pub mod hardening;
pub mod instructions;
pub mod layers;
pub mod leaks;
pub mod linkage;
pub mod old_cpu;
pub mod pages;
pub mod policy;
pub mod sizes;

/// Items as "a", "a and b" or "a, b and c".
fn listed<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let mut items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    match items.pop() {
        None => "nothing".to_owned(),
        Some(last) if items.is_empty() => last,
        Some(last) => format!("{} and {last}", items.join(", ")),
    }
}
