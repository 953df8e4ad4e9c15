//! A steady load, and a record of every answer.
//!
//! One client for each node, each with accounts of its own. It signs a command in time, sends it to a
//! node drawn at random, and to the next one if that does not answer; now and then it sends it to a
//! second one although the first has taken it. A LOCK is paid or given back once some node says that a
//! block holds it. What nodes promised is compared with the chain at the end ([`super::judge`]).

use super::monitor::Best;
use crate::client::Client;
use crate::cluster::Cluster;
use crate::driver::now;
use crate::federation::{CLEARING, Funded};
use crate::keys::SecretKey;
use crate::view::{ReceiptView, State, Transaction as TransactionView};
use crate::wallet::{BuildError, Terms, sign, submit};
use polity_ledger::{Address, Command, LockId, SignedTransaction, TransactionId};
use polity_types::{Amount, ChainId, Height, Seed, Stream};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How many heights ahead `valid_until` may be.
pub(crate) const HORIZON: u64 = 50_000;

/// How far it is ahead in most transactions: they are over long after the run.
const LONG: u64 = 49_000;

/// Accounts of one client.
const ACCOUNTS: usize = 4;

/// What each account holds first.
pub(crate) const BALANCE: Amount = Amount::from_atp(1_000_000);

/// How long a node may take to answer; one that stands still does not.
const PATIENCE: Duration = Duration::from_secs(2);

/// Nodes that are asked to take one transaction.
const TRIES: usize = 3;

/// Locks that wait to be settled, at most; then the oldest is left to itself.
const LOCKS_MAX: usize = 64;

/// A lock is settled at the earliest so long after it was asked for.
const LOCK_AGE: Duration = Duration::from_millis(500);

/// What a transaction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Transfer,
    Lock,
    Commit,
    Rollback,
}

/// What moves if it is applied.
#[derive(Clone, Debug)]
pub(crate) struct Move {
    pub(crate) from: Address,
    pub(crate) to: Address,
    pub(crate) amount: Amount,
}

/// One transaction and what was said about it.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) id: TransactionId,
    pub(crate) kind: Kind,
    pub(crate) moves: Option<Move>,
    pub(crate) valid_until: Height,
    /// Milliseconds since the start of the run.
    pub(crate) at_ms: u64,
    /// The node that took it first.
    pub(crate) taken_by: Option<usize>,
    /// Nodes that said that a block holds it: height, and whether it was applied.
    pub(crate) decided: Vec<(Height, bool)>,
}

/// What one client did.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) sent: Vec<Sent>,
    /// Tries without an answer.
    pub(crate) unanswered: u64,
    /// Refusals by code.
    pub(crate) refused: BTreeMap<String, u64>,
    /// Why the client gave up.
    pub(crate) failure: Option<String>,
}

/// Accounts for clients on these platforms.
pub(crate) fn accounts(platforms: &[String]) -> Vec<Funded> {
    let mut all = Vec::new();
    for platform in platforms {
        for number in 0..ACCOUNTS {
            if let Ok(address) = Address::new(&format!("payer{number}"), platform) {
                all.push(Funded {
                    address,
                    balance: BALANCE,
                });
            }
        }
    }
    all
}

/// All clients at work.
#[derive(Debug)]
pub(crate) struct Load {
    is_over: Arc<AtomicBool>,
    /// Transactions that some node has taken so far.
    pub(crate) taken: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Record>>,
}

impl Load {
    /// Starts a client for each node that together send `rate` transactions in a second.
    pub(crate) fn start(
        cluster: &Cluster,
        chain: ChainId,
        rate: u64,
        seed: u64,
        best: &Best,
    ) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let taken = Arc::new(AtomicU64::new(0));
        let nodes: Vec<SocketAddr> = cluster.nodes.iter().map(|node| node.api).collect();
        let all: Arc<Vec<Address>> =
            Arc::new(cluster.founded.account_keys.keys().cloned().collect());
        let keys: Arc<BTreeMap<Address, SecretKey>> = Arc::new(keys(cluster));
        let count = u64::try_from(nodes.len()).unwrap_or(1);
        let every = Duration::from_micros(1_000_000 * count / rate.max(1));
        let start = Instant::now();
        let threads = cluster
            .nodes
            .iter()
            .map(|node| {
                let mut client = LoadClient {
                    chain,
                    best: best.clone(),
                    keys: Arc::clone(&keys),
                    all: Arc::clone(&all),
                    own: all
                        .iter()
                        .filter(|a| a.platform() == node.name)
                        .cloned()
                        .collect(),
                    clients: nodes.iter().map(|at| Client::new(*at, PATIENCE)).collect(),
                    stream: Seed::from_number(seed)
                        .fork(&format!("load {}", node.name))
                        .stream(),
                    locks: VecDeque::new(),
                    record: Record::default(),
                    start,
                    taken: Arc::clone(&taken),
                };
                let is_over = Arc::clone(&is_over);
                std::thread::spawn(move || {
                    client.run(every, &is_over);
                    client.record
                })
            })
            .collect();
        Self {
            is_over,
            taken,
            threads,
        }
    }

    /// Ends the load and returns what was said.
    pub(crate) fn finish(&mut self) -> Vec<Record> {
        self.is_over.store(true, Ordering::Relaxed);
        let ended = self.threads.drain(..).map(JoinHandle::join);
        ended
            .map(|record| {
                record.unwrap_or_else(|_| Record {
                    failure: Some("a client panicked".to_owned()),
                    ..Record::default()
                })
            })
            .collect()
    }
}

