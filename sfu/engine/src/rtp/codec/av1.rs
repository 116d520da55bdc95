//! AV1 payloads (RTP Payload Format for AV1, section 4): which packets start a coded video sequence, and the size in
//! its sequence header. Layers and dependencies are told by the dependency descriptor alone.

use crate::media::FrameMeta;
use crate::rtp::bits::BitReader;

const SEQUENCE_HEADER: u8 = 1;
const NEW_SEQUENCE: u8 = 0x08;
const CONTINUES: u8 = 0x80;

/// Reads the aggregation header and, at the start of a coded video sequence, the sequence header. `None` where nothing
/// follows the aggregation header. `new_timestamp`: whether the packet before this one has another timestamp, where it
/// has arrived.
pub fn parse(payload: &[u8], new_timestamp: Option<bool>) -> Option<FrameMeta> {
    let (header, body) = payload.split_first().filter(|(_, body)| !body.is_empty())?;
    // N is set on a sequence's first packet only; other frames start where the timestamp changes.
    let keyframe = header & NEW_SEQUENCE != 0 && header & CONTINUES == 0;
    let starts_frame = keyframe || (header & CONTINUES == 0 && new_timestamp == Some(true));
    let size = if keyframe { elements(*header, body).find_map(picture_size) } else { None };
    Some(FrameMeta { starts_frame, keyframe, size, ..FrameMeta::default() })
}

/// The OBU elements of a packet: each has a length, but for the last where the header counts them (W).
fn elements(header: u8, body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let counted = usize::from(header >> 4 & 3);
    let (mut rest, mut index) = (body, 0);
    std::iter::from_fn(move || {
        index += 1;
        if rest.is_empty() {
            return None;
        }
        if index == counted {
            return Some(std::mem::take(&mut rest));
        }
        let (len, tail) = leb128(rest)?;
        let (element, tail) = tail.split_at_checked(len)?;
        rest = tail;
        Some(element)
    })
}

/// A number of seven bits a byte, lowest first; at most four bytes here.
fn leb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0;
    for (index, byte) in bytes.iter().enumerate().take(4) {
        value |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(index + 1..)?));
        }
    }
    None
}

/// Largest width and height, where the element is a sequence header (AV1 bitstream specification, section 5.5.1).
fn picture_size(element: &[u8]) -> Option<(u16, u16)> {
    let (header, mut body) = element.split_first()?;
    if header >> 3 & 0x0F != SEQUENCE_HEADER {
        return None;
    }
    if header & 0x04 != 0 {
        body = body.get(1..)?; // extension
    }
    if header & 0x02 != 0 {
        body = leb128(body)?.1; // size
    }
    let mut bits = BitReader::new(body);
    bits.read(4)?; // seq_profile, still_picture
    if bits.flag()? {
        bits.read(5)?; // seq_level_idx
    } else {
        operating_points(&mut bits)?;
    }
    let (width_bits, height_bits) = (bits.read(4)? + 1, bits.read(4)? + 1);
    let (width, height) = (bits.read(width_bits)?.checked_add(1)?, bits.read(height_bits)?.checked_add(1)?);
    Some((u16::try_from(width).ok()?, u16::try_from(height).ok()?))
}

/// Timing, decoder model and operating points, which come before the size.
fn operating_points(bits: &mut BitReader<'_>) -> Option<()> {
    let mut delay_bits = None;
    if bits.flag()? {
        bits.read(32)?; // num_units_in_display_tick
        bits.read(32)?; // time_scale
        if bits.flag()? {
            // num_ticks_per_picture, ue(v)
            let mut zeros = 0;
            while !bits.flag()? {
                zeros += 1;
            }
            bits.read(Some(zeros).filter(|zeros| *zeros < 32)?)?;
        }
        if bits.flag()? {
            delay_bits = Some(bits.read(5)? + 1);
            bits.read(32)?; // num_units_in_decoding_tick
            bits.read(10)?; // lengths of removal and presentation times
        }
    }
    let has_display_delay = bits.flag()?;
    for _ in 0..=bits.read(5)? {
        bits.read(12)?; // operating_point_idc
        if bits.read(5)? > 7 {
            bits.flag()?; // seq_tier
        }
        if let Some(count) = delay_bits
            && bits.flag()?
        {
            bits.read(count)?; // decoder_buffer_delay
            bits.read(count)?; // encoder_buffer_delay
            bits.flag()?; // low_delay_mode_flag
        }
        if has_display_delay && bits.flag()? {
            bits.read(4)?; // initial_display_delay_minus_1
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::rtp::bits::BitWriter;
    use proptest::prelude::*;

    /// A sequence header OBU with a size field, one operating point.
    fn sequence_header(width: u32, height: u32, timing: bool) -> Vec<u8> {
        let mut bits = BitWriter::default();
        bits.write(0, 5); // profile, still picture, reduced header
        bits.flag(timing);
        if timing {
            bits.write(1, 32);
            bits.write(30, 32);
            bits.write(0b1_0_1, 3); // equal_picture_interval; ue(v) 010
            bits.write(0b0, 1);
            bits.write(1, 1);
            bits.write(9, 5);
            bits.write(1, 32);
            bits.write(0, 10);
        }
        bits.write(0, 1 + 5); // no display delay, one operating point
        bits.write(0, 12);
        bits.write(8, 5);
        bits.flag(false);
        if timing {
            bits.flag(true);
            bits.write(3, 10);
            bits.write(3, 10);
            bits.flag(false);
        }
        bits.write(11, 4);
        bits.write(11, 4);
        bits.write(width - 1, 12);
        bits.write(height - 1, 12);
        bits.write(0, 16);
        let mut out = vec![0x0A, bits.bytes().len() as u8];
        out.extend(bits.bytes());
        out
    }

    #[test]
    fn a_new_sequence_is_a_keyframe_and_tells_its_size() {
        for timing in [false, true] {
            let header = sequence_header(1280, 720, timing);
            // Two elements, of which the first has a length; then the same uncounted.
            let mut counted = vec![0x28, header.len() as u8];
            counted.extend(&header);
            counted.extend([0x30, 1, 2]);
            let mut uncounted = vec![0x08, 2, 0x12, 0, header.len() as u8];
            uncounted.extend(&header);
            for payload in [counted, uncounted] {
                let meta = parse(&payload, Some(true)).unwrap();
                assert!(meta.keyframe && meta.starts_frame);
                assert_eq!(meta.size, Some((1280, 720)), "timing {timing}");
            }
        }
    }

    #[test]
    fn other_frames_start_with_their_timestamp() {
        let delta = [0x10, 0x30, 1];
        assert!(parse(&delta, Some(true)).unwrap().starts_frame);
        assert!(!parse(&delta, Some(false)).unwrap().starts_frame);
        assert!(!parse(&delta, None).unwrap().starts_frame);
        assert!(!parse(&[0x90, 0x30, 1], Some(true)).unwrap().starts_frame, "the rest of a fragment");
        assert_eq!(parse(&[0x10], Some(true)), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 1..80), kind: bool) {
            if kind && bytes.len() > 2 {
                bytes.splice(0..2, [0x18, 0x0A]);
            }
            if let Some(meta) = parse(&bytes, None) {
                prop_assert!(!meta.keyframe || meta.starts_frame);
            }
        }
    }
}
