//! The story: a transfer in two phases, a killed node, a double spend.

use super::{DemoError, Scene};
use crate::driver::now;
use crate::federation::{CLEARING, Funded, Plan};
use crate::table::Table;
use crate::view::{self, ReceiptView};
use crate::wallet::{Terms, sign, submit, wait_final};
use polity_ledger::{Address, Command, LockId, Rejection, SignedTransaction, TransactionId};
use polity_types::Amount;
use std::path::Path;
use std::time::Duration;

/// The node that is killed.
const VICTIM: usize = 2;

/// How long a transaction may take, with a leader that is gone.
const PATIENCE: Duration = Duration::from_mins(1);

const LOCK_FOR: Duration = Duration::from_hours(1);

pub(super) fn prepare(plan: &mut Plan) {
    let account = |agent, platform, atp| {
        Address::new(agent, platform).map(|address| Funded {
            address,
            balance: Amount::from_atp(atp),
        })
    };
    plan.accounts = [
        account("alice", "thor", 1_000),
        account("bob", "sprout", 500),
        account("carol", "legion", 0),
    ]
    .into_iter()
    .flatten()
    .collect();
}

/// What an account should be: total, available, locked.
type Expected = (u64, u64, u64);

struct Cast {
    alice: Address,
    bob: Address,
    carol: Address,
}

pub(super) fn tell(scene: &mut Scene, supply: Amount, root: &Path) -> Result<(), DemoError> {
    let name = |index: usize| {
        scene.cluster.founded.genesis.ledger.accounts[index]
            .address
            .clone()
    };
    // The accounts of the plan stand behind the four clearing accounts.
    let cast = Cast {
        alice: name(4),
        bob: name(5),
        carol: name(6),
    };
    expect(scene, &cast, "genesis", (1000, 1000, 0), (500, 500, 0))?;

    let (lock, _) = lock(scene, &cast, 200)?;
    expect(scene, &cast, "LOCK 200", (1000, 800, 200), (500, 500, 0))?;
    let paid = commit(scene, &cast, lock, 200)?;
    expect(scene, &cast, "COMMIT 200", (800, 800, 0), (700, 700, 0))?;

    let (second, _) = self::lock(scene, &cast, 100)?;
    expect(scene, &cast, "LOCK 100", (800, 700, 100), (700, 700, 0))?;
    let victim = scene.cluster.nodes[VICTIM].name.clone();
    scene.cluster.kill(VICTIM);
    scene.passed("kill", format!("node {victim} was killed without warning"));
    commit(scene, &cast, second, 100)?;
    let step = format!("COMMIT 100 while {victim} is down");
    expect(scene, &cast, &step, (700, 700, 0), (800, 800, 0))?;

    scene.cluster.spawn(VICTIM)?;
    scene.cluster.wait_ready()?;
    let step = format!("restart of {victim}, caught up");
    expect(scene, &cast, &step, (700, 700, 0), (800, 800, 0))?;

    double_spend(scene, &cast)?;
    scene.check_proof(paid)?;
    scene.close(supply, root)?;
    Ok(())
}

/// Waits until all running nodes agree, shows the accounts, and compares them on every node.
fn expect(
    scene: &mut Scene,
    cast: &Cast,
    step: &str,
    alice: Expected,
    bob: Expected,
) -> Result<(), DemoError> {
    scene.output.note(&format!("\n== {step}"));
    let statuses = scene.agree()?;
    let mut accounts = Vec::new();
    let mut differing = Vec::new();
    for index in 0..scene.cluster.nodes.len() {
        if !scene.cluster.is_running(index) {
            continue;
        }
        accounts = look(scene, cast, index)?;
        let seen = |account: &view::Account| (account.total, account.available, account.locked);
        let wanted = |(total, available, locked): Expected| {
            (
                Amount::from_atp(total),
                Amount::from_atp(available),
                Amount::from_atp(locked),
            )
        };
        if seen(&accounts[0]) != wanted(alice) || seen(&accounts[1]) != wanted(bob) {
            differing.push(scene.cluster.nodes[index].name.clone());
        }
    }
    show(scene, &accounts);
    let height = statuses.first().map_or(0, |status| status.height.get());
    let text = |(total, available, locked): Expected| format!("{total}/{available}/{locked}");
    let mut detail = format!(
        "alice {} and bob {} (total/available/locked) on {} nodes at height {height}",
        text(alice),
        text(bob),
        statuses.len()
    );
    if !differing.is_empty() {
        detail += &format!("; not so on {}", differing.join(", "));
    }
    scene.check(step, differing.is_empty(), detail)
}

fn look(scene: &Scene, cast: &Cast, index: usize) -> Result<Vec<view::Account>, DemoError> {
    let mut client = scene.cluster.client(index);
    let mut accounts = Vec::new();
    for address in [&cast.alice, &cast.bob, &cast.carol] {
        accounts.push(client.get(&format!("/v1/accounts/{address}"))?);
    }
    Ok(accounts)
}

