//! `polity-consensus`: block digests and certificates.

use crate::federation::{
    block, certificate, chain, constants, digest, four, pre_prepare, vote_preimage, with,
};
use crate::fields::{array, bytes, hex};
use polity_consensus::fbpbft::{
    ApplicationData, Block, BodyError, Chain, Evidence, Header, SealedBlock, TransactionBytes,
    Value, VoteCertificate, VoteKind,
};
use polity_crypto::ed25519::Ed25519Verifier;
use polity_crypto::{Checker, Sha256Digest, Verified, Verify};
use polity_testkit::topic::{Case, Topic};
use polity_types::{Height, ReplicaId, View, wire};
use serde_json::{Value as Json, json};
use std::sync::Arc;

pub(crate) const HEADER: Topic = Topic {
    file: "consensus/header.v1.json",
    spec: "docs/spec/consensus.md, block header",
    cases: headers,
    answer: header,
};

pub(crate) const BLOCK: Topic = Topic {
    file: "consensus/block.v1.json",
    spec: "docs/spec/consensus.md, block body",
    cases: blocks,
    answer: sealed,
};

pub(crate) const CERTIFICATE: Topic = Topic {
    file: "consensus/certificate.v1.json",
    spec: "docs/spec/consensus.md, FB-2",
    cases: certificates,
    answer: certified,
};

/// Largest encoding in these files.
const LENGTH_MAX: usize = 64 * 1024;

/// Whether a value verifies on a chain, with nothing known in advance.
pub(crate) fn is_verified<T: Verify<Context = Chain>>(value: T, chain: &Chain) -> bool {
    let mut checker = Checker::new(Ed25519Verifier::default(), 0);
    Verified::check(value, chain, &mut checker).is_ok()
}

fn header(input: &Json) -> Result<Json, Json> {
    let header: Header = match serde_json::from_value(input["header"].clone()) {
        Ok(header) => header,
        Err(_) => return Err(json!({ "error": "no header" })),
    };
    let answer = json!({ "digest": header.digest().to_string() });
    if header.digest() == Sha256Digest::new(array(input, "claimed_digest")) {
        Ok(answer)
    } else {
        Err(answer)
    }
}

fn headers() -> Vec<Case> {
    let chain = chain(&four());
    let first = block(&chain, &[b"one", b"two"]).header().clone();
    let last_of_epoch = Header {
        height: Height::new(10),
        view: View::new(3),
        next_committee: chain.committee(Height::new(11)).digest(),
        ..first.clone()
    };
    let input = |header: &Header| {
        json!({
            "header": serde_json::to_value(header).expect("plain fields"),
            "claimed_digest": header.digest().to_string(),
        })
    };
    let mut cases = vec![
        Case::valid(
            "first",
            "Two transactions in the first block.",
            &[],
            input(&first),
        ),
        Case::valid(
            "epoch_end",
            "The last block of an epoch names the next committee.",
            &[],
            input(&last_of_epoch),
        ),
    ];
    // Every field is under the digest.
    let good = input(&first);
    let others = [
        ("chain", json!(digest(9).to_string())),
        ("epoch", json!(1)),
        ("height", json!(2)),
        ("view", json!(1)),
        ("proposer", json!((first.proposer.get() + 1) % 4)),
        ("parent", json!(digest(9).to_string())),
        ("timestamp", json!(1_001)),
        ("body_root", json!(digest(9).to_string())),
        ("application_root", json!(digest(9).to_string())),
        ("receipts_root", json!(digest(9).to_string())),
        ("next_committee", json!(digest(9).to_string())),
    ];
    for (field, value) in others {
        let mut changed = good.clone();
        changed["header"][field] = value;
        let comment = format!("Another {field} is another block.");
        cases.push(Case::invalid(field, &comment, &["field"], changed));
    }
    for field in ["transactions", "evidence", "late_commits", "application"] {
        let mut changed = good.clone();
        changed["header"]["counts"][field] = json!(7);
        let name = format!("count_of_{field}");
        let comment = format!("Another number of entries in {field} is another block.");
        cases.push(Case::invalid(&name, &comment, &["field"], changed));
    }
    cases
}

