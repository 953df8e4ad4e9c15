//! Messages that a faulty member can sign, and proofs that it can collect from what others signed.

use crate::replica::Said;
use crate::scenario::{HEIGHT, World, signer};
use crate::table::{Kept, Number};
use polity_consensus::certificate::MultiSignature;
use polity_consensus::fbpbft::{
    Block, Decided, Message, NewView, NewViewProposal, PrePrepare, PreparedClaim, Proposal,
    SealedBlock, Value, ViewChange, Vote, VoteCertificate, VoteKind,
};
use polity_crypto::{Sha256Digest, Signature, Signer as _, domain};
use polity_types::{ReplicaId, View};
use std::collections::BTreeMap;
use std::sync::Arc;

/// All messages, honest and forged, by number, and all blocks by digest.
#[derive(Debug)]
pub(crate) struct Messages {
    kept: Kept<Message, Message>,
    forged: Kept<Forgery, Number>,
    blocks: Kept<Sha256Digest, Arc<Block>>,
    /// NEW-VIEWs by the digest that PREPAREs name.
    new_views: Kept<Sha256Digest, Number>,
    /// What single replicas said that NEW-VIEWs can be made of.
    speeches: Kept<Speech, ()>,
    /// Proposals of a view that follow from what all said.
    offers: Kept<(View, Vec<Number>), Vec<Number>>,
}

/// VIEW-CHANGEs, PREPAREs and proposals of one replica, by view.
type Speech = (
    BTreeMap<View, (Option<PreparedClaim>, Number)>,
    BTreeMap<View, Value>,
    BTreeMap<View, (Sha256Digest, Number)>,
);

/// What was forged, so that it is signed once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Forgery {
    Vote(VoteKind, View, Value),
    ViewChange(View, Option<PreparedClaim>, Vec<ReplicaId>, Option<Value>),
    NewView(View, Vec<Number>, Sha256Digest),
}

impl Messages {
    pub(crate) fn new() -> Self {
        Self {
            kept: Kept::new(),
            forged: Kept::new(),
            blocks: Kept::new(),
            new_views: Kept::new(),
            speeches: Kept::new(),
            offers: Kept::new(),
        }
    }

    pub(crate) fn keep(&self, message: Message) -> Number {
        if let Some(number) = self.kept.find(&message) {
            return number;
        }
        if let Some(block) = message.block() {
            self.keep_block(block.clone());
        }
        let digest = match &message {
            Message::NewView(proposal) => Some(proposal.new_view.digest()),
            _ => None,
        };
        let number = self.kept.keep(message.clone(), || message);
        if let Some(digest) = digest {
            self.new_views.keep(digest, || number);
        }
        number
    }

    /// A number for what NEW-VIEWs can be made of.
    pub(crate) fn keep_speech(&self, said: &Said) -> Number {
        let speech = (
            said.view_changes.clone(),
            said.prepares.clone(),
            said.proposals.clone(),
        );
        self.speeches.keep(speech, || ())
    }

    /// Proposals of a view by the speeches of all replicas, worked out once.
    pub(crate) fn offer(
        &self,
        view: View,
        speeches: Vec<Number>,
        work_out: impl FnOnce() -> Vec<Number>,
    ) -> Arc<Vec<Number>> {
        let number = self.offers.keep((view, speeches), work_out);
        self.offers.get(number)
    }

    /// The NEW-VIEW with this digest.
    pub(crate) fn new_view_of(&self, digest: &Sha256Digest) -> Option<Arc<Message>> {
        let place = self.new_views.find(digest)?;
        Some(self.get(*self.new_views.get(place)))
    }

    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    pub(crate) fn get(&self, number: Number) -> Arc<Message> {
        self.kept.get(number)
    }

    pub(crate) fn keep_block(&self, block: Block) {
        self.blocks.keep(block.header.digest(), || Arc::new(block));
    }

    pub(crate) fn block(&self, digest: &Sha256Digest) -> Option<Arc<Block>> {
        let number = self.blocks.find(digest)?;
        Some(Arc::clone(&self.blocks.get(number)))
    }

    fn forge(&self, forgery: Forgery, make: impl FnOnce() -> Message) -> Number {
        if let Some(place) = self.forged.find(&forgery) {
            return *self.forged.get(place);
        }
        let number = self.keep(make());
        self.forged.keep(forgery, || number);
        number
    }

    /// A vote of the faulty member.
    pub(crate) fn vote(&self, world: &World, kind: VoteKind, view: View, value: Value) -> Number {
        let faulty = world.faulty.expect("somebody is faulty");
        self.forge(Forgery::Vote(kind, view, value), || {
            Message::Vote(Vote {
                kind,
                height: HEIGHT,
                view,
                value,
                signer: faulty,
                signature: sign_vote(world, faulty, kind, view, value),
            })
        })
    }

