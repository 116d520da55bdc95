//! One participant's peer connection.

use super::audio::Microphone;
use super::camera::Camera;
use super::data::Data;
use super::receiver::{Receiver, Receivers};
use super::sdp::{self, OfferedSection, Role};
use super::transport::{Plain, Transport};
use super::{rtcp, rtp};
use bytes::BytesMut;
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtcp::receiver_report::ReceiverReport;
use rtc::rtcp::sender_report::SenderReport;
use rtc::rtcp::transport_feedbacks::transport_layer_cc::TransportLayerCc;
use rtc::rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;
use sfu_engine::command::PublishHint;
use sfu_engine::event::{Sending, SlotState};
use sfu_engine::ids::{ParticipantId, TrackId};
use sfu_engine::media::{MediaKind, Source};
use sfu_engine::units::Mid;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How often what is due is looked for.
const TICK: Duration = Duration::from_millis(10);
/// Ticks between transport-wide feedbacks, and between reports.
const FEEDBACK_TICKS: u64 = 5;
const REPORT_TICKS: u64 = 100;

/// What a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publish {
    Microphone,
    /// Three encodings.
    Camera,
    /// One encoding.
    Plain,
    /// Three encodings of a screen.
    Screen,
}

/// A participant as its browser sees itself.
pub struct Client {
    pub id: ParticipantId,
    pub transport: Transport,
    pub sections: Vec<OfferedSection>,
    pub cameras: Vec<Camera>,
    pub microphones: Vec<Microphone>,
    pub receivers: Receivers,
    /// What the server said of each slot last.
    pub slots: BTreeMap<String, SlotState>,
    /// What the server answered: section and track.
    pub tracks: Vec<(String, TrackId)>,
    /// Adds the sections that the server asks for.
    pub adds_slots: bool,
    pub asks_keyframes: bool,
    /// Numbers of RTP and RTCP packets received.
    pub rtcp_received: u32,
    pub feedback_received: u32,
    /// Running hash of every plain packet received, with the time of its arrival.
    pub digest: u64,
    hints: Vec<(String, Source)>,
    /// Its data channels, where it wants some.
    pub data: Option<Data>,
    /// Offers redundant audio.
    pub red: bool,
    offers: u64,
    origin: Instant,
    transport_seq: u16,
    rtcp_ssrc: u32,
    next_tick: Instant,
    ticks: u64,
    feedback_from: u64,
    feedback_count: u8,
    /// The sections of an offer whose answer has not come.
    offered: Option<Vec<OfferedSection>>,
}

impl Client {
    pub fn new(
        now: Instant,
        origin: Instant,
        id: u64,
        transport: Transport,
        publish: &[Publish],
        slots: (usize, usize),
    ) -> Client {
        let mut client = Client {
            id: ParticipantId(id),
            transport,
            sections: Vec::new(),
            cameras: Vec::new(),
            microphones: Vec::new(),
            receivers: Receivers::default(),
            slots: BTreeMap::new(),
            tracks: Vec::new(),
            adds_slots: true,
            asks_keyframes: true,
            rtcp_received: 0,
            feedback_received: 0,
            digest: 0xCBF2_9CE4_8422_2325,
            hints: Vec::new(),
            data: None,
            red: true,
            offers: 0,
            origin,
            transport_seq: 65_000,
            rtcp_ssrc: id as u32,
            // Clients are not in step.
            next_tick: now + Duration::from_micros(137 * id),
            ticks: 0,
            feedback_from: 0,
            feedback_count: 0,
            offered: None,
        };
        for what in publish {
            client.publish(now, *what);
        }
        client.add_slots(slots.0, slots.1);
        client
    }

    /// Adds a section on which it sends; the next offer tells.
    pub fn publish(&mut self, now: Instant, what: Publish) -> String {
        let mid = self.sections.len().to_string();
        self.publish_on(now, what, &mid);
        mid
    }

    /// As [`Client::publish`], on the place of a stopped section if there is one.
    pub fn publish_recycled(&mut self, now: Instant, what: Publish, mid: &str) -> bool {
        let recycled = self.sections.iter().any(|s| s.role == Role::Stopped);
        self.publish_on(now, what, mid);
        recycled
    }

