//! Any bytes: no decoder panics or takes memory out of proportion, and what one accepts encodes to the
//! same bytes.

use crate::bytes::Bytes;
use crate::meter::bounded;
use polity::host::{decode_receipts, decode_snapshot_meta, encode_receipts};
use polity_consensus::committee::Member;
use polity_consensus::fbpbft::{self, Block, Evidence, Header, Message, VoteCertificate};
use polity_consensus::light::{DecidedHeader, EpochEnd};
use polity_crypto::{PublicKey, Signature};
use polity_ledger::{Address, Command, CommitteeChange, Receipt, SignedTransaction, Transaction};
use polity_merkle::{ConsistencyProof, InclusionProof};
use polity_replica::proof::{AccountProof, FinalityProof, LockProof, TransactionProof};
use polity_replica::sync::{SyncMessage, SyncRecord};
use polity_replica::{Frame, GenesisMember, MemberChange, Record, SnapshotMeta};
use polity_types::wire;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest input that is decoded; every real limit is above it.
const LENGTH_MAX: usize = 1 << 20;

/// A decoder with its name: says whether it took the bytes.
pub(crate) type Decoder = (&'static str, fn(&[u8]) -> bool);

/// Every decoder of bytes that come from a peer, a file or a client. The first byte of an input is the
/// place in this list, so new ones go to its end.
pub(crate) const DECODERS: &[Decoder] = &[
    ("frame", |bytes| {
        let frame = Frame::decode(bytes, LENGTH_MAX);
        frame.is_ok_and(|frame| same(bytes, &frame.encode()))
    }),
    ("message", strict::<Message>),
    ("record", strict::<Record>),
    ("consensus record", strict::<fbpbft::Record>),
    ("block", strict::<Block>),
    ("header", strict::<Header>),
    ("certificate", strict::<VoteCertificate>),
    ("evidence", strict::<Evidence>),
    ("transaction", |bytes| {
        let signed = SignedTransaction::decode(bytes);
        signed.is_ok_and(|signed| same(bytes, &signed.encode()))
    }),
    ("member change", |bytes| {
        let Ok(change) = CommitteeChange::new(bytes) else {
            return false;
        };
        let Some(decoded) = MemberChange::decode(&change) else {
            return false;
        };
        let again = decoded.encode().expect("it came from a change");
        same(bytes, again.as_slice())
    }),
    ("committee change", strict::<CommitteeChange>),
    ("epoch end", strict::<EpochEnd>),
    ("decided header", strict::<DecidedHeader>),
    ("finality proof", strict::<FinalityProof>),
    ("account proof", strict::<AccountProof>),
    ("lock proof", strict::<LockProof>),
    ("transaction proof", strict::<TransactionProof>),
    ("inclusion proof", strict::<InclusionProof>),
    ("consistency proof", strict::<ConsistencyProof>),
    ("sync message", strict::<SyncMessage>),
    ("sync record", strict::<SyncRecord>),
    ("snapshot head", |bytes| {
        let meta: Option<SnapshotMeta> = decode_snapshot_meta(bytes);
        meta.is_some_and(|meta| same(bytes, &wire::encode(&meta)))
    }),
    ("receipts", |bytes| {
        let receipts: Option<Vec<Receipt>> = decode_receipts(bytes);
        receipts.is_some_and(|receipts| same(bytes, &encode_receipts(&receipts)))
    }),
    ("member", strict::<Member>),
    ("genesis member", strict::<GenesisMember>),
    ("public key", strict::<PublicKey>),
    ("signature", strict::<Signature>),
    ("address", strict::<Address>),
    ("command", strict::<Command>),
    ("unsigned transaction", strict::<Transaction>),
];

/// The property; the first byte picks the decoder.
pub(crate) fn decode(input: &[u8]) {
    let mut input = Bytes::new(input);
    let Some((_, decoder)) = input.pick(DECODERS) else {
        return;
    };
    let bytes = input.rest();
    bounded(bytes.len(), || decoder(bytes));
}

/// Decodes a value and compares its encoding.
pub(crate) fn strict<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> bool {
    let Ok(value) = wire::decode::<T>(bytes, LENGTH_MAX) else {
        return false;
    };
    assert_eq!(wire::encoded_len(&value), bytes.len());
    same(bytes, &wire::encode(&value))
}

fn same(bytes: &[u8], again: &[u8]) -> bool {
    assert_eq!(bytes, again, "a value has one encoding");
    true
}
