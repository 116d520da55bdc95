//! Arrival groups: packets sent within 5 ms, or that arrived in one burst, are one sample of the delay gradient
//! (draft-ietf-rmcat-gcc-02 section 5.2).

use super::feedback::{Acked, ReceiverTime};
use std::time::{Duration, Instant};

const SEND_BURST: Duration = Duration::from_millis(5);
const ARRIVAL_BURST_MS: f64 = 5.0;
/// A burst longer than this is a queue draining, which the trend must see.
const MAX_BURST_MS: f64 = 100.0;

/// How two groups that follow each other are spaced, at both ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spacing {
    /// Between the sending of their last packets, in milliseconds.
    pub(super) sent_ms: f64,
    /// Between the arrival of their last packets, in milliseconds.
    pub(super) arrival_ms: f64,
    /// Arrival of the later group.
    pub(super) at: ReceiverTime,
}

/// Collects packets into groups.
#[derive(Debug, Default)]
pub(super) struct ArrivalGroups {
    current: Option<Group>,
    previous: Option<Group>,
}

#[derive(Clone, Copy, Debug)]
struct Group {
    first_sent: Instant,
    last_sent: Instant,
    first_arrival: ReceiverTime,
    last_arrival: ReceiverTime,
}

impl ArrivalGroups {
    /// Adds a packet, in the order of sending. Returns a sample where it completes a group.
    pub(super) fn add(&mut self, packet: &Acked) -> Option<Spacing> {
        let Some(current) = self.current.as_mut() else {
            self.current = Some(Group::of(packet));
            return None;
        };
        if packet.sent < current.first_sent {
            return None; // a straggler says nothing about the queue now
        }
        if current.takes(packet) {
            current.last_sent = current.last_sent.max(packet.sent);
            current.last_arrival = current.last_arrival.max(packet.arrival);
            return None;
        }
        let finished = *current;
        self.current = Some(Group::of(packet));
        let previous = self.previous.replace(finished)?;
        let arrival_ms = finished.last_arrival.ms_since(previous.last_arrival);
        let sent_ms = finished.last_sent.saturating_duration_since(previous.last_sent).as_secs_f64() * 1e3;
        (arrival_ms >= 0.0).then_some(Spacing { sent_ms, arrival_ms, at: finished.last_arrival })
    }

    /// Forgets everything: the receiver's clock or the path is another.
    pub(super) fn reset(&mut self) {
        *self = ArrivalGroups::default();
    }
}

impl Group {
    fn of(packet: &Acked) -> Group {
        Group {
            first_sent: packet.sent,
            last_sent: packet.sent,
            first_arrival: packet.arrival,
            last_arrival: packet.arrival,
        }
    }

    fn takes(&self, packet: &Acked) -> bool {
        if packet.sent.saturating_duration_since(self.first_sent) <= SEND_BURST {
            return true;
        }
        let apart_ms = packet.arrival.ms_since(self.last_arrival);
        let sent_apart_ms = packet.sent.saturating_duration_since(self.last_sent).as_secs_f64() * 1e3;
        let caught_up = apart_ms < sent_apart_ms && apart_ms <= ARRIVAL_BURST_MS;
        caught_up && packet.arrival.ms_since(self.first_arrival) < MAX_BURST_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(packets: &[(u64, i64)]) -> Vec<(f64, f64)> {
        let (start, mut groups) = (Instant::now(), ArrivalGroups::default());
        let acked = |&(sent_ms, arrival_ms): &(u64, i64)| Acked {
            sent: start + Duration::from_millis(sent_ms),
            arrival: ReceiverTime(arrival_ms * 1000),
            bytes: 1000,
        };
        packets.iter().filter_map(|p| groups.add(&acked(p))).map(|s| (s.sent_ms, s.arrival_ms)).collect()
    }

    #[test]
    fn packets_of_one_burst_are_one_sample() {
        assert_eq!(samples(&[(0, 50), (2, 52), (4, 54), (20, 80), (22, 82), (40, 99)]), [(18.0, 28.0)]);
    }

    #[test]
    fn packets_that_a_stalled_link_delivers_at_once_are_one_sample() {
        assert_eq!(samples(&[(0, 50), (20, 70), (40, 500), (60, 501), (80, 502), (100, 520), (120, 540)]).len(), 3);
    }

    #[test]
    fn stragglers_are_not_samples() {
        assert_eq!(samples(&[(100, 150), (50, 151), (120, 170), (60, 171), (140, 190)]), [(20.0, 20.0)]);
    }
}
