//! When a frame was captured: RTP timestamps of all encodings of a participant on one clock, that of the server.
//!
//! Sender reports tie each encoding's RTP clock to the publisher's wall clock (RFC 3550 section 6.4.1); one
//! [`PublisherClock`] per participant ties that to the server's clock, so that audio and video keep their distance.
//! Before the first report, and where the reports are implausible, an encoding's [`CaptureClock`] goes by arrival
//! times. The forwarder gets a [`CaptureMapping`], a plain value.

use crate::rtcp::NtpTime;
use crate::units::RtpTime;
use std::time::{Duration, Instant};

/// A publisher and its reports are believed as long as they agree this well with each other, in microseconds.
const PLAUSIBLE_US: i64 = 1_000_000;

/// The distance between a publisher's wall clock and the server's clock.
///
/// A report takes some time to arrive, so each one shows the distance plus a delay; the smallest of the last ten
/// seconds counts, and the distance moves towards it slowly, as a jump would disturb the receivers' lip sync.
#[derive(Clone, Debug)]
pub struct PublisherClock {
    origin: Instant,
    estimate: Option<Estimate>,
}

#[derive(Clone, Copy, Debug)]
struct Estimate {
    offset_us: i64,
    moved: Instant,
    /// Smallest distance seen in this window, and in the one before it.
    smallest: i64,
    smallest_before: i64,
    window_began: Instant,
    /// The last report that was far from the others, and how many agreed with it.
    stray: Option<(i64, u32)>,
}

impl PublisherClock {
    const WINDOW: Duration = Duration::from_secs(5);
    /// The distance moves by at most one part in this many of the time: 5 ms a second.
    const SLEW: i64 = 200;
    /// When this many reports in a row agree with each other, and not with those before, the publisher has set its
    /// clock.
    const STRAYS_BELIEVED: u32 = 3;

    /// `origin` is the zero of the server's clock, the same for all participants.
    pub fn new(origin: Instant) -> Self {
        PublisherClock { origin, estimate: None }
    }

    /// Takes the wall clock time of a sender report; `false` where it is implausible.
    fn on_report(&mut self, now: Instant, ntp: NtpTime) -> bool {
        let offset = self.server_us(now) - ntp.as_micros();
        let Some(estimate) = &mut self.estimate else {
            self.estimate = Some(Estimate::first(now, offset));
            return true;
        };
        if (offset - estimate.offset_us).abs() > PLAUSIBLE_US {
            let agreeing = estimate.stray.filter(|(stray, _)| (offset - stray).abs() <= PLAUSIBLE_US);
            let count = agreeing.map_or(0, |(_, count)| count) + 1;
            estimate.stray = Some((offset, count));
            if count < Self::STRAYS_BELIEVED {
                return false;
            }
            *estimate = Estimate::first(now, offset);
            return true;
        }
        estimate.stray = None;
        estimate.add(now, offset);
        true
    }

    fn server_us(&self, now: Instant) -> i64 {
        now.saturating_duration_since(self.origin).as_micros() as i64
    }
}

impl Estimate {
    fn first(now: Instant, offset_us: i64) -> Self {
        let (smallest, smallest_before) = (offset_us, offset_us);
        Estimate { offset_us, moved: now, smallest, smallest_before, window_began: now, stray: None }
    }

    fn add(&mut self, now: Instant, offset: i64) {
        if now.saturating_duration_since(self.window_began) >= PublisherClock::WINDOW {
            (self.smallest_before, self.smallest, self.window_began) = (self.smallest, offset, now);
        }
        self.smallest = self.smallest.min(offset);
        let elapsed = now.saturating_duration_since(self.moved).as_micros() as i64;
        let limit = elapsed / PublisherClock::SLEW;
        self.offset_us += (self.smallest.min(self.smallest_before) - self.offset_us).clamp(-limit, limit);
        self.moved = now;
    }
}

