//! The estimate of a receiver that offers no transport feedback: more is tried until the receiver objects.
//!
//! Such a receiver's own estimate (REMB) cannot be taken at its word: receivers hold it near what arrives (libwebrtc
//! and its descendants to half again that), so that a video which does not fit would never be sent, and what is never
//! sent never raises it. What it does tell is congestion: a REMB below what is sent that does not rise is an objection,
//! and so is loss that receiver reports (RFC 3550 section 6.4) tell. While the rate rises it is filled with padding, so
//! that an objection comes before there is a picture to lose. After an objection the rate that it leaves is the limit
//! for a while; longer each time that the same one is met again.

use super::feedback::ProbeId;
use super::probe::Probe;
use crate::units::Bitrate;
use std::time::{Duration, Instant};

/// Growth per second before the first objection, and after.
const RISE_PER_SECOND: (f64, f64) = (2.0, 1.15);
/// A rate of the first value times the limit that met no objection shows that the link is another one. Then it grows by
/// the second value.
const OUTGROWN: (f64, f64) = (4.0, 1.5);
/// The rate is raised once in this time.
const STEP: Duration = Duration::from_millis(100);
/// An objection has taken effect after this time. Until then the rate does not rise and reported loss is ignored.
const SETTLE: Duration = Duration::from_secs(1);
/// A REMB is an objection below this share of what is sent: receivers do not count all headers.
const BINDING: f64 = 0.9;
/// An objection by loss lowers the rate to this share of what arrives, so that the queue drains. A REMB names the rate
/// itself.
const LEFT: f64 = 0.85;
/// The limit as a multiple of the lowered rate: a little below all that arrives.
const LIMIT: f64 = 1.15;
/// How long a limit is believed, at first and at most.
const TRUST: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(30));
/// Limits that differ by less are of the same link.
const AGREEMENT: f64 = 0.25;
/// No more than this is audio alone, which is never cut: an objection to it limits nothing.
const UNCUT: Bitrate = Bitrate::kbps(100);
/// Loss beyond this is congestion.
const CONGESTION_LOSS: f32 = 0.10;
/// Loss that stays above the second share of what it was, while less than the first share of the rate is sent, is
/// random loss of the path.
const UNMOVED: (f64, f32) = (0.8, 0.7);

/// What the receiver has objected to.
#[derive(Debug, Default)]
pub(super) struct RembProbing {
    remb: Option<Bitrate>,
    objection: Option<Objection>,
    raised: Option<Instant>,
    /// What was raised is to be filled.
    unfilled: bool,
    fillings: u32,
    /// Loss and send rate of the last objection by loss.
    lossy: Option<(f32, Bitrate)>,
    /// Loss that does not depend on what is sent.
    stray: f32,
}

#[derive(Clone, Copy, Debug)]
struct Objection {
    at: Instant,
    limit: Bitrate,
    trust: Duration,
    until: Instant,
}

impl RembProbing {
    /// Takes a REMB while `sent` is being sent. Returns the rate to fall to where it is an objection.
    pub(super) fn on_remb(&mut self, now: Instant, rate: Bitrate, sent: Bitrate) -> Option<Bitrate> {
        let rises = self.remb.replace(rate).is_none_or(|before| rate > before);
        if rises || rate >= sent.scale(BINDING) {
            return None;
        }
        self.object(now, rate, sent)
    }

    /// Takes a report that the share `lost` of what is sent was lost. Returns the rate to fall to where that is an
    /// objection.
    pub(super) fn on_loss(&mut self, now: Instant, lost: f32, sent: Bitrate) -> Option<Bitrate> {
        self.stray = self.stray.min(lost);
        let settles = self.objection.is_some_and(|o| now < o.at + SETTLE);
        if settles || lost <= CONGESTION_LOSS + self.stray {
            return None;
        }
        let unmoved = |(before, rate): (f32, Bitrate)| sent < rate.scale(UNMOVED.0) && lost > before * UNMOVED.1;
        if self.lossy.replace((lost, sent)).is_some_and(unmoved) {
            self.stray = lost;
            return None;
        }
        self.object(now, sent.scale(LEFT * (1.0 - f64::from(lost))), sent)
    }

