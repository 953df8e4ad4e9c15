//! Runs beside each other. Threads and clocks are out here; a run knows neither.

use super::{Report, RunId, Tally};
use crate::outcome::Verdict;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Every so many-th run is played twice and compared with itself.
const TWICE_EVERY: u64 = 16;

/// How far a campaign goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Fixes the sequence of runs.
    pub base: u64,
    /// How long it lasts at most; the runs under way then are finished.
    pub budget: Option<Duration>,
    /// How many runs it has at most.
    pub runs: u64,
    /// Runs at a time.
    pub threads: usize,
    /// Whether the first failure ends it.
    pub until_failure: bool,
}

/// A run that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Its place in the campaign.
    pub index: u64,
    /// How to play it again.
    pub run: RunId,
    /// What came of it.
    pub verdict: Verdict,
}

/// What a campaign came to.
#[derive(Clone, Debug, Default)]
pub struct Results {
    /// All runs, added up.
    pub tally: Tally,
    /// The failed ones, in order. If the first failure ended the campaign, every run in front of it
    /// was played.
    pub failed: Vec<Failed>,
}

/// Plays a campaign.
pub fn play(settings: &Settings) -> Results {
    let start = Instant::now();
    let next = AtomicU64::new(0);
    let is_over = AtomicBool::new(false);
    let results: Mutex<Results> = Mutex::default();
    let work = || {
        let mut own = Results::default();
        loop {
            let is_late = settings
                .budget
                .is_some_and(|budget| start.elapsed() >= budget);
            if is_late || is_over.load(Ordering::Relaxed) {
                break;
            }
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= settings.runs {
                break;
            }
            let run = RunId::of_campaign(settings.base, index);
            let Report { outcome, .. } = &own.take(index, &run);
            // A schedule that did not come about says nothing about the protocol; it is counted.
            let is_good = matches!(
                outcome.verdict,
                Verdict::SafeAndLive | Verdict::Inconclusive(_)
            );
            if !is_good {
                is_over.fetch_or(settings.until_failure, Ordering::Relaxed);
                own.failed.push(Failed {
                    index,
                    run,
                    verdict: outcome.verdict.clone(),
                });
            }
        }
        if let Ok(mut results) = results.lock() {
            results.tally.merge(&own.tally);
            results.failed.append(&mut own.failed);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..settings.threads {
            scope.spawn(work);
        }
    });
    let mut results = results.into_inner().unwrap_or_default();
    results.failed.sort_by_key(|failed| failed.index);
    results
}

impl Results {
    /// Plays a run and adds it.
    fn take(&mut self, index: u64, run: &RunId) -> Report {
        let report = if index.is_multiple_of(TWICE_EVERY) {
            run.play_twice()
        } else {
            run.play(false)
        };
        self.tally
            .add(&report, matches!(run, RunId::Composition(_)));
        report
    }
}
