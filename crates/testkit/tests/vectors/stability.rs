//! The wire form of every public type of the protocol crates: a digest over the encodings of 1,000 drawn
//! values each.
//!
//! A digest that changes says that bytes of the type changed, which old journals, proofs and peers would
//! not read. A change of what is drawn (`draw.rs`) changes every digest. Broken cases are the same values
//! with a byte too many or too few: each of them has to be refused.

use crate::draw::draw;
use crate::fields::{number, text};
use polity_consensus::certificate::{MultiSignature, SignerSet};
use polity_consensus::committee::Member;
use polity_consensus::{fbpbft, light};
use polity_crypto::{Preimage, domain};
use polity_ledger::{AccountView, LockView, StateProof};
use polity_replica::{proof, sync};
use polity_testkit::topic::{Case, Topic};
use polity_types::{Seed, Stream, wire};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) const STABILITY: Topic = Topic {
    file: "wire-stability.v1.json",
    spec: "docs/spec/wire.md",
    cases,
    answer,
};

/// Values of each type.
const VALUES: u64 = 1_000;
/// Draws for one value: some types refuse most.
const DRAWS_MAX: u32 = 1_000;
/// Longest encoding that is drawn.
const LENGTH_MAX: usize = 1 << 20;

/// A type with its crate.
struct Pin {
    package: &'static str,
    name: &'static str,
    /// The encoding of a value.
    encoded: fn(&mut Stream) -> Option<Vec<u8>>,
    /// Whether the bytes are an encoding of the type.
    is_read: fn(&[u8]) -> bool,
}

impl Pin {
    const fn new<T: Serialize + DeserializeOwned>(
        package: &'static str,
        name: &'static str,
    ) -> Self {
        Self {
            package,
            name,
            encoded: |stream| draw::<T>(stream).ok().map(|value| wire::encode(&value)),
            is_read: |bytes| wire::decode::<T>(bytes, LENGTH_MAX).is_ok(),
        }
    }

    fn title(&self) -> String {
        let path = self.name.strip_prefix("polity_");
        let name = path.and_then(|path| path.split_once("::"));
        format!(
            "{}::{}",
            self.package,
            name.map_or(self.name, |(_, name)| name)
        )
    }

    /// The name without path and parameters, as it stands behind `struct`.
    fn short(&self) -> &'static str {
        let name = self.name.split('<').next().unwrap_or_default();
        name.rsplit("::").next().unwrap_or_default()
    }
}

macro_rules! pins {
    ($($package:literal: $($type:ty),* $(,)?;)*) => {
        &[$($(Pin::new::<$type>($package, stringify!($type)),)*)*]
    };
}

const PINS: &[Pin] = pins! {
    "types": polity_types::Amount, polity_types::ChainId, polity_types::Epoch, polity_types::Height,
        polity_types::ReplicaId, polity_types::Time, polity_types::View, polity_types::Weight;
    "crypto": polity_crypto::Blake3Digest, polity_crypto::KeyId, polity_crypto::KeyRecord,
        polity_crypto::PeerId, polity_crypto::PublicKey, polity_crypto::Revocation,
        polity_crypto::Sha256Digest, polity_crypto::Signature, polity_crypto::SignedRecord,
        polity_crypto::SignedRevocation, polity_crypto::Tier;
    "merkle": polity_merkle::bound::BoundLeaf, polity_merkle::ConsistencyProof, polity_merkle::InclusionProof;
    "consensus": polity_consensus::evidence::OffenceId, Member, MultiSignature, SignerSet, fbpbft::ApplicationData, fbpbft::Block, fbpbft::Body,
        fbpbft::Counts, fbpbft::Decided, fbpbft::Evidence, fbpbft::Header, fbpbft::LateCommit,
        fbpbft::Message, fbpbft::NewView, fbpbft::NewViewProposal, fbpbft::PrePrepare,
        fbpbft::PreparedClaim, fbpbft::Proposal, fbpbft::Record, fbpbft::Status,
        fbpbft::TransactionBytes, fbpbft::Value, fbpbft::ViewChange, fbpbft::Vote,
        fbpbft::VoteCertificate, fbpbft::VoteKind, light::DecidedHeader, light::EpochEnd;
    "ledger": AccountView, LockView, StateProof<AccountView>, StateProof<LockView>,
        polity_ledger::Address, polity_ledger::Command, polity_ledger::CommitteeChange,
        polity_ledger::LockId, polity_ledger::LockState, polity_ledger::Outcome,
        polity_ledger::PendingChange, polity_ledger::PlatformName, polity_ledger::PlatformView,
        polity_ledger::Reason, polity_ledger::Receipt, polity_ledger::ReceiptProof,
        polity_ledger::Rejection, polity_ledger::Sections, polity_ledger::SignedTransaction,
        polity_ledger::Supply, polity_ledger::Transaction, polity_ledger::TransactionId;
    "replica": polity_replica::Frame, polity_replica::GenesisMember, polity_replica::MemberChange,
        polity_replica::Record, polity_replica::SnapshotMeta, proof::AccountProof,
        proof::FinalityProof, proof::LockProof, proof::TransactionProof, sync::ChunkBytes,
        sync::Offer, sync::SyncAnswer, sync::SyncMessage, sync::SyncRecord, sync::SyncRequest,
        sync::Target;
};

