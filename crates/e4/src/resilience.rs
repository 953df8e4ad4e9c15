//! Formats and tables of E4's resilience modules, none of which its core is connected to (M7).

use crate::hash::{encode_hex, max, sha256};
use crate::{Mode, Refusal};
use md5::{Digest, Md5};
use std::fmt::Write as _;

/// Epochs across which states merge, unless told otherwise.
pub const RETENTION: u64 = 3;

/// Tags of separated digests.
pub mod tag {
    /// Roots.
    pub const ROOT: u8 = 1;
    /// Clocks.
    pub const CLOCK: u8 = 2;
    /// Trust.
    pub const TRUST: u8 = 3;
    /// Bounds.
    pub const BOUNDS: u8 = 4;
    /// Bindings of keys.
    pub const KEY_BINDING: u8 = 5;
    /// Epochs.
    pub const EPOCH: u8 = 6;
    /// Evidence.
    pub const EVIDENCE: u8 = 7;
}

/// Digest behind a tag.
pub fn domain_hash(tag: u8, data: &[u8]) -> [u8; 32] {
    sha256([&[tag], data])
}

/// Digest of the four tagged digests.
pub fn aggregate_hash(root: &[u8], clock: &[u8], trust: &[u8], bounds: &[u8]) -> [u8; 32] {
    let parts = [
        domain_hash(tag::ROOT, root),
        domain_hash(tag::CLOCK, clock),
        domain_hash(tag::TRUST, trust),
        domain_hash(tag::BOUNDS, bounds),
    ];
    sha256(parts.iter().map(<[u8; 32]>::as_slice))
}

/// Digest behind a tag and an epoch.
pub fn epoch_hash(tag: u8, epoch: u64, data: &[u8]) -> [u8; 32] {
    sha256([&[tag], epoch.to_be_bytes().as_slice(), data])
}

/// Trust of peers in few bytes: whatever number of values each has, E4's reader expects five.
///
/// # Errors
///
/// In strict mode always (R4). Otherwise if an id or the list is longer than its field.
pub fn sparse_trust(
    epoch: u32,
    peers: &[(String, Vec<f64>)],
    mode: Mode,
) -> Result<Vec<u8>, Refusal> {
    if mode == Mode::Strict {
        return Err(Refusal::DimensionsLost);
    }
    let mut peers: Vec<&(String, Vec<f64>)> = peers.iter().collect();
    peers.sort_by(|a, b| a.0.cmp(&b.0));
    let count = u32::try_from(peers.len()).map_err(|_| Refusal::TooLong("peers"))?;
    let mut bytes = epoch.to_be_bytes().to_vec();
    bytes.extend_from_slice(&count.to_be_bytes());
    for (id, values) in peers {
        write_id(&mut bytes, id)?;
        for value in values {
            bytes.extend_from_slice(&value.to_be_bytes());
        }
    }
    Ok(bytes)
}

/// Summary of a region: its size, then least, greatest, median and mean trust.
///
/// # Errors
///
/// If the id is longer than its field.
pub fn region_summary(
    region: &str,
    peers: u32,
    statistics: [f64; 4],
    epoch: u32,
) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    write_id(&mut bytes, region)?;
    bytes.extend_from_slice(&peers.to_be_bytes());
    for value in statistics {
        bytes.extend_from_slice(&value.to_be_bytes());
    }
    bytes.extend_from_slice(&epoch.to_be_bytes());
    Ok(bytes)
}

fn write_id(bytes: &mut Vec<u8>, id: &str) -> Result<(), Refusal> {
    let length = u16::try_from(id.len()).map_err(|_| Refusal::TooLong("id"))?;
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(id.as_bytes());
    Ok(())
}

/// The region of a peer, by the MD5 of its id, which any peer can choose.
///
/// # Errors
///
/// If there are no regions.
pub fn region_for(peer: &str, regions: u64) -> Result<String, Refusal> {
    if regions == 0 {
        return Err(Refusal::OutOfRange("regions"));
    }
    let digest: [u8; 16] = Md5::digest(peer.as_bytes()).into();
    let region = u128::from_be_bytes(digest) % u128::from(regions);
    Ok(format!("region-{region:04}"))
}

/// What an institution signs for its devices; E4 never checks that signature.
///
/// # Errors
///
/// In strict mode always (R2, R4).
pub fn vouch_hash(
    institution: &str,
    devices: &[String],
    ceiling: f64,
    dimensions: &[f64],
    timestamp: f64,
    mode: Mode,
) -> Result<[u8; 32], Refusal> {
    if mode == Mode::Strict {
        return Err(Refusal::UncheckedVouch);
    }
    let mut devices: Vec<&String> = devices.iter().collect();
    devices.sort();
    let mut bytes = institution.as_bytes().to_vec();
    for device in devices {
        bytes.extend_from_slice(device.as_bytes());
    }
    for value in [ceiling].iter().chain(dimensions).chain([&timestamp]) {
        bytes.extend_from_slice(&value.to_be_bytes());
    }
    Ok(sha256([bytes.as_slice()]))
}

