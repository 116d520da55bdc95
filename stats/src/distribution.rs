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

    /// Adds the values of another one, which must have the same bounds unless this one is new.
    pub fn add(&mut self, other: &Distribution) {
        if self.buckets.is_empty() {
            return self.clone_from(other);
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
