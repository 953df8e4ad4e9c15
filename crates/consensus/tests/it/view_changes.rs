//! FB-8 to FB-11: leaving, entering and starting views. One replica is real; the others' messages
//! are made by hand.

use crate::cluster::{Cluster, genesis_tip};
use crate::forge;
use polity_consensus::fbpbft::{
    Chain, Config, Effect, Evidence, Message, NewView, NewViewProposal, Record, SealedBlock, Value,
    ViewChange, Vote, VoteKind,
};
use polity_crypto::Sha256Digest;
use polity_crypto::stub::{StubSigner, StubVerifier};
use polity_types::{ReplicaId, StateMachine, View};
use rstest::rstest;

struct Stage {
    cluster: Cluster<StubSigner, StubVerifier>,
    /// The real replica. It leads neither view 0 nor view 1 of height 1.
    real: usize,
    /// The others.
    others: Vec<u32>,
}

fn stage() -> Stage {
    let signers = (0..4).map(StubSigner::new).collect();
    let mut cluster = Cluster::new(signers, || StubVerifier, Config::default());
    let leaders = [0, 1].map(|view| forge::leader(cluster.chain(), 1, view));
    let real = (0..4_u32)
        .find(|id| !leaders.contains(&ReplicaId::new(*id)))
        .expect("two of four do not lead") as usize;
    for (index, node) in cluster.nodes.iter_mut().enumerate() {
        node.is_down = index != real;
    }
    cluster.network.clear();
    Stage {
        cluster,
        real,
        others: (0..4).filter(|id| *id as usize != real).collect(),
    }
}

impl Stage {
    fn chain(&self) -> Chain {
        self.cluster.chain().clone()
    }

    fn block(&self, view: u64, salt: u64) -> SealedBlock {
        let chain = self.chain();
        forge::block(&chain, &genesis_tip(&chain), view, salt)
    }

    fn receive(&mut self, from: u32, message: Message) {
        self.cluster
            .receive(self.real, ReplicaId::new(from), message);
    }

    fn receive_from_leader(&mut self, view: u64, message: Message) {
        let leader = forge::leader(self.cluster.chain(), 1, view);
        self.receive(leader.get(), message);
    }

    fn view_changes(&self, view: u64, from: &[u32]) -> Vec<ViewChange> {
        let chain = self.chain();
        from.iter()
            .map(|id| forge::view_change(&chain, (1, view), None, *id))
            .collect()
    }

    fn propose_view(&mut self, view: u64, parts: Vec<ViewChange>, block: &SealedBlock) -> NewView {
        let chain = self.chain();
        let pre_prepare = forge::pre_prepare(&chain, block, view);
        let new_view = forge::new_view(&chain, (1, view), parts, pre_prepare);
        self.receive_from_leader(
            view,
            Message::NewView(NewViewProposal {
                new_view: new_view.clone(),
                block: block.block().clone(),
            }),
        );
        new_view
    }

    fn view(&self) -> (u64, u64) {
        let machine = self.cluster.nodes[self.real].engine.machine();
        (machine.view().get(), machine.view_floor().get())
    }

    fn votes(&mut self) -> Vec<Vote> {
        self.cluster
            .outbox(self.real)
            .into_iter()
            .filter_map(|message| match message {
                Message::Vote(vote) => Some(vote),
                _ => None,
            })
            .collect()
    }

    fn journal(&self) -> &[Record] {
        &self.cluster.nodes[self.real].journal
    }
}

