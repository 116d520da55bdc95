//! Whether an encoding is being sent: publishers stop encodings that their network cannot take and start them again
//! later.
//!
//! One [`Activity`] per encoding, fed by the uplink with every packet that carries media (padding does not count). The
//! engine acts on the changes: subscribers of an encoding that stopped move to another one, and those that wait for an
//! encoding that starts get it.

use crate::media::MediaKind;
use std::time::{Duration, Instant};

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The first packet, ever or after a stop.
    Started,
    /// No packet for longer than the encoding's pace explains.
    Stopped,
}

/// Watches one encoding.
#[derive(Clone, Debug)]
pub struct Activity {
    kind: MediaKind,
    since: Option<Instant>,
    last_packet: Option<Instant>,
    last_frame: Option<Instant>,
    frames: u32,
    /// A recent long time between frames: rises at once, falls slowly.
    frame_interval: Duration,
}

impl Activity {
    /// Silence after which an audio encoding has stopped. Opus with DTX sends every 400 ms (RFC 6716 section 2.1.9);
    /// there is no hurry beyond that, as audio has no other encoding to move to.
    pub const AUDIO_SILENCE: Duration = Duration::from_secs(5);
    /// Limits of the silence after which a video encoding has stopped.
    pub const SHORTEST_SILENCE: Duration = Duration::from_millis(500);
    /// The longest silence that a slow frame rate, as of a still screen, explains.
    pub const LONGEST_SILENCE: Duration = Duration::from_secs(5);
    /// The silence after which a video encoding has stopped while its frame rate is unknown.
    const FIRST_SILENCE: Duration = Duration::from_secs(2);
    /// Frames after which the frame rate is known.
    const KNOWN_AFTER: u32 = 5;
    /// An encoding has stopped when this many frames in a row are missing.
    const MISSED_FRAMES: u32 = 4;

    /// An encoding that has sent nothing so far.
    pub fn new(kind: MediaKind) -> Self {
        Activity { kind, since: None, last_packet: None, last_frame: None, frames: 0, frame_interval: Duration::ZERO }
    }

    /// What is watched.
    pub fn kind(&self) -> MediaKind {
        self.kind
    }

    /// Takes a packet with media. `starts_frame` where it is the first of a video frame.
    pub fn on_packet(&mut self, now: Instant, starts_frame: bool) -> Option<Change> {
        self.last_packet = Some(now);
        if starts_frame {
            if let Some(last) = self.last_frame.replace(now) {
                let interval = now.saturating_duration_since(last);
                self.frame_interval = interval.max(self.frame_interval - self.frame_interval / 16);
            }
            self.frames = self.frames.saturating_add(1);
        }
        if self.since.is_some() {
            return None;
        }
        self.since = Some(now);
        Some(Change::Started)
    }

    /// When [`Activity::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.since.and(self.last_packet).map(|last| last + self.silence())
    }

    /// Notices a stop.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Change> {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return None;
        }
        *self = Activity::new(self.kind);
        Some(Change::Stopped)
    }

    /// Since when it is active without a stop; `None` where it is not.
    pub fn active_since(&self) -> Option<Instant> {
        self.since
    }

    /// For how long it is active, as of the last packet.
    pub fn flowed_for(&self) -> Duration {
        let flowed = self.since.zip(self.last_packet).map(|(since, last)| last.saturating_duration_since(since));
        flowed.unwrap_or_default()
    }

    fn silence(&self) -> Duration {
        match self.kind {
            MediaKind::Audio => Self::AUDIO_SILENCE,
            MediaKind::Video if self.frames <= Self::KNOWN_AFTER => Self::FIRST_SILENCE,
            MediaKind::Video => {
                (self.frame_interval * Self::MISSED_FRAMES).clamp(Self::SHORTEST_SILENCE, Self::LONGEST_SILENCE)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Sends `count` frames and returns the moment of the last; any stop in between fails the test.
    fn send(activity: &mut Activity, start: Instant, interval: u64, count: u64) -> Instant {
        for n in 0..count {
            let now = start + ms(n * interval);
            assert_eq!(activity.handle_timeout(now), None, "frame {n}");
            activity.on_packet(now, true);
        }
        start + ms((count - 1) * interval)
    }

    #[test]
    fn an_encoding_starts_once_and_stops_once() {
        let (mut activity, start) = (Activity::new(MediaKind::Video), Instant::now());
        assert_eq!((activity.poll_timeout(), activity.active_since()), (None, None));
        assert_eq!(activity.on_packet(start, true), Some(Change::Started));
        assert_eq!(activity.on_packet(start, false), None);
        assert_eq!(activity.active_since(), Some(start));
        let due = activity.poll_timeout().unwrap();
        assert_eq!(activity.handle_timeout(due - ms(1)), None);
        assert_eq!(activity.handle_timeout(due), Some(Change::Stopped));
        assert_eq!(activity.handle_timeout(due), None);
        assert_eq!((activity.poll_timeout(), activity.active_since()), (None, None));
    }

    #[test]
    fn an_encoding_that_comes_back_starts_again() {
        let (mut activity, start) = (Activity::new(MediaKind::Video), Instant::now());
        let last = send(&mut activity, start, 33, 100);
        assert_eq!(activity.handle_timeout(last + ms(3000)), Some(Change::Stopped));
        assert_eq!(activity.on_packet(last + ms(9000), true), Some(Change::Started));
        assert_eq!(activity.handle_timeout(last + ms(9600)), None);
    }

    #[test]
    fn a_camera_that_stops_is_noticed_within_half_a_second() {
        let (mut activity, start) = (Activity::new(MediaKind::Video), Instant::now());
        let last = send(&mut activity, start, 33, 100);
        assert_eq!(activity.poll_timeout(), Some(last + ms(500)));
    }

    #[test]
    fn a_still_screen_at_one_frame_per_second_does_not_stop() {
        let (mut activity, start) = (Activity::new(MediaKind::Video), Instant::now());
        let last = send(&mut activity, start, 1000, 20);
        assert_eq!(activity.poll_timeout(), Some(last + ms(4000)));
        let last = send(&mut activity, last + ms(33), 33, 300);
        assert_eq!(activity.poll_timeout(), Some(last + ms(500)), "a fast picture again");
    }

    #[test]
    fn an_encoding_whose_pace_is_unknown_gets_more_time() {
        let (mut activity, start) = (Activity::new(MediaKind::Video), Instant::now());
        let last = send(&mut activity, start, 10, 3);
        send(&mut activity, last + ms(1900), 1900, 10);
    }

    #[test]
    fn dtx_does_not_stop_an_audio_encoding() {
        let (mut activity, start) = (Activity::new(MediaKind::Audio), Instant::now());
        let last = send(&mut activity, start, 20, 100);
        send(&mut activity, last + ms(400), 400, 100);
    }
}
