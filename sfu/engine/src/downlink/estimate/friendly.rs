//! What a TCP connection would get that meets the same loss and round trip (RFC 5348): no less is ours beside one.
//!
//! Only used while the bottleneck is shared with somebody who fills its queue. That somebody loses packets as we do, by
//! its own doing; who takes these losses for the end of the link gives way without end.

use super::feedback::OurTime;
use crate::units::Bitrate;
use std::time::Duration;

/// Loss intervals that count, and how much, newest first (RFC 5348 section 5.4).
const WEIGHTS: [f64; 8] = [1.0, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2];
/// Segment of the TCP connection that is compared with, in bits.
const SEGMENT_BITS: f64 = 1200.0 * 8.0;
/// Retransmission timeout over the round trip (section 4.3, with a floor as TCP has it).
const TIMEOUT_ROUND_TRIPS: f64 = 4.0;

/// The packets between loss events. Losses within one round trip are one event.
#[derive(Debug, Default)]
pub(super) struct FriendlyRate {
    /// When the packet was sent that began the last event.
    event: Option<OurTime>,
    /// Packets since.
    open: u32,
    /// Packets between the events before, newest first.
    closed: [u32; WEIGHTS.len()],
}

impl FriendlyRate {
    /// A packet sent at `sent` was reported for the first time.
    pub(super) fn observe(&mut self, sent: OurTime, lost: bool, rtt: Duration) {
        self.open = self.open.saturating_add(1);
        let same = self.event.is_some_and(|event| sent < event.plus(rtt));
        if !lost || same {
            return;
        }
        if self.event.replace(sent).is_some() {
            self.closed.rotate_right(1);
            if let Some(newest) = self.closed.first_mut() {
                *newest = self.open;
            }
        }
        self.open = 0;
    }

    /// The rate, for this round trip with its queue; `None` before the second event.
    pub(super) fn rate(&self, rtt: Duration) -> Option<Bitrate> {
        let rate = self.loss_event_rate()?;
        let rtt = rtt.as_secs_f64().max(0.01);
        let backed_off =
            TIMEOUT_ROUND_TRIPS * (3.0 * (3.0 * rate / 8.0).sqrt()).min(1.0) * rate * (1.0 + 32.0 * rate * rate);
        let seconds_per_packet = rtt * ((2.0 * rate / 3.0).sqrt() + backed_off);
        Some(Bitrate::bps((SEGMENT_BITS / seconds_per_packet) as u64))
    }

    /// One over the mean interval; the open one counts where that makes the mean longer.
    fn loss_event_rate(&self) -> Option<f64> {
        let known = self.closed.iter().filter(|packets| **packets > 0).count();
        if known == 0 {
            return None;
        }
        let mean = |intervals: &mut dyn Iterator<Item = u32>| {
            let (sum, weights) =
                intervals.zip(WEIGHTS).take(known).fold((0.0, 0.0), |(sum, weights), (packets, weight)| {
                    (sum + weight * f64::from(packets), weights + weight)
                });
            sum / weights
        };
        let closed = mean(&mut self.closed.iter().copied());
        let with_open = mean(&mut std::iter::once(self.open).chain(self.closed.iter().copied()));
        Some(1.0 / closed.max(with_open).max(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(100);

    /// One packet per millisecond; every one of `every` is lost, and the two behind it.
    fn run(every: u32, packets: u32) -> FriendlyRate {
        let mut friendly = FriendlyRate::default();
        for i in 0..packets {
            friendly.observe(OurTime(1000 * i64::from(i)), i % every < 3, RTT);
        }
        friendly
    }

    #[test]
    fn the_rate_is_that_of_the_equation_and_losses_of_one_round_trip_count_once() {
        // p = 0.001, R = 0.1 s: sqrt(2p/3) = 0.0258, and 4 * 0.0581 * p: 38.4 packets per round trip.
        let rate = run(1000, 10_001).rate(RTT).map(|rate| rate.as_bps() / 1000);
        assert_eq!(rate, Some(3684));
        assert_eq!(run(1000, 900).rate(RTT), None, "one event");
    }

    #[test]
    fn a_long_time_without_loss_raises_it_and_losses_lower_it() {
        let rate = |friendly: FriendlyRate| friendly.rate(RTT);
        assert!(rate(run(1000, 20_900)) <= rate(run(1000, 20_000)));
        assert!(rate(run(500, 20_000)) < rate(run(1000, 20_000)));
        let mut quiet = run(1000, 8_003);
        let before = quiet.rate(RTT);
        (0..5000).for_each(|_| quiet.observe(OurTime(9_000_000), false, RTT));
        assert!(quiet.rate(RTT) > before);
    }
}
