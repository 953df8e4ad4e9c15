//! Which genesis starts a federation, and what names it.

use crate::federation::{Federation, address, amount, genesis, key};
use polity_consensus::committee::CommitteeError;
use polity_crypto::ed25519::{Ed25519Signer, Ed25519Verifier};
use polity_crypto::stub::{StubSigner, StubVerifier};
use polity_crypto::{Blake3Digest, KeyError, PublicKey, Signer, Suite, Tier};
use polity_replica::{
    Config, Genesis, GenesisError, MessageKind, Purpose, Replica, StartError, TierFloors,
};
use polity_types::{ReplicaId, Seed, Weight};
use proptest::prelude::*;
use rstest::rstest;
use serde_json::Value;
use std::collections::BTreeSet;

/// The same federation with real keys.
fn production() -> Genesis {
    let mut genesis = genesis();
    genesis.tiers = TierFloors::default();
    let mut number = 0;
    let mut real = |key: &mut PublicKey| {
        number += 1;
        *key = Ed25519Signer::from_seed(&[number; 32]).public_key().clone();
    };
    genesis.members.iter_mut().for_each(|m| real(&mut m.key));
    genesis
        .ledger
        .accounts
        .iter_mut()
        .for_each(|a| real(&mut a.owner));
    genesis
        .ledger
        .platforms
        .iter_mut()
        .for_each(|p| real(&mut p.key));
    genesis.ledger.authority.keys.iter_mut().for_each(real);
    genesis
}

fn ed25519(number: u8) -> PublicKey {
    Ed25519Signer::from_seed(&[number; 32]).public_key().clone()
}

fn hybrid(number: u8) -> PublicKey {
    let signer = polity_crypto::hybrid::HybridSigner::from_seed(&[number; 32]);
    signer.public_key().clone()
}

/// A key of small order: it signs everything.
fn weak() -> PublicKey {
    let mut point = [0; 32];
    point[0] = 1;
    PublicKey::new(Suite::Ed25519, &point).unwrap()
}

#[test]
fn a_sound_genesis_is_accepted() {
    let verifier = Ed25519Verifier::default();
    assert_eq!(
        production().validate(Purpose::Production, &verifier),
        Ok(())
    );
    assert_eq!(
        genesis().validate(Purpose::Simulation, &StubVerifier),
        Ok(())
    );
}

fn range(field: &'static str, wanted: &'static str) -> GenesisError {
    GenesisError::Range { field, wanted }
}

fn name(field: &'static str) -> GenesisError {
    GenesisError::Name { field }
}

fn committee(error: CommitteeError) -> GenesisError {
    GenesisError::Committee(error)
}

fn below(field: &'static str) -> GenesisError {
    GenesisError::Tier { field }
}

fn bad_key(field: &'static str, key: &PublicKey, reason: KeyError) -> GenesisError {
    GenesisError::Key {
        field,
        key: key.key_id(),
        suite: key.suite(),
        reason,
    }
}

#[test]
fn a_bad_key_is_named_and_not_printed() {
    let key = PublicKey::new(Suite::Hybrid, &[7; Suite::Hybrid.public_key_length()]).unwrap();
    let text = bad_key("members.key", &key, KeyError::Weak).to_string();
    assert!(text.contains(&key.key_id().to_string()), "{text}");
    assert!(text.contains("hybrid") && text.len() < 200, "{text}");
}

fn below_floor(
    field: &'static str,
    key: &PublicKey,
    kind: &'static str,
    floor: Tier,
) -> GenesisError {
    GenesisError::BelowFloor {
        field,
        key: key.key_id(),
        suite: key.suite(),
        kind,
        floor,
    }
}

const EPOCH: &str = "from 1 to 1000000";
const BLOCK: &str = "from 131072 to 16777216";
const DRIFT: &str = "from 1000 to 3600000";