    /// A VIEW-CHANGE of the faulty member with a certificate it can show.
    pub(crate) fn view_change(
        &self,
        world: &World,
        view: View,
        proof: Option<(View, Value, Vec<ReplicaId>)>,
    ) -> Number {
        let faulty = world.faulty.expect("somebody is faulty");
        let claim = proof.as_ref().map(|(view, value, _)| PreparedClaim {
            view: *view,
            digest: value.digest,
        });
        let signers = proof.as_ref().map(|(.., signers)| signers.clone());
        let value = proof.as_ref().map(|(_, value, _)| *value);
        let key = Forgery::ViewChange(view, claim, signers.unwrap_or_default(), value);
        self.forge(key, || {
            let certificate = proof.map(|(view, value, signers)| {
                certificate(world, VoteKind::Prepare, view, value, &signers)
            });
            Message::ViewChange(sign_view_change(world, faulty, view, claim, certificate))
        })
    }

    /// A claim of the faulty member that it cannot prove.
    pub(crate) fn bare_claim(&self, world: &World, view: View, claim: PreparedClaim) -> Number {
        let faulty = world.faulty.expect("somebody is faulty");
        self.forge(
            Forgery::ViewChange(view, Some(claim), Vec::new(), None),
            || Message::ViewChange(sign_view_change(world, faulty, view, Some(claim), None)),
        )
    }

    /// A NEW-VIEW of the faulty leader of `view`, justified or not.
    pub(crate) fn new_view(
        &self,
        world: &World,
        view: View,
        parts: &[Number],
        block: &Arc<Block>,
    ) -> Number {
        let digest = block.header.digest();
        self.forge(Forgery::NewView(view, parts.to_vec(), digest), || {
            let parts = parts.iter().map(|part| match &*self.get(*part) {
                Message::ViewChange(view_change) => view_change.clone(),
                other => unreachable!("a NEW-VIEW is made of VIEW-CHANGEs: {other:?}"),
            });
            new_view(world, view, parts.collect(), block)
        })
    }

    /// A proposal outside of any NEW-VIEW, by the leader of its view.
    pub(crate) fn proposal(&self, world: &World, view: View, block: &SealedBlock) -> Number {
        self.keep(Message::Proposal(Proposal {
            pre_prepare: pre_prepare(world, view, block.digest()),
            block: Arc::clone(block.block()),
        }))
    }

    /// A decided block with COMMITs of these members.
    pub(crate) fn decided(
        &self,
        world: &World,
        view: View,
        digest: Sha256Digest,
        signers: &[ReplicaId],
    ) -> Option<Number> {
        let value = Value::of_block(digest);
        Some(self.keep(Message::Decided(Decided {
            block: self.block(&digest)?,
            certificate: certificate(world, VoteKind::Commit, view, value, signers),
        })))
    }
}

/// A NEW-VIEW message with these parts.
pub(crate) fn new_view(
    world: &World,
    view: View,
    view_changes: Vec<ViewChange>,
    block: &Arc<Block>,
) -> Message {
    let pre_prepare = pre_prepare(world, view, block.header.digest());
    let content = NewView::content(&view_changes, &pre_prepare);
    let preimage = NewView::preimage(&world.chain, HEIGHT, view, &content);
    Message::NewView(NewViewProposal {
        new_view: NewView {
            height: HEIGHT,
            view,
            view_changes,
            pre_prepare,
            signature: signer(world.leader(view)).sign(&preimage),
        },
        block: Arc::clone(block),
    })
}

fn pre_prepare(world: &World, view: View, digest: Sha256Digest) -> PrePrepare {
    let preimage = PrePrepare::preimage(&world.chain, HEIGHT, view, &digest);
    PrePrepare {
        height: HEIGHT,
        view,
        digest,
        signature: signer(world.leader(view)).sign(&preimage),
    }
}

/// A VIEW-CHANGE as `id` would sign it.
pub(crate) fn sign_view_change(
    world: &World,
    id: ReplicaId,
    view: View,
    prepared: Option<PreparedClaim>,
    certificate: Option<VoteCertificate>,
) -> ViewChange {
    let preimage = ViewChange::preimage(&world.chain, HEIGHT, view, prepared.as_ref());
    ViewChange {
        height: HEIGHT,
        view,
        prepared,
        signer: id,
        signature: signer(id).sign(&preimage),
        certificate,
    }
}

/// The certificate of votes that these members cast.
fn certificate(
    world: &World,
    kind: VoteKind,
    view: View,
    value: Value,
    signers: &[ReplicaId],
) -> VoteCertificate {
    let signatures: BTreeMap<ReplicaId, Signature> = signers
        .iter()
        .map(|id| (*id, sign_vote(world, *id, kind, view, value)))
        .collect();
    VoteCertificate {
        kind,
        height: HEIGHT,
        view,
        value,
        votes: MultiSignature::collect(world.chain.committee(HEIGHT), &signatures),
    }
}

/// The layout of votes stands in the specification; here it is written a second time. A signer gives
/// one signature for one preimage, so this is the signature that the member sent.
fn sign_vote(world: &World, id: ReplicaId, kind: VoteKind, view: View, value: Value) -> Signature {
    let preimage = match kind {
        VoteKind::Prepare => world
            .chain
            .scope(domain::PREPARE, HEIGHT, view)
            .array(value.digest.as_bytes())
            .array(value.new_view.as_bytes()),
        VoteKind::Commit => world
            .chain
            .scope(domain::COMMIT, HEIGHT, view)
            .array(value.digest.as_bytes()),
    };
    signer(id).sign(&preimage)
}
