//! Transaction ids that a block may not hold again, with their receipts (LG-4, LG-10).
//!
//! Ids are kept in buckets by `valid_until`. A bucket is digested as a chain with one link for
//! each block that added to it, so adding hashes the new ids only, and when the height has passed
//! the whole bucket goes at once. The digests are the leaves of a small tree whose slots are used
//! in turn.

use super::hash::KeyedHash;
use crate::{LockId, Outcome, Receipt, Rejection, TransactionId};
use alloc::vec::Vec;
use hashbrown::HashTable;
use polity_crypto::{Preimage, Sha256Digest, domain};
use polity_merkle::IndexedTree;
use polity_types::{Amount, Height, Seed};

/// A receipt in the space of 56 bytes: fee and lock id follow from the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Entry {
    pub(crate) id: TransactionId,
    pub(crate) height: Height,
    pub(crate) index: u32,
    /// Length of the transaction, for the fee.
    pub(crate) length: u32,
    /// 0 applied, 1 locked, otherwise 1 + the code of the rejection.
    pub(crate) code: u16,
    /// Number of the refused command; 0 if none was.
    pub(crate) item: u8,
}

impl Entry {
    pub(crate) fn new(receipt: &Receipt, length: u32) -> Self {
        let code = match receipt.outcome {
            Ok(Outcome::Applied) => 0,
            Ok(Outcome::Locked(_)) => 1,
            Err(rejection) => 1 + rejection.code(),
        };
        Self {
            id: receipt.id,
            height: receipt.height,
            index: receipt.index,
            length,
            code,
            item: receipt.refused_command.unwrap_or(0),
        }
    }

    /// The receipt, if the code is one.
    pub(crate) fn receipt(&self, fee: Amount) -> Option<Receipt> {
        let outcome = match self.code {
            0 => Ok(Outcome::Applied),
            1 => Ok(Outcome::Locked(LockId::derive(&self.id, 0))),
            code => Err(Rejection::from_code(code - 1)?),
        };
        Some(Receipt {
            id: self.id,
            height: self.height,
            index: self.index,
            fee,
            outcome,
            refused_command: outcome.is_err().then_some(self.item),
        })
    }
}

/// The ids of one `valid_until`.
#[derive(Clone)]
struct Bucket {
    until: Height,
    entries: Vec<Entry>,
    /// Chain over the first `digested` entries.
    digest: Sha256Digest,
    digested: usize,
    is_dirty: bool,
}

impl Bucket {
    const EMPTY: Self = Self {
        until: Height::ZERO,
        entries: Vec::new(),
        digest: Sha256Digest::ZERO,
        digested: 0,
        is_dirty: false,
    };
}

/// Recent ids in block order within their buckets.
#[derive(Clone)]
pub(crate) struct Recent {
    /// Bucket of height `h` at `h % buckets.len()`. There is one more than heights that a
    /// transaction can name, because the last height is dropped after a block.
    buckets: Vec<Bucket>,
    /// Bucket and place of an id; its order is never observed.
    index: HashTable<(u32, u32)>,
    hash: KeyedHash,
    tree: IndexedTree,
    dirty: Vec<u32>,
    length: usize,
}

impl Recent {
    pub(crate) fn new(seed: &Seed, validity_horizon: u64) -> Self {
        let count = validity_horizon as usize + 2;
        let mut tree = IndexedTree::new();
        for _ in 0..count {
            tree.push(Sha256Digest::ZERO);
        }
        Self {
            buckets: alloc::vec![Bucket::EMPTY; count],
            index: HashTable::new(),
            hash: KeyedHash::new(seed, "recent"),
            tree,
            dirty: Vec::new(),
            length: 0,
        }
    }

