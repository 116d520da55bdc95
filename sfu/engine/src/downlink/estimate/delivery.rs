//! How fast packets reach the receiver: over a fixed window, and over the time for which the bottleneck has been busy.
//!
//! A rate is never higher than the one at which the same packets were sent, so compressed or invented arrival times gain
//! nothing.

use super::feedback::{Acked, ReceiverTime};
use crate::units::Bitrate;
use std::collections::VecDeque;
use std::time::Duration;

const MAX_PACKETS: usize = 1024;
const MAX_SPAN_US: i64 = 1_000_000;
/// The window of [`Delivery::rate`] grows from the first to the second until it holds enough packets.
const WINDOW_US: (i64, i64) = (500_000, 1_000_000);
const WINDOW_PACKETS: usize = 10;
/// A busy period is measured over its latest part only.
const BUSY_MAX_US: i64 = 500_000;
const BUSY_MIN_MS: f64 = 20.0;
const BUSY_PACKETS: usize = 5;
/// Loss beyond this is not presumed to be somewhere else than at the bottleneck.
const MAX_STRAY: f32 = 0.3;
/// Packets that arrive together count as spread over this.
const LEAST_SPAN_MS: f64 = 10.0;

/// Recently delivered packets, in order of arrival.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    packets: VecDeque<Delivered>,
    marked: Option<ReceiverTime>,
}

#[derive(Clone, Copy, Debug)]
struct Delivered {
    arrival: ReceiverTime,
    /// [`OurTime`](super::feedback::OurTime) modulo 2^32; only differences are used.
    sent_us: u32,
    bytes: u32,
    queue_us: u32,
}

// A second's packets are kept, for each receiver.
const _: () = assert!(size_of::<Delivered>() <= 24);

/// What a bottleneck with a queue in front of it lets through.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Busy {
    /// Its rate.
    pub(super) rate: Bitrate,
    /// How many times as fast as that the packets were sent.
    pub(super) overload: f64,
}

impl Busy {
    /// The same where, besides, this share is lost elsewhere on the path: it passes the bottleneck too.
    pub(super) fn beside(self, stray_loss: f32) -> Busy {
        Busy { rate: self.rate.scale(1.0 / (1.0 - f64::from(stray_loss.clamp(0.0, MAX_STRAY)))), ..self }
    }
}

impl Delivery {
    /// Takes a delivered packet and how long it waited in the bottleneck's queue.
    pub(super) fn add(&mut self, packet: &Acked, queue: Duration) {
        let limited = |number: u128| u32::try_from(number).unwrap_or(u32::MAX);
        let (bytes, queue_us) = (limited(packet.bytes as u128), limited(queue.as_micros()));
        let new = Delivered { arrival: packet.arrival, sent_us: packet.sent.0 as u32, bytes, queue_us };
        // First, or the deque would make room for twice as many.
        if self.packets.len() >= MAX_PACKETS {
            self.packets.pop_front();
        }
        match self.packets.iter().rev().take_while(|p| p.arrival > new.arrival).count() {
            0 => self.packets.push_back(new),
            later => self.packets.insert(self.packets.len() - later, new),
        }
        let newest = self.packets.back().map_or(new.arrival, |p| p.arrival);
        while self.packets.front().is_some_and(|p| newest.us_since(p.arrival) > MAX_SPAN_US) {
            self.packets.pop_front();
        }
    }

    /// Rate over the last half second, or as long as it takes to see ten packets; `None` before there is that much.
    pub(super) fn rate(&self) -> Option<Bitrate> {
        let newest = self.packets.back()?;
        let mut span = Span::new(newest);
        for packet in self.packets.iter().rev() {
            let age_us = newest.arrival.us_since(packet.arrival);
            if age_us > WINDOW_US.1 || (age_us > WINDOW_US.0 && span.packets > WINDOW_PACKETS) {
                break;
            }
            span.add(packet);
        }
        (span.packets >= WINDOW_PACKETS).then(|| span.rate()).flatten()
    }

    /// Rate of the bottleneck over the packets that all queued for longer than `threshold`, up to the newest; `None` while
    /// it is not clearly busy.
    pub(super) fn busy(&self, threshold: Duration) -> Option<Busy> {
        let newest = self.packets.back()?;
        let mut span = Span::new(newest);
        for packet in self.packets.iter().rev() {
            let queued = u128::from(packet.queue_us) > threshold.as_micros();
            if !queued || newest.arrival.us_since(packet.arrival) > BUSY_MAX_US {
                break;
            }
            span.add(packet);
        }
        if span.packets < BUSY_PACKETS || span.arrival_ms() < BUSY_MIN_MS {
            return None;
        }
        Some(Busy { rate: span.rate()?, overload: span.arrival_ms() / span.sent_ms().max(1.0) })
    }

    /// Remembers this moment for [`Self::since_mark`].
    pub(super) fn mark(&mut self) {
        self.marked = self.packets.back().map(|p| p.arrival);
    }

