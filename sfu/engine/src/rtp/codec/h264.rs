//! H.264 payloads (RFC 6184): which packets start a frame, which a key frame, and the picture size of the SPS.
//!
//! H.264 has no payload descriptor: what is known is read from NAL unit headers. Temporal layers are told by header
//! extensions alone, the dependency descriptor or frame marking.

use super::nal::{self, Seen, crop_unit};
use super::parameter_sets::ParameterSets;
use super::rbsp::RbspReader;
use crate::media::FrameMeta;

const NAL_SLICE: u8 = 1;
const NAL_IDR: u8 = 5;
const NAL_SPS: u8 = 7;
const NAL_PPS: u8 = 8;
const NAL_AUD: u8 = 9;
const NAL_STAP_A: u8 = 24;
const NAL_FU_A: u8 = 28;

/// Reads what the payload shows. `new_timestamp` and `begun`: see `Seen::frame`. Parameter sets are put into `sets`.
pub fn parse(payload: &[u8], new_timestamp: Option<bool>, begun: bool, sets: &mut ParameterSets) -> FrameMeta {
    let seen = look(payload, sets);
    FrameMeta { size: seen.sps.and_then(picture_size), ..seen.frame(new_timestamp, begun) }
}

/// The parameter sets as one payload (STAP-A of highest importance), where they changed since the last call.
pub fn take_parameters(sets: &mut ParameterSets) -> Option<Vec<u8>> {
    sets.take_payload(&[0x60 | NAL_STAP_A])
}

fn look<'a>(payload: &'a [u8], sets: &mut ParameterSets) -> Seen<'a> {
    let mut seen = Seen::default();
    let Some((header, body)) = payload.split_first() else { return seen };
    match header & 0x1F {
        NAL_STAP_A => {
            // The units in front of one that is cut off count.
            for unit in nal::aggregated(body).map_while(|unit| unit) {
                if let Some((header, body)) = unit.split_first() {
                    note_unit(&mut seen, header & 0x1F, body);
                    note_set(sets, header & 0x1F, unit, body);
                }
            }
        }
        NAL_FU_A => {
            let Some((fu, body)) = body.split_first() else { return seen };
            seen.slice = matches!(fu & 0x1F, NAL_SLICE | NAL_IDR);
            // Only the first fragment, marked by the start bit, carries the unit's beginning.
            if fu & 0x80 != 0 {
                note_unit(&mut seen, fu & 0x1F, body);
            }
        }
        kind => {
            note_unit(&mut seen, kind, body);
            note_set(sets, kind, payload, body);
        }
    }
    seen
}

fn note_unit<'a>(seen: &mut Seen<'a>, kind: u8, body: &'a [u8]) {
    match kind {
        NAL_SPS => seen.sps = Some(body),
        NAL_AUD => seen.delimiter = true,
        NAL_SLICE | NAL_IDR => {
            seen.slice = true;
            seen.random_access |= kind == NAL_IDR;
            // first_mb_in_slice is 0: its Exp-Golomb code is a single 1 bit.
            seen.first_slice |= body.first().is_some_and(|byte| byte & 0x80 != 0);
        }
        _ => {}
    }
}

/// Remembers a parameter set. Encoders have one SPS.
fn note_set(sets: &mut ParameterSets, kind: u8, unit: &[u8], body: &[u8]) {
    match kind {
        NAL_SPS => sets.note(kind, 0, unit),
        NAL_PPS => sets.note_pps(kind, unit, body),
        _ => {}
    }
}

