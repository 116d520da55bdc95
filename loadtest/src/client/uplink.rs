//! A publisher's own congestion control, for clients whose way to the server is limited: which encodings it can afford,
//! how fast it may send. The estimator is the engine's, of libwebrtc's class; the rule for encodings is libwebrtc's
//! simulcast allocation.

use super::pacer::PACING_FACTOR;
use sfu_engine::downlink::estimate::{
    Estimator, EstimatorConfig, Feedback, PacketReport, Probe, ProbeId, ReceiverTime, SentPacket,
};
use sfu_engine::rtcp::TransportFeedback;
use sfu_engine::units::Bitrate;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// An encoding above the lowest that is wanted is sent from this share of its rate on. The lowest gets what there is,
/// as measured of Chromium 156 behind 0.2 and 0.35 Mb/s.
const LEAST_SHARE: f64 = 0.35;
/// What is sent already stays until it gets less than this over the least.
const HYSTERESIS: f64 = 0.8;
/// Retransmissions within this time may take what the estimate allows for it, as in libwebrtc.
const RESENT_WINDOW: Duration = Duration::from_millis(500);
/// IP, UDP and SRTP tag.
const PACKET_OVERHEAD: usize = 20 + 8 + 16;
/// Headers make packets larger than the encoders' rate by about this.
const HEADERS: f64 = 1.08;

/// Congestion control of one publisher.
#[derive(Debug)]
pub(super) struct UplinkControl {
    estimator: Estimator,
    probe: Option<Probing>,
    reports: Vec<PacketReport>,
    /// When how many bytes were sent again lately.
    resent: VecDeque<(Instant, usize)>,
    /// Padding fills up to this rate in bit/s, from the next moment on at which less than that was sent.
    padding: f64,
    pads_at: Option<Instant>,
}

#[derive(Debug)]
struct Probing {
    id: ProbeId,
    rate: Bitrate,
    bytes: usize,
    packets: u32,
}

impl UplinkControl {
    /// A control that knows nothing yet.
    pub(super) fn new(now: Instant) -> UplinkControl {
        let estimator = Estimator::new(now, EstimatorConfig::default());
        UplinkControl {
            estimator,
            probe: None,
            reports: Vec::new(),
            resent: VecDeque::new(),
            padding: 0.0,
            pads_at: None,
        }
    }

    /// The share of each encoding's rate that is affordable, lowest encoding first; 0 is off. `rates` are bit/s,
    /// `sending` tells which of them flow now, `audio` is what sound takes.
    pub(super) fn shares(&mut self, now: Instant, rates: &[f64], sending: &[bool], audio: f64) -> Vec<f64> {
        let wanted = (rates.iter().sum::<f64>() + audio) * HEADERS;
        self.estimator.set_demand(now, Bitrate::bps(wanted as u64));
        let available = self.estimate() / HEADERS - audio;
        let shares = affordable(available, rates, sending);
        self.padding = room_wanted(rates, &shares).min(available);
        shares
    }

    /// A packet of video or padding leaves.
    pub(super) fn on_paced(&mut self, now: Instant, bytes: usize) {
        let took = Duration::from_secs_f64(bytes as f64 * 8.0 / self.padding.max(1.0));
        self.pads_at = (self.padding > 0.0).then(|| self.pads_at.map_or(now, |at| at.max(now)) + took);
    }

    /// A packet leaves under a transport-wide number.
    pub(super) fn on_sent(&mut self, now: Instant, transport_seq: u16, bytes: usize) {
        let bytes = bytes + PACKET_OVERHEAD;
        let probe = self.probe.as_mut().map(|probing| {
            probing.bytes = probing.bytes.saturating_sub(bytes);
            probing.packets = probing.packets.saturating_sub(1);
            probing.id
        });
        self.estimator.on_sent(now, SentPacket { transport_seq, bytes, probe, repair: None });
        if self.probe.as_ref().is_some_and(|probing| probing.bytes == 0 && probing.packets == 0) {
            self.probe = None;
        }
    }

    /// The server tells what arrived.
    pub(super) fn on_feedback(&mut self, now: Instant, feedback: &TransportFeedback<'_>) {
        self.reports.clear();
        let report = |(seq, arrival): (sfu_engine::units::SeqNo, Option<i64>)| PacketReport {
            transport_seq: seq.0,
            arrival: arrival.map(ReceiverTime),
        };
        self.reports.extend(feedback.packets().map(report));
        self.estimator.on_feedback(now, &Feedback { reports: &self.reports });
        self.start_probe(now);
    }

    /// How fast the pacer sends, in bit/s.
    pub(super) fn pace(&self) -> f64 {
        self.probe.as_ref().map_or(self.estimate() * PACING_FACTOR, |probing| probing.rate.as_bps() as f64).max(1.0)
    }

