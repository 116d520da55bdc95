//! RTP packets on the wire (RFC 3550 section 5.1) with header extensions (RFC 8285): a checked view and a writer.
//!
//! The uplink parses each received packet once; the downlink writes one header per packet and receiver. Neither
//! allocates.

use crate::units::{PayloadType, RtpTime, SeqNo, Ssrc};

const VERSION: u8 = 2;
const PADDING_BIT: u8 = 0x20;
pub(super) const EXTENSION_BIT: u8 = 0x10;
pub(super) const FIXED_HEADER: usize = 12;
/// "Defined by profile" of the one-byte form.
pub(super) const ONE_BYTE_PROFILE: u16 = 0xBEDE;
/// The same of the two-byte form; its low four bits are free for the application.
const TWO_BYTE_PROFILE: u16 = 0x1000;
/// Largest id and length of the one-byte form.
pub(super) const ONE_BYTE_MAX_ID: u8 = 14;
pub(super) const ONE_BYTE_MAX_LEN: usize = 16;

/// A received RTP packet, every length checked.
#[derive(Clone, Copy, Debug)]
pub struct RtpPacket<'a> {
    fixed: [u8; FIXED_HEADER],
    extensions: Extensions<'a>,
    payload: &'a [u8],
    padding: usize,
}

impl<'a> RtpPacket<'a> {
    /// `None` where `bytes` are not one well-formed RTP packet. A packet of padding only is well-formed: its payload is
    /// empty.
    pub fn parse(bytes: &'a [u8]) -> Option<RtpPacket<'a>> {
        let (fixed, rest) = bytes.split_first_chunk::<FIXED_HEADER>()?;
        let [first, ..] = *fixed;
        if first >> 6 != VERSION {
            return None;
        }
        let csrcs = usize::from(first & 0x0F) * 4;
        let mut body = rest.get(csrcs..)?;
        let mut extensions = Extensions::NONE;
        if first & EXTENSION_BIT != 0 {
            let ([p0, p1, w0, w1], rest) = body.split_first_chunk::<4>()?;
            let len = usize::from(u16::from_be_bytes([*w0, *w1])) * 4;
            extensions = Extensions::new(u16::from_be_bytes([*p0, *p1]), rest.get(..len)?);
            body = rest.get(len..)?;
        }
        let padding = match first & PADDING_BIT {
            0 => 0,
            // The count includes itself, so it is never 0.
            _ => usize::from(*body.last().filter(|count| **count != 0)?),
        };
        let payload = body.get(..body.len().checked_sub(padding)?)?;
        Some(RtpPacket { fixed: *fixed, extensions, payload, padding })
    }

    /// Marker bit: for video, the last packet of a frame; for audio, the first of a talk spurt.
    pub fn marker(&self) -> bool {
        let [_, second, ..] = self.fixed;
        second & 0x80 != 0
    }

    /// Payload type.
    pub fn payload_type(&self) -> PayloadType {
        let [_, second, ..] = self.fixed;
        PayloadType(second & 0x7F)
    }

    /// Sequence number.
    pub fn seq(&self) -> SeqNo {
        let [_, _, a, b, ..] = self.fixed;
        SeqNo(u16::from_be_bytes([a, b]))
    }

    /// Timestamp.
    pub fn timestamp(&self) -> RtpTime {
        let [_, _, _, _, a, b, c, d, ..] = self.fixed;
        RtpTime(u32::from_be_bytes([a, b, c, d]))
    }

    /// Synchronisation source.
    pub fn ssrc(&self) -> Ssrc {
        let [.., a, b, c, d] = self.fixed;
        Ssrc(u32::from_be_bytes([a, b, c, d]))
    }

    /// Header extension elements, in packet order.
    pub fn extensions(&self) -> Extensions<'a> {
        self.extensions
    }

    /// The payload, without padding; empty in a packet of padding only.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Bytes of padding behind the payload.
    pub fn padding(&self) -> usize {
        self.padding
    }
}

/// Iterates over extension elements as (id, bytes). Ends early at an element that the rules forbid or that is cut off.
#[derive(Clone, Copy, Debug)]
pub struct Extensions<'a> {
    form: Form,
    block: &'a [u8],
}

/// How elements are written (RFC 8285 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    OneByte,
    TwoByte,
}

