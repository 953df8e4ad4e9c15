//! The forms of proofs inside of evidence, and what E4 takes them to show.

use crate::Refusal;
use crate::hash::hex_sha256;
use std::collections::BTreeMap;

/// Bytes of a signature at the end of an attestation.
const SIGNATURE: usize = 64;

/// One step of a Merkle path as evidence carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Digests beside the running one, as text.
    pub siblings: Vec<Vec<u8>>,
    /// Where the running digest belongs among them; past the end means at the end.
    pub position: u16,
}

/// Two blobs, each behind its length. The form of attestation, clock and state pairs.
///
/// # Errors
///
/// If a blob is longer than its length field can say.
pub fn pack_pair(a: &[u8], b: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::with_capacity(8 + a.len() + b.len());
    for blob in [a, b] {
        let length = u32::try_from(blob.len()).map_err(|_| Refusal::TooLong("proof"))?;
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(blob);
    }
    Ok(bytes)
}

/// Reads [`pack_pair`]; what follows is ignored, as E4 does.
///
/// # Errors
///
/// If a blob is cut short.
pub fn parse_pair(bytes: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    let (a, rest) = blob(bytes)?;
    let (b, _) = blob(rest)?;
    Ok((a, b))
}

fn blob(bytes: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    let (length, rest) = bytes.split_first_chunk().ok_or(Refusal::Truncated)?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
        .ok_or(Refusal::Truncated)
}

/// A claimed hash and the delta that does not have it.
pub fn pack_delta(claimed: &[u8; 32], delta: &[u8]) -> Vec<u8> {
    [claimed, delta].concat()
}

/// A Merkle path.
///
/// # Errors
///
/// If there are more steps, siblings or characters than their fields can say.
pub fn pack_path(steps: &[Step]) -> Result<Vec<u8>, Refusal> {
    let short = |number: usize| u16::try_from(number).map_err(|_| Refusal::TooLong("path"));
    let mut bytes = short(steps.len())?.to_be_bytes().to_vec();
    for step in steps {
        bytes.extend_from_slice(&short(step.siblings.len())?.to_be_bytes());
        bytes.extend_from_slice(&step.position.to_be_bytes());
        for sibling in &step.siblings {
            bytes.extend_from_slice(&short(sibling.len())?.to_be_bytes());
            bytes.extend_from_slice(sibling);
        }
    }
    Ok(bytes)
}

/// The digest to which a path leads: the running digest begins as the empty text. Trailing bytes
/// are ignored, and a last sibling may be shorter than it says.
///
/// # Errors
///
/// If the path is malformed.
pub fn path_root(bytes: &[u8]) -> Result<String, Refusal> {
    let mut rest = bytes;
    let mut current = String::new();
    for _ in 0..short(&mut rest)? {
        let (count, position) = (short(&mut rest)?, short(&mut rest)?);
        let mut siblings: Vec<&[u8]> = Vec::new();
        for _ in 0..count {
            let length = short(&mut rest)?.min(rest.len());
            let (sibling, tail) = rest.split_at(length);
            core::str::from_utf8(sibling).map_err(|_| Refusal::NotUtf8)?;
            siblings.push(sibling);
            rest = tail;
        }
        siblings.insert(position.min(siblings.len()), current.as_bytes());
        current = hex_sha256(siblings);
    }
    Ok(current)
}

fn short(rest: &mut &[u8]) -> Result<usize, Refusal> {
    let (number, tail) = rest.split_first_chunk().ok_or(Refusal::Truncated)?;
    *rest = tail;
    Ok(usize::from(u16::from_be_bytes(*number)))
}

/// An attestation without its last 64 bytes, and these. E4 asks for them and never looks at them (E1).
pub fn split_attestation(blob: &[u8]) -> Option<(&[u8], &[u8])> {
    blob.split_at_checked(blob.len().checked_sub(SIGNATURE)?)
}

/// Whether two attestations of one signer give different contents for one number.
pub fn is_equivocation(proof: &[u8]) -> bool {
    let Ok((a, b)) = parse_pair(proof) else {
        return false;
    };
    match (attestation(a), attestation(b)) {
        (Some(a), Some(b)) => a.0 == b.0 && a.1 == b.1 && a.2 != b.2,
        _ => false,
    }
}

fn attestation(blob: &[u8]) -> Option<(&str, i128, &str)> {
    let (text, _) = split_attestation(blob)?;
    let mut fields = core::str::from_utf8(text).ok()?.split('\0');
    let (signer, sequence) = (fields.next()?, integer(fields.next()?)?);
    Some((signer, sequence, fields.next()?))
}

/// Whether the second clock is behind the first somewhere and ahead nowhere. The form is text of its
/// own, not the clock's bytes (E6).
pub fn is_regression(proof: &[u8]) -> bool {
    let Ok((before, after)) = parse_pair(proof) else {
        return false;
    };
    let (Some(before), Some(after)) = (text_clock(before), text_clock(after)) else {
        return false;
    };
    let mut is_behind = false;
    for peer in before.keys().chain(after.keys()) {
        let (old, new) = (before.get(peer), after.get(peer));
        let (old, new) = (old.copied().unwrap_or(0), new.copied().unwrap_or(0));
        if new > old {
            return false;
        }
        is_behind |= new < old;
    }
    is_behind
}

fn text_clock(bytes: &[u8]) -> Option<BTreeMap<String, i128>> {
    let text = core::str::from_utf8(bytes).ok()?;
    let mut clock = BTreeMap::new();
    for item in text.split(';') {
        if let Some((peer, time)) = item.split_once('=') {
            clock.insert(peer.trim().to_owned(), integer(time)?);
        }
    }
    Some(clock)
}

/// A decimal integer, as E4's host language reads it in ASCII: blanks around it, a sign, and single
/// underscores between digits. Numbers beyond 128 bits and other digits are refused.
fn integer(text: &str) -> Option<i128> {
    let text = text.trim();
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_number = digits
        .split('_')
        .all(|group| !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit()));
    if !is_number {
        return None;
    }
    text.replace('_', "").parse().ok()
}
