//! `polity-consensus`: signed messages and journal records.

use crate::consensus::is_verified;
use crate::federation::{
    block, certificate, chain, claim, digest, four, leader, new_view, pre_prepare, signer, vote,
    vote_preimage, with,
};
use crate::fields::{bytes, hex};
use polity_consensus::fbpbft::{
    Decided, Evidence, Message, NewView, NewViewProposal, PrePrepare, PreparedClaim, Proposal,
    Record, Status, TransactionBytes, Value, ViewChange, VoteKind,
};
use polity_crypto::{Preimage, Sha256Digest, Signer};
use polity_testkit::topic::{Case, Topic};
use polity_types::{Height, ReplicaId, View, wire};
use serde_json::{Value as Json, json};

pub(crate) const MESSAGE: Topic = Topic {
    file: "consensus/message.v1.json",
    spec: "docs/spec/consensus.md, messages",
    cases: messages,
    answer: message,
};

pub(crate) const RECORD: Topic = Topic {
    file: "consensus/record.v1.json",
    spec: "docs/spec/consensus.md, FB-15",
    cases: records,
    answer: record,
};

/// Largest encoding in these files.
const LENGTH_MAX: usize = 64 * 1024;

fn message(input: &Json) -> Result<Json, Json> {
    let Ok(message) = wire::decode::<Message>(&bytes(input, "message"), LENGTH_MAX) else {
        return Err(json!({ "error": "no message" }));
    };
    let chain = chain(input);
    if !is_verified(message.clone(), &chain) {
        return Err(json!({ "error": "does not verify" }));
    }
    let of_proposal =
        |part: &PrePrepare| PrePrepare::preimage(&chain, part.height, part.view, &part.digest);
    let (kind, preimage): (&str, Option<Preimage>) = match &message {
        Message::Proposal(proposal) => ("proposal", Some(of_proposal(&proposal.pre_prepare))),
        Message::Vote(vote) => {
            let at = (vote.height.get(), vote.view.get());
            let preimage = vote_preimage(&chain, vote.kind, at, &vote.value);
            let name = match vote.kind {
                VoteKind::Prepare => "prepare",
                VoteKind::Commit => "commit",
            };
            (name, Some(preimage))
        }
        Message::ViewChange(part) => {
            let prepared = part.prepared.as_ref();
            let preimage = ViewChange::preimage(&chain, part.height, part.view, prepared);
            ("view change", Some(preimage))
        }
        Message::NewView(proposal) => {
            let part = &proposal.new_view;
            let preimage = NewView::preimage(&chain, part.height, part.view, &part.digest());
            ("new view", Some(preimage))
        }
        Message::Status(_) => ("status", None),
        Message::FetchDecided { .. } => ("fetch decided", None),
        Message::Decided(_) => ("decided", None),
        Message::FetchBlock { .. } => ("fetch block", None),
        Message::Block(_) => ("block", None),
        Message::Evidence(_) => ("evidence", None),
    };
    Ok(json!({ "kind": kind, "preimage": preimage.map(|preimage| hex(preimage.as_slice())) }))
}