    /// Rate at which packets arrived after the mark; `None` for too few. It is the receiver's own account and is meant for
    /// telling what was *not* a bottleneck.
    pub(super) fn since_mark(&self) -> Option<Bitrate> {
        let marked = self.marked?;
        let after = self.packets.iter().rev().take_while(|p| p.arrival > marked);
        let (packets, bytes) = after.fold((0, 0), |(packets, bytes), p| (packets + 1, bytes + u64::from(p.bytes)));
        let ms = self.packets.back()?.arrival.ms_since(marked).max(LEAST_SPAN_MS);
        (packets >= BUSY_PACKETS).then(|| Bitrate::of(bytes, Duration::from_secs_f64(ms / 1e3)))
    }

    /// Forgets everything: the receiver's clock or the path is another.
    pub(super) fn reset(&mut self) {
        *self = Delivery::default();
    }
}

/// Packets from the newest backwards.
struct Span {
    packets: usize,
    bytes: u64,
    newest: Delivered,
    oldest: Delivered,
    /// How long before and after the newest packet the others were sent, in microseconds.
    sent: (i32, i32),
}

impl Span {
    fn new(newest: &Delivered) -> Self {
        Span { packets: 0, bytes: 0, newest: *newest, oldest: *newest, sent: (0, 0) }
    }

    fn add(&mut self, packet: &Delivered) {
        self.packets += 1;
        self.bytes += u64::from(packet.bytes);
        self.oldest = *packet;
        let after = packet.sent_us.wrapping_sub(self.newest.sent_us).cast_signed();
        self.sent = (self.sent.0.min(after), self.sent.1.max(after));
    }

    fn arrival_ms(&self) -> f64 {
        self.newest.arrival.ms_since(self.oldest.arrival)
    }

    fn sent_ms(&self) -> f64 {
        f64::from(self.sent.1.abs_diff(self.sent.0)) / 1e3
    }

    /// The oldest packet marks the start of the time; its bytes were delivered before.
    fn rate(&self) -> Option<Bitrate> {
        let bytes = self.bytes.saturating_sub(u64::from(self.oldest.bytes));
        let ms = self.arrival_ms().max(self.sent_ms());
        (ms >= 1.0).then(|| Bitrate::of(bytes, Duration::from_secs_f64(ms / 1e3)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::feedback::OurTime;
    use super::*;

    /// `count` packets of 1000 bytes, spaced as told at both ends.
    fn delivered(count: i64, sent_every_us: i64, arrive_every_us: i64, queue_ms: u64) -> Delivery {
        let mut delivery = Delivery::default();
        for i in 0..count {
            let sent = OurTime(sent_every_us * i);
            delivery.add(
                &Acked { sent, arrival: ReceiverTime(i * arrive_every_us), bytes: 1000 },
                Duration::from_millis(queue_ms),
            );
        }
        delivery
    }

    #[test]
    fn the_rate_is_the_slower_of_sending_and_arriving() {
        assert_eq!(delivered(100, 8_000, 8_000, 0).rate(), Some(Bitrate::kbps(1000)));
        assert_eq!(delivered(100, 8_000, 16_000, 0).rate(), Some(Bitrate::kbps(500)));
        assert_eq!(delivered(100, 8_000, 1, 0).rate(), Some(Bitrate::kbps(1000)), "arrivals claimed too close");
    }

    #[test]
    fn a_bottleneck_is_measured_while_it_is_busy_only() {
        assert_eq!(delivered(100, 8_000, 16_000, 0).busy(Duration::from_millis(20)), None);
        let busy = delivered(100, 4_000, 16_000, 30).busy(Duration::from_millis(20)).unwrap();
        assert_eq!((busy.rate, busy.overload), (Bitrate::kbps(500), 4.0));
    }

    #[test]
    fn what_is_lost_elsewhere_has_passed_the_bottleneck_too() {
        let busy = Busy { rate: Bitrate::kbps(800), overload: 1.5 };
        assert_eq!(busy.beside(0.0), busy);
        assert_eq!(busy.beside(0.2).rate.as_bps() / 1000, 1000);
        assert_eq!(busy.beside(0.9), busy.beside(MAX_STRAY), "an end there is");
    }

    #[test]
    fn what_arrives_after_the_mark_is_told_apart() {
        let mut delivery = delivered(100, 8_000, 8_000, 0);
        delivery.mark();
        assert_eq!(delivery.since_mark(), None);
        for i in 0..10 {
            delivery.add(
                &Acked { sent: OurTime(0), arrival: ReceiverTime(800_000 + 100 * i), bytes: 1000 },
                Duration::ZERO,
            );
        }
        assert_eq!(delivery.since_mark(), Some(Bitrate::kbps(8000)));
    }

    #[test]
    fn reordered_arrivals_count_alike() {
        let mut delivery = Delivery::default();
        for i in 0..100i64 {
            let (sent, arrival) = (OurTime(8000 * (i ^ 1)), ReceiverTime(8000 * (i ^ 3)));
            delivery.add(&Acked { sent, arrival, bytes: 1000 }, Duration::ZERO);
        }
        let rate = delivery.rate().unwrap().as_bps();
        assert!((970_000..=1_030_000).contains(&rate), "{rate}");
    }
}
