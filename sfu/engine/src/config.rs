//! What the engine must be told before it starts: addresses, limits, rates, and where its clock stands.

use crate::downlink::estimate::EstimatorConfig;
use crate::ids::ShardId;
use crate::rtcp::NtpTime;
use crate::sdp::CandidateAddress;
use crate::units::Bitrate;
use std::time::{Duration, Instant};

/// Settings of one engine. Plain values; a change needs a new engine.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Host candidates for every answer, the preferred ones first.
    pub candidates: Vec<CandidateAddress>,
    /// Which shard of the node this is.
    pub shard: ShardId,
    /// Every local ICE user fragment starts with this, so that a datagram can be routed to its shard. Only the
    /// characters that RFC 8445 section 5.3 allows.
    pub ufrag_prefix: String,
    /// Bounds on how much state one participant can make the engine hold.
    pub limits: Limits,
    /// Where the bandwidth estimate of each receiver starts, and its bounds.
    pub rates: EstimatorConfig,
    /// How many talkers of a room are forwarded at once.
    pub max_talkers: usize,
    /// Ties the monotonic clock to the wall clock, for sender reports (RFC 3550 section 6.4.1).
    pub wall_clock: WallClock,
    /// Measures how long choosing layers takes, for a metric only: no decision depends on it, so that equal input gives
    /// equal output. `None` in virtual time.
    pub stopwatch: Option<fn() -> Instant>,
}

/// Bounds on how much state one participant can make the engine hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most m= sections in one offer.
    pub sections_per_offer: usize,
    /// The most tracks that one participant publishes at the same time.
    pub tracks_per_participant: usize,
    /// The most video slots that the server asks a client for.
    pub video_slots: usize,
    /// The most tracks for which one participant may state preferences.
    pub preferences: usize,
    /// The rate at which one participant may send on its data channels, on average. It may send a second's worth of it
    /// at once.
    pub data_rate: Bitrate,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            sections_per_offer: 128,
            tracks_per_participant: 8,
            video_slots: 49,
            preferences: 2000,
            data_rate: Bitrate::kbps(16_000),
        }
    }
}

/// One instant on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    /// The instant; it must lie before any `now` that the engine is given.
    pub at: Instant,
    /// The same instant as time since the Unix epoch.
    pub unix: Duration,
}

/// Seconds from 1900, where NTP starts, to 1970.
const NTP_TO_UNIX: u64 = 2_208_988_800;

impl WallClock {
    /// Microseconds since [`WallClock::at`]: the engine's own time line, on which capture times lie.
    pub fn micros(&self, now: Instant) -> i64 {
        i64::try_from(now.saturating_duration_since(self.at).as_micros()).unwrap_or(i64::MAX)
    }

    /// `now` as a 64-bit NTP timestamp (RFC 5905): seconds since 1900 in 32.32 fixed point.
    pub fn ntp(&self, now: Instant) -> NtpTime {
        let unix = self.unix + now.saturating_duration_since(self.at);
        let fraction = (u64::from(unix.subsec_nanos()) << 32) / 1_000_000_000;
        NtpTime((unix.as_secs().wrapping_add(NTP_TO_UNIX) << 32) | fraction)
    }
}

impl EngineConfig {
    /// Sane defaults for these addresses, this ufrag prefix and this clock.
    pub fn new(candidates: Vec<CandidateAddress>, ufrag_prefix: impl Into<String>, wall_clock: WallClock) -> Self {
        EngineConfig {
            candidates,
            shard: ShardId::default(),
            ufrag_prefix: ufrag_prefix.into(),
            limits: Limits::default(),
            rates: EstimatorConfig::default(),
            max_talkers: 8,
            wall_clock,
            stopwatch: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ntp_counts_from_1900_in_fixed_point() {
        let at = Instant::now();
        let clock = WallClock { at, unix: Duration::from_secs(1) };
        assert_eq!(clock.ntp(at).0, (NTP_TO_UNIX + 1) << 32);
        assert_eq!(clock.ntp(at + Duration::from_millis(500)).0 & 0xffff_ffff, 1 << 31);
        assert_eq!(clock.micros(at + Duration::from_millis(5)), 5000);
    }
}
