//! `polity bench`: what a federation of real processes on this machine does.
//!
//! Clients sign beforehand. Then they submit to all nodes, either as fast as a window of transactions
//! in flight allows or at a fixed rate, and every transfer is timed from its submission until the
//! first node has committed it durably. Beside it stands the floor that signatures set: every node
//! verifies every transfer once, and all nodes share the cores of this machine.

use crate::cli::{Failure, Output};
use crate::client::{Client, ClientError};
use crate::cluster::{Cluster, ClusterError, WorkDirectory, interrupt_on_signals};
use crate::demo::MEMBERS;
use crate::driver::now;
use crate::federation::{FederationError, Funded, Plan};
use crate::keys::SecretKey;
use crate::load::Load;
use crate::meters::micros;
use crate::progress;
use crate::signing::NodeVerifier;
use crate::table::Table;
use crate::view::Status;
use crate::wallet::{Terms, sign, submit, submit_all, wait_final};
use clap::Args;
use polity_crypto::Verifier as _;
use polity_ledger::{Address, Command, Parameters, SignedTransaction, TransactionId};
use polity_types::Amount;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub(crate) const EXAMPLES: &str = "Examples:
  polity bench
  polity bench --seconds 30 --rate 1000 --json";

/// Accounts that pay, and as many that are paid.
const ACCOUNTS: usize = 64;

/// Transfers in one request without a rate.
const BATCH: usize = 100;

/// Transfers submitted and not final, at most, without a rate.
const WINDOW: usize = 4_000;

/// With a rate, each client sends so often in a second.
const SENDS_PER_SECOND: u64 = 50;

/// The first part of a run does not count.
const WARM_UP: Duration = Duration::from_secs(1);

/// LOCKs and COMMITs that are timed one after the other.
const PAIRS: usize = 20;

/// Time after the last submission in which transfers may still become final.
const DRAIN: Duration = Duration::from_secs(20);

/// Signatures that are verified to know how long one takes.
const FLOOR_SAMPLES: u64 = 4_000;

const MEMBERS_MAX: usize = 16;

