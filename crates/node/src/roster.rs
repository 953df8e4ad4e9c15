//! Whom this node lets in and dials, epoch by epoch (FB-17).
//!
//! ```text
//!            members of the epoch before   late votes, and those who fetch blocks
//! let in  =  members of the present one    whoever votes
//!            members of the next one       who joins, and catches up before its epoch
//! ```
//!
//! A member whose key is replaced is let in with both keys until the new one counts, and then with that
//! one alone. If two members claim one key, the present epoch decides whose it is, then the next one.
//!
//! Where members listen is no part of the chain: `[network.peers]` of `node.toml` says it, by name, and
//! `[network.link_keys]` with which key they prove their links, if that of their votes is no Ed25519
//! key or in a token. The file is read again whenever the committee changes or an epoch begins, so that an operator can add
//! a line without stopping the node.

use crate::admission::Admission;
use crate::config::{Network, NodeConfig};
use crate::host::NodeReplica;
use crate::links::Links;
use crate::transport::{Member, Transport};
use polity_crypto::{PublicKey, Suite};
use polity_replica::GenesisMember;
use polity_types::{Epoch, ReplicaId};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// What a roster keeps in step with the committees.
#[derive(Debug)]
pub struct InStep {
    /// The connections.
    pub transport: Arc<Transport>,
    /// Which members can be reached.
    pub links: Arc<Links>,
    /// Whose transactions are taken.
    pub admission: Arc<Admission>,
}

/// Keeps links and budgets in step with the committees.
#[derive(Debug)]
pub struct Roster {
    own: ReplicaId,
    key: PublicKey,
    /// Where `node.toml` is.
    config: PathBuf,
    /// What it said about addresses and keys of links when it was read last.
    network: Network,
    in_step: InStep,
    /// The epoch of the next height and how many changes waited, when this looked last: as long as both
    /// stay, nobody comes or goes.
    seen: (Epoch, usize),
    votes: Option<bool>,
}

impl Roster {
    /// The roster of a node with this number and this key. What it keeps in step knows the committees of
    /// `replica` already. `config` is its `node.toml`, which says `network`.
    pub fn new(
        own: ReplicaId,
        key: PublicKey,
        config: PathBuf,
        network: Network,
        in_step: InStep,
        replica: &NodeReplica,
    ) -> Self {
        let mut roster = Self {
            own,
            key,
            config,
            network,
            in_step,
            seen: position(replica),
            votes: None,
        };
        roster.say(replica);
        roster
    }

    /// Looks at the replica after blocks were applied, and does something if the committee changed.
    pub fn follow(&mut self, replica: &NodeReplica) {
        let now = position(replica);
        if self.seen == now {
            return;
        }
        self.seen = now;
        match NodeConfig::load(&self.config) {
            Ok(config) => self.network = config.network,
            Err(error) => {
                tracing::warn!(%error, "the addresses of members stay as they were read before");
            }
        }
        let members = members(self.own, &self.key, replica, &self.network);
        let ids: Vec<ReplicaId> = members.iter().map(|member| member.id).collect();
        self.in_step.admission.set_members(&ids);
        if let Err(error) = self.in_step.transport.set_members(members) {
            tracing::error!(%error, "the links stay as they were");
        }
        self.in_step.links.follow(replica);
        self.say(replica);
    }

    /// Says in the log whether this node votes, when that changes.
    fn say(&mut self, replica: &NodeReplica) {
        let votes = replica.machine().has_vote();
        if self.votes == Some(votes) {
            return;
        }
        let before = self.votes.replace(votes);
        let (epoch, height) = (epoch(replica), replica.tip().parent.height.next());
        match (before, votes) {
            (None, true) => {}
            (_, true) => {
                tracing::info!(replica = %self.own, %epoch, %height, "this node votes from here on");
            }
            (_, false) => {
                tracing::warn!(
                    replica = %self.own, key = %self.key, %epoch, %height,
                    "this node follows and does not vote: the committee of this epoch does not have its key beside its number. It votes from the epoch on in which it has; the authority sees to that with `polity committee set`"
                );
            }
        }
    }
}

/// The epoch of the next height, and how many changes wait for the one after.
pub(crate) fn position(replica: &NodeReplica) -> (Epoch, usize) {
    let changes = replica.ledger().committee_changes().len();
    (epoch(replica), changes)
}

/// The epoch of the next height.
fn epoch(replica: &NodeReplica) -> Epoch {
    let height = replica.tip().parent.height.next();
    replica.chain().epoch(height)
}

/// Whom the replica's committees let in, with their names: the present epoch first.
fn known(replica: &NodeReplica) -> impl Iterator<Item = GenesisMember> {
    let next = replica.next_members();
    let past = gone(replica.members(), replica.past_members());
    [replica.members(), next.as_slice(), past.as_slice()]
        .concat()
        .into_iter()
}

