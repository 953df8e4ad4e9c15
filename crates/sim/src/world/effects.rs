//! Carrying effects out, as a node does.

use super::World;
use crate::adversary::{Adversary, Scene, Sending, message_of};
use crate::network::{Kind, Packet, position};
use crate::node::share;
use crate::oracle::signing;
use crate::recording::EffectBytes;
use polity_consensus::fbpbft::{Decided, Message};
use polity_replica::sync::{SyncMessage, SyncRequest, answer};
use polity_replica::{Admission, Effect, Frame};
use polity_types::{Height, ReplicaId};
use std::rc::Rc;

impl World {
    pub(super) fn carry_out(&mut self, index: usize, effect: Effect, bytes: &EffectBytes) {
        let id = self.nodes[index].id;
        match effect {
            Effect::Persist(_) => unreachable!("records go to the disk"),
            Effect::Send { to, frame } => {
                self.speak(index, &frame);
                self.transmit(index, to, &frame, &share(bytes));
            }
            Effect::Broadcast(frame) => {
                self.speak(index, &frame);
                let shared = share(bytes);
                for to in self.federation.others(&[id]) {
                    self.transmit(index, to, &frame, &shared);
                }
            }
            Effect::Answer {
                id: transaction,
                result,
            } => {
                if self.nodes[index].is_honest()
                    && result == Ok(Admission::Pending)
                    && !self.clients.is_untimely(&transaction)
                {
                    self.progress.promised(id, transaction);
                }
            }
            Effect::Committed(committed) => {
                self.keep(index, &committed);
                self.take_snapshot(index, committed.block.header().height);
            }
            Effect::ServeSync { to, request } => self.serve_sync(index, to, request),
            Effect::Installed(installed) => {
                let node = &mut self.nodes[index];
                node.installed.push(installed.meta.height.get());
            }
            Effect::ServeDecided {
                to,
                from,
                count_max,
                bytes_max,
            } => self.serve(index, to, from, count_max, bytes_max),
            Effect::Report(_) => {}
            Effect::Halt(halt) => self.nodes[index].halted = Some(halt),
        }
    }

    /// What an honest replica says is watched.
    pub(super) fn speak(&mut self, index: usize, frame: &Frame) {
        let node = &self.nodes[index];
        if let Some(message) = message_of(frame)
            && node.is_honest()
        {
            let id = node.id;
            if let Message::Proposal(proposal) = message {
                let height = proposal.pre_prepare.height.get();
                self.proposed_at.entry(height).or_insert(self.now);
            }
            let result = self.signing.sent(id, message).and_then(|()| {
                signing::under_its_key(id, message, &self.committees, &self.federation.verifier)
            });
            self.fail(result);
        }
    }

    pub(super) fn keep(&mut self, index: usize, committed: &polity_replica::Committed) {
        let node = &mut self.nodes[index];
        node.shelf.committed(committed);
        if committed.block.header().height.get() > node.stored() {
            node.store.push(Decided {
                block: committed.block.block().clone(),
                certificate: committed.certificate.clone(),
            });
        }
    }

    pub(super) fn take_snapshot(&mut self, index: usize, height: Height) {
        let node = &mut self.nodes[index];
        // Only what is durable may be in it: nothing above the block that was just released.
        if height.get().is_multiple_of(self.snapshot_every)
            && let Some(replica) = &mut node.replica
            && replica.tip().parent.height == height
        {
            node.snapshot = Some(replica.snapshot());
        }
        // FB-19: those who are far behind take the state after the last block of an epoch.
        if let Some(replica) = &mut node.replica
            && replica.chain().is_epoch_end(height)
            && replica.tip().parent.height == height
        {
            node.shelf.keep(replica.snapshot());
        }
    }

    pub(super) fn serve(
        &mut self,
        index: usize,
        to: ReplicaId,
        from: Height,
        count_max: u64,
        bytes_max: usize,
    ) {
        let store = &self.nodes[index].store;
        let first = store.partition_point(|decided| decided.certificate.height < from);
        let wanted: Vec<Decided> = store[first..]
            .iter()
            .zip(from.get()..)
            .take(count_max as usize)
            // Blocks below a snapshot are not there.
            .take_while(|(decided, height)| decided.certificate.height.get() == *height)
            .map(|(decided, _)| decided)
            .cloned()
            .collect();
        let mut length = 0;
        for decided in wanted {
            let frame = Frame::Consensus(Message::Decided(decided));
            let bytes: Rc<[u8]> = Rc::from(frame.encode());
            length += bytes.len();
            if length > bytes_max && length > bytes.len() {
                return;
            }
            self.transmit(index, to, &frame, &bytes);
        }
    }

    fn serve_sync(&mut self, index: usize, to: ReplicaId, request: SyncRequest) {
        let said = answer(request, &self.nodes[index].shelf);
        let frame = Frame::Sync(SyncMessage::Answer(said));
        let bytes: Rc<[u8]> = Rc::from(frame.encode());
        self.transmit(index, to, &frame, &bytes);
    }

    pub(super) fn transmit(
        &mut self,
        index: usize,
        to: ReplicaId,
        frame: &Frame,
        bytes: &Rc<[u8]>,
    ) {
        let mut sending = Sending::Pass;
        self.perform(index, |adversary, scene| {
            sending = adversary.sends(scene, to, frame);
        });
        match sending {
            Sending::Pass => self.route(index, to, frame, bytes),
            Sending::Drop => {}
            Sending::Instead(frames) => {
                for frame in frames {
                    self.route(index, to, &frame, &Rc::from(frame.encode()));
                }
            }
        }
    }

    pub(super) fn route(&mut self, index: usize, to: ReplicaId, frame: &Frame, bytes: &Rc<[u8]>) {
        let from = self.nodes[index].id;
        if to == from || to.get() as usize >= self.nodes.len() {
            return;
        }
        let kind = Kind::of(frame);
        let (height, view) = position(frame);
        if kind.is_normal_case() {
            *self.normal_case.entry(height.get()).or_default() += 1;
        }
        let packet = Packet {
            at: self.now,
            from,
            to,
            frame,
        };
        let arrivals = self.network.send(&packet, bytes);
        let count = arrivals.len();
        self.note(|| {
            let fate = match count {
                0 => " lost or held",
                1 => "",
                _ => " twice",
            };
            format!("{from} > {to} {kind:?} {height}/{view}{fate}")
        });
        let slowness = self.nodes[index].slowness + self.nodes[to.get() as usize].slowness;
        for mut arrival in arrivals {
            arrival.at = arrival.at.after(slowness);
            self.arrive(arrival);
        }
    }

    /// Lets an adversary act, if the node is one.
    pub(super) fn perform(
        &mut self,
        index: usize,
        act: impl FnOnce(&mut dyn Adversary, &mut Scene<'_>),
    ) {
        let federation = self.federation.clone();
        let node = &mut self.nodes[index];
        let (Some(adversary), Some(replica)) = (&mut node.adversary, &node.replica) else {
            return;
        };
        let mut scene = Scene {
            id: node.id,
            now: node.shown.max(self.now.shown(node.skew)),
            chain: replica.chain(),
            // Who has no vote signs all the same.
            signer: node
                .basis
                .keys
                .signer(replica.chain().committee(replica.machine().height()))
                .unwrap_or(&federation.keyrings[index][0]),
            replica,
            random: &mut self.whims[index],
            out: Vec::new(),
        };
        act(adversary.as_mut(), &mut scene);
        let said = core::mem::take(&mut scene.out);
        for (to, frame) in said {
            self.route(index, to, &frame, &Rc::from(frame.encode()));
        }
    }
}
