//! AWS Signature Version 4 of a request's headers, as S3 and what imitates it want it.
//!
//! Left out: signatures in the query, chunked signatures, and every service but S3.

use std::fmt::Write as _;

use hmac::{Hmac, Mac};
use sha2::{Digest as _, Sha256};

use super::Secret;

/// The algorithm's name, which begins the header and the text to sign.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Seconds of a day.
const DAY_SECONDS: u64 = 24 * 60 * 60;

/// Credentials of an S3 bucket.
#[derive(Debug, Clone)]
pub struct AwsKey {
    /// Public name of the key.
    pub id: String,
    /// The key.
    pub secret: Secret,
    /// Token that goes with a temporary key.
    pub session: Option<Secret>,
    /// Region of the bucket.
    pub region: String,
}

/// The parts of a request that are signed.
#[derive(Debug, Clone)]
pub struct Canonical<'a> {
    /// The method.
    pub method: &'a str,
    /// Path, percent-encoded, beginning with a slash.
    pub path: &'a str,
    /// Query, encoded and sorted, without the question mark.
    pub query: &'a str,
    /// Headers by lower-case name, sorted; `host` and `x-amz-date` must be among them.
    pub headers: &'a [(String, String)],
    /// SHA-256 of the content, in hexadecimal digits.
    pub payload_sha256: &'a str,
}

/// The value of the `authorization` header for a request; `time` is the one of its `x-amz-date`.
#[must_use]
pub fn signature(key: &AwsKey, time: &str, request: &Canonical<'_>) -> String {
    let day = time.get(..8).unwrap_or(time);
    let scope = format!("{day}/{}/s3/aws4_request", key.region);
    let names: Vec<_> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(";");
    let headers = request.headers.iter().fold(String::new(), |mut text, (name, value)| {
        writeln!(text, "{name}:{}", value.trim()).expect("writing to a string does not fail");
        text
    });
    let Canonical { method, path, query, payload_sha256, .. } = request;
    let canonical = format!("{method}\n{path}\n{query}\n{headers}\n{names}\n{payload_sha256}");
    let to_sign = format!("{ALGORITHM}\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let mut chain = format!("AWS4{}", key.secret.0).into_bytes();
    for part in [day, &key.region, "s3", "aws4_request"] {
        chain = hmac(&chain, part);
    }
    let signed = hex(&hmac(&chain, &to_sign));
    format!("{ALGORITHM} Credential={}/{scope}, SignedHeaders={names}, Signature={signed}", key.id)
}

/// Seconds since 1970 as `x-amz-date` has them, for instance `20130524T000000Z`.
pub(crate) fn amz_time(seconds: u64) -> String {
    let (year, month, day) = date(seconds / DAY_SECONDS);
    let rest = seconds % DAY_SECONDS;
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Year, month and day of a number of days since 1970.
fn date(days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let (mut year, mut left) = (1970, days);
    while left >= 365 + u64::from(leap(year)) {
        left -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    (year, month, left + 1)
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, time) in [
            (0, "19700101T000000Z"),
            (951_782_399, "20000228T235959Z"),
            (951_782_400, "20000229T000000Z"),
            (951_868_800, "20000301T000000Z"),
            (1_369_353_600, "20130524T000000Z"),
            (4_107_542_400, "21000301T000000Z"),
        ] {
            assert_eq!(amz_time(seconds), time);
        }
    }
}
