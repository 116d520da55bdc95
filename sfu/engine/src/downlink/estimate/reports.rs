//! The fallback for receivers without transport feedback: receiver reports (RFC 3550 section 6.4) and REMB
//! (draft-alvestrand-rmcat-remb-03).

use crate::units::Bitrate;
use std::time::{Duration, Instant};

/// Loss below and above which the rate rises and falls (draft-ietf-rmcat-gcc-02 section 6).
const LOSS: (f32, f32) = (0.02, 0.10);
const RISE_PER_SECOND: f64 = 1.08;
/// A REMB that is not repeated ends.
const REMB_VALID: Duration = Duration::from_secs(10);

/// What reports have said last.
#[derive(Debug, Default)]
pub(super) struct Reports {
    remb: Option<(Bitrate, Instant)>,
    last_report: Option<Instant>,
    loss: f32,
}

impl Reports {
    /// Takes a REMB.
    pub(super) fn on_remb(&mut self, now: Instant, rate: Bitrate) {
        self.remb = Some((rate, now));
    }

    /// The rate that the receiver has asked not to exceed.
    pub(super) fn remb(&self, now: Instant) -> Option<Bitrate> {
        self.remb.filter(|(_, at)| now.saturating_duration_since(*at) <= REMB_VALID).map(|(rate, _)| rate)
    }

    /// Takes a report of the share of packets lost and returns the rate that follows `rate`.
    pub(super) fn on_loss(&mut self, now: Instant, lost: f32, rate: Bitrate) -> Bitrate {
        self.note_loss(lost);
        let elapsed = self.last_report.replace(now).map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        if self.loss > LOSS.1 {
            rate.scale(1.0 - 0.5 * f64::from(self.loss))
        } else if self.loss < LOSS.0 {
            rate.scale(RISE_PER_SECOND.powf(elapsed.as_secs_f64().min(5.0)))
        } else {
            rate
        }
    }

    /// Takes a report of the share of packets lost and returns it as the number that it should be.
    pub(super) fn note_loss(&mut self, lost: f32) -> f32 {
        self.loss = if lost.is_finite() { lost.clamp(0.0, 1.0) } else { 0.0 };
        self.loss
    }

    /// The share lost in the last report.
    pub(super) fn loss(&self) -> f32 {
        self.loss
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_in_reports_lowers_the_rate_and_its_absence_raises_it() {
        let (start, mut reports, rate) = (Instant::now(), Reports::default(), Bitrate::kbps(1000));
        assert_eq!(reports.on_loss(start, 0.5, rate), Bitrate::kbps(750));
        assert_eq!(reports.on_loss(start + Duration::from_secs(1), 0.05, rate), rate);
        assert_eq!(reports.on_loss(start + Duration::from_secs(2), 0.0, rate), Bitrate::kbps(1080));
        assert_eq!(reports.on_loss(start + Duration::from_secs(3), f32::NAN, rate), Bitrate::kbps(1080));
    }
}
