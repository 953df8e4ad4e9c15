//! The trust score of one peer: accumulated negative evidence by dimension and observer.
//!
//! Nothing positive exists. A dimension without evidence reads 0.5, one with an empty list of
//! observers 1.0. Sums run over dimensions and observers in the order of their names, from the left:
//! E4 sums in the order of a hash table, so two of its own processes may differ in the last bit (L13).

use crate::hash::{hex_sha256, max, min};
use crate::{Mode, Refusal};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The six dimensions in the order of byte formats.
pub const DIMENSIONS: [&str; 6] = [
    "causality",
    "consistency",
    "context",
    "gossip",
    "integrity",
    "model",
];

/// Score of a dimension without evidence.
pub const PROBATION: f64 = 0.5;
/// Below it a peer is quarantined: level 3.
pub const QUARANTINE: f64 = 0.1;
/// Below it every operation is verified in full: level 2.
pub const LOW: f64 = 0.4;
/// Below it roots are checked: level 1. From here on, level 0.
pub const PARTIAL: f64 = 0.8;

/// Observer that normalisation invents for a dimension without observers.
pub const HOMEOSTASIS: &str = "_homeostasis";

/// Observers of one dimension of one peer that strict mode keeps (L12).
pub const OBSERVERS_MAX: usize = 1_024;

/// Amounts by observer.
pub type Observers = BTreeMap<String, f64>;
/// Scores by peer.
pub type Peers = BTreeMap<String, Score>;

/// Evidence against one peer, by dimension and observer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Score {
    /// Dimensions outside the six are kept and never counted.
    pub evidence: BTreeMap<String, Observers>,
}

impl Score {
    /// The score of one dimension.
    pub fn dimension(&self, name: &str) -> f64 {
        self.evidence.get(name).map_or(PROBATION, |observers| {
            max(0.0, 1.0 - observers.values().sum::<f64>())
        })
    }

    /// The mean of the six dimensions.
    pub fn overall(&self) -> f64 {
        let sum: f64 = DIMENSIONS.iter().map(|name| self.dimension(name)).sum();
        sum / 6.0
    }

    /// The verification level, 0 to 3, of the mean rounded to twelve decimals.
    pub fn level(&self) -> u8 {
        let overall = self.overall();
        // The text is the correctly rounded decimal, so reading it back is the rounded number.
        match format!("{overall:.12}").parse().unwrap_or(overall) {
            rounded if rounded < QUARANTINE => 3,
            rounded if rounded < LOW => 2,
            rounded if rounded < PARTIAL => 1,
            _ => 0,
        }
    }

    /// Adds to what an observer holds against the peer. An amount that is negative or no number
    /// leaves the present one. The evidence must have been verified.
    ///
    /// # Errors
    ///
    /// In strict mode: an unknown dimension and too many observers (L12), and an accusation after
    /// which the peer would stand higher than before (L4).
    pub fn record(
        &self,
        observer: &str,
        dimension: &str,
        amount: f64,
        mode: Mode,
    ) -> Result<Self, Refusal> {
        let mut after = self.clone();
        let observers = after.evidence.entry(dimension.to_owned()).or_default();
        if mode == Mode::Strict {
            if !DIMENSIONS.contains(&dimension) {
                return Err(Refusal::UnknownDimension);
            }
            if observers.len() >= OBSERVERS_MAX && !observers.contains_key(observer) {
                return Err(Refusal::TooMany("observers", OBSERVERS_MAX));
            }
        }
        let current = observers.entry(observer.to_owned()).or_insert(0.0);
        *current = max(*current, *current + amount);
        if mode == Mode::Strict && after.dimension(dimension) > self.dimension(dimension) {
            return Err(Refusal::AccusationRaises);
        }
        Ok(after)
    }

    /// Union of dimensions and observers, maximum of amounts.
    pub fn join(&self, other: &Self) -> Self {
        let mut joined = self.clone();
        for (dimension, observers) in &other.evidence {
            let mine = joined.evidence.entry(dimension.clone()).or_default();
            for (observer, amount) in observers {
                let current = mine.entry(observer.clone()).or_insert(0.0);
                *current = max(*current, *amount);
            }
        }
        joined
    }

