//! Spreads what a client sends (as libwebrtc's `PacingController`).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Media is sent this much faster than its rate, or than what congestion control allows it, as in libwebrtc.
pub(super) const PACING_FACTOR: f64 = 2.5;
/// What waits longer than this on the mean is sent faster than the pace.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The packets that wait for their turn.
#[derive(Debug, Default)]
pub(super) struct Pacer {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// No packet leaves before.
    next: Option<Instant>,
}

/// A packet that waits.
#[derive(Debug)]
struct Waiting {
    packet: Vec<u8>,
    resends: Option<Resent>,
    since: Instant,
}

/// Which packet a retransmission repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Resent {
    /// Place of its track.
    pub track: usize,
    /// Place of its encoding.
    pub encoding: usize,
    /// Its number.
    pub seq: u16,
}

impl Pacer {
    /// New media: behind all others.
    pub(super) fn push(&mut self, now: Instant, packet: Vec<u8>) {
        self.bytes += packet.len();
        self.waiting.push_back(Waiting { packet, resends: None, since: now });
    }

    /// A retransmission: before all others.
    pub(super) fn push_first(&mut self, now: Instant, packet: Vec<u8>, resends: Resent) {
        self.bytes += packet.len();
        self.waiting.push_front(Waiting { packet, resends: Some(resends), since: now });
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether a packet may leave, if there is one.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.next.is_none_or(|at| at <= now)
    }

    /// When a packet may leave, if there is one.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    /// The next packet, and what it repeats; the one behind it leaves by `pace` bit/s.
    pub(super) fn poll(&mut self, now: Instant, pace: f64) -> Option<(Vec<u8>, Option<Resent>)> {
        let pace = pace.max(self.draining(now));
        let Waiting { packet, resends, .. } = self.waiting.pop_front()?;
        self.bytes -= packet.len();
        let took = Duration::from_secs_f64(packet.len() as f64 * 8.0 / pace);
        self.next = Some(self.next.map_or(now, |at| at.max(now)) + took);
        Some((packet, resends))
    }

    /// The rate in bit/s by which nothing waits too long.
    fn draining(&self, now: Instant) -> f64 {
        let waited: Duration = self.waiting.iter().map(|waiting| now.saturating_duration_since(waiting.since)).sum();
        let mean = waited / self.waiting.len().max(1) as u32;
        self.bytes as f64 * 8.0 / LONGEST_WAIT.saturating_sub(mean).max(Duration::from_millis(1)).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_spread_and_what_waits_too_long_leaves_faster() {
        let (mut pacer, mut now) = (Pacer::default(), Instant::now());
        for _ in 0..400 {
            pacer.push(now, vec![0; 1000]);
        }
        let repeats = Resent { track: 1, encoding: 2, seq: 3 };
        pacer.push_first(now, vec![0; 1000], repeats);
        assert_eq!(pacer.poll(now, 8_000_000.0).unwrap().1, Some(repeats));
        assert!(!pacer.is_due(now) && pacer.is_due(now + Duration::from_millis(1)), "1000 bytes by 8 Mb/s");
        let start = now;
        while !pacer.is_empty() {
            now = pacer.poll_timeout().unwrap();
            pacer.poll(now, 100_000.0);
        }
        let took = now - start;
        assert!((Duration::from_secs(1)..Duration::from_secs(3)).contains(&took), "{took:?}; by the pace it were 32 s");
    }
}
