//! Every script once: enumeration up to renaming, without a list of what was seen.
//!
//! A script is a word over an alphabet of rounds, and a renaming of instances maps words to words
//! letter by letter. Two scripts that a renaming maps to each other are one case. The case is
//! written by its smallest word, and the smallest word is found from left to right: its first
//! letter is the smallest that any renaming gives, its second the smallest that a renaming gives
//! which leaves the first letter alone, and so on. So with `H` the renamings that leave the word so
//! far alone, exactly those letters may follow which are the smallest of their images under `H`.
//!
//! That gives the number of cases by recursion over `H` and the letters left, the case with any
//! index by walking down that recursion, and the index of any script. No case is drawn twice since
//! no index is.

use super::partition::{Cast, Group, Partition, Renaming, member_name};
use super::{MEMBERS, Shape, ShapeError};
use core::fmt;
use polity_consensus::fbpbft::VoteKind;
use std::collections::BTreeMap;

/// What is scripted for one round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Round {
    /// Who leads the turn of this round.
    pub leader: u8,
    /// Who hears whom.
    pub partition: Partition,
    /// Who hears whose votes, if not everybody in the block.
    pub votes: Votes,
}

/// What becomes of the votes of a round.
///
/// Between the two rounds of votes is the state that view changes are about: prepared and not
/// decided, or decided and hardly anybody knows. Blocks alone do not lead there, since all of a
/// block hear the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Votes {
    /// COMMITs stay within the blocks of another partition.
    Commit(Partition),
    /// Of those in a block, only these hear PREPAREs, too few for a decision.
    PrepareHeardBy(Group),
    /// Of those in a block, only these hear COMMITs.
    CommitHeardBy(Group),
}

impl Votes {
    fn renamed(&self, renaming: &Renaming) -> Self {
        match self {
            Self::Commit(partition) => Self::Commit(renaming.partition(partition)),
            Self::PrepareHeardBy(group) => Self::PrepareHeardBy(renaming.group(*group)),
            Self::CommitHeardBy(group) => Self::CommitHeardBy(renaming.group(*group)),
        }
    }
}

impl Round {
    fn renamed(&self, renaming: &Renaming) -> Self {
        Self {
            leader: renaming.member(self.leader),
            partition: renaming.partition(&self.partition),
            votes: self.votes.renamed(renaming),
        }
    }

    /// Whether an instance hears another, for a vote of the given kind or anything else.
    pub fn hears(&self, to: usize, from: usize, vote: Option<VoteKind>) -> bool {
        let is_together = self.partition.connects(from, to);
        match (self.votes, vote) {
            (Votes::Commit(partition), Some(VoteKind::Commit)) => partition.connects(from, to),
            (Votes::PrepareHeardBy(group), Some(VoteKind::Prepare))
            | (Votes::CommitHeardBy(group), Some(VoteKind::Commit)) => {
                is_together && group.contains(to)
            }
            (
                Votes::Commit(_) | Votes::PrepareHeardBy(_) | Votes::CommitHeardBy(_),
                None | Some(VoteKind::Prepare | VoteKind::Commit),
            ) => is_together,
        }
    }
}

/// A whole scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// What is scripted for how many.
    pub shape: Shape,
    /// The rounds, in order.
    pub rounds: Vec<Round>,
}

impl Script {
    /// Who speaks for whom.
    pub fn cast(&self) -> Cast {
        self.shape.cast()
    }

    /// The leaders of the turns, in order.
    pub(super) fn leaders(&self) -> Vec<u8> {
        self.rounds.iter().map(|round| round.leader).collect()
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cast = self.cast();
        writeln!(f, "round  leader  hear each other         votes")?;
        for (number, round) in self.rounds.iter().enumerate() {
            let votes = match round.votes {
                Votes::Commit(partition) => format!("COMMIT in {}", partition.describe(cast)),
                Votes::PrepareHeardBy(group) => {
                    format!("only {} hear PREPARE", group.describe(cast))
                }
                Votes::CommitHeardBy(group) => format!("only {} hear COMMIT", group.describe(cast)),
            };
            writeln!(
                f,
                "{number:<7}{:<8}{:<24}{votes}",
                member_name(usize::from(round.leader)),
                round.partition.describe(cast),
            )?;
        }
        write!(f, "then everybody hears everybody")
    }
}

