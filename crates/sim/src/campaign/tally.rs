//! What runs came to, added up.

use crate::outcome::{Outcome, Verdict};
use core::fmt;
use std::collections::BTreeMap;

/// What one run came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// The members that broke the rules, by name.
    pub adversaries: Vec<&'static str>,
}

impl Report {
    /// A scenario chooses its adversaries itself.
    pub(super) fn of_scenario(outcome: Outcome) -> Self {
        Self {
            outcome,
            adversaries: Vec::new(),
        }
    }
}

/// What all runs of a campaign came to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Runs.
    pub runs: u64,
    /// Runs of compositions.
    pub compositions: u64,
    /// Blocks decided.
    pub blocks: u64,
    /// Transactions in them.
    pub transactions: u64,
    /// Frames sent.
    pub messages: u64,
    /// Starts after a crash.
    pub restarts: u64,
    /// NEW-VIEWs of honest leaders.
    pub new_views: u64,
    /// Offences that honest members reported.
    pub reports: u64,
    /// Accusations in decided blocks.
    pub convictions: u64,
    /// Simulated milliseconds.
    pub simulated_ms: u64,
    /// Faults by name.
    pub faults: BTreeMap<&'static str, u64>,
    /// Adversaries by name: in how many compositions each took part.
    pub adversaries: BTreeMap<&'static str, u64>,
    /// Schedules that did not come about.
    pub inconclusive: u64,
}

impl Tally {
    /// Adds a run.
    pub fn add(&mut self, report: &Report, is_composition: bool) {
        let outcome = &report.outcome;
        self.runs += 1;
        self.compositions += u64::from(is_composition);
        self.blocks += outcome.blocks;
        self.transactions += outcome.transactions;
        self.messages += outcome.messages;
        self.restarts += outcome.restarts;
        self.new_views += outcome.new_views;
        self.reports += outcome.evidence.0;
        self.convictions += outcome.evidence.1;
        self.simulated_ms += outcome.simulated_ms;
        for (name, count) in &outcome.faults {
            *self.faults.entry(name).or_default() += count;
        }
        for name in &report.adversaries {
            *self.adversaries.entry(name).or_default() += 1;
        }
        self.inconclusive += u64::from(matches!(outcome.verdict, Verdict::Inconclusive(_)));
    }

    /// Adds the runs of another tally.
    pub fn merge(&mut self, other: &Self) {
        self.runs += other.runs;
        self.compositions += other.compositions;
        self.blocks += other.blocks;
        self.transactions += other.transactions;
        self.messages += other.messages;
        self.restarts += other.restarts;
        self.new_views += other.new_views;
        self.reports += other.reports;
        self.convictions += other.convictions;
        self.simulated_ms += other.simulated_ms;
        self.inconclusive += other.inconclusive;
        for (name, count) in &other.faults {
            *self.faults.entry(name).or_default() += count;
        }
        for (name, count) in &other.adversaries {
            *self.adversaries.entry(name).or_default() += count;
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "runs          {} ({} compositions, {} scenarios, {} inconclusive)",
            self.runs,
            self.compositions,
            self.runs - self.compositions,
            self.inconclusive
        )?;
        writeln!(f, "blocks        {}", self.blocks)?;
        writeln!(f, "transactions  {}", self.transactions)?;
        writeln!(f, "messages      {}", self.messages)?;
        writeln!(f, "simulated     {} s", self.simulated_ms / 1_000)?;
        writeln!(f, "restarts      {}", self.restarts)?;
        writeln!(f, "views changed {}", self.new_views)?;
        writeln!(
            f,
            "evidence      {} reports, {} in blocks",
            self.reports, self.convictions
        )?;
        writeln!(f, "faults")?;
        for (name, count) in &self.faults {
            writeln!(f, "  {name:<28}{count}")?;
        }
        writeln!(f, "adversaries")?;
        for (name, count) in &self.adversaries {
            writeln!(f, "  {name:<28}{count}")?;
        }
        Ok(())
    }
}
