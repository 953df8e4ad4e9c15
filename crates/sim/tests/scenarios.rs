//! Every scenario, over a few seeds. `polity sim --seeds N` and the example `simulate` run more.

use polity_sim::{Verdict, run, run_traced, scenarios};
use std::collections::BTreeSet;

fn holds(scenario: &str, seeds: u64) {
    for seed in 0..seeds {
        let outcome = run(scenario, seed).unwrap();
        assert_eq!(
            outcome.verdict,
            Verdict::SafeAndLive,
            "{scenario}, seed {seed}"
        );
        assert!(
            outcome.blocks > 0,
            "{scenario}, seed {seed}: nothing happened"
        );
    }
}

macro_rules! named {
    ($($(#[$meta:meta])* $test:ident: $scenario:literal, $seeds:literal;)*) => {
        $($(#[$meta])* #[test] fn $test() { holds($scenario, $seeds); })*

        /// The scenarios above.
        const TESTED: &[&str] = &[$($scenario),*];
    };
}

named! {
    fb_7_calm_takes_the_messages_of_the_formula_and_three_delays: "calm", 2;
    real_signatures_make_no_difference: "ed25519", 2;
    fb_13_twenty_blocks_under_loss: "lossy", 8;
    fb_12_frames_that_overtake_each_other: "reorder", 3;
    fb_14_partitions_heal: "partition-heal", 2;
    fb_8_leaders_that_lose_power: "crash-leader", 4;
    fb_12_votes_before_their_proposal_with_barely_a_quorum: "barely-a-quorum", 8;
    a_promised_transaction_survives_lost_gossip: "lost-gossip", 4;
    chaos_ends_well: "chaos", 12;
    fb_15_power_fails_at_every_record_of_three_blocks: "crash-at-persist", 1;
    fb_15_a_restarted_member_is_told_another_story: "two-stories", 4;
    fb_19_a_sleeper_catches_up_by_a_snapshot: "sleeper", 2;
    fb_15_a_sleeper_loses_power_while_it_catches_up: "sleeper-crash", 2;
    fb_19_a_liar_about_snapshots_gets_nowhere: "snapshot-liar", 3;
    fb_19_a_snapshot_is_dropped_while_it_is_fetched: "dropped-snapshot", 2;
    fb_16_an_equivocating_leader_is_convicted: "equivocating-leader", 2;
    fb_1_members_of_unequal_weight: "weights", 4;
    fb_16_a_split_voter_forks_nothing: "split-voter", 4;
    old_frames_change_nothing: "replayer", 4;
    fb_16_a_fork_above_f_is_attributed: "above-f", 4;
    fb_4_spoilt_blocks_get_no_vote: "garbage-blocks", 2;
    fb_10_forged_new_views_fork_nothing: "forged-new-view", 4;
    fb_4_whoever_voted_for_a_block_has_it: "lost-leader", 6;
    fb_8_a_due_lock_is_something_to_decide: "due-lock", 4;
    fb_8_later_views_last_longer: "slow-links", 2;
    w3_votes_before_pre_prepare_bind_to_their_block: "w3", 8;
    w4a_commits_reach_one_replica_then_the_view_changes: "w4a", 8;
    w4b_dead_leaders_are_skipped_after_the_view_change: "w4b", 3;
    w4c_view_changes_for_different_views_are_not_added: "w4c", 2;
    w5_nonsense_blocks_get_no_vote: "w5", 3;
    w7_reordering_and_loss: "w7", 3;
    w7b_offline_for_a_block_then_leads_again: "w7b", 6;
    w8_equivocating_leader_with_friends_at_6_and_20: "w8", 3;
    w9_a_stranger_checks_finality: "w9", 2;
    w11_kill_and_restart_at_each_height: "w11", 4;
    w12_signatures_for_another_chain_epoch_or_kind: "w12", 6;
    v1_a_leader_is_silent_for_a_day: "v1", 2;
    v3_junk_new_views: "v3", 6;
    r1_bare_pre_prepare_of_view_1: "r1", 8;
    r2_view_3_reaches_a_replica_that_asked_for_view_5: "r2", 8;
    r3_a_block_proposed_again_is_older_than_the_drift_bound: "r3", 4;
    r4_two_ask_for_view_1_and_one_left_it: "r4", 6;
    r5_thirty_three_view_changes_while_one_is_offline: "r5", 4;
    r6_preparers_restart_and_a_member_hides_the_certificate: "r6", 8;
    r7_different_certificates_of_one_parent: "r7", 3;
    r8_a_relay_swaps_junk_into_new_views: "r8", 4;
    r9_one_client_feeds_one_replica: "r9", 6;
    r10_forged_votes_over_another_link: "r10", 4;
    r11_junk_signatures_arrive_first: "r11", 4;
    fb_16_old_evidence_is_acted_on_once: "old-evidence", 4;
    lg_7_due_locks_that_wait_for_their_sweep: "late-commits", 4;
    fb_17_everybody_has_another_key_after_two_epochs: "rotate-keys", 4;
    fb_17_newcomers_replace_the_founders: "replace-founders", 4;
    fb_17_a_leader_is_removed: "leader-removed", 4;
    fb_16_offences_are_proven_across_a_boundary: "evidence-across", 4;
    fb_17_a_change_in_the_last_block_waits: "late-change", 4;
    fb_14_a_member_sleeps_over_boundaries: "asleep", 4;
    fb_15_power_fails_at_every_record_around_a_boundary: "crash-at-boundary", 1;
    r12_status_with_a_height_of_a_billion: "r12", 4;
}

#[test]
fn every_scenario_has_a_test() {
    let tested: BTreeSet<&str> = TESTED.iter().copied().collect();
    let known: BTreeSet<&str> = scenarios().iter().map(|info| info.name).collect();
    assert_eq!(tested, known);
    assert_eq!(known.len(), scenarios().len(), "names are unique");
    assert!(scenarios().iter().all(|info| !info.summary.is_empty()));
}

/// One seed is one run, and another seed is another one.
#[test]
fn the_same_seed_gives_the_same_audit_hash() {
    // They have their own tests, and are the longest.
    for info in scenarios()
        .iter()
        .filter(|info| !info.name.starts_with("crash-at-"))
    {
        let first = run(info.name, 1_000).unwrap();
        assert_eq!(run(info.name, 1_000).unwrap(), first, "{}", info.name);
        let other = run(info.name, 1_001).unwrap();
        assert_ne!(other.audit_hash, first.audit_hash, "{}", info.name);
    }
}

#[test]
fn writing_down_what_happens_changes_nothing() {
    for scenario in ["w4a", "w11", "r6"] {
        let plain = run(scenario, 5).unwrap();
        let traced = run_traced(scenario, 5).unwrap();
        assert_eq!(traced.audit_hash, plain.audit_hash);
        assert_eq!(plain.trace, None);
        let trace = traced.trace.unwrap();
        assert!(
            trace.contains("decides 1 ") && trace.contains(" Prepare 1/0"),
            "{scenario}"
        );
        assert_eq!(run_traced(scenario, 5).unwrap().trace, Some(trace));
    }
}

#[test]
fn an_unknown_scenario_is_refused() {
    let error = run("w99", 0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no scenario `w99`: the list of scenarios names them all"
    );
}
