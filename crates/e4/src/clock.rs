//! The causal trust clock: peer → (time, trust), its bytes, and E4's comparison that is the wrong way
//! round.

use crate::hash::{hex_sha256, max};
use crate::{Mode, Refusal};
use std::collections::{BTreeMap, BTreeSet};

/// The clock that is ahead needs this much more trust than the other to be called an override.
pub const OVERRIDE_FACTOR: f64 = 1.5;
/// Entries of a clock in strict mode.
pub const ENTRIES_MAX: usize = 65_536;
/// Greatest time that strict mode accepts: what signed 64-bit integers and all later steps can hold (C1).
pub const TIME_MAX: u64 = 1 << 53;

/// Time of a peer and its trust at that time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Entry {
    /// Steps of the peer.
    pub time: u64,
    /// Mean trust, as the peer asserts it.
    pub trust: f64,
}

/// E4's answer to a comparison, in E4's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// The first is **ahead**: E4's documentation says the contrary.
    Before,
    /// The first is **behind**.
    After,
    /// Each is ahead somewhere, or neither: identical clocks too.
    Concurrent,
    /// As `Before`, and the first has more than 1.5 times the trust of the second.
    TrustOverride,
}

impl Comparison {
    /// E4's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
            Self::Concurrent => "concurrent",
            Self::TrustOverride => "trust_override",
        }
    }
}

/// What the causal order says, the right way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The first is a part of the second.
    Before,
    /// The second is a part of the first.
    After,
    /// Both are the same.
    Equal,
    /// Each is ahead somewhere.
    Concurrent,
}

/// A clock.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Clock {
    /// By peer id.
    pub entries: BTreeMap<String, Entry>,
}

impl Clock {
    /// The next step of the owner, with its present mean trust, or 0.0 where there is no lattice.
    ///
    /// # Errors
    ///
    /// If the time is exhausted. E4 goes on and can never write its bytes again (C1).
    pub fn increment(&mut self, owner: &str, overall: Option<f64>) -> Result<(), Refusal> {
        let entry = self.entries.entry(owner.to_owned()).or_default();
        entry.time = entry.time.checked_add(1).ok_or(Refusal::TimeTooLarge)?;
        entry.trust = overall.unwrap_or(0.0);
        Ok(())
    }

    /// Higher time wins with its trust; equal times keep the greater trust.
    pub fn merge(&self, other: &Self) -> Self {
        let mut merged = self.clone();
        for (peer, entry) in &other.entries {
            let mine = merged.entries.entry(peer.clone()).or_default();
            if entry.time > mine.time {
                *mine = *entry;
            } else if entry.time == mine.time {
                mine.trust = max(mine.trust, entry.trust);
            }
        }
        merged
    }

