//! What is no address, command, transaction or genesis.

mod common;

use common::{address, amount, genesis, key, lock, signed, transfer};
use polity_ledger::{
    Address, AddressError, Authority, Command, CommitteeChange, Genesis, GenesisError, Parameters,
    PlatformName, Reason, SignedTransaction, Transaction, TransactionError,
};
use polity_types::wire::{self, DecodeError};
use polity_types::{Amount, Height};
use proptest::prelude::*;
use rstest::rstest;

#[rstest]
#[case::plain("alice@thor", Ok(()))]
#[case::lct("lct:web4:agent:alice@thor", Ok(()))]
#[case::punctuation("!~#%/\\\"@a.b_c-9", Ok(()))]
#[case::empty("", Err(AddressError::Shape))]
#[case::no_platform("alice", Err(AddressError::Shape))]
#[case::two_at("alice@thor@sprout", Err(AddressError::Shape))]
#[case::empty_agent("@thor", Err(AddressError::AgentLength { length: 0 }))]
#[case::empty_platform("alice@", Err(AddressError::PlatformLength { length: 0 }))]
#[case::space("ali ce@thor", Err(AddressError::AgentCharacter))]
#[case::newline("alice\n@thor", Err(AddressError::AgentCharacter))]
#[case::nul("alice\0@thor", Err(AddressError::AgentCharacter))]
#[case::delete("alice\u{7f}@thor", Err(AddressError::AgentCharacter))]
#[case::composed("jos\u{e9}@thor", Err(AddressError::AgentCharacter))]
#[case::decomposed("jose\u{301}@thor", Err(AddressError::AgentCharacter))]
#[case::wide_at("alice\u{ff20}thor", Err(AddressError::Shape))]
#[case::upper_case("alice@Thor", Err(AddressError::PlatformCharacter))]
#[case::platform_slash("alice@a/b", Err(AddressError::PlatformCharacter))]
#[case::platform_space("alice@thor ", Err(AddressError::PlatformCharacter))]
fn lg_3_addresses(#[case] text: &str, #[case] expected: Result<(), AddressError>) {
    assert_eq!(text.parse::<Address>().map(|_| ()), expected);
    let bytes = wire::encode(text);
    assert_eq!(
        wire::decode::<Address>(&bytes, 512).is_ok(),
        expected.is_ok()
    );
    let json = serde_json::to_string(text).unwrap();
    assert_eq!(
        serde_json::from_str::<Address>(&json).is_ok(),
        expected.is_ok()
    );
    if let Ok(address) = text.parse::<Address>() {
        assert_eq!(wire::encode(&address), bytes);
        assert_eq!(address.to_string(), text);
        assert_eq!(
            Address::new(address.agent(), address.platform()),
            Ok(address)
        );
    }
}

#[test]
fn lg_3_addresses_at_their_limits() {
    let agent = "a".repeat(128);
    let platform = "p".repeat(64);
    let longest = format!("{agent}@{platform}");
    assert_eq!(longest.len(), Address::LENGTH_MAX);
    assert!(longest.parse::<Address>().is_ok());
    let length = AddressError::AgentLength { length: 129 };
    assert_eq!(format!("a{longest}").parse::<Address>(), Err(length));
    let length = AddressError::PlatformLength { length: 65 };
    assert_eq!(format!("{longest}p").parse::<Address>(), Err(length));
    assert!(platform.parse::<PlatformName>().is_ok());
    assert!("a@b".parse::<PlatformName>().is_err());
    // A part cannot smuggle the separator in.
    assert_eq!(Address::new("a@b", "thor"), Err(AddressError::Shape));
}

#[test]
fn reasons_and_changes_are_bounded() {
    assert!("r".repeat(64).parse::<Reason>().is_ok());
    assert!("r".repeat(65).parse::<Reason>().is_err());
    assert!("line\nbreak".parse::<Reason>().is_err());
    assert!("quality \u{e9}".parse::<Reason>().is_err());
    assert!(CommitteeChange::new(&[0; 4_096]).is_ok());
    assert!(CommitteeChange::new(&[0; 4_097]).is_err());
    let bytes = wire::encode(serde_bytes_of(&[0; 4_097]));
    assert!(wire::decode::<CommitteeChange>(&bytes, 8_192).is_err());
}

/// A byte string has the wire form of a list of bytes.
fn serde_bytes_of(bytes: &[u8]) -> &[u8] {
    bytes
}

fn sample() -> Transaction {
    signed(
        "alice@thor",
        &["alice@thor"],
        vec![transfer("alice@thor", "bob@sprout", "1")],
        Height::new(5),
        1,
    )
    .transaction()
    .clone()
}