/// Renamings, one bit each.
type Subgroup = u32;

/// What may follow a word that the renamings of a subgroup leave alone.
#[derive(Clone, Debug, Default)]
struct Node {
    /// Letters, each with the renamings that leave it alone too.
    next: Vec<(u32, Subgroup)>,
    /// Number of ways to go on, by the letters left.
    counts: Vec<u128>,
}

/// All scripts of a shape, up to renaming.
#[derive(Clone, Debug)]
pub struct Space {
    shape: Shape,
    alphabet: Vec<Round>,
    renamings: Vec<Renaming>,
    /// The letter that a renaming makes of a letter.
    images: Vec<Vec<u32>>,
    nodes: BTreeMap<Subgroup, Node>,
}

impl Space {
    /// The scripts of a shape.
    pub fn new(shape: Shape) -> Result<Self, ShapeError> {
        shape.validate()?;
        let cast = shape.cast();
        let alphabet = alphabet(cast);
        let renamings = cast.renamings();
        let places: BTreeMap<Round, u32> = alphabet.iter().copied().zip(0..).collect();
        let images = renamings
            .iter()
            .map(|renaming| {
                alphabet
                    .iter()
                    .map(|round| places[&round.renamed(renaming)])
                    .collect()
            })
            .collect();
        let mut space = Self {
            shape,
            alphabet,
            renamings,
            images,
            nodes: BTreeMap::new(),
        };
        space.explore();
        Ok(space)
    }

    /// What is scripted for how many.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// What can be scripted for one round.
    pub fn rounds(&self) -> usize {
        self.alphabet.len()
    }

    /// How many renamings there are.
    pub fn symmetries(&self) -> usize {
        self.renamings.len()
    }

    /// How many scripts differ by more than a renaming.
    pub fn size(&self) -> u128 {
        self.nodes[&self.everything()].counts[self.shape.views]
    }

    /// The script with an index below the size.
    pub fn script(&self, mut index: u128) -> Option<Script> {
        if index >= self.size() {
            return None;
        }
        let mut subgroup = self.everything();
        let mut rounds = Vec::with_capacity(self.shape.views);
        for left in (0..self.shape.views).rev() {
            for (letter, smaller) in &self.nodes[&subgroup].next {
                let count = self.nodes[smaller].counts[left];
                if index < count {
                    rounds.push(self.alphabet[*letter as usize]);
                    subgroup = *smaller;
                    break;
                }
                index -= count;
            }
        }
        Some(Script {
            shape: self.shape,
            rounds,
        })
    }

    /// The index of a script, or of the one it is a renaming of.
    ///
    /// Nothing, if the script is of another shape.
    pub fn index(&self, script: &Script) -> Option<u128> {
        let letters = script
            .rounds
            .iter()
            .map(|round| self.alphabet.iter().position(|letter| letter == round))
            .collect::<Option<Vec<usize>>>()?;
        if letters.len() != self.shape.views {
            return None;
        }
        let smallest = self
            .images
            .iter()
            .map(|image| letters.iter().map(|l| image[*l]).collect::<Vec<u32>>())
            .min()?;
        let mut subgroup = self.everything();
        let mut index = 0;
        for (letter, left) in smallest.iter().zip((0..self.shape.views).rev()) {
            let node = &self.nodes[&subgroup];
            let place = node.next.iter().position(|(next, _)| next == letter)?;
            index += node.next[..place]
                .iter()
                .map(|(_, smaller)| self.nodes[smaller].counts[left])
                .sum::<u128>();
            subgroup = node.next[place].1;
        }
        Some(index)
    }

