//! H.265 payloads (RFC 7798): which packets start a frame, which a key frame, temporal layers, and the picture size of
//! the SPS.
//!
//! H.265 has no payload descriptor: what is known is read from NAL unit headers. Packets with decoding order numbers
//! (DONL) do not occur, since no payload type with `sprop-max-don-diff` is accepted.

use super::nal::{self, Seen, crop_unit};
use super::parameter_sets::ParameterSets;
use super::rbsp::RbspReader;
use crate::media::FrameMeta;

/// Slices of pictures at which a receiver can switch up to their temporal layer: TSA and STSA, referenced or not.
const SWITCH: std::ops::RangeInclusive<u8> = 2..=5;
/// Pictures at which decoding can start: BLA, IDR and CRA.
const RANDOM_ACCESS: std::ops::RangeInclusive<u8> = 16..=23;
/// Any slice.
const SLICE: std::ops::RangeInclusive<u8> = 0..=31;
const VPS: u8 = 32;
const SPS: u8 = 33;
const PPS: u8 = 34;
const DELIMITER: u8 = 35;
const AGGREGATION: u8 = 48;
const FRAGMENT: u8 = 49;
/// Carries control information before a payload; nobody sends it.
const PACI: u8 = 50;

/// Reads the packets of one encoding.
#[derive(Debug, Default)]
pub struct H265Reader {
    /// Whether the last SPS says that a receiver can switch up to a temporal layer at any of its pictures
    /// (sps_temporal_id_nesting_flag).
    nesting: bool,
}

impl H265Reader {
    /// Reads what the payload shows; `None` where it is malformed. `new_timestamp` and `begun`: see `Seen::frame`.
    /// Parameter sets are put into `sets`.
    pub fn parse(
        &mut self,
        payload: &[u8],
        new_timestamp: Option<bool>,
        begun: bool,
        sets: &mut ParameterSets,
    ) -> Option<FrameMeta> {
        let Looked { seen, temporal, switch } = look(payload, sets)?;
        if let Some(nesting) = seen.sps.and_then(|sps| RbspReader::new(sps).read(8)) {
            self.nesting = nesting & 1 == 1;
        }
        Some(FrameMeta {
            temporal,
            layer_sync: temporal > 0 && (self.nesting || switch),
            size: seen.sps.and_then(picture_size),
            ..seen.frame(new_timestamp, begun)
        })
    }
}

/// The parameter sets as one payload (an aggregation packet of the base layer), where they changed since the last call.
pub fn take_parameters(sets: &mut ParameterSets) -> Option<Vec<u8>> {
    sets.take_payload(&[AGGREGATION << 1, 1])
}

/// The header of a NAL unit or a payload.
struct Header {
    kind: u8,
    temporal: u8,
}

impl Header {
    /// The header and what follows it. A temporal id plus one of 0 and the set first bit are forbidden.
    fn split(unit: &[u8]) -> Option<(Header, &[u8])> {
        let ([first, second], body) = unit.split_first_chunk::<2>()?;
        let temporal = (second & 7).checked_sub(1)?;
        (first & 0x80 == 0).then_some((Header { kind: first >> 1 & 0x3F, temporal }, body))
    }
}

/// What stands in one payload.
struct Looked<'a> {
    seen: Seen<'a>,
    /// The temporal layer of the slices; where there are none, that of what stands beside them, like delimiters.
    temporal: u8,
    /// A slice of a picture at which a receiver can switch up to its temporal layer.
    switch: bool,
}

fn look<'a>(payload: &'a [u8], sets: &mut ParameterSets) -> Option<Looked<'a>> {
    let (header, body) = Header::split(payload)?;
    let mut looked = Looked { seen: Seen::default(), temporal: header.temporal, switch: false };
    match header.kind {
        AGGREGATION => {
            for unit in nal::aggregated(body) {
                let unit = unit?;
                let (header, body) = Header::split(unit)?;
                if SLICE.contains(&header.kind) {
                    looked.temporal = header.temporal;
                }
                looked.note_unit(header.kind, body);
                note_set(sets, header.kind, unit, body);
            }
        }
        FRAGMENT => {
            let (fragment, body) = body.split_first()?;
            looked.seen.slice = SLICE.contains(&(fragment & 0x3F));
            // Only the first fragment, marked by the start bit, carries the unit's beginning.
            if fragment & 0x80 != 0 {
                looked.note_unit(fragment & 0x3F, body);
            }
        }
        PACI => return None,
        kind => {
            looked.note_unit(kind, body);
            note_set(sets, kind, payload, body);
        }
    }
    Some(looked)
}

