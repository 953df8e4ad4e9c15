//! Proposes blocks that no chain can hold.

use super::{Adversary, Scene, Sending, message_of};
use core::time::Duration;
use polity_consensus::fbpbft::{ApplicationData, Block, Message, Proposal, TransactionBytes};
use polity_crypto::Sha256Digest;
use polity_replica::Frame;
use polity_types::{Epoch, Height, ReplicaId, Time, View};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

/// A leader that proposes a nonsense block in each of its turns (W5).
///
/// It repeats a transaction of its first block; in that one there is none to repeat.
#[derive(Debug, Default)]
pub struct Nonsense {
    /// Digests of everything it proposed.
    said: Rc<RefCell<BTreeSet<Sha256Digest>>>,
    turn: u64,
    /// A transaction of one of its earlier blocks.
    old: Option<TransactionBytes>,
}

/// The ways in which a block can be wrong that it knows.
const WAYS: u64 = 14;

impl Nonsense {
    /// A leader whose first turn is wrong in this way.
    pub fn starting_with(turn: u64) -> Self {
        Self {
            said: Rc::default(),
            turn,
            old: None,
        }
    }

    /// Where the digests of its blocks appear.
    pub fn said(&self) -> Rc<RefCell<BTreeSet<Sha256Digest>>> {
        self.said.clone()
    }

    fn spoil(&self, scene: &mut Scene<'_>, proposal: &Proposal) -> Proposal {
        let junk = scene.junk_digest();
        let stranger = scene.anybody();
        let way = self.turn % WAYS;
        let mut block = scene.changed(&proposal.block, |header| match way {
            0 => header.height = Height::new(999),
            1 => header.parent = junk,
            2 => header.proposer = stranger,
            3 => header.timestamp = Time::ZERO,
            4 => header.timestamp = header.timestamp.saturating_add(Duration::from_secs(3_600)),
            5 => header.application_root = junk,
            6 => header.receipts_root = junk,
            7 => header.epoch = Epoch::new(7),
            8 => header.view = View::new(5),
            9 => header.next_committee = junk,
            _ => {}
        });
        if way == 10 {
            // A body that the header does not cover: bytes that are no transaction.
            let mut changed = (*block).clone();
            changed
                .body
                .transactions
                .push(TransactionBytes::new(vec![0xff; 40]));
            block = Arc::new(changed);
        }
        // Bodies that the header does cover.
        let mut sealed = proposal.block.body.clone();
        match way {
            11 => sealed
                .transactions
                .extend(proposal.block.body.transactions.first().cloned()),
            12 => sealed.application.push(ApplicationData {
                kind: 9,
                content: vec![1, 2, 3],
            }),
            13 => sealed.transactions.extend(self.old.clone()),
            _ => {}
        }
        if sealed != proposal.block.body {
            block = scene.sealed(Block {
                header: block.header.clone(),
                body: sealed,
            });
        }
        let (height, view) = (proposal.pre_prepare.height, proposal.pre_prepare.view);
        Proposal {
            pre_prepare: scene.pre_prepare(height, view, block.header.digest()),
            block,
        }
    }
}

impl Adversary for Nonsense {
    fn name(&self) -> &'static str {
        "nonsense"
    }

    fn sends(&mut self, scene: &mut Scene<'_>, to: ReplicaId, frame: &Frame) -> Sending {
        match message_of(frame) {
            Some(Message::Proposal(proposal)) => {
                let spoilt = self.spoil(scene, proposal);
                // In the last way the digest is that of the good block; only its body is wrong.
                if spoilt.pre_prepare.digest != proposal.pre_prepare.digest {
                    self.said.borrow_mut().insert(spoilt.pre_prepare.digest);
                }
                if Some(&to) == scene.others().last() {
                    self.turn += 1;
                    let first = proposal.block.body.transactions.first();
                    self.old = self.old.take().or_else(|| first.cloned());
                }
                Sending::Instead(vec![Frame::Consensus(Message::Proposal(spoilt))])
            }
            // Everybody gets the nonsense and nothing that would save its turn.
            Some(Message::Vote(_)) if scene.replica.machine().leader() == scene.id => Sending::Drop,
            Some(_) | None => Sending::Pass,
        }
    }
}
