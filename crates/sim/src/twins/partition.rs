//! Who is on the stage, who hears whom, and which of them nobody can tell apart.

use super::MEMBERS;
use std::collections::BTreeSet;

/// Instances at most: every member once, and a second time for each of two pairs.
pub(super) const INSTANCES_MAX: usize = MEMBERS + 2;

/// Distinct members that make a quorum.
pub(super) const QUORUM: u32 = 3;

/// Which instance speaks for which member. Twinned members come first, each with both of its
/// instances side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cast {
    pairs: usize,
}

impl Cast {
    pub(super) const fn new(pairs: usize) -> Self {
        Self { pairs }
    }

    /// Number of instances.
    pub const fn instances(self) -> usize {
        MEMBERS + self.pairs
    }

    /// The member for which an instance speaks.
    pub const fn member(self, instance: usize) -> usize {
        if instance < 2 * self.pairs {
            instance / 2
        } else {
            instance - self.pairs
        }
    }

    /// Whether a member has two instances.
    pub const fn is_twinned(self, member: usize) -> bool {
        member < self.pairs
    }

    /// The twinned members, one bit each.
    pub(super) const fn twinned(self) -> u8 {
        (1 << self.pairs) - 1
    }

    /// `A`, and `A'` for the second instance of a pair.
    pub fn name(self, instance: usize) -> String {
        let member = self.member(instance);
        let is_second = instance < 2 * self.pairs && instance % 2 == 1;
        format!(
            "{}{}",
            member_name(member),
            if is_second { "'" } else { "" }
        )
    }

    /// Every way to rename instances that leaves each member one member and twins twins.
    pub(super) fn renamings(self) -> Vec<Renaming> {
        let mut all = Vec::new();
        let mut places = [0_u8; INSTANCES_MAX];
        permute(0, self.instances(), &mut places, &mut |places| {
            all.extend(Renaming::new(self, *places));
        });
        all
    }
}

/// `A` to `D`.
pub(super) fn member_name(member: usize) -> char {
    char::from(b'A' + member as u8)
}

fn permute(
    depth: usize,
    count: usize,
    places: &mut [u8; INSTANCES_MAX],
    found: &mut impl FnMut(&[u8; INSTANCES_MAX]),
) {
    if depth == count {
        found(places);
        return;
    }
    for place in 0..count as u8 {
        if !places[..depth].contains(&place) {
            places[depth] = place;
            permute(depth + 1, count, places, found);
        }
    }
}

/// Instances and members under other names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Renaming {
    instances: [u8; INSTANCES_MAX],
    members: [u8; MEMBERS],
}

impl Renaming {
    /// A renaming, if both instances of a pair keep being one pair.
    fn new(cast: Cast, instances: [u8; INSTANCES_MAX]) -> Option<Self> {
        let mut members = [u8::MAX; MEMBERS];
        for (instance, renamed) in instances.iter().enumerate().take(cast.instances()) {
            let (from, to) = (cast.member(instance), cast.member(usize::from(*renamed)));
            let is_first = members[from] == u8::MAX;
            if cast.is_twinned(from) != cast.is_twinned(to)
                || !(is_first || usize::from(members[from]) == to)
            {
                return None;
            }
            members[from] = to as u8;
        }
        Some(Self { instances, members })
    }

    pub(super) fn member(&self, member: u8) -> u8 {
        self.members[usize::from(member)]
    }

    pub(super) fn group(&self, group: Group) -> Group {
        let bits = (0..INSTANCES_MAX).filter(|instance| group.contains(*instance));
        Group(bits.fold(0, |set, instance| set | 1 << self.instances[instance]))
    }

    pub(super) fn partition(&self, partition: &Partition) -> Partition {
        let mut blocks = partition.blocks;
        for (instance, block) in partition.blocks().iter().enumerate() {
            blocks[usize::from(self.instances[instance])] = *block;
        }
        Partition::new(&blocks[..partition.count])
    }
}

/// A few instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group(u8);

impl Group {
    /// Whether an instance is one of them.
    pub const fn contains(self, instance: usize) -> bool {
        self.0 >> instance & 1 == 1
    }

    /// `A, C`.
    pub fn describe(self, cast: Cast) -> String {
        let names: Vec<String> = (0..cast.instances())
            .filter(|instance| self.contains(*instance))
            .map(|instance| cast.name(instance))
            .collect();
        names.join(", ")
    }
}

/// A split of the instances into blocks; messages stay within a block.
///
/// Blocks are numbered by their first instance, so that a split is written in one way only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Partition {
    blocks: [u8; INSTANCES_MAX],
    count: usize,
}

impl Partition {
    fn new(labels: &[u8]) -> Self {
        let mut blocks = [0; INSTANCES_MAX];
        let mut order: Vec<u8> = Vec::with_capacity(labels.len());
        for (instance, label) in labels.iter().enumerate() {
            let known = order.iter().position(|seen| seen == label);
            blocks[instance] = known.unwrap_or(order.len()) as u8;
            if known.is_none() {
                order.push(*label);
            }
        }
        Self {
            blocks,
            count: labels.len(),
        }
    }

    /// Everybody alone.
    pub(super) fn silence(cast: Cast) -> Self {
        let labels: Vec<u8> = (0..cast.instances() as u8).collect();
        Self::new(&labels)
    }

