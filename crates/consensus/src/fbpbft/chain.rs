//! What all replicas of one chain agree on before they start.

use crate::committee::{Committee, CommitteeTable};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use polity_crypto::{Blake3Digest, Domain, Preimage, Sha256Digest, domain, root_chain_id};
use polity_types::{ChainId, Epoch, Height, ReplicaId, View};

/// Maps the bytes of a transaction to its id, or to nothing if they are no transaction.
///
/// Consensus orders bytes it does not understand. The id comes from the application, because it
/// must not depend on signature bytes (CR-3), and only the application can tell them apart.
pub type TransactionIdOf = fn(&[u8]) -> Option<Sha256Digest>;

/// What a chain is bound to: who may vote, what votes cover, and who leads when.
///
/// Committees change between epochs only (FB-17). A chain knows the tables of a few epochs: the one
/// it is in, the one before, for certificates and evidence that reach back, and the next one as
/// soon as it is decided.
#[derive(Clone, Debug)]
pub struct Chain {
    genesis_id: Blake3Digest,
    id: ChainId,
    epoch_length: u64,
    /// The tables of consecutive epochs, at most [`Self::TABLES_MAX`]; the oldest falls out.
    committees: BTreeMap<Epoch, Arc<CommitteeTable>>,
    transaction_id: TransactionIdOf,
    /// Leader order of one epoch, so that it is hashed once an epoch.
    order: (Epoch, Vec<ReplicaId>),
}

impl Chain {
    /// Epochs whose tables are known at a time.
    pub const TABLES_MAX: usize = 3;

    /// The chain that a genesis starts.
    ///
    /// # Panics
    ///
    /// If `epoch_length` is zero: the genesis is checked before.
    pub fn new(
        genesis_id: Blake3Digest,
        epoch_length: u64,
        committee: CommitteeTable,
        transaction_id: TransactionIdOf,
    ) -> Self {
        assert!(epoch_length > 0, "an epoch has at least one height");
        let order = leader_order(&genesis_id, Epoch::ZERO, &committee);
        Self {
            id: root_chain_id(&genesis_id),
            genesis_id,
            epoch_length,
            committees: BTreeMap::from([(Epoch::ZERO, Arc::new(committee))]),
            transaction_id,
            order: (Epoch::ZERO, order),
        }
    }

    /// The same chain as somebody knows it who trusts the table of one epoch alone.
    pub fn at(&self, epoch: Epoch, committee: Arc<CommitteeTable>) -> Self {
        let order = leader_order(&self.genesis_id, epoch, &committee);
        Self {
            committees: BTreeMap::from([(epoch, committee)]),
            order: (epoch, order),
            ..self.clone()
        }
    }

    /// Notes the committee of the epoch after the last known one (FB-17).
    ///
    /// # Panics
    ///
    /// If another epoch comes next: whoever calls this follows the chain.
    pub fn schedule(&mut self, epoch: Epoch, committee: Arc<CommitteeTable>) {
        let last = self.last_epoch();
        assert_eq!(epoch, last.next(), "epoch {last} is the last one known");
        self.committees.insert(epoch, committee);
        if self.committees.len() > Self::TABLES_MAX {
            self.committees.pop_first();
        }
    }

    /// The last epoch whose committee is known.
    pub fn last_epoch(&self) -> Epoch {
        let last = self.committees.last_key_value();
        *last.expect("a chain knows one committee at least").0
    }

    /// Whether the committee of `height` is known. Nothing can be verified where it is not.
    pub fn is_known(&self, height: Height) -> bool {
        self.committees.contains_key(&self.epoch(height))
    }

    /// Identity of the chain.
    pub fn id(&self) -> ChainId {
        self.id
    }

    /// Identity of the genesis.
    pub fn genesis_id(&self) -> Blake3Digest {
        self.genesis_id
    }

    /// What stands where the first block names its parent.
    pub fn genesis_block(&self) -> Sha256Digest {
        Preimage::new(domain::BLOCK)
            .array(self.id.as_bytes())
            .sha256()
    }

    /// The committee of `height`, or that of the nearest epoch that is known. A wrong table does no
    /// harm: everything that is signed covers the table, so nothing verifies under another.
    pub fn committee(&self, height: Height) -> &CommitteeTable {
        self.table(height)
    }

    /// The same, to be kept.
    pub fn table(&self, height: Height) -> &Arc<CommitteeTable> {
        let epoch = self.epoch(height);
        let below = self.committees.range(..=epoch).next_back();
        let nearest = below.or_else(|| self.committees.first_key_value());
        nearest.expect("a chain knows one committee at least").1
    }

    /// Id of an encoded transaction.
    pub fn transaction_id(&self, bytes: &[u8]) -> Option<Sha256Digest> {
        (self.transaction_id)(bytes)
    }

    /// The epoch of a height: `(h - 1) / E`.
    pub fn epoch(&self, height: Height) -> Epoch {
        Epoch::new(height.get().saturating_sub(1) / self.epoch_length)
    }

    /// Whether `height` is the last of its epoch.
    pub fn is_epoch_end(&self, height: Height) -> bool {
        height.get().is_multiple_of(self.epoch_length)
    }

    /// Digest of the committee after an epoch's last block; zero at every other height.
    pub fn next_committee(&self, height: Height) -> Sha256Digest {
        if self.is_epoch_end(height) {
            self.committee(height.next()).digest()
        } else {
            Sha256Digest::ZERO
        }
    }

