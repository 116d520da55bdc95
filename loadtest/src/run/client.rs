//! One client of a load: a connection, what it publishes and what it receives. Sans-IO; a worker drives thousands of
//! them.
//!
//! Every received packet is counted by its clear header; a sample of them is opened, authenticated and compared with
//! what was sent.

use super::clip::{Clip, Codec, Recognised};
use super::publisher::{Departures, Media, Publisher};
use super::stream::{Header, Stream};
use super::totals::Totals;
use crate::client::feedback::Feedback;
use crate::client::payload as types;
use crate::client::sdp::{self, Answer, Codecs, Section, extension};
use crate::client::transport::{Opened, Transport};
use crate::scenario::Feedback as Wanted;
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha12Rng;
use rustc_hash::FxHashMap;
use sfu_engine::crypto::RTCCryptoProvider;
use sfu_engine::media::MediaKind;
use sfu_engine::rtcp::{self, NtpTime, Rtcp, write};
use sfu_engine::rtp::packet::RtpPacket;
use sfu_engine::transport::demux::{PacketClass, classify};
use sfu_engine::transport::dtls::DtlsCertificate;
use sfu_engine::units::{SeqNo, Ssrc};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Between sender and receiver reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Between looks at what is missing, while something is.
const NACK_INTERVAL: Duration = Duration::from_millis(20);
/// Between requests for key frames.
const KEYFRAME_INTERVAL: Duration = Duration::from_millis(300);
/// The padding bit of an RTP packet's first byte.
const PADDING: u8 = 0x20;
/// What a report names the client.
const CNAME: &str = "load";

/// What every client of a run shares.
#[derive(Clone)]
pub(crate) struct Common {
    /// The start of the run.
    pub(crate) origin: Instant,
    /// The certificate that all show: making one for each would only take time.
    pub(crate) certificate: DtlsCertificate,
    pub(crate) provider: Arc<dyn RTCCryptoProvider>,
    /// The video codec of the run.
    pub(crate) codec: Codec,
    /// Probability that a packet of media does not reach its receiver.
    pub(crate) network_loss: f64,
    /// One packet of so many is opened.
    pub(crate) sample: u16,
}

/// When a client got somewhere.
pub(crate) struct Milestones {
    /// ICE and DTLS were done.
    pub(crate) connected: oneshot::Sender<Instant>,
    /// The first media packet came.
    pub(crate) media: oneshot::Sender<Instant>,
}

/// When a datagram was received, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) at: Instant,
    /// Nanoseconds since 1970, as the kernel noted it.
    pub(crate) wall: u64,
}

/// One client.
pub(crate) struct Client {
    common: Common,
    transport: Transport,
    publisher: Publisher,
    ssrc: Ssrc,
    sections: Vec<Section>,
    /// What arrives on each section.
    slots: Vec<Slot>,
    /// Section of each source, and whether it retransmits.
    routes: FxHashMap<u32, (usize, bool)>,
    feedback: Option<Feedback>,
    next_report: Option<Instant>,
    next_nack: Option<Instant>,
    last_keyframe_request: Option<Instant>,
    /// Chooses the packets that do not arrive.
    network: ChaCha12Rng,
    /// Which of `sample` packets this client opens.
    phase: u16,
    connected: Option<oneshot::Sender<Instant>>,
    media: Option<oneshot::Sender<Instant>>,
}

/// What an opened packet showed.
#[derive(Clone, Copy, Debug)]
struct Inside {
    /// The number that a retransmission repeats.
    original: u16,
    /// Nanoseconds on the way, where it is known when it was sent.
    latency: Option<u64>,
}

#[derive(Default)]
struct Slot {
    stream: Option<Stream>,
    /// When the packets were sent that come here now, where that is known.
    departures: Option<Arc<Departures>>,
}

