//! Transactions: what is signed, by whom, and until when (LG-4).

use crate::command::key;
use crate::{Address, Command};
use alloc::boxed::Box;
use alloc::vec::Vec;
use polity_crypto::{
    Checker, Preimage, PublicKey, Sha256Digest, Signature, Signer, Verifier, Verify, VerifyError,
    domain,
};
use polity_types::wire::{self, DecodeError};
use polity_types::{ChainId, Height, byte_string};

byte_string!(
    /// Identity of a transaction: the digest of everything that is signed.
    ///
    /// The signer's key is inside, so nobody else can use up the id (LG-4).
    TransactionId, 32
);

byte_string!(
    /// Identity of a lock: the digest of its transaction's id and its place among the commands.
    ///
    /// Clients do not choose it, so nobody can take it before them (LG-5).
    LockId, 32
);

impl LockId {
    /// The lock that command number `item` of the transaction makes.
    pub fn derive(transaction: &TransactionId, item: u8) -> Self {
        let digest = Preimage::new(domain::LOCK_ID)
            .array(transaction.as_bytes())
            .u8(item)
            .sha256();
        Self::new(*digest.as_bytes())
    }
}

/// Why a transaction cannot exist, whatever the state of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// No key, so nobody could have signed.
    #[error("a transaction needs the key of its signer")]
    NoKey,
    /// More keys than anybody checks.
    #[error("a transaction has at most {max} keys, not {found}", max = Transaction::KEYS_MAX)]
    TooManyKeys {
        /// Keys that were given.
        found: usize,
    },
    /// One key stands twice.
    #[error("a transaction names each key once")]
    DuplicateKey,
    /// Nothing to do.
    #[error("a transaction needs a command")]
    NoCommand,
    /// More commands than happen together.
    #[error("a transaction has at most {max} commands, not {found}", max = Transaction::COMMANDS_MAX)]
    TooManyCommands {
        /// Commands that were given.
        found: usize,
    },
    /// Keys and signatures do not pair up.
    #[error("a transaction needs one signature for each key")]
    SignatureCount,
    /// A signature is longer than any suite makes.
    #[error("a signature is longer than any suite makes")]
    SignatureLength,
    /// The encoding is too long.
    #[error("a transaction has at most {max} bytes, not {found}", max = SignedTransaction::LENGTH_MAX)]
    TooLarge {
        /// Length of the encoding in bytes.
        found: usize,
    },
}

/// What is signed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transaction {
    /// The chain on which it counts.
    pub chain: ChainId,
    /// The account that pays the fee.
    pub signer: Address,
    /// Who signs: the signer's key first, then the keys of further authorities, each once.
    pub keys: Vec<PublicKey>,
    /// One command, or several that happen in order, together or not at all (LG-5).
    pub commands: Vec<Command>,
    /// The last height at which a block may hold it.
    pub valid_until: Height,
    /// Any number; makes equal wishes different transactions.
    pub nonce: u64,
}

impl Transaction {
    /// Most keys of one transaction.
    pub const KEYS_MAX: usize = 64;
    /// Most commands of one transaction (LG-5).
    pub const COMMANDS_MAX: usize = 64;

    /// The signed bytes.
    pub fn preimage(&self) -> Preimage {
        let mut preimage = Preimage::new(domain::TRANSACTION)
            .array(self.chain.as_bytes())
            .bytes(self.signer.as_str().as_bytes())
            .u32(self.keys.len() as u32);
        for public_key in &self.keys {
            preimage = key(preimage, public_key);
        }
        preimage = preimage
            .u64(self.valid_until.get())
            .u64(self.nonce)
            .u32(self.commands.len() as u32);
        for command in &self.commands {
            preimage = command.layout(preimage);
        }
        preimage
    }

    /// The digest of the signed bytes.
    pub fn id(&self) -> TransactionId {
        TransactionId::new(*self.preimage().sha256().as_bytes())
    }

    /// Signs with the signers of all keys, in the order of [`keys`](Self::keys).
    pub fn sign(self, signers: &[&dyn Signer]) -> Result<SignedTransaction, TransactionError> {
        let preimage = self.preimage();
        let signatures = signers
            .iter()
            .map(|signer| signer.sign(&preimage))
            .collect();
        SignedTransaction::new(self, signatures)
    }

