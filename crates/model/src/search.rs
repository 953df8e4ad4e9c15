//! The search as stateright sees it: states, actions, properties.

use crate::forge::Messages;
use crate::replica::{Identity, Replica, Rule, Step};
use crate::scenario::{Fault, MEMBERS, QUORUM, Scenario, World};
use crate::scene::Scene;
use crate::table::{Kept, Number};
use crate::words::{self, Word};
use polity_consensus::fbpbft::Value;
use polity_crypto::Sha256Digest;
use polity_types::View;
use stateright::{Model, Path, Property};
use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// A state of the whole: the number of each honest replica's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State([Number; MEMBERS]);

/// Something happens to one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    replica: usize,
    step: Number,
}

/// A search of one scenario.
#[derive(Debug)]
pub struct Search {
    world: World,
    messages: Messages,
    replicas: Kept<Identity, Replica>,
    steps: Kept<Step, Step>,
    /// What became of a replica in a state, by a step.
    moves: RwLock<HashMap<(Number, Number), Option<Number>>>,
    is_stopped: Arc<AtomicBool>,
}

/// Agreement, the property that everything is about.
pub const AGREEMENT: &str = "agreement: no two honest replicas decide different blocks";
/// No honest replica votes twice.
pub const ONE_VOTE: &str = "one vote: no honest replica signs two messages of one kind and view";
const VALIDITY: &str = "validity: a decided block was proposed by its leader";
const FLOOR: &str = "floor: nothing is said in a view that was left or not entered";
const CERTIFICATE: &str = "certificate: a COMMIT follows a stored certificate of its view";
const CLAIM: &str = "claim: a VIEW-CHANGE claims the highest stored certificate";
const BACKED: &str = "backed: what is decided or claimed has the votes of a quorum";
const SOUND: &str = "sound: no honest replica halts or panics";
const IN_VIEW: [&str; 3] = [
    "a block is decided in view 0",
    "a block is decided in view 1",
    "a block is decided in view 2",
];
const AGAIN: &str = "a block prepared in an earlier view is proposed again and decided";
const ALL_DECIDE: &str = "all honest replicas decide";
const FIRST: &str = "one value of a leader is decided";
const SECOND: &str = "another value of the same or the next leader is decided";

impl Search {
    /// Prepares a search.
    pub fn new(scenario: Scenario) -> Self {
        Self {
            world: World::new(scenario),
            messages: Messages::new(),
            replicas: Kept::new(),
            steps: Kept::new(),
            moves: RwLock::new(HashMap::new()),
            is_stopped: Arc::new(AtomicBool::new(false)),
        }
    }

