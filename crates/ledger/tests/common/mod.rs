//! Keys, genesis and transactions by name, for all tests of the crate.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

pub mod model;
pub mod play;

use polity_crypto::stub::{StubSigner, StubVerifier};
use polity_crypto::{Checker, PublicKey, Signer, Verified};
use polity_ledger::{
    Address, Applied, Authority, BlockError, Command, Genesis, GenesisAccount, GenesisPlatform,
    Ledger, LockId, Outcome, Parameters, Receipt, Rejection, SignedTransaction, Transaction,
};
use polity_types::{Amount, ChainId, Height, Seed, Time};

pub const CHAIN: ChainId = ChainId::new([7; 32]);

pub type Tx = Verified<SignedTransaction>;

/// The signer with a name. Accounts are owned by the key of their address, platforms by the key of
/// their name, the authority by `root1`, `root2` and `root3`, of which two must sign.
pub fn signer(name: &str) -> StubSigner {
    let number = name.bytes().fold(17_u64, |sum, byte| {
        sum.wrapping_mul(257).wrapping_add(u64::from(byte))
    });
    StubSigner::new(number)
}

pub fn key(name: &str) -> PublicKey {
    signer(name).public_key().clone()
}

pub fn address(text: &str) -> Address {
    text.parse().unwrap()
}

pub fn amount(text: &str) -> Amount {
    text.parse().unwrap()
}

/// Thor and sprout; Alice has 1000 at thor and Bob 500 at sprout, as in Web4's own demo.
pub fn genesis(parameters: Parameters) -> Genesis {
    let platform = |name: &str, quota| GenesisPlatform {
        name: name.parse().unwrap(),
        key: key(name),
        quota,
    };
    let account = |text: &str, balance: &str| GenesisAccount {
        address: address(text),
        owner: key(text),
        balance: amount(balance),
    };
    Genesis {
        parameters,
        authority: Authority {
            keys: ["root1", "root2", "root3"].map(key).to_vec(),
            threshold: 2,
        },
        platforms: vec![platform("thor", 2), platform("sprout", 2)],
        accounts: vec![
            account("alice@thor", "1000"),
            account("bob@sprout", "500"),
            account("carol@thor", "0"),
            account("fees@thor", "0"),
        ],
    }
}

/// A ledger with the clock and the nonces of a test.
pub struct World {
    pub ledger: Ledger,
    pub time: u64,
    pub nonce: u64,
}

impl World {
    pub fn new() -> Self {
        Self::with(Parameters::default())
    }

    pub fn with(parameters: Parameters) -> Self {
        Self::of(&genesis(parameters))
    }

    pub fn of(genesis: &Genesis) -> Self {
        Self {
            ledger: Ledger::new(genesis, CHAIN, Seed::from_number(1)).unwrap(),
            time: 1_000,
            nonce: 0,
        }
    }

    /// A transaction of one command, signed by the keys with these names for the account `signer`.
    pub fn tx(&mut self, signer: &str, keys: &[&str], command: Command) -> Tx {
        self.atomic(signer, keys, vec![command])
    }

    pub fn atomic(&mut self, signer: &str, keys: &[&str], commands: Vec<Command>) -> Tx {
        self.nonce += 1;
        let until = self.ledger.height().saturating_add(10);
        sign(signer, keys, commands, until, self.nonce)
    }

    /// A transaction that the owner of an account signs alone.
    pub fn own(&mut self, owner: &str, command: Command) -> Tx {
        self.tx(owner, &[owner], command)
    }

    /// Applies the next block a second later and checks the invariants.
    pub fn block(&mut self, transactions: &[&Tx]) -> Applied {
        self.try_block(transactions).unwrap()
    }

    pub fn try_block(&mut self, transactions: &[&Tx]) -> Result<Applied, BlockError> {
        self.time += 1_000;
        self.block_at(self.time, transactions)
    }

