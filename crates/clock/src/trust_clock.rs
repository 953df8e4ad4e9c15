//! A vector clock whose entries their owners signed.

use crate::{ClockContext, Entry, SignedEntry};
use alloc::vec::Vec;
use core::cmp::Ordering;
use polity_crypto::{
    Checker, PeerId, Preimage, PublicKey, SIGNATURE_BYTES_MAX, Sha256Digest, Verified, Verifier,
    domain,
};
use polity_types::wire::{self, DecodeError};
use polity_types::{ChainId, Join};

/// Most entries of a clock: as many as a registry knows peers. Beyond that the largest ids fall out,
/// which keeps merging a join.
pub const ENTRIES_MAX: usize = polity_crypto::PEERS_MAX;

/// Longest encoding of one entry: number, trust, id and signature with their lengths.
const ENTRY_BYTES_MAX: usize = 10 + 5 + 33 + 3 + SIGNATURE_BYTES_MAX;

/// How two clocks stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Causality {
    /// The first knows less than the second, and nothing that the second does not know.
    Before,
    /// The first knows more, and all that the second knows.
    After,
    /// Both know the same.
    Equal,
    /// Each knows something that the other does not.
    Concurrent,
}

/// Why bytes are no clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClockError {
    /// Not the canonical bytes of a list of entries.
    #[error("the bytes are no list of clock entries: {0}")]
    Decode(#[from] DecodeError),
    /// More entries than a clock has.
    #[error("a clock has at most {ENTRIES_MAX} entries, not {0}")]
    TooMany(usize),
    /// The peers do not ascend, or one is there twice.
    #[error("the peers of a clock ascend, and entry {0} does not")]
    Order(usize),
    /// The id of no peer.
    #[error("the first entry names no peer")]
    NoPeer,
}

/// Peer → its last known event and its trust then. Holds nothing that its owner did not sign.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustClock {
    /// By owner, ascending; at most [`ENTRIES_MAX`].
    entries: Vec<SignedEntry>,
}

impl TrustClock {
    /// A clock that knows nothing.
    pub const fn new() -> Self {
        Self {
            entries: Vec::new(),
        }
    }

    /// Takes over an entry. Says whether the clock changed.
    pub fn observe(&mut self, entry: &Verified<SignedEntry>) -> bool {
        match self.find(&entry.owner) {
            Ok(at) if self.entries[at] >= **entry => false,
            Ok(at) => {
                self.entries[at] = (**entry).clone();
                true
            }
            Err(at) if at >= ENTRIES_MAX => false,
            Err(at) => {
                self.entries.insert(at, (**entry).clone());
                self.entries.truncate(ENTRIES_MAX);
                true
            }
        }
    }

    /// What is known of a peer.
    pub fn get(&self, peer: &PeerId) -> Option<Entry> {
        Some(self.entries[self.find(peer).ok()?].entry)
    }

    /// The entries, by owner.
    pub fn entries(&self) -> &[SignedEntry] {
        &self.entries
    }

    /// How this clock stands to the other. It is the order of the join: `a` is before `b` exactly if
    /// joining `a` into `b` changes nothing and they differ.
    pub fn compare(&self, other: &Self) -> Causality {
        let (mut less, mut more) = (false, false);
        walk(&self.entries, &other.entries, |a, b| match a.cmp(&b) {
            Ordering::Less => less = true,
            Ordering::Greater => more = true,
            Ordering::Equal => {}
        });
        match (less, more) {
            (true, true) => Causality::Concurrent,
            (true, false) => Causality::Before,
            (false, true) => Causality::After,
            (false, false) => Causality::Equal,
        }
    }

    /// A total order that agrees with [`compare`](Self::compare) and otherwise prefers the clock whose
    /// events weigh more by the trust of a snapshot, in millionths; unknown peers have none.
    ///
    /// Then the number of events decides, then the entries, so two replicas with one snapshot agree.
    pub fn rank(&self, other: &Self, trust: impl Fn(&PeerId) -> u32) -> Ordering {
        let key = |clock: &Self| {
            let sum = |weight: &dyn Fn(&PeerId) -> u32| -> u128 {
                let entries = clock.entries.iter();
                entries
                    .map(|signed| u128::from(signed.entry.time) * u128::from(weight(&signed.owner)))
                    .sum()
            };
            (sum(&trust), sum(&|_| 1))
        };
        key(self)
            .cmp(&key(other))
            .then_with(|| self.entries.cmp(&other.entries))
    }

