//! Commands that talk to a node: accounts, transfers, locks, status.

use super::keys::signing_key;
use super::{Failure, Output, Target, code, print};
use crate::client::{Client, ClientError, parse_address};
use crate::config::{FILE_NAME, NodeConfig};
use crate::driver::now;
use crate::federation::{CLEARING, GENESIS_FILE, key_path, load_genesis, nodes_in};
use crate::keys::SecretKey;
use crate::table::{Table, short};
use crate::view;
use crate::wallet::{Terms, sign, submit, wait_final};
use clap::Args;
use polity_ledger::{Address, Command, LockId, LockState, Reason};
use polity_types::Amount;
use serde::Serialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub(super) const ACCOUNT_EXAMPLES: &str = "Examples:
  polity account alice@thor --dir fed
  polity account alice@thor --api 127.0.0.1:7200 --json";
pub(super) const TRANSFER_EXAMPLES: &str = "Examples:
  polity transfer alice@thor bob@sprout 12.5 --dir fed
  polity transfer alice@thor bob@sprout 12.5 --api 127.0.0.1:7200 --key fed/keys/alice@thor.key";
pub(super) const LOCK_EXAMPLES: &str = "Examples:
  polity lock alice@thor bob@sprout 200 --dir fed
  polity lock alice@thor bob@sprout 200 --expires-in 600 --dir fed";
pub(super) const COMMIT_EXAMPLES: &str = "Examples:
  polity commit LOCK --dir fed                    as the payee's platform
  polity commit LOCK --amount 150 --dir fed       the rest returns to the payer
  polity commit LOCK --as alice@thor --dir fed    as the payer, the whole amount";
pub(super) const ROLLBACK_EXAMPLES: &str = "Examples:
  polity rollback LOCK --reason 'order cancelled' --dir fed";
pub(super) const STATUS_EXAMPLES: &str = "Examples:
  polity status --dir fed                 every node of the federation
  polity status --api 127.0.0.1:7200      one node";
pub(super) const WATCH_EXAMPLES: &str = "Examples:
  polity watch --dir fed
  polity watch --api 127.0.0.1:7200 --receipts --json
  polity watch --dir fed --blocks 10";

/// How long a command waits for an answer, and for finality.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a node listens if nothing is said: the first one of `polity init`.
const DEFAULT_API: &str = "127.0.0.1:7200";

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let code = match &error {
            ClientError::Address(_) => code::USAGE,
            ClientError::Connect { .. }
            | ClientError::Io { .. }
            | ClientError::Refused { status: 503, .. } => code::UNREACHABLE,
            ClientError::Protocol { .. } | ClientError::Refused { status: 404, .. } => {
                code::FAILURE
            }
            ClientError::Refused { .. } => code::REFUSED,
        };
        Self::new(code, error)
    }
}

impl Target {
    /// Addresses of the nodes: the one given, those of the directory, or the usual one.
    fn addresses(&self) -> Result<Vec<SocketAddr>, Failure> {
        if let Some(api) = &self.api {
            return Ok(vec![parse_address(api)?]);
        }
        let Some(directory) = &self.dir else {
            return Ok(vec![parse_address(DEFAULT_API)?]);
        };
        nodes_in(directory)
            .map_err(Failure::usage)?
            .iter()
            .map(|node| {
                let config = NodeConfig::load(&node.join(FILE_NAME)).map_err(Failure::usage)?;
                Ok(config.api.listen)
            })
            .collect()
    }

    /// A client of the first node that is linked to a quorum, or else of the first that answers, and what
    /// that node says about itself.
    pub(super) fn connect(&self) -> Result<(Client, view::Status), Failure> {
        let mut last = None;
        let mut unlinked = None;
        for address in self.addresses()? {
            let mut client = Client::new(address, PATIENCE);
            match client.get::<view::Status>("/v1/status") {
                Ok(status) => {
                    self.check_chain(&status)?;
                    if status.ready {
                        return Ok((client, status));
                    }
                    // It may be one that joins, or one that left.
                    unlinked = unlinked.or(Some((client, status)));
                }
                Err(error) => last = Some(error),
            }
        }
        if let Some(found) = unlinked {
            return Ok(found);
        }
        Err(last.map_or_else(|| Failure::usage("there is no node to ask"), Failure::from))
    }

