//! Named situations: a federation, a script, and what has to come of it.

mod above_f;
mod directed;
mod epochs;
mod faults;
mod hostile;
mod prototype;
mod recovery;
mod review;
mod snapshots;

use crate::digester::Digester;
use crate::federation::Federation;
use crate::keys::Scheme;
use crate::outcome::{Failure, Outcome, Verdict};
use crate::world::{Options, World};
use core::time::Duration;
use polity_crypto::{Blake3Digest, domain};
use polity_types::{ReplicaId, Seed, Stream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

/// A scenario that can be run.
#[derive(Clone, Copy, Debug)]
pub struct ScenarioInfo {
    /// What it is called.
    pub name: &'static str,
    /// What happens in it, and what must come of it.
    pub summary: &'static str,
    play: fn(&mut Play) -> Result<(), Failure>,
}

/// No scenario has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no scenario `{0}`: the list of scenarios names them all")]
pub struct UnknownScenario(pub String);

const ALL: &[ScenarioInfo] = &[
    ScenarioInfo {
        name: "calm",
        summary: "no faults at N = 4, 7, 10: 27, 90, 189 messages and three one-way delays a block",
        play: faults::calm,
    },
    ScenarioInfo {
        name: "ed25519",
        summary: "real signatures and slow disks, 5 blocks under loss and reordering",
        play: faults::ed25519,
    },
    ScenarioInfo {
        name: "lossy",
        summary: "0.1, 1 and 5 % of all frames are lost, 20 blocks each",
        play: faults::lossy,
    },
    ScenarioInfo {
        name: "reorder",
        summary: "frames overtake and repeat each other at N = 4, 7, 10, 20 blocks each",
        play: faults::reorder,
    },
    ScenarioInfo {
        name: "partition-heal",
        summary: "halves without a quorum, a lonely minority and one-way cuts, then whole again",
        play: faults::partition_heal,
    },
    ScenarioInfo {
        name: "crash-leader",
        summary: "the leader loses power at its proposal, again and again",
        play: faults::crash_leader,
    },
    ScenarioInfo {
        name: "barely-a-quorum",
        summary: "one of four is dead and frames overtake: only dead leaders cost a view",
        play: faults::barely_a_quorum,
    },
    ScenarioInfo {
        name: "lost-gossip",
        summary: "the one frame with a promised transaction is lost, and nobody else has work",
        play: faults::lost_gossip,
    },
    ScenarioInfo {
        name: "chaos",
        summary: "random sizes, faults and adversaries, then calm",
        play: faults::chaos,
    },
    ScenarioInfo {
        name: "crash-at-persist",
        summary: "a member loses power at each record of three blocks, between and inside records",
        play: recovery::crash_at_persist,
    },
    ScenarioInfo {
        name: "two-stories",
        summary: "a member votes, loses power at any record, and is told another story afterwards",
        play: recovery::two_stories,
    },
    ScenarioInfo {
        name: "sleeper",
        summary: "a member slept for epochs, and catches up by a certified snapshot",
        play: snapshots::sleeper,
    },
    ScenarioInfo {
        name: "sleeper-crash",
        summary: "a sleeper loses power at a record of its sync, and goes on with the next chunk",
        play: snapshots::sleeper_crash,
    },
    ScenarioInfo {
        name: "snapshot-liar",
        summary: "a member lies about snapshots in each of 12 ways to one that is far behind, then two vouch for one lie",
        play: snapshots::snapshot_liar,
    },
    ScenarioInfo {
        name: "dropped-snapshot",
        summary: "members drop the snapshot that somebody is fetching",
        play: snapshots::dropped_snapshot,
    },
    ScenarioInfo {
        name: "equivocating-leader",
        summary: "a leader proposes two blocks at N = 4, 6, 20, and is convicted",
        play: hostile::equivocating_leader,
    },
    ScenarioInfo {
        name: "weights",
        summary: "members of unequal weight and short epochs, the heaviest one equivocates",
        play: hostile::weights,
    },
    ScenarioInfo {
        name: "split-voter",
        summary: "a member votes for different blocks towards different members, and is convicted",
        play: hostile::split_voter,
    },
    ScenarioInfo {
        name: "replayer",
        summary: "a member repeats old and new frames of everybody",
        play: hostile::replayer,
    },
    ScenarioInfo {
        name: "above-f",
        summary: "more is faulty than may be: the fork names more weight than that, and nobody honest",
        play: above_f::above_f,
    },
    ScenarioInfo {
        name: "garbage-blocks",
        summary: "the first block is spoilt in each of 14 ways, and gets no vote",
        play: directed::garbage_blocks,
    },
    ScenarioInfo {
        name: "forged-new-view",
        summary: "one member has decided; a later view is started with something else in 5 ways",
        play: directed::forged_new_view,
    },
    ScenarioInfo {
        name: "lost-leader",
        summary: "all prepared and lost power, and the leader that had the block first is gone",
        play: directed::lost_leader,
    },
    ScenarioInfo {
        name: "due-lock",
        summary: "an idle federation with a dead leader has nothing to decide but a due lock",
        play: directed::due_lock,
    },
    ScenarioInfo {
        name: "slow-links",
        summary: "no height is decided within the first timeout, so later views last longer",
        play: directed::slow_links,
    },
    ScenarioInfo {
        name: "w3",
        summary: "votes before the PRE-PREPARE: a delayed third replica is told of another block",
        play: prototype::w3,
    },
    ScenarioInfo {
        name: "w4a",
        summary: "COMMITs reach one replica, then the view changes: the block stays the same",
        play: prototype::w4a,
    },
    ScenarioInfo {
        name: "w4b",
        summary: "dead leaders are skipped after the view change, for good",
        play: prototype::w4b,
    },
    ScenarioInfo {
        name: "w4c",
        summary: "VIEW-CHANGEs for 1, 7 and 1,000,000 are not added together",
        play: prototype::w4c,
    },
    ScenarioInfo {
        name: "w5",
        summary: "nonsense blocks get no vote",
        play: prototype::w5,
    },
    ScenarioInfo {
        name: "w7",
        summary: "reordering with 0.1, 1 and 5 % loss, 20 blocks each",
        play: prototype::w7,
    },
    ScenarioInfo {
        name: "w7b",
        summary: "a replica is offline for a block, catches up, and leads again",
        play: prototype::w7b,
    },
    ScenarioInfo {
        name: "w8",
        summary: "an equivocating leader with as many friends as may be, at N = 6 and 20",
        play: prototype::w8,
    },
    ScenarioInfo {
        name: "w9",
        summary: "a stranger checks finality proofs with the genesis alone",
        play: prototype::w9,
    },
    ScenarioInfo {
        name: "w11",
        summary: "kill and restart at each height",
        play: recovery::w11,
    },
    ScenarioInfo {
        name: "w12",
        summary: "signatures for another chain, kind, epoch or view count for nothing",
        play: prototype::w12,
    },
    ScenarioInfo {
        name: "v1",
        summary: "a leader is silent for a day",
        play: prototype::v1,
    },
    ScenarioInfo {
        name: "v3",
        summary: "NEW-VIEWs with junk in the place of proofs",
        play: prototype::v3,
    },
    ScenarioInfo {
        name: "r1",
        summary: "one replica decided; the leader of view 1 sends a bare PRE-PREPARE for another block",
        play: review::r1,
    },
    ScenarioInfo {
        name: "r2",
        summary: "a replica asked for view 5 when view 3 reaches it",
        play: review::r2,
    },
    ScenarioInfo {
        name: "r3",
        summary: "a block proposed again is older than the drift bound",
        play: review::r3,
    },
    ScenarioInfo {
        name: "r4",
        summary: "two replicas ask for view 1, one entered and left it, the fourth is silent",
        play: review::r4,
    },
    ScenarioInfo {
        name: "r5",
        summary: "33 view changes while a replica is offline that is needed afterwards",
        play: review::r5,
    },
    ScenarioInfo {
        name: "r6",
        summary: "those who prepared restart, and a member hides what it prepared",
        play: review::r6,
    },
    ScenarioInfo {
        name: "r7",
        summary: "honest replicas hold different certificates of one parent",
        play: review::r7,
    },
    ScenarioInfo {
        name: "r8",
        summary: "a relay swaps junk into NEW-VIEWs; their leaders are not accused",
        play: review::r8,
    },
    ScenarioInfo {
        name: "r9",
        summary: "a client feeds one replica, which cannot make the others change view",
        play: review::r9,
    },
    ScenarioInfo {
        name: "r10",
        summary: "forged votes in the names of others fill no slots",
        play: review::r10,
    },
    ScenarioInfo {
        name: "r11",
        summary: "junk signatures for honest messages arrive first",
        play: review::r11,
    },
    ScenarioInfo {
        name: "r12",
        summary: "STATUS with a height of a billion",
        play: review::r12,
    },
    ScenarioInfo {
        name: "old-evidence",
        summary: "an offence is in a block, and whoever forgot that is told of it again",
        play: directed::old_evidence,
    },
    ScenarioInfo {
        name: "late-commits",
        summary: "more locks are due than one block sweeps, and clients settle the rest too late",
        play: directed::late_commits,
    },
    ScenarioInfo {
        name: "rotate-keys",
        summary: "everybody has another key after two epochs, frames are lost, and one votes with old keys",
        play: epochs::rotate_keys,
    },
    ScenarioInfo {
        name: "replace-founders",
        summary: "newcomers replace the founders one by one, who are switched off in the end",
        play: epochs::replace_founders,
    },
    ScenarioInfo {
        name: "leader-removed",
        summary: "a member leads the last height before it is removed, in time or late",
        play: epochs::leader_removed,
    },
    ScenarioInfo {
        name: "evidence-across",
        summary: "offences of an epoch are proven in the next one, where the offender has another key or none",
        play: epochs::evidence_across,
    },
    ScenarioInfo {
        name: "late-change",
        summary: "a change that the last block of an epoch decides waits for one more epoch",
        play: epochs::late_change,
    },
    ScenarioInfo {
        name: "asleep",
        summary: "a member misses four epochs, and wakes up with another key that counts",
        play: epochs::asleep,
    },
    ScenarioInfo {
        name: "crash-at-boundary",
        summary: "a member whose vote changes loses power at each record around the boundary",
        play: epochs::crash_at_boundary,
    },
];

/// Every scenario.
pub fn scenarios() -> &'static [ScenarioInfo] {
    ALL
}

