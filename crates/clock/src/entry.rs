//! What an owner says about itself.

use polity_crypto::{
    Checker, PeerId, Preimage, PublicKey, Signature, Signer, Verifier, Verify, VerifyError, domain,
};
use polity_types::{ChainId, TRUST_MAX};
use serde::{Deserialize, Serialize};

/// How many events an owner has seen of itself, and its trust at the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Entry {
    /// Number of the owner's last event, from 1.
    pub time: u64,
    /// Its trust then, in millionths, at most [`TRUST_MAX`].
    pub trust: u32,
}

/// An entry with the signature of its owner.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SignedEntry {
    /// What is said.
    pub entry: Entry,
    /// Whose event it is; never zero.
    pub owner: PeerId,
    /// Signature of the owner.
    pub signature: Signature,
}

/// What has to be known to check an entry or an anchor.
#[derive(Clone, Debug)]
pub struct ClockContext {
    /// The chain it is about.
    pub chain: ChainId,
    /// Whose word it has to be.
    pub owner: PeerId,
    /// The key that speaks for the owner.
    pub key: PublicKey,
}

impl SignedEntry {
    /// Signs an entry for the owner. It is durable before it is sent: an owner that signs one time
    /// twice with different trust has said two things.
    pub fn new(chain: &ChainId, owner: PeerId, entry: Entry, signer: &impl Signer) -> Self {
        Self {
            entry,
            owner,
            signature: signer.sign(&preimage(chain, &owner, entry)),
        }
    }
}

impl Verify for SignedEntry {
    type Context = ClockContext;

    fn verify<V: Verifier>(
        &self,
        context: &ClockContext,
        checker: &mut Checker<V>,
    ) -> Result<(), VerifyError> {
        let is_owner = self.owner == context.owner && self.owner != PeerId::ZERO;
        if !is_owner || self.entry.time == 0 || self.entry.trust > TRUST_MAX {
            return Err(VerifyError);
        }
        let preimage = preimage(&context.chain, &self.owner, self.entry);
        checker.check(&context.key, &preimage, &self.signature)
    }
}

fn preimage(chain: &ChainId, owner: &PeerId, entry: Entry) -> Preimage {
    Preimage::new(domain::CLOCK_ENTRY)
        .array(chain.as_bytes())
        .array(owner.as_bytes())
        .u64(entry.time)
        .u32(entry.trust)
}
