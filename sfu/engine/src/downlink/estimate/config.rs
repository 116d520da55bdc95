//! What an estimator must be told before it starts.

use crate::units::Bitrate;

/// Where the estimate starts, and its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EstimatorConfig {
    /// The estimate before anything is known about the link.
    pub start: Bitrate,
    /// The estimate never falls below this. It must be enough for audio.
    pub min: Bitrate,
    /// The estimate never rises above this.
    pub max: Bitrate,
}

impl Default for EstimatorConfig {
    fn default() -> Self {
        EstimatorConfig { start: Bitrate::kbps(500), min: Bitrate::kbps(30), max: Bitrate::kbps(50_000) }
    }
}
