//! Faults beginning and ending, one by one or as a plan says.

use super::{Event, World};
use crate::disk::DamageKind;
use crate::network::Link;
use crate::outcome::Failure;
use crate::plan::{Fault, FaultPlan, Planned};
use core::time::Duration;
use polity_types::ReplicaId;

impl World {
    /// Stops a replica in the middle of whatever it does; what happens meanwhile waits.
    pub fn pause(&mut self, id: ReplicaId) {
        let node = &mut self.nodes[id.get() as usize];
        if node.is_up() {
            node.is_paused = true;
        }
    }

    /// Lets a paused replica go on: everything that waited happens now.
    pub fn resume(&mut self, id: ReplicaId) {
        let index = id.get() as usize;
        let node = &mut self.nodes[index];
        if !node.is_paused {
            return;
        }
        node.is_paused = false;
        node.wake_at = None;
        for event in core::mem::take(&mut node.deferred) {
            self.schedule(Duration::ZERO, event);
        }
        self.set_alarm(index);
    }

    /// Everything that a replica does and hears takes this much longer.
    pub fn slow_down(&mut self, id: ReplicaId, by: Duration) {
        self.nodes[id.get() as usize].slowness = by;
    }

    /// A replica's clock is this far ahead from now on. Where that sets it back, its time stands
    /// still meanwhile.
    pub fn set_clock(&mut self, id: ReplicaId, ahead: Duration) {
        let index = id.get() as usize;
        self.nodes[index].skew = ahead;
        self.set_alarm(index);
    }

    /// A replica's disk needs this much longer for each sync.
    pub fn slow_disk(&mut self, id: ReplicaId, by: Duration) {
        self.nodes[id.get() as usize].sync_extra = by;
    }

    /// A replica's disk is full, or has room again. A replica that has to write to a full disk
    /// stops.
    pub fn fill_disk(&mut self, id: ReplicaId, is_full: bool) {
        self.nodes[id.get() as usize].is_full = is_full;
    }

    /// A replica loses power, and its disk damages a record that was durable: it must never start
    /// again. Nothing is damaged if nothing durable could be proven to be so. Returns whether
    /// something was.
    pub fn damage(&mut self, id: ReplicaId, kind: DamageKind) -> bool {
        self.crash(id);
        let node = &mut self.nodes[id.get() as usize];
        let damaged = node.disk.damage(kind, &mut self.chance);
        node.is_damaged |= damaged.is_some();
        if let Some(record) = damaged {
            self.note(|| format!("{kind:?} in record {record} of {id}"));
        }
        damaged.is_some()
    }

    /// Whether a replica's journal was damaged, so that it is gone for good.
    pub fn is_damaged(&self, id: ReplicaId) -> bool {
        self.nodes[id.get() as usize].is_damaged
    }

    /// Ends every fault, but leaves some members switched off.
    pub fn heal_but(&mut self, down: &[ReplicaId]) -> Result<(), Failure> {
        self.network.set_link(Link::default());
        self.unfilter();
        self.mend();
        for arrival in self.network.unclog_all(self.now) {
            self.arrive(arrival);
        }
        self.release();
        for id in self.federation.ids() {
            let node = &mut self.nodes[id.get() as usize];
            node.crash_at = None;
            node.slowness = Duration::ZERO;
            node.sync_extra = Duration::ZERO;
            node.is_full = false;
            // A clock that stands still goes on.
            let behind = node.shown.saturating_since(self.now.shown(node.skew));
            node.skew += behind;
            self.resume(id);
            if down.contains(&id) {
                self.crash(id);
            } else {
                self.restart(id)?;
                self.set_alarm(id.get() as usize);
            }
        }
        Ok(())
    }

    /// Lets the faults of a plan begin and end at their times, counted from now.
    pub fn endure(&mut self, plan: &FaultPlan) -> Result<(), Failure> {
        let start = self.now;
        for (at, place, begins) in plan.turning_points() {
            let at = start.after(at);
            self.run_for(at.since(self.now))?;
            let planned = &plan.faults[place];
            self.note(|| format!("{} {planned}", if begins { "begin" } else { "end" }));
            if begins {
                self.begin(planned)?;
            } else {
                self.end(planned)?;
            }
        }
        self.run_for(start.after(plan.span).since(self.now))
    }

    fn begin(&mut self, planned: &Planned) -> Result<(), Failure> {
        *self.faults.entry(planned.fault.name()).or_default() += 1;
        match &planned.fault {
            Fault::Weather(link) => self.set_link(*link),
            Fault::Clog { from, to } => self.network.clog(*from, *to),
            Fault::Partition { side } => self.partition(side),
            Fault::OneWay { from, to } => self.cut(*from, *to),
            Fault::Crash(id) => self.crash(*id),
            Fault::Pause(id) => self.pause(*id),
            Fault::Slow { replica, by } => self.slow_down(*replica, *by),
            Fault::Clock { replica, ahead, .. } => self.set_clock(*replica, *ahead),
            Fault::SlowDisk { replica, by } => self.slow_disk(*replica, *by),
            Fault::FullDisk(id) => self.fill_disk(*id, true),
            Fault::Damage { replica, kind } => {
                if self.damage(*replica, *kind) {
                    // It tries to start, and has to refuse.
                    self.start(replica.get() as usize);
                    self.check()?;
                    if self.is_up(*replica) {
                        return Err(crate::oracle::Violation::new(
                            "recovery",
                            format!("replica {replica} started from a damaged journal"),
                        )
                        .into());
                    }
                }
            }
        }
        Ok(())
    }

    fn end(&mut self, planned: &Planned) -> Result<(), Failure> {
        match &planned.fault {
            Fault::Weather(_) => self.set_link(Link::default()),
            Fault::Clog { from, to } => {
                for arrival in self.network.unclog(self.now, *from, *to) {
                    self.arrive(arrival);
                }
            }
            Fault::Partition { side } => {
                for inside in side {
                    for outside in self.federation.others(side) {
                        self.network.uncut(*inside, outside);
                        self.network.uncut(outside, *inside);
                    }
                }
            }
            Fault::OneWay { from, to } => self.network.uncut(*from, *to),
            Fault::Crash(id) | Fault::Damage { replica: id, .. } => self.restart(*id)?,
            Fault::Pause(id) => self.resume(*id),
            Fault::Slow { replica, .. } => self.slow_down(*replica, Duration::ZERO),
            Fault::Clock { replica, back, .. } => self.set_clock(*replica, *back),
            Fault::SlowDisk { replica, .. } => self.slow_disk(*replica, Duration::ZERO),
            Fault::FullDisk(id) => {
                self.fill_disk(*id, false);
                self.restart(*id)?;
            }
        }
        Ok(())
    }

    /// Puts an event of a paused node off; gives back any other.
    pub(super) fn defer(&mut self, event: Event) -> Option<Event> {
        let index = match &event {
            Event::Arrives(arrival) => arrival.to.get() as usize,
            Event::Wakes { node, .. } | Event::Synced { node, .. } | Event::Idles(node) => *node,
            Event::Submits | Event::Decrees => return Some(event),
        };
        let node = &mut self.nodes[index];
        if !node.is_paused {
            return Some(event);
        }
        // Its deadline is looked up again afterwards.
        if !matches!(event, Event::Wakes { .. }) {
            node.deferred.push(event);
        }
        None
    }
}
