//! Projection deltas: what changed at a source. They have no form on a wire.

use crate::hash::{hex_sha256, is_digest};
use crate::pco::{Bound, Operation};
use crate::{Mode, Refusal};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;

/// Deltas that are kept per source.
pub const HISTORY_MAX: usize = 64;

/// A delta.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// Whose changes they are said to be.
    pub source: String,
    /// Subtrees that changed.
    pub subtrees: Vec<Bound>,
    /// New values by key.
    pub insertions: BTreeMap<String, Vec<u8>>,
    /// Hash before and value after, by key.
    pub updates: BTreeMap<String, (String, Vec<u8>)>,
    /// Keys that are gone.
    pub deletions: BTreeSet<String>,
    /// The operation, which covers none of the above but new hashes.
    pub operation: Option<Operation>,
}

/// Two changes of one key between which a composition had to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// Deleted, then inserted.
    DeleteThenInsert,
    /// Deleted, then updated.
    DeleteThenUpdate,
    /// Updated by both.
    DoubleUpdate,
    /// Inserted, then deleted: the key need not have existed.
    InsertThenDelete,
    /// Updated, then deleted.
    UpdateThenDelete,
}

impl Conflict {
    /// E4's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::DeleteThenInsert => "delete_then_insert",
            Self::DeleteThenUpdate => "delete_then_update",
            Self::DoubleUpdate => "double_update",
            Self::InsertThenDelete => "insert_then_delete",
            Self::UpdateThenDelete => "update_then_delete",
        }
    }
}

/// A composition that says what it had to decide.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Composition {
    /// The result; its subtrees are empty.
    pub delta: Delta,
    /// Keys that only existed between the two.
    pub tombstones: BTreeSet<String>,
    /// Conflicts by key.
    pub conflicts: BTreeMap<String, Conflict>,
}

impl Delta {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.subtrees.is_empty() && !self.has_contents()
    }

    /// Whether it carries values or deletions, which no signature covers.
    pub fn has_contents(&self) -> bool {
        !(self.insertions.is_empty() && self.updates.is_empty() && self.deletions.is_empty())
    }

    /// Digest without separators; depth and operation are not in it.
    pub fn content_hash(&self) -> String {
        let mut bytes = self.source.clone().into_bytes();
        for bound in &self.subtrees {
            let text = format!(
                "{}:{}:{}",
                tuple(&bound.path),
                bound.old_hash,
                bound.new_hash
            );
            bytes.extend_from_slice(text.as_bytes());
        }
        for (key, value) in &self.insertions {
            bytes.extend_from_slice(key.as_bytes());
            bytes.extend_from_slice(value);
        }
        for (key, (old, value)) in &self.updates {
            bytes.extend_from_slice(key.as_bytes());
            bytes.extend_from_slice(old.as_bytes());
            bytes.extend_from_slice(value);
        }
        for key in &self.deletions {
            bytes.extend_from_slice(key.as_bytes());
        }
        hex_sha256([bytes.as_slice()])
    }

    /// This delta and a later one as one.
    ///
    /// # Errors
    ///
    /// In strict mode: a key that the first inserts and the second deletes, of which E4 makes the
    /// deletion of a key that never existed (B7). [`Self::compose_spec`] tells these apart.
    pub fn compose(&self, later: &Self, mode: Mode) -> Result<Self, Refusal> {
        if mode == Mode::Strict
            && later
                .deletions
                .iter()
                .any(|k| self.insertions.contains_key(k))
        {
            return Err(Refusal::PhantomDeletion);
        }
        let mut result = self.clone();
        result.operation.clone_from(&later.operation);
        for (key, value) in &later.insertions {
            result.insertions.insert(key.clone(), value.clone());
        }
        for (key, (old, value)) in &later.updates {
            if let Some(inserted) = result.insertions.get_mut(key) {
                inserted.clone_from(value);
            } else {
                let old = self.updates.get(key).map_or(old, |(old, _)| old);
                result
                    .updates
                    .insert(key.clone(), (old.clone(), value.clone()));
            }
        }
        result.deletions.extend(later.deletions.iter().cloned());
        for key in &later.deletions {
            result.insertions.remove(key);
            result.updates.remove(key);
        }
        for key in later.insertions.keys() {
            result.deletions.remove(key);
        }
        result.subtrees = compose_subtrees(&self.subtrees, &later.subtrees);
        Ok(result)
    }

    /// E4's second composition, which names conflicts and keeps keys that only existed in between
    /// apart.
    pub fn compose_spec(&self, later: &Self) -> Composition {
        let mut result = self.clone();
        let mut conflicts = BTreeMap::new();
        let mut tombstones = BTreeSet::new();
        result.subtrees.clear();
        for (key, value) in &later.insertions {
            if result.deletions.remove(key) {
                conflicts.insert(key.clone(), Conflict::DeleteThenInsert);
                result.insertions.insert(key.clone(), value.clone());
            } else if !result.updates.contains_key(key) {
                // A key that is there already keeps its value.
                let slot = result.insertions.entry(key.clone());
                slot.or_insert_with(|| value.clone());
            }
        }
        for (key, update) in &later.updates {
            if result.deletions.remove(key) {
                conflicts.insert(key.clone(), Conflict::DeleteThenUpdate);
                result.insertions.insert(key.clone(), update.1.clone());
            } else if let Some(inserted) = result.insertions.get_mut(key) {
                inserted.clone_from(&update.1);
            } else if let Some((_, updated)) = result.updates.get_mut(key) {
                conflicts.insert(key.clone(), Conflict::DoubleUpdate);
                updated.clone_from(&update.1);
            } else {
                result.updates.insert(key.clone(), update.clone());
            }
        }
        for key in &later.deletions {
            if result.insertions.remove(key).is_some() {
                conflicts.insert(key.clone(), Conflict::InsertThenDelete);
                tombstones.insert(key.clone());
                continue;
            }
            if result.updates.remove(key).is_some() {
                conflicts.insert(key.clone(), Conflict::UpdateThenDelete);
            }
            result.deletions.insert(key.clone());
        }
        Composition {
            delta: result,
            tombstones,
            conflicts,
        }
    }

    /// Drops updates that change nothing; the number is the ratio that E4 reports.
    pub fn sparse(&self) -> (Self, f64) {
        let mut result = self.clone();
        result
            .updates
            .retain(|_, (old, value)| *old != hex_sha256([value.as_slice()]));
        let size =
            |delta: &Self| delta.insertions.len() + delta.updates.len() + delta.deletions.len();
        let ratio = size(self) as f64 / size(&result).max(1) as f64;
        (result, ratio)
    }

    /// Keeps the low bits of every byte.
    ///
    /// # Errors
    ///
    /// If `bits` is not 1 to 8, and in strict mode if it is not 8, which changes nothing (B7).
    pub fn quantized(&self, bits: u8, mode: Mode) -> Result<(Self, f64), Refusal> {
        if !(1..=8).contains(&bits) {
            return Err(Refusal::OutOfRange("bits"));
        }
        if bits < 8 && mode == Mode::Strict {
            return Err(Refusal::LossyQuantise);
        }
        let mask = u8::MAX >> (8 - bits);
        let mut result = self.clone();
        let values = result.insertions.values_mut();
        let values = values.chain(result.updates.values_mut().map(|(_, value)| value));
        let mut total = 0_usize;
        for value in values {
            total += value.len();
            for byte in value {
                *byte &= mask;
            }
        }
        // E4 divides the size by itself, and nothing by one.
        let ratio = total as f64 / total.max(1) as f64;
        Ok((result, ratio))
    }

    /// What strict mode asks of a delta beside its operation.
    ///
    /// # Errors
    ///
    /// Contents, which nothing covers (P1), and a source that is not the originator (P5).
    pub fn check(&self) -> Result<(), Refusal> {
        let operation = self.operation.as_ref().ok_or(Refusal::Unsigned)?;
        if operation.witnesses.originator != self.source {
            return Err(Refusal::SourceMismatch);
        }
        if self.has_contents() {
            return Err(Refusal::PayloadUncovered);
        }
        if !self.subtrees.iter().all(|bound| is_digest(&bound.new_hash)) {
            return Err(Refusal::DigestForm("new hash"));
        }
        Ok(())
    }
}

