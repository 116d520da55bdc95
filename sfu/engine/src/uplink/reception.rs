//! Reception of one source: its sequence numbers unwrapped, and how well it arrives (RFC 3550 sections 6.4.1, A.1, A.3
//! and A.8).
//!
//! One [`Reception`] for each received source, fed by the uplink before anything else looks at the packet.

use crate::rtcp::{NtpTime, ReportBlock};
use crate::units::{ExtSeq, RtpTime, SeqNo, Ssrc};
use std::time::{Duration, Instant};

/// What a packet's sequence number says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeqCheck {
    /// A packet not seen before.
    New(ExtSeq),
    /// The source counts anew: what was stored or awaited of it is void. Numbers continue above all that were given
    /// out.
    Restarted(ExtSeq),
    /// Seen before.
    Duplicate,
    /// Behind the window.
    TooOld,
}

/// State of one source.
#[derive(Clone, Debug)]
pub struct Reception {
    ssrc: Ssrc,
    window: Option<Window>,
    /// A number out of any order, and the one that would confirm it.
    expected_restart: Option<SeqNo>,
    received: u64,
    jitter: Jitter,
    last_report: Reported,
    last_sender_report: Option<(NtpTime, Instant)>,
}

/// Counts at the time of the last report block.
#[derive(Clone, Copy, Debug, Default)]
struct Reported {
    expected: u64,
    received: u64,
}

impl Reception {
    /// A forward jump of this many packets is a restart (MAX_DROPOUT of RFC 3550 A.1).
    const MAX_DROPOUT: u64 = 3000;

    /// Reception of `ssrc`, which has sent nothing so far.
    pub fn new(ssrc: Ssrc) -> Self {
        Reception {
            ssrc,
            window: None,
            expected_restart: None,
            received: 0,
            jitter: Jitter::default(),
            last_report: Reported::default(),
            last_sender_report: None,
        }
    }

    /// Takes a packet as the source sent it first (a retransmission goes to [`Reception::on_recovered`]).
    pub fn on_packet(&mut self, now: Instant, seq: SeqNo, timestamp: RtpTime, clock_rate: u32) -> SeqCheck {
        let Some(window) = &mut self.window else {
            return SeqCheck::New(self.start(ExtSeq::first(seq), now, timestamp, clock_rate));
        };
        let ext = window.highest.unwrap_near(seq);
        let ahead = ext.0.saturating_sub(window.highest.0);
        let behind = window.highest.0.saturating_sub(ext.0);
        if ahead >= Self::MAX_DROPOUT || behind >= Window::SIZE {
            // A forward jump is believed at once. A backward one may be an old packet: it takes two in a row.
            let confirmed = ahead > 0 || self.expected_restart == Some(seq);
            self.expected_restart = Some(SeqNo(seq.0.wrapping_add(1)));
            if !confirmed {
                return SeqCheck::TooOld;
            }
            let above = u64::from(seq.0.wrapping_sub(window.highest.wire().0));
            let ext = ExtSeq(window.highest.0 + above);
            return SeqCheck::Restarted(self.start(ext, now, timestamp, clock_rate));
        }
        self.expected_restart = None;
        if !window.mark(ext) {
            return SeqCheck::Duplicate;
        }
        self.received += 1;
        if ahead > 0 {
            self.jitter.on_packet(now, timestamp, clock_rate);
        }
        SeqCheck::New(ext)
    }

    /// Takes a packet that came as a retransmission, which neither counts as received nor says anything about jitter.
    pub fn on_recovered(&mut self, seq: SeqNo) -> SeqCheck {
        let Some(window) = &mut self.window else { return SeqCheck::TooOld };
        let ext = window.highest.unwrap_near(seq);
        if ext.0 >= window.highest.0 + Self::MAX_DROPOUT || ext.0 + Window::SIZE <= window.highest.0 {
            return SeqCheck::TooOld;
        }
        if window.mark(ext) { SeqCheck::New(ext) } else { SeqCheck::Duplicate }
    }

    /// Takes the source's sender report, for the round trip that our report blocks let the publisher measure.
    pub fn on_sender_report(&mut self, now: Instant, ntp: NtpTime) {
        self.last_sender_report = Some((ntp, now));
    }

