//! A simulated client: negotiates, connects, publishes, receives and reports as a browser does. Sans-IO like the
//! engine.
//!
//! `sdp` writes its offers, `transport` is its ICE, DTLS and SRTP; `publisher` with `encoder`, `packetize`, `history`
//! and `pacer` is what it sends; `receiver` with `decoder`, `playout`, `nack` and `reception` what it does with what it
//! gets; `feedback` is what it tells of its downlink, and `uplink` what it makes of what the server tells.

mod decoder;
mod encoder;
pub(crate) mod feedback;
mod history;
pub(crate) mod nack;
mod pacer;
mod packetize;
mod playout;
mod publisher;
mod receiver;
pub(crate) mod reception;
pub(crate) mod sdp;
pub(crate) mod transport;
mod uplink;

pub use encoder::{cumulative_share, frame_share, normal};
pub use packetize::MAX_PAYLOAD;
pub use sdp::payload;
pub use uplink::affordable;

use crate::metrics::record::Record;
use crate::scenario::{self, Participant, Source};
use feedback::{Feedback, PerSource, Remb};
use publisher::Publisher;
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha12Rng;
use receiver::Receiver;
use sdp::{Answer, Codecs, Section};
use sfu_engine::command::PublishHint;
use sfu_engine::crypto::RTCCryptoProvider;
use sfu_engine::event::SlotState;
use sfu_engine::media;
use sfu_engine::rtcp::{self, Rtcp, write};
use sfu_engine::rtp::packet::RtpPacket;
use sfu_engine::transport::dtls::DtlsCertificate;
use sfu_engine::units::{Ssrc, Token};
use std::sync::Arc;
use std::time::{Duration, Instant};
use transport::{Opened, Transport};

/// Between sender and receiver reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Between a wish of the server and the encoder's obedience, as measured of `setParameters` in browsers.
const ENCODINGS_DELAY: Duration = Duration::from_millis(100);
/// What a report names the client.
const CNAME: &str = "client";

/// One simulated client.
pub struct Client {
    spec: Participant,
    transport: Transport,
    publisher: Publisher,
    receiver: Receiver,
    sections: Vec<Section>,
    /// An offer waits for its answer.
    negotiating: bool,
    /// Known once there is an answer.
    feedback: Option<Feedback>,
    ssrc: Ssrc,
    next_report: Option<Instant>,
    /// Wishes of the server that the encoders will follow: when, which track, which encodings.
    wishes: Vec<(Instant, usize, Vec<bool>)>,
    /// What it saw.
    pub record: Record,
}

/// What one client is in a run.
#[derive(Clone, Copy)]
pub struct Role<'a> {
    /// Place in the cast.
    pub place: u16,
    /// Its entry in the scenario.
    pub spec: &'a Participant,
    /// It is the one who talks.
    pub speaks: bool,
    /// Its way to the server is limited, so it needs congestion control.
    pub limited: bool,
    /// How many audio and video sections it receives on at first.
    pub slots: (usize, usize),
}

/// What every client of a run shares.
#[derive(Clone)]
pub struct Common {
    /// The start of the run.
    pub start: Instant,
    /// The certificate that all show: making one for each would only take time.
    pub certificate: DtlsCertificate,
    /// Cryptography.
    pub provider: Arc<dyn RTCCryptoProvider>,
}

impl Client {
    /// A client.
    pub fn new(common: &Common, role: &Role<'_>, seed: u64) -> Client {
        let Role { place, spec, speaks, limited, slots } = *role;
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        rng.set_stream(u64::from(place) + 1);
        let ssrc = Ssrc(rng.next_u32() | 1);
        let transport_rng = ChaCha12Rng::from_rng(&mut rng);
        let transport = Transport::new(common.certificate.clone(), common.provider.clone(), transport_rng);
        let publisher = Publisher::new(place, &spec.publish, spec.codec, speaks, limited, common.start, rng);
        let sending = publisher
            .tracks
            .iter()
            .map(|track| Section { audio: track.source() == Source::Microphone, send: Some(track.sending()) });
        let receiving = std::iter::repeat_n(true, slots.0).chain(std::iter::repeat_n(false, slots.1));
        let sections = sending.chain(receiving.map(|audio| Section { audio, send: None })).collect();
        Client {
            spec: spec.clone(),
            transport,
            publisher,
            receiver: Receiver::new(ssrc, common.start),
            sections,
            negotiating: false,
            feedback: None,
            ssrc,
            next_report: None,
            wishes: Vec::new(),
            record: Record::default(),
        }
    }