    pub fn block_at(&mut self, time: u64, transactions: &[&Tx]) -> Result<Applied, BlockError> {
        let at = self.ledger.height().next();
        let before = self.ledger.root();
        let time = Time::from_millis(time);
        let receiver = address("fees@thor");
        let verdict = self.ledger.validate(at, time, &receiver, transactions);
        assert_eq!(self.ledger.root(), before, "validating changes nothing");
        let applied = self.ledger.apply(at, time, &receiver, transactions);
        assert_eq!(applied.as_ref().err(), verdict.as_ref().err());
        if applied.is_err() {
            assert_eq!(
                self.ledger.root(),
                before,
                "an invalid block changes nothing"
            );
        }
        self.ledger.check_invariants();
        applied
    }

    /// Applies a block of one transaction and answers with its outcome.
    pub fn run(&mut self, transaction: &Tx) -> Result<Outcome, Rejection> {
        self.block(&[transaction]).receipts[0].outcome
    }

    /// Makes a lock from Alice to Bob that Alice signs.
    pub fn lock(&mut self, units: &str, expires: u64) -> LockId {
        let transaction = self.own(
            "alice@thor",
            lock("alice@thor", "bob@sprout", units, expires),
        );
        match self.run(&transaction) {
            Ok(Outcome::Locked(id)) => id,
            other => panic!("no lock but {other:?}"),
        }
    }

    /// Total, available and locked balance.
    pub fn balance(&self, text: &str) -> (String, String, String) {
        let account = self.ledger.account(&address(text)).unwrap();
        (
            account.total.to_string(),
            account.available().to_string(),
            account.locked.to_string(),
        )
    }

    pub fn assert_balance(&self, text: &str, total: &str, available: &str, locked: &str) {
        let expected = (total.to_owned(), available.to_owned(), locked.to_owned());
        assert_eq!(
            self.balance(text),
            expected,
            "{text}: total, available, locked"
        );
    }
}

pub fn sign(
    signer_text: &str,
    keys: &[&str],
    commands: Vec<Command>,
    until: Height,
    nonce: u64,
) -> Tx {
    verified(signed(signer_text, keys, commands, until, nonce))
}

pub fn signed(
    signer_text: &str,
    keys: &[&str],
    commands: Vec<Command>,
    until: Height,
    nonce: u64,
) -> SignedTransaction {
    let signers: Vec<_> = keys.iter().map(|name| signer(name)).collect();
    let signers: Vec<&dyn Signer> = signers.iter().map(|s| s as &dyn Signer).collect();
    let transaction = Transaction {
        chain: CHAIN,
        signer: address(signer_text),
        keys: keys.iter().map(|name| key(name)).collect(),
        commands,
        valid_until: until,
        nonce,
    };
    transaction.sign(&signers).unwrap()
}

pub fn verified(transaction: SignedTransaction) -> Tx {
    Verified::check(transaction, &CHAIN, &mut Checker::new(StubVerifier, 0)).unwrap()
}

pub fn transfer(from: &str, to: &str, units: &str) -> Command {
    Command::Transfer {
        from: address(from),
        to: address(to),
        amount: amount(units),
    }
}

pub fn lock(from: &str, to: &str, units: &str, expires: u64) -> Command {
    Command::Lock {
        from: address(from),
        to: address(to),
        amount: amount(units),
        expires: Time::from_millis(expires),
    }
}

pub fn commit(lock: LockId, units: &str) -> Command {
    Command::Commit {
        lock,
        amount: amount(units),
    }
}

pub fn rollback(lock: LockId) -> Command {
    Command::Rollback {
        lock,
        reason: "TIMEOUT".parse().unwrap(),
    }
}

pub fn open(account: &str) -> Command {
    Command::OpenAccount {
        account: address(account),
        owner: key(account),
    }
}

/// Whether two receipts say the same, for messages that show both.
pub fn assert_receipts(found: &[Receipt], expected: &[Receipt]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected);
    }
}
