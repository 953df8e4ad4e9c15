//! Digest types, and the digests that name a chain.

use crate::{Preimage, domain};
use polity_types::{ChainId, byte_string};

byte_string!(
    /// A SHA-256 digest: trees, key ids, blocks, transactions.
    Sha256Digest, 32
);
byte_string!(
    /// A BLAKE3 digest: payloads, genesis, fork and chain ids, message ids.
    Blake3Digest, 32
);

/// Identity of a branch of the federation `genesis_id` (d2bft-gossip, section 8).
pub fn fork_id(
    genesis_id: &Blake3Digest,
    parent: &Blake3Digest,
    divergence_event: &[u8; 32],
    rule_version: &[u8; 32],
    reason: u8,
) -> Blake3Digest {
    Preimage::new(domain::FORK_ID)
        .array(genesis_id.as_bytes())
        .array(parent.as_bytes())
        .array(divergence_event)
        .array(rule_version)
        .u8(reason)
        .blake3()
}

/// The branch that a genesis starts: no parent, no divergence, reason 0.
pub fn root_fork_id(genesis_id: &Blake3Digest) -> Blake3Digest {
    fork_id(genesis_id, &Blake3Digest::ZERO, &[0; 32], &[0; 32], 0)
}

/// The chain that a genesis starts.
pub fn root_chain_id(genesis_id: &Blake3Digest) -> ChainId {
    let digest = Preimage::new(domain::CHAIN)
        .array(genesis_id.as_bytes())
        .array(root_fork_id(genesis_id).as_bytes())
        .blake3();
    ChainId::new(*digest.as_bytes())
}
