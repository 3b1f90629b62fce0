//! Go's ways with text that etcdctl's users and scripts meet: quoting, numbers, durations, words of a line.

use std::time::Duration;

/// `strconv.ParseInt(text, base, 64)`; base 0 reads the base from the prefix.
///
/// # Errors
/// Go's text.
pub(crate) fn parse_int(text: &str, base: u32) -> Result<i64, String> {
    let fail = |reason: &str| format!("strconv.ParseInt: parsing {}: {reason}", quote(text.as_bytes()));
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let (base, digits) = if base == 0 { base_of(digits) } else { (base, digits) };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(base)) {
        return Err(fail("invalid syntax"));
    }
    let magnitude = i128::from_str_radix(digits, base).map_err(|_| fail("value out of range"))?;
    i64::try_from(if negative { -magnitude } else { magnitude }).map_err(|_| fail("value out of range"))
}

fn base_of(digits: &str) -> (u32, &str) {
    let lower = digits.get(..2).map(str::to_ascii_lowercase);
    match lower.as_deref() {
        Some("0x") => (16, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        Some(_) if digits.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    }
}

/// `strconv.ParseBool`.
///
/// # Errors
/// Go's text.
pub(crate) fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {}: invalid syntax", quote(text.as_bytes()))),
    }
}

/// `time.ParseDuration` for durations that are not negative.
///
/// # Errors
/// Go's text, and one of our own for a negative duration, which no flag has a use for.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("time: invalid duration {}", quote(text.as_bytes()));
    if text.starts_with('-') {
        return Err(format!("time: negative duration {}", quote(text.as_bytes())));
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..unit_at].parse().map_err(|_| invalid())?;
        rest = &rest[unit_at..];
        let next = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let seconds = match &rest[..next] {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "" => return Err(format!("time: missing unit in duration {}", quote(text.as_bytes()))),
            unit => {
                let unit = quote(unit.as_bytes());
                return Err(format!("time: unknown unit {unit} in duration {}", quote(text.as_bytes())));
            }
        };
        total += Duration::try_from_secs_f64(number * seconds).map_err(|_| invalid())?;
        rest = &rest[next..];
    }
    Ok(total)
}

