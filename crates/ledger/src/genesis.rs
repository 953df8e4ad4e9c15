//! What a ledger starts from (LG-11).

use crate::command::key;
use crate::state::{OPEN_LOCKS_LIMIT, PLATFORMS_MAX};
use crate::{Address, PlatformName};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;
use polity_crypto::{Preimage, PublicKey, Sha256Digest, domain};
use polity_types::{Amount, Time};

/// A registered platform.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisPlatform {
    /// Its name.
    pub name: PlatformName,
    /// The key that opens accounts and settles locks of its agents.
    pub key: PublicKey,
    /// How many accounts it may open without paying for them. Accounts of the genesis do not
    /// count.
    pub quota: u64,
}

/// An account and its first balance.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisAccount {
    /// The account.
    pub address: Address,
    /// The key that may spend from it.
    pub owner: PublicKey,
    /// What it holds.
    pub balance: Amount,
}

/// Who mints, burns, freezes, registers platforms and changes the committee (LG-6).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authority {
    /// The keys, each once.
    pub keys: Vec<PublicKey>,
    /// How many of them have to sign.
    pub threshold: u32,
}

impl Authority {
    /// Most keys of the authority: as many as one transaction can carry.
    pub const KEYS_MAX: usize = crate::Transaction::KEYS_MAX;
}

/// Limits and prices. They never change after the genesis.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Parameters {
    /// Fee of every transaction (LG-12).
    pub fee_flat: Amount,
    /// Fee for each byte of a transaction (LG-12).
    pub fee_per_byte: Amount,
    /// Price of an account above the platform's quota; zero sells none (LG-3).
    pub open_fee: Amount,
    /// Smallest lock (LG-7).
    pub min_lock: Amount,
    /// Longest time from block time to the expiry of a new lock, in milliseconds (LG-7).
    pub lock_horizon_ms: u64,
    /// Most open locks of one payer (LG-7).
    pub open_locks_max: u32,
    /// Most locks that expire in one block (LG-7).
    pub expiries_per_block_max: u32,
    /// How far ahead `valid_until` may be, in heights (LG-4). Settled locks are remembered for at
    /// least as long.
    pub validity_horizon: u64,
    /// Most transactions of one block.
    pub transactions_per_block_max: u32,
    /// Most transaction ids to remember (LG-4): the transactions of as many full blocks as the
    /// horizon has heights. The ids of one more block, which become too old with it, come on top.
    pub recent_ids_max: u64,
    /// Most accounts, closed ones included.
    pub accounts_max: u32,
    /// Most locks, open ones and settled ones that are still remembered.
    pub locks_max: u32,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            fee_flat: Amount::ZERO,
            fee_per_byte: Amount::ZERO,
            open_fee: Amount::ZERO,
            min_lock: Amount::from_units(1),
            lock_horizon_ms: 30 * 24 * 60 * 60 * 1000,
            open_locks_max: 1_024,
            expiries_per_block_max: 1_024,
            validity_horizon: 1_000,
            transactions_per_block_max: 8_192,
            recent_ids_max: 8_192_000,
            accounts_max: 16_777_216,
            locks_max: 16_777_216,
        }
    }
}

impl Parameters {
    /// Largest validity horizon in heights.
    pub const VALIDITY_HORIZON_MAX: u64 = 65_536;
    /// Largest block in transactions.
    pub const TRANSACTIONS_PER_BLOCK_LIMIT: u32 = 1 << 20;

    /// The latest expiry of a lock made at `time`.
    pub(crate) fn latest_expiry(&self, time: Time) -> Time {
        time.saturating_add(Duration::from_millis(self.lock_horizon_ms))
    }

    pub(crate) fn layout(&self, preimage: Preimage) -> Preimage {
        preimage
            .u128(self.fee_flat.units())
            .u128(self.fee_per_byte.units())
            .u128(self.open_fee.units())
            .u128(self.min_lock.units())
            .u64(self.lock_horizon_ms)
            .u32(self.open_locks_max)
            .u32(self.expiries_per_block_max)
            .u64(self.validity_horizon)
            .u32(self.transactions_per_block_max)
            .u64(self.recent_ids_max)
            .u32(self.accounts_max)
            .u32(self.locks_max)
    }