    fn publish_on(&mut self, now: Instant, what: Publish, mid: &str) {
        let seed = self.id.0 as u32 * 256 + self.cameras.len() as u32 * 16 + self.microphones.len() as u32 + 1;
        // Not all in step.
        let start = now + Duration::from_micros(u64::from(seed) * 7919 % 33_000);
        let section = match what {
            Publish::Microphone => {
                let microphone = Microphone::new(start, seed, mid);
                let role = Role::Send { rids: Vec::new(), ssrc: microphone.ssrc, rtx_ssrc: 0 };
                self.microphones.push(microphone);
                OfferedSection { mid: mid.into(), kind: MediaKind::Audio, role }
            }
            Publish::Camera | Publish::Screen | Publish::Plain => {
                let camera = Camera::new(start, seed, mid, what != Publish::Plain);
                let rids = camera.encodings.iter().filter_map(|e| e.rid).collect();
                let role = Role::Send { rids, ssrc: camera.encodings[0].ssrc, rtx_ssrc: camera.encodings[0].rtx_ssrc };
                self.cameras.push(camera);
                OfferedSection { mid: mid.into(), kind: MediaKind::Video, role }
            }
        };
        let source = match what {
            Publish::Microphone => Source::Microphone,
            Publish::Camera | Publish::Plain => Source::Camera,
            Publish::Screen => Source::Screen,
        };
        self.hints.push((mid.into(), source));
        self.place(section);
    }

    /// Adds sections on which it receives; the next offer tells.
    pub fn add_slots(&mut self, audio: usize, video: usize) {
        let kinds = std::iter::repeat_n(MediaKind::Audio, audio).chain(std::iter::repeat_n(MediaKind::Video, video));
        for kind in kinds {
            let mid = format!("r{}", self.sections.len());
            self.sections.push(OfferedSection { mid, kind, role: Role::Receive });
        }
    }

    /// Stops a section; the next offer tells.
    pub fn stop(&mut self, mid: &str) {
        self.cameras.retain(|c| c.mid != mid);
        self.microphones.retain(|m| m.mid != mid);
        self.receivers.stop(mid);
        self.slots.remove(mid);
        for section in self.sections.iter_mut().filter(|s| s.mid == mid) {
            section.role = Role::Stopped;
        }
    }

    fn place(&mut self, section: OfferedSection) {
        match self.sections.iter_mut().find(|s| s.role == Role::Stopped) {
            Some(free) => *free = section,
            None => self.sections.push(section),
        }
    }

    /// The next offer, and what its sections carry.
    pub fn offer(&mut self) -> (u64, String, Vec<PublishHint>) {
        self.offers += 1;
        self.offered = Some(self.sections.clone());
        let t = &self.transport;
        let (data, red) = (self.data.is_some(), self.red);
        let text = sdp::offer(self.id.0, &t.ufrag, &t.pwd, &t.fingerprint, self.offers, &self.sections, data, red);
        let hints = self.hints.iter().map(|(mid, source)| PublishHint {
            mid: Mid::new(mid).unwrap(),
            source: *source,
            muted: false,
        });
        (self.offers, text, hints.collect())
    }

    pub fn handle_answer(&mut self, now: Instant, answer: &sfu_engine::event::Answer) {
        let mut read = sdp::read_answer(&answer.sdp);
        if self.data.is_some() {
            let data = read.sections.remove(0);
            assert_eq!((data.mid.as_str(), data.port != 0), (sdp::DATA_MID, true));
        }
        let offered = self.offered.take().expect("an answer follows an offer");
        assert_eq!(read.sections.len(), offered.len(), "one answered section for each offered one");
        for (offered, answered) in offered.iter().zip(&read.sections) {
            assert_eq!(offered.mid, answered.mid);
            assert_eq!(answered.port == 0, offered.role == Role::Stopped, "section {}", offered.mid);
            if offered.role == Role::Receive {
                assert_eq!(answered.direction, "sendonly");
                self.receivers.negotiate(answered, offered.kind);
            }
        }
        self.tracks = answer.tracks.iter().map(|(mid, track)| (mid.to_string(), *track)).collect();
        self.transport.connect(now, &read.ufrag, &read.pwd);
    }

