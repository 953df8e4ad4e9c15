//! What scenarios do to a world.

use super::{Event, Load, World};
use crate::federation::Federation;
use crate::moment::Moment;
use crate::network::{Fate, Link, Packet};
use crate::node::CrashPoint;
use crate::outcome::Failure;
use crate::recording::Step;
use core::time::Duration;
use polity_consensus::fbpbft::Message;
use polity_ledger::{LockId, SignedTransaction};
use polity_replica::Frame;
use polity_types::{Height, ReplicaId};
use std::rc::Rc;

impl World {
    /// The time.
    pub fn now(&self) -> Moment {
        self.now
    }

    /// Everything that the members have in common.
    pub fn federation(&self) -> &Rc<Federation> {
        &self.federation
    }

    /// Lets time pass.
    pub fn run_for(&mut self, span: Duration) -> Result<(), Failure> {
        let until = self.now.after(span);
        while self
            .events
            .first_key_value()
            .is_some_and(|((at, _), _)| *at <= until)
        {
            self.turn()?;
        }
        self.now = until;
        Ok(())
    }

    /// Lets time pass until `is_done`, at most for `limit`. Returns whether it is done.
    pub fn run_until(
        &mut self,
        limit: Duration,
        mut is_done: impl FnMut(&Self) -> bool,
    ) -> Result<bool, Failure> {
        let until = self.now.after(limit);
        loop {
            if is_done(self) {
                return Ok(true);
            }
            if self
                .events
                .first_key_value()
                .is_none_or(|((at, _), _)| *at > until)
            {
                self.now = until;
                return Ok(is_done(self));
            }
            self.turn()?;
        }
    }

    /// Lets time pass until `is_done`; it is a failure of liveness if that takes longer than
    /// `limit`.
    pub fn expect(
        &mut self,
        limit: Duration,
        what: &str,
        is_done: impl FnMut(&Self) -> bool,
    ) -> Result<(), Failure> {
        if self.run_until(limit, is_done)? {
            return Ok(());
        }
        let stand: Vec<String> = self
            .nodes
            .iter()
            .map(|node| match &node.replica {
                None => format!("{} down at {}", node.id, node.stored()),
                Some(replica) => {
                    let machine = replica.machine();
                    format!(
                        "{}{} works on {} in view {} above {}",
                        node.id,
                        if node.is_honest() { "" } else { " (byzantine)" },
                        machine.height(),
                        machine.view(),
                        machine.view_floor()
                    )
                }
            })
            .collect();
        Err(Failure::Liveness(format!(
            "{what} did not happen within {} ms, until {} ms: {}",
            limit.as_millis(),
            self.now,
            stand.join("; ")
        )))
    }

    /// The same for a step of the schedule itself, which says nothing about the protocol.
    pub fn arrange(
        &mut self,
        limit: Duration,
        what: &str,
        is_done: impl FnMut(&Self) -> bool,
    ) -> Result<(), Failure> {
        if self.run_until(limit, is_done)? {
            return Ok(());
        }
        Err(Failure::Inconclusive(format!(
            "{what} did not come about within {} ms",
            limit.as_millis()
        )))
    }

    /// Lets clients send a transaction every so often, each to so many replicas.
    pub fn load(&mut self, every: Duration, copies: u64) {
        if self.load.is_none() {
            self.schedule(Duration::ZERO, Event::Submits);
        }
        self.load = Some(Load { every, copies });
    }

    /// Sends the clients home.
    pub fn idle(&mut self) {
        self.load = None;
    }

    /// A client sends the next transaction to this replica alone.
    pub fn submit(&mut self, to: ReplicaId) -> Result<SignedTransaction, Failure> {
        // One that a block can hold.
        let transaction = loop {
            let transaction = self.next_transaction();
            if !self.clients.is_untimely(&transaction.id()) {
                break transaction;
            }
        };
        self.tell(to.get() as usize, Step::Submit(vec![transaction.encode()]));
        self.check()?;
        Ok(transaction)
    }

    /// A client sends a lock to this replica alone, which expires after this time; clients settle it
    /// sooner or later, or never.
    pub fn submit_lock(
        &mut self,
        to: ReplicaId,
        after: Duration,
        is_settled: bool,
    ) -> Result<LockId, Failure> {
        let expires = self.now.after(after).shown(Duration::ZERO);
        let height = Height::new(self.agreement.highest());
        let transaction = self.clients.lock_until(expires, height, is_settled);
        self.tell(to.get() as usize, Step::Submit(vec![transaction.encode()]));
        self.check()?;
        Ok(LockId::derive(&transaction.id(), 0))
    }

