//! Who votes in each epoch, computed anew from the decided blocks (FB-1, FB-17).
//!
//! The model reads the changes that decided transactions of the authority carry, folds them into
//! tables by the rules of the specification, and compares the tables with the digests in headers
//! and with what every honest replica holds. Other oracles ask it who was a member when.

use super::Violation;
use crate::federation::Federation;
use crate::keys::SimVerifier;
use crate::node::SimReplica;
use polity_consensus::committee::{Committee as _, CommitteeTable, Member};
use polity_consensus::fbpbft::{Chain, Header};
use polity_crypto::{Preimage, PublicKey, Sha256Digest, Tier, Verifier as _, domain};
use polity_ledger::{Command, CommitteeChange, SignedTransaction};
use polity_replica::{Committed, GenesisMember, MemberChange};
use polity_types::{Epoch, Height, ReplicaId, wire};
use std::collections::BTreeMap;
use std::sync::Arc;

const NAME: &str = "committees";

/// Weights add up to this at most.
const TOTAL_MAX: u128 = 1 << 62;

/// Most members of a committee.
const MEMBERS_MAX: usize = 256;

/// The committee of one epoch.
#[derive(Clone, Debug)]
pub struct Table {
    rows: Vec<GenesisMember>,
    /// The chain as somebody knows it who trusts this committee alone.
    chain: Chain,
    digest: Sha256Digest,
}

impl Table {
    /// The members, in the order of their numbers.
    pub fn rows(&self) -> &[GenesisMember] {
        &self.rows
    }

    /// The same as consensus and light clients know them.
    pub fn members(&self) -> Vec<Member> {
        let member = |row: &GenesisMember| Member {
            id: row.id,
            key: row.key.clone(),
            weight: row.weight,
        };
        self.rows.iter().map(member).collect()
    }

    /// The chain with this committee.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// A member.
    pub fn row(&self, id: ReplicaId) -> Option<&GenesisMember> {
        self.rows.iter().find(|row| row.id == id)
    }

    /// The weight of a replica; 0 if it is no member.
    pub fn weight(&self, id: ReplicaId) -> u64 {
        self.row(id).map_or(0, |row| row.weight.get())
    }

    /// The weight of all.
    pub fn total(&self) -> u64 {
        self.rows.iter().map(|row| row.weight.get()).sum()
    }

    /// The largest weight that may break the rules.
    pub fn faulty_max(&self) -> u64 {
        self.total().saturating_sub(1) / 3
    }

    /// Whether so much weight is a quorum: more than half of everybody and of the faulty.
    pub fn is_quorum(&self, weight: u64) -> bool {
        2 * weight > self.total() + self.faulty_max()
    }
}

/// Changes that one transaction carries; nothing if some of them cannot be read.
#[derive(Clone, Debug)]
struct Decree {
    height: u64,
    changes: Option<Vec<MemberChange>>,
}

/// The committees of all epochs that are decided.
#[derive(Debug)]
pub struct Committees {
    verifier: SimVerifier,
    floor: Tier,
    epoch_length: u64,
    keys: Vec<Vec<PublicKey>>,
    genesis: Chain,
    /// By epoch.
    tables: Vec<Table>,
    /// Changes that are in no table yet.
    waiting: Vec<Decree>,
    height: u64,
}

impl Committees {
    /// Starts from the genesis.
    ///
    /// # Panics
    ///
    /// If the genesis has no committee: scenarios are written by us.
    pub fn new(federation: &Federation) -> Self {
        let genesis = &federation.genesis;
        let of_ring = |ring: &Vec<crate::keys::SimSigner>| -> Vec<PublicKey> {
            let keys = ring.iter().map(polity_crypto::Signer::public_key);
            keys.cloned().collect()
        };
        let mut committees = Self {
            verifier: federation.verifier.clone(),
            floor: genesis.tiers.votes,
            epoch_length: genesis.consensus.epoch_length,
            keys: federation.keyrings.iter().map(of_ring).collect(),
            genesis: federation.chain.clone(),
            tables: Vec::new(),
            waiting: Vec::new(),
            height: 0,
        };
        let mut rows = genesis.members.clone();
        rows.sort_by_key(|row| row.id);
        let first = committees.enter(rows);
        committees.fold().and(first).expect("a valid genesis");
        committees
    }