#[rstest]
#[case::no_name(|g: &mut Genesis| g.name.clear(), name("name"))]
#[case::long_name(|g: &mut Genesis| g.name = "x".repeat(65), name("name"))]
#[case::no_member_name(|g: &mut Genesis| g.members[2].name.clear(), name("members.name"))]
#[case::long_member_name(|g: &mut Genesis| g.members[2].name = "x".repeat(65), name("members.name"))]
#[case::repeated_name(
    |g: &mut Genesis| g.members[2].name = "thor".to_owned(),
    GenesisError::RepeatedName("thor".to_owned())
)]
#[case::no_epoch(|g: &mut Genesis| g.consensus.epoch_length = 0, range("consensus.epoch_length", EPOCH))]
#[case::long_epoch(|g: &mut Genesis| g.consensus.epoch_length = 1_000_001, range("consensus.epoch_length", EPOCH))]
#[case::small_block(|g: &mut Genesis| g.consensus.block_bytes_max = 131_071, range("consensus.block_bytes_max", BLOCK))]
#[case::large_block(|g: &mut Genesis| g.consensus.block_bytes_max = 16_777_217, range("consensus.block_bytes_max", BLOCK))]
#[case::evidence(
    |g: &mut Genesis| g.consensus.evidence_per_block_max = 1_025,
    range("consensus.evidence_per_block_max", "at most 1024")
)]
#[case::no_drift(|g: &mut Genesis| g.consensus.drift_max_ms = 999, range("consensus.drift_max_ms", DRIFT))]
#[case::much_drift(|g: &mut Genesis| g.consensus.drift_max_ms = 3_600_001, range("consensus.drift_max_ms", DRIFT))]
#[case::transactions(
    |g: &mut Genesis| g.ledger.parameters.transactions_per_block_max = 65_537,
    range("ledger.parameters.transactions_per_block_max", "at most 65536")
)]
#[case::nobody(|g: &mut Genesis| g.members.clear(), committee(CommitteeError::Empty))]
#[case::repeated_member(
    |g: &mut Genesis| g.members[3].id = ReplicaId::new(0),
    committee(CommitteeError::RepeatedMember(ReplicaId::new(0)))
)]
#[case::repeated_key(
    |g: &mut Genesis| g.members[3].key = g.members[1].key.clone(),
    committee(CommitteeError::RepeatedKey(ReplicaId::new(3)))
)]
#[case::no_weight(
    |g: &mut Genesis| g.members[3].weight = Weight::ZERO,
    committee(CommitteeError::NoWeight(ReplicaId::new(3)))
)]
#[case::dominant(
    |g: &mut Genesis| g.members[3].weight = Weight::new(4),
    committee(CommitteeError::Dominant { id: ReplicaId::new(3), faulty_max: Weight::new(2) })
)]
#[case::too_heavy(
    |g: &mut Genesis| g.members[3].weight = Weight::new(1 << 62),
    committee(CommitteeError::TooHeavy)
)]
#[case::ledger_window(
    |g: &mut Genesis| g.ledger.parameters.recent_ids_max = 8_191_999,
    GenesisError::Ledger(polity_ledger::GenesisError::RecentIds { needed: 8_192_000, max: 8_191_999 })
)]
#[case::ledger_threshold(
    |g: &mut Genesis| g.ledger.authority.threshold = 2,
    GenesisError::Ledger(polity_ledger::GenesisError::Threshold { threshold: 2, keys: 1 })
)]
#[case::ledger_platform(
    |g: &mut Genesis| g.ledger.accounts[1].address = address("bob@nowhere"),
    GenesisError::Ledger(polity_ledger::GenesisError::UnknownPlatform { index: 1 })
)]
#[case::ledger_supply(
    |g: &mut Genesis| g.ledger.accounts[1].balance = polity_types::Amount::SUPPLY_MAX,
    GenesisError::Ledger(polity_ledger::GenesisError::Supply { index: 1 })
)]
fn a_genesis_that_makes_no_sense_is_refused(
    #[case] change: fn(&mut Genesis),
    #[case] expected: GenesisError,
) {
    for (mut genesis, purpose) in [
        (production(), Purpose::Production),
        (genesis(), Purpose::Simulation),
    ] {
        change(&mut genesis);
        let found = match purpose {
            Purpose::Production => genesis.validate(purpose, &Ed25519Verifier::default()),
            Purpose::Simulation => genesis.validate(purpose, &StubVerifier),
        };
        assert_eq!(found, Err(expected.clone()));
        // Whoever reads the message can find the field.
        assert!(found.unwrap_err().to_string().contains('`'));
    }
}

