//! What nodes promised, against what their journals hold.
//!
//! 1. Every chain holds, all are the same chain, and all are equally long.
//! 2. What a node has taken is in the chain with its receipt, unless its `valid_until` is over.
//! 3. What a node called decided is decided, at that height and with that outcome.
//! 4. No transaction is applied twice.
//! 5. Every account holds what the applied transactions leave it, and the supply is the genesis's.

use super::load::{BALANCE, Kind, Sent};
use crate::audit::{VerifyError, audit, audit_blocks};
use crate::federation::{GENESIS_FILE, load_genesis};
use polity_ledger::{Address, TransactionId};
use polity_types::Height;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// What became of what was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Findings {
    /// Blocks of the chain.
    pub(crate) blocks: u64,
    /// Receipts in it.
    pub(crate) receipts: u64,
    /// Transactions that a node has taken, by kind.
    pub(crate) acknowledged: BTreeMap<Kind, u64>,
    /// Those of them that are in the chain, by kind.
    pub(crate) finals: BTreeMap<Kind, u64>,
    /// Those in the chain that were refused there.
    pub(crate) refused: u64,
    /// Taken, not in the chain, and their last height is over.
    pub(crate) expired: u64,
    /// Taken, not in the chain, and still valid. None may be.
    pub(crate) lost: u64,
    /// Taken, not in the chain, and the nodes have not settled.
    pub(crate) open: u64,
    /// In the chain although no node has said that it took them.
    pub(crate) silent: u64,
    /// Answers that named a receipt, each compared with the chain.
    pub(crate) answers_checked: u64,
}

impl Findings {
    pub(crate) fn acknowledged_total(&self) -> u64 {
        self.acknowledged.values().sum()
    }

    pub(crate) fn finals_total(&self) -> u64 {
        self.finals.values().sum()
    }
}

/// Receipts of a transaction, in the order of the chain: height, and whether it was applied. One that
/// was refused for now may have several.
type Receipts = BTreeMap<TransactionId, Vec<(Height, bool)>>;

/// Compares. Returns what was found, and every rule that does not hold. Before the nodes have settled,
/// their chains may differ in length, and what was taken need not be decided.
pub(crate) fn judge(
    directory: &Path,
    count: usize,
    sent: &[Sent],
    is_settled: bool,
) -> Result<(Findings, Vec<String>), VerifyError> {
    let mut broken = Vec::new();
    let chains = audit(directory, None, |_, _| {})?;
    let first = chains.first();
    for chain in chains.iter().filter(|_| is_settled) {
        if first.is_some_and(|first| {
            (first.height, first.state_root) != (chain.height, chain.state_root)
        }) {
            broken.push(format!(
                "{} ends at height {} with another state than the first node",
                chain.path.display(),
                chain.height
            ));
        }
    }
    let mut receipts = Receipts::new();
    let mut findings = Findings::default();
    let genesis = load_genesis(&directory.join(GENESIS_FILE))?;
    // The longest chain knows the most, if no snapshot took the place of its blocks.
    let whole = chains.iter().filter(|chain| chain.gaps.is_empty());
    let longest = whole.clone().max_by_key(|chain| chain.height);
    let node = longest.map(|chain| &chain.path);
    let Some(node) = node.filter(|_| chains.len() == count) else {
        broken.push(format!(
            "{} of {count} chains were found, {} of them whole",
            chains.len(),
            whole.count()
        ));
        return Ok((findings, broken));
    };
    let audited = audit_blocks(node, &genesis, |committed| {
        findings.blocks += 1;
        for receipt in committed.receipts.iter() {
            findings.receipts += 1;
            let all = receipts.entry(receipt.id).or_default();
            all.push((receipt.height, receipt.outcome.is_ok()));
        }
    })?;
    // Without the rest of the chain nobody knows what is missing for good.
    let end = is_settled.then_some(audited.height);
    compare(sent, &receipts, end, &mut findings, &mut broken);

    let accounts = genesis.ledger.accounts.iter();
    let supply: u128 = accounts.map(|account| account.balance.units()).sum();
    let held: u128 = audited.ledger.accounts().map(|a| a.total.units()).sum();
    if held != supply {
        broken.push(format!(
            "the accounts hold {held} units, the genesis has {supply}"
        ));
    }
    for (address, wanted) in balances(sent, &receipts) {
        let found = audited.ledger.account(&address).map(|a| a.total.units());
        if found != Some(wanted) {
            broken.push(format!(
                "{address} holds {found:?} units instead of {wanted}"
            ));
        }
    }
    Ok((findings, broken))
}

