//! Small searches that end within seconds, and searches over broken rules that have to find the break.
//!
//! The full configuration takes minutes and is run by hand; `docs/results/model.md` has its figures.

use polity_model::{
    AGREEMENT, Ending, Fault, Limits, ONE_VOTE, Report, Scenario, Seat, compare, compare_walks, run,
};

fn search(scenario: Scenario) -> Report {
    run(scenario, &Limits::default(), |_, _| {})
}

fn assert_exhausted(scenario: Scenario, states: usize) {
    let report = search(scenario);
    assert!(!report.is_failure(), "{report:#?}");
    assert_eq!(report.ending, Ending::Exhausted);
    // The number says that the same was searched: it changes with the protocol or with the model.
    assert_eq!(report.states, states, "{scenario:?}");
}

#[test]
fn fb_5_one_view_with_an_equivocating_leader_is_exhausted() {
    let scenario = Scenario {
        views: 1,
        ..Scenario::new(Seat::Leader(0))
    };
    assert_exhausted(scenario, 217);
}

#[test]
fn fb_10_two_views_without_one_member_are_exhausted() {
    assert_exhausted(Scenario::new(Seat::Absent), 431);
}

#[test]
fn fb_15_two_views_with_restarts_at_every_record_are_exhausted() {
    let scenario = Scenario {
        restarts: 2,
        ..Scenario::new(Seat::Absent)
    };
    let report = search(scenario);
    assert!(!report.is_failure(), "{report:#?}");
    assert_eq!(report.ending, Ending::Exhausted);
}

#[test]
fn fb_10_two_views_with_a_faulty_follower_are_exhausted() {
    let scenario = Scenario::new(Seat::Follower);
    assert_exhausted(scenario, 299_048);
}

/// Everything that can come about when messages arrive one by one comes about in the coarse search.
#[test]
fn the_coarse_search_loses_nothing_in_one_view() {
    for seat in [Seat::Leader(0), Seat::Follower] {
        let comparison = compare(Scenario {
            views: 1,
            values: 1,
            ..Scenario::new(seat)
        });
        assert!(comparison.fine_states > 1_000 * comparison.coarse_states);
        assert_eq!(comparison.lost, 0, "{comparison:?}");
        assert_eq!(comparison.invented, 0, "{comparison:?}");
    }
}

/// Two views are too many to exhaust message by message; random walks sample them.
#[test]
fn the_coarse_search_loses_nothing_on_walks_through_two_views() {
    let scenario = Scenario {
        values: 1,
        ..Scenario::new(Seat::Follower)
    };
    let comparison = compare_walks(scenario, 1, 500, 120);
    assert!(comparison.fine_outcomes > 1_000, "{comparison:?}");
    assert_eq!(comparison.lost, 0, "{comparison:?}");
}

/// Searches a broken rule for the property that it breaks, and returns the path.
fn break_of(fault: Fault, seat: Seat, property: &str) -> String {
    let limits = Limits {
        is_for_a_fork: property == AGREEMENT,
        ..Limits::default()
    };
    let scenario = Scenario {
        values: 1,
        ..Scenario::new(seat).broken(fault)
    };
    let report = run(scenario, &limits, |_, _| {});
    assert_eq!(report.ending, Ending::Failed);
    assert!(report.is_failure());
    let finding = report
        .finding(property)
        .expect("it is one of the properties");
    let path = finding.path.clone().expect("the rule is broken");
    println!("{fault:?}, {seat}: {property}\n{path}");
    path
}

#[test]
fn fb_8_a_replica_that_forgets_its_certificate_forks() {
    let path = break_of(Fault::ForgetsCertificates, Seat::Leader(0), AGREEMENT);
    assert_eq!(path.matches("DECIDES").count(), 2, "{path}");
    assert!(path.contains("VIEW-CHANGE 1: nothing prepared"), "{path}");
}

/// R1, found by search.
#[test]
fn fb_4_a_replica_that_trusts_a_bare_proposal_forks() {
    let path = break_of(Fault::TrustsBareProposals, Seat::Leader(1), AGREEMENT);
    assert_eq!(path.matches("DECIDES").count(), 2, "{path}");
    assert!(path.contains("gets PRE-PREPARE block 1"), "{path}");
}

#[test]
fn fb_15_a_replica_without_its_journal_votes_twice() {
    let scenario = Scenario {
        views: 1,
        ..Scenario::new(Seat::Leader(0)).broken(Fault::ForgetsVotes)
    };
    let report = search(scenario);
    let path = report
        .finding(ONE_VOTE)
        .and_then(|found| found.path.as_ref());
    let path = path.expect("two PREPAREs in view 0");
    assert!(path.contains("starts without its journal"), "{path}");
    for block in ["block 0a", "block 0b"] {
        assert!(path.contains(&format!("⇒ PREPARE {block}")), "{path}");
    }
}
