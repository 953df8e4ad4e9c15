//! Which tier each kind of message needs (CR-6).

use polity_crypto::Tier;
use serde::{Deserialize, Serialize};

/// A kind of message that somebody signs or authenticates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// Messages of the agreement.
    Votes,
    /// Certificates, which are made of votes.
    Certificates,
    /// Evidence against a member.
    Evidence,
    /// Opinions about other peers.
    Opinions,
    /// Key records and revocations.
    KeyRecords,
    /// Gossip between members.
    Gossip,
    /// Transactions of clients.
    Transactions,
    /// Links between two members.
    Links,
}

impl MessageKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Votes,
        Self::Certificates,
        Self::Evidence,
        Self::Opinions,
        Self::KeyRecords,
        Self::Gossip,
        Self::Transactions,
        Self::Links,
    ];

    /// What a member signs with the key that the committee table holds.
    pub const OF_MEMBERS: [Self; 6] = [
        Self::Votes,
        Self::Certificates,
        Self::Evidence,
        Self::Opinions,
        Self::KeyRecords,
        Self::Gossip,
    ];

    /// Name of the field in `tiers`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Votes => "votes",
            Self::Certificates => "certificates",
            Self::Evidence => "evidence",
            Self::Opinions => "opinions",
            Self::KeyRecords => "key_records",
            Self::Gossip => "gossip",
            Self::Transactions => "transactions",
            Self::Links => "links",
        }
    }
}

/// The weakest tier that is accepted for each kind of message. What is left out of the kinds that
/// members sign has the floor of votes; links then need Ed25519 or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TierFloors {
    /// Messages of the agreement.
    pub votes: Tier,
    /// Transactions.
    pub transactions: Tier,
    /// Certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificates: Option<Tier>,
    /// Evidence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Tier>,
    /// Opinions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opinions: Option<Tier>,
    /// Key records and revocations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_records: Option<Tier>,
    /// Gossip.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gossip: Option<Tier>,
    /// Links between two members: the one kind that may go below tier 2, since both ends know what
    /// they authenticate and nobody else has to be convinced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub links: Option<Tier>,
}

impl Default for TierFloors {
    fn default() -> Self {
        Self::of(Tier::Ed25519)
    }
}

impl TierFloors {
    /// One floor for everything but links.
    pub const fn of(tier: Tier) -> Self {
        Self {
            votes: tier,
            transactions: tier,
            certificates: None,
            evidence: None,
            opinions: None,
            key_records: None,
            gossip: None,
            links: None,
        }
    }

    /// The floor of a kind.
    pub fn floor(&self, kind: MessageKind) -> Tier {
        match kind {
            MessageKind::Votes => self.votes,
            MessageKind::Certificates => self.certificates.unwrap_or(self.votes),
            MessageKind::Evidence => self.evidence.unwrap_or(self.votes),
            MessageKind::Opinions => self.opinions.unwrap_or(self.votes),
            MessageKind::KeyRecords => self.key_records.unwrap_or(self.votes),
            MessageKind::Gossip => self.gossip.unwrap_or(self.votes),
            MessageKind::Transactions => self.transactions,
            MessageKind::Links => self.links.unwrap_or(Tier::Ed25519),
        }
    }

    /// The tier that a member's key needs, and the kind that asks for it: one key signs all of
    /// [`MessageKind::OF_MEMBERS`], so it reaches the highest of their floors.
    pub fn of_members(&self) -> (MessageKind, Tier) {
        MessageKind::OF_MEMBERS
            .map(|kind| (kind, self.floor(kind)))
            .into_iter()
            .reduce(|highest, next| if next.1 > highest.1 { next } else { highest })
            .unwrap_or((MessageKind::Votes, self.votes))
    }

    /// What goes into the id of a genesis: the tiers of votes and transactions, and the others if one of
    /// them is named, which the first byte then says.
    pub(crate) fn digested(&self) -> impl Iterator<Item = u8> {
        /// Set in the first byte if further floors follow.
        const HAS_MORE: u8 = 0x80;
        /// A floor that is left out.
        const ABSENT: u8 = 0xff;
        let more = [
            self.certificates,
            self.evidence,
            self.opinions,
            self.key_records,
            self.gossip,
            self.links,
        ];
        let has_more = more.iter().any(Option::is_some);
        let flag = if has_more { HAS_MORE } else { 0 };
        let named = more.map(|floor| floor.map_or(ABSENT, |tier| tier as u8));
        [self.votes as u8 | flag, self.transactions as u8]
            .into_iter()
            .chain(named.into_iter().filter(move |_| has_more))
    }
}