    fn blocks(&self) -> &[u8] {
        &self.blocks[..self.count]
    }

    /// Whether two instances hear each other.
    pub fn connects(&self, one: usize, other: usize) -> bool {
        self.blocks[one] == self.blocks[other]
    }

    /// Whether some block has instances of enough members for a quorum.
    fn has_quorum(&self, cast: Cast) -> bool {
        self.in_quorums(cast).0 != 0
    }

    /// All instances in blocks with instances of enough members for a quorum.
    fn in_quorums(&self, cast: Cast) -> Group {
        let is_live = |block: &u8| {
            let of_block = self
                .blocks()
                .iter()
                .enumerate()
                .filter(|(_, b)| *b == block);
            let members = of_block.fold(0_u8, |set, (i, _)| set | 1 << cast.member(i));
            members.count_ones() >= QUORUM
        };
        let live = self.blocks().iter().enumerate().filter(|(_, b)| is_live(b));
        Group(live.fold(0, |set, (instance, _)| set | 1 << instance))
    }

    /// Every one or two instances that are in blocks with a quorum: too few for another quorum.
    pub(super) fn few_in_quorums(&self, cast: Cast) -> Vec<Group> {
        let all = self.in_quorums(cast).0;
        (1..=all)
            .filter(|bits| bits & !all == 0 && bits.count_ones() < QUORUM)
            .map(Group)
            .collect()
    }

    /// Every split in which something can happen: some block has a quorum of members. Of all the
    /// others, in which no view starts and nothing is decided, [`Self::silence`] stands for all.
    pub(super) fn all(cast: Cast) -> Vec<Self> {
        let mut found = BTreeSet::from([Self::silence(cast)]);
        let mut labels = vec![0_u8; cast.instances()];
        split(0, 0, &mut labels, &mut |labels| {
            let partition = Self::new(labels);
            if partition.has_quorum(cast) {
                found.insert(partition);
            }
        });
        found.into_iter().collect()
    }

    /// `A B C | A' D`.
    pub fn describe(&self, cast: Cast) -> String {
        let highest = self.blocks().iter().max().copied().unwrap_or(0);
        let blocks: Vec<String> = (0..=highest)
            .map(|block| {
                let names: Vec<String> = (0..self.count)
                    .filter(|instance| self.blocks[*instance] == block)
                    .map(|instance| cast.name(instance))
                    .collect();
                names.join(" ")
            })
            .collect();
        blocks.join(" | ")
    }
}

fn split(depth: usize, next: u8, labels: &mut Vec<u8>, found: &mut impl FnMut(&[u8])) {
    if depth == labels.len() {
        found(labels);
        return;
    }
    for label in 0..=next {
        labels[depth] = label;
        split(depth + 1, next.max(label + 1), labels, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_speaks_for_one_member() {
        let cast = Cast::new(1);
        let members: Vec<usize> = (0..cast.instances()).map(|i| cast.member(i)).collect();
        assert_eq!(members, [0, 0, 1, 2, 3]);
        let names: Vec<String> = (0..6).map(|i| Cast::new(2).name(i)).collect();
        assert_eq!(names, ["A", "A'", "B", "B'", "C", "D"]);
    }

    /// Three honest members and two instances of a pair; two honest members, two pairs, and which
    /// pair is which.
    #[test]
    fn renamings_are_all_that_keep_pairs_together() {
        assert_eq!(Cast::new(1).renamings().len(), 6 * 2);
        assert_eq!(Cast::new(2).renamings().len(), 2 * 2 * 2 * 2);
    }

    #[test]
    fn renamings_are_a_group_that_acts_on_partitions() {
        for cast in [Cast::new(1), Cast::new(2)] {
            let renamings = cast.renamings();
            let partitions = Partition::all(cast);
            for renaming in &renamings {
                let images: BTreeSet<Partition> = partitions
                    .iter()
                    .map(|partition| renaming.partition(partition))
                    .collect();
                assert!(images.into_iter().eq(partitions.iter().copied()));
            }
            let first = &partitions[partitions.len() / 2];
            for (a, b) in renamings
                .iter()
                .flat_map(|a| renamings.iter().map(move |b| (a, b)))
            {
                let image = a.partition(&b.partition(first));
                let is_closed = renamings.iter().any(|c| c.partition(first) == image);
                assert!(is_closed);
            }
        }
    }

    /// Counted by hand from the splits of five and six things.
    #[test]
    fn only_splits_with_a_quorum_and_one_silence_are_kept() {
        for cast in [Cast::new(1), Cast::new(2)] {
            let all = Partition::all(cast);
            let live = all.iter().filter(|p| p.has_quorum(cast)).count();
            assert_eq!(live + 1, all.len());
        }
        let cast = Cast::new(1);
        let texts: Vec<String> = Partition::all(cast)
            .iter()
            .map(|partition| partition.describe(cast))
            .collect();
        assert!(texts.contains(&"A B C | A' D".to_owned()), "{texts:?}");
        assert!(texts.contains(&"A | A' | B | C | D".to_owned()));
        // Two members and a twin are two members.
        assert!(!texts.contains(&"A A' B | C D".to_owned()));
    }
}
