//! Bytes on a stream: one lane number, then frames of `length ‖ bytes`, and under tier 1 a tag behind each.

use super::inbox::Budgets;
use super::seal::{Seal, TAG_BYTES};
use super::{Lane, Limits};
use quinn::{ReadExactError, RecvStream};
use tokio::sync::OwnedSemaphorePermit;

/// Why this node closes a connection or stops a stream, as the peer sees it.
pub(super) mod code {
    use quinn::VarInt;

    /// The node stops.
    pub(crate) const SHUTDOWN: VarInt = VarInt::from_u32(1);
    /// The peer opened a newer connection.
    pub(crate) const REPLACED: VarInt = VarInt::from_u32(2);
    /// The peer broke the rules too often.
    pub(crate) const CUT_OFF: VarInt = VarInt::from_u32(3);
    /// A frame was longer than its lane takes.
    pub(crate) const OVERSIZED: VarInt = VarInt::from_u32(4);
    /// The stream is none of ours.
    pub(crate) const UNEXPECTED: VarInt = VarInt::from_u32(5);
    /// The member table changed: the key is nobody's any more.
    pub(crate) const NO_MEMBER: VarInt = VarInt::from_u32(6);
    /// The member table changed: the peer is reached in another way.
    pub(crate) const MOVED: VarInt = VarInt::from_u32(7);
    /// A proof or a frame of tier 1 does not hold. The peer learns no more.
    pub(crate) const NOT_AUTHENTIC: VarInt = VarInt::from_u32(8);
}

/// What the accepting side sends when it has accepted.
pub(super) const WELCOME: &[u8; 8] = b"polity/1";

/// Appends the length and the frame, and its tag if there is a seal. Lanes are limited far below 4 GiB.
pub(super) fn append(out: &mut Vec<u8>, frame: &[u8], seal: Option<&mut Seal>) {
    let length = u32::try_from(frame.len()).expect("lanes limit frames to less than 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(frame);
    if let Some(seal) = seal {
        out.extend_from_slice(&seal.tag(frame));
    }
}

/// How reading a frame ended.
pub(super) enum Read {
    Frame(Vec<u8>, OwnedSemaphorePermit),
    Oversized(usize),
    /// The tag does not hold.
    Forged,
    /// The stream or the connection is over.
    End,
}

/// Reads one frame. Memory is taken only after the peer's budget allowed it.
pub(super) async fn read(
    stream: &mut RecvStream,
    lane: Lane,
    budgets: &Budgets,
    limits: &Limits,
    seal: Option<&mut Seal>,
) -> Result<Read, ReadExactError> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length).await {
        Ok(()) => {}
        Err(ReadExactError::FinishedEarly(0)) => return Ok(Read::End),
        Err(error) => return Err(error),
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > limits.lane(lane).frame_bytes_max {
        return Ok(Read::Oversized(length));
    }
    let Some(permit) = budgets.permit(lane, length, limits).await else {
        return Ok(Read::End);
    };
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    if let Some(seal) = seal {
        let mut tag = [0; TAG_BYTES];
        stream.read_exact(&mut tag).await?;
        if seal.check(&bytes, &tag).is_err() {
            return Ok(Read::Forged);
        }
    }
    Ok(Read::Frame(bytes, permit))
}
