//! No honest key says two things where it may say one, restarts included (FB-9, FB-15).
//!
//! The watch stands at the door of every honest replica and reads what leaves. It remembers
//! statements for the whole run, so a restart that forgets is seen. A member whose key was replaced
//! is still one member: it says one thing in one place, whichever of its keys it uses. Which one that
//! may be is the other question here (FB-17).

use super::Violation;
use super::committees::Committees;
use crate::adversary::vote_preimage;
use crate::keys::SimVerifier;
use polity_consensus::fbpbft::{
    Message, NewView, PrePrepare, PreparedClaim, ViewChange, Vote, VoteKind,
};
use polity_crypto::{Preimage, Sha256Digest, Signature, Verifier as _};
use polity_types::ReplicaId;
use std::collections::BTreeMap;

const NAME: &str = "signing";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Statement {
    PrePrepare,
    Prepare,
    Commit,
    ViewChange,
    NewView,
}

/// What was said in one place, as the bytes that its signature covers.
type Said = Vec<u8>;

/// Watches what honest replicas send.
#[derive(Clone, Debug, Default)]
pub struct SigningWatch {
    said: BTreeMap<(ReplicaId, Statement, u64, u64), Said>,
    /// The highest view named in a VIEW-CHANGE, by replica and height.
    floors: BTreeMap<(ReplicaId, u64), u64>,
    /// The highest view of a COMMIT, by replica and height.
    commits: BTreeMap<(ReplicaId, u64), u64>,
    new_views: u64,
}

impl SigningWatch {
    /// An honest replica sends a message.
    pub fn sent(&mut self, by: ReplicaId, message: &Message) -> Result<(), Violation> {
        match message {
            Message::Proposal(proposal) => self.pre_prepare(by, &proposal.pre_prepare),
            Message::Vote(vote) if vote.signer == by => self.vote(by, vote),
            Message::ViewChange(view_change) if view_change.signer == by => {
                self.view_change(by, view_change)
            }
            Message::NewView(proposal) => self.new_view(by, &proposal.new_view),
            // Relayed statements of others, and what is not signed.
            Message::Vote(_)
            | Message::ViewChange(_)
            | Message::Status(_)
            | Message::FetchDecided { .. }
            | Message::Decided(_)
            | Message::FetchBlock { .. }
            | Message::Block(_)
            | Message::Evidence(_) => Ok(()),
        }
    }

    /// How many different NEW-VIEWs honest replicas sent.
    pub fn new_views(&self) -> u64 {
        self.new_views
    }

    /// The highest view that an honest replica asked for at a height.
    pub fn floor(&self, replica: ReplicaId, height: u64) -> u64 {
        self.floors.get(&(replica, height)).copied().unwrap_or(0)
    }

    /// The highest view that any honest replica asked for at any height.
    pub fn highest_floor(&self) -> u64 {
        self.floors.values().copied().max().unwrap_or(0)
    }

    /// Whether an honest replica sent PREPARE or COMMIT in this view.
    pub fn has_voted(&self, replica: ReplicaId, height: u64, view: u64) -> bool {
        [Statement::Prepare, Statement::Commit]
            .into_iter()
            .any(|statement| self.said.contains_key(&(replica, statement, height, view)))
    }

    /// Whether an honest leader sent NEW-VIEW for this view.
    pub fn has_started(&self, leader: ReplicaId, height: u64, view: u64) -> bool {
        self.said
            .contains_key(&(leader, Statement::NewView, height, view))
    }

    /// Whether any honest replica sent PREPARE or COMMIT for a block.
    pub fn has_voted_for(&self, digest: &Sha256Digest) -> bool {
        self.said.iter().any(|((_, statement, ..), said)| {
            matches!(statement, Statement::Prepare | Statement::Commit)
                && said.starts_with(digest.as_bytes())
        })
    }

    fn pre_prepare(&mut self, by: ReplicaId, said: &PrePrepare) -> Result<(), Violation> {
        let (height, view) = (said.height.get(), said.view.get());
        self.say(
            by,
            Statement::PrePrepare,
            height,
            view,
            said.digest.as_bytes().to_vec(),
        )
    }

