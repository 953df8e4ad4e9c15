//! Nothing is believed that honest members did not sign.
//!
//! An input picks an honest value and changes its bytes, also by parts of other honest values. What still
//! decodes goes to the verifier, and if it is accepted, it has to be honest: every vote in it was cast,
//! every header decided, every state and receipt the one that is. A certificate may hold fewer of the
//! cast votes; everything else is equal to a value that somebody honest made.

use crate::bytes::Bytes;
use crate::honest::{Honest, decided_header, encoded, honest};
use crate::mutate::mutated;
use polity_consensus::fbpbft::{Evidence, Message, NewView, ViewChange, Vote, VoteCertificate};
use polity_consensus::light::{DecidedHeader, EpochEnd, LightClient, SkipRules};
use polity_crypto::{Checker, Sha256Digest, Tier, Verify as _};
use polity_ledger::Restore;
use polity_merkle::{AppendTree, ConsistencyProof, InclusionProof, leaf_hash};
use polity_replica::proof::{AccountProof, FinalityProof, LockProof, TransactionProof};
use polity_replica::{Frame, admit};
use polity_sim::SimVerifier;
use polity_types::{Epoch, Height, Seed, Time, wire};
use serde::de::DeserializeOwned;
use std::sync::OnceLock;

/// Longest changed value.
const LENGTH_MAX: usize = 1 << 20;

/// A verifier: honest texts, and what it makes of a changed one. It says whether it accepted, and panics
/// if it should not have.
pub(crate) struct Judge {
    pub(crate) name: &'static str,
    pub(crate) texts: Vec<Vec<u8>>,
    accepts: fn(&Honest, &[u8]) -> bool,
}

/// Every verifier. The first byte of an input is the place in this list.
pub(crate) fn judges() -> &'static [Judge] {
    static JUDGES: OnceLock<Vec<Judge>> = OnceLock::new();
    JUDGES.get_or_init(|| make(honest()))
}

fn make(honest: &Honest) -> Vec<Judge> {
    let certificates: Vec<_> = honest.decided.iter().map(|d| &d.certificate).collect();
    let headers: Vec<_> = honest.decided.iter().map(decided_header).collect();
    let finality: Vec<_> = headers
        .iter()
        .map(|decided| FinalityProof {
            header: decided.header.clone(),
            certificate: decided.certificate.clone(),
        })
        .collect();
    let judge = |name, texts, accepts| Judge {
        name,
        texts,
        accepts,
    };
    vec![
        judge("certificate", encoded(&certificates), certificate),
        judge("message", messages(honest), message),
        judge("evidence", encoded(&evidence(honest)), accusation),
        judge("finality proof", encoded(&finality), finality_proof),
        judge("account proof", encoded(&honest.accounts), account),
        judge("lock proof", encoded(&honest.locks), lock),
        judge("transaction proof", encoded(&honest.receipts), receipt),
        judge("epoch end", encoded(&honest.ends), epoch_end),
        judge("decided header", encoded(&headers), header),
        judge("skip", encoded(&honest.ends[1..]), skip),
        judge("transaction", encoded(&honest.transactions), transaction),
        judge("inclusion proof", encoded(&tree().1), inclusion),
        judge("consistency proof", encoded(&tree().2), consistency),
        judge(
            "snapshot",
            vec![wire::encode(&honest.state.chunks)],
            snapshot,
        ),
    ]
}

/// The property.
pub(crate) fn verify(input: &[u8]) {
    let mut input = Bytes::new(input);
    let Some(judge) = input.pick(judges()) else {
        return;
    };
    let others: Vec<&[u8]> = judge.texts.iter().map(Vec::as_slice).collect();
    let Some(text) = input.pick(&others) else {
        return;
    };
    let text = mutated(text, &others, &mut input);
    (judge.accepts)(honest(), &text);
}

/// Each verifier with its honest texts, and how many it accepts as they are.
pub fn honest_texts() -> Vec<(&'static str, usize, usize)> {
    let count = |judge: &Judge| {
        let accepts = |text: &&Vec<u8>| (judge.accepts)(honest(), text);
        let accepted = judge.texts.iter().filter(accepts).count();
        (judge.name, judge.texts.len(), accepted)
    };
    judges().iter().map(count).collect()
}

