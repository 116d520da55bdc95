//! A client's receiving half: which slot a packet belongs to, and the reports about all of them.

use super::audio::AudioReceiver;
use super::rtcp;
use super::sdp::{AnsweredSection, ext};
use super::video::VideoReceiver;
use rtc::rtp::Packet;
use sfu_engine::media::MediaKind;
use std::collections::BTreeMap;
use std::time::Instant;

/// One slot.
pub struct Receiver {
    pub mid: String,
    pub kind: MediaKind,
    pub ssrc: u32,
    pub rtx_ssrc: Option<u32>,
    pub video: VideoReceiver,
    pub audio: AudioReceiver,
    /// Sender reports: NTP time and RTP time.
    pub sender_reports: Vec<(u64, u32)>,
    last_report: Option<(u32, Instant)>,
    first: Option<u64>,
    highest: u64,
    received: u64,
    reported: (u64, u64),
}

impl Receiver {
    /// The sender's clock, in seconds, at an RTP timestamp, by the newest sender report.
    pub fn clock_at(&self, timestamp: u32) -> f64 {
        let (ntp, rtp) = *self.sender_reports.last().expect("a sender report");
        let step = timestamp.wrapping_sub(rtp) as i32;
        ntp as f64 / 4_294_967_296.0 + f64::from(step) / f64::from(self.kind.clock_rate())
    }
}

/// Every slot of a client.
#[derive(Default)]
pub struct Receivers {
    pub by_mid: BTreeMap<String, Receiver>,
    /// Every RTP packet, also padding, by transport-wide number: what feedback is about.
    pub arrivals: BTreeMap<u64, Instant>,
    highest_transport_seq: Option<u64>,
    /// Sources of slots that were stopped; their last packets may still be under way.
    stopped: Vec<u32>,
    /// Probe packets and other padding.
    pub padding: u32,
    /// On so many video slots what comes on the source of retransmissions is not heard of.
    pub deaf_to_repairs: usize,
}

impl Receivers {
    /// Takes over what an answer says of a section on which the client receives.
    pub fn negotiate(&mut self, section: &AnsweredSection, kind: MediaKind) {
        let ssrc = section.ssrc.expect("the answer declares a slot's source");
        if let Some(known) = self.by_mid.get(&section.mid) {
            assert_eq!((known.ssrc, known.rtx_ssrc), (ssrc, section.rtx_ssrc), "a slot keeps its sources");
            return;
        }
        assert_eq!(section.rtx_ssrc.is_some(), kind == MediaKind::Video);
        let receiver = Receiver {
            mid: section.mid.clone(),
            kind,
            ssrc,
            rtx_ssrc: section.rtx_ssrc,
            video: VideoReceiver::default(),
            audio: AudioReceiver::default(),
            sender_reports: Vec::new(),
            last_report: None,
            first: None,
            highest: 0,
            received: 0,
            reported: (0, 0),
        };
        self.by_mid.insert(section.mid.clone(), receiver);
    }

    /// Forgets a slot.
    pub fn stop(&mut self, mid: &str) {
        if let Some(receiver) = self.by_mid.remove(mid) {
            self.stopped.push(receiver.ssrc);
            self.stopped.extend(receiver.rtx_ssrc);
        }
    }

    pub fn handle_packet(&mut self, now: Instant, packet: &Packet) {
        let mut deaf = self.by_mid.values().filter(|r| r.kind == MediaKind::Video).take(self.deaf_to_repairs);
        if deaf.any(|r| r.rtx_ssrc == Some(packet.header.ssrc)) {
            return;
        }
        let transport_seq =
            packet.header.get_extension(ext::TRANSPORT_CC).expect("packets carry a transport-wide number");
        let transport_seq = u16::from_be_bytes([transport_seq[0], transport_seq[1]]);
        let transport_seq = super::rtp::unwrap(self.highest_transport_seq, transport_seq);
        self.highest_transport_seq = self.highest_transport_seq.max(Some(transport_seq));
        self.arrivals.entry(transport_seq).or_insert(now);

        let ssrc = packet.header.ssrc;
        if self.stopped.contains(&ssrc) {
            return;
        }
        let receiver = self.by_mid.values_mut().find(|r| r.ssrc == ssrc || r.rtx_ssrc == Some(ssrc));
        let receiver = receiver.unwrap_or_else(|| panic!("a packet of the unknown source {ssrc:x}"));
        if let Some(mid) = packet.header.get_extension(ext::MID) {
            assert_eq!(mid, receiver.mid.as_bytes(), "the MID extension names the slot");
        }
        self.padding += u32::from(packet.payload.is_empty());
        if receiver.rtx_ssrc == Some(ssrc) {
            return receiver.video.handle_rtx(now, packet);
        }
        let seq = match receiver.kind {
            MediaKind::Audio => receiver.audio.handle_packet(packet),
            MediaKind::Video => receiver.video.handle_packet(now, packet),
        };
        receiver.first.get_or_insert(seq);
        receiver.highest = receiver.highest.max(seq);
        receiver.received += 1;
    }

    /// A sender report of the server.
    pub fn handle_sender_report(&mut self, now: Instant, report: &rtc::rtcp::sender_report::SenderReport) {
        if let Some(receiver) = self.by_mid.values_mut().find(|r| r.ssrc == report.ssrc) {
            receiver.sender_reports.push((report.ntp_time, report.rtp_time));
            receiver.last_report = Some(((report.ntp_time >> 16) as u32, now));
        }
    }

    /// Report blocks about every source that has sent.
    pub fn report_blocks(&mut self, now: Instant) -> Vec<rtcp::Block> {
        let mut blocks = Vec::new();
        for receiver in self.by_mid.values_mut() {
            let Some(first) = receiver.first else { continue };
            let expected = receiver.highest - first + 1;
            let (expected_before, received_before) =
                std::mem::replace(&mut receiver.reported, (expected, receiver.received));
            let expected_now = expected - expected_before;
            let lost_now = expected_now.saturating_sub(receiver.received - received_before);
            let (last_sr, delay) = receiver
                .last_report
                .map_or((0, 0), |(ntp, at)| (ntp, ((now - at).as_micros() * 65_536 / 1_000_000) as u32));
            blocks.push(rtcp::Block {
                ssrc: receiver.ssrc,
                fraction_lost: (lost_now * 256).checked_div(expected_now).unwrap_or(0).min(255) as u8,
                total_lost: expected.saturating_sub(receiver.received) as u32,
                highest: receiver.highest as u32,
                last_sr,
                delay,
            });
        }
        blocks
    }
}
