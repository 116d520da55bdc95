//! The FIFO queue in front of the bottleneck: what has joined and not departed.

use std::collections::VecDeque;

use crate::{QueueLimit, micros};

pub(crate) struct Queue {
    limit: QueueLimit,
    /// In the order of departure.
    packets: VecDeque<Queued>,
    /// Bytes that ever joined.
    joined: u64,
    last_departure: u64,
}

struct Queued {
    departs: u64,
    /// Bytes that had joined before this packet.
    before: u64,
}

impl Queue {
    pub(crate) fn new(limit: QueueLimit) -> Queue {
        Queue { limit, packets: VecDeque::new(), joined: 0, last_departure: 0 }
    }

    /// Whether there is room for a packet, where the queue drains at `rate` bits per second.
    pub(crate) fn has_room(&self, now: u64, bytes: usize, rate: Option<u64>) -> bool {
        let queued = self.bytes(now);
        if queued == 0 {
            return true;
        }
        let after = queued + bytes as u64;
        match (self.limit, rate) {
            (QueueLimit::Unlimited, _) => true,
            (QueueLimit::Bytes(limit), _) => after <= limit,
            (QueueLimit::Time(limit), Some(rate)) => {
                u128::from(after) * 8_000_000 <= u128::from(rate) * limit.as_micros()
            }
            (QueueLimit::Time(limit), None) => self.delay(now) <= micros(limit),
        }
    }

    pub(crate) fn join(&mut self, now: u64, bytes: usize, departs: u64) {
        while self.packets.front().is_some_and(|first| first.departs <= now) {
            self.packets.pop_front();
        }
        self.packets.push_back(Queued { departs, before: self.joined });
        self.joined += bytes as u64;
        self.last_departure = departs;
    }

    /// Bytes that have not departed, with the whole packet in service.
    pub(crate) fn bytes(&self, now: u64) -> u64 {
        let departed = self.packets.partition_point(|packet| packet.departs <= now);
        self.packets.get(departed).map_or(0, |first| self.joined - first.before)
    }

    /// Microseconds until the queue is empty, if nothing more joins.
    pub(crate) fn delay(&self, now: u64) -> u64 {
        self.last_departure.saturating_sub(now)
    }
}