    /// Ids that are remembered.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn find(&self, id: &TransactionId) -> Option<&Entry> {
        let (bucket, place) = self
            .index
            .find(self.hash.hash(id.as_bytes()), |&(bucket, place)| {
                self.buckets[bucket as usize].entries[place as usize].id == *id
            })?;
        Some(&self.buckets[*bucket as usize].entries[*place as usize])
    }

    /// Remembers an id until the height has passed.
    pub(crate) fn push(&mut self, until: Height, entry: Entry) -> u32 {
        let ring = (until.get() % self.buckets.len() as u64) as u32;
        let bucket = &mut self.buckets[ring as usize];
        assert!(
            bucket.entries.is_empty() || bucket.until == until,
            "one bucket holds one height: {} and {until}",
            bucket.until
        );
        bucket.until = until;
        let place = bucket.entries.len() as u32;
        bucket.entries.push(entry);
        self.touch(ring);
        self.length += 1;
        let Self {
            buckets,
            index,
            hash,
            ..
        } = self;
        let hash_of = |&(bucket, place): &(u32, u32)| {
            hash.hash(
                buckets[bucket as usize].entries[place as usize]
                    .id
                    .as_bytes(),
            )
        };
        index.insert_unique(hash_of(&(ring, place)), (ring, place), hash_of);
        ring
    }

    /// Takes back the last [`push`](Self::push) into a bucket.
    pub(crate) fn pop(&mut self, ring: u32) {
        let bucket = &mut self.buckets[ring as usize];
        if let Some(entry) = bucket.entries.pop() {
            assert!(
                bucket.digested <= bucket.entries.len(),
                "digested entries are of finished blocks"
            );
            let place = (ring, bucket.entries.len() as u32);
            self.forget(&entry.id, place);
        }
    }

    /// Drops the ids whose last height is `until` (LG-4: pruned when the height is above it).
    pub(crate) fn prune(&mut self, until: Height) {
        let ring = (until.get() % self.buckets.len() as u64) as u32;
        let bucket = &mut self.buckets[ring as usize];
        if bucket.entries.is_empty() || bucket.until != until {
            return;
        }
        let was_dirty = bucket.is_dirty;
        let old = core::mem::replace(bucket, Bucket::EMPTY);
        bucket.is_dirty = was_dirty;
        for (place, entry) in old.entries.iter().enumerate() {
            self.forget(&entry.id, (ring, place as u32));
        }
        self.touch(ring);
    }

    /// Every entry with its `valid_until`, in ascending order of both.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Height, &Entry)> {
        let mut order: Vec<_> = self.buckets.iter().collect();
        order.sort_by_key(|bucket| bucket.until);
        order
            .into_iter()
            .flat_map(|bucket| bucket.entries.iter().map(|entry| (bucket.until, entry)))
    }

    /// Root over the buckets; hashes the new ids once (LG-10).
    pub(crate) fn root(&mut self) -> Sha256Digest {
        for ring in core::mem::take(&mut self.dirty) {
            let bucket = &mut self.buckets[ring as usize];
            bucket.is_dirty = false;
            let fresh = &bucket.entries[bucket.digested..];
            for block in fresh.chunk_by(|a, b| a.height == b.height) {
                bucket.digest = link(bucket.until, &bucket.digest, block);
            }
            bucket.digested = bucket.entries.len();
            self.tree
                .set(u64::from(ring), bucket.digest)
                .expect("the tree has a leaf for each bucket");
        }
        self.tree.root()
    }

    fn touch(&mut self, ring: u32) {
        let bucket = &mut self.buckets[ring as usize];
        if !bucket.is_dirty {
            bucket.is_dirty = true;
            self.dirty.push(ring);
        }
    }

    fn forget(&mut self, id: &TransactionId, place: (u32, u32)) {
        self.length -= 1;
        let hash = self.hash.hash(id.as_bytes());
        if let Ok(entry) = self.index.find_entry(hash, |other| *other == place) {
            entry.remove();
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let entries: usize = self.buckets.iter().map(|b| b.entries.capacity()).sum();
        entries * size_of::<Entry>()
            + self.buckets.capacity() * size_of::<Bucket>()
            + self.index.allocation_size()
            + super::tree_bytes(&self.tree)
    }
}

/// One link of a bucket's chain: what one block added.
fn link(until: Height, previous: &Sha256Digest, entries: &[Entry]) -> Sha256Digest {
    let height = entries.first().map_or(Height::ZERO, |entry| entry.height);
    let mut preimage = Preimage::new(domain::RECENT)
        .u64(until.get())
        .array(previous.as_bytes())
        .u64(height.get())
        .u32(entries.len() as u32);
    for entry in entries {
        preimage = preimage
            .array(entry.id.as_bytes())
            .u32(entry.index)
            .u32(entry.length)
            .u32(u32::from(entry.code))
            .u8(entry.item);
    }
    preimage.sha256()
}