/// Width and height after cropping, from an SPS without its NAL header (ITU-T H.264 section 7.3.2.1.1).
fn picture_size(sps: &[u8]) -> Option<(u16, u16)> {
    let mut bits = RbspReader::new(sps);
    let profile = bits.read(8)?;
    bits.skip(16)?; // constraints, level
    bits.golomb()?; // seq_parameter_set_id
    let mut chroma_format = 1;
    let mut separate_planes = false;
    if matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135) {
        chroma_format = bits.golomb()?;
        if chroma_format == 3 {
            separate_planes = bits.flag()?;
        }
        bits.golomb()?; // bit_depth_luma_minus8
        bits.golomb()?; // bit_depth_chroma_minus8
        bits.skip(1)?; // qpprime_y_zero_transform_bypass_flag
        if bits.flag()? {
            for list in 0..if chroma_format == 3 { 12 } else { 8 } {
                if bits.flag()? {
                    skip_scaling_list(&mut bits, if list < 6 { 16 } else { 64 })?;
                }
            }
        }
    }
    bits.golomb()?; // log2_max_frame_num_minus4
    match bits.golomb()? {
        0 => {
            bits.golomb()?; // log2_max_pic_order_cnt_lsb_minus4
        }
        1 => {
            bits.skip(1)?; // delta_pic_order_always_zero_flag
            bits.golomb()?; // offset_for_non_ref_pic
            bits.golomb()?; // offset_for_top_to_bottom_field
            // num_ref_frames_in_pic_order_cnt_cycle is at most 255.
            for _ in 0..bits.golomb().filter(|count| *count <= 255)? {
                bits.golomb()?; // offset_for_ref_frame
            }
        }
        _ => {}
    }
    bits.golomb()?; // max_num_ref_frames
    bits.skip(1)?; // gaps_in_frame_num_value_allowed_flag
    let width_in_macroblocks = u64::from(bits.golomb()?) + 1;
    let height_in_map_units = u64::from(bits.golomb()?) + 1;
    let frames_only = bits.flag()?;
    if !frames_only {
        bits.skip(1)?; // mb_adaptive_frame_field_flag
    }
    bits.skip(1)?; // direct_8x8_inference_flag
    let (mut crop_width, mut crop_height) = (0, 0);
    let fields = if frames_only { 1 } else { 2 };
    if bits.flag()? {
        let mut pair = || Some(u64::from(bits.golomb()?) + u64::from(bits.golomb()?));
        let (unit_x, unit_y) = crop_unit(chroma_format, separate_planes);
        crop_width = pair()? * unit_x;
        crop_height = pair()? * unit_y * fields;
    }
    let width = (width_in_macroblocks * 16).checked_sub(crop_width)?;
    let height = (height_in_map_units * 16 * fields).checked_sub(crop_height)?;
    Some((u16::try_from(width).ok()?, u16::try_from(height).ok()?))
}

