//! The keys of one node: the present one, former ones that are still good, and their records (CR-7).
//!
//! ```text
//! key                      the present key; or a token holds it, and link-key proves the links
//! key.0123456789abcdef     a former one: it votes until the epoch in which the present one counts
//! key-records              from when to when each is good
//! ```

use super::records::{Records, RecordsError};
use super::watch::Watch;
use super::{KeyFileError, SecretKey, former_path, token};
use crate::config::Keys;
use crate::federation::KEY_FILE;
use crate::signing::{NodeSigner, Provider};
use polity_crypto::{PublicKey, Sha256Digest};
use polity_types::Time;
use std::path::Path;

/// Name of the key that proves the links of a node whose own key is in a token.
pub const LINK_KEY_FILE: &str = "link-key";

/// The keys of one node.
#[derive(Debug)]
pub struct Ring {
    /// The present key.
    pub key: SecretKey,
    /// Former keys that may vote still, the newest last.
    pub former: Vec<SecretKey>,
    /// From when to when each is good.
    pub records: Records,
}

impl Ring {
    /// Reads the keys in a data directory as its configuration says. Former keys that may
    /// not vote at `now` are left where they are.
    pub fn open(directory: &Path, config: &Keys, now: Time) -> Result<Self, RecordsError> {
        let file = directory.join(KEY_FILE);
        let source = config.passphrase();
        let key = match &config.token {
            None => SecretKey::load_with(&file, &source)?,
            Some(token) => {
                let path = directory.join(LINK_KEY_FILE);
                if !path.exists() {
                    let link = SecretKey::generate()?;
                    link.store(&path, "the links of a node whose own key is in a token")?;
                    tracing::warn!(
                        key = %link.public_key(),
                        "a new key proves the links of this node: the other members name it under `network.link_keys` of their node.toml"
                    );
                }
                let link = SecretKey::load_with(&path, &source)?;
                SecretKey::of_token(token::TokenSigner::open(token)?, &link)
            }
        };
        let records = Records::beside(&file)?;
        let mut former = Vec::new();
        for entry in records.history(key.public_key()) {
            let path = former_path(&file, entry.key.key_id());
            let may_vote = records.may_vote(&entry.key, key.public_key(), now);
            if entry.key != *key.public_key() && may_vote && path.exists() {
                former.push(SecretKey::load_with(&path, &source)?);
            }
        }
        Ok(Self {
            key,
            former,
            records,
        })
    }

    /// One key without others.
    pub fn of(directory: &Path, key: SecretKey) -> Result<Self, RecordsError> {
        Ok(Self {
            key,
            former: Vec::new(),
            records: Records::beside(&directory.join(KEY_FILE))?,
        })
    }

    /// Whether the records say that the present key came after this one.
    pub fn follows(&self, first: &PublicKey) -> bool {
        let history = self.records.history(self.key.public_key());
        history.iter().any(|entry| entry.key == *first)
    }

    /// Every key that may have signed what is in the journal, by its fingerprint.
    pub fn fingerprints(&self) -> Vec<Sha256Digest> {
        let history = self.records.history(self.key.public_key());
        std::iter::once(self.key.public_key())
            .chain(history.iter().map(|entry| &entry.key))
            .map(PublicKey::fingerprint)
            .collect()
    }

    /// What signs for the node, the present key first.
    pub fn signers(&self, provider: Provider) -> Vec<NodeSigner> {
        self.all().map(|key| key.signer_by(provider)).collect()
    }

    /// The key whose link the other members let in: the newest that a committee around the present one
    /// has, as `is_known` says.
    pub fn link(&self, is_known: impl Fn(&PublicKey) -> bool) -> &SecretKey {
        let known = self.all().find(|key| is_known(key.public_key()));
        known.unwrap_or(&self.key)
    }

    /// Ends the keys when their time comes.
    pub fn watch(self) -> Watch {
        let keys = self.all().map(|key| key.public_key().clone()).collect();
        Watch::new(keys, self.records)
    }

    fn all(&self) -> impl Iterator<Item = &SecretKey> {
        std::iter::once(&self.key).chain(self.former.iter().rev())
    }
}

impl From<token::TokenError> for RecordsError {
    fn from(error: token::TokenError) -> Self {
        Self::Key(KeyFileError::Token(Box::new(error)))
    }
}