    /// The server lacks slots; true where the client adds them and will offer. While an offer is under way, what is
    /// lacking is about to change.
    pub fn handle_slots_wanted(&mut self, audio: u16, video: u16) -> bool {
        let adds = self.adds_slots && self.offered.is_none();
        if adds {
            self.add_slots(usize::from(audio), usize::from(video));
        }
        adds
    }

    /// The server tells what its slots carry.
    pub fn handle_slots(&mut self, slots: &[SlotState]) {
        for slot in slots {
            let mid = slot.mid.to_string();
            let flows = matches!(slot.track, Some((_, Sending::Layer { .. })));
            if let (false, Some(receiver)) = (flows, self.receivers.by_mid.get_mut(&mid)) {
                receiver.video.reset_progress();
            }
            self.slots.insert(mid, slot.clone());
        }
    }

    /// The server tells which encodings of a track somebody takes.
    pub fn handle_wanted(&mut self, track: TrackId, wanted: &[bool]) {
        let Some((mid, _)) = self.tracks.iter().find(|(_, id)| *id == track) else { return };
        for camera in self.cameras.iter_mut().filter(|c| c.mid == *mid) {
            for (encoding, wanted) in camera.encodings.iter_mut().zip(wanted) {
                encoding.wanted = *wanted;
            }
        }
    }

    /// The track behind a section of its own.
    pub fn track(&self, mid: &str) -> TrackId {
        self.tracks.iter().find(|(m, _)| m == mid).unwrap_or_else(|| panic!("no track on {mid}")).1
    }

    /// The receiver of the slot that carries a track.
    pub fn receiver_of(&self, track: TrackId) -> &Receiver {
        let slot = self.slots.values().find(|slot| slot.track.is_some_and(|(id, _)| id == track));
        let slot = slot.unwrap_or_else(|| panic!("{} has no slot for {track}: {:?}", self.id, self.slots));
        &self.receivers.by_mid[slot.mid.as_str()]
    }

    /// How the server says it sends a track.
    pub fn sending(&self, track: TrackId) -> Option<Sending> {
        self.slots.values().find_map(|slot| slot.track.filter(|(id, _)| *id == track)).map(|(_, sending)| sending)
    }