/// Types that are text alone: what they say is under the id of a genesis, which has its own vectors.
const TEXT_ALONE: &[(&str, &str)] = &[
    ("ledger", "Authority"),
    ("ledger", "Genesis"),
    ("ledger", "GenesisAccount"),
    ("ledger", "GenesisPlatform"),
    ("ledger", "Parameters"),
    ("replica", "ConsensusRules"),
    ("replica", "Genesis"),
    ("replica", "TierFloors"),
];

fn cases() -> Vec<Case> {
    let input = |pin: &Pin, change| json!({ "type": pin.title(), "seed": 1, "values": VALUES, "change": change });
    let mut cases = Vec::new();
    for pin in PINS {
        let title = pin.title();
        cases.extend([
            Case::valid(
                &title,
                "Encodings of drawn values.",
                &[],
                input(pin, "none"),
            ),
            Case::invalid(
                &format!("{title}, trailing"),
                "A byte behind each.",
                &["trailing"],
                input(pin, "trailing"),
            ),
            Case::invalid(
                &format!("{title}, cut"),
                "Each without its last byte.",
                &["truncated"],
                input(pin, "cut"),
            ),
        ]);
    }
    cases
}

fn answer(input: &Json) -> Result<Json, Json> {
    let title = text(input, "type");
    let Some(pin) = PINS.iter().find(|pin| pin.title() == title) else {
        return Err(json!({ "error": "no such type" }));
    };
    let mut stream = Seed::from_number(number(input, "seed"))
        .fork(title)
        .stream();
    let mut preimage = Preimage::new(domain::TEST);
    let (mut length, mut refused) = (0, 0);
    for _ in 0..number(input, "values") {
        let mut bytes = (0..DRAWS_MAX)
            .find_map(|_| (pin.encoded)(&mut stream))
            .unwrap_or_else(|| panic!("{title} refuses {DRAWS_MAX} drawn values"));
        assert!(
            (pin.is_read)(&bytes),
            "{title} does not read what it writes"
        );
        match text(input, "change") {
            "none" => {}
            "trailing" => bytes.push(0),
            "cut" => drop(bytes.pop()),
            other => panic!("there is no change {other}"),
        }
        refused += u64::from(!(pin.is_read)(&bytes));
        length += bytes.len();
        preimage = preimage.bytes(&bytes);
    }
    let answer = json!({
        "refused": refused,
        "bytes": length,
        "digest": preimage.sha256().to_string(),
    });
    match refused {
        0 => Ok(answer),
        _ if refused == number(input, "values") => Err(answer),
        _ => panic!("{title} reads some of its broken encodings: {answer}"),
    }
}

/// What is never drawn is never pinned.
#[test]
fn drawn_values_reach_every_variant() {
    let mut stream = Seed::from_number(1).stream();
    let drawn = (0..VALUES).filter_map(|_| draw::<polity_ledger::Command>(&mut stream).ok());
    let tags: BTreeSet<u8> = drawn.map(|command| wire::encode(&command)[0]).collect();
    assert_eq!(tags, (0..12).collect());
}

/// A type that can be encoded is pinned, or stated as text alone.
#[test]
fn no_type_is_forgotten() {
    let pinned = PINS.iter().map(|pin| (pin.package, pin.short()));
    let known: BTreeSet<(&str, &str)> = pinned.chain(TEXT_ALONE.iter().copied()).collect();
    for package in [
        "types",
        "crypto",
        "merkle",
        "consensus",
        "ledger",
        "replica",
    ] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(package)
            .join("src");
        let mut found = BTreeSet::new();
        for file in sources(&folder) {
            let source = fs::read_to_string(&file).expect("a source");
            let code = source
                .split("#[cfg(test)]\nmod tests")
                .next()
                .unwrap_or_default();
            found.extend(encodable(code));
        }
        let listed = known.iter().filter(|(of, _)| *of == package);
        let listed: BTreeSet<String> = listed.map(|(_, name)| (*name).to_owned()).collect();
        let forgotten: Vec<_> = found.difference(&listed).collect();
        let gone: Vec<_> = listed.difference(&found).collect();
        assert!(
            forgotten.is_empty() && gone.is_empty(),
            "{package}: list {forgotten:?} in PINS of this file and run `cargo xtask vectors --write \
             {}`; these are there no more: {gone:?}",
            STABILITY.file
        );
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.file_name().is_some_and(|name| name != "tests.rs") {
            files.push(path);
        }
    }
    files
}

/// Public types that derive or implement `Serialize`, or that a macro of ours makes so.
fn encodable(code: &str) -> Vec<String> {
    let name =
        |text: &str| -> String { text.chars().take_while(|c| c.is_alphanumeric()).collect() };
    let mut names = Vec::new();
    // Attributes and comments in front of the present line.
    let mut above = String::new();
    let mut is_macro = false;
    for line in code.lines() {
        let item = ["pub struct ", "pub enum "]
            .iter()
            .find_map(|word| line.strip_prefix(word));
        if let Some(item) = item
            && above.contains("Serialize")
        {
            names.push(name(item));
        }
        let by_hand = line.strip_prefix("impl serde::Serialize for ");
        let checked = line.strip_prefix("checked_text!(");
        names.extend(by_hand.or(checked).map(name));
        // `byte_string!(`, comments, and the name in a line of its own.
        if is_macro && !line.trim_start().starts_with("//") {
            names.push(name(line.trim_start()));
            is_macro = false;
        }
        is_macro |= ["byte_string!(", "number!("]
            .iter()
            .any(|call| line.ends_with(call));
        above.push_str(line);
        if line.is_empty() || line.starts_with('}') || item.is_some() {
            above.clear();
        }
    }
    names
}