    fn everything(&self) -> Subgroup {
        (1 << self.renamings.len()) - 1
    }

    fn members(&self, subgroup: Subgroup) -> Vec<usize> {
        (0..self.renamings.len())
            .filter(|number| subgroup >> number & 1 == 1)
            .collect()
    }

    /// Finds every subgroup that words can lead to, and counts.
    fn explore(&mut self) {
        let mut open = vec![self.everything()];
        while let Some(subgroup) = open.pop() {
            if self.nodes.contains_key(&subgroup) {
                continue;
            }
            let members = self.members(subgroup);
            let mut node = Node::default();
            for letter in 0..self.alphabet.len() as u32 {
                let image = |number: &usize| self.images[*number][letter as usize];
                if members.iter().all(|number| image(number) >= letter) {
                    let smaller = members
                        .iter()
                        .filter(|number| image(number) == letter)
                        .fold(0, |set, number| set | 1 << number);
                    node.next.push((letter, smaller));
                    open.push(smaller);
                }
            }
            self.nodes.insert(subgroup, node);
        }
        for left in 0..=self.shape.views {
            let counts: Vec<(Subgroup, u128)> = self
                .nodes
                .iter()
                .map(|(subgroup, node)| {
                    let count = match left.checked_sub(1) {
                        None => 1,
                        Some(less) => node
                            .next
                            .iter()
                            .map(|(_, smaller)| self.nodes[smaller].counts[less])
                            .sum(),
                    };
                    (*subgroup, count)
                })
                .collect();
            for (subgroup, count) in counts {
                if let Some(node) = self.nodes.get_mut(&subgroup) {
                    node.counts.push(count);
                }
            }
        }
    }
}

/// What can be scripted for one round. Where nobody hears a proposal nobody votes, so it makes no
/// difference who would hear it; and who is in no block with a quorum hears nothing that counts.
fn alphabet(cast: Cast) -> Vec<Round> {
    let partitions = Partition::all(cast);
    let silence = Partition::silence(cast);
    let mut rounds = Vec::new();
    for leader in 0..MEMBERS as u8 {
        for partition in &partitions {
            let mut add = |votes| {
                rounds.push(Round {
                    leader,
                    partition: *partition,
                    votes,
                });
            };
            if *partition == silence {
                add(Votes::Commit(silence));
                continue;
            }
            for commit in &partitions {
                add(Votes::Commit(*commit));
            }
            for group in partition.few_in_quorums(cast) {
                add(Votes::PrepareHeardBy(group));
                add(Votes::CommitHeardBy(group));
            }
        }
    }
    rounds
}

#[cfg(test)]
mod tests {
    use super::super::shuffle::Shuffle;
    use super::*;
    use polity_types::Seed;
    use std::collections::BTreeSet;

    fn space(pairs: usize, views: usize) -> Space {
        Space::new(Shape { pairs, views }).unwrap()
    }

    /// All words of the letters, each put under the smallest of its images.
    fn orbits(space: &Space, letters: &[u32], length: usize) -> BTreeSet<Vec<u32>> {
        let mut words: Vec<Vec<u32>> = vec![Vec::new()];
        for _ in 0..length {
            words = words
                .iter()
                .flat_map(|word| {
                    letters
                        .iter()
                        .map(move |letter| [word.as_slice(), &[*letter]].concat())
                })
                .collect();
        }
        words
            .iter()
            .map(|word| {
                let images = space.images.iter();
                images
                    .map(|image| {
                        word.iter()
                            .map(|l| image[*l as usize])
                            .collect::<Vec<u32>>()
                    })
                    .min()
                    .unwrap()
            })
            .collect()
    }

