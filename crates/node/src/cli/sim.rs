//! `polity sim`: simulated federations, repeatable from their seeds.

use super::{Failure, Output, code, print};
use crate::progress;
use crate::table::Table;
use clap::Args;
use polity_sim::{Outcome, Verdict, run, run_traced, scenarios};
use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

pub(super) const EXAMPLES: &str = "Examples:
  polity sim --list
  polity sim --scenario lossy
  polity sim --scenario equivocating-leader --seeds 1000
  polity sim --scenario lossy --seed 42 --trace

The seed is the bug report: the same seed gives the same run, event by event.";

/// `polity sim`
#[derive(Debug, Args)]
pub(super) struct Options {
    /// What happens; --list names them all
    #[arg(long, value_name = "NAME", required_unless_present = "list")]
    scenario: Option<String>,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, one after the other
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Write down what happens, line by line
    #[arg(long, conflicts_with = "seeds")]
    trace: bool,
    /// Name every scenario
    #[arg(long)]
    list: bool,
}

#[derive(Serialize)]
struct Played {
    scenario: String,
    seed: u64,
    verdict: &'static str,
    detail: String,
    audit_hash: String,
    heights: Vec<u64>,
    blocks: u64,
    messages: u64,
    transactions: u64,
    restarts: u64,
    simulated_ms: u64,
}

#[derive(Serialize)]
struct Summary {
    ok: bool,
    scenario: String,
    first_seed: u64,
    seeds: u64,
    failed: Vec<Played>,
    blocks: u64,
    messages: u64,
}

pub(super) fn main(options: &Options, output: Output) -> Result<(), Failure> {
    let Some(scenario) = options.scenario.as_ref().filter(|_| !options.list) else {
        list(output);
        return Ok(());
    };
    if options.seeds == 1 {
        return one(scenario, options, output);
    }
    many(scenario, options, output)
}

fn list(output: Output) {
    let all: Vec<_> = scenarios()
        .iter()
        .map(|one| serde_json::json!({ "name": one.name, "summary": one.summary }))
        .collect();
    output.show(&all, |_| {
        let mut table = Table::new(&["scenario", "what happens"]);
        for one in scenarios() {
            table.row(&[one.name, one.summary]);
        }
        table.to_string()
    });
}

fn one(scenario: &str, options: &Options, output: Output) -> Result<(), Failure> {
    let outcome = if options.trace {
        run_traced(scenario, options.seed)
    } else {
        run(scenario, options.seed)
    }
    .map_err(|error| unknown(&error))?;
    if let (Some(trace), false) = (&outcome.trace, output.is_json) {
        print(trace);
    }
    let played = played(scenario, options.seed, &outcome);
    output.show(&played, |played| {
        let mut table = Table::new(&["measure", "value"]);
        let heights: Vec<String> = played.heights.iter().map(u64::to_string).collect();
        let rows = [
            ("scenario", played.scenario.clone()),
            ("seed", played.seed.to_string()),
            ("verdict", outcome.verdict.to_string()),
            ("heights", heights.join(" ")),
            ("blocks", played.blocks.to_string()),
            ("messages", played.messages.to_string()),
            ("transactions", played.transactions.to_string()),
            ("restarts", played.restarts.to_string()),
            ("simulated time", format!("{} ms", played.simulated_ms)),
            ("audit hash", played.audit_hash.clone()),
        ];
        for (name, value) in rows {
            table.row(&[name, &value]);
        }
        table.to_string()
    });
    end(exit_code(&outcome.verdict))
}

fn many(scenario: &str, options: &Options, output: Output) -> Result<(), Failure> {
    // An unknown name is told before threads start.
    if !scenarios().iter().any(|one| one.name == scenario) {
        return Err(unknown(&polity_sim::UnknownScenario(scenario.to_owned())));
    }
    let last = options
        .seed
        .checked_add(options.seeds)
        .ok_or_else(|| Failure::usage("`--seed` and `--seeds` together are too large"))?;
    let bar = progress::bar("seeds", options.seeds, output.is_json);
    let next = AtomicU64::new(options.seed);
    let (blocks, messages) = (AtomicU64::new(0), AtomicU64::new(0));
    let failed: Mutex<Vec<(u8, Played)>> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= last {
                        break;
                    }
                    let Ok(outcome) = run(scenario, seed) else {
                        break;
                    };
                    blocks.fetch_add(outcome.blocks, Ordering::Relaxed);
                    messages.fetch_add(outcome.messages, Ordering::Relaxed);
                    bar.inc(1);
                    if !outcome.verdict.is_good() {
                        let entry = (
                            exit_code(&outcome.verdict),
                            played(scenario, seed, &outcome),
                        );
                        failed
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(entry);
                    }
                }
            });
        }
    });
    bar.finish_and_clear();
    let mut failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.sort_by_key(|(_, played)| played.seed);
    // Safety before liveness before everything else.
    let codes: Vec<u8> = failed.iter().map(|(code, _)| *code).collect();
    let code = [code::SAFETY, code::LIVENESS, code::FAILURE]
        .into_iter()
        .find(|code| codes.contains(code))
        .unwrap_or(0);
    let summary = Summary {
        ok: failed.is_empty(),
        scenario: scenario.to_owned(),
        first_seed: options.seed,
        seeds: options.seeds,
        failed: failed.into_iter().map(|(_, played)| played).collect(),
        blocks: blocks.into_inner(),
        messages: messages.into_inner(),
    };
    output.show(&summary, |summary| {
        let mut text = format!(
            "{}: {} seeds from {}, {} failed; {} blocks, {} messages\n",
            summary.scenario,
            summary.seeds,
            summary.first_seed,
            summary.failed.len(),
            summary.blocks,
            summary.messages
        );
        for played in summary.failed.iter().take(20) {
            text += &format!(
                "  seed {}: {}: {}\n",
                played.seed, played.verdict, played.detail
            );
        }
        text
    });
    end(code)
}

fn end(code: u8) -> Result<(), Failure> {
    // The result was shown; the exit code says the rest.
    match code {
        0 => Ok(()),
        code => Err(Failure::new(code, "")),
    }
}

fn unknown(error: &polity_sim::UnknownScenario) -> Failure {
    Failure::usage(format!("{error}; see `polity sim --list`"))
}

fn exit_code(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::SafeAndLive => 0,
        Verdict::SafetyViolation(_) => code::SAFETY,
        Verdict::LivenessFailure(_) => code::LIVENESS,
        Verdict::Crash(_) | Verdict::Inconclusive(_) => code::FAILURE,
    }
}

fn played(scenario: &str, seed: u64, outcome: &Outcome) -> Played {
    let (verdict, detail) = match &outcome.verdict {
        Verdict::SafeAndLive => ("safe_and_live", String::new()),
        Verdict::SafetyViolation(reason) => ("safety_violation", reason.clone()),
        Verdict::LivenessFailure(reason) => ("liveness_failure", reason.clone()),
        Verdict::Crash(reason) => ("crash", reason.clone()),
        Verdict::Inconclusive(reason) => ("inconclusive", reason.clone()),
    };
    Played {
        scenario: scenario.to_owned(),
        seed,
        verdict,
        detail,
        audit_hash: outcome.audit_hash.to_string(),
        heights: outcome.heights.clone(),
        blocks: outcome.blocks,
        messages: outcome.messages,
        transactions: outcome.transactions,
        restarts: outcome.restarts,
        simulated_ms: outcome.simulated_ms,
    }
}
