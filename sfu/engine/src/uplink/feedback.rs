//! Transport-wide feedback to a publisher: when each of its packets arrived
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01).
//!
//! One [`FeedbackRecorder`] per participant, fed by the uplink with every RTP packet that carries a transport-wide
//! number, padding and retransmissions included. As in libwebrtc, a packet that arrives late makes the next report
//! start with it, so numbers that were reported before may be reported once more.

use super::rates::RateMeter;
use crate::rtcp::write::{self, FeedbackHeader};
use crate::units::{Bitrate, ExtSeq, SeqNo, Ssrc};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Remembers arrivals and writes them out at intervals that take about 5 % of the rate received.
#[derive(Debug)]
pub struct FeedbackRecorder {
    /// Arrival of each number from `start` on, in microseconds since `epoch`; `None` for a packet that has not come.
    /// The last one is the newest packet. Empty before the first packet.
    arrivals: VecDeque<Option<i64>>,
    start: ExtSeq,
    /// First number that the next report covers.
    next: ExtSeq,
    epoch: Option<Instant>,
    /// Set while there is something to report.
    due: Option<Instant>,
    /// Known once there was a report.
    interval: Option<Duration>,
    rate: RateMeter,
    /// Counts reports.
    number: u8,
    /// The last packet that was behind the window.
    stray: Option<SeqNo>,
    /// Scratch space of one report.
    statuses: Vec<Option<i16>>,
}

impl Default for FeedbackRecorder {
    fn default() -> Self {
        FeedbackRecorder {
            arrivals: VecDeque::new(),
            start: ExtSeq(0),
            next: ExtSeq(0),
            epoch: None,
            due: None,
            interval: None,
            rate: RateMeter::default(),
            number: 0,
            stray: None,
            statuses: Vec::new(),
        }
    }
}

impl FeedbackRecorder {
    /// Numbers remembered, and therefore the most that one report covers; a jump of more starts the record over.
    const WINDOW: u64 = 8192;
    /// Arrivals are kept this long after they were reported, for reports that start with a late packet.
    const HISTORY: Duration = Duration::from_millis(500);
    /// Interval between reports before a rate is known, and its limits afterwards.
    const FIRST_INTERVAL: Duration = Duration::from_millis(100);
    const SHORTEST_INTERVAL: Duration = Duration::from_millis(50);
    const LONGEST_INTERVAL: Duration = Duration::from_millis(250);
    /// Reports take one part in this many of the rate: 5 %.
    const SHARE: u32 = 20;
    /// What a usual report takes with all headers, for the interval.
    const REPORT_BYTES: u64 = 68;
    /// Packets received that one report covers. Each takes at most 6 bytes, as the only one in a long loss, so that a
    /// report fits a packet.
    const MAX_RECEIVED: usize = 190;

    /// Notes that a packet arrived with transport-wide number `seq`; `bytes` is its size.
    pub fn on_packet(&mut self, now: Instant, seq: SeqNo, bytes: usize) {
        self.rate.on_packet(now, bytes);
        let epoch = *self.epoch.get_or_insert(now);
        let arrival = now.saturating_duration_since(epoch).as_micros() as i64;
        if self.note(seq, arrival) && self.due.is_none() {
            self.due = Some(now + self.interval.unwrap_or(Self::FIRST_INTERVAL));
        }
    }

    /// When [`FeedbackRecorder::poll_feedback`] has something to say.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Appends one report to `out` if one is due; call it until it returns `false`. `media` is any source of the
    /// participant.
    pub fn poll_feedback(&mut self, now: Instant, sender: Ssrc, media: Ssrc, out: &mut Vec<u8>) -> bool {
        if self.due.is_none_or(|due| now < due) {
            return false;
        }
        let base = self.next;
        let reference = self.collect_statuses();
        self.next = ExtSeq(base.0 + self.statuses.len() as u64);
        if self.next >= self.end() {
            self.due = None;
            self.forget_old(now);
            self.interval = Some(Self::interval_for(self.rate.rate(now)));
        }
        let header = FeedbackHeader { sender, media, base: base.wire(), reference, number: self.number };
        write::transport_feedback(out, &header, &self.statuses);
        self.number = self.number.wrapping_add(1);
        true
    }

    /// Takes a packet into the record; `false` where it is known already or too old.
    fn note(&mut self, wire: SeqNo, arrival: i64) -> bool {
        if self.arrivals.is_empty() {
            return self.restart(ExtSeq::first(wire), arrival);
        }
        let newest = ExtSeq(self.end().0 - 1);
        let seq = newest.unwrap_near(wire);
        if seq > newest {
            let skipped = seq.0 - newest.0 - 1;
            if skipped >= Self::WINDOW {
                return self.restart(seq, arrival);
            }
            self.arrivals.extend(std::iter::repeat_n(None, skipped as usize));
            self.arrivals.push_back(Some(arrival));
            let excess = (self.arrivals.len() as u64).saturating_sub(Self::WINDOW);
            self.forget(excess);
            return true;
        }
        let Some(index) = seq.0.checked_sub(self.start.0) else {
            // Behind the window: an old packet, or the publisher counts anew, which two packets in a row tell.
            let follows = self.stray.replace(wire).is_some_and(|stray| wire.distance(stray) == 1);
            return follows && self.restart(ExtSeq::first(wire), arrival);
        };
        match self.arrivals.get_mut(index as usize) {
            Some(slot @ None) => {
                *slot = Some(arrival);
                self.next = self.next.min(seq);
                true
            }
            _ => false,
        }
    }

