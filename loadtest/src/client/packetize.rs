//! Frames as RTP payloads and back: VP8 (RFC 7741) and H.264 (RFC 6184), carrying instead of a picture a [`Stamp`] that
//! says what the frame truly is.

use super::encoder::Frame;
use crate::scenario::Codec;

/// Payload bytes of one packet, so that it stays below 1200 bytes with headers, as libwebrtc keeps it.
pub const MAX_PAYLOAD: usize = 1150;
/// Bytes of a stamp.
const STAMP: usize = 24;
const NO_REFERENCE: u32 = u32::MAX;

/// What a frame truly is, for the receiver's books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Who publishes: place in the cast.
    pub publisher: u16,
    /// Which of its tracks.
    pub track: u8,
    /// Which encoding, lowest first.
    pub encoding: u8,
    /// Temporal layer.
    pub temporal: u8,
    /// Number within the encoding.
    pub number: u32,
    /// The frame that it needs.
    pub reference: Option<u32>,
    /// Picture height.
    pub height: u16,
    /// When it was captured, in microseconds since the start.
    pub captured_us: u64,
}

impl Stamp {
    fn bytes(&self) -> [u8; STAMP] {
        let mut out = [0; STAMP];
        out[0..2].copy_from_slice(&self.publisher.to_be_bytes());
        (out[2], out[3], out[4]) = (self.track, self.encoding, self.temporal);
        out[6..8].copy_from_slice(&self.height.to_be_bytes());
        out[8..12].copy_from_slice(&self.number.to_be_bytes());
        out[12..16].copy_from_slice(&self.reference.unwrap_or(NO_REFERENCE).to_be_bytes());
        out[16..24].copy_from_slice(&self.captured_us.to_be_bytes());
        out
    }

    fn read(bytes: &[u8]) -> Option<Stamp> {
        let b = bytes.first_chunk::<STAMP>()?;
        let word = |at: usize| u32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
        let reference = word(12);
        Some(Stamp {
            publisher: u16::from_be_bytes([b[0], b[1]]),
            track: b[2],
            encoding: b[3],
            temporal: b[4],
            height: u16::from_be_bytes([b[6], b[7]]),
            number: word(8),
            reference: (reference != NO_REFERENCE).then_some(reference),
            captured_us: u64::from(word(16)) << 32 | u64::from(word(20)),
        })
    }
}

/// Numbers of the VP8 descriptor.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Vp8Numbers {
    /// PictureID, 15 bits.
    pub picture_id: u16,
    /// TL0PICIDX.
    pub tl0: u8,
}

/// What the first packet of a frame shows, or any other of the same frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// Set in the frame's first packet.
    pub stamp: Option<Stamp>,
    /// First packet of a frame.
    pub starts: bool,
}

/// Splits a frame into payloads of nearly equal size. The last carries the marker.
pub(super) fn packetize(codec: Codec, frame: &Frame, stamp: &Stamp, numbers: Vp8Numbers) -> Vec<Vec<u8>> {
    let mut body = Vec::with_capacity(frame.bytes + 64);
    match codec {
        Codec::Vp8 => vp8_header(&mut body, frame, stamp.height),
        Codec::H264 => body.push(0x80), // first_mb_in_slice 0
    }
    body.extend_from_slice(&stamp.bytes());
    body.resize(frame.bytes.max(body.len()), 0x55);
    let count = body.len().div_ceil(MAX_PAYLOAD);
    let size = body.len().div_ceil(count);
    let chunks = body.chunks(size).count();
    let mut payloads: Vec<Vec<u8>> = Vec::with_capacity(count + 1);
    if codec == Codec::H264 && frame.is_keyframe() {
        payloads.push(parameter_sets(stamp.height));
    }
    for (index, chunk) in body.chunks(size).enumerate() {
        let mut payload = Vec::with_capacity(chunk.len() + 6);
        match codec {
            Codec::Vp8 => vp8_descriptor(&mut payload, index == 0, frame, numbers),
            Codec::H264 => fragment_header(&mut payload, index == 0, index + 1 == chunks, frame),
        }
        payload.extend_from_slice(chunk);
        payloads.push(payload);
    }
    payloads
}

/// Reads what a received payload shows.
pub(super) fn inspect(codec: Codec, payload: &[u8]) -> Seen {
    match codec {
        Codec::Vp8 => inspect_vp8(payload),
        Codec::H264 => inspect_h264(payload),
    }
}

/// X, S; I with 15 bits, L, T and K.
fn vp8_descriptor(out: &mut Vec<u8>, first: bool, frame: &Frame, numbers: Vp8Numbers) {
    let [high, low] = numbers.picture_id.to_be_bytes();
    let layer = frame.temporal << 6 | u8::from(frame.layer_sync) << 5;
    out.extend_from_slice(&[0x80 | u8::from(first) << 4, 0xe0, 0x80 | high, low, numbers.tl0, layer]);
}

/// Payload header; a key frame has start code and size too (RFC 6386 section 9.1).
fn vp8_header(out: &mut Vec<u8>, frame: &Frame, height: u16) {
    out.extend_from_slice(&[0x10 | u8::from(!frame.is_keyframe()), 0, 0]);
    if frame.is_keyframe() {
        let [w0, w1] = width_of(height).to_le_bytes();
        let [h0, h1] = height.to_le_bytes();
        out.extend_from_slice(&[0x9d, 0x01, 0x2a, w0, w1, h0, h1]);
    }
}

fn inspect_vp8(payload: &[u8]) -> Seen {
    let [first, _, _, _, _, _, header, ..] = payload else { return Seen { stamp: None, starts: false } };
    let starts = first & 0x10 != 0;
    let header_len = if header & 1 == 0 { 10 } else { 3 };
    let stamp = payload.get(6 + header_len..).filter(|_| starts).and_then(Stamp::read);
    Seen { stamp, starts }
}

