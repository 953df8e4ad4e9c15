//! Campaigns: compositions drawn from one number for as long as the budget lasts.
//!
//! A campaign is a sequence of runs that is fixed by its base seed. Run `i` of it is either a
//! [`Composition`], with everything in it drawn at random, or a seed of a named scenario: schedules
//! that forked or halted a draft are so narrow that chance does not find them again. Every run has a
//! [`RunId`], which is all that is needed to play it again.

mod composition;
mod course;
mod driver;
mod tally;

pub use composition::Composition;
pub use driver::{Failed, Results, Settings, play};
pub use tally::{Report, Tally};

use crate::outcome::{Outcome, Verdict};
use crate::scenario::{ScenarioInfo, play_seed, scenarios};
use core::fmt;
use core::str::FromStr;
use polity_types::Seed;

/// The base seed of a campaign, unless another one is asked for.
pub const DEFAULT_BASE: u64 = 2_026;

/// Every so many-th run is a composition, the others are seeds of scenarios in turn.
const COMPOSITIONS_OF: u64 = 2;

/// Scenarios that take as long as hundreds of others have one turn in so many.
const LONG_EVERY: u64 = 16;
const LONG: &[&str] = &["crash-at-persist", "crash-at-boundary"];

/// One run of any campaign.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RunId {
    /// A composition, by its number.
    Composition(u64),
    /// A seed of a scenario.
    Scenario(&'static str, u64),
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Composition(number) => write!(f, "composition:{number}"),
            Self::Scenario(name, seed) => write!(f, "{name}:{seed}"),
        }
    }
}

/// A text that names no run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunIdError {
    /// It has another form.
    #[error("`{0}` names no run: write `composition:NUMBER` or `SCENARIO:NUMBER`")]
    Form(String),
    /// The number is none.
    #[error("`{0}` is no seed: write a number from 0 to 18446744073709551615")]
    Seed(String),
    /// No scenario is called so.
    #[error("there is no scenario `{0}`: the list of scenarios names them all")]
    Scenario(String),
}

impl FromStr for RunId {
    type Err = RunIdError;

    fn from_str(text: &str) -> Result<Self, RunIdError> {
        let (name, seed) = text
            .split_once(':')
            .ok_or_else(|| RunIdError::Form(text.to_owned()))?;
        let seed = seed
            .parse()
            .map_err(|_| RunIdError::Seed(seed.to_owned()))?;
        if name == "composition" {
            return Ok(Self::Composition(seed));
        }
        let known = scenarios().iter().find(|scenario| scenario.name == name);
        let scenario = known.ok_or_else(|| RunIdError::Scenario(name.to_owned()))?;
        Ok(Self::Scenario(scenario.name, seed))
    }
}

impl RunId {
    /// The runs of a campaign, one after the other.
    pub fn of_campaign(base: u64, index: u64) -> Self {
        let number = Seed::from_number(base)
            .fork(&format!("run {index}"))
            .stream()
            .next_u64()
            >> 16;
        if index.is_multiple_of(COMPOSITIONS_OF) {
            return Self::Composition(number);
        }
        let turn = index / COMPOSITIONS_OF;
        let all = scenarios();
        let pass = turn / all.len() as u64;
        let scenario = &all[(turn % all.len() as u64) as usize];
        if LONG.contains(&scenario.name) && !pass.is_multiple_of(LONG_EVERY) {
            return Self::Composition(number);
        }
        Self::Scenario(scenario.name, number)
    }

    /// Plays it.
    pub fn play(&self, is_traced: bool) -> Report {
        match self {
            Self::Composition(number) => Composition::draw(*number).play(is_traced),
            Self::Scenario(name, seed) => {
                let info = scenarios().iter().find(|info| info.name == *name);
                let info: &ScenarioInfo = info.expect("only known scenarios have a run");
                Report::of_scenario(play_seed(info, *seed, is_traced))
            }
        }
    }

    /// Everything that the run consists of, in words.
    pub fn describe(&self) -> String {
        match self {
            Self::Composition(number) => Composition::draw(*number).to_string(),
            Self::Scenario(name, seed) => format!("scenario {name}, seed {seed}\n"),
        }
    }

    /// Plays it twice, and says whether both runs were the same.
    pub fn play_twice(&self) -> Report {
        let first = self.play(false);
        let second = self.play(false);
        if first.outcome.audit_hash == second.outcome.audit_hash {
            return first;
        }
        let reason = format!(
            "determinism: {} and {} came of one seed",
            first.outcome.audit_hash, second.outcome.audit_hash
        );
        Report {
            outcome: Outcome {
                verdict: Verdict::SafetyViolation(reason),
                ..first.outcome
            },
            ..first
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_ids_are_read_as_they_are_written() {
        for index in 0..200 {
            let id = RunId::of_campaign(DEFAULT_BASE, index);
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        let refused = |text: &str| text.parse::<RunId>().unwrap_err().to_string();
        assert_eq!(
            refused("nonsense"),
            "`nonsense` names no run: write `composition:NUMBER` or `SCENARIO:NUMBER`"
        );
        assert_eq!(
            refused("w3:x"),
            "`x` is no seed: write a number from 0 to 18446744073709551615"
        );
        assert_eq!(
            refused("w99:1"),
            "there is no scenario `w99`: the list of scenarios names them all"
        );
    }

    #[test]
    fn another_base_is_another_campaign() {
        let runs = |base| (0..20).map(move |index| RunId::of_campaign(base, index));
        assert!(runs(1).eq(runs(1)));
        assert!(runs(1).ne(runs(2)));
    }
}
