//! VP9 payload descriptor (RFC 9628 section 4.2), and the size in the header of a key frame without a scalability structure.

use crate::media::{Dependencies, FrameMeta, PictureNumbers};
use crate::rtp::bits::BitReader;
use crate::rtp::codec::vp8::PICTURE_ID_MASK;
use crate::rtp::dependency::References;

/// Spatial layers that a descriptor can tell apart.
const MAX_SPATIAL: u64 = 8;
/// References of a picture, in the descriptor and in a picture group.
const MAX_DIFFERENCES: usize = 3;

/// What earlier packets of an encoding told about those behind them.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    /// Picture size of each spatial layer.
    sizes: Vec<(u16, u16)>,
    /// References of the pictures of a group, and the picture with which the group first began: the order of non-flexible mode.
    group: Vec<References>,
    group_from: u64,
    /// The newest PictureID, unwrapped.
    newest: Option<u64>,
}

impl Reader {
    /// Reads descriptor and payload header; `None` where the descriptor is cut off or nothing follows it. `marker` is the packet's.
    pub fn parse(&mut self, payload: &[u8], marker: bool) -> Option<FrameMeta> {
        let mut bytes = Bytes { payload, at: 0 };
        let first = bytes.next()?;
        let flag = |bit: u8| first & (0x80 >> bit) != 0;
        let (has_picture_id, predicted, has_layers, flexible) = (flag(0), flag(1), flag(2), flag(3));
        let (starts_frame, ends_frame, has_structure, not_above) = (flag(4), flag(5), flag(6), flag(7));

        let mut numbers = PictureNumbers::default();
        if has_picture_id {
            numbers.picture_id_at = bytes.at;
            let high = bytes.next()?;
            numbers.long_picture_id = high & 0x80 != 0;
            numbers.picture_id = u16::from(high & 0x7F);
            if numbers.long_picture_id {
                numbers.picture_id = numbers.picture_id << 8 | u16::from(bytes.next()?);
            }
        }
        let (mut spatial, mut temporal, mut up_switch, mut inter_layer) = (0, 0, false, false);
        if has_layers {
            let layer = bytes.next()?;
            (temporal, up_switch) = (layer >> 5, layer & 0x10 != 0);
            (spatial, inter_layer) = (layer >> 1 & 7, layer & 1 != 0);
            if !flexible {
                numbers.tl0_at = bytes.at;
                numbers.tl0_pic_idx = bytes.next()?;
            }
        }
        let mut told = flexible.then(References::default);
        if let (Some(references), true) = (told.as_mut(), predicted) {
            for index in 0..=MAX_DIFFERENCES {
                let byte = bytes.next()?;
                // A fourth one must not be there.
                (index < MAX_DIFFERENCES && byte > 1 && references.push(u16::from(byte >> 1))).then_some(())?;
                if byte & 1 == 0 {
                    break;
                }
            }
        }
        let structure = if has_structure { Some(structure(&mut bytes)?) } else { None };
        let header = payload.get(usize::from(bytes.at)..).filter(|header| !header.is_empty())?;

        let keyframe = starts_frame && !predicted && spatial == 0;
        let picture = has_picture_id.then(|| self.unwrap(&numbers, keyframe));
        if let Some(Scalability { sizes, group }) = structure {
            if !sizes.is_empty() {
                self.sizes = sizes;
            }
            (self.group, self.group_from) = (group, picture.unwrap_or(0));
        } else if keyframe {
            self.sizes.clear();
            self.sizes.extend(key_frame_size(header));
        }
        if !predicted {
            told = Some(References::default());
        } else if told.is_none() {
            told = picture.and_then(|picture| self.of_group(picture));
        }
        let dependencies = told.zip(picture).map(|(told, picture)| {
            // Frames count through all spatial layers of all pictures.
            let mut references = References::default();
            for difference in told.as_slice() {
                references.push(difference.saturating_mul(MAX_SPATIAL as u16));
            }
            if inter_layer && spatial > 0 {
                references.push(1);
            }
            Dependencies { number: picture * MAX_SPATIAL + u64::from(spatial), references }
        });
        Some(FrameMeta {
            starts_frame,
            ends_frame: ends_frame || marker,
            keyframe,
            spatial,
            temporal,
            layer_sync: up_switch,
            unneeded_above: not_above,
            size: if starts_frame && !predicted { self.sizes.get(usize::from(spatial)).copied() } else { None },
            picture: Some(numbers),
            dependencies,
            ..FrameMeta::default()
        })
    }

