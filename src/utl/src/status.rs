//! `snapshot status`.

use std::path::Path;

use anyhow::Context;
use cairn_api::etcdserverpb::RangeRequest;
use serde::Serialize;

use crate::cli::Format;
use crate::snapshot;

/// What there is to say of a snapshot; the JSON has etcdutl's names.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    hash: u32,
    revision: i64,
    total_key: i64,
    total_size: u64,
    version: String,
}

pub(crate) fn print(file: &Path, format: Format) -> anyhow::Result<()> {
    let status = read(file)?;
    print!("{}", render(&status, format)?);
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<Status> {
    // Beside the file, because a snapshot may be larger than the system's temporary folder.
    let beside = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = tempfile::tempdir_in(beside).context("cannot make a temporary folder beside the snapshot")?;
    let store = folder.path().join("store");
    snapshot::unpack(file, &store, false)?;
    let (state, _) = snapshot::open(&store)?;
    let view = state.store().view();
    let everything =
        RangeRequest { key: vec![0].into(), range_end: vec![0].into(), count_only: true, ..Default::default() };
    Ok(Status {
        hash: view.hash()?,
        revision: view.revision,
        total_key: view.range(&everything)?.count,
        total_size: std::fs::metadata(file)?.len(),
        version: format!("cairn {}", env!("CARGO_PKG_VERSION")),
    })
}

fn render(status: &Status, format: Format) -> anyhow::Result<String> {
    let Status { hash, revision, total_key, total_size, version } = status;
    Ok(match format {
        Format::Simple => format!("{hash:x}, {revision}, {total_key}, {}, {version}\n", human_size(*total_size)),
        Format::Json => format!("{}\n", serde_json::to_string(status)?),
        Format::Fields => format!(
            "\"Hash\" : {hash}\n\"Revision\" : {revision}\n\"Keys\" : {total_key}\n\"Size\" : {total_size}\n\"Version\" : \"{version}\"\n"
        ),
        Format::Table => {
            let heads = ["HASH", "REVISION", "TOTAL KEYS", "TOTAL SIZE", "VERSION"];
            let cells = [
                format!("{hash:x}"),
                revision.to_string(),
                total_key.to_string(),
                human_size(*total_size),
                version.clone(),
            ];
            table(&heads, &cells)
        }
    })
}

fn table(heads: &[&str], cells: &[String]) -> String {
    let widths: Vec<_> = heads.iter().zip(cells).map(|(head, cell)| head.len().max(cell.len())).collect();
    let rule = widths.iter().map(|width| format!("+{}", "-".repeat(width + 2))).collect::<String>() + "+\n";
    let row = |texts: Vec<String>| texts.iter().map(|text| format!("|{text}")).collect::<String>() + "|\n";
    let centred = |text: &str, width: usize| format!("{text:^0$}", width + 2);
    let left = |text: &str, width: usize| format!(" {text:<0$}", width + 1);
    let head = row(heads.iter().zip(&widths).map(|(text, width)| centred(text, *width)).collect());
    let body = row(cells.iter().zip(&widths).map(|(text, width)| left(text, *width)).collect());
    format!("{rule}{head}{rule}{body}{rule}")
}

/// A size as etcd's tools print it: two significant digits, decimal units.
fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let mut unit = 0;
    let mut scale = 1u64;
    while unit + 1 < UNITS.len() && bytes / scale >= 1_000 {
        scale = scale.saturating_mul(1_000);
        unit += 1;
    }
    let tenths = (u128::from(bytes) * 10 + u128::from(scale) / 2) / u128::from(scale);
    if unit > 0 && tenths < 100 {
        return format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]);
    }
    // A half goes to the even neighbour, as in Go's formatting.
    let (whole, rest) = (tenths / 10, tenths % 10);
    let whole = if rest > 5 || (rest == 5 && whole % 2 == 1) { whole + 1 } else { whole };
    format!("{whole} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_says_the_same() {
        let status = Status { hash: 0xabc, revision: 7, total_key: 3, total_size: 20_480, version: "cairn 1".into() };
        assert_eq!(render(&status, Format::Simple).unwrap(), "abc, 7, 3, 20 kB, cairn 1\n");
        let json = render(&status, Format::Json).unwrap();
        assert_eq!(json, "{\"hash\":2748,\"revision\":7,\"totalKey\":3,\"totalSize\":20480,\"version\":\"cairn 1\"}\n");
        let table = render(&status, Format::Table).unwrap();
        assert!(table.contains("| HASH | REVISION | TOTAL KEYS | TOTAL SIZE | VERSION |"), "{table}");
        assert!(table.contains("| abc  | 7        | 3          | 20 kB      | cairn 1 |"), "{table}");
        assert!(render(&status, Format::Fields).unwrap().contains("\"Keys\" : 3\n"));
    }

    #[test]
    fn sizes_have_two_significant_digits() {
        let sizes = [(0, "0 B"), (999, "999 B"), (1_500, "1.5 kB"), (20_480, "20 kB"), (25_165_824, "25 MB")];
        for (bytes, text) in sizes {
            assert_eq!(human_size(bytes), text);
        }
    }
}
