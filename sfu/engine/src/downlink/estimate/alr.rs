//! How much is being sent, and whether that is less than the estimate allows (the application-limited region).

use crate::units::Bitrate;
use std::time::{Duration, Instant};

const BUCKET_MS: u64 = 50;
const BUCKETS: usize = 10;
/// Below this share of the estimate, delivery proves nothing about a higher rate.
const LIMITED: f64 = 0.75;

/// Bytes sent over the last half second.
#[derive(Debug)]
pub(super) struct SendMeter {
    epoch: Instant,
    buckets: [usize; BUCKETS],
    /// Number of the newest bucket since `epoch`.
    newest: u64,
    last_sent: Option<Instant>,
}

impl SendMeter {
    pub(super) fn new(now: Instant) -> Self {
        SendMeter { epoch: now, buckets: [0; BUCKETS], newest: 0, last_sent: None }
    }

    pub(super) fn add(&mut self, now: Instant, bytes: usize) {
        // Packets leave in bursts of one moment.
        if self.last_sent.replace(now) != Some(now) {
            self.turn(now);
        }
        if let Some(bucket) = self.buckets.get_mut((self.newest % BUCKETS as u64) as usize) {
            *bucket += bytes;
        }
    }

    /// Whether the media does not fill `estimate`.
    pub(super) fn is_app_limited(&mut self, now: Instant, estimate: Bitrate) -> bool {
        self.rate(now) < estimate.scale(LIMITED)
    }

    /// Rate over the last half second.
    pub(super) fn rate(&mut self, now: Instant) -> Bitrate {
        self.turn(now);
        let bytes: usize = self.buckets.iter().sum();
        Bitrate::of(bytes as u64, Duration::from_millis(BUCKET_MS * BUCKETS as u64))
    }

    /// Whether anything was sent within the last `time`.
    pub(super) fn sent_within(&self, now: Instant, time: Duration) -> bool {
        self.last_sent.is_some_and(|last| now.saturating_duration_since(last) <= time)
    }

    /// Empties the buckets whose time has passed.
    fn turn(&mut self, now: Instant) {
        let current = now.saturating_duration_since(self.epoch).as_millis() as u64 / BUCKET_MS;
        let passed = current.saturating_sub(self.newest).min(BUCKETS as u64);
        for i in 1..=passed {
            if let Some(bucket) = self.buckets.get_mut(((self.newest + i) % BUCKETS as u64) as usize) {
                *bucket = 0;
            }
        }
        self.newest = self.newest.max(current);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sending_less_than_three_quarters_of_the_estimate_is_app_limited() {
        let start = Instant::now();
        let mut meter = SendMeter::new(start);
        for i in 0..100 {
            meter.add(start + Duration::from_millis(10 * i), 1000);
        }
        let now = start + Duration::from_millis(995);
        assert!(!meter.is_app_limited(now, Bitrate::kbps(1000)));
        assert!(meter.is_app_limited(now, Bitrate::kbps(1200)));
        assert!(meter.is_app_limited(now + Duration::from_secs(3600), Bitrate::kbps(1)), "nothing for an hour");
    }
}
