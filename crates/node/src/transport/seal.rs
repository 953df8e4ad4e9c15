//! Tier 1: an authenticator behind every frame of a link (CR-6).
//!
//! Nodes of one operator hold one secret. Two ends of a connection derive from it, with HKDF-SHA256, a key for
//! each direction and kind: the lanes, and the proofs in front of them. A tag is HMAC-SHA256 over
//!
//! ```text
//! "polity/link-frame/v1" ‖ 00 ‖ session (32) ‖ stream (u64) ‖ number (u64) ‖ length (u32) ‖ frame
//! ```
//!
//! The session is what TLS exports to both ends of one connection and to nobody else (RFC 8446, section
//! 7.5); the number counts the frames of the stream, and is not sent. So a tag is good once, in its place:
//! a frame that is repeated, left out, moved to another place, lane, stream or connection, or relayed
//! from another connection of TLS does not hold.
//!
//! Before anything else each end proves the secret, with the tag of an empty frame of a kind of its own:
//! who dials in its first stream, who accepts behind the welcome.
//!
//! # What it is not
//!
//! A tag convinces the other end alone, which could have made it: votes are signed as under any tier.
//! It hides nothing, which TLS does. It tells members apart no better than TLS, since all know the secret.

use super::Lane;
use super::table::Key;
use polity_crypto::hmac::LinkKey;
use polity_crypto::{Preimage, Signature, Signer as _, Verifier as _, domain};
use quinn::Connection;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Length of a tag in bytes.
pub(super) const TAG_BYTES: usize = 32;

/// The other end does not hold the secret, or the frame is another one. Says no more to anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Forged;

/// The secret of the links, shared by all connections.
pub(super) type Secret = Arc<Zeroizing<[u8; 32]>>;

/// What authenticates the frames of one connection.
pub(super) struct Session {
    secret: Secret,
    /// What TLS exports for this connection.
    exported: [u8; 32],
    dialler: Key,
    acceptor: Key,
}

/// One stream, seen from either end. It counts its frames.
pub(super) struct Seal {
    key: LinkKey,
    exported: [u8; 32],
    stream: u64,
    number: u64,
}

impl Session {
    /// Of a connection whose ends proved these keys. Fails if TLS has nothing to export, which a finished
    /// handshake has.
    pub(super) fn new(
        secret: &Secret,
        connection: &Connection,
        dialler: Key,
        acceptor: Key,
    ) -> Result<Self, Forged> {
        let mut exported = [0; 32];
        connection
            .export_keying_material(&mut exported, b"EXPERIMENTAL-polity-link-v1", b"")
            .map_err(|_| Forged)?;
        Ok(Self {
            secret: Arc::clone(secret),
            exported,
            dialler,
            acceptor,
        })
    }

    /// Proves who dials.
    pub(super) fn hello(&self) -> Seal {
        self.seal(&self.dialler, &self.acceptor, "hello", 0)
    }

    /// Proves who accepts.
    pub(super) fn welcome(&self) -> Seal {
        self.seal(&self.acceptor, &self.dialler, "welcome", 0)
    }

    /// A stream of frames, which go from who dialled to who accepted.
    pub(super) fn lane(&self, lane: Lane, stream: quinn::StreamId) -> Seal {
        let stream = quinn::VarInt::from(stream).into_inner();
        self.seal(&self.dialler, &self.acceptor, lane.name(), stream)
    }

    fn seal(&self, from: &Key, to: &Key, kind: &str, stream: u64) -> Seal {
        Seal {
            key: LinkKey::derive(&self.secret, from, to, kind),
            exported: self.exported,
            stream,
            number: 0,
        }
    }
}

impl Seal {
    /// The tag of the next frame to send.
    pub(super) fn tag(&mut self, frame: &[u8]) -> [u8; TAG_BYTES] {
        let preimage = self.next(frame);
        let signature = self.key.sign(&preimage);
        signature
            .as_slice()
            .try_into()
            .expect("an authenticator of HMAC-SHA256 has 32 bytes")
    }

    /// Checks the tag of the next frame received, in constant time.
    pub(super) fn check(&mut self, frame: &[u8], tag: &[u8]) -> Result<(), Forged> {
        let preimage = self.next(frame);
        self.key
            .verify(self.key.public_key(), &preimage, &Signature::new(tag))
            .map_err(|_| Forged)
    }

    fn next(&mut self, frame: &[u8]) -> Preimage {
        let preimage = Preimage::new(domain::LINK_FRAME)
            .array(&self.exported)
            .u64(self.stream)
            .u64(self.number)
            .bytes(frame);
        // Nobody sends 2^64 frames.
        self.number = self.number.wrapping_add(1);
        preimage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        Session {
            secret: Arc::new(Zeroizing::new([1; 32])),
            exported: [2; 32],
            dialler: [3; 32],
            acceptor: [4; 32],
        }
    }

    fn votes(session: &Session) -> Seal {
        session.lane(
            Lane::Votes,
            quinn::StreamId::from(quinn::VarInt::from_u32(6)),
        )
    }

    /// Frames as they are sent: what they say, and their tags.
    fn sent() -> [(Vec<u8>, [u8; TAG_BYTES]); 3] {
        let mut seal = votes(&session());
        [&b"first"[..], b"second", b""].map(|frame| (frame.to_vec(), seal.tag(frame)))
    }

