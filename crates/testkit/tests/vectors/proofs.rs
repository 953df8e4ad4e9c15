//! `polity-ledger`: proofs of receipts, accounts and locks, for those who know a root.

use crate::federation::digest;
use crate::fields::{array, bytes, hex, text};
use crate::leaves::{self, lock};
use polity_crypto::Sha256Digest;
use polity_ledger::{
    AccountView, LockId, LockView, Outcome, Receipt, ReceiptProof, Rejection, Sections, StateProof,
    TransactionId, receipts_root,
};
use polity_merkle::{InclusionProof, IndexedTree};
use polity_testkit::topic::{Case, Topic};
use polity_types::{Amount, Height, wire};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value as Json, json};

pub(crate) const PROOF: Topic = Topic {
    file: "ledger/proof.v1.json",
    spec: "docs/spec/ledger.md, LG-10",
    cases: proofs,
    answer: proof,
};

fn read<T: DeserializeOwned + Serialize>(input: &Json) -> Result<T, Json> {
    let decoded = wire::decode(&bytes(input, "proof"), 64 * 1024);
    decoded.map_err(|_| json!({ "error": "no proof" }))
}

fn plain(value: &impl Serialize) -> Json {
    serde_json::to_value(value).expect("plain fields")
}

fn proof(input: &Json) -> Result<Json, Json> {
    let root = Sha256Digest::new(array(input, "root"));
    let proven = match text(input, "of") {
        "receipt" => {
            let proof: ReceiptProof = read(input)?;
            proof.verify(&root).map(plain)
        }
        "account" => {
            let proof: StateProof<AccountView> = read(input)?;
            proof.verify(&root).map(plain)
        }
        "lock" => {
            let proof: StateProof<LockView> = read(input)?;
            proof.verify(&root).map(plain)
        }
        other => panic!("nobody proves a {other}"),
    };
    let value = proven.map_err(|_| json!({ "error": "it does not hold" }))?;
    Ok(json!({ "value": value }))
}

fn receipts() -> [Receipt; 3] {
    let lock = LockId::new([0x10; 32]);
    let outcomes = [
        Ok(Outcome::Applied),
        Ok(Outcome::Locked(lock)),
        Err(Rejection::InsufficientFunds),
    ];
    let mut index = 0;
    outcomes.map(|outcome| {
        index += 1;
        Receipt {
            id: TransactionId::new([index as u8; 32]),
            height: Height::new(5),
            index: index - 1,
            fee: Amount::from_units(250),
            outcome,
            refused_command: outcome.is_err().then_some(0),
        }
    })
}

fn account() -> AccountView {
    AccountView {
        incoming_locks: 0,
        owner: digest(3),
        ..leaves::account()
    }
}

/// The path of the second of three leaves, with the root of these.
fn second(leaf: Sha256Digest) -> (InclusionProof, Sha256Digest) {
    let mut tree = IndexedTree::new();
    for leaf in [digest(0xa1), leaf, digest(0xa2)] {
        tree.push(leaf);
    }
    (tree.inclusion(1).expect("it is there"), tree.root())
}

fn sections(accounts: Sha256Digest, locks: Sha256Digest) -> Sections {
    Sections {
        accounts,
        accounts_len: 3,
        locks,
        locks_len: 3,
        platforms: digest(0xb1),
        recent: digest(0xb2),
        offences: digest(0xb3),
        authority: digest(0xb4),
        parameters: digest(0xb5),
    }
}

fn account_proof() -> StateProof<AccountView> {
    let (inclusion, root) = second(account().leaf());
    StateProof {
        value: account(),
        inclusion,
        sections: sections(root, digest(0xb0)),
    }
}

fn lock_proof() -> StateProof<LockView> {
    let (inclusion, root) = second(lock().leaf());
    StateProof {
        value: lock(),
        inclusion,
        sections: sections(digest(0xb0), root),
    }
}

/// Name, comment, and what is changed of an honest proof.
type Change<T> = (&'static str, &'static str, fn(&mut T));

