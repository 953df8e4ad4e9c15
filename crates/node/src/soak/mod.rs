//! `polity soak`: real processes under faults, for minutes or hours.
//!
//! ```text
//!  load ──HTTP──▶ node 0 ══╗           ╔══ node 1 ◀──HTTP── load
//!                          ╠══ proxy ══╣
//!  monitor ─HTTP▶ node 2 ══╝           ╚══ node 3      runner: kill -9, SIGTERM, SIGSTOP
//! ```
//!
//! The nodes are this program. Every packet between two of them goes through a proxy that loses, delays,
//! copies, reorders and cuts ([`proxy`]); the runner kills, stops and pauses processes ([`run`]), all
//! after a plan that follows from the seed alone ([`plan`]). Clients send transfers and LOCK/COMMIT
//! pairs meanwhile and note every answer ([`load`]). At the end everything is mended, all nodes have to
//! reach one height within a bound that follows from the timeouts, and the journals are compared with
//! what was promised ([`judge`]).
//!
//! A seed repeats the plan, not the run: processes and sockets have their own timing. A failed run
//! therefore leaves its files, and with them every node's log and journal.

mod judge;
mod load;
mod monitor;
mod namespaces;
mod plan;
mod proxy;
mod report;
mod run;
mod setup;
#[cfg(test)]
mod tests;

use crate::cli::{Failure, Output};
use crate::cluster::{
    Cluster, ClusterError, Interrupt, Signal, WorkDirectory, interrupt_on_signals,
};
use clap::Args;
use judge::judge;
use load::{Record, Sent};
use plan::Plan;
use report::{Report, Verdict};
use run::Runner;
use setup::bound;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub(crate) const EXAMPLES: &str = "Examples:
  polity soak --minutes 10
  polity soak --minutes 60 --nodes 7 --seed 42 --keep soaked
  polity soak --seconds 30 --json

The seed gives the plan of faults again, not their timing to the microsecond. A run that fails keeps its
files: the plan, what was done when, and each node's journal and log.";

/// What was done, in the federation's directory.
const LOG_FILE: &str = "soak.log";
/// What was planned, in the federation's directory.
const PLAN_FILE: &str = "soak-plan.json";

/// Steps that a failed run shows.
const LINES_SHOWN: usize = 40;

/// `polity soak`
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How long faults happen
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    minutes: u64,
    /// The same in seconds
    #[arg(long, conflicts_with = "minutes", value_parser = clap::value_parser!(u64).range(10..=600_000))]
    seconds: Option<u64>,
    /// What the plan of faults is drawn from; without it a new one
    #[arg(long)]
    seed: Option<u64>,
    /// Nodes
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(4..=7))]
    nodes: u8,
    /// Transactions in a second
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    rate: u64,
    /// Give each node a network namespace and pull its cable; needs root and `ip`
    #[arg(long)]
    namespaces: bool,
    /// Keep the federation's files in this directory, which must be missing or empty
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

pub(crate) fn main(options: &Options, output: Output) -> Result<(), Failure> {
    let seed = match options.seed {
        Some(seed) => seed,
        None => random_seed().map_err(Failure::failed)?,
    };
    let seconds = options.seconds.unwrap_or(options.minutes * 60);
    let plan = Plan::draw(seed, usize::from(options.nodes), seconds * 1_000);
    let interrupt = interrupt_on_signals().map_err(Failure::failed)?;
    let mut work = WorkDirectory::new(options.keep.as_deref())?;
    let soak = Soak {
        options,
        plan: &plan,
        directory: work.path(),
        output,
    };
    let report = soak.run(&interrupt);
    let is_good = report.verdict == Verdict::SafeAndLive;
    if !is_good && report.verdict != Verdict::Interrupted {
        work.keep();
    }
    let report = Report {
        directory: work.is_kept().then(|| work.path().to_owned()),
        ..report
    };
    output.show(&report, Report::table);
    if is_good {
        return Ok(());
    }
    if !output.is_json {
        explain(&report);
    }
    // The report has said it.
    Err(Failure::new(report.verdict.exit_code(), ""))
}

/// What is needed to see it again.
fn explain(report: &Report) {
    eprintln!("polity: {}", report.verdict);
    eprintln!(
        "version {}, replay the plan with: {}",
        report.version, report.replay
    );
    if let Some(directory) = &report.directory {
        eprintln!(
            "the files are kept in {}: {PLAN_FILE}, {LOG_FILE}, and each node's journal and log",
            directory.display()
        );
    }
    eprintln!("the plan:");
    for line in &report.plan {
        eprintln!("  {line}");
    }
    let skipped = report.log.len().saturating_sub(LINES_SHOWN);
    if skipped > 0 {
        eprintln!("the last {LINES_SHOWN} of {} steps:", report.log.len());
    } else {
        eprintln!("what was done:");
    }
    for line in &report.log[skipped..] {
        eprintln!("  {line}");
    }
}

fn random_seed() -> Result<u64, getrandom::Error> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes)?;
    Ok(u64::from(u32::from_le_bytes(bytes)))
}

struct Soak<'a> {
    options: &'a Options,
    plan: &'a Plan,
    directory: &'a Path,
    output: Output,
}

