//! `polity-ledger`: leaves of receipts, accounts and locks.
//!
//! A leaf has no wrong input. So inputs claim a root or leaf, and the broken cases claim it for
//! something else.

use crate::fields::{array, list, text};
use polity_crypto::Sha256Digest;
use polity_ledger::{
    AccountView, LockId, LockState, LockView, Outcome, Receipt, Rejection, TransactionId,
    receipts_root,
};
use polity_testkit::topic::{Case, Topic};
use polity_types::{Amount, Height, Time};
use serde_json::{Value as Json, json};

pub(crate) const RECEIPT: Topic = Topic {
    file: "ledger/receipt.v1.json",
    spec: "docs/spec/ledger.md, LG-8 and LG-10",
    cases: receipts,
    answer: receipt,
};

pub(crate) const STATE: Topic = Topic {
    file: "ledger/state.v1.json",
    spec: "docs/spec/ledger.md, LG-10",
    cases: states,
    answer: state,
};

fn receipt(input: &Json) -> Result<Json, Json> {
    let read: Result<Vec<Receipt>, _> = list(input, "receipts")
        .iter()
        .map(|receipt| serde_json::from_value(receipt.clone()))
        .collect();
    let Ok(receipts) = read else {
        return Err(json!({ "error": "no receipt" }));
    };
    let root = receipts_root(&receipts);
    let leaves: Vec<String> = receipts.iter().map(|r| r.leaf().to_string()).collect();
    let answer = json!({ "leaves": leaves, "root": root.to_string() });
    if root == Sha256Digest::new(array(input, "claimed_root")) {
        Ok(answer)
    } else {
        Err(answer)
    }
}

fn one(index: u32, outcome: Result<Outcome, Rejection>) -> Receipt {
    Receipt {
        id: TransactionId::new([index as u8 + 1; 32]),
        height: Height::new(5),
        index,
        fee: Amount::from_units(250),
        outcome,
        refused_command: outcome.is_err().then_some(0),
    }
}

fn receipts() -> Vec<Case> {
    let json_of = |receipts: &[Receipt]| serde_json::to_value(receipts).expect("plain fields");
    let input = |receipts: &[Receipt]| {
        json!({
            "receipts": json_of(receipts),
            "claimed_root": receipts_root(receipts).to_string(),
        })
    };
    let good = |name: &str, comment: &str, receipts: &[Receipt]| {
        Case::valid(name, comment, &[], input(receipts))
    };
    let applied = one(0, Ok(Outcome::Applied));
    let locked = one(1, Ok(Outcome::Locked(LockId::new([0x10; 32]))));
    let refused = one(2, Err(Rejection::InsufficientFunds));
    let later_command = Receipt {
        refused_command: Some(63),
        ..refused
    };
    let mut cases = vec![
        good("none", "A block without transactions.", &[]),
        good("applied", "Everything was done.", &[applied]),
        good(
            "locked",
            "With the lock that it made.",
            &[one(0, locked.outcome)],
        ),
        good(
            "refused",
            "With the code of the refusal.",
            &[one(0, refused.outcome)],
        ),
        good(
            "last_command",
            "The last of 64 commands was refused.",
            &[later_command],
        ),
        good("three", "In block order.", &[applied, locked, refused]),
    ];
    // Each field is under the root.
    let honest = input(&[applied, locked, refused]);
    let others = [
        (
            "id",
            0,
            "id",
            json!(TransactionId::new([9; 32]).to_string()),
        ),
        ("height", 0, "height", json!(6)),
        ("index", 0, "index", json!(1)),
        ("fee", 0, "fee", json!("0.000251")),
        (
            "applied_as_locked",
            0,
            "outcome",
            json!({ "Ok": { "locked": "10".repeat(32) } }),
        ),
        (
            "locked_as_applied",
            1,
            "outcome",
            json!({ "Ok": "applied" }),
        ),
        (
            "another_lock",
            1,
            "outcome",
            json!({ "Ok": { "locked": "11".repeat(32) } }),
        ),
        (
            "refused_as_applied",
            2,
            "outcome",
            json!({ "Ok": "applied" }),
        ),
        (
            "another_refusal",
            2,
            "outcome",
            json!({ "Err": "zero_amount" }),
        ),
        ("another_command", 2, "refused_command", json!(1)),
        ("no_command", 2, "refused_command", Json::Null),
        (
            "unknown_refusal",
            2,
            "outcome",
            json!({ "Err": "no_reason" }),
        ),
    ];
    for (name, place, field, value) in others {
        let mut changed = honest.clone();
        changed["receipts"][place][field] = value;
        let comment = format!("Another {field} than the root covers.");
        cases.push(Case::invalid(name, &comment, &["field"], changed));
    }
    let root = text(&honest, "claimed_root");
    for (name, comment, receipts) in [
        (
            "swapped",
            "Order counts.",
            [locked, applied, refused].as_slice(),
        ),
        ("dropped", "Every receipt counts.", &[applied, locked]),
        (
            "repeated",
            "Once each.",
            &[applied, locked, refused, refused],
        ),
    ] {
        let input = json!({ "receipts": json_of(receipts), "claimed_root": root });
        cases.push(Case::invalid(name, comment, &["order"], input));
    }
    cases
}

