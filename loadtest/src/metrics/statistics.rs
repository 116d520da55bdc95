//! Several values as one.

use crate::scenario::{Bound, Over};

/// The values of seeds and participants, made one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// What the bound is held against; `None` where a value is missing that would count.
    pub value: Option<f64>,
    /// Whether it is within the bound.
    pub holds: bool,
}

impl Summary {
    /// Values that are missing count as infinitely bad.
    pub fn of(values: &[Option<f64>], bound: Bound, over: Over) -> Summary {
        let bad = if bound.wants_more() { f64::NEG_INFINITY } else { f64::INFINITY };
        let mut all: Vec<f64> = values.iter().map(|value| value.unwrap_or(bad)).collect();
        // From the best to the worst.
        all.sort_by(|a, b| if bound.wants_more() { b.total_cmp(a) } else { a.total_cmp(b) });
        let value = match over {
            Over::Worst => all.last().copied(),
            Over::Mean => (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64),
            Over::P50 => percentile(&all, 0.5),
            Over::P95 => percentile(&all, 0.95),
        };
        let value = value.filter(|value| value.is_finite());
        Summary { value, holds: value.is_some_and(|value| bound.holds(value)) }
    }
}

/// The value that a share of the sorted values does not exceed (nearest rank).
pub fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = (sorted.len() as f64 * share).ceil().max(1.0) as usize;
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_depends_on_what_is_wanted_and_nothing_is_worse_than_no_value() {
        let values = [Some(0.9), Some(0.7), Some(0.8)];
        assert_eq!(Summary::of(&values, Bound::AtLeast(0.75), Over::Worst).value, Some(0.7));
        assert_eq!(Summary::of(&values, Bound::AtMost(0.75), Over::Worst).value, Some(0.9));
        assert!(Summary::of(&values, Bound::AtLeast(0.75), Over::P50).holds);
        assert!(!Summary::of(&[Some(1.0), None], Bound::AtLeast(0.5), Over::Mean).holds);
        assert!(Summary::of(&[Some(1.0), Some(1.0), None], Bound::AtLeast(0.5), Over::P50).holds);
    }

    #[test]
    fn percentiles_are_values_that_occur() {
        let values: Vec<f64> = (1..=20).map(f64::from).collect();
        assert_eq!([0.5, 0.95, 1.0].map(|share| percentile(&values, share)), [Some(10.0), Some(19.0), Some(20.0)]);
    }
}
