//! What will go wrong in a run, and when: drawn from a seed, printed in full, played again.
//!
//! Power, pauses, clocks, disks and the network may do anything to anybody, because a replica that
//! forgets nothing durable is not faulty. A journal that loses what was durable is another matter:
//! its replica counts as faulty for good, so a plan damages only replicas that it was told may be.

use crate::disk::DamageKind;
use crate::network::Link;
use core::fmt;
use core::time::Duration;
use polity_types::{ReplicaId, Stream};

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// All links lose, repeat, corrupt, delay and reorder what they carry.
    Weather(Link),
    /// Frames in one direction get stuck, and arrive all at once afterwards.
    Clog {
        /// Who sends.
        from: ReplicaId,
        /// Who waits.
        to: ReplicaId,
    },
    /// Nothing passes between these members and the rest.
    Partition {
        /// One of the sides.
        side: Vec<ReplicaId>,
    },
    /// Nothing passes in one direction.
    OneWay {
        /// Who sends.
        from: ReplicaId,
        /// Who hears nothing.
        to: ReplicaId,
    },
    /// A replica loses power, with its unsynced tail torn at any byte, and starts again.
    Crash(ReplicaId),
    /// A replica stands still and then does everything at once.
    Pause(ReplicaId),
    /// Everything that a replica does and hears takes longer.
    Slow {
        /// The replica.
        replica: ReplicaId,
        /// How much longer.
        by: Duration,
    },
    /// A clock jumps ahead, and then to another time.
    Clock {
        /// The replica.
        replica: ReplicaId,
        /// How far it is ahead during the fault.
        ahead: Duration,
        /// How far it is ahead afterwards.
        back: Duration,
    },
    /// A disk needs longer for each sync.
    SlowDisk {
        /// The replica.
        replica: ReplicaId,
        /// How much longer.
        by: Duration,
    },
    /// A disk takes no more records: its replica stops at the next one.
    FullDisk(ReplicaId),
    /// A replica loses power, and what was durable is damaged: it must not start again.
    Damage {
        /// The replica.
        replica: ReplicaId,
        /// How the record is damaged.
        kind: DamageKind,
    },
}

impl Fault {
    /// What it is called in counts.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Weather(_) => "weather",
            Self::Clog { .. } => "clogged link",
            Self::Partition { .. } => "partition",
            Self::OneWay { .. } => "one-way cut",
            Self::Crash(_) => "crash",
            Self::Pause(_) => "pause",
            Self::Slow { .. } => "slow replica",
            Self::Clock { .. } => "clock jump",
            Self::SlowDisk { .. } => "slow disk",
            Self::FullDisk(_) => "full disk",
            Self::Damage {
                kind: DamageKind::BitFlip,
                ..
            } => "bit flip",
            Self::Damage {
                kind: DamageKind::Misdirected,
                ..
            } => "misdirected write",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weather(link) => write!(f, "weather: {link}"),
            Self::Clog { from, to } => write!(f, "frames from {from} to {to} get stuck"),
            Self::Partition { side } => {
                write!(f, "partition: {} against the rest", Names(side))
            }
            Self::OneWay { from, to } => write!(f, "{to} hears nothing from {from}"),
            Self::Crash(id) => write!(f, "{id} is without power"),
            Self::Pause(id) => write!(f, "{id} stands still"),
            Self::Slow { replica, by } => write!(f, "{replica} is {} ms slower", by.as_millis()),
            Self::Clock {
                replica,
                ahead,
                back,
            } => write!(
                f,
                "the clock of {replica} is {} ms ahead, then {} ms",
                ahead.as_millis(),
                back.as_millis()
            ),
            Self::SlowDisk { replica, by } => {
                write!(f, "the disk of {replica} needs {} ms more", by.as_millis())
            }
            Self::FullDisk(id) => write!(f, "the disk of {id} is full"),
            Self::Damage { replica, kind } => {
                let how = match kind {
                    DamageKind::BitFlip => "a bit flips in the journal",
                    DamageKind::Misdirected => "a write goes astray in the journal",
                };
                write!(f, "{how} of {replica}, which is gone for good")
            }
        }
    }
}

/// A fault with its times, counted from the start of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// When it begins.
    pub at: Duration,
    /// When it ends.
    pub until: Duration,
    /// What it is.
    pub fault: Fault,
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, until) = (self.at.as_millis(), self.until.as_millis());
        write!(f, "{at:>6} to {until:>6} ms: {}", self.fault)
    }
}

/// Everything that goes wrong in a run. After it, all faults have ended but the damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultPlan {
    /// How long it lasts.
    pub span: Duration,
    /// The faults, by the time at which they begin.
    pub faults: Vec<Planned>,
}

/// Who may suffer what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Victims {
    /// Every member: links concern all.
    pub all: Vec<ReplicaId>,
    /// Those whose power, clocks and disks may fail.
    pub honest: Vec<ReplicaId>,
    /// Those of them whose journals may be damaged, together with everybody who breaks the rules at
    /// most the weight that may be faulty.
    pub expendable: Vec<ReplicaId>,
}

/// Most faults of a plan.
const FAULTS_MAX: u64 = 14;

impl FaultPlan {
    /// A plan without faults.
    pub fn calm(span: Duration) -> Self {
        Self {
            span,
            faults: Vec::new(),
        }
    }

