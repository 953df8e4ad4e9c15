//! Answers members that fell behind, from what is on disk.
//!
//! Reading takes its time, so a thread of its own does it. Members take turns: who asks for much waits
//! behind its own requests, not others behind them.

use crate::archive::{ArchiveError, Blocks};
use crate::driver::lane;
use crate::source::Source;
use crate::transport::Transport;
use polity_consensus::fbpbft::Message;
use polity_replica::Frame;
use polity_replica::sync::{SyncMessage, SyncRequest, answer};
use polity_types::{Height, ReplicaId};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Requests of one member that wait, at most; further ones are dropped, and asked again.
pub const REQUESTS_PER_PEER_MAX: usize = 4;

/// What a member asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Decided blocks.
    Blocks {
        /// First height.
        from: Height,
        /// Blocks at most.
        count_max: u64,
        /// Bytes at most; one block is always sent.
        bytes_max: usize,
    },
    /// Ends of epochs, or a chunk of a snapshot (FB-19).
    Sync(SyncRequest),
}

/// What waits to be answered. Who asks has proven to be a member, so their number is bounded.
#[derive(Debug, Default)]
pub struct Requests {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Those of members that wait for something, none of them empty.
    by_peer: BTreeMap<ReplicaId, VecDeque<Request>>,
    /// The same members, each once, in the order in which they are served.
    turns: VecDeque<ReplicaId>,
    is_closed: bool,
}

impl Requests {
    /// Lets a request wait for its turn. Says whether there is room for it.
    pub fn push(&self, peer: ReplicaId, request: Request) -> bool {
        let mut waiting = self.lock();
        if waiting.is_closed {
            return false;
        }
        let queue = waiting.by_peer.entry(peer).or_default();
        if queue.len() >= REQUESTS_PER_PEER_MAX {
            return false;
        }
        let is_first = queue.is_empty();
        queue.push_back(request);
        if is_first {
            waiting.turns.push_back(peer);
        }
        drop(waiting);
        self.changed.notify_one();
        true
    }

    /// Waits for the next request. `None` after the end; what waits then is dropped.
    pub fn next(&self) -> Option<(ReplicaId, Request)> {
        let is_idle = |waiting: &mut Waiting| !waiting.is_closed && waiting.turns.is_empty();
        let mut waiting = self
            .changed
            .wait_while(self.lock(), is_idle)
            .unwrap_or_else(PoisonError::into_inner);
        if waiting.is_closed {
            return None;
        }
        let peer = waiting.turns.pop_front()?;
        let queue = waiting.by_peer.get_mut(&peer)?;
        let request = queue.pop_front()?;
        if queue.is_empty() {
            waiting.by_peer.remove(&peer);
        } else {
            waiting.turns.push_back(peer);
        }
        Some((peer, request))
    }

    /// Ends it.
    pub fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in between panics.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers until the end of the requests.
pub fn run(blocks: &Blocks, transport: &Transport, requests: &Requests) {
    let source = Source::new(blocks);
    while let Some((to, request)) = requests.next() {
        match request {
            Request::Blocks {
                from,
                count_max,
                bytes_max,
            } => {
                let most = (count_max, bytes_max);
                if let Err(error) = send_blocks(blocks, transport, to, from, most) {
                    tracing::warn!(peer = %to, height = %from, %error, "cannot serve blocks");
                }
            }
            Request::Sync(request) => {
                let answer = SyncMessage::Answer(answer(request, &source));
                let frame = Frame::Sync(answer);
                let bytes = frame.encode();
                if let Err(error) = transport.send(to, lane(&frame), bytes.into()) {
                    tracing::warn!(peer = %to, %error, "a part of a snapshot cannot be sent");
                }
            }
        }
    }
}

/// Sends blocks from a height on; at most so many, and so many bytes.
fn send_blocks(
    blocks: &Blocks,
    transport: &Transport,
    to: ReplicaId,
    from: Height,
    (count_max, bytes_max): (u64, usize),
) -> Result<(), ArchiveError> {
    let mut height = from;
    let mut bytes_sent = 0;
    for _ in 0..count_max {
        let Some(decided) = blocks.get(height)? else {
            break;
        };
        let frame = Frame::Consensus(Message::Decided(decided));
        let bytes = frame.encode();
        // One block is always sent, so that nobody waits for ever behind a large one.
        if bytes_sent > 0 && bytes_sent + bytes.len() > bytes_max {
            break;
        }
        bytes_sent += bytes.len();
        if let Err(error) = transport.send(to, lane(&frame), bytes.into()) {
            tracing::warn!(peer = %to, %height, %error, "a block cannot be sent");
            break;
        }
        height = height.next();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use polity_types::Epoch;
    use std::sync::Arc;

    fn request(from: u64) -> Request {
        Request::Sync(SyncRequest::Epochs {
            from: Epoch::new(from),
        })
    }

    fn put(requests: &Requests, peer: u32, from: u64) -> bool {
        requests.push(ReplicaId::new(peer), request(from))
    }

    fn take(requests: &Requests) -> (u32, u64) {
        match requests.next() {
            Some((peer, Request::Sync(SyncRequest::Epochs { from }))) => (peer.get(), from.get()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn members_take_turns_and_who_asks_for_much_waits_behind_itself() {
        let requests = Requests::default();
        let taken = (1..=100).filter(|from| put(&requests, 7, *from)).count();
        assert_eq!(taken, REQUESTS_PER_PEER_MAX);
        assert!(put(&requests, 8, 50));
        assert!(put(&requests, 9, 60));
        assert!(put(&requests, 8, 51));
        let served: Vec<_> = (0..4).map(|_| take(&requests)).collect();
        assert_eq!(served, [(7, 1), (8, 50), (9, 60), (7, 2)]);
        // There is room again, at the end of its own.
        assert!(put(&requests, 7, 200));
        let served: Vec<_> = (0..4).map(|_| take(&requests)).collect();
        assert_eq!(served, [(8, 51), (7, 3), (7, 4), (7, 200)]);
    }

    #[test]
    fn the_end_reaches_who_waits_for_a_request() {
        let requests = Arc::new(Requests::default());
        let waiting = Arc::clone(&requests);
        let thread = std::thread::spawn(move || (waiting.next(), waiting.next()));
        assert!(put(&requests, 1, 5));
        // The first is taken before the end, or lost with it; the second never comes.
        requests.close();
        let (_, second) = thread.join().unwrap();
        assert_eq!(second, None);
        assert!(!put(&requests, 1, 6));
    }
}