fn state(input: &Json) -> Result<Json, Json> {
    let leaf = if let Some(account) = input.get("account") {
        serde_json::from_value::<AccountView>(account.clone()).map(|account| account.leaf())
    } else {
        serde_json::from_value::<LockView>(input["lock"].clone()).map(|lock| lock.leaf())
    };
    let leaf = leaf.map_err(|_| json!({ "error": "no account and no lock" }))?;
    let answer = json!({ "leaf": leaf.to_string() });
    if leaf == Sha256Digest::new(array(input, "claimed_leaf")) {
        Ok(answer)
    } else {
        Err(answer)
    }
}

pub(crate) fn account() -> AccountView {
    AccountView {
        address: "alice@thor".parse().expect("an address"),
        owner: Sha256Digest::new([3; 32]),
        total: Amount::from_units(1_000_000_000),
        locked: Amount::from_units(200_000_000),
        outgoing_locks: 1,
        incoming_locks: 2,
        is_frozen: false,
        is_closed: false,
        changed: Height::new(5),
    }
}

pub(crate) fn lock() -> LockView {
    LockView {
        id: LockId::new([0x10; 32]),
        from: "alice@thor".parse().expect("an address"),
        to: "bob@sprout".parse().expect("an address"),
        amount: Amount::from_units(200_000_000),
        paid: Amount::ZERO,
        expires: Time::from_millis(60_000),
        state: LockState::Open,
        settled_at: Height::ZERO,
        sequence: 0,
    }
}

fn of_account(account: &AccountView) -> Json {
    json!({
        "account": serde_json::to_value(account).expect("plain fields"),
        "claimed_leaf": account.leaf().to_string(),
    })
}

fn of_lock(lock: &LockView) -> Json {
    json!({
        "lock": serde_json::to_value(lock).expect("plain fields"),
        "claimed_leaf": lock.leaf().to_string(),
    })
}

fn states() -> Vec<Case> {
    let good = |name: &str, comment: &str, input| Case::valid(name, comment, &[], input);
    let mut cases = vec![
        good("account", "With open locks.", of_account(&account())),
        good(
            "frozen_account",
            "Flag 1.",
            of_account(&AccountView {
                is_frozen: true,
                ..account()
            }),
        ),
        good(
            "closed_account",
            "Flag 2.",
            of_account(&AccountView {
                total: Amount::ZERO,
                locked: Amount::ZERO,
                outgoing_locks: 0,
                incoming_locks: 0,
                is_closed: true,
                ..account()
            }),
        ),
        good("open_lock", "State 0.", of_lock(&lock())),
    ];
    for (name, number, state, paid) in [
        ("committed_lock", 1, LockState::Committed, 150_000_000),
        ("rolled_back_lock", 2, LockState::RolledBack, 0),
        ("expired_lock", 3, LockState::Expired, 0),
    ] {
        let settled = LockView {
            state,
            paid: Amount::from_units(paid),
            settled_at: Height::new(6),
            sequence: 1,
            ..lock()
        };
        assert_eq!(state as u8, number);
        cases.push(good(name, &format!("State {number}."), of_lock(&settled)));
    }
    let digest = json!("04".repeat(32));
    let others = [
        ("account", "address", json!("alice@sprout")),
        ("account", "owner", digest.clone()),
        ("account", "total", json!("1000.000001")),
        ("account", "locked", json!("199")),
        ("account", "outgoing_locks", json!(2)),
        ("account", "incoming_locks", json!(1)),
        ("account", "is_frozen", json!(true)),
        ("account", "is_closed", json!(true)),
        ("account", "changed", json!(6)),
        ("lock", "id", digest),
        ("lock", "from", json!("alicf@thor")),
        ("lock", "to", json!("bob@thor")),
        ("lock", "amount", json!("201")),
        ("lock", "paid", json!("1")),
        ("lock", "expires", json!(60_001)),
        ("lock", "settled_at", json!(1)),
        ("lock", "sequence", json!(1)),
    ];
    for (kind, field, value) in others {
        let mut changed = if kind == "account" {
            of_account(&account())
        } else {
            of_lock(&lock())
        };
        changed[kind][field] = value;
        let name = format!("{kind}_{field}");
        let comment = format!("Another {field} than the leaf covers.");
        cases.push(Case::invalid(&name, &comment, &["field"], changed));
    }
    let mut other_state = of_lock(&lock());
    other_state["lock"]["state"] = of_lock(&LockView {
        state: LockState::Expired,
        ..lock()
    })["lock"]["state"]
        .clone();
    cases.push(Case::invalid(
        "lock_state",
        "Expired is not open.",
        &["field"],
        other_state,
    ));
    cases
}
