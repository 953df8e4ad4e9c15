//! Relays with something exchanged.

use super::{Adversary, Scene, message_of};
use polity_consensus::fbpbft::{Message, NewViewProposal, TransactionBytes};
use polity_replica::Frame;
use polity_types::ReplicaId;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

/// A relay that swaps junk into other leaders' NEW-VIEWs and blocks (R8).
#[derive(Debug, Default)]
pub struct Tamperer {
    tampered: Rc<Cell<u64>>,
}

impl Tamperer {
    /// Where the number of NEW-VIEWs appears that it passed on in another form.
    pub fn tampered(&self) -> Rc<Cell<u64>> {
        self.tampered.clone()
    }
}

impl Adversary for Tamperer {
    fn name(&self) -> &'static str {
        "tamperer"
    }

    fn hears(&mut self, scene: &mut Scene<'_>, from: ReplicaId, frame: &Frame) {
        let Some(Message::NewView(heard)) = message_of(frame) else {
            return;
        };
        if scene
            .chain
            .leader(heard.new_view.height, heard.new_view.view)
            != from
        {
            return;
        }
        self.tampered.set(self.tampered.get() + 1);
        let with = |new_view, block| Message::NewView(NewViewProposal { new_view, block });
        // A part with a junk signature, a part less, a part twice, another part.
        let mut junk = heard.new_view.clone();
        if let Some(part) = junk.view_changes.first_mut() {
            part.signature = scene.junk_signature();
        }
        scene.shout(&with(junk, heard.block.clone()));
        let mut fewer = heard.new_view.clone();
        fewer.view_changes.pop();
        scene.shout(&with(fewer, heard.block.clone()));
        let mut twice = heard.new_view.clone();
        twice
            .view_changes
            .extend(heard.new_view.view_changes.first().cloned());
        scene.shout(&with(twice, heard.block.clone()));
        let mut other = heard.new_view.clone();
        let own = scene.view_change(heard.new_view.height, heard.new_view.view, None);
        other.view_changes.push(own);
        scene.shout(&with(other, heard.block.clone()));
        // The right NEW-VIEW with another body.
        let mut block = (*heard.block).clone();
        block
            .body
            .transactions
            .push(TransactionBytes::new(vec![1, 2, 3]));
        scene.shout(&with(heard.new_view.clone(), Arc::new(block)));
    }
}