fn decoded<T: serde::Serialize + DeserializeOwned>(text: &[u8]) -> Option<T> {
    wire::decode(text, LENGTH_MAX).ok()
}

fn checker(honest: &Honest) -> Checker<SimVerifier> {
    Checker::new(honest.verifier.clone(), 0)
}

fn holds(honest: &Honest, certificate: &VoteCertificate) -> bool {
    let chain = honest.chain(certificate.height);
    let holds = certificate.verify(&chain, &mut checker(honest)).is_ok();
    if holds {
        assert!(honest.has_cast(certificate), "{certificate:?} holds");
    }
    holds
}

fn certificate(honest: &Honest, text: &[u8]) -> bool {
    decoded(text).is_some_and(|certificate| holds(honest, &certificate))
}

/// Messages whose verification says something.
fn messages(honest: &Honest) -> Vec<Vec<u8>> {
    let messages = honest.frames.iter().filter_map(|frame| match frame {
        Frame::Consensus(message) => Some(message),
        Frame::Transactions(_) | Frame::Sync(_) => None,
    });
    encoded(&messages.collect::<Vec<_>>())
}

fn message(honest: &Honest, text: &[u8]) -> bool {
    let Some(message) = decoded::<Message>(text) else {
        return false;
    };
    let height = match &message {
        Message::Proposal(proposal) => proposal.pre_prepare.height,
        Message::Vote(vote) => vote.height,
        Message::ViewChange(view_change) => view_change.height,
        Message::NewView(proposal) => proposal.new_view.height,
        Message::Decided(decided) => decided.block.header.height,
        Message::Block(block) => block.header.height,
        Message::Evidence(evidence) => evidence.position().0,
        Message::Status(_) | Message::FetchDecided { .. } | Message::FetchBlock { .. } => {
            Height::ZERO
        }
    };
    let chain = honest.chain(height);
    if message.verify(&chain, &mut checker(honest)).is_err() {
        return false;
    }
    match &message {
        Message::Vote(vote) => {
            let ballot = (vote.kind, vote.height, vote.view, vote.value, vote.signer);
            assert_eq!(honest.votes.get(&ballot), Some(&vote.signature));
        }
        Message::ViewChange(view_change) => {
            assert!(honest.view_changes.contains(&view_change.signature));
            if let Some(certificate) = &view_change.certificate {
                assert!(honest.has_cast(certificate));
            }
        }
        Message::NewView(proposal) => {
            assert!(honest.new_views.contains(&proposal.new_view.digest()));
        }
        Message::Decided(decided) => {
            assert!(honest.is_decided(&decided.block.header));
            assert!(honest.has_cast(&decided.certificate));
        }
        Message::Evidence(evidence) => panic!("somebody honest is accused: {evidence:?}"),
        // Bodies are compared with their headers elsewhere, and the rest is not signed.
        Message::Proposal(_)
        | Message::Block(_)
        | Message::Status(_)
        | Message::FetchDecided { .. }
        | Message::FetchBlock { .. } => {}
    }
    true
}

/// Accusations made of what honest members signed: none of them holds.
fn evidence(honest: &Honest) -> Vec<Evidence> {
    let mut votes: Vec<Vote> = Vec::new();
    let mut view_changes: Vec<ViewChange> = Vec::new();
    let mut new_views: Vec<NewView> = Vec::new();
    for frame in &honest.frames {
        let Frame::Consensus(message) = frame else {
            continue;
        };
        match message {
            Message::Vote(vote) => votes.push(vote.clone()),
            Message::ViewChange(view_change) => view_changes.push(ViewChange {
                certificate: None,
                ..view_change.clone()
            }),
            Message::NewView(proposal) => new_views.push(proposal.new_view.clone()),
            _ => {}
        }
    }
    let mut evidence = Vec::new();
    for pair in votes.windows(2) {
        evidence.push(Evidence::TwoVotes(pair[0].clone(), pair[1].clone()));
    }
    for pair in view_changes.windows(2) {
        evidence.push(Evidence::TwoViewChanges(pair[0].clone(), pair[1].clone()));
    }
    for pair in new_views.windows(2) {
        let [a, b] = [&pair[0], &pair[1]].map(|new_view| new_view.pre_prepare.clone());
        evidence.push(Evidence::TwoProposals(a, b));
    }
    for (commit, view_change) in votes.iter().zip(view_changes.iter().cycle()) {
        evidence.push(Evidence::ForgottenLock {
            commit: commit.clone(),
            view_change: view_change.clone(),
        });
    }
    let unjustified = new_views.into_iter().map(Box::new);
    evidence.extend(unjustified.map(Evidence::UnjustifiedNewView));
    evidence
}