/// `polity bench`
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How long to measure
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(2..=600))]
    seconds: u64,
    /// Transfers in a second; without it as many as are taken
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    rate: Option<u64>,
    /// Nodes
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=MEMBERS_MAX as i64))]
    nodes: u8,
    /// Keep the federation's files in this directory, which must be missing or empty
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Figures {
    nodes: usize,
    cores: usize,
    seconds: u64,
    rate: Option<u64>,
    /// Transfers whose finality was seen in the measured time.
    transfers: u64,
    transfers_per_second: u64,
    submit_to_final_ms: Percentiles,
    /// One strict verification on one core, alone.
    verification_ns: u64,
    /// Transfers that a second has room for if nodes did nothing but verify each once.
    signature_floor_per_second: u64,
    /// What the measured transfers reach of it, in percent.
    of_floor_percent: u64,
    lock_to_commit_ms: Percentiles,
    /// Processor time of all nodes in the measured run.
    nodes_cpu_ms: Option<u64>,
    /// Processor time of the clients in the same time.
    clients_cpu_ms: Option<u64>,
    /// Wall time of signing beforehand.
    signing_ms: u64,
    signed: usize,
    blocks: u64,
    refused: u64,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Percentiles {
    p50: u64,
    p95: u64,
    p99: u64,
}

impl Percentiles {
    fn of(mut samples: Vec<u64>) -> Self {
        samples.sort_unstable();
        let at = |percent: usize| {
            let index = samples.len() * percent / 100;
            let last = samples.len().saturating_sub(1);
            samples.get(index.min(last)).map_or(0, |us| us / 1_000)
        };
        Self {
            p50: at(50),
            p95: at(95),
            p99: at(99),
        }
    }
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Build(#[from] crate::wallet::BuildError),
    #[error("{0}")]
    Other(String),
}

impl From<ClientError> for BenchError {
    fn from(error: ClientError) -> Self {
        Self::Cluster(error.into())
    }
}

impl From<FederationError> for BenchError {
    fn from(error: FederationError) -> Self {
        Self::Cluster(error.into())
    }
}

pub(crate) fn main(options: &Options, output: Output) -> Result<(), Failure> {
    let result = measure(options, output).map_err(|error| match error {
        BenchError::Cluster(error) => Failure::from(error),
        error => Failure::failed(error),
    })?;
    output.show(&result, table);
    Ok(())
}

fn measure(options: &Options, output: Output) -> Result<Figures, BenchError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let nodes = usize::from(options.nodes);
    let interrupt = interrupt_on_signals()?;
    let verification_ns = time_verification()?;
    let floor = cores as u64 * 1_000_000_000 / (nodes as u64 * verification_ns.max(1));

    let work = WorkDirectory::new(options.keep.as_deref())?;
    let program = std::env::current_exe().map_err(|error| BenchError::Other(error.to_string()))?;
    output.note(&format!("starting {nodes} nodes"));
    let mut cluster = Cluster::start(&program, work.path(), plan(nodes)?, interrupt)?;

    let wanted = options.rate.unwrap_or(floor) * options.seconds;
    let count = usize::try_from(wanted).unwrap_or(usize::MAX).min(2_000_000);
    output.note(&format!("signing {count} transfers"));
    let start = Instant::now();
    let transfers = sign_transfers(&cluster, count, output)?;
    let signing_ms = micros(start.elapsed()) / 1_000;

    output.note(&format!("measuring for {} seconds", options.seconds));
    let before = cpu_of_all(&cluster);
    let run = run(&mut cluster, transfers, options)?;
    let after = cpu_of_all(&cluster);
    let pairs = time_pairs(&mut cluster)?;
    cluster.wait_settled(0)?;
    cluster.stop()?;

    let spent = |pick: fn(&Cpu) -> Option<u64>| Some(pick(&after)?.saturating_sub(pick(&before)?));
    let measured_ms = micros(run.measured).max(1) / 1_000;
    let per_second = run.latencies.len() as u64 * 1_000 / measured_ms.max(1);
    Ok(Figures {
        nodes,
        cores,
        seconds: options.seconds,
        rate: options.rate,
        transfers: run.latencies.len() as u64,
        transfers_per_second: per_second,
        submit_to_final_ms: Percentiles::of(run.latencies),
        verification_ns,
        signature_floor_per_second: floor,
        of_floor_percent: per_second * 100 / floor.max(1),
        lock_to_commit_ms: Percentiles::of(pairs),
        nodes_cpu_ms: spent(|cpu| cpu.nodes_ms),
        clients_cpu_ms: spent(|cpu| cpu.own_ms),
        signing_ms,
        signed: count,
        blocks: run.blocks,
        refused: run.refused,
    })
}

fn plan(nodes: usize) -> Result<Plan, FederationError> {
    let members = (0..nodes)
        .map(|index| match MEMBERS.get(index) {
            Some(name) => (*name).to_owned(),
            None => format!("platform{}", index + 1),
        })
        .collect();
    let mut plan = Plan::local(members, 1, now())?;
    "bench".clone_into(&mut plan.name);
    plan.own_keys = false;
    // Everything is signed beforehand, so it has to stay valid for the whole run.
    plan.parameters = Parameters {
        validity_horizon: 50_000,
        transactions_per_block_max: 8_192,
        recent_ids_max: 50_000 * 8_192,
        ..Parameters::default()
    };
    let platform = plan.members[0].clone();
    for index in 0..ACCOUNTS {
        for (agent, atp) in [("payer", 1_000_000_000), ("payee", 0)] {
            let address = address(agent, index, &platform)?;
            plan.accounts.push(Funded {
                address,
                balance: Amount::from_atp(atp),
            });
        }
    }
    Ok(plan)
}

fn address(agent: &str, index: usize, platform: &str) -> Result<Address, FederationError> {
    let name = format!("{agent}{index}");
    Address::new(&name, platform).map_err(|source| FederationError::Name { name, source })
}

/// Time of one strict verification, in nanoseconds.
fn time_verification() -> Result<u64, BenchError> {
    use polity_crypto::Signer as _;
    let key = SecretKey::generate().map_err(crate::wallet::BuildError::from)?;
    let preimage = polity_crypto::Preimage::new(polity_crypto::domain::TEST).u64(1);
    let signature = key.signer().sign(&preimage);
    let verifier = NodeVerifier::default();
    let start = Instant::now();
    for _ in 0..FLOOR_SAMPLES {
        let result = verifier.verify(key.public_key(), &preimage, &signature);
        result.map_err(|error| BenchError::Other(error.to_string()))?;
    }
    Ok(micros(start.elapsed()) * 1_000 / FLOOR_SAMPLES)
}

fn sign_transfers(
    cluster: &Cluster,
    count: usize,
    output: Output,
) -> Result<Vec<SignedTransaction>, BenchError> {
    let status: Status = cluster.client(0).get("/v1/status")?;
    let mut terms = Terms::of(&status);
    terms.valid_until = status.height.saturating_add(status.validity_horizon);
    let platform = cluster.nodes[0].name.clone();
    let bar = progress::bar("signed", count as u64, output.is_json);
    let mut transfers = Vec::with_capacity(count);
    for number in 0..count {
        let from = address("payer", number % ACCOUNTS, &platform)?;
        let to = address("payee", number % ACCOUNTS, &platform)?;
        let key = owner(cluster, &from)?;
        let command = Command::Transfer {
            from: from.clone(),
            to,
            amount: Amount::from_units(1),
        };
        transfers.push(sign(terms, &from, key, command)?);
        if number % 1_000 == 0 {
            bar.set_position(number as u64);
            cluster.check_interrupt()?;
        }
    }
    bar.finish_and_clear();
    Ok(transfers)
}

fn owner<'a>(cluster: &'a Cluster, address: &Address) -> Result<&'a SecretKey, BenchError> {
    let key = cluster.founded.owner(address);
    key.ok_or_else(|| BenchError::Other(format!("there is no key for {address}")))
}