#[test]
fn r1_a_bare_proposal_above_view_0_gets_no_vote() {
    let mut stage = stage();
    let chain = stage.chain();
    for view_change in stage.view_changes(1, &stage.others.clone()) {
        stage.receive(view_change.signer.get(), Message::ViewChange(view_change));
    }
    assert_eq!(stage.view(), (1, 1));
    stage.votes();
    let block = stage.block(1, 0);
    let bare = forge::proposal(&chain, &block);
    stage.receive_from_leader(1, Message::Proposal(bare));
    assert_eq!(stage.votes(), []);
    // Inside a NEW-VIEW the same block is voted for, and the vote names the NEW-VIEW.
    let parts = stage.view_changes(1, &stage.others.clone());
    let new_view = stage.propose_view(1, parts, &block);
    let votes = stage.votes();
    assert_eq!(votes.len(), 1);
    assert_eq!(
        votes[0].value,
        Value {
            digest: block.digest(),
            new_view: new_view.digest()
        }
    );
    // FB-4: body and NEW-VIEW are durable before the vote.
    let place = |wanted: fn(&Record) -> bool| stage.journal().iter().position(wanted);
    let vote = place(|r| matches!(r, Record::PrepareSent { .. })).expect("a vote");
    assert!(place(|r| matches!(r, Record::Block(_))).is_some_and(|at| at < vote));
    assert!(place(|r| matches!(r, Record::NewView(_))).is_some_and(|at| at < vote));
}

/// What a NEW-VIEW must not be. Every case is signed by the right leader.
#[rstest]
#[case::too_few(|s: &Stage| (s.view_changes(1, &s.others[..2]), s.block(1, 0)))]
#[case::repeated(|s: &Stage| {
    let one = s.others[0];
    (s.view_changes(1, &[one, one, s.others[1]]), s.block(1, 0))
})]
#[case::other_view(|s: &Stage| (s.view_changes(2, &s.others), s.block(1, 0)))]
#[case::ignores_a_certificate(|s: &Stage| (s.with_claim(), s.block(1, 0)))]
#[case::unsigned_part(|s: &Stage| {
    let mut parts = s.view_changes(1, &s.others);
    parts[0].signature = polity_crypto::Signature::new(&[0; 64]);
    (parts, s.block(1, 0))
})]
#[case::claim_without_certificate(|s: &Stage| {
    let mut parts = s.with_claim();
    parts[0].certificate = None;
    (parts, s.certified())
})]
#[case::junk_certificate(|s: &Stage| {
    let mut parts = s.with_claim();
    parts[0].certificate.as_mut().unwrap().votes.signatures[0] ^= 1;
    (parts, s.certified())
})]
fn v3_an_unjustified_new_view_is_refused_and_is_evidence(
    #[case] make: fn(&Stage) -> (Vec<ViewChange>, SealedBlock),
) {
    let mut stage = stage();
    let (parts, block) = make(&stage);
    stage.propose_view(1, parts, &block);
    assert_eq!(
        stage.view(),
        (0, 0),
        "a NEW-VIEW that proves nothing enters nothing"
    );
    let sent = stage.cluster.outbox(stage.real);
    let accused = sent.iter().find_map(|message| match message {
        Message::Evidence(evidence @ Evidence::UnjustifiedNewView(_)) => {
            Some(evidence.accused(stage.cluster.chain()))
        }
        _ => None,
    });
    assert_eq!(accused, Some(forge::leader(stage.cluster.chain(), 1, 1)));
    assert!(
        !sent
            .iter()
            .any(|message| matches!(message, Message::Vote(_)))
    );
}

impl Stage {
    /// The block that view 0 prepared in [`with_claim`](Self::with_claim).
    fn certified(&self) -> SealedBlock {
        self.block(0, 7)
    }

    /// VIEW-CHANGEs for view 1, the first of which claims a block prepared in view 0.
    fn with_claim(&self) -> Vec<ViewChange> {
        let chain = self.chain();
        let value = Value::of_block(self.certified().digest());
        let certificate =
            forge::certificate(&chain, VoteKind::Prepare, (1, 0), value, &self.others);
        let mut parts = self.view_changes(1, &self.others);
        parts[0] = forge::view_change(&chain, (1, 1), Some(certificate), self.others[0]);
        parts
    }
}

