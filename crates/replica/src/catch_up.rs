//! The replica as somebody who is far behind, or helps others who are (FB-19).

use crate::input::{Effect, Frame, Installed, Record};
use crate::replica::Replica;
use crate::restore::{SnapshotMeta, land};
use crate::sync::{Here, SyncAnswer, SyncEffect, SyncError, SyncHoldings, SyncMessage, Target};
use alloc::vec::Vec;
use polity_consensus::fbpbft::EngineInput;
use polity_crypto::{Signer, Verifier};
use polity_ledger::{Inadmissible, Ledger};
use polity_types::{Effects, ReplicaId, StateMachine as _, Time};

impl<S: Signer, V: Verifier + Clone> Replica<S, V> {
    /// The snapshot that is fetched, and how many of its chunks are here.
    pub fn sync_progress(&self) -> Option<(&Target, u32)> {
        self.syncer.progress()
    }

    /// Members that are asked for no snapshot any more, because they lied about one.
    pub fn sync_excluded(&self) -> impl Iterator<Item = ReplicaId> {
        self.syncer.excluded().iter().copied()
    }

    /// The last answer about a snapshot that was of no use, and how many there were since the start.
    pub fn sync_refused(&self) -> (Option<&SyncError>, u64) {
        (self.sync_refused.0.as_ref(), self.sync_refused.1)
    }

    /// How much it holds for a snapshot.
    pub fn sync_holdings(&self) -> SyncHoldings {
        self.syncer.holdings()
    }

    /// Somebody asks for a snapshot, or helps with one.
    pub(crate) fn on_sync(
        &mut self,
        now: Time,
        from: ReplicaId,
        message: SyncMessage,
        out: &mut Effects<Effect>,
    ) {
        match message {
            SyncMessage::Request(request) => {
                if self.syncer.may_serve(now, from) {
                    out.push(Effect::ServeSync { to: from, request });
                }
            }
            SyncMessage::Answer(answer) => self.on_answer(now, from, answer, out),
        }
    }

    fn on_answer(
        &mut self,
        now: Time,
        from: ReplicaId,
        answer: SyncAnswer,
        out: &mut Effects<Effect>,
    ) {
        let mut wanted = Vec::new();
        let checker = &mut self.checker;
        let taken = self
            .syncer
            .on_answer(now, from, answer, checker, &mut wanted);
        if let Err(error) = taken {
            // It changed nothing but who is asked next.
            self.sync_refused = (Some(error), self.sync_refused.1 + 1);
        }
        self.carry_out_sync(now, wanted, out);
    }

    /// Goes on with a snapshot, if this replica is far behind.
    pub(crate) fn catch_up(&mut self, now: Time, out: &mut Effects<Effect>) {
        let machine = self.engine.machine();
        if machine.halted().is_some() {
            return;
        }
        let here = Here {
            height: self.tip.parent.height,
            chain: machine.chain(),
            peers: machine.peer_heights(),
            snapshot_after: self.config.snapshot_after,
        };
        let mut wanted = Vec::new();
        self.syncer.poll(now, here, &mut self.checker, &mut wanted);
        self.carry_out_sync(now, wanted, out);
    }

    fn carry_out_sync(&mut self, now: Time, wanted: Vec<SyncEffect>, out: &mut Effects<Effect>) {
        for effect in wanted {
            match effect {
                SyncEffect::Send { to, request } => out.push(Effect::Send {
                    to,
                    frame: Frame::Sync(SyncMessage::Request(request)),
                }),
                SyncEffect::Persist(record) => out.push(Effect::Persist(Record::Sync(record))),
                SyncEffect::PauseFetching(is_paused) => {
                    let input = EngineInput::FetchPaused(is_paused);
                    let effects = self.engine.handle(now, input);
                    self.pump(now, effects, out);
                }
                SyncEffect::Install(ledger, meta) => {
                    self.install(*ledger, meta, out);
                    self.settle(now, out);
                }
            }
        }
    }

    /// Goes on from the state of a snapshot. Its record stands in front.
    ///
    /// # Panics
    ///
    /// If the committees in it are none: a quorum decided on its root, so the fault is here.
    fn install(&mut self, ledger: Ledger, meta: SnapshotMeta, out: &mut Effects<Effect>) {
        let height = meta.height;
        let chain = self.engine.machine().chain();
        let verifier = self.checker.verifier();
        let landing = land(self.syncer.genesis(), chain, verifier, ledger, meta.clone())
            .unwrap_or_else(|error| panic!("the certified state of height {height}: {error}"));
        self.engine.jump(landing.chain, landing.tip.clone());
        self.executor = landing.executor;
        self.tip = landing.tip;
        self.tip_application = landing.tip_application;
        self.request = None;
        self.verified.clear();
        self.is_work_pending = false;
        self.repeat_at = None;
        // What was promised stays, as far as a block may still hold it.
        let ledger = &self.executor.ledger;
        let (mut receipts, mut cannot_pay) = (Vec::new(), Vec::new());
        self.pool.retain(|waiting| {
            let id = waiting.id();
            receipts.extend(ledger.receipt(&id));
            match ledger.check(height.next(), waiting) {
                Ok(()) => true,
                Err(Inadmissible::CannotPayFee) => {
                    cannot_pay.push(id);
                    true
                }
                Err(_) => false,
            }
        });
        for id in cannot_pay {
            self.pool.park(&id);
        }
        out.push(Effect::Installed(Installed { meta, receipts }));
    }
}
