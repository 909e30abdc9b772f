//! Whether groups fit into bins, exactly: a maximum flow from groups to the bins they may use.

use std::collections::BTreeMap;
use std::collections::VecDeque;

/// Free room that some of the groups may use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bin {
    /// Bit i: group i may use it.
    pub(super) groups: u64,
    /// Endpoints it holds.
    pub(super) capacity: u64,
}

/// A best fit: as many endpoints placed as possible.
#[derive(Debug)]
pub(super) struct Fitted {
    /// Endpoints that found no room.
    pub(super) missing: u64,
    /// `amounts[group][bin]`, endpoints.
    pub(super) amounts: Vec<Vec<u64>>,
}

/// Places as many endpoints of the groups as possible. Bins open to the same groups are one class
/// of the flow, so that the cost grows with the number of kinds of workers, not of workers.
pub(super) fn fit(demands: &[u64], bins: &[Bin]) -> Fitted {
    let mut by_mask: BTreeMap<u64, u64> = BTreeMap::new();
    for bin in bins.iter().filter(|b| b.groups != 0) {
        let total = by_mask.entry(bin.groups).or_default();
        *total = total.saturating_add(bin.capacity);
    }
    let classes: Vec<Bin> = by_mask
        .into_iter()
        .map(|(groups, capacity)| Bin { groups, capacity })
        .collect();
    let mut flow = Flow {
        left: demands.to_vec(),
        room: classes.iter().map(|c| c.capacity).collect(),
        amounts: vec![vec![0; classes.len()]; demands.len()],
        classes,
    };
    while flow.augment() {}
    let missing = flow.left.iter().sum();
    Fitted {
        missing,
        amounts: flow.spread(bins),
    }
}

struct Flow {
    classes: Vec<Bin>,
    /// Endpoints of each group not placed yet.
    left: Vec<u64>,
    /// Room left in each class.
    room: Vec<u64>,
    amounts: Vec<Vec<u64>>,
}

impl Flow {
    /// One shortest augmenting path; false if there is none.
    fn augment(&mut self) -> bool {
        let groups = self.left.len();
        // How each class and each group was first reached: from which group, from which class.
        let mut class_from: Vec<Option<usize>> = vec![None; self.classes.len()];
        let mut group_from: Vec<Option<usize>> = vec![None; groups];
        let mut seen: Vec<bool> = self.left.iter().map(|&l| l > 0).collect();
        let mut queue: VecDeque<usize> = (0..groups).filter(|&g| seen[g]).collect();
        while let Some(group) = queue.pop_front() {
            for class in 0..self.classes.len() {
                if class_from[class].is_some() || self.classes[class].groups & (1 << group) == 0 {
                    continue;
                }
                class_from[class] = Some(group);
                if self.room[class] > 0 {
                    self.push(class, &class_from, &group_from);
                    return true;
                }
                for other in 0..groups {
                    if !seen[other] && self.amounts[other][class] > 0 {
                        seen[other] = true;
                        group_from[other] = Some(class);
                        queue.push_back(other);
                    }
                }
            }
        }
        false
    }

    /// Moves as much as the path that ends in `class` bears.
    fn push(&mut self, class: usize, class_from: &[Option<usize>], group_from: &[Option<usize>]) {
        let path = || {
            let mut next = Some(class);
            std::iter::from_fn(move || {
                let class = next?;
                let group = class_from[class]?;
                next = group_from[group];
                Some((class, group, next))
            })
        };
        let mut amount = self.room[class];
        for (_, group, before) in path() {
            amount = amount.min(before.map_or(self.left[group], |c| self.amounts[group][c]));
        }
        self.room[class] -= amount;
        for (class, group, before) in path() {
            self.amounts[group][class] += amount;
            match before {
                Some(before) => self.amounts[group][before] -= amount,
                None => self.left[group] -= amount,
            }
        }
    }

    /// Hands the amounts of each class to its bins, in their order.
    fn spread(&self, bins: &[Bin]) -> Vec<Vec<u64>> {
        let mut amounts = vec![vec![0; bins.len()]; self.left.len()];
        for (index, class) in self.classes.iter().enumerate() {
            let mut of_class = bins
                .iter()
                .enumerate()
                .filter(|(_, b)| b.groups == class.groups);
            let mut open = of_class.next().map(|(i, b)| (i, b.capacity));
            for (group, per_class) in self.amounts.iter().enumerate() {
                let mut rest = per_class[index];
                while rest > 0
                    && let Some((bin, capacity)) = open
                {
                    let taken = rest.min(capacity);
                    amounts[group][bin] += taken;
                    rest -= taken;
                    open = if capacity > taken {
                        Some((bin, capacity - taken))
                    } else {
                        of_class.next().map(|(i, b)| (i, b.capacity))
                    };
                }
            }
        }
        amounts
    }
}
