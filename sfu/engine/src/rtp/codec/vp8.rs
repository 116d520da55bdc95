//! VP8 payload descriptor and the part of the payload header that tells a key frame (RFC 7741 section 4).

use crate::byte_reader::ByteReader;
use crate::media::{FrameMeta, PictureNumbers};

/// PictureID counts modulo 2^15.
pub const PICTURE_ID_MASK: u16 = 0x7FFF;

/// Reads descriptor and payload header; `None` where the descriptor is cut off or nothing follows it.
pub fn parse(payload: &[u8]) -> Option<FrameMeta> {
    let mut reader = ByteReader::new(payload);
    let first = reader.u8()?;
    let starts_frame = first & 0x10 != 0 && first & 0x07 == 0;
    let flags = if first & 0x80 != 0 { reader.u8()? } else { 0 };
    let (has_picture_id, has_tl0) = (flags & 0x80 != 0, flags & 0x40 != 0);
    let (has_tid, has_key_idx) = (flags & 0x20 != 0, flags & 0x10 != 0);

    let mut numbers = PictureNumbers { consecutive: true, ..PictureNumbers::default() };
    if has_picture_id {
        read_picture_id(payload, &mut reader, &mut numbers)?;
    }
    if has_tl0 {
        read_tl0_pic_idx(payload, &mut reader, &mut numbers)?;
    }
    let layer = if has_tid || has_key_idx { reader.u8()? } else { 0 };
    let header = reader.rest();
    // The inverse of "keyframe" is the lowest bit of a frame's first byte.
    let keyframe = starts_frame && header.first()? & 0x01 == 0;
    Some(FrameMeta {
        starts_frame,
        keyframe,
        temporal: if has_tid { layer >> 6 } else { 0 },
        layer_sync: has_tid && layer & 0x20 != 0,
        size: if keyframe { picture_size(header) } else { None },
        picture: Some(numbers),
        ..FrameMeta::default()
    })
}

/// Reads the PictureID of a VP8 or VP9 descriptor: 7 bits, or 15 where the first bit says so.
pub(super) fn read_picture_id(
    descriptor: &[u8],
    reader: &mut ByteReader<'_>,
    numbers: &mut PictureNumbers,
) -> Option<()> {
    numbers.picture_id_at = offset(descriptor, reader);
    let high = reader.u8()?;
    numbers.long_picture_id = high & 0x80 != 0;
    numbers.picture_id = u16::from(high & 0x7F);
    if numbers.long_picture_id {
        numbers.picture_id = numbers.picture_id << 8 | u16::from(reader.u8()?);
    }
    Some(())
}

/// Reads the TL0PICIDX of a VP8 or VP9 descriptor.
pub(super) fn read_tl0_pic_idx(
    descriptor: &[u8],
    reader: &mut ByteReader<'_>,
    numbers: &mut PictureNumbers,
) -> Option<()> {
    numbers.tl0_at = offset(descriptor, reader);
    numbers.tl0_pic_idx = reader.u8()?;
    Some(())
}

/// How far `reader` has come in `descriptor`: both fields stand within the first five bytes.
fn offset(descriptor: &[u8], reader: &ByteReader<'_>) -> u8 {
    (descriptor.len() - reader.rest().len()) as u8
}

/// Writes PictureID and TL0PICIDX into a copy of the payload, in the places and widths that its descriptor has.
pub fn patch(payload: &mut [u8], numbers: &PictureNumbers, picture_id: u16, tl0_pic_idx: u8) {
    let [high, low] = (picture_id & PICTURE_ID_MASK).to_be_bytes();
    let at = usize::from(numbers.picture_id_at);
    match payload.get_mut(at..) {
        Some([a, b, ..]) if at != 0 && numbers.long_picture_id => (*a, *b) = (0x80 | high, low),
        Some([a, ..]) if at != 0 && !numbers.long_picture_id => *a = low & 0x7F,
        _ => {}
    }
    let at = usize::from(numbers.tl0_at);
    if let Some(byte) = payload.get_mut(at).filter(|_| at != 0) {
        *byte = tl0_pic_idx;
    }
}