/// What the submitting threads share.
struct Submission {
    transfers: Vec<SignedTransaction>,
    next: AtomicUsize,
    final_count: AtomicUsize,
    is_over: AtomicBool,
    /// Microseconds from the start to the submission, plus one; 0 is not submitted.
    submitted_us: Vec<AtomicU64>,
    start: Instant,
    failure: Mutex<Option<ClientError>>,
}

struct Run {
    measured: Duration,
    latencies: Vec<u64>,
    blocks: u64,
    refused: u64,
}

fn run(
    cluster: &mut Cluster,
    transfers: Vec<SignedTransaction>,
    options: &Options,
) -> Result<Run, BenchError> {
    let nodes: Vec<SocketAddr> = cluster.nodes.iter().map(|node| node.api).collect();
    let load = Load::start(&nodes)?;
    let by_id: BTreeMap<TransactionId, usize> = transfers
        .iter()
        .enumerate()
        .map(|(index, transfer)| (transfer.id(), index))
        .collect();
    let submission = Arc::new(Submission {
        submitted_us: transfers.iter().map(|_| AtomicU64::new(0)).collect(),
        transfers,
        next: AtomicUsize::new(0),
        final_count: AtomicUsize::new(0),
        is_over: AtomicBool::new(false),
        start: Instant::now(),
        failure: Mutex::default(),
    });
    let threads: Vec<_> = nodes
        .iter()
        .map(|address| {
            let submission = Arc::clone(&submission);
            let client = Client::new(*address, Duration::from_mins(1));
            let rate = options.rate.map(|rate| rate.div_ceil(nodes.len() as u64));
            std::thread::spawn(move || submission.run(client, rate))
        })
        .collect();

    let until = submission.start + Duration::from_secs(options.seconds);
    let mut run = Run {
        measured: Duration::ZERO,
        latencies: Vec::new(),
        blocks: 0,
        refused: 0,
    };
    let from = submission.start + WARM_UP;
    loop {
        cluster.check_alive()?;
        let is_submitting = Instant::now() < until;
        if !is_submitting {
            submission.is_over.store(true, Ordering::Relaxed);
            let submitted = submission.next.load(Ordering::Relaxed);
            let is_drained = submission.final_count.load(Ordering::Relaxed)
                >= submitted.min(submission.transfers.len());
            if is_drained || Instant::now() > until + DRAIN {
                break;
            }
        }
        let Some(heard) = load.hear(Duration::from_millis(50))? else {
            continue;
        };
        run.blocks += 1;
        for receipt in &heard.receipts {
            let Some(index) = by_id.get(&receipt.id) else {
                continue;
            };
            submission.final_count.fetch_add(1, Ordering::Relaxed);
            if !receipt.applied {
                run.refused += 1;
                continue;
            }
            let submitted = submission.submitted_us[*index].load(Ordering::Relaxed);
            if heard.at >= from && heard.at <= until && submitted > 0 {
                let at = micros(heard.at.duration_since(submission.start));
                run.latencies.push(at.saturating_sub(submitted - 1));
            }
        }
    }
    run.measured = until.duration_since(from);
    for thread in threads {
        // A thread that failed has left its reason.
        let _ = thread.join();
    }
    let failure = submission
        .failure
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    match failure {
        Some(error) => Err(error.into()),
        None => Ok(run),
    }
}