    /// When this is set, no further steps are taken.
    pub fn stopper(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_stopped)
    }

    /// What is searched.
    pub fn scenario(&self) -> &Scenario {
        &self.world.scenario
    }

    /// Different states of single replicas so far.
    pub fn replica_states(&self) -> usize {
        self.replicas.len()
    }

    /// Different messages so far.
    pub fn messages(&self) -> usize {
        self.messages.len()
    }

    /// How often the real handlers were run: once for each state of a replica and step.
    pub fn handled(&self) -> usize {
        let moves = self.moves.read().unwrap_or_else(PoisonError::into_inner);
        moves.len()
    }

    /// What each honest replica said and decided.
    pub fn words(&self, state: &State) -> Vec<BTreeSet<Word>> {
        let scene = self.scene(state);
        let all = scene.replicas.iter();
        all.map(|replica| words::of_replica(&self.messages, replica))
            .collect()
    }

    fn scene(&self, state: &State) -> Scene<'_> {
        let numbers = &state.0[..self.world.honest.len()];
        Scene {
            world: &self.world,
            messages: &self.messages,
            replicas: numbers
                .iter()
                .map(|number| self.replicas.get(*number))
                .collect(),
        }
    }

    fn keep(&self, mut replica: Replica) -> Number {
        self.replicas.keep(replica.identity(&self.world), || {
            replica.speech = self.messages.keep_speech(&replica.said);
            replica
        })
    }

    /// Runs the real handlers, once for each state of a replica and step.
    fn advance(&self, from: Number, step: Number) -> Option<Number> {
        let known = {
            let moves = self.moves.read().unwrap_or_else(PoisonError::into_inner);
            moves.get(&(from, step)).copied()
        };
        known.unwrap_or_else(|| {
            let replica = self.replicas.get(from);
            let what = self.steps.get(step);
            let after = catch_unwind(AssertUnwindSafe(|| {
                replica.after(&self.world, &self.messages, &what)
            }));
            let after = after.unwrap_or_else(|_| {
                // An assertion of the protocol failed: a finding, with the path to it.
                let mut broken = (*replica).clone();
                broken.broken.insert(Rule::NobodyHalts);
                Some(broken)
            });
            let to = after.map(|replica| self.keep(replica));
            let mut moves = self.moves.write().unwrap_or_else(PoisonError::into_inner);
            moves.insert((from, step), to);
            to
        })
    }

    /// A path in words, one step a line, each with what the replica said then.
    pub fn describe(&self, path: &Path<State, Action>) -> String {
        let mut text = String::new();
        let mut number = 0;
        let steps: Vec<(State, Option<Action>)> = path.clone().into_vec();
        for pair in steps.windows(2) {
            let ((before, action), (after, _)) = (&pair[0], &pair[1]);
            let Some(action) = action else { continue };
            number += 1;
            let id = self.world.honest[action.replica];
            let step = self.steps.get(action.step);
            let _ = writeln!(
                text,
                "{number:3}. {} {}",
                words::name_member(&self.world, id),
                words::step_text(&self.world, &self.messages, &step)
            );
            let (before, after) = (self.words(before), self.words(after));
            for word in after[action.replica].difference(&before[action.replica]) {
                let _ = writeln!(text, "       ⇒ {}", word.text(&self.world));
            }
        }
        text
    }

    fn decisions(&self, state: &State) -> Vec<(View, Sha256Digest)> {
        let numbers = &state.0[..self.world.honest.len()];
        let decided = numbers
            .iter()
            .filter_map(|number| self.replicas.get(*number).decided);
        decided.collect()
    }

    fn keeps(&self, state: &State, rules: &[Rule]) -> bool {
        let numbers = &state.0[..self.world.honest.len()];
        let mut replicas = numbers.iter().map(|number| self.replicas.get(*number));
        replicas.all(|replica| rules.iter().all(|rule| !replica.broken.contains(rule)))
    }

    /// Whether every decided block was proposed in its own view by the leader of that view.
    fn is_valid(&self, state: &State) -> bool {
        let scene = self.scene(state);
        self.decisions(state).into_iter().all(|(view, digest)| {
            let Some(block) = self.messages.block(&digest) else {
                return false;
            };
            let origin = block.header.view;
            let leader = self.world.leader(origin);
            let was_proposed = if Some(leader) == self.world.faulty {
                let mut fresh = self.world.fresh_blocks(origin).iter();
                fresh.any(|block| block.digest() == digest)
            } else {
                scene.replicas.iter().any(|replica| {
                    let proposed = replica.said.proposals.get(&origin);
                    replica.id == leader && proposed.is_some_and(|(first, _)| *first == digest)
                })
            };
            was_proposed && origin <= view && block.header.proposer == leader
        })
    }

    /// Whether honest members of weight `Q - F` voted for everything that is decided, and for
    /// everything that a VIEW-CHANGE claims.
    fn is_backed(&self, state: &State) -> bool {
        let scene = self.scene(state);
        let enough = QUORUM - usize::from(self.world.faulty.is_some());
        let is_prepared = |view: View, digest: &Sha256Digest| {
            let said = scene.replicas.iter().map(|replica| &replica.said);
            let values: BTreeSet<Value> = said
                .filter_map(|said| said.prepares.get(&view))
                .filter(|value| value.digest == *digest)
                .copied()
                .collect();
            let mut counts = values
                .iter()
                .map(|value| scene.preparers(view, value).len());
            counts.any(|count| count >= enough)
        };
        scene.replicas.iter().all(|replica| {
            let is_decided_well = replica.decided.is_none_or(|(view, digest)| {
                scene.committers(view, &digest).len() >= enough && is_prepared(view, &digest)
            });
            let mut claims = replica.said.view_changes.values();
            is_decided_well
                && claims.all(|(claim, _)| claim.is_none_or(|c| is_prepared(c.view, &c.digest)))
        })
    }

    fn is_decided_in(&self, state: &State, view: u64) -> bool {
        let mut decisions = self.decisions(state).into_iter();
        decisions.any(|(at, _)| at == View::new(view))
    }

    fn is_decided_again(&self, state: &State) -> bool {
        let mut decisions = self.decisions(state).into_iter();
        decisions.any(|(view, digest)| {
            let block = self.messages.block(&digest);
            block.is_some_and(|block| block.header.view < view)
        })
    }

    /// Whether a block is decided that is one of two kinds: with several values, the first or the
    /// second value of the faulty leader; with one, the block of view 0 or of a later view.
    fn is_value_decided(&self, state: &State, number: usize) -> bool {
        let has_choice = self.scenario().values > 1
            && self
                .world
                .views()
                .any(|view| self.world.is_led_by_faulty(view));
        self.decisions(state).into_iter().any(|(_, digest)| {
            let Some(block) = self.messages.block(&digest) else {
                return false;
            };
            let origin = block.header.view;
            if has_choice {
                self.world.is_led_by_faulty(origin)
                    && self.world.fresh_blocks(origin)[number].digest() == digest
            } else {
                (origin > View::ZERO) == (number > 0)
            }
        })
    }

    fn has_second_value(&self) -> bool {
        self.scenario().views > 1
            || (self.scenario().values > 1 && self.world.is_led_by_faulty(View::ZERO))
    }
}

