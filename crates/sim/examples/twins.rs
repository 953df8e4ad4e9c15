//! Plays scripts of twins and says what came of them.
//!
//! ```console
//! cargo run --release -p polity-sim --example twins -- --count 10000 --seed 1
//! cargo run --release -p polity-sim --example twins -- --pairs 2 --count 1000
//! cargo run --release -p polity-sim --example twins -- --replay 12345 --trace
//! ```
//!
//! Exit codes are those of `polity sim`: 0 all is well, 1 a machine panicked, 2 the command line
//! makes no sense, 3 a safety rule was broken, 4 nothing was decided any more.

use polity_sim::Verdict;
use polity_sim::twins::{Leaders, Played, Shape, Shuffle, Space, play, play_traced};
use polity_types::Seed;
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str = "usage: twins [--pairs 1|2] [--views 1..8] [--seed S] [--first I] [--count N]
       twins [--pairs 1|2] [--views 1..8] --replay INDEX [--trace]

Plays N scripts from place I on, in the order that seed S gives to all scripts; or the one script with
an index, which is printed when a script fails.";

const FAILURE: u8 = 1;
const USAGE_CODE: u8 = 2;
const SAFETY: u8 = 3;
const LIVENESS: u8 = 4;

/// Failures that are printed.
const PRINTED_MAX: u64 = 10;

struct Options {
    shape: Shape,
    seed: u64,
    first: u128,
    count: u128,
    replay: Option<u128>,
    is_traced: bool,
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        shape: Shape { pairs: 1, views: 7 },
        seed: 1,
        first: 0,
        count: 10_000,
        replay: None,
        is_traced: false,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        if name == "--trace" {
            options.is_traced = true;
            continue;
        }
        let text = arguments
            .next()
            .ok_or_else(|| format!("`{name}` is unknown or has no value"))?;
        let value: u128 = text
            .parse()
            .map_err(|_| format!("`{name}` wants a number, not `{text}`"))?;
        let small = || u64::try_from(value).map_err(|_| format!("`{name}` is too large"));
        match name.as_str() {
            "--pairs" => options.shape.pairs = small()? as usize,
            "--views" => options.shape.views = small()? as usize,
            "--seed" => options.seed = small()?,
            "--first" => options.first = value,
            "--count" => options.count = value,
            "--replay" => options.replay = Some(value),
            _ => return Err(format!("`{name}` is unknown")),
        }
    }
    Ok(options)
}

fn exit_code(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::SafeAndLive => 0,
        Verdict::SafetyViolation(_) => SAFETY,
        Verdict::LivenessFailure(_) => LIVENESS,
        Verdict::Crash(_) | Verdict::Inconclusive(_) => FAILURE,
    }
}

/// Processor time of this process in milliseconds, where the system tells.
fn cpu_ms() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: Vec<u64> = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse().ok())
        .collect();
    // The kernel counts for programs in hundredths of a second.
    (ticks.len() == 2).then(|| ticks.iter().sum::<u64>() * 10)
}

fn main() -> ExitCode {
    let (options, space) = match options() {
        Ok(options) => match Space::new(options.shape) {
            Ok(space) => (options, space),
            Err(error) => return usage(&error.to_string()),
        },
        Err(error) => return usage(&error),
    };
    match options.replay {
        Some(index) => replay(&options, &space, index),
        None => many(&options, &space),
    }
}

fn usage(error: &str) -> ExitCode {
    eprintln!("{error}\n\n{USAGE}");
    ExitCode::from(USAGE_CODE)
}

fn replay(options: &Options, space: &Space, index: u128) -> ExitCode {
    let Some(script) = space.script(index) else {
        return usage(&format!("there are only {} scripts", space.size()));
    };
    let mut leaders = Leaders::new(options.shape.views);
    let played = if options.is_traced {
        play_traced(&script, &mut leaders)
    } else {
        play(&script, &mut leaders)
    };
    if let Some(trace) = &played.trace {
        print!("{trace}");
    }
    println!("{script}");
    println!("{:#?}", played.findings);
    println!("audit hash {}", played.audit_hash);
    println!("{}", played.verdict);
    ExitCode::from(exit_code(&played.verdict))
}