    pub(crate) fn check(&self) -> Result<(), GenesisError> {
        let positive = [
            ("open_locks_max", u64::from(self.open_locks_max)),
            ("lock_horizon_ms", self.lock_horizon_ms),
            (
                "expiries_per_block_max",
                u64::from(self.expiries_per_block_max),
            ),
            ("validity_horizon", self.validity_horizon),
            (
                "transactions_per_block_max",
                u64::from(self.transactions_per_block_max),
            ),
            ("accounts_max", u64::from(self.accounts_max)),
            ("locks_max", u64::from(self.locks_max)),
        ];
        if let Some((field, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return Err(GenesisError::Zero { field });
        }
        let ceilings = [
            (
                "validity_horizon",
                self.validity_horizon,
                Self::VALIDITY_HORIZON_MAX,
            ),
            (
                "transactions_per_block_max",
                u64::from(self.transactions_per_block_max),
                u64::from(Self::TRANSACTIONS_PER_BLOCK_LIMIT),
            ),
            (
                "open_locks_max",
                u64::from(self.open_locks_max),
                u64::from(OPEN_LOCKS_LIMIT),
            ),
            (
                "accounts_max",
                u64::from(self.accounts_max),
                u64::from(u32::MAX - 1),
            ),
            (
                "locks_max",
                u64::from(self.locks_max),
                u64::from(u32::MAX - 1),
            ),
        ];
        for (field, value, max) in ceilings {
            if value > max {
                return Err(GenesisError::TooLarge { field, value, max });
            }
        }
        let prices = [
            ("fee_flat", self.fee_flat),
            ("fee_per_byte", self.fee_per_byte),
            ("open_fee", self.open_fee),
            ("min_lock", self.min_lock),
        ];
        if let Some((field, _)) = prices
            .into_iter()
            .find(|(_, value)| *value > Amount::SUPPLY_MAX)
        {
            return Err(GenesisError::Price { field });
        }
        // LG-4: the ids that a window of full blocks can hold must fit.
        let needed = u64::from(self.transactions_per_block_max) * self.validity_horizon;
        if needed > self.recent_ids_max {
            return Err(GenesisError::RecentIds {
                needed,
                max: self.recent_ids_max,
            });
        }
        Ok(())
    }
}

/// What a ledger starts from: everything that its founders agreed on.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    /// Limits and prices.
    #[serde(default)]
    pub parameters: Parameters,
    /// Who may do what no account may.
    pub authority: Authority,
    /// The platforms, in the order of their numbers.
    pub platforms: Vec<GenesisPlatform>,
    /// The accounts, in the order of their slots.
    pub accounts: Vec<GenesisAccount>,
}