    /// PictureID without its wraps. An earlier packet than the newest may come.
    fn unwrap(&mut self, numbers: &PictureNumbers, keyframe: bool) -> u64 {
        let mask = if numbers.long_picture_id { PICTURE_ID_MASK } else { 0x7F };
        let modulus = u64::from(mask) + 1;
        let Some(newest) = self.newest else {
            // One round ahead, so that what came before the first has a number too.
            return *self.newest.insert(modulus + u64::from(numbers.picture_id));
        };
        let ahead = u64::from(numbers.picture_id.wrapping_sub(newest as u16) & mask);
        let picture =
            if ahead < modulus / 2 || keyframe { newest + ahead } else { (newest + ahead).saturating_sub(modulus) };
        self.newest = Some(newest.max(picture));
        picture
    }

    /// In non-flexible mode the references are those of the picture's place in its group.
    fn of_group(&self, picture: u64) -> Option<References> {
        let since = picture.checked_sub(self.group_from)?;
        self.group.get((since % u64::try_from(self.group.len()).ok().filter(|len| *len > 0)?) as usize).copied()
    }
}

/// The scalability structure.
struct Scalability {
    sizes: Vec<(u16, u16)>,
    group: Vec<References>,
}

/// Reads the scalability structure: sizes of the spatial layers, and the references of a picture group.
fn structure(bytes: &mut Bytes<'_>) -> Option<Scalability> {
    let first = bytes.next()?;
    let mut sizes = Vec::new();
    if first & 0x10 != 0 {
        for _ in 0..=first >> 5 {
            sizes.push((bytes.pair()?, bytes.pair()?));
        }
    }
    let mut group = Vec::new();
    let pictures = if first & 0x08 != 0 { bytes.next()? } else { 0 };
    for _ in 0..pictures {
        let count = bytes.next()? >> 2 & 3;
        let mut references = References::default();
        for _ in 0..count {
            references.push(u16::from(bytes.next()?).max(1));
        }
        group.push(references);
    }
    Some(Scalability { sizes, group })
}

/// Width and height from a key frame's uncompressed header (VP9 bitstream specification, section 6.2).
fn key_frame_size(header: &[u8]) -> Option<(u16, u16)> {
    const SYNC_CODE: u32 = 0x49_8342;
    const SRGB: u32 = 7;
    let mut bits = BitReader::new(header);
    if bits.read(2)? != 2 {
        return None;
    }
    let (low, high) = (bits.read(1)?, bits.read(1)?);
    let profile = high << 1 | low;
    if profile == 3 {
        bits.flag()?; // reserved_zero
    }
    // show_existing_frame, frame_type: only a key frame tells its size here.
    if bits.flag()? || bits.flag()? {
        return None;
    }
    bits.read(2)?; // show_frame, error_resilient_mode
    if bits.read(24)? != SYNC_CODE {
        return None;
    }
    if profile >= 2 {
        bits.flag()?; // ten_or_twelve_bit
    }
    if bits.read(3)? == SRGB {
        bits.read(if profile == 1 || profile == 3 { 1 } else { 0 })?;
    } else {
        bits.read(if profile == 1 || profile == 3 { 4 } else { 1 })?;
    }
    let (width, height) = (bits.read(16)?.checked_add(1)?, bits.read(16)?.checked_add(1)?);
    Some((u16::try_from(width).ok()?, u16::try_from(height).ok()?))
}

struct Bytes<'a> {
    payload: &'a [u8],
    at: u8,
}

impl Bytes<'_> {
    fn next(&mut self) -> Option<u8> {
        let byte = *self.payload.get(usize::from(self.at))?;
        self.at = self.at.checked_add(1)?;
        Some(byte)
    }

    fn pair(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.next()?, self.next()?]))
    }
}

