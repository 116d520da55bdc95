//! VP8 packets whose payload says which picture they are and which picture that one needs.

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
