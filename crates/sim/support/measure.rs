//! Processor time and the prices of signatures, for the examples that measure.

#![allow(
    dead_code,
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    reason = "figures for people; each example uses another part"
)]

use polity_consensus::quorum::Thresholds;
use polity_crypto::ed25519::{Ed25519Signer, Ed25519Verifier};
use polity_crypto::{Preimage, Signer, Verifier, domain};
use polity_types::Weight;

/// Seconds that this thread spent on a processor, so that other work on the machine does not count. The
/// kernel keeps this number by the tick, so only spans of many milliseconds mean anything.
pub(crate) fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanos = text.split(' ').next().expect("three numbers");
    nanos.parse::<f64>().expect("a number") / 1e9
}

/// The one in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What signatures cost in this run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prices {
    /// Microseconds of one signature.
    pub(crate) sign: f64,
    /// Microseconds of one strict verification.
    pub(crate) verify: f64,
}

impl Prices {
    /// Medians of several rounds.
    pub(crate) fn measure() -> Self {
        let signer = Ed25519Signer::from_seed(&[9; 32]);
        let verifier = Ed25519Verifier::with_keys([signer.public_key()]);
        let preimage = Preimage::new(domain::TEST).array(&[7; 160]);
        let signature = signer.sign(&preimage);
        let price = |work: &dyn Fn()| {
            let round = |_| {
                let start = cpu_seconds();
                (0..5_000).for_each(|_| work());
                (cpu_seconds() - start) * 1e6 / 5_000.0
            };
            median((0..5).map(round).collect())
        };
        Self {
            sign: price(&|| {
                std::hint::black_box(signer.sign(&preimage));
            }),
            verify: price(&|| {
                verifier
                    .verify(signer.public_key(), &preimage, &signature)
                    .expect("own signature");
            }),
        }
    }

    /// Microseconds of the signatures of one block over all members of weight 1, if only the votes
    /// that complete a quorum are verified: each signs two votes and checks the others' votes of two
    /// quorums; the leader signs the PRE-PREPARE too, and all others check it.
    pub(crate) fn of_block(self, members: u32) -> f64 {
        let n = f64::from(members);
        let thresholds = Thresholds::new(Weight::new(u64::from(members)));
        let quorum = thresholds.quorum().get() as f64;
        (2.0 * n + 1.0) * self.sign + (n * 2.0 * (quorum - 1.0) + (n - 1.0)) * self.verify
    }
}
