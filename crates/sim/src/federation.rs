//! The founders of a simulated federation: genesis, keys and accounts, all from a seed.

use crate::keys::{Scheme, SimSigner, SimVerifier};
use polity_consensus::fbpbft::Chain;
use polity_crypto::{PublicKey, Signer as _};
use polity_ledger::{
    Address, Authority, Genesis as LedgerGenesis, GenesisAccount, GenesisPlatform, Parameters,
    PlatformName,
};
use polity_replica::{ConsensusRules, Genesis, GenesisMember, Purpose, TierFloors};
use polity_types::{Amount, Height, ReplicaId, Seed, Time, View, Weight};

/// Clients of each platform.
const ACCOUNTS_PER_PLATFORM: u32 = 2;

/// What each client's account starts with.
const FIRST_BALANCE: Amount = Amount::from_atp(1_000);

/// What every transaction costs: enough to be seen in the balances.
const FEE: Amount = Amount::from_units(1_000);

/// An account with the key that may spend from it.
#[derive(Clone, Debug)]
pub struct Client {
    /// The account.
    pub address: Address,
    /// Its owner.
    pub owner: SimSigner,
}

/// Everything that the participants of one simulated federation have in common.
#[derive(Clone, Debug)]
pub struct Federation {
    /// What the founders agreed on.
    pub genesis: Genesis,
    /// The chain that the genesis starts.
    pub chain: Chain,
    /// The keys of the first members, by their numbers.
    pub signers: Vec<SimSigner>,
    /// The keys that each replica holds, by its number. The first one of a founder is that of the
    /// genesis; whoever is no founder follows until a committee has one of its keys (FB-17).
    pub keyrings: Vec<Vec<SimSigner>>,
    /// The key of the authority, which changes committees.
    pub authority: SimSigner,
    /// The weights of the first members, by their numbers.
    pub weights: Vec<u64>,
    /// The keys of the platforms; each member runs one.
    pub platforms: Vec<SimSigner>,
    /// The clients.
    pub clients: Vec<Client>,
    /// The predicate of signatures.
    pub verifier: SimVerifier,
}

impl Federation {
    /// Members of weight 1.
    pub fn of_equals(seed: &Seed, scheme: Scheme, members: u32) -> Self {
        Self::new(seed, scheme, &vec![1; members as usize], 1_000)
    }

    /// Members of the given weights, in epochs of the given number of heights.
    ///
    /// # Panics
    ///
    /// If the weights make no committee: scenarios are written by us.
    pub fn new(seed: &Seed, scheme: Scheme, weights: &[u64], epoch_length: u64) -> Self {
        Self::found(seed, scheme, scheme, weights, epoch_length)
    }

    /// Members of weight 1 whose votes are signed with `votes`, while clients make checksums: all
    /// that signatures cost is then the cost of consensus.
    pub fn of_voters(seed: &Seed, votes: Scheme, members: u32) -> Self {
        Self::found(seed, votes, Scheme::Stub, &vec![1; members as usize], 1_000)
    }

    fn found(
        seed: &Seed,
        votes: Scheme,
        clients_with: Scheme,
        weights: &[u64],
        epoch_length: u64,
    ) -> Self {
        let count = u32::try_from(weights.len()).expect("a committee has at most 1024 members");
        let sign = |purpose: &str, number: u32| {
            let scheme = if purpose == "member" {
                votes
            } else {
                clients_with
            };
            scheme.signer(seed, &format!("{purpose} {number}"))
        };
        let signers: Vec<SimSigner> = (0..count).map(|n| sign("member", n)).collect();
        let platforms: Vec<SimSigner> = (0..count).map(|n| sign("platform", n)).collect();
        let authority = sign("authority", 0);
        let clients: Vec<Client> = (0..count)
            .flat_map(|platform| (0..ACCOUNTS_PER_PLATFORM).map(move |n| (platform, n)))
            .map(|(platform, n)| Client {
                address: address(&format!("a{n}"), platform),
                owner: sign("client", platform * ACCOUNTS_PER_PLATFORM + n),
            })
            .collect();
        let members = weights
            .iter()
            .zip(&signers)
            .zip(0..)
            .map(|((weight, signer), n)| GenesisMember {
                id: ReplicaId::new(n),
                name: format!("m{n}"),
                key: signer.public_key().clone(),
                weight: Weight::new(*weight),
                fee_account: address("fees", n),
            })
            .collect();
        let of_clients = clients.iter().map(|client| GenesisAccount {
            address: client.address.clone(),
            owner: client.owner.public_key().clone(),
            balance: FIRST_BALANCE,
        });
        let of_fees = (0..count).map(|n| GenesisAccount {
            address: address("fees", n),
            owner: platforms[n as usize].public_key().clone(),
            balance: Amount::ZERO,
        });
        let genesis = Genesis {
            // The name is under the genesis id, and so is the order of leaders: seeds differ in it.
            name: format!("simulation {:016x}", seed.fork("name").stream().next_u64()),
            start: Time::ZERO,
            tiers: TierFloors {
                votes: votes.tier(),
                transactions: clients_with.tier(),
                ..TierFloors::default()
            },
            consensus: ConsensusRules {
                epoch_length,
                ..ConsensusRules::default()
            },
            members,
            ledger: LedgerGenesis {
                parameters: Parameters {
                    fee_flat: FEE,
                    ..Parameters::default()
                },
                authority: Authority {
                    keys: vec![authority.public_key().clone()],
                    threshold: 1,
                },
                platforms: platforms
                    .iter()
                    .zip(0..)
                    .map(|(signer, n): (_, u32)| GenesisPlatform {
                        name: format!("m{n}")
                            .parse::<PlatformName>()
                            .expect("a short name"),
                        key: signer.public_key().clone(),
                        quota: 0,
                    })
                    .collect(),
                accounts: of_clients.chain(of_fees).collect(),
            },
        };
        let verifier = SimVerifier::with_keys(signers.iter().map(SimSigner::public_key));
        genesis
            .validate(Purpose::Simulation, &verifier)
            .expect("scenarios found valid federations");
        let chain = genesis.chain().expect("validated before");
        Self {
            genesis,
            chain,
            weights: weights.to_vec(),
            keyrings: signers.iter().map(|signer| vec![signer.clone()]).collect(),
            authority,
            signers,
            platforms,
            clients,
            verifier,
        }
    }

