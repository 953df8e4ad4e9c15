//! What our verifiers cost on top of the libraries under them.
//!
//! Absolute times are criterion's. Ratios are printed at the end: both sides are measured in turns, a
//! few milliseconds each, so that whatever else the machine does falls on both, and the median of
//! the pairs counts. Aims: 1.03 for signatures, 1.1 for HMAC.

use criterion::measurement::{Measurement as _, WallTime};
use criterion::{Criterion, criterion_group};
use ed25519_dalek::{Signature as EdSignature, VerifyingKey as EdKey};
use hmac::{Hmac, KeyInit as _, Mac as _};
use ml_dsa::{MlDsa65, MlDsa87, MlDsaParams, Signature as MlSignature, VerifyingKey as MlKey};
use polity_crypto::ed25519::{Ed25519Signer, Ed25519Verifier};
use polity_crypto::hmac::LinkKey;
use polity_crypto::hybrid::{COMPOSITE_LABEL, COMPOSITE_PREFIX, HybridSigner, HybridVerifier};
use polity_crypto::ml_dsa::{MlDsaSigner, MlDsaVerifier};
use polity_crypto::{Checker, Preimage, Signature, Signer, Verifier, domain};
use sha2::{Digest as _, Sha256, Sha512};
use std::hint::black_box;
use std::time::Duration;

/// Two ways to the same answer.
struct Pair {
    name: &'static str,
    library: Box<dyn Fn() -> bool>,
    ours: Box<dyn Fn() -> bool>,
}

/// A preimage of 200 bytes: a vote with its ids.
fn message() -> Preimage {
    let preimage = Preimage::new(domain::TEST).bytes(&[7; 181]);
    assert_eq!(preimage.as_slice().len(), 200);
    preimage
}

const CONTEXT: &[u8] = b"polity/test/v1";

fn ours(
    verifier: impl Verifier + 'static,
    signer: &impl Signer,
) -> (Box<dyn Fn() -> bool>, Signature) {
    let (key, preimage) = (signer.public_key().clone(), message());
    let signature = signer.sign(&preimage);
    let copy = signature.clone();
    let call = move || verifier.verify(&key, &preimage, &copy).is_ok();
    (Box::new(call), signature)
}

fn ed25519() -> Pair {
    let signer = Ed25519Signer::from_seed(&[1; 32]);
    let key = EdKey::from_bytes(signer.public_key().key_bytes().try_into().unwrap()).unwrap();
    let (ours, signature) = ours(Ed25519Verifier::with_keys([signer.public_key()]), &signer);
    let preimage = message();
    let library = move || {
        let signature = EdSignature::from_slice(signature.as_slice()).unwrap();
        key.verify_strict(preimage.as_slice(), &signature).is_ok()
    };
    Pair {
        name: "ed25519",
        library: Box::new(library),
        ours,
    }
}

fn decode<P: MlDsaParams>(key: &[u8]) -> MlKey<P> {
    MlKey::decode(key.try_into().unwrap())
}

fn ml_dsa_holds<P: MlDsaParams>(
    key: &MlKey<P>,
    message: &[u8],
    context: &[u8],
    signature: &[u8],
) -> bool {
    MlSignature::<P>::try_from(signature)
        .is_ok_and(|signature| key.verify_with_context(message, context, &signature))
}

fn ml_dsa<P: MlDsaParams + 'static>(name: &'static str, signer: &MlDsaSigner) -> Pair {
    let key = decode::<P>(signer.public_key().key_bytes());
    let (ours, signature) = ours(MlDsaVerifier::with_keys([signer.public_key()]), signer);
    let preimage = message();
    let library = move || ml_dsa_holds(&key, preimage.as_slice(), CONTEXT, signature.as_slice());
    Pair {
        name,
        library: Box::new(library),
        ours,
    }
}

