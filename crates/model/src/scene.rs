//! What can happen next.
//!
//! A [`Scene`] is one state of the whole: the honest replicas, and through what they sent also the
//! network. From it follows what the faulty member can say, as it may sign whatever it likes and show
//! what others signed.

use crate::forge::Messages;
use crate::replica::{Replica, Step};
use crate::scenario::{Fault, Grain, QUORUM, World};
use crate::table::Number;
use polity_consensus::fbpbft::{Block, Message, PreparedClaim, SealedBlock, Value, VoteKind};
use polity_crypto::Sha256Digest;
use polity_types::{ReplicaId, View};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How often replicas of a broken model may forget everything, all together.
const FORGETS_MAX: usize = 2;

/// Records that one step stores, at most.
const RECORDS_MAX: usize = 8;

/// A VIEW-CHANGE that can be had.
#[derive(Clone, Copy)]
struct Part {
    signer: ReplicaId,
    number: Number,
    claim: Option<PreparedClaim>,
}

pub(crate) struct Scene<'a> {
    pub(crate) world: &'a World,
    pub(crate) messages: &'a Messages,
    pub(crate) replicas: Vec<Arc<Replica>>,
}

impl Scene<'_> {
    /// Everything that can happen to one replica.
    pub(crate) fn steps(&self, index: usize) -> Vec<Step> {
        let replica = &*self.replicas[index];
        let mut steps = Vec::new();
        if replica.decided.is_some() {
            // It is at the next height, which is not searched. What it said stays on the network, and
            // it must not add to it.
            self.proposals(replica, &mut steps);
            self.certificates(replica, &mut steps);
            return steps;
        }
        if replica.is_waiting() && replica.view() < self.world.scenario.last_view() {
            steps.push(Step::Timeout);
        }
        match self.world.scenario.grain {
            Grain::Message => self.single_messages(replica, &mut steps),
            Grain::Action => {
                self.proposals(replica, &mut steps);
                self.certificates(replica, &mut steps);
                self.decisions(replica, &mut steps);
                for view in self.world.views().skip(1) {
                    if self.world.leader(view) == replica.id {
                        self.openings(replica, view, &mut steps);
                    } else {
                        self.entrances(replica, view, &mut steps);
                    }
                }
            }
        }
        let restarts: usize = self.replicas.iter().map(|replica| replica.restarts).sum();
        if self.world.scenario.fault == Fault::ForgetsVotes && restarts < FORGETS_MAX {
            steps.push(Step::Forget);
        }
        if restarts < self.world.scenario.restarts {
            let crashes: Vec<Step> = steps
                .iter()
                .flat_map(|step| {
                    (1..=RECORDS_MAX).map(|records| Step::Crash(Box::new(step.clone()), records))
                })
                .collect();
            steps.extend(crashes);
            steps.push(Step::Restart);
        }
        steps
    }

    /// Honest members that sent PREPARE for this value in this view.
    pub(crate) fn preparers(&self, view: View, value: &Value) -> Vec<ReplicaId> {
        self.ids(|replica| replica.said.prepares.get(&view) == Some(value))
    }

    /// Honest members that sent COMMIT for this block in this view.
    pub(crate) fn committers(&self, view: View, digest: &Sha256Digest) -> Vec<ReplicaId> {
        self.ids(|replica| replica.said.commits.get(&view) == Some(digest))
    }

    fn ids(&self, is_one: impl Fn(&Replica) -> bool) -> Vec<ReplicaId> {
        let all = self.replicas.iter();
        all.filter(|replica| is_one(replica))
            .map(|replica| replica.id)
            .collect()
    }

    fn replica(&self, id: ReplicaId) -> &Replica {
        let mut all = self.replicas.iter();
        all.find(|replica| replica.id == id)
            .expect("only honest members are asked for")
    }

    /// Values that honest members voted PREPARE for.
    fn prepared_values(&self) -> BTreeSet<(View, Value)> {
        let all = self.replicas.iter();
        all.flat_map(|replica| &replica.said.prepares)
            .map(|(view, value)| (*view, *value))
            .collect()
    }

    fn committed_values(&self) -> BTreeSet<(View, Sha256Digest)> {
        let all = self.replicas.iter();
        all.flat_map(|replica| &replica.said.commits)
            .map(|(view, digest)| (*view, *digest))
            .collect()
    }

    /// The vote that a member sent; the faulty one sends any.
    fn vote(&self, id: ReplicaId, kind: VoteKind, view: View, value: Value) -> Number {
        if Some(id) == self.world.faulty {
            return self.messages.vote(self.world, kind, view, value);
        }
        let votes = &self.replica(id).said.votes;
        *votes.get(&(kind, view)).expect("it said so")
    }

    /// Proofs of PREPAREs below `view` that the faulty member can show: the votes of any two others
    /// beside its own.
    fn proofs(&self, view: View) -> Vec<(View, Value, Vec<ReplicaId>)> {
        let Some(faulty) = self.world.faulty else {
            return Vec::new();
        };
        let mut proofs = Vec::new();
        for (at, value) in self.prepared_values() {
            let preparers = self.preparers(at, &value);
            for (place, first) in preparers.iter().enumerate() {
                for second in &preparers[place + 1..] {
                    if at < view {
                        proofs.push((at, value, vec![faulty, *first, *second]));
                    }
                }
            }
        }
        proofs
    }

    /// VIEW-CHANGEs for `view`: those that honest members sent, and all that the faulty one can.
    fn parts(&self, view: View) -> Vec<Part> {
        let honest = self.replicas.iter().filter_map(|replica| {
            let (claim, number) = replica.said.view_changes.get(&view)?;
            Some(Part {
                signer: replica.id,
                number: *number,
                claim: *claim,
            })
        });
        let mut parts: Vec<Part> = honest.collect();
        let Some(faulty) = self.world.faulty else {
            return parts;
        };
        let proofs = self.proofs(view).into_iter().map(Some);
        for proof in std::iter::once(None).chain(proofs) {
            let claim = proof.as_ref().map(|(view, value, _)| PreparedClaim {
                view: *view,
                digest: value.digest,
            });
            parts.push(Part {
                signer: faulty,
                number: self.messages.view_change(self.world, view, proof),
                claim,
            });
        }
        parts
    }

    /// Claims of the faulty member about blocks of view 0 that it cannot prove.
    fn bare_claims(&self, view: View) -> Vec<Part> {
        let Some(faulty) = self.world.faulty else {
            return Vec::new();
        };
        let digests = self.known_blocks(View::ZERO);
        let parts = digests.into_iter().map(|digest| {
            let claim = PreparedClaim {
                view: View::ZERO,
                digest,
            };
            Part {
                signer: faulty,
                number: self.messages.bare_claim(self.world, view, claim),
                claim: Some(claim),
            }
        });
        parts.collect()
    }

    /// Blocks that the leader of `view` proposed afresh, or can.
    fn known_blocks(&self, view: View) -> Vec<Sha256Digest> {
        if self.world.is_led_by_faulty(view) {
            let blocks = self.world.fresh_blocks(view);
            return blocks.iter().map(SealedBlock::digest).collect();
        }
        let leader = self.replica(self.world.leader(view));
        let proposed = leader.said.proposals.get(&view);
        proposed.map(|(digest, _)| *digest).into_iter().collect()
    }

    /// Proposals of `view` in their proper form: of view 0 bare, later inside a NEW-VIEW.
    fn proposals_of(&self, view: View) -> Arc<Vec<Number>> {
        let speeches = self.replicas.iter().map(|replica| replica.speech);
        let offer = || self.work_out_proposals(view);
        self.messages.offer(view, speeches.collect(), offer)
    }

    fn work_out_proposals(&self, view: View) -> Vec<Number> {
        if !self.world.is_led_by_faulty(view) {
            let leader = self.replica(self.world.leader(view));
            let proposed = leader.said.proposals.get(&view);
            return proposed.map(|(_, number)| *number).into_iter().collect();
        }
        let fresh = self.world.fresh_blocks(view);
        for block in fresh {
            self.messages.keep_block((**block.block()).clone());
        }
        let bare = fresh
            .iter()
            .map(|block| self.messages.proposal(self.world, view, block));
        if view == View::ZERO {
            bare.collect()
        } else {
            // FB-4 refuses bare ones in these views.
            let fresh: Vec<Arc<Block>> = fresh
                .iter()
                .map(|block| Arc::clone(block.block()))
                .collect();
            bare.chain(self.new_views(view, &fresh)).collect()
        }
    }

    /// NEW-VIEWs of the faulty leader of `view`: from every quorum of VIEW-CHANGEs and with every
    /// value that follows, and from each also what does not follow.
    fn new_views(&self, view: View, fresh: &[Arc<Block>]) -> Vec<Number> {
        let parts = self.parts(view);
        let sets = subsets(&parts);
        let forge = |set: &[Part], block: &Arc<Block>| {
            let numbers: Vec<Number> = set.iter().map(|part| part.number).collect();
            self.messages.new_view(self.world, view, &numbers, block)
        };
        let earlier: Vec<Arc<Block>> = (0..view.get())
            .flat_map(|below| self.known_blocks(View::new(below)))
            .filter_map(|digest| self.messages.block(&digest))
            .collect();
        let mut new_views = Vec::new();
        for set in &sets {
            let highest = set.iter().filter_map(|part| part.claim).max();
            let certified = highest.and_then(|claim| self.messages.block(&claim.digest));
            if set.len() == QUORUM - 1 {
                // Too few; the same with one of them twice; and with a claim without a proof.
                new_views.push(forge(set, &fresh[0]));
                let twice = [set[0], set[0], set[1]];
                new_views.push(forge(&twice, &fresh[0]));
                for claim in self.bare_claims(view) {
                    let is_free = set.iter().all(|part| part.signer != claim.signer);
                    let block = claim.claim.and_then(|c| self.messages.block(&c.digest));
                    if let (true, Some(block)) = (is_free, block) {
                        new_views.push(forge(&[set[0], set[1], claim], &block));
                    }
                }
            } else if set.len() >= QUORUM {
                if let Some(certified) = certified {
                    new_views.push(forge(set, &certified));
                    // Against the highest claim.
                    new_views.push(forge(set, &fresh[0]));
                } else {
                    for block in fresh {
                        new_views.push(forge(set, block));
                    }
                }
                for block in &earlier {
                    // Without a claim, or against it.
                    new_views.push(forge(set, block));
                }
            }
        }
        new_views
    }

    /// A proposal arrives: wherever the replica stands, and whatever it voted for.
    fn proposals(&self, replica: &Replica, steps: &mut Vec<Step>) {
        for view in self.world.views() {
            let leader = self.world.leader(view);
            if leader != replica.id {
                let numbers = self.proposals_of(view);
                let each = numbers.iter();
                steps.extend(each.map(|number| Step::Receive(vec![(leader, *number)])));
            }
        }
    }

    /// PREPAREs arrive that complete a certificate: in any view, left or not. Nothing here assumes that the
    /// replica keeps silent where it has to.
    fn certificates(&self, replica: &Replica, steps: &mut Vec<Step>) {
        for (view, value) in self.prepared_values() {
            if replica.has_certificate(view) {
                continue;
            }
            let is_own = replica.said.prepares.get(&view) == Some(&value);
            // A certificate names its signers, so each set of voters makes another one.
            for voters in self.voters(replica, &self.preparers(view, &value), is_own) {
                let ballots = voters.into_iter().map(|id| {
                    let number = self.vote(id, VoteKind::Prepare, view, value);
                    (id, number)
                });
                steps.push(Step::Receive(ballots.collect()));
            }
        }
    }

    /// COMMITs arrive that complete a quorum, or the block with its certificate.
    fn decisions(&self, replica: &Replica, steps: &mut Vec<Step>) {
        for (view, digest) in self.committed_values() {
            let is_own = replica.said.commits.get(&view) == Some(&digest);
            let committers = self.committers(view, &digest);
            // Nothing that is searched depends on who signed a decision.
            let Some(voters) = self.voters(replica, &committers, is_own).into_iter().next() else {
                continue;
            };
            if replica.has_block(&digest) {
                let ballots = voters.into_iter().map(|id| {
                    let value = Value::of_block(digest);
                    (id, self.vote(id, VoteKind::Commit, view, value))
                });
                steps.push(Step::Receive(ballots.collect()));
            } else if let Some(number) = self.messages.decided(self.world, view, digest, &voters) {
                steps.push(Step::Receive(vec![(voters[0], number)]));
            }
        }
    }

    /// The sets of other members whose votes complete a quorum for a replica. The first contains
    /// the faulty member, if there is one.
    fn voters(&self, replica: &Replica, honest: &[ReplicaId], is_own: bool) -> Vec<Vec<ReplicaId>> {
        let needed = QUORUM - usize::from(is_own);
        let honest = honest.iter().copied().filter(|id| *id != replica.id);
        let mut sets: Vec<Vec<ReplicaId>> = vec![Vec::new()];
        for id in self.world.faulty.into_iter().chain(honest) {
            let grown: Vec<Vec<ReplicaId>> = sets
                .iter()
                .filter(|set| set.len() < needed)
                .map(|set| set.iter().copied().chain([id]).collect())
                .collect();
            sets.extend(grown);
        }
        sets.retain(|set| set.len() == needed);
        sets
    }

    /// VIEW-CHANGEs arrive at the honest leader of `view`: any two with the blocks they claim, or any
    /// three without.
    fn openings(&self, replica: &Replica, view: View, steps: &mut Vec<Step>) {
        let parts = self.parts(view).into_iter().chain(self.bare_claims(view));
        let parts: Vec<Part> = parts.filter(|part| part.signer != replica.id).collect();
        for set in subsets(&parts) {
            let mut deliveries: Vec<(ReplicaId, Number)> =
                set.iter().map(|part| (part.signer, part.number)).collect();
            if set.len() == QUORUM - 1 {
                let claims = set.iter().filter_map(|part| part.claim);
                for digest in claims.map(|claim| claim.digest).collect::<BTreeSet<_>>() {
                    deliveries.extend(self.block_from_holder(replica, &digest));
                }
                steps.push(Step::Receive(deliveries));
            } else if set.len() >= QUORUM {
                // Which two came first decides what the third is for.
                for _ in 0..deliveries.len() {
                    deliveries.rotate_left(1);
                    steps.push(Step::Receive(deliveries.clone()));
                }
            }
        }
    }

    /// VIEW-CHANGEs arrive that let a replica enter a view it does not lead. This shows only where it
    /// may leave that view again.
    fn entrances(&self, replica: &Replica, view: View, steps: &mut Vec<Step>) {
        let may_leave = view < self.world.scenario.last_view();
        if !may_leave || view < replica.floor() || view <= replica.view() {
            return;
        }
        let mut deliveries: Vec<(ReplicaId, Number)> = Vec::new();
        for part in self.parts(view) {
            let is_free = part.signer != replica.id
                && deliveries.iter().all(|(signer, _)| *signer != part.signer);
            if is_free {
                deliveries.push((part.signer, part.number));
            }
        }
        if deliveries.len() >= QUORUM - 1 {
            deliveries.truncate(QUORUM - 1);
            steps.push(Step::Receive(deliveries));
        }
    }

    /// The block with this digest, from somebody who has it.
    fn block_from_holder(
        &self,
        replica: &Replica,
        digest: &Sha256Digest,
    ) -> Option<(ReplicaId, Number)> {
        let block = self.messages.block(digest)?;
        let is_faulty_block = Some(block.header.proposer) == self.world.faulty;
        let holder = self.world.faulty.filter(|_| is_faulty_block).or_else(|| {
            let holders = self.ids(|other| other.has_block(digest));
            holders.into_iter().find(|id| *id != replica.id)
        })?;
        Some((holder, self.messages.keep(Message::Block(block))))
    }

    /// Every single message that this replica could get.
    fn single_messages(&self, replica: &Replica, steps: &mut Vec<Step>) {
        let mut deliveries: BTreeSet<(ReplicaId, Number)> = BTreeSet::new();
        for other in &self.replicas {
            if other.id != replica.id {
                deliveries.extend(other.sent.iter().map(|number| (other.id, *number)));
            }
        }
        let mut blocks: BTreeSet<Sha256Digest> = BTreeSet::new();
        for view in self.world.views() {
            blocks.extend(self.known_blocks(view));
        }
        for digest in &blocks {
            deliveries.extend(self.block_from_holder(replica, digest));
        }
        for (view, digest) in self.committed_values() {
            let committers = self.committers(view, &digest);
            let Some(voters) = self.voters(replica, &committers, false).into_iter().next() else {
                continue;
            };
            let decided = self.messages.decided(self.world, view, digest, &voters);
            deliveries.extend(decided.map(|number| (voters[0], number)));
        }
        if let Some(faulty) = self.world.faulty {
            deliveries.extend(self.forgeries().into_iter().map(|number| (faulty, number)));
        }
        let each = deliveries.into_iter();
        steps.extend(each.map(|delivery| Step::Receive(vec![delivery])));
    }

    /// Every single message that the faulty member could send.
    fn forgeries(&self) -> BTreeSet<Number> {
        let mut forgeries = BTreeSet::new();
        for view in self.world.views() {
            if view > View::ZERO {
                let parts = self.parts(view).into_iter().chain(self.bare_claims(view));
                forgeries.extend(
                    parts
                        .filter(|part| Some(part.signer) == self.world.faulty)
                        .map(|part| part.number),
                );
            }
            let proposals = self.proposals_of(view);
            let mut values: BTreeSet<Value> = BTreeSet::new();
            for number in proposals.iter() {
                match &*self.messages.get(*number) {
                    Message::Proposal(proposal) if view == View::ZERO => {
                        values.insert(Value::of_block(proposal.pre_prepare.digest));
                    }
                    Message::NewView(proposal) => {
                        values.insert(Value {
                            digest: proposal.new_view.pre_prepare.digest,
                            new_view: proposal.new_view.digest(),
                        });
                    }
                    _ => {}
                }
            }
            for value in values {
                let commit = Value::of_block(value.digest);
                let vote = |kind, value| self.messages.vote(self.world, kind, view, value);
                forgeries.insert(vote(VoteKind::Prepare, value));
                forgeries.insert(vote(VoteKind::Commit, commit));
            }
            if self.world.is_led_by_faulty(view) {
                forgeries.extend(proposals.iter().copied());
            }
        }
        forgeries
    }
}

/// All sets of two or more parts of different members, in the order given.
fn subsets(parts: &[Part]) -> Vec<Vec<Part>> {
    let mut sets: Vec<Vec<Part>> = vec![Vec::new()];
    for part in parts {
        let grown: Vec<Vec<Part>> = sets
            .iter()
            .filter(|set| set.iter().all(|other| other.signer != part.signer))
            .map(|set| set.iter().copied().chain([*part]).collect())
            .collect();
        sets.extend(grown);
    }
    sets.retain(|set| set.len() >= QUORUM - 1);
    sets
}
