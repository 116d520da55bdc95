//! The packets on their way to one receiver, by transport-wide sequence number, until feedback tells their fate.
//!
//! Bounded in packets and in age. A packet is acknowledged once; what was never sent is not found.

use super::feedback::{OurTime, ProbeId, RepairSource, SentPacket};
use crate::units::{ExtSeq, SeqNo};
use prefetch::fetch;
use std::collections::VecDeque;

/// Packets remembered at most: 0.8 s at 100 Mb/s. The oldest are forgotten first, without being counted as lost.
pub(super) const MAX_PACKETS: usize = 8192;
/// Feedback later than this tells nothing about the network as it is now.
const MAX_AGE_US: u32 = 6_000_000;
/// A jump in the caller's numbering beyond this starts the history anew instead of filling the gap.
const MAX_GAP: u64 = 256;

/// So many packets a usual feedback names: fifty milliseconds of 2 Mb/s.
const NAMED_AT_ONCE: usize = 12;
/// So many are in one line of a cache.
const ENTRIES_IN_LINE: usize = 64 / size_of::<Entry>();

/// Sent packets that feedback may still name. What was received is forgotten as soon as all before it is known: while
/// nothing is lost only a round trip's packets are here.
#[derive(Debug, Default)]
pub(super) struct SentHistory {
    entries: VecDeque<Entry>,
    /// Number of the first entry; meaningless while there is none.
    first: u64,
}

/// One sent packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// [`OurTime`] modulo 2^32: more than an hour, of which packets are remembered for seconds.
    sent_us: u32,
    pub(super) probe: Option<ProbeId>,
    bytes: u16,
    pub(super) repair: Option<RepairSource>,
    pub(super) fate: Fate,
}

// There are thousands where much is lost, for each receiver.
const _: () = assert!(size_of::<Entry>() <= 16);

/// What is known of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Number skipped by the caller: nothing was sent.
    Unused,
    /// No feedback yet.
    InFlight,
    /// Reported missing; may still turn up.
    Missing,
    /// Reported received.
    Received,
}

impl Entry {
    /// Bytes on the wire.
    pub(super) fn bytes(&self) -> usize {
        usize::from(self.bytes)
    }
}

impl SentHistory {
    /// Remembers a packet. A number that does not follow the last one leaves a gap of unused ones.
    pub(super) fn insert(&mut self, now: OurTime, packet: &SentPacket) {
        let now_us = now.0 as u32;
        self.forget_old(now_us);
        let SentPacket { bytes, probe, repair, .. } = *packet;
        let bytes = u16::try_from(bytes).unwrap_or(u16::MAX);
        let entry = Entry { sent_us: now_us, probe, bytes, repair, fate: Fate::InFlight };
        let wire = SeqNo(packet.transport_seq);
        let Some(newest) = self.newest() else {
            self.first = ExtSeq::first(wire).0;
            self.entries.push_back(entry);
            return;
        };
        match newest.unwrap_near(wire).0.checked_sub(newest.0) {
            None | Some(0) => return, // the caller's numbering went backwards: the packet stays unknown
            Some(ahead) if ahead > MAX_GAP => {
                self.entries.clear();
                self.first = newest.0 + ahead;
            }
            Some(ahead) => {
                let unused = Entry { fate: Fate::Unused, ..entry };
                self.entries.extend(std::iter::repeat_n(unused, (ahead - 1) as usize));
            }
        }
        self.entries.push_back(entry);
        while self.entries.len() > MAX_PACKETS {
            self.pop_front();
        }
    }

    /// Has fetched the place of the newest packet, beside which the next one goes.
    pub(super) fn prefetch_newest(&self) {
        if let Some(newest) = self.entries.back() {
            fetch(newest);
        }
    }

    /// The same for the oldest packets, which the next feedback is about.
    pub(super) fn prefetch_oldest(&self) {
        self.entries.iter().take(NAMED_AT_ONCE).step_by(ENTRIES_IN_LINE).for_each(fetch);
    }

    /// The packet that a report names and when it was sent, `None` where no such packet is outstanding.
    pub(super) fn find(&mut self, now: OurTime, transport_seq: u16) -> Option<(OurTime, &mut Entry)> {
        let seq = self.newest()?.unwrap_near(SeqNo(transport_seq)).0;
        let index = usize::try_from(seq.checked_sub(self.first)?).ok()?;
        let entry = self.entries.get_mut(index).filter(|entry| !matches!(entry.fate, Fate::Unused | Fate::Received))?;
        Some((OurTime(now.0 - i64::from(age_us(now.0 as u32, entry))), entry))
    }