impl<'a> Looked<'a> {
    fn note_unit(&mut self, kind: u8, body: &'a [u8]) {
        match kind {
            SPS => self.seen.sps = Some(body),
            DELIMITER => self.seen.delimiter = true,
            kind if SLICE.contains(&kind) => {
                self.seen.slice = true;
                self.seen.random_access |= RANDOM_ACCESS.contains(&kind);
                self.switch |= SWITCH.contains(&kind);
                // first_slice_segment_in_pic_flag.
                self.seen.first_slice |= body.first().is_some_and(|byte| byte & 0x80 != 0);
            }
            _ => {}
        }
    }
}

/// Remembers a parameter set. Encoders have one VPS and one SPS.
fn note_set(sets: &mut ParameterSets, kind: u8, unit: &[u8], body: &[u8]) {
    match kind {
        VPS | SPS => sets.note(kind, 0, unit),
        PPS => sets.note_pps(kind, unit, body),
        _ => {}
    }
}

/// Width and height in the conformance window, from an SPS without its NAL header (ITU-T H.265 section 7.3.2.2.1).
fn picture_size(sps: &[u8]) -> Option<(u16, u16)> {
    let mut bits = RbspReader::new(sps);
    bits.skip(4)?; // sps_video_parameter_set_id
    let sub_layers = bits.read(3)?;
    bits.skip(1)?; // sps_temporal_id_nesting_flag
    skip_profile_tier_level(&mut bits, sub_layers)?;
    bits.golomb()?; // sps_seq_parameter_set_id
    let chroma_format = bits.golomb()?;
    let separate_planes = chroma_format == 3 && bits.flag()?;
    let (width, height) = (u64::from(bits.golomb()?), u64::from(bits.golomb()?));
    let (mut crop_width, mut crop_height) = (0, 0);
    if bits.flag()? {
        let mut pair = || Some(u64::from(bits.golomb()?) + u64::from(bits.golomb()?));
        let (unit_x, unit_y) = crop_unit(chroma_format, separate_planes);
        crop_width = pair()? * unit_x;
        crop_height = pair()? * unit_y;
    }
    let (width, height) = (width.checked_sub(crop_width)?, height.checked_sub(crop_height)?);
    Some((u16::try_from(width).ok()?, u16::try_from(height).ok()?))
}

