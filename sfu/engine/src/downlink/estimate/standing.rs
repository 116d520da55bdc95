//! The queue that stands at a receiver's bottleneck over time, to be compared with what another receiver meets: in one
//! queue both wait longer and shorter at the same moments (the idea of RFC 8382, with the delay itself instead of its
//! moments: both paths begin here, on one clock).
//!
//! Of each span the shortest wait counts. What a receiver's own frame adds, which no other packet may have met, is not
//! in it.

use super::feedback::OurTime;
use std::time::Duration;

/// Waits within so long are one.
const SPAN_US: i64 = 50_000;
/// So many spans are remembered: what stands in a queue comes and goes in seconds.
const SPANS: usize = 80;
/// Places for them: a power of two, so that a number's place is found without division.
const PLACES: usize = SPANS.next_power_of_two();
/// Nothing has arrived of this span.
const UNKNOWN: u16 = u16::MAX;
/// Tenths of milliseconds: less is no queue, but jitter and what the base of the delay is wrong by.
const LEAST: u16 = 80;
/// Two receivers must have met that many spans both.
const COMMON: usize = 20;
/// And the longer queue must have changed by so much in them, up and down, in tenths of milliseconds.
const EVIDENCE: i32 = 1500;

/// Shortest waits of one receiver's packets, by when they were sent.
#[derive(Debug)]
pub(super) struct StandingQueue {
    /// Tenths of milliseconds, by the number of the span modulo their count.
    waits: [u16; PLACES],
    /// Number of the newest span.
    newest: i64,
}

impl Default for StandingQueue {
    fn default() -> Self {
        StandingQueue { waits: [UNKNOWN; PLACES], newest: 0 }
    }
}

impl StandingQueue {
    /// A packet that was sent at this time has queued for so long.
    pub(super) fn add(&mut self, sent: OurTime, queued: Duration) {
        let span = sent.0.div_euclid(SPAN_US);
        if span > self.newest {
            let passed = (span - self.newest).min(SPANS as i64);
            for new in span - passed + 1..=span {
                self.set(new, UNKNOWN);
                self.set(new - SPANS as i64, UNKNOWN);
            }
            self.newest = span;
        } else if span <= self.newest - SPANS as i64 {
            return;
        }
        let wait = u16::try_from(queued.as_micros() / 100).unwrap_or(UNKNOWN).min(UNKNOWN - 1);
        self.set(span, wait.min(self.get(span)));
    }

    /// Whether there was enough of a queue within the time that is remembered to be compared.
    pub(super) fn has_stood(&self) -> bool {
        self.waits.iter().filter(|wait| **wait != UNKNOWN).map(|wait| above(*wait)).sum::<i32>() >= EVIDENCE
    }

    /// How much of what changes in the queue that one of two meets changes for the other too, 0 to 1, over the spans
    /// that both know; `None` where too little changed to tell. `other` counts its time from `later` microseconds after
    /// this one does.
    ///
    /// Queues of two links that carry the same streams grow and shrink together, but not by the same; and what a path
    /// always adds is in no change.
    pub(super) fn queue_correlation(&self, other: &StandingQueue, later: i64) -> Option<f64> {
        let shift = (later + SPAN_US / 2).div_euclid(SPAN_US);
        let newest = self.newest.min(other.newest + shift);
        let oldest = 1 + self.newest.max(other.newest + shift) - SPANS as i64;
        let pairs = || {
            let both = (oldest..=newest).map(|span| (self.get(span), other.get(span - shift)));
            both.filter(|(one, two)| *one != UNKNOWN && *two != UNKNOWN)
        };
        let base = pairs().fold((UNKNOWN, UNKNOWN), |base, (one, two)| (one.min(base.0), two.min(base.1)));
        let mut queues = pairs().map(|(one, two)| (above(one - base.0), above(two - base.1)));
        let mut last = queues.next()?;
        let (mut common, mut less, mut more) = (1, 0, 0);
        for queue in queues {
            let (one, two) = (queue.0 - last.0, queue.1 - last.1);
            let (small, large) = (one.abs().min(two.abs()), one.abs().max(two.abs()));
            common += 1;
            less += if one.signum() == two.signum() { small } else { 0 };
            more += large;
            last = queue;
        }
        (common >= COMMON && more >= EVIDENCE).then(|| f64::from(less) / f64::from(more))
    }

