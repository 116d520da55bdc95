//! Distributions of what is measured, as plain integers: a few instructions for each value, no lock, no allocation.
//!
//! Bounds of buckets are powers of two, so that the bucket of a value is found by counting its leading zeros.
//! [`crate::snapshot`] has the distributions that an engine keeps.

use std::time::Duration;

/// How many values fell into each bucket: the first holds those up to 2^`LOWEST`, each further one those up to twice as
/// much as the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram<const LOWEST: u32, const BUCKETS: usize> {
    counts: [u64; BUCKETS],
    /// Values above the last bound.
    above: u64,
    sum: u64,
}

impl<const LOWEST: u32, const BUCKETS: usize> Default for Histogram<LOWEST, BUCKETS> {
    fn default() -> Self {
        Histogram { counts: [0; BUCKETS], above: 0, sum: 0 }
    }
}

impl<const LOWEST: u32, const BUCKETS: usize> Histogram<LOWEST, BUCKETS> {
    /// Counts a value.
    #[inline]
    pub fn observe(&mut self, value: u64) {
        let power = u64::BITS - value.saturating_sub(1).leading_zeros();
        let bucket = self.counts.get_mut(power.saturating_sub(LOWEST) as usize);
        *bucket.unwrap_or(&mut self.above) += 1;
        self.sum = self.sum.saturating_add(value);
    }

    /// Counts a time, in microseconds.
    #[inline]
    pub fn observe_time(&mut self, time: Duration) {
        self.observe(time.as_micros() as u64);
    }

    /// Counts a share from 0 to 1, in [`RATIO_ONE`]ths; what is no number counts as 0.
    pub fn observe_ratio(&mut self, ratio: f32) {
        self.observe((ratio.clamp(0.0, 1.0) * RATIO_ONE as f32) as u64);
    }

    /// Each bucket's upper bound, which belongs to it, and how many values are in it.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        (LOWEST..).map(|power| 1 << power).zip(self.counts.iter().copied())
    }

    /// How many values were above all bounds.
    pub fn above(&self) -> u64 {
        self.above
    }

    /// The sum of all values.
    pub fn sum(&self) -> u64 {
        self.sum
    }
}

/// What stands for 1 in a [`Ratios`].
pub const RATIO_ONE: u64 = 1 << 20;

/// Times from 16 us to 2 s, for what happens inside the server.
pub type ShortTimes = Histogram<4, 18>;
/// Times from 1 ms to 34 s, for what involves the client and its network.
pub type LongTimes = Histogram<10, 16>;
/// Shares from 0.1 % to 1, in [`RATIO_ONE`]ths.
pub type Ratios = Histogram<10, 11>;
/// Rates from 4 kB/s to 17 MB/s, in bytes per second.
pub type Rates = Histogram<12, 13>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let mut histogram = Histogram::<2, 3>::default();
        for value in [0, 1, 4, 5, 8, 9, 16, 17, u64::MAX] {
            histogram.observe(value);
        }
        assert_eq!(histogram.buckets().collect::<Vec<_>>(), [(4, 3), (8, 2), (16, 2)]);
        assert_eq!((histogram.above(), histogram.sum()), (2, u64::MAX));
    }

    #[test]
    fn shares_and_times_fall_where_their_bounds_say() {
        let mut ratios = Ratios::default();
        for ratio in [f32::NAN, -1.0, 0.0, 0.4, 1.0, 7.0] {
            ratios.observe_ratio(ratio);
        }
        let filled: Vec<_> = ratios.buckets().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(RATIO_ONE >> 10, 3), (RATIO_ONE / 2, 1), (RATIO_ONE, 2)]);
        let mut times = ShortTimes::default();
        times.observe_time(Duration::from_micros(17));
        assert_eq!(times.buckets().find(|(_, count)| *count > 0), Some((32, 1)));
    }
}
