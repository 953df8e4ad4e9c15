//! How fast a target runs without a fuzzer: `cargo run -p polity-fuzzed --example rate -- [TARGET [SECONDS]]`.
//!
//! Inputs are its seeds, and seeds with a piece of another one or drawn bytes in them. They are the same at
//! each call, so a change of a property shows in the figures.

#![allow(clippy::disallowed_types, reason = "it measures time")]

use polity_fuzzed::{seeds, target};
use polity_types::Seed;
use std::env;
use std::time::{Duration, Instant};

/// Longest input, as `cargo xtask fuzz` sets it.
const LENGTH_MAX: usize = 8_192;

fn main() -> Result<(), String> {
    let mut arguments = env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "machine".to_owned());
    let seconds = arguments.next().map_or(Ok(10), |text| text.parse());
    let seconds = seconds.map_err(|_| "the second argument is a number of seconds".to_owned())?;
    let run = target(&name).ok_or(format!("`{name}` is no target"))?.run;
    let seeds = seeds(&name);
    let mut stream = Seed::from_number(1).stream();
    let mut draw = |bound: usize| stream.below(bound as u64) as usize;
    // The first input makes what all share.
    run(&seeds[0]);
    let (start, limit) = (Instant::now(), Duration::from_secs(seconds));
    let mut executions = 0_u64;
    while start.elapsed() < limit {
        let mut input = seeds[draw(seeds.len())].clone();
        for _ in 0..draw(4) {
            let other = &seeds[draw(seeds.len())];
            let from = draw(other.len());
            let piece = &other[from..from + draw(other.len() - from + 1)];
            let at = draw(input.len() + 1);
            input.splice(at..at, piece.iter().copied());
            let place = draw(input.len());
            if let Some(byte) = input.get_mut(place) {
                *byte = draw(256) as u8;
            }
        }
        input.truncate(LENGTH_MAX);
        run(&input);
        executions += 1;
    }
    println!(
        "{name}: {executions} executions in {seconds} s, {} per second",
        u128::from(executions) * 1_000 / start.elapsed().as_millis().max(1)
    );
    Ok(())
}
