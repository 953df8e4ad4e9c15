//! Keys that a verifier has parsed in advance.

use crate::{KeyError, PublicKey, Refusal};
use alloc::sync::Arc;
use core::fmt;
use hashbrown::HashMap;

/// How many parsed keys a verifier holds of each kind. A parsed ML-DSA-65 key takes about 40 KiB, one
/// of ML-DSA-87 about 70. Keys beyond the maximum are parsed whenever they are used: that costs
/// time and changes no answer.
pub const PARSED_KEYS_MAX: usize = 512;

/// Parsed keys by their bytes. Only looked up; the order is never observed. Clones share the keys.
pub(crate) struct ParsedKeys<K>(Arc<HashMap<PublicKey, K>>);

impl<K> ParsedKeys<K> {
    /// Parses the first [`PARSED_KEYS_MAX`] of `keys` that `parse` lets through.
    pub(crate) fn new<'a>(
        keys: impl IntoIterator<Item = &'a PublicKey>,
        parse: impl Fn(&PublicKey) -> Result<K, KeyError>,
    ) -> Self {
        let mut parsed = HashMap::new();
        for key in keys {
            if parsed.len() == PARSED_KEYS_MAX {
                break;
            }
            if !parsed.contains_key(key)
                && let Ok(value) = parse(key)
            {
                parsed.insert(key.clone(), value);
            }
        }
        Self(Arc::new(parsed))
    }

    /// What `judge` says about the key, which is parsed if it is not among those here.
    pub(crate) fn with(
        &self,
        key: &PublicKey,
        parse: impl FnOnce(&PublicKey) -> Result<K, KeyError>,
        judge: impl FnOnce(&K) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        match self.0.get(key) {
            Some(parsed) => judge(parsed),
            None => judge(&parse(key)?),
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl<K> Clone for ParsedKeys<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> Default for ParsedKeys<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K> fmt::Debug for ParsedKeys<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Suite;
    use alloc::vec::Vec;
    use core::cell::Cell;

    #[test]
    fn keys_are_parsed_once_up_to_the_maximum_and_bad_ones_are_not_held() {
        let keys: Vec<_> = (0..=PARSED_KEYS_MAX)
            .map(|number| {
                let mut bytes = [0; 32];
                bytes[..8].copy_from_slice(&(number as u64).to_le_bytes());
                PublicKey::new(Suite::Stub, &bytes).unwrap()
            })
            .collect();
        let calls = Cell::new(0);
        let parse = |key: &PublicKey| {
            calls.set(calls.get() + 1);
            if *key == keys[3] {
                Err(KeyError::Weak)
            } else {
                Ok(key.clone())
            }
        };
        let parsed = ParsedKeys::new(keys.iter().chain(&keys), parse);
        assert_eq!(parsed.len(), PARSED_KEYS_MAX);
        calls.set(0);
        for key in &keys {
            let answer = parsed.with(key, parse, |parsed| {
                assert_eq!(parsed, key);
                Ok(())
            });
            assert_eq!(answer.is_ok(), *key != keys[3]);
        }
        assert_eq!(calls.get(), 1, "only the bad key was parsed again");
        let stranger = PublicKey::new(Suite::Stub, &[0xff; 32]).unwrap();
        assert_eq!(parsed.with(&stranger, parse, |_| Ok(())), Ok(()));
        assert_eq!(calls.get(), 2);
    }
}