/// Plays one seed of a scenario.
pub fn run(scenario: &str, seed: u64) -> Result<Outcome, UnknownScenario> {
    play(scenario, seed, false)
}

/// The same, and writes down what happens, line by line.
pub fn run_traced(scenario: &str, seed: u64) -> Result<Outcome, UnknownScenario> {
    play(scenario, seed, true)
}

fn play(scenario: &str, seed: u64, is_traced: bool) -> Result<Outcome, UnknownScenario> {
    let info = ALL
        .iter()
        .find(|info| info.name == scenario)
        .ok_or_else(|| UnknownScenario(scenario.to_owned()))?;
    Ok(play_seed(info, seed, is_traced))
}

/// Plays one seed of a known scenario.
pub(crate) fn play_seed(info: &ScenarioInfo, seed: u64, is_traced: bool) -> Outcome {
    let seed = Seed::from_number(seed).fork(info.name);
    play_script(seed, is_traced, info.play)
}

/// Plays a script.
pub(crate) fn play_script(
    seed: Seed,
    is_traced: bool,
    script: impl FnOnce(&mut Play) -> Result<(), Failure>,
) -> Outcome {
    let mut play = Play::new(seed, is_traced);
    // A machine that contradicts itself panics, which is a result like others; everything it
    // could have left in disorder is dropped here.
    let result = catch_unwind(AssertUnwindSafe(|| script(&mut play)));
    let verdict = match result {
        Ok(Ok(())) => Verdict::SafeAndLive,
        Ok(Err(failure)) => failure.into(),
        Err(panic) => Verdict::Crash(
            panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_else(|| "a panic without a message".to_owned()),
        ),
    };
    play.outcome(verdict)
}

