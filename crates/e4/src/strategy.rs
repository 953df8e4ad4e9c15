//! E4's conflict strategies: a winner by time and trust, a weighted mean, a gate, and a choice of them.

use crate::score::{LOW, Score};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// Least trust of an entry, unless told otherwise.
pub const TRUST_MIN: f64 = 0.1;
/// Weight of trust against time, unless told otherwise.
pub const FACTOR: f64 = 1.0;
/// Deviations beyond which a number is an outlier, unless told otherwise.
pub const SIGMA: f64 = 3.0;

/// A value that somebody wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry<V> {
    /// Who.
    pub peer: String,
    /// What.
    pub value: V,
    /// When, in seconds.
    pub timestamp: f64,
    /// The writer's score.
    pub score: Score,
    /// The dimension that counts.
    pub dimension: String,
}

impl<V> Entry<V> {
    fn trust(&self) -> f64 {
        self.score.dimension(&self.dimension)
    }
}

/// What came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolution<V> {
    /// The value.
    pub value: V,
    /// E4's measure, 0 to 1.
    pub confidence: f64,
    /// E4's label.
    pub method: &'static str,
    /// Whose entries count.
    pub contributors: Vec<String>,
    /// Whose entries do not.
    pub rejected: Vec<String>,
}

/// The winner of `timestamp · (1 + factor · trust)`, then trust, then peer id. `None` without entries.
pub fn last_writer<V: Clone>(
    entries: &[Entry<V>],
    factor: f64,
    trust_min: f64,
) -> Option<Resolution<V>> {
    let refs: Vec<&Entry<V>> = entries.iter().collect();
    last_writer_of(&refs, factor, trust_min)
}

fn last_writer_of<V: Clone>(
    entries: &[&Entry<V>],
    factor: f64,
    trust_min: f64,
) -> Option<Resolution<V>> {
    let (mut kept, mut rejected) = split(entries, |entry| entry.trust() >= trust_min);
    if kept.is_empty() {
        let best = highest_overall(entries)?;
        (kept, rejected) = split(entries, |entry| core::ptr::eq(entry, best));
    }
    let key = |entry: &Entry<V>| {
        let trust = entry.trust();
        (entry.timestamp * (1.0 + factor * trust), trust)
    };
    let winner = first_max(&kept, |a, b| {
        let (a_key, b_key) = (key(a), key(b));
        compare(a_key.0, b_key.0)
            .then(compare(a_key.1, b_key.1))
            .then_with(|| a.peer.cmp(&b.peer))
    })?;
    Some(Resolution {
        value: winner.value.clone(),
        confidence: winner.trust(),
        method: "trust_weighted_lww",
        contributors: vec![winner.peer.clone()],
        rejected,
    })
}

/// The mean weighted by trust; beyond `sigma` deviations is dropped once, if there are more than two.
pub fn average(entries: &[Entry<f64>], trust_min: f64, sigma: f64) -> Option<Resolution<f64>> {
    let refs: Vec<&Entry<f64>> = entries.iter().collect();
    average_of(&refs, trust_min, sigma)
}

fn average_of(entries: &[&Entry<f64>], trust_min: f64, sigma: f64) -> Option<Resolution<f64>> {
    let (mut kept, mut rejected) = split(entries, |entry| entry.trust() >= trust_min);
    let weight = |entries: &[&Entry<f64>]| entries.iter().map(|e| e.trust()).sum::<f64>();
    let total = weight(&kept);
    if kept.is_empty() || total <= 0.0 {
        let best = highest_overall(entries)?;
        let (_, rejected) = split(entries, |entry| core::ptr::eq(entry, best));
        return Some(Resolution {
            value: best.value,
            confidence: best.trust(),
            method: "trust_weighted_averaging_fallback",
            contributors: vec![best.peer.clone()],
            rejected,
        });
    }
    let mean = |entries: &[&Entry<f64>], total: f64| {
        entries.iter().map(|e| e.value * e.trust()).sum::<f64>() / total
    };
    let mut value = mean(&kept, total);
    if kept.len() > 2 && sigma > 0.0 {
        let squares = kept.iter().map(|e| e.trust() * (e.value - value).powi(2));
        let deviation = (squares.sum::<f64>() / total).sqrt();
        if deviation > 0.0 {
            let (near, far) = split(&kept, |e| (e.value - value).abs() <= sigma * deviation);
            if !far.is_empty() && weight(&near) > 0.0 {
                value = mean(&near, weight(&near));
                kept = near;
                rejected.extend(far);
            }
        }
    }
    let total = weight(&kept);
    let squares = kept
        .iter()
        .map(|e| (e.trust() / total).powi(2))
        .sum::<f64>();
    Some(Resolution {
        value,
        confidence: crate::hash::min(1.0, squares * kept.len() as f64),
        method: "trust_weighted_averaging",
        contributors: kept.iter().map(|e| e.peer.clone()).collect(),
        rejected,
    })
}

/// What a peer needs to be listened to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gate {
    /// Thresholds by dimension; 0.4 for those that are not in it.
    pub thresholds: BTreeMap<String, f64>,
    /// Whether every dimension has to pass, or one.
    pub is_strict: bool,
}

