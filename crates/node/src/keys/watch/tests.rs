use super::*;
use crate::keys::SecretKey;
use crate::scratch::Scratch;

const START: Time = Time::from_millis(1_700_000_000_000);

fn day(count: u64) -> Time {
    START.saturating_add(Duration::from_secs(count * 86_400))
}

/// Two keys of which the second follows the first, as a node with both has them.
fn rotated(directory: &Scratch) -> (SecretKey, SecretKey, Watch) {
    let file = directory.path().join("key");
    let (old, new) = (
        SecretKey::generate().unwrap(),
        SecretKey::generate().unwrap(),
    );
    let mut records = Records::beside(&file).unwrap();
    records.rotate(&old, &new, START).unwrap();
    let keys = [&new, &old].map(|key| key.public_key().clone());
    (old, new, Watch::new(keys.into(), records))
}

#[test]
fn cr_7_keys_end_to_the_millisecond_and_are_counted_once() {
    let directory = Scratch::new();
    let (old, new, mut watch) = rotated(&directory);
    let look = watch.look(START);
    assert_eq!(
        look.good,
        [new.public_key(), old.public_key()].map(Clone::clone)
    );
    assert_eq!((look.ended, look.ends), (0, Some(day(31))));
    // Whatever the interval, a look is due when a key ends.
    let before = Time::from_millis(day(1).as_millis() - 1);
    assert_eq!(watch.look(before).ended, 0);
    assert!(!watch.is_due(before) && watch.is_due(day(1)));
    // The former one votes on: no epoch may have ended in which the present one would count.
    let both = [new.public_key(), old.public_key()].map(Clone::clone);
    for at in [day(1), day(2), day(30)] {
        let look = watch.look(at);
        assert_eq!((&look.good[..], look.ended), (&both[..], 0));
        assert!(!watch.is_due(at), "a look at each input would be too many");
    }
    let look = watch.look(day(31));
    assert_eq!((look.good, look.ended), (vec![], 2));
    assert_eq!(look.ends, Some(day(31)));
    assert_eq!(watch.look(day(32)).ended, 0);
}

#[test]
fn cr_7_a_revocation_is_seen_without_a_restart_and_a_broken_file_changes_nothing() {
    let directory = Scratch::new();
    let (old, new, mut watch) = rotated(&directory);
    assert_eq!(watch.look(START).good.len(), 2);
    let file = directory.path().join("key");
    let mut records = Records::beside(&file).unwrap();
    let path = records.path().to_owned();
    let at = Time::from_millis(START.as_millis() + 1);
    records.revoke(old.public_key().key_id(), &new, at).unwrap();
    let look = watch.look(at);
    assert_eq!((look.good, look.ended), (vec![new.public_key().clone()], 1));
    std::fs::write(&path, b"nothing").unwrap();
    assert_eq!(watch.look(at).good, [new.public_key().clone()]);
    assert_eq!(watch.look(day(2)).good, [new.public_key().clone()]);
}

/// A node that restarts long after a rotation at rest still has the key that its committee knows.
#[test]
fn cr_7_a_former_key_is_loaded_until_it_is_revoked() {
    let directory = Scratch::new();
    let (old, new, _) = rotated(&directory);
    let file = directory.path().join("key");
    new.store(&file, "a test").unwrap();
    let id = old.public_key().key_id();
    old.store(&crate::keys::former_path(&file, id), "a test")
        .unwrap();
    let former = |at: Time| {
        let ring =
            crate::keys::ring::Ring::open(directory.path(), &crate::config::Keys::default(), at);
        ring.unwrap().former.len()
    };
    assert_eq!([START, day(1), day(30), day(31)].map(former), [1, 1, 1, 0]);
    let mut records = Records::beside(&file).unwrap();
    records.revoke(id, &new, day(2)).unwrap();
    assert_eq!([day(1), day(2), day(30)].map(former), [1, 0, 0]);
}

#[test]
fn a_key_without_a_record_has_no_end() {
    let directory = Scratch::new();
    let file = directory.path().join("key");
    let key = SecretKey::generate().unwrap();
    let records = Records::beside(&file).unwrap();
    let mut watch = Watch::new(vec![key.public_key().clone()], records);
    let look = watch.look(Time::MAX);
    assert_eq!((look.good.len(), look.ended, look.ends), (1, 0, None));
}
