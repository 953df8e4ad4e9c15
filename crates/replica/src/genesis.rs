//! What the founders of a federation agreed on.

use crate::membership::table;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use polity_consensus::committee::{CommitteeError, CommitteeTable};
use polity_consensus::fbpbft;
use polity_crypto::{
    Blake3Digest, KeyError, Preimage, PublicKey, Sha256Digest, Tier, Verifier, domain,
};
use polity_ledger::{Address, SignedTransaction};
use polity_types::{ReplicaId, Time, Weight};
use serde::{Deserialize, Serialize};

/// A member of a committee: of the first one, or as a change sets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisMember {
    /// Its number.
    pub id: ReplicaId,
    /// What people call it.
    pub name: String,
    /// Key of its votes and of its links.
    pub key: PublicKey,
    /// Share of the vote.
    pub weight: Weight,
    /// Where the fees of its blocks go.
    pub fee_account: Address,
}

impl GenesisMember {
    /// Whether its name has a length that names have.
    pub(crate) fn has_name(&self) -> bool {
        is_name(&self.name)
    }
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
}

/// The weakest tier that is accepted for each kind of signature (CR-6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TierFloors {
    /// Votes, certificates and evidence.
    pub votes: Tier,
    /// Transactions.
    pub transactions: Tier,
}

impl Default for TierFloors {
    fn default() -> Self {
        Self {
            votes: Tier::Ed25519,
            transactions: Tier::Ed25519,
        }
    }
}

/// Rules of consensus on which all replicas have to agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConsensusRules {
    /// Heights of one epoch.
    pub epoch_length: u64,
    /// Bytes of an encoded block, at most.
    pub block_bytes_max: u64,
    /// Pieces of evidence in a block, at most.
    pub evidence_per_block_max: u32,
    /// How far the time of a fresh block may be from a voter's, in milliseconds.
    pub drift_max_ms: u64,
}

impl Default for ConsensusRules {
    fn default() -> Self {
        Self {
            epoch_length: 1_000,
            block_bytes_max: 2 * 1024 * 1024,
            evidence_per_block_max: 16,
            drift_max_ms: 30_000,
        }
    }
}

/// What the founders of a federation agreed on. Its digest names the federation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    /// What people call the federation.
    pub name: String,
    /// Block time of the genesis; every block is later.
    pub start: Time,
    /// The weakest accepted tiers.
    #[serde(default)]
    pub tiers: TierFloors,
    /// Rules of consensus.
    #[serde(default)]
    pub consensus: ConsensusRules,
    /// The first committee.
    pub members: Vec<GenesisMember>,
    /// The ledger's part.
    pub ledger: polity_ledger::Genesis,
}

/// Why no federation can start like this. Every message names the field to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    /// A name is missing or too long.
    #[error("`{field}` must have 1 to 64 bytes")]
    Name {
        /// The field.
        field: &'static str,
    },
    /// Two members share a name.
    #[error("`members`: the name {0:?} stands twice")]
    RepeatedName(String),
    /// A number is out of range.
    #[error("`{field}` must be {wanted}")]
    Range {
        /// The field.
        field: &'static str,
        /// What it has to be.
        wanted: &'static str,
    },
    /// A floor that convinces nobody.
    #[error(
        "`tiers.{field}` must be ed25519: signatures below tier 2 prove nothing to a third party"
    )]
    Tier {
        /// The field.
        field: &'static str,
    },
    /// The table is no committee.
    #[error("`members`: {0}")]
    Committee(#[from] CommitteeError),
    /// A key may not be registered.
    #[error("`{field}`: {key}: {reason}")]
    Key {
        /// The field.
        field: &'static str,
        /// The key.
        key: PublicKey,
        /// What is wrong with it.
        reason: KeyError,
    },
    /// The ledger cannot start like this.
    #[error("`ledger`: {0}")]
    Ledger(#[from] polity_ledger::GenesisError),
}

/// Which keys a genesis may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A federation whose votes convince strangers.
    Production,
    /// A simulation, where checksums may stand for signatures.
    Simulation,
}

impl Genesis {
    /// Whether a federation can start like this.
    pub fn validate<V: Verifier>(
        &self,
        purpose: Purpose,
        verifier: &V,
    ) -> Result<(), GenesisError> {
        if !is_name(&self.name) {
            return Err(GenesisError::Name { field: "name" });
        }
        let mut names = BTreeSet::new();
        for member in &self.members {
            if !member.has_name() {
                return Err(GenesisError::Name {
                    field: "members.name",
                });
            }
            if !names.insert(&member.name) {
                return Err(GenesisError::RepeatedName(member.name.clone()));
            }
        }
        self.check_ranges()?;
        if purpose == Purpose::Production {
            self.check_tiers()?;
        }
        self.check_keys(verifier)?;
        self.committee()?;
        self.ledger.validate()?;
        Ok(())
    }

