//! Keys, chains and forks against the team's own known answers outside the repository.
//!
//! Another program computed them, so they would notice a mistake that the files under `vectors/`,
//! written by the crates themselves, would share.

use polity_crypto::ed25519::Ed25519Signer;
use polity_crypto::{Blake3Digest, Signer, fork_id, root_chain_id, root_fork_id};
use polity_testkit::vectors::{self, File, Test};
use polity_types::decode_hex;
use serde_json::Value;
use std::process::ExitCode;

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name]
        .as_str()
        .unwrap_or_else(|| panic!("`{name}` is no text"))
}

fn digest(value: &Value, name: &str) -> Blake3Digest {
    text(value, name).parse().unwrap()
}

fn cr_7_key_id(file: &File) -> usize {
    let core = &file.content;
    if core["key_id"].is_null() {
        return 0;
    }
    let seed = decode_hex(text(core, "secret_hex")).unwrap();
    let signer = Ed25519Signer::from_seed(&seed);
    let key = format!("ed25519:{}", text(core, "public_hex"));
    assert_eq!(signer.public_key().to_string(), key);
    assert_eq!(signer.key_id().to_string(), text(core, "key_id"));
    1
}

fn fork_and_chain_ids(file: &File) -> usize {
    let fork = &file.content["fork"];
    if fork.is_null() {
        return 0;
    }
    let genesis = digest(fork, "genesis_id");
    let root = root_fork_id(&genesis);
    assert_eq!(root, digest(fork, "root"));
    let event = decode_hex(text(fork, "child_event")).unwrap();
    let rule = decode_hex(text(fork, "child_rule")).unwrap();
    let reason = u8::try_from(fork["child_reason"].as_u64().unwrap()).unwrap();
    let child = fork_id(&genesis, &root, &event, &rule, reason);
    assert_eq!(child, digest(fork, "child"));
    let chain = root_chain_id(&genesis).to_string();
    assert_eq!(chain, text(&file.content, "chain_id"));
    3
}

fn main() -> ExitCode {
    let tests = [
        Test {
            name: "cr_7_key_id",
            check: cr_7_key_id,
        },
        Test {
            name: "fork_and_chain_ids",
            check: fork_and_chain_ids,
        },
    ];
    vectors::run("polity", &tests)
}
