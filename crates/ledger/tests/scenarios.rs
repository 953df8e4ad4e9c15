//! Scenarios as text, one command per line with its result.
//!
//! ```text
//! genesis fee_flat=1 min_lock=5       parameters that differ from the default
//! block 2000                          the next block, at this time
//! alice@thor: transfer alice@thor bob@sprout 5 -> applied
//! sprout as bob@sprout: commit L 200 -> locked
//! alice@thor+thor: transfer ...; open c@thor -> refused 1 insufficient funds
//! balance alice@thor 800 800 0        total, available, locked
//! ```
//!
//! Before the colon stand the keys that sign, and the account that pays the fee if it is not the
//! first key's. Transactions up to the next other line are one block. Locks are named where they
//! are made: `lock L from to amount expires`.

mod common;

use common::{Tx, World, address, amount, key};
use polity_ledger::{Command, CommitteeChange, LockId, Outcome, Parameters, Rejection};
use polity_types::Time;
use rstest::rstest;
use std::collections::BTreeMap;

#[rstest]
#[case::two_phase(include_str!("scenarios/two_phase.txt"))]
#[case::fees(include_str!("scenarios/fees.txt"))]
#[case::accounts(include_str!("scenarios/accounts.txt"))]
#[case::expiry(include_str!("scenarios/expiry.txt"))]
#[case::atomic(include_str!("scenarios/atomic.txt"))]
fn scenario(#[case] text: &str) {
    Runner::default().run(text);
}

#[derive(Default)]
struct Runner {
    world: Option<World>,
    time: u64,
    locks: BTreeMap<String, LockId>,
    /// Transactions of the block so far, with their expected results and their lines.
    pending: Vec<(Tx, String, String)>,
    is_block_open: bool,
    expired: Vec<LockId>,
}

impl Runner {
    fn run(&mut self, text: &str) {
        let lines = text.lines().map(str::trim);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let words: Vec<_> = line.split_whitespace().collect();
            match words[0] {
                "genesis" => self.world = Some(World::with(parameters(&words[1..]))),
                "block" => {
                    self.flush();
                    self.time = words[1].parse().unwrap();
                    self.is_block_open = true;
                }
                "balance" => {
                    self.flush();
                    self.world()
                        .assert_balance(words[1], words[2], words[3], words[4]);
                }
                "supply" => {
                    self.flush();
                    assert_eq!(self.world().ledger.supply().total(), amount(words[1]));
                }
                "expired" => {
                    self.flush();
                    let expected: Vec<_> =
                        words[1..].iter().map(|name| self.locks[*name]).collect();
                    let mut expired = self.expired.clone();
                    // Locks of one moment expire by their ids, which a text cannot know.
                    expired.sort_by_key(|id| expected.iter().position(|other| other == id));
                    assert_eq!(expired, expected, "{line}");
                }
                "next_expiry" => {
                    self.flush();
                    let next = self.world().ledger.next_expiry();
                    assert_eq!(next, words[1].parse().ok().map(Time::from_millis), "{line}");
                }
                _ => self.transaction(line),
            }
        }
        self.flush();
    }

    fn world(&mut self) -> &mut World {
        self.world
            .as_mut()
            .expect("a scenario starts with its genesis")
    }

    fn transaction(&mut self, line: &str) {
        let (who, rest) = line.split_once(": ").expect("keys: commands -> result");
        let (commands, expected) = rest.split_once(" -> ").expect("commands -> result");
        let (keys, payer) = match who.split_once(" as ") {
            Some((keys, payer)) => (keys, payer),
            None => (who, who.split('+').next().unwrap()),
        };
        let keys: Vec<_> = keys.split('+').collect();
        let mut names = Vec::new();
        let commands = (0..)
            .zip(commands.split("; "))
            .map(|(item, command)| self.command(item, command, &mut names))
            .collect();
        let transaction = self.world().atomic(payer, &keys, commands);
        for (item, name) in names {
            self.locks
                .insert(name, LockId::derive(&transaction.id(), item));
        }
        self.pending
            .push((transaction, expected.to_owned(), line.to_owned()));
    }

    fn command(&self, item: u8, text: &str, names: &mut Vec<(u8, String)>) -> Command {
        let words: Vec<_> = text.split_whitespace().collect();
        let lock = |name: &str| self.locks.get(name).copied().unwrap_or(LockId::ZERO);
        match words[..] {
            ["open", account] => common::open(account),
            ["close", account] => Command::CloseAccount {
                account: address(account),
            },
            ["transfer", from, to, units] => common::transfer(from, to, units),
            ["lock", name, from, to, units, expires] => {
                names.push((item, name.to_owned()));
                common::lock(from, to, units, expires.parse().unwrap())
            }
            ["commit", name, units] => common::commit(lock(name), units),
            ["rollback", name] => common::rollback(lock(name)),
            ["rotate", account, new] => Command::RotateKey {
                account: address(account),
                key: key(new),
            },
            ["freeze", account] => Command::FreezeAccount {
                account: address(account),
                frozen: true,
            },
            ["thaw", account] => Command::FreezeAccount {
                account: address(account),
                frozen: false,
            },
            ["register", name, quota] => Command::RegisterPlatform {
                platform: name.parse().unwrap(),
                key: key(name),
                quota: quota.parse().unwrap(),
            },
            ["mint", to, units] => Command::Mint {
                to: address(to),
                amount: amount(units),
            },
            ["burn", from, units] => Command::Burn {
                from: address(from),
                amount: amount(units),
            },
            ["committee", bytes] => Command::ChangeCommittee {
                change: CommitteeChange::new(bytes.as_bytes()).unwrap(),
            },
            _ => panic!("no command: {text}"),
        }
    }

    /// Applies the block and compares each result with its line.
    fn flush(&mut self) {
        if !std::mem::take(&mut self.is_block_open) {
            assert!(self.pending.is_empty(), "transactions stand in a block");
            return;
        }
        let pending = std::mem::take(&mut self.pending);
        let transactions: Vec<_> = pending
            .iter()
            .map(|(transaction, _, _)| transaction)
            .collect();
        let time = self.time;
        match self.world().block_at(time, &transactions) {
            Ok(applied) => {
                for (receipt, (_, expected, line)) in applied.receipts.iter().zip(&pending) {
                    let found = match (receipt.outcome, receipt.refused_command) {
                        (Ok(Outcome::Applied), None) => "applied".to_owned(),
                        (Ok(Outcome::Locked(_)), None) => "locked".to_owned(),
                        (Err(rejection), Some(item)) => {
                            format!("refused {item} {}", name(rejection))
                        }
                        other => panic!("{line}: {other:?}"),
                    };
                    assert_eq!(found, *expected, "{line}");
                }
                self.expired = applied.expired;
            }
            Err(error) => {
                let last = pending.last().map(|(_, expected, _)| expected.as_str());
                let found = format!("invalid {error}");
                assert_eq!(Some(found.as_str()), last);
            }
        }
    }
}

fn name(rejection: Rejection) -> String {
    serde_json::to_value(rejection)
        .unwrap()
        .as_str()
        .unwrap()
        .to_owned()
}

/// `name=value`, where amounts are texts and numbers are numbers.
fn parameters(words: &[&str]) -> Parameters {
    let mut json = serde_json::to_value(Parameters::default()).unwrap();
    for word in words {
        let (name, value) = word.split_once('=').expect("name=value");
        json[name] = if json[name].is_string() {
            value.into()
        } else {
            value.parse::<u64>().unwrap().into()
        };
    }
    serde_json::from_value(json).unwrap()
}