    /// The rate after `rate`, which time has raised towards what is `useful`.
    pub(super) fn raise(&mut self, now: Instant, rate: Bitrate, useful: Bitrate) -> Bitrate {
        let elapsed = self.raised.replace(now).map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        let elapsed = elapsed.min(2 * STEP).as_secs_f64();
        let (rise, limit) = match self.objection {
            None => (RISE_PER_SECOND.0, useful),
            Some(objection) if now < objection.at + SETTLE => return rate,
            Some(objection) if now < objection.until => (RISE_PER_SECOND.1, useful.min(objection.limit)),
            Some(objection) if rate >= objection.limit.scale(OUTGROWN.0) => (OUTGROWN.1, useful),
            Some(_) => (RISE_PER_SECOND.1, useful),
        };
        let raised = rate.scale(rise.powf(elapsed)).min(limit).max(rate);
        self.unfilled = raised > rate;
        raised
    }

    /// What to send until the `rate` is raised next, media included.
    pub(super) fn poll_probe(&mut self, rate: Bitrate) -> Option<Probe> {
        if !std::mem::take(&mut self.unfilled) {
            return None;
        }
        self.fillings = self.fillings.wrapping_add(1);
        let bytes_min = rate.bytes_in(STEP) as usize;
        Some(Probe { id: ProbeId(self.fillings), rate, bytes_min, packets_min: 1 })
    }

    /// When to raise the rate next.
    pub(super) fn poll_timeout(&self, now: Instant) -> Instant {
        self.raised.map_or(now, |raised| raised + STEP)
    }

    fn object(&mut self, now: Instant, rate: Bitrate, sent: Bitrate) -> Option<Bitrate> {
        let limit = rate.scale(LIMIT);
        let trust = match self.objection {
            Some(last) if now < last.until => last.trust,
            Some(last) if agree(last.limit, limit) => (last.trust * 2).min(TRUST.1),
            _ => TRUST.0,
        };
        if sent <= UNCUT {
            if let Some(objection) = self.objection.as_mut() {
                objection.at = now;
            }
            return None;
        }
        self.objection = Some(Objection { at: now, limit, trust, until: now + trust });
        Some(rate)
    }
}

