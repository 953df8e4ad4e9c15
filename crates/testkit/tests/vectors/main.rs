//! Every vector file of the workspace, answered by the crates.
//!
//! To add a topic: a function that lists the cases, a function that answers an input, a line in
//! [`TOPICS`], and `cargo xtask vectors --write <crate>/<topic>.v1.json`.

mod consensus;
mod crypto;
mod draw;
mod evidence;
mod federation;
mod fields;
mod genesis;
mod hybrid;
mod leaves;
mod ledger;
mod merkle;
mod messages;
mod proofs;
mod records;
mod replica;
mod stability;
mod types;

use polity_testkit::topic::{Topic, settle};

const TOPICS: &[Topic] = &[
    types::AMOUNT,
    types::WIRE,
    crypto::PREIMAGE,
    crypto::KEY,
    crypto::CHAIN,
    records::KEY_RECORD,
    records::REVOCATION,
    crypto::ED25519,
    hybrid::HYBRID,
    merkle::ROOT,
    merkle::INCLUSION,
    merkle::CONSISTENCY,
    consensus::HEADER,
    consensus::BLOCK,
    consensus::CERTIFICATE,
    evidence::EVIDENCE,
    messages::MESSAGE,
    messages::RECORD,
    ledger::ADDRESS,
    ledger::TRANSACTION,
    leaves::RECEIPT,
    leaves::STATE,
    proofs::PROOF,
    genesis::GENESIS,
    replica::FRAME,
    replica::RECORD,
    stability::STABILITY,
];

#[test]
fn every_file_agrees_with_the_crates() {
    match settle(TOPICS) {
        Ok(reports) => println!("{}", reports.join("\n")),
        Err(problems) => panic!("{problems}"),
    }
}