fn keys(count: u64) -> Vec<polity_crypto::PublicKey> {
    (0..count).map(|n| key(&format!("key{n}"))).collect()
}

#[rstest]
#[case::no_key(|t: &mut Transaction| t.keys.clear(), TransactionError::NoKey)]
#[case::keys(|t: &mut Transaction| t.keys = keys(65), TransactionError::TooManyKeys { found: 65 })]
#[case::duplicate(
    |t: &mut Transaction| t.keys.push(t.keys[0].clone()),
    TransactionError::DuplicateKey
)]
#[case::no_command(|t: &mut Transaction| t.commands.clear(), TransactionError::NoCommand)]
#[case::commands(
    |t: &mut Transaction| t.commands = vec![t.commands[0].clone(); 65],
    TransactionError::TooManyCommands { found: 65 }
)]
fn lg_5_transactions_have_bounds(
    #[case] change: fn(&mut Transaction),
    #[case] expected: TransactionError,
) {
    let mut transaction = sample();
    change(&mut transaction);
    let signatures = vec![polity_crypto::Signature::new(&[0; 64]); transaction.keys.len()];
    let bytes = wire::encode(&(&transaction, &signatures));
    assert_eq!(
        SignedTransaction::new(transaction, signatures),
        Err(expected)
    );
    // The decoder refuses the same.
    assert_eq!(
        SignedTransaction::decode(&bytes),
        Err(DecodeError::Malformed)
    );
}

#[test]
fn signatures_and_sizes_have_bounds() {
    let signature = |length| polity_crypto::Signature::new(&vec![0; length]);
    assert_eq!(
        SignedTransaction::new(sample(), vec![]),
        Err(TransactionError::SignatureCount)
    );
    assert_eq!(
        SignedTransaction::new(sample(), vec![signature(64); 2]),
        Err(TransactionError::SignatureCount)
    );
    assert_eq!(
        SignedTransaction::new(sample(), vec![signature(5_000)]),
        Err(TransactionError::SignatureLength)
    );
    let mut large = sample();
    let change = CommitteeChange::new(&[7; 4_096]).unwrap();
    large.commands = vec![Command::ChangeCommittee { change }; 17];
    assert!(matches!(
        SignedTransaction::new(large, vec![signature(64)]),
        Err(TransactionError::TooLarge { .. })
    ));
    let too_long = vec![0; SignedTransaction::LENGTH_MAX + 1];
    assert!(matches!(
        SignedTransaction::decode(&too_long),
        Err(DecodeError::TooLong { .. })
    ));
}

#[test]
fn transactions_round_trip_on_the_wire_and_in_json() {
    let roots = ["root1", "root2"];
    let commands = vec![
        common::open("dave@thor"),
        Command::CloseAccount {
            account: address("dave@thor"),
        },
        transfer("alice@thor", "bob@sprout", "0.000001"),
        lock("alice@thor", "bob@sprout", "1.5", 99),
        common::commit(polity_ledger::LockId::new([3; 32]), "1"),
        common::rollback(polity_ledger::LockId::new([4; 32])),
        Command::RotateKey {
            account: address("a@thor"),
            key: key("new"),
        },
        Command::FreezeAccount {
            account: address("a@thor"),
            frozen: true,
        },
        Command::RegisterPlatform {
            platform: "legion".parse().unwrap(),
            key: key("legion"),
            quota: 7,
        },
        Command::Mint {
            to: address("a@thor"),
            amount: Amount::SUPPLY_MAX,
        },
        Command::Burn {
            from: address("a@thor"),
            amount: amount("1"),
        },
        Command::ChangeCommittee {
            change: CommitteeChange::new(b"x").unwrap(),
        },
    ];
    let whole = signed("alice@thor", &roots, commands, Height::MAX, u64::MAX);
    let bytes = whole.encode();
    assert_eq!(whole.length() as usize, bytes.len());
    let read = SignedTransaction::decode(&bytes).unwrap();
    assert_eq!(read, whole);
    assert_eq!(read.id(), whole.id());
    let json = serde_json::to_string(&whole).unwrap();
    assert_eq!(
        serde_json::from_str::<SignedTransaction>(&json).unwrap(),
        whole
    );
    for length in 0..bytes.len() {
        assert!(SignedTransaction::decode(&bytes[..length]).is_err());
    }
    let mut trailing = bytes.clone();
    trailing.push(0);
    assert_eq!(
        SignedTransaction::decode(&trailing),
        Err(DecodeError::Trailing)
    );
}

