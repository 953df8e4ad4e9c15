//! Runs a search within limits and says honestly how far it came.

use crate::scenario::Scenario;
use crate::search::{AGREEMENT, Search};
use stateright::{Checker, Expectation, HasDiscoveries, Model as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long and how large a search may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Threads that search.
    pub threads: usize,
    /// Time after which the search stops.
    pub time: Duration,
    /// Resident memory of the process at which the search stops. Looked up where the system shows it
    /// under `/proc`; elsewhere there is no such limit.
    pub memory_bytes: u64,
    /// Whether to search on until agreement fails, whatever else fails before.
    pub is_for_a_fork: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            threads: 1,
            time: Duration::from_secs(30 * 60),
            memory_bytes: 10 << 30,
            is_for_a_fork: false,
        }
    }
}

/// How a search ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every reachable state was visited.
    Exhausted,
    /// A property failed, and the search limit there.
    Failed,
    /// A limit came first.
    Stopped(String),
}

/// What became of a property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The property.
    pub name: &'static str,
    /// Whether it must hold in every state; else in some state.
    pub is_always: bool,
    /// A path to a state that breaks it, or that shows it.
    pub path: Option<String>,
}

impl Finding {
    /// Whether this is what it should be.
    pub fn is_good(&self) -> bool {
        self.is_always == self.path.is_none()
    }
}

/// The result of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What was searched.
    pub scenario: Scenario,
    /// How it ended.
    pub ending: Ending,
    /// Different states of the whole.
    pub states: usize,
    /// States reached, each time counted.
    pub reached: usize,
    /// Steps of the longest path, the start included.
    pub depth: usize,
    /// Different states of single replicas.
    pub replica_states: usize,
    /// Different messages.
    pub messages: usize,
    /// Runs of the real handlers.
    pub handled: usize,
    /// Largest resident memory seen, if known.
    pub memory_bytes: Option<u64>,
    /// Time it took.
    pub time: Duration,
    /// What became of each property.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether a rule was broken. A property that nobody showed counts only after all was visited.
    pub fn is_failure(&self) -> bool {
        let is_bad = |finding: &Finding| {
            !finding.is_good() && (finding.is_always || self.ending == Ending::Exhausted)
        };
        self.findings.iter().any(is_bad)
    }

    /// The finding about a property.
    pub fn finding(&self, name: &str) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.name == name)
    }
}

/// Searches one scenario. `progress` is told now and then how many states were visited.
pub fn run(scenario: Scenario, limits: &Limits, progress: impl FnMut(usize, Duration)) -> Report {
    let search = Search::new(scenario);
    let stopper = search.stopper();
    let until = if limits.is_for_a_fork {
        HasDiscoveries::AnyOf([AGREEMENT].into())
    } else {
        HasDiscoveries::AnyFailures
    };
    let builder = search.checker().threads(limits.threads).finish_when(until);
    if limits.is_for_a_fork {
        // Forks are deep and many: depth first finds one long before all shorter paths are walked.
        watch(builder.spawn_dfs(), scenario, limits, &stopper, progress)
    } else {
        watch(builder.spawn_bfs(), scenario, limits, &stopper, progress)
    }
}

/// Waits for a search, stops it at a limit, and reports.
fn watch(
    checker: impl Checker<Search>,
    scenario: Scenario,
    limits: &Limits,
    stopper: &AtomicBool,
    mut progress: impl FnMut(usize, Duration),
) -> Report {
    let started = Instant::now();
    let mut limit = None;
    let mut memory_bytes = None;
    let mut shown = started;
    while !checker.is_done() {
        std::thread::sleep(Duration::from_millis(20));
        memory_bytes = memory_bytes.max(resident_bytes());
        let elapsed = started.elapsed();
        if limit.is_none() {
            if elapsed >= limits.time {
                limit = Some(format!("{} s passed", limits.time.as_secs()));
            } else if memory_bytes.is_some_and(|bytes| bytes >= limits.memory_bytes) {
                limit = Some(format!("{} MiB were used", limits.memory_bytes >> 20));
            }
            if limit.is_some() {
                stopper.store(true, Ordering::Relaxed);
            }
        }
        if shown.elapsed() >= Duration::from_secs(10) {
            shown = Instant::now();
            progress(checker.unique_state_count(), elapsed);
        }
    }
    let checker = checker.join();
    let time = started.elapsed();
    // Paths are walked again from the start.
    stopper.store(false, Ordering::Relaxed);
    let search = checker.model();
    let paths = checker.discoveries();
    let findings: Vec<Finding> = search
        .properties()
        .iter()
        .map(|property| Finding {
            name: property.name,
            is_always: property.expectation == Expectation::Always,
            path: paths.get(property.name).map(|path| search.describe(path)),
        })
        .collect();
    let has_failed = findings
        .iter()
        .any(|finding| finding.is_always && !finding.is_good());
    let ending = match limit {
        _ if has_failed => Ending::Failed,
        Some(reason) => Ending::Stopped(reason),
        None => Ending::Exhausted,
    };
    Report {
        scenario,
        ending,
        states: checker.unique_state_count(),
        reached: checker.state_count(),
        depth: checker.max_depth(),
        replica_states: search.replica_states(),
        messages: search.messages(),
        handled: search.handled(),
        memory_bytes,
        time,
        findings,
    }
}

/// Resident memory of this process, where the system tells.
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}