fn messages() -> Vec<Case> {
    let chain = chain(&four());
    let input = |message: &Message| with(four(), "message", hex(&wire::encode(message)));
    let good = |name, comment, message| Case::valid(name, comment, &[], input(&message));
    let bad = |name, comment, flag, message| Case::invalid(name, comment, &[flag], input(&message));
    let value = Value::of_block(digest(0xd1));
    let later = Value {
        digest: digest(0xd1),
        new_view: digest(0xee),
    };
    let commit = vote(&chain, VoteKind::Commit, 0, value, 1);
    let first = block(&chain, &[b"one"]);
    let pre_prepare_of = |view: u64, id: u32| {
        let (height, view) = (Height::new(1), View::new(view));
        let preimage = PrePrepare::preimage(&chain, height, view, &first.digest());
        PrePrepare {
            height,
            view,
            digest: first.digest(),
            signature: signer(id).sign(&preimage),
        }
    };
    let leader_of_first = first.header().proposer.get();
    let proposal = |pre_prepare| {
        Message::Proposal(Proposal {
            pre_prepare,
            block: first.block().clone(),
        })
    };
    let prepared = certificate(&chain, VoteKind::Prepare, 0, value, &[0, 1, 2]);
    let mut backed = claim(&chain, 1, Some((0, 0xd1)), 3);
    backed.certificate = Some(prepared.clone());
    let mut unbacked = backed.clone();
    unbacked.certificate = None;
    let mut misbacked = backed.clone();
    misbacked.certificate = Some(certificate(&chain, VoteKind::Commit, 0, value, &[0, 1, 2]));
    let mut overbacked = claim(&chain, 1, None, 3);
    overbacked.certificate = Some(prepared.clone());
    let mut future = claim(&chain, 1, Some((1, 0xd1)), 3);
    future.certificate = Some(certificate(&chain, VoteKind::Prepare, 1, later, &[0, 1, 2]));
    let starting = |change: &dyn Fn(&mut NewView)| {
        let parts = (0..3).map(|id| claim(&chain, 1, None, id)).collect();
        let mut new_view = new_view(&chain, 1, parts, 0xd1);
        change(&mut new_view);
        Message::NewView(NewViewProposal {
            new_view,
            block: first.block().clone(),
        })
    };
    let decided = |certificate| {
        Message::Decided(Decided {
            block: first.block().clone(),
            certificate,
        })
    };
    let certificate_of_first = {
        let mut certificate = certificate(
            &chain,
            VoteKind::Commit,
            0,
            Value::of_block(first.digest()),
            &[0, 1, 2],
        );
        // The helper signs for height 5; this block stands at 1.
        certificate.height = Height::new(1);
        certificate.votes.signatures = (0..3)
            .flat_map(|id| {
                let preimage = vote_preimage(
                    &chain,
                    VoteKind::Commit,
                    (1, 0),
                    &Value::of_block(first.digest()),
                );
                signer(id).sign(&preimage).as_slice().to_vec()
            })
            .collect();
        certificate
    };
    let mut signed_by_another = commit.clone();
    signed_by_another.signer = ReplicaId::new(2);
    let mut of_nobody = commit.clone();
    of_nobody.signer = ReplicaId::new(4);
    let mut named = commit.clone();
    named.value.new_view = digest(1);
    let mut junk_commit = commit.clone();
    junk_commit.kind = VoteKind::Prepare;
    let evidence = Evidence::TwoProposals(
        pre_prepare(&chain, 0, digest(1)),
        pre_prepare(&chain, 0, digest(2)),
    );
    let mut cases = vec![
        good(
            "proposal",
            "The leader of view 0.",
            proposal(pre_prepare_of(0, leader_of_first)),
        ),
        good(
            "prepare",
            "Of view 0.",
            Message::Vote(vote(&chain, VoteKind::Prepare, 0, value, 0)),
        ),
        good(
            "prepare_later",
            "Of view 2, under a NEW-VIEW.",
            Message::Vote(vote(&chain, VoteKind::Prepare, 2, later, 0)),
        ),
        good("commit", "Of view 0.", Message::Vote(commit.clone())),
        good(
            "view_change",
            "Nothing was prepared.",
            Message::ViewChange(claim(&chain, 1, None, 3)),
        ),
        good(
            "backed_view_change",
            "With its certificate.",
            Message::ViewChange(backed),
        ),
        good("new_view", "Three ask for it.", starting(&|_| {})),
        good(
            "decided",
            "A block with its COMMITs.",
            decided(certificate_of_first.clone()),
        ),
        good(
            "status",
            "Unsigned: believed no further than its link.",
            Message::Status(Status {
                height: Height::new(5),
                view: View::new(1),
                last_decided: digest(4),
            }),
        ),
        good("evidence", "Two proposals.", Message::Evidence(evidence)),
    ];
    let other = (leader_of_first + 1) % 4;
    cases.extend([
        bad(
            "not_the_leader",
            "Another member proposes.",
            "signer",
            proposal(pre_prepare_of(0, other)),
        ),
        bad(
            "vote_of_another",
            "Signed by member 1, sent for 2.",
            "signer",
            Message::Vote(signed_by_another),
        ),
        bad(
            "vote_of_nobody",
            "There is no member 4.",
            "signer",
            Message::Vote(of_nobody),
        ),
        bad(
            "commit_as_prepare",
            "The kind is signed.",
            "domain",
            Message::Vote(junk_commit),
        ),
        bad(
            "commit_with_new_view",
            "A COMMIT names none.",
            "form",
            Message::Vote(named),
        ),
        bad(
            "prepare_without_new_view",
            "A PREPARE of view 2 names one.",
            "form",
            Message::Vote(vote(&chain, VoteKind::Prepare, 2, value, 0)),
        ),
        bad(
            "view_change_to_0",
            "View 0 needs none.",
            "form",
            Message::ViewChange(claim(&chain, 0, None, 3)),
        ),
        bad(
            "unbacked_claim",
            "A claim without certificate.",
            "form",
            Message::ViewChange(unbacked),
        ),
        bad(
            "claim_of_commits",
            "COMMITs prepare nothing.",
            "form",
            Message::ViewChange(misbacked),
        ),
        bad(
            "certificate_without_claim",
            "A certificate for nothing.",
            "form",
            Message::ViewChange(overbacked),
        ),
        bad(
            "claim_of_the_same_view",
            "Prepared in the view that is asked for.",
            "form",
            Message::ViewChange(future),
        ),
        bad(
            "new_view_less_a_part",
            "The leader signed three parts.",
            "content",
            starting(&|new_view| {
                new_view.view_changes.pop();
            }),
        ),
        bad(
            "new_view_with_a_swapped_signature",
            "Signature bytes of parts are covered, so that no relay can frame the leader.",
            "content",
            starting(&|new_view| {
                let signature = new_view.view_changes[1].signature.clone();
                new_view.view_changes[0].signature = signature;
            }),
        ),
        bad(
            "new_view_with_another_proposal",
            "The proposal is covered.",
            "content",
            starting(&|new_view| new_view.pre_prepare.digest = digest(1)),
        ),
        bad(
            "decided_by_prepares",
            "PREPAREs decide nothing.",
            "kind",
            decided(prepared),
        ),
        bad("decided_another", "COMMITs for another block.", "digest", {
            let mut certificate = certificate_of_first;
            certificate.value = value;
            decided(certificate)
        }),
    ]);
    let text = hex(&wire::encode(&Message::Vote(commit)));
    for (name, comment, bytes) in [
        (
            "unknown_tag",
            "There is no message 10.",
            format!("0a{}", &text[2..]),
        ),
        (
            "truncated",
            "The last byte is missing.",
            text[..text.len() - 2].to_owned(),
        ),
        ("trailing", "A byte behind it.", format!("{text}00")),
        (
            "over_long",
            "The tag in two bytes.",
            format!("8100{}", &text[2..]),
        ),
    ] {
        let input = with(four(), "message", bytes);
        cases.push(Case::invalid(name, comment, &["encoding"], input));
    }
    assert_ne!(
        leader(&chain, 0),
        leader(&chain, 1),
        "the cases need two leaders"
    );
    cases
}

