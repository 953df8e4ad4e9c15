//! Proofs convince somebody who holds only the genesis, and no bit of them can be changed.

use crate::federation::{Federation, address, amount, commit, lock};
use polity_consensus::fbpbft::Chain;
use polity_crypto::stub::StubVerifier;
use polity_ledger::{LockId, LockState, Outcome, ReceiptProof, SignedTransaction};
use polity_replica::Committed;
use polity_replica::proof::{
    AccountProof, FinalityProof, LockProof, PROOF_BYTES_MAX, Proofs, TransactionProof,
};
use polity_types::{FinalityVerifier, Height, ProofError, Time, wire};
use serde::Serialize;
use serde::de::DeserializeOwned;

struct Story {
    federation: Federation,
    /// What a stranger makes of the genesis alone.
    chain: Chain,
    lock: SignedTransaction,
}

/// Alice's LOCK, then some transfers in one block, so that trees have more than one leaf.
fn story() -> Story {
    let mut federation = Federation::new();
    let expires = Time::from_millis(60_000_000);
    let commands = vec![lock("alice@thor", "bob@sprout", "200", expires)];
    let lock_200 = federation.transaction("alice@thor", &["alice@thor"], commands);
    let mut batch = vec![lock_200.clone()];
    for _ in 0..4 {
        batch.push(federation.transfer("bob@sprout", "carol@thor", "1"));
    }
    let verified = batch.iter().map(|t| federation.verified(t)).collect();
    let leader = federation.next_leader();
    federation.input(leader, polity_replica::Input::Submitted(verified));
    federation.settle(&lock_200);
    let chain = federation.genesis.chain().unwrap();
    Story {
        federation,
        chain,
        lock: lock_200,
    }
}

fn finality(committed: &Committed) -> FinalityProof {
    FinalityProof {
        header: committed.block.header().clone(),
        certificate: committed.certificate.clone(),
    }
}

impl Story {
    fn last(&self) -> FinalityProof {
        finality(self.federation.nodes[0].chain.last().unwrap())
    }

    fn account(&mut self, account: &str) -> AccountProof {
        let ledger = self.federation.nodes[0].replica.ledger_mut();
        let state = ledger.prove_account(&address(account)).unwrap();
        AccountProof {
            finality: self.last(),
            state,
        }
    }

    fn lock(&mut self) -> LockProof {
        let id = LockId::derive(&self.lock.id(), 0);
        let ledger = self.federation.nodes[0].replica.ledger_mut();
        let state = ledger.prove_lock(&id).unwrap();
        LockProof {
            finality: self.last(),
            state,
        }
    }

    /// The proof for the transaction at a place of the first block.
    fn transaction(&self, index: u32) -> TransactionProof {
        let chain = &self.federation.nodes[0].chain;
        TransactionProof {
            finality: finality(&chain[1]),
            receipt: ReceiptProof::new(&chain[0].receipts, index).unwrap(),
        }
    }
}

/// FB-2: a proof says one thing. Every flipped bit of its encoding is found out, by the decoder or
/// by the check.
fn every_bit_counts<T: Serialize + DeserializeOwned>(proof: &T, verify: impl Fn(&T) -> bool) {
    let bytes = wire::encode(proof);
    assert!(verify(proof));
    assert!(bytes.len() < PROOF_BYTES_MAX);
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(other) = wire::decode::<T>(&flipped, PROOF_BYTES_MAX) {
            assert!(!verify(&other), "bit {} of byte {}", bit % 8, bit / 8);
        }
    }
    for length in 0..bytes.len() {
        assert!(wire::decode::<T>(&bytes[..length], PROOF_BYTES_MAX).is_err());
    }
}

#[test]
fn fb_2_a_finality_proof_verifies_with_the_genesis_alone() {
    let story = story();
    let proof = story.last();
    let header = proof.verify(&story.chain, &StubVerifier).unwrap();
    assert_eq!(header.height, story.federation.height());
    every_bit_counts(&proof, |proof| {
        proof.verify(&story.chain, &StubVerifier).is_ok()
    });
}

#[test]
fn lg_10_an_account_proof_verifies_with_the_genesis_alone() {
    let mut story = story();
    let proof = story.account("alice@thor");
    let (account, after) = proof.verify(&story.chain, &StubVerifier).unwrap();
    assert_eq!(account.total, amount("1000"));
    assert_eq!(account.available(), amount("800"));
    assert_eq!(after.next(), story.federation.height());
    every_bit_counts(&proof, |proof| {
        proof.verify(&story.chain, &StubVerifier).is_ok()
    });
}

