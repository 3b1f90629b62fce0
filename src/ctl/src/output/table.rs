//! Format `table`: boxes drawn in ASCII, and the rows that `simple` prints for the same answers.

use cairn_api::etcdserverpb::*;

use super::Answer;
use crate::go;

/// Cells wider than this are broken at their spaces, in characters.
const MAX_CELL_WIDTH: usize = 30;

/// Column titles and rows of the answers that have some.
pub(super) fn rows(answer: &Answer) -> (Vec<&'static str>, Vec<Vec<String>>) {
    match answer {
        Answer::Members(response) => {
            let titles = vec!["ID", "STATUS", "NAME", "PEER ADDRS", "CLIENT ADDRS", "IS LEARNER"];
            (titles, response.members.iter().map(member).collect())
        }
        Answer::Status(list) => {
            (STATUS.to_vec(), list.iter().map(|(endpoint, answer)| status(endpoint, answer)).collect())
        }
        Answer::HashKv(list) => {
            let row = |(endpoint, hash): &(String, HashKvResponse)| {
                vec![endpoint.clone(), hash.hash.to_string(), hash.hash_revision.to_string()]
            };
            (vec!["ENDPOINT", "HASH", "HASH REVISION"], list.iter().map(row).collect())
        }
        Answer::Health(list) => {
            let rows = list.iter().map(|health| {
                let error = health.error.clone().unwrap_or_default();
                vec![health.endpoint.clone(), health.error.is_none().to_string(), go::duration(health.took), error]
            });
            (vec!["ENDPOINT", "HEALTH", "TOOK", "ERROR"], rows.collect())
        }
        _ => (Vec::new(), Vec::new()),
    }
}

/// The columns of etcdctl 3.6.
const STATUS: [&str; 16] = [
    "ENDPOINT",
    "ID",
    "VERSION",
    "STORAGE VERSION",
    "DB SIZE",
    "IN USE",
    "PERCENTAGE NOT IN USE",
    "QUOTA",
    "IS LEADER",
    "IS LEARNER",
    "RAFT TERM",
    "RAFT INDEX",
    "RAFT APPLIED INDEX",
    "ERRORS",
    "DOWNGRADE TARGET VERSION",
    "DOWNGRADE ENABLED",
];

fn status(endpoint: &str, status: &StatusResponse) -> Vec<String> {
    let member = status.header.unwrap_or_default().member_id;
    let size = |bytes: i64| go::human_bytes(u64::try_from(bytes).unwrap_or(0));
    // A server that reports no size has nothing that could be out of use.
    let used = status.db_size_in_use.saturating_mul(100).checked_div(status.db_size).unwrap_or(100);
    let downgrade = status.downgrade_info.clone().unwrap_or_default();
    vec![
        endpoint.to_owned(),
        format!("{member:x}"),
        status.version.clone(),
        status.storage_version.clone(),
        size(status.db_size),
        size(status.db_size_in_use),
        format!("{}%", 100 - used),
        size(status.db_size_quota),
        (status.leader == member).to_string(),
        status.is_learner.to_string(),
        status.raft_term.to_string(),
        status.raft_index.to_string(),
        status.raft_applied_index.to_string(),
        status.errors.join(", "),
        downgrade.target_version,
        downgrade.enabled.to_string(),
    ]
}

fn member(member: &Member) -> Vec<String> {
    vec![
        format!("{:x}", member.id),
        if member.name.is_empty() { "unstarted" } else { "started" }.to_owned(),
        member.name.clone(),
        member.peer_ur_ls.join(","),
        member.client_ur_ls.join(","),
        member.is_learner.to_string(),
    ]
}

pub(super) fn render(answer: &Answer) -> String {
    let (titles, rows) = rows(answer);
    let cells: Vec<Vec<Vec<String>>> = rows.iter().map(|row| row.iter().map(|cell| wrap(cell)).collect()).collect();
    let widths: Vec<usize> = titles
        .iter()
        .enumerate()
        .map(|(column, title)| {
            let below = rows.iter().zip(&cells).map(|(row, lines)| cell_width(&row[column], &lines[column]));
            below.chain([title.len()]).max().unwrap_or(0)
        })
        .collect();
    let rule: String = widths.iter().map(|width| format!("+{}", "-".repeat(width + 2))).collect::<String>() + "+\n";
    let mut text = rule.clone();
    text.push_str(&titles.iter().zip(&widths).map(|(title, &width)| centered(title, width)).collect::<String>());
    text.push_str("|\n");
    text.push_str(&rule);
    for row in &cells {
        for line in 0..row.iter().map(Vec::len).max().unwrap_or(0) {
            for (cell, &width) in row.iter().zip(&widths) {
                let content = cell.get(line).map_or("", String::as_str);
                text.push_str(&format!("| {content:>width$} "));
            }
            text.push_str("|\n");
        }
    }
    text.push_str(&rule);
    text
}

fn centered(title: &str, width: usize) -> String {
    let left = (width - title.len()) / 2;
    format!("| {}{title}{} ", " ".repeat(left), " ".repeat(width - title.len() - left))
}

/// A cell takes what its content wants up to the limit, and its longest word in any case.
fn cell_width(content: &str, lines: &[String]) -> usize {
    let longest = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    content.chars().count().min(MAX_CELL_WIDTH).max(longest)
}

/// Breaks a cell that is too wide into lines at its spaces.
fn wrap(content: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    if content.chars().count() <= MAX_CELL_WIDTH {
        return vec![content.to_owned()];
    }
    for word in content.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= MAX_CELL_WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
