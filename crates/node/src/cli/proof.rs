//! `polity proof`: fetch and check.

use super::client::encode_path;
use super::{Failure, Output, Target};
use crate::client::Client;
use crate::proof::{Proof, ProofFile, ProofFileError, Proven};
use crate::view::Epochs;
use crate::wallet::wait_final;
use clap::{Args, Subcommand};
use polity_consensus::light::EpochEnd;
use polity_ledger::{Address, LockId, TransactionId};
use polity_types::Epoch;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(super) const EXAMPLES: &str = "Examples:
  polity proof account alice@thor --out alice.json --dir fed
  polity proof transaction ID --out transfer.json --dir fed
  polity proof check alice.json --genesis fed/genesis.json

Checking needs no node: it trusts the genesis alone.";

/// `polity proof`
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    command: ProofCommand,
}

#[derive(Debug, Subcommand)]
enum ProofCommand {
    /// Fetch a proof of an account's balance
    Account {
        /// The account
        address: Address,
        #[command(flatten)]
        fetch: Fetch,
    },
    /// Fetch a proof of a lock
    Lock {
        /// The lock
        id: LockId,
        #[command(flatten)]
        fetch: Fetch,
    },
    /// Fetch a proof of what became of a transaction
    Transaction {
        /// The transaction
        id: TransactionId,
        #[command(flatten)]
        fetch: Fetch,
    },
    /// Check a proof offline
    Check {
        /// The proof
        file: PathBuf,
        /// The genesis to trust
        #[arg(long, value_name = "FILE")]
        genesis: PathBuf,
    },
}

impl ProofCommand {
    fn fetch(&self) -> Option<&Fetch> {
        match self {
            Self::Account { fetch, .. }
            | Self::Lock { fetch, .. }
            | Self::Transaction { fetch, .. } => Some(fetch),
            Self::Check { .. } => None,
        }
    }
}

impl Fetch {
    /// Refuses to overwrite a file, before any node is asked.
    fn check_free(&self) -> Result<(), Failure> {
        if self.force || !self.out.exists() {
            return Ok(());
        }
        Err(Failure::usage(format!(
            "{} exists; choose another file, or add --force to replace it",
            self.out.display()
        )))
    }
}

#[derive(Debug, Args)]
struct Fetch {
    /// Where the proof goes
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    target: Target,
}

pub(super) fn main(options: &Options, output: Output) -> Result<(), Failure> {
    if let Some(fetch) = options.command.fetch() {
        fetch.check_free()?;
    }
    let (fetch, mut client, proof) = match &options.command {
        ProofCommand::Check { file, genesis } => return check(file, genesis, output),
        ProofCommand::Account { address, fetch } => {
            let (mut client, _) = fetch.target.connect()?;
            let path = format!("/v1/accounts/{}/proof", encode_path(address.as_str()));
            let proof = Proof::Account(client.get(&path)?);
            (fetch, client, proof)
        }
        ProofCommand::Lock { id, fetch } => {
            let (mut client, _) = fetch.target.connect()?;
            let proof = Proof::Lock(client.get(&format!("/v1/locks/{id}/proof"))?);
            (fetch, client, proof)
        }
        ProofCommand::Transaction { id, fetch } => {
            let (mut client, _) = fetch.target.connect()?;
            let found = wait_final(&mut client, *id, Duration::from_secs(10))?;
            let proof = found.and_then(|found| found.proof).ok_or_else(|| {
                Failure::failed("the transaction is unknown or not final yet; ask again later")
            })?;
            (fetch, client, Proof::Transaction(proof))
        }
    };
    let ends = ends_before(&mut client, proof.finality().header.epoch)?;
    let proof = ProofFile { proof, ends };
    std::fs::write(&fetch.out, proof.to_text()).map_err(|error| {
        Failure::failed(format!("cannot write {}: {error}", fetch.out.display()))
    })?;
    output.show(&json!({ "out": fetch.out }), |_| {
        format!("proof written to {}", fetch.out.display())
    });
    Ok(())
}

/// Ends of epochs before one: the first, and those after which the committee was another one.
fn ends_before(client: &mut Client, epoch: Epoch) -> Result<Vec<EpochEnd>, Failure> {
    let mut ends: Vec<EpochEnd> = Vec::new();
    let mut next = Epoch::ZERO;
    while next < epoch {
        let page: Epochs = client.get(&format!("/v1/epochs?from={next}"))?;
        let before = next;
        for end in page.ends {
            if next >= epoch || end.last.header.epoch != next {
                break;
            }
            next = next.next();
            if ends.last().is_none_or(|last| last.next != end.next) {
                ends.push(end);
            }
        }
        if next == before {
            return Err(Failure::failed(format!(
                "the node does not know how epoch {next} ended, which the proof needs; ask another node"
            )));
        }
    }
    Ok(ends)
}

fn check(file: &Path, genesis: &Path, output: Output) -> Result<(), Failure> {
    let proof = ProofFile::load(file).map_err(fail)?;
    let proven = proof.check(genesis).map_err(fail)?;
    output.show(
        &json!({ "ok": true, "proven": proven }),
        |_| match &proven {
            Proven::Account(account) => format!(
                "The proof holds: after block {}, {} has {} ATP, of which {} are locked.",
                account.height, account.address, account.total, account.locked
            ),
            Proven::Lock { lock, height } => format!(
                "The proof holds: after block {height}, lock {} of {} ATP from {} to {} is {:?}.",
                lock.id, lock.amount, lock.from, lock.to, lock.state
            ),
            Proven::Transaction(receipt) => match &receipt.reason {
                None => format!(
                    "The proof holds: transaction {} was applied in block {}.",
                    receipt.id, receipt.height
                ),
                Some(reason) => format!(
                    "The proof holds: transaction {} was refused in block {}: {reason}.",
                    receipt.id, receipt.height
                ),
            },
        },
    );
    Ok(())
}

fn fail(error: ProofFileError) -> Failure {
    match error {
        ProofFileError::End { .. }
        | ProofFileError::Certificate { .. }
        | ProofFileError::Claim(_) => Failure::failed(error),
        ProofFileError::Federation(_) | ProofFileError::Format { .. } => Failure::usage(error),
    }
}
