//! A digest of many small pieces.

use polity_crypto::{Blake3Digest, Domain};

/// Bytes that are gathered before they are hashed.
const GATHERED_MAX: usize = 16 * 1024;

/// A running BLAKE3 digest.
///
/// BLAKE3 hashes a long piece several times faster than as many bytes in short ones, so pieces are
/// gathered first. The digest is that of all bytes, however they were cut.
#[derive(Clone, Debug)]
pub(crate) struct Digester {
    hasher: blake3::Hasher,
    gathered: Vec<u8>,
}

impl Digester {
    /// A digest of this domain.
    pub(crate) fn new(domain: Domain) -> Self {
        let mut digester = Self {
            hasher: blake3::Hasher::new(),
            gathered: Vec::new(),
        };
        digester.update(domain.as_str().as_bytes());
        digester.update(&[0]);
        digester
    }

    /// Takes the next bytes in.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= GATHERED_MAX {
            self.hasher.update(&self.gathered);
            self.gathered.clear();
        }
    }

    /// The digest so far.
    pub(crate) fn digest(&self) -> Blake3Digest {
        let mut hasher = self.hasher.clone();
        hasher.update(&self.gathered);
        Blake3Digest::new(*hasher.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polity_crypto::domain;

    #[test]
    fn the_digest_is_that_of_all_bytes_however_they_were_cut() {
        let bytes: Vec<u8> = (0..5 * GATHERED_MAX).map(|n| (n / 7) as u8).collect();
        let mut whole = blake3::Hasher::new();
        whole.update(domain::TEST.as_str().as_bytes());
        whole.update(&[0]);
        whole.update(&bytes);
        for piece in [1, 100, GATHERED_MAX - 1, GATHERED_MAX, 3 * GATHERED_MAX] {
            let mut digester = Digester::new(domain::TEST);
            for part in bytes.chunks(piece) {
                digester.update(part);
            }
            let wanted = Blake3Digest::new(*whole.finalize().as_bytes());
            assert_eq!(digester.digest(), wanted, "pieces of {piece} bytes");
        }
    }
}