impl Client {
    /// A client that sends `media` and receives on so many audio and video sections.
    pub(crate) fn new(common: &Common, media: &[Media], slots: (usize, usize), seed: u64) -> Client {
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        let ssrc = Ssrc(rng.next_u32() | 1);
        let phase = rng.next_u32() as u16 % common.sample;
        let certificate = common.certificate.clone();
        let transport = Transport::new(certificate, common.provider.clone(), ChaCha12Rng::from_rng(&mut rng));
        let network = ChaCha12Rng::from_rng(&mut rng);
        let publisher = Publisher::new(media, common.origin, rng);
        let sending =
            publisher.sending().map(|(kind, sending)| Section { audio: kind == MediaKind::Audio, send: Some(sending) });
        let receiving = std::iter::repeat_n(true, slots.0).chain(std::iter::repeat_n(false, slots.1));
        let sections: Vec<_> = sending.chain(receiving.map(|audio| Section { audio, send: None })).collect();
        Client {
            common: common.clone(),
            transport,
            publisher,
            ssrc,
            slots: sections.iter().map(|_| Slot::default()).collect(),
            sections,
            routes: FxHashMap::default(),
            feedback: None,
            next_report: None,
            next_nack: None,
            last_keyframe_request: None,
            network,
            phase,
            connected: None,
            media: None,
        }
    }

    /// Its offer. The mid of a section is its place; what it sends comes first.
    pub(crate) fn offer(&self) -> String {
        let video = [self.common.codec.format()];
        let codecs = Codecs { video: &video, red: false, feedback: Wanted::TransportCc };
        sdp::offer(&self.sections, &self.transport.local(), codecs)
    }

    /// The server's answer: from here on the client runs, and tells how far it gets.
    pub(crate) fn handle_answer(&mut self, now: Instant, answer: &Answer, milestones: Milestones) {
        if answer.sections.iter().any(|section| section.transport_cc) {
            self.feedback = Some(Feedback::TransportWide(Box::default()));
        }
        for (index, section) in answer.sections.iter().enumerate().take(self.sections.len()) {
            if self.sections[index].send.is_none() {
                self.routes.extend(section.ssrc.map(|ssrc| (ssrc.0, (index, false))));
                self.routes.extend(section.rtx_ssrc.map(|ssrc| (ssrc.0, (index, true))));
            }
        }
        (self.connected, self.media) = (Some(milestones.connected), Some(milestones.media));
        self.transport.handle_answer(now, answer);
    }

    /// Whether somebody still waits for the connection or for media.
    pub(crate) fn is_joining(&self) -> bool {
        [&self.connected, &self.media].into_iter().flatten().any(|milestone| !milestone.is_closed())
    }

    /// Where the server takes its datagrams.
    pub(crate) fn server(&self) -> Option<SocketAddr> {
        self.transport.server()
    }

    /// When the packets of a section that it sends on were sent.
    pub(crate) fn departures(&self, section: usize) -> Option<Arc<Departures>> {
        self.publisher.departures(section).cloned()
    }

    /// A section carries these packets from now on.
    pub(crate) fn bind(&mut self, section: usize, departures: Option<Arc<Departures>>) {
        if let Some(slot) = self.slots.get_mut(section) {
            slot.departures = departures;
        }
    }

    /// The server wants these encodings of a section: rid and whether.
    pub(crate) fn set_wanted(&mut self, section: usize, wanted: &[(String, bool)]) {
        let of = |rid: &str| wanted.iter().find(|(name, _)| name == rid).map(|(_, wanted)| *wanted);
        self.publisher.set_wanted(section, of);
    }

    /// A datagram of the server, opened in place if it is of the sample.
    pub(crate) fn handle_datagram(&mut self, arrival: Arrival, datagram: &mut [u8], totals: &mut Totals) {
        let now = arrival.at;
        if classify(datagram) == Some(PacketClass::Rtp) {
            return self.handle_rtp(arrival, datagram, totals);
        }
        if let Opened::Rtcp(len) = self.transport.handle_datagram(now, datagram) {
            self.handle_rtcp(now, &datagram[..len], totals);
        }
        if self.transport.is_ready()
            && let Some(connected) = self.connected.take()
        {
            // Nobody waits for it where the join was given up.
            let _ = connected.send(now);
            self.publisher.begin(now);
            self.next_report = Some(now + REPORT_INTERVAL);
        }
    }

    /// The next datagram; the caller sends it at once.
    pub(crate) fn poll_transmit(&mut self, now: Instant, totals: &mut Totals) -> Option<Vec<u8>> {
        while let Some(mut packet) = self.publisher.poll_packet(now) {
            if self.transport.seal_rtp(&mut packet) {
                totals.packets_out += 1;
                totals.bytes_out += packet.len() as u64;
                return Some(packet);
            }
        }
        self.transport.poll_transmit()
    }

