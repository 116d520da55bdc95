//! Arrival groups: packets sent within 5 ms, or that arrived in one burst, are one sample of the delay gradient
//! (draft-ietf-rmcat-gcc-02 section 5.2).

use super::feedback::{Acked, OurTime, ReceiverTime};

const SEND_BURST_US: i64 = 5_000;
const ARRIVAL_BURST_US: i64 = 5_000;
/// A burst longer than this is a queue draining, which the trend must see.
const MAX_BURST_US: i64 = 100_000;

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
    first_sent: OurTime,
    last_sent: OurTime,
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
        let sent_ms = finished.last_sent.us_since(previous.last_sent).max(0) as f64 / 1e3;
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
        if packet.sent.us_since(self.first_sent) <= SEND_BURST_US {
            return true;
        }
        let apart_us = packet.arrival.us_since(self.last_arrival);
        let caught_up = apart_us < packet.sent.us_since(self.last_sent).max(0) && apart_us <= ARRIVAL_BURST_US;
        caught_up && packet.arrival.us_since(self.first_arrival) < MAX_BURST_US
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(packets: &[(i64, i64)]) -> Vec<(f64, f64)> {
        let mut groups = ArrivalGroups::default();
        let acked = |&(sent_ms, arrival_ms): &(i64, i64)| Acked {
            sent: OurTime(1000 * sent_ms),
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
