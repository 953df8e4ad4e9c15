//! A verifier that remembers what it accepted (CR-9).

use crate::{Preimage, PublicKey, Refusals, Signature, Signer, Verifier, VerifyError};
use alloc::collections::VecDeque;
use hashbrown::HashSet;
use sha2::Digest as _;

/// A [`Verifier`] with a bounded cache of positive answers.
///
/// The key is `SHA-256(public key ‖ preimage ‖ signature)` with lengths. Negative answers are
/// never kept: they would let a stranger fill the cache. When the cache is full, the oldest answer
/// falls out.
///
/// The order of the set is never observed; what falls out follows the queue.
#[derive(Clone, Debug)]
pub struct Checker<V> {
    verifier: V,
    accepted: HashSet<[u8; 32]>,
    oldest_first: VecDeque<[u8; 32]>,
    capacity_max: usize,
    checked: u64,
    refusals: Refusals,
}

impl<V: Verifier> Checker<V> {
    /// A checker that remembers at most `capacity_max` positive answers.
    pub fn new(verifier: V, capacity_max: usize) -> Self {
        Self {
            verifier,
            accepted: HashSet::new(),
            oldest_first: VecDeque::new(),
            capacity_max,
            checked: 0,
            refusals: Refusals::default(),
        }
    }

    /// The predicate behind the cache.
    pub fn verifier(&self) -> &V {
        &self.verifier
    }

    /// How many signatures were really verified, cache hits apart.
    pub fn checked(&self) -> u64 {
        self.checked
    }

    /// Why signatures were refused, for the operator.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// Whether `signature` over `preimage` was made with `key`. The reason of a refusal is counted
    /// and not told.
    pub fn check(
        &mut self,
        key: &PublicKey,
        preimage: &Preimage,
        signature: &Signature,
    ) -> Result<(), VerifyError> {
        let answer = question(key, preimage, signature);
        if self.accepted.contains(&answer) {
            return Ok(());
        }
        self.checked += 1;
        if let Err(reason) = self.verifier.judge(key, preimage, signature) {
            self.refusals.count(reason);
            return Err(reason.into());
        }
        self.remember(answer);
        Ok(())
    }

    /// Signs, and remembers the signature as one that holds.
    pub fn sign<S: Signer>(&mut self, signer: &S, preimage: &Preimage) -> Signature {
        let signature = signer.sign(preimage);
        self.remember(question(signer.public_key(), preimage, &signature));
        signature
    }

    fn remember(&mut self, answer: [u8; 32]) {
        if self.capacity_max == 0 || !self.accepted.insert(answer) {
            return;
        }
        self.oldest_first.push_back(answer);
        if self.oldest_first.len() > self.capacity_max
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.accepted.remove(&oldest);
        }
    }
}

fn question(key: &PublicKey, preimage: &Preimage, signature: &Signature) -> [u8; 32] {
    // The suite fixes the length of key and signature check; the lengths in front keep a
    // malformed signature from being read as part of the preimage.
    let mut hasher = sha2::Sha256::new();
    hasher.update([key.suite().number()]);
    hasher.update(key.key_bytes());
    hasher.update((preimage.as_slice().len() as u64).to_le_bytes());
    hasher.update(preimage.as_slice());
    hasher.update(signature.as_slice());
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stub::{StubSigner, StubVerifier};
    use crate::{Refusal, domain};

    fn preimage(number: u64) -> Preimage {
        Preimage::new(domain::TEST).u64(number)
    }

    #[test]
    fn cr_9_positive_answers_are_kept_and_negative_ones_are_not() {
        let signer = StubSigner::new(1);
        let mut checker = Checker::new(StubVerifier, 2);
        let good = signer.sign(&preimage(1));
        let bad = signer.sign(&preimage(2));
        for _ in 0..3 {
            assert!(
                checker
                    .check(signer.public_key(), &preimage(1), &good)
                    .is_ok()
            );
            assert!(
                checker
                    .check(signer.public_key(), &preimage(1), &bad)
                    .is_err()
            );
        }
        assert_eq!(checker.checked(), 1 + 3);
        assert_eq!(checker.refusals().of(Refusal::Equation), 3);
        assert_eq!(checker.refusals().total(), 3);
    }

    #[test]
    fn cr_9_the_cache_is_bounded_and_the_oldest_falls_out() {
        let signer = StubSigner::new(1);
        let mut checker = Checker::new(StubVerifier, 2);
        let own = checker.sign(&signer, &preimage(0));
        assert!(
            checker
                .check(signer.public_key(), &preimage(0), &own)
                .is_ok()
        );
        assert_eq!(checker.checked(), 0);
        for number in 1..=2 {
            let signature = signer.sign(&preimage(number));
            assert!(
                checker
                    .check(signer.public_key(), &preimage(number), &signature)
                    .is_ok()
            );
        }
        assert_eq!(checker.accepted.len(), 2);
        assert!(
            checker
                .check(signer.public_key(), &preimage(0), &own)
                .is_ok()
        );
        assert_eq!(checker.checked(), 3);
    }
}
