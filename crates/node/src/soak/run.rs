//! Carrying out the plan, and watching whether the federation goes on.

use super::load::Load;
use super::monitor::Monitor;
use super::namespaces::Namespaces;
use super::plan::{Kind, Plan, Step};
use super::proxy::Proxy;
use super::report::{Recoveries, Verdict};
use crate::cluster::{Cluster, ClusterError, Signal};
use indicatif::ProgressBar;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, Instant};

/// How often the runner looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A node that is to come back.
struct Recovering {
    node: usize,
    kind: &'static str,
    since: Instant,
    /// When it could come back at the earliest: not before the budget holds.
    able: Instant,
    /// Everything that was decided when it came back.
    height: u64,
}

/// What the run has seen so far.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Faults that were carried out, by kind.
    pub(crate) faults: BTreeMap<&'static str, u64>,
    /// Windows beyond the budget.
    pub(crate) windows: u64,
    /// How long nodes took to come back.
    pub(crate) recoveries: Recoveries,
    /// The longest time without a block within the budget.
    pub(crate) stall_max: Duration,
}

/// A running federation with everything that disturbs and watches it.
pub(crate) struct Runner<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) cluster: Cluster,
    pub(crate) proxy: Proxy,
    pub(crate) namespaces: Option<Namespaces>,
    pub(crate) monitor: Monitor,
    pub(crate) load: Load,
    /// What has to happen within this time, however unlucky.
    pub(crate) bound: Duration,
    pub(crate) seen: Seen,
    pub(crate) log: Log,
    pub(crate) bar: ProgressBar,
    recovering: Vec<Recovering>,
    start: Instant,
    /// The largest height, and when it grew or the budget came to hold again.
    best: u64,
    progress_at: Instant,
    is_beyond: bool,
}

/// What was done when, in memory and in a file.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) lines: Vec<String>,
    file: File,
}

impl Log {
    pub(crate) fn new(file: File) -> Self {
        Self {
            lines: Vec::new(),
            file,
        }
    }

    fn push(&mut self, line: String) {
        // The memory has it, too.
        let _ = writeln!(self.file, "{line}");
        self.lines.push(line);
    }
}

