//! What receiver reports say of one source (RFC 3550 sections 6.4.1, A.3 and A.8).

use sfu_engine::rtcp::{NtpTime, ReportBlock};
use sfu_engine::units::{RtpTime, SeqNo, Ssrc};
use std::time::{Duration, Instant};

/// Statistics of one received source.
#[derive(Debug)]
pub(crate) struct Reception {
    ssrc: Ssrc,
    clock_rate: f64,
    first: u32,
    highest: u32,
    received: u32,
    reported: (u32, u32),
    jitter: f64,
    transit: Option<f64>,
    sender_report: Option<(u32, Instant)>,
}

impl Reception {
    /// A source whose first packet has this number.
    pub(crate) fn new(ssrc: Ssrc, clock_rate: u32, first: SeqNo) -> Reception {
        let first = u32::from(first.0);
        Reception {
            ssrc,
            clock_rate: f64::from(clock_rate),
            first,
            highest: first,
            received: 0,
            reported: (0, 0),
            jitter: 0.0,
            transit: None,
            sender_report: None,
        }
    }

    /// A packet arrived; `since` is the time since the start of the run.
    pub(crate) fn on_packet(&mut self, since: Duration, seq: SeqNo, timestamp: RtpTime) {
        self.received = self.received.wrapping_add(1);
        let ahead = seq.distance(SeqNo(self.highest as u16));
        if ahead > 0 {
            self.highest = self.highest.wrapping_add(ahead as u32);
        }
        let transit = (since.as_secs_f64() * self.clock_rate) as u64 as u32;
        let transit = f64::from(transit.wrapping_sub(timestamp.0) as i32);
        if let Some(before) = self.transit.replace(transit) {
            let difference = (transit - before).abs();
            // A wrap or a new time base is no jitter.
            if difference < 10.0 * self.clock_rate {
                self.jitter += (difference - self.jitter) / 16.0;
            }
        }
    }

    /// A sender report of this source arrived.
    pub(crate) fn on_sender_report(&mut self, now: Instant, ntp: NtpTime) {
        self.sender_report = Some((ntp.compact(), now));
    }

    /// The block of the next report.
    pub(crate) fn report(&mut self, now: Instant) -> ReportBlock {
        let expected = self.highest.wrapping_sub(self.first).wrapping_add(1);
        let (expected_before, received_before) = std::mem::replace(&mut self.reported, (expected, self.received));
        let expected_since = expected.wrapping_sub(expected_before);
        let lost_since = i64::from(expected_since) - i64::from(self.received.wrapping_sub(received_before));
        let fraction = match expected_since {
            0 => 0,
            some => (lost_since.max(0) * 256 / i64::from(some)).min(255),
        };
        let (last_sr, delay) = self.sender_report.map_or((0, 0), |(compact, at)| {
            (compact, (now.saturating_duration_since(at).as_secs_f64() * 65_536.0) as u32)
        });
        ReportBlock {
            ssrc: self.ssrc,
            fraction_lost: fraction as u8,
            lost: (i64::from(expected) - i64::from(self.received)).clamp(-0x80_0000, 0x7f_ffff) as i32,
            highest_seq: self.highest,
            jitter: self.jitter as u32,
            last_sr,
            delay_since_last_sr: delay,
        }
    }
}
