//! Events that wait for the node, shared fairly between lanes and peers.
//!
//! A frame enters only with a permit of its sender's key and lane (see [`Budgets`]), and gives it back
//! when it is taken. So a peer that floods fills its own budget and no other, and then its stream waits.
//! Lanes are served by weight: votes come first and nobody starves.

use super::{Event, Lane, Limits};
use polity_types::ReplicaId;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Frames taken from each lane in one round, by precedence.
const WEIGHTS: [u32; 4] = [8, 4, 2, 1];

/// What a frame costs beside its bytes, so that empty frames are not free.
const FRAME_OVERHEAD: usize = 256;

/// The receiving end of a transport.
pub struct Events {
    inbox: Arc<Inbox>,
}

impl Events {
    /// Waits for the next event. `None` after the transport was shut down or dropped.
    pub async fn recv(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.try_recv() {
                return Some(event);
            }
            if self.inbox.lock().is_closed {
                return None;
            }
            self.inbox.arrived.notified().await;
        }
    }

    /// The next event, if one waits: to work on a batch without waiting.
    pub fn try_recv(&mut self) -> Option<Event> {
        self.inbox.lock().pop()
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events(..)")
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // Nobody takes frames any more: give their budgets back and take no new ones.
        self.inbox.close();
    }
}

pub(super) fn new() -> (Arc<Inbox>, Events) {
    let inbox = Arc::new(Inbox {
        waiting: Mutex::new(Waiting {
            lanes: Default::default(),
            links: VecDeque::new(),
            credits: WEIGHTS,
            is_closed: false,
        }),
        arrived: Notify::new(),
    });
    let events = Events {
        inbox: Arc::clone(&inbox),
    };
    (inbox, events)
}

/// The sending end, shared by all tasks.
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

struct Waiting {
    lanes: [VecDeque<Queued>; 4],
    /// Link events, at most two for each peer.
    links: VecDeque<(ReplicaId, Event)>,
    credits: [u32; 4],
    is_closed: bool,
}

struct Queued {
    from: ReplicaId,
    bytes: Vec<u8>,
    /// Returned to the sender's budget when the frame is taken.
    _permit: OwnedSemaphorePermit,
}

impl Inbox {
    pub(super) fn frame(
        &self,
        from: ReplicaId,
        lane: Lane,
        bytes: Vec<u8>,
        permit: OwnedSemaphorePermit,
    ) {
        let mut waiting = self.lock();
        if !waiting.is_closed {
            waiting.lanes[lane.index()].push_back(Queued {
                from,
                bytes,
                _permit: permit,
            });
        }
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Announces that the link to a peer came up or broke. Ups and downs that nobody has seen
    /// cancel each other, so a flapping link cannot fill the memory.
    pub(super) fn link(&self, peer: ReplicaId, event: Event) {
        let mut waiting = self.lock();
        let is_peer = |(id, _): &(ReplicaId, Event)| *id == peer;
        if waiting.links.iter().filter(|entry| is_peer(entry)).count() >= 2 {
            waiting.links.retain(|entry| !is_peer(entry));
        }
        if !waiting.is_closed {
            waiting.links.push_back((peer, event));
        }
        drop(waiting);
        self.arrived.notify_one();
    }

    pub(super) fn close(&self) {
        let mut waiting = self.lock();
        waiting.is_closed = true;
        waiting.lanes = Default::default();
        waiting.links.clear();
        drop(waiting);
        self.arrived.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // The queues are whole between any two statements.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn pop(&mut self) -> Option<Event> {
        if let Some((_, event)) = self.links.pop_front() {
            return Some(event);
        }
        // The second round has fresh credits, so it finds whatever waits.
        for _ in 0..2 {
            for lane in Lane::ALL {
                let index = lane.index();
                if self.credits[index] == 0 {
                    continue;
                }
                if let Some(queued) = self.lanes[index].pop_front() {
                    self.credits[index] -= 1;
                    return Some(Event::Frame {
                        from: queued.from,
                        lane,
                        bytes: queued.bytes,
                    });
                }
            }
            self.credits = WEIGHTS;
        }
        None
    }
}

/// How much may wait in the inbox from one key of a peer, by lane. It belongs to the key and not to a
/// connection.
#[derive(Clone, Debug)]
pub(super) struct Budgets([Arc<Semaphore>; 4]);

impl Budgets {
    pub(super) fn new(limits: &Limits) -> Self {
        Self(Lane::ALL.map(|lane| Arc::new(Semaphore::new(limits.lane(lane).inbox_bytes_max))))
    }