/// Compensated sum in the order given.
pub fn kahan_sum(values: &[f64]) -> f64 {
    let (mut sum, mut carry) = (0.0, 0.0);
    for value in values {
        let next = value - carry;
        let total = sum + next;
        carry = (total - sum) - next;
        sum = total;
    }
    sum
}

/// Compensated sum in the order of absolute values, so that every order gives the same number.
pub fn sorted_sum(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.abs().total_cmp(&b.abs()).then(a.total_cmp(b)));
    kahan_sum(&sorted)
}

/// Sum in steps of 2^-24, each value rounded to even.
///
/// # Errors
///
/// If a value is not finite, or beyond 2^100.
pub fn fixed_sum(values: &[f64]) -> Result<f64, Refusal> {
    const STEP: f64 = 16_777_216.0;
    const LIMIT: f64 = 1e30;
    let mut sum = 0_i128;
    for value in values {
        if !value.is_finite() || value.abs() > LIMIT {
            return Err(Refusal::NotRepresentable);
        }
        let steps = (value * STEP).round_ties_even() as i128;
        sum = sum.checked_add(steps).ok_or(Refusal::NotRepresentable)?;
    }
    Ok(sum as f64 / STEP)
}

/// Mean by weights, with sorted products; 0.0 if the weights sum to nothing.
pub fn weighted_average(values: &[f64], weights: &[f64]) -> f64 {
    let products: Vec<f64> = values.iter().zip(weights).map(|(v, w)| v * w).collect();
    let total = sorted_sum(weights);
    if total == 0.0 {
        return 0.0;
    }
    sorted_sum(&products) / total
}

/// What E4 does with a peer of another epoch.
pub fn partition_strategy(local: u64, remote: u64, retention: u64) -> &'static str {
    match local.abs_diff(remote) {
        0 => "merge",
        gap if gap <= retention => "fast_forward",
        gap if gap <= retention.saturating_mul(2) => "merge",
        _ => "quarantine",
    }
}

/// E4's estimate of convergence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvergenceBound {
    /// Rounds of gossip.
    pub rounds: f64,
    /// Seconds.
    pub seconds: f64,
    /// Seconds after a partition.
    pub seconds_after_partition: f64,
}

/// Rounds for a number of peers at a rate of contacts.
pub fn convergence_bound(
    peers: u64,
    interval_seconds: f64,
    rate: f64,
    divergence: f64,
) -> ConvergenceBound {
    let rounds = if peers <= 1 {
        0.0
    } else {
        ((peers as f64).log2() / (1.0 - (-rate).exp())).ceil()
    };
    let seconds = rounds * interval_seconds;
    ConvergenceBound {
        rounds,
        seconds,
        seconds_after_partition: seconds * (1.0 + divergence),
    }
}

/// Size of E4's sketch: width, depth, bytes. Observed from 70,416 to 731,503 peers; where between
/// 70,416 and 299,739 the larger one begins is not known, here it is 100,000.
pub fn sketch_size(peers: u64) -> (u64, u64, u64) {
    // e / error and ln(1 / doubt), rounded up: 0.01 and 0.001, or 0.005 and 0.0001.
    let (width, depth) = if peers < 100_000 { (272, 7) } else { (544, 10) };
    (width, depth, width * depth * 4)
}

/// E4's estimate of bytes per round: all scores, sparse deltas, regions, and which it would take. The
/// bounds of the observation are those of [`sketch_size`].
pub fn bandwidth(peers: u64) -> (u64, u64, u64, &'static str) {
    let full = peers.saturating_mul(40);
    let kind = if peers < 100_000 {
        "sparse"
    } else {
        "regional"
    };
    (full, full / 100 + 64, 100 * 48 + 64, kind)
}

/// E4's name of a schema: fields as name, type and position, in their order.
pub fn schema_hash(schema: &str, version: u64, fields: &[(String, String, u64)]) -> String {
    let mut text = format!("{schema}:{version}");
    for (name, kind, position) in fields {
        let _ = write!(text, "{name}:{kind}:{position}");
    }
    let digest = sha256([text.as_bytes()]);
    encode_hex(&digest[..8])
}

/// What a device may be trusted: the greatest of what is known, and probation.
pub fn inherited_trust(vouched: f64, cluster_median: f64, individual: f64) -> f64 {
    max(
        max(max(vouched, cluster_median), individual),
        crate::score::PROBATION,
    )
}
