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
use polity_sim::campaign::{
    DEFAULT_BASE, Failed, Results, RunId, RunIdError, Settings, Tally, play,
};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const USAGE: &str = "usage: campaign [--seed BASE] [--seconds S] [--runs N] [--threads T] \
                     [--until-failure] | --run RUN [--trace]";

struct Arguments {
    settings: Settings,
    only: Option<RunId>,
    is_traced: bool,
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
        None => many(&arguments.settings),
    }
}

fn parse(words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut settings = Settings {
        base: DEFAULT_BASE,
        budget: None,
        runs: u64::MAX,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        until_failure: false,
    };
    let (mut only, mut is_traced) = (None, false);
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
            "--seed" => settings.base = number("a number")?,
            "--seconds" => {
                settings.budget = Some(Duration::from_secs(number("a number of seconds")?));
            }
            "--runs" => settings.runs = number("a number of runs")?,
            "--threads" => settings.threads = number("a number of threads")?.max(1) as usize,
            "--run" => {
                let text = words.next().ok_or("`--run` needs the name of a run")?;
                only = Some(
                    text.parse()
                        .map_err(|error: RunIdError| error.to_string())?,
                );
            }
            "--trace" => is_traced = true,
            "--until-failure" => settings.until_failure = true,
            other => return Err(format!("unexpected argument `{other}`")),
        }
    }
    if settings.budget.is_none() && settings.runs == u64::MAX {
        settings.budget = Some(Duration::from_secs(60));
    }
    Ok(Arguments {
        settings,
        only,
        is_traced,
    })
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

fn many(settings: &Settings) -> ExitCode {
    let start = Instant::now();
    let Results { tally, failed } = play(settings);
    println!(
        "base seed     {}, {} threads, {} ms",
        settings.base,
        settings.threads,
        start.elapsed().as_millis()
    );
    print!("{tally}");
    println!("failed        {}", failed.len());
    for Failed {
        index,
        run,
        verdict,
    } in failed.iter().take(20)
    {
        // A panic may speak in several lines.
        let verdict = verdict.to_string().replace('\n', " ");
        println!("run {index}: {verdict}\n  cargo xtask sim --run {run}");
        for line in run.describe().lines() {
            println!("    {line}");
        }
    }
    // Safety before liveness before everything else.
    let codes: Vec<u8> = failed
        .iter()
        .map(|failed| exit_code(&failed.verdict))
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
