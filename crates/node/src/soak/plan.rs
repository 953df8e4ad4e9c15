//! What goes wrong, when, and for how long: drawn from the seed before anything starts.
//!
//! A fault takes one node away, and at any time at most `F` nodes are away. Some windows of the plan
//! are **beyond the budget**: more are away there, nothing has to be decided, and all that is asked of
//! the federation is that nothing decided is contradicted and that it goes on afterwards. A broken
//! link between two nodes counts as one node that is away.
//!
//! Beside the faults there is weather: loss, delay, duplicates and reordering on all links, and one
//! link that has it worse.

use polity_consensus::quorum::Thresholds;
use polity_types::{Seed, Stream, Weight};
use serde::Serialize;
use std::fmt;

/// Milliseconds before the first fault.
const CALM_FIRST: u64 = 2_000;

/// Milliseconds before the end in which nothing new begins.
const CALM_LAST: u64 = 2_000;

/// A window beyond the budget keeps so far from the faults around it.
const MARGIN: u64 = 1_500;

/// What happens to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// SIGKILL, and a new process at the end.
    Kill,
    /// SIGTERM, and a new process at the end.
    Stop,
    /// SIGSTOP, and SIGCONT at the end.
    Pause,
    /// No packet reaches it, and none of its packets arrives.
    Isolate,
    /// No packet reaches it.
    Deaf,
    /// None of its packets arrives.
    Mute,
    /// Its packets do not reach one other node.
    Cut {
        /// The other node.
        to: usize,
    },
    /// It and these others are apart from the rest. Only beyond the budget.
    Split {
        /// The others on its side.
        with: Vec<usize>,
    },
}

impl Kind {
    /// A word for tables.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Pause => "pause",
            Self::Isolate => "isolate",
            Self::Deaf => "deaf",
            Self::Mute => "mute",
            Self::Cut { .. } => "cut",
            Self::Split { .. } => "split",
        }
    }
}

/// One thing that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Fault {
    /// When it begins.
    pub(crate) from_ms: u64,
    /// When it is mended.
    pub(crate) until_ms: u64,
    /// Whom it hits.
    pub(crate) node: usize,
    /// What it is.
    pub(crate) kind: Kind,
    /// Whether it belongs to a window beyond the budget.
    pub(crate) is_beyond: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>8} ms to {:>8} ms  node {} {}",
            self.from_ms,
            self.until_ms,
            self.node,
            self.kind.name()
        )?;
        match &self.kind {
            Kind::Cut { to } => write!(f, " to {to}")?,
            Kind::Split { with } => write!(f, " with {with:?}")?,
            _ => {}
        }
        if self.is_beyond {
            f.write_str(", beyond the budget")?;
        }
        Ok(())
    }
}

/// What a link does to packets; chances are in a million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Rates {
    /// Chance of a loss.
    pub(crate) loss: u32,
    /// Chance of a second copy.
    pub(crate) duplicate: u32,
    /// Chance that others overtake it.
    pub(crate) reorder: u32,
    /// Delay of every packet in microseconds.
    pub(crate) delay_us: u32,
    /// Further delay, at most.
    pub(crate) jitter_us: u32,
}

/// What all links do from a time on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Weather {
    /// From when on.
    pub(crate) at_ms: u64,
    /// All links.
    pub(crate) rates: Rates,
    /// One direction that has it worse.
    pub(crate) worst: Option<(usize, usize, Rates)>,
}

/// A window beyond the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Window {
    /// When it begins.
    pub(crate) from_ms: u64,
    /// When everything in it is mended.
    pub(crate) until_ms: u64,
}

/// The whole plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Plan {
    /// What it was drawn from.
    pub(crate) seed: u64,
    /// How many nodes.
    pub(crate) nodes: usize,
    /// How many may be away within the budget.
    pub(crate) away_max: usize,
    /// How long it takes.
    pub(crate) length_ms: u64,
    /// In the order of their beginnings.
    pub(crate) faults: Vec<Fault>,
    /// In the order of time.
    pub(crate) weather: Vec<Weather>,
    /// Windows beyond the budget, in the order of time.
    pub(crate) beyond: Vec<Window>,
}

/// Something to do at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// The fault with this number is mended. Before anything else of the same time.
    Mend(usize),
    /// The window with this number is over.
    Close(usize),
    /// The window with this number begins.
    Open(usize),
    /// The fault with this number begins.
    Break(usize),
    /// The weather with this number comes.
    Weather(usize),
}

fn between(stream: &mut Stream, low: u64, high: u64) -> u64 {
    low + stream.below(high - low + 1)
}

