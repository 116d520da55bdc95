//! What a receiver tells the server about its downlink: transport-wide feedback, RFC 8888 feedback or REMB, as
//! negotiated.
//!
//! Transport-wide feedback has the engine's own recorder, which follows libwebrtc: every 50 to 250 ms, 5 % of the rate,
//! whatever the frames do. RFC 8888 reports go every 100 ms. REMB is a receiver-side estimate of the kind that
//! libwebrtc once had.

use super::sdp::extension;
use sfu_engine::rtcp::{NtpTime, write};
use sfu_engine::rtp::extension::{AbsSendTime, read_transport_cc};
use sfu_engine::rtp::packet::RtpPacket;
use sfu_engine::units::{Bitrate, SeqNo, Ssrc};
use sfu_engine::uplink::feedback::FeedbackRecorder;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Between RFC 8888 reports.
const CCFB_INTERVAL: Duration = Duration::from_millis(100);
/// Packets that one block reports.
const MAX_BLOCK: usize = 512;
/// Bits of a packet's metric: received, ECN field 11, and the largest time before the report (RFC 8888 section 3.1).
const RECEIVED: u16 = 0x8000;
const CE: u16 = 0x6000;
const LONGEST_AGO: u16 = 0x1ffd;
/// Between REMB messages while the estimate rises.
const REMB_INTERVAL: Duration = Duration::from_secs(1);
/// Between looks at the queue.
const REMB_LOOK: Duration = Duration::from_millis(100);
/// Window of the received rate.
const RATE_WINDOW: Duration = Duration::from_millis(500);
/// A queue that adds this much delay is over-use.
const OVERUSE_S: f64 = 0.04;
/// The abs-send-time extension counts modulo 64 s.
const SEND_TIME_WRAP_S: f64 = 64.0;

/// One kind of feedback.
pub(crate) enum Feedback {
    /// Transport-wide numbers.
    TransportWide(Box<FeedbackRecorder>),
    /// RFC 8888.
    PerSource(PerSource),
    /// Receiver estimated maximum bitrate.
    Remb(Remb),
}

impl Feedback {
    /// Notes a packet; `since` is the time since the start of the run.
    pub(crate) fn on_packet(
        &mut self,
        now: Instant,
        since: Duration,
        packet: &RtpPacket<'_>,
        bytes: usize,
        ce_marked: bool,
    ) {
        let element = |wanted: u8| packet.extensions().find(|(id, _)| *id == wanted).map(|(_, data)| data);
        match self {
            Feedback::TransportWide(recorder) => {
                if let Some(seq) = element(extension::TRANSPORT_CC).and_then(read_transport_cc) {
                    recorder.on_packet(now, SeqNo(seq), bytes);
                }
            }
            Feedback::PerSource(reports) => reports.on_packet(now, packet.ssrc(), packet.seq(), ce_marked),
            Feedback::Remb(remb) => {
                let sent = element(extension::ABS_SEND_TIME).and_then(AbsSendTime::read);
                remb.on_packet(now, since, sent, bytes);
            }
        }
    }

    /// When [`Feedback::poll`] has something.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Feedback::TransportWide(recorder) => recorder.poll_timeout(),
            Feedback::PerSource(reports) => reports.next,
            Feedback::Remb(remb) => remb.next_look,
        }
    }

    /// The next message that is due. `media` is any source received, `ntp` the client's clock.
    pub(crate) fn poll(&mut self, now: Instant, ntp: NtpTime, sender: Ssrc, media: Ssrc) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        match self {
            Feedback::TransportWide(recorder) => {
                recorder.poll_feedback(now, sender, media, &mut out);
            }
            Feedback::PerSource(reports) => reports.poll(now, ntp, sender, &mut out),
            Feedback::Remb(remb) => {
                if let Some(rate) = remb.poll(now) {
                    write::remb(&mut out, sender, rate, &[media]);
                }
            }
        }
        (!out.is_empty()).then_some(out)
    }
}

/// Packets of one source since the last report: number, time, marked Congestion Experienced.
#[derive(Default)]
struct Arrivals {
    packets: Vec<(SeqNo, Instant, bool)>,
    /// Number behind the last one reported: what is missing between two reports belongs to the second.
    next: Option<SeqNo>,
}

impl Arrivals {
    /// The first number of the next report and a metric for each from there on; `None` where nothing arrived.
    fn take_metrics(&mut self, now: Instant) -> Option<(SeqNo, Vec<u16>)> {
        let packets = std::mem::take(&mut self.packets);
        let numbers = || packets.iter().map(|(seq, ..)| *seq);
        let newest = numbers().reduce(|a, b| if b.distance(a) > 0 { b } else { a })?;
        let mut first = numbers().chain(self.next).reduce(|a, b| if b.distance(a) < 0 { b } else { a })?;
        if usize::from(newest.0.wrapping_sub(first.0)) >= MAX_BLOCK {
            first = SeqNo(newest.0.wrapping_sub(MAX_BLOCK as u16 - 1));
        }
        let mut metrics = vec![0u16; usize::from(newest.0.wrapping_sub(first.0)) + 1];
        for (seq, at, ce_marked) in packets {
            if let Some(metric) = metrics.get_mut(usize::from(seq.0.wrapping_sub(first.0))) {
                let ago = (now.saturating_duration_since(at).as_secs_f64() * 1024.0) as u16;
                *metric = RECEIVED | if ce_marked { CE } else { 0 } | ago.min(LONGEST_AGO);
            }
        }
        self.next = Some(SeqNo(newest.0.wrapping_add(1)));
        Some((first, metrics))
    }
}

