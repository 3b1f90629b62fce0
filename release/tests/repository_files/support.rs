//! Supported versions: what `support.toml` may say and what follows from it.

use cairn_release::changelog::Stage;
use cairn_release::support::{self, Fix, State, Support, TABLE_END, TABLE_START};
use toml::value::Date;

use crate::{exchange, source_file, version};

const GOOD: &str = r#"[[branch]]
name = "1.2"
git = "main"

[[branch]]
name = "1.1"
git = "release-1.1"
start = 2030-06-01
maintenance = 2030-12-01
security-only = 2031-06-01
end-of-life = 2031-12-01

[[branch]]
name = "1.0"
git = "release-1.0"
start = 2030-01-01
maintenance = 2030-06-01
security-only = 2030-12-01
end-of-life = 2031-06-01
"#;

pub(crate) fn day(text: &str) -> Date {
    text.parse::<toml::value::Datetime>().unwrap().date.unwrap()
}

/// A document with this text between the markers.
fn document(table: &str) -> String {
    format!("# Security\n\n{TABLE_START}\n{table}{TABLE_END}\n\nMore.\n")
}

#[track_caller]
fn refused(from: &str, to: &str, why: &str) {
    assert_eq!(Support::parse(&exchange(GOOD, from, to)).unwrap_err(), why);
}

#[test]
fn the_committed_table_is_the_one_of_the_file() {
    let found = support::check(
        &source_file("support.toml"),
        &version(),
        Stage::Rehearsal,
        "SECURITY.md",
        &source_file("SECURITY.md"),
    );
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn the_table_has_a_line_for_each_branch() {
    assert_eq!(
        Support::parse(GOOD).unwrap().table(),
        "| version | first release | severe bugs and security only | security only | end of life |\n\
         |---|---|---|---|---|\n\
         | 1.2 | not released yet | - | - | - |\n\
         | 1.1 | 2030-06-01 | from 2030-12-01 | from 2031-06-01 | 2031-12-01 |\n\
         | 1.0 | 2030-01-01 | from 2030-06-01 | from 2030-12-01 | 2031-06-01 |\n"
    );
}

#[test]
fn another_table_than_the_generated_one_is_refused() {
    let good = document(&Support::parse(GOOD).unwrap().table());
    assert_eq!(support::check(GOOD, "1.1.3", Stage::Release, "S.md", &good), Vec::<String>::new());
    let stale = exchange(&good, "2031-12-01", "2032-12-01");
    assert_eq!(
        support::check(GOOD, "1.1.3", Stage::Release, "S.md", &stale),
        ["S.md: its table of supported versions is not the one of support.toml; `cairn-release support` prints that"]
    );
    assert_eq!(support::with_table(&stale, &Support::parse(GOOD).unwrap().table()).unwrap(), good);
}

#[test]
fn a_release_of_a_branch_without_dates_is_refused() {
    let good = document(&Support::parse(GOOD).unwrap().table());
    assert_eq!(support::check(GOOD, "1.2.0", Stage::Rehearsal, "S.md", &good), Vec::<String>::new());
    assert_eq!(
        support::check(GOOD, "1.2.0", Stage::Release, "S.md", &good),
        ["support.toml has no dates for branch 1.2, which is released; promise them"]
    );
}

#[test]
fn a_document_without_markers_and_a_version_without_branch_are_refused() {
    let found = support::check(GOOD, "2.0.0", Stage::Rehearsal, "S.md", "no table");
    assert_eq!(found[0], "support.toml has no branch for version 2.0.0; add it");
    assert!(found[1].starts_with("S.md: it must have the lines "), "{found:?}");
    let twice = document("").repeat(2);
    assert!(support::with_table(&twice, "").is_err());
}

#[test]
fn dates_out_of_order_are_refused() {
    let why = "the dates of branch 1.1 are not in the order start, maintenance, security-only, end-of-life";
    refused("maintenance = 2030-12-01", "maintenance = 2030-05-01", why);
    refused("end-of-life = 2031-12-01", "end-of-life = 2031-06-01", why);
}

#[test]
fn what_is_no_plain_date_and_what_is_incomplete_is_refused() {
    refused(
        "start = 2030-06-01",
        "start = 2030-06-01T00:00:00Z",
        "branch 1.1 has 2030-06-01T00:00:00Z, which is no date of the form 2030-12-31",
    );
    refused("start = 2030-06-01\n", "", "branch 1.1 needs all of its four dates, or none before its first release");
    assert!(
        Support::parse(&exchange(GOOD, "2030-06-01", "2030-06-31"))
            .unwrap_err()
            .starts_with("support.toml is not valid")
    );
    assert!(Support::parse(&exchange(GOOD, "git =", "gti =")).unwrap_err().starts_with("support.toml is not valid"));
}

#[test]
fn branches_out_of_order_are_refused() {
    refused("\"1.0\"", "\"1.1\"", "support.toml lists branch 1.1 before 1.1; the newest comes first, each once");
    refused("\"1.0\"", "\"1.10\"", "support.toml lists branch 1.1 before 1.10; the newest comes first, each once");
    refused("\"1.0\"", "\"1.00\"", "branch \"1.00\" is not of the form MAJOR.MINOR");
    refused(
        "start = 2030-01-01",
        "start = 2030-06-02",
        "the dates of branch 1.0 are not in the order start, maintenance, security-only, end-of-life",
    );
    assert_eq!(Support::parse("branch = []").unwrap_err(), "support.toml lists no branch");
}

#[test]
fn a_branch_ages_day_by_day() {
    let support = Support::parse(GOOD).unwrap();
    let branch = support.branch_of("1.1.0-rc.1").unwrap();
    for (at, state) in [
        ("2030-05-31", State::Planned),
        ("2030-06-01", State::Active),
        ("2030-12-01", State::Maintenance),
        ("2031-06-01", State::SecurityOnly),
        ("2031-11-30", State::SecurityOnly),
        ("2031-12-01", State::EndOfLife),
    ] {
        assert_eq!(branch.state(day(at)), state, "{at}");
    }
}

#[test]
fn the_worse_the_bug_the_older_the_branches_that_get_the_fix() {
    let support = Support::parse(GOOD).unwrap();
    let names = |fix, at| support.backports(fix, day(at)).map(|branch| branch.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(Fix::Bug, "2030-07-01"), ["1.1"]);
    assert_eq!(names(Fix::Severe, "2030-07-01"), ["1.1", "1.0"]);
    assert_eq!(names(Fix::Severe, "2031-01-01"), ["1.1"]);
    assert_eq!(names(Fix::Security, "2031-01-01"), ["1.1", "1.0"]);
    assert_eq!(names(Fix::Security, "2031-12-01"), Vec::<String>::new());
}