    /// The report block of the time since the last call; `None` where nothing was received in it.
    pub fn report_block(&mut self, now: Instant) -> Option<ReportBlock> {
        let window = self.window.as_ref()?;
        let totals = Reported { expected: window.expected(), received: self.received };
        let interval = Reported {
            expected: totals.expected.saturating_sub(self.last_report.expected),
            received: totals.received.saturating_sub(self.last_report.received),
        };
        if interval.received == 0 {
            return None;
        }
        self.last_report = totals;
        let (last_sr, delay_since_last_sr) = self.last_sender_report.map_or((0, 0), |(ntp, at)| {
            let delay = now.saturating_duration_since(at).as_micros() << 16;
            (ntp.compact(), u32::try_from(delay / 1_000_000).unwrap_or(u32::MAX))
        });
        let lost = interval.expected.saturating_sub(interval.received);
        Some(ReportBlock {
            ssrc: self.ssrc,
            fraction_lost: (lost * 256).checked_div(interval.expected).unwrap_or(0).min(255) as u8,
            lost: i32::try_from(self.lost()).unwrap_or(i32::MAX),
            // Unwrapped numbers start one cycle up.
            highest_seq: window.highest.0.wrapping_sub(0x1_0000) as u32,
            jitter: self.jitter.ticks(),
            last_sr,
            delay_since_last_sr,
        })
    }

    /// Packets received since the source started, without duplicates and retransmissions.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Packets that did not arrive, those repaired since then included.
    pub fn lost(&self) -> u64 {
        self.window.as_ref().map_or(0, Window::expected).saturating_sub(self.received)
    }

    /// Interarrival jitter.
    pub fn jitter(&self) -> Duration {
        self.jitter.duration()
    }

    /// Counts from `ext` on.
    fn start(&mut self, ext: ExtSeq, now: Instant, timestamp: RtpTime, clock_rate: u32) -> ExtSeq {
        self.window = Some(Window::new(ext));
        self.expected_restart = None;
        self.received = 1;
        self.last_report = Reported::default();
        self.jitter = Jitter::default();
        self.jitter.on_packet(now, timestamp, clock_rate);
        ext
    }
}

/// Which of the last numbers were seen.
#[derive(Clone, Debug)]
struct Window {
    /// Lowest number that counts as expected.
    first: ExtSeq,
    highest: ExtSeq,
    /// One bit per number, at its remainder by the window's size.
    seen: [u64; Window::WORDS],
}

impl Window {
    const WORDS: usize = 16;
    const SIZE: u64 = 64 * Self::WORDS as u64;

    fn new(first: ExtSeq) -> Self {
        let mut window = Window { first, highest: first, seen: [0; Self::WORDS] };
        window.mark(first);
        window
    }

    /// Marks `seq`, which must not be behind the window; `false` where it was marked already.
    fn mark(&mut self, seq: ExtSeq) -> bool {
        let ahead = seq.0.saturating_sub(self.highest.0);
        for step in 1..=ahead.min(Self::SIZE) {
            let (word, bit) = Self::place(ExtSeq(self.highest.0 + step));
            if let Some(word) = self.seen.get_mut(word) {
                *word &= !bit;
            }
        }
        self.highest = self.highest.max(seq);
        self.first = self.first.min(seq);
        let (word, bit) = Self::place(seq);
        let Some(word) = self.seen.get_mut(word) else { return false };
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    fn place(seq: ExtSeq) -> (usize, u64) {
        ((seq.0 / 64) as usize % Self::WORDS, 1 << (seq.0 % 64))
    }

    fn expected(&self) -> u64 {
        self.highest.0 - self.first.0 + 1
    }
}

/// Interarrival jitter (RFC 3550 A.8), measured at the first packet of each frame: the others are spread by the
/// sender's pacer.
#[derive(Clone, Copy, Debug, Default)]
struct Jitter {
    last: Option<(Instant, RtpTime)>,
    clock_rate: u32,
    /// In ticks times 16.
    scaled: u32,
}

impl Jitter {
    /// A deviation above this is a jump of the timestamps.
    const MAX_DEVIATION_S: u64 = 5;

    fn on_packet(&mut self, now: Instant, timestamp: RtpTime, clock_rate: u32) {
        let Some((last_at, last_timestamp)) = self.last else {
            (self.last, self.clock_rate) = (Some((now, timestamp)), clock_rate);
            return;
        };
        if timestamp == last_timestamp {
            return;
        }
        (self.last, self.clock_rate) = (Some((now, timestamp)), clock_rate);
        let elapsed = now.saturating_duration_since(last_at).as_micros() * u128::from(clock_rate) / 1_000_000;
        let advanced = i64::from(timestamp.distance(last_timestamp));
        let deviation = i64::try_from(elapsed).unwrap_or(i64::MAX).saturating_sub(advanced).unsigned_abs();
        if deviation <= Self::MAX_DEVIATION_S * u64::from(clock_rate) {
            let decay = (self.scaled + 8) >> 4;
            self.scaled = (self.scaled + deviation as u32).saturating_sub(decay);
        }
    }

