//! `polity demo`: a federation of four real processes on this machine.
//!
//! Without a file it tells a story: a transfer in two phases, a node that is killed in the middle of
//! the next one and catches up, and a double spend that is refused. With a file it carries out the
//! payment orders in it. Either way every node has to end with the same roots, the supply has to be
//! what it was, a finality proof has to hold offline, and so does each data directory.

pub(crate) mod orders;
mod run_orders;
mod story;

use crate::audit::{Audited, audit};
use crate::cli::{Failure, Output, code};
use crate::client::ClientError;
use crate::cluster::{Cluster, ClusterError, WorkDirectory, interrupt_on_signals};
use crate::config;
use crate::driver::now;
use crate::federation::{FederationError, Plan};
use crate::proof::{Proof, ProofFile};
use crate::signing::{Provider, parse_provider, parse_tier};
use crate::table::{Table, short};
use crate::view::Status;
use crate::wallet::BuildError;
use clap::Args;
use orders::{Orders, Refused};
use polity_crypto::Tier;
use polity_types::Amount;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::time::Instant;

pub(crate) const EXAMPLES: &str = "Examples:
  polity demo
  polity demo --keep fed && polity verify fed
  polity demo --tier hybrid
  polity demo --orders payment-orders.csv --limit 100 --json

A file of orders has the columns order_id,from_account,to_bank,to_account,amount. Each row is a LOCK
and a COMMIT from from_account@home to to_account@to_bank.";

/// The members of the demo.
pub(crate) const MEMBERS: [&str; 4] = ["thor", "sprout", "legion", "platform2"];

/// `polity demo`
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Keep the federation's files in this directory, which must be missing or empty
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Carry out the payment orders of a file instead of telling the story
    #[arg(long, value_name = "FILE.csv")]
    orders: Option<PathBuf>,
    /// Take only so many rows of the file
    #[arg(long, value_name = "NUMBER", requires = "orders")]
    limit: Option<usize>,
    /// Tier of all keys, below which no vote and no transaction is accepted: ed25519 or hybrid. With
    /// hmac keys are ed25519, and frames of links bear authenticators under a common secret as well
    #[arg(long, default_value = "ed25519", value_name = "TIER", value_parser = parse_tier)]
    tier: Tier,
    /// Library of the nodes' signatures: rust or aws-lc
    #[arg(long, default_value = "rust", value_name = "NAME", value_parser = parse_provider)]
    provider: Provider,
}

/// Why the demo ends early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    /// The processes.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A transaction cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A check did not hold; the report says which.
    #[error("{0}")]
    Check(String),
}

impl From<ClientError> for DemoError {
    fn from(error: ClientError) -> Self {
        Self::Cluster(error.into())
    }
}

/// One step and whether it did what it should.
#[derive(Clone, Debug, Serialize)]
struct Step {
    name: String,
    ok: bool,
    detail: String,
}

/// Everything that happened.
#[derive(Debug, Default, Serialize)]
struct Report {
    ok: bool,
    steps: Vec<Step>,
    /// Transactions that were applied; with a file, orders that were carried out.
    accepted: usize,
    /// Transactions or orders that were refused.
    refused: usize,
    /// What the accounts of each bank hold in the end, by bank code in lower case.
    banks: BTreeMap<String, Amount>,
    /// Why orders were refused, by line.
    refusals: Vec<Refused>,
    /// Height of the last block.
    height: u64,
    /// State root of every node in the end.
    state_root: String,
    /// How long everything took.
    elapsed_ms: u128,
}

/// A running demo.
struct Scene {
    cluster: Cluster,
    report: Report,
    output: Output,
}

impl Scene {
    /// Notes a step that held.
    fn passed(&mut self, name: &str, detail: String) {
        self.output.note(&format!("ok  {name}: {detail}"));
        self.report.steps.push(Step {
            name: name.to_owned(),
            ok: true,
            detail,
        });
    }

