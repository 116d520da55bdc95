//! Encoded frames as RTP payloads, split as libwebrtc does: into as many packets as are needed, of nearly equal size.

use super::clip::Codec;
use super::container::nal_units;
use crate::client::MAX_PAYLOAD;

/// Bytes of the VP8 descriptor: X and S; I (15 bits), L and T; PictureID; TL0PICIDX; layer.
const VP8_HEAD: usize = 6;
/// Bytes of the VP9 descriptor that every packet has: flags and a PictureID of 15 bits.
const VP9_HEAD: usize = 3;

/// Bytes at a payload's beginning that number frames, so that they differ from one pass of the clip to the next.
pub(super) fn head(codec: Codec) -> usize {
    match codec {
        Codec::Vp8 => VP8_HEAD,
        Codec::Vp9 => VP9_HEAD,
        Codec::H264 | Codec::Av1 => 0,
    }
}

/// Writes the number of a frame into a payload of it. `number` counts frames.
pub(super) fn set_number(codec: Codec, payload: &mut [u8], number: u32) {
    let [high, low] = (number as u16).to_be_bytes();
    match (codec, payload) {
        (Codec::Vp8, [_, _, a, b, tl0, ..]) => (*a, *b, *tl0) = (0x80 | high, low, number as u8),
        (Codec::Vp9, [_, a, b, ..]) => (*a, *b) = (0x80 | high, low),
        _ => {}
    }
}

/// RFC 7741: one temporal layer.
pub(super) fn vp8(frame: &[u8], _: bool) -> Vec<Vec<u8>> {
    let packets = even(frame).enumerate();
    packets.map(|(index, part)| [&[0x80 | u8::from(index == 0) << 4, 0xe0, 0x80, 0, 0, 0][..], part].concat()).collect()
}

/// RFC 9628 in flexible mode off, without layers. The key frame's first packet carries the scalability structure with
/// its size.
pub(super) fn vp9(frame: &[u8], key: bool) -> Vec<Vec<u8>> {
    let (last, size) = (even(frame).count() - 1, vp9_size(frame).filter(|_| key));
    let packets = even(frame).enumerate().map(|(index, part)| {
        let structure = size.filter(|_| index == 0);
        let flags = 0x80 // I
            | u8::from(!key) << 6 // P
            | u8::from(index == 0) << 3 // B
            | u8::from(index == last) << 2 // E
            | u8::from(structure.is_some()) << 1; // V
        let mut payload = vec![flags, 0x80, 0];
        if let Some((width, height)) = structure {
            // N_S 0 (one spatial layer), Y 1 (with its size), G 0.
            payload.push(0x10);
            payload.extend(width.to_be_bytes().into_iter().chain(height.to_be_bytes()));
        }
        payload.extend_from_slice(part);
        payload
    });
    packets.collect()
}

/// Width and height in a key frame's uncompressed header of profile 0: marker, profile, flags and sync code take 4
/// bytes, colour space and range 4 bits, then 16 bits each, less one.
fn vp9_size(frame: &[u8]) -> Option<(u16, u16)> {
    let bits = |at: usize| {
        Some((u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]) << 4) | u16::from(frame.get(at + 2)? >> 4))
    };
    Some((bits(4)? + 1, bits(6)? + 1))
}

/// RFC 6184 with packetization-mode 1: parameter sets aggregated, slices fragmented.
pub(super) fn h264(picture: &[u8], _: bool) -> Vec<Vec<u8>> {
    const STAP_A: u8 = 24;
    const FU_A: u8 = 28;
    let kind = |unit: &[u8]| unit.first().map_or(0, |first| first & 0x1f);
    let units = nal_units(picture);
    let mut payloads = Vec::new();
    let sets: Vec<&&[u8]> = units.iter().filter(|unit| matches!(kind(unit), 7 | 8)).collect();
    if !sets.is_empty() {
        let mut aggregate = vec![0x60 | STAP_A];
        for set in sets {
            aggregate.extend((set.len() as u16).to_be_bytes());
            aggregate.extend_from_slice(set);
        }
        payloads.push(aggregate);
    }
    for slice in units.iter().filter(|unit| matches!(kind(unit), 1 | 5)) {
        if slice.len() <= MAX_PAYLOAD {
            payloads.push(slice.to_vec());
            continue;
        }
        let (header, body) = (slice[0], &slice[1..]);
        let last = even(body).count() - 1;
        payloads.extend(even(body).enumerate().map(|(index, part)| {
            let edges = u8::from(index == 0) << 7 | u8::from(index == last) << 6;
            [&[header & 0x60 | FU_A, edges | header & 0x1f][..], part].concat()
        }));
    }
    payloads
}

