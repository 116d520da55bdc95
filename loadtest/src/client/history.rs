//! What an encoding has sent, kept to be sent again (as libwebrtc's `RtpPacketHistory`).

use sfu_engine::units::RtpTime;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Packets that are kept.
const CAPACITY: usize = 1024;

/// The last packets of one encoding.
#[derive(Debug, Default)]
pub(super) struct History {
    packets: VecDeque<Sent>,
}

/// A packet that was sent.
#[derive(Debug)]
pub(super) struct Sent {
    /// Its number.
    pub seq: u16,
    /// Its RTP timestamp.
    pub timestamp: RtpTime,
    /// It ended its frame.
    pub marker: bool,
    /// What follows its header.
    pub body: Vec<u8>,
    /// It waits to be sent again.
    waits: bool,
    /// When it was sent again last.
    resent_at: Option<Instant>,
}

impl History {
    /// A packet is sent.
    pub(super) fn push(&mut self, seq: u16, timestamp: RtpTime, marker: bool, body: Vec<u8>) {
        if self.packets.len() >= CAPACITY {
            self.packets.pop_front();
        }
        self.packets.push_back(Sent { seq, timestamp, marker, body, waits: false, resent_at: None });
    }

    /// A packet, to be sent again where `allowed`. `None` too where it is forgotten, still waits since it was asked for
    /// before, or was sent again within a round trip.
    pub(super) fn resend(
        &mut self,
        now: Instant,
        rtt: Duration,
        seq: u16,
        allowed: impl FnOnce(&Sent) -> bool,
    ) -> Option<&Sent> {
        let sent = self.find(seq)?;
        let recently = sent.resent_at.is_some_and(|at| now.saturating_duration_since(at) < rtt);
        if sent.waits || recently || !allowed(sent) {
            return None;
        }
        sent.waits = true;
        Some(sent)
    }

    /// A packet that waited to be sent again has left.
    pub(super) fn on_resent(&mut self, now: Instant, seq: u16) {
        if let Some(sent) = self.find(seq) {
            (sent.waits, sent.resent_at) = (false, Some(now));
        }
    }

    /// The newest packet.
    pub(super) fn newest(&self) -> Option<&Sent> {
        self.packets.back()
    }

    fn find(&mut self, seq: u16) -> Option<&mut Sent> {
        let first = self.packets.front()?.seq;
        self.packets.get_mut(usize::from(seq.wrapping_sub(first))).filter(|sent| sent.seq == seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_or_was_sent_again_within_a_round_trip_is_not_sent_once_more() {
        let (mut history, start, rtt) = (History::default(), Instant::now(), Duration::from_millis(80));
        for seq in 65_534..65_540_u32 {
            history.push(seq as u16, RtpTime(0), true, vec![0; 10]);
        }
        let asked = |history: &mut History, after: u64, seq: u16| {
            history.resend(start + Duration::from_millis(after), rtt, seq, |_| true).is_some()
        };
        assert!(asked(&mut history, 0, 1));
        assert!(!asked(&mut history, 500, 1), "it waits");
        history.on_resent(start + Duration::from_millis(500), 1);
        assert!(!asked(&mut history, 579, 1), "no answer can have come");
        assert!(asked(&mut history, 580, 1));
        assert!(!asked(&mut history, 580, 5), "never sent");
        assert!(history.resend(start, rtt, 65_535, |_| false).is_none());
        assert!(asked(&mut history, 0, 65_535), "what was not allowed does not wait");
    }
}
