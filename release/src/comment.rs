//! The trusted comment of a signature: one line that says what was signed.
//!
//! A minisign signature alone says only "these bytes, this key". The comment, which the signature covers too, binds the
//! bytes to product, version, file name, hash and place in the order of releases. It has one form: five `name=value`
//! pairs in fixed order with single blanks between, printable ASCII. Anything else is refused.

use std::fmt;
use std::str::FromStr;

use crate::digest::is_sha256;

/// The meaning of a trusted comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedComment {
    /// Name of the product.
    pub product: String,
    /// Version of the product.
    pub version: String,
    /// Name of the signed file.
    pub file: String,
    /// SHA-256 of the signed file, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Number of the release in the order of all releases.
    pub sequence: u64,
}

/// The text is not a trusted comment of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the trusted comment is not `product=… version=… file=… sha256=… sequence=…`")]
pub struct MalformedComment;

impl fmt::Display for TrustedComment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { product, version, file, sha256, sequence } = self;
        write!(f, "product={product} version={version} file={file} sha256={sha256} sequence={sequence}")
    }
}

impl FromStr for TrustedComment {
    type Err = MalformedComment;

    fn from_str(text: &str) -> Result<Self, MalformedComment> {
        let mut fields = text.split(' ');
        let mut field = |name: &str| {
            let value = fields.next().and_then(|field| field.strip_prefix(name)).ok_or(MalformedComment)?;
            let printable = !value.is_empty() && value.chars().all(|c| c.is_ascii_graphic());
            if printable { Ok(value.to_owned()) } else { Err(MalformedComment) }
        };
        let comment = Self {
            product: field("product=")?,
            version: field("version=")?,
            file: field("file=")?,
            sha256: field("sha256=")?,
            sequence: field("sequence=")?.parse().map_err(|_| MalformedComment)?,
        };
        // One meaning has one spelling: this refuses further fields and numbers such as `+1` or `01`.
        if is_sha256(&comment.sha256) && comment.to_string() == text { Ok(comment) } else { Err(MalformedComment) }
    }
}