impl<'a> Runner<'a> {
    #[expect(
        clippy::too_many_arguments,
        reason = "called once, with names that say the same"
    )]
    pub(crate) fn new(
        plan: &'a Plan,
        cluster: Cluster,
        proxy: Proxy,
        namespaces: Option<Namespaces>,
        monitor: Monitor,
        load: Load,
        bound: Duration,
        log: Log,
        bar: ProgressBar,
    ) -> Self {
        let start = Instant::now();
        Self {
            plan,
            cluster,
            proxy,
            namespaces,
            monitor,
            load,
            bound,
            seen: Seen::default(),
            log,
            bar,
            recovering: Vec::new(),
            start,
            best: 0,
            progress_at: start,
            is_beyond: false,
        }
    }

    /// Carries out the plan, mends everything, and waits until every node has come back.
    pub(crate) fn run(&mut self, mut minute: impl FnMut(&str)) -> Result<(), Verdict> {
        let mut steps = self.plan.steps().into_iter().peekable();
        let mut minutes = 1;
        loop {
            let at = self.elapsed_ms();
            while let Some((_, step)) = steps.next_if(|(due, _)| *due <= at) {
                self.step(step)?;
            }
            self.look()?;
            if at >= self.plan.length_ms {
                break;
            }
            if at >= minutes * 60_000 {
                minute(&self.line());
                minutes += 1;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        self.note("everything is mended");
        self.proxy.switch.heal();
        while !self.recovering.is_empty() {
            self.look()?;
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn line(&self) -> String {
        format!(
            "{} s: height {}, {} transactions taken, {} faults",
            self.start.elapsed().as_secs(),
            self.best,
            self.load.taken.load(std::sync::atomic::Ordering::Relaxed),
            self.seen.faults.values().sum::<u64>(),
        )
    }

    fn note(&mut self, what: &str) {
        let line = format!(
            "{:>8} ms  height {:>6}  {what}",
            self.elapsed_ms(),
            self.best
        );
        self.log.push(line);
    }

    fn step(&mut self, step: Step) -> Result<(), Verdict> {
        match step {
            Step::Break(number) => self.break_(number),
            Step::Mend(number) => self.mend(number),
            Step::Open(_) => {
                self.note("from here on more than the budget is away");
                self.seen.windows += 1;
                self.is_beyond = true;
                Ok(())
            }
            Step::Close(_) => {
                self.note("the budget holds again");
                self.is_beyond = false;
                self.progress_at = Instant::now();
                Ok(())
            }
            Step::Weather(number) => {
                let weather = &self.plan.weather[number];
                self.proxy.switch.set_all(weather.rates);
                if let Some((from, to, rates)) = weather.worst {
                    self.proxy.switch.set(from, to, rates);
                }
                let text = format!("weather: {:?}, worst {:?}", weather.rates, weather.worst);
                self.note(&text);
                Ok(())
            }
        }
    }

    fn break_(&mut self, number: usize) -> Result<(), Verdict> {
        let fault = &self.plan.faults[number];
        self.note(&format!("begins: {fault}"));
        *self.seen.faults.entry(fault.kind.name()).or_default() += 1;
        self.recovering
            .retain(|recovering| recovering.node != fault.node);
        match &fault.kind {
            Kind::Kill => self.cluster.kill(fault.node),
            Kind::Stop => {
                self.cluster.signal(fault.node, Signal::Terminate)?;
                self.cluster.wait_stopped(fault.node)?;
            }
            Kind::Pause => self.cluster.signal(fault.node, Signal::Pause)?,
            Kind::Isolate if self.namespaces.is_some() => self.set_cable(fault.node, false)?,
            kind => {
                for (from, to) in directions(fault.node, kind, self.plan.nodes) {
                    self.proxy.switch.cut(from, to);
                }
            }
        }
        Ok(())
    }

    fn mend(&mut self, number: usize) -> Result<(), Verdict> {
        let fault = &self.plan.faults[number];
        self.note(&format!("mended: {fault}"));
        match &fault.kind {
            Kind::Kill | Kind::Stop => self.cluster.spawn(fault.node)?,
            Kind::Pause => self.cluster.signal(fault.node, Signal::Resume)?,
            Kind::Isolate if self.namespaces.is_some() => self.set_cable(fault.node, true)?,
            kind => {
                for (from, to) in directions(fault.node, kind, self.plan.nodes) {
                    self.proxy.switch.mend(from, to);
                }
            }
        }
        // A broken link alone need not take the node away.
        if !matches!(fault.kind, Kind::Cut { .. }) {
            self.recovering.push(Recovering {
                node: fault.node,
                kind: fault.kind.name(),
                since: Instant::now(),
                able: Instant::now(),
                height: self.monitor.best().get(),
            });
        }
        Ok(())
    }

    fn set_cable(&self, node: usize, is_plugged: bool) -> Result<(), Verdict> {
        let set = |all: &Namespaces| all.set_cable(node, is_plugged);
        let result = self.namespaces.as_ref().map_or(Ok(()), set);
        result.map_err(Verdict::Inconclusive)
    }

    /// Whether everybody lives and something is decided.
    fn look(&mut self) -> Result<(), Verdict> {
        self.cluster.check_alive()?;
        let best = self.monitor.best().get();
        let now = Instant::now();
        let stall = now.duration_since(self.progress_at);
        if !self.is_beyond {
            self.seen.stall_max = self.seen.stall_max.max(stall);
        }
        if best > self.best {
            self.best = best;
            self.progress_at = now;
        } else if !self.is_beyond && stall > self.bound {
            return Err(Verdict::Liveness(format!(
                "nothing was decided for {} s at height {best}, with at most {} of {} nodes away",
                stall.as_secs(),
                self.plan.away_max,
                self.plan.nodes
            )));
        }
        self.look_at_recovering(now)?;
        if !self.bar.is_hidden() {
            self.bar.set_position(self.start.elapsed().as_secs());
            self.bar.set_message(self.line());
        }
        Ok(())
    }

    fn look_at_recovering(&mut self, now: Instant) -> Result<(), Verdict> {
        let mut back = Vec::new();
        let (monitor, recoveries) = (&self.monitor, &mut self.seen.recoveries);
        self.recovering.retain(|one| {
            let seen = monitor.seen(one.node);
            let is_back = seen.is_some_and(|seen| seen.at >= one.since && seen.height > one.height);
            if is_back {
                let took = now.duration_since(one.since);
                recoveries.add(one.kind, took);
                back.push((one.node, took));
            }
            !is_back
        });
        for (node, took) in back {
            self.note(&format!(
                "node {node} is back after {} ms",
                took.as_millis()
            ));
        }
        if self.is_beyond {
            // Nobody has to come back while nothing has to be decided.
            for one in &mut self.recovering {
                one.able = now;
            }
            return Ok(());
        }
        match self
            .recovering
            .iter()
            .find(|one| now.duration_since(one.able) > self.bound)
        {
            None => Ok(()),
            Some(one) => Err(Verdict::Liveness(format!(
                "node {} did not come back within {} s after a {}: it is at height {:?}, others were at {}",
                one.node,
                self.bound.as_secs(),
                one.kind,
                self.monitor.seen(one.node).map(|seen| seen.height),
                one.height,
            ))),
        }
    }
}

/// The directions that a fault of the network cuts.
fn directions(node: usize, kind: &Kind, nodes: usize) -> Vec<(usize, usize)> {
    let others = (0..nodes).filter(|other| *other != node);
    match kind {
        Kind::Isolate => others
            .flat_map(|other| [(node, other), (other, node)])
            .collect(),
        Kind::Deaf => others.map(|other| (other, node)).collect(),
        Kind::Mute => others.map(|other| (node, other)).collect(),
        Kind::Cut { to } => vec![(node, *to)],
        Kind::Split { with } => {
            let is_here = |one: usize| one == node || with.contains(&one);
            let pairs = (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to)));
            pairs
                .filter(|(from, to)| is_here(*from) != is_here(*to))
                .collect()
        }
        Kind::Kill | Kind::Stop | Kind::Pause => Vec::new(),
    }
}

impl From<ClusterError> for Verdict {
    fn from(error: ClusterError) -> Self {
        match &error {
            ClusterError::Interrupted => Self::Interrupted,
            // The port of a node was taken while it was down.
            ClusterError::Ended { last_words, .. } if last_words.contains("cannot listen") => {
                Self::Inconclusive(error.to_string())
            }
            ClusterError::Ended { status, .. }
                if status.code() == Some(i32::from(crate::cli::code::SAFETY)) =>
            {
                Self::Safety(error.to_string())
            }
            ClusterError::Ended { .. } => Self::Crash(error.to_string()),
            ClusterError::Late(what) if what.starts_with("the end of") => {
                Self::Crash(error.to_string())
            }
            ClusterError::Late(_) => Self::Liveness(error.to_string()),
            ClusterError::Federation(_)
            | ClusterError::Config(_)
            | ClusterError::Client(_)
            | ClusterError::Io { .. } => Self::Inconclusive(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_of_the_network_cuts_its_directions() {
        assert_eq!(
            directions(1, &Kind::Isolate, 3),
            [(1, 0), (0, 1), (1, 2), (2, 1)]
        );
        assert_eq!(directions(1, &Kind::Deaf, 3), [(0, 1), (2, 1)]);
        assert_eq!(directions(1, &Kind::Mute, 3), [(1, 0), (1, 2)]);
        assert_eq!(directions(1, &Kind::Cut { to: 2 }, 3), [(1, 2)]);
        let split = directions(0, &Kind::Split { with: vec![3] }, 4);
        assert_eq!(split.len(), 8);
        assert!(!split.contains(&(0, 3)) && !split.contains(&(1, 2)));
        assert!(directions(0, &Kind::Pause, 4).is_empty());
    }
}