    fn vote(&mut self, by: ReplicaId, vote: &Vote) -> Result<(), Violation> {
        let (height, view) = (vote.height.get(), vote.view.get());
        let floor = self.floor(by, height);
        if view < floor {
            return Err(Violation::new(
                NAME,
                format!(
                    "replica {by} votes at height {height} in view {view} after it asked for view {floor}"
                ),
            ));
        }
        let mut said = vote.value.digest.as_bytes().to_vec();
        said.extend_from_slice(vote.value.new_view.as_bytes());
        let statement = match vote.kind {
            VoteKind::Prepare => Statement::Prepare,
            VoteKind::Commit => {
                let highest = self.commits.entry((by, height)).or_default();
                *highest = view.max(*highest);
                Statement::Commit
            }
        };
        self.say(by, statement, height, view, said)
    }

    fn view_change(&mut self, by: ReplicaId, said: &ViewChange) -> Result<(), Violation> {
        let (height, view) = (said.height.get(), said.view.get());
        let floor = self.floors.entry((by, height)).or_default();
        *floor = view.max(*floor);
        let claimed = said.prepared.map(|claim| claim.view.get());
        // FB-6, FB-16: whoever sent COMMIT holds a certificate, and says so.
        if let Some(committed) = self.commits.get(&(by, height))
            && *committed < view
            && claimed.is_none_or(|claimed| claimed < *committed)
        {
            return Err(Violation::new(
                NAME,
                format!(
                    "replica {by} asks for view {view} at height {height} and hides its COMMIT of view {committed}"
                ),
            ));
        }
        let bytes = match said.prepared {
            None => Vec::new(),
            Some(PreparedClaim { view, digest }) => {
                let mut bytes = view.get().to_le_bytes().to_vec();
                bytes.extend_from_slice(digest.as_bytes());
                bytes
            }
        };
        self.say(by, Statement::ViewChange, height, view, bytes)
    }

    fn new_view(&mut self, by: ReplicaId, said: &NewView) -> Result<(), Violation> {
        let (height, view) = (said.height.get(), said.view.get());
        if !self
            .said
            .contains_key(&(by, Statement::NewView, height, view))
        {
            self.new_views += 1;
        }
        // The leader's signature stands for everything that it covers.
        self.say(
            by,
            Statement::NewView,
            height,
            view,
            said.signature.as_slice().to_vec(),
        )?;
        self.pre_prepare(by, &said.pre_prepare)
    }

    fn say(
        &mut self,
        by: ReplicaId,
        statement: Statement,
        height: u64,
        view: u64,
        said: Said,
    ) -> Result<(), Violation> {
        let key = (by, statement, height, view);
        match self.said.get(&key) {
            None => {
                self.said.insert(key, said);
                Ok(())
            }
            Some(before) if *before == said => Ok(()),
            Some(_) => Err(Violation::new(
                NAME,
                format!(
                    "replica {by} signs two different {statement:?}s at height {height} in view {view}"
                ),
            )),
        }
    }
}