/// Why no ledger can start like this. Every message names the field to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    /// A limit is zero.
    #[error("parameters.{field} is zero: set it to at least 1")]
    Zero {
        /// The parameter.
        field: &'static str,
    },
    /// A limit is above what the ledger can count.
    #[error("parameters.{field} is {value}: set it to at most {max}")]
    TooLarge {
        /// The parameter.
        field: &'static str,
        /// Its value.
        value: u64,
        /// Its largest value.
        max: u64,
    },
    /// A price is above the largest supply.
    #[error("parameters.{field} is above the largest supply of 2^100 units")]
    Price {
        /// The parameter.
        field: &'static str,
    },
    /// A window of full blocks has more ids than may be remembered.
    #[error(
        "parameters.recent_ids_max is {max}: transactions_per_block_max times validity_horizon \
         needs {needed}"
    )]
    RecentIds {
        /// Ids of a window of full blocks.
        needed: u64,
        /// The limit.
        max: u64,
    },
    /// Nobody, or more people than there are, would have to sign.
    #[error("authority.threshold is {threshold}: it must be 1 to {keys}, the number of keys")]
    Threshold {
        /// The threshold.
        threshold: u32,
        /// Keys of the authority.
        keys: usize,
    },
    /// More keys than a transaction can carry.
    #[error("authority.keys has {found} keys; a transaction carries at most {max}")]
    AuthorityKeys {
        /// Keys that were given.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// One key of the authority stands twice.
    #[error("authority.keys[{index}] stands twice")]
    DuplicateKey {
        /// Zero-based place of the second one.
        index: usize,
    },
    /// More platforms than the ledger can number.
    #[error("there are {found} platforms; at most {max} are possible")]
    Platforms {
        /// Platforms that were given.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// One platform stands twice.
    #[error("platforms[{index}] has the name of an earlier platform")]
    DuplicatePlatform {
        /// Zero-based place of the second one.
        index: usize,
    },
    /// More accounts than `accounts_max`.
    #[error("there are {found} accounts, but parameters.accounts_max is {max}")]
    Accounts {
        /// Accounts that were given.
        found: usize,
        /// The limit.
        max: u32,
    },
    /// One account stands twice.
    #[error("accounts[{index}] has the address of an earlier account")]
    DuplicateAccount {
        /// Zero-based place of the second one.
        index: usize,
    },
    /// The platform of an account is not registered.
    #[error("accounts[{index}].address names a platform that is not in platforms")]
    UnknownPlatform {
        /// Zero-based place of the account.
        index: usize,
    },
    /// The balances add up to more than the largest supply (LG-2).
    #[error("accounts[{index}].balance lifts the supply above 2^100 units")]
    Supply {
        /// Zero-based place of the account that is too much.
        index: usize,
    },
}

impl Genesis {
    /// Whether a ledger can start like this.
    pub fn validate(&self) -> Result<(), GenesisError> {
        self.parameters.check()?;
        self.check_authority()?;
        self.check_platforms()?;
        self.check_accounts()
    }

    /// The bytes by which a federation's identity covers its ledger.
    pub fn preimage(&self) -> Preimage {
        let mut preimage = self
            .parameters
            .layout(Preimage::new(domain::LEDGER_GENESIS))
            .u32(self.authority.threshold)
            .u32(self.authority.keys.len() as u32);
        for public_key in &self.authority.keys {
            preimage = key(preimage, public_key);
        }
        preimage = preimage.u32(self.platforms.len() as u32);
        for platform in &self.platforms {
            preimage = preimage.bytes(platform.name.as_str().as_bytes());
            preimage = key(preimage, &platform.key).u64(platform.quota);
        }
        preimage = preimage.u64(self.accounts.len() as u64);
        for account in &self.accounts {
            preimage = preimage.bytes(account.address.as_str().as_bytes());
            preimage = key(preimage, &account.owner).u128(account.balance.units());
        }
        preimage
    }

    /// The digest of [`preimage`](Self::preimage).
    pub fn digest(&self) -> Sha256Digest {
        self.preimage().sha256()
    }

    fn check_authority(&self) -> Result<(), GenesisError> {
        let Authority { keys, threshold } = &self.authority;
        if keys.len() > Authority::KEYS_MAX {
            return Err(GenesisError::AuthorityKeys {
                found: keys.len(),
                max: Authority::KEYS_MAX,
            });
        }
        if *threshold == 0 || *threshold as usize > keys.len() {
            return Err(GenesisError::Threshold {
                threshold: *threshold,
                keys: keys.len(),
            });
        }
        let mut seen = BTreeSet::new();
        match keys.iter().position(|key| !seen.insert(key)) {
            Some(index) => Err(GenesisError::DuplicateKey { index }),
            None => Ok(()),
        }
    }

    fn check_platforms(&self) -> Result<(), GenesisError> {
        if self.platforms.len() > PLATFORMS_MAX {
            return Err(GenesisError::Platforms {
                found: self.platforms.len(),
                max: PLATFORMS_MAX,
            });
        }
        let mut seen = BTreeSet::new();
        match self.platforms.iter().position(|p| !seen.insert(&p.name)) {
            Some(index) => Err(GenesisError::DuplicatePlatform { index }),
            None => Ok(()),
        }
    }

    fn check_accounts(&self) -> Result<(), GenesisError> {
        if self.accounts.len() > self.parameters.accounts_max as usize {
            return Err(GenesisError::Accounts {
                found: self.accounts.len(),
                max: self.parameters.accounts_max,
            });
        }
        let platforms: BTreeSet<&str> = self.platforms.iter().map(|p| p.name.as_str()).collect();
        let mut seen = BTreeSet::new();
        let mut supply = Amount::ZERO;
        for (index, account) in self.accounts.iter().enumerate() {
            if !platforms.contains(account.address.platform()) {
                return Err(GenesisError::UnknownPlatform { index });
            }
            if !seen.insert(&account.address) {
                return Err(GenesisError::DuplicateAccount { index });
            }
            // LG-2: every sum of balances fits.
            supply = supply
                .checked_add(account.balance)
                .filter(|sum| *sum <= Amount::SUPPLY_MAX)
                .ok_or(GenesisError::Supply { index })?;
        }
        Ok(())
    }
}