    /// Notes a check; a failed one ends the demo.
    fn check(&mut self, name: &str, holds: bool, detail: String) -> Result<(), DemoError> {
        if holds {
            self.passed(name, detail);
            return Ok(());
        }
        Err(DemoError::Check(format!("{name}: {detail}")))
    }

    /// Waits until all running nodes agree, and shows where they stand.
    fn agree(&mut self) -> Result<Vec<Status>, DemoError> {
        let statuses = self.cluster.wait_settled(0)?;
        if !self.output.is_json {
            let mut table = Table::new(&["node", "height", "state root"]);
            for status in &statuses {
                table.row(&[
                    &status.name,
                    &status.height.to_string(),
                    &short(&status.state_root),
                ]);
            }
            self.output.note(&table.to_string());
        }
        Ok(statuses)
    }

    /// Ends the nodes in order, and checks every data directory offline.
    fn close(&mut self, supply: Amount, root: &std::path::Path) -> Result<Vec<Audited>, DemoError> {
        let statuses = self.cluster.wait_settled(0)?;
        let first = &statuses[0];
        self.report.height = first.height.get();
        self.report.state_root = first.state_root.to_string();
        let detail = format!(
            "{} nodes at height {} with state root {}",
            statuses.len(),
            first.height,
            first.state_root
        );
        let is_same = statuses.len() == MEMBERS.len()
            && statuses
                .iter()
                .all(|status| status.state_root == first.state_root && status.block == first.block);
        let conserved = first.supply_total;
        self.check("equal roots on all nodes", is_same, detail)?;
        self.check(
            "conservation",
            conserved == supply,
            format!("the supply is {conserved} ATP, as in the genesis"),
        )?;
        self.cluster.stop()?;
        let audited = audit(root, None, |_, _| {})
            .map_err(|error| DemoError::Check(format!("offline audit: {error}")))?;
        let holds = audited.len() == MEMBERS.len()
            && audited.iter().all(|audited| {
                let held: u128 = audited.ledger.accounts().map(|a| a.total.units()).sum();
                audited.state_root.to_string() == self.report.state_root && held == supply.units()
            });
        let transactions = audited.first().map_or(0, |audited| audited.transactions);
        self.check(
            "offline audit",
            holds,
            format!(
                "{} data directories hold the same {} blocks and {transactions} transactions; every certificate and signature was checked again",
                audited.len(),
                self.report.height
            ),
        )?;
        Ok(audited)
    }

    /// Fetches a proof of a transaction from a node and checks it without the node.
    fn check_proof(&mut self, id: polity_ledger::TransactionId) -> Result<(), DemoError> {
        let mut client = self.cluster.client(1);
        let found = crate::wallet::wait_final(&mut client, id, std::time::Duration::from_secs(30))?;
        let proof = found.and_then(|found| found.proof).ok_or_else(|| {
            DemoError::Check(format!("finality proof: none for transaction {id}"))
        })?;
        let members = proof.finality.certificate.votes.signers.as_slice().iter();
        let signers: u32 = members.map(|byte| byte.count_ones()).sum();
        // Through its text, as a client would keep it.
        let file = ProofFile {
            proof: Proof::Transaction(proof),
            ends: Vec::new(),
        };
        let text = file.to_text();
        let read: ProofFile = serde_json::from_str(&text)
            .map_err(|error| DemoError::Check(format!("finality proof: {error}")))?;
        let proven = read.check_with(&self.cluster.founded.genesis);
        let holds = matches!(
            &proven,
            Ok(crate::proof::Proven::Transaction(receipt)) if receipt.id == id
        );
        self.check(
            "finality proof",
            holds,
            format!(
                "transaction {} is final by the signatures of {signers} of {} members, checked with the genesis alone",
                short(&id),
                MEMBERS.len()
            ),
        )
    }
}

