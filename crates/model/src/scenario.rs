//! What is searched: how many views and values, which seat is faulty, which rule is broken on purpose.

use polity_consensus::committee::{CommitteeTable, Member};
use polity_consensus::fbpbft::{Body, Chain, Config, Counts, Header, Roots, SealedBlock, Tip};
use polity_crypto::stub::StubSigner;
use polity_crypto::{Blake3Digest, Preimage, Sha256Digest, Signer as _, domain};
use polity_types::{Height, ReplicaId, Time, View, Weight};
use std::time::Duration;

/// Members of the committee, each of weight 1.
pub const MEMBERS: usize = 4;

/// Votes that decide among four: two such sets share two members, so one honest at least. Written
/// down here and not asked of the code that is judged.
pub const QUORUM: usize = 3;

/// The only height.
pub(crate) const HEIGHT: Height = Height::new(1);

/// The time at which everything but a timeout happens.
pub(crate) const NOW: Time = Time::from_millis(1_000);

/// Where the faulty member sits. Within the searched views, seats that lead none of them differ in
/// name only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Seat {
    /// It leads this view.
    Leader(u64),
    /// It leads none of the searched views.
    Follower,
    /// It leads none of the searched views, and it is down.
    Absent,
    /// Nobody is faulty.
    Nobody,
}

impl std::fmt::Display for Seat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Leader(view) => write!(f, "leader-{view}"),
            Self::Follower => f.write_str("follower"),
            Self::Absent => f.write_str("absent"),
            Self::Nobody => f.write_str("nobody"),
        }
    }
}

/// A rule that honest replicas of the model break, to see that the search would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// They follow every rule.
    None,
    /// A replica that leaves a view forgets its certificates of PREPAREs (against FB-8).
    ForgetsCertificates,
    /// A replica takes a PRE-PREPARE of a view above 0 without a NEW-VIEW (against FB-4).
    TrustsBareProposals,
    /// A replica may stop at any time and start again without its journal (against FB-15).
    ForgetsVotes,
}

/// How much happens in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Grain {
    /// One message or one timeout. A state is all that the replicas remember.
    Message,
    /// As many messages as make the replica act. A state is what can still matter; see the crate's
    /// documentation for why nothing is lost.
    Action,
}

/// What is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Views: 0 up to one less than this.
    pub views: u64,
    /// Blocks that the faulty leader of a view may propose there.
    pub values: u64,
    /// Who is faulty.
    pub seat: Seat,
    /// What the honest do wrong.
    pub fault: Fault,
    /// How often honest replicas may stop and be restored from their journals, all together.
    pub restarts: usize,
    /// How much happens in one step.
    pub grain: Grain,
}

impl Scenario {
    /// Views 0 and 1, two values, honest replicas that follow the rules.
    pub fn new(seat: Seat) -> Self {
        Self {
            views: 2,
            values: 2,
            seat,
            fault: Fault::None,
            restarts: 0,
            grain: Grain::Action,
        }
    }

    /// Every seat that differs from the others within `views`.
    pub fn seats(views: u64) -> Vec<Seat> {
        let leaders = (0..views.min(MEMBERS as u64)).map(Seat::Leader);
        let has_follower = views < MEMBERS as u64;
        leaders
            .chain(has_follower.then_some(Seat::Follower))
            .collect()
    }

    pub(crate) fn last_view(&self) -> View {
        View::new(self.views - 1)
    }
}

/// The constants of a search.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) chain: Chain,
    pub(crate) tip: Tip,
    pub(crate) config: Config,
    /// The replicas that run the real code.
    pub(crate) honest: Vec<ReplicaId>,
    /// The member that says what it likes.
    pub(crate) faulty: Option<ReplicaId>,
    /// What it may propose in each view, if it leads it.
    fresh: Vec<Vec<SealedBlock>>,
}

impl World {
    pub(crate) fn new(scenario: Scenario) -> Self {
        assert!(scenario.views >= 1, "there is a view 0");
        let members = (0..MEMBERS as u32).map(|number| Member {
            id: ReplicaId::new(number),
            key: signer(ReplicaId::new(number)).public_key().clone(),
            weight: Weight::new(1),
        });
        let committee = CommitteeTable::new(members).expect("four equal members");
        let chain = Chain::new(Blake3Digest::new([1; 32]), 1_000, committee, |_| None);
        let leads = |id: ReplicaId| {
            (0..scenario.views).any(|view| chain.leader(HEIGHT, View::new(view)) == id)
        };
        let all: Vec<ReplicaId> = (0..MEMBERS as u32).map(ReplicaId::new).collect();
        let follower = all.iter().copied().find(|id| !leads(*id));
        let (faulty, absent) = match scenario.seat {
            Seat::Leader(view) => (Some(chain.leader(HEIGHT, View::new(view))), None),
            Seat::Follower => (follower, None),
            Seat::Absent => (None, follower),
            Seat::Nobody => (None, None),
        };
        assert!(
            faulty.or(absent).is_some() || scenario.seat == Seat::Nobody,
            "with {} views every member leads one",
            scenario.views
        );
        // Of these, only the timeouts of views and retransmissions before them may come due.
        let never = Duration::from_secs(1 << 40);
        let config = Config {
            timeout_base: Duration::from_secs(1),
            timeout_max: Duration::from_secs(3_600),
            retransmit_after: Duration::from_millis(500),
            status_every: never,
            fetch_timeout: never,
            // A cache would make two equal states differ.
            verdicts_max: 0,
            ..Config::default()
        };
        let state = Preimage::new(domain::TEST).u64(0).sha256();
        let mut world = Self {
            scenario,
            tip: Tip::genesis(&chain, Time::ZERO, state),
            config,
            honest: all
                .into_iter()
                .filter(|id| Some(*id) != faulty && Some(*id) != absent)
                .collect(),
            faulty,
            chain,
            fresh: Vec::new(),
        };
        world.fresh = world
            .views()
            .map(|view| {
                let numbers = 0..scenario.values;
                numbers
                    .map(|number| world.fresh_block(view, number))
                    .collect()
            })
            .collect();
        world
    }

    pub(crate) fn leader(&self, view: View) -> ReplicaId {
        self.chain.leader(HEIGHT, view)
    }

    pub(crate) fn is_led_by_faulty(&self, view: View) -> bool {
        Some(self.leader(view)) == self.faulty
    }

    pub(crate) fn views(&self) -> impl Iterator<Item = View> + use<> {
        (0..self.scenario.views).map(View::new)
    }

    /// The blocks that a faulty leader may propose in its view.
    pub(crate) fn fresh_blocks(&self, view: View) -> &[SealedBlock] {
        &self.fresh[view.get() as usize]
    }

    fn fresh_block(&self, view: View, number: u64) -> SealedBlock {
        let Roots {
            application,
            receipts,
            ..
        } = self.tip.roots;
        let header = Header {
            chain: self.chain.id(),
            epoch: self.chain.epoch(HEIGHT),
            height: HEIGHT,
            view,
            proposer: self.leader(view),
            parent: self.tip.parent.digest,
            timestamp: Time::from_millis(NOW.as_millis() + 1 + number),
            body_root: Sha256Digest::ZERO,
            counts: Counts::default(),
            application_root: application,
            receipts_root: receipts,
            next_committee: self.chain.next_committee(HEIGHT),
        };
        SealedBlock::build(&self.chain, header, Body::default()).expect("no transactions")
    }
}

/// The signer of a member: members are numbered like their keys.
pub(crate) fn signer(id: ReplicaId) -> StubSigner {
    StubSigner::new(u64::from(id.get()))
}
