//! What a tier costs: bytes of votes and certificates by the size of the committee, and how long signing
//! and verifying take with each provider, as ratios within one run.
//!
//! `cargo run -p polity --example tier_costs`

#![allow(clippy::float_arithmetic, reason = "figures for people")]

use polity::signing::{NodeSigner, NodeVerifier, Provider};
use polity_consensus::certificate::MultiSignature;
use polity_consensus::committee::{CommitteeTable, Member};
use polity_consensus::fbpbft::{Value, Vote, VoteCertificate, VoteKind};
use polity_crypto::hmac::LinkKey;
use polity_crypto::{Preimage, Sha256Digest, Signer, Suite, Verifier, domain};
use polity_types::{Height, ReplicaId, View, Weight, wire};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

const SUITES: [Suite; 4] = [
    Suite::Ed25519,
    Suite::MlDsa65,
    Suite::Hybrid,
    Suite::MlDsa87,
];

fn signer(suite: Suite, number: u8, provider: Provider) -> NodeSigner {
    NodeSigner::from_seed(suite, &[number; 32], provider).expect("a suite that convinces strangers")
}

/// Bytes of a vote and of a certificate of a quorum.
fn sizes(suite: Suite, members: u8) -> (usize, usize) {
    let signers: BTreeMap<ReplicaId, NodeSigner> = (0..members)
        .map(|id| (id.into(), signer(suite, id + 1, Provider::Rust)))
        .map(|(id, signer)| (ReplicaId::new(id), signer))
        .collect();
    let table = CommitteeTable::new(signers.iter().map(|(id, signer)| Member {
        id: *id,
        key: signer.public_key().clone(),
        weight: Weight::new(1),
    }))
    .expect("a committee of equals");
    let preimage = Preimage::new(domain::TEST).array(&[7; 160]);
    let quorum = usize::from(members) - (usize::from(members) - 1) / 3;
    let signatures: BTreeMap<ReplicaId, _> = signers
        .iter()
        .take(quorum)
        .map(|(id, signer)| (*id, signer.sign(&preimage)))
        .collect();
    let (height, view) = (Height::new(1_000), View::ZERO);
    let value = Value::of_block(Sha256Digest::new([7; 32]));
    let (signer, signature) = signatures.iter().next().expect("a quorum of somebody");
    let vote = Vote {
        kind: VoteKind::Commit,
        height,
        view,
        value,
        signer: *signer,
        signature: signature.clone(),
    };
    let certificate = VoteCertificate {
        kind: VoteKind::Commit,
        height,
        view,
        value,
        votes: MultiSignature::collect(&table, &signatures),
    };
    (wire::encode(&vote).len(), wire::encode(&certificate).len())
}

/// Microseconds of one call: the best of several rounds, so that other work on the machine counts
/// little.
fn best(calls: u32, work: &dyn Fn()) -> f64 {
    (0..7)
        .map(|_| {
            let start = Instant::now();
            (0..calls).for_each(|_| work());
            start.elapsed().as_secs_f64() * 1e6 / f64::from(calls)
        })
        .fold(f64::INFINITY, f64::min)
}

fn main() {
    println!("suite      members  vote  certificate");
    for suite in SUITES {
        for members in [4, 7] {
            let (vote, certificate) = sizes(suite, members);
            println!("{:10} {members:7} {vote:5} {certificate:12}", suite.name());
        }
    }
    println!("\nEd25519 verification with rust and a parsed key = 1");
    println!("suite      provider  sign  verify, key parsed  verify, key from bytes");
    let preimage = Preimage::new(domain::TEST).array(&[7; 160]);
    let mut unit = None;
    for suite in SUITES {
        for provider in [Provider::Rust, Provider::AwsLc] {
            // The other suites have one library.
            if suite != Suite::Ed25519 && provider == Provider::AwsLc {
                continue;
            }
            let calls = if suite == Suite::Ed25519 { 500 } else { 100 };
            let signer = signer(suite, 1, provider);
            let key = signer.public_key();
            let signature = signer.sign(&preimage);
            // ML-DSA tries until it finds a signature, so each call has a message of its own.
            let number = Cell::new(0);
            let sign = best(calls, &|| {
                number.set(number.get() + 1);
                let preimage = Preimage::new(domain::TEST).u64(number.get());
                black_box(signer.sign(&preimage));
            });
            let verify = |verifier: NodeVerifier| {
                best(calls, &|| {
                    let answer = verifier.judge(key, black_box(&preimage), &signature);
                    answer.expect("the signature holds");
                })
            };
            let parsed = verify(NodeVerifier::with_keys(provider, [key]));
            let bytes = verify(NodeVerifier::new(provider));
            let unit = *unit.get_or_insert(parsed);
            println!(
                "{:10} {:8} {:5.2} {:19.2} {:23.2}    ({sign:.1}, {parsed:.1}, {bytes:.1} us)",
                suite.name(),
                provider.name(),
                sign / unit,
                parsed / unit,
                bytes / unit
            );
        }
    }

    // Tier 1: what a link adds to each frame, and what each end computes.
    let link = LinkKey::derive(&[1; 32], &[2; 32], &[3; 32], "votes");
    println!("\nhmac: frame  tag  microseconds at each end");
    for (length, calls) in [(136, 5_000), (4_096, 2_000), (1 << 20, 20)] {
        let frame = vec![7; length];
        let time = best(calls, &|| {
            let preimage = Preimage::new(domain::LINK_FRAME).bytes(black_box(&frame));
            black_box(link.sign(&preimage));
        });
        let tag = link
            .sign(&Preimage::new(domain::LINK_FRAME))
            .as_slice()
            .len();
        println!("{length:11} {tag:4} {time:10.2}");
    }
}