impl<'a> Extensions<'a> {
    const NONE: Extensions<'static> = Extensions { form: Form::OneByte, block: &[] };

    fn new(profile: u16, block: &'a [u8]) -> Self {
        match profile {
            ONE_BYTE_PROFILE => Extensions { form: Form::OneByte, block },
            p if p & 0xFFF0 == TWO_BYTE_PROFILE => Extensions { form: Form::TwoByte, block },
            _ => Extensions::NONE,
        }
    }

    /// Id, length and what follows their header, of the element at the front; `None` at the end.
    fn split_element(&self) -> Option<(u8, usize, &'a [u8])> {
        let mut block = self.block;
        while let Some((0, rest)) = block.split_first() {
            block = rest;
        }
        let (first, rest) = block.split_first()?;
        match self.form {
            Form::OneByte => {
                let (id, len) = (first >> 4, usize::from(first & 0x0F) + 1);
                // Id 0 with a length, and id 15, end the processing (RFC 8285 section 4.2).
                (id != 0 && id <= ONE_BYTE_MAX_ID).then_some((id, len, rest))
            }
            Form::TwoByte => {
                let (len, rest) = rest.split_first()?;
                Some((*first, usize::from(*len), rest))
            }
        }
    }
}

impl<'a> Iterator for Extensions<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let element = self.split_element().and_then(|(id, len, rest)| Some((id, rest.split_at_checked(len)?)));
        let Some((id, (data, rest))) = element else {
            self.block = &[];
            return None;
        };
        self.block = rest;
        Some((id, data))
    }
}

/// The fields of an outgoing packet's fixed header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpHeader {
    /// Marker bit.
    pub marker: bool,
    /// Payload type that the receiver negotiated.
    pub payload_type: PayloadType,
    /// Sequence number.
    pub seq: SeqNo,
    /// Timestamp.
    pub timestamp: RtpTime,
    /// The slot's synchronisation source.
    pub ssrc: Ssrc,
}

impl RtpHeader {
    /// Of a packet without extensions, padding and contributing sources.
    #[inline]
    pub(super) fn to_bytes(self) -> [u8; FIXED_HEADER] {
        let ([s0, s1], [t0, t1, t2, t3]) = (self.seq.0.to_be_bytes(), self.timestamp.0.to_be_bytes());
        let [r0, r1, r2, r3] = self.ssrc.0.to_be_bytes();
        let second = (u8::from(self.marker) << 7) | (self.payload_type.0 & 0x7F);
        [VERSION << 6, second, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3]
    }
}

/// Appends a header with `elements` (id, bytes) to `out` and returns its length. The one-byte form is taken where every
/// element fits it, else the two-byte form where the receiver allows it; elements that fit neither are left out.
pub fn write_header<'a>(
    out: &mut Vec<u8>,
    header: &RtpHeader,
    elements: impl Iterator<Item = (u8, &'a [u8])> + Clone,
    two_byte_allowed: bool,
) -> usize {
    let start = out.len();
    out.extend_from_slice(&header.to_bytes());
    if !write_extensions(out, start, Form::OneByte, elements.clone()) && two_byte_allowed {
        out.truncate(start + FIXED_HEADER);
        write_extensions(out, start, Form::TwoByte, elements);
    }
    out.len() - start
}

/// Appends `count` bytes of padding (RFC 3550 section 5.1) to the packet that begins at `start` of `out`. It must have
/// none yet; nothing happens for a `count` of 0.
pub fn append_padding(out: &mut Vec<u8>, start: usize, count: u8) {
    if count == 0 {
        return;
    }
    if let Some(first) = out.get_mut(start) {
        *first |= PADDING_BIT;
        out.resize(out.len() + usize::from(count) - 1, 0);
        out.push(count);
    }
}

/// Whether the packet `bytes[start..]` has padding already: its last byte counts it.
pub fn is_padded(bytes: &[u8], start: usize) -> bool {
    bytes.get(start).is_some_and(|first| first & PADDING_BIT != 0)
}