/// The library's side is the sum of both schemes over the composite message, made beforehand.
fn hybrid() -> Pair {
    let signer = HybridSigner::from_seed(&[1; 32]);
    let (pq_key, ed_key) = signer.public_key().key_bytes().split_at(1_952);
    let pq_key = decode::<MlDsa65>(pq_key);
    let ed_key = EdKey::from_bytes(ed_key.try_into().unwrap()).unwrap();
    let (ours, signature) = ours(HybridVerifier::with_keys([signer.public_key()]), &signer);
    let composite = [
        &COMPOSITE_PREFIX[..],
        COMPOSITE_LABEL,
        &[CONTEXT.len() as u8],
        CONTEXT,
        &Sha512::digest(message().as_slice()),
    ]
    .concat();
    let library = move || {
        let (pq, ed) = signature.as_slice().split_at(3_309);
        let ed = EdSignature::from_slice(ed).unwrap();
        ml_dsa_holds(&pq_key, &composite, COMPOSITE_LABEL, pq)
            & ed_key.verify_strict(&composite, &ed).is_ok()
    };
    Pair {
        name: "hybrid",
        library: Box::new(library),
        ours,
    }
}

fn hmac() -> Pair {
    let link = LinkKey::derive(&[1; 32], b"thor", b"sprout", "request");
    let (ours, _) = ours(link.clone(), &link);
    let preimage = message();
    let keyed = Hmac::<Sha256>::new_from_slice(&[9; 32]).unwrap();
    let tag = keyed
        .clone()
        .chain_update(preimage.as_slice())
        .finalize()
        .into_bytes();
    let library = move || {
        let mut mac = keyed.clone();
        mac.update(preimage.as_slice());
        mac.verify_slice(&tag).is_ok()
    };
    Pair {
        name: "hmac",
        library: Box::new(library),
        ours,
    }
}

/// The verifier behind a checker that forgets, so that every call hashes and verifies.
fn checker() -> Pair {
    let Pair { library, .. } = hybrid();
    let signer = HybridSigner::from_seed(&[1; 32]);
    let verifier = HybridVerifier::with_keys([signer.public_key()]);
    let checker = std::cell::RefCell::new(Checker::new(verifier, 0));
    let (key, preimage) = (signer.public_key().clone(), message());
    let signature = signer.sign(&preimage);
    let ours = move || {
        checker
            .borrow_mut()
            .check(&key, &preimage, &signature)
            .is_ok()
    };
    Pair {
        name: "hybrid_checker",
        library,
        ours: Box::new(ours),
    }
}

fn pairs() -> [Pair; 6] {
    [
        ed25519(),
        ml_dsa::<MlDsa65>("ml_dsa_65", &MlDsaSigner::from_seed_65(&[1; 32])),
        ml_dsa::<MlDsa87>("ml_dsa_87", &MlDsaSigner::from_seed_87(&[1; 32])),
        hybrid(),
        hmac(),
        checker(),
    ]
}

fn absolute(criterion: &mut Criterion) {
    for pair in pairs() {
        let mut group = criterion.benchmark_group(format!("verify/{}", pair.name));
        group.bench_function("library", |bencher| bencher.iter(|| (pair.library)()));
        group.bench_function("ours", |bencher| bencher.iter(|| (pair.ours)()));
        group.finish();
    }
}

fn time(calls: u32, call: &dyn Fn() -> bool) -> Duration {
    let start = WallTime.start();
    for _ in 0..calls {
        assert!(black_box(call()));
    }
    WallTime.end(start)
}

/// Our time in thousandths of the library's.
fn ratio(pair: &Pair) -> u128 {
    const ROUNDS: usize = 301;
    const SLICE: Duration = Duration::from_millis(4);
    let once = time(64, &*pair.library) / 64;
    let calls = (SLICE.as_nanos() / once.as_nanos().max(1)).max(1) as u32;
    let mut ratios: Vec<u128> = (0..ROUNDS)
        .map(|round| {
            // Whoever goes second finds another cache and another clock.
            let (ours, library) = if round % 2 == 0 {
                let ours = time(calls, &*pair.ours);
                (ours, time(calls, &*pair.library))
            } else {
                let library = time(calls, &*pair.library);
                (time(calls, &*pair.ours), library)
            };
            ours.as_nanos() * 1_000 / library.as_nanos().max(1)
        })
        .collect();
    ratios.sort_unstable();
    ratios[ROUNDS / 2]
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20);
    targets = absolute
}

fn main() {
    // `cargo test --benches` asks for the names alone, and for one quick run.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    benches();
    if is_bench {
        for pair in pairs() {
            let ratio = ratio(&pair);
            println!(
                "ratio verify/{}: {}.{:03}",
                pair.name,
                ratio / 1_000,
                ratio % 1_000
            );
        }
    }
}
