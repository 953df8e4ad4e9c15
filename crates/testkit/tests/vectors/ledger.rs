//! `polity-ledger`: addresses and transactions.

use crate::federation::signer;
use crate::fields::{array, bytes, hex, text};
use polity_crypto::ed25519::{Ed25519Signer, Ed25519Verifier};
use polity_crypto::stub::StubSigner;
use polity_crypto::{Checker, PublicKey, Signature, Signer, Suite, Tier};
use polity_ledger::{
    Address, AddressError, Command, CommitteeChange, LockId, PlatformName, SignedTransaction,
    Transaction,
};
use polity_replica::{AdmitError, admit};
use polity_testkit::topic::{Case, Topic};
use polity_types::{Amount, ChainId, Height, Time};
use serde_json::{Value as Json, json};

pub(crate) const ADDRESS: Topic = Topic {
    file: "ledger/address.v1.json",
    spec: "docs/spec/ledger.md, LG-3",
    cases: addresses,
    answer: address,
};

pub(crate) const TRANSACTION: Topic = Topic {
    file: "ledger/transaction.v1.json",
    spec: "docs/spec/ledger.md, LG-4 and LG-5",
    cases: transactions,
    answer: transaction,
};

fn reason(error: AddressError) -> Json {
    json!({ "error": match error {
        AddressError::Shape => "shape",
        AddressError::AgentLength { .. } => "agent length",
        AddressError::AgentCharacter => "agent character",
        AddressError::PlatformLength { .. } => "platform length",
        AddressError::PlatformCharacter => "platform character",
    }})
}

fn address(input: &Json) -> Result<Json, Json> {
    if input.get("platform").is_some() {
        let name = text(input, "platform").parse::<PlatformName>();
        return name
            .map(|name| json!({ "platform": name.as_str() }))
            .map_err(reason);
    }
    let address = text(input, "address").parse::<Address>().map_err(reason)?;
    Ok(json!({ "agent": address.agent(), "platform": address.platform() }))
}

fn addresses() -> Vec<Case> {
    let good =
        |name, comment, text: &str| Case::valid(name, comment, &[], json!({ "address": text }));
    let bad =
        |name, comment, text: &str| Case::invalid(name, comment, &[], json!({ "address": text }));
    let platform = |text: &str| json!({ "platform": text });
    let long_agent = "a".repeat(128);
    let long_platform = "p".repeat(64);
    vec![
        good("plain", "As in Web4's own demo.", "alice@thor"),
        good("shortest", "One character each.", "a@b"),
        good(
            "longest",
            "128 and 64 characters.",
            &format!("{long_agent}@{long_platform}"),
        ),
        good(
            "agent_characters",
            "Printable ASCII without @ and space.",
            "!#$%&'*+-/=?^_`{|}~AZ09@thor",
        ),
        good(
            "platform_characters",
            "Lower case, digits and three signs.",
            "a@a-z_0.9",
        ),
        Case::valid(
            "platform",
            "A platform alone.",
            &["platform"],
            platform("thor"),
        ),
        Case::valid(
            "longest_platform",
            "64 characters.",
            &["platform"],
            platform(&long_platform),
        ),
        bad("no_at", "There is no platform.", "alice"),
        bad("two_ats", "One @ at most.", "alice@thor@sprout"),
        bad("no_agent", "Nobody.", "@thor"),
        bad("no_platform", "Nowhere.", "alice@"),
        bad("empty", "Nothing.", ""),
        bad(
            "long_agent",
            "129 characters.",
            &format!("a{long_agent}@thor"),
        ),
        bad(
            "long_platform",
            "65 characters.",
            &format!("alice@p{long_platform}"),
        ),
        bad("space", "No spaces.", "alice smith@thor"),
        bad(
            "control",
            "Nothing that cannot be seen.",
            "alice\u{7f}@thor",
        ),
        bad(
            "composed",
            "No Unicode: it has several spellings.",
            "ren\u{e9}@thor",
        ),
        bad(
            "decomposed",
            "The other spelling of the same name.",
            "rene\u{301}@thor",
        ),
        bad(
            "upper_case_platform",
            "Platforms are lower case.",
            "alice@Thor",
        ),
        bad("platform_slash", "No other signs.", "alice@thor/a"),
        Case::invalid(
            "platform_with_agent",
            "No @.",
            &["platform"],
            platform("a@thor"),
        ),
        Case::invalid("empty_platform", "Nothing.", &["platform"], platform("")),
    ]
}

fn transaction(input: &Json) -> Result<Json, Json> {
    let chain = ChainId::new(array(input, "chain"));
    let mut checker = Checker::new(Ed25519Verifier::default(), 0);
    let admitted = admit(
        &bytes(input, "transaction"),
        chain,
        Tier::Ed25519,
        &mut checker,
    );
    let signed = admitted.map_err(|error| {
        json!({ "error": match error {
            AdmitError::Decode(_) => "no transaction",
            AdmitError::WrongChain => "wrong chain",
            AdmitError::BelowFloor => "below the floor",
            AdmitError::Signature(_) => "signature",
        }})
    })?;
    let content = signed.transaction();
    Ok(json!({
        "id": signed.id().to_string(),
        "preimage": hex(content.preimage().as_slice()),
        "fields": serde_json::to_value(content).expect("plain fields"),
        "length": signed.length(),
        "lock_ids": (0..content.commands.len() as u8)
            .map(|item| LockId::derive(&signed.id(), item).to_string())
            .collect::<Vec<_>>(),
    }))
}