    fn ticks(&self) -> u32 {
        self.scaled >> 4
    }

    fn duration(&self) -> Duration {
        let micros = u64::from(self.ticks()) * 1_000_000;
        Duration::from_micros(micros.checked_div(u64::from(self.clock_rate)).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

    use super::*;
    use proptest::prelude::*;

    const VIDEO: u32 = 90_000;

    struct SendingSource {
        reception: Reception,
        start: Instant,
    }

    impl SendingSource {
        fn new() -> Self {
            SendingSource { reception: Reception::new(Ssrc(7)), start: Instant::now() }
        }

        /// A packet every 10 ms of media time, on time.
        fn send(&mut self, seq: u16) -> SeqCheck {
            self.send_late(seq, 0)
        }

        fn send_late(&mut self, seq: u16, late_ms: u64) -> SeqCheck {
            let now = self.start + Duration::from_millis(u64::from(seq) * 10 + late_ms);
            self.reception.on_packet(now, SeqNo(seq), RtpTime(u32::from(seq) * 900), VIDEO)
        }

        fn send_all(&mut self, seqs: impl IntoIterator<Item = u16>) {
            for seq in seqs {
                assert!(matches!(self.send(seq), SeqCheck::New(_)), "{seq}");
            }
        }

        fn report(&mut self) -> ReportBlock {
            self.reception.report_block(self.start).expect("a report block")
        }
    }

    fn ext(seq: u64) -> ExtSeq {
        ExtSeq(0x1_0000 + seq)
    }

    #[test]
    fn numbers_unwrap_across_a_wrap_and_a_reordering() {
        let mut source = SendingSource::new();
        assert_eq!(source.send(65_534), SeqCheck::New(ext(65_534)));
        assert_eq!(source.send(0), SeqCheck::New(ext(65_536)));
        assert_eq!(source.send(65_535), SeqCheck::New(ext(65_535)));
        assert_eq!(source.report().highest_seq, 0x1_0000);
    }

    #[test]
    fn a_packet_seen_before_is_a_duplicate() {
        let mut source = SendingSource::new();
        source.send_all((0..2000).step_by(2));
        assert_eq!(source.send(1998), SeqCheck::Duplicate);
        assert_eq!(source.send(1000), SeqCheck::Duplicate);
        assert_eq!(source.send(1001), SeqCheck::New(ext(1001)));
        assert_eq!(source.send(1001), SeqCheck::Duplicate);
        assert_eq!(source.send(900), SeqCheck::TooOld);
    }

    #[test]
    fn the_first_packets_may_come_in_any_order() {
        let mut source = SendingSource::new();
        assert_eq!(source.send(5), SeqCheck::New(ext(5)));
        assert_eq!(source.send(4), SeqCheck::New(ext(4)));
        assert_eq!(source.send(7), SeqCheck::New(ext(7)));
        assert_eq!(source.report().lost, 1);
    }

    #[test]
    fn losses_are_counted_in_total_and_as_a_share_since_the_last_report() {
        let mut source = SendingSource::new();
        source.send_all((0..100).filter(|seq| seq % 4 != 1));
        let report = source.report();
        assert_eq!((report.lost, report.fraction_lost, report.highest_seq), (25, 64, 99));
        source.send_all(100..200);
        let report = source.report();
        assert_eq!((report.lost, report.fraction_lost), (25, 0));
        assert_eq!(source.reception.report_block(source.start), None, "nothing since then");
    }

    #[test]
    fn a_retransmission_repairs_without_counting_as_received() {
        let mut source = SendingSource::new();
        assert_eq!(source.reception.on_recovered(SeqNo(9)), SeqCheck::TooOld, "nothing is known to be missing");
        source.send_all([0, 1, 3]);
        assert_eq!(source.reception.on_recovered(SeqNo(2)), SeqCheck::New(ext(2)));
        assert_eq!(source.reception.on_recovered(SeqNo(2)), SeqCheck::Duplicate);
        assert_eq!(source.send(2), SeqCheck::Duplicate);
        assert_eq!((source.report().lost, source.reception.received()), (1, 3));
        assert_eq!(source.reception.on_recovered(SeqNo(30_000)), SeqCheck::TooOld, "a lie does not move the window");
        assert_eq!(source.send(4), SeqCheck::New(ext(4)));
    }

    #[test]
    fn a_source_that_counts_anew_restarts_above_all_numbers_before() {
        let mut source = SendingSource::new();
        source.send_all(0..10);
        assert_eq!(source.send(30_000), SeqCheck::Restarted(ext(30_000)));
        assert_eq!(source.send(20), SeqCheck::TooOld, "one old packet proves nothing");
        assert_eq!(source.send(21), SeqCheck::Restarted(ext(65_536 + 21)));
        assert_eq!(source.send(22), SeqCheck::New(ext(65_536 + 22)));
        assert_eq!(source.report().lost, 0);
    }

    #[test]
    fn old_packets_that_do_not_follow_each_other_restart_nothing() {
        let mut source = SendingSource::new();
        source.send(40_000);
        for seq in [10_000, 10_002, 10_010, 31_000, 10_002] {
            assert_eq!(source.send(seq), SeqCheck::TooOld);
        }
        assert_eq!(source.send(40_001), SeqCheck::New(ext(40_001)));
        assert_eq!(source.send(10_003), SeqCheck::TooOld, "the packet before it is forgotten");
    }

    #[test]
    fn jitter_follows_rfc_3550() {
        let mut source = SendingSource::new();
        source.send_all(0..1000);
        assert_eq!(source.reception.jitter(), Duration::ZERO);
        for seq in 1000..2000 {
            source.send_late(seq, u64::from(seq % 2) * 5);
        }
        // Every packet deviates by 5 ms.
        assert!(source.reception.jitter().abs_diff(Duration::from_millis(5)) < Duration::from_micros(200));
        assert!(source.report().jitter.abs_diff(450) < 20);
    }

    #[test]
    fn a_packet_that_was_overtaken_is_no_jitter() {
        let mut source = SendingSource::new();
        source.send_all([0, 1, 3]);
        source.send_late(2, 15);
        source.send(4);
        assert_eq!(source.reception.jitter(), Duration::ZERO);
    }

    #[test]
    fn packets_of_one_frame_and_jumps_of_the_timestamp_are_no_jitter() {
        let mut source = SendingSource::new();
        for (seq, at_ms, timestamp) in [(0, 0, 0), (1, 9, 0), (2, 18, 0), (3, 33, 2970), (4, 66, 0x8000_0000)] {
            let now = source.start + Duration::from_millis(at_ms);
            source.reception.on_packet(now, SeqNo(seq), RtpTime(timestamp), VIDEO);
        }
        assert_eq!(source.reception.jitter(), Duration::ZERO);
    }

    #[test]
    fn a_report_block_echoes_the_last_sender_report() {
        let mut source = SendingSource::new();
        source.send(0);
        source.reception.on_sender_report(source.start, NtpTime(0x1111_2222_3333_4444));
        let block = source.reception.report_block(source.start + Duration::from_millis(250)).unwrap();
        assert_eq!((block.ssrc, block.last_sr, block.delay_since_last_sr), (Ssrc(7), 0x2222_3333, 16_384));
    }

    proptest! {
        #[test]
        fn each_number_is_new_exactly_once_however_packets_are_reordered(
            first: u16, order in prop::collection::vec((0..500u64, 0..400u64), 1..400),
        ) {
            let mut reception = Reception::new(Ssrc(1));
            let (mut given, mut base) = (std::collections::HashSet::new(), 400);
            let now = Instant::now();
            reception.on_packet(now, SeqNo(first), RtpTime(0), VIDEO);
            given.insert(ExtSeq::first(SeqNo(first)));
            for (advance, back) in order {
                base += advance;
                let truth = ExtSeq(ExtSeq::first(SeqNo(first)).0 + base - back);
                match reception.on_packet(now, truth.wire(), RtpTime(0), VIDEO) {
                    SeqCheck::New(ext) => {
                        prop_assert_eq!(ext, truth);
                        prop_assert!(given.insert(ext), "{:?} twice", ext);
                    }
                    SeqCheck::Duplicate => prop_assert!(given.contains(&truth)),
                    other => prop_assert!(false, "{:?}", other),
                }
            }
        }
    }
}
