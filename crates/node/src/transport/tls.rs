//! Who may talk to whom: keys, verifiers and parameters of QUIC and TLS.
//!
//! Certificates would only wrap the keys that the member table already holds, so both ends present
//! raw public keys (RFC 7250). A verifier compares the presented key with the table; TLS proves
//! that the other end has the secret half.

use super::counters::{Refusal, RefusalMeters, is_logged};
use super::table::{Key, Keys};
use super::{Lane, Limits, TransportError};
use polity_crypto::{Preimage, PublicKey, Suite, domain};
use polity_types::{ChainId, ReplicaId, Seed, Stream};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{IdleTimeout, TransportConfig, VarInt};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme, version,
};
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// A `SubjectPublicKeyInfo` of an Ed25519 key, up to the key (RFC 8410, section 4).
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
/// A PKCS#8 v1 private key of Ed25519, up to the seed (RFC 8410, section 7).
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Bytes in flight on one lane. Large enough for 10 MB/s at 100 ms, small enough that all lanes
/// together stay within the send window, so a full lane never blocks another.
const LANE_WINDOW: u32 = 1 << 20;

/// What this node is, and what it demands of others.
pub(super) struct Identity {
    key: Arc<CertifiedKey>,
    public: [u8; 32],
    provider: Arc<CryptoProvider>,
    protocol: Vec<u8>,
}

impl Identity {
    /// `has_tags` says whether frames bear authenticators. It is part of the protocol's name, so that
    /// nobody waits for tags which the other end does not send.
    pub(super) fn new(
        seed: &[u8; 32],
        chain: ChainId,
        has_tags: bool,
    ) -> Result<Self, TransportError> {
        let mut pkcs8 = Zeroizing::new([0; 48]);
        pkcs8[..16].copy_from_slice(&PKCS8_PREFIX);
        pkcs8[16..].copy_from_slice(seed);
        let signing = aws_lc_rs::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(&pkcs8[..]))?;
        let spki = signing
            .public_key()
            .ok_or_else(|| Error::General("the signing key has no public half".into()))?;
        let public = parse_spki(&spki)
            .ok_or_else(|| Error::General("the signing key is not Ed25519".into()))?;
        let key = CertifiedKey::new(vec![CertificateDer::from(spki.to_vec())], signing);
        let provider = CryptoProvider {
            // All peers are ours: the hybrid group, and nothing to fall back to.
            kx_groups: vec![aws_lc_rs::kx_group::X25519MLKEM768],
            ..aws_lc_rs::default_provider()
        };
        Ok(Self {
            key: Arc::new(key),
            public,
            provider: Arc::new(provider),
            protocol: format!("polity/1/{chain}{}", if has_tags { "/hmac" } else { "" })
                .into_bytes(),
        })
    }

    /// Lets a test offer other algorithms.
    #[cfg(test)]
    pub(super) fn adapt(&mut self, adapt: impl FnOnce(&mut CryptoProvider)) {
        let mut provider = CryptoProvider::clone(&self.provider);
        adapt(&mut provider);
        self.provider = Arc::new(provider);
    }

    pub(super) fn public_key(&self) -> &[u8; 32] {
        &self.public
    }

    /// For connections that others dial: any member, as the table is then, and nobody else.
    pub(super) fn server_config(
        &self,
        members: &Keys,
        refusals: &Arc<RefusalMeters>,
        limits: &Limits,
    ) -> Result<quinn::ServerConfig, TransportError> {
        let verifier = Arc::new(MemberKeys {
            allowed: members.clone(),
            refusal: Refusal::Stranger,
            refusals: Arc::clone(refusals),
            provider: Arc::clone(&self.provider),
        });
        let mut tls = rustls::ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(
                rustls::server::AlwaysResolvesServerRawPublicKeys::new(Arc::clone(&self.key)),
            ));
        tls.alpn_protocols = vec![self.protocol.clone()];
        // Each connection proves its key anew.
        tls.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        tls.send_tls13_tickets = 0;
        let crypto = QuicServerConfig::try_from(tls).map_err(|error| no_initial_suite(&error))?;
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        config
            .transport_config(Arc::new(parameters(limits, Lane::ALL.len() as u32 + 1)))
            .max_incoming(limits.handshakes_max);
        Ok(config)
    }

    /// For the connection to one member: its keys, and no other.
    pub(super) fn client_config(
        &self,
        id: ReplicaId,
        keys: &[Key],
        refusals: &Arc<RefusalMeters>,
        limits: &Limits,
    ) -> Result<quinn::ClientConfig, TransportError> {
        let verifier = self.verifier_of(id, keys, refusals);
        let mut tls = rustls::ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::new(
                rustls::client::AlwaysResolvesClientRawPublicKeys::new(Arc::clone(&self.key)),
            ));
        tls.alpn_protocols = vec![self.protocol.clone()];
        tls.resumption = rustls::client::Resumption::disabled();
        tls.enable_sni = false;
        let crypto = QuicClientConfig::try_from(tls).map_err(|error| no_initial_suite(&error))?;
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        // The only stream towards the dialling side is the welcome.
        config.transport_config(Arc::new(parameters(limits, 1)));
        Ok(config)
    }

    /// Accepts the keys of one member.
    pub(super) fn verifier_of(
        &self,
        id: ReplicaId,
        keys: &[Key],
        refusals: &Arc<RefusalMeters>,
    ) -> Arc<dyn ServerCertVerifier> {
        Arc::new(MemberKeys {
            allowed: Keys::of(id, keys),
            refusal: Refusal::WrongKey,
            refusals: Arc::clone(refusals),
            provider: Arc::clone(&self.provider),
        })
    }
}

