//! Searches the states of a small committee and says what it found.

use clap::Parser;
use polity_model::{
    Ending, Fault, Grain, Limits, Report, Scenario, Seat, compare, compare_walks, run,
};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Exhaustive search of FB-PBFT with four members, one height and at most one faulty member.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    /// Views: 0 up to one less than this.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3))]
    views: u64,
    /// Blocks that a faulty leader may propose in each view it leads.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=4))]
    values: u64,
    /// Who is faulty: leader-0, leader-1, leader-2, follower, absent (down), nobody, or
    /// each that differs.
    #[arg(long, default_value = "each", value_parser = seats)]
    byzantine: Who,
    /// Threads that search.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Stop when the process uses this much memory.
    #[arg(long, default_value_t = 10)]
    memory_gib: u64,
    /// Stop after so many minutes, all searches together.
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// How often honest replicas may stop, between two records too, and be restored, all together.
    #[arg(long, default_value_t = 0)]
    restarts: usize,
    /// A step is one message instead of one action. Much larger; to check the smaller search.
    #[arg(long)]
    single_messages: bool,
    /// A rule that honest replicas break: certificates, bare-proposals or votes.
    #[arg(long, value_parser = fault)]
    broken: Option<Fault>,
    /// Search with single messages too, and compare what the replicas said and decided.
    #[arg(long, conflicts_with = "single_messages")]
    compare: bool,
    /// With `--compare`: take so many random walks of single messages instead of exhausting them.
    #[arg(long, requires = "compare")]
    walks: Option<u64>,
    /// Show a path to every property that some state has to show.
    #[arg(long)]
    paths: bool,
}

#[derive(Clone, Debug)]
enum Who {
    One(Seat),
    Each,
}

fn seats(text: &str) -> Result<Who, String> {
    match text {
        "each" => Ok(Who::Each),
        "follower" => Ok(Who::One(Seat::Follower)),
        "absent" => Ok(Who::One(Seat::Absent)),
        "nobody" => Ok(Who::One(Seat::Nobody)),
        _ => text
            .strip_prefix("leader-")
            .and_then(|view| view.parse().ok())
            .map(|view| Who::One(Seat::Leader(view)))
            .ok_or_else(|| {
                "leader-0, leader-1, leader-2, follower, absent, nobody or each".to_owned()
            }),
    }
}

fn fault(text: &str) -> Result<Fault, String> {
    match text {
        "certificates" => Ok(Fault::ForgetsCertificates),
        "bare-proposals" => Ok(Fault::TrustsBareProposals),
        "votes" => Ok(Fault::ForgetsVotes),
        _ => Err("certificates, bare-proposals or votes".to_owned()),
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seats = match arguments.byzantine {
        Who::One(seat) => vec![seat],
        Who::Each => Scenario::seats(arguments.views),
    };
    let started = Instant::now();
    let budget = Duration::from_secs(arguments.minutes * 60);
    let mut has_failed = false;
    for seat in seats {
        let scenario = Scenario {
            views: arguments.views,
            values: arguments.values,
            seat,
            fault: arguments.broken.unwrap_or(Fault::None),
            restarts: arguments.restarts,
            grain: if arguments.single_messages {
                Grain::Message
            } else {
                Grain::Action
            },
        };
        let limits = Limits {
            threads: arguments.threads,
            time: budget.saturating_sub(started.elapsed()),
            memory_bytes: arguments.memory_gib << 30,
            is_for_a_fork: arguments.broken.is_some()
                && arguments.broken != Some(Fault::ForgetsVotes),
        };
        println!(
            "4 members of weight 1, height 1, views 0 to {}, {} values of a faulty leader, \
             faulty: {seat}, broken rule: {:?}, restarts: {}, a step is one {:?}",
            scenario.views - 1,
            scenario.values,
            scenario.fault,
            scenario.restarts,
            scenario.grain,
        );
        if arguments.compare {
            let comparison = match arguments.walks {
                Some(walks) => compare_walks(scenario, 1, walks, 200),
                None => compare(scenario),
            };
            println!("  {comparison:?}");
            has_failed |= comparison.lost + comparison.invented > 0;
            continue;
        }
        let report = run(scenario, &limits, |states, time| {
            eprintln!("  {states} states after {} s", time.as_secs());
        });
        show(&report, arguments.paths);
        has_failed |= report.is_failure();
    }
    if has_failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn show(report: &Report, with_paths: bool) {
    let ending = match &report.ending {
        Ending::Exhausted => "exhausted".to_owned(),
        Ending::Failed => "stopped at a failed property".to_owned(),
        Ending::Stopped(reason) => format!(
            "NOT exhausted: stopped at {} states, depth {}, because {reason}",
            report.states, report.depth
        ),
    };
    println!("  {ending}");
    println!(
        "  states {}, reached {} times, depth {}, states of single replicas {}, messages {}, \
         handler runs {}, memory {} MiB, {}.{:01} s",
        report.states,
        report.reached,
        report.depth,
        report.replica_states,
        report.messages,
        report.handled,
        report.memory_bytes.map_or(0, |bytes| bytes >> 20),
        report.time.as_secs(),
        report.time.subsec_millis() / 100,
    );
    for finding in &report.findings {
        let answer = match (finding.is_always, &finding.path) {
            (true, None) if report.ending == Ending::Exhausted => "holds in every state",
            (true, None) => "holds in every state visited",
            (true, Some(_)) => "FAILS",
            (false, Some(_)) => "shown",
            (false, None) if report.ending == Ending::Exhausted => "NEVER SHOWN",
            (false, None) => "not shown yet",
        };
        println!("  {answer:>28}  {}", finding.name);
        if let Some(path) = &finding.path
            && (finding.is_always || with_paths)
        {
            print!("{path}");
        }
    }
}
