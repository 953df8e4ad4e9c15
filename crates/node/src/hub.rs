//! Tells whoever listens which blocks were committed.
//!
//! Every listener has a queue of the blocks that it has not read. Blocks are shared and not copied,
//! but each stays in memory as long as one queue holds it, so queues are bounded, in blocks and in
//! bytes. A listener that falls farther behind loses its queue and sees its stream end.
//!
//! # Invariants
//!
//! 1. A listener sees every block from its beginning on, in order and without a gap, until its
//!    stream ends.
//! 2. A queue holds the newest blocks and no others: all queues together hold no more than the
//!    longest of them, however many listeners there are and wherever each of them stopped reading.

use polity_replica::Committed;
use polity_types::wire;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

/// Blocks that a listener may fall behind before it is dropped.
const BEHIND_MAX: usize = 1_024;

/// Bytes that a listener may fall behind before it is dropped. A full block of 2 MiB has about as
/// much again in receipts, so this is eight of them: seconds for a listener that takes a breath. A
/// single block always fits.
const BEHIND_BYTES_MAX: usize = 32 << 20;

/// What a block takes beside its content.
const BLOCK_OVERHEAD: usize = 4_096;

/// What a transaction takes beside its bytes and its receipt: its id and where its bytes are.
const TRANSACTION_OVERHEAD: usize = 64;

/// Committed blocks, for everybody who listens.
#[derive(Debug, Default)]
pub struct Hub {
    listeners: Mutex<Vec<Weak<Mutex<Queue>>>>,
}

/// Committed blocks, in order. The stream ends with the node, or when this listener reads too
/// slowly.
#[derive(Debug)]
pub struct Listener {
    queue: Arc<Mutex<Queue>>,
}

/// What one listener has not read.
#[derive(Debug, Default)]
struct Queue {
    /// Blocks with their bytes.
    blocks: VecDeque<(Arc<Committed>, usize)>,
    bytes: usize,
    is_over: bool,
    /// Who waits for the next block.
    reader: Option<Waker>,
}

impl Hub {
    /// Every block that is committed from now on.
    pub fn listen(&self) -> Listener {
        let queue = Arc::default();
        let mut listeners = self.lock();
        // Those who left are forgotten here, too: an idle federation publishes nothing.
        listeners.retain(|listener| listener.strong_count() > 0);
        listeners.push(Arc::downgrade(&queue));
        drop(listeners);
        Listener { queue }
    }

    /// Tells everybody.
    pub fn publish(&self, committed: &Arc<Committed>) {
        self.tell(committed, size(committed));
    }

    /// Ends every stream, as at the end of the node or where blocks are passed over. What waits in it can
    /// still be read.
    pub fn close(&self) {
        for listener in self.lock().drain(..) {
            if let Some(queue) = listener.upgrade() {
                lock(&queue).end();
            }
        }
    }