    /// When [`Client::handle_timeout`] is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let transport = self.transport.poll_timeout();
        if !self.transport.is_ready() {
            return transport;
        }
        let feedback = self.feedback.as_ref().and_then(Feedback::poll_timeout);
        let own = [self.publisher.poll_timeout(), feedback, self.next_report, self.next_nack];
        own.into_iter().flatten().chain(transport).min()
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.transport.handle_timeout(now);
        if !self.transport.is_ready() {
            return;
        }
        self.publisher.handle_timeout(now);
        if self.next_nack.is_some_and(|at| at <= now) {
            self.ask_for_missing(now);
        }
        let (media, ntp) = (self.any_source(), self.ntp(now));
        while let Some(message) = self.feedback.as_mut().and_then(|feedback| feedback.poll(now, ntp, self.ssrc, media))
        {
            self.transport.send_rtcp(message);
        }
        if self.next_report.is_some_and(|at| at <= now) {
            self.next_report = Some(now + REPORT_INTERVAL);
            self.send_reports(now);
        }
    }

    fn handle_rtp(&mut self, arrival: Arrival, datagram: &mut [u8], totals: &mut Totals) {
        // The server's last message of the handshake may be behind its first media.
        if !self.transport.is_ready() {
            return;
        }
        totals.packets_in += 1;
        totals.bytes_in += datagram.len() as u64;
        if self.common.network_loss > 0.0 && self.network.random_bool(self.common.network_loss) {
            totals.network_drops += 1;
            return;
        }
        let now = arrival.at;
        let since = now.saturating_duration_since(self.common.origin);
        let Some((first, _)) = datagram.split_first().map(|(first, rest)| (*first, rest)) else { return };
        // The count of padding bytes is encrypted, so it cannot be read yet.
        datagram[0] &= !PADDING;
        let Some(packet) = RtpPacket::parse(datagram) else { return };
        let (ssrc, payload_type) = (packet.ssrc(), packet.payload_type().0);
        let header = Header { seq: packet.seq(), timestamp: packet.timestamp(), marker: packet.marker() };
        let route = self.routes.get(&ssrc.0).copied().or_else(|| self.find_route(&packet));
        if let Some(feedback) = &mut self.feedback {
            feedback.on_packet(now, since, &packet, datagram.len(), false);
        }
        datagram[0] = first;
        let Some((section, again)) = route else { return };
        if let Some(media) = self.media.take() {
            let _ = media.send(now);
        }
        let opened = (again || self.samples(header.seq.0))
            .then(|| self.open(arrival, section, payload_type, again, datagram, totals));
        // A retransmission says inside which packet it is; one without a payload is a probe.
        let seq = match opened.flatten() {
            Some(Inside { original, .. }) if again => original,
            _ if again => return,
            _ => header.seq.0,
        };
        let kind = if payload_type == types::OPUS { MediaKind::Audio } else { MediaKind::Video };
        let (header, is_of_sample) = (Header { seq: SeqNo(seq), ..header }, self.samples(seq));
        let slot = &mut self.slots[section].stream;
        if slot.is_none() && again {
            return;
        }
        let stream = slot.get_or_insert_with(|| Stream::new(kind, ssrc, header.seq));
        let is_new = stream.on_packet(now, since, header, again, totals);
        // What was known already was sent again to probe: it says nothing about the way. All retransmissions are
        // opened, but only the sample's count.
        if let Some(latency) = opened.flatten().and_then(|inside| inside.latency)
            && is_new
            && is_of_sample
        {
            totals.note_latency(latency);
        }
        if kind == MediaKind::Video && stream.is_missing() {
            self.next_nack.get_or_insert(now);
        }
    }

    /// Whether the packet of this number is one of the sample.
    fn samples(&self, seq: u16) -> bool {
        seq % self.common.sample == self.phase
    }

    /// Finds the section of a source that the answer did not declare: by its mid, else the first that receives this
    /// kind.
    fn find_route(&mut self, packet: &RtpPacket<'_>) -> Option<(usize, bool)> {
        let payload_type = packet.payload_type().0;
        let again = types::RTX.contains(&payload_type);
        let mid = packet
            .extensions()
            .find(|(id, _)| *id == extension::MID)
            .and_then(|(_, mid)| std::str::from_utf8(mid).ok());
        let audio = payload_type == types::OPUS;
        let receives = |section: &Section| section.send.is_none() && section.audio == audio;
        let section = match mid.and_then(|mid| mid.parse().ok()) {
            Some(section) => self.sections.get(section).filter(|section| receives(section)).map(|_| section)?,
            None => self.sections.iter().position(receives)?,
        };
        self.routes.insert(packet.ssrc().0, (section, again));
        Some((section, again))
    }

    /// Opens a packet and judges what is inside; `None` where there is no media in it.
    fn open(
        &mut self,
        arrival: Arrival,
        section: usize,
        payload_type: u8,
        again: bool,
        datagram: &mut [u8],
        totals: &mut Totals,
    ) -> Option<Inside> {
        totals.opened += 1;
        let Opened::Rtp(len) = self.transport.handle_datagram(arrival.at, datagram) else {
            totals.unauthentic += 1;
            return None;
        };
        let packet = RtpPacket::parse(&datagram[..len])?;
        let (original, payload) = match packet.payload().split_first_chunk::<2>() {
            Some((number, rest)) if again => (u16::from_be_bytes(*number), rest),
            _ => (0, packet.payload()),
        };
        if payload.is_empty() {
            return None;
        }
        let audio = payload_type == types::OPUS;
        let clip = if audio { Clip::audio() } else { Clip::video(self.common.codec) };
        let Recognised::Intact(chunk) = clip.recognise(payload) else {
            totals.foreign += 1;
            return Some(Inside { original, latency: None });
        };
        if !audio {
            totals.layers[usize::from(chunk.encoding)] += 1;
        }
        let sent = self.slots[section].departures.as_ref().and_then(|d| d.of(chunk.encoding, chunk.packet));
        Some(Inside { original, latency: sent.and_then(|sent| arrival.wall.checked_sub(sent)) })
    }

    fn handle_rtcp(&mut self, now: Instant, bytes: &[u8], totals: &mut Totals) {
        rtcp::parse(bytes, |part| match part {
            Rtcp::SenderReport(report) => {
                if let Some(stream) = self.streams().find(|stream| stream.ssrc == report.ssrc) {
                    stream.on_sender_report(now, report.ntp);
                }
            }
            Rtcp::Nack(nack) => self.publisher.handle_nack(&nack, totals),
            Rtcp::Pli { media, .. } => {
                totals.keyframe_requests += 1;
                self.publisher.request_keyframe(media);
            }
            Rtcp::Fir(fir) => fir.entries().for_each(|(media, _)| {
                totals.keyframe_requests += 1;
                self.publisher.request_keyframe(media);
            }),
            _ => {}
        });
    }

    fn ask_for_missing(&mut self, now: Instant) {
        let (rtt, sender) = (self.transport.rtt(), self.ssrc);
        let may = self.last_keyframe_request.is_none_or(|at| now.saturating_duration_since(at) >= KEYFRAME_INTERVAL);
        let mut out = Vec::new();
        let (mut more, mut asked) = (false, false);
        for stream in self.streams() {
            let missing = stream.missing(now, rtt);
            let mut rest = &missing[..];
            while !rest.is_empty() {
                rest = write::nack(&mut out, sender, stream.ssrc, rest);
            }
            if may && std::mem::take(&mut stream.wants_keyframe) {
                write::pli(&mut out, sender, stream.ssrc);
                asked = true;
            }
            more |= stream.is_missing() || stream.wants_keyframe;
        }
        if asked {
            self.last_keyframe_request = Some(now);
        }
        self.next_nack = more.then_some(now + NACK_INTERVAL);
        self.transport.send_rtcp(out);
    }

    fn send_reports(&mut self, now: Instant) {
        let mut out = Vec::new();
        for info in self.publisher.sender_infos(now, self.ntp(now)) {
            write::sender_report(&mut out, &info, &[]);
        }
        let sender = self.ssrc;
        let blocks: Vec<_> = self.streams().map(|stream| stream.report(now)).collect();
        for blocks in blocks.chunks(write::MAX_REPORT_BLOCKS) {
            write::receiver_report(&mut out, sender, blocks);
        }
        if !out.is_empty() {
            write::description(&mut out, sender, CNAME);
            self.transport.send_rtcp(out);
        }
    }

    fn streams(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.slots.iter_mut().filter_map(|slot| slot.stream.as_mut())
    }

    fn any_source(&self) -> Ssrc {
        self.slots.iter().find_map(|slot| slot.stream.as_ref()).map_or(Ssrc(0), |stream| stream.ssrc)
    }

    fn ntp(&self, now: Instant) -> NtpTime {
        let since = now.saturating_duration_since(self.common.origin).as_micros() as u64;
        NtpTime::from_micros(1_000_000_000_000 + since)
    }
}
