//! Who this replica is, and with which keys it may sign (FB-17).

use super::machine::StartError;
use crate::committee::{Committee as _, CommitteeTable};
use alloc::vec::Vec;
use polity_crypto::{PublicKey, Signer};
use polity_types::ReplicaId;

/// The number of a replica and its keys. Of these it uses the one that stands in the table of an
/// epoch beside its number; in an epoch whose table has none of them it follows and does not vote.
///
/// A replica whose key is replaced holds both keys until the epoch in which the new one counts.
#[derive(Clone, Debug)]
pub struct Keyring<S> {
    id: ReplicaId,
    signers: Vec<S>,
}

impl<S: Signer> Keyring<S> {
    /// The keys of the replica with this number. With none it follows and never votes.
    pub fn new(id: ReplicaId, signers: Vec<S>) -> Self {
        Self { id, signers }
    }

    /// The member of `committee` whose key this is.
    ///
    /// # Errors
    ///
    /// [`StartError::NotAMember`] if it is nobody's.
    pub fn of_member(committee: &CommitteeTable, signer: S) -> Result<Self, StartError> {
        let rows = committee.rows();
        let row = rows.iter().find(|row| row.key == *signer.public_key());
        let id = row.map(|row| row.id).ok_or(StartError::NotAMember)?;
        Ok(Self::new(id, alloc::vec![signer]))
    }

    /// The number of the replica.
    pub fn id(&self) -> ReplicaId {
        self.id
    }

    /// Its public keys.
    pub fn public_keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.signers.iter().map(Signer::public_key)
    }

    /// Gives up the keys for which `keep` says no.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&PublicKey) -> bool) {
        self.signers.retain(|signer| keep(signer.public_key()));
    }

    /// The key with which it signs for a committee; none if it has no vote there.
    pub fn signer(&self, committee: &CommitteeTable) -> Option<&S> {
        let key = committee.key(self.id)?;
        self.signers
            .iter()
            .find(|signer| signer.public_key() == key)
    }
}
