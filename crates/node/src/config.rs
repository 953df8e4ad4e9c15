//! `node.toml`: what one node does that its federation need not agree on.

use crate::journal::RECORD_BYTES_MAX;
use crate::keys::PassphraseSource;
use crate::signing::{NodeVerifier, Provider};
use crate::transport::{self, Lane};
use polity_consensus::fbpbft;
use polity_crypto::{PublicKey, Suite, Verifier as _};
use polity_replica::{Genesis, PoolConfig};
use polity_types::ReplicaId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Name of the configuration in a node's directory.
pub const FILE_NAME: &str = "node.toml";

/// Largest configuration that is read, in bytes.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// The whole configuration of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// What people call this node: its name in the committee.
    pub name: String,
    /// Its number in the committee, if the genesis does not know the name or says another key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica: Option<ReplicaId>,
    /// Links to the other members.
    pub network: Network,
    /// The HTTP interface.
    pub api: Api,
    /// What is kept on disk.
    #[serde(default)]
    pub storage: Storage,
    /// Timeouts of consensus.
    #[serde(default)]
    pub consensus: Consensus,
    /// Transactions that wait.
    #[serde(default)]
    pub pool: Pool,
    /// Signatures of transactions.
    #[serde(default)]
    pub verification: Verification,
    /// The library of signatures.
    #[serde(default)]
    pub crypto: Crypto,
    /// Where the key of this node is, and what opens it.
    #[serde(default, skip_serializing_if = "Keys::is_standard")]
    pub keys: Keys,
}

/// Where members listen, by name.
pub type Peers = BTreeMap<String, SocketAddr>;

/// Keys of links, by name.
pub type LinkKeys = BTreeMap<String, PublicKey>;

/// `[network]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// UDP address on which the other members reach this node (QUIC).
    pub listen: SocketAddr,
    /// Where the other members listen, by name.
    #[serde(default)]
    pub peers: Peers,
    /// With which Ed25519 key other members prove their links, by name, if the key of their votes is of
    /// another suite: its halves are used for nothing else (CR-5).
    #[serde(default)]
    pub link_keys: LinkKeys,
}

/// `[api]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    /// TCP address of the HTTP interface.
    pub listen: SocketAddr,
    /// Bytes of a request's body, at most.
    #[serde(default = "default_body_bytes_max")]
    pub body_bytes_max: usize,
    /// Requests in progress, at most, and as many again that may wait for a block; further ones are
    /// answered with 503.
    #[serde(default = "default_requests_max")]
    pub requests_max: usize,
    /// Connections at the same time; on further ones only health, readiness and metrics are
    /// answered, and everything else with 503.
    #[serde(default = "default_connections_max")]
    pub connections_max: usize,
    /// Event streams at the same time; further ones are answered with 503.
    #[serde(default = "default_streams_max")]
    pub streams_max: usize,
}

const fn default_body_bytes_max() -> usize {
    4 << 20
}
const fn default_requests_max() -> usize {
    256
}
const fn default_connections_max() -> usize {
    512
}
const fn default_streams_max() -> usize {
    64
}

/// `[storage]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// A snapshot of the ledger is taken at the end of each epoch, and every so many blocks; a restart
    /// replays what follows it.
    pub snapshot_every_blocks: u64,
    /// A node that is so many blocks behind fetches a snapshot instead of them (FB-19).
    pub snapshot_after_blocks: u64,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            snapshot_every_blocks: 1_000,
            snapshot_after_blocks: polity_replica::Config::default().snapshot_after,
        }
    }
}

/// `[consensus]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Consensus {
    /// How long the first leader of a height has, in milliseconds.
    pub timeout_base_ms: u64,
    /// The longest that a later leader has, in milliseconds.
    pub timeout_max_ms: u64,
}

impl Default for Consensus {
    fn default() -> Self {
        Self {
            timeout_base_ms: 1_000,
            timeout_max_ms: 60_000,
        }
    }
}

