//! Why something is refused.

use thiserror::Error;

/// Reasons of both modes. Compatible mode knows the few that E4 knows as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Bytes end before what they announce.
    #[error("bytes end too early: ask the sender for the whole message")]
    Truncated,
    /// An id is no UTF-8.
    #[error("a text is no UTF-8: ask the sender for canonical bytes")]
    NotUtf8,
    /// Bytes that the writer would not have produced (P10).
    #[error("bytes are not canonical: ask the sender for canonical bytes")]
    NotCanonical,
    /// A field is longer than its length can say.
    #[error("{0} is too long")]
    TooLong(&'static str),
    /// A list is longer than strict mode keeps (L12, P15, P16).
    #[error("more than {1} {0}")]
    TooMany(&'static str, usize),
    /// An empty id (C1).
    #[error("an id is empty")]
    EmptyId,
    /// A text contains the separator of a format without lengths (E3).
    #[error("a text contains NUL, which separates the fields of the signed payload")]
    NulInText,
    /// A field that has to be a digest is none, so that boundaries in the hashed text could move (P3, M6).
    #[error("{0} is no digest of 64 lowercase characters")]
    DigestForm(&'static str),

    /// A peer accuses itself.
    #[error("observer and target are the same")]
    SelfAccusation,
    /// The evidence does not verify.
    #[error("the evidence does not verify")]
    EvidenceInvalid,
    /// The proof contains nothing that the accused signed, so anybody could have written it (E1, E6).
    #[error("a proof of this type holds nothing that the accused has signed")]
    Unattributable,
    /// The signatures inside of the proof are not the accused's (E1).
    #[error("the accused has not signed the statements of the proof")]
    NotSignedByTarget,
    /// No signature, or one that nobody can check (E2, P11).
    #[error("the statement is not signed")]
    Unsigned,
    /// A key that is not in the registry (E2, P13).
    #[error("the signer is not in the registry: register its key first")]
    UnknownKey,
    /// A key that is no Ed25519 key: E4 falls back to a code keyed by public bytes (P12, R2).
    #[error("the registered key is not 32 bytes of Ed25519")]
    KeyLength,
    /// A signature that is not 64 bytes (P14).
    #[error("the signature is not 64 bytes")]
    SignatureLength,
    /// The signature does not fit.
    #[error("the signature does not verify")]
    BadSignature,
    /// A timestamp that is no number (E4).
    #[error("the timestamp is not finite")]
    TimestampNotFinite,
    /// Nobody asked for an age (E4).
    #[error("no age limit is given: set one")]
    AgeUnchecked,
    /// A form of evidence without signature and key (E5).
    #[error(
        "this form of evidence carries no signature: send the payload, the signature and the key id"
    )]
    UnsignedForm,

    /// The contents of a delta are not covered by its operation (P1).
    #[error("the contents of the delta are not covered by the signature: take its bounds only")]
    PayloadUncovered,
    /// Unsigned metadata differ from their defaults (P2).
    #[error("version, flags or padding are not signed and not the defaults")]
    MetadataUnsigned,
    /// Two ids share one key, so the originator could be exchanged (P2).
    #[error("the originator's key is registered for another id as well")]
    SharedKey,
    /// The statement was taken before (P4, L2).
    #[error("the statement was taken before")]
    Replay,
    /// The sender speaks for somebody else (P5).
    #[error("the source of the delta is not the originator of its operation")]
    SourceMismatch,
    /// The sender is quarantined, breaker or not (P6).
    #[error("the sender is quarantined")]
    Quarantined,
    /// The operation names no root, or there is nothing to compare with (P7).
    #[error(
        "no root to compare: ask for an operation that names its root, and bind the local tree"
    )]
    RootUnchecked,
    /// The root is not the local one.
    #[error("the root is not the local one")]
    RootMismatch,
    /// A clock far ahead of the local one (P8, C1).
    #[error("a clock is further ahead than one message can justify")]
    ClockAhead,
    /// The aggregate is not the digest of its parts.
    #[error("the aggregate does not cover what came with it")]
    AggregateMismatch,

    /// Two leaves would have one hash under different keys (M1).
    #[error("another key has the same leaf, and leaves do not cover their keys")]
    KeyUncovered,
    /// The contents of a leaf could be read as another leaf or as a node (M2).
    #[error("the leaf could be read with other boundaries")]
    AmbiguousLeaf,
    /// A position outside of its siblings (M6).
    #[error("the position is not one among the siblings")]
    Position,
    /// A cached trust that later changes would not reach (M5).
    #[error("cached trust hides later changes: bind the lattice instead")]
    TrustShadow,
    /// A switch or field that E4 reads nowhere (B5, M7).
    #[error("{0} has no effect in E4: leave the default")]
    DeadField(&'static str),
    /// A value out of range (B5).
    #[error("{0} is out of range")]
    OutOfRange(&'static str),

    /// A time beyond what later steps can hold (C1).
    #[error("a time is too large")]
    TimeTooLarge,
    /// Trust outside of 0 to 1 (C4).
    #[error("trust is not between 0 and 1")]
    TrustOutOfRange,

    /// A dimension outside of the six (L12).
    #[error("the dimension is not one of the six")]
    UnknownDimension,
    /// The accusation would lift the accused (L4).
    #[error("the accusation would raise the score of the accused")]
    AccusationRaises,
    /// Normalisation lifts peers with evidence against them (L10, L11).
    #[error("normalisation would lift peers with evidence against them")]
    Homeostasis,
    /// A lattice whose join is none (L1, L16).
    #[error("the lattice of 0.9.7 and before does not converge: join peers of 0.10 or later")]
    OldLattice,
    /// The breaker is tripped.
    #[error("the breaker is tripped: wait for its cooldown")]
    BreakerTripped,

    /// A full queue, from which E4 drops the oldest unverified operation (B1).
    #[error("the queue is full: run the follow-up first")]
    QueueFull,
    /// A chunk of a stream that was not opened, of another peer, or out of sequence (B3).
    #[error("the chunk is not the next one of a stream that its peer has opened")]
    ChunkOutOfPlace,
    /// Two different values that nothing orders (B4).
    #[error("two values tie, and E4 keeps whichever it met first")]
    Tie,
    /// A handshake that would take a peer a step back (B6).
    #[error("an unauthenticated handshake may not lower what was negotiated")]
    Downgrade,
    /// Masking keeps the low bits of each byte (B7).
    #[error("quantised deltas lose the high bits of every byte")]
    LossyQuantise,
    /// Composition deletes keys that never existed (B7).
    #[error("the composition deletes a key that only existed between the two deltas")]
    PhantomDeletion,

    /// A scheme whose signatures can be made from public data (R1).
    #[error("signatures of this scheme can be forged from public data")]
    ForgeableScheme,
    /// A revocation that the owner of the key did not sign (R2).
    #[error("the owner of the key has not signed the revocation")]
    UnprovenRevocation,
    /// A vouch or introduction whose signature E4 never checks (R2).
    #[error("signatures of vouches are never checked by E4")]
    UncheckedVouch,
    /// A form with five of six dimensions (R4).
    #[error("the form carries five values for six dimensions")]
    DimensionsLost,
    /// A number for which the format has no place.
    #[error("a number is not finite or too large for this format")]
    NotRepresentable,
}
