//! Plays generated commands on the ledger and on the naive model, and compares them step by step.

use super::model::Model;
use super::{CHAIN, Tx, World, address, assert_receipts, genesis, key, lock, sign, signed};
use polity_crypto::stub::StubVerifier;
use polity_crypto::{Checker, Verified};
use polity_ledger::{
    BlockError, Command, CommitteeChange, Genesis, LockId, LockState, Parameters, Rejection,
    Restore,
};
use polity_types::{Amount, Height, Seed, Time};
use std::collections::BTreeSet;

/// What a generated transaction does; numbers pick from short lists, so that commands meet.
#[derive(Clone, Debug)]
pub struct Wish {
    pub kinds: Vec<(u8, u8, u8, u8, u8)>,
    /// Mostly the right keys; now and then somebody else's.
    pub keys: u8,
    pub signer: u8,
    /// Heights ahead of the block; too many of them now and then, and the past.
    pub until: i8,
    /// Repeats an earlier transaction instead.
    pub replay: Option<u8>,
}

#[derive(Clone, Debug)]
pub struct Step {
    pub wishes: Vec<Wish>,
    pub elapsed: u8,
    pub receiver: u8,
}

const ACCOUNTS: [&str; 8] = [
    "alice@thor",
    "bob@sprout",
    "carol@thor",
    "fees@thor",
    "dave@thor",
    "erin@sprout",
    "frank@legion",
    "gina@thor",
];

fn account(number: u8) -> &'static str {
    // The first two have money: they are picked most often.
    match number % 16 {
        0..=4 => ACCOUNTS[0],
        5..=8 => ACCOUNTS[1],
        other => ACCOUNTS[usize::from(other) - 8],
    }
}

/// Limits so tight that every one of them is hit, prices from a few choices.
fn tight(fees: u8) -> Genesis {
    let units = |n: u8| Amount::from_units(u128::from(n));
    genesis(Parameters {
        fee_flat: units(fees % 3),
        fee_per_byte: units(fees / 3 % 2),
        open_fee: units(fees / 6 % 2 * 9),
        min_lock: units(3),
        lock_horizon_ms: 60,
        open_locks_max: 2,
        expiries_per_block_max: 2,
        validity_horizon: 4,
        transactions_per_block_max: 16,
        recent_ids_max: 64,
        accounts_max: 6,
        locks_max: 4,
    })
}

/// Turns wishes into commands and remembers what they can refer to.
struct Maker {
    sent: Vec<Tx>,
    locks: Vec<(LockId, &'static str, &'static str, u128)>,
}

impl Maker {
    fn transaction(&mut self, wish: &Wish, at: Height, time: u64) -> Tx {
        if let Some(number) = wish.replay
            && !self.sent.is_empty()
        {
            return self.sent[usize::from(number) % self.sent.len()].clone();
        }
        let mut keys: Vec<&'static str> = Vec::new();
        let mut commands = Vec::new();
        let mut locks = Vec::new();
        for (item, kind) in wish.kinds.iter().enumerate() {
            commands.push(self.command(*kind, time, &mut keys, item, &mut locks));
        }
        match wish.keys {
            0 => keys.insert(0, "mallory@thor"),
            1 => keys = vec!["mallory@thor"],
            2 => keys = vec![account(wish.signer)],
            3 => keys.push("root1"),
            _ => {}
        }
        let signer = match wish.signer % 4 {
            0 => account(wish.signer / 4),
            _ => keys
                .iter()
                .find(|key| key.contains('@'))
                .copied()
                .unwrap_or(account(wish.signer / 4)),
        };
        if wish.signer % 8 > 1 {
            // The payer of the fee signs first.
            keys.insert(0, signer);
        }
        let mut distinct = Vec::new();
        for key in keys {
            if !distinct.contains(&key) {
                distinct.push(key);
            }
        }
        let until = at.get().saturating_add_signed(i64::from(wish.until));
        let nonce = self.sent.len() as u64;
        let transaction = sign(signer, &distinct, commands, Height::new(until), nonce);
        for (item, from, to, units) in locks {
            self.locks
                .push((LockId::derive(&transaction.id(), item), from, to, units));
        }
        self.sent.push(transaction.clone());
        transaction
    }

