//! Carrying out a file of payment orders: each is a LOCK and, when that is final, a COMMIT.

use super::orders::{HOME, Order, Orders, Refused};
use super::{DemoError, Scene};
use crate::driver::now;
use crate::federation::{CLEARING, Funded, Plan};
use crate::load::Load;
use crate::progress;
use crate::view::{ReceiptView, Status, SubmitResult};
use crate::wallet::{Terms, sign};
use polity_ledger::{Address, Command, LockId, SignedTransaction, TransactionId};
use polity_types::Amount;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::time::{Duration, Instant};

/// Transactions in one request.
const BATCH: usize = 250;

/// Transactions that are submitted and not final, at most.
const IN_FLIGHT_MAX: usize = 4_000;

/// Silence after which what is in flight is submitted again.
const RESUBMIT_AFTER: Duration = Duration::from_secs(10);

/// Silence after which something is wrong.
const PATIENCE: Duration = Duration::from_mins(1);

const LOCK_FOR: Duration = Duration::from_hours(24);

/// Codes of refusals that say "later".
const LATER: [&str; 4] = ["busy", "pool_full", "account_full", "already_waiting"];

/// Opens the accounts of the orders, and gives every payer what its orders need.
pub(super) fn prepare(plan: &mut Plan, orders: &Orders) {
    let mut balances: BTreeMap<Address, u128> = BTreeMap::new();
    for order in &orders.orders {
        *balances.entry(order.from.clone()).or_default() += order.amount.units();
        balances.entry(order.to.clone()).or_default();
    }
    plan.platforms = std::iter::once(HOME.to_owned())
        .chain(orders.banks())
        .collect::<BTreeSet<String>>()
        .into_iter()
        .collect();
    // The clearing account of the first platform gets the fees.
    plan.platforms.sort_by_key(|name| name != HOME);
    plan.accounts = balances
        .into_iter()
        .map(|(address, units)| Funded {
            address,
            balance: Amount::from_units(units),
        })
        .collect();
    plan.own_keys = false;
}

/// Where an order stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Locking,
    Committing(LockId),
    Done,
    Refused(String),
}

/// A transaction that is not final yet.
struct Flight {
    order: usize,
    transaction: SignedTransaction,
}

struct Run<'a> {
    orders: &'a [Order],
    phases: Vec<Phase>,
    /// Orders whose next transaction is to be signed and submitted.
    waiting: VecDeque<usize>,
    /// Transactions to be submitted again.
    again: Vec<Flight>,
    in_flight: BTreeMap<TransactionId, Flight>,
    /// Orders that are neither done nor refused.
    open: usize,
    terms: Terms,
    /// How far ahead transactions are valid, in heights.
    ahead: u64,
    last_commit: Option<TransactionId>,
}

pub(super) fn carry_out(
    scene: &mut Scene,
    orders: &Orders,
    supply: Amount,
    root: &Path,
) -> Result<(), DemoError> {
    let start = Instant::now();
    let mut run = Run::new(scene, &orders.orders)?;
    run.until_done(scene)?;
    let seconds = start.elapsed().as_millis();

    let accepted = run.phases.iter().filter(|phase| **phase == Phase::Done);
    scene.report.accepted = accepted.count();
    let mut refusals = orders.malformed.clone();
    for (order, phase) in run.orders.iter().zip(&run.phases) {
        if let Phase::Refused(reason) = phase {
            refusals.push(Refused {
                line: order.line,
                reason: reason.clone(),
            });
        }
    }
    refusals.sort_by_key(|refused| refused.line);
    scene.report.refused = refusals.len();
    scene.report.refusals = refusals;
    scene.passed(
        "orders",
        format!(
            "{} carried out, {} refused, each a LOCK and a COMMIT, in {seconds} ms",
            scene.report.accepted, scene.report.refused
        ),
    );

    let expected = expected_totals(&run);
    let last_commit = run.last_commit;
    if let Some(id) = last_commit {
        scene.check_proof(id)?;
    }
    let audited = scene.close(supply, root)?;
    // What the file says against what every node's own ledger says.
    let mut differing = Vec::new();
    for audited in &audited {
        let mut held: BTreeMap<String, u128> = BTreeMap::new();
        for account in audited.ledger.accounts() {
            let platform = account.address.platform();
            if expected.contains_key(platform) {
                *held.entry(platform.to_owned()).or_default() += account.total.units();
            }
        }
        if held != expected {
            differing.push(audited.path.display().to_string());
        }
    }
    scene.report.banks = expected
        .iter()
        .map(|(bank, units)| (bank.clone(), Amount::from_units(*units)))
        .collect();
    scene.check(
        "totals per bank",
        differing.is_empty(),
        format!(
            "{} banks hold what the file says on all nodes{}",
            expected.len(),
            differing.join(", ")
        ),
    )
}

/// What each bank's accounts must hold: what was accepted for them. The bank that is also the home
/// of the payers keeps what they did not spend.
fn expected_totals(run: &Run<'_>) -> BTreeMap<String, u128> {
    let mut totals: BTreeMap<String, u128> = BTreeMap::new();
    for order in run.orders {
        totals.entry(order.to.platform().to_owned()).or_default();
    }
    for (order, phase) in run.orders.iter().zip(&run.phases) {
        let units = order.amount.units();
        if *phase == Phase::Done {
            *totals.entry(order.to.platform().to_owned()).or_default() += units;
        } else if let Some(home) = totals.get_mut(HOME) {
            *home += units;
        }
    }
    totals
}

