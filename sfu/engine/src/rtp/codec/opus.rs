//! Opus (RFC 7587): every packet is a frame that decodes by itself.

use crate::media::FrameMeta;

/// What every Opus packet says about its frame.
pub fn parse() -> FrameMeta {
    FrameMeta { starts_frame: true, keyframe: true, ..FrameMeta::default() }
}