    fn command(
        &self,
        (kind, a, b, c, d): (u8, u8, u8, u8, u8),
        time: u64,
        keys: &mut Vec<&'static str>,
        item: usize,
        locks: &mut Vec<(u8, &'static str, &'static str, u128)>,
    ) -> Command {
        let (from, to) = (account(a), account(b));
        let platform = |text: &str| match text {
            _ if text.ends_with("thor") => "thor",
            _ if text.ends_with("sprout") => "sprout",
            _ => "legion",
        };
        let amount = Amount::from_units(match c % 8 {
            0 => 0,
            1 => 1_000_000_000,
            2 => 600_000_000,
            3 => Amount::SUPPLY_MAX.units() - 1_500_000_000,
            other => u128::from(other) * u128::from(d % 16),
        });
        let lock = self.locks.len().checked_sub(1).map(|last| {
            // Recent locks are picked more often.
            self.locks[last - usize::from(a) % (last + 1).min(10)]
        });
        let unknown = (LockId::new([a; 32]), "alice@thor", "bob@sprout", 7);
        match kind {
            0..=4 => {
                keys.push(from);
                Command::Transfer {
                    from: address(from),
                    to: address(to),
                    amount,
                }
            }
            5..=11 => {
                keys.push(from);
                let units = u128::from(c % 16);
                locks.push((item as u8, from, to, units));
                Command::Lock {
                    from: address(from),
                    to: address(to),
                    amount: Amount::from_units(units),
                    expires: Time::from_millis(time + u64::from(d % 72)),
                }
            }
            12..=15 => {
                let (lock, from, to, units) = lock.unwrap_or(unknown);
                keys.push(if b % 3 == 0 { from } else { platform(to) });
                let units = match c % 5 {
                    0 => u128::from(d % 16),
                    _ => units,
                };
                Command::Commit {
                    lock,
                    amount: Amount::from_units(units),
                }
            }
            16 => {
                let (lock, from, to, _) = lock.unwrap_or(unknown);
                keys.push(if b % 3 == 0 { from } else { platform(to) });
                Command::Rollback {
                    lock,
                    reason: "TIMEOUT".parse().unwrap(),
                }
            }
            17 | 18 | 26 | 27 => {
                // Those that are not in the genesis, mostly.
                let from = account(a | 8);
                keys.push(platform(from));
                Command::OpenAccount {
                    account: address(from),
                    owner: key(from),
                }
            }
            19 | 28 | 29 => {
                let from = account(a | 8);
                keys.push(platform(from));
                Command::CloseAccount {
                    account: address(from),
                }
            }
            20 => {
                keys.push(from);
                // Rotates back as well, so that accounts stay in play.
                Command::RotateKey {
                    account: address(from),
                    key: key(if b % 2 == 0 { "mallory@thor" } else { from }),
                }
            }
            other => {
                keys.extend(["root1", "root2"]);
                match other {
                    ..=21 => Command::FreezeAccount {
                        account: address(from),
                        frozen: c % 3 == 0,
                    },
                    22 => Command::RegisterPlatform {
                        platform: platform(from).parse().unwrap(),
                        key: key(platform(from)),
                        quota: u64::from(d % 3),
                    },
                    23 => Command::Mint {
                        to: address(to),
                        amount,
                    },
                    24 => Command::Burn {
                        from: address(from),
                        amount,
                    },
                    25.. => Command::ChangeCommittee {
                        change: CommitteeChange::new(&[a, b]).unwrap(),
                    },
                }
            }
        }
    }
}

fn assert_same(world: &World, model: &Model) {
    let accounts: Vec<_> = world.ledger.accounts().collect();
    assert_eq!(accounts.len(), model.accounts.len());
    for found in accounts {
        let expected = &model.accounts[&found.address];
        assert_eq!(found.total.units(), expected.total, "{}", found.address);
        assert_eq!(found.locked.units(), model.locked(&found.address));
        assert_eq!(found.owner, expected.owner.fingerprint());
        assert_eq!(
            (found.is_frozen, found.is_closed, found.changed.get()),
            (expected.frozen, expected.closed, expected.changed),
            "{}",
            found.address
        );
    }
    let locks: Vec<_> = world.ledger.locks().collect();
    assert_eq!(locks.len(), model.locks.len());
    for found in locks {
        let expected = &model.locks[&found.id];
        assert_eq!((&found.from, &found.to), (&expected.from, &expected.to));
        assert_eq!(
            (found.amount.units(), found.paid.units(), found.expires),
            (expected.amount, expected.paid, expected.expires)
        );
        assert_eq!(
            (found.state, found.settled_at.get()),
            (expected.state, expected.settled_at)
        );
    }
    let supply = world.ledger.supply();
    assert_eq!(
        (supply.minted.units(), supply.burned.units()),
        (model.minted, model.burned)
    );
    assert_eq!(supply.total().units(), model.supply());
    assert_eq!(world.ledger.committee_changes().len(), model.changes);
    assert_eq!(world.ledger.recent_len(), model.decided.len());
    for (id, (_, receipt)) in &model.decided {
        assert_eq!(world.ledger.receipt(id).as_ref(), Some(receipt));
    }
    let next = model
        .locks
        .values()
        .filter(|lock| lock.state == LockState::Open);
    assert_eq!(
        world.ledger.next_expiry(),
        next.map(|lock| lock.expires).min()
    );
}