impl Plan {
    /// The plan of a seed.
    pub(crate) fn draw(seed: u64, nodes: usize, length_ms: u64) -> Self {
        let weight = Weight::new(u64::try_from(nodes).unwrap_or(u64::MAX));
        let away_max = Thresholds::new(weight).faulty_max().get();
        let away_max = usize::try_from(away_max).unwrap_or(0);
        let source = Seed::from_number(seed);
        let mut plan = Self {
            seed,
            nodes,
            away_max,
            length_ms,
            faults: Vec::new(),
            weather: Vec::new(),
            beyond: Vec::new(),
        };
        plan.draw_windows(&mut source.fork("windows").stream());
        for lane in 0..away_max {
            plan.draw_lane(lane, &mut source.fork(&format!("lane {lane}")).stream());
        }
        plan.draw_weather(&mut source.fork("weather").stream());
        plan.faults.sort_by_key(|fault| (fault.from_ms, fault.node));
        plan
    }

    /// Everything that is to be done, in order.
    pub(crate) fn steps(&self) -> Vec<(u64, Step)> {
        let mut steps = Vec::new();
        for (number, fault) in self.faults.iter().enumerate() {
            steps.push((fault.from_ms, Step::Break(number)));
            steps.push((fault.until_ms, Step::Mend(number)));
        }
        for (number, window) in self.beyond.iter().enumerate() {
            steps.push((window.from_ms, Step::Open(number)));
            steps.push((window.until_ms, Step::Close(number)));
        }
        for (number, weather) in self.weather.iter().enumerate() {
            steps.push((weather.at_ms, Step::Weather(number)));
        }
        steps.sort_unstable();
        steps
    }

