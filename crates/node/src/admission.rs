//! The threads that verify signatures of transactions.
//!
//! Verifying takes a hundred times longer than everything else that happens to a transaction, so it
//! happens here, beside the driver.
//!
//! ```text
//! members ──▶ a queue and a budget for each ──▶ in turn ─┐
//!                                                        ├─▶ in turn ──▶ threads ──▶ driver
//! clients ──▶ one queue and one budget ──────────────────┘
//! ```
//!
//! A job takes its share of a budget when it enters, and the share travels with it until the driver
//! has handled it: what waits behind the threads counts like what waits before them.
//!
//! # Invariants
//!
//! 1. What all jobs hold, from entering to being handled, is bounded.
//! 2. Members that flood do not shut clients out, clients that flood do not shut members out, and no
//!    member shuts another one out: each waits in its own queue, and queues are served in turn.

use crate::driver::{Command, Submitted};
use crate::meters::Meters;
use crate::signing::NodeVerifier;
use polity_consensus::fbpbft::TransactionBytes;
use polity_crypto::{Checker, Tier, Verified};
use polity_ledger::{SignedTransaction, TransactionId};
use polity_replica::{AdmitError, Input, admit};
use polity_types::{ChainId, ReplicaId};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Bytes of members' transactions that have not been handled, divided among the members; further
/// ones are dropped and counted. They come again with a block.
const MEMBER_BYTES_MAX: usize = 16 << 20;

/// What each member has at least: some frames of its lane, with what they cost beside their bytes.
const ONE_MEMBER_BYTES_MIN: usize = 1 << 20;

/// Bytes of clients' transactions that have not been handled, at most; further ones are answered
/// with 503.
const CLIENT_BYTES_MAX: usize = 32 << 20;

/// What a transaction costs beside its bytes, so that empty ones are not free.
const OVERHEAD: usize = 256;

/// Positive answers that each thread remembers.
const VERDICTS_MAX: usize = 16_384;

/// What became of the transactions of one request, in their order.
pub type Results = Vec<Result<(TransactionId, Submitted), AdmitError>>;

/// The signatures of a request are judged; the driver has the rest.
#[derive(Debug)]
pub struct Judged {
    places: Vec<Result<TransactionId, AdmitError>>,
    answers: Option<oneshot::Receiver<Vec<Submitted>>>,
}

impl Judged {
    /// Waits for the driver, and puts its answers in the places of the request. `None` if the node
    /// stops.
    pub async fn results(self) -> Option<Results> {
        let mut answers = match self.answers {
            Some(answers) => answers.await.ok()?.into_iter(),
            None => Vec::new().into_iter(),
        };
        self.places
            .into_iter()
            .map(|place| match place {
                Ok(id) => Some(Ok((id, answers.next()?))),
                Err(error) => Some(Err(error)),
            })
            .collect()
    }
}

/// Transactions that came together, with their share of a budget.
struct Job {
    work: Work,
    budget: OwnedSemaphorePermit,
}

enum Work {
    Member {
        from: ReplicaId,
        transactions: Vec<TransactionBytes>,
    },
    Client {
        transactions: Vec<Vec<u8>>,
        reply: oneshot::Sender<Judged>,
    },
}

/// Jobs that no thread has taken. Budgets bound them.
#[derive(Default)]
struct Waiting {
    members: BTreeMap<ReplicaId, VecDeque<Job>>,
    /// Members with a job, each once, in the order of their turns.
    turns: VecDeque<ReplicaId>,
    clients: VecDeque<Job>,
    serve_clients_next: bool,
    is_closed: bool,
}

/// What may be under way, from entering to being handled by the driver.
struct Budgets {
    members: Mutex<BTreeMap<ReplicaId, Arc<Semaphore>>>,
    clients: Arc<Semaphore>,
}

impl Budgets {
    fn new(members: &[ReplicaId], one_member: usize, clients: usize) -> Self {
        let budget = |bytes| Arc::new(Semaphore::new(bytes));
        Self {
            members: Mutex::new(members.iter().map(|id| (*id, budget(one_member))).collect()),
            clients: budget(clients),
        }
    }

    fn members(&self) -> MutexGuard<'_, BTreeMap<ReplicaId, Arc<Semaphore>>> {
        // Whole between any two statements.
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a share, if there is room.
    fn take(budget: &Arc<Semaphore>, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes).ok()?;
        Arc::clone(budget).try_acquire_many_owned(bytes).ok()
    }
}

/// The queues in front of the threads.
pub struct Admission {
    waiting: Mutex<Waiting>,
    budgets: Budgets,
    arrived: Condvar,
    meters: Arc<Meters>,
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Admission(..)")
    }
}

