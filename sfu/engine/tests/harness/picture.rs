//! VP8 packets whose payload says which picture they are and which picture that one needs.

use super::sdp::{H264, VP9};

/// Bytes of descriptor, frame tag and [`Picture`] in each packet.
pub const OVERHEAD: usize = 6 + 10 + 18;

/// The descriptor fields that a server renumbers or reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    pub starts: bool,
    pub picture_id: u16,
    pub tl0: u8,
    pub temporal: u8,
    pub sync: bool,
    pub key_index: u8,
}

/// A picture as its encoder numbers it, and one packet's place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Which camera.
    pub camera: u32,
    pub encoding: u8,
    pub number: u32,
    /// The picture that this one is predicted from; itself for a keyframe.
    pub needs: u32,
    pub temporal: u8,
    pub index: u8,
    pub count: u8,
    pub width: u16,
    pub height: u16,
}

impl Picture {
    pub fn is_keyframe(&self) -> bool {
        self.needs == self.number
    }

    pub fn id(&self) -> (u32, u8, u32) {
        (self.camera, self.encoding, self.number)
    }
}

pub fn write(descriptor: &Descriptor, picture: &Picture, size: usize) -> Vec<u8> {
    let mut out = vec![0x80 | if descriptor.starts { 0x10 } else { 0 }, 0xF0];
    out.extend((descriptor.picture_id | 0x8000).to_be_bytes());
    out.push(descriptor.tl0);
    out.push(descriptor.temporal << 6 | u8::from(descriptor.sync) << 5 | descriptor.key_index & 0x1F);
    // The uncompressed header (RFC 6386 section 9.1) of the first packet; other packets hold whatever.
    out.extend([u8::from(!picture.is_keyframe()), 0, 0, 0x9D, 0x01, 0x2A]);
    out.extend(picture.width.to_le_bytes());
    out.extend(picture.height.to_le_bytes());
    out.extend(picture.camera.to_be_bytes());
    out.push(picture.encoding);
    out.extend(picture.number.to_be_bytes());
    out.extend(picture.needs.to_be_bytes());
    out.extend([picture.temporal, picture.index, picture.count, 0x5A, 0xFE]);
    let filler = picture.number.wrapping_mul(31).wrapping_add(u32::from(picture.index)) as u8;
    out.resize(size.max(OVERHEAD), filler);
    out
}

/// The same packet as one of VP9: behind a descriptor (RFC 9628) that tells of a keyframe its size.
pub fn as_vp9(picture: &Picture, payload: &[u8]) -> Vec<u8> {
    let (starts, ends) = (picture.index == 0, picture.index + 1 == picture.count);
    let tells_size = starts && picture.is_keyframe();
    let bits = [(!picture.is_keyframe(), 0x40), (starts, 0x08), (ends, 0x04), (tells_size, 0x02)];
    let mut out = vec![bits.iter().filter(|(set, _)| *set).map(|(_, bit)| bit).sum()];
    if tells_size {
        out.push(0x10);
        out.extend([picture.width.to_be_bytes(), picture.height.to_be_bytes()].concat());
    }
    out.extend(payload);
    out
}

/// The same packet as one of H.264: a slice, whose keyframes need [`parameter_sets`].
pub fn as_h264(picture: &Picture, payload: &[u8]) -> Vec<u8> {
    let header = if picture.is_keyframe() { 0x65 } else { 0x41 };
    // Only a picture's first slice begins with its first macroblock.
    let first = if picture.index == 0 { 0x80 } else { 0x10 };
    [&[header, first], payload].concat()
}

/// What [`as_vp9`] or [`as_h264`] wrapped.
pub fn unwrapped(codec: u8, payload: &[u8]) -> &[u8] {
    match codec {
        VP9 if payload[0] & 0x02 != 0 => &payload[6..],
        VP9 => &payload[1..],
        H264 => &payload[2..],
        _ => payload,
    }
}

/// SPS (ITU-T H.264 section 7.3.2.1.1) and PPS of an encoding, aggregated. The last byte tells which encoding.
pub fn parameter_sets(picture: &Picture) -> Vec<u8> {
    let golomb = |value: u16| {
        let digits = format!("{:b}", value + 1);
        "0".repeat(digits.len() - 1) + &digits
    };
    let (columns, rows) = (picture.width.div_ceil(16), picture.height.div_ceil(16));
    let crop = golomb((rows * 16 - picture.height) / 2);
    let size = golomb(columns - 1) + &golomb(rows - 1);
    // Id, frame numbers, no order count, one reference, no gaps; size; frames only, inference, cropped at the bottom;
    // nothing else, end.
    let bits = format!("110110100{size}111111{crop}01");
    let bits = format!("{bits}{}", "0".repeat(bits.len().next_multiple_of(8) - bits.len()));
    let mut sps = vec![0x67, 0x42, 0xE0, 0x1F];
    sps.extend(bits.as_bytes().chunks(8).map(|byte| byte.iter().fold(0, |value, bit| value << 1 | (bit - b'0'))));
    assert!(!sps.windows(3).any(|bytes| bytes[..2] == [0, 0] && bytes[2] <= 3), "needs emulation prevention");
    let mut out = vec![0x78, 0, sps.len() as u8];
    out.extend(sps);
    out.extend([0, 3, 0x68, 0xCE, picture.encoding]);
    out
}

/// The encoding of a payload of [`parameter_sets`].
pub fn sets_of(codec: u8, payload: &[u8]) -> Option<u8> {
    (codec == H264 && payload.first() == Some(&0x78)).then(|| payload[payload.len() - 1])
}

/// Panics where the payload is not one that [`write`] made, but for the renumbered fields.
pub fn read(payload: &[u8]) -> (Descriptor, Picture) {
    assert!(payload[0] & !0x10 == 0x80 && payload[1] == 0xF0 && payload[2] & 0x80 != 0, "descriptor {payload:?}");
    let u16_at = |at: usize| u16::from_be_bytes([payload[at], payload[at + 1]]);
    let u32_at = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
    let descriptor = Descriptor {
        starts: payload[0] & 0x10 != 0,
        picture_id: u16_at(2) & 0x7FFF,
        tl0: payload[4],
        temporal: payload[5] >> 6,
        sync: payload[5] & 0x20 != 0,
        key_index: payload[5] & 0x1F,
    };
    let picture = Picture {
        width: u16::from_le_bytes([payload[12], payload[13]]),
        height: u16::from_le_bytes([payload[14], payload[15]]),
        camera: u32_at(16),
        encoding: payload[20],
        number: u32_at(21),
        needs: u32_at(25),
        temporal: payload[29],
        index: payload[30],
        count: payload[31],
    };
    assert_eq!(payload[32..34], [0x5A, 0xFE], "the payload was damaged");
    let filler = picture.number.wrapping_mul(31).wrapping_add(u32::from(picture.index)) as u8;
    assert!(payload[34..].iter().all(|byte| *byte == filler), "the payload was damaged");
    assert_eq!(picture.temporal, descriptor.temporal);
    assert_eq!(picture.index == 0, descriptor.starts);
    (descriptor, picture)
}