    /// Waits until a frame of `length` bytes may enter. `None` never happens in practice: the
    /// budgets are not closed.
    pub(super) async fn permit(
        &self,
        lane: Lane,
        length: usize,
        limits: &Limits,
    ) -> Option<OwnedSemaphorePermit> {
        let cost = (length + FRAME_OVERHEAD).min(limits.lane(lane).inbox_bytes_max);
        let cost = u32::try_from(cost).ok()?;
        Arc::clone(&self.0[lane.index()])
            .acquire_many_owned(cost)
            .await
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: ReplicaId = ReplicaId::new(1);

    async fn put(inbox: &Inbox, budgets: &Budgets, lane: Lane, byte: u8) {
        let limits = Limits::default();
        let permit = budgets.permit(lane, 1, &limits).await.unwrap();
        inbox.frame(PEER, lane, vec![byte], permit);
    }

    fn lane_of(event: &Event) -> Lane {
        match event {
            Event::Frame { lane, .. } => *lane,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn votes_come_first_and_nobody_starves() {
        let (inbox, mut events) = new();
        let budgets = Budgets::new(&Limits::default());
        for byte in 0..20 {
            for lane in Lane::ALL {
                put(&inbox, &budgets, lane, byte).await;
            }
        }
        let first: Vec<Lane> = (0..15)
            .map(|_| lane_of(&events.try_recv().unwrap()))
            .collect();
        let count = |lane| first.iter().filter(|other| **other == lane).count();
        assert_eq!(Lane::ALL.map(count), [8, 4, 2, 1]);
        // Everything arrives in the end.
        assert_eq!(std::iter::from_fn(|| events.try_recv()).count(), 65);
    }

    #[tokio::test]
    async fn taking_a_frame_returns_its_budget() {
        let mut limits = Limits::default();
        limits.lanes[0].inbox_bytes_max = 2 * (FRAME_OVERHEAD + 1);
        let (inbox, mut events) = new();
        let budgets = Budgets::new(&limits);
        for byte in 0..2 {
            let permit = budgets.permit(Lane::Votes, 1, &limits).await.unwrap();
            inbox.frame(PEER, Lane::Votes, vec![byte], permit);
        }
        assert_eq!(budgets.0[0].available_permits(), 0);
        events.recv().await.unwrap();
        assert_eq!(budgets.0[0].available_permits(), FRAME_OVERHEAD + 1);
        drop(events);
        assert_eq!(budgets.0[0].available_permits(), 2 * (FRAME_OVERHEAD + 1));
    }

    #[tokio::test]
    async fn unseen_link_events_cancel_and_the_last_state_stays() {
        let (inbox, mut events) = new();
        let down = || Event::Disconnected {
            peer: PEER,
            reason: String::new(),
        };
        for _ in 0..100 {
            inbox.link(PEER, Event::Connected { peer: PEER });
            inbox.link(PEER, down());
        }
        inbox.link(PEER, Event::Connected { peer: PEER });
        let seen: Vec<Event> = std::iter::from_fn(|| events.try_recv()).collect();
        assert_eq!(seen, [Event::Connected { peer: PEER }]);
        inbox.close();
        assert_eq!(events.recv().await, None);
    }
}