impl Submission {
    /// One client: submits to one node until the time is over.
    fn run(&self, mut client: Client, rate: Option<u64>) {
        let batch = match rate {
            None => BATCH,
            Some(rate) => usize::try_from(rate.div_ceil(SENDS_PER_SECOND)).unwrap_or(BATCH),
        };
        let every = rate.map(|rate| {
            let per_send = u64::try_from(batch).unwrap_or(1) * 1_000_000 / rate.max(1);
            Duration::from_micros(per_send)
        });
        let mut due = Instant::now();
        while !self.is_over.load(Ordering::Relaxed) {
            if let Some(every) = every {
                // Open loop: what is late is sent at once, and its wait counts.
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                self.send(&mut client, batch, due);
                due += every;
            } else {
                let waiting = self.next.load(Ordering::Relaxed)
                    - self
                        .final_count
                        .load(Ordering::Relaxed)
                        .min(self.next.load(Ordering::Relaxed));
                if waiting + batch > WINDOW {
                    std::thread::sleep(Duration::from_millis(1));
                } else {
                    self.send(&mut client, batch, Instant::now());
                }
            }
        }
    }

    fn send(&self, client: &mut Client, count: usize, at: Instant) {
        let first = self.next.fetch_add(count, Ordering::Relaxed);
        let last = (first + count).min(self.transfers.len());
        let Some(part) = self
            .transfers
            .get(first..last)
            .filter(|part| !part.is_empty())
        else {
            self.is_over.store(true, Ordering::Relaxed);
            return;
        };
        let at = micros(at.saturating_duration_since(self.start)) + 1;
        for submitted in &self.submitted_us[first..last] {
            submitted.store(at, Ordering::Relaxed);
        }
        let result = submit_all(client, part);
        match result {
            Ok(results) => {
                // What a node did not take will never become final.
                let refused = results.iter().filter(|result| result.error.is_some());
                self.final_count
                    .fetch_add(refused.count(), Ordering::Relaxed);
            }
            Err(error) if error.is_transient() => {
                self.final_count.fetch_add(part.len(), Ordering::Relaxed);
            }
            Err(error) => {
                let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
                failure.get_or_insert(error);
                self.is_over.store(true, Ordering::Relaxed);
            }
        }
    }
}

