//! `polity-crypto`: key records and revocations, at the level of bytes, preimages and signatures.
//!
//! Whether a registry takes a record that holds depends on what else it has; that is not asked here.

use crate::federation::signer;
use crate::fields::{bytes, hex, text, unhex};
use polity_crypto::ed25519::Ed25519Verifier;
use polity_crypto::{
    PeerId, PublicKey, Revocation, Signature, SignedRecord, SignedRevocation, Signer, Verifier,
};
use polity_testkit::topic::{Case, Topic};
use polity_types::Time;
use serde_json::{Value as Json, json};

pub(crate) const KEY_RECORD: Topic = Topic {
    file: "crypto/key-record.v1.json",
    spec: "docs/spec/crypto.md, CR-7 and CR-10",
    cases: records,
    answer: record,
};

pub(crate) const REVOCATION: Topic = Topic {
    file: "crypto/revocation.v1.json",
    spec: "docs/spec/crypto.md, CR-10",
    cases: revocations,
    answer: revocation,
};

fn refuse(error: &str) -> Json {
    json!({ "error": error })
}

fn holds(key: &PublicKey, preimage: &polity_crypto::Preimage, signature: &Signature) -> bool {
    let verifier = Ed25519Verifier::default();
    verifier.verify(key, preimage, signature).is_ok()
}

fn key(input: &Json, name: &str) -> Option<PublicKey> {
    (!input[name].is_null()).then(|| text(input, name).parse().expect("a key"))
}

/// A first record names its peer by its key; any other one is signed by the key before it, too.
fn record(input: &Json) -> Result<Json, Json> {
    let signed = SignedRecord::decode(&bytes(input, "record")).map_err(|_| refuse("no record"))?;
    let SignedRecord {
        record,
        by_previous,
        by_new,
    } = &signed;
    let preimage = record.preimage();
    match (key(input, "previous"), &record.previous, by_previous) {
        (None, None, None) if record.peer == PeerId::of(&record.key) => {}
        (None, None, None) => return Err(refuse("another peer")),
        (Some(key), Some(id), Some(signature)) if *id == key.key_id() => {
            if !holds(&key, &preimage, signature) {
                return Err(refuse("the previous key did not sign"));
            }
        }
        _ => return Err(refuse("not after that key")),
    }
    if !holds(&record.key, &preimage, by_new) {
        return Err(refuse("the new key did not sign"));
    }
    Ok(json!({
        "peer": record.peer.to_string(),
        "key": record.key.to_string(),
        "key_id": record.key.key_id().to_string(),
        "not_before_ms": record.not_before.as_millis(),
        "not_after_ms": record.not_after.as_millis(),
        "previous": record.previous.map(|id| id.to_string()),
        "preimage": hex(preimage.as_slice()),
    }))
}

const START: Time = Time::from_millis(1_750_000_000_000);
const END: Time = Time::from_millis(1_760_000_000_000);

fn peer() -> PeerId {
    PeerId::of(signer(0).public_key())
}

fn rotation() -> SignedRecord {
    SignedRecord::rotation(peer(), &signer(0), &signer(1), START, END)
}