/// The keys of all accounts, the clearing ones included.
fn keys(cluster: &Cluster) -> BTreeMap<Address, SecretKey> {
    let founded = &cluster.founded;
    let clearing = founded.platform_keys.iter().filter_map(|(platform, key)| {
        let address = Address::new(CLEARING, platform).ok()?;
        Some((address, key.clone()))
    });
    let accounts = founded.account_keys.iter();
    accounts
        .map(|(address, key)| (address.clone(), key.clone()))
        .chain(clearing)
        .collect()
}

/// A lock that is to be settled.
struct OpenLock {
    transaction: TransactionId,
    moves: Move,
    since: Instant,
}

struct LoadClient {
    chain: ChainId,
    best: Best,
    keys: Arc<BTreeMap<Address, SecretKey>>,
    all: Arc<Vec<Address>>,
    own: Vec<Address>,
    clients: Vec<Client>,
    stream: Stream,
    locks: VecDeque<OpenLock>,
    record: Record,
    start: Instant,
    taken: Arc<AtomicU64>,
}

impl LoadClient {
    fn run(&mut self, every: Duration, is_over: &AtomicBool) {
        let mut due = Instant::now();
        while !is_over.load(Ordering::Relaxed) {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            // What a silent node cost is not made up for.
            due = due.max(Instant::now()) + every;
            if let Err(error) = self.step() {
                self.record.failure = Some(error.to_string());
                break;
            }
        }
    }

    fn pick(&mut self, count: usize) -> usize {
        let bound = u64::try_from(count).unwrap_or(u64::MAX);
        usize::try_from(self.stream.below(bound)).unwrap_or(0)
    }

    fn step(&mut self) -> Result<(), BuildError> {
        match self.stream.below(10) {
            0..5 => self.transfer(),
            5..7 => self.lock(),
            _ => self.settle(),
        }
    }

    /// From an own account to somebody else.
    fn draw_move(&mut self) -> Move {
        let (from, to) = (self.pick(self.own.len()), self.pick(self.all.len()));
        let from = self.own[from].clone();
        let mut to = self.all[to].clone();
        if to == from {
            let next = self
                .all
                .iter()
                .position(|one| *one == from)
                .map_or(0, |at| at + 1);
            to = self.all[next % self.all.len()].clone();
        }
        let amount = Amount::from_units(1 + u128::from(self.stream.below(1_000)));
        Move { from, to, amount }
    }

    fn transfer(&mut self) -> Result<(), BuildError> {
        let moves = self.draw_move();
        let command = Command::Transfer {
            from: moves.from.clone(),
            to: moves.to.clone(),
            amount: moves.amount,
        };
        let signer = moves.from.clone();
        self.issue(Kind::Transfer, &signer, command, Some(moves))?;
        Ok(())
    }

    fn lock(&mut self) -> Result<(), BuildError> {
        let moves = self.draw_move();
        let command = Command::Lock {
            from: moves.from.clone(),
            to: moves.to.clone(),
            amount: moves.amount,
            expires: now().saturating_add(Duration::from_hours(1)),
        };
        let signer = moves.from.clone();
        let (transaction, is_taken) = self.issue(Kind::Lock, &signer, command, None)?;
        if is_taken {
            if self.locks.len() >= LOCKS_MAX {
                self.locks.pop_front();
            }
            self.locks.push_back(OpenLock {
                transaction,
                moves,
                since: Instant::now(),
            });
        }
        Ok(())
    }

