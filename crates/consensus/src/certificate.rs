//! Votes of a quorum, checked without their sender (FB-2).

use crate::committee::{Committee, CommitteeTable};
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use polity_crypto::{Checker, Preimage, Signature, Verifier, VerifyError};
use polity_types::{ReplicaId, Weight};

/// A set of members, one bit for each position in the committee table.
///
/// The form is canonical: as many bytes as the committee needs, unused bits zero.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct SignerSet(#[serde(with = "polity_types::hex_bytes")] Vec<u8>);

impl SignerSet {
    /// The raw bits, for preimages.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    fn of(committee: &CommitteeTable, is_signer: impl Fn(ReplicaId) -> bool) -> Self {
        let mut bits = vec![0; committee.members().len().div_ceil(8)];
        for (position, id) in committee.members().iter().enumerate() {
            if is_signer(*id) {
                bits[position / 8] |= 1 << (position % 8);
            }
        }
        Self(bits)
    }

    /// The members, in the order of the table, if the bits are canonical for this committee.
    pub fn members(&self, committee: &CommitteeTable) -> Result<Vec<ReplicaId>, VerifyError> {
        let members: Vec<ReplicaId> = committee
            .members()
            .iter()
            .enumerate()
            .filter(|(position, _)| {
                self.0
                    .get(position / 8)
                    .is_some_and(|byte| byte >> (position % 8) & 1 == 1)
            })
            .map(|(_, id)| *id)
            .collect();
        let canonical = Self::of(committee, |id| members.binary_search(&id).is_ok());
        if canonical == *self {
            Ok(members)
        } else {
            Err(VerifyError)
        }
    }
}

impl core::fmt::Debug for SignerSet {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SignerSet(")?;
        polity_types::write_hex(&self.0, f)?;
        f.write_str(")")
    }
}

/// Signatures of several members over one preimage: a bitmap and the signatures one after the
/// other, in the order of the table.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct MultiSignature {
    /// Who signed.
    pub signers: SignerSet,
    /// Their signatures, concatenated. The length of each follows from the signer's suite.
    #[serde(with = "polity_types::hex_bytes")]
    pub signatures: Vec<u8>,
}

impl MultiSignature {
    /// Collects signatures of members.
    pub fn collect(
        committee: &CommitteeTable,
        signatures: &BTreeMap<ReplicaId, Signature>,
    ) -> Self {
        let signers = SignerSet::of(committee, |id| signatures.contains_key(&id));
        let mut bytes = Vec::new();
        // Ascending ids are the order of the table.
        for signature in signatures.values() {
            bytes.extend_from_slice(signature.as_slice());
        }
        Self {
            signers,
            signatures: bytes,
        }
    }

    /// Whether bitmap and signatures have no more bytes than this committee can fill. What is
    /// longer is no certificate at all, however it was signed.
    pub fn is_bounded(&self, committee: &CommitteeTable) -> bool {
        let signatures_max: usize = committee
            .rows()
            .iter()
            .map(|row| row.key.suite().signature_length())
            .sum();
        self.signers.0.len() <= committee.members().len().div_ceil(8)
            && self.signatures.len() <= signatures_max
    }

    /// Checks bitmap, lengths and every signature, and returns the weight behind them (FB-2).
    pub fn verify<V: Verifier>(
        &self,
        committee: &CommitteeTable,
        preimage: &Preimage,
        checker: &mut Checker<V>,
    ) -> Result<Weight, VerifyError> {
        let parts = self.parts(committee)?;
        let mut weight = Weight::ZERO;
        for (id, signature) in parts {
            let key = committee.key(id).ok_or(VerifyError)?;
            checker.check(key, preimage, &signature)?;
            weight = weight.saturating_add(committee.weight(id));
        }
        Ok(weight)
    }

    /// The signers with their signatures, in the order of the table.
    pub fn parts(
        &self,
        committee: &CommitteeTable,
    ) -> Result<Vec<(ReplicaId, Signature)>, VerifyError> {
        let mut rest = self.signatures.as_slice();
        let mut parts = Vec::new();
        for id in self.signers.members(committee)? {
            let key = committee.key(id).ok_or(VerifyError)?;
            let length = key.suite().signature_length();
            let (signature, tail) = rest.split_at_checked(length).ok_or(VerifyError)?;
            parts.push((id, Signature::new(signature)));
            rest = tail;
        }
        if rest.is_empty() {
            Ok(parts)
        } else {
            Err(VerifyError)
        }
    }
}