/// Ties the RTP clock of one encoding to the publisher's clock.
#[derive(Clone, Debug)]
pub struct CaptureClock {
    clock_rate: u32,
    /// Server time by arrival: that of the packet with the least delay.
    arrival: Option<CaptureMapping>,
    /// Publisher's wall clock, by the last report.
    report: Option<CaptureMapping>,
}

impl CaptureClock {
    /// By arrival, time moves on this much slower than told, so that the least delay is found again after clocks drift
    /// apart.
    const DRIFT: i64 = 5000;
    /// A packet this late means that the timestamps jumped back.
    const LATEST_US: i64 = 5_000_000;
    /// A mapping is moved along after this time, so that the distance to it never wraps.
    const MOVE_AFTER_US: i64 = 1_000_000;

    /// For an encoding whose RTP clock has `clock_rate` Hz.
    pub fn new(clock_rate: u32) -> Self {
        CaptureClock { clock_rate: clock_rate.max(1), arrival: None, report: None }
    }

    /// Takes a packet as the publisher sent it first; retransmissions tell nothing about time.
    pub fn on_packet(&mut self, publisher: &PublisherClock, now: Instant, timestamp: RtpTime) {
        let now_us = publisher.server_us(now);
        let here = CaptureMapping { timestamp, time_us: now_us, clock_rate: self.clock_rate };
        let Some(arrival) = &mut self.arrival else {
            self.arrival = Some(here);
            return;
        };
        let expected = arrival.capture_time_us(timestamp);
        let late = now_us - expected;
        if !(0..=Self::LATEST_US).contains(&late) {
            *arrival = here;
        } else if expected - arrival.time_us >= Self::MOVE_AFTER_US {
            let drift = ((expected - arrival.time_us) / Self::DRIFT).min(late);
            *arrival = CaptureMapping { time_us: expected + drift, ..here };
        }
        if let Some(report) = &mut self.report {
            report.move_to(timestamp);
        }
    }

    /// Takes a sender report of this encoding.
    pub fn on_sender_report(&mut self, publisher: &mut PublisherClock, now: Instant, ntp: NtpTime, timestamp: RtpTime) {
        // Zero means that the publisher has no wall clock (RFC 3550 section 6.4.1).
        if ntp != NtpTime(0) && publisher.on_report(now, ntp) {
            self.report = Some(CaptureMapping { timestamp, time_us: ntp.as_micros(), clock_rate: self.clock_rate });
        }
    }

    /// The mapping to server time as of now; `None` before the first packet and report.
    pub fn mapping(&self, publisher: &PublisherClock) -> Option<CaptureMapping> {
        let offset = publisher.estimate.map(|estimate| estimate.offset_us);
        let reported = self
            .report
            .zip(offset)
            .map(|(report, offset)| CaptureMapping { time_us: report.time_us + offset, ..report });
        let plausible = |reported: &CaptureMapping| {
            self.arrival.is_none_or(|arrival| {
                (reported.capture_time_us(arrival.timestamp) - arrival.time_us).abs() <= PLAUSIBLE_US
            })
        };
        reported.filter(plausible).or(self.arrival)
    }
}

/// Maps the RTP timestamps of one encoding to server time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureMapping {
    timestamp: RtpTime,
    time_us: i64,
    clock_rate: u32,
}

impl crate::forward::CaptureTime for CaptureMapping {
    fn capture_time(&self, ts: RtpTime) -> i64 {
        self.capture_time_us(ts)
    }
}

impl CaptureMapping {
    /// A mapping with any origin, for an encoding of which nothing is known.
    pub fn unknown(clock_rate: u32) -> Self {
        CaptureMapping { timestamp: RtpTime(0), time_us: 0, clock_rate: clock_rate.max(1) }
    }

    /// When the frame with this timestamp was captured, in microseconds of the server's clock. Exact to the publisher's
    /// delay, which is the same for all its encodings.
    pub fn capture_time_us(&self, timestamp: RtpTime) -> i64 {
        let ticks = i64::from(timestamp.distance(self.timestamp));
        self.time_us + ticks * 1_000_000 / i64::from(self.clock_rate)
    }