    /// Brute force over every word of two rounds: as many cases as the recursion counts.
    #[test]
    fn two_rounds_by_brute_force() {
        let space = space(1, 2);
        let letters: Vec<u32> = (0..space.alphabet.len() as u32).collect();
        // One letter of each case of one round is enough in front; all may follow.
        let firsts: BTreeSet<u32> = orbits(&space, &letters, 1)
            .into_iter()
            .map(|word| word[0])
            .collect();
        let mut cases = BTreeSet::new();
        for first in firsts {
            for second in &letters {
                let images = space.images.iter();
                let smallest = images
                    .map(|image| (image[first as usize], image[*second as usize]))
                    .min();
                cases.extend(smallest);
            }
        }
        assert_eq!(cases.len() as u128, space.size());
    }

    /// Brute force over every word of four rounds of a small alphabet that renamings keep.
    #[test]
    fn four_rounds_of_few_letters_by_brute_force() {
        for pairs in [1, 2] {
            let mut space = space(pairs, 4);
            let silent: Vec<u32> = (0..space.alphabet.len() as u32)
                .filter(|letter| {
                    space.alphabet[*letter as usize].partition
                        == Partition::silence(space.shape.cast())
                })
                .collect();
            let mixed = space.images.iter().map(|image| image[30]);
            let letters: BTreeSet<u32> = silent.into_iter().chain(mixed).collect();
            let letters: Vec<u32> = letters.into_iter().collect();
            let expected = orbits(&space, &letters, 4).len() as u128;
            // The same alphabet for the recursion.
            for image in &mut space.images {
                *image = letters
                    .iter()
                    .map(|l| {
                        let image = image[*l as usize];
                        letters.iter().position(|l| *l == image).unwrap() as u32
                    })
                    .collect();
            }
            space.alphabet = letters
                .iter()
                .map(|l| space.alphabet[*l as usize])
                .collect();
            space.nodes.clear();
            space.explore();
            assert_eq!(space.size(), expected, "{pairs} pairs, {letters:?}");
        }
    }

    /// Burnside: the average over all renamings of the words that each leaves alone.
    #[test]
    fn seven_rounds_by_counting_what_renamings_leave_alone() {
        for (pairs, views) in [(1, 7), (2, 7), (1, 3), (2, 1)] {
            let space = space(pairs, views);
            let fixed: u128 = space
                .images
                .iter()
                .map(|image| {
                    let letters = image.iter().zip(0..).filter(|(to, from)| **to == *from);
                    (letters.count() as u128).pow(views as u32)
                })
                .sum();
            assert_eq!(fixed % space.symmetries() as u128, 0);
            assert_eq!(space.size(), fixed / space.symmetries() as u128);
        }
    }

    /// Index to script and back, and every renaming of a script has its index.
    #[test]
    fn a_script_has_one_index_whatever_its_names() {
        for pairs in [1, 2] {
            let space = space(pairs, 7);
            let shuffle = Shuffle::new(&Seed::from_number(5), space.size());
            let mut keys = BTreeSet::new();
            for place in 0..300 {
                let index = shuffle.at(place).unwrap();
                let script = space.script(index).unwrap();
                assert_eq!(space.index(&script), Some(index));
                let renaming = &space.renamings[place as usize % space.symmetries()];
                let renamed = Script {
                    shape: script.shape,
                    rounds: script
                        .rounds
                        .iter()
                        .map(|round| round.renamed(renaming))
                        .collect(),
                };
                assert_eq!(space.index(&renamed), Some(index));
                assert!(keys.insert(script.to_string()), "{index} is a duplicate");
            }
        }
    }

    #[test]
    fn what_is_outside_has_no_index_and_no_script() {
        let space = space(1, 2);
        assert_eq!(space.script(space.size()), None);
        let mut script = space.script(0).unwrap();
        script.rounds.pop();
        assert_eq!(space.index(&script), None);
        assert!(Space::new(Shape { pairs: 3, views: 7 }).is_err());
        assert!(Space::new(Shape { pairs: 1, views: 0 }).is_err());
    }
}