    /// One line for each fault.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.faults.iter().map(ToString::to_string).collect()
    }

    fn last_ms(&self) -> u64 {
        self.length_ms.saturating_sub(CALM_LAST)
    }

    /// Windows in which more than the budget is away.
    fn draw_windows(&mut self, stream: &mut Stream) {
        let mut from = between(stream, 12_000, 30_000);
        loop {
            let until = from + between(stream, 4_000, 15_000);
            if until + MARGIN > self.last_ms() {
                break;
            }
            self.draw_window(from, until, stream);
            self.beyond.push(Window {
                from_ms: from,
                until_ms: until,
            });
            from = until + between(stream, 40_000, 90_000);
        }
    }

    fn draw_window(&mut self, from: u64, until: u64, stream: &mut Stream) {
        let mut fault = |node, kind, stream: &mut Stream| {
            self.faults.push(Fault {
                from_ms: from + stream.below(1_000),
                until_ms: until - stream.below(1_000),
                node,
                kind,
                is_beyond: true,
            });
        };
        let mut order = shuffled(self.nodes, stream);
        let count = self.away_max + 1;
        match stream.below(5) {
            // Everybody dies.
            0 => {
                for node in order {
                    fault(node, Kind::Kill, stream);
                }
            }
            // One more than may.
            1 => {
                for node in order.into_iter().take(count) {
                    fault(node, Kind::Kill, stream);
                }
            }
            2 => {
                for node in order.into_iter().take(count) {
                    fault(node, Kind::Pause, stream);
                }
            }
            // A death among nodes that stand still.
            3 => {
                for (place, node) in order.into_iter().take(count).enumerate() {
                    let kind = if place == 0 { Kind::Kill } else { Kind::Pause };
                    fault(node, kind, stream);
                }
            }
            _ => {
                let with = order.split_off(self.nodes - self.nodes / 2);
                if let [node, others @ ..] = with.as_slice() {
                    let with = others.to_vec();
                    fault(*node, Kind::Split { with }, stream);
                }
            }
        }
    }

    /// Faults one after the other; as many lanes as nodes may be away.
    fn draw_lane(&mut self, lane: usize, stream: &mut Stream) {
        let mut from = CALM_FIRST + between(stream, 0, 2_000);
        let mut number = 0_usize;
        loop {
            // The first three of a run are always these, so that a short one has them.
            let (kind, length) = match (lane, number) {
                (0, 0) => (Kind::Kill, between(stream, 500, 2_000)),
                (0, 1) => (Kind::Pause, between(stream, 500, 2_000)),
                (0, 2) => (Kind::Isolate, between(stream, 1_000, 3_000)),
                _ => self.draw_kind(stream),
            };
            number += 1;
            // A node that comes back may die again before it has found the others.
            let repeats = match kind {
                Kind::Kill => [1, 1, 1, 2, 3][usize::try_from(stream.below(5)).unwrap_or(0)],
                _ => 1,
            };
            let gaps: Vec<u64> = (1..repeats).map(|_| between(stream, 50, 900)).collect();
            let until = from + length * repeats + gaps.iter().sum::<u64>();
            if let Some(window) = self.window_near(from, until) {
                from = window.until_ms + MARGIN + stream.below(1_000);
                continue;
            }
            if until > self.last_ms() {
                break;
            }
            let Some(node) = self.draw_node(from, until, stream) else {
                from += 1_000;
                continue;
            };
            let kind = match kind {
                Kind::Cut { to } if to == node => Kind::Cut {
                    to: (to + 1) % self.nodes,
                },
                kind => kind,
            };
            let mut at = from;
            for repeat in 0..repeats {
                self.faults.push(Fault {
                    from_ms: at,
                    until_ms: at + length,
                    node,
                    kind: kind.clone(),
                    is_beyond: false,
                });
                let gap = usize::try_from(repeat).ok().and_then(|at| gaps.get(at));
                at += length + gap.copied().unwrap_or(0);
            }
            from = until + between(stream, 800, 7_000);
        }
    }

    fn draw_kind(&self, stream: &mut Stream) -> (Kind, u64) {
        let kind = match stream.below(100) {
            0..35 => Kind::Kill,
            35..42 => Kind::Stop,
            42..60 => Kind::Pause,
            60..74 => Kind::Isolate,
            74..81 => Kind::Deaf,
            81..88 => Kind::Mute,
            _ => Kind::Cut {
                to: pick(stream, self.nodes),
            },
        };
        let length = match kind {
            Kind::Kill | Kind::Stop => between(stream, 200, 4_000),
            _ => between(stream, 300, 10_000),
        };
        (kind, length)
    }

    /// A node that no other lane needs in this time.
    fn draw_node(&self, from: u64, until: u64, stream: &mut Stream) -> Option<usize> {
        let is_free = |node: &usize| {
            self.faults.iter().all(|fault| {
                fault.node != *node
                    || fault.until_ms + MARGIN < from
                    || fault.from_ms > until + MARGIN
            })
        };
        let free: Vec<usize> = (0..self.nodes).filter(is_free).collect();
        free.get(pick(stream, free.len())).copied()
    }

    fn window_near(&self, from: u64, until: u64) -> Option<Window> {
        let is_near =
            |window: &&Window| from < window.until_ms + MARGIN && window.from_ms < until + MARGIN;
        self.beyond.iter().find(is_near).copied()
    }

    fn draw_weather(&mut self, stream: &mut Stream) {
        let mut at = 1_000;
        while at < self.last_ms() {
            let rates = draw_rates(stream);
            let worst = stream.chance(300_000).then(|| {
                let from = pick(stream, self.nodes);
                let to = (from + 1 + pick(stream, self.nodes - 1)) % self.nodes;
                let worse = Rates {
                    loss: 200_000,
                    delay_us: rates.delay_us + 50_000,
                    ..rates
                };
                (from, to, worse)
            });
            self.weather.push(Weather {
                at_ms: at,
                rates,
                worst,
            });
            at += between(stream, 4_000, 15_000);
        }
    }
}

fn draw_rates(stream: &mut Stream) -> Rates {
    let below = |stream: &mut Stream, bound: u64| u32::try_from(stream.below(bound)).unwrap_or(0);
    match stream.below(100) {
        // Calm.
        0..40 => Rates::default(),
        // Far away.
        40..60 => Rates {
            delay_us: 1_000 + below(stream, 60_000),
            jitter_us: below(stream, 10_000),
            ..Rates::default()
        },
        // Lossy.
        60..88 => Rates {
            loss: 5_000 + below(stream, 75_000),
            duplicate: below(stream, 20_000),
            reorder: below(stream, 50_000),
            delay_us: below(stream, 30_000),
            jitter_us: below(stream, 5_000),
        },
        // Rough.
        _ => Rates {
            loss: 60_000 + below(stream, 120_000),
            duplicate: below(stream, 100_000),
            reorder: below(stream, 150_000),
            delay_us: 10_000 + below(stream, 100_000),
            jitter_us: below(stream, 50_000),
        },
    }
}

fn pick(stream: &mut Stream, count: usize) -> usize {
    let bound = u64::try_from(count).unwrap_or(u64::MAX);
    usize::try_from(stream.below(bound)).unwrap_or(0)
}

fn shuffled(count: usize, stream: &mut Stream) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for place in (1..count).rev() {
        order.swap(place, pick(stream, place + 1));
    }
    order
}
