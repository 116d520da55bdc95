//! A value that changes at given times.

use std::time::Duration;

use crate::{NEVER, micros};

/// A step function of the time since the start of the link.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule<V> {
    first: V,
    /// Microsecond from which a value holds, in increasing order.
    steps: Vec<(u64, V)>,
}

impl<V: Copy> Schedule<V> {
    /// The same value at all times.
    pub fn constant(value: V) -> Schedule<V> {
        Schedule { first: value, steps: Vec::new() }
    }

    /// `first`, and from each given time on the value beside it. The times may come in any order; of two at the same
    /// time the later one in the list holds.
    pub fn steps(first: V, changes: impl IntoIterator<Item = (Duration, V)>) -> Schedule<V> {
        let mut steps: Vec<(u64, V)> = changes.into_iter().map(|(at, value)| (micros(at), value)).collect();
        steps.sort_by_key(|(at, _)| *at);
        Schedule { first, steps }
    }

    /// The value at a microsecond.
    pub(crate) fn at(&self, time: u64) -> V {
        let past = self.past(time);
        if past == 0 { self.first } else { self.steps[past - 1].1 }
    }

    /// The next microsecond after `time` at which a step stands, or never.
    pub(crate) fn next_change(&self, time: u64) -> u64 {
        self.steps.get(self.past(time)).map_or(NEVER, |(at, _)| *at)
    }

    fn past(&self, time: u64) -> usize {
        self.steps.partition_point(|(at, _)| *at <= time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_holds_from_its_time_until_the_next() {
        let schedule = Schedule::steps('a', [(Duration::from_secs(2), 'c'), (Duration::from_secs(1), 'b')]);
        let values: String =
            [0, 999_999, 1_000_000, 1_999_999, 2_000_000, NEVER].map(|at| schedule.at(at)).iter().collect();
        assert_eq!(values, "aabbcc");
        assert_eq!([0, 1_000_000, 2_000_000].map(|at| schedule.next_change(at)), [1_000_000, 2_000_000, NEVER]);
    }
}
