//! Laws of the simulator itself.

use polity_sim::{
    DamageKind, Failure, Fate, Fault, FaultPlan, Federation, Kind, Link, Options, Planned,
    Recording, Scheme, SimSigner, Step, Victims, World, replay,
};
use polity_types::{ReplicaId, Seed, Time, wire};
use rstest::rstest;
use std::rc::Rc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn world(number: u64, options: Options) -> (Rc<Federation>, World) {
    let seed = Seed::from_number(number);
    let federation = Rc::new(Federation::of_equals(&seed, Scheme::Stub, 4));
    let world = World::new(federation.clone(), &seed, options, false).unwrap();
    (federation, world)
}

/// One recorded list of inputs gives the same effects in the world and with a bare replica, across
/// restarts.
#[rstest]
#[case::synced_at_once(0, 0)]
#[case::slow_disk(1, 5)]
#[case::slower_disk(2, 20)]
fn a_recording_gives_the_effects_that_the_world_saw(#[case] number: u64, #[case] sync_ms: u64) {
    let options = Options {
        link: Link::reordering(Duration::from_millis(2), Duration::from_millis(60)).losing(20_000),
        sync: Duration::from_millis(sync_ms),
        ..Options::default()
    };
    let (federation, mut world) = world(number, options);
    for id in federation.ids() {
        world.load(Duration::from_millis(30), 2);
        world.run_for(SECOND * 3).unwrap();
        world.crash(id);
        world.run_for(SECOND).unwrap();
        world.restart(id).unwrap();
    }
    world.settle(2).unwrap();
    for id in federation.ids() {
        world.replay_of(id).unwrap();
        let recording = world.recording(id);
        assert!(!recording.journal.is_empty() && !recording.steps.is_empty());
        // A recording can be stored.
        let bytes = wire::encode(recording);
        assert_eq!(
            wire::decode::<Recording>(&bytes, bytes.len()).as_ref(),
            Ok(recording)
        );
    }
}

/// The digest of effects depends on every step.
#[test]
fn another_recording_gives_other_effects() {
    let (federation, mut world) = world(4, Options::default());
    world.submit(ReplicaId::new(0)).unwrap();
    world.run_for(SECOND).unwrap();
    let basis = polity_sim::Basis {
        genesis: Rc::new(federation.genesis.clone()),
        purpose: polity_replica::Purpose::Simulation,
        config: polity_replica::Config::default(),
        keys: polity_consensus::fbpbft::Keyring::new(
            ReplicaId::new(0),
            federation.keyrings[0].clone(),
        ),
        verifier: federation.verifier.clone(),
        index_seed: Seed::from_number(77),
    };
    let whole = world.recording(ReplicaId::new(0)).clone();
    let digest = replay(&basis, &whole).unwrap();
    // Private look-up tables change nothing.
    let other = polity_sim::Basis {
        index_seed: Seed::from_number(78),
        ..basis.clone()
    };
    assert_eq!(replay(&other, &whole), Ok(digest));
    // A tick at the end that makes it say where it stands.
    let mut longer = whole.clone();
    longer.steps.push((Time::from_millis(60_000), Step::Tick));
    assert_ne!(replay(&basis, &longer), Ok(digest));
    // Without the client there is nothing to decide.
    let mut shorter = whole;
    shorter
        .steps
        .retain(|(_, step)| !matches!(step, Step::Submit(_)));
    assert_ne!(replay(&basis, &shorter), Ok(digest));
}

#[test]
fn nothing_behind_a_record_leaves_before_it_is_synced() {
    let sync = Duration::from_millis(50);
    let options = Options {
        sync,
        ..Options::default()
    };
    let (federation, mut world) = world(5, options);
    world.submit(federation.leader(1, 0)).unwrap();
    // The pooled transaction has to be durable before it is answered, and the block before it is
    // proposed; one sync covers what came together.
    let done = world
        .run_until(SECOND * 5, |world| world.sent(Kind::Proposal) > 0)
        .unwrap();
    assert!(done);
    assert!(world.now().as_micros() >= 50_000, "{} ms", world.now());
}

/// FB-15: whoever lost what was durable must not vote again under its key.
#[rstest]
#[case(DamageKind::BitFlip)]
#[case(DamageKind::Misdirected)]
fn fb_15_nobody_starts_from_a_damaged_journal(#[case] kind: DamageKind) {
    let (federation, mut world) = world(8, Options::default());
    world.progress(3).unwrap();
    let victim = federation.leader(4, 0);
    assert!(world.damage(victim, kind));
    world.restart(victim).unwrap();
    assert!(world.is_damaged(victim) && !world.is_up(victim));
    // The others are a quorum, and healing does not bring it back.
    world.settle(4).unwrap();
    assert!(!world.is_up(victim));
}

#[test]
fn a_clock_that_is_set_back_stands_still_until_it_has_caught_up() {
    let (federation, mut world) = world(9, Options::default());
    let id = federation.leader(2, 0);
    world.load(Duration::from_millis(50), 2);
    world.run_for(SECOND).unwrap();
    world.set_clock(id, SECOND * 5);
    world.run_for(SECOND).unwrap();
    world.set_clock(id, Duration::ZERO);
    world.run_for(SECOND * 3).unwrap();
    let times: Vec<Time> = world
        .recording(id)
        .steps
        .iter()
        .map(|(at, _)| *at)
        .collect();
    assert!(times.is_sorted(), "time runs backwards");
    assert!(times.iter().any(|at| *at >= Time::from_millis(6_000)));
    world.settle(2).unwrap();
}