fn skip_scaling_list(bits: &mut RbspReader<'_>, entries: u32) -> Option<()> {
    let (mut last, mut next) = (8i32, 8i32);
    for _ in 0..entries {
        if next != 0 {
            next = (last + bits.signed_golomb()?).rem_euclid(256);
        }
        if next != 0 {
            last = next;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(payload: &[u8], new_timestamp: Option<bool>) -> FrameMeta {
        super::parse(payload, new_timestamp, false, &mut ParameterSets::default())
    }

    /// High profile, 1280 x 720, as x264 writes it: with emulation prevention bytes and usage information behind the
    /// size.
    const SPS: [u8; 26] = [
        0x67, 0x64, 0x00, 0x1F, 0xAC, 0xD9, 0x40, 0x50, 0x05, 0xBB, 0x01, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00,
        0x00, 0x03, 0x03, 0xC0, 0xF1, 0x83, 0x19, 0x60,
    ];

    /// Writes bits for an SPS built by hand.
    struct Writer(Vec<bool>);

    impl Writer {
        fn bits(mut self, value: u32, count: u32) -> Self {
            self.0.extend((0..count).rev().map(|bit| (value >> bit) & 1 == 1));
            self
        }

        fn golomb(self, value: u32) -> Self {
            let width = 32 - (value + 1).leading_zeros();
            self.bits(0, width - 1).bits(value + 1, width)
        }

        /// Bytes with emulation prevention.
        fn finish(self) -> Vec<u8> {
            let mut out = vec![];
            for chunk in self.bits(1, 1).0.chunks(8) {
                let byte = (0..8).fold(0u8, |byte, at| (byte << 1) | u8::from(chunk.get(at).copied().unwrap_or(false)));
                if out.ends_with(&[0, 0]) && byte <= 3 {
                    out.push(3);
                }
                out.push(byte);
            }
            out
        }
    }

    fn sps(profile: u32, width: u32, height: u32) -> Vec<u8> {
        let (columns, rows) = (width.div_ceil(16), height.div_ceil(16));
        let mut w = Writer(vec![]).bits(profile, 8).bits(0, 16).golomb(0);
        if profile == 100 {
            w = w.golomb(1).golomb(0).golomb(0).bits(0, 1).bits(1, 1);
            // One scaling list that ends at once (delta -8), seven that are absent.
            w = w.bits(1, 1).golomb(16).bits(0, 7);
        }
        w = w.golomb(0).golomb(1).bits(0, 1).golomb(0).golomb(0).golomb(2).golomb(7).golomb(7);
        w = w.golomb(1).bits(0, 1).golomb(columns - 1).golomb(rows - 1).bits(1, 1).bits(1, 1);
        let (crop_x, crop_y) = ((columns * 16 - width) / 2, (rows * 16 - height) / 2);
        w.bits(1, 1).golomb(0).golomb(crop_x).golomb(0).golomb(crop_y).bits(0, 1).finish()
    }

    #[test]
    fn the_size_is_read_from_baseline_and_high_profile() {
        for (width, height) in [(640, 360), (1920, 1080), (320, 180), (16, 16), (4096, 2160)] {
            for profile in [66, 100] {
                let mut payload = vec![0x67];
                payload.extend(sps(profile, width, height));
                let meta = parse(&payload, Some(true));
                assert_eq!(meta.size, Some((width as u16, height as u16)), "profile {profile}");
            }
        }
    }

    #[test]
    fn an_sps_starts_a_keyframe_alone_in_an_aggregate_and_behind_a_delimiter() {
        let meta = parse(&SPS, None);
        assert!(meta.starts_frame && meta.keyframe);
        assert_eq!(meta.size, Some((1280, 720)));
        let mut aggregate = vec![0x78, 0, 2, 0x09, 0x10, 0, SPS.len() as u8];
        aggregate.extend(SPS);
        aggregate.extend([0, 2, 0x68, 0xCE]);
        let meta = parse(&aggregate, Some(false));
        assert!(meta.starts_frame && meta.keyframe);
    }

    #[test]
    fn an_idr_is_a_keyframe_only_where_it_is_known_to_start_the_frame() {
        let fragment = [0x7C, 0x85, 0x88]; // FU-A, start, IDR, first macroblock 0
        assert!(parse(&fragment, Some(true)).keyframe);
        assert!(!parse(&fragment, Some(false)).keyframe, "the second packet of the picture");
        assert!(!parse(&fragment, None).keyframe, "the SPS may be in the packet that is missing");
        let middle = [0x7C, 0x05, 0x88];
        assert!(!parse(&middle, None).starts_frame);
        let begun = |payload: &[u8]| super::parse(payload, Some(false), true, &mut ParameterSets::default());
        assert!(begun(&fragment).keyframe, "behind a delimiter in a packet of its own");
        assert!(!begun(&middle).starts_frame);
        assert!(!begun(&[0x65, 0x10]).starts_frame, "a later slice");
    }

    #[test]
    fn a_delta_frame_starts_at_a_new_timestamp_or_at_its_first_macroblock() {
        let slice = [0x41, 0x9A, 0x00];
        assert!(parse(&slice, Some(true)).starts_frame);
        assert!(!parse(&slice, Some(false)).starts_frame);
        assert!(parse(&slice, None).starts_frame);
        assert!(!parse(&[0x41, 0x10, 0x00], None).starts_frame, "a later slice");
        assert!(!parse(&slice, Some(true)).keyframe);
    }

    #[test]
    fn a_cut_off_sps_still_starts_a_keyframe_but_has_no_size() {
        let full = sps(100, 1280, 720);
        for len in 0..full.len() - 2 {
            let mut payload = vec![0x67];
            payload.extend(full.iter().take(len));
            let meta = parse(&payload, None);
            assert!(meta.keyframe);
            assert_eq!(meta.size, None, "{len} bytes");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), kind in 0u8..32, start: Option<bool>) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = (*first & 0xE0) | kind;
            }
            let meta = parse(&bytes, start);
            prop_assert!(!meta.keyframe || meta.starts_frame);
        }
    }
}
