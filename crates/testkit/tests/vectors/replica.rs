//! `polity-replica`: frames between replicas with the messages about snapshots, records of the journal.

use crate::federation::{block, certificate, chain, claim, digest, four, vote};
use crate::fields::{bytes, hex};
use polity_consensus::committee::Member;
use polity_consensus::fbpbft::{self, Message, TransactionBytes, Value, VoteKind};
use polity_consensus::light::{DecidedHeader, EpochEnd};
use polity_crypto::Signer;
use polity_merkle::leaf_hash;
use polity_replica::sync::{
    ChunkBytes, ChunkLog, Offer, SyncAnswer, SyncMessage, SyncRecord, SyncRequest, Target,
};
use polity_replica::{Frame, Lane, Record, SnapshotMeta};
use polity_testkit::topic::{Case, Topic};
use polity_types::{Epoch, Height, ReplicaId, Time, View, Weight, wire};
use serde_json::{Value as Json, json};

pub(crate) const FRAME: Topic = Topic {
    file: "replica/frame.v1.json",
    spec: "docs/spec/consensus.md, messages and FB-19",
    cases: frames,
    answer: frame,
};

pub(crate) const RECORD: Topic = Topic {
    file: "replica/record.v1.json",
    spec: "docs/spec/consensus.md, FB-15 and FB-19",
    cases: records,
    answer: record,
};

/// Largest encoding in these files.
const LENGTH_MAX: usize = 64 * 1024;

/// A chunk is read if it stands where it says; what else a message says is judged by who asked.
fn frame(input: &Json) -> Result<Json, Json> {
    let Ok(frame) = Frame::decode(&bytes(input, "frame"), LENGTH_MAX) else {
        return Err(json!({ "error": "no frame" }));
    };
    let (kind, fields) = match &frame {
        Frame::Consensus(_) => ("consensus", Json::Null),
        Frame::Transactions(list) => ("transactions", plain(list)),
        Frame::Sync(SyncMessage::Request(request)) => ("sync request", plain(request)),
        Frame::Sync(SyncMessage::Answer(answer)) => {
            if let SyncAnswer::Chunk {
                chunks_root,
                index,
                bytes,
                proof,
                ..
            } = answer
            {
                let leaf = leaf_hash(bytes.as_slice());
                if proof.index != u64::from(*index) || proof.verify(chunks_root, &leaf).is_err() {
                    return Err(json!({ "error": "the chunk does not stand there" }));
                }
            }
            ("sync answer", plain(answer))
        }
    };
    let lane = match frame.lane() {
        Lane::Votes => "votes",
        Lane::Blocks => "blocks",
        Lane::Transactions => "transactions",
        Lane::Sync => "sync",
    };
    Ok(json!({ "kind": kind, "lane": lane, "fields": fields }))
}

fn plain(value: &impl serde::Serialize) -> Json {
    serde_json::to_value(value).expect("plain fields")
}

const CHUNKS: [&[u8]; 3] = [b"one", b"two", b"three"];

/// Of three chunks.
fn log() -> ChunkLog {
    ChunkLog::new(CHUNKS)
}

/// Whoever decodes asks no more than that it is a certificate.
fn decided() -> DecidedHeader {
    let chain = chain(&four());
    let block = block(&chain, &[b"one"]);
    let value = Value::of_block(block.digest());
    DecidedHeader {
        header: block.header().clone(),
        certificate: certificate(&chain, VoteKind::Commit, 0, value, &[0, 1, 2]),
    }
}

fn end() -> EpochEnd {
    EpochEnd {
        last: decided(),
        next: vec![Member {
            id: ReplicaId::new(0),
            key: crate::federation::signer(0).public_key().clone(),
            weight: Weight::new(1),
        }],
    }
}

fn offer() -> Offer {
    log().offer(decided(), digest(0xab))
}

fn chunk_answer(
    change: impl Fn(&mut u32, &mut Vec<u8>, &mut polity_merkle::InclusionProof),
) -> Frame {
    let (mut index, mut bytes) = (1, CHUNKS[1].to_vec());
    let mut proof = log().proof(1).expect("it is there");
    change(&mut index, &mut bytes, &mut proof);
    Frame::Sync(SyncMessage::Answer(SyncAnswer::Chunk {
        height: Height::new(10),
        chunks_root: log().root(),
        index,
        bytes: ChunkBytes::new(bytes),
        proof,
    }))
}

