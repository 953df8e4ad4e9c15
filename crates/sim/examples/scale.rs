//! What a block costs and how long it takes, by the size of the committee.
//!
//! ```console
//! cargo run --release -p polity-sim --example scale
//! cargo run --release -p polity-sim --example scale -- faults --members 4,7,10
//! ```
//!
//! Tables: `latency`, `cost`, `faults`, `recovery`; all of them if none is named. Simulated time is
//! exact. Whole replicas run, with codec and journal, judged by the oracles of the simulator.

#![allow(
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    reason = "figures for people"
)]

#[path = "../support/measure.rs"]
mod measure;

use measure::{Prices, cpu_seconds, median};
use polity_sim::{Failure, Federation, Kind, Link, Options, Scheme, World};
use polity_types::{ReplicaId, Seed};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

const SIZES: [u32; 7] = [4, 7, 10, 20, 31, 61, 100];
const NORMAL_CASE: [Kind; 3] = [Kind::Proposal, Kind::Prepare, Kind::Commit];

/// A step of a measurement never takes this long.
const LONG: Duration = Duration::from_secs(3_600);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((names, sizes)) = parse(&arguments) else {
        eprintln!("usage: scale [latency] [cost] [faults] [recovery] [--members 4,7,10]");
        return ExitCode::from(2);
    };
    for (name, table) in TABLES {
        if !names.is_empty() && !names.contains(&name) {
            continue;
        }
        println!("\n## {name}\n");
        if let Err(failure) = table(&sizes) {
            eprintln!("the run failed: {failure:?}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

type Table = fn(&[u32]) -> Result<(), Failure>;

const TABLES: [(&str, Table); 4] = [
    ("latency", latency),
    ("cost", cost),
    ("faults", faults),
    ("recovery", recovery),
];

/// Tables and committee sizes that the command line names.
fn parse(arguments: &[String]) -> Option<(Vec<&str>, Vec<u32>)> {
    let (mut names, mut sizes) = (Vec::new(), SIZES.to_vec());
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--members" {
            let list = rest.next()?.split(',');
            sizes = list
                .map(|size| size.parse().ok().filter(|size| (4..=256).contains(size)))
                .collect::<Option<_>>()?;
        } else {
            TABLES.iter().find(|(name, _)| name == argument)?;
            names.push(argument.as_str());
        }
    }
    Some((names, sizes))
}

/// Blocks of a run: fewer where each has more messages.
fn blocks_of(members: u32, messages: u64) -> u64 {
    (messages / messages_of(members)).clamp(12, 300)
}

/// FB-7: messages of a block without faults.
fn messages_of(members: u32) -> u64 {
    let members = u64::from(members);
    (members - 1) * (2 * members + 1)
}

/// A federation whose blocks follow each other without a pause: the results of a transaction are
/// recorded by the block behind, so three transactions for every four blocks are enough. Clients make
/// checksums, so signatures are those of consensus.
fn start(
    members: u32,
    scheme: Scheme,
    delay: Duration,
    change: impl FnOnce(&mut Options),
) -> Result<World, Failure> {
    let seed = Seed::from_number(u64::from(members));
    let federation = Rc::new(Federation::of_voters(&seed, scheme, members));
    let mut options = Options {
        link: Link {
            latency: delay,
            ..Link::default()
        },
        snapshot_every: u64::MAX,
        ..Options::default()
    };
    change(&mut options);
    let mut world = World::new(federation, &seed, options, false)?;
    world.load(delay * 4, 1);
    Ok(world)
}

/// Lets all that are up decide `count` more blocks.
fn decide(world: &mut World, count: u64) -> Result<(), Failure> {
    let target = world.agreement().highest() + count;
    world.expect(LONG, "the next blocks", |world| {
        world.lowest_height() >= target
    })
}

/// The time from the first proposal until all have decided, and the pace.
fn latency(sizes: &[u32]) -> Result<(), Failure> {
    println!("| N | link | median replica | last replica | blocks/s of simulated time |");
    println!("|---|---|---|---|---|");
    for members in sizes {
        for millis in [1, 10, 50] {
            let delay = Duration::from_millis(millis);
            let mut world = start(*members, Scheme::Stub, delay, |_| {})?;
            decide(&mut world, 5)?;
            let (first, begin) = (world.agreement().highest() + 1, world.now());
            decide(&mut world, blocks_of(*members, 200_000))?;
            let seconds = world.now().since(begin).as_secs_f64();
            let last = world.agreement().highest();
            let in_delays = |time: Duration| time.as_secs_f64() / delay.as_secs_f64();
            let (mut medians, mut slowest) = (Vec::new(), Vec::new());
            for height in first..=last {
                let times = world.federation().ids();
                let mut times: Vec<Duration> = times
                    .filter_map(|id| world.decision_time(id, height))
                    .collect();
                times.sort();
                medians.push(in_delays(times[times.len() / 2]));
                slowest.push(in_delays(times[times.len() - 1]));
            }
            println!(
                "| {members} | {millis} ms | {:.2} | {:.2} | {:.1} |",
                median(medians),
                median(slowest),
                (last + 1 - first) as f64 / seconds
            );
        }
    }
    Ok(())
}

/// Messages, bytes and processor time of a block, with real signatures.
fn cost(sizes: &[u32]) -> Result<(), Failure> {
    let prices = Prices::measure();
    println!(
        "One signature {:.1} µs, one strict verification {:.1} µs.\n",
        prices.sign, prices.verify
    );
    println!(
        "| N | messages | formula | KiB on all links | ms of all replicas | µs of one | share of signatures |"
    );
    println!("|---|---|---|---|---|---|---|");
    for members in sizes {
        let mut world = start(*members, Scheme::Ed25519, Duration::from_millis(10), |_| {})?;
        decide(&mut world, 3)?;
        let before = Totals::of(&world);
        decide(&mut world, blocks_of(*members, 60_000))?;
        let spent = Totals::of(&world).since(&before);
        let blocks = spent.blocks;
        let n = f64::from(*members);
        let signatures = blocks * (2.0 * n + 1.0) * prices.sign + spent.checked * prices.verify;
        println!(
            "| {members} | {:.1} | {} | {:.1} | {:.2} | {:.0} | {:.2} |",
            spent.messages / blocks,
            messages_of(*members),
            spent.bytes / blocks / 1_024.0,
            spent.seconds * 1e3 / blocks,
            spent.seconds * 1e6 / blocks / n,
            signatures / (spent.seconds * 1e6)
        );
    }
    Ok(())
}

/// What was spent so far.
struct Totals {
    blocks: f64,
    messages: f64,
    bytes: f64,
    checked: f64,
    seconds: f64,
}

impl Totals {
    fn of(world: &World) -> Self {
        let sum = |count: &dyn Fn(Kind) -> u64| NORMAL_CASE.into_iter().map(count).sum::<u64>();
        let replicas = world.federation().ids().filter_map(|id| world.replica(id));
        let checked: u64 = replicas
            .map(|replica| replica.machine().signatures_checked())
            .sum();
        Self {
            blocks: world.agreement().highest() as f64,
            messages: sum(&|kind| world.sent(kind)) as f64,
            bytes: sum(&|kind| world.sent_bytes(kind)) as f64,
            checked: checked as f64,
            seconds: cpu_seconds(),
        }
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            blocks: self.blocks - before.blocks,
            messages: self.messages - before.messages,
            bytes: self.bytes - before.bytes,
            checked: self.checked - before.checked,
            seconds: self.seconds - before.seconds,
        }
    }
}