/// CR-6: a floor below tier 2 convinces no third party, so it starts no federation.
#[rstest]
#[case::stub_votes(|g: &mut Genesis| g.tiers.votes = Tier::Stub, below("votes"))]
#[case::hmac_votes(|g: &mut Genesis| g.tiers.votes = Tier::Hmac, below("votes"))]
#[case::stub_transactions(|g: &mut Genesis| g.tiers.transactions = Tier::Stub, below("transactions"))]
#[case::hmac_transactions(|g: &mut Genesis| g.tiers.transactions = Tier::Hmac, below("transactions"))]
#[case::certificates(|g: &mut Genesis| g.tiers.certificates = Some(Tier::Hmac), below("certificates"))]
#[case::evidence(|g: &mut Genesis| g.tiers.evidence = Some(Tier::Hmac), below("evidence"))]
#[case::opinions(|g: &mut Genesis| g.tiers.opinions = Some(Tier::Hmac), below("opinions"))]
#[case::key_records(|g: &mut Genesis| g.tiers.key_records = Some(Tier::Stub), below("key_records"))]
#[case::gossip(|g: &mut Genesis| g.tiers.gossip = Some(Tier::Hmac), below("gossip"))]
#[case::stub_links(
    |g: &mut Genesis| g.tiers.links = Some(Tier::Stub),
    GenesisError::Links("anybody can make a checksum")
)]
#[case::hybrid_links(
    |g: &mut Genesis| g.tiers.links = Some(Tier::Hybrid),
    GenesisError::Links("ends of a link are proved with Ed25519, under a hybrid key exchange")
)]
#[case::hybrid_votes(
    |g: &mut Genesis| g.tiers.votes = Tier::Hybrid,
    below_floor("members.key", &ed25519(1), "votes", Tier::Hybrid)
)]
#[case::hybrid_evidence(
    |g: &mut Genesis| g.tiers.evidence = Some(Tier::Hybrid),
    below_floor("members.key", &ed25519(1), "evidence", Tier::Hybrid)
)]
#[case::one_member_below(
    |g: &mut Genesis| {
        g.tiers.votes = Tier::Hybrid;
        for number in 0..3 {
            g.members[usize::from(number)].key = hybrid(number);
        }
    },
    below_floor("members.key", &ed25519(4), "votes", Tier::Hybrid)
)]
#[case::hybrid_transactions(
    |g: &mut Genesis| g.tiers.transactions = Tier::Hybrid,
    below_floor("ledger.accounts.owner", &ed25519(5), "transactions", Tier::Hybrid)
)]
#[case::weak_member(
    |g: &mut Genesis| g.members[1].key = weak(),
    bad_key("members.key", &weak(), KeyError::Weak)
)]
#[case::weak_owner(
    |g: &mut Genesis| g.ledger.accounts[0].owner = weak(),
    bad_key("ledger.accounts.owner", &weak(), KeyError::Weak)
)]
#[case::weak_platform(
    |g: &mut Genesis| g.ledger.platforms[0].key = weak(),
    bad_key("ledger.platforms.key", &weak(), KeyError::Weak)
)]
#[case::weak_authority(
    |g: &mut Genesis| g.ledger.authority.keys[0] = weak(),
    bad_key("ledger.authority.keys", &weak(), KeyError::Weak)
)]
#[case::stub_member(
    |g: &mut Genesis| g.members[1].key = key("x"),
    below_floor("members.key", &key("x"), "votes", Tier::Ed25519)
)]
#[case::stub_owner(
    |g: &mut Genesis| g.ledger.accounts[0].owner = key("x"),
    below_floor("ledger.accounts.owner", &key("x"), "transactions", Tier::Ed25519)
)]
fn cr_6_production_refuses_what_convinces_nobody(
    #[case] change: fn(&mut Genesis),
    #[case] expected: GenesisError,
) {
    let mut genesis = production();
    change(&mut genesis);
    let verifier = polity_crypto::PublicVerifier::default();
    assert_eq!(
        genesis.validate(Purpose::Production, &verifier),
        Err(expected.clone())
    );
    let started = Replica::new(
        &genesis,
        Purpose::Production,
        Config::default(),
        Ed25519Signer::from_seed(&[1; 32]),
        verifier,
        Seed::from_number(0),
    );
    assert_eq!(started.err(), Some(StartError::Genesis(expected)));
}

