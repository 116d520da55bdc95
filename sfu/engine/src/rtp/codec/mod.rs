//! Payload descriptors, one codec per file: what a payload's first bytes say about its frame.
//!
//! Called by the uplink, once for each received packet.

pub mod h264;
pub mod opus;
pub mod vp8;

use crate::media::{Codec, FrameMeta, PacketMeta};
use crate::units::RtpTime;

/// Reads what `payload` says about its frame. `previous` is the packet with the preceding sequence number, where it has arrived.
/// `None` where the payload descriptor is malformed. An empty payload (padding only) belongs to no frame.
pub fn parse(codec: Codec, payload: &[u8], timestamp: RtpTime, previous: Option<&PacketMeta>) -> Option<FrameMeta> {
    if payload.is_empty() {
        return Some(FrameMeta::default());
    }
    match codec {
        Codec::Opus => Some(opus::parse()),
        Codec::Vp8 => vp8::parse(payload),
        Codec::H264 { .. } => Some(h264::parse(payload, previous.map(|p| p.timestamp != timestamp))),
    }
}