#[test]
fn fb_10_the_highest_certificate_is_proposed_again_unchanged() {
    let mut stage = stage();
    let (parts, block) = (stage.with_claim(), stage.certified());
    stage.propose_view(1, parts, &block);
    let votes = stage.votes();
    assert_eq!(votes.len(), 1);
    assert_eq!(votes[0].value.digest, block.digest());
    assert_eq!(block.header().view, View::ZERO);
}

#[test]
fn r3_a_block_proposed_again_is_not_judged_by_its_age() {
    let mut stage = stage();
    let (parts, block) = (stage.with_claim(), stage.certified());
    let hour = std::time::Duration::from_secs(3_600);
    stage.cluster.now = stage.cluster.now.saturating_add(hour);
    stage.propose_view(1, parts, &block);
    assert_eq!(stage.votes().len(), 1);
}

#[test]
fn fb_4_a_fresh_block_far_from_our_time_gets_no_vote() {
    let mut stage = stage();
    let block = stage.block(0, 0);
    let chain = stage.chain();
    stage.cluster.now = stage
        .cluster
        .now
        .saturating_add(std::time::Duration::from_secs(31));
    stage.receive_from_leader(0, Message::Proposal(forge::proposal(&chain, &block)));
    assert_eq!(stage.votes(), []);
}

#[test]
fn w4c_view_changes_for_different_views_are_not_added_up() {
    let mut stage = stage();
    for (id, view) in stage.others.clone().into_iter().zip([1, 7, 1_000_000]) {
        let view_change = stage.view_changes(view, &[id]).remove(0);
        stage.receive(id, Message::ViewChange(view_change));
    }
    // Two of three ask for 7 or more, so an honest one does; with this replica's word for 7 a
    // quorum is there for 7, and for nothing above.
    assert_eq!(stage.view(), (7, 7));
}

#[test]
fn fb_9_one_member_alone_moves_nobody() {
    let mut stage = stage();
    let id = stage.others[0];
    for view in [1, 2, 3, 1_000_000] {
        let view_change = stage.view_changes(view, &[id]).remove(0);
        stage.receive(id, Message::ViewChange(view_change));
    }
    assert_eq!(stage.view(), (0, 0));
    assert_eq!(stage.cluster.outbox(stage.real), []);
}

#[test]
fn r2_nothing_below_the_floor_is_entered_or_voted_for() {
    let mut stage = stage();
    // Two ask for 5: this replica joins and leaves everything below for good.
    for id in stage.others.clone().into_iter().take(2) {
        let view_change = stage.view_changes(5, &[id]).remove(0);
        stage.receive(id, Message::ViewChange(view_change));
    }
    assert_eq!(stage.view(), (5, 5));
    stage.votes();
    // Late ones for 3, and even a justified NEW-VIEW of 3, come too late.
    let parts = stage.view_changes(3, &stage.others.clone());
    let block = stage.block(3, 0);
    stage.propose_view(3, parts, &block);
    assert_eq!(stage.view(), (5, 5));
    assert_eq!(stage.votes(), []);
}

#[test]
fn fb_6_after_leaving_a_view_no_commit_follows_in_it() {
    let mut stage = stage();
    let chain = stage.chain();
    let block = stage.block(0, 0);
    stage.receive_from_leader(0, Message::Proposal(forge::proposal(&chain, &block)));
    let value = Value::of_block(block.digest());
    let first = stage.others[0];
    let prepare = |id| {
        Message::Vote(forge::vote(
            &chain,
            VoteKind::Prepare,
            (1, 0),
            value,
            ReplicaId::new(id),
        ))
    };
    stage.receive(first, prepare(first));
    // The timer of view 0 fires one PREPARE before the quorum.
    while stage.view().1 == 0 {
        let deadline = stage.cluster.nodes[stage.real].engine.deadline();
        stage.cluster.now = deadline.expect("the view timer runs");
        stage.cluster.tick_all();
    }
    stage.cluster.outbox(stage.real);
    stage.receive(stage.others[1], prepare(stage.others[1]));
    assert_eq!(stage.votes(), [], "no COMMIT in a view that was left");
    // But the certificate is kept, and the next VIEW-CHANGE reports it.
    let is_prepared = |record: &Record| matches!(record, Record::Prepared(_));
    assert!(stage.journal().iter().any(is_prepared));
}

