//! A growing row of digests that is never moved.
//!
//! A vector that grows holds twice what it needs, and copies everything at the worst moment. Rows
//! here are made of chunks, so the space beyond the content is one chunk per row at most.

use alloc::vec::Vec;
use polity_crypto::Sha256Digest;

/// Pairs per chunk: 32 KiB.
const CHUNK_LENGTH: usize = 1 << 9;

/// The two children of a node, in one cache line: a climb through a large tree waits for memory
/// once per level.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Pair([Sha256Digest; 2]);

/// A row of digests.
#[derive(Clone, Default)]
pub(crate) struct Chunks {
    /// All chunks are full, except the last.
    chunks: Vec<Vec<Pair>>,
    /// Digests; if their number is odd, the last pair has no right half yet.
    length: usize,
}

impl Chunks {
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Sha256Digest> {
        if index >= self.length {
            return None;
        }
        Some(&self.pair(index / 2)?.0[index % 2])
    }

    /// The digests at `2 * pair` and after it, if there is one.
    pub(crate) fn children(&self, pair: usize) -> Option<(&Sha256Digest, Option<&Sha256Digest>)> {
        let [left, right] = &self.pair(pair)?.0;
        Some((left, (pair * 2 + 1 < self.length).then_some(right)))
    }

    /// Replaces the digest at `index`, or appends it if the row ends there.
    pub(crate) fn put(&mut self, index: usize, digest: Sha256Digest) {
        let (chunk, position) = (index / 2 / CHUNK_LENGTH, index / 2 % CHUNK_LENGTH);
        let pair = self
            .chunks
            .get_mut(chunk)
            .and_then(|chunk| chunk.get_mut(position));
        match pair {
            Some(pair) => pair.0[index % 2] = digest,
            None => self.push_pair(digest),
        }
        self.length = self.length.max(index + 1);
    }

    /// Makes room in the table of chunks; chunks themselves are made when they are needed.
    pub(crate) fn reserve(&mut self, length: usize) {
        self.chunks.reserve(length.div_ceil(2 * CHUNK_LENGTH));
    }

    fn pair(&self, pair: usize) -> Option<&Pair> {
        self.chunks
            .get(pair / CHUNK_LENGTH)?
            .get(pair % CHUNK_LENGTH)
    }

    fn push_pair(&mut self, left: Sha256Digest) {
        let pair = Pair([left, Sha256Digest::ZERO]);
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK_LENGTH => last.push(pair),
            last => {
                // The first chunk grows as it needs: most rows of a small tree are short. Later
                // ones are made in one piece.
                let capacity = if last.is_none() { 1 } else { CHUNK_LENGTH };
                let mut chunk = Vec::with_capacity(capacity);
                chunk.push(pair);
                self.chunks.push(chunk);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: usize) -> Sha256Digest {
        crate::leaf_hash(&number.to_le_bytes())
    }

    #[test]
    fn a_row_keeps_its_digests_and_wastes_one_chunk_at_most() {
        assert_eq!(size_of::<Pair>(), 2 * Sha256Digest::LENGTH);
        let mut row = Chunks::default();
        let count = 6 * CHUNK_LENGTH + 7;
        for number in 0..count {
            row.put(number, digest(number));
            assert_eq!(row.len(), number + 1);
            let capacity: usize = row.chunks.iter().map(Vec::capacity).sum();
            assert!(capacity <= row.len().div_ceil(2).next_multiple_of(CHUNK_LENGTH));
        }
        row.put(3, digest(count));
        assert_eq!(row.len(), count);
        for number in 0..count {
            let expected = digest(if number == 3 { count } else { number });
            assert_eq!(row.get(number), Some(&expected));
        }
        assert_eq!(row.get(count), None);
    }

    #[test]
    fn the_last_digest_of_an_odd_row_has_no_neighbour() {
        let mut row = Chunks::default();
        assert_eq!(row.children(0), None);
        row.put(0, digest(0));
        assert_eq!(row.children(0), Some((&digest(0), None)));
        row.put(1, digest(1));
        assert_eq!(row.children(0), Some((&digest(0), Some(&digest(1)))));
        assert_eq!(row.children(1), None);
    }
}
