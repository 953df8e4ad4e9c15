//! What the founders of a federation agreed on.

use crate::membership::{table, too_many_signatures};
use crate::tiers::{MessageKind, TierFloors};
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use polity_consensus::committee::{CommitteeError, CommitteeTable};
use polity_consensus::fbpbft;
use polity_crypto::{
    Blake3Digest, KeyError, KeyId, Preimage, PublicKey, Sha256Digest, Suite, Tier, Verifier, domain,
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
        "`tiers.{field}` must be ed25519 or hybrid: below tier 2 the receiver could have made {field} itself, so they prove nothing to a third party"
    )]
    Tier {
        /// The field, which is the kind of message.
        field: &'static str,
    },
    /// A floor of links that no link reaches, or that anybody reaches.
    #[error("`tiers.links` must be hmac or ed25519: {0}")]
    Links(&'static str),
    /// A key of a weaker tier than its messages need.
    #[error(
        "`{field}`: the key {key} is of the suite {}, but `tiers` asks for {} in {kind}; make a key of that tier, or agree on another floor", suite.name(), floor.name()
    )]
    BelowFloor {
        /// The field.
        field: &'static str,
        /// Short name of the key.
        key: KeyId,
        /// Its suite.
        suite: Suite,
        /// The kind of message that needs more.
        kind: &'static str,
        /// What it needs.
        floor: Tier,
    },
    /// The table is no committee.
    #[error("`members`: {0}")]
    Committee(#[from] CommitteeError),
    /// Signatures are so long that what starts a view fits no message.
    #[error(
        "`members`: a NEW-VIEW of {members} members with signatures of {bytes} bytes is longer than a message may be; take fewer members or shorter keys"
    )]
    TooManySignatures {
        /// How many members there are.
        members: usize,
        /// Length of the longest signature.
        bytes: usize,
    },
    /// A key may not be registered.
    #[error("`{field}`: the {} key {key}: {reason}", suite.name())]
    Key {
        /// The field.
        field: &'static str,
        /// Its short name: in digits, a hybrid key is 4 kB.
        key: KeyId,
        /// Its suite.
        suite: Suite,
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
        if let Some((members, bytes)) = too_many_signatures(&self.members) {
            return Err(GenesisError::TooManySignatures { members, bytes });
        }
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
        for kind in MessageKind::ALL {
            match (kind, self.tiers.floor(kind)) {
                (MessageKind::Links, Tier::Stub) => {
                    return Err(GenesisError::Links("anybody can make a checksum"));
                }
                (MessageKind::Links, Tier::Hybrid) => {
                    return Err(GenesisError::Links(
                        "ends of a link are proved with Ed25519, under a hybrid key exchange",
                    ));
                }
                (MessageKind::Links, Tier::Hmac | Tier::Ed25519)
                | (_, Tier::Ed25519 | Tier::Hybrid) => {}
                (_, Tier::Stub | Tier::Hmac) => {
                    return Err(GenesisError::Tier { field: kind.name() });
                }
            }
        }
        Ok(())
    }

    /// Weak keys are refused here, and so are keys below the floor of their purpose.
    fn check_keys<V: Verifier>(&self, verifier: &V) -> Result<(), GenesisError> {
        let members = self
            .members
            .iter()
            .map(|m| ("members.key", self.tiers.of_members(), &m.key));
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
            .map(|(field, key)| {
                let floor = (MessageKind::Transactions, self.tiers.transactions);
                (field, floor, key)
            });
        for (field, (kind, floor), key) in members.chain(transactions) {
            if key.suite().tier() < floor {
                return Err(GenesisError::BelowFloor {
                    field,
                    key: key.key_id(),
                    suite: key.suite(),
                    kind: kind.name(),
                    floor,
                });
            }
            verifier
                .check_key(key)
                .map_err(|reason| GenesisError::Key {
                    field,
                    key: key.key_id(),
                    suite: key.suite(),
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
            .u64(self.start.as_millis());
        let start = self.tiers.digested().fold(start, Preimage::u8);
        let start = start
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