    fn get(&self, span: i64) -> u16 {
        self.waits.get(index(span)).copied().unwrap_or(UNKNOWN)
    }

    fn set(&mut self, span: i64, wait: u16) {
        if let Some(place) = self.waits.get_mut(index(span)) {
            *place = wait;
        }
    }
}

fn index(span: i64) -> usize {
    span.rem_euclid(PLACES as i64) as usize
}

fn above(wait: u16) -> i32 {
    i32::from(wait.saturating_sub(LEAST))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1000;

    /// Milliseconds that a queue holds a packet up at this time: within a second it grows to 80 and goes.
    fn queue(at_ms: i64) -> i64 {
        80 - (at_ms % 1000 - 500).abs() * 80 / 500
    }

    /// What a receiver meets in five seconds, whose clock began at `began` and whose packets leave every `every`
    /// milliseconds.
    fn met(began: i64, every: usize, wait: impl Fn(i64) -> i64) -> StandingQueue {
        let mut standing = StandingQueue::default();
        for at in (0..5000).step_by(every) {
            let queued = Duration::from_millis(wait(at) as u64);
            standing.add(OurTime((at - began) * MS), queued);
        }
        standing
    }

    fn queue_correlation(one: &StandingQueue, two: &StandingQueue, later: i64) -> f64 {
        one.queue_correlation(two, later * MS).unwrap_or(-1.0)
    }

    #[test]
    fn two_receivers_wait_in_the_same_queue_whenever_their_clocks_began_and_whatever_they_are_sent() {
        let one = met(0, 7, queue);
        for (began, every) in [(0, 7), (0, 20), (1234, 12), (-1234, 12)] {
            let two = met(began, every, queue);
            assert!(queue_correlation(&one, &two, began) > 0.7, "{began} ms later, every {every} ms");
            assert_eq!(queue_correlation(&one, &two, began), queue_correlation(&two, &one, -began));
        }
        assert_eq!(queue_correlation(&one, &met(0, 7, queue), 500), 0.0, "one grows when the other shrinks");
    }

    #[test]
    fn what_a_path_always_adds_is_no_queue() {
        let one = met(0, 7, queue);
        let two = met(0, 7, |at| queue(at) + 25);
        assert_eq!(queue_correlation(&one, &two, 0), 1.0);
    }

    #[test]
    fn a_frame_of_ones_own_is_no_queue() {
        let one = met(0, 7, queue);
        let bursts = |at| if at % 35 == 0 { queue(at) } else { queue(at) + 30 };
        assert!(queue_correlation(&one, &met(0, 7, bursts), 0) > 0.7);
    }

    #[test]
    fn a_queue_that_the_other_does_not_meet_or_one_of_another_size_or_moment_is_another() {
        let one = met(0, 7, queue);
        assert_eq!(queue_correlation(&one, &met(0, 7, |_| 0), 0), 0.0);
        let narrower = queue_correlation(&one, &met(0, 7, |at| 2 * queue(at)), 0);
        assert!((0.3..0.6).contains(&narrower), "{narrower}");
        let later = queue_correlation(&one, &met(0, 7, |at| queue(at + 200)), 0);
        assert!(later < 0.6, "{later}");
    }

    #[test]
    fn without_a_queue_or_a_second_in_common_nothing_can_be_told() {
        let (calm, one) = (met(0, 7, |at| at % 8), met(0, 7, queue));
        assert!(!calm.has_stood() && one.has_stood());
        assert_eq!(calm.queue_correlation(&calm, 0), None);
        assert_eq!(one.queue_correlation(&StandingQueue::default(), 0), None);
        let (long, mut brief) = (met(0, 7, |at| 2 * queue(at)), StandingQueue::default());
        (4050..5000).step_by(7).for_each(|at| brief.add(OurTime(at * MS), Duration::from_millis(2 * queue(at) as u64)));
        assert_eq!(long.queue_correlation(&brief, 0), None, "not quite a second in common");
        let mut quiet_since = met(0, 7, queue);
        (5000..9100).step_by(20).for_each(|at| quiet_since.add(OurTime(at * MS), Duration::ZERO));
        assert!(!quiet_since.has_stood(), "what was is forgotten");
        let mut silent_since = met(0, 7, queue);
        silent_since.add(OurTime(8900 * MS), Duration::ZERO);
        assert!(!silent_since.has_stood(), "nothing is known of the time in which nothing came");
    }
}
