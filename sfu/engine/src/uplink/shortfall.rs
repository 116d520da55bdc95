//! Whether the publisher's network carries an encoding: where it does not, more gets lost than can be repaired in time.
//!
//! A browser that finds its uplink too slow switches off its higher encodings by itself, but not the last one that is
//! still wanted: of that it sends what there is room for, a picture now and then. Since encodings that nobody takes are
//! switched off, the last one may be the largest. One [`Shortfall`] per encoding; its track offers receivers the lower
//! ones while one falls short (`track/recovery.rs`).

use std::time::{Duration, Instant};

/// What an encoding's repair has counted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LossCounts {
    /// Packets that were sent, as their sequence numbers tell.
    pub sent: u64,
    /// Packets that were missing for too long.
    pub overdue: u64,
    /// Gaps in the sequence numbers in which the overdue packets were.
    pub gaps: u64,
}

/// Why less is asked of a publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// An encoding that the publisher sent fell short.
    Loss,
    /// A larger one was tried, and it or what flowed beside it fell short.
    Trial,
    /// A larger one was tried, and did not come.
    NoRoom,
}

impl Cause {
    /// Every cause, in the order of the counters.
    pub const ALL: [Cause; 3] = [Cause::Loss, Cause::Trial, Cause::NoRoom];

    /// Value of the `cause` label in Prometheus.
    pub const fn label(self) -> &'static str {
        match self {
            Cause::Loss => "loss",
            Cause::Trial => "trial",
            Cause::NoRoom => "no_room",
        }
    }
}

/// Watches one encoding.
#[derive(Clone, Debug, Default)]
pub struct Shortfall {
    /// The counts at the beginning of the present half of the window, and of the half before.
    begins: [LossCounts; 2],
    began: Option<Instant>,
    is_short: bool,
}

impl Shortfall {
    /// Half of the window over which packets are counted.
    const HALF: Duration = Duration::from_millis(500);
    /// It falls short when this share of its packets is overdue.
    const SHARE: f64 = 0.1;
    /// Fewer packets say nothing.
    const LEAST_PACKETS: u64 = 5;
    /// Fewer gaps are an outage that is over, not a network that is too slow.
    const LEAST_GAPS: u64 = 3;

    /// Takes the counts of now.
    pub fn update(&mut self, now: Instant, counts: LossCounts) {
        let age = self.began.map(|at| now.saturating_duration_since(at));
        if age.is_none_or(|age| age >= Self::HALF) {
            let [present, _] = self.begins;
            let before = if age.is_some_and(|age| age < Self::HALF * 2) { present } else { counts };
            (self.begins, self.began) = ([counts, before], Some(now));
        }
        let [_, from] = self.begins;
        let (sent, overdue) = (counts.sent - from.sent, counts.overdue - from.overdue);
        self.is_short = overdue >= Self::LEAST_PACKETS
            && counts.gaps - from.gaps >= Self::LEAST_GAPS
            && overdue as f64 >= sent as f64 * Self::SHARE;
    }

    /// Whether it falls short.
    pub fn is_short(&self) -> bool {
        self.is_short
    }

    /// The publisher began to send it again: what was before says nothing.
    pub fn on_started(&mut self) {
        *self = Shortfall::default();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

    use super::*;

    struct Link {
        shortfall: Shortfall,
        counts: LossCounts,
        now: Instant,
    }

    impl Link {
        fn new() -> Link {
            Link { shortfall: Shortfall::default(), counts: LossCounts::default(), now: Instant::now() }
        }

        /// Sends 100 packets a second, with this many overdue ones of each ten and each `gap` of them in a row; when it
        /// falls short, if it does.
        fn run(&mut self, time: Duration, overdue: u64, gap: u64) -> Option<Duration> {
            let start = self.now;
            while self.now < start + time {
                self.now += Duration::from_millis(100);
                self.counts.sent += 10;
                self.counts.overdue += overdue;
                self.counts.gaps = self.counts.overdue.div_ceil(gap);
                self.shortfall.update(self.now, self.counts);
                if self.shortfall.is_short() {
                    return Some(self.now - start);
                }
            }
            None
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_cannot_be_repaired_falls_short_within_half_a_second_and_no_longer_than_that_lasts() {
        let mut link = Link::new();
        assert_eq!(link.run(20 * SECOND, 0, 1), None);
        assert!(link.run(SECOND, 4, 1).unwrap() <= Duration::from_millis(500));
        while link.run(Duration::from_millis(100), 0, 1).is_some() {}
        assert_eq!(link.run(5 * SECOND, 0, 1), None);
    }

    #[test]
    fn an_outage_that_is_over_is_none() {
        let mut link = Link::new();
        assert_eq!(link.run(2 * SECOND, 0, 1), None);
        link.counts.overdue += 60;
        assert_eq!(link.run(10 * SECOND, 0, 60), None);
    }

    #[test]
    fn few_packets_that_come_too_late_are_none() {
        let mut link = Link::new();
        for _ in 0..20 {
            assert_eq!(link.run(Duration::from_millis(900), 0, 1), None);
            assert_eq!(link.run(Duration::from_millis(100), 4, 1), None);
        }
    }

    #[test]
    fn what_was_before_it_began_again_says_nothing() {
        let mut link = Link::new();
        link.run(SECOND, 4, 1).unwrap();
        link.shortfall.on_started();
        assert!(!link.shortfall.is_short());
        assert_eq!(link.run(5 * SECOND, 0, 1), None);
    }
}
