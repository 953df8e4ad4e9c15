//! Asks for views with certificates that prove nothing.

use super::{Adversary, Scene, Sending, message_of};
use polity_consensus::fbpbft::{
    Message, PreparedClaim, Value, ViewChange, VoteCertificate, VoteKind,
};
use polity_replica::Frame;
use polity_types::{ReplicaId, View};

/// A member whose VIEW-CHANGEs claim what nobody prepared: junk signatures, certificates of another
/// view, height or kind, claims without a certificate, claims of the view that they ask for.
#[derive(Clone, Debug, Default)]
pub struct JunkViewChange {
    /// A real certificate that it heard of, to bend.
    heard: Option<VoteCertificate>,
    turn: u64,
}

impl JunkViewChange {
    fn bent(&mut self, scene: &mut Scene<'_>, said: &ViewChange) -> ViewChange {
        self.turn += 1;
        let digest = scene.junk_digest();
        let real = said.certificate.clone().or_else(|| self.heard.clone());
        let Some(mut certificate) = real else {
            // A claim without a certificate.
            let mut bare = scene.view_change(said.height, said.view, None);
            bare.prepared = Some(PreparedClaim {
                view: View::ZERO,
                digest,
            });
            return scene.signed_again(bare);
        };
        match self.turn % 6 {
            // Signatures for another value.
            0 => certificate.value = Value::of_block(digest),
            // Of a later view than it was.
            1 => certificate.view = said.view,
            // Of another height.
            2 => certificate.height = certificate.height.next(),
            // COMMITs are no PREPAREs.
            3 => certificate.kind = VoteKind::Commit,
            // Too few signatures.
            4 => certificate.votes.signatures.truncate(64),
            // Zeroes for signatures.
            _ => certificate
                .votes
                .signatures
                .iter_mut()
                .for_each(|byte| *byte = 0),
        }
        scene.view_change(said.height, said.view, Some(certificate))
    }
}

impl Adversary for JunkViewChange {
    fn name(&self) -> &'static str {
        "junk VIEW-CHANGE"
    }

    fn sends(&mut self, scene: &mut Scene<'_>, _: ReplicaId, frame: &Frame) -> Sending {
        match message_of(frame) {
            Some(Message::ViewChange(said)) if said.signer == scene.id => {
                let bent = self.bent(scene, said);
                Sending::Instead(vec![Frame::Consensus(Message::ViewChange(bent))])
            }
            Some(_) | None => Sending::Pass,
        }
    }

    fn hears(&mut self, scene: &mut Scene<'_>, _: ReplicaId, frame: &Frame) {
        match message_of(frame) {
            Some(Message::ViewChange(said)) => {
                if let Some(certificate) = &said.certificate {
                    self.heard = Some(certificate.clone());
                }
                // It joins in at once, with junk.
                if said.signer != scene.id && scene.random.below(4) == 0 {
                    let bent = self.bent(scene, said);
                    scene.shout(&Message::ViewChange(bent));
                }
            }
            Some(Message::Decided(decided)) => self.heard = Some(decided.certificate.clone()),
            Some(Message::Proposal(proposal)) => {
                if let Some(parent) = &proposal.block.body.parent_certificate {
                    self.heard = Some(parent.clone());
                }
            }
            Some(_) | None => {}
        }
    }

    fn is_restless(&self) -> bool {
        true
    }

    fn idles(&mut self, scene: &mut Scene<'_>) {
        // It also asks for views that nobody needs.
        if scene.random.below(10) == 0 {
            let view = scene.view().saturating_add(1 + scene.random.below(4));
            let honest = scene.view_change(scene.height(), view, None);
            let bent = self.bent(scene, &honest);
            scene.shout(&Message::ViewChange(bent));
        }
    }
}