    /// Whether a packet of `bytes` may be sent again, which counts it.
    pub(super) fn may_resend(&mut self, now: Instant, bytes: usize) -> bool {
        while self.resent.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) >= RESENT_WINDOW) {
            self.resent.pop_front();
        }
        let sum = bytes + self.resent.iter().map(|(_, bytes)| bytes).sum::<usize>();
        let may = sum as f64 * 8.0 <= self.estimate() * RESENT_WINDOW.as_secs_f64();
        if may {
            self.resent.push_back((now, bytes));
        }
        may
    }

    fn estimate(&self) -> f64 {
        self.estimator.estimate().as_bps() as f64
    }

    /// Whether the pacer should fill up with padding.
    pub(super) fn wants_padding(&self, now: Instant) -> bool {
        self.is_probing() || self.pads_at.is_some_and(|at| at <= now)
    }

    /// Whether a probe is being sent.
    pub(super) fn is_probing(&self) -> bool {
        self.probe.is_some()
    }

    /// When padding is due that looks for room.
    pub(super) fn pads_at(&self) -> Option<Instant> {
        self.pads_at
    }

    /// When [`UplinkControl::handle_timeout`] is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.estimator.poll_timeout()
    }

    /// Runs the estimator's clock.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.estimator.poll_timeout().is_some_and(|at| at <= now) {
            self.estimator.handle_timeout(now);
            self.start_probe(now);
        }
    }

    fn start_probe(&mut self, now: Instant) {
        if let Some(Probe { id, rate, bytes_min, packets_min, .. }) = self.estimator.poll_probe(now) {
            self.probe = Some(Probing { id, rate, bytes: bytes_min, packets: packets_min });
        }
    }
}

/// The lowest encoding gets what there is, each higher one what is left, if that is enough for it. A rate of 0 is an
/// encoding that is not wanted.
pub fn affordable(available: f64, rates: &[f64], sending: &[bool]) -> Vec<f64> {
    let mut left = available.max(0.0);
    let mut blocked = false;
    let lowest = rates.iter().position(|rate| *rate > 0.0);
    let shares = rates.iter().enumerate().map(|(index, rate)| {
        let least = rate * LEAST_SHARE * if sending.get(index) == Some(&true) { HYSTERESIS } else { 1.0 };
        blocked |= lowest != Some(index) && left < least;
        let share = if blocked || *rate == 0.0 { 0.0 } else { (left / rate).min(1.0) };
        left -= share * rate;
        share
    });
    shares.collect()
}

/// Up to which rate padding looks for room, as in libwebrtc: until the highest encoding that is wanted can begin. 0
/// where it flows.
fn room_wanted(rates: &[f64], shares: &[f64]) -> f64 {
    match rates.iter().zip(shares).rposition(|(rate, _)| *rate > 0.0) {
        Some(highest) if shares.get(highest) == Some(&0.0) => {
            rates.iter().take(highest).sum::<f64>() + rates.get(highest).map_or(0.0, |rate| rate * LEAST_SHARE)
        }
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lower_encodings_come_first_and_a_starved_one_is_off() {
        let rates = [150.0, 500.0, 1500.0];
        assert_eq!(affordable(3000.0, &rates, &[true; 3]), [1.0, 1.0, 1.0]);
        assert_eq!(affordable(1400.0, &rates, &[false; 3]), [1.0, 1.0, 0.5]);
        assert_eq!(affordable(900.0, &rates, &[false; 3]), [1.0, 1.0, 0.0]);
        assert_eq!(affordable(75.0, &rates, &[true; 3]), [0.5, 0.0, 0.0]);
        assert_eq!(affordable(300.0, &[0.0, 0.0, 1500.0], &[false; 3]), [0.0, 0.0, 0.2], "the only one that is wanted");
    }

    #[test]
    fn room_is_looked_for_until_the_highest_wanted_encoding_can_begin() {
        let rates = [150.0, 500.0, 1000.0];
        assert_eq!(room_wanted(&rates, &[1.0, 1.0, 0.0]), 1000.0);
        assert_eq!(room_wanted(&rates, &[1.0, 0.0, 0.0]), 1000.0);
        assert_eq!(room_wanted(&rates, &[1.0, 1.0, 0.5]), 0.0);
        assert_eq!(room_wanted(&[150.0, 0.0, 0.0], &[1.0, 0.0, 0.0]), 0.0);
    }

    #[test]
    fn retransmissions_stay_within_the_estimate() {
        let now = Instant::now();
        let mut control = UplinkControl::new(now);
        let estimate = control.estimate();
        let packets = (0..1000).filter(|_| control.may_resend(now, 1000)).count();
        assert_eq!(packets, (estimate / 2.0 / 8000.0) as usize, "half a second's worth");
        assert!(!control.may_resend(now + RESENT_WINDOW / 2, 1000));
        assert!(control.may_resend(now + RESENT_WINDOW, 1000));
    }
}
