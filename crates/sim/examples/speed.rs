//! How many seconds of a whole federation the simulator plays in a second of processor time.
//!
//! ```console
//! cargo run --release -p polity-sim --example speed
//! cargo run --release -p polity-sim --example speed -- ed25519 --members 4,7,10 --runs 1
//! ```
//!
//! Links of 10 ms and blocks back to back, with three transactions for every four of them. Whole replicas run,
//! with codec and journal; everything is recorded, hashed and judged as in every simulation. Clients
//! make checksums, so that all signatures are those of consensus, and the floor is what these cost.

#![allow(
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    reason = "figures for people"
)]

#[path = "../support/measure.rs"]
mod measure;

use measure::{Prices, cpu_seconds, median};
use polity_sim::{Failure, Federation, Options, Scheme, World};
use polity_types::Seed;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

/// What the command line asks for.
struct Wanted {
    schemes: Vec<(&'static str, Scheme)>,
    sizes: Vec<u32>,
    runs: u64,
}

const SCHEMES: [(&str, Scheme); 2] = [("ed25519", Scheme::Ed25519), ("stub", Scheme::Stub)];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(wanted) = parse(&arguments) else {
        eprintln!("usage: speed [ed25519] [stub] [--members 4,7,10] [--runs 5]");
        return ExitCode::from(2);
    };
    let prices = Prices::measure();
    println!(
        "One signature {:.1} µs, one strict verification {:.1} µs.\n",
        prices.sign, prices.verify
    );
    println!(
        "| signatures | N | µs per block | blocks per CPU-second | floor | of the floor | cluster-seconds per CPU-second |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (name, scheme) in wanted.schemes {
        for members in &wanted.sizes {
            let runs: Result<Vec<(f64, f64)>, Failure> = (0..wanted.runs)
                .map(|run| play(scheme, *members, run))
                .collect();
            let runs = match runs {
                Ok(runs) => runs,
                Err(failure) => {
                    eprintln!("the run failed: {failure:?}");
                    return ExitCode::FAILURE;
                }
            };
            let micros = median(runs.iter().map(|run| run.0).collect());
            let cluster = median(runs.iter().map(|run| run.1).collect());
            let floor = prices.of_block(*members);
            let (floor, share) = match scheme {
                Scheme::Ed25519 => (
                    format!("{:.0}", 1e6 / floor),
                    format!("{:.2}", floor / micros),
                ),
                Scheme::Stub => ("-".to_owned(), "-".to_owned()),
            };
            println!(
                "| {name} | {members} | {micros:.0} | {:.0} | {floor} | {share} | {cluster:.1} |",
                1e6 / micros
            );
        }
    }
    ExitCode::SUCCESS
}

fn parse(arguments: &[String]) -> Option<Wanted> {
    let mut wanted = Wanted {
        schemes: Vec::new(),
        sizes: vec![4],
        runs: 5,
    };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--runs" => wanted.runs = rest.next()?.parse().ok().filter(|runs| *runs > 0)?,
            "--members" => {
                let size = |text: &str| text.parse().ok().filter(|size| (4..=256).contains(size));
                wanted.sizes = rest.next()?.split(',').map(size).collect::<Option<_>>()?;
            }
            name => {
                let known = SCHEMES.into_iter().find(|(known, _)| *known == name)?;
                wanted.schemes.push(known);
            }
        }
    }
    if wanted.schemes.is_empty() {
        wanted.schemes = SCHEMES.to_vec();
    }
    Some(wanted)
}

/// Microseconds of a block over all replicas, and simulated seconds per second of processor time.
fn play(scheme: Scheme, members: u32, run: u64) -> Result<(f64, f64), Failure> {
    let seed = Seed::from_number(run);
    let federation = Rc::new(Federation::of_voters(&seed, scheme, members));
    let options = Options {
        snapshot_every: u64::MAX,
        ..Options::default()
    };
    let mut world = World::new(federation, &seed, options, false)?;
    // A block with transactions is followed by one that records their results, so this is enough.
    world.load(Duration::from_millis(40), 1);
    world.run_for(Duration::from_secs(1))?;
    let before = world.lowest_height();
    // Some tenths of a second of processor time.
    let messages = u64::from((members - 1) * (2 * members + 1));
    let span = match scheme {
        Scheme::Ed25519 => 500 / messages,
        Scheme::Stub => 2_000 / messages,
    };
    let span = Duration::from_secs(span.max(1));
    let start = cpu_seconds();
    world.run_for(span)?;
    let seconds = cpu_seconds() - start;
    let blocks = (world.lowest_height() - before) as f64;
    Ok((seconds * 1e6 / blocks, span.as_secs_f64() / seconds))
}
