//! What was seen, numbered.
//!
//! Messages, steps and states of replicas are kept once and named by a number. A state of the whole
//! search is then four numbers, and the real handlers run once for each state of a replica and each
//! step, however many states of the whole contain that pair.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, PoisonError, RwLock};

/// The number of something kept.
pub(crate) type Number = u32;

/// Values by number, and numbers by key. Two values with one key are one value; the first stays.
#[derive(Debug)]
pub(crate) struct Kept<K, V> {
    inside: RwLock<Inside<K, V>>,
}

#[derive(Debug)]
struct Inside<K, V> {
    values: Vec<Arc<V>>,
    numbers: HashMap<K, Number>,
}

impl<K: Eq + Hash, V> Kept<K, V> {
    pub(crate) fn new() -> Self {
        Self {
            inside: RwLock::new(Inside {
                values: Vec::new(),
                numbers: HashMap::new(),
            }),
        }
    }

    pub(crate) fn find(&self, key: &K) -> Option<Number> {
        let inside = self.inside.read().unwrap_or_else(PoisonError::into_inner);
        inside.numbers.get(key).copied()
    }

    pub(crate) fn get(&self, number: Number) -> Arc<V> {
        let inside = self.inside.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&inside.values[number as usize])
    }

    /// The number of the value with this key, made if there is none.
    pub(crate) fn keep(&self, key: K, make: impl FnOnce() -> V) -> Number {
        if let Some(number) = self.find(&key) {
            return number;
        }
        let value = Arc::new(make());
        let mut inside = self.inside.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = inside.numbers.get(&key) {
            return *number;
        }
        let number = Number::try_from(inside.values.len()).expect("fewer than 2^32 values");
        inside.values.push(value);
        inside.numbers.insert(key, number);
        number
    }

    pub(crate) fn len(&self) -> usize {
        let inside = self.inside.read().unwrap_or_else(PoisonError::into_inner);
        inside.values.len()
    }
}