/// `[pool]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pool {
    /// Transactions, at most.
    pub transactions_max: usize,
    /// Bytes of transactions, at most.
    pub bytes_max: usize,
    /// Transactions of one account, at most.
    pub per_account_max: usize,
    /// Transactions of clients are gathered for so many milliseconds before they are sent on.
    pub gather_ms: u64,
}

impl Default for Pool {
    fn default() -> Self {
        let pool = PoolConfig::default();
        Self {
            transactions_max: pool.count_max,
            bytes_max: pool.bytes_max,
            per_account_max: pool.per_account_max,
            gather_ms: 1,
        }
    }
}

/// `[verification]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Verification {
    /// Threads that verify signatures of transactions; 0 takes one for each core, four at most.
    pub threads: usize,
}

/// `[crypto]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Crypto {
    /// The library that signs and verifies (CR-8).
    pub provider: Provider,
}

/// `[keys]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keys {
    /// The file whose first line is the passphrase of the key file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passphrase_file: Option<PathBuf>,
    /// The environment variable that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passphrase_env: Option<String>,
    /// The key is in a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Token>,
}

/// `[keys.token]`: a key that a PKCS#11 token holds and does not give away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// The PKCS#11 module, a shared library.
    pub module: PathBuf,
    /// Label of the token.
    pub token: String,
    /// Label of the Ed25519 key in it.
    pub key: String,
    /// The file whose first line is the PIN.
    pub pin_file: PathBuf,
}

impl Keys {
    /// Whether nothing is said.
    pub fn is_standard(&self) -> bool {
        *self == Self::default()
    }

    /// What opens the key file.
    pub fn passphrase(&self) -> PassphraseSource {
        match (&self.passphrase_file, &self.passphrase_env) {
            (Some(path), _) => PassphraseSource::File(path.clone()),
            (None, Some(name)) => PassphraseSource::Environment(name.clone()),
            (None, None) => PassphraseSource::Standard,
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        if self.passphrase_file.is_some() && self.passphrase_env.is_some() {
            return Err(bad(
                "keys.passphrase_env",
                "says where the passphrase is, and `keys.passphrase_file` does, too; remove one of them",
            ));
        }
        Ok(())
    }

    /// The table of a configuration for people.
    fn to_text(&self) -> String {
        #[derive(Serialize)]
        struct Table<'a> {
            keys: &'a Keys,
        }
        if self.is_standard() {
            return String::new();
        }
        let text = toml::to_string(&Table { keys: self }).unwrap_or_default();
        format!("\n# Where the key of this node is, and what opens it.\n{text}")
    }
}

