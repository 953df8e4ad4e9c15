//! Proofs for a client that holds only the genesis.
//!
//! The state after height h and the receipts of h stand in the header of h + 1; so a proof about
//! height h is a decided header of h + 1 with its certificate, and a path from one of its roots.

use crate::executor::application_root;
use polity_consensus::fbpbft::{Chain, Header, VoteCertificate, VoteKind};
use polity_crypto::{Checker, Verified, Verifier};
use polity_ledger::{AccountView, LockView, Receipt, ReceiptProof, StateProof, Transaction};
use polity_types::wire;
use polity_types::{FinalityVerifier, Finalized, Height, OffenceVerifier, ProofError, ReplicaId};
use serde::{Deserialize, Serialize};

/// Largest encoded proof that is read.
pub const PROOF_BYTES_MAX: usize = 1024 * 1024;

/// Shows that a block is decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinalityProof {
    /// Header of the block.
    pub header: Header,
    /// COMMITs of a quorum for its digest.
    pub certificate: VoteCertificate,
}

impl FinalityProof {
    /// Checks the proof with the committee of the genesis alone. Returns the header, which is
    /// final then.
    pub fn verify<V: Verifier + Clone>(
        &self,
        chain: &Chain,
        verifier: &V,
    ) -> Result<&Header, ProofError> {
        let is_about_header = self.certificate.kind == VoteKind::Commit
            && self.certificate.height == self.header.height
            && self.certificate.value.digest == self.header.digest()
            && self.header.chain == chain.id()
            // The committee of another epoch is not known here; see `polity_consensus::light`.
            && chain.is_known(self.header.height);
        if !is_about_header {
            return Err(ProofError);
        }
        let mut checker = Checker::new(verifier.clone(), 0);
        Verified::check(self.certificate.clone(), chain, &mut checker).map_err(|_| ProofError)?;
        Ok(&self.header)
    }
}

/// Shows an account as it is after a height.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountProof {
    /// The block above that height.
    pub finality: FinalityProof,
    /// The account under its state root.
    pub state: StateProof<AccountView>,
}

impl AccountProof {
    /// Returns the account and the height after which it looks so.
    pub fn verify<V: Verifier + Clone>(
        &self,
        chain: &Chain,
        verifier: &V,
    ) -> Result<(&AccountView, Height), ProofError> {
        let after = check_state(&self.finality, &self.state, chain, verifier)?;
        let account = self.state.verify(&self.state.sections.root())?;
        Ok((account, after))
    }
}

/// Shows a lock as it is after a height.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockProof {
    /// The block above that height.
    pub finality: FinalityProof,
    /// The lock under its state root.
    pub state: StateProof<LockView>,
}

impl LockProof {
    /// Returns the lock and the height after which it looks so.
    pub fn verify<V: Verifier + Clone>(
        &self,
        chain: &Chain,
        verifier: &V,
    ) -> Result<(&LockView, Height), ProofError> {
        let after = check_state(&self.finality, &self.state, chain, verifier)?;
        let lock = self.state.verify(&self.state.sections.root())?;
        Ok((lock, after))
    }
}

/// Shows what became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionProof {
    /// The block above the transaction's.
    pub finality: FinalityProof,
    /// The receipt under its receipts root.
    pub receipt: ReceiptProof,
}

impl TransactionProof {
    /// Returns the receipt.
    pub fn verify<V: Verifier + Clone>(
        &self,
        chain: &Chain,
        verifier: &V,
    ) -> Result<&Receipt, ProofError> {
        let header = self.finality.verify(chain, verifier)?;
        // No transaction has that many commands, and the layout of a receipt has no room for more.
        let number = self.receipt.receipt.refused_command;
        if number.is_some_and(|number| usize::from(number) >= Transaction::COMMANDS_MAX) {
            return Err(ProofError);
        }
        let receipt = self.receipt.verify(&header.receipts_root)?;
        if receipt.height.next() == header.height {
            Ok(receipt)
        } else {
            Err(ProofError)
        }
    }
}

/// Checks that a final header names the state root of the proof; returns the height after which
/// the state is so.
fn check_state<T, V: Verifier + Clone>(
    finality: &FinalityProof,
    state: &StateProof<T>,
    chain: &Chain,
    verifier: &V,
) -> Result<Height, ProofError> {
    let header = finality.verify(chain, verifier)?;
    if application_root(&state.sections.root()) != header.application_root {
        return Err(ProofError);
    }
    header.height.previous().ok_or(ProofError)
}

/// FB-PBFT's certificates and evidence for crates that know neither.
#[derive(Clone, Debug)]
pub struct Proofs<V> {
    chain: Chain,
    verifier: V,
}

impl<V: Verifier + Clone> Proofs<V> {
    /// Judges proofs about `chain`.
    pub fn new(chain: Chain, verifier: V) -> Self {
        Self { chain, verifier }
    }
}

impl<V: Verifier + Clone> FinalityVerifier for Proofs<V> {
    /// Reads an encoded [`FinalityProof`].
    fn verify_finality(&self, certificate: &[u8]) -> Result<Finalized, ProofError> {
        let proof: FinalityProof =
            wire::decode(certificate, PROOF_BYTES_MAX).map_err(|_| ProofError)?;
        let header = proof.verify(&self.chain, &self.verifier)?;
        Ok(Finalized {
            height: header.height,
            digest: *header.digest().as_bytes(),
        })
    }
}

impl<V: Verifier + Clone> OffenceVerifier for Proofs<V> {
    /// Reads encoded [`Evidence`](polity_consensus::fbpbft::Evidence).
    fn verify_offence(&self, evidence: &[u8]) -> Result<ReplicaId, ProofError> {
        let evidence: polity_consensus::fbpbft::Evidence =
            wire::decode(evidence, PROOF_BYTES_MAX).map_err(|_| ProofError)?;
        let mut checker = Checker::new(self.verifier.clone(), 0);
        let evidence =
            Verified::check(evidence, &self.chain, &mut checker).map_err(|_| ProofError)?;
        Ok(evidence.accused(&self.chain))
    }
}
