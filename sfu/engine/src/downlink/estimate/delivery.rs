//! How fast packets reach the receiver: over a fixed window, and over the time for which the bottleneck has been busy.
//!
//! A rate is never higher than the one at which the same packets were sent, so compressed or invented arrival times
//! gain nothing.

use super::feedback::{Acked, ReceiverTime};
use crate::units::Bitrate;
use prefetch::fetch;
use std::collections::VecDeque;
use std::time::Duration;

const MAX_PACKETS: usize = 1024;
const MAX_SPAN_US: i64 = 1_000_000;
/// The window of [`Delivery::rate`], which grows until it holds enough packets.
const WINDOW_US: i64 = 500_000;
const WINDOW_PACKETS: usize = 10;
/// A busy period is measured over its latest part only.
const BUSY_MAX_US: i64 = 500_000;
const BUSY_MIN_MS: f64 = 20.0;
const BUSY_PACKETS: usize = 5;
/// Loss beyond this is not presumed to be somewhere else than at the bottleneck.
const MAX_STRAY: f32 = 0.3;
/// More than this is not presumed to be dropped by the bottleneck's queue.
const MOST_DROPPED: f32 = 0.9;
/// Packets that arrive together count as spread over this.
const LEAST_SPAN_MS: f64 = 10.0;

/// Recently delivered packets, in order of arrival.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    packets: VecDeque<Delivered>,
    /// When the last of them arrived.
    newest: ReceiverTime,
    /// Those of the last half second; `None` where they have to be counted anew.
    window: Option<Window>,
    marked: Option<ReceiverTime>,
}

/// Times are modulo 2^32; only differences are used.
#[derive(Clone, Copy, Debug)]
struct Delivered {
    arrival_us: u32,
    sent_us: u32,
    bytes: u32,
    queue_us: u32,
}

// A second's packets are kept, for each receiver.
const _: () = assert!(size_of::<Delivered>() <= 16);

/// What [`Delivery::rate`] wants to know of its packets, counted on with each of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Window {
    packets: usize,
    bytes: u64,
    /// Packets that were sent before the one which arrived before them.
    overtaken: usize,
}

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

    /// The same where the full queue dropped this share: what was dropped is not among the packets that tell the
    /// overload.
    pub(super) fn losing(self, dropped: f32) -> Busy {
        Busy { overload: self.overload / (1.0 - f64::from(dropped.clamp(0.0, MOST_DROPPED))), ..self }
    }
}

impl Delivery {
    /// Has fetched the place of the newest packet, beside which the next ones go.
    pub(super) fn prefetch_newest(&self) {
        if let Some(newest) = self.packets.back() {
            fetch(newest);
        }
    }

    /// Takes a delivered packet and how long it waited in the bottleneck's queue.
    pub(super) fn add(&mut self, packet: &Acked, queue: Duration) {
        let limited = |number: u128| u32::try_from(number).unwrap_or(u32::MAX);
        let new = Delivered {
            arrival_us: packet.arrival.0 as u32,
            sent_us: packet.sent.0 as u32,
            bytes: limited(packet.bytes as u128),
            queue_us: limited(queue.as_micros()),
        };
        if self.packets.is_empty() || packet.arrival.us_since(self.newest) > MAX_SPAN_US {
            self.packets.clear();
            self.window = Some(Window::default());
            self.newest = packet.arrival;
        }
        let late_us = self.newest.us_since(packet.arrival);
        if late_us > MAX_SPAN_US {
            return;
        }
        if self.packets.len() >= MAX_PACKETS {
            self.forget_oldest();
        }
        if late_us > 0 {
            let later = self.packets.iter().rev().take_while(|p| self.age_us(p) < late_us).count();
            self.packets.insert(self.packets.len() - later, new);
            self.window = None;
            return;
        }
        self.newest = packet.arrival;
        if let Some(window) = &mut self.window {
            let before = self.packets.back().filter(|_| window.packets > 0);
            window.overtaken += usize::from(before.is_some_and(|before| new.was_overtaken_by(before)));
            window.packets += 1;
            window.bytes += u64::from(new.bytes);
        }
        self.packets.push_back(new);
        while self.packets.front().is_some_and(|p| self.age_us(p) > MAX_SPAN_US) {
            self.forget_oldest();
        }
        self.narrow();
    }

    /// Rate over the last half second, or as long as it takes to see ten packets; `None` before there is that much.
    pub(super) fn rate(&mut self) -> Option<Bitrate> {
        let newest = *self.packets.back()?;
        let window = self.window.unwrap_or_else(|| self.count());
        self.window = Some(window);
        if window.packets > WINDOW_PACKETS && window.overtaken == 0 {
            let oldest = self.packets.get(self.packets.len() - window.packets)?;
            let Window { packets, bytes, .. } = window;
            let sent = (oldest.sent_after(&newest), 0);
            return Span { packets, bytes, newest, oldest: *oldest, sent }.rate();
        }
        let mut span = Span::new(&newest);
        self.packets.iter().rev().take(window.packets.max(WINDOW_PACKETS + 1)).for_each(|packet| span.add(packet));
        (span.packets >= WINDOW_PACKETS).then(|| span.rate()).flatten()
    }

    /// Takes what is too old out of the window.
    fn narrow(&mut self) {
        let is_too_old = |delivery: &Delivery, window: Window| {
            let oldest = delivery.packets.get(delivery.packets.len() - window.packets);
            oldest.is_some_and(|p| delivery.age_us(p) > WINDOW_US)
        };
        while self.window.is_some_and(|window| is_too_old(self, window)) {
            self.leave_window();
        }
    }

