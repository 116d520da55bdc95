//! What one run leaves behind: counts in bins of [`BIN_S`] and events, per participant and path. Times are seconds
//! since the start.

use std::collections::BTreeMap;

/// Seconds of one bin.
pub const BIN_S: f64 = 0.01;

/// A track: place of its publisher in the cast, and which of its tracks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackRef {
    /// Place in the cast.
    pub publisher: u16,
    /// Counts the publisher's tracks from 0.
    pub track: u8,
}

/// A quantity over time.
#[derive(Clone, Debug, Default)]
pub struct Bins(Vec<f32>);

impl Bins {
    /// Adds to the bin of a moment.
    pub fn add(&mut self, second: f64, amount: f64) {
        *self.at(second) += amount as f32;
    }

    /// Raises the bin of a moment to `value`.
    pub fn raise(&mut self, second: f64, value: f64) {
        let bin = self.at(second);
        *bin = bin.max(value as f32);
    }

    /// Sets the bin of a moment.
    pub fn set(&mut self, second: f64, value: f64) {
        *self.at(second) = value as f32;
    }

    /// Sum over a window.
    pub fn sum(&self, from: f64, to: f64) -> f64 {
        self.values(from, to).map(f64::from).sum()
    }

    /// The bins of a window; those that were never touched are 0.
    pub fn values(&self, from: f64, to: f64) -> impl Iterator<Item = f32> + '_ {
        (index_of(from)..index_of(to)).map(|index| self.0.get(index).copied().unwrap_or(0.0))
    }

    /// The bin of a moment.
    pub fn value(&self, second: f64) -> f64 {
        self.0.get(index_of(second)).map_or(0.0, |value| f64::from(*value))
    }

    /// Whether nothing was ever noted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn at(&mut self, second: f64) -> &mut f32 {
        let index = index_of(second);
        if self.0.len() <= index {
            self.0.resize(index + 1, 0.0);
        }
        &mut self.0[index]
    }
}

/// The bin of a moment; half a microsecond is added since seconds are rounded.
fn index_of(second: f64) -> usize {
    ((second + 5e-7) / BIN_S).max(0.0) as usize
}

/// Everything about one participant.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Its name.
    pub name: String,
    /// When it began to join.
    pub join_s: f64,
    /// When it left, or the run ended.
    pub leave_s: f64,
    /// Bytes that the server sent to it, with IP and UDP.
    pub sent_bytes: Bins,
    /// Of these, retransmissions and padding.
    pub repair_bytes: Bins,
    /// Packets that the server sent to it.
    pub sent_packets: Bins,
    /// Of these, those that found its link's queue full.
    pub queue_drops: Bins,
    /// Bytes that arrived, with IP and UDP.
    pub delivered_bytes: Bins,
    /// Longest wait in its link's queue, in seconds.
    pub queue_s: Bins,
    /// Bytes in its link's queue.
    pub queue_bytes: Bins,
    /// The server's estimate of its downlink in bit/s.
    pub estimate: Bins,
    /// Payload bytes of media that arrived for the first time.
    pub media_bytes: Bins,
    /// Media packets that should have arrived.
    pub expected: Bins,
    /// Of these, those that never did.
    pub lost: Bins,
    /// Frames of which something arrived and that could not be decoded.
    pub undecodable: Bins,
    /// What it saw of each video track.
    pub screens: BTreeMap<TrackRef, Screen>,
    /// Arrivals of audio that playout can use, for each track.
    pub sounds: BTreeMap<TrackRef, Sound>,
    /// Requests for key frames that reached it: when, and of which track and encoding.
    pub keyframe_requests: Vec<(f64, u8, u8)>,
    /// When the first frame of anybody was shown.
    pub first_frame_s: Option<f64>,
}

/// What was seen of a video track.
#[derive(Clone, Debug, Default)]
pub struct Screen {
    /// The frames shown.
    pub shown: Vec<ShownFrame>,
    /// When the server said that it sends nothing, and when it no longer said so.
    pub paused: Vec<(f64, f64)>,
    /// A pause that has not ended.
    pub paused_since: Option<f64>,
}

/// A frame on the screen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShownFrame {
    /// When.
    pub at: f64,
    /// Which encoding, lowest first.
    pub encoding: u8,
    /// Its temporal layer.
    pub temporal: u8,
    /// Its height in pixels.
    pub height: u16,
}

/// What was heard of an audio track.
#[derive(Clone, Debug, Default)]
pub struct Sound {
    /// Arrivals of packets that are newer than all before.
    pub arrivals: Vec<f64>,
    /// Moments at which the server began a pause: the gap that follows is not a fault.
    pub breaks: Vec<f64>,
}

impl Screen {
    /// The server says that it sends nothing, or something.
    pub fn set_paused(&mut self, now: f64, paused: bool) {
        match (self.paused_since, paused) {
            (None, true) => self.paused_since = Some(now),
            (Some(since), false) => {
                self.paused.push((since, now));
                self.paused_since = None;
            }
            _ => {}
        }
    }

    /// Seconds of a window in which the server had said that it sends nothing.
    pub fn paused_within(&self, from: f64, to: f64) -> f64 {
        let open = self.paused_since.map(|since| (since, f64::INFINITY));
        self.paused.iter().copied().chain(open).map(|(a, b)| (b.min(to) - a.max(from)).max(0.0)).sum()
    }
}

/// Everything about one path.
#[derive(Clone, Debug, Default)]
pub struct PathRecord {
    /// Bytes of competing flows that arrived.
    pub flow_bytes: Bins,
}

/// A whole run.
#[derive(Clone, Debug, Default)]
pub struct RunRecord {
    /// The cast in order.
    pub participants: Vec<Record>,
    /// The paths in the order of the file.
    pub paths: Vec<PathRecord>,
    /// Packets that clients reported as marked Congestion Experienced.
    pub ce_marks: u64,
}