fn records() -> Vec<Case> {
    let first = SignedRecord::first(&signer(0), START, END);
    let input = |previous: Option<u32>, bytes: &[u8]| {
        let previous = previous.map(|id| signer(id).public_key().to_string());
        json!({ "previous": previous, "record": hex(bytes) })
    };
    let good = |name, comment, previous, record: &SignedRecord| {
        Case::valid(name, comment, &[], input(previous, &record.encode()))
    };
    let bad = |name, comment, flag, previous, bytes: &[u8]| {
        Case::invalid(name, comment, &[flag], input(previous, bytes))
    };
    let changed = |change: fn(&mut SignedRecord)| {
        let mut record = rotation();
        change(&mut record);
        record.encode()
    };
    let mut cases = vec![
        good("first", "The key itself names the peer.", None, &first),
        good(
            "rotation",
            "Both keys sign one preimage.",
            Some(0),
            &rotation(),
        ),
        good(
            "bounds",
            "The first and the last moment that there are.",
            None,
            &SignedRecord::first(&signer(0), Time::ZERO, Time::from_millis(u64::MAX)),
        ),
    ];
    let of_first = |change: fn(&mut SignedRecord)| {
        let mut record = first.clone();
        change(&mut record);
        record.encode()
    };
    cases.extend([
        bad(
            "another_peer",
            "The name of a stranger with the own key.",
            "peer",
            None,
            &{
                let mut record = first.record.clone();
                record.peer = PeerId::of(signer(2).public_key());
                SignedRecord {
                    by_previous: None,
                    by_new: signer(0).sign(&record.preimage()),
                    record,
                }
                .encode()
            },
        ),
        bad(
            "later_end",
            "A life longer than what was signed.",
            "signature",
            Some(0),
            &changed(|r| r.record.not_after = Time::from_millis(u64::MAX)),
        ),
        bad(
            "earlier_start",
            "Signatures of the past become good.",
            "signature",
            Some(0),
            &changed(|r| r.record.not_before = Time::ZERO),
        ),
        bad(
            "another_key",
            "The consent was to another key.",
            "signature",
            Some(0),
            &changed(|r| r.record.key = signer(2).public_key().clone()),
        ),
        bad(
            "stolen_name",
            "Signed by a stranger instead of the key before.",
            "signature",
            Some(0),
            &{
                let record = rotation().record;
                let preimage = record.preimage();
                SignedRecord {
                    by_previous: Some(signer(2).sign(&preimage)),
                    by_new: signer(1).sign(&preimage),
                    record,
                }
                .encode()
            },
        ),
        bad(
            "unwilling_key",
            "A key that somebody else uses is claimed without its consent.",
            "signature",
            Some(0),
            &changed(|r| r.by_new = r.by_previous.clone().expect("a rotation")),
        ),
        bad(
            "crossed",
            "Both signatures, each in the place of the other.",
            "signature",
            Some(0),
            &changed(|r| {
                let by_new = r.by_previous.replace(r.by_new.clone());
                r.by_new = by_new.expect("a rotation");
            }),
        ),
        bad(
            "short_signature",
            "63 bytes.",
            "signature",
            Some(0),
            &changed(|r| r.by_new = Signature::new(&r.by_new.as_slice()[..63])),
        ),
        bad(
            "no_signature",
            "No bytes.",
            "signature",
            Some(0),
            &changed(|r| r.by_new = Signature::new(&[])),
        ),
        bad(
            "without_previous",
            "A rotation that the key before did not sign.",
            "chain",
            Some(0),
            &changed(|r| r.by_previous = None),
        ),
        bad(
            "first_with_previous",
            "A first record with a signature too many.",
            "chain",
            None,
            &of_first(|r| r.by_previous = Some(r.by_new.clone())),
        ),
        bad(
            "previous_is_another",
            "It follows another key.",
            "chain",
            Some(2),
            &rotation().encode(),
        ),
        bad(
            "first_again",
            "A first record in the place of a rotation.",
            "chain",
            Some(0),
            &first.encode(),
        ),
        bad(
            "as_revocation",
            "A revocation is no record.",
            "type",
            None,
            &revoked(0).encode(),
        ),
    ]);
    let broken = broken_bytes(&rotation().encode());
    cases.extend(
        broken
            .iter()
            .map(|(name, comment, bytes)| bad(name, comment, "encoding", Some(0), bytes)),
    );
    cases
}

fn revocation(input: &Json) -> Result<Json, Json> {
    let signed = SignedRevocation::decode(&bytes(input, "revocation"))
        .map_err(|_| refuse("no revocation"))?;
    let by = key(input, "by").expect("the key that is said to have signed");
    if signed.by != by.key_id() {
        return Err(refuse("another key"));
    }
    let preimage = signed.revocation.preimage();
    if !holds(&by, &preimage, &signed.signature) {
        return Err(refuse("the key did not sign"));
    }
    Ok(json!({
        "peer": signed.revocation.peer.to_string(),
        "key": signed.revocation.key.to_string(),
        "revoked_at_ms": signed.revocation.revoked_at.as_millis(),
        "preimage": hex(preimage.as_slice()),
    }))
}