const CHAIN: ChainId = ChainId::new([7; 32]);

/// A transaction of the first signer.
fn unsigned(commands: Vec<Command>) -> Transaction {
    Transaction {
        chain: CHAIN,
        signer: at("alice@thor"),
        keys: vec![signer(0).public_key().clone()],
        commands,
        valid_until: Height::new(1_000),
        nonce: 7,
    }
}

fn at(text: &str) -> Address {
    text.parse().expect("an address")
}

fn atp(text: &str) -> Amount {
    text.parse().expect("an amount")
}

fn sign(transaction: Transaction, signers: &[Ed25519Signer]) -> Vec<u8> {
    let signers: Vec<&dyn Signer> = signers.iter().map(|s| s as &dyn Signer).collect();
    transaction
        .sign(&signers)
        .expect("a possible transaction")
        .encode()
}

fn commands() -> Vec<(&'static str, &'static str, Command)> {
    let (alice, bob) = (at("alice@thor"), at("bob@sprout"));
    let lock = LockId::new([0x10; 32]);
    let key = signer(2).public_key().clone();
    vec![
        (
            "open_account",
            "Tag 1.",
            Command::OpenAccount {
                account: at("carol@thor"),
                owner: key.clone(),
            },
        ),
        (
            "close_account",
            "Tag 2.",
            Command::CloseAccount {
                account: at("carol@thor"),
            },
        ),
        (
            "transfer",
            "Tag 3.",
            Command::Transfer {
                from: alice.clone(),
                to: bob.clone(),
                amount: atp("200"),
            },
        ),
        (
            "lock",
            "Tag 4.",
            Command::Lock {
                from: alice.clone(),
                to: bob.clone(),
                amount: atp("200"),
                expires: Time::from_millis(60_000),
            },
        ),
        (
            "commit",
            "Tag 5.",
            Command::Commit {
                lock,
                amount: atp("200"),
            },
        ),
        (
            "rollback",
            "Tag 6.",
            Command::Rollback {
                lock,
                reason: "no such order".parse().expect("short"),
            },
        ),
        (
            "rotate_key",
            "Tag 7.",
            Command::RotateKey {
                account: alice,
                key: key.clone(),
            },
        ),
        (
            "freeze_account",
            "Tag 8.",
            Command::FreezeAccount {
                account: bob.clone(),
                frozen: true,
            },
        ),
        (
            "register_platform",
            "Tag 9.",
            Command::RegisterPlatform {
                platform: "legion".parse().expect("a name"),
                key,
                quota: 100,
            },
        ),
        (
            "mint",
            "Tag 10, the largest amount.",
            Command::Mint {
                to: bob.clone(),
                amount: Amount::SUPPLY_MAX,
            },
        ),
        (
            "burn",
            "Tag 11.",
            Command::Burn {
                from: bob,
                amount: atp("0.000001"),
            },
        ),
        (
            "change_committee",
            "Tag 12.",
            Command::ChangeCommittee {
                change: CommitteeChange::new(b"change").expect("short"),
            },
        ),
    ]
}

fn transfer() -> Command {
    Command::Transfer {
        from: at("alice@thor"),
        to: at("bob@sprout"),
        amount: atp("200"),
    }
}

/// The bytes with another piece in the place of the only one that is equal to `old`.
fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let places: Vec<usize> = (0..=bytes.len() - old.len())
        .filter(|place| bytes[*place..].starts_with(old))
        .collect();
    let [place] = places.as_slice() else {
        panic!("{places:?} are not one place");
    };
    [&bytes[..*place], new, &bytes[place + old.len()..]].concat()
}

