//! `polity join` and `polity rejoin`: how a node comes to a federation, and back with a new key.

use super::{Failure, Output};
use crate::config::{self, NodeConfig};
use crate::driver::now;
use crate::federation::{
    CLEARING, GENESIS_FILE, create_private, genesis_text, load_genesis, write_new,
};
use crate::rejoin::{RejoinError, Rejoined, rejoin as give_up};
use clap::Args;
use polity_replica::Genesis;
use polity_types::ReplicaId;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub(super) const JOIN_EXAMPLES: &str = "Examples:
  polity join frey --replica 4 --genesis genesis.json --listen 10.0.0.5:7100 \\
      --peer thor=10.0.0.1:7100 --peer sprout=10.0.0.2:7100 --peer legion=10.0.0.3:7100
  polity join frey --replica 4       the directory has genesis.json and node.toml already

It makes the directory with node.toml, a key and an empty journal, and says what the authority runs and
what the other members add. The node follows, and votes from the epoch on in which it is a member.";

pub(super) const REJOIN_EXAMPLES: &str = "Examples:
  polity rejoin fed/sprout                a member whose journal was lost

Nothing is deleted: the old key, journal and index go into a directory of their own. The node then
follows, and votes from the epoch on in which the authority has put its new key into the committee.";

/// Where a node listens for clients if nothing is said.
const DEFAULT_API: &str = "127.0.0.1:7200";

/// `polity join`
#[derive(Debug, Args)]
pub(super) struct Join {
    /// The node's data directory; made if it is missing
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Number of the member: one that nobody has, see `polity committee show`
    #[arg(long, value_name = "NUMBER")]
    replica: Option<u32>,
    /// Even if the directory has a node that could go on, or the number is another member's
    #[arg(long)]
    force: bool,
    /// The genesis of the federation; without it the one in DIR
    #[arg(long, value_name = "FILE")]
    genesis: Option<PathBuf>,
    /// Name of the member; without it that of the directory
    #[arg(long)]
    name: Option<String>,
    /// UDP address on which the other members reach this node
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<SocketAddr>,
    /// TCP address of the HTTP interface; without it 127.0.0.1:7200
    #[arg(long, value_name = "HOST:PORT")]
    api: Option<SocketAddr>,
    /// Where another member listens; once for each
    #[arg(long = "peer", value_name = "NAME=HOST:PORT")]
    peers: Vec<Peer>,
}

/// `thor=10.0.0.1:7100`
#[derive(Clone, Debug)]
struct Peer {
    name: String,
    address: SocketAddr,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('=');
        let parsed = parts.and_then(|(name, address)| {
            let (name, address) = (name.to_owned(), address.parse().ok()?);
            Some(Self { name, address })
        });
        parsed.ok_or_else(|| {
            "a member is written NAME=HOST:PORT, such as thor=10.0.0.1:7100".to_owned()
        })
    }
}

impl Join {
    /// Whether something is said that goes into a new `node.toml`.
    fn is_described(&self) -> bool {
        self.genesis.is_some()
            || self.name.is_some()
            || self.listen.is_some()
            || self.api.is_some()
            || !self.peers.is_empty()
    }

    /// Writes `genesis.json` and `node.toml` if the directory has none.
    fn prepare(&self) -> Result<(), Failure> {
        let config_path = self.directory.join(config::FILE_NAME);
        if config_path.exists() {
            if self.is_described() {
                return Err(Failure::usage(format!(
                    "{} exists: change it there, and say only --replica here",
                    config_path.display()
                )));
            }
            return Ok(());
        }
        let own_genesis = self.directory.join(GENESIS_FILE);
        let genesis = load_genesis(self.genesis.as_ref().unwrap_or(&own_genesis))?;
        let config = self.config(&genesis)?;
        config.check(&genesis).map_err(Failure::usage)?;
        // From here on files are made.
        if !self.directory.exists() {
            create_private(&self.directory)?;
        }
        if !own_genesis.exists() {
            write_new(&own_genesis, genesis_text(&genesis).as_bytes())?;
        } else if load_genesis(&own_genesis)? != genesis {
            return Err(Failure::usage(format!(
                "{} is another genesis than the one named with --genesis; choose another directory",
                own_genesis.display()
            )));
        }
        write_new(&config_path, config.to_text().as_bytes())?;
        Ok(())
    }