    /// Draws a plan.
    pub fn draw(random: &mut Stream, victims: &Victims) -> Self {
        let span = 2_000 + random.below(10_000);
        let count = random.below(FAULTS_MAX + 1);
        let mut faults: Vec<Planned> = (0..count)
            .map(|_| {
                let at = random.below(span);
                let longest = (span - at).min(1 + random.below(5_000));
                let until = at + 1 + random.below(longest);
                Planned {
                    at: Duration::from_millis(at),
                    until: Duration::from_millis(until.min(span)),
                    fault: some_fault(random, victims),
                }
            })
            .collect();
        for id in &victims.expendable {
            // Late enough for something durable to be there.
            let at = Duration::from_millis(span / 4 + random.below(span / 2));
            let kind = match random.below(2) {
                0 => DamageKind::BitFlip,
                _ => DamageKind::Misdirected,
            };
            faults.push(Planned {
                at,
                until: at + Duration::from_millis(500),
                fault: Fault::Damage { replica: *id, kind },
            });
        }
        faults.sort_by_key(|planned| planned.at);
        Self {
            span: Duration::from_millis(span),
            faults,
        }
    }

    /// When which fault begins or ends, in order.
    pub(crate) fn turning_points(&self) -> Vec<(Duration, usize, bool)> {
        let mut points: Vec<(Duration, usize, bool)> = self
            .faults
            .iter()
            .enumerate()
            .flat_map(|(place, planned)| [(planned.at, place, true), (planned.until, place, false)])
            .collect();
        // What begins and ends at one time begins first.
        points.sort_by_key(|(at, place, begins)| (*at, !begins, *place));
        points
    }
}

impl fmt::Display for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} faults in {} ms",
            self.faults.len(),
            self.span.as_millis()
        )?;
        for planned in &self.faults {
            writeln!(f, "  {planned}")?;
        }
        Ok(())
    }
}

fn some_fault(random: &mut Stream, victims: &Victims) -> Fault {
    let one = |random: &mut Stream, of: &[ReplicaId]| of[random.below(of.len() as u64) as usize];
    let replica = one(random, &victims.honest);
    let millis = |random: &mut Stream, max: u64| Duration::from_millis(1 + random.below(max));
    match random.below(16) {
        0..3 => Fault::Weather(some_link(random)),
        3 => {
            let from = one(random, &victims.all);
            Fault::Clog { from, to: replica }
        }
        4 | 5 => {
            let mut side = victims.all.clone();
            for place in (1..side.len()).rev() {
                side.swap(place, random.below(place as u64 + 1) as usize);
            }
            side.truncate(1 + random.below(victims.all.len() as u64 - 1) as usize);
            side.sort();
            Fault::Partition { side }
        }
        6 => {
            let from = one(random, &victims.all);
            Fault::OneWay { from, to: replica }
        }
        7..10 => Fault::Crash(replica),
        10 => Fault::Pause(replica),
        11 => Fault::Slow {
            replica,
            by: millis(random, 400),
        },
        12 | 13 => Fault::Clock {
            replica,
            ahead: millis(random, 10_000),
            back: millis(random, 3_000),
        },
        14 => Fault::SlowDisk {
            replica,
            by: millis(random, 100),
        },
        _ => Fault::FullDisk(replica),
    }
}

/// Links that do something wrong.
pub(crate) fn some_link(random: &mut Stream) -> Link {
    let of =
        |random: &mut Stream, values: &[u32]| values[random.below(values.len() as u64) as usize];
    Link {
        latency: Duration::from_millis(1 + random.below(40)),
        jitter: Duration::from_millis(random.below(150)),
        loss_per_million: of(random, &[0, 1_000, 50_000, 200_000]),
        duplicate_per_million: of(random, &[0, 20_000, 200_000]),
        corrupt_per_million: of(random, &[0, 0, 10_000, 100_000]),
        is_ordered: random.below(2) == 0,
    }
}

/// Members, one after the other.
struct Names<'a>(&'a [ReplicaId]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, id) in self.0.iter().enumerate() {
            let gap = if place == 0 { "" } else { " " };
            write!(f, "{gap}{id}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polity_types::Seed;

    fn victims() -> Victims {
        let ids = |range: core::ops::Range<u32>| range.map(ReplicaId::new).collect();
        Victims {
            all: ids(0..7),
            honest: ids(1..7),
            expendable: ids(3..4),
        }
    }

    #[test]
    fn plans_repeat_stay_inside_their_span_and_name_every_fault() {
        let mut names = std::collections::BTreeSet::new();
        for number in 0..400 {
            let draw = || FaultPlan::draw(&mut Seed::from_number(number).stream(), &victims());
            let plan = draw();
            assert_eq!(plan, draw());
            let text = plan.to_string();
            assert_eq!(text.lines().count(), plan.faults.len() + 1);
            for planned in &plan.faults {
                assert!(planned.at < planned.until);
                names.insert(planned.fault.name());
                if let Fault::Damage { replica, .. } = &planned.fault {
                    assert_eq!(*replica, ReplicaId::new(3), "only who may be faulty");
                }
            }
        }
        assert_eq!(names.len(), 12, "{names:?}");
    }
}
