//! What a run showed.

use super::judge::Findings;
use super::proxy::Counts;
use crate::cli::code;
use crate::table::Table;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How a run ended, as the simulator tells it apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing contradicts anything, nothing was lost, and everybody made progress.
    SafeAndLive,
    /// A safety rule was broken.
    Safety(String),
    /// Somebody did not make progress in the time that the timeouts allow.
    Liveness(String),
    /// A node ended by itself, or panicked.
    Crash(String),
    /// The plan did not come about; that says nothing about the nodes.
    Inconclusive(String),
    /// Somebody wanted it to end.
    Interrupted,
}

impl Verdict {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::SafeAndLive => "safe_and_live",
            Self::Safety(_) => "safety_violation",
            Self::Liveness(_) => "liveness_failure",
            Self::Crash(_) => "crash",
            Self::Inconclusive(_) => "inconclusive",
            Self::Interrupted => "interrupted",
        }
    }

    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::SafeAndLive => 0,
            Self::Safety(_) => code::SAFETY,
            Self::Liveness(_) => code::LIVENESS,
            Self::Crash(_) | Self::Inconclusive(_) => code::FAILURE,
            Self::Interrupted => code::INTERRUPTED,
        }
    }

    /// The worse of two: safety, then crashes, then liveness.
    pub(crate) fn or_worse(self, other: Self) -> Self {
        let weight = |verdict: &Self| match verdict {
            Self::SafeAndLive => 0,
            Self::Interrupted => 1,
            Self::Inconclusive(_) => 2,
            Self::Liveness(_) => 3,
            Self::Crash(_) => 4,
            Self::Safety(_) => 5,
        };
        if weight(&other) > weight(&self) {
            other
        } else {
            self
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SafeAndLive => f.write_str("safe and live"),
            Self::Safety(reason) => write!(f, "safety violation: {reason}"),
            Self::Liveness(reason) => write!(f, "liveness failure: {reason}"),
            Self::Crash(reason) => write!(f, "crash: {reason}"),
            Self::Inconclusive(reason) => write!(f, "inconclusive: {reason}"),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// How long nodes took to come back, by what had happened to them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recoveries(BTreeMap<&'static str, Vec<u64>>);

/// Milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Spread {
    pub(crate) count: usize,
    pub(crate) p50_ms: u64,
    pub(crate) max_ms: u64,
}

impl Recoveries {
    pub(crate) fn add(&mut self, kind: &'static str, took: Duration) {
        let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.0.entry(kind).or_default().push(took);
    }

    /// Of all kinds, and of each.
    pub(crate) fn spreads(&self) -> BTreeMap<&'static str, Spread> {
        let all = self.0.values().flatten().copied().collect();
        let each = self
            .0
            .iter()
            .map(|(kind, took)| (*kind, spread(took.clone())));
        each.chain([("all", spread(all))]).collect()
    }
}

fn spread(mut took: Vec<u64>) -> Spread {
    took.sort_unstable();
    Spread {
        count: took.len(),
        p50_ms: took.get(took.len() / 2).copied().unwrap_or(0),
        max_ms: took.last().copied().unwrap_or(0),
    }
}

/// Everything, for people and programs.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) verdict: Verdict,
    pub(crate) detail: String,
    pub(crate) version: &'static str,
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    pub(crate) away_max: usize,
    pub(crate) seconds: u64,
    pub(crate) rate: u64,
    pub(crate) namespaces: bool,
    /// What gives the same plan again.
    pub(crate) replay: String,
    /// Where the files are, if they stay.
    pub(crate) directory: Option<PathBuf>,
    pub(crate) faults: BTreeMap<&'static str, u64>,
    pub(crate) windows_beyond: u64,
    pub(crate) packets: Counts,
    pub(crate) sent: u64,
    pub(crate) unanswered: u64,
    pub(crate) refused_by_node: BTreeMap<String, u64>,
    /// Absent if the journals could not be compared.
    pub(crate) findings: Option<Findings>,
    pub(crate) recoveries: BTreeMap<&'static str, Spread>,
    /// The longest time without a block within the budget.
    pub(crate) stall_max_ms: u64,
    /// The bound for stalls, recoveries and the end.
    pub(crate) bound_ms: u64,
    /// From the end of the load until all nodes stood at one height.
    pub(crate) settled_ms: Option<u64>,
    /// The faults of the plan; only if a check did not hold.
    pub(crate) plan: Vec<String>,
    /// What was done when; only if a check did not hold.
    pub(crate) log: Vec<String>,
}

