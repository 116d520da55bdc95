//! Feedback outage: while packets leave and nothing comes back, send less and less; when feedback returns, return
//! quickly.

use crate::units::Bitrate;
use std::time::{Duration, Instant};

/// A stalled radio link is often silent for half a second.
const PATIENCE: Duration = Duration::from_millis(600);
/// Before the first feedback the receiver may still be setting up.
const FIRST_PATIENCE: Duration = Duration::from_secs(2);
/// Missed feedbacks that make an outage where they are rare.
const MISSED: u32 = 4;
const MAX_INTERVAL: Duration = Duration::from_millis(500);
const STEP: Duration = Duration::from_millis(250);
const BACK_OFF: f64 = 0.75;
/// The rate is not lowered below this share of what it was: the link may only be deaf in one direction.
const LEAST_SHARE: f64 = 1.0 / 16.0;

/// Watches for feedback.
#[derive(Debug, Default)]
pub(super) struct Outage {
    /// First packet since the last feedback.
    unanswered: Option<Instant>,
    last_feedback: Option<Instant>,
    /// Smoothed time between feedbacks.
    interval: Duration,
    backing_off: Option<BackingOff>,
}

#[derive(Clone, Copy, Debug)]
struct BackingOff {
    before: Bitrate,
    next: Instant,
}

impl Outage {
    /// A packet leaves that must be acknowledged.
    pub(super) fn on_sent(&mut self, now: Instant) {
        self.unanswered.get_or_insert(now);
    }

    /// Feedback has arrived. Returns the estimate from before the outage, if there was one.
    pub(super) fn on_feedback(&mut self, now: Instant) -> Option<Bitrate> {
        if let Some(last) = self.last_feedback.replace(now) {
            let interval = now.saturating_duration_since(last).min(MAX_INTERVAL);
            self.interval = (self.interval * 7 + interval) / 8;
        }
        self.unanswered = None;
        self.backing_off.take().map(|state| state.before)
    }

    /// When to look for an outage next.
    pub(super) fn poll_timeout(&self, rtt: Duration) -> Option<Instant> {
        match self.backing_off {
            Some(state) => Some(state.next),
            None => self.unanswered.map(|since| since + self.patience(rtt)),
        }
    }

    /// Returns the lowered estimate where feedback is overdue.
    pub(super) fn handle_timeout(&mut self, now: Instant, rtt: Duration, estimate: Bitrate) -> Option<Bitrate> {
        if now < self.poll_timeout(rtt)? {
            return None;
        }
        let before = self.backing_off.map_or(estimate, |state| state.before);
        self.backing_off = Some(BackingOff { before, next: now + STEP });
        Some(estimate.scale(BACK_OFF).max(before.scale(LEAST_SHARE)).min(estimate))
    }

    /// Nothing is being sent any more, so nothing can be acknowledged.
    pub(super) fn on_idle(&mut self) {
        self.unanswered = None;
        if let Some(state) = &mut self.backing_off {
            state.next += STEP;
        }
    }

    /// How long after the first unanswered packet silence is an outage.
    pub(super) fn patience(&self, rtt: Duration) -> Duration {
        match self.last_feedback {
            None => FIRST_PATIENCE,
            Some(_) => PATIENCE.max(self.interval * MISSED) + rtt,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const RTT: Duration = Duration::from_millis(100);

    #[test]
    fn silence_lowers_the_estimate_step_by_step_and_feedback_returns_it() {
        let (start, mut outage) = (Instant::now(), Outage::default());
        outage.on_feedback(start);
        outage.on_sent(start);
        let mut rate = Bitrate::kbps(1000);
        assert_eq!(outage.handle_timeout(start + Duration::from_millis(500), RTT, rate), None);
        for _ in 0..40 {
            let due = outage.poll_timeout(RTT).unwrap();
            rate = outage.handle_timeout(due, RTT, rate).unwrap();
        }
        assert_eq!(rate, Bitrate::bps(62_500));
        assert_eq!(outage.on_feedback(start + Duration::from_secs(12)), Some(Bitrate::kbps(1000)));
        assert_eq!(outage.poll_timeout(RTT), None);
    }
}
