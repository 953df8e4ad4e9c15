//! Says almost what it should, under its real signature.

use super::{Adversary, Scene, Sending, message_of};
use polity_consensus::fbpbft::{
    Message, NewViewProposal, PreparedClaim, Proposal, Value, ViewChange, Vote,
};
use polity_crypto::Sha256Digest;
use polity_replica::Frame;
use polity_types::{Height, ReplicaId, View};
use std::sync::Arc;

/// A member that changes one field of what it sends and signs it again, so that no door refuses it:
/// what corruption on the way cannot do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mutator;

impl Mutator {
    fn near(scene: &mut Scene<'_>, number: u64) -> u64 {
        match scene.random.below(5) {
            0 => number.saturating_add(1),
            1 => number.saturating_sub(1),
            2 => number.saturating_add(scene.random.below(40)),
            3 => u64::MAX,
            _ => 0,
        }
    }

    fn flipped(scene: &mut Scene<'_>, digest: &Sha256Digest) -> Sha256Digest {
        let mut bytes = *digest.as_bytes();
        bytes[scene.random.below(32) as usize] ^= 1 << scene.random.below(8);
        Sha256Digest::new(bytes)
    }

    fn vote(scene: &mut Scene<'_>, vote: &Vote) -> Vote {
        let (mut height, mut view, mut value) = (vote.height, vote.view, vote.value);
        match scene.random.below(4) {
            0 => height = Height::new(Self::near(scene, height.get())),
            1 => view = View::new(Self::near(scene, view.get())),
            2 => {
                value = Value {
                    digest: Self::flipped(scene, &value.digest),
                    ..value
                }
            }
            _ => {
                value = Value {
                    new_view: Self::flipped(scene, &value.new_view),
                    ..value
                }
            }
        }
        scene.vote(vote.kind, height, view, value)
    }

    fn view_change(scene: &mut Scene<'_>, said: &ViewChange) -> ViewChange {
        let mut changed = said.clone();
        match scene.random.below(4) {
            0 => changed.view = View::new(Self::near(scene, said.view.get())),
            1 => changed.certificate = None,
            2 => {
                changed.prepared = said.prepared.map(|claim| PreparedClaim {
                    view: View::new(Self::near(scene, claim.view.get())),
                    ..claim
                });
            }
            _ => {
                changed.prepared = said.prepared.map(|claim| PreparedClaim {
                    digest: Self::flipped(scene, &claim.digest),
                    ..claim
                });
            }
        }
        scene.signed_again(changed)
    }

    fn proposal(scene: &mut Scene<'_>, proposal: &Proposal) -> Proposal {
        let number = scene.random.below(6);
        let junk = scene.junk_digest();
        let near = |scene: &mut Scene<'_>, number| Self::near(scene, number);
        let (height, view) = (proposal.pre_prepare.height, proposal.pre_prepare.view);
        let block = match number {
            // The same transactions in another order, or one of them twice.
            0 | 1 => {
                let mut block = (*proposal.block).clone();
                let transactions = &mut block.body.transactions;
                match number {
                    0 => transactions.reverse(),
                    _ => transactions.extend(transactions.first().cloned()),
                }
                scene.sealed(block)
            }
            2 => {
                let mut block = (*proposal.block).clone();
                block.body.parent_certificate = None;
                scene.sealed(block)
            }
            3 => scene.changed(&proposal.block, |header| header.application_root = junk),
            4 => {
                let mut block = (*proposal.block).clone();
                block.header.counts.transactions += 1;
                Arc::new(block)
            }
            _ => {
                let millis = near(scene, proposal.block.header.timestamp.as_millis());
                scene.changed(&proposal.block, |header| {
                    header.timestamp = polity_types::Time::from_millis(millis);
                })
            }
        };
        Proposal {
            pre_prepare: scene.pre_prepare(height, view, block.header.digest()),
            block,
        }
    }
}

impl Adversary for Mutator {
    fn name(&self) -> &'static str {
        "mutator"
    }

    fn sends(&mut self, scene: &mut Scene<'_>, _: ReplicaId, frame: &Frame) -> Sending {
        // Two of three frames are as they should be, or it would only be silent.
        if scene.random.below(3) != 0 {
            return Sending::Pass;
        }
        let changed = match message_of(frame) {
            Some(Message::Vote(vote)) => Message::Vote(Self::vote(scene, vote)),
            Some(Message::ViewChange(said)) => Message::ViewChange(Self::view_change(scene, said)),
            Some(Message::Proposal(proposal)) => Message::Proposal(Self::proposal(scene, proposal)),
            Some(Message::NewView(NewViewProposal { new_view, block })) => {
                let mut parts = new_view.view_changes.clone();
                let place = scene.random.below(parts.len() as u64) as usize;
                if let Some(part) = parts.get(place).cloned() {
                    match scene.random.below(3) {
                        0 => parts.push(part),
                        1 => {
                            parts.remove(place);
                        }
                        _ => parts[place] = Self::view_change(scene, &part),
                    }
                }
                Message::NewView(NewViewProposal {
                    new_view: scene.new_view(parts, new_view.pre_prepare.clone()),
                    block: block.clone(),
                })
            }
            Some(_) | None => return Sending::Pass,
        };
        Sending::Instead(vec![Frame::Consensus(changed)])
    }
}