    /// Starts the record over with one packet.
    fn restart(&mut self, seq: ExtSeq, arrival: i64) -> bool {
        self.arrivals.clear();
        self.arrivals.push_back(Some(arrival));
        (self.start, self.next, self.stray) = (seq, seq, None);
        true
    }

    /// One after the newest number.
    fn end(&self) -> ExtSeq {
        ExtSeq(self.start.0 + self.arrivals.len() as u64)
    }

    /// Fills `statuses` with what the next report covers; returns its reference time in ticks of 64 ms.
    fn collect_statuses(&mut self) -> u32 {
        const TICK_US: i64 = 250;
        const REFERENCE_TICKS: i64 = 256;
        self.statuses.clear();
        let mut reference = None;
        let mut clock = 0;
        let mut received = 0;
        let skip = self.next.0.saturating_sub(self.start.0) as usize;
        for arrival in self.arrivals.iter().skip(skip) {
            let status = match arrival {
                None => None,
                Some(_) if received == Self::MAX_RECEIVED => break,
                Some(us) => {
                    let ticks = us / TICK_US;
                    if reference.is_none() {
                        reference = Some(ticks / REFERENCE_TICKS);
                        clock = ticks - ticks % REFERENCE_TICKS;
                    }
                    // Eight seconds without a packet do not fit a delta: the next report starts there.
                    let Ok(delta) = i16::try_from(ticks - clock) else { break };
                    clock = ticks;
                    received += 1;
                    Some(delta)
                }
            };
            self.statuses.push(status);
        }
        reference.unwrap_or(0) as u32
    }

    /// Drops what is reported and so old that no late packet will ask for it.
    fn forget_old(&mut self, now: Instant) {
        let age = self.epoch.map_or(Duration::ZERO, |epoch| now.saturating_duration_since(epoch));
        let oldest = age.as_micros() as i64 - Self::HISTORY.as_micros() as i64;
        let reported = (self.next.0.saturating_sub(self.start.0) as usize).min(self.arrivals.len().saturating_sub(1));
        let old = self.arrivals.iter().take(reported).rposition(|arrival| arrival.is_some_and(|us| us < oldest));
        self.forget(old.map_or(0, |index| index as u64 + 1));
    }

    /// Drops the oldest `count` numbers.
    fn forget(&mut self, count: u64) {
        self.arrivals.drain(..(count as usize).min(self.arrivals.len()));
        self.start = ExtSeq(self.start.0 + count);
        self.next = self.next.max(self.start);
    }

