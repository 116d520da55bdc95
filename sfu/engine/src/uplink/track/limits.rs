//! What one publisher's packets may cost everybody else: audio keeps to what audio takes, since no receiver's pacer
//! holds it back, and the codec changes now and then only, since that concerns every subscriber.

use crate::bucket::Bucket;
use crate::drops::DropReason;
use crate::media::Codec;
use crate::units::Bitrate;
use std::time::{Duration, Instant};

/// Audio may take this rate, headers included: Opus has 510 kb/s at most (RFC 6716 section 2.1.1), and headers take
/// 218 kb/s at 400 packets a second, its shortest frames.
const AUDIO_RATE: Bitrate = Bitrate::kbps(800);
/// Each packet counts at least so many bytes, which makes 400 a second the most.
const AUDIO_LEAST: usize = 250;
/// The codec may change again after this time.
const CODEC_SPACING: Duration = Duration::from_millis(500);

/// The limits of one track.
#[derive(Debug, Default)]
pub(super) struct Limits {
    audio: Option<Bucket>,
    codec_changed_at: Option<Instant>,
}

impl Limits {
    /// Takes an audio packet of so many bytes on the wire, unless there was too much in the last second.
    pub(super) fn admit_audio(&mut self, now: Instant, bytes: usize) -> Result<(), DropReason> {
        let bucket = self.audio.get_or_insert_with(|| Bucket::new(now, AUDIO_RATE));
        if !bucket.is_open(now) {
            return Err(DropReason::RtpOverRate);
        }
        bucket.take(bytes.max(AUDIO_LEAST));
        Ok(())
    }

    /// Takes a packet of a codec, while the track has `present`.
    pub(super) fn admit_codec(&self, now: Instant, present: Option<Codec>, codec: Codec) -> Result<(), DropReason> {
        let is_recent = |at: Instant| now.saturating_duration_since(at) < CODEC_SPACING;
        let is_other = present.is_some_and(|present| present != codec);
        if is_other && self.codec_changed_at.is_some_and(is_recent) {
            return Err(DropReason::RtpCodecChange);
        }
        Ok(())
    }

    /// The track has changed from one codec to another.
    pub(super) fn note_codec_change(&mut self, now: Instant) {
        self.codec_changed_at = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Packets taken in ten seconds of so many bytes, one every `gap`.
    fn taken(bytes: usize, gap: Duration) -> u32 {
        let (mut limits, start) = (Limits::default(), Instant::now());
        let times = (0u32..).map(|n| start + n * gap).take_while(|at| *at < start + Duration::from_secs(10));
        times.filter(|at| limits.admit_audio(*at, bytes).is_ok()).count() as u32
    }

    #[test]
    fn any_opus_passes_and_a_flood_does_not() {
        assert_eq!(taken(1275 + 68, 20 * MS), 500, "510 kb/s");
        assert_eq!(taken(160 + 68, Duration::from_micros(2500)), 4000, "the shortest frames");
        // The rate, and what one second saves up.
        assert!((840..860).contains(&taken(1300, 2 * MS)));
        assert!((4300..4500).contains(&taken(60, MS)));
    }

    #[test]
    fn a_codec_may_change_and_not_again_at_once() {
        let (mut limits, start) = (Limits::default(), Instant::now());
        let (one, other) = (Some(Codec::Vp8), Codec::Av1 { profile: 0 });
        assert_eq!(limits.admit_codec(start, None, other), Ok(()));
        assert_eq!(limits.admit_codec(start, one, other), Ok(()));
        limits.note_codec_change(start);
        assert_eq!(limits.admit_codec(start + MS, Some(other), other), Ok(()));
        assert_eq!(limits.admit_codec(start + MS, Some(other), Codec::Vp8), Err(DropReason::RtpCodecChange));
        assert_eq!(limits.admit_codec(start + CODEC_SPACING, Some(other), Codec::Vp8), Ok(()));
    }
}