/// Runs both and answers with the outcomes that occurred.
pub fn compare(fees: u8, steps: &[Step]) -> (BTreeSet<Rejection>, BTreeSet<String>) {
    let mut rejections = BTreeSet::new();
    let mut inadmissible = BTreeSet::new();
    let genesis = tight(fees);
    let mut world = World::of(&genesis);
    let mut model = Model::new(&genesis);
    let mut maker = Maker {
        sent: Vec::new(),
        locks: Vec::new(),
    };
    let mut time = 1_000;
    for step in steps {
        time += u64::from(step.elapsed);
        let now = Time::from_millis(time);
        let at = world.ledger.height().next();
        let receiver = address(match step.receiver {
            0 => "nobody@thor",
            1 => "alice@thor",
            _ => "fees@thor",
        });
        let candidates: Vec<_> = step
            .wishes
            .iter()
            .map(|wish| maker.transaction(wish, at, time))
            .collect();
        let candidates: Vec<&Tx> = candidates.iter().collect();
        let plain: Vec<_> = candidates.iter().map(|tx| &***tx).collect();
        let (expired, results) = model.block(at, now, &receiver, &plain);

        let root = world.ledger.root();
        let selection = world.ledger.select(now, &receiver, &candidates, usize::MAX);
        assert_eq!(world.ledger.root(), root, "choosing changes nothing");
        let refused: Vec<_> = (0..)
            .zip(&results)
            .filter_map(|(place, result)| Some((place, result.err()?)))
            .collect();
        assert_eq!(selection.refused, refused);
        // Whatever a malicious proposer leaves in makes the block invalid at its place.
        if let Some((place, reason)) = refused.first() {
            let error = BlockError::Transaction {
                index: *place as u32,
                reason: *reason,
            };
            let up_to = &candidates[..=*place];
            assert_eq!(world.ledger.validate(at, now, &receiver, up_to), Err(error));
            assert_eq!(world.ledger.apply(at, now, &receiver, up_to), Err(error));
            assert_eq!(
                world.ledger.root(),
                root,
                "an invalid block changes nothing"
            );
        }
        let taken: Vec<_> = selection
            .taken
            .iter()
            .map(|place| candidates[*place])
            .collect();
        assert_eq!(world.ledger.validate(at, now, &receiver, &taken), Ok(()));
        let applied = world.ledger.apply(at, now, &receiver, &taken).unwrap();
        world.ledger.check_invariants();
        let expected: Vec<_> = results.iter().filter_map(|result| result.ok()).collect();
        assert_receipts(&applied.receipts, &expected);
        assert_eq!(applied.expired, expired);
        assert_same(&world, &model);
        rejections.extend(expected.iter().filter_map(|receipt| receipt.outcome.err()));
        inadmissible.extend(refused.iter().map(|(_, reason)| format!("{reason:?}")));
    }
    assert_restores(&genesis, &mut world);
    (rejections, inadmissible)
}

/// LG-13: the ledger that a snapshot gives is the one that was replayed, now and later.
fn assert_restores(genesis: &Genesis, world: &mut World) {
    let root = world.ledger.root();
    let height = world.ledger.height();
    let seed = Seed::from_number(99);
    let mut restore = Restore::new(genesis, CHAIN, height, root, seed).unwrap();
    for chunk in world.ledger.snapshot() {
        restore.push(&chunk).unwrap();
    }
    let mut restored = restore.finish().unwrap();
    let mut checker = Checker::new(StubVerifier, 0);
    for number in 0..8 {
        let lock = lock("alice@thor", "bob@sprout", "0.000005", 10_050);
        let until = Height::new(height.get() + 3);
        let signed = signed(
            "alice@thor",
            &["alice@thor"],
            vec![lock],
            until,
            1_000 + number,
        );
        let transaction = Verified::check(signed, &CHAIN, &mut checker).unwrap();
        let at = world.ledger.height().next();
        let time = Time::from_millis(10_000 + number * 30);
        let receiver = address("bob@sprout");
        let block: &[&Tx] = if world.ledger.check(at, &transaction).is_ok() {
            &[&transaction]
        } else {
            &[]
        };
        assert_eq!(
            world.ledger.apply(at, time, &receiver, block),
            restored.apply(at, time, &receiver, block)
        );
        assert_eq!(world.ledger.root(), restored.root());
    }
    assert!(world.ledger.snapshot().eq(restored.snapshot()));
}