    fn check_ranges(&self) -> Result<(), GenesisError> {
        let rules = &self.consensus;
        let ceiling = fbpbft::Config::BLOCK_BYTES_CEILING as u64;
        let checks = [
            (
                (1..=1_000_000).contains(&rules.epoch_length),
                "consensus.epoch_length",
                "from 1 to 1000000",
            ),
            (
                (128 * 1024..=ceiling).contains(&rules.block_bytes_max),
                "consensus.block_bytes_max",
                "from 131072 to 16777216",
            ),
            (
                rules.evidence_per_block_max <= 1_024,
                "consensus.evidence_per_block_max",
                "at most 1024",
            ),
            (
                (1_000..=3_600_000).contains(&rules.drift_max_ms),
                "consensus.drift_max_ms",
                "from 1000 to 3600000",
            ),
            (
                self.ledger.parameters.transactions_per_block_max <= 65_536,
                "ledger.parameters.transactions_per_block_max",
                "at most 65536",
            ),
        ];
        match checks.into_iter().find(|(is_met, ..)| !is_met) {
            Some((_, field, wanted)) => Err(GenesisError::Range { field, wanted }),
            None => Ok(()),
        }
    }

    /// CR-6: what must convince third parties is at least tier 2.
    fn check_tiers(&self) -> Result<(), GenesisError> {
        let floors = [
            ("votes", self.tiers.votes),
            ("transactions", self.tiers.transactions),
        ];
        match floors.into_iter().find(|(_, tier)| *tier < Tier::Ed25519) {
            Some((field, _)) => Err(GenesisError::Tier { field }),
            None => Ok(()),
        }
    }

    /// Weak keys are refused here, and so are keys below the floor of their purpose.
    fn check_keys<V: Verifier>(&self, verifier: &V) -> Result<(), GenesisError> {
        let members = self
            .members
            .iter()
            .map(|m| ("members.key", self.tiers.votes, &m.key));
        let ledger = &self.ledger;
        let owners = ledger
            .accounts
            .iter()
            .map(|a| ("ledger.accounts.owner", &a.owner));
        let platforms = ledger
            .platforms
            .iter()
            .map(|p| ("ledger.platforms.key", &p.key));
        let authority = ledger
            .authority
            .keys
            .iter()
            .map(|key| ("ledger.authority.keys", key));
        let transactions = owners
            .chain(platforms)
            .chain(authority)
            .map(|(field, key)| (field, self.tiers.transactions, key));
        for (field, floor, key) in members.chain(transactions) {
            let checked = if key.suite().tier() < floor {
                Err(KeyError::UnknownSuite)
            } else {
                verifier.check_key(key)
            };
            checked.map_err(|reason| GenesisError::Key {
                field,
                key: key.clone(),
                reason,
            })?;
        }
        Ok(())
    }

    /// The first committee.
    pub fn committee(&self) -> Result<CommitteeTable, CommitteeError> {
        table(&self.members)
    }

    /// Identity of the federation: a digest of everything above.
    pub fn id(&self) -> Blake3Digest {
        let start = Preimage::new(domain::GENESIS)
            .bytes(self.name.as_bytes())
            .u64(self.start.as_millis())
            .u8(self.tiers.votes as u8)
            .u8(self.tiers.transactions as u8)
            .u64(self.consensus.epoch_length)
            .u64(self.consensus.block_bytes_max)
            .u32(self.consensus.evidence_per_block_max)
            .u64(self.consensus.drift_max_ms)
            .u64(self.members.len() as u64);
        self.members
            .iter()
            .fold(start, |preimage, member| {
                preimage
                    .u32(member.id.get())
                    .bytes(member.name.as_bytes())
                    .u8(member.key.suite().number())
                    .bytes(member.key.key_bytes())
                    .u64(member.weight.get())
                    .bytes(member.fee_account.as_str().as_bytes())
            })
            .array(self.ledger.digest().as_bytes())
            .blake3()
    }

    /// The chain that this genesis starts.
    pub fn chain(&self) -> Result<fbpbft::Chain, CommitteeError> {
        Ok(fbpbft::Chain::new(
            self.id(),
            self.consensus.epoch_length,
            self.committee()?,
            transaction_id,
        ))
    }

    /// Parameters of consensus: those of the genesis, and `local` for the rest.
    pub fn consensus_config(&self, local: &fbpbft::Config) -> fbpbft::Config {
        let block_bytes_max = self.consensus.block_bytes_max as usize;
        fbpbft::Config {
            transactions_max: self.ledger.parameters.transactions_per_block_max as usize,
            block_bytes_max,
            evidence_per_block_max: self.consensus.evidence_per_block_max as usize,
            drift_max: Duration::from_millis(self.consensus.drift_max_ms),
            bytes_per_sender_max: local
                .bytes_per_sender_max
                .max(2 * block_bytes_max + 1024 * 1024),
            fetch_bytes_max: local.fetch_bytes_max.max(block_bytes_max),
            ..local.clone()
        }
    }

    /// The account that gets the fees of a member's blocks.
    pub fn fee_account(&self, proposer: ReplicaId) -> Option<&Address> {
        self.members
            .iter()
            .find(|member| member.id == proposer)
            .map(|member| &member.fee_account)
    }

    /// A member by its name.
    pub fn member(&self, name: &str) -> Option<&GenesisMember> {
        self.members.iter().find(|member| member.name == name)
    }
}

/// Id of an encoded transaction, which signature bytes do not change (CR-3).
pub fn transaction_id(bytes: &[u8]) -> Option<Sha256Digest> {
    let transaction = SignedTransaction::decode(bytes).ok()?;
    Some(Sha256Digest::new(*transaction.id().as_bytes()))
}
