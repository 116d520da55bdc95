//! Packets that arrive together though they left one after the other: held up behind the bottleneck and sent on in a
//! burst, as Wi-Fi and mobile networks do, or overtaken there. A bottleneck lets one packet through after the other, so
//! this is no queue, and what delays vary by is noise.

use super::feedback::{Acked, OurTime, ReceiverTime};
use std::time::Duration;

/// Weight of the latest packet in the share that arrives together, and of the latest burst in how long they are held
/// up: one of so many.
const WEIGHTS: (i64, i64) = (50, 20);
/// All packets.
const ALL: i64 = 1_000_000;
/// From this share of packets on the path jitters.
const SHARE: i64 = ALL * 15 / 100;
/// What takes less time at the bottleneck may arrive with another by the resolution of the receiver's clock.
const RESOLVED: Duration = Duration::from_millis(1);
/// Longer bursts come after a standstill, which is no jitter. In microseconds.
const LONGEST_US: i64 = 100_000;

/// The jitter of one path.
#[derive(Debug)]
pub(super) struct Jitter {
    /// Arrival of the packet before.
    last: ReceiverTime,
    /// Share of packets that arrived with the one before or ahead of it, of [`ALL`].
    together: i64,
    /// When the first and the last packet of the present burst were sent.
    burst: [OurTime; 2],
    /// How long the first packet of a burst is held up on the mean, in microseconds.
    held_us: i64,
}

impl Jitter {
    pub(super) fn new() -> Self {
        Jitter { last: ReceiverTime(i64::MIN), together: 0, burst: [OurTime(0); 2], held_us: 0 }
    }

    /// Takes a packet, in the order of sending; its own transmission takes `transmission` at the bottleneck.
    pub(super) fn add(&mut self, packet: &Acked, transmission: Duration) {
        let together = packet.arrival <= std::mem::replace(&mut self.last, packet.arrival);
        let [first, last] = self.burst;
        if together {
            if transmission < RESOLVED {
                return;
            }
            self.burst = [first, packet.sent];
            if packet.sent.us_since(first) > LONGEST_US {
                return;
            }
        } else {
            if last != first {
                self.note_burst(last.us_since(first));
            }
            self.burst = [packet.sent; 2];
        }
        let counted = if together { ALL } else { 0 };
        self.together += (counted - self.together) / WEIGHTS.0;
    }

    fn note_burst(&mut self, held_us: i64) {
        if held_us <= LONGEST_US {
            self.held_us += (held_us - self.held_us) / WEIGHTS.1;
        }
    }

    /// How long packets are held up on the mean; `None` where the path does not jitter so.
    pub(super) fn held(&self) -> Option<Duration> {
        (self.together >= SHARE).then(|| Duration::from_micros(self.held_us.unsigned_abs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told after 500 packets, sent every 4 ms, that arrive at these milliseconds.
    fn held(arrival_ms: impl Fn(i64) -> i64, transmission: Duration) -> Option<Duration> {
        let mut jitter = Jitter::new();
        for i in 0..500 {
            let arrival = ReceiverTime(1000 * arrival_ms(i));
            jitter.add(&Acked { sent: OurTime(4000 * i), arrival, bytes: 1000 }, transmission);
        }
        jitter.held()
    }

    #[test]
    fn bursts_tell_how_long_their_first_packets_were_held_up() {
        let of_six = |i: i64| 24 * (i / 6 + 1);
        let told = held(of_six, 2 * RESOLVED).map_or(0, |held| held.as_millis());
        assert!((19..=20).contains(&told), "{told} ms");
    }

    #[test]
    fn packets_one_after_the_other_do_not_jitter_however_long_they_queue() {
        assert_eq!(held(|i| 4 * i, 2 * RESOLVED), None);
        assert_eq!(held(|i| 8 * i, 2 * RESOLVED), None, "a queue grows");
        assert_eq!(
            held(|i| if i % 20 == 7 { 4 * i - 4 } else { 4 * i }, 2 * RESOLVED),
            None,
            "one of twenty is overtaken"
        );
    }

    #[test]
    fn a_standstill_is_forgotten_a_quarter_of_a_second_later() {
        let stands_still = |i: i64| if (305..430).contains(&i) { 4 * 430 } else { 4 * i };
        assert_eq!(held(stands_still, 2 * RESOLVED), None);
    }

    #[test]
    fn on_a_fast_link_packets_arrive_together_by_the_clock_alone() {
        assert_eq!(held(|i| 8 * (i / 2), RESOLVED / 2), None);
        assert!(held(|i| 8 * (i / 2), RESOLVED).is_some());
    }
}