    /// Whether it sends or receives anything: an offer of nothing is none.
    pub fn takes_part(&self) -> bool {
        !self.sections.is_empty()
    }

    /// An offer of all its sections, and what the sending ones carry at a second of the run.
    pub fn offer(&mut self, second: f64) -> (String, Vec<PublishHint>) {
        self.negotiating = true;
        let video = sdp::formats(self.spec.codec);
        let codecs = Codecs { video: &video, red: true, feedback: self.spec.feedback };
        let sdp = sdp::offer(&self.sections, &self.transport.local(), codecs);
        let hints = self.publisher.tracks.iter().filter_map(|track| {
            let source = match track.source() {
                Source::Camera => media::Source::Camera,
                Source::Screen => media::Source::Screen,
                Source::Microphone => media::Source::Microphone,
            };
            Some(PublishHint { mid: Token::new(&track.mid.to_string())?, source, muted: track.muted(second) })
        });
        (sdp, hints.collect())
    }

    /// Adds sections to receive on. False while an offer waits for its answer: the wish is older than what it offers.
    pub fn add_slots(&mut self, audio: usize, video: usize) -> bool {
        if self.negotiating {
            return false;
        }
        let more = std::iter::repeat_n(true, audio).chain(std::iter::repeat_n(false, video));
        self.sections.extend(more.map(|audio| Section { audio, send: None }));
        true
    }

    /// The server's answer.
    pub fn handle_answer(&mut self, now: Instant, sdp: &str) {
        self.negotiating = false;
        let answer = Answer::parse(sdp);
        if self.feedback.is_none() {
            self.feedback = agreed(self.spec.feedback, &answer);
        }
        let receives: Vec<_> = self.sections.iter().map(|s| s.send.is_none().then_some(s.audio)).collect();
        self.receiver.handle_answer(&answer, &receives);
        self.transport.handle_answer(now, &answer);
    }

    /// The server says that media cannot flow. The client makes a new connection, as the page does: true where it is to
    /// offer that.
    pub fn handle_disconnected(&mut self) -> bool {
        let begins_anew = self.transport.start_over().is_ok();
        if begins_anew {
            self.receiver.start_over();
            self.feedback = None;
        }
        begins_anew
    }

    /// The server tells what slots carry.
    pub fn handle_slots(&mut self, now: Instant, slots: &[SlotState]) {
        self.receiver.handle_slots(now, slots, &mut self.record);
    }

    /// The server tells which encodings of a track somebody takes.
    pub fn handle_wanted(&mut self, now: Instant, track: usize, wanted: Vec<bool>) {
        self.wishes.push((now + ENCODINGS_DELAY, track, wanted));
    }

    /// A datagram of the server; opened in place. `ce_marked` tells whether the link marked it Congestion Experienced.
    pub fn handle_datagram(&mut self, now: Instant, datagram: &mut [u8], ce_marked: bool) {
        let was_ready = self.transport.is_ready();
        match self.transport.handle_datagram(now, datagram) {
            Opened::Rtp(len) => self.handle_rtp(now, &datagram[..len], ce_marked),
            Opened::Rtcp(len) => self.handle_rtcp(now, &datagram[..len]),
            Opened::Other => {}
        }
        if !was_ready && self.transport.is_ready() {
            self.publisher.begin(now);
            self.next_report = Some(now + REPORT_INTERVAL);
        }
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Vec<u8>> {
        if let Some(packet) = self.publisher.poll_packet(now) {
            self.transport.send_rtp(packet);
        }
        self.transport.poll_transmit()
    }

    /// When [`Client::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let transport = self.transport.poll_timeout();
        if !self.transport.is_ready() {
            return transport;
        }
        let own = self.next_report.into_iter().chain(self.feedback.as_ref().and_then(Feedback::poll_timeout));
        let wishes = self.wishes.iter().map(|(at, ..)| *at);
        let halves = [transport, self.publisher.poll_timeout(), self.receiver.poll_timeout()];
        halves.into_iter().flatten().chain(own).chain(wishes).min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.transport.handle_timeout(now);
        if !self.transport.is_ready() {
            return;
        }
        while let Some(due) = self.wishes.iter().position(|(at, ..)| *at <= now) {
            let (_, track, wanted) = self.wishes.remove(due);
            self.publisher.set_wanted(track, &wanted);
        }
        for packet in self.publisher.handle_timeout(now) {
            self.transport.send_rtp(packet);
        }
        let requests = self.receiver.handle_timeout(now, self.transport.rtt(), &mut self.record);
        self.send_rtcp(requests);
        self.send_feedback(now);
        if self.next_report.is_some_and(|at| at <= now) {
            self.next_report = Some(now + REPORT_INTERVAL);
            self.send_reports(now);
        }
    }