#[test]
fn a_json_command_with_an_unknown_field_or_a_float_is_refused() {
    let good = r#"{"transfer":{"from":"a@thor","to":"b@thor","amount":"1.5"}}"#;
    assert!(serde_json::from_str::<Command>(good).is_ok());
    for bad in [
        r#"{"transfer":{"from":"a@thor","to":"b@thor","amount":1.5}}"#,
        r#"{"transfer":{"from":"a@thor","to":"b@thor","amount":"NaN"}}"#,
        r#"{"transfer":{"from":"a@thor","to":"b@thor","amount":"-1"}}"#,
        r#"{"transfer":{"from":"a@thor","to":"b@thor","amount":"1","memo":"x"}}"#,
        r#"{"transfer":{"from":"a@thor","to":"b@thor"}}"#,
        r#"{"balance_set":{"account":"a@thor","amount":"1"}}"#,
        r#"{"atomic":[]}"#,
    ] {
        assert!(serde_json::from_str::<Command>(bad).is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn decoding_arbitrary_bytes_never_panics_and_is_canonical(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        place in 0_usize..200,
        value: u8,
    ) {
        if let Ok(transaction) = SignedTransaction::decode(&bytes) {
            prop_assert_eq!(transaction.encode(), bytes);
        }
        let mut changed = signed(
            "alice@thor",
            &["alice@thor"],
            vec![transfer("alice@thor", "bob@sprout", "1")],
            Height::new(5),
            1,
        )
        .encode();
        let place = place % changed.len();
        changed[place] = value;
        if let Ok(transaction) = SignedTransaction::decode(&changed) {
            prop_assert_eq!(transaction.encode(), changed);
        }
    }
}

#[rstest]
#[case::fits(|_: &mut Genesis| {}, Ok(()))]
#[case::zero(
    |g: &mut Genesis| g.parameters.lock_horizon_ms = 0,
    Err(GenesisError::Zero { field: "lock_horizon_ms" })
)]
#[case::horizon(
    |g: &mut Genesis| g.parameters.validity_horizon = 65_537,
    Err(GenesisError::TooLarge { field: "validity_horizon", value: 65_537, max: 65_536 })
)]
#[case::recent_ids(
    |g: &mut Genesis| g.parameters.validity_horizon = 1_001,
    Err(GenesisError::RecentIds { needed: 8_200_192, max: 8_192_000 })
)]
#[case::price(
    |g: &mut Genesis| g.parameters.fee_flat = Amount::from_units(u128::MAX),
    Err(GenesisError::Price { field: "fee_flat" })
)]
#[case::no_threshold(
    |g: &mut Genesis| g.authority.threshold = 0,
    Err(GenesisError::Threshold { threshold: 0, keys: 3 })
)]
#[case::high_threshold(
    |g: &mut Genesis| g.authority.threshold = 4,
    Err(GenesisError::Threshold { threshold: 4, keys: 3 })
)]
#[case::authority_key_twice(
    |g: &mut Genesis| g.authority.keys[2] = g.authority.keys[0].clone(),
    Err(GenesisError::DuplicateKey { index: 2 })
)]
#[case::authority_keys(
    |g: &mut Genesis| g.authority = Authority { keys: keys(65), threshold: 1 },
    Err(GenesisError::AuthorityKeys { found: 65, max: 64 })
)]
#[case::platform_twice(
    |g: &mut Genesis| g.platforms[1].name = "thor".parse().unwrap(),
    Err(GenesisError::DuplicatePlatform { index: 1 })
)]
#[case::account_twice(
    |g: &mut Genesis| g.accounts[2].address = address("alice@thor"),
    Err(GenesisError::DuplicateAccount { index: 2 })
)]
#[case::unknown_platform(
    |g: &mut Genesis| g.accounts[1].address = address("bob@legion"),
    Err(GenesisError::UnknownPlatform { index: 1 })
)]
#[case::accounts(
    |g: &mut Genesis| g.parameters.accounts_max = 3,
    Err(GenesisError::Accounts { found: 4, max: 3 })
)]
#[case::supply(
    |g: &mut Genesis| g.accounts[1].balance = Amount::SUPPLY_MAX,
    Err(GenesisError::Supply { index: 1 })
)]
fn lg_11_genesis(#[case] change: fn(&mut Genesis), #[case] expected: Result<(), GenesisError>) {
    let mut genesis = genesis(Parameters::default());
    let before = genesis.digest();
    change(&mut genesis);
    assert_eq!(genesis.validate(), expected);
    assert_eq!(
        genesis.digest() == before,
        expected.is_ok(),
        "every change shows"
    );
    let json = serde_json::to_string(&genesis).unwrap();
    let read: Result<Genesis, _> = serde_json::from_str(&json);
    // An amount above the supply is no amount in a text.
    if !matches!(expected, Err(GenesisError::Price { .. })) {
        assert_eq!(read.unwrap(), genesis);
    }
}