/// What a dead leader costs, and what the largest tolerated number of silent replicas does.
fn faults(sizes: &[u32]) -> Result<(), Failure> {
    let delay = Duration::from_millis(10);
    println!("| N | beyond the timeout | f | blocks/s | f silent, 1 s | f silent, 100 ms |");
    println!("|---|---|---|---|---|---|");
    for members in sizes {
        let beyond = after_a_crash(*members, delay)?;
        let silent = (*members - 1) / 3;
        let whole = pace(*members, delay, 0, Duration::from_secs(1))?;
        let share = |timeout| Ok::<_, Failure>(pace(*members, delay, silent, timeout)? / whole);
        println!(
            "| {members} | {beyond:.2} delays | {silent} | {whole:.1} | {:.3} | {:.3} |",
            share(Duration::from_secs(1))?,
            share(Duration::from_millis(100))?,
        );
    }
    Ok(())
}

/// The next leader dies while the block before its own is decided. Returns how long the others need
/// to decide its height, from the moment at which they started it, beyond the timeout; in delays.
///
/// The block before holds transactions, so everybody has something to decide from that moment on
/// (FB-8).
fn after_a_crash(members: u32, delay: Duration) -> Result<f64, Failure> {
    let mut blocks = 4;
    loop {
        let mut world = start(members, Scheme::Stub, delay, |_| {})?;
        let timeout = world.pace().timeout_base;
        decide(&mut world, blocks)?;
        let before = world.agreement().highest() + 1;
        let leader = world.federation().leader(before + 1, 0);
        world.crash(leader);
        decide(&mut world, 1)?;
        let begin = world.now();
        decide(&mut world, 1)?;
        let time = world.now().since(begin);
        let witness = world.federation().others(&[leader])[0];
        let block = &world.store(witness)[before as usize - 1].block;
        if !block.body.transactions.is_empty() {
            return Ok((time.as_secs_f64() - timeout.as_secs_f64()) / delay.as_secs_f64());
        }
        blocks += 1;
    }
}