#[test]
fn a_full_disk_stops_a_replica_and_room_lets_it_go_on() {
    let (federation, mut world) = world(10, Options::default());
    world.progress(2).unwrap();
    let id = federation.leader(3, 0);
    world.fill_disk(id, true);
    world.load(Duration::from_millis(50), 4);
    world.run_for(SECOND).unwrap();
    assert!(!world.is_up(id), "it had to write");
    world.fill_disk(id, false);
    world.restart(id).unwrap();
    world.settle(3).unwrap();
}

#[test]
fn a_paused_replica_does_everything_afterwards() {
    let (federation, mut world) = world(11, Options::default());
    let id = federation.leader(9, 0);
    world.load(Duration::from_millis(50), 2);
    world.run_for(SECOND).unwrap();
    let before = world.height(id);
    world.pause(id);
    world.run_for(SECOND * 5).unwrap();
    assert_eq!(world.height(id), before);
    assert!(world.agreement().highest() > before);
    world.resume(id);
    world.settle(2).unwrap();
}

/// A plan is a value: the same one gives the same run.
#[test]
fn plans_are_played_again() {
    let all: Vec<ReplicaId> = (0..4).map(ReplicaId::new).collect();
    let victims = Victims {
        honest: all.clone(),
        all,
        expendable: vec![ReplicaId::new(2)],
    };
    for number in 0..6 {
        let plan = FaultPlan::draw(&mut Seed::from_number(number).stream(), &victims);
        let endured = || {
            let (_, mut world) = world(number, Options::default());
            world.load(Duration::from_millis(60), 2);
            world.endure(&plan).unwrap();
            world.settle(2).unwrap();
            world.finish()
        };
        assert_eq!(endured(), endured(), "{plan}");
    }
}

#[test]
fn a_planned_fault_says_what_it_is_and_when() {
    let planned = Planned {
        at: Duration::from_millis(120),
        until: SECOND,
        fault: Fault::OneWay {
            from: ReplicaId::new(1),
            to: ReplicaId::new(3),
        },
    };
    assert_eq!(
        planned.to_string(),
        "   120 to   1000 ms: 3 hears nothing from 1"
    );
}

/// What is held is inside its bounds, and something is held.
#[test]
fn fb_12_what_is_held_is_counted() {
    let (_, mut world) = world(12, Options::default());
    world.progress(6).unwrap();
    world.conclude().unwrap();
    let held = world.memory().to_string();
    assert!(held.contains("votes: at most"), "{held}");
}

#[test]
fn liveness_failures_are_told_apart_and_name_the_stand() {
    let (federation, mut world) = world(6, Options::default());
    // Nobody hears anybody: this cannot be live, and the judge has to say so.
    world.filter(|_| Fate::Drop);
    world.submit(federation.leader(1, 0)).unwrap();
    let failure = world.progress(1).unwrap_err();
    match failure {
        Failure::Liveness(reason) => assert!(reason.contains("works on 1 in view 0"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

/// More faulty members than a federation tolerates fork it, and the oracle sees that.
#[test]
fn the_oracle_sees_a_fork() {
    use polity_sim::adversary::{Accomplice, Equivocator, Plot};
    let mut forks = 0;
    for number in 0..20 {
        let seed = Seed::from_number(number);
        let federation = Rc::new(Federation::of_equals(&seed, Scheme::Stub, 4));
        let leader = federation.leader(1, 0);
        let others = federation.others(&[leader]);
        let plot = Plot::against([others[0]]);
        let options = Options::default()
            .with(leader, Equivocator::new(plot.clone()))
            .with(others[1], Accomplice::new(plot));
        let mut world = World::new(federation.clone(), &seed, options, false).unwrap();
        // The two honest members never meet.
        world.cut(others[0], others[2]);
        world.cut(others[2], others[0]);
        if let Err(Failure::Safety(violation)) = world.progress(4) {
            assert_eq!(violation.oracle, "agreement", "{violation}");
            forks += 1;
        }
    }
    assert!(
        forks > 10,
        "two of four faulty members forked {forks} of 20 federations"
    );
}

/// What `scale` and `speed` measure: signatures of votes alone, and bytes of what was sent.
#[test]
fn voters_sign_where_clients_make_checksums() {
    let seed = Seed::from_number(11);
    let federation = Rc::new(Federation::of_voters(&seed, Scheme::Ed25519, 4));
    assert!(matches!(federation.signers[0], SimSigner::Ed25519(_)));
    assert!(matches!(federation.clients[0].owner, SimSigner::Stub(_)));
    let mut world = World::new(federation.clone(), &seed, Options::default(), false).unwrap();
    world.progress(2).unwrap();
    assert!(world.promises().decided() > 0);
    for kind in [Kind::Proposal, Kind::Prepare, Kind::Commit] {
        // Each carries a digest and a signature at least.
        assert!(world.sent_bytes(kind) > 96 * world.sent(kind));
    }
    assert_eq!(world.sent_bytes(Kind::ViewChange), 0);
    world.conclude().unwrap();
}
