//! Replaces in a tool's output what differs between two correct runs.

/// Fields of JSON and of the form `fields` whose numbers or durations depend on the run or on the implementation.
const FIELDS: &[&str] = &[
    "raft_term",
    "RaftTerm",
    "raftTerm",
    "raftIndex",
    "RaftIndex",
    "raftAppliedIndex",
    "RaftAppliedIndex",
    "dbSize",
    "DBSize",
    "dbSizeInUse",
    "DBSizeInUse",
    "version",
    "Version",
    "took",
    "Took",
    "RaftUsed",
    "dbSizeQuota",
    "DBSizeQuota",
    "storageVersion",
    "StorageVersion",
];

/// Columns of tables with such values.
const COLUMNS: &[&str] = &["VERSION", "DB SIZE", "RAFT TERM", "RAFT INDEX", "RAFT APPLIED INDEX", "TOOK"];

/// The same columns in the comma-separated lines of `endpoint status`.
const STATUS_COLUMNS: &[usize] = &[2, 3, 6, 7, 8];

/// Columns of such a line.
const STATUS_WIDTH: usize = 10;

/// Masks everything that does not depend on ids, which the caller knows.
pub(crate) fn mask(text: &str, status: bool) -> String {
    // Of a tool that breaks down only the fact is comparable, not its addresses.
    let text = text.find("\n[signal ").map_or(text, |end| &text[..end]);
    let mut header: Vec<String> = vec![];
    let lines = text.lines().filter(|line| !is_noise(line)).map(|line| mask_line(line, status, &mut header));
    lines.collect::<Vec<_>>().join("\n")
}

/// Log lines of the client library, and rulers of tables, whose length follows what stands between them.
fn is_noise(line: &str) -> bool {
    line.starts_with("{\"level\":") || line.starts_with("+--")
}

fn mask_line(line: &str, status: bool, header: &mut Vec<String>) -> String {
    let line = mask_run(line, "127.0.0.1:", |c| c.is_ascii_digit());
    if line.starts_with('|') {
        return mask_row(&line, header);
    }
    let columns: Vec<_> = line.split(", ").collect();
    if status && columns.len() >= STATUS_WIDTH - 1 {
        let masked = columns.iter().enumerate().map(|(i, c)| if STATUS_COLUMNS.contains(&i) { "MASKED" } else { c });
        return masked.collect::<Vec<_>>().join(", ");
    }
    let line = mask_run(&line, "took = ", |c| !c.is_whitespace());
    let line = mask_run(&line, "took ", |c| !c.is_whitespace());
    mask_remaining(&FIELDS.iter().filter(|field| status || is_run_dependent(field)).fold(line, |line, field| {
        let line = mask_run(&line, &format!("\"{field}\":"), |c| c != ',' && c != '}');
        mask_run(&line, &format!("\"{field}\" : "), |_| true)
    }))
}

/// `version` is the version of a key everywhere but in a status.
fn is_run_dependent(field: &str) -> bool {
    !field.eq_ignore_ascii_case("version")
}

/// What is left of a lease of 600 seconds.
fn mask_remaining(line: &str) -> String {
    let line = mask_run(line, "remaining(", |c| c != ')');
    if line.starts_with("\"TTL\" : 59") {
        return "\"TTL\" : 600".to_owned();
    }
    if line.contains("\"granted-ttl\"") { mask_run(&line, "\"ttl\":", |c| c.is_ascii_digit()) } else { line }
}

fn mask_row(line: &str, header: &mut Vec<String>) -> String {
    let cells: Vec<_> = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    if header.is_empty() {
        header.clone_from(&cells);
    }
    let masked = cells.iter().enumerate().map(|(i, cell)| {
        let variable = header.get(i).is_some_and(|name| COLUMNS.contains(&name.as_str())) && cell != &header[i];
        if variable { "MASKED" } else { cell }
    });
    masked.collect::<Vec<_>>().join(" | ")
}

/// Replaces the characters behind each `marker`, as long as `belongs` holds.
fn mask_run(text: &str, marker: &str, belongs: impl Fn(char) -> bool) -> String {
    let mut parts = text.split(marker);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(marker);
        out.push_str("MASKED");
        out.push_str(part.trim_start_matches(&belongs));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn versions_of_keys_stay_and_those_of_servers_do_not() {
        assert_eq!(mask(r#"{"version":3,"raft_term":2}"#, false), r#"{"version":3,"raft_term":MASKED}"#);
        assert_eq!(mask(r#"{"version":"3.5.1"}"#, true), r#"{"version":MASKED}"#);
    }

    #[test]
    fn a_table_keeps_its_words_and_loses_its_widths() {
        assert_eq!(mask("+---+\n| ID |  VERSION |\n| a  | 3.5 |\n+---+", false), "ID | VERSION\na | MASKED");
    }
}