#[cfg(test)]
mod tests {
    // Bits are grouped as their fields are.
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::unusual_byte_groupings)]
    use super::*;
    use proptest::prelude::*;

    /// Flexible mode, as Chromium sends L3T3: I P L F B E V Z; 15 bits of PictureID; TID U SID D; P_DIFFs; then the frame.
    fn flexible(picture_id: u16, layer: u8, differences: &[u8], predicted: bool, flags: u8) -> Vec<u8> {
        let mut payload = vec![0xB0 | u8::from(predicted) << 6 | flags];
        payload.extend((0x8000 | picture_id).to_be_bytes());
        payload.push(layer);
        for (index, difference) in differences.iter().enumerate() {
            payload.push(difference << 1 | u8::from(index + 1 < differences.len()));
        }
        payload
    }

    const B: u8 = 8;
    const E: u8 = 4;
    const V: u8 = 2;
    const Z: u8 = 1;

    /// Three layers of 160 x 90, 320 x 180, 640 x 360.
    const SIZES: [u8; 13] = [0x50, 0, 160, 0, 90, 1, 64, 0, 180, 2, 128, 1, 104];

    #[test]
    fn a_key_picture_tells_the_size_of_every_layer() {
        let mut reader = Reader::default();
        let mut base = flexible(0x7FFF, 0, &[], false, B | E | V);
        base.extend(SIZES);
        base.push(0xA0);
        let meta = reader.parse(&base, false).unwrap();
        assert!(meta.keyframe && meta.starts_frame && meta.ends_frame && !meta.unneeded_above);
        assert_eq!((meta.spatial, meta.temporal, meta.size), (0, 0, Some((160, 90))));

        let mut upper = flexible(0x7FFF, 0b0000_0011, &[], false, B | E);
        upper.push(0xA0);
        let upper = reader.parse(&upper, true).unwrap();
        assert!(!upper.keyframe, "a key picture begins with its base layer");
        assert_eq!((upper.spatial, upper.size), (1, Some((320, 180))));
        let (of, base) = (upper.dependencies.unwrap(), meta.dependencies.unwrap());
        assert_eq!((of.number - base.number, of.references.as_slice()), (1, &[1][..]));
    }

    #[test]
    fn references_go_back_by_pictures_within_a_layer_also_over_the_wrap() {
        let mut reader = Reader::default();
        let mut first = flexible(0x7FFE, 0b0000_0010, &[], false, B);
        first.push(0);
        let before = reader.parse(&first, false).unwrap().dependencies.unwrap();
        let mut payload = flexible(0, 0b0101_0010, &[2, 3], true, B | E | Z);
        payload.push(0);
        let meta = reader.parse(&payload, false).unwrap();
        let of = meta.dependencies.unwrap();
        assert!(!meta.keyframe && meta.layer_sync && meta.unneeded_above);
        assert_eq!((meta.temporal, meta.spatial), (2, 1));
        assert_eq!((of.number - before.number, of.references.as_slice()), (16, &[16, 24][..]));
    }

    #[test]
    fn in_non_flexible_mode_the_picture_group_tells_the_references() {
        let mut reader = Reader::default();
        // L1T2: a group of two pictures; the second refers one back, the first two.
        let mut key = vec![0xA0 | B | V, 0x80, 10, 0x10, 33];
        key.extend([0x08, 2, 0x04, 2, 0x24, 1, 0xA0]);
        let meta = reader.parse(&key, true).unwrap();
        assert!(meta.keyframe && meta.ends_frame);
        assert_eq!(meta.picture.map(|p| (p.picture_id, p.tl0_pic_idx, p.tl0_at)), Some((10, 33, 4)));
        for (picture_id, layer, back) in [(11, 0x30, 8), (12, 0x10, 16), (13, 0x30, 8)] {
            let meta = reader.parse(&[0xE0 | B, 0x80, picture_id, layer, 33, 0], true).unwrap();
            assert_eq!(meta.dependencies.unwrap().references.as_slice(), [back], "picture {picture_id}");
        }
    }

    #[test]
    fn a_key_frame_without_a_structure_tells_its_size_in_the_header() {
        // Profile 0, key frame, shown; sync code; colour space 1, range 0; 1280 x 720.
        let mut bits = crate::rtp::bits::BitWriter::default();
        for (value, count) in [(0b10_00_0_0_1_0, 8), (0x49_8342, 24), (0b001_0, 4), (1279, 16), (719, 16)] {
            bits.write(value, count);
        }
        let mut payload = vec![0x80 | B | E, 5];
        payload.extend(bits.bytes());
        assert_eq!(Reader::default().parse(&payload, true).unwrap().size, Some((1280, 720)));
    }

    #[test]
    fn cut_off_descriptors_and_four_references_are_malformed() {
        let mut whole = flexible(77, 0b0010_0011, &[1, 2, 3], true, B | V);
        whole.extend(SIZES);
        for len in 0..=whole.len() {
            assert!(Reader::default().parse(&whole[..len], false).is_none(), "{len} bytes");
        }
        whole.push(0);
        assert!(Reader::default().parse(&whole, false).is_some());
        let mut four = flexible(77, 0, &[1, 2, 3, 4], true, B);
        four.push(0);
        assert!(Reader::default().parse(&four, false).is_none());
    }

    proptest! {
        #[test]
        fn arbitrary_packets_never_panic(packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..8)) {
            let mut reader = Reader::default();
            for payload in packets {
                if let Some(meta) = reader.parse(&payload, false) {
                    prop_assert!(!meta.keyframe || (meta.starts_frame && meta.spatial == 0));
                }
            }
        }
    }
}