/// One seed of a scenario that is being played: one world after the other.
#[derive(Debug)]
pub(crate) struct Play {
    seed: Seed,
    is_traced: bool,
    worlds: u64,
    audit: Digester,
    outcome: Outcome,
}

impl Play {
    fn new(seed: Seed, is_traced: bool) -> Self {
        Self {
            seed,
            is_traced,
            worlds: 0,
            audit: Digester::new(domain::SIMULATION_AUDIT),
            outcome: Outcome {
                verdict: Verdict::SafeAndLive,
                audit_hash: Blake3Digest::ZERO,
                heights: Vec::new(),
                blocks: 0,
                messages: 0,
                transactions: 0,
                restarts: 0,
                simulated_ms: 0,
                faults: std::collections::BTreeMap::new(),
                new_views: 0,
                evidence: (0, 0),
                trace: is_traced.then(String::new),
            },
        }
    }

    /// Randomness of the script.
    pub(crate) fn random(&self, label: &str) -> Stream {
        self.seed.fork(label).stream()
    }

    /// A federation of members of weight 1 with checksums for signatures.
    pub(crate) fn federation(&self, members: u32) -> Rc<Federation> {
        Rc::new(Federation::of_equals(&self.seed, Scheme::Stub, members))
    }

    /// One of the given members.
    pub(crate) fn pick(&self, label: &str, from: &[ReplicaId]) -> ReplicaId {
        from[self.random(label).below(from.len() as u64) as usize]
    }