impl Gate {
    /// Whether a score passes in these dimensions, or in the mean if there is no list of them. Of an
    /// empty list none passes, and all do.
    pub fn accepts(&self, score: &Score, dimensions: Option<&[String]>) -> bool {
        let passes = |name: &String| {
            score.dimension(name) >= self.thresholds.get(name).copied().unwrap_or(LOW)
        };
        match dimensions {
            None => score.overall() >= LOW,
            Some(dimensions) if self.is_strict => dimensions.iter().all(passes),
            Some(dimensions) => dimensions.iter().any(passes),
        }
    }
}

/// What kind of values are in conflict, with their entries.
#[derive(Clone, Debug, PartialEq)]
pub enum Conflict {
    /// Numbers to be averaged.
    Numeric(Vec<Entry<f64>>),
    /// Counters, of which the greatest counts.
    Counter(Vec<Entry<f64>>),
    /// Sets to be united.
    Set(Vec<Entry<BTreeSet<String>>>),
    /// Bytes that nobody looks into.
    Opaque(Vec<Entry<Vec<u8>>>),
    /// Values with structure, of which the last counts.
    Structured(Vec<Entry<Vec<u8>>>),
}

/// A value that a selection chose.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of numbers and counters.
    Number(f64),
    /// Of sets.
    Set(BTreeSet<String>),
    /// Of the others.
    Bytes(Vec<u8>),
}

/// Gates entries by their dimension, then resolves what is left as its kind asks. If nobody passes,
/// the entry with the highest mean is taken. `None` without entries.
pub fn select(conflict: &Conflict, gate: &Gate) -> Option<Resolution<Value>> {
    match conflict {
        Conflict::Numeric(entries) => gated(entries, gate, Value::Number, |kept| {
            average_of(kept, TRUST_MIN, SIGMA)
        }),
        Conflict::Counter(entries) => gated(entries, gate, Value::Number, |kept| {
            let winner = first_max(kept, |a, b| {
                compare(a.value, b.value)
                    .then(compare(a.score.overall(), b.score.overall()))
                    .then_with(|| a.peer.cmp(&b.peer))
            })?;
            let mut resolution = single(winner, "trust_weighted_counter_max");
            resolution.rejected.clear();
            Some(resolution)
        }),
        Conflict::Set(entries) => gated(entries, gate, Value::Set, |kept| {
            let (kept, rejected) = split(kept, |entry| entry.score.overall() >= LOW);
            let sum: f64 = kept.iter().map(|entry| entry.score.overall()).sum();
            Some(Resolution {
                value: kept.iter().flat_map(|entry| entry.value.clone()).collect(),
                confidence: if kept.is_empty() {
                    0.0
                } else {
                    sum / kept.len() as f64
                },
                method: "trust_weighted_set_union",
                contributors: kept.iter().map(|entry| entry.peer.clone()).collect(),
                rejected,
            })
        }),
        Conflict::Opaque(entries) | Conflict::Structured(entries) => {
            gated(entries, gate, Value::Bytes, |kept| {
                last_writer_of(kept, FACTOR, TRUST_MIN)
            })
        }
    }
}

fn gated<V: Clone>(
    entries: &[Entry<V>],
    gate: &Gate,
    wrap: fn(V) -> Value,
    resolve: impl FnOnce(&[&Entry<V>]) -> Option<Resolution<V>>,
) -> Option<Resolution<Value>> {
    let refs: Vec<&Entry<V>> = entries.iter().collect();
    let (kept, mut rejected) = split(&refs, |entry| {
        gate.accepts(&entry.score, Some(core::slice::from_ref(&entry.dimension)))
    });
    let resolution = if kept.is_empty() {
        single(highest_overall(&refs)?, "trust_gated_fallback")
    } else {
        resolve(&kept)?
    };
    rejected.extend(resolution.rejected);
    Some(Resolution {
        value: wrap(resolution.value),
        confidence: resolution.confidence,
        method: resolution.method,
        contributors: resolution.contributors,
        rejected,
    })
}

fn single<V: Clone>(entry: &Entry<V>, method: &'static str) -> Resolution<V> {
    Resolution {
        value: entry.value.clone(),
        confidence: entry.score.overall(),
        method,
        contributors: vec![entry.peer.clone()],
        rejected: Vec::new(),
    }
}

fn split<'a, V>(
    entries: &[&'a Entry<V>],
    keeps: impl Fn(&Entry<V>) -> bool,
) -> (Vec<&'a Entry<V>>, Vec<String>) {
    let (kept, dropped): (Vec<_>, Vec<_>) = entries.iter().partition(|entry| keeps(entry));
    (
        kept,
        dropped.iter().map(|entry| entry.peer.clone()).collect(),
    )
}

fn highest_overall<'a, V>(entries: &[&'a Entry<V>]) -> Option<&'a Entry<V>> {
    first_max(entries, |a, b| {
        compare(a.score.overall(), b.score.overall())
    })
}

/// The first of the greatest, as E4's host language has it.
fn first_max<'a, V>(
    entries: &[&'a Entry<V>],
    order: impl Fn(&Entry<V>, &Entry<V>) -> Ordering,
) -> Option<&'a Entry<V>> {
    entries.iter().copied().reduce(|best, entry| {
        if order(entry, best) == Ordering::Greater {
            entry
        } else {
            best
        }
    })
}

fn compare(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or(Ordering::Equal)
}