    /// Entries in the order of their ids: length of the id, id, time, trust, all big-endian.
    ///
    /// # Errors
    ///
    /// If an id is longer than 65,535 bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Refusal> {
        let mut bytes = Vec::new();
        for (peer, entry) in &self.entries {
            let length = u16::try_from(peer.len()).map_err(|_| Refusal::TooLong("peer id"))?;
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(peer.as_bytes());
            bytes.extend_from_slice(&entry.time.to_be_bytes());
            bytes.extend_from_slice(&entry.trust.to_be_bytes());
        }
        Ok(bytes)
    }

    /// Reads [`Self::to_bytes`].
    ///
    /// In compatible mode as E4 does: one trailing byte is ignored, of two entries of one peer the
    /// last counts, and empty ids, infinite trust and any time are taken.
    ///
    /// # Errors
    ///
    /// A short entry or an id that is no UTF-8. In strict mode also every form that the writer does
    /// not produce, times beyond [`TIME_MAX`] (C1), trust outside of 0 to 1 (C4), empty ids, and
    /// more than [`ENTRIES_MAX`] entries.
    pub fn from_bytes(bytes: &[u8], mode: Mode) -> Result<Self, Refusal> {
        let mut clock = Self::default();
        let mut rest = bytes;
        while rest.len() >= 2 {
            let id = take(&mut rest, 2)?;
            let length = usize::from(u16::from_be_bytes([id[0], id[1]]));
            let id = take(&mut rest, length)?;
            let (time, trust) = (take_8(&mut rest)?, take_8(&mut rest)?);
            let id = core::str::from_utf8(id).map_err(|_| Refusal::NotUtf8)?;
            let entry = Entry {
                time: u64::from_be_bytes(time),
                trust: f64::from_be_bytes(trust),
            };
            clock.entries.insert(id.to_owned(), entry);
        }
        if mode == Mode::Strict {
            clock.check()?;
            if clock.to_bytes()? != bytes {
                return Err(Refusal::NotCanonical);
            }
        }
        Ok(clock)
    }

    /// Digest of the bytes.
    ///
    /// # Errors
    ///
    /// As [`Self::to_bytes`].
    pub fn content_hash(&self) -> Result<String, Refusal> {
        Ok(hex_sha256([self.to_bytes()?.as_slice()]))
    }

    /// What strict mode asks of every clock from outside, and of one that was merged: each part may be
    /// within [`ENTRIES_MAX`] and their union beyond.
    ///
    /// # Errors
    ///
    /// As [`Self::from_bytes`] says of strict mode.
    pub fn check(&self) -> Result<(), Refusal> {
        if self.entries.len() > ENTRIES_MAX {
            return Err(Refusal::TooMany("clock entries", ENTRIES_MAX));
        }
        for (peer, entry) in &self.entries {
            if peer.is_empty() {
                return Err(Refusal::EmptyId);
            }
            if entry.time > TIME_MAX {
                return Err(Refusal::TimeTooLarge);
            }
            if !(0.0..=1.0).contains(&entry.trust) {
                return Err(Refusal::TrustOutOfRange);
            }
        }
        Ok(())
    }

    /// E4's comparison, bit-exact: `before` means that this clock is ahead (C2), and more trust only
    /// helps the clock that is ahead anyway (C3). Use [`Self::order`] unless an E4 peer asks.
    pub fn compare(&self, other: &Self) -> Comparison {
        match self.order(other) {
            Order::After => {
                let sum = |clock: &Self| clock.entries.values().map(|e| e.trust).sum::<f64>();
                if sum(self) > OVERRIDE_FACTOR * sum(other) {
                    Comparison::TrustOverride
                } else {
                    Comparison::Before
                }
            }
            Order::Before => Comparison::After,
            Order::Equal | Order::Concurrent => Comparison::Concurrent,
        }
    }

    /// The causal order, the right way round and without regard to trust.
    pub fn order(&self, other: &Self) -> Order {
        let peers: BTreeSet<&String> = self.entries.keys().chain(other.entries.keys()).collect();
        let time = |clock: &Self, peer: &String| clock.entries.get(peer).map_or(0, |e| e.time);
        let (mut ahead, mut behind) = (false, false);
        for peer in peers {
            ahead |= time(self, peer) > time(other, peer);
            behind |= time(self, peer) < time(other, peer);
        }
        match (ahead, behind) {
            (true, false) => Order::After,
            (false, true) => Order::Before,
            (true, true) => Order::Concurrent,
            (false, false) => Order::Equal,
        }
    }

    /// E4's plausibility of a snapshot: anything but one strictly older than this clock (P8). The
    /// empty snapshot always is.
    ///
    /// # Errors
    ///
    /// As [`Self::from_bytes`]; E4 crashes instead (P9).
    pub fn is_consistent_with(&self, snapshot: &[u8], mode: Mode) -> Result<bool, Refusal> {
        if snapshot.is_empty() {
            return Ok(true);
        }
        Ok(Self::from_bytes(snapshot, mode)?.order(self) != Order::Before)
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], Refusal> {
    let (head, tail) = rest.split_at_checked(length).ok_or(Refusal::Truncated)?;
    *rest = tail;
    Ok(head)
}

fn take_8(rest: &mut &[u8]) -> Result<[u8; 8], Refusal> {
    let (head, tail) = rest.split_first_chunk().ok_or(Refusal::Truncated)?;
    *rest = tail;
    Ok(*head)
}
