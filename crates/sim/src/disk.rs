//! A disk that forgets what was not synced.

/// One replica's journal file: frames of length, checksum and payload.
///
/// What is appended is lost at a crash until it is synced, in whole or from any byte on: the tail
/// may be torn in the middle of a frame.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    bytes: Vec<u8>,
    /// Everything in front of this is durable.
    synced: usize,
}

/// Bytes in front of a payload: 4 of its length, 8 of its checksum.
const HEAD: usize = 12;

impl Disk {
    /// Writes a payload behind the others. Returns the position behind it.
    pub fn append(&mut self, payload: &[u8]) -> usize {
        let length = u32::try_from(payload.len()).expect("records are bounded");
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(&checksum(payload));
        self.bytes.extend_from_slice(payload);
        self.bytes.len()
    }

    /// Position behind the last payload.
    pub fn end(&self) -> usize {
        self.bytes.len()
    }

    /// Position behind the last durable byte.
    pub fn synced(&self) -> usize {
        self.synced
    }

    /// Makes everything in front of `position` durable.
    pub fn sync_to(&mut self, position: usize) {
        self.synced = self.synced.max(position.min(self.bytes.len()));
    }

    /// Loses power: of the bytes that were not synced only the first `kept` are there afterwards.
    pub fn crash(&mut self, kept: usize) {
        let end = self.synced.saturating_add(kept).min(self.bytes.len());
        self.bytes.truncate(end);
    }

    /// Reads every whole payload back, and cuts a torn one off.
    pub fn recover(&mut self) -> Vec<Vec<u8>> {
        let mut payloads = Vec::new();
        let mut position = 0;
        while let Some(payload) = frame_at(&self.bytes, position) {
            payloads.push(payload.to_vec());
            position += HEAD + payload.len();
        }
        self.bytes.truncate(position);
        self.synced = position;
        payloads
    }
}

fn frame_at(bytes: &[u8], position: usize) -> Option<&[u8]> {
    let rest = bytes.get(position..)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<8>()?;
    let payload = rest.get(..u32::from_le_bytes(*length) as usize)?;
    (checksum(payload) == *sum).then_some(payload)
}

fn checksum(payload: &[u8]) -> [u8; 8] {
    let digest = blake3::hash(payload);
    let (sum, _) = digest
        .as_bytes()
        .split_first_chunk::<8>()
        .expect("32 bytes");
    *sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FB-15: whatever byte a write stops at, what was synced is there and nothing is invented.
    #[test]
    fn fb_15_a_torn_tail_loses_whole_payloads_from_the_end() {
        let payloads: Vec<Vec<u8>> = (0..6_u8).map(|n| vec![n; usize::from(n) * 7]).collect();
        let mut written = Disk::default();
        let mut ends = Vec::new();
        for payload in &payloads {
            ends.push(written.append(payload));
        }
        written.sync_to(ends[1]);
        for kept in 0..=written.end() - ends[1] {
            let mut disk = written.clone();
            disk.crash(kept);
            let whole = ends.iter().filter(|end| **end <= ends[1] + kept).count();
            assert_eq!(disk.recover(), payloads[..whole]);
            // It goes on behind the last whole one.
            disk.append(b"next");
            let mut expected = payloads[..whole].to_vec();
            expected.push(b"next".to_vec());
            assert_eq!(disk.recover(), expected);
        }
    }
}