/// `time.Duration.String()`.
pub(crate) fn duration(value: Duration) -> String {
    let nanos = value.as_nanos();
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}µs", decimal(nanos, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", decimal(nanos, 1_000_000)),
        _ => {
            let (minutes, rest) = (nanos / 60_000_000_000, nanos % 60_000_000_000);
            let seconds = decimal(rest, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

/// `value / unit` without trailing zeros.
fn decimal(value: u128, unit: u128) -> String {
    let digits = unit.ilog10() as usize;
    let text = format!("{}.{:0digits$}", value / unit, value % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `%q` of a string that may not be UTF-8.
pub(crate) fn quote(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|c| quote_char(&mut text, c));
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text.push('"');
    text
}

fn quote_char(text: &mut String, c: char) {
    match c {
        '"' => text.push_str("\\\""),
        '\\' => text.push_str("\\\\"),
        '\x07' => text.push_str("\\a"),
        '\x08' => text.push_str("\\b"),
        '\x0c' => text.push_str("\\f"),
        '\n' => text.push_str("\\n"),
        '\r' => text.push_str("\\r"),
        '\t' => text.push_str("\\t"),
        '\x0b' => text.push_str("\\v"),
        c if c < ' ' || c == '\x7f' => text.push_str(&format!("\\x{:02x}", u32::from(c))),
        c if is_printable(c) => text.push(c),
        c if u32::from(c) > 0xffff => text.push_str(&format!("\\U{:08x}", u32::from(c))),
        c => text.push_str(&format!("\\u{:04x}", u32::from(c))),
    }
}

/// Whether Go prints the character as it is: letters, marks, numbers, punctuation, symbols and the plain space. Rust's
/// debug escaping follows the same table except for combining marks.
fn is_printable(c: char) -> bool {
    c == '\'' || c == ' ' || c.escape_debug().count() == 1 || (!c.is_control() && is_combining(c))
}

fn is_combining(c: char) -> bool {
    matches!(u32::from(c), 0x300..=0x36f | 0x483..=0x489 | 0x591..=0x5bd | 0x610..=0x61a | 0x64b..=0x65f | 0x900..=0x903
        | 0x20d0..=0x20f0 | 0xfe00..=0xfe0f | 0xfe20..=0xfe2f)
}

/// What `fmt.Sscanf` takes for `%q` at the start of `text`: the unquoted bytes and what follows the literal.
pub(crate) fn scan_quoted(text: &str) -> Option<(Vec<u8>, &str)> {
    if let Some(rest) = text.strip_prefix('`') {
        let end = rest.find('`')?;
        return Some((rest.as_bytes()[..end].to_vec(), &rest[end + 1..]));
    }
    let body = text.strip_prefix('"')?;
    let mut escaped = false;
    let end = body.find(|c| {
        let closes = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        closes
    })?;
    Some((unquote(&body[..end])?, &body[end + 1..]))
}

/// The bytes that the inside of a double-quoted Go literal stands for.
fn unquote(body: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let escape = rest.chars().next()?;
        rest = &rest[escape.len_utf8()..];
        let simple = match escape {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            '\\' => b'\\',
            '"' => b'"',
            _ => {
                rest = numeric_escape(escape, rest, &mut bytes)?;
                continue;
            }
        };
        bytes.push(simple);
    }
    Some(bytes)
}

/// `\xHH`, `\OOO`, `\uHHHH` and `\UHHHHHHHH`; returns what follows.
fn numeric_escape<'a>(escape: char, rest: &'a str, bytes: &mut Vec<u8>) -> Option<&'a str> {
    let (digits, base) = match escape {
        'x' => (2, 16),
        'u' => (4, 16),
        'U' => (8, 16),
        '0'..='7' => {
            let value = u32::from_str_radix(&format!("{escape}{}", rest.get(..2)?), 8).ok()?;
            bytes.push(u8::try_from(value).ok()?);
            return Some(&rest[2..]);
        }
        _ => return None,
    };
    let value = u32::from_str_radix(rest.get(..digits)?, base).ok()?;
    match escape {
        'x' => bytes.push(u8::try_from(value).ok()?),
        _ => bytes.extend_from_slice(char::from_u32(value)?.encode_utf8(&mut [0; 4]).as_bytes()),
    }
    Some(&rest[digits..])
}

/// The words of a line as etcdctl's interactive commands split it: separated by white space; `"…"` with Go's escapes or
/// `'…'` as it stands is one word; a quote that nothing closes is dropped.
///
/// # Errors
/// Go's text for an escape that does not exist.
pub(crate) fn words(line: &str) -> Result<Vec<Vec<u8>>, String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        rest = match (first, closing(rest)) {
            ('"', Some(end)) => {
                words.push(unquote(&rest[1..end]).ok_or("invalid syntax")?);
                &rest[end + 1..]
            }
            ('\'', Some(end)) => {
                words.push(rest.as_bytes()[1..end].to_vec());
                &rest[end + 1..]
            }
            ('"' | '\'', None) => &rest[1..],
            _ => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                words.push(rest.as_bytes()[..end].to_vec());
                &rest[end..]
            }
        }
        .trim_start();
    }
    Ok(words)
}

/// Where the quote that `text` begins with is closed.
fn closing(text: &str) -> Option<usize> {
    let quote = text.chars().next()?;
    let mut escaped = false;
    let inside = text.get(1..)?.find(|c| {
        let closes = c == quote && !escaped;
        escaped = quote == '"' && c == '\\' && !escaped;
        closes
    })?;
    Some(inside + 1)
}