    /// A node of another federation must not get transactions of this one signed for it.
    fn check_chain(&self, status: &view::Status) -> Result<(), Failure> {
        let Some(directory) = &self.dir else {
            return Ok(());
        };
        let genesis = load_genesis(&directory.join(GENESIS_FILE)).map_err(Failure::usage)?;
        let chain = genesis.chain().map_err(Failure::usage)?;
        if chain.id() == status.chain {
            return Ok(());
        }
        Err(Failure::failed(format!(
            "the node {} follows chain {}, but {} is chain {}",
            status.name,
            status.chain,
            directory.display(),
            chain.id()
        )))
    }

    /// The key to sign with: the one named, or the account's in the directory.
    fn key(&self, file: Option<&PathBuf>, account: &Address) -> Result<SecretKey, Failure> {
        let path = match (file, &self.dir) {
            (Some(file), _) => file.clone(),
            (None, Some(directory)) => key_path(directory, account),
            (None, None) => {
                return Err(Failure::usage(format!(
                    "to sign for {account}, name its key with --key FILE, or the federation with --dir DIR"
                )));
            }
        };
        signing_key(&path)
    }

    /// Signs a command, submits it and waits for its block.
    pub(super) fn carry_out(
        &self,
        key: &SecretKey,
        signer: &Address,
        command: Command,
    ) -> Result<view::ReceiptView, Failure> {
        let (mut client, status) = self.connect()?;
        let transaction =
            sign(Terms::of(&status), signer, key, command).map_err(Failure::failed)?;
        let taken = submit(&mut client, &transaction)?;
        let id = transaction.id();
        let found = wait_final(&mut client, id, PATIENCE)?;
        let receipt = found.and_then(|found| found.receipt).or(taken.receipt);
        receipt.ok_or_else(|| {
            Failure::failed(format!(
                "transaction {id} waits for a block; ask again with: polity proof transaction {id} --out FILE"
            ))
        })
    }
}

fn now_ms() -> u64 {
    now().as_millis()
}

/// Refuses amounts and addresses before anything is sent.
fn submit_and_wait(
    target: &Target,
    key_file: Option<&PathBuf>,
    signer: &Address,
    command: Command,
    output: Output,
) -> Result<(), Failure> {
    let key = target.key(key_file, signer)?;
    let receipt = target.carry_out(&key, signer, command)?;
    output.show(&receipt, |receipt| match (&receipt.reason, &receipt.lock) {
        (Some(reason), _) => format!("refused in block {}: {reason}", receipt.height),
        (None, Some(lock)) => format!(
            "locked in block {}: lock {lock}\ntransaction {}",
            receipt.height, receipt.id
        ),
        (None, None) => format!(
            "final in block {}: transaction {}",
            receipt.height, receipt.id
        ),
    });
    if receipt.applied {
        return Ok(());
    }
    // The receipt says it all.
    Err(Failure::new(code::REFUSED, ""))
}

/// `polity account`
#[derive(Debug, Args)]
pub(super) struct Account {
    /// The account: agent@platform
    #[arg(value_name = "ADDRESS")]
    address: Address,
    #[command(flatten)]
    target: Target,
}

#[derive(Serialize)]
struct AccountWithLocks {
    #[serde(flatten)]
    account: view::Account,
    #[serde(flatten)]
    open: view::Locks,
}

pub(super) fn account(options: &Account, output: Output) -> Result<(), Failure> {
    let (mut client, _) = options.target.connect()?;
    let path = format!("/v1/accounts/{}", encode_path(options.address.as_str()));
    let shown = AccountWithLocks {
        account: client.get(&path)?,
        open: client.get(&format!("{path}/locks?limit=1000"))?,
    };
    output.show(&shown, |shown| {
        let account = &shown.account;
        let mut table = Table::new(&["account", "total", "available", "locked", "height"]);
        table.row(&[
            account.address.as_str(),
            &account.total.to_string(),
            &account.available.to_string(),
            &account.locked.to_string(),
            &account.height.to_string(),
        ]);
        let mut text = table.to_string();
        if account.frozen {
            text += "\nThe account is frozen.\n";
        }
        if account.closed {
            text += "\nThe account is closed.\n";
        }
        if !shown.open.locks.is_empty() {
            let mut table = Table::new(&["open lock", "from", "to", "amount", "expires"]);
            for lock in &shown.open.locks {
                let expires = until(lock.expires.as_millis());
                table.row(&[
                    &lock.id.to_string(),
                    lock.from.as_str(),
                    lock.to.as_str(),
                    &lock.amount.to_string(),
                    &expires,
                ]);
            }
            text += &format!("\n{table}");
        }
        if let Some(next) = &shown.open.next {
            text += &format!("There are more: GET {path}/locks?after={next}\n");
        }
        text
    });
    Ok(())
}

