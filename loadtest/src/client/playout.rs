//! When frames go on screen: a playout delay that follows jitter and, where packets are being repaired, leaves time for
//! one round trip, as libwebrtc's timing does.

use sfu_engine::units::RtpTime;
use std::time::{Duration, Instant};

/// RTP clock of video in Hz.
const CLOCK: f64 = 90_000.0;
/// The base follows a path that became longer by so many seconds per second.
const BASE_DRIFT: f64 = 0.05;
/// The delay changes by so many seconds per second at most.
const DELAY_CHANGE: f64 = 0.1;
/// Standard deviations of the frames' delay that are waited for.
const DEVIATIONS: f64 = 2.33;
/// Longest part of the delay that is due to jitter.
const MOST_JITTER_S: f64 = 0.3;
/// A path without repair for so long needs no time for it any more.
const REPAIR_MEMORY: Duration = Duration::from_secs(60);

/// The playout clock of one source.
#[derive(Debug, Default)]
pub(super) struct Playout {
    origin: Option<(Instant, RtpTime)>,
    updated: Option<Instant>,
    /// Arrival of the fastest frames on the time line of their timestamps, in seconds.
    base: f64,
    /// Mean and variance of how much later frames come.
    mean: f64,
    variance: f64,
    delay: f64,
    repaired: Option<Instant>,
}

impl Playout {
    /// Something had to be asked for again.
    pub(super) fn on_repair(&mut self, now: Instant) {
        self.repaired = Some(now);
    }

    /// The first packet of a frame came, by itself.
    pub(super) fn on_frame(&mut self, now: Instant, timestamp: RtpTime, rtt: Option<Duration>) {
        let (start, first) = *self.origin.get_or_insert((now, timestamp));
        let arrival = now.saturating_duration_since(start).as_secs_f64() - f64::from(timestamp.distance(first)) / CLOCK;
        let elapsed = self.updated.replace(now).map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        self.base = (self.base + BASE_DRIFT * elapsed).min(arrival);
        let late = arrival - self.base;
        self.variance += ((late - self.mean).powi(2) - self.variance) / 32.0;
        self.mean += (late - self.mean) / 32.0;
        let repairing = self.repaired.is_some_and(|at| now.saturating_duration_since(at) < REPAIR_MEMORY);
        let repair = rtt.filter(|_| repairing).map_or(0.0, |rtt| rtt.as_secs_f64());
        let wanted = (self.mean + DEVIATIONS * self.variance.sqrt()).min(MOST_JITTER_S) + repair;
        self.delay += (wanted - self.delay).clamp(-DELAY_CHANGE * elapsed, DELAY_CHANGE * elapsed);
    }

    /// When a frame is shown, unless it is late.
    pub(super) fn time_of(&self, timestamp: RtpTime) -> Option<Instant> {
        let (start, first) = self.origin?;
        let at = f64::from(timestamp.distance(first)) / CLOCK + self.base + self.delay;
        Some(start + Duration::from_secs_f64(at.max(0.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steady_frames_are_shown_at_once_and_repair_takes_a_round_trip_of_delay() {
        let start = Instant::now();
        let mut playout = Playout::default();
        let rtt = Some(Duration::from_millis(80));
        let frame = |playout: &mut Playout, number: u32| {
            let (at, timestamp) = (start + Duration::from_millis(40) * number, RtpTime(3600 * number));
            playout.on_frame(at, timestamp, rtt);
            playout.time_of(timestamp).unwrap().saturating_duration_since(at)
        };
        for number in 0..100 {
            assert!(frame(&mut playout, number) < Duration::from_millis(2));
        }
        playout.on_repair(start + Duration::from_secs(4));
        let delays: Vec<Duration> = (100..200).map(|number| frame(&mut playout, number)).collect();
        assert!(delays[0] < Duration::from_millis(10), "it grows slowly");
        assert!((75..90).contains(&delays[99].as_millis()), "{:?}", delays[99]);
    }
}