fn agree(a: Bitrate, b: Bitrate) -> bool {
    a.max(b).minus(a.min(b)) <= a.max(b).scale(AGREEMENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Raises `rate` by time alone for `seconds` from `now`.
    fn raised(probing: &mut RembProbing, now: &mut Instant, rate: Bitrate, seconds: u32) -> Bitrate {
        (0..10 * seconds).fold(rate, |rate, _| {
            *now += STEP;
            probing.raise(*now, rate, Bitrate::kbps(20_000))
        })
    }

    #[test]
    fn without_objection_the_rate_rises_to_what_is_useful() {
        let (mut probing, mut now) = (RembProbing::default(), Instant::now());
        let rate = raised(&mut probing, &mut now, Bitrate::kbps(500), 1);
        assert!(rate > Bitrate::kbps(900), "{rate}");
        assert_eq!(raised(&mut probing, &mut now, rate, 10), Bitrate::kbps(20_000));
    }

    #[test]
    fn a_remb_that_only_follows_what_arrives_is_no_objection() {
        let (mut probing, mut now) = (RembProbing::default(), Instant::now());
        let mut remb = Bitrate::kbps(60);
        for _ in 0..20 {
            now += 1000 * MS;
            assert_eq!(probing.on_remb(now, remb, Bitrate::kbps(700)), None);
            remb = remb.scale(1.08);
        }
        assert_eq!(probing.on_remb(now, Bitrate::kbps(3000), Bitrate::kbps(700)), None);
        assert_eq!(
            probing.on_remb(now, Bitrate::kbps(2000), Bitrate::kbps(700)),
            None,
            "it falls, but is above what is sent"
        );
    }

    #[test]
    fn an_objection_limits_the_rate_longer_each_time_that_the_same_limit_is_met() {
        let (mut probing, mut now) = (RembProbing::default(), Instant::now());
        let (low, high) = (Bitrate::kbps(425), Bitrate::kbps(900));
        probing.on_remb(now, high, Bitrate::kbps(700));
        for seconds in [5, 10, 20, 30, 30] {
            assert_eq!(probing.on_remb(now, low, Bitrate::kbps(700)), Some(low));
            let rate = raised(&mut probing, &mut now, low, seconds - 1);
            assert_eq!(rate, low.scale(LIMIT), "after {} s", seconds - 1);
            assert!(raised(&mut probing, &mut now, rate, 3) > rate.scale(1.2), "after {} s", seconds + 1);
        }
        assert_eq!(probing.on_remb(now, Bitrate::kbps(150), Bitrate::kbps(700)), Some(Bitrate::kbps(150)));
        let rate = raised(&mut probing, &mut now, Bitrate::kbps(150), 8);
        assert!(rate > Bitrate::kbps(200), "another limit is believed for five seconds again: {rate}");
    }

    #[test]
    fn what_lies_far_beyond_the_limit_is_tried_faster() {
        let (mut probing, mut now) = (RembProbing::default(), Instant::now());
        let low = Bitrate::kbps(100);
        probing.on_remb(now, Bitrate::kbps(900), Bitrate::kbps(700));
        assert_eq!(probing.on_remb(now, low, Bitrate::kbps(700)), Some(low));
        now += TRUST.0;
        for (rate, rise) in [(4.0 * LIMIT - 0.1, RISE_PER_SECOND.1), (4.0 * LIMIT + 0.1, OUTGROWN.1)] {
            let rate = low.scale(rate);
            let raised = probing.raise(now, rate, Bitrate::kbps(20_000));
            now += STEP;
            let grown = probing.raise(now, raised, Bitrate::kbps(20_000)).as_bps() as f64 / raised.as_bps() as f64;
            assert!((grown - rise.powf(0.1)).abs() < 1e-3, "{grown} at {rate}");
            now += STEP;
        }
    }

    #[test]
    fn an_objection_to_sound_alone_limits_nothing() {
        let (mut probing, mut now) = (RembProbing::default(), Instant::now());
        probing.on_remb(now, Bitrate::kbps(60), Bitrate::kbps(45));
        assert_eq!(probing.on_remb(now, Bitrate::kbps(27), Bitrate::kbps(45)), None);
        assert!(raised(&mut probing, &mut now, Bitrate::kbps(300), 3) > Bitrate::kbps(700));
    }

    #[test]
    fn loss_lowers_the_rate_to_what_arrives_unless_it_stays_when_less_is_sent() {
        let (mut probing, mut now) = (RembProbing::default(), Instant::now());
        assert_eq!(probing.on_loss(now, 0.08, Bitrate::kbps(1000)), None);
        assert_eq!(probing.on_loss(now, 0.5, Bitrate::kbps(1000)), Some(Bitrate::kbps(425)));
        assert_eq!(probing.on_loss(now + 500 * MS, 0.5, Bitrate::kbps(800)), None, "of before");
        now += SETTLE;
        assert_eq!(probing.on_loss(now, 0.45, Bitrate::kbps(425)), None, "half as much is sent and no less is lost");
        assert_eq!(probing.on_loss(now, 0.5, Bitrate::kbps(1000)), None);
        now += SETTLE;
        assert_eq!(probing.on_loss(now, 0.75, Bitrate::kbps(1000)), Some(Bitrate::bps(212_500)));
    }
}