    /// What strict mode asks of a score from outside.
    ///
    /// # Errors
    ///
    /// Unknown dimensions and too many observers (L12), and amounts that are negative or not finite.
    pub fn check(&self) -> Result<(), Refusal> {
        for (dimension, observers) in &self.evidence {
            if !DIMENSIONS.contains(&dimension.as_str()) {
                return Err(Refusal::UnknownDimension);
            }
            if observers.len() > OBSERVERS_MAX {
                return Err(Refusal::TooMany("observers", OBSERVERS_MAX));
            }
            if !observers
                .values()
                .all(|amount| (0.0..=f64::MAX).contains(amount))
            {
                return Err(Refusal::NotRepresentable);
            }
        }
        Ok(())
    }

    /// `name:score` with six decimals for each of the six, joined by `|`.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for name in DIMENSIONS {
            if !text.is_empty() {
                text.push('|');
            }
            let _ = write!(text, "{name}:{:.6}", self.dimension(name));
        }
        text
    }

    /// Digest of [`Self::to_text`]. Different evidence with one text has one digest.
    pub fn hash(&self) -> String {
        hex_sha256([self.to_text().as_bytes()])
    }
}

/// Digest over the peers in order: id and trust text, without separators.
pub fn trust_root(peers: &Peers) -> String {
    let texts: Vec<(&str, String)> = peers
        .iter()
        .map(|(id, score)| (id.as_str(), score.to_text()))
        .collect();
    hex_sha256(
        texts
            .iter()
            .flat_map(|(id, text)| [id.as_bytes(), text.as_bytes()]),
    )
}

/// E4's normalisation of all scores to the sum `peer_count` in each dimension.
///
/// The claimed sum holds only if everybody is at 1.0. Dimensions outside the six disappear, and a
/// dimension without observers that would stand at 1.0 is dropped, so that it reads 0.5 again.
///
/// # Errors
///
/// Always in strict mode: a peer with evidence against it is lifted by it (L10, L11).
pub fn normalize(peers: &Peers, peer_count: i64, mode: Mode) -> Result<Peers, Refusal> {
    if mode == Mode::Strict {
        return Err(Refusal::Homeostasis);
    }
    Ok(normalized(peers, peer_count))
}

pub(crate) fn normalized(peers: &Peers, peer_count: i64) -> Peers {
    if peers.is_empty() || peer_count <= 0 {
        return peers.clone();
    }
    let mut result: Peers = peers
        .keys()
        .map(|id| (id.clone(), Score::default()))
        .collect();
    for dimension in DIMENSIONS {
        let total: f64 = peers.values().map(|score| score.dimension(dimension)).sum();
        let scale = if total > 0.0 {
            peer_count as f64 / total
        } else {
            1.0
        };
        for (id, score) in peers {
            let target = min(1.0, max(0.0, score.dimension(dimension) * scale));
            let wanted = max(0.0, 1.0 - target);
            let observers = score.evidence.get(dimension);
            if let Some(observers) = rescale(observers, wanted) {
                let slot = result.entry(id.clone()).or_default();
                slot.evidence.insert(dimension.to_owned(), observers);
            }
        }
    }
    result
}

fn rescale(observers: Option<&Observers>, wanted: f64) -> Option<Observers> {
    match observers {
        Some(observers) if !observers.is_empty() => {
            let sum: f64 = observers.values().sum();
            if sum > 0.0 {
                let factor = wanted / sum;
                let scaled = observers.iter().map(|(id, &a)| (id.clone(), a * factor));
                Some(scaled.collect())
            } else {
                Some(observers.clone())
            }
        }
        _ if wanted > 0.0 => Some(Observers::from([(HOMEOSTASIS.to_owned(), wanted)])),
        _ => None,
    }
}

/// Union of two sets of peers, each score joined; a missing one is empty.
pub fn join_peers(left: &Peers, right: &Peers) -> Peers {
    let ids: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    let empty = Score::default();
    ids.into_iter()
        .map(|id| {
            let joined = left
                .get(id)
                .unwrap_or(&empty)
                .join(right.get(id).unwrap_or(&empty));
            (id.clone(), joined)
        })
        .collect()
}