fn transactions() -> Vec<Case> {
    let input = |bytes: &[u8]| json!({ "chain": CHAIN.to_string(), "transaction": hex(bytes) });
    let mut cases: Vec<Case> = commands()
        .into_iter()
        .map(|(name, comment, command)| {
            let bytes = sign(unsigned(vec![command]), &[signer(0)]);
            Case::valid(name, comment, &["command"], input(&bytes))
        })
        .collect();
    let all = commands()
        .into_iter()
        .map(|(.., command)| command)
        .collect();
    let two_keys = Transaction {
        keys: vec![
            signer(0).public_key().clone(),
            signer(1).public_key().clone(),
        ],
        ..unsigned(vec![transfer()])
    };
    cases.extend([
        Case::valid(
            "atomic",
            "Several commands happen together.",
            &[],
            input(&sign(unsigned(all), &[signer(0)])),
        ),
        Case::valid(
            "two_keys",
            "Both sign the one preimage.",
            &[],
            input(&sign(two_keys.clone(), &[signer(0), signer(1)])),
        ),
    ]);
    let good = sign(unsigned(vec![transfer()]), &[signer(0)]);
    let bad =
        |name, comment, flag, bytes: &[u8]| Case::invalid(name, comment, &[flag], input(bytes));
    cases.extend(
        broken_signatures(&good, &two_keys)
            .into_iter()
            .map(|(name, comment, bytes)| bad(name, comment, "signature", &bytes)),
    );
    cases.extend(
        broken_encodings(&good)
            .into_iter()
            .map(|(name, comment, bytes)| bad(name, comment, "encoding", &bytes)),
    );
    let other_chain = json!({
        "chain": ChainId::new([8; 32]).to_string(),
        "transaction": hex(&good),
    });
    cases.push(Case::invalid(
        "wrong_chain",
        "Signed for another one.",
        &["chain"],
        other_chain,
    ));
    cases
}

type Broken = (&'static str, &'static str, Vec<u8>);

fn broken_signatures(good: &[u8], two_keys: &Transaction) -> Vec<Broken> {
    let content = unsigned(vec![transfer()]);
    let flipped = {
        let mut bytes = good.to_vec();
        *bytes.last_mut().expect("not empty") ^= 1;
        bytes
    };
    let of = |signature: Signature| {
        let signed = SignedTransaction::new(content.clone(), vec![signature]);
        signed.expect("a possible transaction").encode()
    };
    let other = Transaction {
        nonce: 8,
        ..content.clone()
    };
    let stub = StubSigner::new(1);
    let with_stub = Transaction {
        keys: vec![stub.public_key().clone()],
        ..content.clone()
    };
    let mut point = [0; 32];
    point[0] = 1;
    let weak = Transaction {
        keys: vec![PublicKey::new(Suite::Ed25519, &point).expect("32 bytes")],
        ..content.clone()
    };
    // With a key of small order, this signature holds for every message in a lax verifier.
    let mut identity = [0; 64];
    identity[0] = 1;
    vec![
        ("flipped", "One bit.", flipped),
        (
            "of_another",
            "Signed over another nonce.",
            of(signer(0).sign(&other.preimage())),
        ),
        (
            "by_another",
            "Signed with another key.",
            of(signer(1).sign(&content.preimage())),
        ),
        ("short", "63 bytes.", of(Signature::new(&[1; 63]))),
        ("none", "No bytes.", of(Signature::new(&[]))),
        (
            "crossed",
            "Two signatures in another order.",
            sign(two_keys.clone(), &[signer(1), signer(0)]),
        ),
        (
            "stub_key",
            "A checksum is below the floor (CR-6).",
            with_stub
                .sign(&[&stub])
                .expect("a possible transaction")
                .encode(),
        ),
        (
            "weak_key",
            "A key of small order signs everything (CR-1).",
            SignedTransaction::new(weak, vec![Signature::new(&identity)])
                .expect("a possible transaction")
                .encode(),
        ),
    ]
}

fn broken_encodings(good: &[u8]) -> Vec<Broken> {
    let cut = good[..good.len() - 1].to_vec();
    let trailing = [good, &[0]].concat();
    // One key, one command, one signature; each list starts with its length.
    let key = [&[1, 33, 2], signer(0).public_key().key_bytes()].concat();
    let twice = [&[2], &key[1..], &key[1..]].concat();
    let transfer = b"\x01\x02\x0aalice@thor\x0abob@sprout";
    let signature = &good[good.len() - 66..];
    assert_eq!(signature[..2], [1, 64]);
    let two_signatures = [
        &good[..good.len() - 66],
        &[2],
        &signature[1..],
        &signature[1..],
    ]
    .concat();
    let amount = atp("200").units();
    assert_eq!(amount, 200_000_000, "five bytes as a varint");
    vec![
        ("empty", "No bytes.", Vec::new()),
        ("cut", "The last byte is missing.", cut),
        ("trailing", "A byte behind it.", trailing),
        ("no_key", "Nobody signs.", replaced(good, &key, &[0])),
        (
            "one_key_twice",
            "Each key once.",
            replaced(good, &key, &twice),
        ),
        ("two_signatures", "One for each key.", two_signatures),
        (
            "unknown_command",
            "There is no command 12.",
            replaced(good, &transfer[..2], b"\x01\x0c"),
        ),
        (
            "bad_payee",
            "No address.",
            replaced(good, b"bob@sprout", b"bob_sprout"),
        ),
        (
            "bad_payer",
            "Upper case in a platform.",
            replaced(good, b"\x01\x02\x0aalice@thor", b"\x01\x02\x0aalice@Thor"),
        ),
        ("over_long", "The nonce in two bytes.", {
            let end = [&[7], signature].concat();
            let longer = [&[0x87, 0], signature].concat();
            replaced(good, &end, &longer)
        }),
        ("short_chain", "31 bytes.", [&[31], &good[2..]].concat()),
    ]
}
