//! The private hash of the look-up tables.

use polity_types::Seed;

/// A hash under a secret key.
///
/// Addresses and ids are chosen by strangers, so a known hash would let them fill one bucket of a
/// table. The key differs between replicas, and nothing that a replica says depends on it.
#[derive(Clone)]
pub(crate) struct KeyedHash {
    keys: [u64; 2],
}

impl KeyedHash {
    pub(crate) fn new(seed: &Seed, label: &str) -> Self {
        let mut stream = seed.fork(label).stream();
        Self {
            // Odd, so that neither is zero.
            keys: [stream.next_u64() | 1, stream.next_u64() | 1],
        }
    }

    pub(crate) fn hash(&self, bytes: &[u8]) -> u64 {
        let mut state = self.keys[0] ^ bytes.len() as u64;
        let (blocks, rest) = bytes.as_chunks::<16>();
        for block in blocks {
            state = self.mix(state, block);
        }
        if !rest.is_empty() {
            let mut last = [0; 16];
            last[..rest.len()].copy_from_slice(rest);
            state = self.mix(state, &last);
        }
        fold(state, self.keys[1])
    }

    fn mix(&self, state: u64, block: &[u8; 16]) -> u64 {
        let block = u128::from_le_bytes(*block);
        fold(block as u64 ^ self.keys[1], (block >> 64) as u64 ^ state)
    }
}

/// Both halves of the product, laid over each other.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}