    /// Plays a script in a new world, and adds up what happened however it ends.
    pub(crate) fn world(
        &mut self,
        federation: &Rc<Federation>,
        options: Options,
        script: impl FnOnce(&mut World) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.worlds += 1;
        let seed = self.seed.fork(&format!("world {}", self.worlds));
        let mut world = World::new(federation.clone(), &seed, options, self.is_traced)?;
        let result = script(&mut world).and_then(|()| world.conclude());
        let summary = world.finish();
        self.audit.update(summary.audit_hash.as_bytes());
        let total = &mut self.outcome;
        total.heights.extend(summary.heights);
        total.blocks += summary.blocks;
        total.messages += summary.messages;
        total.transactions += summary.transactions;
        total.restarts += summary.restarts;
        total.new_views += summary.new_views;
        total.evidence.0 += summary.evidence.0;
        total.evidence.1 += summary.evidence.1;
        for (name, count) in summary.faults {
            *total.faults.entry(name).or_default() += count;
        }
        total.simulated_ms += summary.time.as_micros() / 1_000;
        if let (Some(all), Some(trace)) = (&mut total.trace, summary.trace) {
            all.push_str(&trace);
        }
        result
    }

    fn outcome(mut self, verdict: Verdict) -> Outcome {
        self.audit.update(verdict.to_string().as_bytes());
        Outcome {
            verdict,
            audit_hash: self.audit.digest(),
            ..self.outcome
        }
    }
}

/// The schedule did not come about.
pub(crate) fn inconclusive<T>(reason: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Inconclusive(reason.into()))
}

/// What the scenario says must hold does not.
pub(crate) fn broken<T>(reason: impl Into<String>) -> Result<T, Failure> {
    let violation = crate::oracle::Violation {
        oracle: "scenario",
        detail: reason.into(),
    };
    Err(violation.into())
}

pub(crate) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
