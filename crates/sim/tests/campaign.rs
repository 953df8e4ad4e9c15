//! A short campaign, and that it is fixed by its base seed.

use polity_sim::campaign::{DEFAULT_BASE, RunId, Settings, play};
use polity_sim::{Verdict, scenarios};
use rstest::rstest;

#[test]
fn a_short_campaign_finds_nothing() {
    let results = play(&Settings {
        base: DEFAULT_BASE,
        budget: None,
        runs: 40,
        threads: 2,
        until_failure: false,
    });
    assert_eq!(results.failed, []);
    assert_eq!(results.tally.runs, 40);
    assert!(results.tally.blocks > 0 && results.tally.faults["crash"] > 0);
    let text = results.tally.to_string();
    assert!(text.contains("views changed") && text.contains("adversaries"));
}

#[test]
fn a_run_is_played_again_from_its_name() {
    for index in [0, 2, 4, 6] {
        let run = RunId::of_campaign(DEFAULT_BASE, index);
        let again: RunId = run.to_string().parse().unwrap();
        let report = again.play_twice();
        assert_eq!(report.outcome.verdict, Verdict::SafeAndLive, "{run}");
        assert_eq!(
            report.outcome.audit_hash,
            run.play(false).outcome.audit_hash
        );
        let traced = run.play(true);
        assert_eq!(traced.outcome.audit_hash, report.outcome.audit_hash);
    }
}

#[test]
fn every_scenario_has_its_turn() {
    let turns = scenarios().len() as u64 * 2;
    let runs: Vec<RunId> = (0..turns)
        .map(|index| RunId::of_campaign(DEFAULT_BASE, index))
        .collect();
    for info in scenarios() {
        let is_played = |run: &RunId| matches!(run, RunId::Scenario(name, _) if *name == info.name);
        assert!(runs.iter().any(is_played), "{}", info.name);
    }
}

/// Compositions that a campaign found, with what was wrong.
#[rstest]
#[case::a_removed_member_cut_off_did_not_repeat_its_promise("composition:204489016037006")]
#[case::a_lock_forgotten_in_a_view_change_that_others_relayed("composition:240977285033252")]
#[case::a_vote_that_waited_beside_another_one_that_was_relayed("composition:251465523715347")]
fn what_once_failed_stays_mended(#[case] run: &str) {
    let run: RunId = run.parse().unwrap();
    assert_eq!(run.play(false).outcome.verdict, Verdict::SafeAndLive);
}
