//! Checks the coarse search against the fine one.
//!
//! The reduction from single messages to actions is argued for in the crate's documentation. Here it is
//! tested: whatever the replicas can have said and decided together when messages come one by one, they
//! can have said and decided in the coarse search as well, and the other way round.

use crate::scenario::{Grain, MEMBERS, Scenario};
use crate::search::{Search, State};
use crate::words::Word;
use polity_types::Seed;
use stateright::Model as _;
use std::collections::{BTreeSet, HashMap, HashSet};

/// What the replicas said and decided, each by the number of its set of words.
type Outcome = [usize; MEMBERS];

/// Sets of words by number, the same numbers for both searches.
#[derive(Debug, Default)]
struct Vocabulary {
    numbers: HashMap<BTreeSet<Word>, usize>,
}

impl Vocabulary {
    fn outcome(&mut self, search: &Search, state: &State) -> Outcome {
        let mut outcome = [0; MEMBERS];
        for (place, words) in search.words(state).into_iter().enumerate() {
            let next = self.numbers.len() + 1;
            outcome[place] = *self.numbers.entry(words).or_insert(next);
        }
        outcome
    }

    /// Visits every state; returns how many there are, and all outcomes.
    fn exhaust(&mut self, search: &Search) -> (usize, HashSet<Outcome>) {
        let mut seen: HashSet<State> = search.init_states().into_iter().collect();
        let mut waiting: Vec<State> = seen.iter().copied().collect();
        let mut outcomes = HashSet::new();
        let mut actions = Vec::new();
        while let Some(state) = waiting.pop() {
            outcomes.insert(self.outcome(search, &state));
            search.actions(&state, &mut actions);
            for action in actions.drain(..) {
                if let Some(next) = search.next_state(&state, action)
                    && seen.insert(next)
                {
                    waiting.push(next);
                }
            }
        }
        (seen.len(), outcomes)
    }
}

/// Two searches of one scenario side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// States when a step is one action.
    pub coarse_states: usize,
    /// Different outcomes among them.
    pub coarse_outcomes: usize,
    /// States visited when a step is one message.
    pub fine_states: usize,
    /// Different outcomes among them.
    pub fine_outcomes: usize,
    /// Outcomes of the fine search that the coarse one lacks: each is a hole in the argument.
    pub lost: usize,
    /// Outcomes of the coarse search that the fine one lacks.
    pub invented: usize,
}

fn searches(scenario: Scenario) -> [Search; 2] {
    [Grain::Action, Grain::Message].map(|grain| Search::new(Scenario { grain, ..scenario }))
}

/// Exhausts both searches.
pub fn compare(scenario: Scenario) -> Comparison {
    let [coarse, fine] = searches(scenario);
    let mut vocabulary = Vocabulary::default();
    let (coarse_states, coarse_outcomes) = vocabulary.exhaust(&coarse);
    let (fine_states, fine_outcomes) = vocabulary.exhaust(&fine);
    Comparison {
        coarse_states,
        coarse_outcomes: coarse_outcomes.len(),
        fine_states,
        fine_outcomes: fine_outcomes.len(),
        lost: fine_outcomes.difference(&coarse_outcomes).count(),
        invented: coarse_outcomes.difference(&fine_outcomes).count(),
    }
}

/// Exhausts the coarse search, and takes random walks through the fine one, each until nothing more
/// can happen or `length` steps are done. Outcomes that no walk came across are not counted as invented.
pub fn compare_walks(scenario: Scenario, seed: u64, walks: u64, length: usize) -> Comparison {
    let [coarse, fine] = searches(scenario);
    let mut vocabulary = Vocabulary::default();
    let (coarse_states, coarse_outcomes) = vocabulary.exhaust(&coarse);
    let mut visited: HashSet<State> = HashSet::new();
    let mut fine_outcomes: HashSet<Outcome> = HashSet::new();
    let mut actions = Vec::new();
    for walk in 0..walks {
        let mut random = Seed::from_number(seed).fork(&walk.to_string()).stream();
        let mut state = fine.init_states()[0];
        for _ in 0..length {
            if visited.insert(state) {
                fine_outcomes.insert(vocabulary.outcome(&fine, &state));
            }
            fine.actions(&state, &mut actions);
            let mut next = None;
            while next.is_none() && !actions.is_empty() {
                let place = random.below(actions.len() as u64) as usize;
                next = fine.next_state(&state, actions.swap_remove(place));
            }
            actions.clear();
            match next {
                Some(next) => state = next,
                None => break,
            }
        }
    }
    Comparison {
        coarse_states,
        coarse_outcomes: coarse_outcomes.len(),
        fine_states: visited.len(),
        fine_outcomes: fine_outcomes.len(),
        lost: fine_outcomes.difference(&coarse_outcomes).count(),
        invented: 0,
    }
}
