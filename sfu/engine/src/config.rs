//! What the engine must be told before it starts: addresses, limits, rates, and where its clock stands.

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
    /// Every local ICE user fragment starts with this, so that a datagram can be routed to its shard (RFC 8445 section 5.3 characters).
    pub ufrag_prefix: String,
    /// Caps on what one participant can make the engine hold.
    pub limits: Limits,
    /// Rates of the downlink estimator.
    pub rates: DownlinkRates,
    /// How many talkers of a room are heard at once.
    pub max_talkers: usize,
    /// Ties the monotonic clock to the wall clock, for sender reports.
    pub wall_clock: WallClock,
    /// For the metric of what choosing layers takes, and for nothing else: no decision goes by it. None in virtual time.
    pub stopwatch: Option<fn() -> Instant>,
}

/// Caps on what one participant can make the engine hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// m= sections in one offer.
    pub sections_per_offer: usize,
    /// Tracks published at the same time.
    pub tracks_per_participant: usize,
    /// Video slots that the server asks a client for.
    pub video_slots: usize,
    /// Tracks that one participant may state preferences for.
    pub preferences: usize,
    /// What one participant may send on its data channels, on average; a second's worth at once.
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

/// Rates of the downlink estimator.
#[derive(Clone, Copy, Debug)]
pub struct DownlinkRates {
    /// Before anything is known about the link.
    pub start: Bitrate,
    /// The estimate never falls below this.
    pub min: Bitrate,
    /// The estimate never rises above this.
    pub max: Bitrate,
}

impl Default for DownlinkRates {
    fn default() -> Self {
        DownlinkRates { start: Bitrate::kbps(500), min: Bitrate::kbps(30), max: Bitrate::kbps(50_000) }
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
            rates: DownlinkRates::default(),
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
