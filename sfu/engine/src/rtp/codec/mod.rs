//! Payload descriptors, one codec per file, and what a dependency descriptor adds: what a packet says about its frame.
//!
//! Called by the uplink, once for each received packet, with one [`Reader`] for each encoding.

pub mod av1;
pub mod h264;
pub mod opus;
pub mod vp8;
pub mod vp9;

use crate::media::{Codec, Dependencies, DescriptorPlace, FrameMeta, PacketMeta};
use crate::rtp::dependency::{Descriptor, Indication, Structure, TargetLayers};
use crate::units::RtpTime;

/// What is looked at of a received packet.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// Payload without padding.
    pub payload: &'a [u8],
    /// The dependency descriptor's bytes.
    pub descriptor: Option<&'a [u8]>,
    /// RTP timestamp.
    pub timestamp: RtpTime,
    /// Marker bit.
    pub marker: bool,
}

/// Reads the packets of one encoding, and keeps what one packet says about those behind it.
#[derive(Debug, Default)]
pub struct Reader {
    vp9: vp9::Reader,
    structure: Option<Box<Structure>>,
    layers: TargetLayers,
    /// Decode targets that the publisher sends.
    active: u32,
    /// The newest frame number, unwrapped.
    newest: Option<u64>,
}

impl Reader {
    /// What the packet says about its frame. `previous` is the packet with the preceding sequence number, where it has arrived.
    /// `None` where the payload descriptor is malformed. An empty payload (padding only) belongs to no frame.
    pub fn read(&mut self, codec: Codec, received: &Received<'_>, previous: Option<&PacketMeta>) -> Option<FrameMeta> {
        let payload = received.payload;
        if payload.is_empty() {
            return Some(FrameMeta::default());
        }
        let new_timestamp = previous.map(|p| p.timestamp != received.timestamp);
        let mut frame = match codec {
            Codec::Opus => opus::parse(),
            Codec::Vp8 => vp8::parse(payload)?,
            Codec::Vp9 { .. } => self.vp9.parse(payload, received.marker)?,
            Codec::Av1 { .. } => av1::parse(payload, new_timestamp)?,
            Codec::H264 { .. } => h264::parse(payload, new_timestamp),
        };
        if let Some(descriptor) = received.descriptor.and_then(|bytes| self.descriptor(bytes)) {
            self.describe(codec, &descriptor, received.marker, &mut frame);
        }
        Some(frame)
    }

    /// Reads a dependency descriptor; `None` where it is malformed or its structure has not come.
    fn descriptor(&mut self, bytes: &[u8]) -> Option<Descriptor> {
        let mut descriptor = Descriptor::parse(bytes, self.structure.as_deref())?;
        if let Some(structure) = descriptor.structure.take() {
            self.layers = structure.layers();
            self.structure = Some(structure);
        }
        self.active = descriptor.active_targets.unwrap_or(self.active);
        Some(descriptor)
    }

    /// Adds what the descriptor says. The payload descriptors of VP8 and VP9 tell their layers themselves.
    fn describe(&mut self, codec: Codec, descriptor: &Descriptor, marker: bool, frame: &mut FrameMeta) {
        let number = self.unwrap(descriptor.frame_number);
        frame.descriptor = Some(DescriptorPlace {
            frame_number: descriptor.frame_number,
            mask_at: descriptor.mask_at,
            active: self.active,
            layers: self.layers,
        });
        if matches!(codec, Codec::Opus | Codec::Vp8 | Codec::Vp9 { .. }) {
            return;
        }
        let of = &descriptor.frame;
        if matches!(codec, Codec::Av1 { .. }) {
            frame.starts_frame = descriptor.starts_frame;
            frame.ends_frame = descriptor.ends_frame || marker;
            frame.keyframe = of.spatial == 0 && descriptor.starts_frame && of.references.as_slice().is_empty();
        }
        let is_base = of.references.as_slice().is_empty();
        (frame.spatial, frame.temporal) = (of.spatial, of.temporal);
        frame.unneeded_above = !self.layers.needed_above(of);
        frame.layer_sync =
            (0..self.layers.len()).any(|target| of.indication(target) == Indication::Switch) && of.temporal > 0;
        frame.dependencies = Some(Dependencies { number, references: of.references });
        let told = self.structure.as_ref().and_then(|structure| structure.resolution(of.spatial));
        if frame.starts_frame && (is_base || frame.spatial > 0) {
            frame.size = told.or(frame.size);
        }
    }

    /// The frame number without its wraps. An earlier one than the newest may come.
    fn unwrap(&mut self, number: u16) -> u64 {
        const ROUND: u64 = 1 << 16;
        // One round ahead, so that what came before the first has a number too.
        let newest = *self.newest.get_or_insert(ROUND + u64::from(number));
        let number = newest.saturating_add_signed(i64::from(number.wrapping_sub(newest as u16) as i16));
        self.newest = Some(newest.max(number));
        number
    }
}
