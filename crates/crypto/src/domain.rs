//! Every domain of the workspace, in one place (CR-2).

use core::fmt;

/// What a hash or signature is about. Two domains never share a preimage.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(&'static str);

impl Domain {
    /// The ASCII text that starts the preimage.
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

macro_rules! domains {
    ($($(#[$meta:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$meta])* pub const $name: Domain = Domain($text);)*

        /// Every domain, in the order of this file.
        pub const ALL: &[Domain] = &[$($name),*];
    };
}

domains! {
    /// Fingerprint of a public key (CR-7).
    KEY = "polity/key/v1";
    /// Name of a peer: a digest of its first key.
    PEER = "polity/node/v1";
    /// A key that speaks for a peer (CR-7).
    KEY_RECORD = "polity/key-record/v1";
    /// A key that speaks no longer (CR-7).
    KEY_REVOCATION = "polity/key-revocation/v1";
    /// Identity of a federation: everything its founders agreed on.
    GENESIS = "polity/genesis/v1";
    /// Identity of a branch of a federation.
    FORK_ID = "polity/fork-id/v1";
    /// Identity of a chain: genesis and fork.
    CHAIN = "polity/chain/v1";
    /// Committee table of an epoch.
    COMMITTEE = "polity/committee/v1";
    /// Order of members within an epoch (FB-PBFT, section 2).
    LEADER_ORDER = "polity/fbpbft/order/v1";
    /// Leader of a view among members of unequal weight.
    LEADER_DRAW = "polity/fbpbft/leader/v1";
    /// Block header.
    BLOCK = "polity/fbpbft/block/v1";
    /// Typed sections of a block body.
    BODY = "polity/fbpbft/body/v1";
    /// Binding of the parent's certificate in a body, without signature bytes.
    PARENT_CERTIFICATE = "polity/fbpbft/parent-certificate/v1";
    /// Identity of a piece of evidence, without signature bytes.
    EVIDENCE = "polity/fbpbft/evidence/v1";
    /// Late COMMIT in a body, without signature bytes.
    LATE_COMMIT = "polity/fbpbft/late-commit/v1";
    /// PRE-PREPARE.
    PRE_PREPARE = "polity/fbpbft/pre-prepare/v1";
    /// PREPARE.
    PREPARE = "polity/fbpbft/prepare/v1";
    /// COMMIT.
    COMMIT = "polity/fbpbft/commit/v1";
    /// VIEW-CHANGE.
    VIEW_CHANGE = "polity/fbpbft/view-change/v1";
    /// NEW-VIEW.
    NEW_VIEW = "polity/fbpbft/new-view/v1";
    /// What a NEW-VIEW covers.
    NEW_VIEW_CONTENT = "polity/fbpbft/new-view-content/v1";
    /// Ledger transaction: its id, and what its authorities sign.
    TRANSACTION = "polity/ledger/transaction/v1";
    /// Identity of a lock.
    LOCK_ID = "polity/ledger/lock-id/v1";
    /// Leaf of an account.
    ACCOUNT = "polity/ledger/account/v1";
    /// Leaf of a lock.
    LOCK = "polity/ledger/lock/v1";
    /// Leaf of a receipt.
    RECEIPT = "polity/ledger/receipt/v1";
    /// Platforms, in order.
    PLATFORMS = "polity/ledger/platforms/v1";
    /// Recent transaction ids that expire at one height.
    RECENT = "polity/ledger/recent/v1";
    /// Supply and parameters.
    PARAMETERS = "polity/ledger/parameters/v1";
    /// Evidence acted on.
    OFFENCES = "polity/ledger/offences/v1";
    /// Keys of the authority, and committee changes that wait for the next epoch.
    AUTHORITY = "polity/ledger/authority/v1";
    /// What a ledger starts from.
    LEDGER_GENESIS = "polity/ledger/genesis/v1";
    /// State root of the ledger (LG-10).
    LEDGER_ROOT = "polity/ledger/root/v1";
    /// Place of an offence among those of one member in one epoch.
    OFFENCE_SLOT = "polity/replica/offence-slot/v1";
    /// Application root: ledger, trust and further roots, each tagged.
    APPLICATION_ROOT = "polity/replica/application-root/v1";
    /// Key derivation of link authentication (tier 1).
    LINK = "polity/link/v1";
    /// A frame of a link, or an end's proof of the secret (tier 1).
    LINK_FRAME = "polity/link-frame/v1";
    /// The key of its links, from the seed of a member's key that is not Ed25519.
    LINK_KEY = "polity/link-key/v1";
    /// Component keys of a hybrid, from one seed (CR-5).
    HYBRID_SEED = "polity/hybrid-seed/v1";
    /// What is open in a sealed key file, bound to what is not (CR-5).
    KEY_FILE = "polity/node/key-file/v1";
    /// Checksum of a journal's header or record.
    JOURNAL = "polity/node/journal/v1";
    /// Stateless reset tokens of a node, so that it can tell peers after a restart.
    TRANSPORT_RESET = "polity/node/transport-reset/v1";
    /// Digest of what a simulated replica asked for.
    SIMULATION_EFFECTS = "polity/sim/effects/v1";
    /// Digest of everything that happened in a simulation.
    SIMULATION_AUDIT = "polity/sim/audit/v1";
    /// Leaf of a trust-bound tree (TR-12).
    BOUND_LEAF = "polity/merkle/bound-leaf/v1";
    /// Root over the data of a trust-bound tree (TR-12).
    BOUND_DATA = "polity/merkle/bound-data/v1";
    /// Root over data, trust, clock and epoch (TR-13).
    BOUND_ROOT = "polity/merkle/bound-root/v1";
    /// An entry of a causal trust clock, signed by its owner (TR-16).
    CLOCK_ENTRY = "polity/clock/entry/v1";
    /// Digest of a causal trust clock (TR-16).
    CLOCK = "polity/clock/digest/v1";
    /// A peer's word about the time (TR-18).
    TIME_ANCHOR = "polity/sta/v1";
    /// Signatures and checksums of tests.
    TEST = "polity/test/v1";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cr_2_no_domain_is_a_prefix_of_another() {
        for a in ALL {
            assert!(a.as_str().is_ascii() && a.as_str().starts_with("polity/"));
            // Contexts of ML-DSA carry their length in one byte.
            assert!(a.as_str().len() <= 255);
            for b in ALL {
                assert!(
                    a == b || !b.as_str().starts_with(a.as_str()),
                    "{a:?} starts {b:?}"
                );
            }
        }
    }
}