    fn interval_for(rate: Bitrate) -> Duration {
        let interval = rate.time_for(Self::REPORT_BYTES) * Self::SHARE;
        interval.clamp(Self::SHORTEST_INTERVAL, Self::LONGEST_INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

    use super::*;
    use crate::rtcp::{Rtcp, parse};

    const HERE: Ssrc = Ssrc(1);
    const THERE: Ssrc = Ssrc(2);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// What one report says: base number, and for each number the arrival in milliseconds.
    type Report = (u16, Vec<Option<i64>>);

    struct Pair {
        recorder: FeedbackRecorder,
        start: Instant,
        reports: Vec<Report>,
        sizes: Vec<usize>,
        numbers: Vec<u8>,
    }

    impl Pair {
        fn new() -> Self {
            Pair {
                recorder: FeedbackRecorder::default(),
                start: Instant::now(),
                reports: vec![],
                sizes: vec![],
                numbers: vec![],
            }
        }

        fn receive(&mut self, at_ms: u64, seq: u16) {
            self.recorder.on_packet(self.start + ms(at_ms), SeqNo(seq), 1000);
        }

        /// Lets the recorder write all that is due at its own time.
        fn report(&mut self) -> Vec<Report> {
            let due = self.recorder.poll_timeout().expect("something to report");
            let mut out = Vec::new();
            while self.recorder.poll_feedback(due, HERE, THERE, &mut out) {
                self.sizes.push(out.len());
                let read = |value: Rtcp<'_>| {
                    let Rtcp::TransportFeedback(feedback) = value else { panic!("{value:?}") };
                    let arrivals = feedback.packets().map(|(_, us)| us.map(|us| us / 1000)).collect();
                    self.reports.push((feedback.base.0, arrivals));
                    self.numbers.push(feedback.feedback_number);
                };
                assert_eq!(parse(&out, read), 0);
                out.clear();
            }
            std::mem::take(&mut self.reports)
        }
    }

    #[test]
    fn arrivals_and_losses_are_reported_once() {
        let mut pair = Pair::new();
        for (at, seq) in [(0, 10), (5, 11), (7, 13)] {
            pair.receive(at, seq);
        }
        assert_eq!(pair.report(), [(10, vec![Some(0), Some(5), None, Some(7)])]);
        assert_eq!(pair.recorder.poll_timeout(), None, "silence needs no reports");
        pair.receive(200, 14);
        assert_eq!(pair.report(), [(14, vec![Some(200)])]);
        assert_eq!(pair.numbers, [0, 1]);
    }

    #[test]
    fn a_loss_between_two_reports_is_reported() {
        let mut pair = Pair::new();
        pair.receive(0, 1);
        pair.report();
        pair.receive(110, 4);
        assert_eq!(pair.report(), [(2, vec![None, None, Some(110)])]);
    }

    #[test]
    fn a_packet_that_comes_late_is_reported_with_its_followers() {
        let mut pair = Pair::new();
        for (at, seq) in [(0, 1), (3, 3), (4, 4)] {
            pair.receive(at, seq);
        }
        pair.report();
        pair.receive(120, 2);
        pair.receive(121, 5);
        assert_eq!(pair.report(), [(2, vec![Some(120), Some(3), Some(4), Some(121)])]);
    }

    #[test]
    fn duplicates_change_nothing() {
        let mut pair = Pair::new();
        pair.receive(0, 1);
        pair.receive(9, 1);
        assert_eq!(pair.report(), [(1, vec![Some(0)])]);
        pair.receive(150, 1);
        assert_eq!(pair.recorder.poll_timeout(), None);
    }

    #[test]
    fn numbers_wrap_around() {
        let mut pair = Pair::new();
        for (at, seq) in [(0, 65_534), (1, 65_535), (2, 0), (3, 1)] {
            pair.receive(at, seq);
        }
        assert_eq!(pair.report(), [(65_534, vec![Some(0), Some(1), Some(2), Some(3)])]);
    }

    #[test]
    fn a_big_jump_forward_starts_the_record_over() {
        let mut pair = Pair::new();
        pair.receive(0, 1);
        pair.receive(1, 20_000);
        assert_eq!(pair.report(), [(20_000, vec![Some(1)])]);
        assert!(pair.recorder.arrivals.len() < 2);
    }

    #[test]
    fn a_publisher_that_counts_anew_is_believed_at_its_second_packet() {
        let mut pair = Pair::new();
        (0..10).for_each(|n| pair.receive(n, 30_000 + n as u16));
        pair.report();
        pair.receive(1000, 5);
        assert_eq!(pair.recorder.poll_timeout(), None, "one old packet proves nothing");
        pair.receive(1001, 6);
        pair.receive(1002, 7);
        assert_eq!(pair.report(), [(6, vec![Some(1001), Some(1002)])]);
    }

    #[test]
    fn a_gap_too_long_for_a_delta_is_split_into_two_reports() {
        let mut pair = Pair::new();
        pair.receive(0, 1);
        pair.receive(9000, 2);
        assert_eq!(pair.report(), [(1, vec![Some(0)]), (2, vec![Some(9000)])]);
    }

    #[test]
    fn many_packets_are_split_into_reports_that_fit_a_datagram() {
        let mut pair = Pair::new();
        (0..400u64).for_each(|n| pair.receive(n % 2 * 90, (n * 20) as u16));
        let reports = pair.report();
        assert_eq!(reports.iter().map(|(_, arrivals)| arrivals.iter().flatten().count()).sum::<usize>(), 400);
        assert!(pair.sizes.iter().all(|size| *size <= 1180), "{:?}", pair.sizes);
    }

    #[test]
    fn memory_stays_bounded_whatever_the_numbers_do() {
        let mut pair = Pair::new();
        let mut seq = 0u16;
        for n in 0..2000u64 {
            seq = seq.wrapping_add([1, 8000, 8191, 3, 40_000][n as usize % 5]);
            pair.receive(n, seq);
            assert!(pair.recorder.arrivals.len() as u64 <= FeedbackRecorder::WINDOW);
        }
        pair.report();
    }

    #[test]
    fn what_was_reported_long_ago_is_forgotten() {
        let mut pair = Pair::new();
        for n in 0..2000u64 {
            pair.receive(n * 10, n as u16);
            if n % 10 == 0 {
                pair.report();
            }
        }
        assert!(pair.recorder.arrivals.len() <= 70, "{}", pair.recorder.arrivals.len());
    }

    #[test]
    fn reports_come_faster_when_more_is_received() {
        let interval = |bytes: usize| {
            let (mut recorder, start) = (FeedbackRecorder::default(), Instant::now());
            let mut reports = Vec::new();
            for n in 0..3000u64 {
                let now = start + ms(n);
                if n % 20 == 0 {
                    recorder.on_packet(now, SeqNo((n / 20) as u16), bytes);
                }
                if recorder.poll_feedback(now, HERE, THERE, &mut Vec::new()) {
                    reports.push(n);
                }
            }
            let last: Vec<_> = reports.iter().rev().take(2).collect();
            last[0] - last[1]
        };
        assert_eq!(interval(5000), 60, "2 Mb/s: the shortest interval, from the packet that follows a report");
        assert!((100..150).contains(&interval(250)), "100 kb/s");
        assert!((240..=280).contains(&interval(50)), "20 kb/s: the longest interval");
    }
}