fn accusation(honest: &Honest, text: &[u8]) -> bool {
    let Some(evidence) = decoded::<Evidence>(text) else {
        return false;
    };
    let chain = honest.chain(evidence.position().0);
    let holds = evidence.verify(&chain, &mut checker(honest)).is_ok();
    assert!(!holds, "somebody honest is accused: {evidence:?}");
    false
}

fn is_final(honest: &Honest, proof: &FinalityProof) {
    assert!(honest.is_decided(&proof.header), "{:?}", proof.header);
    assert!(honest.has_cast(&proof.certificate));
}

fn finality_proof(honest: &Honest, text: &[u8]) -> bool {
    let Some(proof) = decoded::<FinalityProof>(text) else {
        return false;
    };
    let chain = honest.chain(proof.header.height);
    let holds = proof.verify(&chain, &honest.verifier).is_ok();
    if holds {
        is_final(honest, &proof);
    }
    holds
}

fn account(honest: &Honest, text: &[u8]) -> bool {
    let Some(proof) = decoded::<AccountProof>(text) else {
        return false;
    };
    let chain = honest.chain(proof.finality.header.height);
    let holds = proof.verify(&chain, &honest.verifier).is_ok();
    if holds {
        is_final(honest, &proof.finality);
        assert!(
            honest
                .accounts
                .iter()
                .any(|known| known.state == proof.state)
        );
    }
    holds
}

fn lock(honest: &Honest, text: &[u8]) -> bool {
    let Some(proof) = decoded::<LockProof>(text) else {
        return false;
    };
    let chain = honest.chain(proof.finality.header.height);
    let holds = proof.verify(&chain, &honest.verifier).is_ok();
    if holds {
        is_final(honest, &proof.finality);
        assert!(honest.locks.iter().any(|known| known.state == proof.state));
    }
    holds
}

fn receipt(honest: &Honest, text: &[u8]) -> bool {
    let Some(proof) = decoded::<TransactionProof>(text) else {
        return false;
    };
    let chain = honest.chain(proof.finality.header.height);
    let holds = proof.verify(&chain, &honest.verifier).is_ok();
    if holds {
        is_final(honest, &proof.finality);
        let known = honest.receipts.iter().map(|known| &known.receipt.receipt);
        assert!(
            known
                .into_iter()
                .any(|known| *known == proof.receipt.receipt)
        );
    }
    holds
}

/// Somebody who trusts the committee of that epoch.
fn client(honest: &Honest, epoch: Epoch) -> LightClient {
    let chain = honest.chain(Height::ZERO);
    let table = chain.table(Height::ZERO);
    LightClient::from_trusted(&chain, epoch, std::sync::Arc::clone(table), Time::ZERO)
}

fn epoch_end(honest: &Honest, text: &[u8]) -> bool {
    let Some(end) = decoded::<EpochEnd>(text) else {
        return false;
    };
    let mut client = client(honest, end.last.header.epoch);
    let holds = client.advance(&end, &mut checker(honest)).is_ok();
    if holds {
        assert!(honest.is_decided(&end.last.header));
        assert!(honest.has_cast(&end.last.certificate));
        assert_eq!(end.next, honest.members);
    }
    holds
}