/// Members of the past whose number nobody has now. A key that was replaced is let in no more: whoever
/// has it, a thief perhaps, could get in the way of the one that took its place.
fn gone(present: &[GenesisMember], past: &[GenesisMember]) -> Vec<GenesisMember> {
    let is_gone = |member: &&GenesisMember| present.iter().all(|now| now.id != member.id);
    past.iter().filter(is_gone).cloned().collect()
}

/// Names by number; the present epoch decides.
pub(crate) fn names(replica: &NodeReplica) -> BTreeMap<ReplicaId, String> {
    let mut names = BTreeMap::new();
    for member in known(replica) {
        names.entry(member.id).or_insert(member.name);
    }
    names
}

/// Whether a committee around the present one has this key.
pub(crate) fn is_known(key: &PublicKey, replica: &NodeReplica) -> bool {
    known(replica).any(|member| member.key == *key)
}

/// The member with another number whose key this node has, if the committees know the key so and not as
/// this node's.
pub fn owner_of(
    own: ReplicaId,
    own_key: &PublicKey,
    replica: &NodeReplica,
) -> Option<GenesisMember> {
    owner_among(own, own_key, known(replica))
}

fn owner_among(
    own: ReplicaId,
    own_key: &PublicKey,
    known: impl Iterator<Item = GenesisMember>,
) -> Option<GenesisMember> {
    let mut other = None;
    for member in known.filter(|member| member.key == *own_key) {
        if member.id == own {
            return None;
        }
        other = other.or(Some(member));
    }
    other
}

/// Everybody but this node, as the links need to know them. What is missing is logged.
pub fn members(
    own: ReplicaId,
    own_key: &PublicKey,
    replica: &NodeReplica,
    network: &Network,
) -> Vec<Member> {
    if let Some(other) = owner_of(own, own_key, replica) {
        tracing::warn!(
            replica = %own, member = %other.id,
            "the key of this node is that of another member: check `replica` in node.toml, and that this is the right data directory"
        );
    }
    let members = table(own, own_key, known(replica), network);
    let names = names(replica);
    for (id, name) in names.iter().filter(|(id, _)| **id != own) {
        if members.iter().all(|member| member.id != *id) {
            tracing::warn!(
                peer = %id,
                "`network.link_keys` of node.toml does not say with which key member {name:?} proves its links, so it is not let in: add the line `{name:?} = \"ed25519:...\"`"
            );
        }
    }
    for member in members.iter().filter(|member| member.address.is_none()) {
        let name = names.get(&member.id).map_or("?", String::as_str);
        tracing::warn!(
            peer = %member.id,
            "`network.peers` of node.toml does not say where member {name:?} listens, so it is let in and not dialled: add the line `{name:?} = \"ADDRESS:PORT\"`; the file is read again when the committee changes, when an epoch begins and when the node starts"
        );
    }
    members
}

/// The table of these members without this node and without its key. Who comes first decides whose a
/// key is, and where a member with several names listens.
fn table(
    own: ReplicaId,
    own_key: &PublicKey,
    known: impl Iterator<Item = GenesisMember>,
    network: &Network,
) -> Vec<Member> {
    let mut owners: BTreeMap<PublicKey, ReplicaId> = BTreeMap::new();
    let mut members: BTreeMap<ReplicaId, Member> = BTreeMap::new();
    for GenesisMember { id, name, key, .. } in known {
        let is_this_node = id == own || key == *own_key;
        if is_this_node || *owners.entry(key.clone()).or_insert(id) != id {
            continue;
        }
        let Some(key) = link_key(&name, key, network) else {
            continue;
        };
        if *owners.entry(key.clone()).or_insert(id) != id {
            continue;
        }
        let member = members.entry(id).or_insert_with(|| Member {
            id,
            keys: Vec::new(),
            address: None,
        });
        if !member.keys.contains(&key) {
            member.keys.push(key);
        }
        member.address = member.address.or_else(|| network.peers.get(&name).copied());
    }
    members.into_values().collect()
}

