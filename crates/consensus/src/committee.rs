//! Who votes, with which key and weight.

use crate::quorum::Thresholds;
use alloc::vec::Vec;
use polity_crypto::{Preimage, PublicKey, Sha256Digest, domain};
use polity_types::{ReplicaId, Weight};

/// A table of members.
///
/// The implementer owes that the answers never change, that [`members`](Self::members) is sorted
/// without repetition, and that the total is the sum of the weights. Certificates name signers by
/// position in [`members`](Self::members).
pub trait Committee {
    /// All members, in ascending order.
    fn members(&self) -> &[ReplicaId];

    /// The weight of a member; zero for anybody else.
    fn weight(&self, id: ReplicaId) -> Weight;

    /// The weight of all members.
    fn total(&self) -> Weight;

    /// The key of a member.
    fn key(&self, id: ReplicaId) -> Option<&PublicKey>;
}

/// One row of a committee table.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Member {
    /// Number of the member; stable over epochs.
    pub id: ReplicaId,
    /// Key of its votes.
    pub key: PublicKey,
    /// Share of the vote, at least 1.
    pub weight: Weight,
}

/// Why a table is no committee.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitteeError {
    /// Nobody votes.
    #[error("a committee needs at least one member")]
    Empty,
    /// More members than a certificate may name.
    #[error("a committee has at most {max} members, not {found}")]
    TooMany {
        /// Members given.
        found: usize,
        /// Members allowed.
        max: usize,
    },
    /// A number stands twice.
    #[error("member {0} stands in the table twice")]
    RepeatedMember(ReplicaId),
    /// Two members share a key, so one voter would count twice.
    #[error("member {0} has the key of another member")]
    RepeatedKey(ReplicaId),
    /// A member that cannot vote.
    #[error("member {0} has no weight")]
    NoWeight(ReplicaId),
    /// The weights do not fit the arithmetic of quorums.
    #[error("the weights add up to 2^62 or more")]
    TooHeavy,
    /// One member alone would exceed what may be faulty.
    #[error("member {id} weighs more than the {faulty_max} that may be faulty")]
    Dominant {
        /// The member.
        id: ReplicaId,
        /// `F` of this table.
        faulty_max: Weight,
    },
}

/// The committee of an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitteeTable {
    ids: Vec<ReplicaId>,
    rows: Vec<Member>,
    thresholds: Thresholds,
    digest: Sha256Digest,
}

impl CommitteeTable {
    /// Largest number of members. A NEW-VIEW of so many, each with a certificate, still fits the
    /// room that messages have beside a block.
    pub const MEMBERS_MAX: usize = 256;

    /// A table of the given members, in any order.
    pub fn new(members: impl IntoIterator<Item = Member>) -> Result<Self, CommitteeError> {
        let mut rows: Vec<Member> = members.into_iter().collect();
        if rows.is_empty() {
            return Err(CommitteeError::Empty);
        }
        if rows.len() > Self::MEMBERS_MAX {
            return Err(CommitteeError::TooMany {
                found: rows.len(),
                max: Self::MEMBERS_MAX,
            });
        }
        rows.sort_by_key(|row| row.id);
        if let Some(pair) = rows.windows(2).find(|pair| pair[0].id == pair[1].id) {
            return Err(CommitteeError::RepeatedMember(pair[0].id));
        }
        let mut by_key: Vec<&Member> = rows.iter().collect();
        by_key.sort_by_key(|row| (&row.key, row.id));
        if let Some(pair) = by_key.windows(2).find(|pair| pair[0].key == pair[1].key) {
            return Err(CommitteeError::RepeatedKey(pair[1].id));
        }
        let mut total = Weight::ZERO;
        for row in &rows {
            if row.weight == Weight::ZERO {
                return Err(CommitteeError::NoWeight(row.id));
            }
            total = total
                .checked_add(row.weight)
                .filter(|sum| *sum <= Thresholds::TOTAL_MAX)
                .ok_or(CommitteeError::TooHeavy)?;
        }
        let thresholds = Thresholds::new(total);
        let faulty_max = thresholds.faulty_max();
        // FB-1: where anybody may be faulty at all, no single member may exceed that weight.
        if faulty_max > Weight::ZERO
            && let Some(row) = rows.iter().find(|row| row.weight > faulty_max)
        {
            return Err(CommitteeError::Dominant {
                id: row.id,
                faulty_max,
            });
        }
        let digest = digest(&rows);
        Ok(Self {
            ids: rows.iter().map(|row| row.id).collect(),
            rows,
            thresholds,
            digest,
        })
    }

    /// The rows, in ascending order of ids.
    pub fn rows(&self) -> &[Member] {
        &self.rows
    }

