//! `polity init`, `verify` and `export`.

use super::{Failure, Output, code};
use crate::audit::{Audited, VerifyError, audit, export as write_export};
use crate::driver::now;
use crate::federation::{Funded, GENESIS_FILE, Plan, found, load_genesis};
use crate::progress;
use crate::signing::parse_tier;
use crate::table::Table;
use clap::Args;
use polity_crypto::Tier;
use polity_types::Height;
use serde::Serialize;
use std::path::PathBuf;

pub(super) const INIT_EXAMPLES: &str = "Examples:
  polity init fed --platforms thor,sprout,legion,platform2
  polity init fed --platforms a,b,c,d --account alice@a=1000 --account bob@b=500 --base-port 9000

Then start each node: polity run fed/thor, polity run fed/sprout, ...
Each node's directory holds all it needs; copy it to its machine, and adapt the addresses in its node.toml.";

pub(super) const VERIFY_EXAMPLES: &str = "Examples:
  polity verify fed
  polity verify fed/thor --json
  polity verify chain.polity --genesis fed/genesis.json";

pub(super) const EXPORT_EXAMPLES: &str = "Examples:
  polity export fed/thor --out chain.polity";

/// `polity init`
#[derive(Debug, Args)]
pub(super) struct Init {
    /// Directory of the federation; missing or empty
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Names of the members: each is a platform and runs a node
    #[arg(long, value_delimiter = ',', required = true, value_name = "NAME,...")]
    platforms: Vec<String>,
    /// An account of the genesis and what it holds
    #[arg(long = "account", value_name = "AGENT@PLATFORM=AMOUNT")]
    accounts: Vec<Funded>,
    /// Name of the federation
    #[arg(long, default_value = "polity")]
    name: String,
    /// First UDP port of the nodes; their HTTP interfaces are 100 above
    #[arg(long, default_value_t = 7100)]
    base_port: u16,
    /// Tier of all keys, below which no vote and no transaction is accepted: ed25519 or hybrid. With
    /// hmac keys are ed25519, and frames of links bear authenticators under a common secret as well
    #[arg(long, default_value = "ed25519", value_name = "TIER", value_parser = parse_tier)]
    tier: Tier,
}

#[derive(Serialize)]
struct Made {
    directory: PathBuf,
    chain: String,
    nodes: Vec<MadeNode>,
}

#[derive(Serialize)]
struct MadeNode {
    name: String,
    directory: PathBuf,
    listen: String,
    api: String,
}

pub(super) fn init(options: &Init, output: Output) -> Result<(), Failure> {
    let mut plan = Plan::local(options.platforms.clone(), options.base_port, now())?;
    plan.name.clone_from(&options.name);
    plan.tier = options.tier;
    plan.accounts.clone_from(&options.accounts);
    let founded = found(&options.directory, &plan)?;
    let chain = founded.genesis.chain().map_err(Failure::failed)?;
    let made = Made {
        directory: options.directory.clone(),
        chain: chain.id().to_string(),
        nodes: plan
            .members
            .iter()
            .zip(&founded.nodes)
            .zip(&plan.addresses)
            .map(|((name, directory), (listen, api))| MadeNode {
                name: name.clone(),
                directory: directory.clone(),
                listen: listen.to_string(),
                api: api.to_string(),
            })
            .collect(),
    };
    output.show(&made, |made| {
        let mut table = Table::new(&["node", "members (QUIC)", "clients (HTTP)", "start with"]);
        for node in &made.nodes {
            let start = format!("polity run {}", node.directory.display());
            table.row(&[&node.name, &node.listen, &node.api, &start]);
        }
        let mut text = format!("chain {}\n\n{table}", made.chain);
        let count = made.nodes.len();
        // Members have equal weights, and less than a third of them may be faulty.
        if count < 4 {
            text += &format!(
                "\nNo fault is tolerated: a federation goes on without one faulty member from 4 members on, and this one has {count}."
            );
        }
        text
    });
    Ok(())
}

/// `polity verify`
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// A data directory, a federation with several of them, or an exported chain
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// The genesis to trust; needed for an exported chain, otherwise each directory's own
    #[arg(long, value_name = "FILE")]
    genesis: Option<PathBuf>,
}