    fn check(&self) -> Result<(), TransactionError> {
        if self.keys.is_empty() {
            return Err(TransactionError::NoKey);
        }
        if self.keys.len() > Self::KEYS_MAX {
            return Err(TransactionError::TooManyKeys {
                found: self.keys.len(),
            });
        }
        let is_repeated = |(index, key)| self.keys[..index].contains(key);
        if self.keys.iter().enumerate().any(is_repeated) {
            return Err(TransactionError::DuplicateKey);
        }
        if self.commands.is_empty() {
            return Err(TransactionError::NoCommand);
        }
        if self.commands.len() > Self::COMMANDS_MAX {
            return Err(TransactionError::TooManyCommands {
                found: self.commands.len(),
            });
        }
        Ok(())
    }
}

/// A transaction with one signature for each key, of bounded size.
///
/// Whether the signatures hold is another question: `Verified<SignedTransaction>` says so.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SignedTransaction {
    transaction: Transaction,
    signatures: Vec<Signature>,
    /// Digest of the signed bytes; computed once.
    #[serde(skip)]
    id: TransactionId,
    /// Fingerprints of the keys, by which accounts know their owners.
    #[serde(skip)]
    fingerprints: Box<[Sha256Digest]>,
    /// Length of the encoding, for which the signer pays.
    #[serde(skip)]
    length: u32,
}

impl SignedTransaction {
    /// Longest encoding in bytes.
    pub const LENGTH_MAX: usize = 64 * 1024;
    /// Longest signature of a suite.
    const SIGNATURE_MAX: usize = polity_crypto::SIGNATURE_BYTES_MAX;

    /// Puts a transaction and its signatures together.
    pub fn new(
        transaction: Transaction,
        signatures: Vec<Signature>,
    ) -> Result<Self, TransactionError> {
        transaction.check()?;
        if signatures.len() != transaction.keys.len() {
            return Err(TransactionError::SignatureCount);
        }
        if signatures
            .iter()
            .any(|signature| signature.as_slice().len() > Self::SIGNATURE_MAX)
        {
            return Err(TransactionError::SignatureLength);
        }
        let mut signed = Self {
            id: transaction.id(),
            fingerprints: transaction
                .keys
                .iter()
                .map(PublicKey::fingerprint)
                .collect(),
            transaction,
            signatures,
            length: 0,
        };
        let length = wire::encode(&signed).len();
        if length > Self::LENGTH_MAX {
            return Err(TransactionError::TooLarge { found: length });
        }
        signed.length = length as u32;
        Ok(signed)
    }

    /// Reads the one encoding.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        wire::decode(bytes, Self::LENGTH_MAX)
    }

    /// The one encoding.
    pub fn encode(&self) -> Vec<u8> {
        wire::encode(self)
    }

    /// What was signed.
    pub fn transaction(&self) -> &Transaction {
        &self.transaction
    }

    /// The signatures, in the order of the keys.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// The digest of the signed bytes.
    pub fn id(&self) -> TransactionId {
        self.id
    }

    /// Length of the encoding in bytes.
    pub fn length(&self) -> u32 {
        self.length
    }

    /// Fingerprints of the keys, in their order.
    pub fn fingerprints(&self) -> &[Sha256Digest] {
        &self.fingerprints
    }
}

impl Verify for SignedTransaction {
    type Context = ChainId;

    fn verify<V: Verifier>(
        &self,
        chain: &ChainId,
        checker: &mut Checker<V>,
    ) -> Result<(), VerifyError> {
        if self.transaction.chain != *chain {
            return Err(VerifyError);
        }
        // LG-5: every key signs the one preimage.
        let preimage = self.transaction.preimage();
        self.transaction
            .keys
            .iter()
            .zip(&self.signatures)
            .try_for_each(|(key, signature)| checker.check(key, &preimage, signature))
    }
}

impl<'de> serde::Deserialize<'de> for SignedTransaction {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(rename = "SignedTransaction", deny_unknown_fields)]
        struct Parts {
            transaction: Transaction,
            signatures: Vec<Signature>,
        }
        let parts = Parts::deserialize(deserializer)?;
        Self::new(parts.transaction, parts.signatures).map_err(serde::de::Error::custom)
    }
}
