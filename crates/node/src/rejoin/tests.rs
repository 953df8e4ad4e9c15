//! What is given up, what is kept, and who is refused.

use super::*;
use crate::federation::{Plan, found};
use crate::node::{NodeError, Prepared};
use crate::scratch::Scratch;
use rstest::rstest;

const NOW: Time = Time::from_millis(1_795_526_321_000);

fn fresh() -> (Scratch, PathBuf) {
    let scratch = Scratch::new();
    let members = ["thor", "sprout", "legion", "platform2"].map(str::to_owned);
    let plan = Plan::local(members.to_vec(), 7_100, Time::from_millis(1)).unwrap();
    let founded = found(&scratch.path().join("fed"), &plan).unwrap();
    let node = founded.nodes[1].clone();
    (scratch, node)
}

#[rstest]
#[case(0, "19700101T000000Z")]
#[case(951_782_400_000, "20000229T000000Z")]
#[case(1_709_251_199_000, "20240229T235959Z")]
#[case(1_735_689_600_000, "20250101T000000Z")]
#[case(4_107_542_400_000, "21000301T000000Z")]
fn a_moment_has_a_name(#[case] at_ms: u64, #[case] name: &str) {
    assert_eq!(stamp(Time::from_millis(at_ms)), name);
}

#[test]
fn fb_15_the_old_files_are_kept_and_the_old_key_never_starts_again() {
    let (_scratch, node) = fresh();
    let old = SecretKey::load(&node.join(KEY_FILE)).unwrap();
    let journal = fs::read(node.join("journal")).unwrap();
    let comment = "# the operator's own words\n";
    let text = fs::read_to_string(node.join(config::FILE_NAME)).unwrap();
    fs::write(node.join(config::FILE_NAME), format!("{comment}{text}")).unwrap();

    // It could go on as it is, and is told so.
    let refused = rejoin(&node, None, false, NOW).unwrap_err();
    assert!(matches!(refused, RejoinError::Healthy(_)), "{refused}");
    assert!(refused.to_string().contains("needs no rejoin"));
    assert_eq!(fs::read(node.join("journal")).unwrap(), journal);
    assert!(!node.join(RETIRED_FILE).exists());

    let rejoined = rejoin(&node, None, true, NOW).unwrap();
    assert_eq!(rejoined.number, ReplicaId::new(1));
    assert!(rejoined.is_founder);
    assert_ne!(rejoined.key, *old.public_key());
    let place = rejoined.set_aside.unwrap();
    assert_eq!(fs::read(place.join("journal")).unwrap(), journal);
    let kept = SecretKey::load(&place.join(KEY_FILE)).unwrap();
    assert_eq!(kept.public_key(), old.public_key());
    let text = fs::read_to_string(node.join(config::FILE_NAME)).unwrap();
    assert!(text.starts_with(comment) && text.contains("\nreplica = 1\n"));
    let prepared = Prepared::open(&node).unwrap();
    assert_eq!(prepared.config().replica, Some(rejoined.number));
    // Nobody gives a journal up under a node that runs.
    assert!(matches!(
        rejoin(&node, None, true, NOW),
        Err(RejoinError::Lock(_))
    ));
    drop(prepared);

    fs::remove_file(node.join(KEY_FILE)).unwrap();
    old.store(&node.join(KEY_FILE), "a test").unwrap();
    let error = Prepared::open(&node).unwrap_err();
    assert!(
        matches!(&error, NodeError::RetiredKey(found) if *found == place),
        "{error}"
    );
    // A second time in the same second, and wherever the first one was interrupted.
    for missing in ["journal", "key"] {
        fs::remove_file(node.join(missing)).unwrap();
        let again = rejoin(&node, None, false, NOW).unwrap();
        assert_ne!(again.set_aside, Some(place.clone()));
        drop(Prepared::open(&node).unwrap());
    }
}

/// Its name, what happens to the node, and whether it forgot by that.
type Spoilt<'a> = (&'static str, &'a dyn Fn(&Path), bool);

/// What the node forgot is given up; what is wrong otherwise is not.
#[test]
fn fb_15_only_a_node_that_forgot_gives_its_journal_up() {
    let foreign = |node: &Path| {
        let other = node.with_file_name("thor").join(KEY_FILE);
        fs::copy(other, node.join(KEY_FILE)).unwrap();
    };
    let damaged = |node: &Path| {
        let path = node.join("journal");
        let mut bytes = fs::read(&path).unwrap();
        bytes[20] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let abroad = |node: &Path| {
        let (_elsewhere, other) = fresh();
        fs::copy(other.join("journal"), node.join("journal")).unwrap();
    };
    let cases: [Spoilt<'_>; 3] = [
        ("another key", &foreign, true),
        ("a damaged header", &damaged, true),
        ("another chain", &abroad, false),
    ];
    for (name, spoil, is_forgotten) in cases {
        let (_scratch, node) = fresh();
        spoil(&node);
        match rejoin(&node, None, false, NOW) {
            Ok(_) => assert!(is_forgotten, "{name}"),
            Err(RejoinError::NoCure(error)) => {
                assert!(!is_forgotten, "{name}: {error}");
                rejoin(&node, None, true, NOW).unwrap();
            }
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

#[test]
fn a_node_that_joins_has_nothing_to_set_aside() {
    let (scratch, founder) = fresh();
    let node = scratch.path().join("frey");
    fs::create_dir(&node).unwrap();
    fs::copy(founder.join(GENESIS_FILE), node.join(GENESIS_FILE)).unwrap();
    let mut config = NodeConfig::load(&founder.join(config::FILE_NAME)).unwrap();
    config.name = "frey".to_owned();
    fs::write(node.join(config::FILE_NAME), config.to_text()).unwrap();
    assert!(matches!(
        rejoin(&node, None, false, NOW),
        Err(RejoinError::Config(_))
    ));
    // The number of somebody else is a slip, unless the operator knows better.
    let sprout = Some(ReplicaId::new(1));
    let refused = rejoin(&node, sprout, false, NOW).unwrap_err();
    assert!(
        matches!(&refused, RejoinError::OtherMember { name, .. } if name == "sprout"),
        "{refused}"
    );
    assert!(!node.join(KEY_FILE).exists());
    let joined = rejoin(&node, Some(ReplicaId::new(4)), false, NOW).unwrap();
    assert_eq!((joined.set_aside, joined.is_founder), (None, false));
    drop(Prepared::open(&node).unwrap());
}

#[test]
fn a_file_that_is_written_otherwise_gets_the_number_too() {
    let (_scratch, node) = fresh();
    let mut config = NodeConfig::load(&node.join(config::FILE_NAME)).unwrap();
    config.replica = Some(ReplicaId::new(1));
    let text = config.to_text();
    for odd in [
        text.replace("name = \"sprout\"", "\"name\" = \"sprout\""),
        text.replace("replica = 1\n", ""),
        text.replace("replica = 1", "replica = 7"),
    ] {
        let changed = with_number(&odd, &config, ReplicaId::new(1));
        assert_eq!(NodeConfig::parse(&changed), Ok(config.clone()));
    }
}