/// Width and height from a key frame's uncompressed header (RFC 6386 section 9.1).
fn picture_size(header: &[u8]) -> Option<(u16, u16)> {
    let [_, _, _, 0x9D, 0x01, 0x2A, w0, w1, h0, h1] = *header.first_chunk::<10>()? else { return None };
    // The upper two bits are a scaling hint.
    Some((u16::from_le_bytes([w0, w1]) & 0x3FFF, u16::from_le_bytes([h0, h1]) & 0x3FFF))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    /// As Chrome sends: X, S; I, L, T, K; 15 bits of PictureID 0x1234; TL0PICIDX 77; TID 2, Y, KEYIDX 5; then a delta
    /// frame.
    const DELTA: [u8; 7] = [0x90, 0xF0, 0x92, 0x34, 77, 0xA5, 0x01];
    /// No extension; a key frame of 640 x 360.
    const KEY: [u8; 11] = [0x10, 0x50, 0, 0, 0x9D, 0x01, 0x2A, 0x80, 0x02, 0x68, 0x01];

    #[test]
    fn a_full_descriptor_is_read() {
        let meta = parse(&DELTA).unwrap();
        assert!(meta.starts_frame && !meta.keyframe && meta.layer_sync);
        assert_eq!(meta.temporal, 2);
        let expected = PictureNumbers {
            picture_id: 0x1234,
            picture_id_at: 2,
            long_picture_id: true,
            tl0_pic_idx: 77,
            tl0_at: 4,
            consecutive: true,
        };
        assert_eq!(meta.picture, Some(expected));
    }

    #[test]
    fn a_keyframe_tells_its_size() {
        let meta = parse(&KEY).unwrap();
        assert!(meta.keyframe && meta.starts_frame);
        assert_eq!(meta.size, Some((640, 360)));
        assert_eq!(meta.temporal, 0);
    }

    #[test]
    fn only_the_first_partition_of_a_frame_starts_it() {
        let mut payload = KEY;
        payload[0] = 0x11; // S, but partition 1
        let meta = parse(&payload).unwrap();
        assert!(!meta.starts_frame && !meta.keyframe && meta.size.is_none());
        payload[0] = 0x00;
        assert!(!parse(&payload).unwrap().starts_frame);
    }

    #[test]
    fn a_tid_is_read_only_where_its_flag_says_so() {
        let meta = parse(&[0x90, 0x10, 0xE5, 0x01]).unwrap(); // KEYIDX only
        assert_eq!((meta.temporal, meta.layer_sync), (0, false));
    }

    #[test]
    fn short_descriptors_are_malformed() {
        for len in 0..DELTA.len() {
            assert!(parse(&DELTA[..len]).is_none(), "{len} bytes");
        }
    }

    #[test]
    fn a_patched_descriptor_differs_in_the_two_numbers_only() {
        let numbers = parse(&DELTA).unwrap().picture.unwrap();
        let mut payload = DELTA;
        patch(&mut payload, &numbers, 0x7FFF, 3);
        assert_eq!(payload, [0x90, 0xF0, 0xFF, 0xFF, 3, 0xA5, 0x01]);
        let after = parse(&payload).unwrap().picture.unwrap();
        assert_eq!((after.picture_id, after.tl0_pic_idx), (0x7FFF, 3));
    }

    #[test]
    fn a_short_picture_id_stays_short_and_absent_fields_stay_absent() {
        let mut payload = [0x90, 0x80, 0x05, 0x01];
        let numbers = parse(&payload).unwrap().picture.unwrap();
        patch(&mut payload, &numbers, 0x1FF, 9);
        assert_eq!(payload, [0x90, 0x80, 0x7F, 0x01]);
        let mut payload = KEY;
        let numbers = parse(&payload).unwrap().picture.unwrap();
        patch(&mut payload, &numbers, 0x1FF, 9);
        assert_eq!(payload, KEY);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..16)) {
            if let Some(meta) = parse(&bytes) {
                prop_assert!(!meta.keyframe || meta.starts_frame);
                let mut copy = bytes.clone();
                patch(&mut copy, &meta.picture.unwrap(), 5, 6);
                prop_assert_eq!(parse(&copy).map(|m| (m.starts_frame, m.keyframe, m.temporal, m.size)),
                    Some((meta.starts_frame, meta.keyframe, meta.temporal, meta.size)));
            }
        }
    }
}