    /// The thresholds of this table.
    pub fn thresholds(&self) -> Thresholds {
        self.thresholds
    }

    /// Digest of the whole table, which every vote covers.
    pub fn digest(&self) -> Sha256Digest {
        self.digest
    }

    /// Whether all members weigh the same.
    pub fn is_equal_weight(&self) -> bool {
        self.rows
            .iter()
            .all(|row| row.weight == self.rows[0].weight)
    }

    /// Whether `id` is a member.
    pub fn contains(&self, id: ReplicaId) -> bool {
        self.row(id).is_some()
    }

    fn row(&self, id: ReplicaId) -> Option<&Member> {
        let index = self.ids.binary_search(&id).ok()?;
        Some(&self.rows[index])
    }
}

impl Committee for CommitteeTable {
    fn members(&self) -> &[ReplicaId] {
        &self.ids
    }

    fn weight(&self, id: ReplicaId) -> Weight {
        self.row(id).map_or(Weight::ZERO, |row| row.weight)
    }

    fn total(&self) -> Weight {
        self.thresholds.total()
    }

    fn key(&self, id: ReplicaId) -> Option<&PublicKey> {
        self.row(id).map(|row| &row.key)
    }
}

fn digest(rows: &[Member]) -> Sha256Digest {
    let start = Preimage::new(domain::COMMITTEE).u64(rows.len() as u64);
    rows.iter()
        .fold(start, |preimage, row| {
            preimage
                .u32(row.id.get())
                .u8(row.key.suite().number())
                .bytes(row.key.key_bytes())
                .u64(row.weight.get())
        })
        .sha256()
}

#[cfg(test)]
mod tests {
    use super::*;
    use polity_crypto::Signer as _;
    use polity_crypto::stub::StubSigner;
    use rstest::rstest;

    fn member(id: u32, key: u64, weight: u64) -> Member {
        Member {
            id: ReplicaId::new(id),
            key: StubSigner::new(key).public_key().clone(),
            weight: Weight::new(weight),
        }
    }

    #[rstest]
    #[case::empty(&[], CommitteeError::Empty)]
    #[case::repeated_member(&[(1, 1, 1), (1, 2, 1)], CommitteeError::RepeatedMember(ReplicaId::new(1)))]
    #[case::repeated_key(&[(1, 1, 1), (2, 1, 1)], CommitteeError::RepeatedKey(ReplicaId::new(2)))]
    #[case::no_weight(&[(1, 1, 1), (2, 2, 0)], CommitteeError::NoWeight(ReplicaId::new(2)))]
    #[case::too_heavy(&[(1, 1, 1 << 61), (2, 2, 1 << 61)], CommitteeError::TooHeavy)]
    #[case::overflow(&[(1, 1, u64::MAX), (2, 2, u64::MAX)], CommitteeError::TooHeavy)]
    #[case::dominant(
        &[(1, 1, 1), (2, 2, 1), (3, 3, 1), (4, 4, 2)],
        CommitteeError::Dominant { id: ReplicaId::new(4), faulty_max: Weight::new(1) }
    )]
    fn fb_1_refuses(#[case] rows: &[(u32, u64, u64)], #[case] expected: CommitteeError) {
        let rows = rows
            .iter()
            .map(|(id, key, weight)| member(*id, *key, *weight));
        assert_eq!(CommitteeTable::new(rows), Err(expected));
    }

    #[test]
    fn fb_1_refuses_too_many() {
        let rows = (0..=256).map(|n| member(n, u64::from(n), 1));
        assert_eq!(
            CommitteeTable::new(rows),
            Err(CommitteeError::TooMany {
                found: 257,
                max: 256
            })
        );
    }

    #[test]
    fn order_of_rows_does_not_matter_and_content_does() {
        let rows = [member(1, 1, 1), member(2, 2, 1), member(3, 3, 1)];
        let table = CommitteeTable::new(rows.clone()).unwrap();
        let reversed = CommitteeTable::new(rows.iter().rev().cloned()).unwrap();
        assert_eq!(table, reversed);
        for changed in [member(4, 3, 1), member(3, 4, 1), member(3, 3, 2)] {
            let other = [rows[0].clone(), rows[1].clone(), changed];
            // Two of weight 1 and one of weight 2 tolerate one faulty, which the third exceeds.
            if let Ok(other) = CommitteeTable::new(other) {
                assert_ne!(other.digest(), table.digest());
            }
        }
        assert_eq!(table.weight(ReplicaId::new(9)), Weight::ZERO);
        assert_eq!(table.key(ReplicaId::new(9)), None);
    }
}
