//! How a host drives a protocol.

use crate::Time;
use alloc::vec::{self, Vec};

/// A protocol: facts go in, requests come out.
///
/// The implementer owes determinism. The same state, time and input give the same state and
/// effects, on every platform and in every build: no clock, socket, disk, thread, system
/// randomness, floating point or observable hash-map order inside.
///
/// The caller owes two things. Time never runs backwards between two calls. And effects are
/// carried out in order: nothing that stands behind a record to persist leaves before that record
/// is durable.
pub trait StateMachine {
    /// What can happen to it.
    type Input;
    /// What it can ask for.
    type Effect;

    /// Takes in one fact.
    fn handle(&mut self, now: Time, input: Self::Input) -> Effects<Self::Effect>;

    /// Acts on every deadline that has come. Without one this does nothing.
    fn tick(&mut self, now: Time) -> Effects<Self::Effect>;

    /// When [`tick`](Self::tick) has to be called next, if nothing else happens.
    fn deadline(&self) -> Option<Time>;
}

/// Requests of a machine to its host, in the order in which they take effect.
#[must_use = "effects that are not carried out are lost"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effects<E>(Vec<E>);

impl<E> Effects<E> {
    /// No requests.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Adds a request behind the others.
    pub fn push(&mut self, effect: E) {
        self.0.push(effect);
    }

    /// Adds the requests of `other` behind the others.
    pub fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The requests, in order.
    pub fn as_slice(&self) -> &[E] {
        &self.0
    }

    /// The requests, in order.
    pub fn into_vec(self) -> Vec<E> {
        self.0
    }
}

impl<E> Default for Effects<E> {
    fn default() -> Self {
        Self::none()
    }
}

impl<E> IntoIterator for Effects<E> {
    type Item = E;
    type IntoIter = vec::IntoIter<E>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<E> FromIterator<E> for Effects<E> {
    fn from_iter<I: IntoIterator<Item = E>>(effects: I) -> Self {
        Self(effects.into_iter().collect())
    }
}

/// A state that merges with others of its kind: a join semilattice.
///
/// The implementer owes the laws. `join` is commutative, associative and idempotent, and the
/// result is an upper bound of both sides.
pub trait Join {
    /// Takes over everything that `other` knows. Says whether `self` changed.
    fn join(&mut self, other: &Self) -> bool;
}
