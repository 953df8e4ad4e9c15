//! What a walk finds that goes on behind damage.

use super::*;

/// The records that are left, with their places in `written`, and the damage between them.
fn salvage(bytes: &[u8]) -> (Vec<(u64, Vec<u8>)>, Vec<Damage>) {
    let mut reader = Reader::open(Disk::with(bytes), CHAIN).unwrap();
    let mut left = reader.salvage().unwrap();
    let (mut records, mut damage) = (Vec::new(), Vec::new());
    while let Some(piece) = left.read().unwrap() {
        match piece {
            Piece::Record { offset, payload } => records.push((offset, payload.to_vec())),
            Piece::Damage(found) => damage.push(found),
        }
    }
    // The end stays the end, and everything is accounted for.
    assert_eq!(left.read().unwrap(), None);
    let sizes = records
        .iter()
        .map(|(_, payload)| RECORD_HEADER_BYTES + payload.len());
    let holds: usize = HEADER_BYTES + sizes.sum::<usize>();
    let damaged: u64 = damage
        .iter()
        .map(|stretch| stretch.end - stretch.offset)
        .sum();
    let all = holds as u64 + damaged + left.torn_tail_bytes();
    assert_eq!(all, bytes.len() as u64);
    (records, damage)
}

const PAYLOADS: [&[u8]; 7] = [b"one", b"two!", b"three", b"", b"five", b"six", b"seven"];

fn seven() -> (Vec<u8>, Vec<u64>) {
    let (disk, offsets) = written(&[
        &PAYLOADS[..1],
        &PAYLOADS[1..3],
        &PAYLOADS[3..4],
        &PAYLOADS[4..5],
        &PAYLOADS[5..6],
        &PAYLOADS[6..],
    ]);
    (disk.current(), offsets)
}

/// The records with these numbers, where they stand.
fn standing(offsets: &[u64], numbers: impl IntoIterator<Item = usize>) -> Vec<(u64, Vec<u8>)> {
    let record = |number: usize| (offsets[number], PAYLOADS[number].to_vec());
    numbers.into_iter().map(record).collect()
}

#[test]
fn an_intact_journal_has_no_damage() {
    let (bytes, offsets) = seven();
    assert_eq!(salvage(&bytes), (standing(&offsets, 0..7), Vec::new()));
}

#[test]
fn a_flipped_bit_costs_its_record_and_no_other() {
    let (whole, offsets) = seven();
    for index in HEADER_BYTES..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[index] ^= 1 << bit;
            let (records, damage) = salvage(&bytes);
            let hit = offsets.partition_point(|start| *start <= index as u64) - 1;
            let others = (0..7).filter(|number| *number != hit);
            assert_eq!(
                records,
                standing(&offsets, others),
                "byte {index} bit {bit}"
            );
            // Nobody can tell damage to the last batch from an interrupted write.
            let expected = offsets.get(hit + 1).map(|end| Damage {
                offset: offsets[hit],
                end: *end,
                first: hit as u64,
                lost: 1,
            });
            assert_eq!(damage, Vec::from_iter(expected), "byte {index} bit {bit}");
        }
    }
}

