//! The state root (LG-10).

use crate::state::State;
use polity_crypto::{Preimage, Sha256Digest, domain};

/// What the state root is made of. Everything that a block can read is under one of the digests;
/// the height and the time are not, so a block that changes nothing leaves the root as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Sections {
    /// Root of the accounts tree.
    pub accounts: Sha256Digest,
    /// Slots of the accounts tree.
    pub accounts_len: u64,
    /// Root of the locks tree.
    pub locks: Sha256Digest,
    /// Slots of the locks tree.
    pub locks_len: u64,
    /// The platforms in order.
    pub platforms: Sha256Digest,
    /// Recent transaction ids with their receipts.
    pub recent: Sha256Digest,
    /// Evidence that was acted on.
    pub offences: Sha256Digest,
    /// Keys of the authority, and committee changes that wait.
    pub authority: Sha256Digest,
    /// Chain, supply, counters and parameters.
    pub parameters: Sha256Digest,
}

impl Sections {
    /// The state root.
    pub fn root(&self) -> Sha256Digest {
        Preimage::new(domain::LEDGER_ROOT)
            .array(self.accounts.as_bytes())
            .u64(self.accounts_len)
            .array(self.locks.as_bytes())
            .u64(self.locks_len)
            .array(self.platforms.as_bytes())
            .array(self.recent.as_bytes())
            .array(self.offences.as_bytes())
            .array(self.authority.as_bytes())
            .array(self.parameters.as_bytes())
            .sha256()
    }
}

impl State {
    pub(crate) fn sections(&mut self) -> Sections {
        Sections {
            accounts: self.accounts.root(),
            accounts_len: self.accounts.len() as u64,
            locks: self.locks.root(&self.accounts),
            locks_len: self.locks.len() as u64,
            platforms: self.platforms.root(),
            recent: self.recent.root(),
            offences: self.offences.root(),
            authority: self.authority_root(),
            parameters: self.parameters_root(),
        }
    }

    fn authority_root(&self) -> Sha256Digest {
        let mut preimage = Preimage::new(domain::AUTHORITY)
            .u32(self.authority.threshold)
            .u32(self.authority.keys.len() as u32);
        for key in &self.authority.keys {
            preimage = preimage.array(key.as_bytes());
        }
        preimage = preimage.u32(self.committee_changes.len() as u32);
        for pending in &self.committee_changes {
            preimage = preimage
                .u64(pending.height.get())
                .array(pending.transaction.as_bytes())
                .bytes(pending.change.as_slice());
        }
        // Nothing stands here while the genesis says who votes.
        for row in &self.committee {
            preimage = preimage.bytes(row.as_slice());
        }
        preimage.sha256()
    }

    fn parameters_root(&self) -> Sha256Digest {
        let preimage = Preimage::new(domain::PARAMETERS)
            .array(self.chain.as_bytes())
            .u128(self.supply.genesis.units())
            .u128(self.supply.minted.units())
            .u128(self.supply.burned.units())
            .u64(self.locks.sequence);
        self.parameters.layout(preimage).sha256()
    }
}