/// Derives the key of stateless resets from the node's secret. After a restart the node can tell
/// its peers that their old connections are dead, and they need not wait for the timeout.
pub(super) fn endpoint_config(seed: &[u8; 32]) -> Result<quinn::EndpointConfig, TransportError> {
    let mut random = [0; 32];
    getrandom::fill(&mut random)
        .map_err(|error| Error::General(format!("the system has no randomness: {error}")))?;
    let ids = ConnectionIds(Seed::new(random).stream());
    let key = Seed::new(*seed).fork("polity/node/transport-reset/v1");
    let mut config = quinn::EndpointConfig::new(Arc::new(ResetKey(key)));
    config.cid_generator(move || Box::new(ids.clone()));
    Ok(config)
}

/// The member whose key the other end of a connection proved.
pub(super) fn proven_key(connection: &quinn::Connection) -> Option<[u8; 32]> {
    let identity = connection.peer_identity()?;
    let chain = identity.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    parse_spki(chain.first()?)
}

fn no_initial_suite(error: &quinn::crypto::rustls::NoInitialCipherSuite) -> TransportError {
    TransportError::Tls(Error::General(error.to_string()))
}

fn parse_spki(bytes: &[u8]) -> Option<[u8; 32]> {
    bytes.strip_prefix(&SPKI_PREFIX)?.try_into().ok()
}

fn parameters(limits: &Limits, streams: u32) -> TransportConfig {
    let lanes = Lane::ALL.len() as u32 + 1;
    let idle = u32::try_from(limits.idle_timeout.as_millis()).unwrap_or(u32::MAX);
    let mut config = TransportConfig::default();
    config
        .max_concurrent_uni_streams(VarInt::from_u32(streams))
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(LANE_WINDOW))
        .receive_window(VarInt::from_u32(lanes * LANE_WINDOW))
        // Twice the sum of the lanes: data can be acknowledged later than its window reopens.
        .send_window(2 * u64::from(lanes * LANE_WINDOW))
        .keep_alive_interval(Some(limits.keep_alive))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(idle))))
        // Members are near each other more often than on other continents; a wrong guess costs a
        // repeated packet.
        .initial_rtt(Duration::from_millis(100));
    config
}