fn compose_subtrees(first: &[Bound], later: &[Bound]) -> Vec<Bound> {
    let mut result: Vec<Bound> = Vec::new();
    let mut places: BTreeMap<&[i64], usize> = BTreeMap::new();
    for bound in first {
        // Of two records of one path in the first delta E4 keeps the last.
        if let Some(&place) = places.get(bound.path.as_slice()) {
            result[place] = bound.clone();
        } else {
            places.insert(&bound.path, result.len());
            result.push(bound.clone());
        }
    }
    for bound in later {
        if let Some(&place) = places.get(bound.path.as_slice()) {
            let known = &mut result[place];
            known.new_hash.clone_from(&bound.new_hash);
            known.depth = known.depth.max(bound.depth);
        } else {
            places.insert(&bound.path, result.len());
            result.push(bound.clone());
        }
    }
    result
}

/// A path as E4 writes it: `()`, `(5,)`, `(1, 2)`.
fn tuple(path: &[i64]) -> String {
    if let [one] = path {
        return format!("({one},)");
    }
    let mut text = String::from("(");
    for (index, step) in path.iter().enumerate() {
        let _ = write!(text, "{}{step}", if index == 0 { "" } else { ", " });
    }
    text.push(')');
    text
}

/// The last deltas of one source; the oldest falls out.
#[derive(Clone, Debug)]
pub struct History {
    deltas: VecDeque<Delta>,
    deltas_max: usize,
}

impl Default for History {
    fn default() -> Self {
        Self::new(HISTORY_MAX)
    }
}

impl History {
    /// A history of at most so many deltas.
    pub fn new(deltas_max: usize) -> Self {
        Self {
            deltas: VecDeque::new(),
            deltas_max,
        }
    }

    /// Adds a delta.
    pub fn record(&mut self, delta: Delta) {
        self.deltas.push_back(delta);
        while self.deltas.len() > self.deltas_max {
            self.deltas.pop_front();
        }
    }

    /// The newest.
    pub fn latest(&self) -> Option<&Delta> {
        self.deltas.back()
    }

    /// The deltas from `start` up to before `end` as one, or `None` if there is none.
    ///
    /// # Errors
    ///
    /// As [`Delta::compose`].
    pub fn compose_range(
        &self,
        start: usize,
        end: usize,
        mode: Mode,
    ) -> Result<Option<Delta>, Refusal> {
        let mut deltas = self
            .deltas
            .iter()
            .skip(start)
            .take(end.saturating_sub(start));
        let Some(first) = deltas.next() else {
            return Ok(None);
        };
        deltas
            .try_fold(first.clone(), |sum, delta| sum.compose(delta, mode))
            .map(Some)
    }
}
