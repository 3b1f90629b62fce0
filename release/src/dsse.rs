//! DSSE envelopes: signed statements that carry what was signed, with the release's minisign key.
//!
//! The signature is plain Ed25519 over DSSE's encoding of type and content, made with the Ed25519 key that is inside the
//! minisign key; its key id is minisign's, as the stock program prints it. One key for two kinds of signature is safe
//! here: what minisign signs is a hash of 64 bytes, or a signature followed by a comment, and can never begin with
//! `DSSEv1`, which everything that is signed here begins with. No further secret has to be kept, rotated and revoked.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_compact::{PublicKey, SecretKey, Signature};
use minisign::PublicKeyBox;
use serde::{Deserialize, Serialize};

use crate::keys::SigningKey;

/// Bytes before the key in minisign's form of a public key: algorithm and key id.
const PUBLIC_KEY_START: usize = 2 + 8;

/// Bytes before the key in minisign's form of a secret key: three algorithms, salt, two limits, key id.
const SECRET_KEY_START: usize = 3 * 2 + 32 + 2 * 8 + 8;

/// The signed form of a statement.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    /// Base64 of what is signed.
    payload: String,
    /// Media type of what is signed.
    payload_type: String,
    /// At least one signature.
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct EnvelopeSignature {
    keyid: String,
    sig: String,
}

/// Why an envelope is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// It is not of the form of an envelope.
    #[error("it is not a DSSE envelope")]
    Malformed,
    /// What is in it is of another type.
    #[error("what it signs is of another type")]
    OtherType,
    /// None of its signatures is of the key.
    #[error("it is signed with another key")]
    OtherKey,
    /// The signature of the key does not fit.
    #[error("its signature does not fit its content")]
    BadSignature,
}

/// The public half of a minisign key, as far as envelopes need it.
#[derive(Debug, Clone)]
pub struct VerifyingKey {
    id: String,
    key: PublicKey,
}

impl VerifyingKey {
    /// Reads the text of a minisign public key file.
    ///
    /// # Errors
    ///
    /// What is wrong with it, as a phrase.
    pub fn parse(text: &str) -> Result<Self, String> {
        let key = PublicKeyBox::from_string(text).and_then(PublicKeyBox::into_public_key);
        Self::new(&key.map_err(|e| e.to_string())?)
    }

    fn new(key: &minisign::PublicKey) -> Result<Self, String> {
        let bytes = key.to_bytes();
        let key_bytes = bytes.get(PUBLIC_KEY_START..).ok_or("it is too short")?;
        Ok(Self { id: key_id(key.keynum()), key: PublicKey::from_slice(key_bytes).map_err(|e| e.to_string())? })
    }

    /// The key's id, as minisign prints it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns what an envelope carries, once its signature fits.
    ///
    /// # Errors
    ///
    /// The envelope is malformed, of another type, or not signed by this key.
    pub fn open(&self, envelope: &[u8], payload_type: &str) -> Result<Vec<u8>, EnvelopeError> {
        let envelope: Envelope = serde_json::from_slice(envelope).map_err(|_| EnvelopeError::Malformed)?;
        let payload = BASE64.decode(&envelope.payload).map_err(|_| EnvelopeError::Malformed)?;
        let mut result = Err(EnvelopeError::OtherKey);
        for signature in envelope.signatures.iter().filter(|signature| signature.keyid == self.id) {
            let bytes = BASE64.decode(&signature.sig).map_err(|_| EnvelopeError::Malformed)?;
            let signature = Signature::from_slice(&bytes).map_err(|_| EnvelopeError::Malformed)?;
            let signed = encode(&envelope.payload_type, &payload);
            result = self.key.verify(signed, &signature).map_err(|_| EnvelopeError::BadSignature);
            if result.is_ok() {
                break;
            }
        }
        result?;
        if envelope.payload_type == payload_type { Ok(payload) } else { Err(EnvelopeError::OtherType) }
    }
}

/// Signs a statement; the result is one line of JSON with a line feed.
///
/// # Errors
///
/// The secret key is damaged.
pub fn seal(payload: &[u8], payload_type: &str, key: &SigningKey) -> anyhow::Result<Vec<u8>> {
    let bytes = key.secret.to_bytes();
    let secret = bytes.get(SECRET_KEY_START..SECRET_KEY_START + SecretKey::BYTES).unwrap_or_default();
    let secret = SecretKey::from_slice(secret).map_err(|e| anyhow::anyhow!("the secret key is damaged: {e}"))?;
    let signature = secret.sign(encode(payload_type, payload), None);
    let envelope = Envelope {
        payload: BASE64.encode(payload),
        payload_type: payload_type.to_owned(),
        signatures: vec![EnvelopeSignature { keyid: key_id(key.public.keynum()), sig: BASE64.encode(signature) }],
    };
    let mut json = serde_json::to_vec(&envelope)?;
    json.push(b'\n');
    Ok(json)
}

/// DSSE's encoding of what is signed: unambiguous, because each part has its length before it.
fn encode(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

/// Minisign prints the eight bytes as one number, the least byte first.
fn key_id(keynum: &[u8]) -> String {
    keynum.iter().rev().fold(String::new(), |text, byte| text + &format!("{byte:02X}"))
}

#[cfg(test)]
mod tests {
    use super::encode;

    #[test]
    fn what_is_signed_is_encoded_as_in_the_specification_of_dsse() {
        let encoded = encode("http://example.com/HelloWorld", b"hello world");
        assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }
}
