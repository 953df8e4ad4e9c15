//! FB-1 and FB-2 for every small committee: all tables of up to seven members with weights from 1 to 3,
//! every set of signers, every other form of its bitmap.

use crate::forge;
use polity_consensus::certificate::SignerSet;
use polity_consensus::committee::{CommitteeError, CommitteeTable, Member};
use polity_consensus::fbpbft::{Chain, Value, VoteCertificate, VoteKind};
use polity_crypto::stub::{StubSigner, StubVerifier};
use polity_crypto::{Blake3Digest, Checker, Sha256Digest, Signer, Verified};
use polity_types::{ReplicaId, Weight, wire};

const MEMBERS_MAX: usize = 7;
const WEIGHT_MAX: u64 = 3;

/// Every table of weights, the order of members included: 3 + 9 + … + 2187.
fn tables() -> Vec<Vec<u64>> {
    let mut tables: Vec<Vec<u64>> = Vec::new();
    let mut longest: Vec<Vec<u64>> = vec![Vec::new()];
    for _ in 0..MEMBERS_MAX {
        longest = longest
            .iter()
            .flat_map(|table| {
                (1..=WEIGHT_MAX).map(|weight| table.iter().copied().chain([weight]).collect())
            })
            .collect();
        tables.extend(longest.clone());
    }
    tables
}

fn committee(weights: &[u64]) -> Result<CommitteeTable, CommitteeError> {
    CommitteeTable::new(weights.iter().enumerate().map(|(place, weight)| Member {
        id: ReplicaId::new(place as u32),
        key: StubSigner::new(place as u64).public_key().clone(),
        weight: Weight::new(*weight),
    }))
}

fn weight_of(weights: &[u64], bits: usize) -> u64 {
    let places = weights.iter().enumerate();
    places
        .filter(|(place, _)| bits >> place & 1 == 1)
        .map(|(_, weight)| weight)
        .sum()
}

/// The smallest weight of which two sets share more than may be faulty, found by trying one weight after
/// the other instead of by the formula of `quorum.rs`.
fn smallest_quorum(total: u64) -> u64 {
    let faulty = (0..total).rev().find(|f| 3 * f < total).unwrap();
    (1..=total).find(|q| 2 * q > total + faulty).unwrap()
}

#[test]
fn fb_1_every_small_table_is_a_committee_unless_one_member_dominates() {
    let tables = tables();
    assert_eq!(tables.len(), 3_279);
    for weights in tables {
        let total: u64 = weights.iter().sum();
        let faulty = (total - 1) / 3;
        let is_dominated = faulty > 0 && weights.iter().any(|weight| *weight > faulty);
        let table = committee(&weights);
        assert_eq!(table.is_err(), is_dominated, "{weights:?}: {table:?}");
    }
}

#[test]
fn fb_1_two_quorums_of_every_small_committee_share_an_honest_member() {
    let (mut committees, mut pairs) = (0, 0);
    for weights in tables() {
        let Ok(table) = committee(&weights) else {
            continue;
        };
        committees += 1;
        let thresholds = table.thresholds();
        let total: u64 = weights.iter().sum();
        let sets = 1_usize << weights.len();
        let mut quorums = Vec::new();
        for bits in 0..sets {
            let weight = weight_of(&weights, bits);
            let is_quorum = thresholds.is_quorum(Weight::new(weight));
            assert_eq!(is_quorum, weight >= smallest_quorum(total), "{weights:?}");
            if is_quorum {
                quorums.push(bits);
            }
            // The members outside of any set that may be faulty are a quorum by themselves.
            if !thresholds.has_honest(Weight::new(weight)) {
                let rest = Weight::new(total - weight);
                assert!(thresholds.is_quorum(rest), "{weights:?} without {bits:b}");
            }
        }
        for first in &quorums {
            for second in &quorums {
                pairs += 1;
                let shared = Weight::new(weight_of(&weights, first & second));
                assert!(
                    thresholds.has_honest(shared),
                    "{weights:?}: {first:b} and {second:b}"
                );
            }
        }
    }
    assert!(
        committees > 2_000 && pairs > 1_000_000,
        "{committees}, {pairs}"
    );
}

