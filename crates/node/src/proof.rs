//! Proofs in files: what a client keeps, and checks with the genesis alone.
//!
//! Who signed a header depends on its epoch. A file carries what ended the epochs after which the
//! committee was another one, and the check walks over these ends from the genesis:
//!
//! ```text
//!  genesis ─▶ end of epoch 4 ─▶ end of epoch 9 ─▶ certificate of the header ─▶ what is proven
//!  committee A    names B           names C            signed by C
//! ```
//!
//! An epoch without an end in the file kept its committee: what members sign covers the committee of
//! the epoch, so the next certificate does not hold if that is not true.

use crate::federation::{FederationError, load_genesis};
use crate::node::verifier;
use crate::signing::{NodeVerifier, Provider};
use crate::view;
use polity_consensus::fbpbft::Chain;
use polity_consensus::light::{EpochEnd, LightClient, LightError};
use polity_crypto::Checker;
use polity_replica::proof::{AccountProof, FinalityProof, LockProof, TransactionProof};
use polity_replica::{Genesis, GenesisError};
use polity_types::{Epoch, Height};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Largest proof that is read, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A proof as it stands in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofFile {
    /// What it is about.
    #[serde(flatten)]
    pub proof: Proof,
    /// Ends of epochs before that of the proof, ascending: of those, at least, after which the committee
    /// was another one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ends: Vec<EpochEnd>,
}

/// What a proof is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "proof")]
pub enum Proof {
    /// An account after a height.
    Account(AccountProof),
    /// A lock after a height.
    Lock(LockProof),
    /// What became of a transaction.
    Transaction(TransactionProof),
}

/// What a proof shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Proven {
    /// An account after a height.
    Account(view::Account),
    /// A lock after a height.
    Lock {
        /// The lock.
        lock: view::Lock,
        /// After which block.
        height: Height,
    },
    /// What became of a transaction.
    Transaction(view::ReceiptView),
}

/// Why a file proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum ProofFileError {
    /// The file or the genesis.
    #[error(transparent)]
    Federation(#[from] FederationError),
    /// The file is no proof.
    #[error("{} is no proof: {source}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// A step of the walk from the genesis does not hold.
    #[error(
        "the proof does not hold for this genesis: the end of epoch {epoch} in it cannot be believed, because {source}. It is checked with the committee of the end before it in the file, or of the genesis; an end in between may be missing"
    )]
    End {
        /// The epoch that it claims to end.
        epoch: Epoch,
        /// What is wrong.
        source: LightError,
    },
    /// The certificate does not hold.
    #[error(
        "the proof does not hold for this genesis: the certificate of block {height} is not by the committee of epoch {epoch}, as far as the ends of epochs in the proof lead to it. The certificate is wrong, or an end is missing"
    )]
    Certificate {
        /// Height of the block.
        height: Height,
        /// Its epoch.
        epoch: Epoch,
    },
    /// The path does not hold.
    #[error(
        "the proof does not hold: block {0} is decided, but it does not say what the proof claims"
    )]
    Claim(Height),
}

impl Proof {
    /// Why the block is final that names what is proven.
    pub fn finality(&self) -> &FinalityProof {
        match self {
            Self::Account(proof) => &proof.finality,
            Self::Lock(proof) => &proof.finality,
            Self::Transaction(proof) => &proof.finality,
        }
    }
}

impl ProofFile {
    /// Reads a file.
    pub fn load(path: &Path) -> Result<Self, ProofFileError> {
        let text = crate::config::read_text(path, FILE_BYTES_MAX).map_err(FederationError::from)?;
        serde_json::from_str(&text).map_err(|source| ProofFileError::Format {
            path: path.to_owned(),
            source,
        })
    }

    /// The text of a file.
    pub fn to_text(&self) -> String {
        let mut text =
            serde_json::to_string_pretty(self).expect("a proof has no keys that are not text");
        text.push('\n');
        text
    }

    /// Checks the proof with nothing but a genesis.
    pub fn check(&self, genesis: &Path) -> Result<Proven, ProofFileError> {
        let genesis = load_genesis(genesis)?;
        self.check_with(&genesis)
    }

