//! Starting, telling and stopping replicas, and what oracles see of it.

use super::{Event, World};
use crate::node::Waiting;
use crate::oracle::Violation;
use crate::recording::{Door, EffectBytes, Recording, Step};
use polity_replica::sync::{SyncMessage, SyncRecord, SyncRequest};
use polity_replica::{Effect, Frame, Record, Replayed, Snapshot};
use polity_types::{Effects, wire};

/// What a replica holds is counted after every so many of its steps.
const MEMORY_EVERY: usize = 16;

impl World {
    pub(super) fn start(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let (id, start) = (node.id, node.start);
        let journal = match node.disk.recover() {
            Ok(journal) if node.is_damaged => {
                let reason = format!(
                    "replica {id} starts from {} records of a damaged journal",
                    journal.len()
                );
                self.fail(Err(Violation::new("recovery", reason)));
                return;
            }
            Ok(journal) => journal,
            Err(damage) => {
                self.note(|| format!("{id} refuses to start: {damage}"));
                if !self.nodes[index].is_damaged {
                    let reason = format!("replica {id} lost what was durable: {damage}");
                    self.fail(Err(Violation::new("recovery", reason)));
                }
                return;
            }
        };
        let snapshot = match (&node.snapshot, self.chance.below(2)) {
            (Some(snapshot), 0) => Some(snapshot.clone()),
            _ => None,
        };
        let base = snapshot
            .as_ref()
            .map_or(0, |snapshot| snapshot.meta.height.get());
        let mut applied = Vec::new();
        let built = node.basis.build(snapshot.clone(), &journal, |replayed| {
            applied.push(replayed);
        });
        let replica = match built {
            Ok(replica) => replica,
            Err(error) => {
                let reason = format!("replica {id} cannot go on: {error}");
                self.fail(Err(Violation::new("recovery", reason)));
                return;
            }
        };
        let records = journal.len();
        node.door = Door::new(&node.basis, replica.chain().id());
        node.replica = Some(replica);
        node.halted = None;
        node.recording = Recording {
            snapshot: snapshot.map(|Snapshot { meta, chunks }| (meta, chunks)),
            journal,
            steps: Vec::new(),
        };
        if node.is_honest() {
            self.agreement.restarted(id, base);
            for replayed in &applied {
                let agreed = match replayed {
                    Replayed::Block(committed) => self.agreement.committed(id, committed),
                    Replayed::Snapshot(meta) => self.agreement.installed(id, meta),
                };
                self.fail(agreed);
            }
            self.compare(index);
        }
        for replayed in applied {
            if let Replayed::Block(committed) = replayed {
                self.keep(index, &committed);
            }
        }
        self.note(|| format!("{id} starts ({start}) from {records} records above height {base}"));
        self.set_alarm(index);
    }

    pub(super) fn lose_power(&mut self, index: usize, kept: usize) {
        let id = self.nodes[index].id;
        self.note(|| format!("{id} loses power, {kept} bytes of its tail are kept"));
        self.nodes[index].crash(kept);
        self.completeness.forgets(id);
    }

    pub(super) fn tell(&mut self, index: usize, step: Step) {
        let node = &mut self.nodes[index];
        if !node.is_up() {
            return;
        }
        let now = node.clock(self.now);
        self.audit.update(&self.now.as_micros().to_le_bytes());
        self.audit.update(&(index as u32).to_le_bytes());
        match &step {
            Step::Tick => self.audit.update(&[0]),
            Step::Frame { from, bytes } => {
                self.audit.update(&[1]);
                self.audit.update(&from.get().to_le_bytes());
                self.audit.update(bytes);
            }
            Step::Submit(transactions) => {
                self.audit.update(&[2]);
                self.audit.update(&wire::encode(transactions));
            }
        }
        let Some(replica) = &mut node.replica else {
            return;
        };
        let effects = node.door.drive(replica, now, &step);
        node.recording.steps.push((now, step));
        let is_due = node.recording.steps.len().is_multiple_of(MEMORY_EVERY);
        self.carry_out_all(index, effects);
        if is_due {
            self.check_memory(index);
        }
    }

    /// What an honest replica holds stays inside its bounds.
    pub(super) fn check_memory(&mut self, index: usize) {
        let node = &self.nodes[index];
        if let (true, Some(replica)) = (node.is_honest(), &node.replica) {
            let result = self.memory.check(replica);
            self.fail(result);
        }
    }

    pub(super) fn carry_out_all(&mut self, index: usize, effects: Effects<Effect>) {
        let effects: Vec<(Effect, EffectBytes)> = effects
            .into_iter()
            .map(|effect| {
                let bytes = EffectBytes::of(&effect);
                (effect, bytes)
            })
            .collect();
        let start = self.nodes[index].start;
        let mut has_applied = false;
        for (effect, bytes) in &effects {
            self.nodes[index].effects.absorb(bytes);
            has_applied |= matches!(effect, Effect::Committed(_) | Effect::Installed(_));
            self.note_sync(index, effect);
            if self.nodes[index].is_honest() {
                self.observe(index, effect);
            }
        }
        if has_applied && self.nodes[index].is_honest() {
            self.compare(index);
        }
        for (effect, bytes) in effects {
            if matches!(effect, Effect::Persist(_)) {
                self.persist(index, bytes);
            } else if self.syncs_at_once(index) {
                // Every record is synced by itself, so everything in front is durable.
                let end = self.nodes[index].disk.end();
                self.nodes[index].disk.sync_to(end);
                self.carry_out(index, effect, &bytes);
            } else {
                let position = self.nodes[index].disk.end();
                self.nodes[index].waiting.push_back(Waiting {
                    position,
                    effect,
                    bytes,
                });
            }
            if self.nodes[index].start != start {
                // It lost power on the way.
                return;
            }
        }
        if self.syncs_at_once(index) {
            let end = self.nodes[index].disk.end();
            self.nodes[index].disk.sync_to(end);
        } else {
            self.work_off(index);
        }
        self.set_alarm(index);
    }