/// Accepts the keys of a table.
#[derive(Debug)]
struct MemberKeys {
    allowed: Keys,
    /// How a key outside the set is counted.
    refusal: Refusal,
    refusals: Arc<RefusalMeters>,
    provider: Arc<CryptoProvider>,
}

impl MemberKeys {
    fn check(
        &self,
        presented: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
    ) -> Result<(), Error> {
        let key = parse_spki(presented).filter(|_| rest.is_empty());
        if key.is_some_and(|key| self.allowed.owner(&key).is_some()) {
            return Ok(());
        }
        let count = self.refusals.count(self.refusal);
        if is_logged(count) {
            let key = key.and_then(|key| PublicKey::new(Suite::Ed25519, &key).ok());
            let expected = match self.refusal {
                Refusal::WrongKey => self.allowed.only_owner(),
                _ => None,
            };
            tracing::warn!(
                presented = key.map(tracing::field::display),
                expected = expected.map(tracing::field::display),
                count,
                "connection refused: {}",
                self.refusal.text()
            );
        }
        Err(Error::InvalidCertificate(
            CertificateError::ApplicationVerificationFailure,
        ))
    }

    fn check_signature(
        &self,
        message: &[u8],
        presented: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature_with_raw_key(
            message,
            &SubjectPublicKeyInfoDer::from(presented.as_ref()),
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }
}

/// TLS 1.2 is not offered, so nobody asks for its signatures.
fn no_tls12() -> Error {
    Error::General("TLS 1.2 is not offered".into())
}

impl ServerCertVerifier for MemberKeys {
    fn verify_server_cert(
        &self,
        presented: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(presented, rest)
            .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _presented: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        presented: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, presented, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for MemberKeys {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        presented: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(presented, rest)
            .map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _presented: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        presented: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, presented, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Random ids of connections. The default ones are recognized by the process that made them alone,
/// and packets with others are ignored; but a process that restarted has to answer those of its
/// predecessor with a reset.
#[derive(Clone)]
struct ConnectionIds(Stream);

impl ConnectionIds {
    const LENGTH: usize = 8;
}

impl quinn::ConnectionIdGenerator for ConnectionIds {
    fn generate_cid(&mut self) -> quinn::ConnectionId {
        let mut id = [0; Self::LENGTH];
        self.0.fill(&mut id);
        quinn::ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        Self::LENGTH
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Signs stateless reset tokens: keyed BLAKE3 over the connection id.
struct ResetKey(Seed);

impl quinn::crypto::HmacKey for ResetKey {
    fn sign(&self, data: &[u8], out: &mut [u8]) {
        let tag = Preimage::new(domain::TRANSPORT_RESET)
            .array(self.0.as_bytes())
            .bytes(data)
            .blake3();
        out.copy_from_slice(&tag.as_bytes()[..out.len()]);
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), quinn::crypto::CryptoError> {
        let mut expected = [0; 32];
        self.sign(data, &mut expected);
        // Only made, never checked by us: peers compare tokens they were given.
        if signature == expected {
            Ok(())
        } else {
            Err(quinn::crypto::CryptoError)
        }
    }
}

/// TLS alerts that say why a handshake failed (RFC 8446, section 6).
pub(super) const HANDSHAKE_FAILURE: u8 = 40;
/// The key is not acceptable.
pub(super) const ACCESS_DENIED: u8 = 49;
/// A client without a key.
pub(super) const CERTIFICATE_REQUIRED: u8 = 116;
/// No common application protocol: another chain.
pub(super) const NO_APPLICATION_PROTOCOL: u8 = 120;

/// The TLS alert in an error code of QUIC (RFC 9001, section 4.8).
pub(super) fn alert(code: quinn::TransportErrorCode) -> Option<u8> {
    u64::from(code)
        .checked_sub(0x100)
        .and_then(|alert| u8::try_from(alert).ok())
}
