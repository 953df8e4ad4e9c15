//! Members that break the rules, each in a file with a name.
//!
//! An adversary owns its member's key and runs a real replica, so it knows what an honest member
//! would know and say. It decides what leaves: every frame of its replica passes through
//! [`Adversary::sends`] for each recipient, and it may say more at any time. What it says is
//! really signed, with its own key only.

mod catch_up_liar;
mod double_voter;
mod equivocator;
mod evidence_forger;
mod flooder;
mod foreigner;
mod forger;
mod forgetful;
mod junk_new_view;
mod junk_view_change;
mod mutator;
mod named;
mod nonsense;
mod replayer;
mod silent;
mod slow;
mod snapshot_liar;
mod split_voter;
mod stale_new_view;
mod status_liar;
mod tamperer;
mod view_jumper;
mod withholder;

pub use catch_up_liar::CatchUpLiar;
pub use double_voter::DoubleVoter;
pub use equivocator::{Accomplice, BareProposer, Equivocator, Plot};
pub use evidence_forger::EvidenceForger;
pub use flooder::Flooder;
pub use foreigner::Foreigner;
pub use forger::Forger;
pub use forgetful::Forgetful;
pub use junk_new_view::JunkNewView;
pub use junk_view_change::JunkViewChange;
pub use mutator::Mutator;
pub use named::{Circumstances, Named, named};
pub use nonsense::Nonsense;
pub use replayer::Replayer;
pub use silent::Silent;
pub use slow::Slow;
pub use snapshot_liar::SnapshotLiar;
pub use split_voter::SplitVoter;
pub use stale_new_view::{Forgery, StaleNewView};
pub use status_liar::StatusLiar;
pub use tamperer::Tamperer;
pub use view_jumper::ViewJumper;
pub use withholder::Withholder;

use crate::keys::SimSigner;
use crate::node::SimReplica;
use polity_consensus::committee::Committee as _;
use polity_consensus::fbpbft::{
    Block, Chain, Header, Message, NewView, PrePrepare, PreparedClaim, SealedBlock, Value,
    ViewChange, Vote, VoteCertificate, VoteKind,
};
use polity_crypto::{Sha256Digest, Signature, Signer as _, domain};
use polity_replica::Frame;
use polity_types::{Height, ReplicaId, Stream, Time, View};
use std::sync::Arc;

/// What becomes of a frame that the adversary's replica wants to send.
#[derive(Clone, Debug)]
pub enum Sending {
    /// It is sent.
    Pass,
    /// It is not sent.
    Drop,
    /// These are sent instead.
    Instead(Vec<Frame>),
}

/// A member that breaks the rules.
pub trait Adversary {
    /// What it is called in traces.
    fn name(&self) -> &'static str;

    /// Its replica wants to send `frame` to `to`.
    fn sends(&mut self, _scene: &mut Scene<'_>, _to: ReplicaId, _frame: &Frame) -> Sending {
        Sending::Pass
    }

    /// A frame came in; its replica will see it too.
    fn hears(&mut self, _scene: &mut Scene<'_>, _from: ReplicaId, _frame: &Frame) {}

    /// Whether it also acts without being spoken to.
    fn is_restless(&self) -> bool {
        false
    }

    /// Some time has passed: called every 100 milliseconds if it is restless.
    fn idles(&mut self, _scene: &mut Scene<'_>) {}
}

/// What an adversary sees, and its mouth.
#[derive(Debug)]
pub struct Scene<'a> {
    /// Which member it is.
    pub id: ReplicaId,
    /// What time it is by its clock.
    pub now: Time,
    /// The chain.
    pub chain: &'a Chain,
    /// Its key.
    pub signer: &'a SimSigner,
    /// The replica that it runs, as it is.
    pub replica: &'a SimReplica,
    /// Where its whims come from.
    pub random: &'a mut Stream,
    pub(crate) out: Vec<(ReplicaId, Frame)>,
}

impl Scene<'_> {
    /// Sends one member a message.
    pub fn say(&mut self, to: ReplicaId, message: Message) {
        self.out.push((to, Frame::Consensus(message)));
    }

    /// Sends every other member a message.
    pub fn shout(&mut self, message: &Message) {
        for to in self.others() {
            self.say(to, message.clone());
        }
    }

    /// All other members.
    pub fn others(&self) -> Vec<ReplicaId> {
        let members = self.chain.committee(self.height()).members();
        members
            .iter()
            .copied()
            .filter(|id| *id != self.id)
            .collect()
    }

    /// One of the other members.
    pub fn anybody(&mut self) -> ReplicaId {
        let others = self.others();
        others[self.random.below(others.len() as u64) as usize]
    }