/// What transactions are judged by.
#[derive(Clone, Debug)]
pub struct Door {
    /// The chain they must name.
    pub chain: ChainId,
    /// The weakest suite.
    pub floor: Tier,
    /// The predicate of signatures.
    pub verifier: NodeVerifier,
}

/// What one of so many members may have under way, in bytes.
fn share(members: usize) -> usize {
    (MEMBER_BYTES_MAX / members.max(1)).max(ONE_MEMBER_BYTES_MIN)
}

impl Admission {
    /// Starts the threads. They end when [`close`](Self::close) is called. `members` are those
    /// whose transactions are taken.
    pub fn start(
        threads: usize,
        door: &Door,
        members: &[ReplicaId],
        commands: &mpsc::Sender<Command>,
        meters: &Arc<Meters>,
    ) -> std::io::Result<Arc<Self>> {
        let budgets = Budgets::new(members, share(members.len()), CLIENT_BYTES_MAX);
        let admission = Self::new(budgets, meters);
        for number in 0..threads.max(1) {
            let admission = Arc::clone(&admission);
            let commands = commands.clone();
            let door = door.clone();
            std::thread::Builder::new()
                .name(format!("polity-verify-{number}"))
                .spawn(move || admission.run(&door, &commands))?;
        }
        Ok(admission)
    }

    fn new(budgets: Budgets, meters: &Arc<Meters>) -> Arc<Self> {
        Arc::new(Self {
            waiting: Mutex::default(),
            budgets,
            arrived: Condvar::new(),
            meters: Arc::clone(meters),
        })
    }

    /// Changes whose transactions are taken. Members that stay keep their budgets, unless the number of
    /// members changed: then everybody has a new one, and what is under way belongs to the old.
    pub fn set_members(&self, members: &[ReplicaId]) {
        let mut budgets = self.budgets.members();
        let is_same_share = share(budgets.len()) == share(members.len());
        let fresh = members.iter().map(|id| {
            let kept = budgets.get(id).filter(|_| is_same_share).cloned();
            (
                *id,
                kept.unwrap_or_else(|| Arc::new(Semaphore::new(share(members.len())))),
            )
        });
        let fresh = fresh.collect();
        *budgets = fresh;
    }

    /// Queues transactions that a member sent on.
    pub fn from_member(&self, from: ReplicaId, transactions: Vec<TransactionBytes>) {
        let bytes = cost(transactions.iter().map(TransactionBytes::as_slice));
        let budget = self.budgets.members().get(&from).cloned();
        let Some(budget) = budget.and_then(|budget| Budgets::take(&budget, bytes)) else {
            self.meters.dropped.add(transactions.len() as u64);
            return;
        };
        let work = Work::Member { from, transactions };
        self.lock().push(Job { work, budget });
        self.arrived.notify_one();
    }

    /// Queues transactions of a client. `None` if too many wait.
    pub fn from_client(&self, transactions: Vec<Vec<u8>>) -> Option<oneshot::Receiver<Judged>> {
        let bytes = cost(transactions.iter().map(Vec::as_slice));
        let budget = Budgets::take(&self.budgets.clients, bytes)?;
        let (reply, judged) = oneshot::channel();
        let work = Work::Client {
            transactions,
            reply,
        };
        self.lock().push(Job { work, budget });
        self.arrived.notify_one();
        Some(judged)
    }

