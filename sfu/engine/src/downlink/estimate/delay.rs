//! One-way delay on two clocks that are not synchronised: what a receiver can truthfully claim, how long packets queue,
//! and how noisy the path is.

use super::feedback::{Acked, OurTime, ReceiverTime};
use super::jitter::Jitter;
use super::route::Floor;
use std::time::Duration;

/// The lowest delay is taken over one to two of these, so that clock drift and a new route are forgotten.
const BASE_SPAN: Duration = Duration::from_secs(10);
/// A base is not held for longer: the route may be another by then.
const MAX_HOLD: Duration = Duration::from_secs(120);
/// Tolerance for resolution (64 ms in the worst wire format is divided by 256) and clock drift between two bases.
const SLACK_US: i64 = 20_000;
/// So many feedbacks in a row without one possible time: the receiver's clock has been set anew.
const RESYNC_AFTER: u32 = 4;
/// Delay changes above this are queues, not noise.
const NOISE_CAP_US: f64 = 20_000.0;
/// More than this is not believed to be the transmission of one packet.
const MAX_TRANSMISSION: Duration = Duration::from_millis(100);
/// A queue shorter than this is never taken for congestion.
const LEAST_QUEUE_US: f64 = 5_000.0;
/// So many times the noise may a delay vary.
const DEVIATIONS: f64 = 3.0;
/// Jitter does not hide a longer queue.
const MOST_HELD_US: f64 = 40_000.0;

/// Delays of one path.
#[derive(Debug)]
pub(super) struct OneWayDelay {
    /// Lowest `arrival - sent` of this span and of the one before, in microseconds; [`i64::MAX`] where nothing came.
    lowest: [i64; 2],
    /// Highest `arrival - now`: with the lowest delay it brackets the offset between the clocks. [`i64::MIN`] where
    /// nothing came.
    latest: [i64; 2],
    span_ends: OurTime,
    held_since: Option<OurTime>,
    last_queue_us: Option<i64>,
    /// Of the last packet.
    above_lowest_us: i64,
    noise_us: f64,
    jitter: Jitter,
    floor: Floor,
    /// Has been found since [`Self::take_longer_route`].
    route_is_longer: bool,
    impossible_in_a_row: u32,
}

impl OneWayDelay {
    pub(super) fn new(now: OurTime) -> Self {
        OneWayDelay {
            lowest: [i64::MAX; 2],
            latest: [i64::MIN; 2],
            span_ends: now.plus(BASE_SPAN),
            held_since: None,
            last_queue_us: None,
            above_lowest_us: 0,
            noise_us: 1_000.0,
            jitter: Jitter::new(),
            floor: Floor::new(now),
            route_is_longer: false,
            impossible_in_a_row: 0,
        }
    }

    /// Whether a packet sent at `sent` can have arrived at `arrival`, given what was claimed before: not before it was
    /// sent, and not after its report got here.
    pub(super) fn is_possible(&self, now: OurTime, sent: OurTime, arrival: ReceiverTime) -> bool {
        let one_way = arrival.0.saturating_sub(sent.0);
        let back = arrival.0.saturating_sub(now.0);
        let (lowest, latest) = (self.lowest(), self.latest[0].max(self.latest[1]));
        one_way >= latest.saturating_sub(SLACK_US) && back <= lowest.saturating_add(SLACK_US)
    }

    /// Takes a packet that [`Self::is_possible`] and whose own transmission takes `transmission` at the bottleneck;
    /// returns how long it queued.
    pub(super) fn observe(&mut self, now: OurTime, packet: &Acked, transmission: Duration) -> Duration {
        if now >= self.span_ends {
            self.span_ends = now.plus(BASE_SPAN);
            self.lowest = [i64::MAX, self.lowest[0]];
            self.latest = [i64::MIN, self.latest[0]];
        }
        self.jitter.add(packet, transmission);
        let one_way = packet.arrival.0.saturating_sub(packet.sent.0);
        let back = packet.arrival.0.saturating_sub(now.0);
        self.lowest[0] = self.lowest[0].min(one_way);
        self.latest[0] = self.latest[0].max(back);
        if let Some(longer) = self.floor.longer(now, one_way, self.lowest()) {
            self.lowest = [longer, i64::MAX];
            self.route_is_longer = true;
        }
        let above_lowest = one_way.saturating_sub(self.lowest());
        self.above_lowest_us = above_lowest;
        let queue_us = above_lowest.saturating_sub(transmission.min(MAX_TRANSMISSION).as_micros() as i64).max(0);
        if let Some(last) = self.last_queue_us.replace(queue_us) {
            let change = (queue_us.saturating_sub(last)).unsigned_abs() as f64;
            self.noise_us += 0.02 * (change.min(NOISE_CAP_US) - self.noise_us);
        }
        Duration::from_micros(queue_us.unsigned_abs())
    }