/// Why a node cannot run with this configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The text is no configuration. The message names line and field.
    #[error("{path}: {message}")]
    Toml {
        /// The file.
        path: String,
        /// What the parser says.
        message: String,
    },
    /// The genesis is no JSON of the right shape. The message names line and field.
    #[error("{path}: {source}")]
    Json {
        /// The file.
        path: String,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// A field has a value that makes no sense.
    #[error("`{field}` {problem}")]
    Field {
        /// The field, with its table.
        field: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The genesis makes no sense.
    #[error("genesis: {0}")]
    Genesis(#[from] polity_replica::GenesisError),
}

/// A field that makes no sense.
fn bad(field: &str, problem: impl Into<String>) -> ConfigError {
    ConfigError::Field {
        field: field.to_owned(),
        problem: problem.into(),
    }
}

impl NodeConfig {
    /// Reads a configuration.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = read_text(path, FILE_BYTES_MAX)?;
        Self::parse(&text).map_err(|message| ConfigError::Toml {
            path: path.display().to_string(),
            message,
        })
    }

    /// Reads a configuration from its text.
    pub fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())
    }

    /// The configuration as a file for people, every field explained.
    pub fn to_text(&self) -> String {
        let replica = self
            .replica
            .map_or_else(String::new, |number| format!("replica = {number}\n"));
        let mut peers = String::new();
        for (name, address) in &self.network.peers {
            peers += &format!("{} = \"{address}\"\n", toml_key(name));
        }
        let mut link_keys = String::new();
        if !self.network.link_keys.is_empty() {
            link_keys += "\n\
                # The Ed25519 key with which a member proves its links, by name, where its votes have a key\n\
                # of another suite. This table is read again together with the addresses.\n\
                [network.link_keys]\n";
        }
        for (name, key) in &self.network.link_keys {
            link_keys += &format!("{} = \"{key}\"\n", toml_key(name));
        }
        format!(
            "# Configuration of one Polity node.\n\
             \n\
             # Which member this node is. A member that genesis.json does not know, or knows with another\n\
             # key, says its number as well: replica = 4\n\
             name = {name}\n\
             {replica}\
             \n\
             [network]\n\
             # UDP address on which the other members reach this node (QUIC).\n\
             listen = \"{listen}\"\n\
             \n\
             # Where the other members listen, by name. This table is read again whenever the committee\n\
             # changes and when an epoch begins.\n\
             [network.peers]\n\
             {peers}\
             {link_keys}\
             \n\
             [api]\n\
             # TCP address of the HTTP interface. It has no passwords: keep it on loopback, or put a\n\
             # proxy in front of it.\n\
             listen = \"{api}\"\n\
             # Bytes of a request's body, at most.\n\
             body_bytes_max = {body}\n\
             # Requests in progress, at most, and as many again that may wait for a block; further\n\
             # ones are answered with 503.\n\
             requests_max = {requests}\n\
             # Connections at the same time; on further ones only health, readiness and metrics are\n\
             # answered, and everything else with 503.\n\
             connections_max = {connections}\n\
             # Event streams at the same time; further ones are answered with 503.\n\
             streams_max = {streams}\n\
             \n\
             [storage]\n\
             # A snapshot of the ledger is taken at the end of each epoch, and every so many blocks; a\n\
             # restart replays what follows.\n\
             snapshot_every_blocks = {snapshot}\n\
             # A node that is so many blocks behind fetches a snapshot of others instead of the blocks; it\n\
             # does not hold these blocks then.\n\
             snapshot_after_blocks = {snapshot_after}\n\
             \n\
             [consensus]\n\
             # How long the first leader of a height has, in milliseconds.\n\
             timeout_base_ms = {base}\n\
             # The longest that a later leader has, in milliseconds.\n\
             timeout_max_ms = {max}\n\
             \n\
             [pool]\n\
             # Transactions that wait for a block: how many, how many bytes, how many of one account\n\
             # or of one key of a platform.\n\
             transactions_max = {pool_count}\n\
             bytes_max = {pool_bytes}\n\
             per_account_max = {pool_account}\n\
             # Transactions of clients are gathered for so many milliseconds before they are sent on.\n\
             gather_ms = {gather}\n\
             \n\
             [verification]\n\
             # Threads that verify signatures of transactions; 0 takes one for each core, four at most.\n\
             threads = {threads}\n\
             \n\
             [crypto]\n\
             # The library that signs and verifies: \"rust\" or \"aws-lc\". Both give the same answers.\n\
             provider = \"{provider}\"\n\
             {keys}",
            name = toml_key(&self.name),
            listen = self.network.listen,
            api = self.api.listen,
            body = self.api.body_bytes_max,
            requests = self.api.requests_max,
            connections = self.api.connections_max,
            streams = self.api.streams_max,
            snapshot = self.storage.snapshot_every_blocks,
            snapshot_after = self.storage.snapshot_after_blocks,
            base = self.consensus.timeout_base_ms,
            max = self.consensus.timeout_max_ms,
            pool_count = self.pool.transactions_max,
            pool_bytes = self.pool.bytes_max,
            pool_account = self.pool.per_account_max,
            gather = self.pool.gather_ms,
            threads = self.verification.threads,
            provider = self.crypto.provider.name(),
            keys = self.keys.to_text(),
        )
    }

    /// The number of this node.
    ///
    /// # Errors
    ///
    /// If neither the configuration nor the genesis says it, or they contradict each other.
    pub fn own(&self, genesis: &Genesis) -> Result<ReplicaId, ConfigError> {
        let founder = genesis.member(&self.name).map(|member| member.id);
        match (self.replica, founder) {
            (Some(number), Some(founder)) if number != founder => Err(bad(
                "replica",
                format!(
                    "is {number}, but the genesis gives {:?} the number {founder}; correct one of them",
                    self.name
                ),
            )),
            (Some(number), _) => Ok(number),
            (None, Some(founder)) => Ok(founder),
            (None, None) => {
                let names: Vec<&str> = genesis.members.iter().map(|m| m.name.as_str()).collect();
                Err(bad(
                    "name",
                    format!(
                        "is {:?}, which is no member of the genesis; its members are {}. A node that joins later says its number: add `replica = N`",
                        self.name,
                        names.join(", ")
                    ),
                ))
            }
        }
    }

    /// Checks every field, by itself and against the genesis. Returns this node's number.
    pub fn check(&self, genesis: &Genesis) -> Result<ReplicaId, ConfigError> {
        let own = self.own(genesis)?;
        self.check_peers()?;
        self.keys.check()?;
        self.check_ranges()?;
        if genesis.consensus.block_bytes_max > BLOCK_BYTES_MAX {
            return Err(bad(
                "consensus.block_bytes_max",
                format!(
                    "of the genesis must be at most {BLOCK_BYTES_MAX}, what a journal record holds"
                ),
            ));
        }
        genesis
            .consensus_config(&self.consensus_config())
            .validate()
            .map_err(|error| {
                let field = match error.field {
                    "timeout_base" => "consensus.timeout_base_ms",
                    "timeout_max" => "consensus.timeout_max_ms",
                    other => other,
                };
                bad(field, format!("must be {}", error.wanted))
            })?;
        Ok(own)
    }

    /// Names of members that come later are as good as those of the genesis, so only what can be
    /// nobody's is refused.
    fn check_peers(&self) -> Result<(), ConfigError> {
        for name in self.network.peers.keys() {
            let field = format!("network.peers.{name}");
            if *name == self.name {
                return Err(bad(&field, "is this node itself; remove the line"));
            }
            if !(1..=64).contains(&name.len()) {
                return Err(bad(&field, "is no name of a member; remove the line"));
            }
        }
        let mut seen = BTreeMap::new();
        for (name, key) in &self.network.link_keys {
            let field = format!("network.link_keys.{name}");
            if key.suite() != Suite::Ed25519 || NodeVerifier::default().check_key(key).is_err() {
                return Err(bad(
                    &field,
                    "must be an Ed25519 key, which `polity rejoin` and `polity init` say",
                ));
            }
            if let Some(other) = seen.insert(key, name) {
                return Err(bad(&field, format!("is the key of {other} as well")));
            }
        }
        Ok(())
    }

    fn check_ranges(&self) -> Result<(), ConfigError> {
        let hour = 3_600_000;
        let rules = [
            (
                (64 << 10..=64 << 20).contains(&self.api.body_bytes_max),
                "api.body_bytes_max",
                "must be from 65536 to 67108864",
            ),
            (
                (1..=65_536).contains(&self.api.requests_max),
                "api.requests_max",
                "must be from 1 to 65536",
            ),
            (
                (1..=65_536).contains(&self.api.connections_max),
                "api.connections_max",
                "must be from 1 to 65536",
            ),
            (
                (1..=65_536).contains(&self.api.streams_max),
                "api.streams_max",
                "must be from 1 to 65536",
            ),
            (
                (1..=10_000_000).contains(&self.storage.snapshot_every_blocks),
                "storage.snapshot_every_blocks",
                "must be from 1 to 10000000",
            ),
            (
                self.storage.snapshot_after_blocks >= 1,
                "storage.snapshot_after_blocks",
                "must be at least 1",
            ),
            (
                (1..=hour).contains(&self.consensus.timeout_base_ms),
                "consensus.timeout_base_ms",
                "must be from 1 to 3600000",
            ),
            (
                (self.consensus.timeout_base_ms..=hour).contains(&self.consensus.timeout_max_ms),
                "consensus.timeout_max_ms",
                "must be from timeout_base_ms to 3600000",
            ),
            (
                (1..=16_777_216).contains(&self.pool.transactions_max),
                "pool.transactions_max",
                "must be from 1 to 16777216",
            ),
            (
                (65_536..=8 << 30).contains(&self.pool.bytes_max),
                "pool.bytes_max",
                "must be from 65536 to 8589934592",
            ),
            (
                self.pool.per_account_max >= 1,
                "pool.per_account_max",
                "must be at least 1",
            ),
            (
                self.pool.gather_ms <= 10_000,
                "pool.gather_ms",
                "must be at most 10000",
            ),
            (
                self.verification.threads <= 256,
                "verification.threads",
                "must be at most 256",
            ),
        ];
        match rules.into_iter().find(|(is_met, ..)| !is_met) {
            Some((_, field, problem)) => Err(bad(field, problem)),
            None => Ok(()),
        }
    }

    fn consensus_config(&self) -> fbpbft::Config {
        fbpbft::Config {
            timeout_base: Duration::from_millis(self.consensus.timeout_base_ms),
            timeout_max: Duration::from_millis(self.consensus.timeout_max_ms),
            ..fbpbft::Config::default()
        }
    }

    /// Parameters of the replica.
    pub fn replica_config(&self) -> polity_replica::Config {
        polity_replica::Config {
            consensus: self.consensus_config(),
            pool: PoolConfig {
                count_max: self.pool.transactions_max,
                bytes_max: self.pool.bytes_max,
                per_account_max: self.pool.per_account_max,
            },
            gather: Duration::from_millis(self.pool.gather_ms),
            snapshot_after: self.storage.snapshot_after_blocks,
            ..polity_replica::Config::default()
        }
    }

    /// Parameters of the links: lanes that can carry the blocks of this federation.
    pub fn transport_limits(&self, genesis: &Genesis) -> transport::Limits {
        let mut limits = transport::Limits::default();
        let message = genesis
            .consensus_config(&self.consensus_config())
            .message_bytes_max();
        for lane in [Lane::Blocks, Lane::Sync] {
            let lane = &mut limits.lanes[lane as usize];
            lane.frame_bytes_max = lane.frame_bytes_max.max(message);
            lane.queue_bytes_max = lane.queue_bytes_max.max(2 * message);
            lane.inbox_bytes_max = lane.inbox_bytes_max.max(2 * message);
        }
        limits
    }

    /// Threads that verify transactions.
    pub fn verification_threads(&self) -> usize {
        match self.verification.threads {
            0 => std::thread::available_parallelism()
                .map_or(1, usize::from)
                .min(4),
            threads => threads,
        }
    }
}