    /// The same federation with so many more accounts, which nobody uses: a ledger of many chunks.
    #[must_use]
    pub fn with_accounts(mut self, count: u32) -> Self {
        let owner = self.platforms[0].public_key().clone();
        let more = (0..count).map(|n| GenesisAccount {
            address: Address::new(&format!("idle{n}"), "m0").expect("a short name"),
            owner: owner.clone(),
            balance: Amount::ZERO,
        });
        self.genesis.ledger.accounts.extend(more);
        self.genesis
            .validate(Purpose::Simulation, &self.verifier)
            .expect("scenarios found valid federations");
        self.chain = self.genesis.chain().expect("validated before");
        self
    }

    /// The same federation with other limits of the ledger.
    #[must_use]
    pub fn with_parameters(mut self, change: impl FnOnce(&mut Parameters)) -> Self {
        change(&mut self.genesis.ledger.parameters);
        self.genesis
            .validate(Purpose::Simulation, &self.verifier)
            .expect("scenarios found valid federations");
        self.chain = self.genesis.chain().expect("validated before");
        self
    }

    /// The same federation with replicas that follow from the start, and so many keys for each.
    #[must_use]
    pub fn with_replicas(mut self, seed: &Seed, scheme: Scheme, followers: u32, keys: u32) -> Self {
        let count = self.members() + followers;
        self.keyrings.resize(count as usize, Vec::new());
        for (ring, number) in self.keyrings.iter_mut().zip(0_u32..) {
            let next = ring.len() as u32;
            let name = |place: u32| format!("replica {number} key {place}");
            ring.extend((next..keys).map(|place| scheme.signer(seed, &name(place))));
        }
        let all = self.keyrings.iter().flatten();
        self.verifier = SimVerifier::with_keys(all.map(SimSigner::public_key));
        self
    }

    /// A replica as a change makes it a member: with one of its keys, by place, and a weight.
    pub fn member(&self, id: ReplicaId, key: usize, weight: u64) -> GenesisMember {
        let number = id.get();
        GenesisMember {
            id,
            name: format!("m{number}"),
            key: self.keyrings[number as usize][key].public_key().clone(),
            weight: Weight::new(weight),
            fee_account: address("fees", number % self.members()),
        }
    }

    /// Whoever makes the signatures of a key, if it is a replica's.
    pub fn signer(&self, key: &PublicKey) -> Option<&SimSigner> {
        let mut all = self.keyrings.iter().flatten();
        all.find(|signer| signer.public_key() == key)
    }

    /// Number of the first members.
    pub fn members(&self) -> u32 {
        self.signers.len() as u32
    }

    /// All replicas: members, and those who follow.
    pub fn ids(&self) -> impl Iterator<Item = ReplicaId> + use<> {
        (0..self.keyrings.len() as u32).map(ReplicaId::new)
    }

    /// The largest weight of the first members that may break the rules (FB-1).
    pub fn faulty_max(&self) -> u64 {
        (self.weights.iter().sum::<u64>() - 1) / 3
    }

    /// The weight of some replicas in the first committee.
    pub fn weight(&self, ids: &[ReplicaId]) -> u64 {
        let weight = |id: &ReplicaId| self.weights.get(id.get() as usize).copied();
        ids.iter().filter_map(weight).sum()
    }

    /// Who leads `view` of `height`, as long as the first committee votes.
    pub fn leader(&self, height: u64, view: u64) -> ReplicaId {
        self.chain.leader(Height::new(height), View::new(view))
    }

    /// Replicas other than the given ones.
    pub fn others(&self, apart: &[ReplicaId]) -> Vec<ReplicaId> {
        self.ids().filter(|id| !apart.contains(id)).collect()
    }
}

fn address(agent: &str, platform: u32) -> Address {
    Address::new(agent, &format!("m{platform}")).expect("a short name")
}