    /// Restates the mapping from another timestamp, if the distance threatens to wrap.
    fn move_to(&mut self, timestamp: RtpTime) {
        if timestamp.distance(self.timestamp).unsigned_abs() > 1 << 30 {
            (self.time_us, self.timestamp) = (self.capture_time_us(timestamp), timestamp);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

    use super::*;

    const AUDIO: u32 = 48_000;
    const VIDEO: u32 = 90_000;
    /// What the publisher's wall clock showed at the server's zero.
    const WALL_CLOCK_US: u64 = 3_900_000_000_000_000;

    /// A publisher with a microphone and a camera whose RTP clocks start anywhere.
    struct Publisher {
        origin: Instant,
        clock: PublisherClock,
        audio: CaptureClock,
        video: CaptureClock,
        /// What the wall clock is ahead, in microseconds.
        wall_clock_us: u64,
    }

    impl Publisher {
        fn new() -> Self {
            let origin = Instant::now();
            Publisher {
                origin,
                clock: PublisherClock::new(origin),
                audio: CaptureClock::new(AUDIO),
                video: CaptureClock::new(VIDEO),
                wall_clock_us: WALL_CLOCK_US,
            }
        }

        fn audio_time(ms: u64) -> RtpTime {
            RtpTime(0xffff_0000u32.wrapping_add((ms * 48) as u32))
        }

        fn video_time(ms: u64) -> RtpTime {
            RtpTime(77u32.wrapping_add((ms * 90) as u32))
        }

        /// Packets of both tracks captured at `ms`, with their delays.
        fn packets(&mut self, ms: u64, audio_delay: u64, video_delay: u64) {
            let at = |delay| self.origin + Duration::from_millis(ms + delay);
            self.audio.on_packet(&self.clock, at(audio_delay), Self::audio_time(ms));
            self.video.on_packet(&self.clock, at(video_delay), Self::video_time(ms));
        }

        fn wall_clock(&self, ms: u64) -> NtpTime {
            NtpTime::from_micros(self.wall_clock_us + ms * 1000)
        }

        fn reports(&mut self, ms: u64, delay: u64) {
            let (now, ntp) = (self.origin + Duration::from_millis(ms + delay), self.wall_clock(ms));
            self.audio.on_sender_report(&mut self.clock, now, ntp, Self::audio_time(ms));
            self.video.on_sender_report(&mut self.clock, now, ntp, Self::video_time(ms));
        }

        /// Capture times of a moment, in milliseconds.
        fn captured(&self, ms: u64) -> (i64, i64) {
            let audio = self.audio.mapping(&self.clock).unwrap().capture_time_us(Self::audio_time(ms));
            let video = self.video.mapping(&self.clock).unwrap().capture_time_us(Self::video_time(ms));
            (audio / 1000, video / 1000)
        }
    }

    #[test]
    fn before_any_packet_nothing_is_known() {
        let publisher = Publisher::new();
        assert_eq!(publisher.audio.mapping(&publisher.clock), None);
    }

    #[test]
    fn without_reports_the_packet_with_the_least_delay_counts() {
        let mut publisher = Publisher::new();
        for (ms, audio_delay, video_delay) in [(0, 50, 90), (20, 20, 70), (40, 60, 80)] {
            publisher.packets(ms, audio_delay, video_delay);
        }
        assert_eq!(publisher.captured(100), (120, 170));
    }

    #[test]
    fn with_reports_both_tracks_are_on_one_clock_whatever_their_delays() {
        let mut publisher = Publisher::new();
        for ms in (0..3000).step_by(20) {
            publisher.packets(ms, 20, 140);
            if ms % 1000 == 500 {
                publisher.reports(ms, 30);
            }
        }
        assert_eq!(publisher.captured(2980), (3010, 3010));
    }

    #[test]
    fn jitter_of_the_reports_hardly_moves_the_clock() {
        let mut publisher = Publisher::new();
        let mut last = None;
        for second in 0..60 {
            publisher.packets(second * 1000, 20, 20);
            publisher.reports(second * 1000, 20 + second * 37 % 80);
            let (audio, video) = publisher.captured(second * 1000);
            assert_eq!(audio, video);
            let delay = audio - second as i64 * 1000;
            if second > 0 {
                assert!(last.is_none_or(|last: i64| (delay - last).abs() <= 6), "{last:?} -> {delay}");
            }
            last = Some(delay);
        }
        assert!(last.unwrap() < 30, "{last:?}");
    }

    #[test]
    fn a_wall_clock_that_runs_fast_is_followed() {
        let mut publisher = Publisher::new();
        for second in 0..600u64 {
            publisher.packets(second * 1000, 20, 20);
            publisher.wall_clock_us = WALL_CLOCK_US + second * 200;
            publisher.reports(second * 1000, 20);
        }
        // It gained 120 ms; the window may lag by 10 s of gain.
        let (audio, video) = publisher.captured(599_000);
        assert!(audio == video && (599_018..=599_022).contains(&audio), "{audio}");
    }

    #[test]
    fn one_lying_report_changes_nothing() {
        let mut publisher = Publisher::new();
        publisher.packets(0, 20, 20);
        publisher.reports(0, 20);
        let before = publisher.captured(1000);
        let now = publisher.origin + Duration::from_secs(1);
        for lie in [NtpTime(0), NtpTime(1), NtpTime(u64::MAX)] {
            publisher.video.on_sender_report(&mut publisher.clock, now, lie, Publisher::video_time(1000));
            assert_eq!(publisher.captured(1000), before);
        }
    }

    #[test]
    fn a_report_with_a_false_rtp_time_makes_its_encoding_go_by_arrival() {
        let mut publisher = Publisher::new();
        publisher.packets(0, 20, 40);
        publisher.reports(0, 20);
        let now = publisher.origin + Duration::from_millis(1020);
        let ntp = publisher.wall_clock(1000);
        publisher.video.on_sender_report(&mut publisher.clock, now, ntp, RtpTime(0x7000_0000));
        assert_eq!(publisher.captured(1000), (1020, 1040));
        publisher.reports(2000, 20);
        assert_eq!(publisher.captured(1000), (1020, 1020));
    }

    #[test]
    fn a_publisher_that_sets_its_wall_clock_is_followed_after_three_reports() {
        let mut publisher = Publisher::new();
        publisher.packets(0, 20, 20);
        publisher.reports(0, 20);
        publisher.wall_clock_us += 3_600_000_000;
        for ms in [1000, 2000, 3000] {
            publisher.packets(ms, 20, 20);
            publisher.reports(ms, 20);
            let (audio, video) = publisher.captured(ms);
            assert_eq!((audio - ms as i64, video - ms as i64), (20, 20));
        }
    }

    #[test]
    fn timestamps_may_wrap_many_times_with_and_without_reports() {
        for (reports, delay) in [(false, 60), (true, 20)] {
            let mut publisher = Publisher::new();
            publisher.packets(0, 60, 60);
            if reports {
                publisher.reports(0, 20);
            }
            // An hour per step: the video clock wraps every 13.
            let steps = 100;
            for hour in 1..=steps {
                publisher.packets(hour * 3_600_000, 60, 60);
            }
            let (audio, video) = publisher.captured(steps * 3_600_000);
            let expected = steps as i64 * 3_600_000 + delay;
            assert!((audio - expected).abs() < 2 && (video - expected).abs() < 2, "{audio} {video} {expected}");
        }
    }

    #[test]
    fn timestamps_that_jump_are_followed_at_once() {
        for jump in [0x4000_0000, 0xc000_0000u32] {
            let mut publisher = Publisher::new();
            publisher.packets(0, 20, 20);
            let now = publisher.origin + Duration::from_millis(1000);
            publisher.video.on_packet(&publisher.clock, now, RtpTime(jump));
            let mapping = publisher.video.mapping(&publisher.clock).unwrap();
            assert_eq!(mapping.capture_time_us(RtpTime(jump)), 1_000_000);
        }
    }
}
