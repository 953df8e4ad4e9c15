//! Honest inputs for every target: what a fuzzer starts from.

use crate::decode::DECODERS;
use crate::honest::{encoded, honest};
use crate::text::{FILES, REQUESTS};
use crate::verify::judges;
use polity::federation::genesis_text;
use polity_consensus::fbpbft::TransactionBytes;
use polity_replica::{Frame, Record};
use polity_types::wire;

/// Longest seed: the fuzzer finds larger inputs by itself, and the repository stays small.
const SEED_BYTES_MAX: usize = 6 * 1024;

/// Seeds of a target, by name.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let seeds = match target {
        "decode" => decode(),
        "canonical" => (0..24_u8)
            .map(|n| vec![n * 9, n, n.wrapping_mul(5), n])
            .collect(),
        "verify" => verify(),
        "http" => http(),
        "files" => files(),
        "ledger" => programs(&[40, 200, 700]),
        "machine" => machine(),
        "journal" => journal(),
        _ => Vec::new(),
    };
    let fits = |seed: &Vec<u8>| seed.len() <= SEED_BYTES_MAX;
    seeds.into_iter().filter(fits).collect()
}

fn place(name: &str) -> u8 {
    let found = DECODERS.iter().position(|(known, _)| *known == name);
    found.expect("a decoder with that name") as u8
}

/// Each honest value, behind every decoder that takes it.
fn decode() -> Vec<Vec<u8>> {
    let honest = honest();
    let mut values = encoded(&honest.frames);
    for frame in &honest.frames {
        match frame {
            Frame::Consensus(message) => values.push(wire::encode(message)),
            Frame::Sync(message) => values.push(wire::encode(message)),
            Frame::Transactions(_) => {}
        }
    }
    for record in honest.journal.iter().take(12).chain(&honest.sync_journal) {
        values.push(wire::encode(record));
        match record {
            Record::Consensus(record) => values.push(wire::encode(record)),
            Record::Sync(record) => values.push(wire::encode(record)),
            Record::Pooled(_) => {}
        }
    }
    values.extend(
        judges()
            .iter()
            .flat_map(|judge| judge.texts.iter().take(3).cloned()),
    );
    for decided in honest.decided.iter().take(2) {
        values.push(wire::encode(&decided.block.header));
        values.push(wire::encode(&decided.block));
    }
    for signed in &honest.transactions {
        values.push(wire::encode(signed.transaction()));
        values.push(wire::encode(&signed.transaction().commands[0]));
        values.push(wire::encode(&signed.transaction().signer));
    }
    values.extend(encoded(&honest.members));
    values.extend(encoded(&honest.genesis.members));
    values.push(wire::encode(&honest.members[0].key));
    let change = crate::canonical::set(honest).encode().expect("it is short");
    values.push(change.as_slice().to_vec());
    values.push(wire::encode(&change));
    values.sort();
    values.dedup();
    let mut seeds = Vec::new();
    let mut of_decoder = vec![0; DECODERS.len()];
    for value in values {
        for (number, (_, decoder)) in DECODERS.iter().enumerate() {
            if of_decoder[number] < 12 && decoder(&value) {
                of_decoder[number] += 1;
                seeds.push([&[number as u8], value.as_slice()].concat());
            }
        }
    }
    // The shortest lists and numbers, which no honest member sends.
    seeds.push(vec![place("frame"), 1, 0]);
    seeds
}

/// Each honest text, unchanged and with a change of every kind.
fn verify() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (number, judge) in judges().iter().enumerate() {
        for text in 0..judge.texts.len().min(3) as u8 {
            seeds.push(vec![number as u8, text]);
        }
        for change in 0..9 {
            seeds.push(vec![number as u8, 0, change, 40, 0, 8, 1, 2, 3]);
        }
    }
    seeds
}

fn http() -> Vec<Vec<u8>> {
    let honest = honest();
    let signed = &honest.transactions[0];
    let json = serde_json::to_vec(signed).expect("a transaction has a text");
    let list = [b"[", json.as_slice(), b"]"].concat();
    let bytes = signed.encode();
    let binary = wire::encode(&vec![TransactionBytes::new(bytes.clone())]);
    let id = signed.id().to_string().into_bytes();
    let texts: [&[u8]; 8] = [
        &json,
        &bytes,
        &binary,
        b"application/json        {}",
        b"alice@thor",
        &id,
        &id,
        b"12.345678",
    ];
    assert_eq!(texts.len(), REQUESTS.len(), "a seed for each reader");
    let mut seeds: Vec<_> = (0_u8..)
        .zip(texts)
        .map(|(number, text)| [&[number], text].concat())
        .collect();
    seeds.push([&[0], list.as_slice()].concat());
    seeds
}

fn files() -> Vec<Vec<u8>> {
    let honest = honest();
    let mut texts = vec![(0, genesis_text(&honest.genesis))];
    let key = serde_json::to_string(&honest.members[0].key).expect("a key has a text");
    texts.push((3, key));
    texts.push((
        2,
        "name = \"thor\"\ngenesis = \"../genesis.json\"\n".to_owned(),
    ));
    assert!(texts.iter().all(|(number, _)| *number < FILES.len()));
    let proof = |proof| polity::proof::ProofFile {
        proof,
        ends: honest.ends.iter().take(1).cloned().collect(),
    };
    texts.push((
        1,
        proof(polity::proof::Proof::Account(honest.accounts[0].clone())).to_text(),
    ));
    texts.push((
        1,
        proof(polity::proof::Proof::Transaction(
            honest.receipts[0].clone(),
        ))
        .to_text(),
    ));
    let seeds = texts
        .into_iter()
        .map(|(number, text)| [&[number as u8], text.as_bytes()].concat());
    seeds.collect()
}

/// Lists of operations without a plan, but the same everywhere.
fn programs(lengths: &[usize]) -> Vec<Vec<u8>> {
    let mut number = 1_u32;
    let mut next = || {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (number >> 24) as u8
    };
    let lengths = lengths.iter();
    lengths
        .map(|length| (0..*length).map(|_| next()).collect())
        .collect()
}

fn machine() -> Vec<Vec<u8>> {
    let mut seeds = programs(&[60, 300, 900]);
    // Blocks after blocks, and then time that passes.
    seeds.push([0, 23].repeat(24));
    seeds.push(
        [[9, 0, 0], [9, 1, 0], [7, 7, 7], [0, 23, 7], [0, 23, 7]]
            .concat()
            .repeat(4),
    );
    // The faulty member speaks between deliveries: votes, claims, NEW-VIEWs, proposals.
    for word in 12..16 {
        seeds.push([7, 0, 9, word, 0, 16, 1, 0, 7, 0, 5].repeat(12));
    }
    seeds
}

fn journal() -> Vec<Vec<u8>> {
    let mut seeds = vec![vec![0], vec![1]];
    for change in 0..9 {
        seeds.push(vec![0, change, 200, 3, 8, 1, 2, 3, 4]);
        seeds.push(vec![1, 7, change, 5, 4, 3, 2, 1]);
    }
    seeds
}
