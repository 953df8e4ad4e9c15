//! Where in the journal a block and its certificate are.

use crate::store::BlockEntry;
use polity_consensus::fbpbft;
use polity_crypto::Sha256Digest;
use polity_replica::{Committed, Record};
use polity_types::Height;
use std::collections::BTreeMap;

/// Offsets of the blocks of heights that are not committed yet. Bounded like the replica's own
/// memory of such blocks: everything up to a height is forgotten when it is committed.
#[derive(Clone, Debug, Default)]
pub struct Places {
    blocks: BTreeMap<(Height, Sha256Digest), u64>,
    certificates: BTreeMap<Height, u64>,
}

impl Places {
    /// Notes that a record stands at an offset.
    pub fn record(&mut self, offset: u64, record: &Record) {
        match record {
            Record::Consensus(fbpbft::Record::Block(block)) => {
                let key = (block.header.height, block.header.digest());
                // The first copy is as good as a later one.
                self.blocks.entry(key).or_insert(offset);
            }
            Record::Consensus(fbpbft::Record::Decided(certificate)) => {
                self.certificates.insert(certificate.height, offset);
            }
            Record::Consensus(_) | Record::Pooled(_) | Record::Sync(_) => {}
        }
    }

    /// Where a block that is committed now is, and forgets its height. `None` if the replica
    /// committed what it never persisted, which it does not.
    pub fn commit(&mut self, committed: &Committed) -> Option<BlockEntry> {
        self.decide(committed.block.header().height, committed.block.digest())
    }

    /// The same for a block that is known by height and digest alone.
    pub fn decide(&mut self, height: Height, digest: Sha256Digest) -> Option<BlockEntry> {
        let block_offset = self.blocks.get(&(height, digest)).copied();
        let certificate_offset = self.certificates.get(&height).copied();
        self.pass(height);
        Some(BlockEntry {
            block_offset: block_offset?,
            certificate_offset: certificate_offset?,
            digest: *digest.as_bytes(),
        })
    }
    /// Forgets everything up to a height.
    pub fn pass(&mut self, height: Height) {
        let next = height.next();
        self.blocks = self.blocks.split_off(&(next, Sha256Digest::ZERO));
        self.certificates = self.certificates.split_off(&next);
    }
}
