//! Digests as E4 writes them: SHA-256 as 64 lowercase hexadecimal characters, hashed again as text.

use polity_types::write_hex;
use sha2::{Digest, Sha256};

/// SHA-256 of the parts, one after the other, without lengths between them.
pub fn sha256<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// [`sha256`] as the text that E4 stores and hashes again.
pub fn hex_sha256<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    encode_hex(&sha256(parts))
}

/// Bytes as lowercase hexadecimal text.
pub fn encode_hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    // Writing to a text does not fail.
    let _ = write_hex(bytes, &mut text);
    text
}

/// Whether a text is a digest: 64 lowercase hexadecimal characters.
pub fn is_digest(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// The greater of two, and the first if they cannot be compared: `max` as E4's host language has it.
pub(crate) fn max(first: f64, second: f64) -> f64 {
    if second > first { second } else { first }
}

/// The lesser of two, and the first if they cannot be compared.
pub(crate) fn min(first: f64, second: f64) -> f64 {
    if second < first { second } else { first }
}