    /// The epoch of a height.
    pub fn epoch(&self, height: Height) -> u64 {
        height.get().saturating_sub(1) / self.epoch_length
    }

    /// The last height of an epoch.
    pub fn end_of(&self, epoch: u64) -> u64 {
        (epoch + 1) * self.epoch_length
    }

    /// The tables of all epochs that are decided, from the first one on.
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// The committee of a height, if it is decided.
    pub fn table(&self, height: Height) -> Option<&Table> {
        self.tables.get(self.epoch(height) as usize)
    }

    /// Where the fees of a block go.
    pub fn fee_account(&self, header: &Header) -> Result<String, Violation> {
        let row = self.table(header.height);
        let row = row.and_then(|table| table.row(header.proposer));
        let row = row.ok_or_else(|| {
            fault(
                header.height.get(),
                "the proposer is no member of the committee",
            )
        })?;
        Ok(row.fee_account.to_string())
    }

    /// Takes a decided block in, the first time it is seen.
    pub fn committed(&mut self, committed: &Committed) -> Result<(), Violation> {
        let header = committed.block.header();
        let height = header.height.get();
        if height != self.height + 1 {
            return Ok(());
        }
        self.height = height;
        if header.epoch.get() != self.epoch(header.height) {
            return Err(fault(height, "the header names another epoch"));
        }
        let named = if height.is_multiple_of(self.epoch_length) {
            self.tables.last().map(|table| table.digest)
        } else {
            Some(Sha256Digest::ZERO)
        };
        if named != Some(header.next_committee) {
            return Err(fault(
                height,
                "the header names another committee than the decided changes make",
            ));
        }
        let transactions = &committed.block.body().transactions;
        for (bytes, receipt) in transactions.iter().zip(&*committed.receipts) {
            if let (Ok(transaction), true) = (
                SignedTransaction::decode(bytes.as_slice()),
                receipt.outcome.is_ok(),
            ) {
                self.waiting.extend(decree(height, &transaction));
            }
        }
        self.fold()
    }

    /// Compares what an honest replica knows with the tables.
    pub fn compare(&self, replica: &SimReplica) -> Result<(), Violation> {
        let chain = replica.chain();
        let next = replica.tip().parent.height.next();
        let differs = |what: &str| {
            let id = replica.id();
            Err(fault(
                next.get(),
                &format!("replica {id} works on it with {what}"),
            ))
        };
        for (epoch, table) in self.tables.iter().enumerate() {
            let first = Height::new(epoch as u64 * self.epoch_length + 1);
            if chain.is_known(first) && chain.committee(first).rows() != table.members() {
                return differs(&format!("another committee of epoch {epoch}"));
            }
        }
        let Some(table) = self.table(next).filter(|_| chain.is_known(next)) else {
            return differs("a committee that is not decided or not known");
        };
        // What the next block decides counts later, so the last block of an epoch has to know.
        let is_last = next.get().is_multiple_of(self.epoch_length);
        let last = self.epoch(next) + u64::from(is_last);
        if chain.last_epoch().get() != last {
            return differs(&format!("committees up to epoch {}", chain.last_epoch()));
        }
        if replica.members() != table.rows() {
            return differs("other members");
        }
        let own = table.row(replica.id());
        let ring = &self.keys[replica.id().get() as usize];
        let may_vote = own.is_some_and(|row| ring.contains(&row.key));
        if replica.machine().has_vote() != may_vote {
            return differs("a vote that it has not, or without the one that it has");
        }
        Ok(())
    }

