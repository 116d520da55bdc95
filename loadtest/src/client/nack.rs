//! Which packets of a received video source are missing, and when to ask for them: libwebrtc's NACK module.

use sfu_engine::units::{ExtSeq, SeqNo};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Requests for one packet.
const MAX_RETRIES: u32 = 10;
/// Missing packets kept; beyond that the oldest are given up.
const MAX_MISSING: usize = 1000;
/// Round trip presumed before one was measured.
const DEFAULT_RTT: Duration = Duration::from_millis(100);

/// Missing packets of one source.
#[derive(Debug, Default)]
pub(crate) struct NackList {
    newest: Option<ExtSeq>,
    missing: BTreeMap<u64, Missing>,
}

#[derive(Clone, Copy, Debug)]
struct Missing {
    retries: u32,
    next: Instant,
}

/// What a packet's number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Newer than all before; so many numbers were expected since, this one included.
    New {
        /// Numbers that the highest one advanced by.
        advanced: u64,
    },
    /// Was missing.
    Repaired,
    /// Known already, or given up.
    Useless,
}

impl NackList {
    /// A packet arrived, by itself or as a retransmission.
    pub(crate) fn on_packet(&mut self, now: Instant, wire: SeqNo) -> (ExtSeq, Arrival) {
        let Some(newest) = self.newest else {
            let first = ExtSeq::first(wire);
            self.newest = Some(first);
            return (first, Arrival::New { advanced: 1 });
        };
        let seq = newest.unwrap_near(wire);
        if seq > newest {
            for skipped in newest.0 + 1..seq.0 {
                self.missing.insert(skipped, Missing { retries: 0, next: now });
            }
            self.newest = Some(seq);
            return (seq, Arrival::New { advanced: seq.0 - newest.0 });
        }
        let arrival = if self.missing.remove(&seq.0).is_some() { Arrival::Repaired } else { Arrival::Useless };
        (seq, arrival)
    }

    /// The packets to ask for now. Those given up are counted in the second value.
    pub(crate) fn poll(&mut self, now: Instant, rtt: Option<Duration>) -> (Vec<ExtSeq>, u64) {
        let pause = rtt.unwrap_or(DEFAULT_RTT).max(Duration::from_millis(20));
        let before = self.missing.len();
        self.missing.retain(|_, missing| missing.retries < MAX_RETRIES || now < missing.next);
        while self.missing.len() > MAX_MISSING {
            self.missing.pop_first();
        }
        let given_up = (before - self.missing.len()) as u64;
        let mut ask = Vec::new();
        for (seq, missing) in self.missing.iter_mut().filter(|(_, missing)| missing.next <= now) {
            missing.retries += 1;
            missing.next = now + pause;
            ask.push(ExtSeq(*seq));
        }
        (ask, given_up)
    }

    /// Nothing is missing.
    pub(crate) fn is_empty(&self) -> bool {
        self.missing.is_empty()
    }

    /// Nobody needs packets before this number any more. Returns how many were still missing.
    pub(crate) fn clear_up_to(&mut self, seq: ExtSeq) -> u64 {
        let kept = self.missing.split_off(&seq.0);
        std::mem::replace(&mut self.missing, kept).len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_asked_for_at_once_and_again_until_given_up() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut list = NackList::default();
        list.on_packet(at(0), SeqNo(65_534));
        let (_, arrival) = list.on_packet(at(1), SeqNo(1));
        assert_eq!(arrival, Arrival::New { advanced: 3 });
        let rtt = Some(Duration::from_millis(50));
        assert_eq!(list.poll(at(1), rtt).0.iter().map(|seq| seq.wire().0).collect::<Vec<_>>(), [65_535, 0]);
        assert_eq!(list.on_packet(at(2), SeqNo(0)).1, Arrival::Repaired);
        assert_eq!(list.on_packet(at(2), SeqNo(0)).1, Arrival::Useless);
        let mut asked = 1;
        let mut given_up = 0;
        for step in 1..20 {
            let (ask, lost) = list.poll(at(1 + step * 50), rtt);
            (asked, given_up) = (asked + ask.len(), given_up + lost);
        }
        assert_eq!((asked, given_up), (10, 1));
    }
}
