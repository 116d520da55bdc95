//! Which layers a receiver truly showed, from the frames on its screen.

use super::record::{Record, Screen};

/// A temporal layer counts as gone when none of its frames was shown for so long, and for so many frames of the rate at
/// its fastest.
const TEMPORAL_MEMORY_S: f64 = 0.4;
const TEMPORAL_MEMORY_FRAMES: usize = 4;
/// Switches further apart than this do not go back on each other.
const REVERSAL_WITHIN_S: f64 = 20.0;
/// A layer that was shown for less is noise (a lost frame), not a switch.
const SHORTEST_S: f64 = 0.3;

/// A stretch of time in which one layer was shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerSpan {
    /// Start.
    pub from: f64,
    /// End.
    pub to: f64,
    /// Encoding, lowest first.
    pub encoding: u8,
    /// Highest temporal layer.
    pub temporal: u8,
}

/// The layers shown, in order; gaps are pauses and the time before the first frame.
pub fn layers_of(screen: &Screen, end: f64) -> Vec<LayerSpan> {
    let mut spans: Vec<LayerSpan> = Vec::new();
    // When a frame of each temporal layer was last shown.
    let mut last = [f64::NEG_INFINITY; 4];
    for (index, frame) in screen.shown.iter().enumerate() {
        let switched = index == 0 || screen.shown[index - 1].encoding != frame.encoding;
        if switched {
            last = [f64::NEG_INFINITY; 4];
        }
        last[usize::from(frame.temporal.min(3))] = frame.at;
        let recent = &screen.shown[index.saturating_sub(TEMPORAL_MEMORY_FRAMES)..=index];
        let fastest = recent.windows(2).map(|pair| pair[1].at - pair[0].at).reduce(f64::min).unwrap_or(0.0);
        let memory = TEMPORAL_MEMORY_S.max(fastest * (TEMPORAL_MEMORY_FRAMES as f64 + 0.5));
        let temporal = (0..4u8).rev().find(|t| frame.at - last[usize::from(*t)] < memory).unwrap_or(0);
        let next = screen.shown.get(index + 1).map_or(end, |next| next.at);
        let mut pauses = screen.paused.iter().map(|(from, _)| *from).chain(screen.paused_since);
        let to = pauses.find(|from| (frame.at..next).contains(from)).unwrap_or(next);
        match spans.last_mut() {
            Some(span) if span.encoding == frame.encoding && span.temporal == temporal && span.to >= frame.at => {
                span.to = to;
            }
            _ => spans.push(LayerSpan { from: frame.at, to, encoding: frame.encoding, temporal }),
        }
    }
    spans
}

/// Times and directions of switches within a window: an encoding, or a temporal layer that stays.
fn switch_times(screen: &Screen, from: f64, to: f64) -> Vec<(f64, bool)> {
    let spans = layers_of(screen, to);
    let steady: Vec<LayerSpan> = spans.into_iter().filter(|span| span.to - span.from >= SHORTEST_S).collect();
    let pairs = steady.windows(2).filter(|pair| rank(&pair[0]) != rank(&pair[1]));
    let switches = pairs.map(|pair| (pair[1].from, rank(&pair[1]) > rank(&pair[0])));
    switches.filter(|(at, _)| (from..to).contains(at)).collect()
}

fn rank(span: &LayerSpan) -> (u8, u8) {
    (span.encoding, span.temporal)
}

/// Switches of all tracks.
pub(super) fn switches(record: &Record, from: f64, to: f64) -> f64 {
    record.screens.values().map(|screen| switch_times(screen, from, to).len()).sum::<usize>() as f64
}

/// Switches that go back on the one before.
pub(super) fn reversals(record: &Record, from: f64, to: f64) -> f64 {
    let reversals = |screen: &Screen| {
        let switches = switch_times(screen, from, to);
        switches.windows(2).filter(|pair| pair[0].1 != pair[1].1 && pair[1].0 - pair[0].0 < REVERSAL_WITHIN_S).count()
    };
    record.screens.values().map(reversals).sum::<usize>() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::record::ShownFrame;

    #[test]
    fn layers_of_few_frames_a_second_are_held_between_their_frames() {
        let frames = |shown: &'static [u8]| {
            let frame =
                |i: usize| ShownFrame { at: i as f64 / 2.0, encoding: 0, temporal: [0, 2, 1, 2][i % 4], height: 180 };
            let shown = (0..60).map(frame).filter(|frame| frame.at < 15.0 || shown.contains(&frame.temporal)).collect();
            Screen { shown, ..Screen::default() }
        };
        assert_eq!(switch_times(&frames(&[0, 1, 2]), 3.0, 30.0), []);
        assert_eq!(switch_times(&frames(&[0]), 3.0, 30.0).iter().map(|(_, up)| *up).collect::<Vec<_>>(), [false]);
    }

    #[test]
    fn a_switch_down_and_back_up_is_one_reversal() {
        let frame = |i: usize| {
            let encoding = if (60..120).contains(&i) { 0 } else { 2 };
            ShownFrame { at: i as f64 / 30.0, encoding, temporal: [0, 2, 1, 2][i % 4], height: 180 }
        };
        let screen = Screen { shown: (0..200).map(frame).collect(), ..Screen::default() };
        assert_eq!(switch_times(&screen, 0.5, 10.0).iter().map(|(_, up)| *up).collect::<Vec<_>>(), [false, true]);
        let record = Record {
            screens: [(super::super::record::TrackRef { publisher: 0, track: 0 }, screen)].into(),
            ..Record::default()
        };
        assert_eq!((switches(&record, 0.5, 10.0), reversals(&record, 0.5, 10.0)), (2.0, 1.0));
    }
}
