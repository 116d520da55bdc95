//! RFC 8888 names packets by source and sequence number, the estimator by transport-wide number. This remembers which
//! is which for the packets sent lately, and turns a report into what [`super::estimate`] takes.
//!
//! Used by [`super::Downlink`] where the slots negotiated RFC 8888. Bounded: so many packets of each source, and the
//! sources are the slots'.

use super::estimate::{PacketReport, ReceiverTime};
use crate::rtcp::{Ccfb, Ecn};
use crate::units::{SeqNo, Ssrc};
use rustc_hash::FxHashMap;

/// Packets of one source that a report may still name: 4 s of a track of 250 packets per second.
const PACKETS: usize = 1024;

/// Sequence numbers given out lately, and the reporter's clock.
#[derive(Debug, Default)]
pub(super) struct SentNumbers {
    sources: FxHashMap<Ssrc, Vec<Option<Sent>>>,
    clock: ReporterClock,
    ce_marks: u64,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    seq: SeqNo,
    transport_seq: u16,
}

impl SentNumbers {
    /// A plain RTP packet leaves under a transport-wide number.
    pub(super) fn note(&mut self, ssrc: Ssrc, seq: SeqNo, transport_seq: u16) {
        let ring = self.sources.entry(ssrc).or_insert_with(|| vec![None; PACKETS]);
        if let Some(place) = ring.get_mut(usize::from(seq.0) % PACKETS) {
            *place = Some(Sent { seq, transport_seq });
        }
    }

    /// Slots were negotiated anew: sources that are none of theirs any more are forgotten.
    pub(super) fn retain(&mut self, is_ours: impl Fn(Ssrc) -> bool) {
        self.sources.retain(|ssrc, _| is_ours(*ssrc));
    }

    /// Appends to `reports` what a message says about packets that were sent, oldest first. `next` is the
    /// transport-wide number of the next packet. What arrived at a time that the message does not tell is left out.
    pub(super) fn read(&mut self, feedback: &Ccfb<'_>, next: u16, reports: &mut Vec<PacketReport>) {
        let made_at = self.clock.micros(feedback.timestamp);
        let (sources, ce_marks) = (&self.sources, &mut self.ce_marks);
        for block in feedback.blocks() {
            let Some(ring) = sources.get(&block.media) else { continue };
            for (seq, arrival) in block.packets() {
                let sent = ring.get(usize::from(seq.0) % PACKETS).copied().flatten();
                let Some(sent) = sent.filter(|sent| sent.seq == seq) else { continue };
                let time = match arrival {
                    None => None,
                    Some(arrival) => {
                        *ce_marks += u64::from(arrival.ecn == Ecn::CongestionExperienced);
                        let Some(before) = arrival.before else { continue };
                        let before = i64::try_from(before.as_micros()).unwrap_or(i64::MAX);
                        Some(ReceiverTime(made_at.saturating_sub(before)))
                    }
                };
                reports.push(PacketReport { transport_seq: sent.transport_seq, arrival: time });
            }
        }
        reports.sort_by_key(|report| std::cmp::Reverse(next.wrapping_sub(report.transport_seq)));
    }

    /// Congestion Experienced marks reported since the last call.
    pub(super) fn take_ce_marks(&mut self) -> u64 {
        std::mem::take(&mut self.ce_marks)
    }
}

/// The clock of report timestamps: 32 bits in units of 1/65536 s, which wrap every 18 hours.
#[derive(Debug, Default)]
struct ReporterClock {
    last: Option<(u32, i64)>,
}

