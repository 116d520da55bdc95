//! The numbers under which a slot's packets travel: timestamps, PictureID, TL0PICIDX, the frame number of dependency
//! descriptors.
//!
//! Within a run of one encoding each outgoing number is the source's plus an offset. Offsets change where a run starts
//! and, for PictureID, where a frame is dropped. Sequence numbers are the [`History`](super::history)'s, since repairs
//! hang on them.

use super::Layer;
use super::history::SentEntry;
use crate::ids::EncodingIndex;
use crate::media::{MediaKind, PacketMeta, PictureNumbers};
use crate::rtp::codec::vp8::PICTURE_ID_MASK;
use crate::units::RtpTime;
use std::time::{Duration, Instant};

/// Capture clocks that disagree with the time that has passed by more than this are not believed.
const MAX_CLOCK_ERROR_US: u64 = 1_000_000;
/// How far a source's timestamp may run ahead of the time that has passed before the source counts as a new one.
const MAX_AHEAD: Duration = Duration::from_secs(10);
/// How far it may fall back.
const MAX_BACK: Duration = Duration::from_secs(1);
/// The longest step, in clock ticks: no receiver takes it for a step back.
const MAX_STEP: i64 = 1 << 30;
/// Most picture numbers left free for frames of an ended run that may still come.
const MAX_SKIPPED: u64 = 63;

/// Numbering state of one slot.
#[derive(Debug)]
pub(super) struct Rewriter {
    kind: MediaKind,
    first_timestamp: RtpTime,
    offsets: Offsets,
    last: Option<Last>,
    /// By how many ticks the slot's timestamps are ahead of the capture times.
    ahead: i64,
    last_picture: Option<LastPicture>,
    /// Frame number of the newest frame, as it was sent or would have been.
    last_frame_number: Option<u16>,
    /// The next packet gets a marker bit: sound begins (RFC 3551 section 4.1).
    marks_next: bool,
}

/// What to add to a source's numbers, modulo their widths.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Offsets {
    timestamp: u32,
    picture_id: u16,
    frame_number: u16,
    tl0_pic_idx: u8,
}

/// The newest packet, sent or dropped.
#[derive(Clone, Copy, Debug)]
struct Last {
    at: Instant,
    timestamp: RtpTime,
    /// Its encoding and the timestamp there, until the track changes.
    source: Option<(EncodingIndex, RtpTime)>,
}

/// The newest picture.
#[derive(Clone, Copy, Debug)]
struct LastPicture {
    /// Its timestamp at the source.
    timestamp: RtpTime,
    /// What the source wrote into it. With the offsets it gives the newest numbers sent.
    numbers: PictureNumbers,
    /// Packets missing behind it: each may be a frame of its own that comes late.
    missing: u64,
}

impl Rewriter {
    pub(super) fn new(kind: MediaKind, first_timestamp: RtpTime) -> Self {
        Rewriter {
            kind,
            first_timestamp,
            offsets: Offsets::default(),
            last: None,
            ahead: 0,
            last_picture: None,
            last_frame_number: None,
            marks_next: false,
        }
    }

    /// Begins a run of `encoding` with the frame of packet `meta`. `capture_step`: microseconds from the capture of the
    /// newest packet until that of this one, where both belong to one track.
    pub(super) fn start(
        &mut self,
        now: Instant,
        encoding: EncodingIndex,
        meta: &PacketMeta,
        capture_step: Option<i64>,
    ) {
        let timestamp = match self.last {
            None => self.first_timestamp,
            Some(last) => {
                let passed = i64::try_from(now.saturating_duration_since(last.at).as_micros()).unwrap_or(i64::MAX);
                let captured = capture_step.filter(|step| step.abs_diff(passed) <= MAX_CLOCK_ERROR_US);
                let step = captured.map_or(self.ticks(passed), |step| self.ticks(step) - self.ahead);
                // Encodings show one picture at the same time: the second to be sent still needs a timestamp of its
                // own.
                let next = step.clamp(1, MAX_STEP);
                self.ahead = if captured.is_some() { (next - step).max(0) } else { 0 };
                last.timestamp.offset(next as i32)
            }
        };
        self.offsets.timestamp = timestamp.0.wrapping_sub(meta.timestamp.0);
        if let Some(numbers) = meta.frame.picture {
            if let Some(last) = self.last_picture {
                let skipped = last.missing.min(MAX_SKIPPED) as u8;
                self.continue_picture_id(&last, numbers, 1 + u16::from(skipped));
                self.continue_tl0(&last, numbers, 1 + skipped);
            }
            self.last_picture = Some(LastPicture { timestamp: meta.timestamp, numbers, missing: 0 });
        }
        if let (Some(place), Some(last)) = (meta.frame.descriptor, self.last_frame_number) {
            // Receivers drop a key frame that counts as older than the last one. Holes mean nothing.
            let next = last.wrapping_add(1 + MAX_SKIPPED as u16);
            self.offsets.frame_number = next.wrapping_sub(place.frame_number);
        }
        self.last = Some(Last { at: now, timestamp, source: Some((encoding, meta.timestamp)) });
        self.marks_next = self.kind == MediaKind::Audio;
    }

    /// The next `missing` packets of the run have not come.
    pub(super) fn pass_over(&mut self, missing: u64) {
        if let Some(last) = &mut self.last_picture {
            last.missing = last.missing.saturating_add(missing);
        }
    }