fn proofs() -> Vec<Case> {
    let of_receipt = |proof: &ReceiptProof| {
        let root = receipts_root(&receipts()).to_string();
        json!({ "of": "receipt", "root": root, "proof": hex(&wire::encode(proof)) })
    };
    let of_account = |proof: &StateProof<AccountView>| {
        let root = account_proof().sections.root().to_string();
        json!({ "of": "account", "root": root, "proof": hex(&wire::encode(proof)) })
    };
    let of_lock = |proof: &StateProof<LockView>| {
        let root = lock_proof().sections.root().to_string();
        json!({ "of": "lock", "root": root, "proof": hex(&wire::encode(proof)) })
    };
    let prove = |index| ReceiptProof::new(&receipts(), index).expect("it is there");
    let good = |name: &str, comment: &str, input| Case::valid(name, comment, &[], input);
    let mut cases = vec![
        good("applied", "The first of three.", of_receipt(&prove(0))),
        good("locked", "The second of three.", of_receipt(&prove(1))),
        good(
            "refused",
            "The last of three: its path is shorter.",
            of_receipt(&prove(2)),
        ),
        good(
            "account",
            "In its slot, under the section of accounts.",
            of_account(&account_proof()),
        ),
        good(
            "lock",
            "In its slot, under the section of locks.",
            of_lock(&lock_proof()),
        ),
    ];
    let receipt: [Change<ReceiptProof>; 8] = [
        (
            "receipt_of_another",
            "The id of another transaction.",
            |p| p.receipt.id = TransactionId::new([9; 32]),
        ),
        ("receipt_elsewhere", "Another place than the path.", |p| {
            p.receipt.index = 2;
        }),
        ("receipt_moved", "The path of another place.", |p| {
            p.inclusion.index = 0;
        }),
        ("receipt_longer_path", "A digest too many.", |p| {
            p.inclusion.path.push(digest(1));
        }),
        ("receipt_shorter_path", "A digest too few.", |p| {
            p.inclusion.path.truncate(1);
        }),
        (
            "receipt_crossed_path",
            "The digests in another order.",
            |p| p.inclusion.path.reverse(),
        ),
        ("receipt_size", "A block of another size.", |p| {
            p.inclusion.size = 5;
        }),
        // The leaf counts from 1, so 255 would be the leaf of "none".
        (
            "receipt_command",
            "A number of a command that no transaction has.",
            |p| p.receipt.refused_command = Some(255),
        ),
    ];
    for (name, comment, change) in receipt {
        let mut proof = prove(1);
        change(&mut proof);
        cases.push(Case::invalid(
            name,
            comment,
            &["receipt"],
            of_receipt(&proof),
        ));
    }
    let state: [Change<StateProof<AccountView>>; 6] = [
        ("account_richer", "More than the leaf says.", |p| {
            p.value.total = Amount::SUPPLY_MAX;
        }),
        ("account_of_another", "The account of somebody else.", |p| {
            p.value.owner = digest(4);
        }),
        ("account_moved", "Another slot.", |p| p.inclusion.index = 2),
        ("account_size", "Another size than the section has.", |p| {
            p.inclusion.size = 2;
        }),
        (
            "account_sections",
            "Another section of locks than the root covers.",
            |p| p.sections.locks = digest(1),
        ),
        (
            "account_of_own_tree",
            "A tree of its own under the sections.",
            |p| {
                p.value.total = Amount::SUPPLY_MAX;
                let (inclusion, root) = second(p.value.leaf());
                (p.inclusion, p.sections.accounts) = (inclusion, root);
            },
        ),
    ];
    for (name, comment, change) in state {
        let mut proof = account_proof();
        change(&mut proof);
        cases.push(Case::invalid(name, comment, &["state"], of_account(&proof)));
    }
    let mut moved = lock_proof();
    (moved.sections.locks, moved.sections.accounts) = (digest(0xb0), moved.sections.locks);
    cases.push(Case::invalid(
        "lock_among_accounts",
        "The section of accounts in the place of that of locks.",
        &["state"],
        of_lock(&moved),
    ));
    let mut other = of_lock(&lock_proof());
    other["root"] = account_proof().sections.root().to_string().into();
    cases.push(Case::invalid(
        "lock_of_another_root",
        "A root that has no such lock.",
        &["state"],
        other,
    ));
    let honest = wire::encode(&prove(1));
    for (name, comment, bytes) in [
        ("empty", "No bytes.", Vec::new()),
        (
            "cut",
            "The last byte is missing.",
            honest[..honest.len() - 1].to_vec(),
        ),
        (
            "trailing",
            "A byte behind it.",
            [&honest[..], &[0]].concat(),
        ),
        (
            "over_long_length",
            "The length 32 in two bytes.",
            [&[0xa0, 0], &honest[1..]].concat(),
        ),
        ("short_id", "31 bytes.", [&[31], &honest[2..]].concat()),
        (
            "state_as_receipt",
            "A proof of something else.",
            wire::encode(&account_proof()),
        ),
    ] {
        let mut input = of_receipt(&prove(1));
        input["proof"] = hex(&bytes).into();
        cases.push(Case::invalid(name, comment, &["encoding"], input));
    }
    cases
}