fn compare(
    sent: &[Sent],
    receipts: &Receipts,
    end: Option<Height>,
    findings: &mut Findings,
    broken: &mut Vec<String>,
) {
    for sent in sent {
        let found = receipts.get(&sent.id).map_or(&[][..], Vec::as_slice);
        let applied = found.iter().filter(|(_, is_applied)| *is_applied).count();
        if applied > 1 {
            broken.push(format!(
                "transaction {} is applied {applied} times",
                sent.id
            ));
        }
        for answer in &sent.decided {
            findings.answers_checked += 1;
            if !found.contains(answer) {
                broken.push(format!(
                    "transaction {}: a node named receipt {answer:?}, the chain has {found:?}",
                    sent.id
                ));
            }
        }
        let Some(node) = sent.taken_by else {
            findings.silent += u64::from(!found.is_empty());
            continue;
        };
        *findings.acknowledged.entry(sent.kind).or_default() += 1;
        if !found.is_empty() {
            *findings.finals.entry(sent.kind).or_default() += 1;
            findings.refused += u64::from(applied == 0);
            continue;
        }
        let Some(height) = end else {
            findings.open += 1;
            continue;
        };
        if sent.valid_until <= height {
            findings.expired += 1;
        } else {
            findings.lost += 1;
            broken.push(format!(
                "transaction {} is lost: node {node} took it after {} ms, it is valid until height {}, the chain ends at {height}",
                sent.id, sent.at_ms, sent.valid_until
            ));
        }
    }
}

/// What every account of the load has to hold.
fn balances(sent: &[Sent], receipts: &Receipts) -> BTreeMap<Address, u128> {
    let is_applied = |sent: &&Sent| {
        let found = receipts.get(&sent.id);
        found.is_some_and(|all| all.iter().any(|(_, is_applied)| *is_applied))
    };
    let mut changes: BTreeMap<Address, (u128, u128)> = BTreeMap::new();
    for moves in sent
        .iter()
        .filter(is_applied)
        .filter_map(|sent| sent.moves.as_ref())
    {
        changes.entry(moves.from.clone()).or_default().0 += moves.amount.units();
        changes.entry(moves.to.clone()).or_default().1 += moves.amount.units();
    }
    changes
        .into_iter()
        .map(|(address, (paid, got))| (address, (BALANCE.units() + got).saturating_sub(paid)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::load::Move;
    use super::*;
    use polity_types::Amount;

    fn sent(number: u8, valid_until: u64, is_taken: bool) -> Sent {
        Sent {
            id: TransactionId::new([number; 32]),
            kind: Kind::Transfer,
            moves: Some(Move {
                from: "a@x".parse().unwrap(),
                to: "b@x".parse().unwrap(),
                amount: Amount::from_units(5),
            }),
            valid_until: Height::new(valid_until),
            at_ms: 0,
            taken_by: is_taken.then_some(0),
            decided: Vec::new(),
        }
    }

    fn compared(all: &[Sent], receipts: &[(u8, &[(u64, bool)])]) -> (Findings, Vec<String>) {
        let receipts: Receipts = receipts
            .iter()
            .map(|(number, all)| {
                let all = all.iter().map(|(at, ok)| (Height::new(*at), *ok)).collect();
                (TransactionId::new([*number; 32]), all)
            })
            .collect();
        let mut findings = Findings::default();
        let mut broken = Vec::new();
        let end = Some(Height::new(10));
        compare(all, &receipts, end, &mut findings, &mut broken);
        (findings, broken)
    }

    #[test]
    fn what_was_taken_is_final_or_expired_or_lost() {
        let all = [sent(1, 99, true), sent(2, 10, true), sent(3, 99, false)];
        let (findings, broken) = compared(&all, &[(1, &[(4, true)]), (3, &[(5, true)])]);
        assert_eq!(broken, Vec::<String>::new());
        assert_eq!(
            (findings.acknowledged_total(), findings.finals_total()),
            (2, 1)
        );
        assert_eq!(
            (findings.expired, findings.lost, findings.silent),
            (1, 0, 1)
        );

        // One height more, and the second one is lost.
        let (findings, broken) = compared(&[sent(2, 11, true)], &[]);
        assert_eq!((findings.lost, broken.len()), (1, 1));
        assert!(broken[0].contains("is lost"), "{broken:?}");
    }

    #[test]
    fn a_second_application_and_a_false_answer_are_found() {
        let (_, broken) = compared(&[sent(1, 99, true)], &[(1, &[(4, true), (5, true)])]);
        assert!(broken[0].contains("applied 2 times"), "{broken:?}");
        // Refused for now, and applied later.
        let twice: &[(u64, bool)] = &[(4, false), (5, true)];
        assert_eq!(compared(&[sent(1, 99, true)], &[(1, twice)]).1.len(), 0);

        let mut told = sent(1, 99, true);
        told.decided.push((Height::new(4), false));
        assert_eq!(compared(&[told.clone()], &[(1, twice)]).1.len(), 0);
        told.decided.push((Height::new(4), true));
        let (findings, broken) = compared(&[told], &[(1, twice)]);
        assert_eq!((findings.answers_checked, broken.len()), (2, 1));
    }

    #[test]
    fn balances_follow_what_was_applied_once() {
        let all = [sent(1, 99, true), sent(2, 99, true), sent(3, 99, false)];
        let receipts = Receipts::from([
            (
                all[0].id,
                vec![(Height::new(1), false), (Height::new(2), true)],
            ),
            (all[1].id, vec![(Height::new(1), false)]),
            (all[2].id, vec![(Height::new(1), true)]),
        ]);
        let balances = balances(&all, &receipts);
        let of = |name: &str| balances[&name.parse::<Address>().unwrap()];
        assert_eq!(of("a@x"), BALANCE.units() - 10);
        assert_eq!(of("b@x"), BALANCE.units() + 10);
    }
}