    /// Numbers for the next packet of the run, in the source's order. A packet that is not `selected` passes here too,
    /// so that its frame leaves no hole.
    pub(super) fn rewrite(&mut self, now: Instant, max_layer: Layer, meta: &PacketMeta, selected: bool) -> SentEntry {
        if let Some(numbers) = meta.frame.picture {
            self.follow_frame(meta, numbers, selected);
        }
        let source = Some((max_layer.encoding, meta.timestamp));
        let mut sent = self.offsets.apply(max_layer, meta);
        if meta.frame.descriptor.is_some() {
            self.last_frame_number = Some(sent.frame_number);
        }
        match &mut self.last {
            // A source may reorder pictures; the slot's clock only runs forward.
            Some(last) if sent.timestamp.distance(last.timestamp) < 0 => last.at = now,
            last => *last = Some(Last { at: now, timestamp: sent.timestamp, source }),
        }
        if selected {
            sent.marker |= std::mem::take(&mut self.marks_next);
        }
        sent
    }

    /// What late packets at the present position will need.
    pub(super) fn offsets(&self) -> Offsets {
        self.offsets
    }

    /// Whether a source timestamp can be the continuation of the run.
    pub(super) fn is_plausible(&self, now: Instant, timestamp: RtpTime) -> bool {
        let Some(Last { at, source: Some((_, last)), .. }) = self.last else { return true };
        if timestamp == last {
            return true; // most packets: a picture has several
        }
        let step = i64::from(timestamp.distance(last));
        let ticks = |time: Duration| self.ticks(time.as_micros().min(1 << 62) as i64);
        (-ticks(MAX_BACK)..=ticks(now.saturating_duration_since(at) + MAX_AHEAD)).contains(&step)
    }

    /// Encoding and source timestamp of the bound track's newest packet.
    pub(super) fn last_source(&self) -> Option<(EncodingIndex, RtpTime)> {
        self.last?.source
    }

    /// The slot's timestamp of the newest packet, or of the first that will be.
    pub(super) fn timestamp(&self) -> RtpTime {
        self.last.map_or(self.first_timestamp, |last| last.timestamp)
    }

    /// The slot's timestamp `step` microseconds after the newest packet.
    pub(super) fn time_after(&self, step: i64) -> Option<RtpTime> {
        Some(RtpTime(self.last?.timestamp.0.wrapping_add(self.ticks(step) as u32)))
    }

    /// The source's timestamps mean nothing any more.
    pub(super) fn forget_source(&mut self) {
        if let Some(last) = &mut self.last {
            last.source = None;
        }
    }

    /// Follows the source into its next frame, or stays in this one. Numbers that step further than missing packets
    /// explain have been reset: they continue from what was sent last. A frame that is not sent takes no PictureID.
    fn follow_frame(&mut self, meta: &PacketMeta, numbers: PictureNumbers, selected: bool) {
        let last = self.last_picture.replace(LastPicture { timestamp: meta.timestamp, numbers, missing: 0 });
        if last.is_some_and(|last| last.timestamp == meta.timestamp) {
            return;
        }
        if let Some(last) = last {
            let mask = if numbers.long_picture_id { PICTURE_ID_MASK } else { 0x7F };
            let step = numbers.picture_id.wrapping_sub(last.numbers.picture_id) & mask;
            if numbers.consecutive && (step == 0 || u64::from(step) > last.missing + 1) {
                self.continue_picture_id(&last, numbers, 1);
            }
            let step = numbers.tl0_pic_idx.wrapping_sub(last.numbers.tl0_pic_idx);
            if numbers.consecutive && u64::from(step) > last.missing + 1 {
                self.continue_tl0(&last, numbers, u8::from(meta.frame.temporal == 0));
            }
        }
        if !selected && numbers.consecutive {
            self.offsets.picture_id = self.offsets.picture_id.wrapping_sub(1);
        }
    }

    /// `source` gets the PictureID `step` after the newest sent.
    fn continue_picture_id(&mut self, last: &LastPicture, source: PictureNumbers, step: u16) {
        let sent = last.numbers.picture_id.wrapping_add(self.offsets.picture_id);
        self.offsets.picture_id = sent.wrapping_add(step).wrapping_sub(source.picture_id);
    }

    /// `source` gets the TL0PICIDX `step` after the newest sent.
    fn continue_tl0(&mut self, last: &LastPicture, source: PictureNumbers, step: u8) {
        let sent = last.numbers.tl0_pic_idx.wrapping_add(self.offsets.tl0_pic_idx);
        self.offsets.tl0_pic_idx = sent.wrapping_add(step).wrapping_sub(source.tl0_pic_idx);
    }

    /// Microseconds to ticks of the codec's clock, 48 kHz or 90 kHz.
    fn ticks(&self, micros: i64) -> i64 {
        match self.kind {
            MediaKind::Audio => micros.saturating_mul(6) / 125,
            MediaKind::Video => micros.saturating_mul(9) / 100,
        }
    }
}

impl Offsets {
    /// The numbers for one packet. A picture ends with its highest spatial layer that is sent, and so does the marker.
    pub(super) fn apply(&self, max_layer: Layer, meta: &PacketMeta) -> SentEntry {
        let picture = meta.frame.picture;
        SentEntry {
            source: meta.seq,
            encoding: max_layer.encoding,
            timestamp: RtpTime(meta.timestamp.0.wrapping_add(self.timestamp)),
            marker: meta.marker || (meta.frame.ends_frame && meta.frame.spatial == max_layer.spatial),
            has_picture: picture.is_some(),
            picture_id: picture.map_or(0, |v| v.picture_id.wrapping_add(self.picture_id) & PICTURE_ID_MASK),
            tl0_pic_idx: picture.map_or(0, |v| v.tl0_pic_idx.wrapping_add(self.tl0_pic_idx)),
            frame_number: meta.frame.descriptor.map_or(0, |d| d.frame_number.wrapping_add(self.frame_number)),
            max_spatial: max_layer.spatial,
            max_temporal: max_layer.temporal,
        }
    }
}