#[test]
fn cr_6_a_simulation_keeps_the_floor_it_names() {
    let mut genesis = genesis();
    genesis.tiers.votes = Tier::Ed25519;
    let member = genesis.members[0].key.clone();
    assert_eq!(
        genesis.validate(Purpose::Simulation, &StubVerifier),
        Err(below_floor("members.key", &member, "votes", Tier::Ed25519))
    );
}

/// CR-6: stronger keys than the floor asks for are taken, and each kind has a floor of its own.
#[test]
fn cr_6_hybrid_keys_and_floors_of_every_kind_start_a_federation() {
    let verifier = polity_crypto::PublicVerifier::default();
    let mut genesis = production();
    for (number, member) in (0..).zip(&mut genesis.members) {
        member.key = hybrid(number);
    }
    let sound = Ok(());
    assert_eq!(genesis.validate(Purpose::Production, &verifier), sound);
    genesis.tiers = TierFloors {
        evidence: Some(Tier::Ed25519),
        links: Some(Tier::Hmac),
        ..TierFloors::of(Tier::Hybrid)
    };
    genesis.tiers.transactions = Tier::Ed25519;
    assert_eq!(genesis.validate(Purpose::Production, &verifier), sound);
    assert_eq!(genesis.tiers.floor(MessageKind::Certificates), Tier::Hybrid);
    assert_eq!(
        genesis.tiers.of_members(),
        (MessageKind::Votes, Tier::Hybrid)
    );
    // ML-DSA alone is one scheme.
    let alone = polity_crypto::ml_dsa::MlDsaSigner::from_seed_87(&[1; 32]);
    genesis.members[0].key = alone.public_key().clone();
    assert_eq!(
        genesis.validate(Purpose::Production, &verifier),
        Err(below_floor(
            "members.key",
            alone.public_key(),
            "votes",
            Tier::Hybrid
        ))
    );
    genesis.tiers = TierFloors::default();
    assert_eq!(genesis.validate(Purpose::Production, &verifier), sound);
}

/// Floors that are left out change nothing in the id; each that is named does.
#[test]
fn cr_6_the_id_of_a_genesis_covers_every_floor() {
    let genesis = production();
    let mut ids = BTreeSet::from([genesis.id()]);
    let floors: [fn(&mut TierFloors) -> &mut Option<Tier>; 6] = [
        |t| &mut t.certificates,
        |t| &mut t.evidence,
        |t| &mut t.opinions,
        |t| &mut t.key_records,
        |t| &mut t.gossip,
        |t| &mut t.links,
    ];
    for floor in floors {
        for tier in [Tier::Stub, Tier::Hmac, Tier::Ed25519, Tier::Hybrid] {
            let mut other = genesis.clone();
            *floor(&mut other.tiers) = Some(tier);
            assert!(ids.insert(other.id()));
            let text = serde_json::to_string(&other).unwrap();
            assert_eq!(serde_json::from_str::<Genesis>(&text).unwrap(), other);
        }
    }
}

/// A NEW-VIEW carries a certificate in each VIEW-CHANGE; with long signatures it has to fit a message.
#[test]
fn cr_6_a_committee_whose_new_view_fits_no_message_is_refused() {
    let verifier = polity_crypto::PublicVerifier::default();
    let with = |members: u32| {
        let mut genesis = production();
        let pattern = genesis.members[0].clone();
        genesis.members = (0..members)
            .map(|number| polity_replica::GenesisMember {
                id: ReplicaId::new(number),
                name: format!("member {number}"),
                key: hybrid(number as u8),
                ..pattern.clone()
            })
            .collect();
        genesis.validate(Purpose::Production, &verifier)
    };
    assert_eq!(with(35), Ok(()));
    assert_eq!(
        with(36),
        Err(GenesisError::TooManySignatures {
            members: 36,
            bytes: 3_373
        })
    );
}

#[test]
fn who_is_no_member_does_not_start() {
    let started = Replica::new(
        &genesis(),
        Purpose::Simulation,
        Config::default(),
        StubSigner::new(77),
        StubVerifier,
        Seed::from_number(0),
    );
    assert_eq!(
        started.err(),
        Some(StartError::Consensus(
            polity_consensus::fbpbft::StartError::NotAMember
        ))
    );
}

