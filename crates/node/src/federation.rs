//! The files of a federation, and how they come to be.
//!
//! ```text
//! DIR/
//!   genesis.json              what the founders agreed on; its digest names the federation
//!   keys/
//!     alice@thor.key          owner of an account
//!     clearing@thor.key       key of a platform, and owner of its clearing account
//!     authority.key           mints, freezes, registers platforms
//!   thor/                     everything one node needs: copy it to its machine
//!     genesis.json  node.toml  key  journal  index.redb  lock
//! ```

use crate::config::{self, ConfigError, NodeConfig};
use crate::journal::{Journal, JournalError};
use crate::keys::link_secret::LinkSecret;
use crate::keys::{KeyFileError, SecretKey};
use crate::lock::{DirectoryLock, LockError};
use crate::signing::{NodeVerifier, Provider, SuiteError, suite_of};
use polity_crypto::{Suite, Tier};
use polity_ledger::{
    Address, AddressError, Authority, GenesisAccount, GenesisPlatform, Parameters, PlatformName,
};
use polity_replica::{ConsensusRules, Genesis, GenesisMember, MessageKind, Purpose, TierFloors};
use polity_types::{Amount, ReplicaId, Time, Weight};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Name of the genesis in a federation's and a node's directory.
pub const GENESIS_FILE: &str = "genesis.json";
/// Name of the secret key in a node's directory.
pub const KEY_FILE: &str = "key";
/// Directory of the clients' keys.
pub const KEYS_DIRECTORY: &str = "keys";
/// Name of the authority's key in that directory.
pub const AUTHORITY_KEY_FILE: &str = "authority.key";
/// Agent of each platform's own account, which its fees go to.
pub const CLEARING: &str = "clearing";

/// Largest genesis that is read, in bytes: a million accounts.
const GENESIS_BYTES_MAX: u64 = 512 << 20;

/// Accounts that each platform may open without paying for them.
const QUOTA: u64 = 1_000_000;

/// Why a federation cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum FederationError {
    /// The directory holds something already.
    #[error("{} exists and is not empty; choose another directory", .0.display())]
    NotEmpty(PathBuf),
    /// No federation stands on such keys.
    #[error(transparent)]
    Suite(#[from] SuiteError),
    /// The system refuses.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A name is no platform or address.
    #[error("`{name}`: {source}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        source: AddressError,
    },
    /// A platform cannot have this name.
    #[error("`--platforms`: {0}")]
    Platforms(String),
    /// A key.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The configuration or the genesis.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data directory is in use.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// There is no federation.
    #[error("{} is no federation: it has no genesis.json and no node's directory in it", .0.display())]
    NoFederation(PathBuf),
    /// There is nothing.
    #[error(
        "{} does not exist; name a directory that `polity init` made, or make one", .0.display()
    )]
    Missing(PathBuf),
}

impl FederationError {
    /// Whether somebody named or configured something wrongly; otherwise the outside failed.
    pub const fn is_usage(&self) -> bool {
        match self {
            Self::NotEmpty(_)
            | Self::Suite(_)
            | Self::Name { .. }
            | Self::Platforms(_)
            | Self::Config(_)
            | Self::NoFederation(_)
            | Self::Missing(_) => true,
            Self::Io { .. } | Self::Key(_) | Self::Lock(_) | Self::Journal(_) => false,
        }
    }
}

impl From<polity_replica::GenesisError> for FederationError {
    fn from(error: polity_replica::GenesisError) -> Self {
        Self::Config(ConfigError::Genesis(error))
    }
}

/// An account to open in the genesis: `alice@thor=1000`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Funded {
    /// The account.
    pub address: Address,
    /// What it holds first.
    pub balance: Amount,
}

impl FromStr for Funded {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, balance) = text
            .split_once('=')
            .ok_or("an account is written agent@platform=amount, such as alice@thor=1000")?;
        Ok(Self {
            address: address
                .parse()
                .map_err(|error: AddressError| error.to_string())?,
            balance: balance
                .parse()
                .map_err(|error: polity_types::AmountError| error.to_string())?,
        })
    }
}

