//! VP9 payload descriptor (RFC 9628 section 4.2), and the size in the header of a key frame without a scalability
//! structure.

use crate::byte_reader::ByteReader;
use crate::media::{Dependencies, FrameMeta, PictureNumbers};
use crate::rtp::bits::BitReader;
use crate::rtp::codec::vp8::{PICTURE_ID_MASK, read_picture_id, read_tl0_pic_idx};
use crate::rtp::dependency::References;

/// Spatial layers that a descriptor can tell apart.
const MAX_SPATIAL: u64 = 8;
/// References of a picture, in the descriptor and in a picture group.
const MAX_DIFFERENCES: usize = 3;
/// The longest descriptor that is read, in bytes.
const MAX_DESCRIPTOR: usize = 255;

/// Reads the packets of one encoding, and keeps what one packet says about those after it.
#[derive(Clone, Debug, Default)]
pub struct Vp9Reader {
    /// Picture size of each spatial layer.
    sizes: Vec<(u16, u16)>,
    /// For non-flexible mode: the references of each picture of a group, and the picture with which the first group
    /// began.
    group: Vec<References>,
    group_from: u64,
    /// The newest PictureID, unwrapped.
    newest: Option<u64>,
}

/// A payload descriptor.
struct PayloadDescriptor {
    /// P: the picture is predicted from others.
    predicted: bool,
    starts_frame: bool,
    ends_frame: bool,
    /// Z: no frame of a higher spatial layer is predicted from this one.
    not_above: bool,
    has_picture_id: bool,
    numbers: PictureNumbers,
    layers: LayerIndices,
    /// In flexible mode, how far back the pictures are that this one refers to.
    differences: Option<References>,
    structure: Option<Scalability>,
}

/// The layer indices of a descriptor.
#[derive(Default)]
struct LayerIndices {
    spatial: u8,
    temporal: u8,
    /// U: a switching-up point of the temporal layer.
    switching_up: bool,
    /// D: the frame is predicted from the spatial layer below too.
    inter_layer: bool,
}

/// The scalability structure: sizes of the spatial layers, and the references of each picture of a group.
struct Scalability {
    sizes: Vec<(u16, u16)>,
    group: Vec<References>,
}

impl Vp9Reader {
    /// Reads descriptor and payload header; `None` where the descriptor is cut off or nothing follows it. `marker` is
    /// the packet's.
    pub fn parse(&mut self, payload: &[u8], marker: bool) -> Option<FrameMeta> {
        let (descriptor, header) = PayloadDescriptor::read(payload)?;
        let PayloadDescriptor { predicted, starts_frame, numbers, ref layers, .. } = descriptor;
        let spatial = layers.spatial;
        let keyframe = starts_frame && !predicted && spatial == 0;
        let picture = descriptor.has_picture_id.then(|| self.unwrap(&numbers, keyframe));
        match descriptor.structure {
            Some(structure) => self.take_structure(structure, picture.unwrap_or(0)),
            None if keyframe => {
                self.sizes.clear();
                self.sizes.extend(key_frame_size(header));
            }
            None => {}
        }
        let differences = if predicted {
            descriptor.differences.or_else(|| self.of_group(picture?))
        } else {
            Some(References::default())
        };
        Some(FrameMeta {
            starts_frame,
            ends_frame: descriptor.ends_frame || marker,
            keyframe,
            spatial,
            temporal: layers.temporal,
            layer_sync: layers.switching_up,
            unneeded_above: descriptor.not_above,
            size: if starts_frame && !predicted { self.sizes.get(usize::from(spatial)).copied() } else { None },
            picture: Some(numbers),
            dependencies: differences.zip(picture).map(|(told, picture)| dependencies(&told, picture, layers)),
            ..FrameMeta::default()
        })
    }

    /// The PictureID without its wraps. The packet may be an earlier one than the newest.
    fn unwrap(&mut self, numbers: &PictureNumbers, keyframe: bool) -> u64 {
        let mask = if numbers.long_picture_id { PICTURE_ID_MASK } else { 0x7F };
        let modulus = u64::from(mask) + 1;
        let Some(newest) = self.newest else {
            // One round ahead, so that pictures before this one have a number too.
            return *self.newest.insert(modulus + u64::from(numbers.picture_id));
        };
        let ahead = u64::from(numbers.picture_id.wrapping_sub(newest as u16) & mask);
        let picture =
            if ahead < modulus / 2 || keyframe { newest + ahead } else { (newest + ahead).saturating_sub(modulus) };
        self.newest = Some(newest.max(picture));
        picture
    }

    /// Keeps what a scalability structure tells. Its picture group begins with `picture`.
    fn take_structure(&mut self, Scalability { sizes, group }: Scalability, picture: u64) {
        if !sizes.is_empty() {
            self.sizes = sizes;
        }
        (self.group, self.group_from) = (group, picture);
    }

    /// In non-flexible mode the references are those of the picture's place in its group.
    fn of_group(&self, picture: u64) -> Option<References> {
        let since = picture.checked_sub(self.group_from)?;
        self.group.get((since % u64::try_from(self.group.len()).ok().filter(|len| *len > 0)?) as usize).copied()
    }
}

