//! Keys that a PKCS#11 token holds and does not give away.
//!
//! The module is a shared library that the operator names; it is loaded when a node starts that is
//! configured so, and nothing stands in for it. What does not answer is an error: a node without its token
//! does not start, and one whose token fails stops before it speaks.

use super::place::read_private;
use super::{KeyFileError, Passphrase};
use crate::config::Token;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use polity_crypto::ed25519::Ed25519Verifier;
use polity_crypto::{Preimage, PublicKey, Signature, Signer, Suite, Verifier as _, domain};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use zeroize::Zeroizing;

/// Why a token cannot be used. Every message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The module is missing or no module.
    #[error("cannot load the PKCS#11 module {}: {source}; install it, or correct `keys.token.module` in node.toml", path.display())]
    Module {
        /// The shared library.
        path: PathBuf,
        /// What it says.
        source: ModuleError,
    },
    /// No token has the label.
    #[error("no token is called {0:?}; put it in, or correct `keys.token.token` in node.toml")]
    NoToken(String),
    /// The PIN is wrong, or the token locked.
    #[error("the token {token:?} does not let this node in: {source}; check the PIN in {}, and whether the token is locked", file.display())]
    Login {
        /// Label of the token.
        token: String,
        /// Where the PIN is.
        file: PathBuf,
        /// What the token says.
        source: ModuleError,
    },
    /// The key is missing, or there are several.
    #[error(
        "the token {token:?} has {found} Ed25519 keys called {key:?} where one is wanted, with its public half; correct `keys.token.key` in node.toml, or make the key"
    )]
    Key {
        /// Label of the token.
        token: String,
        /// Label of the key.
        key: String,
        /// How many there are.
        found: usize,
    },
    /// The token's signature does not hold.
    #[error(
        "what the token {0:?} signs does not verify; it may know Ed25519 in another form, so use another token"
    )]
    Unsound(String),
    /// The token fails.
    #[error(
        "the token {token:?} fails: {source}; check that it is in its place, and start the node again"
    )]
    Failed {
        /// Label of the token.
        token: String,
        /// What it says.
        source: ModuleError,
    },
}

/// What a PKCS#11 module, or the token behind it, says.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ModuleError(Error);

/// Signs Ed25519 with a key in a token.
///
/// # Panics
///
/// [`Signer::sign`] panics with a [`TokenError`] if the token fails: nothing can be said in its place. A node
/// whose driver panics stops with everything unsaid, and ends with that error.
#[derive(Clone)]
pub struct TokenSigner {
    shared: Arc<Shared>,
    public: PublicKey,
}

struct Shared {
    token: String,
    key: ObjectHandle,
    /// One at a time: a session has one operation.
    session: Mutex<Session>,
}

impl TokenSigner {
    /// Logs in and looks for the key, and lets the token sign once to see that it does.
    pub fn open(config: &Token) -> Result<Self, KeyFileError> {
        // Before anything else, because a file that others can read is no secret.
        let pin = read_private(&config.pin_file)?;
        let pin = Passphrase::new(Zeroizing::new(
            pin.lines().next().unwrap_or_default().to_owned(),
        ))?;
        Self::open_with(config, &pin).map_err(|error| KeyFileError::Token(Box::new(error)))
    }

    fn open_with(config: &Token, pin: &Passphrase) -> Result<Self, TokenError> {
        let module = |source| TokenError::Module {
            path: config.module.clone(),
            source: ModuleError(source),
        };
        let failed = |source| TokenError::Failed {
            token: config.token.clone(),
            source: ModuleError(source),
        };
        let context = Pkcs11::new(&config.module).map_err(module)?;
        match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            // Another key of this process is in a token of the same module.
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(module(error)),
        }
        let mut slot = None;
        for candidate in context.get_slots_with_initialized_token().map_err(module)? {
            let info = context.get_token_info(candidate).map_err(module)?;
            if info.label().trim_end() == config.token {
                slot = Some(candidate);
                break;
            }
        }
        let slot = slot.ok_or_else(|| TokenError::NoToken(config.token.clone()))?;
        let session = context.open_ro_session(slot).map_err(failed)?;
        let text = String::from_utf8_lossy(pin.as_bytes()).into_owned();
        match session.login(UserType::User, Some(&AuthPin::new(text.into()))) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
            Err(source) => {
                return Err(TokenError::Login {
                    token: config.token.clone(),
                    file: config.pin_file.clone(),
                    source: ModuleError(source),
                });
            }
        }
        let find = |class| {
            let template = [
                Attribute::Class(class),
                Attribute::KeyType(KeyType::EC_EDWARDS),
                Attribute::Label(config.key.clone().into_bytes()),
            ];
            session.find_objects(&template).map_err(failed)
        };
        let (secret, public) = (
            find(ObjectClass::PRIVATE_KEY)?,
            find(ObjectClass::PUBLIC_KEY)?,
        );
        let wanted = |found| TokenError::Key {
            token: config.token.clone(),
            key: config.key.clone(),
            found,
        };
        let ([key], [half]) = (secret.as_slice(), public.as_slice()) else {
            return Err(wanted(secret.len()));
        };
        let point = session
            .get_attributes(*half, &[AttributeType::EcPoint])
            .map_err(failed)?;
        let public = match point.as_slice() {
            [Attribute::EcPoint(bytes)] => public_key(bytes),
            _ => None,
        };
        let public = public.ok_or_else(|| wanted(0))?;
        let signer = Self {
            shared: Arc::new(Shared {
                token: config.token.clone(),
                key: *key,
                session: Mutex::new(session),
            }),
            public,
        };
        signer.prove()?;
        Ok(signer)
    }

    /// Lets the token sign something that is said nowhere.
    fn prove(&self) -> Result<(), TokenError> {
        let preimage = Preimage::new(domain::KEY_FILE).array(self.public.key_id().as_bytes());
        let signature = self.try_sign(&preimage)?;
        Ed25519Verifier::default()
            .judge(&self.public, &preimage, &signature)
            .map_err(|_| TokenError::Unsound(self.shared.token.clone()))
    }

    /// Signs, if the token does.
    pub fn try_sign(&self, preimage: &Preimage) -> Result<Signature, TokenError> {
        let session = &self.shared.session;
        let session = session.lock().unwrap_or_else(PoisonError::into_inner);
        let mechanism = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure));
        session
            .sign(&mechanism, self.shared.key, preimage.as_slice())
            .map(|bytes| Signature::new(&bytes))
            .map_err(|source| TokenError::Failed {
                token: self.shared.token.clone(),
                source: ModuleError(source),
            })
    }
}

impl fmt::Debug for TokenSigner {
    /// Shows the token and the public key alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenSigner({:?} {})", self.shared.token, self.public)
    }
}

impl Signer for TokenSigner {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, preimage: &Preimage) -> Signature {
        match self.try_sign(preimage) {
            Ok(signature) => signature,
            Err(error) => {
                tracing::error!(%error, "nothing is said; the node stops");
                std::panic::panic_any(error);
            }
        }
    }
}

/// The key of an `EC_POINT`: 32 bytes, most often within an octet string of ASN.1.
fn public_key(bytes: &[u8]) -> Option<PublicKey> {
    let bytes = match bytes {
        [0x04, 32, rest @ ..] if rest.len() == 32 => rest,
        bytes => bytes,
    };
    PublicKey::new(Suite::Ed25519, bytes).ok()
}

#[cfg(test)]
mod tests;