#[rstest]
#[case::no_pool(|c: &mut Config| c.pool.count_max = 0, "`pool.count_max` must be above zero")]
#[case::small_pool(
    |c: &mut Config| c.pool.bytes_max = 65_535,
    "`pool.bytes_max` must be at least the longest transaction, 65536"
)]
#[case::no_place(|c: &mut Config| c.pool.per_account_max = 0, "`pool.per_account_max` must be above zero")]
#[case::no_batch(|c: &mut Config| c.gather_max = 0, "`gather_max` must be from 1 to 4096")]
#[case::large_batch(|c: &mut Config| c.gather_max = 4_097, "`gather_max` must be from 1 to 4096")]
#[case::consensus(
    |c: &mut Config| c.consensus.timeout_base = core::time::Duration::ZERO,
    "`timeout_base` must be above zero and at most timeout_max"
)]
fn a_configuration_that_makes_no_sense_is_refused(
    #[case] change: fn(&mut Config),
    #[case] text: &str,
) {
    let mut config = Config::default();
    change(&mut config);
    let started = Replica::new(
        &genesis(),
        Purpose::Simulation,
        config,
        StubSigner::new(0),
        StubVerifier,
        Seed::from_number(0),
    );
    assert_eq!(started.err().unwrap().to_string(), text);
}

/// What replicas have to agree on comes from the genesis, whatever the local configuration says.
#[test]
fn rules_of_the_genesis_prevail() {
    let mut genesis = genesis();
    genesis.consensus.block_bytes_max = 4 * 1024 * 1024;
    genesis.consensus.drift_max_ms = 5_000;
    genesis.consensus.evidence_per_block_max = 3;
    genesis.ledger.parameters.transactions_per_block_max = 100;
    let federation = Federation::of(genesis);
    let config = federation.nodes[0].replica.machine().config();
    assert_eq!(config.block_bytes_max, 4 * 1024 * 1024);
    assert_eq!(config.drift_max.as_millis(), 5_000);
    assert_eq!(config.evidence_per_block_max, 3);
    assert_eq!(config.transactions_max, 100);
    assert_eq!(config.validate(), Ok(()));
}

/// Every way to change one place of a JSON document, by its path.
fn variants(value: &Value, path: &str) -> Vec<(String, Value)> {
    match value {
        Value::Null => Vec::new(),
        Value::Bool(flag) => vec![(path.to_owned(), Value::Bool(!flag))],
        Value::Number(number) => vec![(
            path.to_owned(),
            Value::from(number.as_u64().expect("no fractions and no signs") + 1),
        )],
        // Names grow, digits and keys change their end, tiers change their name.
        Value::String(text) => {
            let mut changed_end = text.clone();
            let last = changed_end.pop();
            changed_end.push(if last == Some('0') { '1' } else { '0' });
            [changed_end, format!("{text}0"), "hmac".to_owned()]
                .into_iter()
                .filter(|changed| changed != text)
                .map(|changed| (path.to_owned(), Value::from(changed)))
                .collect()
        }
        Value::Array(items) => {
            let mut found: Vec<(String, Value)> = Vec::new();
            for (index, item) in items.iter().enumerate() {
                for (path, changed) in variants(item, &format!("{path}[{index}]")) {
                    let mut other = items.clone();
                    other[index] = changed;
                    found.push((path, Value::Array(other)));
                }
            }
            if let Some(last) = items.last() {
                let (mut longer, mut shorter) = (items.clone(), items.clone());
                longer.push(last.clone());
                shorter.pop();
                found.push((format!("{path} longer"), Value::Array(longer)));
                found.push((format!("{path} shorter"), Value::Array(shorter)));
            }
            if items.len() > 1 {
                let mut swapped = items.clone();
                swapped.swap(0, 1);
                found.push((format!("{path} swapped"), Value::Array(swapped)));
            }
            found
        }
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, field)| {
                variants(field, &format!("{path}.{name}"))
                    .into_iter()
                    .map(|(path, changed)| {
                        let mut other = fields.clone();
                        other.insert(name.clone(), changed);
                        (path, Value::Object(other))
                    })
            })
            .collect(),
    }
}