#[derive(Serialize)]
struct Verified {
    ok: bool,
    chains: Vec<VerifiedChain>,
}

#[derive(Serialize)]
struct VerifiedChain {
    path: PathBuf,
    height: u64,
    transactions: u64,
    refused: u64,
    accounts: usize,
    supply: String,
    state_root: String,
    /// Heights, first and last, whose blocks are not there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing: Vec<(Height, Height)>,
    /// No block names the last state yet.
    is_claim: bool,
    /// The height up to which the index of the node knows the chain, if it could be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    indexed: Option<Height>,
    /// Why it could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_indexed: Option<String>,
}

impl From<&Audited> for VerifiedChain {
    fn from(audited: &Audited) -> Self {
        Self {
            path: audited.path.clone(),
            height: audited.height.get(),
            transactions: audited.transactions,
            refused: audited.refused,
            accounts: audited.ledger.accounts().count(),
            supply: audited.ledger.supply().total().to_string(),
            state_root: audited.state_root.to_string(),
            missing: audited.gaps.clone(),
            is_claim: audited.is_claim(),
            indexed: audited.index.height(),
            not_indexed: audited.index.silence().map(str::to_owned),
        }
    }
}

pub(super) fn verify(options: &Verify, output: Output) -> Result<(), Failure> {
    let bar = progress::counter("blocks checked", output.is_json);
    let result = audit(&options.path, options.genesis.as_deref(), |_, _| bar.inc(1));
    bar.finish_and_clear();
    let all = result?;
    let verified = Verified {
        ok: true,
        chains: all.iter().map(VerifiedChain::from).collect(),
    };
    output.show(&verified, |verified| {
        let mut table = Table::new(&[
            "chain",
            "height",
            "transactions",
            "refused",
            "accounts",
            "supply",
            "state root",
        ]);
        for chain in &verified.chains {
            table.row(&[
                &chain.path.display().to_string(),
                &chain.height.to_string(),
                &chain.transactions.to_string(),
                &chain.refused.to_string(),
                &chain.accounts.to_string(),
                &chain.supply,
                &chain.state_root,
            ]);
        }
        let mut text = format!("{table}\n");
        let highest = verified.chains.iter().map(|chain| chain.height).max();
        for chain in &verified.chains {
            let name = chain.path.display();
            if let Some(highest) = highest.filter(|highest| chain.height < *highest) {
                text += &format!(
                    "{name} ends at height {}, another one at {highest}: it was behind, or lost its end.\n",
                    chain.height
                );
            }
            // A node that never ran has no index and no end.
            if let Some(silence) = chain.not_indexed.as_ref().filter(|_| chain.height > 0) {
                text += &format!(
                    "Whether the journal of {name} lost its end cannot be seen: {silence}.\n"
                );
            }
            for (first, last) in &chain.missing {
                text += &format!(
                    "{name} holds no blocks from {first} to {last}: a snapshot took their place.\n"
                );
            }
            if chain.is_claim {
                text += &format!(
                    "No block in {name} names the state after block {} yet: it is the claim of a snapshot.\n",
                    chain.height
                );
            }
        }
        text + "Every certificate, signature, state root and the supply hold, as far as each chain goes."
    });
    Ok(())
}

impl From<VerifyError> for Failure {
    fn from(error: VerifyError) -> Self {
        if error.is_unsafe() {
            Self::new(code::SAFETY, error)
        } else if error.is_usage() {
            Self::usage(error)
        } else {
            Self::failed(error)
        }
    }
}

/// `polity export`
#[derive(Debug, Args)]
pub(super) struct Export {
    /// The data directory of a node
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The file to write; it must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(super) fn export(options: &Export, output: Output) -> Result<(), Failure> {
    let genesis = load_genesis(&options.directory.join(GENESIS_FILE)).map_err(Failure::usage)?;
    let blocks = write_export(&options.directory, &genesis, &options.out)?;
    let result = serde_json::json!({ "out": options.out, "blocks": blocks });
    output.show(&result, |_| {
        format!("{blocks} blocks written to {}", options.out.display())
    });
    Ok(())
}
