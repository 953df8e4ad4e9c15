//! The threads that verify signatures of transactions.
//!
//! Verifying takes a hundred times longer than everything else that happens to a transaction, so it
//! happens here, beside the driver. Transactions of clients and of members wait in two queues of
//! bounded size and are served in turn, so a member that floods does not shut clients out.

use crate::driver::{Command, Submitted};
use crate::meters::Meters;
use polity_consensus::fbpbft::TransactionBytes;
use polity_crypto::ed25519::Ed25519Verifier;
use polity_crypto::{Checker, Tier, Verified};
use polity_ledger::{SignedTransaction, TransactionId};
use polity_replica::{AdmitError, Input, admit};
use polity_types::{ChainId, ReplicaId};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, oneshot};

/// Bytes of members' transactions that wait, at most; further ones are dropped and counted. They
/// come again with a block.
const MEMBER_BYTES_MAX: usize = 16 << 20;

/// Bytes of clients' transactions that wait, at most; further ones are answered with 503.
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

enum Job {
    Member {
        from: ReplicaId,
        transactions: Vec<TransactionBytes>,
    },
    Client {
        transactions: Vec<Vec<u8>>,
        reply: oneshot::Sender<Judged>,
    },
}

#[derive(Default)]
struct Waiting {
    members: VecDeque<Job>,
    member_bytes: usize,
    clients: VecDeque<Job>,
    client_bytes: usize,
    serve_clients_next: bool,
    is_closed: bool,
}

/// The queue in front of the threads.
pub struct Admission {
    waiting: Mutex<Waiting>,
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
    pub verifier: Ed25519Verifier,
}

impl Admission {
    /// Starts the threads. They end when [`close`](Self::close) is called.
    pub fn start(
        threads: usize,
        door: &Door,
        commands: &mpsc::Sender<Command>,
        meters: &Arc<Meters>,
    ) -> std::io::Result<Arc<Self>> {
        let admission = Arc::new(Self {
            waiting: Mutex::default(),
            arrived: Condvar::new(),
            meters: Arc::clone(meters),
        });
        for number in 0..threads.max(1) {
            let admission = Arc::clone(&admission);
            let commands = commands.clone();
            let door = door.clone();
            std::thread::Builder::new()
                .name(format!("polity-verify-{number}"))
                .spawn(move || {
                    let mut checker = Checker::new(door.verifier.clone(), VERDICTS_MAX);
                    while let Some(job) = admission.take() {
                        admission.work(job, &door, &mut checker, &commands);
                    }
                })?;
        }
        Ok(admission)
    }

    /// Queues transactions that a member sent on.
    pub fn from_member(&self, from: ReplicaId, transactions: Vec<TransactionBytes>) {
        let bytes = cost(transactions.iter().map(TransactionBytes::as_slice));
        let mut waiting = self.lock();
        if waiting.is_closed || waiting.member_bytes + bytes > MEMBER_BYTES_MAX {
            self.meters.dropped.add(transactions.len() as u64);
            return;
        }
        waiting.member_bytes += bytes;
        waiting
            .members
            .push_back(Job::Member { from, transactions });
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Queues transactions of a client. `None` if too many wait.
    pub fn from_client(&self, transactions: Vec<Vec<u8>>) -> Option<oneshot::Receiver<Judged>> {
        let bytes = cost(transactions.iter().map(Vec::as_slice));
        let mut waiting = self.lock();
        if waiting.is_closed || waiting.client_bytes + bytes > CLIENT_BYTES_MAX {
            return None;
        }
        let (reply, judged) = oneshot::channel();
        waiting.client_bytes += bytes;
        waiting.clients.push_back(Job::Client {
            transactions,
            reply,
        });
        drop(waiting);
        self.arrived.notify_one();
        Some(judged)
    }

    /// Ends the threads; what waits is dropped.
    pub fn close(&self) {
        let mut waiting = self.lock();
        waiting.is_closed = true;
        waiting.members.clear();
        waiting.clients.clear();
        drop(waiting);
        self.arrived.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // The queues are whole between any two statements.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
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
        checker: &mut Checker<Ed25519Verifier>,
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
        match job {
            Job::Member { from, transactions } => {
                let transactions: Vec<Verified<SignedTransaction>> = transactions
                    .iter()
                    .filter_map(|bytes| verify(bytes.as_slice()).ok())
                    .collect();
                if !transactions.is_empty() {
                    let input = Input::Gossiped { from, transactions };
                    // The driver is gone when the node stops.
                    let _ = commands.blocking_send(Command::Fact {
                        input,
                        budget: None,
                    });
                }
            }
            Job::Client {
                transactions,
                reply,
            } => {
                let verified: Vec<_> = transactions.iter().map(|bytes| verify(bytes)).collect();
                // The client may have gone. If the driver has, the client learns that too.
                if let Some(judged) = submit(verified, commands) {
                    let _ = reply.send(judged);
                }
            }
        }
    }
}

/// What a job takes of its queue.
fn cost<'a>(transactions: impl Iterator<Item = &'a [u8]>) -> usize {
    OVERHEAD
        + transactions
            .map(|bytes| OVERHEAD + bytes.len())
            .sum::<usize>()
}

/// Hands what passed to the driver.
fn submit(
    verified: Vec<Result<Verified<SignedTransaction>, AdmitError>>,
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
    };
    commands.blocking_send(command).ok()?;
    Some(Judged {
        places,
        answers: Some(answers),
    })
}

impl Waiting {
    /// The next job: of the two queues in turn.
    fn pop(&mut self) -> Option<Job> {
        let take_client = match (self.members.is_empty(), self.clients.is_empty()) {
            (true, true) => return None,
            (true, false) => true,
            (false, true) => false,
            (false, false) => self.serve_clients_next,
        };
        self.serve_clients_next = !take_client;
        let job = if take_client {
            self.clients.pop_front()
        } else {
            self.members.pop_front()
        };
        match &job {
            Some(Job::Member { transactions, .. }) => {
                self.member_bytes -= cost(transactions.iter().map(TransactionBytes::as_slice));
            }
            Some(Job::Client { transactions, .. }) => {
                self.client_bytes -= cost(transactions.iter().map(Vec::as_slice));
            }
            None => {}
        }
        job
    }
}
