//! RFC 6962, section 2.1, word for word: recursive over the data, and slow.

use polity_crypto::Sha256Digest;
use sha2::{Digest as _, Sha256};

/// Data of the first `count` entries of a log.
pub(crate) fn entries(count: u64) -> Vec<Vec<u8>> {
    (0..count)
        .map(|number| number.to_be_bytes().to_vec())
        .collect()
}

/// `MTH(D)`.
pub(crate) fn root(data: &[Vec<u8>]) -> Sha256Digest {
    match data {
        [] => hash(&[]),
        [entry] => hash(&[&[0], entry]),
        _ => {
            let (left, right) = data.split_at(split(data.len() as u64) as usize);
            node(&root(left), &root(right))
        }
    }
}

/// `PATH(m, D)`.
pub(crate) fn inclusion(index: usize, data: &[Vec<u8>]) -> Vec<Sha256Digest> {
    if data.len() == 1 {
        return Vec::new();
    }
    let half = split(data.len() as u64) as usize;
    let (left, right) = data.split_at(half);
    let (mut path, sibling) = if index < half {
        (inclusion(index, left), root(right))
    } else {
        (inclusion(index - half, right), root(left))
    };
    path.push(sibling);
    path
}

/// `SUBPROOF(m, D, b)`.
pub(crate) fn consistency(old_size: usize, data: &[Vec<u8>], is_known: bool) -> Vec<Sha256Digest> {
    if old_size == data.len() {
        return if is_known {
            Vec::new()
        } else {
            vec![root(data)]
        };
    }
    let half = split(data.len() as u64) as usize;
    let (left, right) = data.split_at(half);
    let (mut path, sibling) = if old_size <= half {
        (consistency(old_size, left, is_known), root(right))
    } else {
        (consistency(old_size - half, right, false), root(left))
    };
    path.push(sibling);
    path
}

/// On which side a leaf and its ancestors stand, from the leaf to the root.
///
/// That is all that a root says about the place of a leaf.
pub(crate) fn turns(index: u64, size: u64) -> Vec<bool> {
    if size == 1 {
        return Vec::new();
    }
    let half = split(size);
    let is_right = index >= half;
    let mut turns = if is_right {
        turns(index - half, size - half)
    } else {
        turns(index, half)
    };
    turns.push(is_right);
    turns
}

/// The two roots that a consistency path leads to: `SUBPROOF` read backwards.
pub(crate) fn roots(
    (old_size, new_size): (u64, u64),
    path: &[Sha256Digest],
    known: Option<&Sha256Digest>,
) -> Option<(Sha256Digest, Sha256Digest)> {
    if old_size == new_size {
        return match (known, path) {
            (Some(known), []) => Some((*known, *known)),
            (None, [start]) => Some((*start, *start)),
            _ => None,
        };
    }
    let (sibling, path) = path.split_last()?;
    let half = split(new_size);
    if old_size <= half {
        let (old, new) = roots((old_size, half), path, known)?;
        Some((old, node(&new, sibling)))
    } else {
        let (old, new) = roots((old_size - half, new_size - half), path, None)?;
        Some((node(sibling, &old), node(sibling, &new)))
    }
}

/// The largest power of two smaller than `size`.
fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

fn node(left: &Sha256Digest, right: &Sha256Digest) -> Sha256Digest {
    hash(&[&[1], left.as_bytes(), right.as_bytes()])
}

fn hash(parts: &[&[u8]]) -> Sha256Digest {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    Sha256Digest::new(hasher.finalize().into())
}
