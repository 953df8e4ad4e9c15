//! What a running E4 process can hand over: scores, a clock and the leaves of a tree, as JSON.
//!
//! The form is described in the README; `exporter/export.py` writes it. Numbers with fractions are
//! their IEEE-754 bits as sixteen hexadecimal characters, so nothing is lost on the way; bytes are
//! hexadecimal text. The reader bounds every list, wants every field and no other, and does not
//! believe the digests that came along: it computes them again.

use crate::clock::{Clock, Entry};
use crate::hash::encode_hex;
use crate::score::{Observers, Peers, Score};
use crate::tree::{Leaf, Tree};
use crate::{Mode, Refusal};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use thiserror::Error;

/// What the file says it is.
pub const FORMAT: &str = "polity-e4-export/1";
/// Bytes of a file.
pub const BYTES_MAX: usize = 1 << 30;
/// Peers, clock entries and observers of one dimension.
pub const LIST_MAX: usize = 1 << 20;
/// Leaves of the tree.
pub const LEAVES_MAX: usize = 1 << 22;
/// Bytes of an id or key.
pub const ID_MAX: usize = 65_535;

/// Why an export is not taken.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The file is too long.
    #[error("the export has {0} bytes, more than {BYTES_MAX}: export in parts")]
    TooLong(usize),
    /// The file is no JSON of this form.
    #[error("the export is not of the form {FORMAT}: {0}")]
    Form(String),
    /// The file says that it is something else.
    #[error("the export says it is `{0}`, expected {FORMAT}: use the exporter of this version")]
    Format(String),
    /// A list is too long.
    #[error("{0} has more than {1} members: export in parts")]
    TooMany(&'static str, usize),
    /// An id or key is empty, too long or there twice.
    #[error("{0} has an id that is empty, too long or there twice")]
    Id(&'static str),
    /// A number is not written as sixteen hexadecimal characters, or bytes not as pairs.
    #[error("{0} is not lowercase hexadecimal text")]
    Hex(&'static str),
    /// A number that no score or clock may have.
    #[error("{0} is not finite, or out of range")]
    Range(&'static str),
    /// A digest is not that of the data beside it.
    #[error(
        "{0} is {1}, but the data give {2}: the export was made while the process changed, or altered"
    )]
    Digest(&'static str, String, String),
    /// The tree cannot be rebuilt.
    #[error("the tree cannot be rebuilt")]
    Tree(#[source] Refusal),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: String,
    package_version: String,
    local_peer: String,
    scores: Vec<FileScore>,
    clock: Vec<FileEntry>,
    tree: FileTree,
    digests: FileDigests,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileScore {
    peer: String,
    evidence: BTreeMap<String, Vec<FileAmount>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileAmount {
    observer: String,
    amount_f64: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileEntry {
    peer: String,
    time: String,
    trust_f64: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileTree {
    branching_factor: u32,
    compat: bool,
    leaves: Vec<FileLeaf>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileLeaf {
    key: String,
    data_hex: String,
    originator: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileDigests {
    trust_root: String,
    merkle_root: String,
}

/// An export.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Export {
    /// Version that the package reported; 0.11.0 reports 0.10.0.
    pub package_version: String,
    /// Who exported.
    pub local_peer: String,
    /// Scores by peer.
    pub scores: Peers,
    /// The clock.
    pub clock: Clock,
    /// Children of a node.
    pub branching_factor: u32,
    /// Whether the tree has a second root without trust.
    pub has_compat: bool,
    /// Leaves in the order of insertion, which decides the root.
    pub leaves: Vec<Leaf>,
}

impl Export {
    /// Reads an export.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong; see [`ExportError`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, ExportError> {
        if bytes.len() > BYTES_MAX {
            return Err(ExportError::TooLong(bytes.len()));
        }
        let file: File =
            serde_json::from_slice(bytes).map_err(|error| ExportError::Form(error.to_string()))?;
        if file.format != FORMAT {
            return Err(ExportError::Format(file.format));
        }
        check_id("local_peer", &file.local_peer)?;
        check_count("scores", file.scores.len(), LIST_MAX)?;
        check_count("clock", file.clock.len(), LIST_MAX)?;
        check_count("tree", file.tree.leaves.len(), LEAVES_MAX)?;
        let mut export = Self {
            package_version: file.package_version,
            local_peer: file.local_peer,
            branching_factor: file.tree.branching_factor,
            has_compat: file.tree.compat,
            ..Self::default()
        };
        for score in file.scores {
            check_id("scores", &score.peer)?;
            let evidence = read_evidence(score.evidence)?;
            if export
                .scores
                .insert(score.peer, Score { evidence })
                .is_some()
            {
                return Err(ExportError::Id("scores"));
            }
        }
        for entry in file.clock {
            check_id("clock", &entry.peer)?;
            let time = entry
                .time
                .parse()
                .map_err(|_| ExportError::Range("clock"))?;
            let trust = read_f64("clock", &entry.trust_f64)?;
            if !(0.0..=1.0).contains(&trust) {
                return Err(ExportError::Range("clock"));
            }
            let known = export
                .clock
                .entries
                .insert(entry.peer, Entry { time, trust });
            if known.is_some() {
                return Err(ExportError::Id("clock"));
            }
        }
        for leaf in file.tree.leaves {
            check_id("tree", &leaf.key)?;
            check_id("tree", &leaf.originator)?;
            export.leaves.push(Leaf {
                data: read_hex("tree", &leaf.data_hex)?,
                key: leaf.key,
                originator: leaf.originator,
            });
        }
        export.check(&file.digests)?;
        Ok(export)
    }

    fn check(&self, digests: &FileDigests) -> Result<(), ExportError> {
        let (trust_root, merkle_root) = self.digests()?;
        for (name, said, found) in [
            ("trust_root", &digests.trust_root, trust_root),
            ("merkle_root", &digests.merkle_root, merkle_root),
        ] {
            if *said != found {
                return Err(ExportError::Digest(name, said.clone(), found));
            }
        }
        Ok(())
    }

    /// The trust root and the root of the tree under these scores.
    ///
    /// # Errors
    ///
    /// If a key is there twice, or the branching factor is below 2.
    pub fn digests(&self) -> Result<(String, String), ExportError> {
        let tree = self.tree()?;
        if tree.leaves().len() != self.leaves.len() {
            return Err(ExportError::Id("tree"));
        }
        let computed = tree.compute(Some(&self.scores));
        Ok((computed.trust_root().to_owned(), computed.root().to_owned()))
    }

    /// The tree, as E4 had it.
    ///
    /// # Errors
    ///
    /// If the branching factor is below 2.
    pub fn tree(&self) -> Result<Tree, ExportError> {
        let branching = self.branching_factor as usize;
        let mut tree =
            Tree::new(branching, self.has_compat, Mode::Compatible).map_err(ExportError::Tree)?;
        for leaf in &self.leaves {
            tree.insert(leaf.clone(), None).map_err(ExportError::Tree)?;
        }
        Ok(tree)
    }

    /// Writes an export.
    ///
    /// # Errors
    ///
    /// As [`Self::digests`].
    pub fn to_json(&self) -> Result<String, ExportError> {
        let (trust_root, merkle_root) = self.digests()?;
        let file = File {
            format: FORMAT.to_owned(),
            package_version: self.package_version.clone(),
            local_peer: self.local_peer.clone(),
            scores: self
                .scores
                .iter()
                .map(|(peer, score)| FileScore {
                    peer: peer.clone(),
                    evidence: write_evidence(score),
                })
                .collect(),
            clock: self
                .clock
                .entries
                .iter()
                .map(|(peer, entry)| FileEntry {
                    peer: peer.clone(),
                    time: entry.time.to_string(),
                    trust_f64: encode_hex(&entry.trust.to_be_bytes()),
                })
                .collect(),
            tree: FileTree {
                branching_factor: self.branching_factor,
                compat: self.has_compat,
                leaves: self
                    .leaves
                    .iter()
                    .map(|leaf| FileLeaf {
                        key: leaf.key.clone(),
                        data_hex: encode_hex(&leaf.data),
                        originator: leaf.originator.clone(),
                    })
                    .collect(),
            },
            digests: FileDigests {
                trust_root,
                merkle_root,
            },
        };
        serde_json::to_string_pretty(&file).map_err(|error| ExportError::Form(error.to_string()))
    }
}

fn read_evidence(
    evidence: BTreeMap<String, Vec<FileAmount>>,
) -> Result<BTreeMap<String, Observers>, ExportError> {
    check_count("dimensions", evidence.len(), LIST_MAX)?;
    let mut result = BTreeMap::new();
    for (dimension, amounts) in evidence {
        check_count("observers", amounts.len(), LIST_MAX)?;
        let mut observers = Observers::new();
        for FileAmount {
            observer,
            amount_f64,
        } in amounts
        {
            check_id("observers", &observer)?;
            let amount = read_f64("amount", &amount_f64)?;
            if !(0.0..=f64::MAX).contains(&amount) {
                return Err(ExportError::Range("amount"));
            }
            if observers.insert(observer, amount).is_some() {
                return Err(ExportError::Id("observers"));
            }
        }
        result.insert(dimension, observers);
    }
    Ok(result)
}

fn write_evidence(score: &Score) -> BTreeMap<String, Vec<FileAmount>> {
    let evidence = score.evidence.iter().map(|(dimension, observers)| {
        let amounts = observers.iter().map(|(observer, amount)| FileAmount {
            observer: observer.clone(),
            amount_f64: encode_hex(&amount.to_be_bytes()),
        });
        (dimension.clone(), amounts.collect())
    });
    evidence.collect()
}

fn check_id(place: &'static str, id: &str) -> Result<(), ExportError> {
    if id.is_empty() || id.len() > ID_MAX {
        return Err(ExportError::Id(place));
    }
    Ok(())
}

fn check_count(place: &'static str, count: usize, count_max: usize) -> Result<(), ExportError> {
    if count > count_max {
        return Err(ExportError::TooMany(place, count_max));
    }
    Ok(())
}

fn read_f64(place: &'static str, text: &str) -> Result<f64, ExportError> {
    let bits = read_hex(place, text)?;
    let bits = bits.try_into().map_err(|_| ExportError::Hex(place))?;
    let number = f64::from_be_bytes(bits);
    if number.is_finite() {
        Ok(number)
    } else {
        Err(ExportError::Range(place))
    }
}

fn read_hex(place: &'static str, text: &str) -> Result<Vec<u8>, ExportError> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(ExportError::Hex(place)),
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return Err(ExportError::Hex(place));
    }
    pairs
        .iter()
        .map(|[high, low]| Ok(16 * digit(*high)? + digit(*low)?))
        .collect()
}