    /// The next table, once the block before the last one of an epoch is decided.
    fn fold(&mut self) -> Result<(), Violation> {
        let is_due = (self.height + 1).is_multiple_of(self.epoch_length)
            && self.tables.len() as u64 * self.epoch_length == self.height + 1;
        let Some(present) = self.tables.last().filter(|_| is_due) else {
            return Ok(());
        };
        let mut rows: BTreeMap<ReplicaId, GenesisMember> = present
            .rows
            .iter()
            .map(|row| (row.id, row.clone()))
            .collect();
        for Decree { height, changes } in core::mem::take(&mut self.waiting) {
            debug_assert!(height <= self.height);
            let Some(changes) = changes else {
                continue;
            };
            let mut amended = rows.clone();
            for change in changes {
                match change {
                    MemberChange::Set(member) => amended.insert(member.id, member),
                    MemberChange::Remove(id) => amended.remove(&id),
                };
            }
            if self.is_committee(&amended) {
                rows = amended;
            }
        }
        self.enter(rows.into_values().collect())
    }

    fn enter(&mut self, rows: Vec<GenesisMember>) -> Result<(), Violation> {
        let epoch = Epoch::new(self.tables.len() as u64);
        let digest = digest(&rows);
        let table = CommitteeTable::new(rows.iter().map(|row| Member {
            id: row.id,
            key: row.key.clone(),
            weight: row.weight,
        }));
        let table = table
            .ok()
            .filter(|table| table.digest() == digest)
            .ok_or_else(|| fault(self.height, "consensus reads a committee in another way"))?;
        debug_assert_eq!(table.members().len(), rows.len());
        self.tables.push(Table {
            rows,
            chain: self.genesis.at(epoch, Arc::new(table)),
            digest,
        });
        Ok(())
    }

    /// FB-1, and what the genesis asks of its members.
    fn is_committee(&self, rows: &BTreeMap<ReplicaId, GenesisMember>) -> bool {
        let total: u128 = rows.values().map(|row| u128::from(row.weight.get())).sum();
        let faulty_max = total.saturating_sub(1) / 3;
        let is_unique = |row: &GenesisMember| {
            let twins = rows
                .values()
                .filter(|other| other.key == row.key || other.name == row.name);
            twins.count() == 1
        };
        let is_member = |row: &GenesisMember| {
            let weight = u128::from(row.weight.get());
            weight > 0
                && (faulty_max == 0 || weight <= faulty_max)
                && (1..=64).contains(&row.name.len())
                && row.key.suite().tier() >= self.floor
                && self.verifier.check_key(&row.key).is_ok()
                && is_unique(row)
        };
        (1..=MEMBERS_MAX).contains(&rows.len()) && total < TOTAL_MAX && rows.values().all(is_member)
    }
}

/// The changes in a transaction, if it has some.
fn decree(height: u64, transaction: &SignedTransaction) -> Option<Decree> {
    let changes: Vec<Option<MemberChange>> = transaction
        .transaction()
        .commands
        .iter()
        .filter_map(|command| match command {
            Command::ChangeCommittee { change } => {
                Some(wire::decode(change.as_slice(), CommitteeChange::LENGTH_MAX).ok())
            }
            _ => None,
        })
        .collect();
    (!changes.is_empty()).then(|| Decree {
        height,
        changes: changes.into_iter().collect(),
    })
}

/// The digest of a table, from its layout in the specification.
fn digest(rows: &[GenesisMember]) -> Sha256Digest {
    let start = Preimage::new(domain::COMMITTEE).u64(rows.len() as u64);
    let whole = rows.iter().fold(start, |preimage, row| {
        preimage
            .u32(row.id.get())
            .u8(row.key.suite().number())
            .bytes(row.key.key_bytes())
            .u64(row.weight.get())
    });
    whole.sha256()
}

fn fault(height: u64, what: &str) -> Violation {
    Violation::new(NAME, format!("height {height}: {what}"))
}
