//! Stable codes, and the rejections that need a full ledger.

mod common;

use common::{World, key, sign};
use polity_ledger::{Command, CommitteeChange, Rejection};
use polity_types::Height;
use rstest::rstest;

/// Codes are in receipts for ever: a change of this table is a change of the format.
#[rstest]
#[case(1, Rejection::ZeroAmount, false)]
#[case(2, Rejection::SameAccount, false)]
#[case(3, Rejection::PlatformNotFound, true)]
#[case(4, Rejection::PlatformExists, false)]
#[case(5, Rejection::AccountNotFound, true)]
#[case(6, Rejection::AccountExists, false)]
#[case(7, Rejection::AccountClosed, false)]
#[case(8, Rejection::LockNotFound, true)]
#[case(9, Rejection::AlreadyCommitted, false)]
#[case(10, Rejection::AlreadyRolledBack, false)]
#[case(11, Rejection::LockExpired, false)]
#[case(12, Rejection::NotAuthorised, false)]
#[case(13, Rejection::AccountFrozen, true)]
#[case(14, Rejection::AmountAboveLock, false)]
#[case(15, Rejection::PartialCommit, false)]
#[case(16, Rejection::AmountBelowMinimum, false)]
#[case(17, Rejection::ExpiryPassed, false)]
#[case(18, Rejection::ExpiryTooFar, true)]
#[case(19, Rejection::TooManyOpenLocks, true)]
#[case(20, Rejection::InsufficientFunds, true)]
#[case(21, Rejection::AccountNotEmpty, true)]
#[case(22, Rejection::AccountHasLocks, true)]
#[case(23, Rejection::QuotaExhausted, false)]
#[case(24, Rejection::SupplyExceeded, true)]
#[case(25, Rejection::AccountsFull, false)]
#[case(26, Rejection::LocksFull, true)]
#[case(27, Rejection::PlatformsFull, false)]
#[case(28, Rejection::ChangesFull, true)]
fn lg_8_codes_are_stable(
    #[case] code: u16,
    #[case] rejection: Rejection,
    #[case] is_transient: bool,
) {
    assert_eq!(rejection.code(), code);
    assert_eq!(Rejection::from_code(code), Some(rejection));
    assert_eq!(Rejection::ALL[usize::from(code) - 1], rejection);
    assert_eq!(rejection.is_transient(), is_transient);
}

#[test]
fn lg_8_the_table_above_is_complete() {
    assert_eq!(Rejection::ALL.len(), 28);
    assert_eq!(Rejection::from_code(0), None);
    assert_eq!(Rejection::from_code(29), None);
    assert!(Rejection::ALL.is_sorted(), "the order is the precedence");
}

const ROOTS: [&str; 2] = ["root1", "root2"];

/// Runs commands in transactions of 64 and answers with the last outcome and its command.
fn run_all(world: &mut World, commands: &[Command]) -> (Option<Rejection>, Option<u8>) {
    let mut last = (None, None);
    for (nonce, part) in (0..).zip(commands.chunks(64)) {
        let until = Height::new(1_000);
        let transaction = sign("alice@thor", &ROOTS, part.to_vec(), until, nonce);
        let receipt = world.block(&[&transaction]).receipts[0];
        last = (receipt.outcome.err(), receipt.refused_command);
    }
    last
}

#[test]
fn lg_3_platforms_are_bounded() {
    let mut world = World::new();
    let register = |number: usize| Command::RegisterPlatform {
        platform: format!("p{number}").parse().unwrap(),
        key: key("thor"),
        quota: 0,
    };
    // Two platforms stand in the genesis.
    let rest: Vec<_> = (0..4_094).map(register).collect();
    assert_eq!(run_all(&mut world, &rest), (None, None));
    assert_eq!(world.ledger.platforms().count(), 4_096);
    let one_more = world.tx("alice@thor", &ROOTS, register(9_999));
    assert_eq!(world.run(&one_more), Err(Rejection::PlatformsFull));
}

#[test]
fn lg_5_committee_changes_wait_in_order_and_are_bounded() {
    let mut world = World::new();
    let change = |number: usize| Command::ChangeCommittee {
        change: CommitteeChange::new(&number.to_le_bytes()).unwrap(),
    };
    let some: Vec<_> = (0..256).map(change).collect();
    assert_eq!(run_all(&mut world, &some), (None, None));
    let one_more = world.tx("alice@thor", &ROOTS, change(256));
    assert_eq!(world.run(&one_more), Err(Rejection::ChangesFull));
    let root = world.ledger.root();

    // The first 128 were decided at heights 1 and 2.
    let due = world.ledger.take_committee_changes(Height::new(2));
    let numbers: Vec<_> = due.iter().map(|p| p.change.as_slice()[0]).collect();
    assert_eq!(numbers, (0..128).collect::<Vec<u8>>());
    assert_eq!(world.ledger.committee_changes().len(), 128);
    assert_ne!(world.ledger.root(), root, "what waits is under the root");
    let again = world.tx("alice@thor", &ROOTS, change(256));
    assert!(world.run(&again).is_ok());
}
