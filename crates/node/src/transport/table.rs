//! Whom this node may meet, and where: the member table, which changes while the transport runs.
//!
//! ```text
//! set_members ──▶ keys    whom the handshake lets in
//!             ├─▶ routes  each peer's own keys and address; its tasks follow them
//!             └─▶ peers   new ones are dialled, those that are gone are disconnected
//! ```
//!
//! A connection is judged twice: by its handshake, and once more when it is taken in, under the same
//! lock under which a changed table closes connections. So none slips in between.

use super::{Member, TransportError};
use polity_crypto::{PublicKey, Suite};
use polity_types::ReplicaId;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

/// Members of one table, at most: three full committees of 256 and some more.
pub const MEMBERS_MAX: usize = 1_024;

/// A key as the handshake proves it.
pub(super) type Key = [u8; 32];

/// The keys that are let in, with the members whose they are. Shared with the verifier.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys(Arc<RwLock<BTreeMap<Key, ReplicaId>>>);

impl Keys {
    /// The keys of one member.
    pub(super) fn of(id: ReplicaId, keys: &[Key]) -> Self {
        let keys = keys.iter().map(|key| (*key, id)).collect();
        Self(Arc::new(RwLock::new(keys)))
    }

    /// Whose key this is.
    pub(super) fn owner(&self, key: &Key) -> Option<ReplicaId> {
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        keys.get(key).copied()
    }

    /// The one member whose keys these are, if they are those of one.
    pub(super) fn only_owner(&self) -> Option<ReplicaId> {
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let first = *keys.values().next()?;
        keys.values().all(|id| *id == first).then_some(first)
    }

    pub(super) fn replace(&self, routes: &BTreeMap<ReplicaId, Route>) {
        let keys = routes
            .iter()
            .flat_map(|(id, route)| route.keys.iter().map(|key| (*key, *id)))
            .collect();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }
}

/// How one peer is known and reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    /// Keys that it may prove. Empty when it is no member any more.
    pub(super) keys: Vec<Key>,
    /// Where it is dialled, if that is known.
    pub(super) address: Option<SocketAddr>,
}

impl Route {
    /// The end of a membership.
    pub(super) const NONE: Self = Self {
        keys: Vec::new(),
        address: None,
    };

    pub(super) fn allows(&self, key: &Key) -> bool {
        self.keys.contains(key)
    }

    pub(super) fn is_over(&self) -> bool {
        self.keys.is_empty()
    }
}

/// Checks a member table. Returns the routes to everybody but this node.
pub(super) fn routes(
    own: ReplicaId,
    own_key: &Key,
    members: Vec<Member>,
) -> Result<BTreeMap<ReplicaId, Route>, TransportError> {
    if members.len() > MEMBERS_MAX {
        return Err(TransportError::TooMany(members.len()));
    }
    let mut owners = BTreeMap::new();
    let mut routes = BTreeMap::new();
    for Member { id, keys, address } in members {
        // This node may hold a key that the table does not know yet, or no longer.
        if id == own {
            continue;
        }
        let mut raw = keys
            .iter()
            .map(raw)
            .collect::<Option<Vec<Key>>>()
            .filter(|keys| !keys.is_empty())
            .ok_or(TransportError::KeySuite(id))?;
        raw.sort_unstable();
        raw.dedup();
        for key in &raw {
            if key == own_key {
                return Err(TransportError::OwnKey(id));
            }
            if owners.insert(*key, id).is_some() {
                return Err(TransportError::Duplicate(id));
            }
        }
        let route = Route { keys: raw, address };
        if routes.insert(id, route).is_some() {
            return Err(TransportError::Duplicate(id));
        }
    }
    Ok(routes)
}

fn raw(key: &PublicKey) -> Option<Key> {
    match key.suite() {
        Suite::Ed25519 => key.key_bytes().try_into().ok(),
        _ => None,
    }
}