/// What an honest replica signs, it signs with the key beside its number in the committee of that
/// height; where none is, it signs nothing (FB-17).
pub fn under_its_key(
    by: ReplicaId,
    message: &Message,
    committees: &Committees,
    verifier: &SimVerifier,
) -> Result<(), Violation> {
    let (height, what) = match message {
        Message::Proposal(proposal) => (proposal.pre_prepare.height, "a proposal"),
        Message::Vote(vote) if vote.signer == by => (vote.height, "a vote"),
        Message::ViewChange(said) if said.signer == by => (said.height, "a VIEW-CHANGE"),
        Message::NewView(proposal) => (proposal.new_view.height, "a NEW-VIEW"),
        // Relayed statements of others, and what is not signed.
        Message::Vote(_)
        | Message::ViewChange(_)
        | Message::Status(_)
        | Message::FetchDecided { .. }
        | Message::Decided(_)
        | Message::FetchBlock { .. }
        | Message::Block(_)
        | Message::Evidence(_) => return Ok(()),
    };
    let fault = |how: &str| {
        let reason = format!("replica {by} signs {what} at height {height} {how}");
        Err(Violation::new(NAME, reason))
    };
    let Some(table) = committees.table(height) else {
        return fault("before its committee is decided");
    };
    let Some(row) = table.row(by) else {
        return fault("without a vote");
    };
    let holds = |preimage: &Preimage, signature: &Signature| {
        verifier.verify(&row.key, preimage, signature).is_ok()
    };
    let proposes = |said: &PrePrepare| {
        let preimage = PrePrepare::preimage(table.chain(), said.height, said.view, &said.digest);
        holds(&preimage, &said.signature)
    };
    let is_its_key = match message {
        Message::Proposal(proposal) => proposes(&proposal.pre_prepare),
        Message::Vote(vote) => {
            let (kind, view) = (vote.kind, vote.view);
            let preimage = vote_preimage(table.chain(), kind, height, view, &vote.value);
            holds(&preimage, &vote.signature)
        }
        Message::ViewChange(said) => {
            let claim = said.prepared.as_ref();
            let preimage = ViewChange::preimage(table.chain(), height, said.view, claim);
            holds(&preimage, &said.signature)
        }
        Message::NewView(proposal) => {
            let said = &proposal.new_view;
            let content = NewView::content(&said.view_changes, &said.pre_prepare);
            let preimage = NewView::preimage(table.chain(), height, said.view, &content);
            holds(&preimage, &said.signature) && proposes(&said.pre_prepare)
        }
        _ => true,
    };
    if is_its_key {
        return Ok(());
    }
    fault("under another key than the one that its committee names")
}

#[cfg(test)]
mod tests {
    use super::*;
    use polity_consensus::fbpbft::Value;
    use polity_types::{Height, View};

    fn vote(kind: VoteKind, view: u64, digest: u8) -> Message {
        Message::Vote(Vote {
            kind,
            height: Height::new(1),
            view: View::new(view),
            value: Value::of_block(Sha256Digest::new([digest; 32])),
            signer: ReplicaId::new(0),
            signature: Signature::new(&[]),
        })
    }

    fn view_change(view: u64, prepared: Option<u64>) -> Message {
        Message::ViewChange(ViewChange {
            height: Height::new(1),
            view: View::new(view),
            prepared: prepared.map(|view| PreparedClaim {
                view: View::new(view),
                digest: Sha256Digest::new([1; 32]),
            }),
            signer: ReplicaId::new(0),
            signature: Signature::new(&[]),
            certificate: None,
        })
    }

    fn says(messages: &[Message]) -> Result<(), Violation> {
        let mut watch = SigningWatch::default();
        messages
            .iter()
            .try_for_each(|message| watch.sent(ReplicaId::new(0), message))
    }

    #[test]
    fn fb_15_what_may_be_said_once_is_seen_when_it_is_said_twice() {
        let (prepare, commit) = (VoteKind::Prepare, VoteKind::Commit);
        assert_eq!(
            says(&[vote(prepare, 0, 1), vote(prepare, 0, 1), vote(commit, 0, 1)]),
            Ok(())
        );
        assert_eq!(says(&[vote(prepare, 0, 1), vote(prepare, 1, 2)]), Ok(()));
        assert!(says(&[vote(prepare, 0, 1), vote(prepare, 0, 2)]).is_err());
        assert!(says(&[vote(commit, 0, 1), vote(commit, 0, 2)]).is_err());
        assert_eq!(says(&[view_change(2, None), view_change(2, None)]), Ok(()));
        assert!(says(&[view_change(2, None), view_change(2, Some(1))]).is_err());
    }

    #[test]
    fn fb_9_votes_below_the_floor_and_hidden_commits_are_seen() {
        assert!(says(&[view_change(2, None), vote(VoteKind::Prepare, 1, 1)]).is_err());
        assert_eq!(
            says(&[view_change(2, None), vote(VoteKind::Prepare, 2, 1)]),
            Ok(())
        );
        assert!(says(&[vote(VoteKind::Commit, 1, 1), view_change(2, None)]).is_err());
        assert!(says(&[vote(VoteKind::Commit, 1, 1), view_change(2, Some(0))]).is_err());
        assert_eq!(
            says(&[vote(VoteKind::Commit, 1, 1), view_change(2, Some(1))]),
            Ok(())
        );
    }
}
