//! Ledgers and prepared blocks for the benchmarks.
#![allow(dead_code, reason = "each benchmark uses a part")]

use polity_crypto::stub::{StubSigner, StubVerifier};
use polity_crypto::{Checker, Signer as _, Verified};
use polity_ledger::{
    Address, Authority, Command, Genesis, GenesisAccount, GenesisPlatform, Ledger, Parameters,
    SignedTransaction, Transaction,
};
use polity_types::{Amount, ChainId, Height, Seed, Stream, Time};

pub(crate) const CHAIN: ChainId = ChainId::new([7; 32]);
pub(crate) type Block = Vec<Verified<SignedTransaction>>;

pub(crate) fn address(number: u64) -> Address {
    format!("agent-{number:07}@thor").parse().unwrap()
}

fn owner() -> StubSigner {
    StubSigner::new(2)
}

/// A ledger of `count` accounts with one owner, so that making blocks is quick.
pub(crate) fn ledger(count: u64) -> Ledger {
    let genesis = Genesis {
        parameters: Parameters::default(),
        authority: Authority {
            keys: vec![StubSigner::new(1).public_key().clone()],
            threshold: 1,
        },
        platforms: vec![GenesisPlatform {
            name: "thor".parse().unwrap(),
            key: owner().public_key().clone(),
            quota: 0,
        }],
        accounts: (0..count)
            .map(|number| GenesisAccount {
                address: address(number),
                owner: owner().public_key().clone(),
                balance: Amount::from_atp(1_000_000),
            })
            .collect(),
    };
    Ledger::new(&genesis, CHAIN, Seed::from_number(1)).unwrap()
}

/// The block at `height` of one command per transaction.
pub(crate) fn block(height: u64, commands: impl Iterator<Item = Command>) -> Block {
    let owner = owner();
    let mut checker = Checker::new(StubVerifier, 0);
    (0..)
        .zip(commands)
        .map(|(nonce, command)| {
            let transaction = Transaction {
                chain: CHAIN,
                signer: address(0),
                keys: vec![owner.public_key().clone()],
                commands: vec![command],
                valid_until: Height::new(height + 10),
                nonce,
            };
            let signed = transaction.sign(&[&owner]).unwrap();
            Verified::check(signed, &CHAIN, &mut checker).unwrap()
        })
        .collect()
}

/// Transfers between random accounts.
pub(crate) fn transfers(
    stream: &mut Stream,
    accounts: u64,
    count: u64,
) -> impl Iterator<Item = Command> {
    (0..count).map(move |_| {
        let from = stream.below(accounts);
        let to = (from + 1 + stream.below(accounts - 1)) % accounts;
        Command::Transfer {
            from: address(from),
            to: address(to),
            amount: Amount::from_units(1),
        }
    })
}

pub(crate) fn apply(ledger: &mut Ledger, block: &Block) -> polity_ledger::Applied {
    let transactions: Vec<_> = block.iter().collect();
    let at = ledger.height().next();
    ledger
        .apply(at, Time::from_millis(at.get()), &address(0), &transactions)
        .unwrap()
}