    /// A packet was lost.
    pub(super) fn on_loss(&mut self) {
        self.floor.on_loss();
    }

    /// Whether the route was found to be longer since the last call: what passed for a queue before was none.
    pub(super) fn take_longer_route(&mut self) -> bool {
        std::mem::take(&mut self.route_is_longer)
    }

    fn lowest(&self) -> i64 {
        self.lowest[0].min(self.lowest[1])
    }

    /// By how much the last packet's delay was above the lowest: its queue and its own transmission.
    pub(super) fn above_lowest(&self) -> Duration {
        Duration::from_micros(self.above_lowest_us.unsigned_abs())
    }

    /// The queue is somebody else's and may never be empty: what is known of the path without it is kept, for a while.
    pub(super) fn hold_base(&mut self, now: OurTime) {
        let since = *self.held_since.get_or_insert(now);
        if now.saturating_since(since) < MAX_HOLD {
            self.span_ends = self.span_ends.max(now.plus(BASE_SPAN));
        }
    }

    /// The queue is ours again.
    pub(super) fn release_base(&mut self) {
        self.held_since = None;
    }

    /// Delay above which a packet has queued rather than jittered.
    pub(super) fn queue_threshold(&self) -> Duration {
        let held = self.jitter.held().map_or(0.0, |held| (DEVIATIONS * held.as_micros() as f64).min(MOST_HELD_US));
        Duration::from_micros((DEVIATIONS * self.noise_us).max(held).max(LEAST_QUEUE_US) as u64)
    }

    /// By how much delays vary on a path that jitters; `None` where queues alone make them vary.
    pub(super) fn spread(&self) -> Option<Duration> {
        self.jitter.held().map(|_| self.queue_threshold())
    }

    /// Ends a feedback. `true`: the receiver's clock was set anew, and all that was measured on it is void.
    pub(super) fn end_feedback(&mut self, now: OurTime, possible: usize, impossible: usize) -> bool {
        if impossible == 0 || possible > 0 {
            self.impossible_in_a_row = 0;
            return false;
        }
        self.impossible_in_a_row += 1;
        let resync = self.impossible_in_a_row >= RESYNC_AFTER;
        if resync {
            *self = OneWayDelay::new(now);
        }
        resync
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1000;

    fn acked(sent: OurTime, arrival: i64) -> Acked {
        Acked { sent, arrival: ReceiverTime(arrival), bytes: 1000 }
    }

    #[test]
    fn queueing_is_measured_above_the_lowest_delay_whatever_the_clock_offset() {
        let start = OurTime(0);
        for offset in [0, -7_000_000_000, 7_000_000_000] {
            let mut delay = OneWayDelay::new(start);
            let now = OurTime(100 * MS);
            assert_eq!(delay.observe(now, &acked(start, offset + 50 * MS), Duration::ZERO), Duration::ZERO);
            let later = acked(start, offset + 80 * MS);
            assert_eq!(delay.observe(now, &later, Duration::ZERO), Duration::from_millis(30));
            assert_eq!(delay.observe(now, &later, Duration::from_millis(10)), Duration::from_millis(20));
        }
    }

    #[test]
    fn an_arrival_before_sending_or_after_its_report_is_impossible() {
        let start = OurTime(0);
        let mut delay = OneWayDelay::new(start);
        let report = OurTime(100 * MS);
        delay.observe(report, &acked(start, 50 * MS), Duration::ZERO);
        let (sent, now) = (OurTime(500 * MS), OurTime(600 * MS));
        assert!(delay.is_possible(now, sent, ReceiverTime(550 * MS)));
        assert!(!delay.is_possible(now, sent, ReceiverTime(400 * MS)), "arrived before it was sent");
        assert!(!delay.is_possible(now, sent, ReceiverTime(700 * MS)), "arrived after it was reported");
    }

    #[test]
    fn a_clock_set_anew_is_accepted_only_after_several_feedbacks() {
        let start = OurTime(0);
        let mut delay = OneWayDelay::new(start);
        delay.observe(start, &acked(start, 0), Duration::ZERO);
        let resyncs: Vec<bool> = (0..4).map(|_| delay.end_feedback(start, 0, 5)).collect();
        assert_eq!(resyncs, [false, false, false, true]);
        assert!(delay.is_possible(start, start, ReceiverTime(i64::MAX / 2)));
    }
}
