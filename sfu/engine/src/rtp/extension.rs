//! The header extensions that the server itself reads and writes, and those that it passes on.
//!
//! The uplink reads [`ReceivedExtensions`] and keeps [`ForwardedExtensions`] with each stored packet; the downlink
//! writes the kept elements again under the receiver's ids. Formats: RFC 6464, RFC 9143, RFC 8852 and the libwebrtc
//! extension documents.

use crate::rtp::frame_marking::FrameMarking;
use crate::rtp::packet::RtpPacket;
use crate::sdp::extmap::{ExtensionKind, ExtensionMap};
use crate::units::{Mid, Rid, Token};

/// What the server reads of a received packet's extensions. Elements of a wrong length count as absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceivedExtensions {
    /// Which m= section.
    pub mid: Option<Mid>,
    /// Which encoding.
    pub rid: Option<Rid>,
    /// Which encoding this packet repairs.
    pub repaired_rid: Option<Rid>,
    /// Loudness.
    pub audio_level: Option<AudioLevel>,
    /// Number over the whole transport.
    pub transport_cc: Option<u16>,
    /// What its frame is.
    pub frame_marking: Option<FrameMarking>,
    /// It has the element that [`LayersAllocation`](crate::rtp::layers_allocation::LayersAllocation) reads.
    pub has_layers_allocation: bool,
}

impl ReceivedExtensions {
    /// Reads the elements of `packet` under the publisher's ids.
    pub fn read(packet: &RtpPacket<'_>, ids: &ExtensionMap) -> ReceivedExtensions {
        let mut found = ReceivedExtensions::default();
        for (id, data) in packet.extensions() {
            match ids.kind(id) {
                Some(ExtensionKind::Mid) => found.mid = Token::from_bytes(data),
                Some(ExtensionKind::Rid) => found.rid = Token::from_bytes(data),
                Some(ExtensionKind::RepairedRid) => found.repaired_rid = Token::from_bytes(data),
                Some(ExtensionKind::AudioLevel) => found.audio_level = AudioLevel::read(data),
                Some(ExtensionKind::TransportCc) => found.transport_cc = read_transport_cc(data),
                Some(ExtensionKind::FrameMarking) => found.frame_marking = FrameMarking::read(data),
                Some(ExtensionKind::VideoLayersAllocation) => found.has_layers_allocation = true,
                _ => {}
            }
        }
        found
    }
}

/// Loudness of a packet's sound (RFC 6464).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioLevel {
    /// In -dBov: 0 is loudest, 127 silence.
    pub level: u8,
    /// Whether the sender takes it for speech.
    pub voice: bool,
}

impl AudioLevel {
    /// One byte; the two-byte header form may pad it, so more are accepted.
    pub fn read(data: &[u8]) -> Option<AudioLevel> {
        data.first().map(|byte| AudioLevel { level: byte & 0x7F, voice: byte & 0x80 != 0 })
    }

    /// The element's bytes.
    pub fn write(self) -> [u8; 1] {
        [(u8::from(self.voice) << 7) | (self.level & 0x7F)]
    }
}

/// Send time modulo 64 s, in units of 2^-18 s (6.18 fixed point).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbsSendTime(pub u32);

impl AbsSendTime {
    /// From the microseconds since any fixed origin.
    #[inline]
    pub fn at(us: i64) -> AbsSendTime {
        let us = us.rem_euclid(64_000_000) as u64;
        AbsSendTime(((us << 18) / 1_000_000) as u32)
    }

    /// Three bytes.
    pub fn read(data: &[u8]) -> Option<AbsSendTime> {
        let [a, b, c] = *data else { return None };
        Some(AbsSendTime(u32::from_be_bytes([0, a, b, c])))
    }

    /// The element's bytes.
    pub fn write(self) -> [u8; 3] {
        let [_, a, b, c] = self.0.to_be_bytes();
        [a, b, c]
    }
}

/// The transport-wide sequence number. Version 2 of the extension may append a feedback request, which is not needed
/// here.
pub fn read_transport_cc(data: &[u8]) -> Option<u16> {
    data.first_chunk::<2>().map(|bytes| u16::from_be_bytes(*bytes))
}

/// The bytes of a transport-wide sequence number.
pub fn write_transport_cc(seq: u16) -> [u8; 2] {
    seq.to_be_bytes()
}