fn header(honest: &Honest, text: &[u8]) -> bool {
    let Some(decided) = decoded::<DecidedHeader>(text) else {
        return false;
    };
    let mut client = client(honest, decided.header.epoch);
    let holds = client.verify(&decided, &mut checker(honest)).is_ok();
    if holds {
        assert!(honest.is_decided(&decided.header));
        assert!(honest.has_cast(&decided.certificate));
    }
    holds
}

/// The same text read as a header of a later epoch with its committee.
fn skip(honest: &Honest, text: &[u8]) -> bool {
    let Some(EpochEnd { last, next }) = decoded(text) else {
        return false;
    };
    let mut client = client(honest, Epoch::ZERO);
    let now = last.header.timestamp;
    let rules = SkipRules::default();
    let holds = client
        .skip(now, rules, &last, &next, &mut checker(honest))
        .is_ok();
    if holds {
        assert!(honest.is_decided(&last.header));
        assert!(honest.has_cast(&last.certificate));
        assert_eq!(next, honest.members);
    }
    holds
}

fn transaction(honest: &Honest, text: &[u8]) -> bool {
    let chain = honest.chain(Height::ZERO).id();
    let admitted = admit(text, chain, Tier::Stub, &mut checker(honest));
    admitted.is_ok_and(|transaction| {
        assert!(honest.transaction_ids.contains(&transaction.id()));
        true
    })
}

const LEAVES: u64 = 11;

/// A log, and proofs about it.
fn tree() -> &'static (AppendTree, Vec<InclusionProof>, Vec<ConsistencyProof>) {
    static TREE: OnceLock<(AppendTree, Vec<InclusionProof>, Vec<ConsistencyProof>)> =
        OnceLock::new();
    TREE.get_or_init(|| {
        let mut tree = AppendTree::new();
        for number in 0..LEAVES {
            tree.push(leaf(number));
        }
        let inclusion = (0..LEAVES).filter_map(|index| tree.inclusion(index, LEAVES).ok());
        let inclusion = inclusion.collect();
        let consistency = (0..=LEAVES).filter_map(|old| tree.consistency(old, LEAVES).ok());
        let consistency = consistency.collect();
        (tree, inclusion, consistency)
    })
}

fn leaf(number: u64) -> Sha256Digest {
    leaf_hash(&number.to_le_bytes())
}

fn inclusion(_: &Honest, text: &[u8]) -> bool {
    let (tree, proofs, _) = tree();
    let Some(proof) = decoded::<InclusionProof>(text) else {
        return false;
    };
    let root = tree.root();
    let proven = (0..LEAVES).filter(|number| proof.verify(&root, &leaf(*number)).is_ok());
    let proven: Vec<u64> = proven.collect();
    // A root says nothing about the number of leaves: whoever asks knows it.
    if proof.size != LEAVES || proven.is_empty() {
        return false;
    }
    assert_eq!(proven, [proof.index]);
    assert!(proofs.contains(&proof));
    true
}

fn consistency(_: &Honest, text: &[u8]) -> bool {
    let (tree, _, proofs) = tree();
    let Some(proof) = decoded::<ConsistencyProof>(text) else {
        return false;
    };
    let Ok(old) = tree.root_at(proof.old_size) else {
        return false;
    };
    if proof.new_size != LEAVES || proof.verify(&old, &tree.root()).is_err() {
        return false;
    }
    assert!(proofs.contains(&proof));
    true
}

fn snapshot(honest: &Honest, text: &[u8]) -> bool {
    let Some(chunks) = decoded::<Vec<Vec<u8>>>(text) else {
        return false;
    };
    let state = &honest.state;
    let chain = honest.chain(Height::ZERO).id();
    let seed = Seed::from_number(1);
    let genesis = &honest.genesis.ledger;
    let mut restore =
        Restore::new(genesis, chain, state.height, state.root, seed).expect("the genesis is one");
    if chunks.iter().any(|chunk| restore.push(chunk).is_err()) {
        return false;
    }
    let Ok(ledger) = restore.finish() else {
        return false;
    };
    ledger.check_invariants();
    let again: Vec<Vec<u8>> = ledger.snapshot().collect();
    assert_eq!(again, state.chunks, "another state has the root");
    true
}