/// Paths of all places that hold a value.
fn places(value: &Value, path: &str) -> Vec<String> {
    match value {
        Value::Array(items) => items
            .iter()
            .enumerate()
            .flat_map(|(index, item)| places(item, &format!("{path}[{index}]")))
            .collect(),
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, field)| places(field, &format!("{path}.{name}")))
            .collect(),
        _ => vec![path.to_owned()],
    }
}

#[test]
fn the_id_of_a_genesis_covers_every_field() {
    let genesis = genesis();
    let document = serde_json::to_value(&genesis).unwrap();
    let mut ids: BTreeSet<Blake3Digest> = BTreeSet::from([genesis.id()]);
    let mut covered = BTreeSet::new();
    for (path, changed) in variants(&document, "genesis") {
        // Not every text fits every field.
        let Ok(other) = serde_json::from_value::<Genesis>(changed) else {
            continue;
        };
        if other != genesis {
            assert!(ids.insert(other.id()), "{path} is not under the id");
            covered.insert(path);
        }
    }
    let places = places(&document, "genesis");
    assert!(places.len() > 60, "a real genesis: {}", places.len());
    for place in places {
        assert!(covered.contains(&place), "{place} was never changed");
    }
    assert!(covered.contains("genesis.members swapped"), "order counts");
}

#[test]
fn a_genesis_with_an_unknown_field_is_refused() {
    let mut document = serde_json::to_value(genesis()).unwrap();
    document["consensus"]["epoch_lenght"] = Value::from(5);
    assert!(serde_json::from_value::<Genesis>(document).is_err());
}

#[test]
fn a_genesis_as_text_is_the_same_genesis() {
    let genesis = production();
    let text = serde_json::to_string(&genesis).unwrap();
    let read: Genesis = serde_json::from_str(&text).unwrap();
    assert_eq!(read, genesis);
    assert_eq!(read.id(), genesis.id());
    assert_eq!(read.chain().unwrap().id(), genesis.chain().unwrap().id());
}

#[test]
fn members_are_found_by_name_and_have_their_fees_account() {
    let genesis = genesis();
    let thor = genesis.member("thor").unwrap();
    assert_eq!(thor.fee_account, address("fees@thor"));
    assert_eq!(genesis.member("Thor"), None);
}

/// LG-12: fees go to the account of who proposed the block.
#[test]
fn lg_12_fees_reach_the_proposer() {
    let mut genesis = genesis();
    genesis.ledger.parameters.fee_flat = amount("0.5");
    let mut federation = Federation::of(genesis);
    let transaction = federation.transfer("alice@thor", "bob@sprout", "1");
    federation.submit(0, &transaction);
    federation.settle(&transaction);
    let proposer = federation.nodes[0].chain[0].block.header().proposer;
    for member in federation.genesis.members.clone() {
        let expected = if member.id == proposer { "0.5" } else { "0" };
        let account = member.fee_account.as_str();
        assert_eq!(federation.balance(1, account)[0], expected, "{account}");
    }
    assert_eq!(federation.balance(2, "alice@thor")[0], "998.5");
}

proptest! {
    /// No document makes the check of a genesis panic.
    #[test]
    fn validation_survives_any_numbers(
        epoch_length: u64,
        block_bytes_max: u64,
        transactions: u32,
        horizon: u64,
        weight: u64,
        threshold: u32,
    ) {
        let mut genesis = genesis();
        genesis.consensus.epoch_length = epoch_length;
        genesis.consensus.block_bytes_max = block_bytes_max;
        genesis.ledger.parameters.transactions_per_block_max = transactions;
        genesis.ledger.parameters.validity_horizon = horizon;
        genesis.members[1].weight = Weight::new(weight);
        genesis.ledger.authority.threshold = threshold;
        let is_sound = genesis.validate(Purpose::Simulation, &StubVerifier).is_ok();
        prop_assert_eq!(is_sound, genesis.committee().is_ok()
            && (1..=1_000_000).contains(&epoch_length)
            && (131_072..=16_777_216).contains(&block_bytes_max)
            && transactions <= 65_536
            && genesis.ledger.validate().is_ok());
    }
}