/// Appends the extension block in this form, if anything fits it. False where an element does not fit and was left out.
fn write_extensions<'a>(
    out: &mut Vec<u8>,
    start: usize,
    form: Form,
    elements: impl Iterator<Item = (u8, &'a [u8])>,
) -> bool {
    let profile = if form == Form::OneByte { ONE_BYTE_PROFILE } else { TWO_BYTE_PROFILE };
    let [high, low] = profile.to_be_bytes();
    out.extend_from_slice(&[high, low, 0, 0]);
    let block = out.len();
    let mut all_fit = true;
    elements.for_each(|(id, data)| match form {
        _ if id == 0 => {}
        Form::OneByte if id <= ONE_BYTE_MAX_ID && (1..=ONE_BYTE_MAX_LEN).contains(&data.len()) => {
            out.push((id << 4) | (data.len() - 1) as u8);
            out.extend_from_slice(data);
        }
        Form::TwoByte if data.len() <= usize::from(u8::MAX) => {
            out.extend_from_slice(&[id, data.len() as u8]);
            out.extend_from_slice(data);
        }
        _ => all_fit = false,
    });
    if out.len() == block {
        out.truncate(block - 4);
        return all_fit;
    }
    out.resize(block + (out.len() - block).next_multiple_of(4), 0);
    let words = ((out.len() - block) / 4) as u16;
    if let Some(length) = out.get_mut(block - 2..block) {
        length.copy_from_slice(&words.to_be_bytes());
    }
    if let Some(first) = out.get_mut(start) {
        *first |= EXTENSION_BIT;
    }
    all_fit
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    const HEADER: RtpHeader = RtpHeader {
        marker: true,
        payload_type: PayloadType(96),
        seq: SeqNo(0x1234),
        timestamp: RtpTime(0xDEAD_BEEF),
        ssrc: Ssrc(0x0102_0304),
    };

    fn written(elements: &[(u8, &[u8])], two_byte_allowed: bool) -> Vec<u8> {
        let mut out = vec![];
        let len = write_header(&mut out, &HEADER, elements.iter().copied(), two_byte_allowed);
        assert_eq!(len, out.len());
        out
    }

    /// A header with an extension block of `profile` and `block`, and a payload of two bytes.
    fn with_block(profile: u16, block: &[u8]) -> Vec<u8> {
        let mut bytes = written(&[], false);
        bytes[0] |= EXTENSION_BIT;
        bytes.extend(profile.to_be_bytes());
        bytes.extend(((block.len() / 4) as u16).to_be_bytes());
        bytes.extend(block);
        bytes.extend([0xAA, 0xBB]);
        bytes
    }

    #[test]
    fn fields_are_read_where_they_were_written() {
        let mut bytes = written(&[(3, &[7, 8]), (14, &[1; 16])], false);
        bytes.extend([1, 2, 3]);
        let packet = RtpPacket::parse(&bytes).unwrap();
        assert!(packet.marker());
        assert_eq!(packet.payload_type(), HEADER.payload_type);
        assert_eq!(packet.seq(), HEADER.seq);
        assert_eq!(packet.timestamp(), HEADER.timestamp);
        assert_eq!(packet.ssrc(), HEADER.ssrc);
        assert_eq!(packet.payload(), [1, 2, 3]);
        assert_eq!(packet.extensions().collect::<Vec<_>>(), [(3, &[7u8, 8][..]), (14, &[1; 16][..])]);
    }

    #[test]
    fn csrcs_are_skipped() {
        let mut bytes = written(&[], false);
        bytes[0] |= 2;
        bytes.extend([9; 8]);
        bytes.push(5);
        assert_eq!(RtpPacket::parse(&bytes).unwrap().payload(), [5]);
        assert!(RtpPacket::parse(&bytes[..19]).is_none(), "a CSRC list that is cut off");
    }

    #[test]
    fn other_versions_are_refused() {
        let mut bytes = written(&[], false);
        bytes[0] = 0x40;
        assert!(RtpPacket::parse(&bytes).is_none());
    }

    #[test]
    fn padding_of_every_length_is_taken_off_and_impossible_lengths_are_refused() {
        for count in [1u8, 4, 255] {
            let mut bytes = written(&[], false);
            bytes.extend([1, 2, 3]);
            append_padding(&mut bytes, 0, count);
            let packet = RtpPacket::parse(&bytes).unwrap();
            assert_eq!((packet.payload(), packet.padding()), (&[1u8, 2, 3][..], usize::from(count)));
        }
        let mut bytes = written(&[], false);
        append_padding(&mut bytes, 0, 200);
        assert!(RtpPacket::parse(&bytes).unwrap().payload().is_empty(), "padding only is a valid packet");
        for count in [0, 201, 255] {
            *bytes.last_mut().unwrap() = count;
            assert!(RtpPacket::parse(&bytes).is_none(), "padding count {count} of 200");
        }
        bytes.truncate(FIXED_HEADER);
        assert!(RtpPacket::parse(&bytes).is_none(), "the padding bit without a byte to count in");
    }

    #[test]
    fn padding_bytes_between_elements_are_skipped_in_both_forms() {
        let bytes = with_block(ONE_BYTE_PROFILE, &[0, 0x10, 7, 0, 0, 0x21, 8, 9]);
        let packet = RtpPacket::parse(&bytes).unwrap();
        assert_eq!(packet.extensions().collect::<Vec<_>>(), [(1, &[7u8][..]), (2, &[8, 9][..])]);
        assert_eq!(packet.payload(), [0xAA, 0xBB]);
        let bytes = with_block(0x100F, &[0, 1, 0, 200, 1, 7, 0, 0]);
        let packet = RtpPacket::parse(&bytes).unwrap();
        assert_eq!(packet.extensions().collect::<Vec<_>>(), [(1, &[][..]), (200, &[7u8][..])]);
    }

    #[test]
    fn id_15_and_id_0_with_a_length_end_the_one_byte_form() {
        for stop in [0xF0, 0x02] {
            let bytes = with_block(ONE_BYTE_PROFILE, &[0x10, 7, stop, 9, 0x20, 8, 0, 0]);
            let packet = RtpPacket::parse(&bytes).unwrap();
            assert_eq!(packet.extensions().collect::<Vec<_>>(), [(1, &[7u8][..])], "stop byte {stop:#x}");
        }
    }

    #[test]
    fn an_unknown_extension_profile_has_no_elements_but_a_payload() {
        let bytes = with_block(0x4321, &[0x10, 7, 0, 0]);
        let packet = RtpPacket::parse(&bytes).unwrap();
        assert_eq!(packet.extensions().count(), 0);
        assert_eq!(packet.payload(), [0xAA, 0xBB]);
    }

    #[test]
    fn an_element_that_is_cut_off_is_not_given_out() {
        let bytes = with_block(ONE_BYTE_PROFILE, &[0x10, 7, 0x2F, 8]);
        assert_eq!(RtpPacket::parse(&bytes).unwrap().extensions().collect::<Vec<_>>(), [(1, &[7u8][..])]);
    }

    #[test]
    fn the_two_byte_form_is_taken_only_where_needed_and_allowed() {
        let elements: [(u8, &[u8]); 3] = [(1, &[1]), (2, &[2; 17]), (20, &[])];
        let two = written(&elements, true);
        assert_eq!(RtpPacket::parse(&two).unwrap().extensions().collect::<Vec<_>>(), elements);
        let one = written(&elements, false);
        assert_eq!(RtpPacket::parse(&one).unwrap().extensions().collect::<Vec<_>>(), [(1, &[1u8][..])]);
        assert_eq!(written(&elements[1..], false).len(), FIXED_HEADER, "no empty extension block");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), first in 0x80u8..0xC0) {
            let mut bytes = bytes;
            if let Some(byte) = bytes.first_mut() {
                *byte = first;
            }
            if let Some(packet) = RtpPacket::parse(&bytes) {
                let used: usize = packet.extensions().map(|(_, data)| data.len()).sum();
                prop_assert!(used + packet.payload().len() + packet.padding() + FIXED_HEADER <= bytes.len());
            }
        }

        #[test]
        fn what_is_written_is_read_back(
            elements in proptest::collection::vec((1u8..=255, proptest::collection::vec(any::<u8>(), 0..40)), 0..8),
        ) {
            let elements: Vec<(u8, &[u8])> = elements.iter().filter(|(id, _)| *id != 15).map(|(id, d)| (*id, &d[..])).collect();
            let bytes = written(&elements, true);
            prop_assert_eq!(RtpPacket::parse(&bytes).unwrap().extensions().collect::<Vec<_>>(), elements);
        }
    }
}
