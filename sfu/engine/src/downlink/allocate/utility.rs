//! What a layer is worth to the person who watches.

use super::{LayerOption, Subscription};
use crate::media::Source;

/// Points for being shown at all, whatever the tile. As all the rest is worth [`QUALITY`] at most, a picture for one
/// more person outweighs the last steps of another's; only a tile of some size weighs up against a blank small one.
const SHOWN: f64 = 80.0;
/// Points for the best layer in a tile of [`FULL_TILE`]; smaller tiles count in proportion, but [`LEAST_TILE`] at
/// least.
const QUALITY: f64 = 120.0;
const FULL_TILE: f64 = 720.0;
const LEAST_TILE: f64 = 0.25;
/// A picture of this height, in a larger tile, is worth nothing beyond being shown.
const LEAST_HEIGHT: f64 = 45.0;
const FULL_FPS: f64 = 30.0;
/// How much of the quality is resolution; the rest is frame rate.
const RESOLUTION_SHARE: (f64, f64) = (0.4, 0.8);
/// Points that a change of encoding or spatial layer must gain, or another track's start, for the key frame that it
/// needs.
const ENCODING_SWITCH: f64 = 2.0;
/// Points that a change of temporal layer must gain.
const TEMPORAL_SWITCH: f64 = 1.0;

/// Utility of an option in whole points, 1 to 200; a pause is worth 0.
///
/// `80 + 120 * size * (share * resolution + (1 - share) * frame rate) - switch`, where `size` is the tile's height over
/// 720, resolution is the logarithm of the height over 45, relative to that of the tile, frame rate is `log(1 + fps)`
/// relative to 30 per second, and resolution's share is 0.8 for a screen and 0.4 for a camera. The switch costs 2 to
/// another encoding or spatial layer or from nothing, 1 to another temporal layer: that is the hysteresis, and less
/// than any step of a ladder gains.
pub fn utility<K>(subscription: &Subscription<'_, K>, option: &LayerOption) -> u32 {
    let tallest = subscription.options.iter().map(|o| o.height).max().unwrap_or(0);
    let tile = f64::from(subscription.max_height.min(tallest));
    let share = match subscription.source {
        Source::Screen => RESOLUTION_SHARE.1,
        _ => RESOLUTION_SHARE.0,
    };
    let size = (tile / FULL_TILE).clamp(LEAST_TILE, 1.0);
    let quality = share * resolution(f64::from(option.height), tile) + (1.0 - share) * frame_rate(option.fps);
    let switch = match subscription.current {
        None => ENCODING_SWITCH,
        Some(now) if (now.encoding, now.spatial) != (option.encoding, option.spatial) => ENCODING_SWITCH,
        Some(now) if now.temporal != option.temporal => TEMPORAL_SWITCH,
        _ => 0.0,
    };
    (SHOWN + QUALITY * size * quality - switch).round().max(1.0) as u32
}

fn resolution(height: f64, tile: f64) -> f64 {
    if height >= tile || tile <= LEAST_HEIGHT {
        return 1.0;
    }
    (height.max(LEAST_HEIGHT) / LEAST_HEIGHT).ln() / (tile / LEAST_HEIGHT).ln()
}

fn frame_rate(fps: u8) -> f64 {
    ((1.0 + f64::from(fps)).ln() / (1.0 + FULL_FPS).ln()).min(1.0)
}