    /// A feedback has been taken: forgets what was received, but for the newest packet, from which numbers are
    /// unwrapped.
    pub(super) fn end_feedback(&mut self) {
        while self.entries.len() > 1
            && self.entries.front().is_some_and(|e| matches!(e.fate, Fate::Unused | Fate::Received))
        {
            self.pop_front();
        }
    }

    fn newest(&self) -> Option<ExtSeq> {
        let last = self.entries.len().checked_sub(1)?;
        Some(ExtSeq(self.first + last as u64))
    }

    fn forget_old(&mut self, now_us: u32) {
        while self.entries.front().is_some_and(|entry| age_us(now_us, entry) > MAX_AGE_US) {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        self.entries.pop_front();
        self.first += 1;
    }
}

fn age_us(now_us: u32, entry: &Entry) -> u32 {
    now_us.wrapping_sub(entry.sent_us)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn packet(transport_seq: u16) -> SentPacket {
        SentPacket { transport_seq, bytes: 1000 + usize::from(transport_seq) % 100, probe: None, repair: None }
    }

    #[test]
    fn packets_are_found_across_the_wrap_and_only_if_sent() {
        let now = OurTime(0);
        let mut history = SentHistory::default();
        for seq in [65_534, 65_535, 0, 2] {
            history.insert(now, &packet(seq));
        }
        assert_eq!(history.find(now, 65_535).unwrap().1.bytes(), 1035);
        assert_eq!(history.find(now, 0).unwrap().1.bytes(), 1000);
        for never_sent in [1, 3, 65_533, 30_000] {
            assert!(history.find(now, never_sent).is_none(), "{never_sent} was never sent");
        }
    }

    #[test]
    fn the_history_is_bounded_in_packets_and_in_age() {
        let start = OurTime(0);
        let mut history = SentHistory::default();
        for i in 0..3 * MAX_PACKETS {
            history.insert(start, &packet(i as u16));
        }
        assert_eq!(history.entries.len(), MAX_PACKETS);
        history.insert(OurTime(7_000_000), &packet((3 * MAX_PACKETS) as u16));
        assert_eq!(history.entries.len(), 1);
    }

    #[test]
    fn a_jump_in_the_numbering_starts_anew() {
        let now = OurTime(0);
        let mut history = SentHistory::default();
        history.insert(now, &packet(10));
        history.insert(now, &packet(20_000));
        assert_eq!(history.entries.len(), 1);
        assert!(history.find(now, 20_000).is_some() && history.find(now, 10).is_none());
    }

    #[test]
    fn what_was_received_is_forgotten_up_to_the_first_that_was_not() {
        let start = OurTime(0);
        let mut history = SentHistory::default();
        let at = |seq: u16| OurTime(start.0 + 1000 * i64::from(seq));
        (0..100).for_each(|seq| history.insert(at(seq), &packet(seq)));
        let receive = |history: &mut SentHistory, seq: u16| {
            let (sent, entry) = history.find(at(200), seq).unwrap();
            assert_eq!(sent, at(seq));
            entry.fate = Fate::Received;
        };
        (0..100).filter(|seq| *seq != 60).for_each(|seq| receive(&mut history, seq));
        history.end_feedback();
        assert_eq!(history.entries.len(), 40);
        receive(&mut history, 60);
        history.end_feedback();
        assert_eq!(history.entries.len(), 1);
        assert!((0..100).all(|seq| history.find(at(200), seq).is_none()), "a second report says nothing new");
        history.insert(at(100), &packet(100));
        receive(&mut history, 100);
    }

    #[test]
    fn times_are_right_after_hours() {
        let start = OurTime(0);
        let mut history = SentHistory::default();
        for hours in [0, 1, 2, 30] {
            let sent = OurTime(start.0 + hours * 3_600_000_001);
            history.insert(sent, &packet(hours as u16));
            assert_eq!(history.find(OurTime(sent.0 + i64::from(MAX_AGE_US)), hours as u16).unwrap().0, sent);
        }
    }
}