/// AV1 RTP specification 1.0: the OBUs of a temporal unit as elements with a length each (W 0).
pub(super) fn av1(unit: &[u8], key: bool) -> Vec<Vec<u8>> {
    const LENGTH: usize = 2;
    let obus = obus(unit);
    let total: usize = obus.iter().map(|obu| obu.len() + LENGTH).sum();
    let count = total.div_ceil(MAX_PAYLOAD - 2 * LENGTH);
    // An element that goes on in the next packet has a length there too, and a packet's last bytes may be too few for
    // one.
    let size = total.div_ceil(count) + 2 * LENGTH;
    let mut payloads = vec![vec![u8::from(key) << 3]];
    let mut room = size;
    for obu in obus {
        let mut rest = &obu[..];
        while !rest.is_empty() {
            if room <= LENGTH {
                payloads.push(vec![0]);
                room = size;
            }
            let (part, after) = rest.split_at(rest.len().min(room - LENGTH));
            let open = payloads.last_mut().expect("one is open");
            // Always two bytes, so that lengths do not depend on themselves.
            open.extend([0x80 | (part.len() & 0x7f) as u8, (part.len() >> 7) as u8]);
            open.extend_from_slice(part);
            room -= part.len() + LENGTH;
            if !after.is_empty() {
                // Y: goes on; Z: goes on from before.
                open[0] |= 0x40;
                payloads.push(vec![0x80]);
                room = size;
            }
            rest = after;
        }
    }
    payloads
}

/// The OBUs of a temporal unit without their size fields, and without temporal delimiters.
fn obus(mut unit: &[u8]) -> Vec<Vec<u8>> {
    const HAS_SIZE: u8 = 0x02;
    const HAS_EXTENSION: u8 = 0x04;
    const TEMPORAL_DELIMITER: u8 = 2;
    let mut obus = Vec::new();
    while let Some((first, rest)) = unit.split_first() {
        let (extension, rest) = rest.split_at(usize::from(first & HAS_EXTENSION != 0));
        let mut length = 0;
        let mut used = 0;
        for byte in rest {
            length |= usize::from(byte & 0x7f) << (7 * used);
            used += 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let Some((body, after)) = rest[used..].split_at_checked(length) else { break };
        if first >> 3 & 0x0f != TEMPORAL_DELIMITER {
            obus.push([&[first & !HAS_SIZE][..], extension, body].concat());
        }
        unit = after;
    }
    obus
}

/// Parts of nearly equal size, at most [`MAX_PAYLOAD`] each.
fn even(frame: &[u8]) -> impl Iterator<Item = &[u8]> {
    let count = frame.len().div_ceil(MAX_PAYLOAD).max(1);
    frame.chunks(frame.len().div_ceil(count).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::clip::Clip;
    use sfu_engine::rtp::codec::{h264, vp8};

    #[test]
    fn the_engine_reads_what_is_sent() {
        let first = |codec: Codec, frame: usize| Clip::video(codec).encodings[1][frame].payloads[0].clone();
        let mut payload = first(Codec::Vp8, 0);
        set_number(Codec::Vp8, &mut payload, 0x1234);
        let meta = vp8::parse(&payload).unwrap();
        assert_eq!((meta.starts_frame, meta.keyframe, meta.size), (true, true, Some((640, 360))));
        assert_eq!(meta.picture.map(|numbers| (numbers.picture_id, numbers.tl0_pic_idx)), Some((0x1234, 0x34)));
        assert!(!vp8::parse(&first(Codec::Vp8, 1)).unwrap().keyframe);
        let meta = h264::parse(&first(Codec::H264, 0), Some(true), false, &mut Default::default());
        assert_eq!((meta.keyframe, meta.size), (true, Some((640, 360))));
        assert!(!h264::parse(&first(Codec::H264, 1), Some(true), false, &mut Default::default()).keyframe);
    }

    #[test]
    fn vp9_says_its_size_with_the_key_frame() {
        let key = &Clip::video(Codec::Vp9).encodings[2][0].payloads[0];
        assert_eq!(key[..8], [0x8a, 0x80, 0, 0x10, 0x05, 0x00, 0x02, 0xd0]);
        assert_eq!(Clip::video(Codec::Vp9).encodings[2][1].payloads[0][0] & 0xc8, 0xc8);
    }

    #[test]
    fn av1_elements_make_up_the_obus_again() {
        let file = include_bytes!("../../media/av1-h.ivf");
        for (index, unit) in super::super::container::ivf_frames(file).into_iter().enumerate() {
            let mut elements: Vec<Vec<u8>> = Vec::new();
            let packets = av1(unit, index == 0);
            for payload in &packets {
                let (mut goes_on, mut rest) = (payload[0] & 0x80 != 0, &payload[1..]);
                while let [low, high, after @ ..] = rest {
                    let (part, after) = after.split_at(usize::from(low & 0x7f) | usize::from(*high) << 7);
                    match elements.last_mut() {
                        Some(open) if goes_on => open.extend_from_slice(part),
                        _ => elements.push(part.to_vec()),
                    }
                    (goes_on, rest) = (false, after);
                }
                assert!((100..=MAX_PAYLOAD + 1).contains(&payload.len()), "{} bytes", payload.len());
            }
            assert_eq!(elements, obus(unit));
            assert_eq!(packets[0][0] & 0x08 != 0, index == 0);
        }
    }
}
