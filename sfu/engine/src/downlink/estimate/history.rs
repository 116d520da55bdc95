//! The packets on their way to one receiver, by transport-wide sequence number, until feedback tells their fate.
//!
//! Bounded in packets and in age. A packet is acknowledged once; what was never sent is not found.

use super::feedback::{ProbeId, SentPacket};
use crate::units::{ExtSeq, SeqNo};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Packets remembered at most: 0.8 s at 100 Mb/s. The oldest are forgotten first, without being counted as lost.
pub(super) const MAX_PACKETS: usize = 8192;
/// Feedback later than this tells nothing about the network as it is now.
const MAX_AGE: Duration = Duration::from_secs(6);
/// A jump in the caller's numbering beyond this starts the history anew instead of filling the gap.
const MAX_GAP: u64 = 256;

/// Sent packets that feedback may still name.
#[derive(Debug, Default)]
pub(super) struct SentHistory {
    entries: VecDeque<Entry>,
    /// Number of the first entry; meaningless while there is none.
    first: u64,
}

/// One sent packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) sent: Instant,
    pub(super) bytes: usize,
    pub(super) probe: Option<ProbeId>,
    pub(super) repair: bool,
    pub(super) fate: Fate,
}

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

impl SentHistory {
    /// Remembers a packet. A number that does not follow the last one leaves a gap of unused ones.
    pub(super) fn insert(&mut self, now: Instant, packet: &SentPacket) {
        self.forget_old(now);
        let entry =
            Entry { sent: now, bytes: packet.bytes, probe: packet.probe, repair: packet.repair, fate: Fate::InFlight };
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

    /// The packet that a report names, `None` where no such packet is outstanding.
    pub(super) fn find(&mut self, transport_seq: u16) -> Option<&mut Entry> {
        let seq = self.newest()?.unwrap_near(SeqNo(transport_seq)).0;
        let index = usize::try_from(seq.checked_sub(self.first)?).ok()?;
        self.entries.get_mut(index).filter(|entry| entry.fate != Fate::Unused)
    }

    fn newest(&self) -> Option<ExtSeq> {
        let last = self.entries.len().checked_sub(1)?;
        Some(ExtSeq(self.first + last as u64))
    }

    fn forget_old(&mut self, now: Instant) {
        while self.entries.front().is_some_and(|e| now.saturating_duration_since(e.sent) > MAX_AGE) {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        self.entries.pop_front();
        self.first += 1;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn packet(transport_seq: u16) -> SentPacket {
        SentPacket { transport_seq, bytes: 1000 + usize::from(transport_seq), probe: None, repair: false }
    }

    #[test]
    fn packets_are_found_across_the_wrap_and_only_if_sent() {
        let (now, mut history) = (Instant::now(), SentHistory::default());
        for seq in [65_534, 65_535, 0, 2] {
            history.insert(now, &packet(seq));
        }
        assert_eq!(history.find(65_535).unwrap().bytes, 66_535);
        assert_eq!(history.find(0).unwrap().bytes, 1000);
        for never_sent in [1, 3, 65_533, 30_000] {
            assert!(history.find(never_sent).is_none(), "{never_sent} was never sent");
        }
    }

    #[test]
    fn the_history_is_bounded_in_packets_and_in_age() {
        let (start, mut history) = (Instant::now(), SentHistory::default());
        for i in 0..3 * MAX_PACKETS {
            history.insert(start, &packet(i as u16));
        }
        assert_eq!(history.entries.len(), MAX_PACKETS);
        history.insert(start + Duration::from_secs(7), &packet((3 * MAX_PACKETS) as u16));
        assert_eq!(history.entries.len(), 1);
    }

    #[test]
    fn a_jump_in_the_numbering_starts_anew() {
        let (now, mut history) = (Instant::now(), SentHistory::default());
        history.insert(now, &packet(10));
        history.insert(now, &packet(20_000));
        assert_eq!(history.entries.len(), 1);
        assert!(history.find(20_000).is_some() && history.find(10).is_none());
    }
}
