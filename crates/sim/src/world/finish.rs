//! The end of a run: replays and sums.

use super::{Summary, World};
use crate::oracle::{Violation, light};
use crate::outcome::Failure;
use crate::recording::{Recording, replay};
use polity_types::ReplicaId;

impl World {
    /// Replays the life of one honest member.
    pub fn replay_somebody(&mut self) -> Result<(), Failure> {
        let honest: Vec<usize> = (0..self.nodes.len())
            .filter(|node| self.nodes[*node].is_honest())
            .collect();
        let place = self.chance.below(honest.len() as u64) as usize;
        honest.get(place).map_or(Ok(()), |node| self.replay(*node))
    }

    /// What is judged at the end: what replicas hold, and that one of them is a function of what it
    /// was told.
    pub fn conclude(&mut self) -> Result<(), Failure> {
        for index in 0..self.nodes.len() {
            self.check_memory(index);
        }
        self.check()?;
        self.show_to_a_light_client()?;
        self.replay_somebody()
    }

    /// FB-18: whoever holds only headers believes those of the member that has most.
    fn show_to_a_light_client(&self) -> Result<(), Failure> {
        let honest = self.nodes.iter().filter(|node| node.is_honest());
        let Some(node) = honest.max_by_key(|node| node.store.len()) else {
            return Ok(());
        };
        light::follow(&self.federation, &self.committees, &node.store)?;
        Ok(())
    }

    /// Adds everything up.
    pub fn finish(mut self) -> Summary {
        for node in &self.nodes {
            for life in node.all_lives() {
                self.audit.update(life.effects.as_bytes());
            }
        }
        let mut faults = self.faults;
        let mishaps = self.network.mishaps();
        for (name, count) in [
            ("lost frame", mishaps.lost),
            ("duplicated frame", mishaps.duplicated),
            ("corrupted frame", mishaps.corrupted),
            ("overtaken frame", mishaps.overtaken),
            ("frame on a cut link", mishaps.cut),
            ("frame on a clogged link", mishaps.clogged),
        ] {
            *faults.entry(name).or_default() += count;
        }
        Summary {
            new_views: self.signing.new_views(),
            evidence: self.evidence.counts(),
            faults,
            audit_hash: self.audit.digest(),
            heights: self.nodes.iter().map(crate::node::Node::stored).collect(),
            blocks: self.agreement.highest(),
            messages: self.network.sent().values().map(|sent| sent.frames).sum(),
            transactions: self.progress.decided() as u64,
            restarts: self.restarts,
            time: self.now,
            trace: self.trace,
        }
    }

    /// Drives bare replicas with what one member was told, and compares what they ask for.
    pub fn replay_of(&self, id: ReplicaId) -> Result<(), Failure> {
        self.replay(id.get() as usize)
    }

    /// The steps of a member since its last start.
    pub fn recording(&self, id: ReplicaId) -> &Recording {
        &self.nodes[id.get() as usize].recording
    }

    pub(super) fn replay(&self, node: usize) -> Result<(), Failure> {
        let node = &self.nodes[node];
        for life in node.all_lives() {
            let digest = replay(&node.basis, &life.recording);
            if digest.as_ref() != Ok(&life.effects) {
                return Err(Violation::new(
                    "replay",
                    format!(
                        "replica {} asked for {} but its recording gives {digest:?}",
                        node.id, life.effects
                    ),
                )
                .into());
            }
        }
        Ok(())
    }
}
