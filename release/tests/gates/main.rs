//! The gates over programs and bytes: each is shown to refuse a bad example with the right sentence and to pass a good
//! one. Programs are built here with gcc.

mod archives;
mod building;
mod dependencies;
mod difference;
mod hardening;
mod instructions;
mod leaks;
mod linkage;
mod pages;
mod policy;
mod sizes;

/// Fails unless there is exactly one violation and it contains all of these texts.
#[track_caller]
fn assert_one(violations: &[String], texts: &[&str]) {
    assert_eq!(violations.len(), 1, "{violations:#?}");
    assert_some(violations, texts);
}

/// Fails unless one of the violations contains all of these texts.
#[track_caller]
fn assert_some(violations: &[String], texts: &[&str]) {
    let fits = |violation: &String| texts.iter().all(|text| violation.contains(text));
    assert!(violations.iter().any(fits), "no sentence has {texts:?}: {violations:#?}");
}

/// Fails unless the gate passed.
#[track_caller]
fn assert_none(violations: &[String]) {
    assert!(violations.is_empty(), "{violations:#?}");
}