/// What a new federation looks like.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// Names of the members, in the order of their numbers.
    pub members: Vec<String>,
    /// Platforms that have accounts. Empty: those of the members.
    pub platforms: Vec<String>,
    /// Accounts and first balances.
    pub accounts: Vec<Funded>,
    /// Where each member listens for members, and for clients.
    pub addresses: Vec<(SocketAddr, SocketAddr)>,
    /// Block time of the genesis.
    pub start: Time,
    /// Limits and prices.
    pub parameters: Parameters,
    /// Heights of one epoch: committees change between epochs.
    pub epoch_length: u64,
    /// Whether every account has a key of its own; otherwise the accounts of a platform share that
    /// of its clearing account.
    pub own_keys: bool,
    /// Timeouts of the nodes.
    pub consensus: config::Consensus,
    /// Storage of the nodes.
    pub storage: config::Storage,
    /// The tier of all keys, and the floor of all messages but links. `Hmac` means that of Ed25519, and
    /// authenticators on links beside it.
    pub tier: Tier,
    /// The library of the nodes' signatures.
    pub provider: Provider,
}

impl Plan {
    /// A federation of these members on this machine, with ports from `base_port` on.
    pub fn local(
        members: Vec<String>,
        base_port: u16,
        start: Time,
    ) -> Result<Self, FederationError> {
        let address = |port: usize| {
            u16::try_from(port)
                .map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
                .map_err(|_| {
                    FederationError::Platforms(format!(
                        "`--base-port` {base_port} leaves too few ports"
                    ))
                })
        };
        let mut addresses = Vec::new();
        for index in 0..members.len() {
            let quic = usize::from(base_port) + index;
            addresses.push((address(quic)?, address(quic + 100)?));
        }
        Ok(Self {
            name: "polity".to_owned(),
            members,
            platforms: Vec::new(),
            accounts: Vec::new(),
            addresses,
            start,
            parameters: Parameters::default(),
            epoch_length: ConsensusRules::default().epoch_length,
            own_keys: true,
            consensus: config::Consensus::default(),
            storage: config::Storage::default(),
            tier: Tier::Ed25519,
            provider: Provider::default(),
        })
    }
}

/// A federation that was just made, with all its secrets.
#[derive(Debug)]
pub struct Founded {
    /// What the members agreed on.
    pub genesis: Genesis,
    /// The nodes' directories, in the order of the members.
    pub nodes: Vec<PathBuf>,
    /// Keys of the platforms' clearing accounts, by platform.
    pub platform_keys: BTreeMap<String, SecretKey>,
    /// Keys of the other accounts.
    pub account_keys: BTreeMap<Address, SecretKey>,
    /// Key of the authority.
    pub authority: SecretKey,
}

impl Founded {
    /// The key that may spend from an account.
    pub fn owner(&self, address: &Address) -> Option<&SecretKey> {
        self.account_keys
            .get(address)
            .or_else(|| self.platform_keys.get(address.platform()))
    }
}

