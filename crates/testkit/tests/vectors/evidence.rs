//! `polity-consensus`: what convicts a member, and what does not.

use crate::consensus::is_verified;
use crate::federation::{
    certificate, chain, claim, digest, four, leader, new_view, pre_prepare, vote, with,
};
use crate::fields::{bytes, hex};
use polity_consensus::fbpbft::{Evidence, Value, VoteKind};
use polity_crypto::Sha256Digest;
use polity_testkit::topic::{Case, Topic};
use polity_types::{ReplicaId, wire};
use serde_json::{Value as Json, json};

pub(crate) const EVIDENCE: Topic = Topic {
    file: "consensus/evidence.v1.json",
    spec: "docs/spec/consensus.md, FB-16",
    cases: offences,
    answer: offence,
};

/// Largest encoding in this file.
const LENGTH_MAX: usize = 64 * 1024;

fn offence(input: &Json) -> Result<Json, Json> {
    let Ok(evidence) = wire::decode::<Evidence>(&bytes(input, "evidence"), LENGTH_MAX) else {
        return Err(json!({ "error": "no evidence" }));
    };
    let chain = chain(input);
    if !is_verified(evidence.clone(), &chain) {
        return Err(json!({ "error": "does not verify" }));
    }
    let (height, view) = evidence.position();
    Ok(json!({
        "kind": evidence.kind(),
        "accused": evidence.accused(&chain).get(),
        "height": height.get(),
        "view": view.get(),
        "digest": evidence.digest(&chain).to_string(),
    }))
}

