//! The notations of values: Go's durations, sizes, lists of URLs.

use std::time::Duration;

/// Reads Go's notation: `1h30m`, `300ms`, `1.5s`, `0`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut seconds = 0.0_f64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        seconds += number
            * match &rest[..letters] {
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3_600.0,
                _ => return None,
            };
        rest = &rest[letters..];
    }
    Duration::try_from_secs_f64(seconds).ok()
}

/// Reads a number of bytes: plain, or with KiB, MiB, GiB (also without `iB`).
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let shift = match text[digits..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// One URL of a listener or a member: scheme, host and port, nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) text: String,
    pub(crate) scheme: String,
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Reads a list of URLs separated by commas.
///
/// # Errors
/// Which of them is wrong and why, in etcd's words where it has some.
pub(crate) fn urls(text: &str) -> Result<Vec<Url>, String> {
    if text.is_empty() {
        return Err("no valid URLs given".to_owned());
    }
    text.split(',').map(|one| url(one.trim())).collect()
}

fn url(text: &str) -> Result<Url, String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(format!("URL must be of the form scheme://host:port: {text}"));
    };
    if !["http", "https", "unix", "unixs"].contains(&scheme) {
        return Err(format!("URL scheme must be http, https, unix, or unixs: {text}"));
    }
    if rest.contains('/') || rest.contains('?') || rest.contains('#') {
        return Err(format!("URL must not contain a path: {text}"));
    }
    let host_and_port = rest.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    let Some((host, port)) = host_and_port else {
        return Err(format!("URL address does not have the form \"host:port\": {text}"));
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Ok(Url { text: text.to_owned(), scheme: scheme.to_owned(), host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        assert_eq!(duration("1h30m"), Some(Duration::from_secs(5_400)));
        assert_eq!(duration("300ms"), Some(Duration::from_millis(300)));
        assert_eq!(duration("1.5s"), Some(Duration::from_millis(1_500)));
        assert_eq!(duration("0"), Some(Duration::ZERO));
        for wrong in ["", "5", "ms", "5 s", "1x", "-1s"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sizes_are_plain_bytes_or_have_a_unit() {
        assert_eq!(bytes("256MiB"), Some(256 << 20));
        assert_eq!(bytes("1g"), Some(1 << 30));
        assert_eq!(bytes("4096"), Some(4_096));
        for wrong in ["", "MiB", "1.5G", "12 MiB", "99999999999999999999"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn urls_need_scheme_host_and_port_and_no_path() {
        let read = urls("http://127.0.0.1:2379,https://[::1]:1").unwrap();
        assert_eq!((read[0].host.as_str(), read[0].port), ("127.0.0.1", 2_379));
        assert_eq!((read[1].host.as_str(), read[1].scheme.as_str()), ("::1", "https"));
        for wrong in ["", "127.0.0.1:1", "ftp://a:1", "http://a", "http://a:x", "http://a:1/x"] {
            assert!(urls(wrong).is_err(), "{wrong}");
        }
    }
}
