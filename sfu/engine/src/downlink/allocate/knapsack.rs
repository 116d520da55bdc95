//! The multiple-choice knapsack: at most one item of each group, highest total value within a budget, exactly.
//!
//! Values are small whole numbers, so the table is over values: for each total value the lowest cost that reaches it.
//! Costs are thus exact to the bit per second, and of equal values the cheapest is found. Time and memory are `groups *
//! items * total value`; rows are plain slices of `i32`, which the compiler turns into vector code.

use crate::units::Bitrate;

/// Above every cost. The sum of two costs fits into an `i32`.
const UNREACHABLE: i32 = 1 << 30;
/// Highest total value of a table. Beyond, in rooms of more than forty large tiles, values are scaled down to it.
const MAX_TOTAL: u64 = 8192;

/// One item of a group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    /// The caller's name for it.
    pub(super) choice: usize,
    /// What it is worth, at least 1.
    pub(super) value: u32,
    /// What it costs.
    pub(super) cost: Bitrate,
}

/// Groups, table and solution.
#[derive(Debug, Default)]
pub(super) struct Knapsack {
    items: Vec<Item>,
    /// End of each group in `items`.
    groups: Vec<usize>,
    /// All rows of the table, one after the other; the row before the first group is `[0]`.
    table: Vec<i32>,
    /// Start of each row in `table`.
    rows: Vec<usize>,
    choices: Vec<Option<usize>>,
}

impl Knapsack {
    /// Forgets all groups.
    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.groups.clear();
        self.choices.clear();
    }

    /// Adds a group, of which one item or none can be chosen.
    pub(super) fn add_group(&mut self, items: impl Iterator<Item = Item>) {
        self.items.extend(items);
        self.groups.push(self.items.len());
    }

    /// Solves; returns the total cost.
    pub(super) fn solve(&mut self, budget: Bitrate) -> Bitrate {
        let budget = i32::try_from(budget.as_bps()).unwrap_or(i32::MAX).min(UNREACHABLE - 1);
        self.scale_values();
        self.table.clear();
        self.table.push(0);
        self.rows.clear();
        self.rows.push(0);
        let mut start = 0;
        for end in &self.groups {
            add_row(&mut self.table, &mut self.rows, self.items.get(start..*end).unwrap_or_default(), budget);
            start = *end;
        }
        self.trace()
    }

    /// The choice in each group, in the order in which they were added; `None`: no item.
    pub(super) fn choices(&self) -> &[Option<usize>] {
        &self.choices
    }

    /// Bounds the width of the table.
    fn scale_values(&mut self) {
        let mut start = 0;
        let mut total = 0u64;
        for end in &self.groups {
            let group = self.items.get(start..*end).unwrap_or_default();
            total += group.iter().map(|item| u64::from(item.value)).max().unwrap_or(0);
            start = *end;
        }
        if total > MAX_TOTAL {
            for item in &mut self.items {
                item.value = ((u64::from(item.value) * MAX_TOTAL / total) as u32).max(1);
            }
        }
    }

    /// Walks back from the highest value that was reached.
    fn trace(&mut self) -> Bitrate {
        let mut end = self.table.len();
        let mut value = self.rows.last().map_or(0, |start| end - start).saturating_sub(1);
        let total = self.table.last().copied().unwrap_or(0);
        let mut cost = total;
        self.choices.resize(self.groups.len(), None);
        for group in (0..self.groups.len()).rev() {
            end = self.rows.get(group + 1).copied().unwrap_or(end);
            let before = self.rows.get(group).and_then(|start| self.table.get(*start..end)).unwrap_or_default();
            let from = group.checked_sub(1).and_then(|g| self.groups.get(g)).copied().unwrap_or(0);
            let items = self.groups.get(group).and_then(|to| self.items.get(from..*to)).unwrap_or_default();
            let taken = items.iter().find(|item| {
                let rest = value.checked_sub(item.value as usize).and_then(|rest| before.get(rest));
                rest.is_some_and(|rest| i64::from(*rest) + i64::from(as_cost(item)) == i64::from(cost))
            });
            if let Some(item) = taken {
                value -= item.value as usize;
                cost -= as_cost(item);
            }
            if let Some(choice) = self.choices.get_mut(group) {
                *choice = taken.map(|item| item.choice);
            }
        }
        Bitrate::bps(u64::try_from(total).unwrap_or(0))
    }
}

/// Appends the row that one more group makes of the last one.
fn add_row(table: &mut Vec<i32>, rows: &mut Vec<usize>, items: &[Item], budget: i32) {
    let old_start = rows.last().copied().unwrap_or(0);
    let start = table.len();
    let affordable = || items.iter().filter(|item| as_cost(item) <= budget);
    let widest = affordable().map(|item| item.value).max().unwrap_or(0) as usize;
    table.extend_from_within(old_start..start);
    table.resize(table.len() + widest, UNREACHABLE);
    let (before, new) = table.split_at_mut(start);
    let old = before.get(old_start..).unwrap_or_default();
    for item in affordable() {
        let cost = as_cost(item);
        for (new, old) in new.iter_mut().skip(item.value as usize).zip(old) {
            *new = (*new).min(old.wrapping_add(cost));
        }
    }
    for cost in new.iter_mut() {
        *cost = if *cost > budget { UNREACHABLE } else { *cost };
    }
    let width = new.iter().rposition(|cost| *cost < UNREACHABLE).map_or(1, |last| last + 1);
    table.truncate(start + width);
    rows.push(start);
}

fn as_cost(item: &Item) -> i32 {
    i32::try_from(item.cost.as_bps()).unwrap_or(i32::MAX).min(UNREACHABLE)
}
