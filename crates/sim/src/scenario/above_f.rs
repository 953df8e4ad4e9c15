//! More weight is faulty than a federation tolerates: it forks, and the fork names them.

use super::{Play, broken, inconclusive, seconds};
use crate::adversary::{Accomplice, Equivocator, Forgetful, Plot};
use crate::federation::Federation;
use crate::keys::Scheme;
use crate::network::{Fate, Kind};
use crate::outcome::Failure;
use crate::world::{Options, World};
use polity_consensus::fbpbft::{Decided, Evidence, NewView, Record, ViewChange, Vote};
use polity_crypto::{Checker, Verify as _};
use polity_types::{Height, ReplicaId};
use std::collections::BTreeSet;
use std::rc::Rc;

/// Worlds in which a fork is tried for.
const ATTEMPTS: u64 = 12;

pub(super) fn above_f(play: &mut Play) -> Result<(), Failure> {
    let mut forks = 0;
    for members in [4, 7] {
        forks += two_blocks_in_one_view(play, members)?;
    }
    forks += another_block_in_a_later_view(play)?;
    match forks {
        3 => Ok(()),
        _ => inconclusive(format!("{forks} of 3 federations forked")),
    }
}

/// A leader and its friends tell two groups, which never meet, of two blocks.
fn two_blocks_in_one_view(play: &mut Play, members: u32) -> Result<u32, Failure> {
    for attempt in 0..ATTEMPTS {
        let seed = play.seed.fork(&format!("fork {members} {attempt}"));
        let federation = Rc::new(Federation::of_equals(&seed, Scheme::Stub, members));
        let leader = federation.leader(1, 0);
        let others = federation.others(&[leader]);
        let friends = federation.faulty_max() as usize;
        let (friends, honest) = others.split_at(friends);
        let (first, second) = honest.split_at(honest.len() / 2);
        let plot = Plot::against(second.to_vec());
        let mut options = Options::default().with(leader, Equivocator::new(plot.clone()));
        for id in friends {
            options = options.with(*id, Accomplice::new(plot.clone()));
        }
        let mut is_forked = false;
        play.world(&federation, options, |world| {
            for (a, b) in first
                .iter()
                .flat_map(|a| second.iter().map(move |b| (*a, *b)))
            {
                world.cut(a, b);
                world.cut(b, a);
            }
            is_forked = is_fork(world.progress(2))?;
            if is_forked {
                attributed(world, &federation, first[0], second[0], honest)?;
            }
            Ok(())
        })?;
        if is_forked {
            return Ok(1);
        }
    }
    Ok(0)
}

/// One member decides; two who sent COMMIT forget it in the next view, and the fourth, which leads
/// it and saw nothing, decides something else.
fn another_block_in_a_later_view(play: &mut Play) -> Result<u32, Failure> {
    for attempt in 0..ATTEMPTS {
        let seed = play.seed.fork(&format!("amnesia {attempt}"));
        let federation = Rc::new(Federation::of_equals(&seed, Scheme::Stub, 4));
        let late = federation.leader(1, 1);
        let decider = federation.leader(1, 2);
        let forgetful = federation.others(&[late, decider]);
        let options = forgetful.iter().fold(Options::default(), |options, id| {
            options.with(*id, Forgetful)
        });
        let mut is_forked = false;
        play.world(&federation, options, |world| {
            world.filter(move |packet| {
                let is_first = packet.height() == 1 && packet.view() == 0;
                match packet.kind() {
                    Kind::Commit if is_first && packet.to != decider => Fate::Drop,
                    Kind::Prepare if is_first && packet.to == late => Fate::Drop,
                    Kind::Status | Kind::Decided if packet.from == decider => Fate::Drop,
                    _ => Fate::Pass,
                }
            });
            world.submit(federation.leader(1, 0))?;
            world.arrange(seconds(1), "a decision of one member", |world| {
                world.height(decider) >= 1
            })?;
            world.isolate(decider);
            let decision = world.run_until(seconds(20), |world| world.height(late) >= 1);
            is_forked = is_fork(decision.map(|_| ()))?;
            if is_forked {
                attributed(world, &federation, decider, late, &[decider, late])?;
            }
            Ok(())
        })?;
        if is_forked {
            return Ok(1);
        }
    }
    Ok(0)
}

