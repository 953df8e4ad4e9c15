//! `polity-replica`: what names a federation, and which one cannot start.

use crate::federation::signer;
use crate::fields::text;
use polity_consensus::committee::Committee as _;
use polity_crypto::Signer;
use polity_crypto::ed25519::Ed25519Verifier;
use polity_crypto::stub::StubVerifier;
use polity_ledger::{Authority, GenesisAccount, GenesisPlatform, Parameters};
use polity_replica::{ConsensusRules, Genesis, GenesisError, GenesisMember, Purpose, TierFloors};
use polity_testkit::topic::{Case, Topic};
use polity_types::{Height, ReplicaId, Time, View, Weight};
use serde_json::{Value as Json, json};

pub(crate) const GENESIS: Topic = Topic {
    file: "replica/genesis.v1.json",
    spec: "docs/spec/ledger.md, LG-11; docs/spec/crypto.md, CR-6",
    cases: geneses,
    answer: genesis,
};

fn genesis(input: &Json) -> Result<Json, Json> {
    let genesis: Genesis = match serde_json::from_value(input["genesis"].clone()) {
        Ok(genesis) => genesis,
        Err(_) => return Err(json!({ "error": "no genesis" })),
    };
    let checked = match text(input, "purpose") {
        "production" => genesis.validate(Purpose::Production, &Ed25519Verifier::default()),
        "simulation" => genesis.validate(Purpose::Simulation, &StubVerifier),
        other => panic!("{other} is no purpose"),
    };
    checked.map_err(|error| {
        json!({ "error": match error {
            GenesisError::Name { .. } => "name",
            GenesisError::RepeatedName(_) => "repeated name",
            GenesisError::Range { .. } => "range",
            GenesisError::Tier { .. } | GenesisError::Links(_) => "tier",
            GenesisError::TooManySignatures { .. } => "signatures",
            GenesisError::Committee(_) => "committee",
            GenesisError::Key { .. } | GenesisError::BelowFloor { .. } => "key",
            GenesisError::Ledger(_) => "ledger",
        }})
    })?;
    let chain = genesis.chain().expect("checked");
    let committee = chain.committee(Height::new(1));
    let leaders: Vec<u32> = (0..4)
        .map(|view| chain.leader(Height::new(1), View::new(view)).get())
        .collect();
    Ok(json!({
        "id": genesis.id().to_string(),
        "chain": chain.id().to_string(),
        "genesis_block": chain.genesis_block().to_string(),
        "ledger": genesis.ledger.digest().to_string(),
        "committee": committee.digest().to_string(),
        "total_weight": committee.total().get(),
        "leaders_of_height_1": leaders,
    }))
}

/// Four platforms with a member each; Alice has 1000 ATP at thor and Bob 500 at sprout.
fn federation() -> Genesis {
    let names = ["thor", "sprout", "legion", "platform2"];
    let members = (0_u32..).zip(names).map(|(id, name)| GenesisMember {
        id: ReplicaId::new(id),
        name: name.to_owned(),
        key: signer(id).public_key().clone(),
        weight: Weight::new(1),
        fee_account: format!("fees@{name}").parse().expect("an address"),
    });
    let platforms = (10_u32..).zip(names).map(|(number, name)| GenesisPlatform {
        name: name.parse().expect("a name"),
        key: signer(number).public_key().clone(),
        quota: 100,
    });
    let account = |number, address: &str, balance: &str| GenesisAccount {
        address: address.parse().expect("an address"),
        owner: signer(number).public_key().clone(),
        balance: balance.parse().expect("an amount"),
    };
    Genesis {
        name: "example".to_owned(),
        start: Time::from_millis(1_750_000_000_000),
        tiers: TierFloors::default(),
        consensus: ConsensusRules::default(),
        members: members.collect(),
        ledger: polity_ledger::Genesis {
            parameters: Parameters::default(),
            authority: Authority {
                keys: vec![signer(30).public_key().clone()],
                threshold: 1,
            },
            platforms: platforms.collect(),
            accounts: vec![
                account(20, "alice@thor", "1000"),
                account(21, "bob@sprout", "500"),
            ],
        },
    }
}

fn input(genesis: &Genesis) -> Json {
    json!({
        "purpose": "production",
        "genesis": serde_json::to_value(genesis).expect("plain fields"),
    })
}

/// A way to change an input.
type Change = fn(&mut Json);