    /// The same with a genesis that was read before.
    pub fn check_with(&self, genesis: &Genesis) -> Result<Proven, ProofFileError> {
        let verifier = verifier(genesis, Provider::Rust);
        let chain = self.walk(genesis, &verifier)?;
        let finality = self.proof.finality();
        let height = finality.header.height;
        finality
            .verify(&chain, &verifier)
            .map_err(|_| ProofFileError::Certificate {
                height,
                epoch: chain.epoch(height),
            })?;
        let proven = match &self.proof {
            Proof::Account(proof) => proof.verify(&chain, &verifier).map(|(account, after)| {
                Proven::Account(view::Account::new(account.clone(), after))
            }),
            Proof::Lock(proof) => {
                proof
                    .verify(&chain, &verifier)
                    .map(|(lock, after)| Proven::Lock {
                        lock: lock.clone().into(),
                        height: after,
                    })
            }
            Proof::Transaction(proof) => proof
                .verify(&chain, &verifier)
                .map(|receipt| Proven::Transaction(receipt.into())),
        };
        proven.map_err(|_| ProofFileError::Claim(height))
    }

    /// The chain with the committee of the proof's epoch, as the ends lead to it from the genesis.
    fn walk(&self, genesis: &Genesis, verifier: &NodeVerifier) -> Result<Chain, ProofFileError> {
        let chain = genesis
            .chain()
            .map_err(|error| FederationError::from(GenesisError::from(error)))?;
        let mut checker = Checker::new(verifier.clone(), 0);
        let mut light = LightClient::from_genesis(&chain, genesis.start);
        let target = chain.epoch(self.proof.finality().header.height);
        for end in &self.ends {
            let epoch = chain.epoch(end.last.header.height);
            // What comes later says nothing about the proof.
            if epoch >= target {
                break;
            }
            if epoch > light.epoch() {
                light = stay(&light, epoch);
            }
            light
                .advance(end, &mut checker)
                .map_err(|source| ProofFileError::End { epoch, source })?;
        }
        Ok(stay(&light, target).chain().clone())
    }
}

