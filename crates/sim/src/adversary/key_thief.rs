//! Signs with keys that were replaced, or are not there yet.

use super::{Adversary, Scene, message_of, sign_vote};
use crate::keys::SimSigner;
use polity_consensus::committee::Committee as _;
use polity_consensus::fbpbft::{Evidence, Message, Value, Vote, VoteKind};
use polity_crypto::{Sha256Digest, Signer as _};
use polity_replica::Frame;
use polity_types::{Epoch, Height, ReplicaId, View};
use std::collections::BTreeMap;

/// A member that got hold of keys of the others in epochs in which these keys have no vote. It votes
/// in their names, so that it looks as if they said two things, and accuses them of offences in
/// epochs that are over (FB-17).
#[derive(Debug)]
pub struct KeyThief {
    /// All keys of every replica, by number. It never uses one in an epoch whose key it is.
    rings: Vec<Vec<SimSigner>>,
    /// Digests of the committees that it knew, by epoch: one for each epoch of a run.
    seen: BTreeMap<Epoch, Sha256Digest>,
}

impl KeyThief {
    /// Steals these keys.
    pub fn new(rings: Vec<Vec<SimSigner>>) -> Self {
        Self {
            rings,
            seen: BTreeMap::new(),
        }
    }

    /// Keys of a member that are not those of its row at a height that is known.
    fn void_keys(&self, scene: &Scene<'_>, of: ReplicaId, height: Height) -> Vec<SimSigner> {
        let row = scene.chain.committee(height).key(of);
        let ring = self.rings.get(of.get() as usize);
        ring.into_iter()
            .flatten()
            .filter(|signer| Some(signer.public_key()) != row)
            .cloned()
            .collect()
    }

    /// Two votes in somebody's name.
    fn accusation(
        scene: &Scene<'_>,
        signer: &SimSigner,
        accused: ReplicaId,
        height: Height,
    ) -> Evidence {
        let vote = |byte: u8| {
            let value = Value::of_block(Sha256Digest::new([byte; 32]));
            let (kind, view) = (VoteKind::Commit, View::ZERO);
            Vote {
                kind,
                height,
                view,
                value,
                signer: accused,
                signature: sign_vote(signer, scene.chain, kind, height, view, &value),
            }
        };
        Evidence::TwoVotes(vote(1), vote(2))
    }

    /// Accusations about the epoch before those that are known, by keys that were replaced since.
    fn of_the_past(&self, scene: &Scene<'_>) -> Vec<Evidence> {
        let mut past = scene.height();
        while scene.chain.is_known(past) && past > Height::ZERO {
            past = past.previous().unwrap_or(Height::ZERO);
        }
        if past == Height::ZERO {
            return Vec::new();
        }
        let now = scene.chain.committee(scene.height());
        let then = scene.chain.committee(past);
        let seen = self.seen.get(&scene.chain.epoch(past));
        if seen.is_none_or(|seen| *seen == then.digest()) {
            // These keys had a vote then.
            return Vec::new();
        }
        then.rows()
            .iter()
            .filter(|row| row.id != scene.id && now.key(row.id) != Some(&row.key))
            .filter_map(|row| {
                let ring = self.rings.get(row.id.get() as usize)?;
                let signer = ring.iter().find(|signer| *signer.public_key() == row.key)?;
                Some(Self::accusation(scene, signer, row.id, past))
            })
            .collect()
    }
}

impl Adversary for KeyThief {
    fn name(&self) -> &'static str {
        "key thief"
    }

    fn hears(&mut self, scene: &mut Scene<'_>, from: ReplicaId, frame: &Frame) {
        let Some(Message::Vote(vote)) = message_of(frame) else {
            return;
        };
        if vote.signer != from || !scene.chain.is_known(vote.height) {
            return;
        }
        let keys = self.void_keys(scene, from, vote.height);
        let Some(signer) = keys.get(scene.random.below(keys.len().max(1) as u64) as usize) else {
            return;
        };
        let value = Value {
            digest: scene.junk_digest(),
            ..vote.value
        };
        let (kind, height, view) = (vote.kind, vote.height, vote.view);
        let signature = sign_vote(signer, scene.chain, kind, height, view, &value);
        scene.shout(&Message::Vote(Vote {
            value,
            signature,
            ..vote.clone()
        }));
    }

    fn is_restless(&self) -> bool {
        true
    }

    fn idles(&mut self, scene: &mut Scene<'_>) {
        let height = scene.height();
        let here = scene.chain.committee(height).digest();
        self.seen.insert(scene.chain.epoch(height), here);
        let mut accusations = self.of_the_past(scene);
        let accused = scene.anybody();
        let keys = self.void_keys(scene, accused, height);
        accusations.extend(
            keys.first()
                .map(|key| Self::accusation(scene, key, accused, height)),
        );
        for evidence in accusations {
            scene.shout(&Message::Evidence(evidence));
        }
    }
}