    /// Pays the oldest lock or gives it back, once a block holds it.
    fn settle(&mut self) -> Result<(), BuildError> {
        if self
            .locks
            .front()
            .is_none_or(|lock| lock.since.elapsed() < LOCK_AGE)
        {
            return self.transfer();
        }
        let Some(lock) = self.locks.pop_front() else {
            return Ok(());
        };
        let node = self.pick(self.clients.len());
        let path = format!("/v1/transactions/{}", lock.transaction);
        match self.clients[node].get::<TransactionView>(&path) {
            Ok(TransactionView {
                receipt: Some(receipt),
                ..
            }) => {
                self.note_decided(&receipt);
                if receipt.applied {
                    return self.settle_lock(&lock);
                }
            }
            Ok(_) => self.locks.push_back(lock),
            // A node that is behind does not know it yet.
            Err(error) if error.is_transient() || error.code() == Some("unknown_transaction") => {
                self.locks.push_back(lock);
            }
            Err(error) => self.record.failure = Some(error.to_string()),
        }
        Ok(())
    }

    fn settle_lock(&mut self, lock: &OpenLock) -> Result<(), BuildError> {
        let id = LockId::derive(&lock.transaction, 0);
        let Ok(clearing) = Address::new(CLEARING, lock.moves.to.platform()) else {
            return Ok(());
        };
        let amount = lock.moves.amount;
        match self.stream.below(4) {
            0 => {
                let Ok(reason) = "soak".parse() else {
                    return Ok(());
                };
                let command = Command::Rollback { lock: id, reason };
                self.issue(Kind::Rollback, &clearing, command, None)?;
            }
            // The payee's platform may take a part.
            1 => {
                let moves = Move {
                    amount: Amount::from_units(amount.units().div_ceil(2)),
                    ..lock.moves.clone()
                };
                let command = Command::Commit {
                    lock: id,
                    amount: moves.amount,
                };
                self.issue(Kind::Commit, &clearing, command, Some(moves))?;
            }
            _ => {
                let command = Command::Commit { lock: id, amount };
                let payer = lock.moves.from.clone();
                self.issue(Kind::Commit, &payer, command, Some(lock.moves.clone()))?;
            }
        }
        Ok(())
    }

    /// Signs a command and sends it until a node takes it. Whether one did.
    fn issue(
        &mut self,
        kind: Kind,
        signer: &Address,
        command: Command,
        moves: Option<Move>,
    ) -> Result<(TransactionId, bool), BuildError> {
        // A few are soon over, so that some are when nothing is decided for a while.
        let ahead = match self.stream.below(50) {
            0 => 1 + self.stream.below(20),
            _ => LONG,
        };
        let terms = Terms {
            chain: self.chain,
            valid_until: Height::new(self.best.get() + ahead),
        };
        let transaction = sign(terms, signer, &self.keys[signer], command)?;
        let id = transaction.id();
        let at_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.record.sent.push(Sent {
            id,
            kind,
            moves,
            valid_until: terms.valid_until,
            at_ms,
            taken_by: None,
            decided: Vec::new(),
        });
        let first = self.pick(self.clients.len());
        let again = self.stream.below(20) == 0;
        let mut is_taken = false;
        for number in 0..TRIES {
            let node = (first + number) % self.clients.len();
            if !self.send(node, &transaction) {
                continue;
            }
            // What one node has taken a second one may get, too.
            if is_taken || !again {
                return Ok((id, true));
            }
            is_taken = true;
        }
        Ok((id, is_taken))
    }

    /// Sends the newest transaction to a node. Whether it has taken it.
    fn send(&mut self, node: usize, transaction: &SignedTransaction) -> bool {
        let result = submit(&mut self.clients[node], transaction);
        let Some(sent) = self.record.sent.last_mut() else {
            return false;
        };
        match result {
            Ok(result) => {
                if let Some(receipt) = &result.receipt {
                    sent.decided.push((receipt.height, receipt.applied));
                }
                if result.state == Some(State::Pending) || result.receipt.is_some() {
                    if sent.taken_by.is_none() {
                        sent.taken_by = Some(node);
                        self.taken.fetch_add(1, Ordering::Relaxed);
                    }
                    return true;
                }
                let code = result
                    .error
                    .map_or_else(String::new, |problem| problem.code);
                *self.record.refused.entry(code).or_default() += 1;
            }
            Err(error) => match error.code() {
                Some(code) => *self.record.refused.entry(code.to_owned()).or_default() += 1,
                None if error.is_transient() => self.record.unanswered += 1,
                None => self.record.failure = Some(error.to_string()),
            },
        }
        false
    }

    fn note_decided(&mut self, receipt: &ReceiptView) {
        let mut sent = self.record.sent.iter_mut().rev();
        if let Some(sent) = sent.find(|sent| sent.id == receipt.id) {
            sent.decided.push((receipt.height, receipt.applied));
        }
    }
}
