//! When the keys of a running node end (CR-7).
//!
//! The driver asks before it hands anything to the replica, with its own clock. A key that ended is taken
//! away from the replica, which follows without a vote if it was that of the present epoch. Votes and
//! certificates themselves are judged by the table of their epoch alone (FB-17), so no other member has
//! to know.
//!
//! The records are read again when their file changes, so that a revocation needs no restart.

use super::records::{Records, SOON, Standing, relative};
use polity_crypto::PublicKey;
use polity_types::Time;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// How often the file of records is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// What a node knows about its keys.
#[derive(Debug)]
pub struct Watch {
    /// The present key first.
    keys: Vec<PublicKey>,
    records: Records,
    /// Size and time of the file when it was read.
    seen: Option<(u64, SystemTime)>,
    /// When to look again.
    next: Time,
    /// What was said last about each key: its standing, how many days it had, and whether it votes.
    said: Vec<Option<(&'static str, u64, bool)>>,
}

/// What is known about the keys of a node at some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// Those that may sign.
    pub good: Vec<PublicKey>,
    /// Those of which it was not known before that they may not.
    pub ended: usize,
    /// When the present key ends, if it does.
    pub ends: Option<Time>,
}

impl Watch {
    /// Watches keys, the present one first, and the records about them.
    pub fn new(keys: Vec<PublicKey>, records: Records) -> Self {
        Self {
            seen: stamp(records.path()),
            said: vec![None; keys.len()],
            next: Time::ZERO,
            keys,
            records,
        }
    }

    /// Whether there is something to look at: some time went by, or a key ends.
    pub fn is_due(&self, now: Time) -> bool {
        now >= self.next
    }

    /// Looks at the keys, and says in the log what is new about them.
    pub fn look(&mut self, now: Time) -> Look {
        self.reload();
        let mut look = Look {
            good: Vec::new(),
            ended: 0,
            ends: None,
        };
        self.next = now.saturating_add(EVERY);
        for (index, key) in self.keys.iter().enumerate() {
            let standing = self.records.standing(key, now);
            let end = match standing {
                Standing::Valid { ends } | Standing::EndsSoon { ends } => Some(ends),
                Standing::NotYet { begins: at }
                | Standing::Expired { since: at }
                | Standing::Revoked { since: at } => Some(at),
                Standing::Unrecorded => None,
            };
            if index == 0 {
                look.ends = end;
            }
            let votes = self.records.may_vote(key, &self.keys[0], now);
            if votes {
                look.good.push(key.clone());
                if let Some(end) = end.filter(|end| *end > now) {
                    self.next = self.next.min(end);
                }
            }
            let days = end.map_or(0, |end| end.saturating_since(now).as_secs() / 86_400);
            let news = (standing.name(), days.min(SOON.as_secs() / 86_400), votes);
            let before = self.said[index].replace(news);
            if before == Some(news) {
                continue;
            }
            if !votes && before.is_none_or(|(.., voted)| voted) {
                look.ended += 1;
            }
            match standing {
                Standing::Expired { .. } if votes => tracing::info!(
                    key = %key.key_id(),
                    "a former key of this node is over and votes until the epoch in which the present one counts"
                ),
                _ => say(key, index == 0, standing, now),
            }
        }
        look
    }

    /// Reads the records again if their file changed.
    fn reload(&mut self) {
        let stamp = stamp(self.records.path());
        if stamp == self.seen {
            return;
        }
        self.seen = stamp;
        match Records::load(self.records.path()) {
            Ok(records) => self.records = records,
            Err(error) => {
                tracing::error!(%error, "the key records stay as they were read before");
            }
        }
    }
}

fn stamp(path: &Path) -> Option<(u64, SystemTime)> {
    let metadata = path.metadata().ok()?;
    Some((metadata.len(), metadata.modified().ok()?))
}

/// Says it in the log, where there is something to do.
fn say(key: &PublicKey, is_present: bool, standing: Standing, now: Time) {
    let key = key.key_id();
    match standing {
        Standing::EndsSoon { ends } if is_present => {
            tracing::warn!(
                %key, ends = relative(ends, now),
                "the key of this node ends soon, and then it does not vote any more: run `polity keys rotate` on the data directory, and restart the node before the next epoch"
            );
        }
        Standing::Unrecorded | Standing::Valid { .. } | Standing::EndsSoon { .. } => {}
        Standing::NotYet { begins } => {
            tracing::warn!(
                %key, begins = relative(begins, now),
                "this key of this node is not valid yet, and nothing is signed with it until a restart after that; check the clock of this machine"
            );
        }
        Standing::Expired { since } | Standing::Revoked { since } if is_present => {
            tracing::error!(
                %key, since = relative(since, now),
                "the key of this node is {}: from here on it follows and does not vote. Run `polity rejoin` on the data directory with the node stopped, and have the authority put the new key into the committee",
                standing.name()
            );
        }
        Standing::Expired { .. } | Standing::Revoked { .. } => {
            tracing::info!(%key, "a former key of this node ended; nothing is signed with it any more");
        }
    }
}

#[cfg(test)]
mod tests;
