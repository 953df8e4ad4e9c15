//! Laws of the simulator itself.

use polity_sim::{
    Failure, Fate, Federation, Kind, Link, Options, Recording, Scheme, Step, World, replay,
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
        signer: federation.signers[0].clone(),
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
