//! What is measured: a [`Metric`] of a participant over a window, computed from a run's record and the scenario's
//! ground truth.

mod compare;
mod ladder;
mod layers;
mod network;
mod picture;
pub mod record;
mod statistics;
mod truth;

pub use compare::layer_difference;
pub use ladder::Ladder;
pub use layers::{LayerSpan, layers_of};
pub use picture::freezes;
pub use statistics::{Summary, percentile};
pub use truth::Truth;

use serde::Deserialize;
use std::fmt;

/// What can be expected of a participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Media received over the best feasible sum of layers at the true capacity.
    LadderUtilisation,
    /// |estimate - capacity| / capacity, where the tracks could use the whole capacity.
    EstimateError,
    /// From the window's start until the sent rate stays below the capacity for 1 s.
    DownTimeS,
    /// From the window's start until the best layers have been held for 3 s.
    UpTimeS,
    /// Time to empty the queue over the least possible.
    DrainRatio,
    /// 95th percentile of the wait in the queue.
    QueueP95Ms,
    /// Longest wait in the queue.
    QueueMaxMs,
    /// Share of packets that found the queue full.
    CongestionLoss,
    /// Share of media packets that never arrived.
    ResidualLoss,
    /// Share of the time in which the picture was frozen.
    FrozenShare,
    /// Longest freeze.
    LongestFreezeS,
    /// How many freezes.
    Freezes,
    /// 99th percentile over time of the gap between audio packets that one is in.
    AudioGapP99Ms,
    /// From join to the first frame on screen.
    FirstFrameS,
    /// Switches of layers that go back on the one before, per minute.
    ReversalsPerMin,
    /// Switches of layers.
    Switches,
    /// Requests for key frames at a publisher, per encoding and second.
    KeyframeRequests,
    /// Padding and repair over media, in bytes sent.
    Overhead,
    /// Share of the link's capacity that it received.
    Share,
    /// Jain's index of the rates that the named participants received.
    Fairness,
    /// Mean height of the picture in pixels, 0 while there is none.
    HeightMean,
    /// Share of frames that arrived in part and could not be decoded.
    UndecodableFrames,
}

impl Metric {
    /// As scenario files call it.
    pub fn name(self) -> &'static str {
        match self {
            Metric::LadderUtilisation => "ladder_utilisation",
            Metric::EstimateError => "estimate_error",
            Metric::DownTimeS => "down_time_s",
            Metric::UpTimeS => "up_time_s",
            Metric::DrainRatio => "drain_ratio",
            Metric::QueueP95Ms => "queue_p95_ms",
            Metric::QueueMaxMs => "queue_max_ms",
            Metric::CongestionLoss => "congestion_loss",
            Metric::ResidualLoss => "residual_loss",
            Metric::FrozenShare => "frozen_share",
            Metric::LongestFreezeS => "longest_freeze_s",
            Metric::Freezes => "freezes",
            Metric::AudioGapP99Ms => "audio_gap_p99_ms",
            Metric::FirstFrameS => "first_frame_s",
            Metric::ReversalsPerMin => "reversals_per_min",
            Metric::Switches => "switches",
            Metric::KeyframeRequests => "keyframe_requests",
            Metric::Overhead => "overhead",
            Metric::Share => "share",
            Metric::Fairness => "fairness",
            Metric::HeightMean => "height_mean",
            Metric::UndecodableFrames => "undecodable_frames",
        }
    }

    /// Why there may be no value.
    pub fn absence(self) -> &'static str {
        match self {
            Metric::LadderUtilisation => "nothing could be received in the window",
            Metric::EstimateError => "the tracks never wanted the whole capacity, or it has no limit",
            Metric::DownTimeS => "the sent rate never stayed below the capacity for 1 s, or that has no limit",
            Metric::UpTimeS => "the best layers were never held for 3 s",
            Metric::DrainRatio => "the queue never became empty, or the path has no limit",
            Metric::CongestionLoss | Metric::Overhead => "nothing was sent to it",
            Metric::ResidualLoss => "no media was to arrive",
            Metric::FrozenShare => "no picture was shown",
            Metric::AudioGapP99Ms => "nothing was heard",
            Metric::FirstFrameS => "no frame was ever shown",
            Metric::KeyframeRequests => "it publishes no video",
            Metric::Share => "its path has no limit",
            Metric::Fairness => "nobody received anything",
            Metric::HeightMean | Metric::UndecodableFrames => "no video came",
            Metric::QueueP95Ms
            | Metric::QueueMaxMs
            | Metric::LongestFreezeS
            | Metric::Freezes
            | Metric::ReversalsPerMin
            | Metric::Switches => "it is not there in the window",
        }
    }

    /// Whether one value stands for all named participants together.
    pub fn is_joint(self) -> bool {
        self == Metric::Fairness
    }

    /// Its value for the participants at `places` over a window. `None` where there is nothing to measure, or what is
    /// waited for never came.
    pub fn measure(self, truth: &Truth<'_>, places: &[usize], (from, to): (f64, f64)) -> Option<f64> {
        let place = *places.first()?;
        let record = &truth.record.participants[place];
        let (from, to) =
            if self == Metric::FirstFrameS { (from, to) } else { (from.max(record.join_s), to.min(record.leave_s)) };
        if from >= to {
            return None;
        }
        match self {
            Metric::LadderUtilisation => truth.ladder_utilisation(place, from, to),
            Metric::EstimateError => truth.estimate_error(place, from, to),
            Metric::DownTimeS => truth.down_time(place, from, to),
            Metric::UpTimeS => truth.up_time(place, from, to),
            Metric::DrainRatio => truth.drain_ratio(place, from, to),
            Metric::QueueP95Ms => network::queue_ms(record, from, to, 0.95),
            Metric::QueueMaxMs => network::queue_ms(record, from, to, 1.0),
            Metric::CongestionLoss => ratio(record.queue_drops.sum(from, to), record.sent_packets.sum(from, to)),
            Metric::ResidualLoss => ratio(record.lost.sum(from, to).max(0.0), record.expected.sum(from, to)),
            Metric::FrozenShare => picture::frozen_share(record, from, to),
            Metric::LongestFreezeS => Some(picture::longest_freeze(record, from, to)),
            Metric::Freezes => Some(picture::freeze_count(record, from, to)),
            Metric::AudioGapP99Ms => picture::audio_gap_p99_ms(record, from, to),
            Metric::FirstFrameS => record.first_frame_s.map(|at| at - record.join_s),
            Metric::ReversalsPerMin => Some(layers::reversals(record, from, to) * 60.0 / (to - from)),
            Metric::Switches => Some(layers::switches(record, from, to)),
            Metric::KeyframeRequests => truth.keyframe_requests(place, from, to),
            Metric::Overhead => {
                let repair = record.repair_bytes.sum(from, to);
                ratio(repair, record.sent_bytes.sum(from, to) - repair)
            }
            Metric::Share => truth.share(place, from, to),
            Metric::Fairness => network::fairness(truth.record, places, from, to),
            Metric::HeightMean => picture::height_mean(record, from, to),
            Metric::UndecodableFrames => picture::undecodable_share(record, from, to),
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A quotient, where there is anything to divide by.
fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}
