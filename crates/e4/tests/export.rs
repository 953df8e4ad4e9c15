//! The export of a running process: what is taken, and what is not.
//!
//! `data/export.json` was written by the exporter over objects with the members that E4's have; its
//! digests come from that side.

// Amounts of the sample are sums of powers of two.
#![allow(clippy::float_cmp)]

use polity_e4::export::{Export, ExportError};

const SAMPLE: &str = include_str!("data/export.json");

fn read(text: &str) -> Result<Export, ExportError> {
    Export::from_json(text.as_bytes())
}

#[test]
fn the_exporters_file_is_read_and_written_again() {
    let export = read(SAMPLE).unwrap();
    assert_eq!(export.local_peer, "alice");
    assert_eq!(export.package_version, "0.10.0");
    assert_eq!(export.scores["bob"].dimension("integrity"), 0.625);
    assert_eq!(export.clock.entries["bob"].time, 9);
    assert_eq!(export.leaves.len(), 3);
    let again = read(&export.to_json().unwrap()).unwrap();
    assert_eq!(again, export);
}

/// A change to the file, and whether the error is the one that it should give.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    fn(&ExportError) -> bool,
);

#[test]
fn what_is_wrong_is_named() {
    let table: [Row; 13] = [
        ("another form", "export/1", "export/2", |e| {
            matches!(e, ExportError::Format(_))
        }),
        ("an unknown field", "\"clock\":", "\"klock\":", |e| {
            matches!(e, ExportError::Form(_))
        }),
        ("no JSON", "{", "<", |e| matches!(e, ExportError::Form(_))),
        (
            "an empty id",
            "\"local_peer\": \"alice\"",
            "\"local_peer\": \"\"",
            |e| matches!(e, ExportError::Id("local_peer")),
        ),
        (
            "an id twice",
            "\"peer\": \"carol\"",
            "\"peer\": \"bob\"",
            |e| matches!(e, ExportError::Id("scores")),
        ),
        ("a key twice", "\"key\": \"k1\"", "\"key\": \"k0\"", |e| {
            matches!(e, ExportError::Id("tree"))
        }),
        (
            "half a byte",
            "\"data_hex\": \"76",
            "\"data_hex\": \"7",
            |e| matches!(e, ExportError::Hex("tree")),
        ),
        (
            "capitals",
            "\"data_hex\": \"76",
            "\"data_hex\": \"7F",
            |e| matches!(e, ExportError::Hex("tree")),
        ),
        ("no number", "3fd0000000000000", "7ff8000000000000", |e| {
            matches!(e, ExportError::Range("amount"))
        }),
        (
            "a negative amount",
            "3fd0000000000000",
            "bfd0000000000000",
            |e| matches!(e, ExportError::Range("amount")),
        ),
        (
            "a time below zero",
            "\"time\": \"3\"",
            "\"time\": \"-3\"",
            |e| matches!(e, ExportError::Range("clock")),
        ),
        (
            "another amount",
            "3fd0000000000000",
            "3fd8000000000000",
            |e| matches!(e, ExportError::Digest("trust_root", ..)),
        ),
        (
            "another value",
            "\"data_hex\": \"76",
            "\"data_hex\": \"77",
            |e| matches!(e, ExportError::Digest("merkle_root", ..)),
        ),
    ];
    for (name, old, new, is_expected) in table {
        assert!(SAMPLE.contains(old), "{name}: the sample lacks {old}");
        let error = read(&SAMPLE.replacen(old, new, 1)).expect_err(name);
        assert!(is_expected(&error), "{name}: {error}");
    }
    let flat = SAMPLE.replace("\"branching_factor\": 2", "\"branching_factor\": 1");
    assert!(matches!(read(&flat), Err(ExportError::Tree(_))));
}

#[test]
fn no_prefix_of_a_file_is_a_file() {
    for length in 0..SAMPLE.trim_end().len() {
        assert!(read(&SAMPLE[..length]).is_err(), "{length}");
    }
}