fn holds(chain: &Chain, certificate: VoteCertificate) -> bool {
    let mut checker = Checker::new(StubVerifier, 0);
    Verified::check(certificate, chain, &mut checker).is_ok()
}

fn signer_set(bytes: &[u8]) -> SignerSet {
    // Two wrappings around bytes have one encoding.
    let encoded = wire::encode(&polity_consensus::fbpbft::TransactionBytes::new(
        bytes.to_vec(),
    ));
    wire::decode(&encoded, encoded.len()).expect("any bytes can be decoded")
}

#[test]
fn fb_2_a_certificate_holds_for_exactly_the_quorums_of_every_small_committee() {
    let value = Value::of_block(Sha256Digest::new([5; 32]));
    let (mut held, mut refused) = (0, 0);
    for weights in tables() {
        let Ok(table) = committee(&weights) else {
            continue;
        };
        let total: u64 = weights.iter().sum();
        let chain = Chain::new(Blake3Digest::new([1; 32]), 1_000, table, |_| None);
        for bits in 0..1_usize << weights.len() {
            let signers: Vec<u32> = (0..weights.len() as u32)
                .filter(|place| bits >> place & 1 == 1)
                .collect();
            let certificate = forge::certificate(&chain, VoteKind::Commit, (1, 0), value, &signers);
            assert_eq!(certificate.votes.signers.as_slice(), [bits as u8]);
            let is_quorum = weight_of(&weights, bits) >= smallest_quorum(total);
            assert_eq!(
                holds(&chain, certificate),
                is_quorum,
                "{weights:?}, {bits:b}"
            );
            *if is_quorum { &mut held } else { &mut refused } += 1;
        }
    }
    assert!(held > 20_000 && refused > 20_000, "{held}, {refused}");
}

/// One byte is the only form of a set of up to seven members, and its upper bits are zero.
#[test]
fn fb_2_every_other_form_of_a_bitmap_is_refused() {
    for members in 1..=MEMBERS_MAX {
        let weights = vec![1; members];
        let table = committee(&weights).unwrap();
        let chain = Chain::new(Blake3Digest::new([1; 32]), 1_000, table.clone(), |_| None);
        let value = Value::of_block(Sha256Digest::new([5; 32]));
        let everybody: Vec<u32> = (0..members as u32).collect();
        let whole = forge::certificate(&chain, VoteKind::Commit, (1, 0), value, &everybody);
        assert!(holds(&chain, whole.clone()));
        let with = |bytes: &[u8]| {
            let mut changed = whole.clone();
            changed.votes.signers = signer_set(bytes);
            changed
        };
        assert!(signer_set(&[]).members(&table).is_err());
        assert!(!holds(&chain, with(&[])));
        for byte in 0..=u8::MAX {
            let set = signer_set(&[byte]);
            let named: Vec<u32> = (0..8).filter(|place| byte >> place & 1 == 1).collect();
            let is_canonical = named.iter().all(|place| (*place as usize) < members);
            let read = set.members(&table);
            assert_eq!(read.is_ok(), is_canonical, "{members} members, {byte:08b}");
            if let Ok(read) = read {
                let read: Vec<u32> = read.iter().map(|id| id.get()).collect();
                assert_eq!(read, named);
            }
            // The signatures are those of everybody, so one bitmap fits them.
            let fits = named == everybody;
            assert_eq!(holds(&chain, with(&[byte])), fits, "{byte:08b}");
            for second in 0..=u8::MAX {
                let longer = [byte, second];
                assert!(signer_set(&longer).members(&table).is_err());
                assert!(!fits || !holds(&chain, with(&longer)), "{longer:?}");
            }
        }
    }
}
