//! Helps those far behind with snapshots that are none.

use super::{Adversary, Scene, Sending, message_of};
use polity_consensus::fbpbft::{Message, Status};
use polity_ledger::CHUNK_LENGTH_MAX;
use polity_replica::Frame;
use polity_replica::sync::{ChunkBytes, ChunkLog, ENDS_MAX, SyncAnswer, SyncMessage, SyncRequest};
use polity_types::ReplicaId;

/// A member that says it is far ahead, and then answers requests for snapshots with one kind of lie
/// (FB-19).
#[derive(Clone, Debug)]
pub struct SnapshotLiar {
    lie: u64,
    /// Chunks of a state that nobody decided, with proofs that hold.
    invented: Vec<Vec<u8>>,
}

impl SnapshotLiar {
    /// Kinds of lies.
    pub const LIES: u64 = 12;

    /// What [`accomplice`](Self::accomplice) does, which is none of them: it takes several.
    const COLLUDING: u64 = Self::LIES;

    /// Tells lies of this kind.
    pub fn new(lie: u64) -> Self {
        Self {
            lie: lie % Self::LIES,
            invented: Vec::new(),
        }
    }

    /// Offers this state wherever others offer the true one. As many as collude vouch for it together,
    /// with proofs that hold.
    pub fn accomplice(invented: Vec<Vec<u8>>) -> Self {
        Self {
            lie: Self::COLLUDING,
            invented,
        }
    }

    /// What it says instead of the truth; nothing if it says nothing.
    fn answer(&mut self, scene: &mut Scene<'_>, truth: SyncAnswer) -> Option<SyncAnswer> {
        let mut said = truth;
        match (self.lie, &mut said) {
            // Bytes that the proof does not cover.
            (0, SyncAnswer::Chunk { bytes, .. }) => {
                let mut changed = bytes.as_slice().to_vec();
                let place = scene.random.below(changed.len() as u64) as usize;
                changed[place] ^= 1;
                *bytes = ChunkBytes::new(changed);
            }
            // Another state, or none, with proofs that hold.
            (
                1 | 2 | Self::COLLUDING,
                SyncAnswer::Epochs {
                    offer: Some(offer), ..
                },
            ) => {
                match self.lie {
                    1 => self.invented = scene.replica.ledger().snapshot().collect(),
                    2 => self.invented = vec![vec![7; 90]; 3],
                    _ => {}
                }
                let log = ChunkLog::new(self.invented.iter().map(Vec::as_slice));
                **offer = log.offer(offer.first.clone(), offer.ledger_root);
            }
            // It has spoken already, see `hears`; or nothing, once it was asked for chunks.
            (1 | 2 | Self::COLLUDING, SyncAnswer::Gone { .. }) | (3, SyncAnswer::Chunk { .. }) => {
                return None;
            }
            // A committee that nobody named.
            (4, SyncAnswer::Epochs { ends, .. }) => {
                for end in ends {
                    end.next.pop();
                }
            }
            // More than a page.
            (5, SyncAnswer::Epochs { ends, .. }) => {
                if let Some(end) = ends.first().cloned() {
                    ends.resize(ENDS_MAX + 1, end);
                }
            }
            (6, SyncAnswer::Epochs { ends, offer }) => {
                ends.clear();
                *offer = None;
            }
            // Another chunk than the one asked for.
            (7, SyncAnswer::Chunk { index, proof, .. }) => {
                let far = scene.random.below(2) == 0;
                *index = if far { u32::MAX } else { *index };
                proof.index = u64::from(*index) + 1;
            }
            // It had it a moment ago.
            (
                8,
                SyncAnswer::Chunk {
                    height,
                    chunks_root,
                    proof,
                    ..
                },
            ) => {
                said = SyncAnswer::Gone {
                    height: *height,
                    chunks: u32::try_from(proof.size).unwrap_or(u32::MAX),
                    chunks_root: *chunks_root,
                };
            }
            (9, SyncAnswer::Chunk { bytes, .. }) => {
                *bytes = ChunkBytes::new(vec![0; CHUNK_LENGTH_MAX + 1]);
            }
            // The true root, and a chunk too few or too many: what others prove is of another number.
            (
                10 | 11,
                SyncAnswer::Epochs {
                    offer: Some(offer), ..
                },
            ) => {
                offer.chunks = match self.lie {
                    10 => offer.chunks.saturating_sub(1).max(1),
                    _ => offer.chunks.saturating_add(1),
                };
            }
            _ => {}
        }
        Some(said)
    }
}

impl Adversary for SnapshotLiar {
    fn name(&self) -> &'static str {
        "snapshot liar"
    }

    fn sends(&mut self, scene: &mut Scene<'_>, _: ReplicaId, frame: &Frame) -> Sending {
        if let Some(Message::Status(status)) = message_of(frame) {
            let ahead = Status {
                height: status.height.saturating_add(1_000_000_000),
                ..*status
            };
            return Sending::Instead(vec![Frame::Consensus(Message::Status(ahead))]);
        }
        let Frame::Sync(SyncMessage::Answer(truth)) = frame else {
            return Sending::Pass;
        };
        match self.answer(scene, truth.clone()) {
            Some(said) => Sending::Instead(vec![Frame::Sync(SyncMessage::Answer(said))]),
            None => Sending::Drop,
        }
    }

    fn hears(&mut self, scene: &mut Scene<'_>, from: ReplicaId, frame: &Frame) {
        let Frame::Sync(SyncMessage::Request(SyncRequest::Chunk {
            height,
            chunks_root,
            index,
            ..
        })) = frame
        else {
            return;
        };
        let log = ChunkLog::new(self.invented.iter().map(Vec::as_slice));
        if let (Some(bytes), Some(proof)) = (self.invented.get(*index as usize), log.proof(*index))
            && log.root() == *chunks_root
        {
            let said = SyncAnswer::Chunk {
                height: *height,
                chunks_root: *chunks_root,
                index: *index,
                bytes: ChunkBytes::new(bytes.clone()),
                proof,
            };
            scene
                .out
                .push((from, Frame::Sync(SyncMessage::Answer(said))));
        }
    }
}