    /// Ends the threads; what waits is dropped.
    pub fn close(&self) {
        let mut waiting = self.lock();
        waiting.is_closed = true;
        waiting.members.clear();
        waiting.turns.clear();
        waiting.clients.clear();
        drop(waiting);
        self.arrived.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // The queues are whole between any two statements.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works until the end.
    fn run(&self, door: &Door, commands: &mpsc::Sender<Command>) {
        let mut checker = Checker::new(door.verifier.clone(), VERDICTS_MAX);
        while let Some(job) = self.take() {
            self.work(job, door, &mut checker, commands);
        }
    }

    fn take(&self) -> Option<Job> {
        let mut waiting = self.lock();
        loop {
            if waiting.is_closed {
                return None;
            }
            if let Some(job) = waiting.pop() {
                return Some(job);
            }
            waiting = self
                .arrived
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn work(
        &self,
        job: Job,
        door: &Door,
        checker: &mut Checker<NodeVerifier>,
        commands: &mpsc::Sender<Command>,
    ) {
        let mut verify = |bytes: &[u8]| {
            let result = admit(bytes, door.chain, door.floor, checker);
            match &result {
                Ok(_) => self.meters.verified.add(1),
                Err(_) => self.meters.not_admitted.add(1),
            }
            result
        };
        let Job { work, budget } = job;
        match work {
            Work::Member { from, transactions } => {
                let transactions: Vec<Verified<SignedTransaction>> = transactions
                    .iter()
                    .filter_map(|bytes| verify(bytes.as_slice()).ok())
                    .collect();
                if !transactions.is_empty() {
                    let input = Input::Gossiped { from, transactions };
                    // The driver is gone when the node stops.
                    let _ = commands.blocking_send(Command::Fact {
                        input,
                        budget: Some(budget),
                    });
                }
            }
            Work::Client {
                transactions,
                reply,
            } => {
                let verified: Vec<_> = transactions.iter().map(|bytes| verify(bytes)).collect();
                // The client may have gone. If the driver has, the client learns that too.
                if let Some(judged) = submit(verified, budget, commands) {
                    let _ = reply.send(judged);
                }
            }
        }
    }
}

/// What a job takes of its budget.
fn cost<'a>(transactions: impl Iterator<Item = &'a [u8]>) -> usize {
    OVERHEAD
        + transactions
            .map(|bytes| OVERHEAD + bytes.len())
            .sum::<usize>()
}

/// Hands what passed to the driver.
fn submit(
    verified: Vec<Result<Verified<SignedTransaction>, AdmitError>>,
    budget: OwnedSemaphorePermit,
    commands: &mpsc::Sender<Command>,
) -> Option<Judged> {
    let mut passed = Vec::with_capacity(verified.len());
    let mut places = Vec::with_capacity(verified.len());
    for result in verified {
        let place = match &result {
            Ok(transaction) => Ok(transaction.id()),
            Err(error) => Err(*error),
        };
        places.push(place);
        passed.extend(result);
    }
    if passed.is_empty() {
        return Some(Judged {
            places,
            answers: None,
        });
    }
    let (reply, answers) = oneshot::channel();
    let command = Command::Submit {
        transactions: passed,
        reply,
        budget: Some(budget),
    };
    commands.blocking_send(command).ok()?;
    Some(Judged {
        places,
        answers: Some(answers),
    })
}

impl Waiting {
    /// Adds a job; after the end it is dropped.
    fn push(&mut self, job: Job) {
        if self.is_closed {
            return;
        }
        match &job.work {
            Work::Client { .. } => self.clients.push_back(job),
            Work::Member { from, .. } => {
                let queue = self.members.entry(*from).or_default();
                if queue.is_empty() {
                    self.turns.push_back(*from);
                }
                queue.push_back(job);
            }
        }
    }

    /// The next job: of clients and members in turn, and of members in turn.
    fn pop(&mut self) -> Option<Job> {
        let take_client = match (self.turns.is_empty(), self.clients.is_empty()) {
            (true, true) => return None,
            (true, false) => true,
            (false, true) => false,
            (false, false) => self.serve_clients_next,
        };
        self.serve_clients_next = !take_client;
        if take_client {
            return self.clients.pop_front();
        }
        let from = self.turns.pop_front()?;
        let queue = self.members.get_mut(&from)?;
        let job = queue.pop_front();
        if !queue.is_empty() {
            self.turns.push_back(from);
        }
        job
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SecretKey;
    use crate::wallet::{Terms, sign};
    use polity_ledger::Address;
    use polity_types::{Amount, Height};

    const CHAIN: ChainId = ChainId::new([7; 32]);
    const A: ReplicaId = ReplicaId::new(1);
    const B: ReplicaId = ReplicaId::new(2);

    /// Jobs that fit a budget here.
    const FIT: usize = 3;

    /// A wait that takes this long has failed.
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

    /// A transaction whose signature holds.
    fn transaction() -> Vec<u8> {
        let address = Address::new("alice", "a").unwrap();
        let terms = Terms {
            chain: CHAIN,
            valid_until: Height::new(9),
        };
        let command = polity_ledger::Command::Transfer {
            from: address.clone(),
            to: address.clone(),
            amount: Amount::from_atp(1),
        };
        let key = SecretKey::generate().unwrap();
        sign(terms, &address, &key, command).unwrap().encode()
    }

    /// Budgets for three jobs, a thread that verifies, and the end of the channel where the driver
    /// would be.
    struct Bench {
        admission: Arc<Admission>,
        meters: Arc<Meters>,
        handled: mpsc::Receiver<Command>,
        bytes: Vec<u8>,
    }

    impl Bench {
        fn new() -> Self {
            let bytes = transaction();
            let budget = FIT * cost([bytes.as_slice()].into_iter());
            let meters = Arc::default();
            let admission = Admission::new(Budgets::new(&[A, B], budget, budget), &meters);
            let (commands, handled) = mpsc::channel(100);
            let threads = Arc::clone(&admission);
            let door = Door {
                chain: CHAIN,
                floor: Tier::Ed25519,
                verifier: NodeVerifier::default(),
            };
            std::thread::spawn(move || threads.run(&door, &commands));
            Self {
                admission,
                meters,
                handled,
                bytes,
            }
        }

        /// Whether a job of a client is taken.
        fn client(&self) -> bool {
            self.admission
                .from_client(vec![self.bytes.clone()])
                .is_some()
        }

        /// Whether a job of a member is taken.
        fn member(&self, from: ReplicaId) -> bool {
            let dropped = self.meters.dropped.read();
            let transaction = TransactionBytes::new(self.bytes.clone());
            self.admission.from_member(from, vec![transaction]);
            self.meters.dropped.read() == dropped
        }

        /// Waits until so many were verified: they are in the channel, or about to be.
        fn verified(&self, count: u64) {
            let start = std::time::Instant::now();
            while self.meters.verified.read() < count || self.handled.len() < count as usize {
                assert!(start.elapsed() < PATIENCE, "nobody verifies");
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
    }

    impl Drop for Bench {
        fn drop(&mut self) {
            self.admission.close();
        }
    }

    #[test]
    fn a_job_of_a_client_counts_until_the_driver_has_handled_it() {
        let mut bench = Bench::new();
        for _ in 0..FIT {
            assert!(bench.client());
        }
        bench.verified(FIT as u64);
        assert!(!bench.client());
        let handled = bench.handled.try_recv().unwrap();
        assert!(matches!(
            &handled,
            Command::Submit {
                budget: Some(_),
                ..
            }
        ));
        assert!(!bench.client());
        drop(handled);
        assert!(bench.client());
        assert!(!bench.client());
    }

    #[test]
    fn a_job_of_a_member_counts_until_the_driver_has_handled_it() {
        let mut bench = Bench::new();
        for _ in 0..FIT {
            assert!(bench.member(A));
        }
        bench.verified(FIT as u64);
        assert!(!bench.member(A));
        let handled = bench.handled.try_recv().unwrap();
        assert!(matches!(
            &handled,
            Command::Fact {
                budget: Some(_),
                ..
            }
        ));
        assert!(!bench.member(A));
        drop(handled);
        assert!(bench.member(A));
        assert!(!bench.member(A));
    }

    #[test]
    fn members_that_come_are_heard_and_those_that_go_are_not() {
        let bench = Bench::new();
        let c = ReplicaId::new(9);
        assert!(bench.member(A) && !bench.member(c));
        bench.admission.set_members(&[A, c]);
        assert!(bench.member(A) && bench.member(c));
        assert!(!bench.member(B));
        bench.admission.close();
    }

    #[test]
    fn nobody_who_floods_shuts_others_out() {
        let mut bench = Bench::new();
        while bench.member(A) {}
        assert!(bench.member(B), "another member");
        assert!(bench.client(), "a client");
        while bench.client() {}
        assert!(bench.member(B), "a member beside clients");
        // A stranger has no budget at all.
        assert!(!bench.member(ReplicaId::new(9)));
        bench.verified(2 * FIT as u64 + 2);
        bench.handled.close();
    }

    #[test]
    fn what_does_not_pass_gives_its_share_back() {
        let bench = Bench::new();
        let mut broken = bench.bytes.clone();
        *broken.last_mut().unwrap() ^= 1;
        for round in 1..=3 * FIT as u64 {
            let judged = bench.admission.from_client(vec![broken.clone()]).unwrap();
            assert!(judged.blocking_recv().unwrap().answers.is_none());
            let transaction = TransactionBytes::new(broken.clone());
            bench.admission.from_member(A, vec![transaction]);
            while bench.meters.not_admitted.read() < 2 * round {
                std::thread::yield_now();
            }
        }
        assert_eq!(bench.meters.dropped.read(), 0);
    }

    #[test]
    fn queues_are_served_in_turn() {
        let budget = Arc::new(Semaphore::new(100));
        let mut waiting = Waiting::default();
        let mut push = |from: Option<ReplicaId>| {
            let work = match from {
                Some(from) => Work::Member {
                    from,
                    transactions: Vec::new(),
                },
                None => Work::Client {
                    transactions: Vec::new(),
                    reply: oneshot::channel().0,
                },
            };
            let budget = Budgets::take(&budget, 1).unwrap();
            waiting.push(Job { work, budget });
        };
        for from in [
            Some(A),
            Some(A),
            Some(A),
            Some(A),
            Some(B),
            Some(B),
            None,
            None,
        ] {
            push(from);
        }
        let order: Vec<Option<ReplicaId>> = std::iter::from_fn(|| waiting.pop())
            .map(|job| match job.work {
                Work::Member { from, .. } => Some(from),
                Work::Client { .. } => None,
            })
            .collect();
        let (a, b, client) = (Some(A), Some(B), None);
        assert_eq!(order, [a, client, b, client, a, b, a, a]);
        assert_eq!(budget.available_permits(), 100);
    }
}