fn frames() -> Vec<Case> {
    let good = |name, comment, frame: &Frame| {
        Case::valid(name, comment, &[], json!({ "frame": hex(&frame.encode()) }))
    };
    let bad = |name, comment, flag, bytes: &[u8]| {
        Case::invalid(name, comment, &[flag], json!({ "frame": hex(bytes) }))
    };
    let request = |request| Frame::Sync(SyncMessage::Request(request));
    let answer = |answer| Frame::Sync(SyncMessage::Answer(answer));
    let chunk_request = request(SyncRequest::Chunk {
        height: Height::new(10),
        chunks: 3,
        chunks_root: log().root(),
        index: 1,
    });
    let gossip = Frame::Transactions(vec![
        TransactionBytes::new(b"one".to_vec()),
        TransactionBytes::new(b"two".to_vec()),
    ]);
    let ballot = vote(
        &chain(&four()),
        VoteKind::Commit,
        0,
        Value::of_block(digest(0xd1)),
        1,
    );
    let mut cases = vec![
        good(
            "vote",
            "Consensus in its frame.",
            &Frame::Consensus(Message::Vote(ballot)),
        ),
        good(
            "transactions",
            "For the pool, each with its length.",
            &gossip,
        ),
        good(
            "no_transactions",
            "An empty list.",
            &Frame::Transactions(vec![]),
        ),
        good(
            "ask_for_epochs",
            "From an epoch on.",
            &request(SyncRequest::Epochs {
                from: Epoch::new(7),
            }),
        ),
        good(
            "ask_for_chunk",
            "The number of chunks names the snapshot, too.",
            &chunk_request,
        ),
        good(
            "no_epochs",
            "Nothing to tell.",
            &answer(SyncAnswer::Epochs {
                ends: vec![],
                offer: None,
            }),
        ),
        good(
            "epochs_and_offer",
            "An end of an epoch and the newest snapshot.",
            &answer(SyncAnswer::Epochs {
                ends: vec![end()],
                offer: Some(Box::new(offer())),
            }),
        ),
        good(
            "chunk",
            "With the path to the root of the log.",
            &chunk_answer(|_, _, _| {}),
        ),
        good(
            "gone",
            "The peer has it no more.",
            &answer(SyncAnswer::Gone {
                height: Height::new(10),
                chunks: 3,
                chunks_root: log().root(),
            }),
        ),
        bad(
            "another_chunk",
            "Another chunk under the same path.",
            "proof",
            &chunk_answer(|_, bytes, _| *bytes = CHUNKS[2].to_vec()).encode(),
        ),
        bad(
            "reordered_chunks",
            "A chunk of the log in the place of another one.",
            "proof",
            &chunk_answer(|index, _, _| *index = 2).encode(),
        ),
        bad(
            "longer_path",
            "One digest more.",
            "proof",
            &chunk_answer(|_, _, proof| proof.path.push(digest(1))).encode(),
        ),
        bad(
            "shorter_path",
            "One digest less.",
            "proof",
            &chunk_answer(|_, _, proof| proof.path.truncate(1)).encode(),
        ),
        bad(
            "crossed_path",
            "The digests in another order.",
            "proof",
            &chunk_answer(|_, _, proof| proof.path.reverse()).encode(),
        ),
        bad(
            "outside",
            "The place behind the last one.",
            "proof",
            &chunk_answer(|_, _, proof| proof.index = 3).encode(),
        ),
        bad(
            "no_size",
            "A log of no chunks.",
            "proof",
            &chunk_answer(|_, _, proof| proof.size = 0).encode(),
        ),
        bad(
            "deep_path",
            "65 digests: no tree is so high.",
            "length",
            &chunk_answer(|_, _, proof| proof.path = vec![digest(1); 65]).encode(),
        ),
    ];
    let text = chunk_request.encode();
    assert_eq!(
        text[..5],
        [2, 0, 1, 10, 3],
        "frame, request, chunk, height, chunks"
    );
    cases.extend(
        broken(&text, 3)
            .into_iter()
            .map(|(name, comment, flag, bytes)| bad(name, comment, flag, &bytes)),
    );
    cases.extend([
        bad(
            "unknown_request",
            "There is no request 2.",
            "tag",
            &[&[2, 0, 2], &text[3..]].concat(),
        ),
        bad(
            "unknown_direction",
            "Neither asked nor answered.",
            "tag",
            &[&[2, 2], &text[2..]].concat(),
        ),
        bad(
            "wide_count",
            "A number of chunks of 33 bits.",
            "overflow",
            &[&text[..4], &[0xff, 0xff, 0xff, 0xff, 0x1f], &text[5..]].concat(),
        ),
        bad("offer_tag", "An option is 0 or 1.", "tag", &[2, 1, 0, 0, 2]),
        bad(
            "huge_list",
            "More ends than bytes; must not allocate.",
            "length",
            &[2, 1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0],
        ),
    ]);
    cases
}

fn record(input: &Json) -> Result<Json, Json> {
    let Ok(record) = wire::decode::<Record>(&bytes(input, "record"), LENGTH_MAX) else {
        return Err(json!({ "error": "no record" }));
    };
    let kind = match &record {
        Record::Consensus(_) => "consensus",
        Record::Pooled(_) => "pooled",
        Record::Sync(SyncRecord::Epoch(_)) => "sync epoch",
        Record::Sync(SyncRecord::Started(_)) => "sync started",
        Record::Sync(SyncRecord::Chunk(_)) => "sync chunk",
        Record::Sync(SyncRecord::Installed { .. }) => "sync installed",
    };
    Ok(json!({ "kind": kind, "fields": plain(&record) }))
}