/// Whether two honest members decided differently. Any other failure is one.
fn is_fork(result: Result<(), Failure>) -> Result<bool, Failure> {
    match result {
        Ok(()) | Err(Failure::Liveness(_)) => Ok(false),
        Err(Failure::Safety(violation)) if violation.oracle == "agreement" => Ok(true),
        Err(failure) => Err(failure),
    }
}

/// The certificates and NEW-VIEWs of both branches prove offences of more weight than may be
/// faulty, and none of an honest member.
fn attributed(
    world: &World,
    federation: &Federation,
    a: ReplicaId,
    b: ReplicaId,
    honest: &[ReplicaId],
) -> Result<(), Failure> {
    let pairs = world.store(a).iter().zip(world.store(b));
    let forked = pairs
        .into_iter()
        .find(|(a, b)| a.certificate.value.digest != b.certificate.value.digest);
    let Some((ours, theirs)) = forked else {
        return broken("both members hold the same blocks");
    };
    let (lower, higher) = if ours.certificate.view <= theirs.certificate.view {
        (ours, theirs)
    } else {
        (theirs, ours)
    };
    let height = lower.certificate.height;
    let new_views: Vec<NewView> = [a, b]
        .iter()
        .flat_map(|id| world.journal(*id))
        .filter_map(|record| match record {
            polity_replica::Record::Consensus(Record::NewView(new_view)) => Some(new_view),
            _ => None,
        })
        .filter(|new_view| new_view.height == height)
        .collect();
    let mut checker = Checker::new(federation.verifier.clone(), 0);
    let mut accused = BTreeSet::new();
    for evidence in proofs(federation, height, lower, higher, &new_views) {
        // A stranger checks it with the committee alone.
        if evidence.verify(&federation.chain, &mut checker).is_ok() {
            accused.insert(evidence.accused(&federation.chain));
        }
    }
    if let Some(id) = honest.iter().find(|id| accused.contains(id)) {
        return broken(format!("the fork accuses honest member {id}"));
    }
    let accused: Vec<ReplicaId> = accused.into_iter().collect();
    let (weight, faulty_max) = (federation.weight(&accused), federation.faulty_max());
    if weight <= faulty_max {
        return broken(format!(
            "the fork names a weight of {weight}, which is no more than {faulty_max}"
        ));
    }
    Ok(())
}

/// Everything that two decisions and the NEW-VIEWs between them may prove.
fn proofs(
    federation: &Federation,
    height: Height,
    lower: &Decided,
    higher: &Decided,
    new_views: &[NewView],
) -> Vec<Evidence> {
    let commits = |decided: &Decided| -> Vec<Vote> {
        let certificate = &decided.certificate;
        let committee = federation.chain.committee(height);
        let parts = certificate.votes.parts(committee).unwrap_or_default();
        let vote = |(signer, signature)| Vote {
            kind: certificate.kind,
            height: certificate.height,
            view: certificate.view,
            value: certificate.value,
            signer,
            signature,
        };
        parts.into_iter().map(vote).collect()
    };
    let (first, second) = (commits(lower), commits(higher));
    let mut proofs = Vec::new();
    for commit in &first {
        let other = second.iter().find(|other| other.signer == commit.signer);
        if let Some(other) = other {
            proofs.push(Evidence::TwoVotes(commit.clone(), other.clone()));
        }
        for part in new_views.iter().flat_map(|new_view| &new_view.view_changes) {
            proofs.push(Evidence::ForgottenLock {
                commit: commit.clone(),
                view_change: ViewChange {
                    certificate: None,
                    ..part.clone()
                },
            });
        }
    }
    for new_view in new_views {
        proofs.push(Evidence::UnjustifiedNewView(new_view.clone().into()));
    }
    proofs
}