#[derive(Default)]
struct Sums {
    played: u64,
    decided_before: u64,
    blocks: u64,
    proposed_again: u64,
    chosen: u64,
    across_views: u64,
    accused: u64,
    forked: u64,
    frames: u64,
    records: u64,
    recovery_ms: u64,
    view: u64,
    failed: u64,
}

impl Sums {
    fn add(&mut self, played: &Played) {
        let findings = &played.findings;
        self.played += 1;
        self.decided_before += u64::from(findings.decided_before > 0);
        self.blocks += findings.decided;
        self.proposed_again += u64::from(findings.proposed_again > 0);
        self.chosen += u64::from(findings.chosen > 0);
        self.across_views += u64::from(findings.is_fork_across_views);
        self.accused += u64::from(findings.reports > 0);
        self.forked += u64::from(findings.forks > 0);
        self.frames += findings.frames;
        self.records += findings.records;
        self.recovery_ms = self.recovery_ms.max(findings.recovery_ms);
        self.view = self.view.max(findings.view);
        self.failed += u64::from(!played.verdict.is_good());
    }
}

fn many(options: &Options, space: &Space) -> ExitCode {
    let Shape { pairs, views } = options.shape;
    println!(
        "{} scripts: 4 members, {pairs} twinned, {views} rounds of {} kinds, up to {} renamings",
        space.size(),
        space.rounds(),
        space.symmetries()
    );
    let shuffle = Shuffle::new(&Seed::from_number(options.seed), space.size());
    let (start, cpu) = (Instant::now(), cpu_ms());
    let mut leaders = Leaders::new(views);
    let mut sums = Sums::default();
    let mut codes = BTreeSet::new();
    let mut forks = Vec::new();
    let last = options.first.saturating_add(options.count);
    let mut place = options.first;
    while let Some(index) = shuffle.at(place).filter(|_| place < last) {
        place += 1;
        let Some(script) = space.script(index) else {
            break;
        };
        let played = play(&script, &mut leaders);
        sums.add(&played);
        if played.findings.forks > 0 && played.verdict.is_good() {
            forks.push(index);
        }
        if !played.verdict.is_good() {
            codes.insert(exit_code(&played.verdict));
            if sums.failed <= PRINTED_MAX {
                println!("\n{}\n{script}", played.verdict);
                println!("{}", command(options.shape, index));
            }
        }
    }
    let wall_ms = start.elapsed().as_millis() as u64;
    let spent_ms = match (cpu, cpu_ms()) {
        (Some(before), Some(after)) => after - before,
        _ => wall_ms,
    };
    println!(
        "{} distinct scripts from place {} of seed {}: {} failed",
        sums.played, options.first, options.seed, sums.failed
    );
    println!(
        "  {} decided before the heal, {} blocks in all, highest view {}",
        sums.decided_before, sums.blocks, sums.view
    );
    println!(
        "  {} proposed a prepared block again, {} chose between two, {} with an offence reported",
        sums.proposed_again, sums.chosen, sums.accused
    );
    if pairs == 1 {
        println!("  slowest recovery {} ms", sums.recovery_ms);
    } else {
        println!(
            "  {} forked, each attributed; {} of them across views",
            sums.forked, sums.across_views
        );
    }
    println!(
        "  {} frames, {} records; {} ms of processor, {} ms of wall time",
        sums.frames, sums.records, spent_ms, wall_ms
    );
    println!(
        "  {} scripts per CPU-minute",
        sums.played * 60_000 / spent_ms.max(1)
    );
    if let Some(index) = forks.first() {
        println!("a fork: {}", command(options.shape, *index));
    }
    // Safety before liveness before everything else.
    let code = [SAFETY, LIVENESS, FAILURE]
        .into_iter()
        .find(|code| codes.contains(code));
    ExitCode::from(code.unwrap_or(0))
}

/// What replays a script.
fn command(shape: Shape, index: u128) -> String {
    format!(
        "cargo run --release -p polity-sim --example twins -- --pairs {} --views {} --replay {index} --trace",
        shape.pairs, shape.views
    )
}