    /// The configuration of the new node: what is said here, and else what is usual.
    fn config(&self, genesis: &Genesis) -> Result<NodeConfig, Failure> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => self
                .directory
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .ok_or_else(|| Failure::usage("say the name of the member with --name"))?,
        };
        let listen = self.listen.ok_or_else(|| {
            Failure::usage(format!(
                "{} has no node.toml: say with --listen HOST:PORT where the other members reach this node",
                self.directory.display()
            ))
        })?;
        if self.peers.is_empty() {
            let members: Vec<&str> = genesis.members.iter().map(|m| m.name.as_str()).collect();
            return Err(Failure::usage(format!(
                "say with --peer NAME=HOST:PORT where the other members listen; those of the genesis are {}",
                members.join(", ")
            )));
        }
        let peers: BTreeMap<&str, SocketAddr> = self
            .peers
            .iter()
            .map(|peer| (peer.name.as_str(), peer.address))
            .collect();
        let api = self
            .api
            .map_or_else(|| DEFAULT_API.to_owned(), |api| api.to_string());
        let mut said = json!({
            "name": name,
            "network": { "listen": listen, "peers": peers },
            "api": { "listen": api },
        });
        if let Some(number) = self.replica {
            said["replica"] = number.into();
        }
        // Whatever is not said has its default.
        serde_json::from_value(said).map_err(Failure::usage)
    }
}

pub(super) fn join(options: &Join, output: Output) -> Result<(), Failure> {
    options.prepare()?;
    begin(
        &options.directory,
        options.replica,
        options.force,
        true,
        output,
    )
}

/// `polity rejoin`
#[derive(Debug, Args)]
pub(super) struct Rejoin {
    /// The node's data directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Number of the member, if neither genesis.json nor node.toml says it
    #[arg(long, value_name = "NUMBER")]
    replica: Option<u32>,
    /// Even if the node could go on as it is, or the number is another member's
    #[arg(long)]
    force: bool,
}

pub(super) fn rejoin(options: &Rejoin, output: Output) -> Result<(), Failure> {
    begin(
        &options.directory,
        options.replica,
        options.force,
        false,
        output,
    )
}

#[derive(Serialize)]
struct Shown {
    name: String,
    replica: ReplicaId,
    key: String,
    /// What the other members write into `[network.link_keys]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    link_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    set_aside: Option<PathBuf>,
    /// What the authority has to run.
    command: String,
    /// Where the other members reach it, for `[network.peers]`.
    listen: SocketAddr,
}

/// Gives a node a new key and an empty journal. One that `is_new` has no weight and no account yet.
fn begin(
    directory: &Path,
    number: Option<u32>,
    is_forced: bool,
    is_new: bool,
    output: Output,
) -> Result<(), Failure> {
    let result = give_up(directory, number.map(ReplicaId::new), is_forced, now());
    let rejoined = result.map_err(|error| match &error {
        RejoinError::Config(_) | RejoinError::OtherMember { .. } => Failure::usage(error),
        RejoinError::Federation(cause) if cause.is_usage() => Failure::usage(error),
        _ => Failure::failed(error),
    })?;
    let Rejoined {
        name,
        number,
        key,
        link_key,
        set_aside,
        is_founder,
    } = rejoined;
    let config = NodeConfig::load(&directory.join(config::FILE_NAME)).map_err(Failure::usage)?;
    let mut command = format!("polity committee set {name} --replica {number} --key {key}");
    if is_new && !is_founder {
        let genesis = load_genesis(&directory.join(GENESIS_FILE))?;
        let platform = genesis.ledger.platforms.first();
        let platform = platform.map_or("PLATFORM", |platform| platform.name.as_str());
        command += &format!(" --weight 1 --fee-account {CLEARING}@{platform}");
    }
    command += " --dir FEDERATION";
    let shown = Shown {
        command,
        listen: config.network.listen,
        name,
        replica: number,
        link_key: (link_key != key).then(|| link_key.to_string()),
        key: key.to_string(),
        set_aside,
    };
    output.show(&shown, |shown| {
        let mut text = String::new();
        if let Some(place) = &shown.set_aside {
            text += &format!(
                "The old key and what was there of journal and index are in {}.\n\
                 The old key never signs again; keep the directory as evidence, or delete it.\n\n",
                place.display()
            );
        }
        text += &format!(
            "{} is replica {} with the new key {}.\n\
             Start it now with\n\n  polity run {}\n\n\
             It follows, and votes from the next epoch on once the authority has run\n\n  {}\n",
            shown.name,
            shown.replica,
            shown.key,
            directory.display(),
            shown.command
        );
        if let Some(key) = &shown.link_key {
            text += &format!(
                "\nThe other members let it in with this line under [network.link_keys] of their node.toml:\n\n  {} = \"{key}\"\n",
                shown.name
            );
        }
        if !is_founder {
            text += &format!(
                "\nThe other members find it with this line under [network.peers] of their node.toml:\n\n  {} = \"{}\"\n",
                shown.name, shown.listen
            );
        }
        text
    });
    Ok(())
}