fn sealed(input: &Json) -> Result<Json, Json> {
    let block = wire::decode::<Arc<Block>>(&bytes(input, "block"), LENGTH_MAX);
    let Ok(block) = block else {
        return Err(json!({ "error": "no block" }));
    };
    match SealedBlock::new(&chain(input), block) {
        Ok(block) => Ok(json!({
            "digest": block.digest().to_string(),
            "body_root": block.header().body_root.to_string(),
            "transactions": block
                .transaction_ids()
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
        })),
        Err(error) => Err(json!({ "error": match error {
            BodyError::NoTransaction(_) => "no transaction",
            BodyError::Counts => "counts",
            BodyError::Root => "root",
        }})),
    }
}

fn blocks() -> Vec<Case> {
    let constants = four();
    let chain = chain(&constants);
    let two = block(&chain, &[b"one", b"two"]);
    let input = |block: &Block| with(constants.clone(), "block", hex(&wire::encode(block)));
    let rebuilt = |change: &dyn Fn(&mut Block)| {
        let mut block = (**two.block()).clone();
        change(&mut block);
        SealedBlock::build(&chain, block.header, block.body).expect("transactions")
    };
    let bad = |name, comment, flag, change: &dyn Fn(&mut Block)| {
        let mut block = (**two.block()).clone();
        change(&mut block);
        Case::invalid(name, comment, &[flag], input(&block))
    };
    let parent = certificate(
        &chain,
        VoteKind::Commit,
        0,
        Value::of_block(two.digest()),
        &[0, 1, 2],
    );
    let with_parent = rebuilt(&|block| block.body.parent_certificate = Some(parent.clone()));
    let mut other_signatures = (**with_parent.block()).clone();
    if let Some(certificate) = &mut other_signatures.body.parent_certificate {
        certificate.votes.signatures[0] ^= 1;
    }
    let evidence = Evidence::TwoProposals(
        pre_prepare(&chain, 0, digest(1)),
        pre_prepare(&chain, 0, digest(2)),
    );
    let with_evidence = rebuilt(&|block| block.body.evidence = vec![evidence.clone()]);
    let with_application = rebuilt(&|block| {
        block.body.application = vec![ApplicationData {
            kind: 7,
            content: b"shard".to_vec(),
        }];
    });
    let empty = block(&chain, &[]);
    let whole = wire::encode(&**two.block());
    vec![
        Case::valid(
            "empty",
            "No section has anything.",
            &[],
            input(empty.block()),
        ),
        Case::valid("two_transactions", "In order.", &[], input(two.block())),
        Case::valid(
            "parent",
            "With the parent's certificate.",
            &[],
            input(with_parent.block()),
        ),
        Case::valid(
            "parent_with_other_signatures",
            "A certificate is bound by view and signers alone, so this is the same block.",
            &["signature bytes"],
            input(&other_signatures),
        ),
        Case::valid(
            "evidence",
            "With an offence.",
            &[],
            input(with_evidence.block()),
        ),
        Case::valid(
            "application",
            "With application data.",
            &[],
            input(with_application.block()),
        ),
        bad("dropped", "A transaction is gone.", "counts", &|block| {
            block.body.transactions.pop();
        }),
        bad("added", "A transaction too many.", "counts", &|block| {
            block
                .body
                .transactions
                .push(TransactionBytes::new(b"three".to_vec()));
        }),
        bad("swapped", "Order counts.", "root", &|block| {
            block.body.transactions.swap(0, 1);
        }),
        bad("replaced", "Another transaction.", "root", &|block| {
            block.body.transactions[0] = TransactionBytes::new(b"uno".to_vec());
        }),
        bad(
            "no_transaction",
            "The empty string is no transaction.",
            "id",
            &|block| {
                block.body.transactions[0] = TransactionBytes::new(Vec::new());
            },
        ),
        bad(
            "other_root",
            "The header covers another body.",
            "root",
            &|block| {
                block.header.body_root = Sha256Digest::ZERO;
            },
        ),
        bad(
            "unannounced_parent",
            "A certificate that the header does not cover.",
            "root",
            &|block| {
                block.body.parent_certificate = Some(parent.clone());
            },
        ),
        bad(
            "unannounced_evidence",
            "Evidence that is not counted.",
            "counts",
            &|block| {
                block.body.evidence.push(evidence.clone());
            },
        ),
        Case::invalid(
            "truncated",
            "The last byte is missing.",
            &["encoding"],
            with(constants.clone(), "block", hex(&whole[..whole.len() - 1])),
        ),
    ]
}