    /// Start of everything that is signed: domain, chain, epoch, committee, height, view.
    ///
    /// A vote for another chain, epoch, committee or kind is a vote over other bytes.
    pub fn scope(&self, domain: Domain, height: Height, view: View) -> Preimage {
        Preimage::new(domain)
            .array(self.id.as_bytes())
            .u64(self.epoch(height).get())
            .array(self.committee(height).digest().as_bytes())
            .u64(height.get())
            .u64(view.get())
    }

    /// Keeps the leader order of the epoch of `height` at hand.
    pub fn enter(&mut self, height: Height) {
        let epoch = self.epoch(height);
        if self.order.0 != epoch {
            let order = leader_order(&self.genesis_id, epoch, self.committee(height));
            self.order = (epoch, order);
        }
    }

    /// Who leads. It depends on height and view, so a dead leader is skipped, and on nothing that
    /// a proposer could choose.
    pub fn leader(&self, height: Height, view: View) -> ReplicaId {
        let epoch = self.epoch(height);
        let committee = self.committee(height);
        let turn = height.get().wrapping_add(view.get());
        if committee.is_equal_weight() {
            let pick = |order: &[ReplicaId]| order[(turn % order.len() as u64) as usize];
            if self.order.0 == epoch {
                pick(&self.order.1)
            } else {
                pick(&leader_order(&self.genesis_id, epoch, committee))
            }
        } else {
            leader_draw(&self.genesis_id, epoch, committee, turn)
        }
    }
}

/// Members of equal weight take turns in the order of a hash that no proposer can grind.
fn leader_order(
    genesis_id: &Blake3Digest,
    epoch: Epoch,
    committee: &CommitteeTable,
) -> Vec<ReplicaId> {
    let mut order: Vec<(Sha256Digest, ReplicaId)> = committee
        .members()
        .iter()
        .map(|id| {
            let digest = Preimage::new(domain::LEADER_ORDER)
                .array(genesis_id.as_bytes())
                .u64(epoch.get())
                .u32(id.get())
                .sha256();
            (digest, *id)
        })
        .collect();
    order.sort();
    order.into_iter().map(|(_, id)| id).collect()
}

/// Members of unequal weight are drawn by weight, by a hash of the turn.
fn leader_draw(
    genesis_id: &Blake3Digest,
    epoch: Epoch,
    committee: &CommitteeTable,
    turn: u64,
) -> ReplicaId {
    let digest = Preimage::new(domain::LEADER_DRAW)
        .array(genesis_id.as_bytes())
        .u64(epoch.get())
        .u64(turn)
        .sha256();
    // The digest as a big-endian number, modulo W.
    let total = u128::from(committee.total().get());
    let mut point = digest.as_bytes().iter().fold(0_u128, |rest, byte| {
        (rest * 256 + u128::from(*byte)) % total
    });
    for row in committee.rows() {
        let weight = u128::from(row.weight.get());
        if point < weight {
            return row.id;
        }
        point -= weight;
    }
    unreachable!("a point below the total lies in the share of a member")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::committee::Member;
    use polity_crypto::Signer as _;
    use polity_crypto::stub::StubSigner;
    use polity_types::Weight;

    fn chain(weights: &[u64]) -> Chain {
        let rows = weights.iter().enumerate().map(|(index, weight)| Member {
            id: ReplicaId::new(index as u32),
            key: StubSigner::new(index as u64).public_key().clone(),
            weight: Weight::new(*weight),
        });
        let committee = CommitteeTable::new(rows).unwrap();
        Chain::new(Blake3Digest::new([7; 32]), 10, committee, |_| None)
    }

    #[test]
    fn equal_members_take_turns_over_heights_and_views() {
        let chain = chain(&[1; 7]);
        for height in 1..=10 {
            let mut leaders: Vec<ReplicaId> = (0..7)
                .map(|view| chain.leader(Height::new(height), View::new(view)))
                .collect();
            leaders.sort();
            leaders.dedup();
            assert_eq!(leaders.len(), 7, "every member leads once in seven views");
        }
        assert_eq!(
            chain.leader(Height::new(3), View::new(4)),
            chain.leader(Height::new(4), View::new(3))
        );
    }

    #[test]
    fn unequal_members_lead_by_weight() {
        let chain = chain(&[30, 20, 20, 10, 10, 10]);
        let mut turns: BTreeMap<ReplicaId, u32> = BTreeMap::new();
        for view in 0..2_000 {
            *turns
                .entry(chain.leader(Height::new(1), View::new(view)))
                .or_default() += 1;
        }
        let heavy = turns[&ReplicaId::new(0)];
        let light = turns[&ReplicaId::new(5)];
        assert!((500..700).contains(&heavy), "30 % of 2000, got {heavy}");
        assert!((140..260).contains(&light), "10 % of 2000, got {light}");
    }

    #[test]
    fn the_order_at_hand_is_the_order_computed() {
        let mut chain = chain(&[1; 5]);
        let far = Height::new(25);
        let computed = chain.leader(far, View::ZERO);
        chain.enter(far);
        assert_eq!(chain.leader(far, View::ZERO), computed);
        assert_eq!(chain.epoch(far), Epoch::new(2));
        assert!(chain.is_epoch_end(Height::new(30)) && !chain.is_epoch_end(far));
        assert_eq!(chain.next_committee(far), Sha256Digest::ZERO);
    }
}
