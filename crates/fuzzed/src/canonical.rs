//! No value has two texts: an independent mutator writes honest values differently, and none of these
//! texts may be accepted.
//!
//! It finds the places by a second encoder, so it also shows that the first one does what
//! the format says.

use crate::bytes::Bytes;
use crate::decode::strict;
use crate::honest::{Honest, honest};
use crate::trace::{Place, Token, trace};
use polity_consensus::fbpbft::Evidence;
use polity_ledger::SignedTransaction;
use polity_replica::sync::SyncRecord;
use polity_replica::{Frame, GenesisMember, MemberChange, Record};
use polity_types::{ReplicaId, Weight, wire};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::OnceLock;

/// Bytes that may follow a value.
const TRAILS: [&[u8]; 3] = [&[0], &[1], &[0x80, 0]];

/// An honest value and where its text could be another one.
struct Sample {
    name: &'static str,
    bytes: Vec<u8>,
    places: Vec<Place>,
    decode: fn(&[u8]) -> bool,
}

/// A way to write a value differently.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// A number takes more groups than it needs.
    Longer { groups: usize },
    /// A length is another one; the bytes stay.
    Length { by: i8 },
    /// A truth value is neither 0 nor 1.
    Flag { byte: u8 },
    /// A flag takes the two groups of a number.
    LongFlag,
}

fn changes(token: Token) -> Vec<Change> {
    let longer = (1..=9).map(|groups| Change::Longer { groups });
    match token {
        Token::Varint => longer.collect(),
        Token::Length => longer
            .chain([-2, -1, 1, 2, 100].map(|by| Change::Length { by }))
            .collect(),
        Token::Flag => [2, 0x7f, 0x80, 0xff]
            .map(|byte| Change::Flag { byte })
            .into_iter()
            .chain([Change::LongFlag])
            .collect(),
    }
}

impl Sample {
    fn new<T: Serialize + DeserializeOwned>(name: &'static str, value: &T) -> Self {
        let (bytes, places) = trace(value);
        assert_eq!(bytes, wire::encode(value), "two encoders agree on {name}");
        assert!(strict::<T>(&bytes), "{name} decodes");
        let decode = strict::<T>;
        Self {
            name,
            bytes,
            places,
            decode,
        }
    }

    /// The text with one change; none where the change is not possible.
    fn changed(&self, place: &Place, change: Change) -> Option<Vec<u8>> {
        let old = &self.bytes[place.at..place.end];
        let new = match change {
            Change::Longer { groups } => {
                let mut new = old.to_vec();
                *new.last_mut()? |= 0x80;
                new.extend(std::iter::repeat_n(0x80, groups - 1));
                new.push(0);
                new
            }
            Change::Length { by } => {
                let length = old.iter().rev().fold(0_u64, |sum, byte| {
                    sum.wrapping_shl(7) | u64::from(byte & 0x7f)
                });
                trace(&length.checked_add_signed(by.into())?).0
            }
            Change::Flag { byte } => vec![byte],
            Change::LongFlag => vec![old[0] | 0x80, 0],
        };
        let head = &self.bytes[..place.at];
        Some([head, &new, &self.bytes[place.end..]].concat())
    }

    /// Whether a text that is not canonical is refused.
    fn refuses(&self, text: &[u8], change: Change) -> bool {
        match change {
            // Another length can make the text of another value, and `strict` compares that.
            Change::Length { .. } => {
                let _ = (self.decode)(text);
                true
            }
            Change::Longer { .. } | Change::Flag { .. } | Change::LongFlag => !(self.decode)(text),
        }
    }
}

fn samples() -> &'static [Sample] {
    static SAMPLES: OnceLock<Vec<Sample>> = OnceLock::new();
    SAMPLES.get_or_init(|| make(honest()))
}

fn make(honest: &Honest) -> Vec<Sample> {
    let mut samples = Vec::new();
    for frame in &honest.frames {
        samples.push(Sample::new("frame", frame));
        if let Frame::Consensus(message) = frame {
            samples.push(Sample::new("message", message));
        }
    }
    for record in honest.journal.iter().take(40) {
        samples.push(Sample::new("record", record));
    }
    for record in &honest.sync_journal {
        if let Record::Sync(sync) = record {
            samples.push(Sample::new("sync record", sync as &SyncRecord));
        }
    }
    let first = &honest.decided[0];
    samples.push(Sample::new("header", &first.block.header));
    samples.push(Sample::new("certificate", &first.certificate));
    samples.extend(honest.ends.iter().map(|end| Sample::new("epoch end", end)));
    samples.extend(honest.accounts.iter().map(|p| Sample::new("account", p)));
    samples.extend(honest.locks.iter().map(|p| Sample::new("lock", p)));
    samples.extend(honest.receipts.iter().map(|p| Sample::new("receipt", p)));
    for signed in &honest.transactions {
        samples.push(Sample::new::<SignedTransaction>("transaction", signed));
    }
    let votes: Vec<_> = honest.frames.iter().filter_map(vote).collect();
    if let [a, b, ..] = votes.as_slice() {
        let evidence = Evidence::TwoVotes((*a).clone(), (*b).clone());
        samples.push(Sample::new("evidence", &evidence));
    }
    samples.push(Sample::new("member change", &set(honest)));
    let remove = MemberChange::Remove(ReplicaId::new(300));
    samples.push(Sample::new("member change", &remove));
    samples
}

fn vote(frame: &Frame) -> Option<&polity_consensus::fbpbft::Vote> {
    match frame {
        Frame::Consensus(polity_consensus::fbpbft::Message::Vote(vote)) => Some(vote),
        _ => None,
    }
}

/// A change that a committee's authority could sign.
pub(crate) fn set(honest: &Honest) -> MemberChange {
    let member = &honest.genesis.members[0];
    MemberChange::Set(GenesisMember {
        weight: Weight::new(1_000),
        ..member.clone()
    })
}

/// The property: the input picks a value, a place and a change.
pub(crate) fn canonical(input: &[u8]) {
    let mut input = Bytes::new(input);
    let Some(sample) = input.pick(samples()) else {
        return;
    };
    if input.u8().is_multiple_of(16) {
        let trail = input.rest();
        if !trail.is_empty() {
            let text = [&sample.bytes, trail].concat();
            assert!(!(sample.decode)(&text), "{} with a trail", sample.name);
        }
        return;
    }
    let Some(place) = input.pick(&sample.places) else {
        return;
    };
    let changes = changes(place.token);
    let Some(change) = input.pick(&changes) else {
        return;
    };
    check(sample, place, *change);
}

/// What one walk over every sample, place and change found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Honest values.
    pub values: u64,
    /// Texts that were tried.
    pub texts: u64,
}

/// Tries every change of every honest value once.
///
/// # Panics
///
/// If one is accepted.
pub fn every_change() -> Tally {
    let mut tally = Tally::default();
    for sample in samples() {
        tally.values += 1;
        for trail in TRAILS {
            let text = [&sample.bytes, trail].concat();
            assert!(!(sample.decode)(&text), "{} with a trail", sample.name);
            tally.texts += 1;
        }
        for place in &sample.places {
            for change in changes(place.token) {
                tally.texts += u64::from(check(sample, place, change));
            }
        }
    }
    tally
}

fn check(sample: &Sample, place: &Place, change: Change) -> bool {
    let Some(text) = sample.changed(place, change) else {
        return false;
    };
    assert!(
        sample.refuses(&text, change),
        "{} is accepted with {change:?} at byte {}",
        sample.name,
        place.at
    );
    true
}
