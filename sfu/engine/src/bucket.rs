//! A token bucket: how much somebody may send.

use crate::units::Bitrate;
use std::time::{Duration, Instant};

/// Holds one second's worth of bytes at most. It may be overdrawn by one message, which is then waited for.
#[derive(Debug)]
pub(crate) struct Bucket {
    bytes_per_second: f64,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    pub(crate) fn new(now: Instant, rate: Bitrate) -> Bucket {
        let bytes_per_second = (rate.as_bps() as f64 / 8.0).max(1.0);
        Bucket { bytes_per_second, tokens: bytes_per_second, at: now }
    }

    /// Whether something may be taken now.
    pub(crate) fn is_open(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.tokens = (self.tokens + elapsed * self.bytes_per_second).min(self.bytes_per_second);
        self.tokens > 0.0
    }

    pub(crate) fn take(&mut self, bytes: usize) {
        self.tokens -= bytes as f64;
    }

    /// When it opens again, where it is shut.
    pub(crate) fn opens_at(&self) -> Option<Instant> {
        let missing = 1.0 - self.tokens;
        (self.tokens <= 0.0).then(|| self.at + Duration::from_secs_f64(missing / self.bytes_per_second))
    }
}
