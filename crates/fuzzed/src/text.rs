//! Texts of clients and operators: bodies and paths of the HTTP interface, and the files that people edit.
//! None of them makes the node panic or take memory out of proportion, and what is read and written again
//! is the same.

use crate::bytes::Bytes;
use crate::honest::honest;
use crate::meter::bounded;
use polity::api::{BINARY_LIST, BINARY_ONE, read_submission};
use polity::config::NodeConfig;
use polity::federation::genesis_text;
use polity::proof::ProofFile;
use polity_consensus::fbpbft::TransactionBytes;
use polity_crypto::PublicKey;
use polity_ledger::{Address, LockId, SignedTransaction, TransactionId};
use polity_replica::{Genesis, Purpose};
use polity_types::{Amount, wire};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::str::FromStr;

/// A reader with its name: says whether it took the text.
pub(crate) type Reader = (&'static str, fn(&[u8]) -> bool);

/// What clients send. The first byte of an input is the place in this list.
pub(crate) const REQUESTS: &[Reader] = &[
    ("transaction in JSON", |body| {
        let Ok(list) = read_submission("application/json; charset=utf-8", body) else {
            return false;
        };
        for bytes in list {
            let signed = SignedTransaction::decode(&bytes).expect("it was encoded here");
            json_again(&signed);
        }
        true
    }),
    ("transaction", |body| {
        let list = read_submission(BINARY_ONE, body);
        assert_eq!(list.expect("any bytes"), [body]);
        true
    }),
    ("list of transactions", |body| {
        let Ok(list) = read_submission(BINARY_LIST, body) else {
            return false;
        };
        let list: Vec<_> = list.into_iter().map(TransactionBytes::new).collect();
        assert_eq!(wire::encode(&list), body);
        true
    }),
    ("another content type", |body| {
        let (media, rest) = body.split_at(body.len().min(24));
        let media = String::from_utf8_lossy(media);
        read_submission(&media, rest).is_ok()
    }),
    ("address", word::<Address>),
    ("transaction id", word::<TransactionId>),
    ("lock id", word::<LockId>),
    ("amount", word::<Amount>),
];

/// What operators keep in files.
pub(crate) const FILES: &[Reader] = &[
    ("genesis", |text| {
        let Ok(genesis) = serde_json::from_slice::<Genesis>(text) else {
            return false;
        };
        let again = serde_json::from_str::<Genesis>(&genesis_text(&genesis));
        assert_eq!(again.expect("it was written here"), genesis);
        let verifier = &honest().verifier;
        if genesis.validate(Purpose::Simulation, verifier).is_ok() {
            let chain = genesis.chain().expect("it is valid");
            assert_eq!(chain.genesis_id(), genesis.id());
        }
        true
    }),
    ("proof", |text| {
        let Ok(proof) = serde_json::from_slice::<ProofFile>(text) else {
            return false;
        };
        let again = serde_json::from_str::<ProofFile>(&proof.to_text());
        assert_eq!(again.expect("it was written here"), proof);
        // Its signatures are those of a simulation, which a node never believes.
        assert!(proof.check_with(&honest().genesis).is_err());
        true
    }),
    ("configuration", |text| {
        let Some(config) = std::str::from_utf8(text)
            .ok()
            .and_then(|text| NodeConfig::parse(text).ok())
        else {
            return false;
        };
        let again = NodeConfig::parse(&config.to_text());
        assert_eq!(again.expect("it was written here"), config);
        let _ = config.check(&honest().genesis);
        true
    }),
    ("public key", |text| {
        let key = serde_json::from_slice::<PublicKey>(text);
        key.is_ok_and(|key| json_again(&key))
    }),
];

/// The property of requests.
pub(crate) fn http(input: &[u8]) {
    read(REQUESTS, input);
}

/// The property of files.
pub(crate) fn files(input: &[u8]) {
    read(FILES, input);
}

fn read(readers: &[Reader], input: &[u8]) {
    // Made once, and by no input: it must not be measured.
    let _ = honest();
    let mut input = Bytes::new(input);
    if let Some((_, reader)) = input.pick(readers) {
        let text = input.rest();
        bounded(text.len(), || reader(text));
    }
}

/// A value in a path.
fn word<T: FromStr + Display + PartialEq>(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else {
        return false;
    };
    let Ok(value) = text.parse::<T>() else {
        return false;
    };
    let again = value.to_string().parse::<T>().ok();
    assert!(again == Some(value), "{text:?} changes when it is written");
    true
}

fn json_again<T: Serialize + DeserializeOwned + PartialEq>(value: &T) -> bool {
    let text = serde_json::to_string(value).expect("it has a text");
    let again = serde_json::from_str::<T>(&text).expect("it was written here");
    assert!(again == *value, "{text} changes when it is written");
    true
}
