//! A disk that forgets what was not synced, and that now and then damages what was.

use polity_types::Stream;

/// One replica's journal file, laid out as a node's journal is: each record has a sequence, a
/// checksum over sequence and payload, and the number of records in front of it that were not yet
/// durable when it was written.
///
/// What is appended is lost at a crash until it is synced, in whole or from any byte on: the tail
/// may be torn in the middle of a record. A record that does not hold is a torn tail, unless a later
/// one proves that it was durable once; then the journal is damaged, and nothing may be started from
/// it.
///
/// Most runs never look at their bytes, so records are laid out when somebody does.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    bytes: Vec<u8>,
    /// Records behind `bytes` that are not laid out yet.
    appended: Vec<Appended>,
    /// Everything in front of this is durable.
    synced: usize,
    /// How many records are in front of it.
    durable: usize,
    /// Where each record ends.
    ends: Vec<usize>,
}

/// A record that is not laid out yet.
#[derive(Clone, Debug)]
struct Appended {
    pending: u32,
    payload: Vec<u8>,
}

/// A durable record does not hold any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {record} of the journal is damaged, and a later one proves that it was durable")]
pub struct Damage {
    /// Its sequence.
    pub record: u64,
}

/// How a disk damages a durable record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DamageKind {
    /// One bit of it is another one.
    BitFlip,
    /// Another record was written in its place.
    Misdirected,
}

/// Bytes in front of a payload: 4 of its length, 8 of its sequence, 4 of the records that were
/// pending, 8 of the checksum.
const HEAD: usize = 24;

/// A record that holds.
struct Frame<'a> {
    sequence: u64,
    pending: u32,
    payload: &'a [u8],
}

impl Disk {
    /// Writes a payload behind the others. Returns the position behind it.
    pub fn append(&mut self, payload: Vec<u8>) -> usize {
        let pending = (self.ends.len() - self.durable) as u32;
        let end = self.end() + HEAD + payload.len();
        self.ends.push(end);
        self.appended.push(Appended { pending, payload });
        end
    }

    /// Position behind the last payload.
    pub fn end(&self) -> usize {
        match (&self.appended[..], self.ends.last()) {
            // Behind the last record there may be a part of another one.
            ([], _) | (_, None) => self.bytes.len(),
            (_, Some(end)) => *end,
        }
    }

    /// Position behind the last durable byte.
    pub fn synced(&self) -> usize {
        self.synced
    }

    /// Makes everything in front of `position` durable.
    pub fn sync_to(&mut self, position: usize) {
        self.synced = self.synced.max(position.min(self.end()));
        while self
            .ends
            .get(self.durable)
            .is_some_and(|end| *end <= self.synced)
        {
            self.durable += 1;
        }
    }

    /// Loses power: of the bytes that were not synced only the first `kept` are there afterwards.
    pub fn crash(&mut self, kept: usize) {
        self.lay_out();
        let end = self.synced.saturating_add(kept).min(self.bytes.len());
        self.bytes.truncate(end);
        self.ends.retain(|at| *at <= end);
    }

    /// Damages a durable record that later records prove. Returns its sequence; nothing if there is
    /// none yet.
    pub fn damage(&mut self, kind: DamageKind, random: &mut Stream) -> Option<u64> {
        self.lay_out();
        // What was durable when the last durable record was written has a witness.
        let last = self.durable.checked_sub(1)?;
        let witness = frame_at(&self.bytes, self.start(last))?;
        let proven = last.checked_sub(witness.pending as usize)?;
        let victim = random.below(proven as u64) as usize;
        if proven == 0 {
            return None;
        }
        let (start, end) = (self.start(victim), self.ends[victim]);
        match kind {
            DamageKind::BitFlip => {
                let place = start + random.below((end - start) as u64) as usize;
                self.bytes[place] ^= 1 << random.below(8);
            }
            DamageKind::Misdirected => {
                // The last record went to the place of the victim, as far as there is room in
                // front of the place where it belongs.
                let (from, until) = (self.start(last), self.ends[last]);
                let length = (until - from).min(from - start);
                self.bytes.copy_within(from..from + length, start);
            }
        }
        Some(victim as u64)
    }