fn record(input: &Json) -> Result<Json, Json> {
    let Ok(record) = wire::decode::<Record>(&bytes(input, "record"), LENGTH_MAX) else {
        return Err(json!({ "error": "no record" }));
    };
    let kind = match &record {
        Record::Block(_) => "block",
        Record::Proposed { .. } => "proposed",
        Record::PrepareSent { .. } => "prepare sent",
        Record::Prepared(_) => "prepared",
        Record::CommitSent { .. } => "commit sent",
        Record::Entered { .. } => "entered",
        Record::ViewLeft { .. } => "view left",
        Record::NewView(_) => "new view",
        Record::Decided(_) => "decided",
    };
    let readable = serde_json::to_value(&record).expect("plain fields");
    // Blocks and certificates have their own files.
    let fields = match &record {
        Record::Proposed { .. }
        | Record::PrepareSent { .. }
        | Record::CommitSent { .. }
        | Record::Entered { .. }
        | Record::ViewLeft { .. } => readable,
        Record::Block(_) | Record::Prepared(_) | Record::NewView(_) | Record::Decided(_) => {
            Json::Null
        }
    };
    Ok(json!({ "kind": kind, "height": record.height().get(), "fields": fields }))
}

fn records() -> Vec<Case> {
    let chain = chain(&four());
    let (height, view) = (Height::new(5), View::new(2));
    let value = Value {
        digest: digest(0xd1),
        new_view: digest(0xee),
    };
    let prepared = Some(PreparedClaim {
        view: View::new(1),
        digest: digest(0xd1),
    });
    let parts: Vec<ViewChange> = (0..3).map(|id| claim(&chain, 2, None, id)).collect();
    let of_block = Value::of_block(digest(0xd1));
    let good = |name, comment, record: &Record| {
        let bytes = hex(&wire::encode(record));
        Case::valid(name, comment, &[], json!({ "record": bytes }))
    };
    let left = |prepared| Record::ViewLeft {
        height,
        view,
        prepared,
    };
    let mut cases = vec![
        good(
            "block",
            "Durable before PREPARE.",
            &Record::Block(block(&chain, &[b"one"]).block().clone()),
        ),
        good(
            "proposed",
            "By this replica.",
            &Record::Proposed {
                height,
                view,
                digest: digest(0xd1),
            },
        ),
        good(
            "prepare_sent",
            "With its NEW-VIEW.",
            &Record::PrepareSent {
                height,
                view,
                value,
            },
        ),
        good(
            "prepared",
            "The highest so far.",
            &Record::Prepared(certificate(&chain, VoteKind::Prepare, 2, value, &[0, 1, 2])),
        ),
        good(
            "commit_sent",
            "After the certificate.",
            &Record::CommitSent {
                height,
                view,
                digest: digest(0xd1),
            },
        ),
        good(
            "entered",
            "A view above 0.",
            &Record::Entered { height, view },
        ),
        good("view_left", "Nothing was prepared.", &left(None)),
        good("view_left_with_claim", "Something was.", &left(prepared)),
        good(
            "new_view",
            "Sent or accepted.",
            &Record::NewView(new_view(&chain, 2, parts, 0xd1)),
        ),
        good(
            "decided",
            "COMMITs of a quorum.",
            &Record::Decided(certificate(
                &chain,
                VoteKind::Commit,
                2,
                of_block,
                &[0, 1, 2],
            )),
        ),
    ];
    let bad = |name, comment, flag, bytes: String| {
        Case::invalid(name, comment, &[flag], json!({ "record": bytes }))
    };
    let entered = hex(&wire::encode(&Record::Entered { height, view }));
    let commit = hex(&wire::encode(&Record::CommitSent {
        height,
        view,
        digest: Sha256Digest::ZERO,
    }));
    let view_left = hex(&wire::encode(&left(None)));
    let of_block = hex(&wire::encode(&Record::Block(
        block(&chain, &[b"one"]).block().clone(),
    )));
    assert_eq!(TransactionBytes::new(b"one".to_vec()).as_slice(), b"one");
    cases.extend([
        bad("empty", "No bytes.", "truncated", String::new()),
        bad("tag_alone", "No fields.", "truncated", "05".to_owned()),
        bad(
            "unknown_tag",
            "There is no record 9.",
            "tag",
            format!("09{}", &entered[2..]),
        ),
        bad(
            "trailing",
            "A byte behind it.",
            "trailing",
            format!("{entered}00"),
        ),
        bad(
            "twice",
            "One record after another.",
            "trailing",
            format!("{entered}{entered}"),
        ),
        bad(
            "over_long_tag",
            "The tag in two bytes.",
            "over-long",
            format!("8500{}", &entered[2..]),
        ),
        bad(
            "over_long_height",
            "5 in two bytes.",
            "over-long",
            "05850002".to_owned(),
        ),
        bad(
            "overflow",
            "A height of 65 bits.",
            "overflow",
            format!("05ffffffffffffffffff02{}", &entered[4..]),
        ),
        bad(
            "short_digest",
            "31 bytes.",
            "length",
            format!("{}1f{}", &commit[..6], "00".repeat(31)),
        ),
        bad(
            "long_digest",
            "33 bytes.",
            "length",
            format!("{}21{}", &commit[..6], "00".repeat(33)),
        ),
        bad(
            "cut_digest",
            "The last byte is missing.",
            "truncated",
            commit[..commit.len() - 2].to_owned(),
        ),
        bad(
            "option",
            "An option is 0 or 1.",
            "tag",
            format!("{}02", &view_left[..view_left.len() - 2]),
        ),
        bad(
            "cut_block",
            "The last byte is missing.",
            "truncated",
            of_block[..of_block.len() - 2].to_owned(),
        ),
    ]);
    cases
}