fn offences() -> Vec<Case> {
    let chain = chain(&four());
    let input = |evidence: &Evidence| with(four(), "evidence", hex(&wire::encode(evidence)));
    let good = |name, comment, evidence| Case::valid(name, comment, &[], input(&evidence));
    let bad =
        |name, comment, flag, evidence| Case::invalid(name, comment, &[flag], input(&evidence));
    let value = |byte| Value::of_block(digest(byte));
    let prepare = |view, byte, id| {
        let new_view = if view == 0 {
            Sha256Digest::ZERO
        } else {
            digest(0xee)
        };
        let value = Value {
            digest: digest(byte),
            new_view,
        };
        vote(&chain, VoteKind::Prepare, view, value, id)
    };
    let commit = |view, byte, id| vote(&chain, VoteKind::Commit, view, value(byte), id);
    let forgotten = |commit, view_change| Evidence::ForgottenLock {
        commit,
        view_change,
    };
    let unjustified = |new_view| Evidence::UnjustifiedNewView(Box::new(new_view));
    let three = |view| {
        (0..3)
            .map(|id| claim(&chain, view, None, id))
            .collect::<Vec<_>>()
    };
    let prepared = {
        let value = value(1);
        certificate(&chain, VoteKind::Prepare, 0, value, &[0, 1, 2])
    };
    let with_claim = {
        let mut parts = three(1);
        parts[0] = claim(&chain, 1, Some((0, 1)), 0);
        parts[0].certificate = Some(prepared.clone());
        parts
    };
    let mut relayed = new_view(&chain, 1, three(1), 1);
    relayed.view_changes.pop();
    let mut with_certificate = claim(&chain, 1, Some((0, 1)), 2);
    with_certificate.certificate = Some(prepared);
    let mut forged = commit(0, 2, 3);
    forged.signature = commit(0, 1, 3).signature;
    let mut stranger = commit(0, 2, 3);
    stranger.signer = ReplicaId::new(9);
    let two_commits = Evidence::TwoVotes(commit(0, 1, 3), commit(0, 2, 3));
    let other_chain = with(input(&two_commits), "genesis_id", digest(2).to_string());
    let mut longer = wire::encode(&two_commits);
    longer.push(0);
    let mut cases = vec![
        good(
            "two_proposals",
            "The leader of view 0 proposes two blocks.",
            Evidence::TwoProposals(
                pre_prepare(&chain, 0, digest(1)),
                pre_prepare(&chain, 0, digest(2)),
            ),
        ),
        good(
            "two_prepares",
            "Member 2 PREPAREs two blocks.",
            Evidence::TwoVotes(prepare(0, 1, 2), prepare(0, 2, 2)),
        ),
        good(
            "two_prepares_later",
            "The same in view 2, under one NEW-VIEW.",
            Evidence::TwoVotes(prepare(2, 1, 2), prepare(2, 2, 2)),
        ),
        good(
            "two_commits",
            "Member 3 COMMITs to two blocks.",
            two_commits.clone(),
        ),
        good(
            "two_claims",
            "Member 1 says that nothing was prepared, and that something was.",
            Evidence::TwoViewChanges(claim(&chain, 3, None, 1), claim(&chain, 3, Some((1, 1)), 1)),
        ),
        good(
            "forgotten_lock",
            "COMMIT in view 0, then a VIEW-CHANGE that claims nothing.",
            forgotten(commit(0, 1, 2), claim(&chain, 1, None, 2)),
        ),
        good(
            "lowered_lock",
            "COMMIT in view 2, then a claim of view 1.",
            forgotten(commit(2, 1, 2), claim(&chain, 3, Some((1, 1)), 2)),
        ),
        good(
            "new_view_of_too_few",
            "Two VIEW-CHANGEs are no quorum.",
            unjustified(new_view(&chain, 1, three(1)[..2].to_vec(), 1)),
        ),
        good(
            "new_view_of_another_view",
            "Its parts are for view 2.",
            unjustified(new_view(&chain, 1, three(2), 1)),
        ),
        good(
            "new_view_of_another_block",
            "Block 1 is prepared and block 2 is proposed.",
            unjustified(new_view(&chain, 1, with_claim.clone(), 2)),
        ),
    ];
    cases.extend([
        bad(
            "same_block_twice",
            "Once or twice, it is one proposal.",
            "no offence",
            Evidence::TwoProposals(
                pre_prepare(&chain, 0, digest(1)),
                pre_prepare(&chain, 0, digest(1)),
            ),
        ),
        bad(
            "proposals_of_two_views",
            "Each view has its proposal.",
            "no offence",
            Evidence::TwoProposals(
                pre_prepare(&chain, 0, digest(1)),
                pre_prepare(&chain, 1, digest(2)),
            ),
        ),
        bad(
            "votes_of_two_views",
            "Each view has its vote.",
            "no offence",
            Evidence::TwoVotes(commit(0, 1, 3), commit(1, 2, 3)),
        ),
        bad(
            "votes_of_two_members",
            "Members may differ.",
            "no offence",
            Evidence::TwoVotes(commit(0, 1, 3), commit(0, 2, 2)),
        ),
        bad(
            "votes_of_two_kinds",
            "PREPARE and COMMIT are two things.",
            "no offence",
            Evidence::TwoVotes(prepare(0, 1, 3), commit(0, 2, 3)),
        ),
        bad(
            "same_vote_twice",
            "A vote may be sent again.",
            "no offence",
            Evidence::TwoVotes(commit(0, 1, 3), commit(0, 1, 3)),
        ),
        bad(
            "same_claim_twice",
            "A VIEW-CHANGE may be sent again.",
            "no offence",
            Evidence::TwoViewChanges(claim(&chain, 3, None, 1), claim(&chain, 3, None, 1)),
        ),
        bad(
            "claims_for_two_views",
            "A later claim may differ.",
            "no offence",
            Evidence::TwoViewChanges(claim(&chain, 3, None, 1), claim(&chain, 4, Some((3, 1)), 1)),
        ),
        bad(
            "kept_lock",
            "The claim is of the view of the COMMIT.",
            "no offence",
            forgotten(commit(1, 1, 2), claim(&chain, 3, Some((1, 1)), 2)),
        ),
        bad(
            "lock_after_the_view",
            "The VIEW-CHANGE came before the COMMIT's view.",
            "no offence",
            forgotten(commit(2, 1, 2), claim(&chain, 2, None, 2)),
        ),
        bad(
            "prepare_is_no_lock",
            "Only a COMMIT binds.",
            "no offence",
            forgotten(prepare(0, 1, 2), claim(&chain, 1, None, 2)),
        ),
        bad(
            "justified_new_view",
            "It proposes what was prepared.",
            "no offence",
            unjustified(new_view(&chain, 1, with_claim, 1)),
        ),
        bad(
            "relayed_new_view",
            "A relay left a part out; the leader did not sign that.",
            "signature",
            unjustified(relayed),
        ),
        bad(
            "forged_vote",
            "The signature is of another vote.",
            "signature",
            Evidence::TwoVotes(commit(0, 1, 3), forged),
        ),
        bad(
            "stranger",
            "Nobody has the number 9.",
            "signature",
            Evidence::TwoVotes(stranger.clone(), stranger),
        ),
        bad(
            "with_certificate",
            "Certificates are no part of it; it has one form.",
            "form",
            Evidence::TwoViewChanges(claim(&chain, 1, None, 2), with_certificate),
        ),
        Case::invalid(
            "other_chain",
            "Signed for another genesis.",
            &["chain"],
            other_chain,
        ),
        Case::invalid(
            "trailing",
            "A byte behind it.",
            &["encoding"],
            with(four(), "evidence", hex(&longer)),
        ),
    ]);
    assert_ne!(
        leader(&chain, 0),
        leader(&chain, 1),
        "the cases need two leaders"
    );
    cases
}
