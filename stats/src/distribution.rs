//! A distribution over buckets, as a Prometheus histogram wants it.

/// How many values fell into each bucket. Cumulative, as counters are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distribution {
    /// Upper bounds, which belong to their buckets, growing, each with the values in that bucket alone.
    pub buckets: Vec<(f64, u64)>,
    /// Values above the last bound.
    pub above: u64,
    /// The sum of all values.
    pub sum: f64,
}

impl Distribution {
    /// No values yet, in buckets up to these bounds, which must grow.
    pub fn new(bounds: &[f64]) -> Self {
        Distribution { buckets: bounds.iter().map(|bound| (*bound, 0)).collect(), above: 0, sum: 0.0 }
    }

    /// Counts a value.
    pub fn observe(&mut self, value: f64) {
        let bucket = self.buckets.iter_mut().find(|(bound, _)| value <= *bound).map(|(_, count)| count);
        *bucket.unwrap_or(&mut self.above) += 1;
        self.sum += value;
    }

    /// Adds the values of another one, which must have the same bounds unless one of the two is new: a shard that has
    /// just started has told nothing yet.
    pub fn add(&mut self, other: &Distribution) {
        if self.buckets.is_empty() {
            return self.clone_from(other);
        }
        if other.buckets.is_empty() {
            return;
        }
        debug_assert!(self.buckets.iter().map(|b| b.0).eq(other.buckets.iter().map(|b| b.0)), "other bounds");
        for ((_, count), (_, more)) in self.buckets.iter_mut().zip(&other.buckets) {
            *count += more;
        }
        self.above += other.above;
        self.sum += other.sum;
    }

    /// The number of values.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum::<u64>() + self.above
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_told_nothing_yet_changes_nothing_whichever_comes_first() {
        let mut some = Distribution::new(&[1.0, 2.0]);
        some.observe(1.5);
        for order in [[&some, &Distribution::default()], [&Distribution::default(), &some]] {
            let mut sum = Distribution::default();
            order.into_iter().for_each(|part| sum.add(part));
            assert_eq!(sum, some);
        }
    }
}
