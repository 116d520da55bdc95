//! What people see and hear: freezes by the rule of W3C's `freezeCount`, gaps in sound, heights.

use super::percentile;
use super::record::{Record, Screen, Sound};

/// Frames whose mean distance a gap is compared with.
const AVERAGED: usize = 30;
/// A gap is a freeze if it is longer than three mean distances, and than one and this many seconds more.
const FREEZE_MARGIN_S: f64 = 0.15;
/// Mean distance of frames as long as none is known: slow screens are no freezes.
const FIRST_DISTANCE_S: f64 = 1.0;
/// Audio packets come at this distance.
const AUDIO_PACKET_S: f64 = 0.02;

/// The freezes of a track that touch a window, from the last frame before to the first after. What the server announced
/// as a pause is none; the wait for the first frame is none; a gap that lasts to the window's end is one as soon as it
/// is long enough.
pub fn freezes(screen: &Screen, from: f64, to: f64) -> Vec<(f64, f64)> {
    let mut found = Vec::new();
    let mut distances: std::collections::VecDeque<f64> = Default::default();
    let mut sum = 0.0;
    let times = screen.shown.iter().map(|frame| frame.at);
    let mut last: Option<f64> = None;
    for at in times.chain([f64::INFINITY]) {
        let end = at.min(to);
        let Some(before) = last.replace(at) else { continue };
        if before >= to {
            break;
        }
        // A pause ends the old picture; what comes after it begins anew.
        let gap = end - before;
        let paused = screen.paused_within(before, end);
        let mean = if distances.is_empty() { FIRST_DISTANCE_S } else { sum / distances.len() as f64 };
        if gap - paused > (3.0 * mean).max(mean + FREEZE_MARGIN_S) && end > from {
            found.push((before, end - paused));
        }
        if paused == 0.0 && at.is_finite() {
            distances.push_back(gap);
            sum += gap;
            if distances.len() > AVERAGED {
                sum -= distances.pop_front().unwrap_or(0.0);
            }
        }
    }
    found
}

/// Frozen time over the time in which there was a picture, over all tracks.
pub(super) fn frozen_share(record: &Record, from: f64, to: f64) -> Option<f64> {
    let (mut frozen, mut shown) = (0.0, 0.0);
    for screen in record.screens.values() {
        let Some(first) = screen.shown.first() else { continue };
        let from = from.max(first.at);
        if from >= to {
            continue;
        }
        shown += to - from - screen.paused_within(from, to);
        frozen += clipped(&freezes(screen, from, to), from, to).sum::<f64>();
    }
    (shown > 0.0).then(|| frozen / shown)
}

/// Longest freeze in seconds.
pub(super) fn longest_freeze(record: &Record, from: f64, to: f64) -> f64 {
    let all = record.screens.values().flat_map(|screen| freezes(screen, from, to));
    all.map(|(start, end)| end - start).fold(0.0, f64::max)
}

/// How many freezes.
pub(super) fn freeze_count(record: &Record, from: f64, to: f64) -> f64 {
    record.screens.values().map(|screen| freezes(screen, from, to).len()).sum::<usize>() as f64
}

/// 99th percentile over time of the gap between audio packets that a moment is in; the worst track counts. A gap that
/// lasts to the window's end is one as far as that.
pub(super) fn audio_gap_p99_ms(record: &Record, from: f64, to: f64) -> Option<f64> {
    let worst = |sound: &Sound| {
        let mut gaps: Vec<f64> = Vec::new();
        let ends = sound.arrivals.iter().skip(1).copied().chain([to]);
        let pairs = sound.arrivals.iter().copied().zip(ends);
        for (start, end) in pairs.filter(|(start, end)| *end > from && *start < to) {
            let gap = end - start;
            let broken = sound.breaks.iter().any(|at| (start..end).contains(at));
            // Each moment counts: a long gap as often as the packets that it swallowed.
            let weight = (gap / AUDIO_PACKET_S).round().max(1.0) as usize;
            gaps.extend(std::iter::repeat_n(if broken { AUDIO_PACKET_S } else { gap }, weight));
        }
        gaps.sort_by(f64::total_cmp);
        percentile(&gaps, 0.99)
    };
    record.sounds.values().filter_map(worst).reduce(f64::max).map(|gap| gap * 1000.0)
}

