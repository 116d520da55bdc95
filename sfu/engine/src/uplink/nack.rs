//! Asks a publisher for lost packets (RFC 4585 section 6.2.1), paced by the round trip.
//!
//! One [`NackGenerator`] for each video encoding, fed by the uplink with every unwrapped sequence number. Each missing
//! packet has a moment at which it is asked for: first after a short tolerance for reordering, then each time an answer
//! is overdue.

use crate::units::ExtSeq;
use crate::uplink::shortfall::LossCounts;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Whether the encoding can be repaired by retransmission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Repair {
    /// What is missing can still come, or nothing is.
    Possible,
    /// Packets were given up: only a key frame helps.
    NeedsKeyframe,
}

/// The missing packets of one encoding.
#[derive(Clone, Debug)]
pub struct NackGenerator {
    highest: Option<ExtSeq>,
    /// In ascending order.
    missing: VecDeque<Missing>,
    /// No packet is due before this; it may be too early, never too late.
    next_due: Option<Instant>,
    tolerance: Duration,
    given_up: u64,
    counts: LossCounts,
    /// When the gap was noticed in which the packet was that became overdue last.
    overdue_gap: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Missing {
    seq: ExtSeq,
    noticed: Instant,
    due: Instant,
    asked: u32,
    /// When it was asked for first.
    asked_at: Option<Instant>,
    /// Once asked for: before this moment no answer can come.
    answer_from: Option<Instant>,
    /// It has been counted as overdue.
    overdue: bool,
}

impl Default for NackGenerator {
    fn default() -> Self {
        NackGenerator {
            highest: None,
            missing: VecDeque::new(),
            next_due: None,
            tolerance: Self::FIRST_TOLERANCE,
            given_up: 0,
            counts: LossCounts::default(),
            overdue_gap: None,
        }
    }
}

impl NackGenerator {
    /// How often a packet is asked for at most.
    pub const MAX_TRIES: u32 = 10;
    /// A packet that is missing for longer is of no use: the receivers' jitter buffers have moved on.
    pub const MAX_AGE: Duration = Duration::from_secs(1);
    /// With more packets missing than this, a key frame is cheaper (as in libwebrtc).
    pub const MAX_MISSING: usize = 1000;
    /// The shortest time that an answer is waited for.
    const MIN_REPEAT: Duration = Duration::from_millis(20);
    /// How long a packet may be overtaken before it counts as lost: at the start, and the limits of what is learned.
    const FIRST_TOLERANCE: Duration = Duration::from_millis(5);
    const MIN_TOLERANCE: Duration = Duration::from_millis(2);
    const MAX_TOLERANCE: Duration = Duration::from_millis(40);
    /// A packet is overdue when it has been missing for this time and one and a half round trips: then a repair has got
    /// lost, too.
    const OVERDUE: Duration = Duration::from_millis(200);

    /// Takes a packet that the publisher sent in its regular order; the gap before it becomes missing.
    pub fn on_received(&mut self, now: Instant, seq: ExtSeq) -> Repair {
        let Some(highest) = self.highest else {
            self.highest = Some(seq);
            return Repair::Possible;
        };
        if seq <= highest {
            if let Some(found) = self.take(seq) {
                self.learn_tolerance(now, &found);
            }
            return Repair::Possible;
        }
        self.highest = Some(seq);
        let gap = seq.0 - highest.0 - 1;
        self.counts.sent = self.counts.sent.saturating_add(gap + 1);
        if gap == 0 {
            return Repair::Possible;
        }
        if self.missing.len() as u64 + gap > Self::MAX_MISSING as u64 {
            self.given_up += self.missing.len() as u64 + gap;
            self.missing.clear();
            self.next_due = None;
            return Repair::NeedsKeyframe;
        }
        let due = now + self.tolerance;
        // Each loss makes a little more impatient, each packet that was only overtaken more patient.
        self.tolerance = (self.tolerance - self.tolerance / 64).max(Self::MIN_TOLERANCE);
        let lost = Missing { seq, noticed: now, due, asked: 0, asked_at: None, answer_from: None, overdue: false };
        self.missing.extend((highest.0 + 1..seq.0).map(|seq| Missing { seq: ExtSeq(seq), ..lost }));
        self.next_due = Some(self.next_due.map_or(due, |next| next.min(due)));
        Repair::Possible
    }