impl Model for Search {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut numbers = [0; MEMBERS];
        for (place, id) in self.world.honest.iter().enumerate() {
            numbers[place] = self.keep(Replica::start(&self.world, &self.messages, *id));
        }
        vec![State(numbers)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if self.is_stopped.load(Ordering::Relaxed) {
            return;
        }
        let scene = self.scene(state);
        for replica in 0..scene.replicas.len() {
            actions.extend(scene.steps(replica).into_iter().map(|step| Action {
                replica,
                step: self.steps.keep(step.clone(), || step),
            }));
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = *state;
        next.0[action.replica] = self.advance(state.0[action.replica], action.step)?;
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties: Vec<Property<Self>> = vec![
            Property::always(AGREEMENT, |search: &Self, state| {
                let decided = search.decisions(state);
                decided.windows(2).all(|pair| pair[0].1 == pair[1].1)
            }),
            Property::always(VALIDITY, |search: &Self, state| search.is_valid(state)),
            Property::always(ONE_VOTE, |search: &Self, state| {
                search.keeps(state, &[Rule::OneVoteInAView])
            }),
            Property::always(FLOOR, |search: &Self, state| {
                search.keeps(state, &[Rule::NothingBelowTheFloor])
            }),
            Property::always(CERTIFICATE, |search: &Self, state| {
                search.keeps(state, &[Rule::CommitFollowsCertificate])
            }),
            Property::always(CLAIM, |search: &Self, state| {
                search.keeps(state, &[Rule::ViewChangeClaimsHighest])
            }),
            Property::always(BACKED, |search: &Self, state| search.is_backed(state)),
            Property::always(SOUND, |search: &Self, state| {
                search.keeps(state, &[Rule::NobodyHalts])
            }),
            Property::sometimes(IN_VIEW[0], |search: &Self, state| {
                search.is_decided_in(state, 0)
            }),
            Property::sometimes(ALL_DECIDE, |search: &Self, state| {
                search.decisions(state).len() == search.world.honest.len()
            }),
            Property::sometimes(FIRST, |search: &Self, state| {
                search.is_value_decided(state, 0)
            }),
        ];
        if self.has_second_value() {
            properties.push(Property::sometimes(SECOND, |search: &Self, state| {
                search.is_value_decided(state, 1)
            }));
        }
        if self.scenario().views > 1 {
            properties.push(Property::sometimes(IN_VIEW[1], |search: &Self, state| {
                search.is_decided_in(state, 1)
            }));
            properties.push(Property::sometimes(AGAIN, |search: &Self, state| {
                search.is_decided_again(state)
            }));
        }
        if self.scenario().views > 2 {
            properties.push(Property::sometimes(IN_VIEW[2], |search: &Self, state| {
                search.is_decided_in(state, 2)
            }));
        }
        properties
    }

    fn format_action(&self, action: &Action) -> String {
        let id = self.world.honest[action.replica];
        let step = self.steps.get(action.step);
        format!(
            "{} {}",
            words::name_member(&self.world, id),
            words::step_text(&self.world, &self.messages, &step)
        )
    }
}

impl Scenario {
    /// The scenario with its honest replicas breaking a rule.
    #[must_use]
    pub fn broken(self, fault: Fault) -> Self {
        Self { fault, ..self }
    }
}