fn kind_name(kind: VoteKind) -> &'static str {
    match kind {
        VoteKind::Prepare => "prepare",
        VoteKind::Commit => "commit",
    }
}

fn certified(input: &Json) -> Result<Json, Json> {
    let decoded = wire::decode::<VoteCertificate>(&bytes(input, "certificate"), LENGTH_MAX);
    let Ok(certificate) = decoded else {
        return Err(json!({ "error": "no certificate" }));
    };
    let chain = chain(input);
    if !is_verified(certificate.clone(), &chain) {
        return Err(json!({ "error": "does not verify" }));
    }
    let (height, view) = (certificate.height.get(), certificate.view.get());
    let preimage = vote_preimage(&chain, certificate.kind, (height, view), &certificate.value);
    let committee = chain.committee(certificate.height);
    let signers = certificate
        .votes
        .signers
        .members(committee)
        .expect("verified");
    Ok(json!({
        "kind": kind_name(certificate.kind),
        "height": height,
        "view": view,
        "digest": certificate.value.digest.to_string(),
        "new_view": certificate.value.new_view.to_string(),
        "signers": signers.into_iter().map(ReplicaId::get).collect::<Vec<_>>(),
        "preimage": hex(preimage.as_slice()),
    }))
}

fn certificates() -> Vec<Case> {
    let constants_of_four = four();
    let on_four = chain(&constants_of_four);
    let value = Value::of_block(digest(0xd1));
    let later = Value {
        digest: digest(0xd1),
        new_view: digest(0xee),
    };
    let commit = |signers: &[u32]| certificate(&on_four, VoteKind::Commit, 0, value, signers);
    let input = |certificate: &VoteCertificate| {
        with(four(), "certificate", hex(&wire::encode(certificate)))
    };
    let good = |name, comment, certificate| Case::valid(name, comment, &[], input(&certificate));
    let bad = |name, comment, flag, change: &dyn Fn(&mut VoteCertificate)| {
        let mut certificate = commit(&[0, 1, 2]);
        change(&mut certificate);
        Case::invalid(name, comment, &[flag], input(&certificate))
    };
    // W = 11, so F = 3 and Q = 8.
    let unequal = constants(&[3, 3, 3, 2]);
    let on_unequal = chain(&unequal);
    let weighed = |signers: &[u32]| {
        let certificate = certificate(&on_unequal, VoteKind::Commit, 0, value, signers);
        with(
            unequal.clone(),
            "certificate",
            hex(&wire::encode(&certificate)),
        )
    };
    let other_chain = with(four(), "genesis_id", digest(2).to_string());
    let mut one_bit = wire::encode(&commit(&[0, 1, 2]));
    one_bit.push(0);
    vec![
        good("commit", "Three of four decide.", commit(&[0, 1, 2])),
        good("commit_of_all", "All may be in it.", commit(&[0, 1, 2, 3])),
        good("commit_without_the_first", "Any three.", commit(&[1, 2, 3])),
        good(
            "prepare",
            "In view 0 no NEW-VIEW is named.",
            certificate(&on_four, VoteKind::Prepare, 0, value, &[0, 2, 3]),
        ),
        good(
            "prepare_later",
            "In a view above 0 the NEW-VIEW is named.",
            certificate(&on_four, VoteKind::Prepare, 2, later, &[0, 1, 3]),
        ),
        good(
            "commit_later",
            "A COMMIT never names a NEW-VIEW.",
            certificate(&on_four, VoteKind::Commit, 2, value, &[0, 1, 3]),
        ),
        Case::valid(
            "weighed",
            "8 of 11 where 8 are needed.",
            &["weight"],
            weighed(&[0, 1, 3]),
        ),
        Case::invalid(
            "too_light",
            "6 of 11 where 8 are needed.",
            &["weight"],
            weighed(&[0, 1]),
        ),
        Case::invalid(
            "two_of_four",
            "Three are needed.",
            &["weight"],
            input(&commit(&[1, 3])),
        ),
        Case::invalid("nobody", "No votes.", &["weight"], input(&commit(&[]))),
        bad(
            "signature",
            "One bit of one signature.",
            "signature",
            &|certificate| {
                certificate.votes.signatures[70] ^= 1;
            },
        ),
        bad(
            "crossed",
            "Two signatures in another order.",
            "signature",
            &|certificate| {
                certificate.votes.signatures.rotate_left(64);
            },
        ),
        bad(
            "short",
            "A byte of the signatures is missing.",
            "length",
            &|certificate| {
                certificate.votes.signatures.pop();
            },
        ),
        bad("long", "A byte too many.", "length", &|certificate| {
            certificate.votes.signatures.push(0);
        }),
        bad(
            "missing_signature",
            "Two signatures for three signers.",
            "length",
            &|certificate| {
                certificate.votes.signatures.truncate(128);
            },
        ),
        bad("digest", "About another block.", "field", &|c| {
            c.value.digest = digest(1);
        }),
        bad("height", "About another height.", "field", &|c| {
            c.height = Height::new(6);
        }),
        bad("view", "About another view.", "field", &|c| {
            c.view = View::new(1);
        }),
        bad("kind", "COMMITs are no PREPAREs.", "field", &|c| {
            c.kind = VoteKind::Prepare;
        }),
        bad("named", "A COMMIT names a NEW-VIEW.", "form", &|c| {
            c.value.new_view = digest(1);
        }),
        Case::invalid(
            "unnamed",
            "A PREPARE of view 2 names none.",
            &["form"],
            input(&certificate(
                &on_four,
                VoteKind::Prepare,
                2,
                value,
                &[0, 1, 3],
            )),
        ),
        Case::invalid(
            "named_too_early",
            "A PREPARE of view 0 names one.",
            &["form"],
            input(&certificate(
                &on_four,
                VoteKind::Prepare,
                0,
                later,
                &[0, 1, 3],
            )),
        ),
        Case::invalid(
            "other_chain",
            "Signed for another genesis.",
            &["chain"],
            with(
                other_chain,
                "certificate",
                hex(&wire::encode(&commit(&[0, 1, 2]))),
            ),
        ),
        Case::invalid(
            "other_epoch_length",
            "The epoch is signed.",
            &["chain"],
            with(input(&commit(&[0, 1, 2])), "epoch_length", 4),
        ),
        Case::invalid(
            "other_committee",
            "The committee is signed.",
            &["chain"],
            with(
                unequal.clone(),
                "certificate",
                hex(&wire::encode(&commit(&[0, 1, 2]))),
            ),
        ),
        Case::invalid(
            "bitmap_of_nobody",
            "A bit without a member.",
            &["bitmap"],
            with(four(), "certificate", bitmap(&commit(&[0, 1, 2]), &[0x17])),
        ),
        Case::invalid(
            "long_bitmap",
            "A byte without members.",
            &["bitmap"],
            with(
                four(),
                "certificate",
                bitmap(&commit(&[0, 1, 2]), &[0x07, 0]),
            ),
        ),
        Case::invalid(
            "no_bitmap",
            "No byte at all.",
            &["bitmap"],
            with(four(), "certificate", bitmap(&commit(&[0, 1, 2]), &[])),
        ),
        Case::invalid(
            "trailing",
            "A byte behind it.",
            &["encoding"],
            with(four(), "certificate", hex(&one_bit)),
        ),
    ]
}

/// The certificate with another set of signers: it has one byte, behind kind, height, view and two
/// digests with their lengths.
fn bitmap(certificate: &VoteCertificate, bits: &[u8]) -> String {
    const AT: usize = 1 + 1 + 1 + 33 + 33;
    let bytes = wire::encode(certificate);
    assert_eq!(
        bytes[AT..AT + 2],
        [1, certificate.votes.signers.as_slice()[0]]
    );
    let head = [&bytes[..AT], &[bits.len() as u8], bits].concat();
    hex(&[&head, &bytes[AT + 2..]].concat())
}
