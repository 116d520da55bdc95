//! Whether the publisher's network carries an encoding: where it does not, more gets lost than can be repaired in time.
//!
//! A browser that finds its uplink too slow switches off its higher encodings by itself, but not the last one that is still wanted: of that it
//! sends what there is room for, a picture now and then. Since encodings that nobody takes are switched off, the last one may be the largest.
//! One [`Shortfall`] per encoding; its track offers receivers the lower ones while one falls short.

use std::time::{Duration, Instant};

/// What an encoding's repair has counted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets that were sent, as numbers tell.
    pub sent: u64,
    /// Packets that were missing for too long.
    pub overdue: u64,
    /// Gaps that those were in.
    pub gaps: u64,
}

/// Watches one encoding.
#[derive(Clone, Debug, Default)]
pub struct Shortfall {
    /// The counts at the beginning of the present half of the window, and of the half before.
    begins: [Counts; 2],
    began: Option<Instant>,
    /// While it falls short.
    until: Option<Instant>,
    /// For how long it did last.
    hold: Duration,
}

impl Shortfall {
    /// Half of the time that is looked at.
    const HALF: Duration = Duration::from_millis(500);
    /// It falls short when this share of its packets is overdue.
    const SHARE: f64 = 0.1;
    /// Fewer packets say nothing.
    const LEAST_PACKETS: u64 = 5;
    /// Fewer gaps are an outage that is over, not a network that is too slow.
    const LEAST_GAPS: u64 = 3;
    /// It is not offered for so long, twice as long each time, at most for the latter.
    const HOLD: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(40));
    /// A shortfall so long after the last one is a new one.
    const FORGOTTEN: Duration = Duration::from_secs(30);

    /// Takes the counts of now; true where it begins to fall short.
    pub fn update(&mut self, now: Instant, counts: Counts) -> bool {
        let age = self.began.map(|at| now.saturating_duration_since(at));
        if age.is_none_or(|age| age >= Self::HALF) {
            let [present, _] = self.begins;
            let before = if age.is_some_and(|age| age < Self::HALF * 2) { present } else { counts };
            (self.begins, self.began) = ([counts, before], Some(now));
        }
        let [_, from] = self.begins;
        let (sent, overdue) = (counts.sent - from.sent, counts.overdue - from.overdue);
        let short = overdue >= Self::LEAST_PACKETS
            && counts.gaps - from.gaps >= Self::LEAST_GAPS
            && overdue as f64 >= sent as f64 * Self::SHARE;
        if !short || self.is_short(now) {
            return false;
        }
        let again = self.until.is_some_and(|until| now.saturating_duration_since(until) < Self::FORGOTTEN);
        let (first, longest) = Self::HOLD;
        self.hold = if again { (self.hold * 2).min(longest) } else { first };
        self.until = Some(now + self.hold);
        true
    }

    /// Whether it falls short.
    pub fn is_short(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// The publisher began to send it again, and will have had a reason.
    pub fn on_started(&mut self, now: Instant) {
        self.until = self.until.map(|until| until.min(now));
        self.began = None;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

    use super::*;

    struct Link {
        shortfall: Shortfall,
        counts: Counts,
        now: Instant,
    }

    impl Link {
        fn new() -> Link {
            Link { shortfall: Shortfall::default(), counts: Counts::default(), now: Instant::now() }
        }

        /// Sends 100 packets a second, with this many overdue ones of each ten and each `gap` of them in a row; when it falls short, if it
        /// does.
        fn run(&mut self, time: Duration, overdue: u64, gap: u64) -> Option<Duration> {
            let start = self.now;
            while self.now < start + time {
                self.now += Duration::from_millis(100);
                self.counts.sent += 10;
                self.counts.overdue += overdue;
                self.counts.gaps = self.counts.overdue.div_ceil(gap);
                if self.shortfall.update(self.now, self.counts) {
                    return Some(self.now - start);
                }
            }
            None
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_cannot_be_repaired_falls_short_within_half_a_second() {
        let mut link = Link::new();
        assert_eq!(link.run(20 * SECOND, 0, 1), None);
        assert!(link.run(SECOND, 4, 1).unwrap() <= Duration::from_millis(500));
        assert!(link.shortfall.is_short(link.now) && !link.shortfall.is_short(link.now + 5 * SECOND));
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
    fn each_further_one_is_believed_for_longer_until_there_was_none_for_a_while() {
        let mut link = Link::new();
        for hold in [5, 10, 20, 40, 40] {
            link.run(SECOND, 5, 1).unwrap();
            assert!(link.shortfall.is_short(link.now + hold * SECOND - Duration::from_millis(1)), "{hold}");
            assert!(!link.shortfall.is_short(link.now + hold * SECOND), "{hold}");
            assert_eq!(link.run(hold * SECOND, 0, 1), None);
        }
        assert_eq!(link.run(31 * SECOND, 0, 1), None);
        link.run(SECOND, 5, 1).unwrap();
        assert!(!link.shortfall.is_short(link.now + 5 * SECOND));
    }

    #[test]
    fn who_starts_to_send_again_is_believed() {
        let mut link = Link::new();
        link.run(SECOND, 5, 1).unwrap();
        link.shortfall.on_started(link.now);
        assert!(!link.shortfall.is_short(link.now));
        link.run(2 * SECOND, 5, 1).unwrap();
        assert!(link.shortfall.is_short(link.now + 9 * SECOND), "the second within a short time");
    }
}
