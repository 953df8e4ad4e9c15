//! Twins: a few hundred scripts of those that the example `twins` plays by the thousand.

use polity_sim::Verdict;
use polity_sim::twins::{Leaders, Played, Shape, Shuffle, Space, play, play_traced};
use polity_types::Seed;
use std::collections::BTreeSet;

fn each(shape: Shape, seed: u64, count: u128, mut see: impl FnMut(u128, Played)) {
    let space = Space::new(shape).unwrap();
    let shuffle = Shuffle::new(&Seed::from_number(seed), space.size());
    let mut leaders = Leaders::new(shape.views);
    for index in (0..count).map_while(|place| shuffle.at(place)) {
        let script = space.script(index).unwrap();
        see(index, play(&script, &mut leaders));
    }
}

/// FB-7, FB-15, FB-16: one member twice is one faulty member, whatever the network does.
#[test]
fn one_pair_of_twins_is_safe_and_live() {
    let mut audits = BTreeSet::new();
    let (mut again, mut accused, mut early) = (0, 0, 0);
    each(Shape { pairs: 1, views: 7 }, 1, 300, |index, played| {
        assert_eq!(played.verdict, Verdict::SafeAndLive, "--replay {index}");
        assert_eq!(played.findings.forks, 0);
        again += u32::from(played.findings.proposed_again > 0);
        accused += u32::from(played.findings.reports > 0);
        early += u32::from(played.findings.decided_before > 0);
        audits.insert(played.audit_hash.to_string());
    });
    assert_eq!(audits.len(), 300, "different scripts are different runs");
    // What would be missing if the scripts were too tame or too wild.
    assert!(again > 100 && accused > 100 && early > 100);
}

/// FB-16: the control. With two pairs more than F misbehave; heights fork, and whoever forks them
/// is named.
#[test]
fn fb_16_two_pairs_fork_and_every_fork_is_attributed() {
    let mut forks = 0;
    each(Shape { pairs: 2, views: 7 }, 1, 150, |index, played| {
        assert_eq!(played.verdict, Verdict::SafeAndLive, "--replay {index}");
        if played.findings.forks > 0 {
            forks += 1;
            assert_eq!(played.findings.blamed, 0b11, "A and B, --replay {index}");
        } else {
            assert_eq!(played.findings.blamed, 0);
        }
    });
    assert!(forks > 0, "the generator has no teeth");
}

/// Every script of one round there is.
#[test]
fn all_scripts_of_one_round_are_safe_and_live() {
    let shape = Shape { pairs: 1, views: 1 };
    let size = Space::new(shape).unwrap().size();
    let mut seen = BTreeSet::new();
    each(shape, 1, u128::MAX, |index, played| {
        assert_eq!(played.verdict, Verdict::SafeAndLive, "--replay {index}");
        seen.insert(index);
    });
    assert!(seen.into_iter().eq(0..size));
}

#[test]
fn one_script_gives_one_audit_hash() {
    for pairs in [1, 2] {
        let shape = Shape { pairs, views: 7 };
        let space = Space::new(shape).unwrap();
        let mut leaders = Leaders::new(shape.views);
        for index in [0, 12_345, space.size() / 3, space.size() - 1] {
            let script = space.script(index).unwrap();
            let first = play(&script, &mut leaders);
            // A search that starts anew finds the same genesis.
            assert_eq!(play(&script, &mut Leaders::new(shape.views)), first);
            let traced = play_traced(&script, &mut leaders);
            assert_eq!(traced.audit_hash, first.audit_hash);
            assert!(
                traced
                    .trace
                    .is_some_and(|trace| trace.contains("decides 1 "))
            );
        }
    }
}