/// Makes a federation in a directory that is missing or empty.
pub fn found(directory: &Path, plan: &Plan) -> Result<Founded, FederationError> {
    let platforms = check_names(plan)?;
    let tiers = floors(plan.tier);
    let suite = suite_of(tiers.votes)?;
    create_empty(directory)?;
    let keys_directory = directory.join(KEYS_DIRECTORY);
    create_private(&keys_directory)?;

    let authority = SecretKey::generate_of(suite)?;
    authority.store(&keys_directory.join(AUTHORITY_KEY_FILE), "the authority")?;
    let mut platform_keys = BTreeMap::new();
    let mut accounts = Vec::new();
    for name in &platforms {
        let key = SecretKey::generate_of(suite)?;
        let address = address(CLEARING, name)?;
        key.store(
            &key_path(directory, &address),
            &format!("platform {name} and its account {address}"),
        )?;
        accounts.push(GenesisAccount {
            address,
            owner: key.public_key().clone(),
            balance: Amount::ZERO,
        });
        platform_keys.insert(name.clone(), key);
    }
    let mut account_keys = BTreeMap::new();
    for account in &plan.accounts {
        let owner = if plan.own_keys {
            let key = SecretKey::generate_of(suite)?;
            key.store(
                &key_path(directory, &account.address),
                &format!("account {}", account.address),
            )?;
            let owner = key.public_key().clone();
            account_keys.insert(account.address.clone(), key);
            owner
        } else {
            let key = platform_keys
                .get(account.address.platform())
                .ok_or_else(|| {
                    FederationError::Platforms(format!(
                        "the account {} is on a platform that is not listed",
                        account.address
                    ))
                })?;
            key.public_key().clone()
        };
        accounts.push(GenesisAccount {
            address: account.address.clone(),
            owner,
            balance: account.balance,
        });
    }

    let mut node_keys = Vec::new();
    let mut members = Vec::new();
    for (number, name) in (0_u32..).zip(&plan.members) {
        let key = SecretKey::generate_of(suite)?;
        // A member that is no platform of its own gets its fees on the first one.
        let platform = platforms
            .get(name.as_str())
            .or_else(|| plan.platforms.first())
            .unwrap_or(name);
        members.push(GenesisMember {
            id: ReplicaId::new(number),
            name: name.clone(),
            key: key.public_key().clone(),
            weight: Weight::new(1),
            fee_account: address(CLEARING, platform)?,
        });
        node_keys.push(key);
    }
    let genesis = Genesis {
        name: plan.name.clone(),
        start: plan.start,
        tiers,
        consensus: ConsensusRules {
            epoch_length: plan.epoch_length,
            ..ConsensusRules::default()
        },
        members,
        ledger: polity_ledger::Genesis {
            parameters: plan.parameters.clone(),
            authority: Authority {
                keys: vec![authority.public_key().clone()],
                threshold: 1,
            },
            platforms: platforms
                .iter()
                .map(|name| {
                    Ok(GenesisPlatform {
                        name: platform_name(name)?,
                        key: platform_keys[name].public_key().clone(),
                        quota: QUOTA,
                    })
                })
                .collect::<Result<_, FederationError>>()?,
            accounts,
        },
    };
    genesis.validate(Purpose::Production, &NodeVerifier::default())?;

    let has_tags = tiers.floor(MessageKind::Links) == Tier::Hmac;
    let link_secret = has_tags.then(LinkSecret::generate).transpose()?;
    let text = genesis_text(&genesis);
    write_new(&directory.join(GENESIS_FILE), text.as_bytes())?;
    let mut nodes = Vec::new();
    for (index, name) in plan.members.iter().enumerate() {
        let node = directory.join(name);
        create_private(&node)?;
        write_new(&node.join(GENESIS_FILE), text.as_bytes())?;
        node_keys[index].store(&node.join(KEY_FILE), &format!("node {name}"))?;
        if let Some(secret) = &link_secret {
            secret.store(&node)?;
        }
        let config = node_config(plan, index, &node_keys);
        config.check(&genesis)?;
        write_new(&node.join(config::FILE_NAME), config.to_text().as_bytes())?;
        // A journal that is missing later was lost, and then the node must not vote.
        create_journal(&node, &genesis, node_keys[index].public_key())?;
        nodes.push(node);
    }
    Ok(Founded {
        genesis,
        nodes,
        platform_keys,
        account_keys,
        authority,
    })
}

/// The floors of a plan. An authenticator convinces its receiver alone, so under the tier `Hmac` links have
/// them and everything else is signed (CR-6).
fn floors(tier: Tier) -> TierFloors {
    match tier {
        Tier::Hmac => TierFloors {
            links: Some(Tier::Hmac),
            ..TierFloors::of(Tier::Ed25519)
        },
        Tier::Stub | Tier::Ed25519 | Tier::Hybrid => TierFloors::of(tier),
    }
}

fn node_config(plan: &Plan, index: usize, keys: &[SecretKey]) -> NodeConfig {
    let link_keys = plan
        .members
        .iter()
        .zip(keys)
        .enumerate()
        .filter(|(other, (_, key))| *other != index && key.suite() != Suite::Ed25519)
        .map(|(_, (name, key))| (name.clone(), key.link_key()))
        .collect();
    let peers = plan
        .members
        .iter()
        .zip(&plan.addresses)
        .enumerate()
        .filter(|(other, _)| *other != index)
        .map(|(_, (name, (quic, _)))| (name.clone(), *quic))
        .collect();
    let (listen, api) = plan.addresses[index];
    NodeConfig {
        name: plan.members[index].clone(),
        replica: None,
        network: config::Network {
            listen,
            peers,
            link_keys,
        },
        api: config::Api {
            listen: api,
            body_bytes_max: 4 << 20,
            requests_max: 256,
            connections_max: 512,
            streams_max: 64,
        },
        storage: plan.storage.clone(),
        consensus: plan.consensus.clone(),
        pool: config::Pool::default(),
        verification: config::Verification::default(),
        crypto: config::Crypto {
            provider: plan.provider,
        },
        keys: config::Keys::default(),
    }
}

