//! Keys and identities that another implementation computed.

use polity_crypto::ed25519::{Ed25519Signer, Ed25519Verifier};
use polity_crypto::{
    Blake3Digest, Preimage, Signer, Verifier, domain, fork_id, root_chain_id, root_fork_id,
};
use polity_testkit::vectors::{self, File, Test};
use serde_json::Value;
use std::fmt::Debug;
use std::process::ExitCode;
use std::str::FromStr;

fn text(value: &Value) -> &str {
    value.as_str().expect("the field is a text")
}

fn parsed<T: FromStr<Err: Debug>>(value: &Value) -> T {
    text(value)
        .parse()
        .expect("the field has the form of its type")
}

fn bytes(value: &Value) -> [u8; 32] {
    polity_types::decode_hex(text(value)).expect("the field is 32 bytes")
}

/// Whether every one of the fields is there.
fn has(value: &Value, fields: &[&str]) -> bool {
    fields.iter().all(|field| value.get(field).is_some())
}

fn keys(file: &File) -> usize {
    let case = &file.content;
    if !has(case, &["secret_hex", "public_hex", "key_id"]) {
        return 0;
    }
    let signer = Ed25519Signer::from_seed(&bytes(&case["secret_hex"]));
    assert_eq!(signer.public_key().key_bytes(), bytes(&case["public_hex"]));
    assert_eq!(signer.key_id(), parsed(&case["key_id"]));
    assert_eq!(
        Ed25519Verifier::default().check_key(signer.public_key()),
        Ok(())
    );
    1
}

fn genesis_ids(file: &File) -> usize {
    let case = &file.content["fork"];
    if !has(case, &["genesis_input", "genesis_id"]) {
        return 0;
    }
    let genesis_id = text(&case["genesis_input"])
        .bytes()
        .fold(Preimage::new(domain::GENESIS), Preimage::u8)
        .blake3();
    assert_eq!(genesis_id, parsed(&case["genesis_id"]));
    1
}

fn fork_ids(file: &File) -> usize {
    let case = &file.content["fork"];
    if !has(case, &["genesis_id", "root", "child"]) {
        return 0;
    }
    let genesis_id: Blake3Digest = parsed(&case["genesis_id"]);
    let root = root_fork_id(&genesis_id);
    assert_eq!(root, parsed(&case["root"]));
    let reason = case["child_reason"]
        .as_u64()
        .and_then(|reason| u8::try_from(reason).ok());
    let child = fork_id(
        &genesis_id,
        &root,
        &bytes(&case["child_event"]),
        &bytes(&case["child_rule"]),
        reason.expect("a reason is a byte"),
    );
    assert_eq!(child, parsed(&case["child"]));
    2
}

fn chain_ids(file: &File) -> usize {
    let case = &file.content;
    if !has(case, &["chain_id", "fork"]) {
        return 0;
    }
    let genesis_id = parsed(&case["fork"]["genesis_id"]);
    assert_eq!(root_chain_id(&genesis_id), parsed(&case["chain_id"]));
    1
}

fn main() -> ExitCode {
    let tests = [
        Test {
            name: "keys",
            check: keys,
        },
        Test {
            name: "genesis_ids",
            check: genesis_ids,
        },
        Test {
            name: "fork_ids",
            check: fork_ids,
        },
        Test {
            name: "chain_ids",
            check: chain_ids,
        },
    ];
    vectors::run("polity", &tests)
}
