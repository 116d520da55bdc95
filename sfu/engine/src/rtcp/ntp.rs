//! NTP timestamps as RTCP carries them (RFC 3550 section 4), and the round trip that they measure.

use std::time::Duration;

/// Seconds since 1900 in 32.32 fixed point; for clocks without a date, since any origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NtpTime(pub u64);

impl NtpTime {
    /// From whole microseconds since the clock's origin.
    pub fn from_micros(us: u64) -> NtpTime {
        NtpTime((u128::from(us) << 32).div_ceil(1_000_000) as u64)
    }

    /// Whole microseconds since the clock's origin, rounded down: at most 2^52.
    pub fn as_micros(self) -> i64 {
        ((u128::from(self.0) * 1_000_000) >> 32) as i64
    }

    /// The middle 32 bits, in 1/65536 s: what LSR, LRR and their echoes carry.
    pub fn compact(self) -> u32 {
        (self.0 >> 16) as u32
    }
}

/// The round trip that a report measures (RFC 3550 section 6.4.1): `now` is our clock when it arrived, `last` the
/// compact time it echoes, `delay` how long the other side kept it, in 1/65536 s. `None` where nothing is echoed
/// (`last` 0), or where the numbers make no sense: a negative round trip, or one above a minute.
pub fn round_trip(now: NtpTime, last: u32, delay: u32) -> Option<Duration> {
    const LONGEST: u32 = 60 << 16;
    // A tick of rounding on each side may make a very short round trip look negative.
    const ROUNDING: i32 = -4;
    let ticks = now.compact().wrapping_sub(last).wrapping_sub(delay);
    match ticks as i32 {
        _ if last == 0 => None,
        negative if negative < ROUNDING => None,
        ..=0 => Some(Duration::ZERO),
        _ if ticks > LONGEST => None,
        _ => Some(Duration::from_nanos((u64::from(ticks) * 1_000_000_000) >> 16)),
    }
}
