//! Who votes, epoch by epoch (FB-17).
//!
//! The authority changes the committee by transactions. The ledger orders these changes and keeps
//! them under the state root without reading them; what they mean is decided here, when the last
//! block of an epoch is due:
//!
//! ```text
//!  epoch e                                                epoch e + 1
//!  ... block  ...  block L-1 │ block L names the next  │ ...
//!      change      change    │ committee; a change in   │ the next committee votes
//!                            │ it waits an epoch        │
//! ```
//!
//! The changes of one transaction count together or not at all. Those that would make a table that is
//! no committee (FB-1), or name a key that may not vote, change nothing.

use crate::genesis::GenesisMember;
use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use polity_consensus::committee::{CommitteeError, CommitteeTable, Member};
use polity_consensus::fbpbft::{self, Chain};
use polity_crypto::{Suite, Tier, Verifier};
use polity_ledger::{Address, CommitteeChange, CommitteeChangeError, PendingChange};
use polity_types::{Height, ReplicaId, wire};
use serde::{Deserialize, Serialize};

/// One change of the committee, as a transaction of the authority carries it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberChange {
    /// The member with this number is like this from the next epoch on: it is added, or its weight,
    /// key, name or account is replaced.
    Set(GenesisMember),
    /// The member with this number has no vote from the next epoch on.
    Remove(ReplicaId),
}

impl MemberChange {
    /// The change as a transaction carries it.
    ///
    /// # Errors
    ///
    /// If key, name and account are longer than a change may be.
    pub fn encode(&self) -> Result<CommitteeChange, CommitteeChangeError> {
        CommitteeChange::new(&wire::encode(self))
    }

    /// The change that a transaction carries, if it is one.
    pub fn decode(change: &CommitteeChange) -> Option<Self> {
        wire::decode(change.as_slice(), CommitteeChange::LENGTH_MAX).ok()
    }
}

/// One row of the committees under the state root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Row {
    /// A member of the epoch of the next height.
    Present(GenesisMember),
    /// A member of the epoch before that one.
    Past(GenesisMember),
}

/// The committees of the epoch of the next height and of the one before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Membership {
    genesis: Vec<GenesisMember>,
    present: Vec<GenesisMember>,
    past: Vec<GenesisMember>,
}

impl Membership {
    pub(crate) fn new(genesis: &[GenesisMember]) -> Self {
        let mut genesis = genesis.to_vec();
        genesis.sort_by_key(|member| member.id);
        Self {
            present: genesis.clone(),
            past: genesis.clone(),
            genesis,
        }
    }

    /// What the rows under a state root say, if they are some.
    pub(crate) fn of_rows(genesis: &[GenesisMember], rows: &[CommitteeChange]) -> Option<Self> {
        let mut membership = Self::new(genesis);
        if rows.is_empty() {
            return Some(membership);
        }
        let (mut present, mut past) = (Vec::new(), Vec::new());
        for row in rows {
            match wire::decode(row.as_slice(), CommitteeChange::LENGTH_MAX).ok()? {
                Row::Present(member) => present.push(member),
                Row::Past(member) => past.push(member),
            }
        }
        membership.past = if past.is_empty() {
            present.clone()
        } else {
            past
        };
        membership.present = present;
        Some(membership)
    }

    /// The rows that go under the state root: none while the genesis says it all.
    fn rows(&self) -> Vec<CommitteeChange> {
        if self.present == self.genesis && self.past == self.genesis {
            return Vec::new();
        }
        let past: &[GenesisMember] = if self.past == self.present {
            &[]
        } else {
            &self.past
        };
        let present = self.present.iter().cloned().map(Row::Present);
        present
            .chain(past.iter().cloned().map(Row::Past))
            .map(|row| {
                // A change that set the member was no longer, apart from its tag.
                CommitteeChange::new(&wire::encode(&row)).expect("a row is as long as a change")
            })
            .collect()
    }

    /// The members of the epoch of the next height.
    pub(crate) fn present(&self) -> &[GenesisMember] {
        &self.present
    }

    /// The members of the epoch before that one.
    pub(crate) fn past(&self) -> &[GenesisMember] {
        &self.past
    }

    /// Where the fees of a proposer go.
    pub(crate) fn fee_account(&self, proposer: ReplicaId) -> Option<&Address> {
        self.present
            .iter()
            .find(|member| member.id == proposer)
            .map(|member| &member.fee_account)
    }

    /// The members of the epoch after the present one, if these changes were all.
    pub(crate) fn after<V: Verifier>(
        &self,
        changes: &[PendingChange],
        floor: Tier,
        verifier: &V,
    ) -> Vec<GenesisMember> {
        let mut members = self.present.clone();
        for group in changes.chunk_by(|a, b| a.transaction == b.transaction) {
            let mut amended = members.clone();
            let is_readable = group.iter().all(|pending| {
                MemberChange::decode(&pending.change).is_some_and(|change| {
                    apply(&mut amended, change);
                    true
                })
            });
            if is_readable && is_committee(&amended, floor, verifier) {
                members = amended;
            }
        }
        members
    }

    /// The last block of an epoch was applied. Returns the rows for the state root.
    pub(crate) fn enter(&mut self, next: Vec<GenesisMember>) -> Vec<CommitteeChange> {
        self.past = core::mem::replace(&mut self.present, next);
        self.rows()
    }

