//! A table of deadlines inside a machine.

use crate::Time;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Pending deadlines, at most one per kind.
///
/// A machine keeps its timers here and shows the host only the nearest one, through
/// [`StateMachine::deadline`](crate::StateMachine::deadline). The table holds at most as many
/// entries as there are distinct `K`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Timers<K> {
    at: BTreeMap<K, Time>,
}

impl<K: Ord + Clone> Timers<K> {
    /// A table without deadlines.
    pub const fn new() -> Self {
        Self {
            at: BTreeMap::new(),
        }
    }

    /// Sets the deadline of `kind`, replacing an earlier setting.
    pub fn set(&mut self, kind: K, at: Time) {
        self.at.insert(kind, at);
    }

    /// Sets the deadline of `kind` unless it has one.
    pub fn set_if_unset(&mut self, kind: K, at: Time) {
        self.at.entry(kind).or_insert(at);
    }

    /// Removes the deadline of `kind`.
    pub fn cancel(&mut self, kind: &K) {
        self.at.remove(kind);
    }

    /// The deadline of `kind`, if it has one.
    pub fn get(&self, kind: &K) -> Option<Time> {
        self.at.get(kind).copied()
    }

    /// The nearest deadline.
    pub fn next(&self) -> Option<Time> {
        self.at.values().min().copied()
    }

    /// Removes and returns every kind whose deadline has come, the earliest first and equal ones
    /// in the order of `K`.
    pub fn take_due(&mut self, now: Time) -> Vec<K> {
        let mut due: Vec<(Time, K)> = self
            .at
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(kind, at)| (*at, kind.clone()))
            .collect();
        due.sort();
        for (_, kind) in &due {
            self.at.remove(kind);
        }
        due.into_iter().map(|(_, kind)| kind).collect()
    }
}

impl<K: Ord + Clone> Default for Timers<K> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn due_timers_come_in_order_and_once() {
        let mut timers = Timers::new();
        timers.set('b', Time::from_millis(5));
        timers.set('a', Time::from_millis(5));
        timers.set('c', Time::from_millis(3));
        timers.set('d', Time::from_millis(9));
        timers.set_if_unset('d', Time::from_millis(1));
        assert_eq!(timers.next(), Some(Time::from_millis(3)));
        assert_eq!(timers.take_due(Time::from_millis(5)), vec!['c', 'a', 'b']);
        assert_eq!(timers.take_due(Time::from_millis(5)), vec![]);
        assert_eq!(timers.next(), Some(Time::from_millis(9)));
        timers.cancel(&'d');
        assert_eq!(timers.next(), None);
    }
}