/// A packet's elements that its receivers get too, in the compact form that a stored packet keeps: for each element its
/// kind, its length and its bytes.
#[derive(Clone, Debug)]
pub struct ForwardedExtensions {
    bytes: [u8; ForwardedExtensions::CAPACITY],
    len: usize,
}

impl ForwardedExtensions {
    /// Most bytes kept for one packet: the largest dependency descriptor and all others at their usual sizes.
    pub const CAPACITY: usize = 384;

    /// Gathers the elements of `packet` that are passed on. One that does not fit is left out.
    pub fn gather(packet: &RtpPacket<'_>, ids: &ExtensionMap) -> ForwardedExtensions {
        let mut kept = ForwardedExtensions { bytes: [0; Self::CAPACITY], len: 0 };
        for (id, data) in packet.extensions() {
            if let Some(kind) = ids.kind(id).filter(|kind| is_forwarded(*kind)) {
                kept.push(kind, data);
            }
        }
        kept
    }

    /// The compact form, for [`StoredPacket::extensions`](crate::uplink::store::StoredPacket::extensions).
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// The bytes of one element.
    pub fn get(&self, kind: ExtensionKind) -> Option<&[u8]> {
        Self::iter(self.as_bytes()).find(|(of, _)| *of == kind).map(|(_, data)| data)
    }

    /// Reads the compact form back: kind and bytes of each element.
    pub fn iter(compact: &[u8]) -> impl Iterator<Item = (ExtensionKind, &[u8])> + Clone {
        let mut rest = compact;
        std::iter::from_fn(move || {
            let ([kind, len], tail) = rest.split_first_chunk::<2>()?;
            let (data, tail) = tail.split_at_checked(usize::from(*len))?;
            rest = tail;
            Some((*ExtensionKind::ALL.get(usize::from(*kind))?, data))
        })
    }

    /// As [`iter`](Self::iter), under the receiver's ids, ready for [`write_header`](crate::rtp::packet::write_header).
    /// Kinds that the receiver did not negotiate are passed over.
    pub fn for_receiver<'a>(compact: &'a [u8], ids: &'a ExtensionMap) -> impl Iterator<Item = (u8, &'a [u8])> + Clone {
        Self::iter(compact).filter_map(|(kind, data)| Some((ids.id(kind)?, data)))
    }

    fn push(&mut self, kind: ExtensionKind, data: &[u8]) {
        let Ok(len) = u8::try_from(data.len()) else { return };
        let Some([k, l, rest @ ..]) = self.bytes.get_mut(self.len..) else { return };
        if let Some(space) = rest.get_mut(..data.len()) {
            (*k, *l) = (kind as u8, len);
            space.copy_from_slice(data);
            self.len += 2 + data.len();
        }
    }
}