/// The federation of the demo.
fn plan() -> Result<Plan, FederationError> {
    let members = MEMBERS.iter().map(|name| (*name).to_owned()).collect();
    let mut plan = Plan::local(members, 1, now())?;
    "demo".clone_into(&mut plan.name);
    plan.consensus = config::Consensus {
        timeout_base_ms: 1_000,
        timeout_max_ms: 10_000,
    };
    Ok(plan)
}

pub(crate) fn main(options: &Options, output: Output) -> Result<(), Failure> {
    let orders = match &options.orders {
        None => None,
        Some(path) => {
            let file = File::open(path)
                .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
            let orders = Orders::read(BufReader::new(file), options.limit)
                .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
            Some(orders)
        }
    };
    let start = Instant::now();
    let program = std::env::current_exe().map_err(Failure::failed)?;
    let interrupt = interrupt_on_signals().map_err(Failure::failed)?;
    let work = WorkDirectory::new(options.keep.as_deref())?;
    let mut plan = plan().map_err(Failure::usage)?;
    plan.tier = options.tier;
    plan.provider = options.provider;
    match &orders {
        None => story::prepare(&mut plan),
        Some(orders) => run_orders::prepare(&mut plan, orders),
    }
    let supply = plan.accounts.iter().map(|a| a.balance.units()).sum();
    let supply = Amount::from_units(supply);
    output.note("starting four nodes");
    let mut report = Report::default();
    let result = Cluster::start(&program, work.path(), plan, interrupt)
        .map_err(DemoError::from)
        .and_then(|cluster| {
            let mut scene = Scene {
                cluster,
                report: Report::default(),
                output,
            };
            scene.passed(
                "start",
                format!(
                    "four processes with {}, linked with QUIC and mutual TLS: {}",
                    match options.tier {
                        Tier::Hmac => "ed25519 keys and hmac on links".to_owned(),
                        tier => format!("{} keys", tier.name()),
                    },
                    MEMBERS.join(", ")
                ),
            );
            let result = match &orders {
                None => story::tell(&mut scene, supply, work.path()),
                Some(orders) => run_orders::carry_out(&mut scene, orders, supply, work.path()),
            };
            report = std::mem::take(&mut scene.report);
            result
        });
    report.elapsed_ms = start.elapsed().as_millis();
    report.ok = result.is_ok();
    if let Err(error) = &result {
        report.steps.push(Step {
            name: "failed".to_owned(),
            ok: false,
            detail: error.to_string(),
        });
    }
    let code = match &result {
        Ok(()) => 0,
        Err(DemoError::Cluster(ClusterError::Interrupted)) => code::INTERRUPTED,
        Err(DemoError::Cluster(ClusterError::Federation(_))) => code::USAGE,
        Err(_) => code::FAILURE,
    };
    output.show(&report, |report| summary(report, options.keep.is_some()));
    match result {
        Ok(()) => Ok(()),
        // The report has said it in JSON.
        Err(_) if output.is_json => Err(Failure::new(code, "")),
        Err(error) => Err(Failure::new(code, error)),
    }
}

fn summary(report: &Report, is_kept: bool) -> String {
    let mut text = String::new();
    if !report.banks.is_empty() {
        let mut table = Table::new(&["bank", "total"]);
        for (bank, total) in &report.banks {
            table.row(&[bank, &total.to_string()]);
        }
        text += &format!("\n{table}");
    }
    for refused in report.refusals.iter().take(20) {
        text += &format!("  line {}: {}\n", refused.line, refused.reason);
    }
    if report.refusals.len() > 20 {
        text += &format!("  and {} more\n", report.refusals.len() - 20);
    }
    let verdict = if report.ok {
        "every check held"
    } else {
        "a check did not hold"
    };
    text += &format!(
        "\n{verdict}: {} accepted, {} refused, height {}, {} ms",
        report.accepted, report.refused, report.height, report.elapsed_ms
    );
    if is_kept {
        text += "\nThe files are kept: polity verify DIR checks them again.";
    }
    text
}