#[test]
fn lg_10_a_lock_proof_verifies_with_the_genesis_alone() {
    let mut story = story();
    let proof = story.lock();
    let (lock, _) = proof.verify(&story.chain, &StubVerifier).unwrap();
    assert_eq!((lock.state, lock.amount), (LockState::Open, amount("200")));
    every_bit_counts(&proof, |proof| {
        proof.verify(&story.chain, &StubVerifier).is_ok()
    });
}

#[test]
fn lg_10_a_transaction_proof_verifies_with_the_genesis_alone() {
    let story = story();
    let locked = LockId::derive(&story.lock.id(), 0);
    for index in 0..5 {
        let proof = story.transaction(index);
        let receipt = proof.verify(&story.chain, &StubVerifier).unwrap();
        assert_eq!((receipt.height, receipt.index), (Height::new(1), index));
        let expected = if receipt.id == story.lock.id() {
            Outcome::Locked(locked)
        } else {
            Outcome::Applied
        };
        assert_eq!(receipt.outcome, Ok(expected));
        every_bit_counts(&proof, |other| {
            // How many receipts the block has is not under the root, and several sizes give one
            // path the same shape; a proof that differs in the size alone proves the same.
            let differs_in_size_alone = other.receipt.inclusion.size
                != proof.receipt.inclusion.size
                && other.receipt.receipt == proof.receipt.receipt;
            let is_proven = other.verify(&story.chain, &StubVerifier).is_ok();
            is_proven && !differs_in_size_alone
        });
    }
}

#[test]
fn lg_10_a_refusal_is_proven_too() {
    let mut federation = Federation::new();
    let commands = vec![
        crate::federation::transfer("alice@thor", "bob@sprout", "1"),
        commit(LockId::new([1; 32]), "5"),
    ];
    let refused = federation.transaction("alice@thor", &["alice@thor"], commands);
    federation.submit(0, &refused);
    federation.run(100);
    federation.rest();
    // An empty block that changes nothing needs no successor; another one records the receipts.
    let chain = &federation.nodes[0].chain;
    let proof = TransactionProof {
        finality: finality(&chain[1]),
        receipt: ReceiptProof::new(&chain[0].receipts, 0).unwrap(),
    };
    let genesis_chain = federation.genesis.chain().unwrap();
    let receipt = proof.verify(&genesis_chain, &StubVerifier).unwrap();
    assert_eq!(receipt.outcome, Err(polity_ledger::Rejection::LockNotFound));
    assert_eq!(receipt.refused_command, Some(1));
    every_bit_counts(&proof, |proof| {
        proof.verify(&genesis_chain, &StubVerifier).is_ok()
    });
}

/// A stranger may claim any number of a command. It must neither panic nor pass as "none".
#[test]
fn a_receipt_with_an_impossible_command_number_proves_nothing() {
    let story = story();
    for number in [64, 254, 255] {
        let mut proof = story.transaction(0);
        proof.receipt.receipt.refused_command = Some(number);
        assert_eq!(proof.verify(&story.chain, &StubVerifier), Err(ProofError));
    }
}

#[test]
fn a_proof_about_another_block_or_chain_does_not_verify() {
    let mut story = story();
    let chain = &story.federation.nodes[0].chain;
    let early = finality(&chain[0]);
    // The state after height 1 is not the state before it.
    let mut account = story.account("alice@thor");
    account.finality = early.clone();
    assert_eq!(account.verify(&story.chain, &StubVerifier), Err(ProofError));
    let mut transaction = story.transaction(0);
    transaction.finality = early;
    assert_eq!(
        transaction.verify(&story.chain, &StubVerifier),
        Err(ProofError)
    );
    // The certificate of one block does not decide another.
    let mut crossed = story.last();
    crossed.certificate = story.federation.nodes[0].chain[0].certificate.clone();
    assert_eq!(crossed.verify(&story.chain, &StubVerifier), Err(ProofError));
    // And a federation with another genesis has no use for it.
    let mut other = story.federation.genesis.clone();
    other.name.push('x');
    let other = other.chain().unwrap();
    assert_eq!(story.last().verify(&other, &StubVerifier), Err(ProofError));
    let account = story.account("alice@thor");
    assert_eq!(account.verify(&other, &StubVerifier), Err(ProofError));
}

#[test]
fn fb_2_finality_is_verified_as_bytes() {
    let story = story();
    let proofs = Proofs::new(story.chain.clone(), StubVerifier);
    let proof = story.last();
    let finalized = proofs.verify_finality(&wire::encode(&proof)).unwrap();
    assert_eq!(finalized.height, proof.header.height);
    assert_eq!(finalized.digest, *proof.header.digest().as_bytes());
    let mut with_more = wire::encode(&proof);
    with_more.push(0);
    assert_eq!(proofs.verify_finality(&with_more), Err(ProofError));
    assert_eq!(proofs.verify_finality(&[]), Err(ProofError));
}