fn target() -> Target {
    Target {
        meta: SnapshotMeta {
            height: Height::new(10),
            digest: digest(0xd1),
            timestamp: Time::from_millis(1_000),
            certificate: Some(decided().certificate),
            ledger_root: digest(0xab),
            header_application: digest(0xaa),
            receipts: polity_merkle::empty_root(),
        },
        chunks: 3,
        chunks_root: log().root(),
        vouched: vec![ReplicaId::new(0), ReplicaId::new(2)],
    }
}

fn records() -> Vec<Case> {
    let good = |name, comment, record: &Record| {
        Case::valid(
            name,
            comment,
            &[],
            json!({ "record": hex(&wire::encode(record)) }),
        )
    };
    let bad = |name, comment, flag, bytes: &[u8]| {
        Case::invalid(name, comment, &[flag], json!({ "record": hex(bytes) }))
    };
    let left = claim(&chain(&four()), 2, None, 3);
    let installed = Record::Sync(SyncRecord::Installed {
        height: Height::new(10),
    });
    let started = wire::encode(&Record::Sync(SyncRecord::Started(Box::new(target()))));
    let mut cases = vec![
        good(
            "consensus",
            "A record of consensus; it has its own file.",
            &Record::Consensus(fbpbft::Record::Entered {
                height: left.height,
                view: View::new(2),
            }),
        ),
        good(
            "pooled",
            "What a client was promised.",
            &Record::Pooled(TransactionBytes::new(b"one".to_vec())),
        ),
        good(
            "epoch",
            "A verified end of an epoch.",
            &Record::Sync(SyncRecord::Epoch(Box::new(end()))),
        ),
        good(
            "started",
            "The snapshot that is fetched from now on.",
            &Record::Sync(SyncRecord::Started(Box::new(target()))),
        ),
        good(
            "started_at_genesis",
            "Nothing was decided before.",
            &Record::Sync(SyncRecord::Started(Box::new({
                let mut target = target();
                target.meta.certificate = None;
                target.vouched.clear();
                target
            }))),
        ),
        good(
            "chunk",
            "The next one.",
            &Record::Sync(SyncRecord::Chunk(ChunkBytes::new(b"one".to_vec()))),
        ),
        good("installed", "It counts.", &installed),
    ];
    let text = wire::encode(&installed);
    assert_eq!(text, [2, 3, 10]);
    cases.extend(
        broken(&text, 2)
            .into_iter()
            .map(|(name, comment, flag, bytes)| bad(name, comment, flag, &bytes)),
    );
    let cut = &started[..started.len() - 1];
    cases.extend([
        bad("unknown_step", "There is no step 4.", "tag", &[2, 4, 10]),
        bad(
            "without_sync",
            "The record of a sync without its frame.",
            "tag",
            &[3, 10],
        ),
        bad(
            "wide_height",
            "65 bits.",
            "overflow",
            &[
                2, 3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2,
            ],
        ),
        bad(
            "cut_target",
            "The last voucher is missing.",
            "truncated",
            cut,
        ),
        bad(
            "long_target",
            "A voucher more than the length says.",
            "trailing",
            &[&started[..], &[3]].concat(),
        ),
        bad(
            "cut_chunk",
            "Three bytes, and there are two.",
            "truncated",
            &[2, 2, 3, b'o', b'n'],
        ),
        bad("cut_pooled", "No bytes.", "truncated", &[1, 3]),
        bad(
            "huge_chunk",
            "4 GiB; must not allocate.",
            "length",
            &[2, 2, 0xff, 0xff, 0xff, 0xff, 0x0f],
        ),
    ]);
    cases
}

type Broken = (&'static str, &'static str, &'static str, Vec<u8>);

/// Other texts of a value that starts with a tag, and has a small number at `place`.
fn broken(good: &[u8], place: usize) -> Vec<Broken> {
    let (tag, rest) = (good[0], &good[1..]);
    let number = good[place];
    assert!(number < 0x80, "a number of one byte");
    let long = [&good[..place], &[number | 0x80, 0], &good[place + 1..]].concat();
    vec![
        ("empty", "No bytes.", "truncated", Vec::new()),
        (
            "tag_alone",
            "Nothing behind the tag.",
            "truncated",
            vec![tag],
        ),
        (
            "cut",
            "The last byte is missing.",
            "truncated",
            good[..good.len() - 1].to_vec(),
        ),
        (
            "trailing",
            "A byte behind it.",
            "trailing",
            [good, &[0]].concat(),
        ),
        (
            "twice",
            "One after another.",
            "trailing",
            [good, good].concat(),
        ),
        (
            "unknown_tag",
            "There is no kind 3.",
            "tag",
            [&[3], rest].concat(),
        ),
        (
            "over_long_tag",
            "The tag in two bytes.",
            "over-long",
            [&[tag | 0x80, 0], rest].concat(),
        ),
        (
            "over_long_number",
            "A number in two bytes that needs one.",
            "over-long",
            long,
        ),
    ]
}
