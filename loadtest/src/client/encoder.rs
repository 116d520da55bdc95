//! A video encoder that makes no pictures: frames of the sizes, at the times and with the dependencies of a real one.
//!
//! Sizes vary lognormally around the mean that rate and frame rate give. A key frame is several times larger; what it
//! took too much is saved on the frames after it, as rate control does. Temporal layers follow libvpx's usual patterns
//! (0-1, 0-2-1-2).

use rand::Rng;
use rand_chacha::ChaCha12Rng;

/// No frame is smaller, in bytes.
const SMALLEST: f64 = 60.0;
/// Share of a frame's size that goes into paying back, at most.
const PAYBACK: f64 = 0.3;
/// Debt is forgotten beyond this many mean frames, or an encoder with a burst of key frames would starve for ever.
const MOST_DEBT: f64 = 30.0;

/// Makes the frames of one encoding.
#[derive(Clone, Debug)]
pub(super) struct Encoder {
    /// Mean bytes of a frame.
    mean: f64,
    layers: u8,
    keyframe_factor: f64,
    /// Parameters of the lognormal distribution: mean 1 and the wanted coefficient of variation.
    sigma: f64,
    /// Bytes spent beyond what the rate allows.
    debt: f64,
    number: u32,
    /// Frames since the last key frame.
    place: u32,
    /// Newest frame of each temporal layer.
    newest: [Option<u32>; 3],
}

/// One encoded frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Counts the encoding's frames.
    pub number: u32,
    /// The frame that it needs; `None` for a key frame.
    pub reference: Option<u32>,
    /// Temporal layer.
    pub temporal: u8,
    /// It needs the base layer only.
    pub layer_sync: bool,
    /// Size.
    pub bytes: usize,
}

impl Frame {
    /// Whether decoding can start here.
    pub(super) fn is_keyframe(&self) -> bool {
        self.reference.is_none()
    }
}

impl Encoder {
    /// An encoder of `rate` bit/s at `fps`.
    pub(super) fn new(rate: f64, fps: f64, layers: u8, keyframe_factor: f64, variation: f64) -> Encoder {
        Encoder {
            mean: rate / 8.0 / fps,
            layers,
            keyframe_factor,
            sigma: (1.0 + variation * variation).ln().sqrt(),
            debt: 0.0,
            number: 0,
            place: 0,
            newest: [None; 3],
        }
    }

    /// The next frame. `factor` scales the rate of the moment.
    pub(super) fn encode(&mut self, rng: &mut ChaCha12Rng, keyframe: bool, factor: f64) -> Frame {
        let number = self.number;
        self.number = self.number.wrapping_add(1);
        let keyframe = keyframe || self.newest[0].is_none();
        if keyframe {
            (self.place, self.newest) = (0, [None; 3]);
        }
        let (temporal, needs) = self.pattern();
        let reference = if keyframe { None } else { self.newest[needs as usize].or(self.newest[0]) };
        self.newest[temporal as usize] = Some(number);
        self.place += 1;
        let bytes = self.size(rng, keyframe, temporal, factor);
        Frame { number, reference, temporal, layer_sync: temporal > 0 && needs == 0, bytes }
    }

    /// Temporal layer of the next frame, and that of the frame it needs.
    fn pattern(&self) -> (u8, u8) {
        match (self.layers, self.place % 4) {
            (3, 1) => (2, 0),
            (3, 2) => (1, 0),
            (3, 3) => (2, 1),
            (2, 1 | 3) => (1, 0),
            _ => (0, 0),
        }
    }

    fn size(&mut self, rng: &mut ChaCha12Rng, keyframe: bool, temporal: u8, factor: f64) -> usize {
        let mean = self.mean * factor;
        let weight = layer_weight(self.layers, temporal);
        let share = if keyframe { self.keyframe_factor } else { weight };
        let noise = (self.sigma * normal(rng) - self.sigma * self.sigma / 2.0).exp();
        let wanted = mean * share * noise;
        let payback = if keyframe { 0.0 } else { self.debt.clamp(-wanted * PAYBACK, wanted * PAYBACK) };
        let bytes = (wanted - payback).max(SMALLEST).round();
        self.debt = (self.debt + bytes - mean * weight).clamp(-mean, mean * MOST_DEBT);
        bytes as usize
    }
}

/// Size of a layer's frames over the mean, from the share of the rate that libwebrtc gives each layer.
fn layer_weight(layers: u8, temporal: u8) -> f64 {
    match (layers, temporal) {
        // 40, 20 and 40 % of the rate in a quarter, a quarter and a half of the frames.
        (3, 0) => 1.6,
        (3, _) => 0.8,
        // 60 and 40 % in a half each.
        (2, 0) => 1.2,
        (2, _) => 0.8,
        _ => 1.0,
    }
}

/// Share of an encoding's rate up to and with a temporal layer.
pub fn cumulative_share(layers: u8, temporal: u8) -> f64 {
    match (layers, temporal) {
        (3, 0) => 0.4,
        (3, 1) => 0.6,
        (2, 0) => 0.6,
        _ => 1.0,
    }
}

/// Share of an encoding's frames up to and with a temporal layer.
pub fn frame_share(layers: u8, temporal: u8) -> f64 {
    match (layers, temporal) {
        (3, 0) => 0.25,
        (3, 1) | (2, 0) => 0.5,
        _ => 1.0,
    }
}

/// A draw of the standard normal distribution (Box-Muller).
pub fn normal(rng: &mut ChaCha12Rng) -> f64 {
    let (a, b): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn the_mean_rate_is_the_nominal_one_with_key_frames_too() {
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let mut encoder = Encoder::new(1_000_000.0, 30.0, 3, 6.0, 0.2);
        let bytes: usize = (0..3000).map(|i| encoder.encode(&mut rng, i % 300 == 0, 1.0).bytes).sum();
        let rate = bytes as f64 * 8.0 / 100.0;
        assert!((rate / 1e6 - 1.0).abs() < 0.02, "{rate}");
    }

    #[test]
    fn layers_depend_only_on_lower_ones() {
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let mut encoder = Encoder::new(1_000_000.0, 30.0, 3, 6.0, 0.2);
        let frames: Vec<Frame> = (0..9).map(|_| encoder.encode(&mut rng, false, 1.0)).collect();
        assert_eq!(frames.iter().map(|f| f.temporal).collect::<Vec<_>>(), [0, 2, 1, 2, 0, 2, 1, 2, 0]);
        let needs: Vec<_> = frames.iter().map(|f| f.reference).collect();
        assert_eq!(needs, [None, Some(0), Some(0), Some(2), Some(0), Some(4), Some(4), Some(6), Some(4)]);
        assert!(frames[1].layer_sync && frames[2].layer_sync && !frames[3].layer_sync);
        assert!(frames[0].bytes > 4 * frames[4].bytes / 2);
    }
}