impl<'a> Run<'a> {
    fn new(scene: &Scene, orders: &'a [Order]) -> Result<Self, DemoError> {
        let status: Status = scene.cluster.client(0).get("/v1/status")?;
        Ok(Self {
            orders,
            phases: vec![Phase::Locking; orders.len()],
            waiting: (0..orders.len()).collect(),
            again: Vec::new(),
            in_flight: BTreeMap::new(),
            open: orders.len(),
            terms: Terms::of(&status),
            ahead: status.validity_horizon / 2,
            last_commit: None,
        })
    }

    fn until_done(&mut self, scene: &mut Scene) -> Result<(), DemoError> {
        let nodes: Vec<_> = scene.cluster.nodes.iter().map(|node| node.api).collect();
        let mut load = Load::start(&nodes)?;
        let bar = progress::bar("orders", self.orders.len() as u64, scene.output.is_json);
        let mut last_news = Instant::now();
        let mut last_submission = Instant::now();
        while self.open > 0 {
            scene.cluster.check_alive()?;
            while self.in_flight.len() < IN_FLIGHT_MAX {
                let batch = self.next_batch(scene)?;
                if batch.is_empty() {
                    break;
                }
                last_submission = Instant::now();
                if !self.submit(&mut load, batch)? {
                    break;
                }
            }
            if let Some(heard) = load.hear(Duration::from_millis(100))? {
                self.terms.valid_until = heard.height.saturating_add(self.ahead);
                if !heard.receipts.is_empty() {
                    last_news = Instant::now();
                }
                for receipt in &heard.receipts {
                    self.settle(receipt);
                }
            }
            bar.set_position((self.orders.len() - self.open) as u64);
            if last_news.elapsed() > PATIENCE {
                return Err(DemoError::Check(format!(
                    "orders: nothing was decided for {} seconds, {} are open",
                    PATIENCE.as_secs(),
                    self.open
                )));
            }
            if last_news.max(last_submission).elapsed() > RESUBMIT_AFTER {
                // Submitting twice is harmless: an id counts once.
                let again = std::mem::take(&mut self.in_flight);
                self.again.extend(again.into_values());
            }
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// What is to be submitted next.
    fn next_batch(&mut self, scene: &Scene) -> Result<Vec<Flight>, DemoError> {
        let kept = self.again.len().saturating_sub(BATCH);
        let mut batch = self.again.split_off(kept);
        while batch.len() < BATCH
            && let Some(order) = self.waiting.pop_front()
        {
            let transaction = self.sign(scene, order)?;
            batch.push(Flight { order, transaction });
        }
        Ok(batch)
    }

    /// The next transaction of an order.
    fn sign(&self, scene: &Scene, index: usize) -> Result<SignedTransaction, DemoError> {
        let order = &self.orders[index];
        let amount = order.amount;
        let (signer, command) = match &self.phases[index] {
            Phase::Committing(lock) => {
                // The bank of the payee pays the lock.
                let bank = Address::new(CLEARING, order.to.platform())
                    .map_err(|error| DemoError::Check(error.to_string()))?;
                (
                    bank,
                    Command::Commit {
                        lock: *lock,
                        amount,
                    },
                )
            }
            Phase::Locking | Phase::Done | Phase::Refused(_) => (
                order.from.clone(),
                Command::Lock {
                    from: order.from.clone(),
                    to: order.to.clone(),
                    amount,
                    expires: now().saturating_add(LOCK_FOR),
                },
            ),
        };
        let key = scene
            .cluster
            .founded
            .owner(&signer)
            .ok_or_else(|| DemoError::Check(format!("there is no key for {signer}")))?;
        Ok(sign(self.terms, &signer, key, command)?)
    }

    /// Submits a batch. Says whether the node took all of it.
    fn submit(&mut self, load: &mut Load, batch: Vec<Flight>) -> Result<bool, DemoError> {
        let transactions: Vec<&SignedTransaction> =
            batch.iter().map(|flight| &flight.transaction).collect();
        let results = match load.submit(&transactions) {
            Ok(results) => results,
            Err(error) if error.is_transient() => {
                self.again.extend(batch);
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        };
        let mut took_all = true;
        for (flight, result) in batch.into_iter().zip(results) {
            let SubmitResult { receipt, error, .. } = result;
            match error {
                None => {
                    self.in_flight.insert(flight.transaction.id(), flight);
                    if let Some(receipt) = receipt {
                        self.settle(&receipt);
                    }
                }
                Some(problem) if LATER.contains(&problem.code.as_str()) => {
                    took_all = false;
                    self.again.push(flight);
                }
                Some(problem) => self.refuse(flight.order, problem.message),
            }
        }
        Ok(took_all)
    }

    /// Takes note of a receipt, and follows a lock with its COMMIT.
    fn settle(&mut self, receipt: &ReceiptView) {
        let Some(flight) = self.in_flight.remove(&receipt.id) else {
            return;
        };
        let index = flight.order;
        match (&self.phases[index], receipt.lock) {
            (Phase::Locking, Some(lock)) => {
                self.phases[index] = Phase::Committing(lock);
                self.waiting.push_back(index);
            }
            (Phase::Committing(_), None) if receipt.applied => {
                self.phases[index] = Phase::Done;
                self.last_commit = Some(receipt.id);
                self.open -= 1;
            }
            (Phase::Locking | Phase::Committing(_), _) => {
                let reason = receipt.reason.clone().unwrap_or_default();
                self.refuse(index, reason);
            }
            (Phase::Done | Phase::Refused(_), _) => {}
        }
    }

    fn refuse(&mut self, order: usize, reason: String) {
        self.phases[order] = Phase::Refused(reason);
        self.open -= 1;
    }
}