    /// How long an answer took, for a missing packet that was asked for once.
    pub fn answer_time(&self, now: Instant, seq: ExtSeq) -> Option<Duration> {
        let index = self.missing.binary_search_by_key(&seq, |missing| missing.seq).ok()?;
        let missing = self.missing.get(index).filter(|missing| missing.asked == 1)?;
        missing.asked_at.map(|at| now.saturating_duration_since(at))
    }

    /// Takes a packet that came as a retransmission.
    pub fn on_recovered(&mut self, seq: ExtSeq) {
        self.take(seq);
    }

    /// A key frame starts at `seq`: nothing before it is needed any more.
    pub fn on_keyframe(&mut self, seq: ExtSeq) {
        let superseded = self.missing.partition_point(|missing| missing.seq < seq);
        self.missing.drain(..superseded);
    }

    /// When [`NackGenerator::poll_nacks`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_due.filter(|_| !self.missing.is_empty())
    }

    /// Appends to `out` what to ask for now, in ascending order, and gives up what is too old or was asked for too
    /// often.
    pub fn poll_nacks(&mut self, now: Instant, rtt: Duration, out: &mut Vec<ExtSeq>) -> Repair {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return Repair::Possible;
        }
        let rtt = rtt.min(Self::MAX_AGE);
        self.count_overdue(now, rtt);
        let before = self.missing.len();
        self.missing.retain(|missing| {
            missing.due > now || missing.asked < Self::MAX_TRIES && now < missing.noticed + Self::MAX_AGE
        });
        let given_up = before - self.missing.len();
        self.given_up += given_up as u64;
        for missing in self.missing.iter_mut().filter(|missing| missing.due <= now) {
            out.push(missing.seq);
            missing.due = now + Self::repeat_after(rtt, missing.asked);
            missing.asked += 1;
            missing.asked_at.get_or_insert(now);
            missing.answer_from.get_or_insert(now + rtt * 3 / 4);
        }
        self.next_due = self.missing.iter().map(|missing| missing.due).min();
        if given_up > 0 { Repair::NeedsKeyframe } else { Repair::Possible }
    }

    /// Forgets everything, for a source that counts anew.
    pub fn reset(&mut self) {
        let NackGenerator { tolerance, given_up, counts, .. } = *self;
        *self = NackGenerator { tolerance, given_up, counts, ..NackGenerator::default() };
    }

    /// Packets given up so far.
    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    /// What was sent, and what of it was missing for too long.
    pub fn counts(&self) -> LossCounts {
        self.counts
    }

    /// Counts what has been missing for too long, each packet once.
    fn count_overdue(&mut self, now: Instant, rtt: Duration) {
        let after = (Self::OVERDUE + rtt * 3 / 2).min(Self::MAX_AGE);
        let overdue =
            |missing: &&mut Missing| !missing.overdue && now.saturating_duration_since(missing.noticed) >= after;
        for missing in self.missing.iter_mut().filter(overdue) {
            missing.overdue = true;
            self.counts.overdue += 1;
            self.counts.gaps += u64::from(self.overdue_gap.replace(missing.noticed) != Some(missing.noticed));
        }
    }

    /// How long an answer is waited for: a quarter more than the round trip, and a quarter more each time.
    fn repeat_after(rtt: Duration, asked: u32) -> Duration {
        (rtt * 5 / 4).max(Self::MIN_REPEAT) * (4 + asked) / 4
    }

    fn take(&mut self, seq: ExtSeq) -> Option<Missing> {
        let index = self.missing.binary_search_by_key(&seq, |missing| missing.seq).ok()?;
        self.missing.remove(index)
    }

    /// A missing packet came before anyone could have answered: it was only overtaken.
    fn learn_tolerance(&mut self, now: Instant, found: &Missing) {
        if found.answer_from.is_none_or(|answer_from| now < answer_from) {
            let late = now.saturating_duration_since(found.noticed);
            self.tolerance = self.tolerance.max(late * 5 / 4).min(Self::MAX_TOLERANCE);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

    use super::*;
    use proptest::prelude::*;

    const RTT: Duration = Duration::from_millis(80);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn seq(seq: u64) -> ExtSeq {
        ExtSeq(0x1_0000 + seq)
    }

    /// A generator with its clock, which starts at packet 0.
    struct Receiver {
        nack: NackGenerator,
        start: Instant,
    }

    impl Receiver {
        fn new() -> Self {
            let mut receiver = Receiver { nack: NackGenerator::default(), start: Instant::now() };
            assert_eq!(receiver.receive(0, 0), Repair::Possible);
            receiver
        }

        fn receive(&mut self, at_ms: u64, number: u64) -> Repair {
            self.nack.on_received(self.start + ms(at_ms), seq(number))
        }

        fn poll(&mut self, at_ms: u64) -> Vec<u64> {
            let mut out = Vec::new();
            let _ = self.nack.poll_nacks(self.start + ms(at_ms), RTT, &mut out);
            out.iter().map(|seq| seq.0 - 0x1_0000).collect()
        }

        /// Polls at its own times until nothing is missing: when it asked.
        fn run(&mut self) -> Vec<u64> {
            let mut asked = Vec::new();
            while let Some(due) = self.nack.poll_timeout() {
                let mut out = Vec::new();
                let _ = self.nack.poll_nacks(due, RTT, &mut out);
                asked.extend(out.iter().map(|_| (due - self.start).as_millis() as u64));
            }
            asked
        }
    }

    #[test]
    fn a_lost_packet_is_asked_for_after_a_short_tolerance() {
        let mut receiver = Receiver::new();
        let _ = receiver.receive(10, 3);
        assert_eq!(receiver.nack.poll_timeout(), Some(receiver.start + ms(15)));
        assert_eq!(receiver.poll(14), [0; 0]);
        let _ = receiver.receive(13, 5);
        assert_eq!(receiver.poll(15), [1, 2]);
        assert_eq!(receiver.poll(18), [4]);
    }

    #[test]
    fn without_loss_there_is_nothing_to_do() {
        let mut receiver = Receiver::new();
        for number in 1..100 {
            assert_eq!(receiver.receive(number, number), Repair::Possible);
            assert_eq!(receiver.nack.poll_timeout(), None);
        }
    }

    #[test]
    fn a_packet_that_is_only_overtaken_is_not_asked_for() {
        let mut receiver = Receiver::new();
        let _ = receiver.receive(10, 2);
        let _ = receiver.receive(13, 1);
        assert_eq!((receiver.poll(100), receiver.nack.missing.len()), (vec![], 0));
    }

    #[test]
    fn repeats_wait_for_more_than_a_round_trip_and_ever_longer() {
        let mut receiver = Receiver::new();
        let _ = receiver.receive(0, 2);
        let asked = receiver.run();
        let gaps: Vec<_> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(gaps, [100, 125, 150, 175, 200, 225]);
        assert!(*asked.last().unwrap() < 1000);
        assert_eq!(receiver.nack.given_up(), 1);
    }

    #[test]
    fn on_a_short_path_repeats_are_20_ms_apart_and_end_after_ten() {
        let mut receiver = Receiver::new();
        let _ = receiver.receive(0, 2);
        let (mut asked, mut repair) = (Vec::new(), Repair::Possible);
        while let Some(due) = receiver.nack.poll_timeout() {
            repair = receiver.nack.poll_nacks(due, ms(1), &mut asked);
        }
        assert_eq!((asked.len(), repair), (NackGenerator::MAX_TRIES as usize, Repair::NeedsKeyframe));
    }

    #[test]
    fn a_repaired_packet_is_not_asked_for_again() {
        let mut receiver = Receiver::new();
        let _ = receiver.receive(0, 3);
        assert_eq!(receiver.poll(5), [1, 2]);
        receiver.nack.on_recovered(seq(1));
        assert_eq!(receiver.poll(500), [2]);
    }

    #[test]
    fn a_keyframe_supersedes_what_is_missing_before_it() {
        let mut receiver = Receiver::new();
        let _ = receiver.receive(0, 5);
        let _ = receiver.receive(1, 8);
        receiver.nack.on_keyframe(seq(5));
        assert_eq!(receiver.poll(10), [6, 7]);
    }

    #[test]
    fn with_too_much_missing_a_keyframe_is_needed() {
        let mut receiver = Receiver::new();
        assert_eq!(receiver.receive(1, 900), Repair::Possible);
        assert_eq!(receiver.receive(2, 1100), Repair::NeedsKeyframe);
        assert_eq!((receiver.nack.missing.len(), receiver.nack.poll_timeout()), (0, None));
        assert_eq!(receiver.receive(3, 1102), Repair::Possible);
        assert_eq!(receiver.poll(10), [1101]);
        assert_eq!(receiver.receive(4, u64::MAX - 0x2_0000), Repair::NeedsKeyframe);
    }

    #[test]
    fn tolerance_grows_where_packets_overtake_each_other_and_shrinks_again() {
        let mut receiver = Receiver::new();
        let _ = receiver.receive(0, 2);
        assert_eq!(receiver.poll(5), [1]);
        // Answered after 20 ms of an 80 ms round trip: it was on its way.
        let _ = receiver.receive(25, 1);
        let _ = receiver.receive(30, 4);
        assert_eq!(receiver.poll(60), [0; 0]);
        assert_eq!(receiver.poll(62), [3]);
        receiver.nack.on_recovered(seq(3));
        for loss in 3..300 {
            let _ = receiver.receive(loss * 100, loss * 2);
            receiver.nack.on_recovered(seq(loss * 2 - 1));
        }
        let _ = receiver.receive(30_000, 600);
        assert_eq!(receiver.poll(30_002), [599]);
    }

    #[test]
    fn an_answer_on_the_same_source_is_not_taken_for_reordering() {
        let mut receiver = Receiver::new();
        let _ = receiver.receive(0, 2);
        receiver.poll(5);
        let _ = receiver.receive(85, 1);
        let _ = receiver.receive(90, 4);
        assert_eq!(receiver.poll(95), [3]);
    }

    #[test]
    fn what_is_missing_for_too_long_is_counted_once() {
        let mut receiver = Receiver::new();
        let _ = receiver.receive(0, 3);
        let _ = receiver.receive(10, 5);
        receiver.poll(320);
        assert_eq!(
            receiver.nack.counts(),
            LossCounts { sent: 5, overdue: 2, gaps: 1 },
            "200 ms and one and a half of 80"
        );
        receiver.nack.on_recovered(seq(1));
        receiver.run();
        assert_eq!(receiver.nack.counts(), LossCounts { sent: 5, overdue: 3, gaps: 2 });
        receiver.nack.reset();
        assert_eq!(receiver.nack.counts(), LossCounts { sent: 5, overdue: 3, gaps: 2 }, "of the same encoding");
    }

    #[test]
    fn after_a_restart_nothing_is_missing() {
        let mut receiver = Receiver::new();
        let _ = receiver.receive(0, 5);
        receiver.nack.reset();
        assert_eq!(receiver.receive(1, 70_000), Repair::Possible);
        assert_eq!(receiver.nack.poll_timeout(), None);
    }

    proptest! {
        #[test]
        fn only_what_is_missing_is_asked_for_and_never_too_often(
            packets in prop::collection::vec((0..30u64, 1..5u64, 0..3u64, any::<bool>()), 1..200),
        ) {
            let mut receiver = Receiver::new();
            let mut seen = std::collections::BTreeSet::from([0]);
            let mut asked = std::collections::BTreeMap::<u64, u32>::new();
            let (mut at, mut newest) = (0, 0);
            for (wait, advance, back, recovered) in packets {
                at += wait;
                let number = if back > 0 { newest - u64::min(back, newest) } else { newest + advance };
                if recovered && back > 0 {
                    receiver.nack.on_recovered(seq(number));
                } else {
                    prop_assert_eq!(receiver.receive(at, number), Repair::Possible);
                }
                seen.insert(number);
                newest = newest.max(number);
                let nacks = receiver.poll(at);
                prop_assert!(nacks.is_sorted());
                for number in nacks {
                    prop_assert!(number < newest && !seen.contains(&number));
                    *asked.entry(number).or_default() += 1;
                }
            }
            prop_assert!(asked.values().all(|times| *times <= NackGenerator::MAX_TRIES));
        }
    }
}