/// From submitting a LOCK until its COMMIT is final, one after the other, in microseconds.
fn time_pairs(cluster: &mut Cluster) -> Result<Vec<u64>, BenchError> {
    let platform = cluster.nodes[0].name.clone();
    let patience = Duration::from_secs(30);
    let mut client = cluster.client(0);
    let mut samples = Vec::with_capacity(PAIRS);
    for number in 0..PAIRS {
        cluster.check_alive()?;
        let status: Status = client.get("/v1/status")?;
        let terms = Terms::of(&status);
        let from = address("payer", number % ACCOUNTS, &platform)?;
        let to = address("payee", number % ACCOUNTS, &platform)?;
        let amount = Amount::from_units(1);
        let lock = Command::Lock {
            from: from.clone(),
            to,
            amount,
            expires: now().saturating_add(Duration::from_hours(1)),
        };
        let lock = sign(terms, &from, owner(cluster, &from)?, lock)?;
        let start = Instant::now();
        submit(&mut client, &lock)?;
        let made = wait_final(&mut client, lock.id(), patience)?
            .and_then(|found| found.receipt)
            .and_then(|receipt| receipt.lock)
            .ok_or_else(|| BenchError::Other("a LOCK did not become final".to_owned()))?;
        let commit = Command::Commit { lock: made, amount };
        let commit = sign(terms, &from, owner(cluster, &from)?, commit)?;
        submit(&mut client, &commit)?;
        let paid = wait_final(&mut client, commit.id(), patience)?
            .and_then(|found| found.receipt)
            .is_some_and(|receipt| receipt.applied);
        if !paid {
            return Err(BenchError::Other(
                "a COMMIT did not become final".to_owned(),
            ));
        }
        samples.push(micros(start.elapsed()));
    }
    Ok(samples)
}

/// Processor time in milliseconds, where the system tells it.
struct Cpu {
    nodes_ms: Option<u64>,
    own_ms: Option<u64>,
}

fn cpu_of_all(cluster: &Cluster) -> Cpu {
    let nodes = cluster.nodes.iter().map(|node| {
        let id = node.process_id()?;
        cpu_ms(&format!("/proc/{id}/stat"))
    });
    Cpu {
        nodes_ms: nodes.sum(),
        own_ms: cpu_ms("/proc/self/stat"),
    }
}

/// User and system time of a process on Linux, which counts in hundredths of a second.
fn cpu_ms(stat: &str) -> Option<u64> {
    let text = std::fs::read_to_string(stat).ok()?;
    // The name of the program, in parentheses, may contain anything.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let user: u64 = fields.get(11)?.parse().ok()?;
    let system: u64 = fields.get(12)?.parse().ok()?;
    Some((user + system) * 10)
}

fn table(result: &Figures) -> String {
    let mut table = Table::new(&["measure", "value"]);
    let triple = |p: Percentiles| format!("{} / {} / {}", p.p50, p.p95, p.p99);
    let time = |ms: Option<u64>| ms.map_or_else(|| "unknown".to_owned(), |ms| format!("{ms} ms"));
    let load = match result.rate {
        None => format!("as many as are taken, {WINDOW} in flight"),
        Some(rate) => format!("{rate} per second"),
    };
    let rows = [
        (
            "nodes, cores",
            format!("{}, {}", result.nodes, result.cores),
        ),
        ("load", load),
        (
            "durable signed transfers per second",
            result.transfers_per_second.to_string(),
        ),
        (
            "submit to final, ms (p50 / p95 / p99)",
            triple(result.submit_to_final_ms),
        ),
        (
            "one strict verification",
            format!("{} ns", result.verification_ns),
        ),
        (
            "floor that signatures set, per second",
            result.signature_floor_per_second.to_string(),
        ),
        (
            "reached of the floor",
            format!("{} %", result.of_floor_percent),
        ),
        (
            "LOCK to COMMIT, ms (p50 / p95 / p99)",
            triple(result.lock_to_commit_ms),
        ),
        ("processor time of the nodes", time(result.nodes_cpu_ms)),
        ("processor time of the clients", time(result.clients_cpu_ms)),
        (
            "signing beforehand",
            format!("{} transfers in {} ms", result.signed, result.signing_ms),
        ),
        (
            "blocks, refused",
            format!("{}, {}", result.blocks, result.refused),
        ),
    ];
    for (name, value) in rows {
        table.row(&[name, &value]);
    }
    table.to_string()
}