#[test]
fn w5_nonsense_in_a_header_gets_no_vote() {
    let stage_of = |change: fn(&mut polity_consensus::fbpbft::Header)| {
        let mut stage = stage();
        let chain = stage.chain();
        let mut header = stage.block(0, 0).header().clone();
        change(&mut header);
        let body = polity_consensus::fbpbft::Body::default();
        let block = SealedBlock::build(&chain, header, body).expect("no transactions");
        let pre_prepare = forge::pre_prepare(&chain, &stage.block(0, 0), 0);
        let preimage = polity_consensus::fbpbft::PrePrepare::preimage(
            &chain,
            pre_prepare.height,
            pre_prepare.view,
            &block.digest(),
        );
        let leader = forge::signer(forge::leader(&chain, 1, 0));
        let proposal = polity_consensus::fbpbft::Proposal {
            pre_prepare: polity_consensus::fbpbft::PrePrepare {
                digest: block.digest(),
                signature: polity_crypto::Signer::sign(&leader, &preimage),
                ..pre_prepare
            },
            block: block.block().clone(),
        };
        stage.receive_from_leader(0, Message::Proposal(proposal));
        stage.votes()
    };
    assert_eq!(stage_of(|_| {}).len(), 1);
    let changes: [fn(&mut polity_consensus::fbpbft::Header); 10] = [
        |h| h.height = polity_types::Height::new(999),
        |h| h.parent = Sha256Digest::new([9; 32]),
        |h| h.proposer = ReplicaId::new(77),
        |h| h.view = View::new(3),
        |h| h.timestamp = polity_types::Time::ZERO,
        |h| h.timestamp = polity_types::Time::MAX,
        |h| h.application_root = Sha256Digest::new([9; 32]),
        |h| h.receipts_root = Sha256Digest::new([9; 32]),
        |h| h.next_committee = Sha256Digest::new([9; 32]),
        |h| h.epoch = polity_types::Epoch::new(4),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        assert_eq!(stage_of(change), [], "change {number}");
    }
}

#[test]
fn a_body_that_the_header_does_not_cover_gets_no_vote() {
    let mut stage = stage();
    let chain = stage.chain();
    let block = stage.block(0, 0);
    let mut proposal = forge::proposal(&chain, &block);
    proposal.block = forge::with_other_body(&block);
    stage.receive_from_leader(0, Message::Proposal(proposal));
    assert_eq!(stage.votes(), []);
    // The leader's real block still counts: a relay that changes bytes costs nobody else more than
    // the time until the leader sends it again.
    let config = Config::default();
    stage.cluster.now = stage.cluster.now.saturating_add(config.retransmit_after);
    stage.receive_from_leader(0, Message::Proposal(forge::proposal(&chain, &block)));
    assert_eq!(stage.votes().len(), 1);
}

#[test]
fn fb_13_own_messages_are_sent_again_until_progress() {
    let mut stage = stage();
    let chain = stage.chain();
    let block = stage.block(0, 0);
    stage.receive_from_leader(0, Message::Proposal(forge::proposal(&chain, &block)));
    let first = stage.votes();
    let config = Config::default();
    stage.cluster.now = stage.cluster.now.saturating_add(config.retransmit_after);
    let effects = stage.cluster.nodes[stage.real]
        .engine
        .tick(stage.cluster.now);
    let again: Vec<Effect> = effects
        .into_iter()
        .filter(|effect| matches!(effect, Effect::Broadcast(Message::Vote(_))))
        .collect();
    assert_eq!(again, [Effect::Broadcast(Message::Vote(first[0].clone()))]);
}