#[rstest]
#[case::two_stretches(|bytes: &mut Vec<u8>, at: &[u64]| {
    bytes[at[1] as usize] ^= 1;
    bytes[at[4] as usize + 20] ^= 1;
}, &[0, 2, 3, 5, 6], &[1, 1])]
#[case::three_swallowed(|bytes: &mut Vec<u8>, at: &[u64]| {
    bytes[at[1] as usize + 9..at[4] as usize - 1].fill(0xAA);
}, &[0, 4, 5, 6], &[3])]
#[case::zeroed(|bytes: &mut Vec<u8>, at: &[u64]| bytes[at[1] as usize..at[3] as usize].fill(0), &[0, 3, 4, 5, 6], &[2])]
#[case::cut_out(|bytes: &mut Vec<u8>, at: &[u64]| { bytes.drain(at[1] as usize..at[5] as usize); }, &[0, 5, 6], &[4])]
#[case::zeros_between(|bytes: &mut Vec<u8>, at: &[u64]| { bytes.splice(at[1] as usize..at[1] as usize, [0; 100]); }, &[0, 1, 2, 3, 4, 5, 6], &[0])]
#[case::repeated(|bytes: &mut Vec<u8>, at: &[u64]| {
    let first = bytes[at[0] as usize..at[1] as usize].to_vec();
    bytes.splice(at[1] as usize..at[1] as usize, first);
}, &[0, 1, 2, 3, 4, 5, 6], &[0])]
#[case::swapped(|bytes: &mut Vec<u8>, at: &[u64]| {
    let third = bytes[at[2] as usize..at[3] as usize].to_vec();
    let second = bytes[at[1] as usize..at[2] as usize].to_vec();
    bytes.splice(at[1] as usize..at[3] as usize, [third, second].concat());
}, &[0, 2, 3, 4, 5, 6], &[1, 0])]
#[case::with_a_torn_tail(|bytes: &mut Vec<u8>, at: &[u64]| {
    bytes[at[2] as usize] ^= 1;
    bytes.truncate(at[6] as usize + 5);
}, &[0, 1, 3, 4, 5], &[1])]
#[case::within_the_last_batch(|bytes: &mut Vec<u8>, at: &[u64]| bytes[at[6] as usize..].fill(7), &[0, 1, 2, 3, 4, 5], &[])]
fn what_is_left_behind_damage_is_read(
    #[case] spoil: fn(&mut Vec<u8>, &[u64]),
    #[case] numbers: &[usize],
    #[case] lost: &[u64],
) {
    let (mut bytes, offsets) = seven();
    spoil(&mut bytes, &offsets);
    let (records, damage) = salvage(&bytes);
    let payloads: Vec<Vec<u8>> = records.into_iter().map(|(_, payload)| payload).collect();
    let expected: Vec<&[u8]> = numbers.iter().map(|number| PAYLOADS[*number]).collect();
    assert_eq!(payloads, expected);
    let counts: Vec<u64> = damage.iter().map(|stretch| stretch.lost).collect();
    assert_eq!(counts, lost);
    assert_eq!(
        open(Disk::with(&bytes)).is_err(),
        !lost.is_empty(),
        "damage is what an open refuses"
    );
}

/// More is missing than what is left could hold.
#[test]
fn a_journal_that_lost_most_of_itself_is_damaged() {
    let payloads: Vec<Vec<u8>> = (0..200_u8).map(|byte| vec![byte]).collect();
    let batches: Vec<Vec<&[u8]>> = payloads.iter().map(|one| vec![one.as_slice()]).collect();
    let batches: Vec<&[&[u8]]> = batches.iter().map(Vec::as_slice).collect();
    let (disk, offsets) = written(&batches);
    let mut bytes = disk.current();
    bytes.drain(offsets[1] as usize..offsets[199] as usize);
    assert!(matches!(
        open(Disk::with(&bytes)),
        Err(JournalError::Damaged { record: 1, .. })
    ));
    let (records, damage) = salvage(&bytes);
    assert_eq!((records.len(), damage[0].lost), (2, 198));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_written_over_a_journal_nothing_is_invented(
        lengths in prop::collection::vec(0..600_usize, 3..20),
        spots in prop::collection::vec((any::<prop::sample::Index>(), 1..900_usize, any::<u8>()), 1..4),
    ) {
        let payloads: Vec<Vec<u8>> = lengths.iter().map(|length| vec![3; *length]).collect();
        let batches: Vec<Vec<&[u8]>> = payloads.iter().map(|one| vec![one.as_slice()]).collect();
        let batches: Vec<&[&[u8]]> = batches.iter().map(Vec::as_slice).collect();
        let (disk, offsets) = written(&batches);
        let mut bytes = disk.current();
        let intact = bytes.clone();
        for (at, length, byte) in spots {
            let from = HEADER_BYTES + at.index(bytes.len() - HEADER_BYTES);
            let to = (from + length).min(bytes.len());
            bytes[from..to].fill(byte);
        }
        let ends = offsets.iter().skip(1).copied().chain([bytes.len() as u64]);
        let is_whole = |(start, end): &(u64, u64)| {
            let range = *start as usize..*end as usize;
            bytes[range.clone()] == intact[range]
        };
        let spans: Vec<(u64, u64)> = offsets.iter().copied().zip(ends).collect();
        let whole: Vec<u64> = spans.iter().filter(|span| is_whole(span)).map(|span| span.0).collect();
        let (records, damage) = salvage(&bytes);
        let read: Vec<u64> = records.iter().map(|(offset, _)| *offset).collect();
        prop_assert_eq!(&read, &whole);
        // Everything up to the last record that holds is accounted for.
        let lost: u64 = damage.iter().map(|stretch| stretch.lost).sum();
        let known = read.last().map_or(0, |last| offsets.partition_point(|at| at <= last));
        prop_assert_eq!(read.len() as u64 + lost, known as u64);
    }
}