    /// Digest of what is said, without signature bytes.
    pub fn digest(&self) -> Sha256Digest {
        let start = Preimage::new(domain::CLOCK).u32(self.entries.len() as u32);
        let entries = self.entries.iter();
        entries
            .fold(start, |preimage, signed| {
                preimage
                    .array(signed.owner.as_bytes())
                    .u64(signed.entry.time)
                    .u32(signed.entry.trust)
            })
            .sha256()
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        wire::encode(&self.entries)
    }

    /// Reads exactly the canonical bytes. Entries whose owner has no key, or did not sign them, are
    /// dropped; their number comes with the clock.
    pub fn decode<V: Verifier>(
        bytes: &[u8],
        chain: &ChainId,
        key: impl Fn(&PeerId) -> Option<PublicKey>,
        checker: &mut Checker<V>,
    ) -> Result<(Self, usize), ClockError> {
        let entries: Vec<SignedEntry> = wire::decode(bytes, 3 + ENTRIES_MAX * ENTRY_BYTES_MAX)?;
        if entries.len() > ENTRIES_MAX {
            return Err(ClockError::TooMany(entries.len()));
        }
        if entries
            .first()
            .is_some_and(|signed| signed.owner == PeerId::ZERO)
        {
            return Err(ClockError::NoPeer);
        }
        let pairs = entries.windows(2);
        if let Some(at) = pairs
            .map(|pair| pair[0].owner < pair[1].owner)
            .position(|is| !is)
        {
            return Err(ClockError::Order(at + 1));
        }
        let mut clock = Self::new();
        let count = entries.len();
        for signed in entries {
            let Some(key) = key(&signed.owner) else {
                continue;
            };
            let context = ClockContext {
                chain: *chain,
                owner: signed.owner,
                key,
            };
            if let Ok(verified) = Verified::check(signed, &context, checker) {
                clock.entries.push(verified.into_inner());
            }
        }
        let dropped = count - clock.entries.len();
        Ok((clock, dropped))
    }

    fn find(&self, peer: &PeerId) -> Result<usize, usize> {
        self.entries
            .binary_search_by(|signed| signed.owner.cmp(peer))
    }
}

impl Join for TrustClock {
    fn join(&mut self, other: &Self) -> bool {
        let (mut is_raised, mut has_new) = (false, false);
        // Mostly both know the same peers: then entries change where they stand.
        let mut at = 0;
        for theirs in &other.entries {
            while self
                .entries
                .get(at)
                .is_some_and(|own| own.owner < theirs.owner)
            {
                at += 1;
            }
            match self.entries.get_mut(at) {
                Some(own) if own.owner == theirs.owner => {
                    if *own < *theirs {
                        own.clone_from(theirs);
                        is_raised = true;
                    }
                }
                _ => has_new = true,
            }
        }
        if !has_new {
            return is_raised;
        }
        let before = self.entries.len();
        let mut merged = Vec::with_capacity((before + other.entries.len()).min(ENTRIES_MAX));
        let last = self.entries.last().map(|signed| signed.owner);
        walk(&self.entries, &other.entries, |own, theirs| {
            if merged.len() < ENTRIES_MAX {
                merged.extend(own.or(theirs).cloned());
            }
        });
        self.entries = merged;
        is_raised
            || self.entries.len() > before
            || self.entries.last().map(|signed| signed.owner) != last
    }
}

/// Pairs the entries of both sides by owner.
fn walk<'a>(
    mut a: &'a [SignedEntry],
    mut b: &'a [SignedEntry],
    mut visit: impl FnMut(Option<&'a SignedEntry>, Option<&'a SignedEntry>),
) {
    while let (Some((own, a_rest)), Some((theirs, b_rest))) = (a.split_first(), b.split_first()) {
        let order = own.owner.cmp(&theirs.owner);
        visit(
            (order != Ordering::Greater).then_some(own),
            (order != Ordering::Less).then_some(theirs),
        );
        if order != Ordering::Greater {
            a = a_rest;
        }
        if order != Ordering::Less {
            b = b_rest;
        }
    }
    for own in a {
        visit(Some(own), None);
    }
    for theirs in b {
        visit(None, Some(theirs));
    }
}