/// Largest block that fits a journal record.
pub const BLOCK_BYTES_MAX: u64 = RECORD_BYTES_MAX as u64 - 1024;

/// A name as a key or string of TOML.
fn toml_key(name: &str) -> String {
    toml::Value::String(name.to_owned()).to_string()
}

/// Reads a text file of bounded size.
pub(crate) fn read_text(path: &Path, bytes_max: u64) -> Result<String, ConfigError> {
    use std::io::Read as _;
    let error = |source| ConfigError::Read {
        path: path.display().to_string(),
        source,
    };
    let file = std::fs::File::open(path).map_err(error)?;
    let mut text = String::new();
    file.take(bytes_max.saturating_add(1))
        .read_to_string(&mut text)
        .map_err(error)?;
    if text.len() as u64 > bytes_max {
        let reason = format!("the file is longer than {bytes_max} bytes");
        return Err(error(std::io::Error::other(reason)));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::federation::{GENESIS_FILE, Plan, found, load_genesis};
    use crate::scratch::Scratch;
    use polity_types::Time;
    use rstest::rstest;

    /// The configuration and genesis of a fresh federation.
    fn fresh() -> (Scratch, NodeConfig, Genesis) {
        let scratch = Scratch::new();
        let members = ["thor", "sprout", "legion", "platform2"].map(str::to_owned);
        let plan = Plan::local(members.to_vec(), 7_100, Time::from_millis(1)).unwrap();
        let directory = scratch.path().join("fed");
        found(&directory, &plan).unwrap();
        let node = directory.join("thor");
        let config = NodeConfig::load(&node.join(FILE_NAME)).unwrap();
        let genesis = load_genesis(&node.join(GENESIS_FILE)).unwrap();
        (scratch, config, genesis)
    }

    #[test]
    fn a_fresh_configuration_is_sound_and_its_file_says_the_same() {
        let (_scratch, config, genesis) = fresh();
        assert_eq!(config.check(&genesis).unwrap(), ReplicaId::new(0));
        assert_eq!(NodeConfig::parse(&config.to_text()), Ok(config.clone()));
        // Every field of the file is explained.
        let text = config.to_text();
        for line in text.lines().filter(|line| line.contains(" = ")) {
            let name = line.split(" = ").next().unwrap();
            assert!(text.contains(name));
        }
    }

    #[rstest]
    #[case::name("name = \"thor\"", "name = \"loki\"", "`name`")]
    #[case::body(
        "body_bytes_max = 4194304",
        "body_bytes_max = 1",
        "`api.body_bytes_max`"
    )]
    #[case::requests("requests_max = 256", "requests_max = 0", "`api.requests_max`")]
    #[case::connections(
        "connections_max = 512",
        "connections_max = 0",
        "`api.connections_max`"
    )]
    #[case::streams("streams_max = 64", "streams_max = 0", "`api.streams_max`")]
    #[case::snapshot(
        "snapshot_every_blocks = 1000",
        "snapshot_every_blocks = 0",
        "`storage.snapshot_every_blocks`"
    )]
    #[case::snapshot_after(
        "snapshot_after_blocks = 1000",
        "snapshot_after_blocks = 0",
        "`storage.snapshot_after_blocks`"
    )]
    #[case::base(
        "timeout_base_ms = 1000",
        "timeout_base_ms = 0",
        "`consensus.timeout_base_ms`"
    )]
    #[case::max(
        "timeout_max_ms = 60000",
        "timeout_max_ms = 10",
        "`consensus.timeout_max_ms`"
    )]
    #[case::count(
        "transactions_max = 65536",
        "transactions_max = 0",
        "`pool.transactions_max`"
    )]
    #[case::bytes("\nbytes_max = 67108864", "\nbytes_max = 1", "`pool.bytes_max`")]
    #[case::account(
        "per_account_max = 16384",
        "per_account_max = 0",
        "`pool.per_account_max`"
    )]
    #[case::gather("gather_ms = 1", "gather_ms = 60000", "`pool.gather_ms`")]
    #[case::threads("threads = 0", "threads = 1000", "`verification.threads`")]
    #[case::number("name = \"thor\"", "name = \"thor\"\nreplica = 1", "`replica`")]
    #[case::no_name("\"sprout\" = ", "\"\" = ", "`network.peers.`")]
    #[case::own_peer("\"sprout\" = ", "\"thor\" = ", "`network.peers.thor`")]
    #[case::unknown_field("gather_ms = 1", "gahter_ms = 1", "gahter_ms")]
    #[case::unknown_table("[storage]", "[storing]", "storing")]
    #[case::address("127.0.0.1:7200", "nowhere", "listen")]
    #[case::type_of("threads = 0", "threads = \"two\"", "threads")]
    #[case::syntax("[storage]", "[storage", "storage")]
    fn a_field_that_makes_no_sense_is_named(
        #[case] from: &str,
        #[case] to: &str,
        #[case] named: &str,
    ) {
        let (_scratch, config, genesis) = fresh();
        let text = config.to_text();
        assert!(text.contains(from), "{from:?} is not in {text}");
        let message = match NodeConfig::parse(&text.replacen(from, to, 1)) {
            Err(message) => message,
            Ok(config) => config.check(&genesis).unwrap_err().to_string(),
        };
        assert!(
            message.contains(named),
            "{message:?} does not name {named:?}"
        );
    }

    #[test]
    fn a_node_that_joins_later_says_its_number() {
        let (_scratch, mut config, genesis) = fresh();
        config.name = "frey".to_owned();
        config.replica = Some(ReplicaId::new(4));
        config
            .network
            .peers
            .insert("thor".to_owned(), "127.0.0.1:1".parse().unwrap());
        assert_eq!(config.check(&genesis).unwrap(), ReplicaId::new(4));
        assert_eq!(NodeConfig::parse(&config.to_text()), Ok(config.clone()));
        // Who left and who comes later is known to the chain, not to the genesis.
        config.network.peers.remove("legion");
        let loki = ("loki".to_owned(), "127.0.0.1:2".parse().unwrap());
        config.network.peers.extend([loki]);
        config.check(&genesis).unwrap();
    }

    #[rstest]
    #[case::member_key("\"name\": \"thor\"", "\"name\": \"sprout\"", "members")]
    #[case::weight("\"weight\": 1", "\"weight\": 0", "members")]
    #[case::unknown_field("\"start\":", "\"begin\":", "begin")]
    #[case::horizon(
        "\"validity_horizon\": 1000",
        "\"validity_horizon\": 0",
        "validity_horizon"
    )]
    #[case::threshold("\"threshold\": 1", "\"threshold\": 2", "authority.threshold")]
    #[case::tier("\"votes\": \"ed25519\"", "\"votes\": \"stub\"", "tiers.votes")]
    #[case::drift("\"drift_max_ms\": 30000", "\"drift_max_ms\": 1", "drift_max_ms")]
    #[case::block(
        "\"block_bytes_max\": 2097152",
        "\"block_bytes_max\": 5",
        "block_bytes_max"
    )]
    #[case::syntax("{", "", "genesis.json")]
    fn a_genesis_that_makes_no_sense_names_its_field(
        #[case] from: &str,
        #[case] to: &str,
        #[case] named: &str,
    ) {
        let (scratch, ..) = fresh();
        let path = scratch.path().join("fed").join(GENESIS_FILE);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from:?} is not in the genesis");
        std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let message = load_genesis(&path).unwrap_err().to_string();
        assert!(
            message.contains(named),
            "{message:?} does not name {named:?}"
        );
    }

    #[test]
    fn a_block_that_fits_no_record_is_refused() {
        let (_scratch, config, mut genesis) = fresh();
        genesis.consensus.block_bytes_max = BLOCK_BYTES_MAX + 1;
        let message = config.check(&genesis).unwrap_err().to_string();
        assert!(message.contains("consensus.block_bytes_max"), "{message}");
        genesis.consensus.block_bytes_max = BLOCK_BYTES_MAX;
        config.check(&genesis).unwrap();
        let limits = config.transport_limits(&genesis);
        let block = usize::try_from(BLOCK_BYTES_MAX).unwrap();
        assert!(limits.lanes[Lane::Blocks as usize].frame_bytes_max > block);
    }
}