fn show(scene: &Scene, accounts: &[view::Account]) {
    let mut table = Table::new(&["account", "total", "available", "locked"]);
    for account in accounts {
        table.row(&[
            account.address.as_str(),
            &account.total.to_string(),
            &account.available.to_string(),
            &account.locked.to_string(),
        ]);
    }
    scene.output.note(&table.to_string());
}

fn build(
    scene: &Scene,
    signer: &Address,
    command: Command,
) -> Result<SignedTransaction, DemoError> {
    let status: view::Status = scene.cluster.client(0).get("/v1/status")?;
    let key = scene
        .cluster
        .founded
        .owner(signer)
        .ok_or_else(|| DemoError::Check(format!("there is no key for {signer}")))?;
    Ok(sign(Terms::of(&status), signer, key, command)?)
}

/// Submits to the first node and waits until it is final.
fn decide(scene: &mut Scene, transaction: &SignedTransaction) -> Result<ReceiptView, DemoError> {
    scene.cluster.check_alive()?;
    let mut client = scene.cluster.client(0);
    submit(&mut client, transaction)?;
    let receipt = receipt(scene, transaction.id())?;
    if receipt.applied {
        scene.report.accepted += 1;
    } else {
        scene.report.refused += 1;
    }
    Ok(receipt)
}

fn receipt(scene: &Scene, id: TransactionId) -> Result<ReceiptView, DemoError> {
    let found = wait_final(&mut scene.cluster.client(0), id, PATIENCE)?;
    found
        .and_then(|found| found.receipt)
        .ok_or_else(|| DemoError::Check(format!("transaction {id} was not decided in time")))
}

fn lock(scene: &mut Scene, cast: &Cast, atp: u64) -> Result<(LockId, TransactionId), DemoError> {
    let command = Command::Lock {
        from: cast.alice.clone(),
        to: cast.bob.clone(),
        amount: Amount::from_atp(atp),
        expires: now().saturating_add(LOCK_FOR),
    };
    let transaction = build(scene, &cast.alice, command)?;
    let receipt = decide(scene, &transaction)?;
    match receipt.lock {
        Some(lock) => Ok((lock, transaction.id())),
        None => Err(DemoError::Check(format!(
            "LOCK was refused: {}",
            receipt.reason.unwrap_or_default()
        ))),
    }
}

/// The payee's platform pays the lock.
fn commit(
    scene: &mut Scene,
    cast: &Cast,
    lock: LockId,
    atp: u64,
) -> Result<TransactionId, DemoError> {
    let platform = Address::new(CLEARING, cast.bob.platform())
        .map_err(|error| DemoError::Check(error.to_string()))?;
    let command = Command::Commit {
        lock,
        amount: Amount::from_atp(atp),
    };
    let transaction = build(scene, &platform, command)?;
    let receipt = decide(scene, &transaction)?;
    if receipt.applied {
        return Ok(transaction.id());
    }
    Err(DemoError::Check(format!(
        "COMMIT was refused: {}",
        receipt.reason.unwrap_or_default()
    )))
}

/// Alice spends everything twice, at two nodes at once.
fn double_spend(scene: &mut Scene, cast: &Cast) -> Result<(), DemoError> {
    scene.output.note("\n== double spend");
    let spend = |to: &Address| Command::Transfer {
        from: cast.alice.clone(),
        to: to.clone(),
        amount: Amount::from_atp(700),
    };
    let to_bob = build(scene, &cast.alice, spend(&cast.bob))?;
    let to_carol = build(scene, &cast.alice, spend(&cast.carol))?;
    submit(&mut scene.cluster.client(0), &to_bob)?;
    submit(&mut scene.cluster.client(3), &to_carol)?;
    let receipts = [receipt(scene, to_bob.id())?, receipt(scene, to_carol.id())?];
    let applied = receipts.iter().filter(|receipt| receipt.applied).count();
    let reasons: Vec<Rejection> = receipts.iter().filter_map(|r| r.rejection).collect();
    scene.report.accepted += applied;
    scene.report.refused += receipts.len() - applied;
    scene.agree()?;
    let accounts = look(scene, cast, 0)?;
    show(scene, &accounts);
    let sum: u128 = accounts.iter().map(|account| account.total.units()).sum();
    let holds = applied == 1
        && reasons == [Rejection::InsufficientFunds]
        && accounts[0].total.is_zero()
        && sum == Amount::from_atp(1_500).units();
    let reason = reasons
        .first()
        .map_or_else(String::new, ToString::to_string);
    scene.check(
        "double spend",
        holds,
        format!(
            "of two transfers of the same 700 ATP, submitted to two nodes, {applied} was applied; the other was refused: {reason}"
        ),
    )
}