fn geneses() -> Vec<Case> {
    let weighted = {
        let mut genesis = federation();
        for (member, weight) in genesis.members.iter_mut().zip([3, 3, 3, 2]) {
            member.weight = Weight::new(weight);
        }
        genesis
    };
    let mut with_fees = federation();
    with_fees.ledger.parameters.fee_flat = "0.01".parse().expect("an amount");
    let mut by_default = input(&federation());
    for field in ["tiers", "consensus"] {
        let genesis = by_default["genesis"].as_object_mut().expect("an object");
        genesis.remove(field);
    }
    let good = |name: &str, comment: &str, input| Case::valid(name, comment, &[], input);
    let mut cases = vec![
        good(
            "four_platforms",
            "As in Web4's own demo.",
            input(&federation()),
        ),
        good("weighted", "Leaders are drawn by weight.", input(&weighted)),
        good("fees", "Every number is under the id.", input(&with_fees)),
        good(
            "by_default",
            "What is left out has its default: the same id.",
            by_default,
        ),
    ];
    let others: [(&str, &str, &str, Change); 22] = [
        ("no_name", "A name has 1 to 64 bytes.", "name", |i| {
            i["genesis"]["name"] = json!("");
        }),
        ("repeated_name", "Each member has its own.", "name", |i| {
            i["genesis"]["members"][1]["name"] = json!("thor");
        }),
        ("no_epoch", "An epoch has a height.", "range", |i| {
            i["genesis"]["consensus"]["epoch_length"] = json!(0);
        }),
        ("small_blocks", "128 KiB at least.", "range", |i| {
            i["genesis"]["consensus"]["block_bytes_max"] = json!(131_071);
        }),
        ("large_blocks", "16 MiB at most.", "range", |i| {
            i["genesis"]["consensus"]["block_bytes_max"] = json!(16_777_217);
        }),
        ("drift", "A second at least.", "range", |i| {
            i["genesis"]["consensus"]["drift_max_ms"] = json!(999);
        }),
        (
            "stub_votes",
            "Tier 0 convinces nobody (CR-6).",
            "tier",
            |i| {
                i["genesis"]["tiers"]["votes"] = json!("stub");
            },
        ),
        (
            "hmac_transactions",
            "Tier 1 convinces no third party (CR-6).",
            "tier",
            |i| {
                i["genesis"]["tiers"]["transactions"] = json!("hmac");
            },
        ),
        ("unknown_tier", "There is no such tier.", "tier", |i| {
            i["genesis"]["tiers"]["votes"] = json!("rsa");
        }),
        (
            "weak_member_key",
            "A key of small order (CR-1).",
            "key",
            |i| {
                i["genesis"]["members"][0]["key"] = json!(format!("ed25519:01{}", "00".repeat(31)));
            },
        ),
        (
            "weak_owner_key",
            "A key of small order (CR-1).",
            "key",
            |i| {
                i["genesis"]["ledger"]["accounts"][0]["owner"] =
                    json!(format!("ed25519:01{}", "00".repeat(31)));
            },
        ),
        ("stub_member_key", "Below the floor (CR-6).", "key", |i| {
            i["genesis"]["members"][0]["key"] = json!(format!("stub:{}", "01".repeat(32)));
        }),
        ("no_members", "Somebody has to vote.", "committee", |i| {
            i["genesis"]["members"] = json!([]);
        }),
        ("no_weight", "Each vote counts.", "committee", |i| {
            i["genesis"]["members"][3]["weight"] = json!(0);
        }),
        (
            "dominant",
            "No member weighs more than F (FB-1).",
            "committee",
            |i| {
                i["genesis"]["members"][3]["weight"] = json!(4);
            },
        ),
        ("repeated_key", "One key, one vote.", "committee", |i| {
            i["genesis"]["members"][3]["key"] = i["genesis"]["members"][2]["key"].clone();
        }),
        (
            "recent_ids",
            "A window of full blocks must fit (LG-4).",
            "ledger",
            |i| {
                i["genesis"]["ledger"]["parameters"]["recent_ids_max"] = json!(8_191_999);
            },
        ),
        ("supply", "At most 2^100 units (LG-2).", "ledger", |i| {
            i["genesis"]["ledger"]["accounts"][0]["balance"] =
                json!("1267650600228229401496703.205376");
        }),
        ("threshold", "More signers than keys.", "ledger", |i| {
            i["genesis"]["ledger"]["authority"]["threshold"] = json!(2);
        }),
        (
            "unknown_platform",
            "An account at no platform.",
            "ledger",
            |i| {
                i["genesis"]["ledger"]["accounts"][0]["address"] = json!("alice@nowhere");
            },
        ),
        (
            "unknown_field",
            "A field with a slip of the pen must not be ignored.",
            "shape",
            |i| {
                i["genesis"]["consensus"]["epoch_lenght"] = json!(10);
            },
        ),
        (
            "simulation_of_real_keys",
            "A simulation verifies checksums.",
            "key",
            |i| {
                i["purpose"] = json!("simulation");
            },
        ),
    ];
    for (name, comment, flag, change) in others {
        let mut changed = input(&federation());
        change(&mut changed);
        cases.push(Case::invalid(name, comment, &[flag], changed));
    }
    cases
}
