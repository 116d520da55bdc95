//! What H.264 and H.265 payloads have in common: NAL units, in aggregates too, and what those of a packet say about its
//! frame.

use crate::byte_reader::ByteReader;
use crate::media::FrameMeta;

/// What the NAL units of one payload show.
#[derive(Default)]
pub(super) struct Seen<'a> {
    /// Body of a sequence parameter set.
    pub(super) sps: Option<&'a [u8]>,
    /// Any slice, or a part of one.
    pub(super) slice: bool,
    /// A slice of a picture at which decoding can start.
    pub(super) random_access: bool,
    /// A slice that is its picture's first.
    pub(super) first_slice: bool,
    /// An access unit delimiter.
    pub(super) delimiter: bool,
}

impl Seen<'_> {
    /// What these units say about the frame. `new_timestamp`: whether the packet before this one has another timestamp;
    /// `None` where that packet has not arrived, and then only a payload that can be nothing but a start counts as one.
    /// `begun`: the packet before this one is of the same picture, which up to then has had no slice and no SPS.
    pub(super) fn frame(&self, new_timestamp: Option<bool>, begun: bool) -> FrameMeta {
        // Decoding can start at an SPS, or at a random access picture's first slice, even where a delimiter or SEI of
        // the same picture came before it.
        let starts_frame = self.sps.is_some()
            || (begun && self.random_access && self.first_slice)
            || new_timestamp.unwrap_or(self.delimiter || (self.first_slice && !self.random_access));
        FrameMeta {
            is_prelude: self.sps.is_none() && !self.slice && (begun || new_timestamp == Some(true)),
            has_parameters: self.sps.is_some(),
            starts_frame,
            keyframe: starts_frame && (self.sps.is_some() || self.random_access),
            ..FrameMeta::default()
        }
    }
}

/// The units of an aggregation packet, each behind a length of two bytes; `None` for one that is cut off.
pub(super) fn aggregated(body: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    let mut reader = ByteReader::new(body);
    std::iter::from_fn(move || (reader.rest().len() >= 2).then(|| reader.vec16()))
}

/// Width and height of the luma samples that one step of a cropping window takes: it counts in chroma samples where
/// there are any.
pub(super) fn crop_unit(chroma_format: u32, separate_planes: bool) -> (u64, u64) {
    match chroma_format {
        1 if !separate_planes => (2, 2),
        2 => (2, 1),
        _ => (1, 1),
    }
}