/// FU-A (RFC 6184 section 5.8): indicator and header.
fn fragment_header(out: &mut Vec<u8>, first: bool, last: bool, frame: &Frame) {
    let kind = if frame.is_keyframe() { 5 } else { 1 };
    out.extend_from_slice(&[0x60 | 28, u8::from(first) << 7 | u8::from(last) << 6 | kind]);
}

/// STAP-A with SPS and PPS, in a packet of its own in front of the IDR picture.
fn parameter_sets(height: u16) -> Vec<u8> {
    let sps = sps(height);
    let pps = [0x68, 0xce, 0x3c, 0x80];
    let mut out = vec![0x60 | 24];
    for unit in [&sps[..], &pps[..]] {
        out.extend_from_slice(&(unit.len() as u16).to_be_bytes());
        out.extend_from_slice(unit);
    }
    out
}

/// A constrained baseline SPS of the given height (ITU-T H.264 section 7.3.2.1.1).
fn sps(height: u16) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.golomb(0); // id
    bits.golomb(0); // frame_num bits
    bits.golomb(2); // order by frame_num
    bits.golomb(1); // reference frames
    bits.put(0, 1);
    let (width, rows) = (u32::from(width_of(height)).div_ceil(16), u32::from(height).div_ceil(16));
    bits.golomb(width - 1);
    bits.golomb(rows - 1);
    bits.put(3, 2); // frames only, direct 8x8 inference
    let cropped = rows * 16 - u32::from(height);
    let narrower = width * 16 - u32::from(width_of(height));
    bits.put(1, 1);
    for crop in [0, narrower / 2, 0, cropped / 2] {
        bits.golomb(crop);
    }
    bits.put(0, 1); // no VUI
    bits.put(1, 1); // stop bit
    [&[0x67, 0x42, 0xe0, 0x1f][..], &bits.bytes].concat()
}

/// Writes bits from the high end.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: u32,
}

impl Bits {
    fn put(&mut self, value: u32, count: u32) {
        for bit in (0..count).rev() {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            if let Some(last) = self.bytes.last_mut() {
                *last |= ((value >> bit & 1) as u8) << (7 - self.used % 8);
            }
            self.used += 1;
        }
    }

    fn golomb(&mut self, value: u32) {
        let length = 32 - (value + 1).leading_zeros();
        self.put(0, length - 1);
        self.put(value + 1, length);
    }
}

fn inspect_h264(payload: &[u8]) -> Seen {
    match payload {
        [indicator, ..] if indicator & 0x1f == 24 => Seen { stamp: None, starts: true },
        [indicator, header, body @ ..] if indicator & 0x1f == 28 && header & 0x80 != 0 => {
            let stamp = body.get(1..).and_then(Stamp::read);
            // A key frame starts with the packet of its parameter sets.
            Seen { stamp, starts: header & 0x1f == 1 }
        }
        _ => Seen { stamp: None, starts: false },
    }
}

/// Width of a 16:9 picture, even.
fn width_of(height: u16) -> u16 {
    (u32::from(height) * 16 / 9) as u16 & !1
}

#[cfg(test)]
mod tests {
    use super::*;
    use sfu_engine::rtp::codec::{h264, vp8};

    fn stamp(reference: Option<u32>) -> Stamp {
        let (number, captured_us) = (7, 1 << 40);
        Stamp { publisher: 3, track: 1, encoding: 2, temporal: 1, number, reference, height: 360, captured_us }
    }

    fn frame(reference: Option<u32>) -> Frame {
        Frame { number: 7, reference, temporal: 1, layer_sync: true, bytes: 3000 }
    }

    #[test]
    fn the_engine_reads_vp8_as_it_is_meant() {
        for reference in [None, Some(6)] {
            let numbers = Vp8Numbers { picture_id: 0x1234, tl0: 9 };
            let payloads = packetize(Codec::Vp8, &frame(reference), &stamp(reference), numbers);
            assert_eq!(payloads.len(), 3);
            let meta = vp8::parse(&payloads[0]).unwrap();
            assert_eq!((meta.starts_frame, meta.keyframe), (true, reference.is_none()));
            assert_eq!((meta.temporal, meta.layer_sync), (1, true));
            assert_eq!(meta.size, reference.is_none().then_some((640, 360)));
            assert_eq!(meta.picture.map(|v| (v.picture_id, v.tl0_pic_idx)), Some((0x1234, 9)));
            assert_eq!(inspect(Codec::Vp8, &payloads[0]).stamp, Some(stamp(reference)));
            assert!(!inspect(Codec::Vp8, &payloads[1]).starts && !vp8::parse(&payloads[1]).unwrap().starts_frame);
        }
    }

    #[test]
    fn the_engine_reads_h264_as_it_is_meant() {
        let payloads = packetize(Codec::H264, &frame(None), &stamp(None), Vp8Numbers::default());
        let meta = h264::parse(&payloads[0], Some(true), false, &mut Default::default());
        assert_eq!((meta.keyframe, meta.size), (true, Some((640, 360))));
        assert!(inspect(Codec::H264, &payloads[0]).starts);
        assert_eq!(inspect(Codec::H264, &payloads[1]).stamp, Some(stamp(None)));
        let delta = packetize(Codec::H264, &frame(Some(6)), &stamp(Some(6)), Vp8Numbers::default());
        assert!(!h264::parse(&delta[0], Some(true), false, &mut Default::default()).keyframe);
        assert!(inspect(Codec::H264, &delta[0]).starts);
    }
}