    /// What a replica knows of the chain when it starts after `height`.
    pub(crate) fn chain_after(
        &self,
        chain: &Chain,
        height: Height,
    ) -> Result<Chain, CommitteeError> {
        let present = chain.epoch(height.next());
        let table = Arc::new(table(&self.present)?);
        match present.previous() {
            None => Ok(chain.at(present, table)),
            Some(past) => {
                let mut chain = chain.at(past, Arc::new(self::table(&self.past)?));
                chain.schedule(present, table);
                Ok(chain)
            }
        }
    }
}

/// The table of these members.
pub(crate) fn table(members: &[GenesisMember]) -> Result<CommitteeTable, CommitteeError> {
    CommitteeTable::new(members.iter().map(|member| Member {
        id: member.id,
        key: member.key.clone(),
        weight: member.weight,
    }))
}

fn apply(members: &mut Vec<GenesisMember>, change: MemberChange) {
    match change {
        MemberChange::Set(member) => {
            match members.binary_search_by_key(&member.id, |known| known.id) {
                Ok(place) => members[place] = member,
                Err(place) => members.insert(place, member),
            }
        }
        MemberChange::Remove(id) => members.retain(|member| member.id != id),
    }
}

/// How many members these are and how long their longest signature is, if a NEW-VIEW of them fits no
/// message: it carries a VIEW-CHANGE of each member of a quorum, with the certificate of a quorum.
pub(crate) fn too_many_signatures(members: &[GenesisMember]) -> Option<(usize, usize)> {
    /// What a VIEW-CHANGE has beside its certificate and its signature, at most.
    const VIEW_CHANGE: usize = 512;
    let suites = members.iter().map(|member| member.key.suite());
    let bytes = suites.map(Suite::signature_length).max()?;
    let quorum = members.len() - members.len().saturating_sub(1) / 3;
    // A signature is written with its length in two bytes.
    let view_change = (quorum + 1) * (bytes + 2) + VIEW_CHANGE;
    (quorum * view_change > fbpbft::Config::BESIDE_BLOCK_BYTES_MAX)
        .then_some((members.len(), bytes))
}

/// Whether these members may vote together. The rules are those of the genesis.
fn is_committee<V: Verifier>(members: &[GenesisMember], floor: Tier, verifier: &V) -> bool {
    let names: BTreeSet<&str> = members.iter().map(|member| member.name.as_str()).collect();
    let may_vote = |member: &GenesisMember| {
        member.has_name()
            && member.key.suite().tier() >= floor
            && verifier.check_key(&member.key).is_ok()
            // What is kept of it has to fit a row.
            && wire::encode(&Row::Present(member.clone())).len() <= CommitteeChange::LENGTH_MAX
    };
    names.len() == members.len()
        && members.iter().all(may_vote)
        && too_many_signatures(members).is_none()
        && table(members).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use polity_crypto::ed25519::Ed25519Signer;
    use polity_crypto::hybrid::HybridSigner;
    use polity_crypto::ml_dsa::MlDsaSigner;
    use polity_crypto::{PublicKey, PublicVerifier, Signer};
    use polity_ledger::TransactionId;
    use polity_types::Weight;

    fn key(signer: &dyn Signer) -> PublicKey {
        signer.public_key().clone()
    }

    fn member(id: u32, key: PublicKey) -> GenesisMember {
        GenesisMember {
            id: ReplicaId::new(id),
            name: format!("member {id}"),
            key,
            weight: Weight::new(1),
            fee_account: "fees@thor".parse().unwrap(),
        }
    }

    /// CR-6: a change that brings a key below the floor changes nothing; one that keeps it counts.
    #[test]
    fn cr_6_a_change_below_the_floor_changes_nothing() {
        let hybrid = |number| key(&HybridSigner::from_seed(&[number; 32]));
        let genesis: Vec<GenesisMember> = (0..4_u8)
            .map(|number| member(u32::from(number), hybrid(number)))
            .collect();
        let membership = Membership::new(&genesis);
        let weaker = [
            key(&Ed25519Signer::from_seed(&[9; 32])),
            key(&MlDsaSigner::from_seed_65(&[9; 32])),
            key(&MlDsaSigner::from_seed_87(&[9; 32])),
        ];
        let after = |key: &PublicKey, floor| {
            let change = MemberChange::Set(member(1, key.clone()));
            // The longest key fits a change.
            let change = change.encode().unwrap();
            let pending = PendingChange {
                height: Height::new(1),
                transaction: TransactionId::new([1; 32]),
                change,
            };
            let verifier = PublicVerifier::default();
            membership.after(&[pending], floor, &verifier)[1]
                .key
                .clone()
        };
        for key in &weaker {
            assert_eq!(after(key, Tier::Hybrid), genesis[1].key, "{key}");
            assert_eq!(after(key, Tier::Ed25519), *key);
        }
        let stronger = hybrid(9);
        for floor in [Tier::Ed25519, Tier::Hybrid] {
            assert_eq!(after(&stronger, floor), stronger);
        }
    }

    /// The committees that a NEW-VIEW fits, by the suite of their keys: Ed25519 up to the largest.
    #[test]
    fn a_new_view_of_a_committee_fits_a_message() {
        let limit = |key: PublicKey| {
            (1..=256).rev().find(|members| {
                let rows: Vec<GenesisMember> =
                    (0..*members).map(|id| member(id, key.clone())).collect();
                too_many_signatures(&rows).is_none()
            })
        };
        assert_eq!(limit(key(&Ed25519Signer::from_seed(&[1; 32]))), Some(256));
        assert_eq!(limit(key(&HybridSigner::from_seed(&[1; 32]))), Some(35));
        assert_eq!(limit(key(&MlDsaSigner::from_seed_87(&[1; 32]))), Some(29));
    }
}