/// With which key a member proves its links: the one that `node.toml` names, else that of its votes if
/// it is Ed25519 and no token has it.
fn link_key(name: &str, key: PublicKey, network: &Network) -> Option<PublicKey> {
    let named = network.link_keys.get(name).cloned();
    named.or_else(|| (key.suite() == Suite::Ed25519).then_some(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use polity_crypto::Signer as _;
    use polity_crypto::ed25519::Ed25519Signer;
    use polity_types::Weight;

    fn key(number: u8) -> PublicKey {
        Ed25519Signer::from_seed(&[number; 32]).public_key().clone()
    }

    fn member(id: u32, name: &str, key_number: u8) -> GenesisMember {
        GenesisMember {
            id: ReplicaId::new(id),
            name: name.to_owned(),
            key: key(key_number),
            weight: Weight::new(1),
            fee_account: "fees@thor".parse().unwrap(),
        }
    }

    fn network(link_keys: &[(&str, u8)]) -> Network {
        Network {
            listen: ([127, 0, 0, 1], 9).into(),
            peers: [("sprout", 1), ("legion", 2), ("frey", 4)]
                .map(|(name, port)| (name.to_owned(), ([127, 0, 0, 1], port).into()))
                .into(),
            link_keys: link_keys
                .iter()
                .map(|(name, number)| ((*name).to_owned(), key(*number)))
                .collect(),
        }
    }

    /// Numbers, numbers of keys and ports of a table, as seen by node 0 with key 0.
    fn check(known: &[GenesisMember], expected: &[(u32, &[u8], Option<u16>)]) {
        check_with(&[], known, expected);
    }

    fn check_with(
        link_keys: &[(&str, u8)],
        known: &[GenesisMember],
        expected: &[(u32, &[u8], Option<u16>)],
    ) {
        let own = ReplicaId::new(0);
        let found = table(own, &key(0), known.iter().cloned(), &network(link_keys));
        let found: Vec<_> = found
            .into_iter()
            .map(|member| (member.id.get(), member.keys, member.address))
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(id, keys, port)| {
                let keys: Vec<PublicKey> = keys.iter().copied().map(key).collect();
                let address = port.map(|port| ([127, 0, 0, 1], port).into());
                (*id, keys, address)
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn fb_17_three_epochs_are_let_in_with_their_keys() {
        let present = [member(0, "thor", 0), member(1, "sprout", 1)];
        let next = [member(1, "sprout", 11), member(4, "frey", 4)];
        let past = [member(1, "sprout", 1), member(2, "legion", 2)];
        check(
            &[&present[..], &next, &past].concat(),
            &[
                (1, &[1, 11], Some(1)),
                (2, &[2], Some(2)),
                (4, &[4], Some(4)),
            ],
        );
    }

    #[test]
    fn fb_17_a_replaced_key_is_let_in_no_more() {
        let present = [member(1, "sprout", 11), member(2, "frey", 4)];
        let past = [
            member(1, "sprout", 1),
            member(2, "legion", 2),
            member(3, "platform2", 3),
        ];
        assert_eq!(gone(&present, &past), [member(3, "platform2", 3)]);
    }

    #[test]
    fn the_present_decides_whose_a_key_is_and_a_name_of_either_epoch_finds_the_address() {
        let present = [member(1, "loki", 1), member(3, "platform2", 3)];
        let next = [member(1, "legion", 1), member(4, "frey", 3)];
        check(
            &[present, next].concat(),
            &[(1, &[1], Some(2)), (3, &[3], None)],
        );
    }

    #[test]
    fn the_key_of_another_member_is_known_unless_it_is_this_one_s_too() {
        let owner = |key_number, known: &[GenesisMember]| {
            let own = ReplicaId::new(1);
            owner_among(own, &key(key_number), known.iter().cloned()).map(|member| member.id.get())
        };
        let known = [member(0, "thor", 0), member(1, "sprout", 1)];
        assert_eq!(owner(0, &known), Some(0));
        assert_eq!(owner(1, &known), None);
        assert_eq!(owner(7, &known), None);
        // A key that moves from one number to another.
        let next = [member(0, "thor", 9), member(1, "sprout", 0)];
        assert_eq!(owner(0, &[known, next].concat()), None);
    }

    /// CR-5: halves of a hybrid prove no links, so a member without a link key is not let in.
    #[test]
    fn cr_5_members_with_hybrid_keys_prove_their_links_with_the_key_of_the_configuration() {
        let hybrid = |id, name, number| GenesisMember {
            key: polity_crypto::hybrid::HybridSigner::from_seed(&[number; 32])
                .public_key()
                .clone(),
            ..member(id, name, number)
        };
        check_with(
            &[("sprout", 21), ("frey", 24)],
            &[
                hybrid(1, "sprout", 1),
                hybrid(2, "legion", 2),
                member(3, "platform2", 3),
                hybrid(4, "frey", 4),
            ],
            &[(1, &[21], Some(1)), (3, &[3], None), (4, &[24], Some(4))],
        );
    }

    #[test]
    fn this_node_is_left_out_by_number_and_by_key() {
        check(
            &[
                member(0, "thor", 9),
                member(1, "sprout", 0),
                member(2, "legion", 2),
            ],
            &[(2, &[2], Some(2))],
        );
    }
}
