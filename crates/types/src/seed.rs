//! Repeatable randomness.

use core::fmt;

/// Where randomness comes from: 32 bytes, expanded with the extendable output of BLAKE3.
///
/// Seeds fork by label, so two users of one seed never read the same stream.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seed([u8; 32]);

impl Seed {
    const FORK: &'static str = "polity/seed/fork/v1";
    const STREAM: &'static [u8] = b"polity/seed/stream/v1\0";

    /// Wraps 32 bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A seed for simulations and tests, named by a number.
    pub fn from_number(number: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Self(bytes)
    }

    /// An independent seed for the purpose `label`.
    pub fn fork(&self, label: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(Self::FORK.as_bytes());
        hasher.update(&[0]);
        hasher.update(&self.0);
        hasher.update(label.as_bytes());
        Self(*hasher.finalize().as_bytes())
    }

    /// The stream of this seed, from its start.
    pub fn stream(&self) -> Stream {
        let mut hasher = blake3::Hasher::new();
        hasher.update(Self::STREAM);
        hasher.update(&self.0);
        Stream {
            reader: hasher.finalize_xof(),
        }
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Seed {
    /// Hides the bytes: seeds of keys are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// An endless stream of bytes from a [`Seed`].
#[derive(Clone)]
pub struct Stream {
    reader: blake3::OutputReader,
}

impl Stream {
    /// Fills `out` with the next bytes.
    pub fn fill(&mut self, out: &mut [u8]) {
        self.reader.fill(out);
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A number below `bound`, each equally likely; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            return 0;
        }
        // Values at or above the largest multiple of `bound` would favour small results.
        let zone = u64::MAX - (u64::MAX % bound + 1) % bound;
        loop {
            let value = self.next_u64();
            if value <= zone {
                return value % bound;
            }
        }
    }

    /// Whether an event with the chance of `per_million` in a million happens.
    pub fn chance(&mut self, per_million: u32) -> bool {
        self.below(1_000_000) < u64::from(per_million)
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_forks_differ() {
        let seed = Seed::from_number(7);
        assert_eq!(seed.stream().next_u64(), seed.stream().next_u64());
        let a = seed.fork("a").stream().next_u64();
        let b = seed.fork("b").stream().next_u64();
        assert_ne!(a, b);
        assert_ne!(a, seed.stream().next_u64());
    }

    #[test]
    fn below_reaches_every_value_and_no_other() {
        let mut stream = Seed::from_number(1).stream();
        let mut seen = [0_u32; 6];
        for _ in 0..6_000 {
            seen[stream.below(6) as usize] += 1;
        }
        assert!(seen.iter().all(|n| (800..1_200).contains(n)), "{seen:?}");
        assert_eq!(stream.below(0), 0);
        assert_eq!(stream.below(1), 0);
    }
}