/// The first key of the peer is revoked by this one.
fn revoked(by: u32) -> SignedRevocation {
    let revocation = Revocation {
        peer: peer(),
        key: signer(0).key_id(),
        revoked_at: START,
    };
    SignedRevocation::new(revocation, &signer(by))
}

fn revocations() -> Vec<Case> {
    let input = |by: u32, bytes: &[u8]| json!({ "by": signer(by).public_key().to_string(), "revocation": hex(bytes) });
    let bad =
        |name, comment, flag, bytes: &[u8]| Case::invalid(name, comment, &[flag], input(1, bytes));
    let changed = |change: fn(&mut SignedRevocation)| {
        let mut revocation = revoked(1);
        change(&mut revocation);
        revocation.encode()
    };
    let mut cases = vec![
        Case::valid(
            "by_itself",
            "A key gives itself up.",
            &[],
            input(0, &revoked(0).encode()),
        ),
        Case::valid(
            "by_successor",
            "A key that came after it.",
            &[],
            input(1, &revoked(1).encode()),
        ),
        bad(
            "later",
            "It would count for longer.",
            "signature",
            &changed(|r| r.revocation.revoked_at = END),
        ),
        bad(
            "another_key",
            "Another key than the one that was given up.",
            "signature",
            &changed(|r| r.revocation.key = signer(2).key_id()),
        ),
        bad(
            "another_peer",
            "The key of somebody else.",
            "signature",
            &changed(|r| r.revocation.peer = PeerId::of(signer(2).public_key())),
        ),
        bad(
            "named_other",
            "Signed by the one, with the name of the other.",
            "signer",
            &changed(|r| r.by = signer(0).key_id()),
        ),
        bad(
            "by_stranger",
            "Signed by a stranger with the name of the successor.",
            "signature",
            &changed(|r| r.signature = signer(2).sign(&r.revocation.preimage())),
        ),
        bad(
            "of_record",
            "The signature of a record: another domain.",
            "signature",
            &changed(|r| r.signature = rotation().by_new),
        ),
        bad(
            "long_signature",
            "65 bytes.",
            "signature",
            &changed(|r| r.signature = Signature::new(&[r.signature.as_slice(), &[0]].concat())),
        ),
        bad(
            "as_record",
            "A record is no revocation.",
            "type",
            &rotation().encode(),
        ),
    ];
    let broken = broken_bytes(&revoked(1).encode());
    cases.extend(
        broken
            .iter()
            .map(|(name, comment, bytes)| bad(name, comment, "encoding", bytes)),
    );
    cases
}

/// Other texts of a value that starts with a peer: what every decoder has to refuse.
fn broken_bytes(good: &[u8]) -> Vec<(&'static str, &'static str, Vec<u8>)> {
    assert_eq!(good[0], 32, "a digest with its length");
    let cut = &good[..good.len() - 1];
    vec![
        ("empty", "No bytes.", Vec::new()),
        ("cut", "The last byte is missing.", cut.to_vec()),
        (
            "peer_alone",
            "Nothing behind the peer.",
            good[..33].to_vec(),
        ),
        ("trailing", "A byte behind it.", [good, &[0]].concat()),
        ("twice", "One after another.", [good, good].concat()),
        (
            "over_long_length",
            "The length 32 in two bytes.",
            [&unhex("a000"), &good[1..]].concat(),
        ),
        ("short_peer", "31 bytes.", [&[31], &good[2..]].concat()),
        (
            "huge_length",
            "4 GiB; must not allocate.",
            [&unhex("ffffffff0f"), &good[1..]].concat(),
        ),
    ]
}
