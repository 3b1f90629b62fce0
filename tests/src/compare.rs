//! Plays a scenario on a real etcd and on the member under test, and compares the transcripts.

use std::fmt::Write;

use cairn_testkit::{Options, Peer, subject};

use crate::known::{Known, known_in};
use crate::session::{Session, Step};

/// Differences that one failure shows in full.
const SHOWN: usize = 8;

/// Lines of equal text around a difference.
const CONTEXT_LINES: usize = 3;

/// Plays `play` on etcd 3.5.1 and on the subject. With `CAIRN_TEST_SHOW` in the environment etcd's answers are printed.
///
/// # Panics
/// If anything differs that the table of known differences does not explain, or if an entry of the table for this
/// scenario no longer differs.
pub async fn compare(scenario: &str, play: impl AsyncFn(&mut Session) -> anyhow::Result<()>) {
    compare_with(scenario, Options::default(), play).await;
}

/// As [`compare`], with members started with `options`.
///
/// # Panics
/// As [`compare`].
pub async fn compare_with(scenario: &str, options: Options, play: impl AsyncFn(&mut Session) -> anyhow::Result<()>) {
    let (theirs, ours) =
        tokio::join!(transcript(Peer::Etcd351, options.clone(), &play), transcript(subject(), options.clone(), &play));
    if std::env::var_os("CAIRN_TEST_SHOW").is_some() {
        theirs.iter().for_each(|step| println!("{}: {}\n{}", step.label, shorten(&step.request), step.outcome));
    }
    let known = if subject() == Peer::Cairn { known_in(scenario) } else { vec![] };
    let report = differences(&theirs, &ours, &known) + &stale(&theirs, &ours, &known);
    assert!(report.is_empty(), "scenario `{scenario}`: etcd 3.5.1 (-) and {:?} (+) differ\n{report}", subject());
}

async fn transcript(peer: Peer, options: Options, play: impl AsyncFn(&mut Session) -> anyhow::Result<()>) -> Vec<Step> {
    let mut session = match Session::start(peer, options).await {
        Ok(session) => session,
        // The caller's assertion carries the message; a scenario without a member has nothing to compare.
        Err(error) => panic!("{error:#}"),
    };
    if let Err(error) = play(&mut session).await {
        session.write_down("the scenario failed", String::new(), format!("{peer:?}: {error:#}"));
    }
    session.into_steps()
}

/// What differs, for a reader; empty if nothing does.
#[must_use]
pub fn differences(theirs: &[Step], ours: &[Step], known: &[&Known]) -> String {
    let mut report = String::new();
    let mut shown = 0;
    for index in 0..theirs.len().max(ours.len()) {
        let (label, request) = theirs.get(index).or(ours.get(index)).map_or(("", ""), |s| (&s.label, &s.request));
        let [left, right] = [theirs, ours].map(|steps| steps.get(index).map_or("(no such step)", |s| &s.outcome));
        if left == right || known.iter().any(|known| explains(known, label, left, right)) {
            continue;
        }
        shown += 1;
        if shown <= SHOWN {
            let _ = writeln!(report, "step {index}, {label}: {}\n{}", shorten(request), diff_lines(left, right));
        }
    }
    if shown > SHOWN {
        let _ = writeln!(report, "… and {} further steps", shown - SHOWN);
    }
    report
}

/// Entries of the table that explain nothing here.
#[must_use]
pub fn stale(theirs: &[Step], ours: &[Step], known: &[&Known]) -> String {
    let used = |known: &Known| {
        let mut pairs = theirs.iter().zip(ours).filter(|(left, right)| left.outcome != right.outcome);
        pairs.any(|(left, right)| explains(known, &left.label, &left.outcome, &right.outcome))
    };
    let unused = known.iter().filter(|known| known.scenario != "*" && !used(known));
    unused
        .map(|known| format!("`{}` is listed as a known difference, but does not differ that way\n", known.step))
        .collect()
}

fn explains(known: &Known, label: &str, left: &str, right: &str) -> bool {
    known.step == label && left.contains(known.etcd) && right.contains(known.cairn)
}

fn shorten(request: &str) -> String {
    const LONGEST: usize = 400;
    if request.chars().count() <= LONGEST {
        return request.to_owned();
    }
    request.chars().take(LONGEST).chain("…".chars()).collect()
}

/// The differing middle of two texts with a few equal lines around it.
#[must_use]
pub fn diff_lines(left: &str, right: &str) -> String {
    let (left, right): (Vec<_>, Vec<_>) = (left.lines().collect(), right.lines().collect());
    let head = left.iter().zip(&right).take_while(|(a, b)| a == b).count();
    let rest = left.len().min(right.len()) - head;
    let tail = left.iter().rev().zip(right.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    let mut out = String::new();
    let mut add = |mark: &str, lines: &[&str]| {
        for line in lines {
            let _ = writeln!(out, "  {mark} {line}");
        }
    };
    add(" ", &left[head.saturating_sub(CONTEXT_LINES)..head]);
    add("-", &left[head..left.len() - tail]);
    add("+", &right[head..right.len() - tail]);
    add(" ", &left[left.len() - tail..(left.len() - tail + CONTEXT_LINES).min(left.len())]);
    out
}

#[cfg(test)]
mod tests {
    use super::{diff_lines, differences, stale};
    use crate::known::Known;
    use crate::session::Step;

    fn step(label: &str, outcome: &str) -> Step {
        Step { label: label.to_owned(), request: String::new(), outcome: outcome.to_owned() }
    }

    #[test]
    fn a_difference_shows_only_the_lines_around_it() {
        assert_eq!(diff_lines("a\nb\nc\nd\ne\nf", "a\nb\nc\nd\nX\nf"), "    b\n    c\n    d\n  - e\n  + X\n    f\n");
    }

    #[test]
    fn a_known_difference_is_accepted_once_it_differs_as_listed() {
        let known = Known { scenario: "s", step: "odd", etcd: "old", cairn: "new", reason: "" };
        assert_eq!(differences(&[step("odd", "old")], &[step("odd", "new")], &[&known]), "");
        assert!(differences(&[step("odd", "old")], &[step("odd", "other")], &[&known]).contains("+ other"));
    }

    #[test]
    fn a_known_difference_that_is_none_is_reported() {
        let known = Known { scenario: "s", step: "odd", etcd: "old", cairn: "new", reason: "" };
        assert!(stale(&[step("odd", "same")], &[step("odd", "same")], &[&known]).contains("does not differ"));
        assert_eq!(stale(&[step("odd", "old")], &[step("odd", "new")], &[&known]), "");
    }

    #[test]
    fn a_step_that_only_one_side_has_is_a_difference() {
        assert!(differences(&[step("a", "x")], &[], &[]).contains("(no such step)"));
    }
}