/// What the run itself leaves, whatever the journals say.
struct Ended {
    verdict: Verdict,
    records: Vec<Record>,
    settled: Option<Duration>,
}

impl Soak<'_> {
    fn run(&self, interrupt: &Interrupt) -> Report {
        let mut report = self.empty_report();
        let mut runner = match self.start(interrupt) {
            Ok(runner) => runner,
            Err(verdict) => {
                report.verdict = verdict;
                report.detail = report.verdict.to_string();
                return report;
            }
        };
        report.namespaces = runner.namespaces.is_some();
        let result = runner.run(|line| self.output.note(line));
        let ended = self.end(&mut runner, result);
        runner.bar.finish_and_clear();
        report.faults = std::mem::take(&mut runner.seen.faults);
        report.windows_beyond = runner.seen.windows;
        report.packets = runner.proxy.switch.counts();
        report.recoveries = runner.seen.recoveries.spreads();
        report.stall_max_ms = millis(runner.seen.stall_max);
        report.settled_ms = ended.settled.map(millis);
        let log = std::mem::take(&mut runner.log.lines);
        let panics = panics(&runner.cluster);
        // Nothing may write into the journals any more.
        drop(runner);
        let mut sent = Vec::new();
        for record in ended.records {
            report.unanswered += record.unanswered;
            for (code, count) in record.refused {
                *report.refused_by_node.entry(code).or_default() += count;
            }
            if let Some(failure) = record.failure {
                report.verdict = Verdict::Crash(format!("a client got no sound answer: {failure}"));
            }
            sent.extend(record.sent);
        }
        report.sent = sent.len() as u64;
        report.verdict = std::mem::replace(&mut report.verdict, Verdict::SafeAndLive)
            .or_worse(ended.verdict)
            .or_worse(panics)
            .or_worse(self.compare(&sent, ended.settled.is_some(), &mut report));
        if report.verdict != Verdict::SafeAndLive {
            report.detail = report.verdict.to_string();
            report.plan = self.plan.lines();
            report.log = log;
        }
        report
    }

    fn compare(&self, sent: &[Sent], is_settled: bool, report: &mut Report) -> Verdict {
        self.output
            .note("comparing the journals with what was promised");
        match judge(self.directory, self.plan.nodes, sent, is_settled) {
            Ok((findings, broken)) => {
                report.findings = Some(findings);
                match broken.first() {
                    None => Verdict::SafeAndLive,
                    Some(first) => Verdict::Safety(match broken.len() {
                        1 => first.clone(),
                        count => format!("{first} (and {} more)", count - 1),
                    }),
                }
            }
            Err(error) if error.is_unsafe() => Verdict::Safety(error.to_string()),
            Err(error) => Verdict::Crash(error.to_string()),
        }
    }

    fn empty_report(&self) -> Report {
        let seconds = self.plan.length_ms / 1_000;
        let (seed, nodes) = (self.plan.seed, self.plan.nodes);
        let namespaces = if self.options.namespaces {
            " --namespaces"
        } else {
            ""
        };
        Report {
            verdict: Verdict::SafeAndLive,
            detail: String::new(),
            version: env!("CARGO_PKG_VERSION"),
            seed,
            nodes,
            away_max: self.plan.away_max,
            seconds,
            rate: self.options.rate,
            namespaces: false,
            replay: format!(
                "polity soak --seed {seed} --seconds {seconds} --nodes {nodes} --rate {}{namespaces}",
                self.options.rate
            ),
            directory: None,
            faults: BTreeMap::new(),
            windows_beyond: 0,
            packets: proxy::Counts::default(),
            sent: 0,
            unanswered: 0,
            refused_by_node: BTreeMap::new(),
            findings: None,
            recoveries: BTreeMap::new(),
            stall_max_ms: 0,
            bound_ms: millis(bound(self.plan)),
            settled_ms: None,
            plan: Vec::new(),
            log: Vec::new(),
        }
    }

    /// Ends the load, waits until all nodes agree, and stops them in order.
    fn end(&self, runner: &mut Runner<'_>, result: Result<(), Verdict>) -> Ended {
        let records = runner.load.finish();
        let mut ended = Ended {
            verdict: Verdict::SafeAndLive,
            records,
            settled: None,
        };
        if let Err(verdict) = result {
            // The nodes are killed as they are, and their journals still have to hold.
            ended.verdict = verdict;
            return ended;
        }
        let start = Instant::now();
        let mut stop = || -> Result<(), ClusterError> {
            runner.cluster.wait_settled_for(0, runner.bound)?;
            ended.settled = Some(start.elapsed());
            for index in 0..self.plan.nodes {
                runner.cluster.signal(index, Signal::Terminate)?;
            }
            for index in 0..self.plan.nodes {
                runner.cluster.wait_stopped(index)?;
            }
            Ok(())
        };
        if let Err(error) = stop() {
            ended.verdict = error.into();
        }
        ended
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A thread of a node may panic and leave the process running.
fn panics(cluster: &Cluster) -> Verdict {
    for node in &cluster.nodes {
        let log = std::fs::read_to_string(node.log_path()).unwrap_or_default();
        if let Some(line) = log.lines().find(|line| line.contains("panicked at")) {
            return Verdict::Crash(format!("node {}: {line}", node.name));
        }
    }
    Verdict::SafeAndLive
}