/// Whether a kind means the same to a receiver as to the server. The others are the transport's own and are written
/// anew, or tell of more than a receiver gets (see [`crate::rtp::layers_allocation`] and
/// [`crate::rtp::frame_marking`]).
fn is_forwarded(kind: ExtensionKind) -> bool {
    match kind {
        ExtensionKind::AudioLevel
        | ExtensionKind::VideoOrientation
        | ExtensionKind::PlayoutDelay
        | ExtensionKind::AbsCaptureTime
        | ExtensionKind::ContentType
        | ExtensionKind::ColorSpace
        | ExtensionKind::VideoTiming
        | ExtensionKind::DependencyDescriptor => true,
        ExtensionKind::AbsSendTime
        | ExtensionKind::FrameMarking
        | ExtensionKind::VideoLayersAllocation
        | ExtensionKind::TransportCc
        | ExtensionKind::Mid
        | ExtensionKind::Rid
        | ExtensionKind::RepairedRid => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::rtp::packet::{RtpHeader, write_header};
    use crate::units::{PayloadType, RtpTime, SeqNo, Ssrc};
    use proptest::prelude::*;

    fn packet(elements: &[(u8, &[u8])]) -> Vec<u8> {
        let header = RtpHeader {
            marker: false,
            payload_type: PayloadType(111),
            seq: SeqNo(1),
            timestamp: RtpTime(2),
            ssrc: Ssrc(3),
        };
        let mut out = vec![];
        write_header(&mut out, &header, elements.iter().copied(), true);
        out
    }

    #[test]
    fn known_elements_are_read_under_the_publishers_ids() {
        let map = ExtensionMap::of(&[
            (ExtensionKind::Mid, 4),
            (ExtensionKind::Rid, 10),
            (ExtensionKind::RepairedRid, 11),
            (ExtensionKind::AudioLevel, 1),
            (ExtensionKind::TransportCc, 3),
        ]);
        let bytes = packet(&[(1, &[0x80 | 33]), (3, &[0xAB, 0xCD]), (4, b"0"), (10, b"h"), (11, b"q"), (12, &[1])]);
        let read = ReceivedExtensions::read(&RtpPacket::parse(&bytes).unwrap(), &map);
        assert_eq!(read.audio_level, Some(AudioLevel { level: 33, voice: true }));
        assert_eq!(read.transport_cc, Some(0xABCD));
        assert_eq!(read.mid, Token::new("0"));
        assert_eq!(read.rid, Token::new("h"));
        assert_eq!(read.repaired_rid, Token::new("q"));
    }

    #[test]
    fn elements_of_a_wrong_length_count_as_absent() {
        let map = ExtensionMap::of(&[(ExtensionKind::TransportCc, 3), (ExtensionKind::Rid, 1)]);
        let bytes = packet(&[(3, &[1]), (1, &[])]);
        let read = ReceivedExtensions::read(&RtpPacket::parse(&bytes).unwrap(), &map);
        assert_eq!(read, ReceivedExtensions::default());
    }

    #[test]
    fn written_values_read_back() {
        let level = AudioLevel { level: 127, voice: false };
        assert_eq!(AudioLevel::read(&level.write()), Some(level));
        assert_eq!(read_transport_cc(&write_transport_cc(65_535)), Some(65_535));
        let time = AbsSendTime::at(64_500_000);
        assert_eq!(time.0, 1 << 17, "half a second after the wrap at 64 s");
        assert_eq!(AbsSendTime::read(&time.write()), Some(time));
        assert_eq!(AbsSendTime::read(&[1, 2]), None);
    }

    #[test]
    fn elements_for_receivers_travel_under_the_receivers_ids_and_hop_by_hop_ones_stay_behind() {
        let publisher = ExtensionMap::of(&[
            (ExtensionKind::TransportCc, 3),
            (ExtensionKind::VideoOrientation, 13),
            (ExtensionKind::PlayoutDelay, 6),
            (ExtensionKind::ContentType, 7),
        ]);
        let receiver = ExtensionMap::of(&[(ExtensionKind::VideoOrientation, 2), (ExtensionKind::PlayoutDelay, 20)]);
        let bytes = packet(&[(3, &[0, 1]), (13, &[1]), (6, &[1, 2, 3]), (7, &[0]), (9, &[5])]);
        let kept = ForwardedExtensions::gather(&RtpPacket::parse(&bytes).unwrap(), &publisher);
        let kinds: Vec<_> = ForwardedExtensions::iter(kept.as_bytes()).map(|(kind, _)| kind).collect();
        assert_eq!(kinds, [ExtensionKind::VideoOrientation, ExtensionKind::PlayoutDelay, ExtensionKind::ContentType]);
        let sent: Vec<_> = ForwardedExtensions::for_receiver(kept.as_bytes(), &receiver).collect();
        assert_eq!(sent, [(2, &[1u8][..]), (20, &[1, 2, 3][..])]);
    }

    #[test]
    fn an_element_that_does_not_fit_is_left_out_whole() {
        let map = ExtensionMap::of(&[(ExtensionKind::DependencyDescriptor, 1), (ExtensionKind::ColorSpace, 2)]);
        let bytes = packet(&[(1, &[7; 255]), (1, &[8; 255]), (2, &[9; 28])]);
        let kept = ForwardedExtensions::gather(&RtpPacket::parse(&bytes).unwrap(), &map);
        let lens: Vec<_> = ForwardedExtensions::iter(kept.as_bytes()).map(|(_, data)| data.len()).collect();
        assert_eq!(lens, [255, 28]);
    }

    proptest! {
        #[test]
        fn arbitrary_compact_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            prop_assert!(ForwardedExtensions::iter(&bytes).count() <= bytes.len() / 2);
        }
    }
}