    /// The height that its replica works on.
    pub fn height(&self) -> Height {
        self.replica.machine().height()
    }

    /// The view that its replica is in.
    pub fn view(&self) -> View {
        self.replica.machine().view()
    }

    /// 32 bytes that are the digest of nothing.
    pub fn junk_digest(&mut self) -> Sha256Digest {
        let mut bytes = [0; 32];
        self.random.fill(&mut bytes);
        Sha256Digest::new(bytes)
    }

    /// 64 bytes that are nobody's signature.
    pub fn junk_signature(&mut self) -> Signature {
        let mut bytes = [0; 64];
        self.random.fill(&mut bytes);
        Signature::new(&bytes)
    }

    /// Its vote for anything.
    pub fn vote(&self, kind: VoteKind, height: Height, view: View, value: Value) -> Vote {
        Vote {
            kind,
            height,
            view,
            value,
            signer: self.id,
            signature: sign_vote(self.signer, self.chain, kind, height, view, &value),
        }
    }

    /// Its PRE-PREPARE for anything.
    pub fn pre_prepare(&self, height: Height, view: View, digest: Sha256Digest) -> PrePrepare {
        let preimage = PrePrepare::preimage(self.chain, height, view, &digest);
        PrePrepare {
            height,
            view,
            digest,
            signature: self.signer.sign(&preimage),
        }
    }

    /// Its VIEW-CHANGE with any certificate.
    pub fn view_change(
        &self,
        height: Height,
        view: View,
        certificate: Option<VoteCertificate>,
    ) -> ViewChange {
        let prepared = certificate.as_ref().map(|certificate| PreparedClaim {
            view: certificate.view,
            digest: certificate.value.digest,
        });
        let preimage = ViewChange::preimage(self.chain, height, view, prepared.as_ref());
        ViewChange {
            height,
            view,
            prepared,
            signer: self.id,
            signature: self.signer.sign(&preimage),
            certificate,
        }
    }

    /// A VIEW-CHANGE as it stands, in its own name and under its signature.
    pub fn signed_again(&self, said: ViewChange) -> ViewChange {
        let preimage =
            ViewChange::preimage(self.chain, said.height, said.view, said.prepared.as_ref());
        ViewChange {
            signer: self.id,
            signature: self.signer.sign(&preimage),
            ..said
        }
    }

    /// Its NEW-VIEW with any parts.
    pub fn new_view(&self, view_changes: Vec<ViewChange>, pre_prepare: PrePrepare) -> NewView {
        let (height, view) = (pre_prepare.height, pre_prepare.view);
        let content = NewView::content(&view_changes, &pre_prepare);
        let preimage = NewView::preimage(self.chain, height, view, &content);
        NewView {
            height,
            view,
            view_changes,
            pre_prepare,
            signature: self.signer.sign(&preimage),
        }
    }

    /// A block like another whose header is changed; the digest is right again afterwards.
    pub fn changed(&self, block: &Block, change: impl FnOnce(&mut Header)) -> Arc<Block> {
        let mut changed = block.clone();
        change(&mut changed.header);
        self.sealed(changed)
    }

    /// A block whose header covers its body, as far as that is possible.
    pub fn sealed(&self, block: Block) -> Arc<Block> {
        match SealedBlock::build(self.chain, block.header.clone(), block.body.clone()) {
            Ok(sealed) => sealed.block().clone(),
            Err(_) => Arc::new(block),
        }
    }

    /// A valid block like another, one millisecond later, so that its digest differs.
    pub fn twin(&self, block: &Block) -> Arc<Block> {
        self.changed(block, |header| {
            header.timestamp = header
                .timestamp
                .saturating_add(core::time::Duration::from_millis(1));
        })
    }
}

/// The signature of a vote, from its layout in the specification.
pub(crate) fn sign_vote(
    signer: &SimSigner,
    chain: &Chain,
    kind: VoteKind,
    height: Height,
    view: View,
    value: &Value,
) -> Signature {
    let preimage = match kind {
        VoteKind::Prepare => chain
            .scope(domain::PREPARE, height, view)
            .array(value.digest.as_bytes())
            .array(value.new_view.as_bytes()),
        VoteKind::Commit => chain
            .scope(domain::COMMIT, height, view)
            .array(value.digest.as_bytes()),
    };
    signer.sign(&preimage)
}

/// The message in a frame of consensus.
pub(crate) fn message_of(frame: &Frame) -> Option<&Message> {
    match frame {
        Frame::Consensus(message) => Some(message),
        Frame::Transactions(_) | Frame::Sync(_) => None,
    }
}
