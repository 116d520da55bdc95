//! Delay gradient: a line fitted through the smoothed delay of recent arrival groups, compared with a threshold that
//! adapts, so that neither jitter nor a competing TCP flow starves us (draft-ietf-rmcat-gcc-02 sections 5.3 and 5.4;
//! constants as in libwebrtc).

use super::feedback::OurTime;
use super::groups::Spacing;
use prefetch::fetch;
use std::collections::VecDeque;

const WINDOW: usize = 20;
const SMOOTHING: f64 = 0.9;
const GAIN: f64 = 4.0;
const MAX_COUNTED: u32 = 60;
const THRESHOLD_START: f64 = 12.5;
const THRESHOLD_RANGE: (f64, f64) = (6.0, 600.0);
const THRESHOLD_UP: f64 = 0.0087;
const THRESHOLD_DOWN: f64 = 0.039;
/// A deviation that far beyond the threshold is a sudden drop of capacity; it must not raise the threshold.
const MAX_ADAPT_OFFSET: f64 = 15.0;
const OVERUSE_MS: f64 = 10.0;

/// What the delay says about the bottleneck.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Usage {
    /// The queue drains.
    Under,
    /// The queue neither grows nor drains.
    #[default]
    Normal,
    /// The queue grows.
    Over,
}

/// The detector.
#[derive(Debug)]
pub(super) struct Trendline {
    /// (arrival in ms since the first group, smoothed delay in ms)
    points: VecDeque<(f64, f64)>,
    arrival_ms: f64,
    delay_ms: f64,
    smoothed_ms: f64,
    groups: u32,
    last_trend: f64,
    threshold: f64,
    adapted: Option<OurTime>,
    over_for_ms: Option<f64>,
    over_groups: u32,
    usage: Usage,
}

impl Trendline {
    pub(super) fn new() -> Self {
        Trendline {
            points: VecDeque::with_capacity(WINDOW + 1),
            arrival_ms: 0.0,
            delay_ms: 0.0,
            smoothed_ms: 0.0,
            groups: 0,
            last_trend: 0.0,
            threshold: THRESHOLD_START,
            adapted: None,
            over_for_ms: None,
            over_groups: 0,
            usage: Usage::Normal,
        }
    }

    /// Has fetched the points of the line.
    pub(super) fn prefetch(&self) {
        let (points, more) = self.points.as_slices();
        fetch(points);
        fetch(more);
    }

    /// The present verdict.
    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    /// Takes the spacing of two groups.
    pub(super) fn add(&mut self, now: OurTime, spacing: &Spacing) {
        self.groups = (self.groups + 1).min(1000);
        self.arrival_ms += spacing.arrival_ms;
        self.delay_ms += spacing.arrival_ms - spacing.sent_ms;
        self.smoothed_ms = SMOOTHING * self.smoothed_ms + (1.0 - SMOOTHING) * self.delay_ms;
        self.points.push_back((self.arrival_ms, self.smoothed_ms));
        if self.points.len() > WINDOW {
            self.points.pop_front();
        }
        let full = self.points.len() == WINDOW;
        let trend = if full { self.slope().unwrap_or(self.last_trend) } else { self.last_trend };
        self.judge(now, trend, spacing.sent_ms);
    }

    /// Forgets the path but keeps the threshold.
    pub(super) fn reset(&mut self) {
        *self = Trendline { threshold: self.threshold, ..Trendline::new() };
    }

    /// Least squares through the window.
    fn slope(&self) -> Option<f64> {
        let n = self.points.len() as f64;
        let (sum_x, sum_y) = self.points.iter().fold((0.0, 0.0), |(x, y), p| (x + p.0, y + p.1));
        let (mean_x, mean_y) = (sum_x / n, sum_y / n);
        let (over, under) = self.points.iter().fold((0.0, 0.0), |(over, under), &(x, y)| {
            (over + (x - mean_x) * (y - mean_y), under + (x - mean_x) * (x - mean_x))
        });
        (under > 0.0).then(|| over / under)
    }

    fn judge(&mut self, now: OurTime, trend: f64, sent_ms: f64) {
        if self.groups < 2 {
            return;
        }
        let deviation = f64::from(self.groups.min(MAX_COUNTED)) * trend * GAIN;
        if deviation > self.threshold {
            let over_for = self.over_for_ms.map_or(sent_ms / 2.0, |ms| ms + sent_ms);
            self.over_for_ms = Some(over_for);
            self.over_groups += 1;
            if over_for > OVERUSE_MS && self.over_groups > 1 && trend >= self.last_trend {
                self.over_for_ms = Some(0.0);
                self.over_groups = 0;
                self.usage = Usage::Over;
            }
        } else {
            self.over_for_ms = None;
            self.over_groups = 0;
            self.usage = if deviation < -self.threshold { Usage::Under } else { Usage::Normal };
        }
        self.last_trend = trend;
        self.adapt(now, deviation.abs());
    }

    fn adapt(&mut self, now: OurTime, deviation: f64) {
        let since = self.adapted.replace(now);
        if deviation > self.threshold + MAX_ADAPT_OFFSET {
            return;
        }
        let elapsed_ms = since.map_or(0.0, |then| now.us_since(then).max(0) as f64 / 1e3).min(100.0);
        let gain = if deviation < self.threshold { THRESHOLD_DOWN } else { THRESHOLD_UP };
        self.threshold += gain * (deviation - self.threshold) * elapsed_ms;
        self.threshold = self.threshold.clamp(THRESHOLD_RANGE.0, THRESHOLD_RANGE.1);
    }
}

#[cfg(test)]
mod tests {
    use super::super::feedback::ReceiverTime;
    use super::*;

    /// Feeds groups 20 ms apart whose delay grows by `growth_ms` each; returns after how many the verdict is `wanted`.
    fn groups_until(wanted: Usage, line: &mut Trendline, growth_ms: impl Fn(u32) -> f64) -> Option<u32> {
        (1..200).find(|&i| {
            let spacing = Spacing { sent_ms: 20.0, arrival_ms: 20.0 + growth_ms(i), at: ReceiverTime(0) };
            line.add(OurTime(20_000 * i64::from(i)), &spacing);
            line.usage() == wanted
        })
    }

    #[test]
    fn a_growing_queue_is_overuse_and_a_draining_one_underuse() {
        let mut line = Trendline::new();
        assert!(groups_until(Usage::Over, &mut line, |_| 5.0).is_some_and(|groups| groups <= 25));
        assert!(groups_until(Usage::Under, &mut line, |_| -10.0).is_some_and(|groups| groups <= 40));
    }

    #[test]
    fn a_steady_delay_with_jitter_is_normal() {
        let jitter = |i: u32| if i.is_multiple_of(2) { 4.0 } else { -4.0 };
        assert_eq!(groups_until(Usage::Over, &mut Trendline::new(), jitter), None);
    }
}