/// The platforms of a plan, each once, and every name checked.
fn check_names(plan: &Plan) -> Result<BTreeSet<String>, FederationError> {
    let problem = |text: String| Err(FederationError::Platforms(text));
    if plan.members.is_empty() {
        return problem("at least one member is needed".to_owned());
    }
    let mut seen = BTreeSet::new();
    for name in &plan.members {
        platform_name(name)?;
        if !seen.insert(name) {
            return problem(format!("{name} stands twice"));
        }
        if name == KEYS_DIRECTORY || name == "." || name == ".." {
            return problem(format!("{name} cannot be the name of a member's directory"));
        }
    }
    let platforms: BTreeSet<String> = if plan.platforms.is_empty() {
        plan.members.iter().cloned().collect()
    } else {
        plan.platforms.iter().cloned().collect()
    };
    for name in &platforms {
        platform_name(name)?;
    }
    for account in &plan.accounts {
        if !platforms.contains(account.address.platform()) {
            return problem(format!(
                "the account {} is on a platform that is not listed",
                account.address
            ));
        }
        if account.address.agent() == CLEARING {
            return problem(format!(
                "{} is opened for each platform anyway",
                account.address
            ));
        }
        if plan.own_keys && account.address.agent().contains(['/', '\\']) {
            return problem(format!(
                "the agent of {} cannot be the name of a key file",
                account.address
            ));
        }
    }
    Ok(platforms)
}

fn platform_name(name: &str) -> Result<PlatformName, FederationError> {
    name.parse().map_err(|source| FederationError::Name {
        name: name.to_owned(),
        source,
    })
}

fn address(agent: &str, platform: &str) -> Result<Address, FederationError> {
    Address::new(agent, platform).map_err(|source| FederationError::Name {
        name: format!("{agent}@{platform}"),
        source,
    })
}

/// Where the key of an account is.
pub fn key_path(directory: &Path, account: &Address) -> PathBuf {
    directory
        .join(KEYS_DIRECTORY)
        .join(format!("{account}.key"))
}

/// The genesis as a file for people.
pub fn genesis_text(genesis: &Genesis) -> String {
    let mut text =
        serde_json::to_string_pretty(genesis).expect("a genesis has no keys that are not text");
    text.push('\n');
    text
}

/// Reads and checks a genesis.
pub fn load_genesis(path: &Path) -> Result<Genesis, FederationError> {
    let text = config::read_text(path, GENESIS_BYTES_MAX)?;
    let genesis: Genesis = serde_json::from_str(&text).map_err(|source| ConfigError::Json {
        path: path.display().to_string(),
        source,
    })?;
    genesis.validate(Purpose::Production, &NodeVerifier::default())?;
    Ok(genesis)
}

/// The nodes of a federation directory, or the one node whose directory it is.
pub fn nodes_in(directory: &Path) -> Result<Vec<PathBuf>, FederationError> {
    if directory.join(config::FILE_NAME).is_file() {
        return Ok(vec![directory.to_owned()]);
    }
    let error = |source| FederationError::Io {
        path: directory.to_owned(),
        source,
    };
    if !directory.exists() {
        return Err(FederationError::Missing(directory.to_owned()));
    }
    let mut nodes = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(error)? {
        let path = entry.map_err(error)?.path();
        if path.join(config::FILE_NAME).is_file() {
            nodes.push(path);
        }
    }
    nodes.sort();
    if nodes.is_empty() {
        return Err(FederationError::NoFederation(directory.to_owned()));
    }
    Ok(nodes)
}

/// Begins the journal of a new node, so that a missing one can only be a lost one.
fn create_journal(
    node: &Path,
    genesis: &Genesis,
    key: &polity_crypto::PublicKey,
) -> Result<(), FederationError> {
    let lock = DirectoryLock::acquire(node)?;
    let chain = genesis
        .chain()
        .map_err(polity_replica::GenesisError::from)?;
    Journal::open_in(&lock, chain.id(), &key.fingerprint(), |_, _| {})?;
    Ok(())
}

fn create_empty(directory: &Path) -> Result<(), FederationError> {
    let error = |source| FederationError::Io {
        path: directory.to_owned(),
        source,
    };
    std::fs::create_dir_all(directory).map_err(error)?;
    check_empty(directory)
}

/// Whether a directory is missing or empty, so that a federation may be made in it.
pub(crate) fn check_empty(directory: &Path) -> Result<(), FederationError> {
    match std::fs::read_dir(directory).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(FederationError::NotEmpty(directory.to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(FederationError::Io {
            path: directory.to_owned(),
            source,
        }),
    }
}

/// A directory for its own user alone.
pub(crate) fn create_private(directory: &Path) -> Result<(), FederationError> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder
        .create(directory)
        .map_err(|source| FederationError::Io {
            path: directory.to_owned(),
            source,
        })
}

/// Writes a file that is not there yet, durably.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), FederationError> {
    let error = |source| FederationError::Io {
        path: path.to_owned(),
        source,
    };
    let mut file = std::fs::File::create_new(path).map_err(error)?;
    file.write_all(bytes).map_err(error)?;
    file.sync_all().map_err(error)
}
