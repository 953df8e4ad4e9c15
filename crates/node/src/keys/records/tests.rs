use super::*;
use crate::keys::place::replace_private;
use crate::scratch::Scratch;
use rstest::rstest;

const START: Time = Time::from_millis(1_700_000_000_000);

fn days(count: u64) -> Duration {
    DAY * u32::try_from(count).unwrap()
}

fn after(count: u64) -> Time {
    START.saturating_add(days(count))
}

#[rstest]
#[case::ed25519(Suite::Ed25519, 31)]
#[case::ml_dsa(Suite::MlDsa65, 91)]
#[case::hybrid(Suite::Hybrid, 91)]
fn cr_7_a_key_is_valid_soon_over_and_over(#[case] suite: Suite, #[case] length: u64) {
    let directory = Scratch::new();
    let file = directory.path().join("key");
    let key = SecretKey::generate_of(suite).unwrap();
    let mut records = Records::beside(&file).unwrap();
    let standing = |records: &Records, at| records.standing(key.public_key(), at);
    assert_eq!(standing(&records, START), Standing::Unrecorded);
    assert!(Standing::Unrecorded.may_sign());
    records.begin(&key, START).unwrap();
    let ends = after(length);
    for records in [&records, &Records::beside(&file).unwrap()] {
        let before = Time::from_millis(START.as_millis() - 1);
        assert_eq!(
            standing(records, before),
            Standing::NotYet { begins: START }
        );
        assert_eq!(standing(records, START), Standing::Valid { ends });
        assert_eq!(
            standing(records, after(length - 8)),
            Standing::Valid { ends }
        );
        let soon = after(length - 7);
        assert_eq!(standing(records, soon), Standing::EndsSoon { ends });
        let last = Time::from_millis(ends.as_millis() - 1);
        assert!(standing(records, last).may_sign());
        assert_eq!(standing(records, ends), Standing::Expired { since: ends });
        assert!(!standing(records, ends).may_sign());
    }
}

#[test]
fn cr_10_a_rotation_overlaps_by_a_day_and_begins_a_history_where_there_is_none() {
    let directory = Scratch::new();
    let file = directory.path().join("key");
    let keys: Vec<SecretKey> = [Suite::Ed25519, Suite::Hybrid, Suite::Ed25519]
        .into_iter()
        .map(|suite| SecretKey::generate_of(suite).unwrap())
        .collect();
    let mut records = Records::beside(&file).unwrap();
    records.rotate(&keys[0], &keys[1], START).unwrap();
    records.rotate(&keys[1], &keys[2], after(60)).unwrap();
    let records = Records::beside(&file).unwrap();
    assert_eq!(records.entries().len(), 3);
    assert_eq!(records.history(keys[1].public_key()).len(), 3);
    let standing = |index: usize, at| records.standing(keys[index].public_key(), at);
    assert!(standing(0, START).may_sign());
    assert_eq!(standing(0, after(1)), Standing::Expired { since: after(1) });
    assert!(standing(1, after(60)).may_sign());
    assert_eq!(
        standing(1, after(61)),
        Standing::Expired { since: after(61) }
    );
    assert!(standing(2, after(61)).may_sign());
    assert_eq!(
        records.peer(keys[2].public_key()),
        Some(PeerId::of(keys[0].public_key()))
    );
}

#[test]
fn cr_10_only_the_newest_key_introduces_another_and_only_while_it_is_valid() {
    let directory = Scratch::new();
    let file = directory.path().join("key");
    let keys: Vec<SecretKey> = (0..3).map(|_| SecretKey::generate().unwrap()).collect();
    let mut records = Records::beside(&file).unwrap();
    records.begin(&keys[0], START).unwrap();
    let late = records.rotate(&keys[0], &keys[1], after(31));
    assert!(matches!(
        late,
        Err(RecordsError::Refused(RegistryError::NotNow { .. }))
    ));
    let mut records = Records::beside(&file).unwrap();
    records.rotate(&keys[0], &keys[1], after(30)).unwrap();
    let fork = records.rotate(&keys[0], &keys[2], after(30));
    assert!(matches!(
        fork,
        Err(RecordsError::Refused(RegistryError::NotNewest { .. }))
    ));
    assert_eq!(Records::beside(&file).unwrap().entries().len(), 2);
}

#[test]
fn cr_10_a_revoked_key_is_over_at_once_and_by_a_later_key() {
    let directory = Scratch::new();
    let file = directory.path().join("key");
    let (old, new) = (
        SecretKey::generate().unwrap(),
        SecretKey::generate().unwrap(),
    );
    let mut records = Records::beside(&file).unwrap();
    records.rotate(&old, &new, START).unwrap();
    let now = Time::from_millis(START.as_millis() + 1);
    // Not the other way round.
    let id = new.public_key().key_id();
    assert!(records.revoke(id, &old, now).is_err());
    let mut records = Records::beside(&file).unwrap();
    records
        .revoke(old.public_key().key_id(), &new, now)
        .unwrap();
    let records = Records::beside(&file).unwrap();
    let standing = records.standing(old.public_key(), now);
    assert_eq!(standing, Standing::Revoked { since: now });
    assert!(records.standing(new.public_key(), now).may_sign());
    let peer = records.peer(new.public_key()).unwrap();
    assert_eq!(records.of_peer(&peer).len(), 3);
    // What is exported is read as a file of records.
    let out = directory.path().join("exported");
    records.export(&peer, &out).unwrap();
    assert_eq!(Records::load(&out).unwrap().entries(), records.entries());
    assert!(records.export(&peer, &out).is_err(), "never overwritten");
}

#[test]
fn cr_7_a_file_that_was_cut_or_changed_is_refused() {
    let directory = Scratch::new();
    let file = directory.path().join("key");
    let (old, new) = (
        SecretKey::generate().unwrap(),
        SecretKey::generate().unwrap(),
    );
    let mut records = Records::beside(&file).unwrap();
    records.rotate(&old, &new, START).unwrap();
    let path = records.path().to_owned();
    let bytes = std::fs::read(&path).unwrap();
    for place in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[place] ^= 1;
        replace_private(&path, &changed).unwrap();
        let error = Records::load(&path).unwrap_err();
        assert!(
            matches!(error, RecordsError::Format(_) | RecordsError::Entry { .. }),
            "byte {place}: {error}"
        );
        replace_private(&path, &bytes[..place]).unwrap();
        assert!(Records::load(&path).is_err(), "cut at {place}");
    }
    replace_private(&path, &[&bytes[..], &[0]].concat()).unwrap();
    assert!(Records::load(&path).is_err(), "longer");
}

#[test]
fn moments_are_said_in_days() {
    assert_eq!(relative(after(12), START), "in 12 days");
    assert_eq!(relative(START, after(1)), "1 day ago");
    let hours = START.saturating_add(Duration::from_hours(5));
    assert_eq!(relative(hours, START), "in 5 hours");
    assert_eq!(relative(START, START), "in 0 min");
}