/// Blocks per second of simulated time while the last replicas are silent, each member leading as
/// often as every other.
fn pace(members: u32, delay: Duration, silent: u32, timeout: Duration) -> Result<f64, Failure> {
    let mut world = start(members, Scheme::Stub, delay, |options| {
        options.config.consensus.timeout_base = timeout;
    })?;
    for id in members - silent..members {
        world.crash(ReplicaId::new(id));
    }
    decide(&mut world, 2)?;
    let begin = world.now();
    // Each turn has every leader once.
    let turns = if members > 31 { 1 } else { 3 };
    let blocks = u64::from(members) * turns;
    decide(&mut world, blocks)?;
    Ok(blocks as f64 / world.now().since(begin).as_secs_f64())
}

/// Times that a replica restarts.
const RESTARTS: u64 = 5;

/// How long a replica needs after a restart: to replay its journal, to catch up with what was decided
/// before it started, and to decide a block with the others. It trusts the signatures in its own journal,
/// so these may be checksums.
fn recovery(sizes: &[u32]) -> Result<(), Failure> {
    println!(
        "| N | blocks in the journal | ms of CPU per 1,000 | blocks missed | caught up after | decides again after |"
    );
    println!("|---|---|---|---|---|---|");
    for members in sizes {
        let delay = Duration::from_millis(10);
        let mut world = start(*members, Scheme::Stub, delay, |_| {})?;
        decide(&mut world, blocks_of(*members, 20_000))?;
        let id = ReplicaId::new(0);
        let (mut missed, mut caught_up, mut decides) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..RESTARTS {
            world.crash(id);
            let before = world.height(id);
            world.run_for(Duration::from_secs(2))?;
            let highest = world.agreement().highest();
            missed.push((highest - before) as f64);
            world.restart(id)?;
            let begin = world.now();
            let millis = |world: &World| world.now().since(begin).as_secs_f64() * 1e3;
            world.expect(LONG, "to catch up", |world| world.height(id) >= highest)?;
            caught_up.push(millis(&world));
            world.expect(LONG, "a new decision", |world| world.height(id) > highest)?;
            decides.push(millis(&world));
        }
        world.crash(id);
        let journal = world.height(id);
        let start = cpu_seconds();
        for _ in 0..RESTARTS {
            world.restart(id)?;
            world.crash(id);
        }
        let replay = (cpu_seconds() - start) / RESTARTS as f64;
        println!(
            "| {members} | {journal} | {:.0} | {:.0} | {:.0} ms | {:.0} ms |",
            replay * 1e6 / journal as f64,
            median(missed),
            median(caught_up),
            median(decides)
        );
    }
    Ok(())
}
