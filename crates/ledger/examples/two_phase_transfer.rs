//! Alice at thor pays Bob at sprout 200 ATP with LOCK and COMMIT, and a light client checks it.
//!
//! `cargo run -p polity-ledger --example two_phase_transfer`

use polity_crypto::ed25519::{Ed25519Signer, Ed25519Verifier};
use polity_crypto::{Checker, Signer, Verified};
use polity_ledger::{
    Address, Applied, Authority, Command, Genesis, GenesisAccount, GenesisPlatform, Ledger, LockId,
    Parameters, SignedTransaction, Transaction,
};
use polity_types::{ChainId, Height, Seed, Time};
use std::error::Error;

const CHAIN: ChainId = ChainId::new([7; 32]);

fn main() -> Result<(), Box<dyn Error>> {
    // In a federation each of them keeps a secret of 32 random bytes.
    let [authority, thor, sprout, alice, bob] =
        [1, 2, 3, 4, 5].map(|n| Ed25519Signer::from_seed(&[n; 32]));
    let (alice_at, bob_at): (Address, Address) = ("alice@thor".parse()?, "bob@sprout".parse()?);
    let genesis = Genesis {
        parameters: Parameters::default(),
        authority: Authority {
            keys: vec![authority.public_key().clone()],
            threshold: 1,
        },
        platforms: [("thor", &thor), ("sprout", &sprout)]
            .into_iter()
            .map(|(name, signer)| {
                Ok(GenesisPlatform {
                    name: name.parse()?,
                    key: signer.public_key().clone(),
                    quota: 100,
                })
            })
            .collect::<Result<_, Box<dyn Error>>>()?,
        accounts: vec![
            GenesisAccount {
                address: alice_at.clone(),
                owner: alice.public_key().clone(),
                balance: "1000".parse()?,
            },
            GenesisAccount {
                address: bob_at.clone(),
                owner: bob.public_key().clone(),
                balance: "500".parse()?,
            },
        ],
    };
    let mut ledger = Ledger::new(&genesis, CHAIN, Seed::new([9; 32]))?;
    show("genesis", &mut ledger);

    let lock = Command::Lock {
        from: alice_at.clone(),
        to: bob_at.clone(),
        amount: "200".parse()?,
        expires: Time::from_millis(60_000),
    };
    let lock = signed(&alice_at, &alice, lock)?;
    let id = LockId::derive(&lock.id(), 0);
    apply(&mut ledger, 1_000, lock)?;
    show("LOCK 200", &mut ledger);

    // Bob's platform takes what was locked.
    let commit = Command::Commit {
        lock: id,
        amount: "200".parse()?,
    };
    let applied = apply(&mut ledger, 2_000, signed(&bob_at, &sprout, commit)?)?;
    show("COMMIT 200", &mut ledger);

    // A light client knows the root from a decided header, and nothing else.
    let root = ledger.root();
    let proof = ledger.prove_account(&bob_at).ok_or("Bob has an account")?;
    println!(
        "proven from the root: {} has {} ATP",
        bob_at,
        proof.verify(&root)?.total
    );
    println!("receipts root {}", applied.receipts_root());
    ledger.check_invariants();
    Ok(())
}

fn signed(
    payer: &Address,
    signer: &Ed25519Signer,
    command: Command,
) -> Result<SignedTransaction, Box<dyn Error>> {
    let transaction = Transaction {
        chain: CHAIN,
        signer: payer.clone(),
        keys: vec![signer.public_key().clone()],
        commands: vec![command],
        valid_until: Height::new(100),
        nonce: 1,
    };
    Ok(transaction.sign(&[signer])?)
}

fn apply(
    ledger: &mut Ledger,
    time_ms: u64,
    transaction: SignedTransaction,
) -> Result<Applied, Box<dyn Error>> {
    let transaction = Verified::check(
        transaction,
        &CHAIN,
        &mut Checker::new(Ed25519Verifier::default(), 0),
    )?;
    let at = ledger.height().next();
    let fee_receiver = transaction.transaction().signer.clone();
    let time = Time::from_millis(time_ms);
    Ok(ledger.apply(at, time, &fee_receiver, &[&transaction])?)
}

fn show(step: &str, ledger: &mut Ledger) {
    println!("{step}: height {}, root {}", ledger.height(), ledger.root());
    for account in ledger.accounts() {
        println!(
            "  {:12} total {:>5}  available {:>5}  locked {:>5}",
            account.address.to_string(),
            account.total.to_string(),
            account.available().to_string(),
            account.locked.to_string()
        );
    }
    println!("  supply {}", ledger.supply().total());
}