    fn tell(&self, committed: &Arc<Committed>, bytes: usize) {
        self.lock().retain(|listener| {
            listener
                .upgrade()
                .is_some_and(|queue| lock(&queue).push(committed, bytes))
        });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Mutex<Queue>>>> {
        // The list is whole between any two statements.
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener {
    /// Waits for the next block. `None` at the end.
    pub async fn recv(&mut self) -> Option<Arc<Committed>> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// The same for streams.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<Arc<Committed>>> {
        let mut queue = lock(&self.queue);
        if let Some((committed, bytes)) = queue.blocks.pop_front() {
            queue.bytes -= bytes;
            return Poll::Ready(Some(committed));
        }
        if queue.is_over {
            return Poll::Ready(None);
        }
        queue.reader = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Queue {
    /// Adds a block. Says whether the listener has kept up.
    fn push(&mut self, committed: &Arc<Committed>, bytes: usize) -> bool {
        let is_behind = self.blocks.len() >= BEHIND_MAX
            || (!self.blocks.is_empty() && self.bytes + bytes > BEHIND_BYTES_MAX);
        if is_behind {
            // Blocks that it has not read may be held by nobody else. It has to begin anew in any
            // case, so they are not kept until it notices.
            self.blocks.clear();
            self.bytes = 0;
            self.end();
            return false;
        }
        self.blocks.push_back((Arc::clone(committed), bytes));
        self.bytes += bytes;
        self.wake();
        true
    }

    fn end(&mut self) {
        self.is_over = true;
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    // Each method leaves it whole.
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// About how much memory a block takes, receipts included.
fn size(committed: &Committed) -> usize {
    let body = committed.block.body();
    let transactions: usize = body
        .transactions
        .iter()
        .map(|transaction| transaction.as_slice().len() + TRANSACTION_OVERHEAD)
        .sum();
    let rest = (&body.evidence, &body.late_commits, &body.application);
    BLOCK_OVERHEAD
        + transactions
        + size_of_val(&*committed.receipts)
        + size_of_val(&*committed.expired)
        + wire::encoded_len(&rest)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::federation::{Funded, KEY_FILE, Plan, found};
    use crate::keys::SecretKey;
    use crate::scratch::Scratch;
    use crate::signing::NodeVerifier;
    use crate::wallet::{Terms, sign};
    use polity_crypto::{Checker, Tier};
    use polity_ledger::{Address, Command};
    use polity_replica::{Config, Effect, Input, Purpose, Replica, admit};
    use polity_types::{Amount, Height, Seed, StateMachine as _, Time};
    use std::time::Duration;

    /// The first block of a federation of one, with one payment.
    pub(crate) fn block() -> Committed {
        let scratch = Scratch::new();
        let mut plan = Plan::local(vec!["solo".to_owned()], 1, Time::from_millis(1_000)).unwrap();
        let alice = Address::new("alice", "solo").unwrap();
        plan.accounts.push(Funded {
            address: alice.clone(),
            balance: Amount::from_atp(1),
        });
        let founded = found(&scratch.path().join("fed"), &plan).unwrap();
        let terms = Terms {
            chain: founded.genesis.chain().unwrap().id(),
            valid_until: Height::new(100),
        };
        let command = Command::Transfer {
            from: alice.clone(),
            to: alice.clone(),
            amount: Amount::from_atp(1),
        };
        let signed = sign(terms, &alice, founded.owner(&alice).unwrap(), command).unwrap();
        let verifier = NodeVerifier::default();
        let mut checker = Checker::new(verifier.clone(), 0);
        let payment = admit(&signed.encode(), terms.chain, Tier::Ed25519, &mut checker).unwrap();
        let key = SecretKey::load(&founded.nodes[0].join(KEY_FILE)).unwrap();
        let mut replica = Replica::new(
            &founded.genesis,
            Purpose::Production,
            Config::default(),
            key.signer().clone(),
            verifier,
            Seed::from_number(7),
        )
        .unwrap();
        let start = Time::from_millis(2_000);
        // The first deadline is due at once and starts the replica.
        drop(replica.tick(start));
        let mut effects = replica.handle(start, Input::Submitted(vec![payment]));
        for ms in 1..1_000 {
            for effect in effects {
                if let Effect::Committed(committed) = effect {
                    return committed;
                }
            }
            effects = replica.tick(start.saturating_add(Duration::from_millis(ms)));
        }
        panic!("one replica is a quorum");
    }

    /// What a listener sees until it has to wait.
    fn read(listener: &mut Listener, max: usize) -> usize {
        let mut context = Context::from_waker(Waker::noop());
        (0..max)
            .take_while(|_| matches!(listener.poll_recv(&mut context), Poll::Ready(Some(_))))
            .count()
    }

    fn is_over(listener: &mut Listener) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        matches!(listener.poll_recv(&mut context), Poll::Ready(None))
    }

    #[test]
    fn listeners_that_left_are_forgotten_without_a_block() {
        let hub = Hub::default();
        let stays = hub.listen();
        for _ in 0..1_000 {
            drop(hub.listen());
        }
        assert!(hub.lock().len() <= 2);
        drop(stays);
    }

    #[test]
    fn a_listener_is_dropped_when_it_is_too_many_blocks_or_bytes_behind() {
        let hub = Hub::default();
        let block = Arc::new(block());
        for (bytes, fit) in [(1, BEHIND_MAX), (BEHIND_BYTES_MAX / 8, 8)] {
            let mut slow = hub.listen();
            let mut quick = hub.listen();
            for _ in 0..fit {
                hub.tell(&block, bytes);
                assert_eq!(read(&mut quick, 2), 1);
            }
            assert!(!lock(&slow.queue).is_over);
            hub.tell(&block, bytes);
            assert!(is_over(&mut slow));
            assert_eq!(read(&mut quick, 2), 1);
            assert!(!is_over(&mut quick));
        }
        // A block that is larger than everything still reaches those who keep up.
        let mut listener = hub.listen();
        for _ in 0..3 {
            hub.tell(&block, 2 * BEHIND_BYTES_MAX);
            assert_eq!(read(&mut listener, 2), 1);
        }
    }

    #[test]
    fn many_slow_listeners_keep_no_more_than_one() {
        let hub = Hub::default();
        let block = block();
        let quarter = BEHIND_BYTES_MAX / 4;
        let mut published: Vec<Weak<Committed>> = Vec::new();
        let mut listeners = Vec::new();
        for number in 0..40 {
            // Some never read, some stop at one time or another, some keep up.
            listeners.push(hub.listen());
            let committed = Arc::new(block.clone());
            published.push(Arc::downgrade(&committed));
            hub.tell(&committed, quarter);
            drop(committed);
            for (index, listener) in listeners.iter_mut().enumerate() {
                if number < 3 * index {
                    read(listener, index % 3);
                }
            }
            let alive = published.iter().filter(|block| block.strong_count() > 0);
            assert!(alive.count() <= 4);
        }
    }

    #[test]
    fn the_end_comes_after_what_waits() {
        let hub = Hub::default();
        let mut listener = hub.listen();
        hub.publish(&Arc::new(block()));
        hub.close();
        assert_eq!(read(&mut listener, 5), 1);
        assert!(is_over(&mut listener));
    }

    #[tokio::test]
    async fn a_block_wakes_whoever_waits() {
        let hub = Arc::new(Hub::default());
        let mut listener = hub.listen();
        let block = Arc::new(block());
        let waits = tokio::spawn(async move {
            let first = listener.recv().await;
            (first, listener.recv().await)
        });
        tokio::task::yield_now().await;
        hub.publish(&block);
        tokio::task::yield_now().await;
        hub.close();
        assert_eq!(waits.await.unwrap(), (Some(block), None));
    }

    #[test]
    fn the_size_of_a_block_counts_its_content() {
        let committed = block();
        let content: usize = committed
            .block
            .body()
            .transactions
            .iter()
            .map(|transaction| transaction.as_slice().len())
            .sum();
        assert!(content > 0);
        assert!(size(&committed) >= BLOCK_OVERHEAD + content);
    }
}