/// A number of bytes for people, in powers of 1000, as etcdctl prints sizes.
pub(crate) fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let exponent = (bytes.ilog10() / 3) as usize;
    // The nearest tenth; a size has less than 2^53 of them wherever the digits are seen.
    let scaled = bytes as f64 / 1000f64.powi(i32::try_from(exponent).unwrap_or(0));
    let tenths = (scaled * 10.0 + 0.5).floor() / 10.0;
    let decimals = usize::from(tenths < 10.0);
    format!("{tenths:.decimals$} {}", UNITS[exponent])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        assert_eq!(parse_int("-12", 10), Ok(-12));
        assert_eq!(parse_int("0x10", 0), Ok(16));
        assert_eq!(parse_int("010", 0), Ok(8));
        assert_eq!(parse_int("0", 0), Ok(0));
        assert_eq!(parse_int("7fffffffffffffff", 16), Ok(i64::MAX));
        assert_eq!(parse_int("x", 10).unwrap_err(), "strconv.ParseInt: parsing \"x\": invalid syntax");
        let large = parse_int("8000000000000000", 16).unwrap_err();
        assert_eq!(large, "strconv.ParseInt: parsing \"8000000000000000\": value out of range");
        assert_eq!(parse_bool("maybe").unwrap_err(), "strconv.ParseBool: parsing \"maybe\": invalid syntax");
    }

    #[test]
    fn durations_are_read_and_printed_as_go_does() {
        assert_eq!(parse_duration("1h2m3.5s"), Ok(Duration::from_millis(3_723_500)));
        assert_eq!(parse_duration("300ms"), Ok(Duration::from_millis(300)));
        assert_eq!(parse_duration("x").unwrap_err(), "time: invalid duration \"x\"");
        assert_eq!(parse_duration("5").unwrap_err(), "time: missing unit in duration \"5\"");
        assert_eq!(parse_duration("5q").unwrap_err(), "time: unknown unit \"q\" in duration \"5q\"");
        for (value, text) in [
            (Duration::ZERO, "0s"),
            (Duration::from_nanos(7), "7ns"),
            (Duration::from_nanos(1_500), "1.5µs"),
            (Duration::from_nanos(2_219_217), "2.219217ms"),
            (Duration::from_nanos(5_002_670_139), "5.002670139s"),
            (Duration::from_secs(90), "1m30s"),
            (Duration::from_secs(3600), "1h0m0s"),
        ] {
            assert_eq!(duration(value), text);
        }
    }

    #[test]
    fn text_is_quoted_as_go_quotes_it() {
        let key = b"k\x01\xff\n\"\\\t<>&\xe2\x80\xa8\xc3\xa9'";
        assert_eq!(quote(key), "\"k\\x01\\xff\\n\\\"\\\\\\t<>&\\u2028é'\"");
        assert_eq!(quote("\u{e9}\u{301}\u{1f600}\u{200b}".as_bytes()), "\"é\u{301}😀\\u200b\"");
    }

    #[test]
    fn a_line_is_split_into_words_with_both_kinds_of_quotes() {
        let split = |line| words(line).map(|words| words.into_iter().map(|w| String::from_utf8(w).unwrap()).collect());
        let expect = |list: &[&str]| Ok::<Vec<String>, String>(list.iter().map(|&w| w.to_owned()).collect());
        assert_eq!(split(" put a \"b c\"  "), expect(&["put", "a", "b c"]));
        assert_eq!(split("put 'a \\n' \"x\\ty\\\"\""), expect(&["put", "a \\n", "x\ty\""]));
        assert_eq!(split("put a \"unterminated"), expect(&["put", "a", "unterminated"]));
        assert_eq!(split("put a\\ b"), expect(&["put", "a\\", "b"]));
        assert_eq!(split("get \"\""), expect(&["get", ""]));
        assert_eq!(split("put a \"\\q\""), Err("invalid syntax".to_owned()));
    }

    #[test]
    fn a_quoted_literal_is_taken_from_the_front_of_a_line() {
        assert_eq!(scan_quoted("\"a\\x62\") = x"), Some((b"ab".to_vec(), ") = x")));
        assert_eq!(scan_quoted("`a\\` b"), Some((b"a\\".to_vec(), " b")));
        assert_eq!(scan_quoted("a"), None);
        assert_eq!(scan_quoted("\"a"), None);
    }

    #[test]
    fn sizes_are_rounded_as_etcdctl_rounds_them() {
        for (bytes, text) in
            [(0, "0 B"), (9, "9 B"), (20_480, "20 kB"), (24_576, "25 kB"), (1_234_567, "1.2 MB"), (9_990, "10 kB")]
        {
            assert_eq!(human_bytes(bytes), text);
        }
    }
}