/// Arrivals of every source since the last report.
#[derive(Default)]
pub(crate) struct PerSource {
    sources: BTreeMap<u32, Arrivals>,
    next: Option<Instant>,
}

impl PerSource {
    fn on_packet(&mut self, now: Instant, ssrc: Ssrc, seq: SeqNo, ce_marked: bool) {
        self.sources.entry(ssrc.0).or_default().packets.push((seq, now, ce_marked));
        self.next.get_or_insert(now + CCFB_INTERVAL);
    }

    /// RFC 8888 section 3.1.
    fn poll(&mut self, now: Instant, ntp: NtpTime, sender: Ssrc, out: &mut Vec<u8>) {
        if self.next.is_none_or(|at| now < at) {
            return;
        }
        self.next = None;
        out.extend_from_slice(&[0x80 | 11, 205, 0, 0]);
        out.extend_from_slice(&sender.0.to_be_bytes());
        for (ssrc, source) in &mut self.sources {
            let Some((first, metrics)) = source.take_metrics(now) else { continue };
            out.extend_from_slice(&ssrc.to_be_bytes());
            out.extend_from_slice(&first.0.to_be_bytes());
            out.extend_from_slice(&(metrics.len() as u16).to_be_bytes());
            metrics.iter().for_each(|metric| out.extend_from_slice(&metric.to_be_bytes()));
            out.resize(out.len().next_multiple_of(4), 0);
        }
        out.extend_from_slice(&ntp.compact().to_be_bytes());
        let words = (out.len() / 4 - 1) as u16;
        out[2..4].copy_from_slice(&words.to_be_bytes());
    }
}

/// A receiver-side estimate: falls to 85 % of the received rate when packets begin to queue, else rises by 8 % a second
/// (50 % until they first do), but not far beyond what comes.
#[derive(Default)]
pub(crate) struct Remb {
    received: VecDeque<(Instant, usize)>,
    least_delay: Option<f64>,
    /// Least delay since the last look.
    delay: Option<f64>,
    estimate: Option<f64>,
    overused: bool,
    next_look: Option<Instant>,
    sent: Option<Instant>,
}

impl Remb {
    fn on_packet(&mut self, now: Instant, since: Duration, sent: Option<AbsSendTime>, bytes: usize) {
        self.received.push_back((now, bytes));
        self.next_look.get_or_insert(now + REMB_LOOK);
        let Some(AbsSendTime(sent)) = sent else { return };
        let delay = (since.as_secs_f64() - f64::from(sent) / f64::from(1 << 18)).rem_euclid(SEND_TIME_WRAP_S);
        self.delay = Some(self.delay.map_or(delay, |least| least.min(delay)));
        self.least_delay = Some(self.least_delay.map_or(delay, |least| least.min(delay)));
    }

    fn poll(&mut self, now: Instant) -> Option<Bitrate> {
        if self.next_look.is_none_or(|at| now < at) {
            return None;
        }
        self.next_look = Some(now + REMB_LOOK);
        while self.received.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > RATE_WINDOW) {
            self.received.pop_front();
        }
        let bytes: usize = self.received.iter().map(|(_, bytes)| bytes).sum();
        let rate = bytes as f64 * 8.0 / RATE_WINDOW.as_secs_f64();
        let queue = self.delay.take().zip(self.least_delay).map_or(0.0, |(delay, least)| delay - least);
        let before = self.estimate.unwrap_or(300_000.0);
        let overuse = queue > OVERUSE_S;
        self.overused |= overuse;
        let growth = if self.overused { 0.08 } else { 0.5 };
        let risen = (before * (1.0 + growth * REMB_LOOK.as_secs_f64())).min((rate * 1.5 + 10_000.0).max(before));
        let estimate = if overuse { before.min(rate * 0.85).max(30_000.0) } else { risen };
        self.estimate = Some(estimate);
        let due = self.sent.is_none_or(|at| now.saturating_duration_since(at) >= REMB_INTERVAL);
        if !due && estimate > before * 0.97 {
            return None;
        }
        self.sent = Some(now);
        Some(Bitrate::bps(estimate as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sfu_engine::rtcp::{self, Ecn, Rtcp};

    #[test]
    fn the_engine_reads_the_reports_of_rfc_8888() {
        let start = Instant::now();
        let mut reports = PerSource::default();
        let mut read = |now: Instant, arrived: &[(u16, bool)]| {
            for (seq, ce_marked) in arrived {
                reports.on_packet(now, Ssrc(7), SeqNo(*seq), *ce_marked);
            }
            let mut out = Vec::new();
            reports.poll(now + CCFB_INTERVAL, NtpTime::from_micros(1_000_000), Ssrc(1), &mut out);
            let mut seen = Vec::new();
            let malformed = rtcp::parse(&out, |part| {
                let Rtcp::Ccfb(ccfb) = part else { return };
                for block in ccfb.blocks() {
                    seen.extend(block.packets().map(|(seq, arrival)| (seq.0, arrival.map(|a| a.ecn))));
                }
            });
            assert_eq!(malformed, 0);
            seen
        };
        let (plain, marked) = (Some(Ecn::NotCapable), Some(Ecn::CongestionExperienced));
        let first = read(start, &[(65_535, false), (0, true), (3, false)]);
        assert_eq!(first, [(65_535, plain), (0, marked), (1, None), (2, None), (3, plain)]);
        let second = read(start + CCFB_INTERVAL, &[(6, false)]);
        assert_eq!(second, [(4, None), (5, None), (6, plain)], "what is missing between two reports is told");
    }
}