    pub fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) {
        match self.transport.handle_datagram(now, datagram) {
            Some(Plain::Rtp(plain)) => {
                self.note(now, &plain);
                self.receivers.handle_packet(now, &rtp::read(plain));
            }
            Some(Plain::Rtcp(plain)) => {
                self.note(now, &plain);
                self.handle_rtcp(now, plain);
            }
            None => {}
        }
        while let Some(packet) = self.transport.data.pop_front() {
            if let Some(data) = &mut self.data {
                data.handle_packet(now, packet);
            }
        }
    }

    /// The next datagram to send.
    pub fn poll_datagram(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.transport.is_connected() {
            for packet in self.data.as_mut().map(|data| data.poll_packets(now)).unwrap_or_default() {
                self.transport.send_data(now, &packet);
            }
        }
        self.transport.poll_datagram()
    }

    fn note(&mut self, now: Instant, plain: &[u8]) {
        let at = (now - self.origin).as_micros().to_be_bytes();
        for byte in at.iter().chain(plain) {
            self.digest = (self.digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }

    fn handle_rtcp(&mut self, now: Instant, plain: BytesMut) {
        self.rtcp_received += 1;
        let mut out = Vec::new();
        for packet in rtc::rtcp::packet::unmarshal(&mut plain.freeze()).expect("the server's RTCP parses") {
            let any = packet.as_any();
            if let Some(report) = any.downcast_ref::<SenderReport>() {
                self.receivers.handle_sender_report(now, report);
            } else if let Some(report) = any.downcast_ref::<ReceiverReport>() {
                for block in &report.reports {
                    self.acknowledge(block.ssrc);
                }
            } else if let Some(pli) = any.downcast_ref::<PictureLossIndication>() {
                self.cameras.iter_mut().for_each(|c| c.request_keyframe(pli.media_ssrc));
            } else if let Some(fir) = any.downcast_ref::<FullIntraRequest>() {
                for entry in &fir.fir {
                    self.cameras.iter_mut().for_each(|c| c.request_keyframe(entry.ssrc));
                }
            } else if let Some(nack) = any.downcast_ref::<TransportLayerNack>() {
                for seq in nack.nacks.iter().flat_map(|pair| pair.packet_list()) {
                    for camera in &mut self.cameras {
                        camera.retransmit(nack.media_ssrc, seq, &mut self.transport_seq, &mut out);
                    }
                }
            } else if any.is::<TransportLayerCc>() {
                self.feedback_received += 1;
            }
        }
        self.send(&out);
    }

    fn acknowledge(&mut self, ssrc: u32) {
        self.microphones.iter_mut().filter(|m| m.ssrc == ssrc).for_each(|m| m.acknowledged = true);
        let encodings = self.cameras.iter_mut().flat_map(|c| &mut c.encodings);
        encodings.filter(|e| e.ssrc == ssrc).for_each(|e| e.acknowledged = true);
    }

    pub fn poll_timeout(&mut self) -> Option<Instant> {
        let mut earliest = self.transport.poll_timeout().into_iter().chain([self.next_tick]).min();
        if self.transport.is_connected() {
            let media = self.cameras.iter().map(Camera::poll_timeout);
            let media = media.chain(self.microphones.iter().map(Microphone::poll_timeout));
            let data = self.data.as_ref().and_then(Data::poll_timeout);
            earliest = media.chain(data).chain(earliest).min();
        }
        earliest
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.transport.handle_timeout(now);
        if self.transport.is_connected() {
            let mut out = Vec::new();
            for microphone in &mut self.microphones {
                microphone.handle_timeout(now, &mut self.transport_seq, &mut out);
            }
            for camera in &mut self.cameras {
                camera.handle_timeout(now, &mut self.transport_seq, &mut out);
            }
            self.send(&out);
            if let Some(data) = &mut self.data {
                data.handle_timeout(now);
            }
        }
        while self.next_tick <= now {
            self.next_tick += TICK;
            self.ticks += 1;
            if self.transport.is_connected() {
                self.tick(now);
            }
        }
    }

    fn send(&mut self, packets: &[Vec<u8>]) {
        for packet in packets {
            self.transport.send_rtp(packet);
        }
    }

    fn tick(&mut self, now: Instant) {
        for receiver in self.receivers.by_mid.values_mut().filter(|r| r.kind == MediaKind::Video) {
            let nacks = receiver.video.poll_nacks(now);
            if !nacks.is_empty() {
                self.transport.send_rtcp(&rtcp::nack(self.rtcp_ssrc, receiver.ssrc, &nacks));
            }
            if self.asks_keyframes && receiver.video.poll_pli(now) {
                self.transport.send_rtcp(&rtcp::pli(self.rtcp_ssrc, receiver.ssrc));
            }
        }
        if self.ticks.is_multiple_of(FEEDBACK_TICKS) {
            self.send_feedback();
        }
        if self.ticks.is_multiple_of(REPORT_TICKS) {
            self.send_reports(now);
        }
    }

    fn send_feedback(&mut self) {
        let arrivals = &self.receivers.arrivals;
        let Some((&newest, _)) = arrivals.last_key_value() else { return };
        let first = arrivals.first_key_value().map_or(0, |(seq, _)| *seq);
        let base = self.feedback_from.max(first);
        let media = self.receivers.by_mid.values().next().map_or(0, |r| r.ssrc);
        if let Some(feedback) =
            rtcp::transport_feedback(self.rtcp_ssrc, media, self.feedback_count, self.origin, base, arrivals)
        {
            self.feedback_count = self.feedback_count.wrapping_add(1);
            self.feedback_from = newest + 1;
            self.transport.send_rtcp(&feedback);
        }
    }

    fn send_reports(&mut self, now: Instant) {
        // The client's own clock, an hour and a bit ahead of anything else.
        let micros = (now - self.origin).as_micros() as u64 + 3_654_321_987 + self.id.0 * 1_000_003;
        let ntp = ((micros / 1_000_000 + 3_000_000_000) << 32) + ((micros % 1_000_000) << 32) / 1_000_000;
        let mut compound = Vec::new();
        let audio = self.microphones.iter().filter_map(|m| m.source(now));
        let video = self.cameras.iter().flat_map(|c| c.sources(now));
        for source in audio.chain(video) {
            compound.extend(rtcp::sender_report(ntp, source));
        }
        compound.extend(rtcp::receiver_report(self.rtcp_ssrc, self.receivers.report_blocks(now)));
        self.transport.send_rtcp(&compound);
    }
}
