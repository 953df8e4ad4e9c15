//! What replicas said, in words: for paths that people read, and to compare two searches.
//!
//! Certificates appear without their signers. Which members of a quorum signed one is the only thing in
//! which searches of different grain may differ.

use crate::forge::Messages;
use crate::replica::{Replica, Step};
use crate::scenario::World;
use polity_consensus::fbpbft::{Message, NewView, PreparedClaim, Value, Vote, VoteKind};
use polity_crypto::Sha256Digest;
use polity_types::{ReplicaId, View};
use std::collections::BTreeSet;

/// Something that a replica said or did.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Word {
    /// It proposed this block.
    Proposal(View, Sha256Digest),
    /// It opened a view with this block, from the VIEW-CHANGEs of these members.
    NewView(View, Sha256Digest, Parts),
    /// It voted PREPARE, in a view above 0 after this NEW-VIEW.
    Prepare(View, Sha256Digest, Parts),
    /// It voted COMMIT.
    Commit(View, Sha256Digest),
    /// It left the views below with this claim.
    ViewChange(View, Option<PreparedClaim>),
    /// It decided, by COMMITs of this view.
    Decided(View, Sha256Digest),
}

/// Who sent the VIEW-CHANGEs of a NEW-VIEW, and what they claimed.
pub type Parts = Vec<(ReplicaId, Option<PreparedClaim>)>;

fn parts(new_view: &NewView) -> Parts {
    let mut parts: Parts = new_view
        .view_changes
        .iter()
        .map(|part| (part.signer, part.prepared))
        .collect();
    parts.sort();
    parts
}

/// All that a replica said and decided.
pub(crate) fn of_replica(messages: &Messages, replica: &Replica) -> BTreeSet<Word> {
    let sent = replica.sent.iter();
    let mut words: BTreeSet<Word> = sent
        .filter_map(|number| match &*messages.get(*number) {
            Message::Proposal(proposal) => Some(Word::Proposal(
                proposal.pre_prepare.view,
                proposal.pre_prepare.digest,
            )),
            Message::NewView(proposal) => Some(Word::NewView(
                proposal.new_view.view,
                proposal.new_view.pre_prepare.digest,
                parts(&proposal.new_view),
            )),
            Message::Vote(Vote {
                kind: VoteKind::Prepare,
                view,
                value,
                ..
            }) => Some(Word::Prepare(*view, value.digest, follows(messages, value))),
            Message::Vote(vote) => Some(Word::Commit(vote.view, vote.value.digest)),
            Message::ViewChange(part) => Some(Word::ViewChange(part.view, part.prepared)),
            _ => None,
        })
        .collect();
    words.extend(
        replica
            .decided
            .map(|(view, digest)| Word::Decided(view, digest)),
    );
    words
}

fn follows(messages: &Messages, value: &Value) -> Parts {
    match messages.new_view_of(&value.new_view).as_deref() {
        Some(Message::NewView(proposal)) => parts(&proposal.new_view),
        _ => Parts::new(),
    }
}

/// A block by the view of its first proposal and its number there.
pub(crate) fn name_block(world: &World, digest: &Sha256Digest) -> String {
    for view in world.views() {
        let blocks = world.fresh_blocks(view).iter();
        for (number, block) in blocks.enumerate() {
            if block.digest() == *digest && world.is_led_by_faulty(view) {
                let letter = char::from(b'a' + number as u8);
                return format!("block {view}{letter}");
            }
        }
    }
    // An honest leader proposes one block a view; its digest tells which.
    let text = digest.to_string();
    format!("block {}", &text[..6.min(text.len())])
}

/// A member with its part in the search.
pub(crate) fn name_member(world: &World, id: ReplicaId) -> String {
    let leads: Vec<String> = world
        .views()
        .filter(|view| world.leader(*view) == id)
        .map(|view| format!(", leads view {view}"))
        .collect();
    let kind = if Some(id) == world.faulty {
        "faulty"
    } else {
        "honest"
    };
    format!("member {id} ({kind}{})", leads.concat())
}

fn claim_text(world: &World, claim: Option<&PreparedClaim>) -> String {
    claim.map_or("nothing prepared".to_owned(), |claim| {
        let block = name_block(world, &claim.digest);
        format!("{block} prepared in view {}", claim.view)
    })
}

fn parts_text(world: &World, parts: &Parts) -> String {
    let each: Vec<String> = parts
        .iter()
        .map(|(id, claim)| format!("{id}: {}", claim_text(world, claim.as_ref())))
        .collect();
    each.join("; ")
}

impl Word {
    pub(crate) fn text(&self, world: &World) -> String {
        let block = |digest: &Sha256Digest| name_block(world, digest);
        match self {
            Self::Proposal(view, digest) => format!("PRE-PREPARE {} in view {view}", block(digest)),
            Self::NewView(view, digest, parts) => format!(
                "NEW-VIEW {view} with {} from [{}]",
                block(digest),
                parts_text(world, parts)
            ),
            Self::Prepare(view, digest, parts) if parts.is_empty() => {
                format!("PREPARE {} in view {view}", block(digest))
            }
            Self::Prepare(view, digest, parts) => format!(
                "PREPARE {} in view {view} after the NEW-VIEW from [{}]",
                block(digest),
                parts_text(world, parts)
            ),
            Self::Commit(view, digest) => format!("COMMIT {} in view {view}", block(digest)),
            Self::ViewChange(view, claim) => {
                format!("VIEW-CHANGE {view}: {}", claim_text(world, claim.as_ref()))
            }
            Self::Decided(view, digest) => {
                format!("DECIDES {} by COMMITs of view {view}", block(digest))
            }
        }
    }
}

/// What a step is, in words.
pub(crate) fn step_text(world: &World, messages: &Messages, step: &Step) -> String {
    match step {
        Step::Timeout => "waits too long".to_owned(),
        Step::Restart => "stops and is restored".to_owned(),
        Step::Crash(step, records) => format!(
            "{}, but stops after {records} records of that and is restored",
            step_text(world, messages, step)
        ),
        Step::Forget => "stops and starts without its journal".to_owned(),
        Step::Receive(deliveries) => {
            let each: Vec<String> = deliveries
                .iter()
                .map(|(link, number)| {
                    let text = message_text(world, messages, &messages.get(*number));
                    format!("{text} from {link}")
                })
                .collect();
            format!("gets {}", each.join(", "))
        }
    }
}

fn message_text(world: &World, messages: &Messages, message: &Message) -> String {
    let said = match message {
        Message::Proposal(proposal) => {
            Word::Proposal(proposal.pre_prepare.view, proposal.pre_prepare.digest)
        }
        Message::NewView(proposal) => Word::NewView(
            proposal.new_view.view,
            proposal.new_view.pre_prepare.digest,
            parts(&proposal.new_view),
        ),
        Message::Vote(vote) if vote.kind == VoteKind::Prepare => {
            Word::Prepare(vote.view, vote.value.digest, follows(messages, &vote.value))
        }
        Message::Vote(vote) => Word::Commit(vote.view, vote.value.digest),
        Message::ViewChange(part) => Word::ViewChange(part.view, part.prepared),
        Message::Decided(decided) => {
            let block = name_block(world, &decided.certificate.value.digest);
            return format!("{block} with COMMITs of view {}", decided.certificate.view);
        }
        Message::Block(block) => return name_block(world, &block.header.digest()),
        other @ (Message::Status(_)
        | Message::FetchDecided { .. }
        | Message::FetchBlock { .. }
        | Message::Evidence(_)) => return format!("{other:?}"),
    };
    said.text(world)
}