/// Mean height over time and tracks.
pub(super) fn height_mean(record: &Record, from: f64, to: f64) -> Option<f64> {
    let height = |screen: &Screen| {
        let mut sum = 0.0;
        for (index, frame) in screen.shown.iter().enumerate() {
            let end = screen.shown.get(index + 1).map_or(to, |next| next.at).min(to);
            let start = frame.at.max(from);
            if end > start {
                sum += f64::from(frame.height) * (end - start - screen.paused_within(start, end));
            }
        }
        sum / (to - from)
    };
    let screens = record.screens.len();
    (screens > 0).then(|| record.screens.values().map(height).sum::<f64>() / screens as f64)
}

/// Frames seen but not decoded over all frames seen.
pub(super) fn undecodable_share(record: &Record, from: f64, to: f64) -> Option<f64> {
    let shown = record.screens.values().flat_map(|screen| &screen.shown);
    let shown = shown.filter(|frame| (from..to).contains(&frame.at)).count() as f64;
    let undecodable = record.undecodable.sum(from, to);
    super::ratio(undecodable, undecodable + shown)
}

fn clipped(spans: &[(f64, f64)], from: f64, to: f64) -> impl Iterator<Item = f64> {
    spans.iter().map(move |(a, b)| (b.min(to) - a.max(from)).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::record::ShownFrame;

    fn screen(times: impl IntoIterator<Item = f64>) -> Screen {
        let frame = |at| ShownFrame { at, encoding: 0, temporal: 0, height: 180 };
        Screen { shown: times.into_iter().map(frame).collect(), ..Screen::default() }
    }

    fn every_33_ms(from: f64, to: f64) -> impl Iterator<Item = f64> {
        (0..).map(move |i| from + f64::from(i) / 30.0).take_while(move |at| *at < to)
    }

    #[test]
    fn only_long_gaps_are_freezes() {
        let fluent = screen(every_33_ms(0.0, 2.0).chain(every_33_ms(2.1, 4.0)));
        assert!(freezes(&fluent, 0.0, 4.0).is_empty());
        let frozen = screen(every_33_ms(0.0, 2.0).chain(every_33_ms(3.0, 4.0)));
        let found = freezes(&frozen, 0.0, 4.0);
        assert!(found.len() == 1 && (found[0].1 - found[0].0 - 1.03).abs() < 0.02, "{found:?}");
    }

    #[test]
    fn a_picture_that_never_comes_back_is_frozen_to_the_end() {
        let found = freezes(&screen(every_33_ms(0.0, 2.0)), 0.0, 10.0);
        assert!(found.len() == 1 && found[0].1 == 10.0);
    }

    #[test]
    fn the_first_distance_of_a_slow_picture_is_no_freeze_and_a_standing_one_is() {
        assert!(freezes(&screen((0..10).map(|i| f64::from(i) / 2.0)), 0.0, 5.0).is_empty());
        assert_eq!(freezes(&screen([0.0]), 0.0, 5.0), [(0.0, 5.0)]);
    }

    #[test]
    fn sound_that_never_comes_back_is_a_gap_to_the_windows_end_unless_it_was_broken_off() {
        let arrivals: Vec<f64> = (0..100).map(|i| f64::from(i) * AUDIO_PACKET_S).collect();
        let heard = |breaks: Vec<f64>| {
            let sound = Sound { arrivals: arrivals.clone(), breaks };
            let track = crate::metrics::record::TrackRef { publisher: 0, track: 0 };
            let record = Record { sounds: [(track, sound)].into(), ..Record::default() };
            audio_gap_p99_ms(&record, 3.0, 6.0).map(f64::round)
        };
        assert_eq!((heard(Vec::new()), heard(vec![1.99])), (Some(4020.0), Some(20.0)));
    }

    #[test]
    fn an_announced_pause_is_no_freeze() {
        let mut paused = screen(every_33_ms(0.0, 2.0).chain(every_33_ms(5.0, 6.0)));
        paused.paused.push((2.05, 4.95));
        assert!(freezes(&paused, 0.0, 6.0).is_empty());
    }
}