/// The same client in an epoch to which the committee stayed as it is.
fn stay(light: &LightClient, epoch: Epoch) -> LightClient {
    let chain = light.chain();
    // It knows this one table.
    let committee = Arc::clone(chain.table(Height::ZERO));
    LightClient::from_trusted(chain, epoch, committee, light.time())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::federation::{Founded, Funded, KEY_FILE, Plan, found};
    use crate::keys::SecretKey;
    use crate::scratch::Scratch;
    use polity_consensus::certificate::MultiSignature;
    use polity_consensus::committee::{CommitteeTable, Member};
    use polity_consensus::fbpbft::{Counts, Header, Value, VoteCertificate, VoteKind};
    use polity_consensus::light::DecidedHeader;
    use polity_crypto::{Sha256Digest, Signer as _, domain};
    use polity_ledger::{Address, Ledger};
    use polity_replica::application_root;
    use polity_types::{Amount, ReplicaId, Seed, Time, View, Weight};
    use rstest::rstest;

    const EPOCH: u64 = 4;

    /// A chain of five epochs without its blocks: committees A, A, B, B, C.
    struct Story {
        _scratch: Scratch,
        founded: Founded,
        chain: Chain,
        /// Keys of A, B and C.
        keys: [Vec<SecretKey>; 3],
        alice: Address,
    }

    fn members(keys: &[SecretKey]) -> Vec<Member> {
        let member = |(id, key): (u32, &SecretKey)| Member {
            id: ReplicaId::new(id),
            key: key.public_key().clone(),
            weight: Weight::new(1),
        };
        (0..).zip(keys).map(member).collect()
    }

    fn strangers() -> Vec<SecretKey> {
        (0..4).map(|_| SecretKey::generate().unwrap()).collect()
    }

    impl Story {
        fn new() -> Self {
            let scratch = Scratch::new();
            let names = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
            let mut plan = Plan::local(names, 1, Time::from_millis(1_000)).unwrap();
            plan.epoch_length = EPOCH;
            let alice = Address::new("alice", "a").unwrap();
            plan.accounts.push(Funded {
                address: alice.clone(),
                balance: Amount::from_atp(100),
            });
            let founded = found(&scratch.path().join("fed"), &plan).unwrap();
            let load = |node: &PathBuf| SecretKey::load(&node.join(KEY_FILE)).unwrap();
            let founders = founded.nodes.iter().map(load).collect();
            Self {
                chain: founded.genesis.chain().unwrap(),
                _scratch: scratch,
                founded,
                keys: [founders, strangers(), strangers()],
                alice,
            }
        }

        fn keys_of(&self, epoch: u64) -> &[SecretKey] {
            &self.keys[[0, 0, 1, 1, 2][usize::try_from(epoch).unwrap()]]
        }

        /// A header with this state and next committee, signed by three of these keys.
        fn decided(
            &self,
            height: u64,
            keys: &[SecretKey],
            state: Sha256Digest,
            next: Sha256Digest,
        ) -> DecidedHeader {
            let height = Height::new(height);
            let epoch = self.chain.epoch(height);
            let table = CommitteeTable::new(members(keys)).unwrap();
            let chain = self.chain.at(epoch, Arc::new(table));
            let header = Header {
                chain: chain.id(),
                epoch,
                height,
                view: View::ZERO,
                proposer: ReplicaId::new(0),
                parent: Sha256Digest::ZERO,
                timestamp: Time::from_millis(1_000 + height.get()),
                body_root: Sha256Digest::ZERO,
                counts: Counts::default(),
                application_root: state,
                receipts_root: Sha256Digest::ZERO,
                next_committee: next,
            };
            let preimage = chain
                .scope(domain::COMMIT, height, View::ZERO)
                .array(header.digest().as_bytes());
            let votes = (0..)
                .zip(&keys[..3])
                .map(|(id, key)| (ReplicaId::new(id), key.signer().sign(&preimage)))
                .collect();
            DecidedHeader {
                certificate: VoteCertificate {
                    kind: VoteKind::Commit,
                    height,
                    view: View::ZERO,
                    value: Value::of_block(header.digest()),
                    votes: MultiSignature::collect(chain.committee(height), &votes),
                },
                header,
            }
        }

        /// The end of an epoch as these keys sign it.
        fn end_by(&self, epoch: u64, keys: &[SecretKey], next: &[SecretKey]) -> EpochEnd {
            let next = members(next);
            let digest = CommitteeTable::new(next.clone()).unwrap().digest();
            let height = (epoch + 1) * EPOCH;
            EpochEnd {
                last: self.decided(height, keys, Sha256Digest::ZERO, digest),
                next,
            }
        }

        fn end(&self, epoch: u64) -> EpochEnd {
            self.end_by(epoch, self.keys_of(epoch), self.keys_of(epoch + 1))
        }

        /// A proof of what Alice has, under the second header of an epoch.
        fn proof(&self, epoch: u64, ends: Vec<EpochEnd>) -> ProofFile {
            let genesis = &self.founded.genesis;
            let seed = Seed::from_number(1);
            let mut ledger = Ledger::new(&genesis.ledger, self.chain.id(), seed).unwrap();
            let state = ledger.prove_account(&self.alice).unwrap();
            let root = application_root(&state.sections.root());
            let height = epoch * EPOCH + 2;
            let DecidedHeader {
                header,
                certificate,
            } = self.decided(height, self.keys_of(epoch), root, Sha256Digest::ZERO);
            let finality = FinalityProof {
                header,
                certificate,
            };
            ProofFile {
                proof: Proof::Account(AccountProof { finality, state }),
                ends,
            }
        }

        /// Checks a file through its text, as clients keep it.
        fn check(&self, file: &ProofFile) -> Result<Proven, ProofFileError> {
            let read: ProofFile = serde_json::from_str(&file.to_text()).unwrap();
            assert_eq!(read, *file);
            read.check_with(&self.founded.genesis)
        }

        fn assert_holds(&self, file: &ProofFile) {
            let Proven::Account(account) = self.check(file).unwrap() else {
                panic!("an account was proven");
            };
            assert_eq!(account.total, Amount::from_atp(100));
            let height = file.proof.finality().header.height;
            assert_eq!(account.height.next(), height);
        }
    }

    #[test]
    fn fb_18_a_proof_of_each_epoch_holds_with_the_ends_that_changed_the_committee() {
        let story = Story::new();
        for epoch in 0..5 {
            let all: Vec<EpochEnd> = (0..4).map(|epoch| story.end(epoch)).collect();
            // Those at and behind the proof's own epoch say nothing about it.
            story.assert_holds(&story.proof(epoch, all));
            let needed = [1, 3].into_iter().filter(|end| *end < epoch);
            let needed = needed.map(|end| story.end(end)).collect();
            story.assert_holds(&story.proof(epoch, needed));
        }
    }

    #[test]
    fn a_file_from_before_there_were_ends_holds_as_long_as_the_founders_vote() {
        let story = Story::new();
        for epoch in [0, 1] {
            let text = story.proof(epoch, Vec::new()).to_text();
            assert!(!text.contains("ends") && text.contains("\"kind\": \"account\""));
            story.assert_holds(&serde_json::from_str(&text).unwrap());
        }
        let refused = story.check(&story.proof(2, Vec::new())).unwrap_err();
        assert!(
            matches!(&refused, ProofFileError::Certificate { epoch, .. } if epoch.get() == 2),
            "{refused}"
        );
    }

    /// What an adversary does to the ends of a proof of epoch 4, and at which end the walk stops. Epoch
    /// 4 is the proof itself.
    #[rstest]
    #[case::missing_first(&[3], 3, "does not show")]
    #[case::missing_last(&[1], 4, "an end is missing")]
    #[case::missing_all(&[], 4, "an end is missing")]
    #[case::backwards(&[3, 1], 3, "does not show")]
    #[case::twice(&[1, 1, 3], 1, "epoch 1")]
    fn fb_18_ends_that_do_not_lead_to_the_proof_are_refused(
        #[case] ends: &[u64],
        #[case] at: u64,
        #[case] words: &str,
    ) {
        let story = Story::new();
        let ends = ends.iter().map(|epoch| story.end(*epoch)).collect();
        assert_refused(&story, &story.proof(4, ends), at, words);
    }

    fn assert_refused(story: &Story, file: &ProofFile, at: u64, words: &str) {
        let refused = story.check(file).unwrap_err();
        let found = match &refused {
            ProofFileError::End { epoch, .. } | ProofFileError::Certificate { epoch, .. } => {
                epoch.get()
            }
            other => panic!("{other}"),
        };
        assert_eq!(found, at, "{refused}");
        let text = refused.to_string();
        assert!(text.contains(&format!("epoch {at}")), "{text}");
        assert!(text.contains(words), "{text}");
    }

    #[test]
    fn fb_18_forged_ends_are_refused_by_name() {
        let story = Story::new();
        let thieves = strangers();
        let with = |second: EpochEnd| story.proof(4, vec![story.end(1), second]);
        let b = story.keys_of(3);
        // A committee that the header does not name.
        let mut other = story.end(3);
        other.next = members(&thieves);
        assert_refused(&story, &with(other), 3, "is not the one that it names");
        // A committee that strangers name, and one that the committee of long ago names.
        for keys in [&thieves, story.keys_of(0)] {
            let forged = story.end_by(3, keys, &thieves);
            assert_refused(&story, &with(forged), 3, "does not show");
        }
        // A header in the middle of its epoch.
        let mut early = story.end(3);
        let digest = early.last.header.next_committee;
        early.last = story.decided(3 * EPOCH + 1, b, Sha256Digest::ZERO, digest);
        assert_refused(&story, &with(early), 3, "does not end its epoch");
        // Of another federation.
        let abroad = Story::new().end(1);
        let foreign = story.proof(4, vec![abroad, story.end(3)]);
        assert_refused(&story, &foreign, 1, "another chain");
        // The right ends with somebody else's certificate at the end of the walk.
        let mut file = story.proof(4, vec![story.end(1), story.end(3)]);
        let Proof::Account(proof) = &mut file.proof else {
            panic!("an account");
        };
        let header = &proof.finality.header;
        let root = header.application_root;
        proof.finality.certificate = story
            .decided(4 * EPOCH + 2, &thieves, root, Sha256Digest::ZERO)
            .certificate;
        assert_refused(&story, &file, 4, "certificate of block 18");
    }

    #[test]
    fn a_claim_beside_a_final_header_is_refused() {
        let story = Story::new();
        let mut file = story.proof(4, vec![story.end(1), story.end(3)]);
        let Proof::Account(proof) = &mut file.proof else {
            panic!("an account");
        };
        proof.state.value.total = Amount::from_atp(1_000_000);
        let refused = story.check(&file).unwrap_err();
        assert!(
            matches!(refused, ProofFileError::Claim(height) if height.get() == 18),
            "{refused}"
        );
    }
}