    /// Reads every record back, and cuts a torn tail off.
    ///
    /// # Errors
    ///
    /// If a record that was durable does not hold.
    pub fn recover(&mut self) -> Result<Vec<Vec<u8>>, Damage> {
        self.lay_out();
        let mut payloads: Vec<Vec<u8>> = Vec::new();
        let mut position = 0;
        self.ends.clear();
        while let Some(frame) = frame_at(&self.bytes, position)
            && frame.sequence == payloads.len() as u64
        {
            payloads.push(frame.payload.to_vec());
            position += HEAD + frame.payload.len();
            self.ends.push(position);
        }
        self.durable = payloads.len();
        let record = payloads.len() as u64;
        let proves = |frame: Frame<'_>| {
            let durable = frame.sequence.saturating_sub(u64::from(frame.pending));
            frame.sequence > record && durable > record
        };
        let is_proven = (position..self.bytes.len())
            .filter_map(|place| frame_at(&self.bytes, place))
            .any(proves);
        if is_proven {
            return Err(Damage { record });
        }
        self.bytes.truncate(position);
        self.synced = position;
        Ok(payloads)
    }

    /// Where a record starts.
    fn start(&self, record: usize) -> usize {
        record.checked_sub(1).map_or(0, |before| self.ends[before])
    }

    /// Lays the last records out as bytes.
    fn lay_out(&mut self) {
        let first = self.ends.len() - self.appended.len();
        for (sequence, Appended { pending, payload }) in (first..).zip(self.appended.drain(..)) {
            let length = u32::try_from(payload.len()).expect("records are bounded");
            let sequence = sequence as u64;
            let sum = checksum(sequence, pending, &payload);
            self.bytes.extend_from_slice(&length.to_le_bytes());
            self.bytes.extend_from_slice(&sequence.to_le_bytes());
            self.bytes.extend_from_slice(&pending.to_le_bytes());
            self.bytes.extend_from_slice(&sum);
            self.bytes.extend_from_slice(&payload);
        }
    }
}

fn frame_at(bytes: &[u8], position: usize) -> Option<Frame<'_>> {
    let rest = bytes.get(position..)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (sequence, rest) = rest.split_first_chunk::<8>()?;
    let (pending, rest) = rest.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<8>()?;
    let payload = rest.get(..u32::from_le_bytes(*length) as usize)?;
    let (sequence, pending) = (u64::from_le_bytes(*sequence), u32::from_le_bytes(*pending));
    (checksum(sequence, pending, payload) == *sum).then_some(Frame {
        sequence,
        pending,
        payload,
    })
}

fn checksum(sequence: u64, pending: u32, payload: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&sequence.to_le_bytes());
    hasher.update(&pending.to_le_bytes());
    hasher.update(payload);
    let digest = hasher.finalize();
    let (sum, _) = digest
        .as_bytes()
        .split_first_chunk::<8>()
        .expect("32 bytes");
    *sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use polity_types::Seed;

    fn written() -> (Disk, Vec<Vec<u8>>) {
        let payloads: Vec<Vec<u8>> = (0..6_u8).map(|n| vec![n; usize::from(n) * 7]).collect();
        let mut disk = Disk::default();
        for payload in &payloads {
            disk.append(payload.clone());
        }
        (disk, payloads)
    }

    /// FB-15: whatever byte a write stops at, what was synced is there and nothing is invented.
    #[test]
    fn fb_15_a_torn_tail_loses_whole_payloads_from_the_end() {
        let (mut written, payloads) = written();
        let ends = written.ends.clone();
        written.sync_to(ends[1]);
        for kept in 0..=written.end() - ends[1] {
            let mut disk = written.clone();
            disk.crash(kept);
            let whole = ends.iter().filter(|end| **end <= ends[1] + kept).count();
            assert_eq!(disk.recover(), Ok(payloads[..whole].to_vec()));
            // It goes on behind the last whole one.
            disk.append(b"next".to_vec());
            let mut expected = payloads[..whole].to_vec();
            expected.push(b"next".to_vec());
            assert_eq!(disk.recover(), Ok(expected));
        }
    }

    /// FB-15: a record that was durable and does not hold is no torn tail.
    #[test]
    fn fb_15_damage_to_what_was_durable_is_noticed() {
        for kind in [DamageKind::BitFlip, DamageKind::Misdirected] {
            for number in 0..200 {
                let mut random = Seed::from_number(number).stream();
                let (mut disk, _) = written();
                assert_eq!(disk.damage(kind, &mut random), None, "nothing is durable");
                disk.sync_to(disk.end());
                assert_eq!(disk.damage(kind, &mut random), None, "nothing proves it");
                disk.append(b"later".to_vec());
                disk.sync_to(disk.end());
                let record = disk.damage(kind, &mut random).unwrap();
                assert!(record < 6);
                disk.crash(0);
                assert_eq!(disk.recover(), Err(Damage { record }), "{kind:?} {number}");
            }
        }
    }
}
