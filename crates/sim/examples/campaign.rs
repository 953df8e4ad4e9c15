//! Plays a campaign, or one run of it.
//!
//! ```console
//! cargo run --release -p polity-sim --example campaign -- --seconds 60
//! cargo run --release -p polity-sim --example campaign -- --runs 500 --seed 7
//! cargo run --release -p polity-sim --example campaign -- --run composition:1234 --trace
//! ```
//!
//! The exit code is 0 if all is well, 1 after a crash, 3 after a violation of safety, 4 after a
//! failure of liveness, and 2 if the arguments make no sense.

use polity_sim::Verdict;
use polity_sim::campaign::{DEFAULT_BASE, RunId, Tally};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const USAGE: &str = "usage: campaign [--seed BASE] [--seconds S] [--runs N] [--threads T] \
                     [--until-failure] | --run RUN [--trace]";

/// Every so many-th run is played twice.
const TWICE_EVERY: u64 = 16;

struct Arguments {
    base: u64,
    budget: Option<Duration>,
    runs: u64,
    threads: usize,
    only: Option<RunId>,
    is_traced: bool,
    until_failure: bool,
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("{problem}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    // A panic is a verdict; its message is in the report.
    std::panic::set_hook(Box::new(|_| {}));
    match &arguments.only {
        Some(id) => one(id, arguments.is_traced),
        None => many(&arguments),
    }
}

fn parse(words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments {
        base: DEFAULT_BASE,
        budget: None,
        runs: u64::MAX,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        only: None,
        is_traced: false,
        until_failure: false,
    };
    let mut words = words;
    while let Some(word) = words.next() {
        let mut number = |what: &str| -> Result<u64, String> {
            let text = words
                .next()
                .ok_or_else(|| format!("`{word}` needs {what} behind it"))?;
            text.parse()
                .map_err(|_| format!("`{word}` needs {what}, not `{text}`"))
        };
        match word.as_str() {
            "--seed" => arguments.base = number("a number")?,
            "--seconds" => {
                arguments.budget = Some(Duration::from_secs(number("a number of seconds")?));
            }
            "--runs" => arguments.runs = number("a number of runs")?,
            "--threads" => arguments.threads = number("a number of threads")?.max(1) as usize,
            "--run" => {
                let text = words.next().ok_or("`--run` needs the name of a run")?;
                let id = text.parse().map_err(|error| format!("{error}"))?;
                arguments.only = Some(id);
            }
            "--trace" => arguments.is_traced = true,
            "--until-failure" => arguments.until_failure = true,
            other => return Err(format!("unexpected argument `{other}`")),
        }
    }
    if arguments.budget.is_none() && arguments.runs == u64::MAX {
        arguments.budget = Some(Duration::from_secs(60));
    }
    Ok(arguments)
}

fn one(id: &RunId, is_traced: bool) -> ExitCode {
    print!("{}", id.describe());
    let report = if is_traced {
        id.play(true)
    } else {
        id.play_twice()
    };
    if let Some(trace) = &report.outcome.trace {
        print!("{trace}");
    }
    let mut tally = Tally::default();
    tally.add(&report, matches!(id, RunId::Composition(_)));
    print!("{tally}");
    println!("audit hash    {}", report.outcome.audit_hash);
    println!("verdict       {}", report.outcome.verdict);
    ExitCode::from(exit_code(&report.outcome.verdict))
}

fn many(arguments: &Arguments) -> ExitCode {
    let start = Instant::now();
    let next = AtomicU64::new(0);
    let is_over = AtomicBool::new(false);
    let tally: Mutex<Tally> = Mutex::default();
    let failed: Mutex<Vec<(u64, RunId, Verdict)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads {
            scope.spawn(|| {
                let mut own = Tally::default();
                loop {
                    let is_late = arguments
                        .budget
                        .is_some_and(|budget| start.elapsed() >= budget);
                    if is_late || is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= arguments.runs {
                        break;
                    }
                    let id = RunId::of_campaign(arguments.base, index);
                    let report = if index.is_multiple_of(TWICE_EVERY) {
                        id.play_twice()
                    } else {
                        id.play(false)
                    };
                    own.add(&report, matches!(id, RunId::Composition(_)));
                    if exit_code(&report.outcome.verdict) != 0 {
                        if arguments.until_failure {
                            is_over.store(true, Ordering::Relaxed);
                        }
                        if let Ok(mut failed) = failed.lock() {
                            failed.push((index, id, report.outcome.verdict));
                        }
                    }
                }
                if let Ok(mut tally) = tally.lock() {
                    tally.merge(&own);
                }
            });
        }
    });
    let tally = tally.into_inner().unwrap_or_default();
    let mut failed = failed.into_inner().unwrap_or_default();
    failed.sort_by_key(|(index, ..)| *index);
    println!(
        "base seed     {}, {} threads, {} ms",
        arguments.base,
        arguments.threads,
        start.elapsed().as_millis()
    );
    print!("{tally}");
    println!("failed        {}", failed.len());
    for (index, id, verdict) in failed.iter().take(20) {
        println!("run {index}: {verdict}\n  cargo xtask sim --run {id}");
    }
    // Safety before liveness before everything else.
    let codes: Vec<u8> = failed
        .iter()
        .map(|(.., verdict)| exit_code(verdict))
        .collect();
    let code = [3, 4, 1].into_iter().find(|code| codes.contains(code));
    ExitCode::from(code.unwrap_or(0))
}

fn exit_code(verdict: &Verdict) -> u8 {
    match verdict {
        // A schedule that did not come about says nothing about the protocol; it is counted.
        Verdict::SafeAndLive | Verdict::Inconclusive(_) => 0,
        Verdict::SafetyViolation(_) => 3,
        Verdict::LivenessFailure(_) => 4,
        Verdict::Crash(_) => 1,
    }
}