/// A moment in words.
fn until(at_ms: u64) -> String {
    let seconds = at_ms.saturating_sub(now_ms()) / 1000;
    match seconds {
        0 => "now".to_owned(),
        1..=119 => format!("in {seconds} s"),
        120..=7_199 => format!("in {} min", seconds / 60),
        _ => format!("in {} h", seconds / 3_600),
    }
}

/// An address has characters that a path may not have.
pub(super) fn encode_path(text: &str) -> String {
    let mut path = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'@') {
            path.push(char::from(byte));
        } else {
            path += &format!("%{byte:02X}");
        }
    }
    path
}

/// `polity transfer`
#[derive(Debug, Args)]
pub(super) struct Transfer {
    /// The payer
    from: Address,
    /// The payee
    to: Address,
    /// What is moved, with at most six decimal places
    amount: Amount,
    /// Key of the payer
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

pub(super) fn transfer(options: &Transfer, output: Output) -> Result<(), Failure> {
    let command = Command::Transfer {
        from: options.from.clone(),
        to: options.to.clone(),
        amount: options.amount,
    };
    submit_and_wait(
        &options.target,
        options.key.as_ref(),
        &options.from,
        command,
        output,
    )
}

/// `polity lock`
#[derive(Debug, Args)]
pub(super) struct Lock {
    /// The payer
    from: Address,
    /// The payee
    to: Address,
    /// What is reserved, with at most six decimal places
    amount: Amount,
    /// Seconds after which the lock can only expire
    #[arg(long, default_value_t = 3_600, value_name = "SECONDS")]
    expires_in: u64,
    /// Key of the payer
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

pub(super) fn lock(options: &Lock, output: Output) -> Result<(), Failure> {
    let command = Command::Lock {
        from: options.from.clone(),
        to: options.to.clone(),
        amount: options.amount,
        expires: now().saturating_add(Duration::from_secs(options.expires_in)),
    };
    submit_and_wait(
        &options.target,
        options.key.as_ref(),
        &options.from,
        command,
        output,
    )
}

/// `polity commit`
#[derive(Debug, Args)]
pub(super) struct Commit {
    /// The lock
    lock: LockId,
    /// What is paid; without it the whole lock
    #[arg(long)]
    amount: Option<Amount>,
    /// Who signs: without it the payee's platform
    #[arg(long = "as", value_name = "ADDRESS")]
    signer: Option<Address>,
    /// Key of whoever signs
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

/// The account in whose name the platform of the payee signs.
fn clearing_of(lock: &view::Lock) -> Result<Address, Failure> {
    Address::new(CLEARING, lock.to.platform()).map_err(Failure::failed)
}

fn open_lock(target: &Target, id: LockId) -> Result<view::Lock, Failure> {
    let (mut client, _) = target.connect()?;
    let lock: view::Lock = client.get(&format!("/v1/locks/{id}"))?;
    let problem = match lock.state {
        LockState::Open => return Ok(lock),
        LockState::Committed => "was committed already",
        LockState::RolledBack => "was rolled back already",
        LockState::Expired => "has expired",
    };
    Err(Failure::new(code::REFUSED, format!("the lock {problem}")))
}

pub(super) fn commit(options: &Commit, output: Output) -> Result<(), Failure> {
    let lock = open_lock(&options.target, options.lock)?;
    let signer = match &options.signer {
        Some(signer) => signer.clone(),
        None => clearing_of(&lock)?,
    };
    let command = Command::Commit {
        lock: options.lock,
        amount: options.amount.unwrap_or(lock.amount),
    };
    submit_and_wait(
        &options.target,
        options.key.as_ref(),
        &signer,
        command,
        output,
    )
}

/// `polity rollback`
#[derive(Debug, Args)]
pub(super) struct Rollback {
    /// The lock
    lock: LockId,
    /// Why, for people
    #[arg(long, default_value = "")]
    reason: Reason,
    /// Key of the payee's platform
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

pub(super) fn rollback(options: &Rollback, output: Output) -> Result<(), Failure> {
    let lock = open_lock(&options.target, options.lock)?;
    let signer = clearing_of(&lock)?;
    let command = Command::Rollback {
        lock: options.lock,
        reason: options.reason.clone(),
    };
    submit_and_wait(
        &options.target,
        options.key.as_ref(),
        &signer,
        command,
        output,
    )
}

/// `polity status`
#[derive(Debug, Args)]
pub(super) struct StatusOptions {
    #[command(flatten)]
    target: Target,
}

#[derive(Serialize)]
struct NodeStatus {
    api: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<view::Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub(super) fn status(options: &StatusOptions, output: Output) -> Result<(), Failure> {
    let mut nodes = Vec::new();
    for api in options.target.addresses()? {
        let answer = Client::new(api, Duration::from_secs(5)).get::<view::Status>("/v1/status");
        let (status, error) = match answer {
            Ok(status) => (Some(status), None),
            Err(error) => (None, Some(error.to_string())),
        };
        nodes.push(NodeStatus { api, status, error });
    }
    output.show(&nodes, |nodes| {
        let mut table = Table::new(&[
            "node",
            "height",
            "view",
            "leader",
            "block",
            "state root",
            "waiting",
            "links",
            "votes",
            "ready",
        ]);
        for node in nodes {
            match &node.status {
                Some(status) => {
                    let links = status.peers.iter().filter(|peer| peer.connected).count();
                    table.row(&[
                        &status.name,
                        &status.height.to_string(),
                        &status.view.to_string(),
                        &status.leader,
                        &short(&status.block),
                        &short(&status.state_root),
                        &status.pool_transactions.to_string(),
                        &format!("{links}/{}", status.peers.len()),
                        if status.votes { "yes" } else { "no" },
                        if status.ready { "yes" } else { "no" },
                    ]);
                }
                None => table.row(&[
                    &node.api.to_string(),
                    "-",
                    "-",
                    "-",
                    "-",
                    "-",
                    "-",
                    "-",
                    "-",
                    node.error.as_deref().unwrap_or("no answer"),
                ]),
            }
        }
        let mut text = table.to_string();
        for status in nodes.iter().filter_map(|node| node.status.as_ref()) {
            if let Some(syncing) = &status.syncing {
                text += &format!(
                    "\n{} is far behind and fetches the snapshot after block {}: {} of {} chunks.",
                    status.name, syncing.height, syncing.chunks, syncing.chunks_total
                );
            }
        }
        text
    });
    if nodes.iter().any(|node| node.status.is_some()) {
        Ok(())
    } else {
        // JSON says it of each node, and is one document.
        let message = if output.is_json {
            ""
        } else {
            "no node answers"
        };
        Err(Failure::new(code::UNREACHABLE, message))
    }
}

/// `polity watch`
#[derive(Debug, Args)]
pub(super) struct Watch {
    /// Show what became of every transaction
    #[arg(long)]
    receipts: bool,
    /// End after so many blocks
    #[arg(long, value_name = "NUMBER")]
    blocks: Option<u64>,
    #[command(flatten)]
    target: Target,
}

pub(super) fn watch(options: &Watch, output: Output) -> Result<(), Failure> {
    let (client, status) = options.target.connect()?;
    let mut events = client.events(&format!("/v1/events?receipts={}", options.receipts))?;
    output.note(&format!("{} at height {}", status.name, status.height));
    let mut seen = 0;
    while options.blocks.is_none_or(|blocks| seen < blocks) {
        let Some(event) = events.receive()? else {
            return Err(Failure::new(code::UNREACHABLE, "the node ended the stream"));
        };
        if event.name != "commit" {
            continue;
        }
        seen += 1;
        if output.is_json {
            print(&event.data);
            continue;
        }
        let commit: view::Commit = serde_json::from_str(&event.data).map_err(Failure::failed)?;
        print(&format!(
            "height {}  view {}  proposer {}  transactions {} ({} refused)  state {}",
            commit.height,
            commit.view,
            commit.proposer,
            commit.transactions,
            commit.refused,
            short(&commit.state_root)
        ));
        for receipt in commit.receipts.iter().flatten() {
            let outcome = match (&receipt.reason, &receipt.lock) {
                (Some(reason), _) => format!("refused: {reason}"),
                (None, Some(lock)) => format!("lock {lock}"),
                (None, None) => "applied".to_owned(),
            };
            print(&format!("  {}  {outcome}", receipt.id));
        }
    }
    Ok(())
}
