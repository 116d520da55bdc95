//! The round trip to the receiver and back.

use std::time::{Duration, Instant};

/// Longer round trips are no use to a call, and lies.
const MAX: Duration = Duration::from_secs(5);
/// Presumed before the first measurement.
const GUESS: Duration = Duration::from_millis(100);
/// The shortest is taken over one to two of these.
const SPAN: Duration = Duration::from_secs(10);

/// Measured with each feedback, which the receiver sends only now and then: most samples are too long by some of its
/// interval.
#[derive(Debug, Default)]
pub(super) struct RoundTrip {
    smoothed: Option<Duration>,
    /// Shortest of this span and of the one before.
    shortest: [Option<Duration>; 2],
    span_ends: Option<Instant>,
}

impl RoundTrip {
    /// Takes a sample.
    pub(super) fn add(&mut self, now: Instant, sample: Duration) {
        let sample = sample.min(MAX);
        self.smoothed = Some(self.smoothed.map_or(sample, |smoothed| (smoothed * 7 + sample) / 8));
        if self.span_ends.is_none_or(|end| now >= end) {
            self.span_ends = Some(now + SPAN);
            self.shortest = [None, self.shortest[0]];
        }
        self.shortest[0] = Some(self.shortest[0].map_or(sample, |shortest| shortest.min(sample)));
    }

    /// Smoothed; `None` before the first sample.
    pub(super) fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    /// The same, with a guess before the first sample.
    pub(super) fn or_guess(&self) -> Duration {
        self.smoothed.unwrap_or(GUESS)
    }

    /// The shortest lately: what the path itself takes, without the receiver's wait.
    pub(super) fn shortest(&self) -> Option<Duration> {
        self.shortest.into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_is_of_the_last_spans_and_the_smoothed_follows() {
        let (start, mut rtt, ms) = (Instant::now(), RoundTrip::default(), Duration::from_millis);
        assert_eq!((rtt.smoothed(), rtt.shortest(), rtt.or_guess()), (None, None, ms(100)));
        for i in 0..100 {
            rtt.add(start + ms(100 * i), ms(if i == 50 { 80 } else { 160 }));
        }
        assert_eq!(rtt.shortest(), Some(ms(80)));
        assert!(rtt.or_guess() > ms(150));
        (100..400).for_each(|i| rtt.add(start + ms(100 * i), ms(300)));
        assert_eq!(rtt.shortest(), Some(ms(300)), "another route");
        rtt.add(start, Duration::from_secs(3600));
        assert!(rtt.or_guess() < Duration::from_secs(1));
    }
}
