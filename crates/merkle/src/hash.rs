//! The hashing rules of RFC 6962, section 2.1.

use polity_crypto::Sha256Digest;
use sha2::block_api::compress256;
use sha2::{Digest as _, Sha256};

/// State with which SHA-256 starts (FIPS 180-4, section 5.3.3).
const INITIAL_STATE: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// Length of a node's input, with which its padding ends.
const NODE_BITS: u16 = (1 + 32 + 32) * 8;

/// Digest of a leaf: `SHA-256(00 ‖ data)`.
pub fn leaf_hash(data: &[u8]) -> Sha256Digest {
    let mut hasher = Sha256::new();
    hasher.update([0]);
    hasher.update(data);
    Sha256Digest::new(hasher.finalize().into())
}

/// Digest of a node: `SHA-256(01 ‖ left ‖ right)`.
pub fn node_hash(left: &Sha256Digest, right: &Sha256Digest) -> Sha256Digest {
    // Trees do nothing else, and the input always fills the same two blocks: with the padding in
    // place, a sixth of the time is saved that a hasher spends on its buffer.
    let mut blocks = [[0; 64]; 2];
    let [first, second] = &mut blocks;
    let (head, tail) = right.as_bytes().split_at(31);
    first[0] = 1;
    first[1..33].copy_from_slice(left.as_bytes());
    first[33..].copy_from_slice(head);
    second[0] = tail[0];
    second[1] = 0x80;
    second[62..].copy_from_slice(&NODE_BITS.to_be_bytes());
    let mut state = INITIAL_STATE;
    compress256(&mut state, &blocks);
    let mut digest = [0; 32];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    Sha256Digest::new(digest)
}

/// Root of the tree without leaves: `SHA-256("")`.
pub fn empty_root() -> Sha256Digest {
    Sha256Digest::new(Sha256::digest([]).into())
}

/// Root of the tree with the given leaf digests, without keeping the tree.
pub fn root_of(leaves: &[Sha256Digest]) -> Sha256Digest {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            // The largest power of two below the number of leaves: the depth is at most 64.
            let half = leaves.len().next_power_of_two() / 2;
            let (left, right) = leaves.split_at(half);
            node_hash(&root_of(left), &root_of(right))
        }
    }
}