/// From which frames a frame is predicted, as its descriptor tells. Frames count through all spatial layers of all
/// pictures.
fn dependencies(differences: &References, picture: u64, layers: &LayerIndices) -> Dependencies {
    let mut references = References::default();
    for difference in differences.as_slice() {
        references.push(difference.saturating_mul(MAX_SPATIAL as u16));
    }
    if layers.inter_layer && layers.spatial > 0 {
        references.push(1);
    }
    Dependencies { number: picture * MAX_SPATIAL + u64::from(layers.spatial), references }
}

impl PayloadDescriptor {
    /// The descriptor, and the payload behind it.
    fn read(payload: &[u8]) -> Option<(PayloadDescriptor, &[u8])> {
        let bytes = payload.get(..MAX_DESCRIPTOR).unwrap_or(payload);
        let mut reader = ByteReader::new(bytes);
        let first = reader.u8()?;
        let flag = |bit: u8| first & (0x80 >> bit) != 0;
        let (has_picture_id, predicted, has_layers, flexible) = (flag(0), flag(1), flag(2), flag(3));
        let (starts_frame, ends_frame, has_structure, not_above) = (flag(4), flag(5), flag(6), flag(7));

        let mut numbers = PictureNumbers::default();
        if has_picture_id {
            read_picture_id(bytes, &mut reader, &mut numbers)?;
        }
        let mut layers = LayerIndices::default();
        if has_layers {
            layers = LayerIndices::read(&mut reader)?;
            if !flexible {
                read_tl0_pic_idx(bytes, &mut reader, &mut numbers)?;
            }
        }
        let differences = match (flexible, predicted) {
            (true, true) => Some(read_differences(&mut reader)?),
            (true, false) => Some(References::default()),
            (false, _) => None,
        };
        let structure = if has_structure { Some(Scalability::read(&mut reader)?) } else { None };
        let header = payload.get(bytes.len() - reader.rest().len()..).filter(|header| !header.is_empty())?;
        let descriptor = PayloadDescriptor {
            predicted,
            starts_frame,
            ends_frame,
            not_above,
            has_picture_id,
            numbers,
            layers,
            differences,
            structure,
        };
        Some((descriptor, header))
    }
}

impl LayerIndices {
    fn read(reader: &mut ByteReader<'_>) -> Option<LayerIndices> {
        let byte = reader.u8()?;
        Some(LayerIndices {
            temporal: byte >> 5,
            switching_up: byte & 0x10 != 0,
            spatial: byte >> 1 & 7,
            inter_layer: byte & 1 != 0,
        })
    }
}

/// Reads P_DIFF up to three times; a fourth must not be there.
fn read_differences(reader: &mut ByteReader<'_>) -> Option<References> {
    let mut references = References::default();
    for _ in 0..MAX_DIFFERENCES {
        let byte = reader.u8()?;
        let difference = byte >> 1;
        if difference == 0 || !references.push(u16::from(difference)) {
            return None;
        }
        if byte & 1 == 0 {
            return Some(references);
        }
    }
    None
}

impl Scalability {
    fn read(reader: &mut ByteReader<'_>) -> Option<Scalability> {
        let first = reader.u8()?;
        let mut sizes = Vec::new();
        if first & 0x10 != 0 {
            for _ in 0..=first >> 5 {
                sizes.push((reader.u16()?, reader.u16()?));
            }
        }
        let mut group = Vec::new();
        let pictures = if first & 0x08 != 0 { reader.u8()? } else { 0 };
        for _ in 0..pictures {
            let count = reader.u8()? >> 2 & 3;
            let mut references = References::default();
            for _ in 0..count {
                references.push(u16::from(reader.u8()?).max(1));
            }
            group.push(references);
        }
        Some(Scalability { sizes, group })
    }
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

#[cfg(test)]
mod tests {
    // Bits are grouped as their fields are.
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::unusual_byte_groupings)]
    use super::*;
    use proptest::prelude::*;

    /// Flexible mode, as Chromium sends L3T3: I P L F B E V Z; 15 bits of PictureID; TID U SID D; P_DIFFs; then the
    /// frame.
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
        let mut reader = Vp9Reader::default();
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
        let mut reader = Vp9Reader::default();
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
        let mut reader = Vp9Reader::default();
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
        assert_eq!(Vp9Reader::default().parse(&payload, true).unwrap().size, Some((1280, 720)));
    }

    #[test]
    fn cut_off_descriptors_and_four_references_are_malformed() {
        let mut whole = flexible(77, 0b0010_0011, &[1, 2, 3], true, B | V);
        whole.extend(SIZES);
        for len in 0..=whole.len() {
            assert!(Vp9Reader::default().parse(&whole[..len], false).is_none(), "{len} bytes");
        }
        whole.push(0);
        assert!(Vp9Reader::default().parse(&whole, false).is_some());
        let mut four = flexible(77, 0, &[1, 2, 3, 4], true, B);
        four.push(0);
        assert!(Vp9Reader::default().parse(&four, false).is_none());
    }

    proptest! {
        #[test]
        fn arbitrary_packets_never_panic(packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..8)) {
            let mut reader = Vp9Reader::default();
            for payload in packets {
                if let Some(meta) = reader.parse(&payload, false) {
                    prop_assert!(!meta.keyframe || (meta.starts_frame && meta.spatial == 0));
                }
            }
        }
    }
}