    /// How many frames are taken before the first that does not hold.
    fn taken(session: &Session, frames: &[(Vec<u8>, Vec<u8>)]) -> usize {
        let mut seal = votes(session);
        frames
            .iter()
            .take_while(|(frame, tag)| seal.check(frame, tag).is_ok())
            .count()
    }

    /// Frames and tags.
    type Frames = Vec<(Vec<u8>, Vec<u8>)>;
    type Tamper = fn(&mut Frames);
    type Change = fn(&mut Session);

    #[test]
    fn a_frame_that_was_tampered_with_is_not_taken() {
        let cases: [(&str, Tamper, usize); 16] = [
            ("nothing", |_| {}, 3),
            ("a bit of a frame", |frames| frames[1].0[0] ^= 1, 1),
            ("a longer frame", |frames| frames[1].0.push(0), 1),
            ("a shorter frame", |frames| frames[1].0.truncate(5), 1),
            ("a bit of a tag", |frames| frames[1].1[31] ^= 0x80, 1),
            ("a shorter tag", |frames| frames[1].1.truncate(31), 1),
            ("a longer tag", |frames| frames[1].1.push(0), 1),
            ("no tag", |frames| frames[1].1.clear(), 1),
            ("zeros", |frames| frames[1].1.fill(0), 1),
            (
                "the tag of another frame",
                |frames| frames[1].1 = frames[0].1.clone(),
                1,
            ),
            ("replayed", |frames| frames.insert(1, frames[0].clone()), 1),
            ("replayed later", |frames| frames.push(frames[0].clone()), 3),
            ("reordered", |frames| frames.swap(1, 2), 1),
            ("left out", |frames| drop(frames.remove(1)), 1),
            ("cut off in front", |frames| drop(frames.remove(0)), 0),
            (
                "a byte moved from the tag to the frame",
                |frames| {
                    let byte = frames[0].1.remove(0);
                    frames[0].0.push(byte);
                },
                0,
            ),
        ];
        for (case, tamper, before) in cases {
            let mut frames: Frames = sent().map(|(frame, tag)| (frame, tag.to_vec())).into();
            tamper(&mut frames);
            assert_eq!(taken(&session(), &frames), before, "{case}");
        }
    }

    #[test]
    fn a_tag_is_good_for_its_connection_alone() {
        let cases: [(&str, Change); 5] = [
            ("another secret", |session| {
                session.secret = Arc::new(Zeroizing::new([9; 32]));
            }),
            ("another connection", |session| session.exported[0] ^= 1),
            ("another pair", |session| session.acceptor[0] ^= 1),
            ("another dialler", |session| session.dialler[31] ^= 1),
            ("the other direction", |session| {
                std::mem::swap(&mut session.dialler, &mut session.acceptor);
            }),
        ];
        for (case, change) in cases {
            let mut other = session();
            change(&mut other);
            for seal in [Session::hello, Session::welcome, votes] {
                let tag = seal(&session()).tag(b"frame");
                assert_eq!(seal(&session()).check(b"frame", &tag), Ok(()));
                assert_eq!(seal(&other).check(b"frame", &tag), Err(Forged), "{case}");
            }
        }
    }

    #[test]
    fn a_tag_is_good_for_its_kind_and_stream_alone() {
        let session = session();
        let stream = |number| quinn::StreamId::from(quinn::VarInt::from_u32(number));
        let seals = || {
            [
                session.hello(),
                session.welcome(),
                session.lane(Lane::Votes, stream(2)),
                session.lane(Lane::Votes, stream(6)),
                session.lane(Lane::Blocks, stream(6)),
                session.lane(Lane::Transactions, stream(0)),
                session.lane(Lane::Sync, stream(0)),
            ]
        };
        for (index, mut seal) in seals().into_iter().enumerate() {
            let tag = seal.tag(b"");
            for (other, mut check) in seals().into_iter().enumerate() {
                assert_eq!(
                    check.check(b"", &tag).is_ok(),
                    index == other,
                    "{index} {other}"
                );
            }
        }
    }

    /// Fixed by RFC 2104 and RFC 5869 alone, so that another implementation can be written.
    #[test]
    fn a_tag_is_as_the_page_says() {
        use polity_crypto::bare::hmac_sha256;
        let mut info = b"polity/link/v1\0".to_vec();
        for part in [&[3; 32][..], &[4; 32], b"votes"] {
            info.extend_from_slice(&u32::try_from(part.len()).unwrap().to_le_bytes());
            info.extend_from_slice(part);
        }
        info.push(1);
        let key = hmac_sha256(&hmac_sha256(&[0; 32], &[1; 32]), &info);
        let mut message = b"polity/link-frame/v1\0".to_vec();
        message.extend_from_slice(&[2; 32]);
        message.extend_from_slice(&6_u64.to_le_bytes());
        message.extend_from_slice(&1_u64.to_le_bytes());
        message.extend_from_slice(&6_u32.to_le_bytes());
        message.extend_from_slice(b"second");
        assert_eq!(sent()[1].1, hmac_sha256(&key, &message));
    }
}