impl Report {
    pub(crate) fn table(&self) -> String {
        let mut table = Table::new(&["measure", "value"]);
        let mut row = |name: &str, value: String| table.row(&[name, &value]);
        row("verdict", self.verdict.to_string());
        row("seed", self.seed.to_string());
        row(
            "nodes, away at most",
            format!("{}, {}", self.nodes, self.away_max),
        );
        row("time of faults", format!("{} s", self.seconds));
        for (kind, count) in &self.faults {
            row(&format!("faults: {kind}"), count.to_string());
        }
        row("windows beyond the budget", self.windows_beyond.to_string());
        let packets = &self.packets;
        row(
            "packets: all, lost, cut, copied, overtaken",
            format!(
                "{}, {}, {}, {}, {}",
                packets.received, packets.lost, packets.cut, packets.duplicated, packets.reordered
            ),
        );
        if let Some(found) = &self.findings {
            row("blocks", found.blocks.to_string());
            for (kind, count) in &found.acknowledged {
                let finals = found.finals.get(kind).copied().unwrap_or(0);
                let name = format!("{kind:?}").to_lowercase();
                row(
                    &format!("{name}: acknowledged, final"),
                    format!("{count}, {finals}"),
                );
            }
            row(
                "acknowledged: all, final, expired, lost",
                format!(
                    "{}, {}, {}, {}",
                    found.acknowledged_total(),
                    found.finals_total(),
                    found.expired,
                    found.lost
                ),
            );
            row("refused in a block", found.refused.to_string());
            row(
                "answers compared with the chain",
                found.answers_checked.to_string(),
            );
        }
        row("tries without an answer", self.unanswered.to_string());
        for (code, count) in &self.refused_by_node {
            row(&format!("tries refused: {code}"), count.to_string());
        }
        for (kind, spread) in &self.recoveries {
            row(
                &format!("recovery after {kind}: count, p50, max"),
                format!(
                    "{}, {} ms, {} ms",
                    spread.count, spread.p50_ms, spread.max_ms
                ),
            );
        }
        row(
            "longest stall within the budget",
            format!("{} ms", self.stall_max_ms),
        );
        let settled = self
            .settled_ms
            .map_or_else(|| "never".to_owned(), |ms| format!("{ms} ms"));
        row("all nodes at one height after", settled);
        row("bound for these three", format!("{} ms", self.bound_ms));
        table.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_have_the_exit_codes_of_the_simulator_and_safety_comes_first() {
        let reason = String::new;
        let all = [
            (Verdict::Safety(reason()), code::SAFETY),
            (Verdict::Crash(reason()), code::FAILURE),
            (Verdict::Liveness(reason()), code::LIVENESS),
            (Verdict::Inconclusive(reason()), code::FAILURE),
            (Verdict::Interrupted, code::INTERRUPTED),
            (Verdict::SafeAndLive, 0),
        ];
        for (place, (worse, code)) in all.iter().enumerate() {
            assert_eq!(worse.exit_code(), *code);
            for (better, _) in &all[place..] {
                assert_eq!(&better.clone().or_worse(worse.clone()), worse);
                assert_eq!(&worse.clone().or_worse(better.clone()), worse);
            }
        }
    }

    #[test]
    fn spreads_are_of_each_kind_and_of_all() {
        let mut recoveries = Recoveries::default();
        for (kind, ms) in [("kill", 30), ("kill", 10), ("kill", 20), ("pause", 100)] {
            recoveries.add(kind, Duration::from_millis(ms));
        }
        let spreads = recoveries.spreads();
        let kill = Spread {
            count: 3,
            p50_ms: 20,
            max_ms: 30,
        };
        assert_eq!(spreads["kill"], kill);
        assert_eq!((spreads["all"].count, spreads["all"].max_ms), (4, 100));
    }
}