    /// Whether every record of a node is synced by itself. Only once what waits for a slow disk is
    /// through: effects keep their order.
    fn syncs_at_once(&self, index: usize) -> bool {
        let node = &self.nodes[index];
        (self.sync + node.sync_extra).is_zero() && node.waiting.is_empty() && node.syncing.is_none()
    }

    pub(super) fn persist(&mut self, index: usize, bytes: EffectBytes) {
        let node = &mut self.nodes[index];
        let before = node.disk.end();
        if node.is_full {
            // A node whose journal takes no record stops: nobody knows what is on the disk.
            self.lose_power(index, 0);
            return;
        }
        let end = node.disk.append(bytes.bytes);
        let number = node.records;
        node.records += 1;
        let hits = node.crash_at.filter(|point| point.record == number);
        if let Some(point) = hits {
            node.crash_at = None;
            // What came before it in this batch is on the disk, and so much of the record.
            node.disk.sync_to(before);
            let part = point.kept.unwrap_or(usize::MAX).min(end - before);
            self.lose_power(index, part);
        }
    }

    /// Releases what is durable, and starts the next sync.
    pub(super) fn work_off(&mut self, index: usize) {
        let start = self.nodes[index].start;
        while self.nodes[index].start == start {
            let node = &mut self.nodes[index];
            let synced = node.disk.synced();
            let is_free = node
                .waiting
                .front()
                .is_some_and(|first| first.position <= synced);
            if !is_free {
                break;
            }
            if let Some(first) = node.waiting.pop_front() {
                self.carry_out(index, first.effect, &first.bytes);
            }
        }
        let node = &mut self.nodes[index];
        let sync = self.sync + node.sync_extra;
        if node.is_up() && node.syncing.is_none() && node.disk.end() > node.disk.synced() {
            node.syncing = Some(node.disk.end());
            let start = node.start;
            self.schedule(sync, Event::Synced { node: index, start });
        }
    }

    pub(super) fn on_synced(&mut self, index: usize, start: u32) {
        let node = &mut self.nodes[index];
        if node.start != start {
            return;
        }
        if let Some(position) = node.syncing.take() {
            node.disk.sync_to(position);
            self.work_off(index);
        }
    }

    /// What oracles see at once: what a replica applied and whom it accuses.
    pub(super) fn observe(&mut self, index: usize, effect: &Effect) {
        let id = self.nodes[index].id;
        match effect {
            Effect::Committed(committed) => {
                let height = committed.block.header().height.get();
                let digest = committed.block.digest();
                self.note(|| format!("{id} decides {height} {digest}"));
                self.applied_at.entry((height, id)).or_insert(self.now);
                let header = committed.block.header();
                let result = self
                    .agreement
                    .committed(id, committed)
                    .and_then(|()| self.committees.committed(committed))
                    .and_then(|()| self.committees.fee_account(header))
                    .and_then(|fees| self.arithmetic.committed(committed, &fees))
                    .and_then(|()| self.evidence.committed(id, committed, &self.committees));
                self.progress.committed(committed);
                self.fail(result);
            }
            Effect::Report(evidence) => {
                self.note(|| format!("{id} reports {evidence:?}"));
                let result = self.evidence.reported(id, evidence, &self.committees);
                self.fail(result);
            }
            Effect::Halt(halt) => {
                let reason = format!("honest replica {id} halts: {halt}");
                self.fail(Err(Violation::new("agreement", reason)));
            }
            Effect::Installed(installed) => {
                let height = installed.meta.height;
                self.note(|| format!("{id} goes on from a snapshot of {height}"));
                let result = self.agreement.installed(id, &installed.meta);
                self.fail(result);
            }
            Effect::Persist(_)
            | Effect::Send { .. }
            | Effect::Broadcast(_)
            | Effect::Answer { .. }
            | Effect::ServeSync { .. }
            | Effect::ServeDecided { .. } => {}
        }
    }

    /// What a replica does to catch up, for scenarios and for those who are behind it.
    fn note_sync(&mut self, index: usize, effect: &Effect) {
        let node = &mut self.nodes[index];
        match effect {
            Effect::Send {
                frame: Frame::Sync(SyncMessage::Request(SyncRequest::Chunk { index, .. })),
                ..
            } => node.chunks_asked.push(*index),
            Effect::Persist(Record::Sync(SyncRecord::Epoch(end))) => {
                node.shelf.ended((**end).clone());
            }
            _ => {}
        }
    }

    pub(super) fn compare(&mut self, index: usize) {
        let Some(replica) = &self.nodes[index].replica else {
            return;
        };
        let ledger = replica.ledger();
        let result = self
            .arithmetic
            .compare(ledger.height().get(), ledger.accounts())
            .and_then(|()| self.committees.compare(replica));
        self.fail(result);
    }
}