    /// A member that breaks the rules sends this message.
    pub fn say_as(&mut self, from: ReplicaId, to: ReplicaId, message: Message) {
        let index = from.get() as usize;
        assert!(
            !self.nodes[index].is_honest(),
            "honest members speak for themselves"
        );
        let frame = Frame::Consensus(message);
        let bytes = Rc::from(frame.encode());
        self.route(index, to, &frame, &bytes);
    }

    /// A member forgets the snapshots that it serves.
    pub fn drop_snapshots(&mut self, id: ReplicaId) {
        self.nodes[id.get() as usize].shelf.clear();
    }

    /// Links behave like this from now on.
    pub fn set_link(&mut self, link: Link) {
        self.network.set_link(link);
    }

    /// Frames go through this filter from now on.
    pub fn filter(&mut self, filter: impl FnMut(&Packet<'_>) -> Fate + 'static) {
        self.network.set_filter(Some(Box::new(filter)));
    }

    /// Removes the filter.
    pub fn unfilter(&mut self) {
        self.network.set_filter(None);
    }

    /// Sends everything that the filter held.
    pub fn release(&mut self) {
        for arrival in self.network.release(self.now) {
            self.arrive(arrival);
        }
    }

    /// Cuts one direction of a link.
    pub fn cut(&mut self, from: ReplicaId, to: ReplicaId) {
        self.note(|| format!("cut {from} > {to}"));
        self.network.cut(from, to);
    }

    /// Cuts a member off in both directions.
    pub fn isolate(&mut self, id: ReplicaId) {
        for other in self.federation.others(&[id]) {
            self.cut(id, other);
            self.cut(other, id);
        }
    }

    /// Cuts every link between `side` and the rest.
    pub fn partition(&mut self, side: &[ReplicaId]) {
        for inside in side {
            for outside in self.federation.others(side) {
                self.cut(*inside, outside);
                self.cut(outside, *inside);
            }
        }
    }

    /// Mends every cut link.
    pub fn mend(&mut self) {
        self.note(|| "mend".to_owned());
        self.network.mend();
    }

    /// A replica loses power; some bytes of the tail that was not synced may be on the disk.
    pub fn crash(&mut self, id: ReplicaId) {
        let node = id.get() as usize;
        if self.nodes[node].is_up() {
            let disk = &self.nodes[node].disk;
            let tail = (disk.end() - disk.synced()) as u64;
            let kept = self.chance.below(tail + 1) as usize;
            self.lose_power(node, kept);
        }
    }

    /// A replica loses power when it persists a certain record.
    pub fn crash_at(&mut self, id: ReplicaId, point: CrashPoint) {
        self.nodes[id.get() as usize].crash_at = Some(point);
    }

    /// Switches a replica on again; nothing happens if it is on.
    pub fn restart(&mut self, id: ReplicaId) -> Result<(), Failure> {
        let node = id.get() as usize;
        if !self.nodes[node].is_up() && !self.nodes[node].is_damaged {
            self.restarts += 1;
            self.start(node);
        }
        self.check()
    }

    /// Ends every fault: links are calm and whole, filters are gone, everybody is up whose journal
    /// is not damaged.
    pub fn heal(&mut self) -> Result<(), Failure> {
        self.heal_but(&[])
    }

    /// All honest members that are up decide so many more heights, in the time that the timeouts
    /// allow once faults have stopped; then everything that was promised to clients is decided.
    pub fn progress(&mut self, more: u32) -> Result<(), Failure> {
        let pace = self.pace();
        let floor = self.highest_floor();
        let target = self.agreement.highest() + u64::from(more);
        self.load(Duration::from_millis(40), 2);
        let limit = pace.heights(floor, more);
        self.expect(limit, &format!("height {target}"), |world| {
            world.lowest_height() >= target
        })?;
        self.idle();
        // Transactions that nobody forwarded yet travel first; the block after them records them.
        let limit = pace.heights(self.highest_floor(), 4) + self.config.forward_after * 4;
        self.expect(limit, "a block for every promised transaction", |world| {
            world.progress.open_of(|id| world.is_up(id)) == 0
        })
    }

    /// Ends every fault, and expects progress.
    pub fn settle(&mut self, more: u32) -> Result<(), Failure> {
        self.heal()?;
        self.progress(more)
    }
}