/// Section 7.3.3: 88 bits of profile and 8 of level, then the same of the sub-layers that have them.
fn skip_profile_tier_level(bits: &mut RbspReader<'_>, sub_layers: u32) -> Option<()> {
    const PROFILE: [u32; 3] = [32, 32, 24];
    let skip_profile = |bits: &mut RbspReader<'_>| PROFILE.iter().try_for_each(|count| bits.skip(*count));
    skip_profile(bits)?;
    bits.skip(8)?;
    let mut present = Vec::new();
    for _ in 0..sub_layers {
        present.push((bits.flag()?, bits.flag()?));
    }
    if sub_layers > 0 {
        bits.skip(2 * (8 - sub_layers))?;
    }
    for (profile, level) in present {
        if profile {
            skip_profile(bits)?;
        }
        if level {
            bits.skip(8)?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    /// Main profile, 640 x 360 in an SPS of 640 x 368, three temporal layers that nest; bits by hand.
    fn sps() -> Vec<u8> {
        let mut bits = crate::rtp::bits::BitWriter::default();
        let golomb = |bits: &mut crate::rtp::bits::BitWriter, value: u32| {
            let width = 32 - (value + 1).leading_zeros();
            bits.write(0, width - 1);
            bits.write(value + 1, width);
        };
        for (value, count) in
            [(0, 4), (2, 3), (1, 1), (0x01_60_00_00, 32), (0x90_00_01_01, 32), (0x01_01_01, 24), (63, 8)]
        {
            bits.write(value, count);
        }
        bits.write(0b0100, 4); // of the first sub-layer the level is there, of the second nothing
        bits.write(0, 12);
        bits.write(60, 8);
        for value in [0, 1, 640, 368] {
            golomb(&mut bits, value);
        }
        bits.write(1, 1);
        for value in [0, 0, 0, 4] {
            golomb(&mut bits, value);
        }
        bits.write(1, 1);
        bits.into_bytes()
    }

    fn unit(kind: u8, temporal: u8, body: &[u8]) -> Vec<u8> {
        [&[kind << 1, temporal + 1], body].concat()
    }

    fn aggregate(units: &[Vec<u8>]) -> Vec<u8> {
        let sized = units.iter().flat_map(|unit| [&(unit.len() as u16).to_be_bytes()[..], unit].concat());
        unit(AGGREGATION, 0, &sized.collect::<Vec<_>>())
    }

    impl H265Reader {
        fn read(&mut self, payload: &[u8], new_timestamp: Option<bool>) -> Option<FrameMeta> {
            self.parse(payload, new_timestamp, false, &mut ParameterSets::default())
        }
    }

    fn parse(payload: &[u8], new_timestamp: Option<bool>) -> FrameMeta {
        H265Reader::default().read(payload, new_timestamp).unwrap()
    }

    #[test]
    fn parameter_sets_start_a_key_frame_in_an_aggregate_and_tell_the_size() {
        let sets = [unit(32, 0, &[1, 2]), unit(SPS, 0, &sps()), unit(34, 0, &[3])];
        let meta = parse(&aggregate(&sets), Some(true));
        assert!(meta.starts_frame && meta.keyframe);
        assert_eq!(meta.size, Some((640, 360)));
        let delimited = parse(&aggregate(&[unit(DELIMITER, 0, &[0x10]), unit(2, 1, &[0x80])]), Some(true));
        assert_eq!(delimited.temporal, 1, "the slice's, whatever stands before it");
        let alone = parse(&unit(SPS, 0, &sps()), None);
        assert!(alone.keyframe, "whatever came before");
    }

    #[test]
    fn a_random_access_picture_in_fragments_is_a_key_frame_at_its_first_only() {
        for kind in [16, 19, 20, 21] {
            let fragment = |start: u8| unit(FRAGMENT, 0, &[start | kind, 0x80, 0]);
            assert!(parse(&fragment(0x80), Some(true)).keyframe);
            let middle = parse(&fragment(0), Some(false));
            assert!(!middle.keyframe && !middle.starts_frame);
            assert!(!parse(&fragment(0x80), None).keyframe, "its parameter sets may be in the packet that is missing");
        }
        let trail = parse(&unit(FRAGMENT, 0, &[0x81, 0x80]), Some(true));
        assert!(trail.starts_frame && !trail.keyframe);
    }

    #[test]
    fn temporal_layers_are_those_of_the_header_and_switch_points_those_of_the_slice_or_of_the_sps() {
        let mut reader = H265Reader::default();
        let plain = unit(1, 2, &[0x80]);
        let meta = reader.read(&plain, Some(true)).unwrap();
        assert_eq!((meta.temporal, meta.layer_sync), (2, false));
        assert!(reader.read(&unit(3, 1, &[0x80]), Some(true)).unwrap().layer_sync, "TSA");
        reader.read(&unit(SPS, 0, &sps()), Some(true)).unwrap();
        assert!(reader.read(&plain, Some(true)).unwrap().layer_sync, "they nest");
        assert!(!reader.read(&unit(1, 0, &[0x80]), Some(true)).unwrap().layer_sync, "the base is no layer to add");
    }

    #[test]
    fn what_the_format_forbids_is_malformed() {
        let malformed = |payload: &[u8]| H265Reader::default().read(payload, None).is_none();
        assert!(malformed(&[]) && malformed(&[0x02]));
        assert!(malformed(&[0x02, 0]), "temporal id plus one is 0");
        assert!(malformed(&[0x82, 1]), "forbidden bit");
        assert!(malformed(&[AGGREGATION << 1, 1, 0, 9, 2, 1]), "a unit beyond the end");
        assert!(malformed(&[FRAGMENT << 1, 1]), "a fragment without its header");
        assert!(malformed(&[PACI << 1, 1, 0, 0]));
    }

    #[test]
    fn a_cut_off_sps_has_no_size() {
        let full = unit(SPS, 0, &sps());
        for len in 2..full.len() - 3 {
            let meta = parse(full.get(..len).unwrap(), None);
            assert!(meta.keyframe && meta.size.is_none(), "{len} bytes");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), kind in 0u8..64, start: Option<bool>) {
            let mut bytes = bytes;
            if let [first, second, ..] = bytes.as_mut_slice() {
                (*first, *second) = (kind << 1, *second | 1);
            }
            let mut reader = H265Reader::default();
            if let Some(meta) = reader.read(&bytes, start) {
                prop_assert!(!meta.keyframe || meta.starts_frame);
                prop_assert!(meta.temporal < 7);
            }
        }
    }
}
