//! Sends as much as it can.

use super::{Adversary, Scene};
use polity_consensus::fbpbft::{Block, Body, Message, Proposal, TransactionBytes, Value, VoteKind};
use polity_replica::Frame;
use polity_types::{Height, ReplicaId, View};
use std::sync::Arc;

/// Frames it sends to each member in a tenth of a second.
const BURST: u64 = 40;

/// A member that fills every place that others keep for it: really signed votes for every height
/// and view ahead, proposals of large blocks, VIEW-CHANGEs for many views, statements of many
/// heights.
#[derive(Debug, Default)]
pub struct Flooder {
    heard: Option<Arc<Block>>,
    /// Whether it goes beyond every window: a spammer of future heights.
    is_far: bool,
}

impl Flooder {
    /// A member that aims beyond every window.
    pub fn of_far_heights() -> Self {
        Self {
            heard: None,
            is_far: true,
        }
    }

    fn position(&self, scene: &mut Scene<'_>) -> (Height, View) {
        let (height, view) = (scene.height(), scene.view());
        if self.is_far {
            let far = [17, 1_000, 1_000_000_000, u64::MAX][scene.random.below(4) as usize];
            let ahead = scene.random.below(3);
            return (height.saturating_add(far).saturating_add(ahead), view);
        }
        (
            height.saturating_add(scene.random.below(18)),
            view.saturating_add(scene.random.below(40)),
        )
    }

    fn proposal(scene: &mut Scene<'_>, pattern: &Block, height: Height, view: View) -> Proposal {
        let bare = Block {
            header: pattern.header.clone(),
            body: Body::default(),
        };
        let id = scene.id;
        let block = scene.changed(&bare, |header| {
            header.height = height;
            header.view = view;
            header.proposer = id;
        });
        let mut swollen = (*block).clone();
        // Bytes that the header does not cover, as much as a block may have.
        let bytes = vec![0xaa; 60_000];
        swollen.body.transactions = vec![TransactionBytes::new(bytes); 4];
        Proposal {
            pre_prepare: scene.pre_prepare(height, view, block.header.digest()),
            block: Arc::new(swollen),
        }
    }
}

impl Adversary for Flooder {
    fn name(&self) -> &'static str {
        if self.is_far {
            "future-height spammer"
        } else {
            "flooder"
        }
    }

    fn hears(&mut self, _: &mut Scene<'_>, _: ReplicaId, frame: &Frame) {
        if let Some(Message::Proposal(proposal)) = super::message_of(frame) {
            self.heard = Some(proposal.block.clone());
        }
    }

    fn is_restless(&self) -> bool {
        true
    }

    fn idles(&mut self, scene: &mut Scene<'_>) {
        for _ in 0..BURST {
            let (height, view) = self.position(scene);
            let digest = scene.junk_digest();
            let to = scene.anybody();
            let value = Value::of_block(digest);
            let message = match scene.random.below(6) {
                0 => {
                    let value = Value {
                        new_view: match view {
                            View::ZERO => value.new_view,
                            _ => scene.junk_digest(),
                        },
                        ..value
                    };
                    Message::Vote(scene.vote(VoteKind::Prepare, height, view, value))
                }
                1 | 2 => Message::Vote(scene.vote(VoteKind::Commit, height, view, value)),
                3 => {
                    let height = if self.is_far { height } else { scene.height() };
                    Message::ViewChange(scene.view_change(height, view.next(), None))
                }
                4 => match self.heard.clone() {
                    Some(pattern) if scene.random.below(8) == 0 => {
                        Message::Proposal(Self::proposal(scene, &pattern, height, View::ZERO))
                    }
                    _ => Message::FetchDecided { from: height },
                },
                _ => Message::FetchBlock { height, digest },
            };
            scene.say(to, message);
        }
    }
}