    /// Takes the oldest packet out of the window.
    fn leave_window(&mut self) {
        let Some(window) = &mut self.window else { return };
        let mut packets = self.packets.range(self.packets.len() - window.packets..);
        let Some(oldest) = packets.next() else { return };
        window.packets -= 1;
        window.bytes -= u64::from(oldest.bytes);
        window.overtaken -= usize::from(packets.next().is_some_and(|next| next.was_overtaken_by(oldest)));
    }

    fn forget_oldest(&mut self) {
        if self.window.is_some_and(|window| window.packets == self.packets.len()) {
            self.leave_window();
        }
        self.packets.pop_front();
    }

    fn count(&self) -> Window {
        let packets = self.packets.iter().rev().take_while(|p| self.age_us(p) <= WINDOW_US).count();
        let window = || self.packets.range(self.packets.len() - packets..);
        let bytes = window().map(|p| u64::from(p.bytes)).sum();
        let overtaken = window().zip(window().skip(1)).filter(|(before, p)| p.was_overtaken_by(before)).count();
        Window { packets, bytes, overtaken }
    }

    /// How long before the newest a packet arrived.
    fn age_us(&self, packet: &Delivered) -> i64 {
        i64::from((self.newest.0 as u32).wrapping_sub(packet.arrival_us))
    }

    /// Rate of the bottleneck over the packets that all queued for longer than `threshold`, up to the newest; `None`
    /// while it is not clearly busy.
    pub(super) fn busy(&self, threshold: Duration) -> Option<Busy> {
        let newest = self.packets.back()?;
        let mut span = Span::new(newest);
        for packet in self.packets.iter().rev() {
            let queued = u128::from(packet.queue_us) > threshold.as_micros();
            if !queued || self.age_us(packet) > BUSY_MAX_US {
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
        self.marked = Some(self.newest).filter(|_| !self.packets.is_empty());
    }

    /// Rate at which packets arrived after the mark; `None` for too few. It is the receiver's own account and is meant
    /// for telling what was *not* a bottleneck.
    pub(super) fn since_mark(&self) -> Option<Bitrate> {
        let since_us = self.newest.us_since(self.marked?);
        let after = self.packets.iter().rev().take_while(|p| self.age_us(p) < since_us);
        let (packets, bytes) = after.fold((0, 0), |(packets, bytes), p| (packets + 1, bytes + u64::from(p.bytes)));
        let ms = (since_us as f64 / 1e3).max(LEAST_SPAN_MS);
        (packets >= BUSY_PACKETS).then(|| Bitrate::of(bytes, Duration::from_secs_f64(ms / 1e3)))
    }

    /// Forgets everything: the receiver's clock or the path is another.
    pub(super) fn reset(&mut self) {
        *self = Delivery::default();
    }
}

impl Delivered {
    /// How long after another packet it was sent, in microseconds.
    fn sent_after(&self, other: &Delivered) -> i32 {
        self.sent_us.wrapping_sub(other.sent_us).cast_signed()
    }

    /// Whether it was sent before a packet that arrived before it.
    fn was_overtaken_by(&self, before: &Delivered) -> bool {
        self.sent_after(before) < 0
    }
}

/// Packets from the newest backwards.
struct Span {
    packets: usize,
    bytes: u64,
    newest: Delivered,
    oldest: Delivered,
    /// How long after the newest packet the first and the last were sent, in microseconds.
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
        let after = packet.sent_after(&self.newest);
        self.sent = (self.sent.0.min(after), self.sent.1.max(after));
    }

    fn arrival_ms(&self) -> f64 {
        f64::from(self.newest.arrival_us.wrapping_sub(self.oldest.arrival_us)) / 1e3
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

    /// What [`Delivery::rate`] gives is what counting all packets anew would give, however they arrive.
    #[test]
    fn the_window_is_counted_on_as_it_would_be_counted_anew() {
        let mut delivery = Delivery::default();
        let (mut seed, mut arrival, mut sent) = (7u64, 0i64, 0i64);
        let mut random = |most: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as i64 % most as i64
        };
        let mut counted_on = 0;
        for i in 0..20_000 {
            // Long silences, bursts beyond what is remembered, packets that come late or were overtaken.
            arrival += match random(400) {
                0 => 700_000 + random(600_000),
                1..20 => random(40_000),
                _ => random(if i / 4000 % 2 == 0 { 8_000 } else { 300 }),
            };
            sent += random(4_000);
            let late = if random(50) == 0 { random(1_500_000) } else { 0 };
            let overtaken = if random(60) == 0 { random(30_000) } else { 0 };
            let packet = Acked {
                sent: OurTime(sent - overtaken),
                arrival: ReceiverTime(arrival - late),
                bytes: 100 + random(1100) as usize,
            };
            delivery.add(&packet, Duration::ZERO);
            counted_on += usize::from(delivery.window.is_some());
            if let Some(window) = delivery.window {
                assert_eq!(window, delivery.count(), "packet {i}");
            }
            let rate = delivery.rate();
            let newest = *delivery.packets.back().unwrap();
            let in_window = delivery.packets.iter().rev().take_while(|p| delivery.age_us(p) <= WINDOW_US).count();
            let mut span = Span::new(&newest);
            delivery.packets.iter().rev().take(in_window.max(WINDOW_PACKETS + 1)).for_each(|p| span.add(p));
            assert_eq!(rate, (span.packets >= WINDOW_PACKETS).then(|| span.rate()).flatten(), "packet {i}");
        }
        assert!(counted_on > 19_000, "{counted_on}");
    }
}
