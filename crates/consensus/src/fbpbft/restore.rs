//! Continuing after a stop (FB-15).

use super::block::SealedBlock;
use super::machine::{Machine, StartError};
use super::message::{Value, VoteKind};
use super::record::Record;
use polity_crypto::{Signer, Verifier};
use polity_types::View;

impl<S: Signer, V: Verifier> Machine<S, V> {
    /// Takes one record of the height being decided back in.
    ///
    /// Signatures are made again: a signer gives one signature for one preimage, so what is sent
    /// again is what was sent before.
    pub(super) fn remember(&mut self, record: Record) -> Result<(), StartError> {
        let height = self.height();
        let contradiction = StartError::Contradiction(height);
        if is_own_word(&record) && !self.has_vote() {
            return Err(StartError::KeyMissing(height));
        }
        match record {
            Record::Block(block) => {
                let sealed = SealedBlock::new(&self.chain, block).map_err(|_| contradiction)?;
                let digest = sealed.digest();
                // Whoever voted for it had the application judge it; a decided one is judged
                // again, which costs little and trusts nothing.
                self.hold(sealed, false);
                if let Some(held) = self.round.blocks.get_mut(&digest) {
                    held.is_durable = true;
                }
            }
            Record::Proposed { view, digest, .. } => {
                if self.round.proposed.insert(view, digest).is_some() {
                    return Err(contradiction);
                }
                let pre_prepare = self.sign_pre_prepare(height, view, digest);
                self.round.pre_prepares.insert(view, pre_prepare);
            }
            Record::PrepareSent { view, value, .. } => {
                if self.round.accepted.insert(view, value).is_some() {
                    return Err(contradiction);
                }
                self.recount(VoteKind::Prepare, view, value);
                self.raise(view, true);
            }
            Record::Prepared(certificate) => self.round.keep_prepared(certificate),
            Record::CommitSent { view, digest, .. } => {
                // FB-6: the certificate stands in front, or the journal is not as it was written.
                let has_certificate = self.round.prepared.range(view..).next().is_some();
                if !has_certificate || self.round.committed.insert(view, digest).is_some() {
                    return Err(contradiction);
                }
                self.recount(VoteKind::Commit, view, Value::of_block(digest));
            }
            Record::Entered { view, .. } => self.raise(view, true),
            Record::ViewLeft { view, prepared, .. } => {
                // The records in front of this one hold the certificate it claimed.
                let view_change = self.sign_view_change(view);
                if view_change.prepared != prepared {
                    return Err(contradiction);
                }
                self.keep_view_change(view_change);
                self.raise(view, false);
            }
            Record::NewView(new_view) => {
                self.raise(new_view.view, true);
                self.round
                    .pre_prepares
                    .insert(new_view.view, new_view.pre_prepare.clone());
                self.round.new_view = Some(new_view);
            }
            Record::Decided(certificate) => self.round.decision = Some(certificate),
        }
        Ok(())
    }

    fn recount(&mut self, kind: VoteKind, view: View, value: Value) {
        let vote = self.sign_vote(kind, view, value);
        self.round.tally.count_own(&vote);
    }

    /// FB-9: the floor never sinks, restart included.
    fn raise(&mut self, view: View, is_entered: bool) {
        self.round.floor = self.round.floor.max(view);
        if is_entered && view > self.round.view {
            self.round.view = view;
            self.round.new_view = None;
        }
    }
}

/// Whether the record says that this replica signed something.
fn is_own_word(record: &Record) -> bool {
    match record {
        Record::Proposed { .. }
        | Record::PrepareSent { .. }
        | Record::CommitSent { .. }
        | Record::ViewLeft { .. } => true,
        Record::Block(_)
        | Record::Prepared(_)
        | Record::Entered { .. }
        | Record::NewView(_)
        | Record::Decided(_) => false,
    }
}
