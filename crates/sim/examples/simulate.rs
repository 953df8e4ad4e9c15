//! Plays seeds of scenarios and says how fast.
//!
//! ```console
//! cargo run --release -p polity-sim --example simulate -- all 0 100
//! cargo run --release -p polity-sim --example simulate -- r2 17 1 --trace
//! ```

use polity_sim::{run, run_traced, scenarios};
use std::process::ExitCode;
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |place: usize, default: u64| -> u64 {
        arguments
            .get(place)
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let name = arguments.first().map_or("all", String::as_str);
    let (first, count) = (number(1, 0), number(2, 10));
    let is_traced = arguments.iter().any(|argument| argument == "--trace");
    let mut bad = 0;
    let (mut blocks, mut time) = (0, Duration::ZERO);
    for info in scenarios() {
        if name != "all" && name != info.name {
            continue;
        }
        let start = Instant::now();
        let mut of_scenario = 0;
        let mut failed = Vec::new();
        for seed in first..first + count {
            let outcome = if is_traced {
                run_traced(info.name, seed)
            } else {
                run(info.name, seed)
            };
            let Ok(outcome) = outcome else {
                continue;
            };
            of_scenario += outcome.blocks;
            if let Some(trace) = &outcome.trace {
                print!("{trace}");
            }
            if !outcome.verdict.is_good() {
                bad += 1;
                failed.push((seed, outcome.verdict.to_string()));
            }
        }
        let elapsed = start.elapsed();
        println!(
            "{:22} {:4} of {count} seeds good, {of_scenario:7} blocks, {:8.3} s",
            info.name,
            count as usize - failed.len(),
            elapsed.as_secs_f64()
        );
        for (seed, verdict) in failed.iter().take(4) {
            println!("    seed {seed}: {verdict}");
        }
        blocks += of_scenario;
        time += elapsed;
    }
    println!(
        "{blocks} blocks in {:.3} s, {} blocks/s",
        time.as_secs_f64(),
        u128::from(blocks) * 1_000 / time.as_millis().max(1)
    );
    if bad == 0 {
        ExitCode::SUCCESS
    } else {
        println!("{bad} seeds are not good");
        ExitCode::FAILURE
    }
}