impl ReporterClock {
    /// The timestamp on a time line that does not wrap, in microseconds.
    fn micros(&mut self, timestamp: u32) -> i64 {
        let (before, units) = self.last.unwrap_or((timestamp, i64::from(timestamp)));
        let units = units + i64::from(timestamp.wrapping_sub(before).cast_signed());
        self.last = Some((timestamp, units));
        units.saturating_mul(1_000_000) >> 16
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;
    use crate::rtcp::{self, Rtcp};

    const MEDIA: Ssrc = Ssrc(7);
    /// Received, without ECN, so many 1/1024 s before the report.
    const RECEIVED: u16 = 0x8000;
    const CE: u16 = 0x6000;

    /// A message about `MEDIA` from number `first` on.
    fn message(first: u16, metrics: &[u16], timestamp: u32) -> Vec<u8> {
        let mut out = vec![0x80 | 11, 205, 0, 0, 0, 0, 0, 1];
        out.extend_from_slice(&MEDIA.0.to_be_bytes());
        out.extend_from_slice(&first.to_be_bytes());
        out.extend_from_slice(&(metrics.len() as u16).to_be_bytes());
        metrics.iter().for_each(|metric| out.extend_from_slice(&metric.to_be_bytes()));
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend_from_slice(&timestamp.to_be_bytes());
        let words = (out.len() / 4 - 1) as u16;
        out[2..4].copy_from_slice(&words.to_be_bytes());
        out
    }

    fn read(numbers: &mut SentNumbers, message: &[u8], next: u16) -> Vec<(u16, Option<i64>)> {
        let mut reports = Vec::new();
        let malformed = rtcp::parse(message, |part| {
            let Rtcp::Ccfb(ccfb) = part else { panic!("{part:?}") };
            numbers.read(&ccfb, next, &mut reports);
        });
        assert_eq!(malformed, 0);
        reports.iter().map(|report| (report.transport_seq, report.arrival.map(|at| at.0))).collect()
    }

    #[test]
    fn reports_are_of_packets_that_were_sent_in_the_order_in_which_they_were() {
        let mut numbers = SentNumbers::default();
        // The source's numbers and the transport-wide ones wrap at different places.
        for (seq, transport_seq) in [(65_534, 65_535), (65_535, 0), (0, 2), (1, 1)] {
            numbers.note(MEDIA, SeqNo(seq), transport_seq);
        }
        let metrics = [RECEIVED | 1024, RECEIVED | 512, 0, RECEIVED | 256, RECEIVED];
        let second = 1 << 16;
        let reports = read(&mut numbers, &message(65_534, &metrics, 10 * second), 3);
        let expected = [(65_535, Some(9_000_000)), (0, Some(9_500_000)), (1, Some(9_750_000)), (2, None)];
        assert_eq!(reports, expected, "number 2 of the source was never sent");
        let mut other = message(65_534, &metrics, 10 * second);
        other[11] = 8;
        assert_eq!(read(&mut numbers, &other, 3), [], "of a source that is not ours");
    }

    #[test]
    fn a_number_that_was_given_out_again_means_the_newer_packet_only() {
        let mut numbers = SentNumbers::default();
        numbers.note(MEDIA, SeqNo(5), 100);
        numbers.note(MEDIA, SeqNo(5 + PACKETS as u16), 101);
        assert_eq!(read(&mut numbers, &message(5, &[RECEIVED], 0), 102), []);
        assert_eq!(read(&mut numbers, &message(5 + PACKETS as u16, &[RECEIVED], 0), 102), [(101, Some(0))]);
        numbers.retain(|ssrc| ssrc != MEDIA);
        assert_eq!(read(&mut numbers, &message(5 + PACKETS as u16, &[RECEIVED], 0), 102), []);
    }

    #[test]
    fn the_clock_goes_on_where_the_timestamp_wraps_and_where_messages_overtake_each_other() {
        let mut clock = ReporterClock::default();
        let second = 1u32 << 16;
        let at = |clock: &mut ReporterClock, timestamp: u32| clock.micros(timestamp);
        let first = at(&mut clock, 0u32.wrapping_sub(second));
        assert_eq!(at(&mut clock, second) - first, 2_000_000);
        assert_eq!(at(&mut clock, 0) - first, 1_000_000);
    }

    #[test]
    fn marks_are_counted_and_an_unknown_time_is_no_report() {
        let mut numbers = SentNumbers::default();
        (0..3).for_each(|n| numbers.note(MEDIA, SeqNo(n), n));
        let reports = read(&mut numbers, &message(0, &[RECEIVED | CE, RECEIVED | 0x1fff, CE], 0), 3);
        assert_eq!(reports, [(0, Some(0)), (2, None)]);
        assert_eq!((numbers.take_ce_marks(), numbers.take_ce_marks()), (1, 0));
    }
}