    fn handle_rtp(&mut self, now: Instant, bytes: &[u8], ce_marked: bool) {
        let Some(packet) = RtpPacket::parse(bytes) else { return };
        if let Some(feedback) = &mut self.feedback {
            feedback.on_packet(now, self.publisher.since(now), &packet, bytes.len(), ce_marked);
        }
        self.receiver.handle_rtp(now, &packet, &mut self.record);
    }

    fn handle_rtcp(&mut self, now: Instant, bytes: &[u8]) {
        let second = self.second(now);
        rtcp::parse(bytes, |part| match part {
            Rtcp::SenderReport(report) => self.receiver.handle_sender_report(now, report.ssrc, report.ntp),
            Rtcp::TransportFeedback(feedback) => self.publisher.handle_feedback(now, &feedback),
            Rtcp::Nack(nack) => self.publisher.handle_nack(now, self.transport.rtt(), &nack),
            Rtcp::Pli { media, .. } => request_keyframe(&mut self.publisher, &mut self.record, second, media),
            Rtcp::Fir(fir) => {
                for (media, _) in fir.entries() {
                    request_keyframe(&mut self.publisher, &mut self.record, second, media);
                }
            }
            _ => {}
        });
    }

    fn send_feedback(&mut self, now: Instant) {
        let (media, ntp) = (self.receiver.any_source(), self.publisher.ntp(now));
        while let Some(message) = self.feedback.as_mut().and_then(|f| f.poll(now, ntp, self.ssrc, media)) {
            self.transport.send_rtcp(message);
        }
    }

    fn send_reports(&mut self, now: Instant) {
        let mut out = Vec::new();
        for info in self.publisher.sender_infos(now) {
            write::sender_report(&mut out, &info, &[]);
        }
        let blocks = self.receiver.reports(now);
        for blocks in blocks.chunks(write::MAX_REPORT_BLOCKS) {
            write::receiver_report(&mut out, self.ssrc, blocks);
        }
        if !out.is_empty() {
            write::description(&mut out, self.ssrc, CNAME);
            self.send_rtcp(out);
        }
    }

    fn send_rtcp(&mut self, packet: Vec<u8>) {
        if !packet.is_empty() {
            self.transport.send_rtcp(packet);
        }
    }

    fn second(&self, now: Instant) -> f64 {
        self.publisher.second(now)
    }
}

/// The feedback on what is received that offer and answer agree on.
fn agreed(offered: scenario::Feedback, answer: &Answer) -> Option<Feedback> {
    let transport_cc = answer.sections.iter().any(|section| section.transport_cc);
    let ccfb = answer.sections.iter().any(|section| section.ccfb);
    match offered {
        scenario::Feedback::Remb => Some(Feedback::Remb(Remb::default())),
        scenario::Feedback::Rfc8888 if ccfb => Some(Feedback::PerSource(PerSource::default())),
        _ => transport_cc.then(|| Feedback::TransportWide(Box::default())),
    }
}

fn request_keyframe(publisher: &mut Publisher, record: &mut Record, second: f64, media: Ssrc) {
    if let Some((track, encoding)) = publisher.request_keyframe(media) {
        record.keyframe_requests.push((second, track as u8, encoding as u8));
    }
}
