//! Payload descriptors, one codec per file, and what a dependency descriptor adds: what a packet says about its frame.
//!
//! Called by the uplink, once for each received packet, with one [`PayloadReader`] for each encoding.

pub mod av1;
pub mod h264;
pub mod h265;
mod nal;
pub mod opus;
mod parameter_sets;
mod rbsp;
pub mod vp8;
pub mod vp9;

use crate::media::{Codec, Dependencies, DescriptorPlace, FrameMeta, PacketMeta};
use crate::rtp::dependency::{Descriptor, Indication, Structure, TargetLayers};
use crate::rtp::frame_marking::FrameMarking;
use crate::units::RtpTime;
use parameter_sets::ParameterSets;

/// What is looked at of a received packet.
#[derive(Clone, Copy, Debug)]
pub struct ReceivedPayload<'a> {
    /// Payload without padding.
    pub payload: &'a [u8],
    /// The dependency descriptor's bytes.
    pub descriptor: Option<&'a [u8]>,
    /// What frame marking says.
    pub marking: Option<FrameMarking>,
    /// RTP timestamp.
    pub timestamp: RtpTime,
    /// Marker bit.
    pub marker: bool,
}

/// Reads the packets of one encoding, and keeps what one packet says about those behind it.
#[derive(Debug, Default)]
pub struct PayloadReader {
    vp9: vp9::Vp9Reader,
    h265: h265::H265Reader,
    sets: ParameterSets,
    structure: Option<Box<Structure>>,
    layers: TargetLayers,
    /// Decode targets that the publisher sends.
    active: u32,
    /// The newest frame number, unwrapped.
    newest: Option<u64>,
}

impl PayloadReader {
    /// What the packet says about its frame. `previous` is the packet with the preceding sequence number, where it has
    /// arrived. `None` where the payload descriptor is malformed. An empty payload (padding only) belongs to no frame.
    pub fn read(
        &mut self,
        codec: Codec,
        received: &ReceivedPayload<'_>,
        previous: Option<&PacketMeta>,
    ) -> Option<FrameMeta> {
        let payload = received.payload;
        if payload.is_empty() {
            return Some(FrameMeta::default());
        }
        let new_timestamp = previous.map(|p| p.timestamp != received.timestamp);
        let begun = new_timestamp == Some(false) && previous.is_some_and(|before| before.frame.is_prelude);
        let mut frame = match codec {
            Codec::Opus => opus::parse(),
            Codec::Vp8 => vp8::parse(payload)?,
            Codec::Vp9 { .. } => self.vp9.parse(payload, received.marker)?,
            Codec::Av1 { .. } => av1::parse(payload, new_timestamp)?,
            Codec::H264 { .. } => h264::parse(payload, new_timestamp, begun, &mut self.sets),
            Codec::H265 { .. } => self.h265.parse(payload, new_timestamp, begun, &mut self.sets)?,
        };
        if let (Codec::H264 { .. }, Some(marking)) = (codec, received.marking) {
            marking.describe(&mut frame);
        }
        if let Some(descriptor) = received.descriptor.and_then(|bytes| self.descriptor(bytes)) {
            self.describe(codec, &descriptor, received.marker, &mut frame);
        }
        Some(frame)
    }

    /// The parameter sets of H.264 and H.265 as a payload, where what was read since the last call changed them.
    pub fn take_parameters(&mut self, codec: Codec) -> Option<Vec<u8>> {
        match codec {
            Codec::H264 { .. } => h264::take_parameters(&mut self.sets),
            Codec::H265 { .. } => h265::take_parameters(&mut self.sets),
            Codec::Opus | Codec::Vp8 | Codec::Vp9 { .. } | Codec::Av1 { .. } => None,
        }
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

#[cfg(test)]
mod tests {
    // Bits are grouped as their fields are.
    #![allow(clippy::unwrap_used, clippy::unusual_byte_groupings)]
    use super::*;
    use crate::rtp::bits::BitWriter;

    const AV1: Codec = Codec::Av1 { profile: 0 };

    /// A structure as of L2T1_KEY in a descriptor of frame 65535: two decode targets, four templates, two sizes.
    fn key_descriptor() -> Vec<u8> {
        let mut bits = BitWriter::default();
        let fields = [
            (0b1100_0000, 8), // first and last packet, template 0
            (65_535, 16),
            (0b1_0000, 5), // with a structure
            (0, 6),
            (1, 5),             // two targets
            (0b00_10_00_11, 8), // S0, S0, S1, S1
            (0b10_10, 4),       // S0 of a key picture: both targets need it
            (0b10_00, 4),       // S0 later: its own target only
            (0b00_11, 4),       // S1 of a key picture
            (0b00_10, 4),       // S1 later
            (0b0, 1),           // no reference
            (0b1_0001_0, 6),    // two back
            (0b1_0000_0, 6),    // one back
            (0b1_0001_0, 6),    // two back
            (0, 1),             // no chain
            (1, 1),             // sizes
            (319, 16),
            (179, 16),
            (639, 16),
            (359, 16),
        ];
        fields.into_iter().for_each(|(value, count)| bits.write(value, count));
        bits.into_bytes()
    }

    fn read(reader: &mut PayloadReader, codec: Codec, descriptor: &[u8], marker: bool) -> FrameMeta {
        let received = ReceivedPayload {
            payload: &[0x10, 0x30, 1],
            descriptor: Some(descriptor),
            marking: None,
            timestamp: RtpTime(1),
            marker,
        };
        reader.read(codec, &received, None).unwrap()
    }

    #[test]
    fn the_dependency_descriptor_tells_the_layers_of_av1() {
        let mut reader = PayloadReader::default();
        let key = read(&mut reader, AV1, &key_descriptor(), false);
        assert!(key.keyframe && key.starts_frame && key.ends_frame && !key.unneeded_above);
        assert_eq!((key.spatial, key.size), (0, Some((320, 180))));
        let upper = read(&mut reader, AV1, &[0xC2, 0, 0], true);
        assert!(!upper.keyframe && upper.starts_frame);
        assert_eq!((upper.spatial, upper.size), (1, Some((640, 360))));
        let (of, base) = (upper.dependencies.unwrap(), key.dependencies.unwrap());
        assert_eq!((of.number - base.number, of.references.as_slice()), (1, &[1][..]), "the number has wrapped");
        let lower = read(&mut reader, AV1, &[0xC1, 0, 1], false);
        assert!(lower.unneeded_above && !lower.keyframe);
        let place = lower.descriptor.unwrap();
        assert_eq!((place.frame_number, place.active, place.layers.within(0, 3)), (1, 0b11, 0b01));
    }

    #[test]
    fn without_a_structure_the_payload_alone_is_read() {
        let meta = read(&mut PayloadReader::default(), AV1, &[0xC1, 0, 1], false);
        assert_eq!((meta.descriptor, meta.dependencies), (None, None));
    }

    #[test]
    fn vp8_and_opus_keep_what_their_payloads_say() {
        let mut reader = PayloadReader::default();
        let meta = read(&mut reader, Codec::Opus, &key_descriptor(), false);
        assert!(meta.keyframe && meta.dependencies.is_none());
        let meta = read(&mut reader, Codec::Vp8, &[0xC2, 0, 0], false);
        assert!(meta.spatial == 0 && meta.dependencies.is_none() && meta.descriptor.is_some());
    }
}
