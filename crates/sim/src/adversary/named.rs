//! The adversaries that campaigns draw from, by name.

use super::{
    Adversary, CatchUpLiar, DoubleVoter, Equivocator, EvidenceForger, Flooder, Foreigner, Forger,
    Forgetful, JunkNewView, JunkViewChange, Mutator, Nonsense, Plot, Replayer, Silent, Slow,
    SnapshotLiar, SplitVoter, StaleNewView, StatusLiar, Tamperer, ViewJumper, Withholder,
};
use crate::federation::Federation;
use core::time::Duration;
use polity_types::{ReplicaId, Stream, View};

/// What an adversary may want to know before it starts.
#[derive(Debug)]
pub struct Circumstances<'a> {
    /// The federation it belongs to.
    pub federation: &'a Federation,
    /// Those who keep to the rules.
    pub honest: &'a [ReplicaId],
    /// Where its habits come from.
    pub random: &'a mut Stream,
}

impl Circumstances<'_> {
    fn somebody(&mut self) -> Option<ReplicaId> {
        let place = self.random.below(self.honest.len() as u64) as usize;
        self.honest.get(place).copied()
    }
}

/// An adversary with a name.
#[derive(Clone, Copy, Debug)]
pub struct Named {
    /// What it is called.
    pub name: &'static str,
    make: fn(&mut Circumstances<'_>) -> Box<dyn Adversary>,
}

impl Named {
    /// A new one.
    pub fn make(&self, circumstances: &mut Circumstances<'_>) -> Box<dyn Adversary> {
        (self.make)(circumstances)
    }
}

const ALL: &[Named] = &[
    Named {
        name: "equivocating leader",
        make: |at| {
            let half = at.honest.len() / 2;
            let plot = Plot::against(at.honest[..half].to_vec());
            if at.random.below(2) == 0 {
                plot.borrow_mut().witness = at.somebody();
            }
            Box::new(Equivocator::new(plot))
        },
    },
    Named {
        name: "split voter",
        make: |_| Box::new(SplitVoter),
    },
    Named {
        name: "double voter",
        make: |_| Box::new(DoubleVoter),
    },
    Named {
        name: "withheld COMMITs",
        make: |at| {
            let favourite = at.somebody();
            Box::new(Withholder { favourite })
        },
    },
    Named {
        name: "lock amnesia",
        make: |_| Box::new(Forgetful),
    },
    Named {
        name: "stale or forged NEW-VIEW",
        make: |_| Box::new(StaleNewView::default()),
    },
    Named {
        name: "junk NEW-VIEW",
        make: |_| Box::new(JunkNewView::default()),
    },
    Named {
        name: "junk VIEW-CHANGE",
        make: |_| Box::new(JunkViewChange::default()),
    },
    Named {
        name: "delayed PREPAREs",
        make: |at| Box::new(Slow::preparer(late(at, 3_000))),
    },
    Named {
        name: "replayer",
        make: |_| Box::new(Replayer::default()),
    },
    Named {
        name: "silent leader",
        make: |_| Box::new(Silent::AsLeader),
    },
    Named {
        name: "silent member",
        make: |_| Box::new(Silent::Always),
    },
    Named {
        name: "barely alive leader",
        make: |at| Box::new(Slow::leader(late(at, 950))),
    },
    Named {
        name: "flooder",
        make: |_| Box::new(Flooder::default()),
    },
    Named {
        name: "future-height spammer",
        make: |_| Box::new(Flooder::of_far_heights()),
    },
    Named {
        name: "garbage blocks",
        make: |at| Box::new(Nonsense::starting_with(at.random.below(11))),
    },
    Named {
        name: "wrong chain, epoch or kind",
        make: |at| {
            let mut other = at.federation.genesis.clone();
            "another federation".clone_into(&mut other.name);
            let elsewhere = other.chain();
            Box::new(Foreigner::new(
                elsewhere.unwrap_or_else(|_| at.federation.chain.clone()),
            ))
        },
    },
    Named {
        name: "evidence forger",
        make: |_| Box::new(EvidenceForger::default()),
    },
    Named {
        name: "forger",
        make: |_| Box::new(Forger::default()),
    },
    Named {
        name: "catch-up liar",
        make: |_| Box::new(CatchUpLiar::default()),
    },
    Named {
        name: "snapshot liar",
        make: |at| Box::new(SnapshotLiar::new(at.random.below(SnapshotLiar::LIES))),
    },
    Named {
        name: "status liar",
        make: |_| Box::new(StatusLiar),
    },
    Named {
        name: "tampering relay",
        make: |_| Box::new(Tamperer::default()),
    },
    Named {
        name: "view jumper",
        make: |at| {
            let view = [1, 7, 40, 1_000_000][at.random.below(4) as usize];
            Box::new(ViewJumper::to(View::new(view)))
        },
    },
    Named {
        name: "mutator",
        make: |_| Box::new(Mutator),
    },
];

/// Every adversary that a campaign may draw.
pub fn named() -> &'static [Named] {
    ALL
}

fn late(at: &mut Circumstances<'_>, max_ms: u64) -> Duration {
    Duration::from_millis(max_ms / 2 + at.random.below(max_ms / 2))
}
