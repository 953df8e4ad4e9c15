//! Nothing that anybody sends makes a replica remember more than its bounds (FB-12).
//!
//! The bounds are those of the specification and the configuration, computed here from the members,
//! the limits and the view alone; what is held is counted entry by entry.

use super::Violation;
use crate::node::SimReplica;
use core::fmt;
use polity_ledger::CHUNK_LENGTH_MAX;
use polity_replica::Config;
use polity_replica::sync::{IN_FLIGHT_MAX, RECENT_MAX};

const NAME: &str = "memory";

/// Undecided blocks beside those that a replica voted for or saw prepared.
const SPARE_BLOCKS_MAX: u64 = 8;

/// VIEW-CHANGEs of one member.
const VIEW_CHANGES_MAX: u64 = 4;

/// Early proposals of one link.
const EARLY_PROPOSALS_MAX: u64 = 2;

/// Bytes of certificate and framing beside the block that they belong to.
const FRAMING_MAX: u64 = 64 * 1024;

/// Watches what honest replicas hold.
#[derive(Clone, Debug)]
pub struct MemoryWatch {
    members: u64,
    block_bytes_max: u64,
    config: Config,
    /// The largest that was seen of each part, and its bound then.
    largest: Vec<(&'static str, u64, u64)>,
}

impl MemoryWatch {
    /// Watches replicas of a federation of so many members, with these limits.
    pub fn new(members: u64, block_bytes_max: u64, config: Config) -> Self {
        Self {
            members,
            block_bytes_max,
            config,
            largest: Vec::new(),
        }
    }

    /// Looks at what a replica holds.
    pub fn check(&mut self, replica: &SimReplica) -> Result<(), Violation> {
        let consensus = &self.config.consensus;
        let machine = replica.machine();
        let view = machine.view().get().max(machine.view_floor().get());
        let window = view
            .saturating_add(consensus.views_ahead_max)
            .saturating_add(1);
        let members = self.members;
        let held = machine.holdings();
        let pool = replica.pool();
        let sync = replica.sync_holdings();
        let evidence_max = consensus.evidence_per_accused_max as u64 * members;
        let mut parts = vec![
            ("votes", held.votes, members * 2 * window),
            ("blocks", held.blocks, SPARE_BLOCKS_MAX + 2 * window),
            ("proposals", held.proposals, window),
            (
                "VIEW-CHANGEs",
                held.view_changes,
                members * VIEW_CHANGES_MAX,
            ),
            ("certificates", held.certificates, window),
            ("refused proposals", held.refused, view + 1),
            ("evidence", held.evidence, evidence_max),
            (
                "bytes of evidence",
                held.evidence_bytes,
                evidence_max * (self.block_bytes_max / 2),
            ),
            ("blocks ahead", held.ahead, consensus.fetch_blocks_max),
            (
                "bytes of blocks ahead",
                held.ahead_bytes,
                consensus.fetch_bytes_max as u64 + consensus.fetch_blocks_max * FRAMING_MAX,
            ),
            ("peers", held.peers, members),
            ("waiting chunks", sync.chunks, IN_FLIGHT_MAX as u64),
            (
                "bytes of waiting chunks",
                sync.chunk_bytes,
                (IN_FLIGHT_MAX * CHUNK_LENGTH_MAX) as u64,
            ),
            ("offers of snapshots", sync.offers, members),
            ("ends of epochs", sync.ends, RECENT_MAX as u64),
            ("peers in a sync", sync.peers, members),
            (
                "pooled transactions",
                pool.len(),
                self.config.pool.count_max as u64,
            ),
            (
                "bytes of pooled transactions",
                pool.bytes(),
                self.config.pool.bytes_max as u64,
            ),
        ];
        let intake = replica.engine().intake();
        let slots = 2 * (window + consensus.heights_ahead_max * (consensus.views_ahead_max + 1));
        for link in intake.links() {
            let (votes, proposals) = intake.entries(link);
            let bytes = intake.measured_bytes(link);
            if bytes != intake.bytes(link) {
                return Err(Violation::new(
                    NAME,
                    format!(
                        "replica {} counts {} bytes for link {link}, but keeps {bytes}",
                        machine.id(),
                        intake.bytes(link)
                    ),
                ));
            }
            if let Some((lowest, highest, view)) = intake.span(link) {
                let current = machine.height();
                if lowest < current {
                    return Err(Violation::new(
                        NAME,
                        format!(
                            "replica {} works on {current} and keeps votes of {lowest}",
                            machine.id()
                        ),
                    ));
                }
                let ahead = highest.get() - current.get();
                parts.push((
                    "heights ahead of a waiting vote",
                    ahead as usize,
                    consensus.heights_ahead_max,
                ));
                parts.push(("view of a waiting vote", view.get() as usize, window));
            }
            parts.push(("waiting votes of a link", votes, slots));
            parts.push(("early proposals of a link", proposals, EARLY_PROPOSALS_MAX));
            let bound = consensus.bytes_per_sender_max as u64;
            parts.push(("waiting bytes of a link", bytes, bound));
        }
        for (name, held, bound) in parts {
            self.note(name, held as u64, bound);
            if held as u64 > bound {
                return Err(Violation::new(
                    NAME,
                    format!(
                        "replica {} holds {held} {name}, which is more than {bound}",
                        machine.id()
                    ),
                ));
            }
        }
        Ok(())
    }

    fn note(&mut self, name: &'static str, held: u64, bound: u64) {
        match self.largest.iter_mut().find(|(known, ..)| *known == name) {
            Some((_, most, of)) if held > *most => (*most, *of) = (held, bound),
            Some(_) => {}
            None => self.largest.push((name, held, bound)),
        }
    }
}

impl fmt::Display for MemoryWatch {
    /// The largest of each part, with its bound at that time.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, held, bound) in &self.largest {
            writeln!(f, "{name}: at most {held} of {bound}")?;
        }
        Ok(())
    }
}
