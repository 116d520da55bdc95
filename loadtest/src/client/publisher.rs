//! What a client sends: its encoders, their packets, retransmissions for the server, and the pacer that spreads key
//! frames.

use super::encoder::Encoder;
use super::history::{History, Sent};
use super::pacer::{PACING_FACTOR, Pacer, Resent};
use super::packetize::{Stamp, Vp8Numbers, packetize};
use super::sdp::{Sending, extension, payload};
use super::uplink::UplinkControl;
use crate::scenario::{Codec, Publish, Source};
use rand::{Rng, RngCore};
use rand_chacha::ChaCha12Rng;
use sfu_engine::rtcp::write::SenderInfo;
use sfu_engine::rtcp::{Nack, NtpTime, TransportFeedback};
use sfu_engine::rtp::extension::{AbsSendTime, AudioLevel};
use sfu_engine::rtp::packet::{RtpHeader, write_header};
use sfu_engine::units::{PayloadType, RtpTime, SeqNo, Ssrc};
use std::time::{Duration, Instant};

/// Shortest time between two key frames that were asked for, as in libwebrtc.
const KEYFRAME_INTERVAL: Duration = Duration::from_millis(300);
/// The pacer never goes below this, in bit/s.
const PACING_FLOOR: f64 = 1_000_000.0;
/// Audio packets are this long.
const AUDIO_PACKET: Duration = Duration::from_millis(20);
/// RTP clock of video in Hz.
const VIDEO_CLOCK: f64 = 90_000.0;
/// Where the transport-wide number and the send time stand in each packet: the first two extension elements.
const TRANSPORT_SEQ_AT: std::ops::Range<usize> = 17..19;
const SEND_TIME_AT: std::ops::Range<usize> = 20..23;

/// All tracks of one client.
pub(super) struct Publisher {
    place: u16,
    codec: Codec,
    start: Instant,
    rng: ChaCha12Rng,
    /// The tracks in the order of the scenario.
    pub tracks: Vec<LocalTrack>,
    pacer: Pacer,
    transport_seq: u16,
    /// Speaks, or is quiet.
    speaks: bool,
    /// There where the way to the server is limited.
    control: Option<UplinkControl>,
}

/// A published track.
pub(super) struct LocalTrack {
    spec: Publish,
    /// Its section.
    pub mid: usize,
    source: Source,
    /// The encodings, lowest first.
    pub encodings: Vec<LocalEncoding>,
}

/// An encoding of a track.
pub(super) struct LocalEncoding {
    /// Its rid in the scenario.
    name: Option<String>,
    /// Its rid in offers and packets, where there are several.
    pub rid: Option<String>,
    /// Its source, and that of its retransmissions.
    pub ssrc: Ssrc,
    /// The source of its retransmissions.
    pub rtx_ssrc: Ssrc,
    height: u16,
    interval: Duration,
    rate: f64,
    encoder: Encoder,
    next_frame: Option<Instant>,
    /// The server wants it.
    wanted: bool,
    /// Share of its rate that congestion control leaves it; 0 is off.
    share: f64,
    flowing: bool,
    keyframe_wanted: bool,
    last_keyframe: Option<Instant>,
    seq: u16,
    rtx_seq: u16,
    ts_offset: u32,
    numbers: Vp8Numbers,
    history: History,
    packets: u32,
    octets: u32,
}

impl Publisher {
    /// The tracks of `specs`; `place` is the client's in the cast. `start` is the start of the run.
    pub(super) fn new(
        place: u16,
        specs: &[Publish],
        codec: Codec,
        speaks: bool,
        limited: bool,
        start: Instant,
        mut rng: ChaCha12Rng,
    ) -> Publisher {
        let tracks = specs.iter().enumerate().map(|(mid, spec)| LocalTrack::new(mid, spec, codec, &mut rng)).collect();
        Publisher {
            place,
            codec,
            start,
            rng,
            tracks,
            pacer: Pacer::default(),
            transport_seq: 0,
            speaks,
            control: limited.then(|| UplinkControl::new(start)),
        }
    }

    /// Media can flow: the encoders start.
    pub(super) fn begin(&mut self, now: Instant) {
        // Cameras are not in step with each other.
        let phase = Duration::from_micros(self.rng.random_range(0..33_000));
        for encoding in self.tracks.iter_mut().flat_map(|track| &mut track.encodings) {
            encoding.next_frame = Some(now + phase);
        }
    }

    /// The server wants these encodings of a track from now on.
    pub(super) fn set_wanted(&mut self, track: usize, wanted: &[bool]) {
        let Some(track) = self.tracks.get_mut(track) else { return };
        for (encoding, wanted) in track.encodings.iter_mut().zip(wanted) {
            encoding.wanted = *wanted;
        }
    }

    /// The server asks for a key frame. Returns track and encoding that it meant.
    pub(super) fn request_keyframe(&mut self, ssrc: Ssrc) -> Option<(usize, usize)> {
        let codec = self.codec;
        let found = self.tracks.iter().enumerate().find_map(|(index, track)| {
            Some((index, track.encodings.iter().position(|encoding| encoding.ssrc == ssrc)?))
        });
        let (track_index, index) = found?;
        let track = &mut self.tracks[track_index];
        // What is not sent begins with a key frame; libwebrtc asks for none of it.
        if track.encodings[index].flowing {
            track.want_keyframe(codec, index);
        }
        found
    }

    /// The server misses packets: sends them again. `rtt` is the round trip to it, where that is known.
    pub(super) fn handle_nack(&mut self, now: Instant, rtt: Option<Duration>, nack: &Nack<'_>) {
        let found = self.tracks.iter().enumerate().find_map(|(index, track)| {
            Some((index, track.encodings.iter().position(|encoding| encoding.ssrc == nack.media)?))
        });
        let Some((track, encoding)) = found else { return };
        for seq in nack.seqs() {
            self.resend(now, rtt.unwrap_or_default(), Resent { track, encoding, seq: seq.0 }, false);
        }
    }

    /// Queues a packet again, before all others, if it may be sent again now. What is `padding` is not counted.
    fn resend(&mut self, now: Instant, rtt: Duration, wanted: Resent, padding: bool) {
        let Publisher { codec, tracks, control, .. } = self;
        let track = &mut tracks[wanted.track];
        let mid = track.mid;
        let encoding = &mut track.encodings[wanted.encoding];
        let control = control.as_mut().filter(|_| !padding);
        let allowed = |sent: &Sent| control.is_none_or(|control| control.may_resend(now, sent.body.len()));
        let Some(sent) = encoding.history.resend(now, rtt, wanted.seq, allowed) else { return };
        let header = RtpHeader {
            marker: sent.marker,
            payload_type: PayloadType(video_payload(*codec).1),
            seq: SeqNo(encoding.rtx_seq),
            timestamp: sent.timestamp,
            ssrc: encoding.rtx_ssrc,
        };
        encoding.rtx_seq = encoding.rtx_seq.wrapping_add(1);
        let body = [&wanted.seq.to_be_bytes()[..], &sent.body].concat();
        let rid = encoding.rid.clone().map(|rid| (extension::REPAIRED_RID, rid));
        let packet = self.packet(header, mid, rid, None, &body);
        self.pacer.push_first(now, packet, wanted);
    }

    /// The server tells what arrived.
    pub(super) fn handle_feedback(&mut self, now: Instant, feedback: &TransportFeedback<'_>) {
        if let Some(control) = &mut self.control {
            control.on_feedback(now, feedback);
            self.share_out(now);
        }
    }

    /// The next packet to seal and send.
    pub(super) fn poll_packet(&mut self, now: Instant) -> Option<Vec<u8>> {
        if !self.pacer.is_due(now) {
            return None;
        }
        if self.pacer.is_empty() && self.control.as_ref().is_some_and(|control| control.wants_padding(now)) {
            self.pad(now);
        }
        let rates: f64 =
            self.tracks.iter().flat_map(|t| &t.encodings).filter(|e| e.flowing).map(|encoding| encoding.rate).sum();
        let unlimited = (rates * PACING_FACTOR).max(PACING_FLOOR);
        let pace = self.control.as_ref().map_or(unlimited, UplinkControl::pace);
        let (mut packet, resends) = self.pacer.poll(now, pace)?;
        if let Some(Resent { track, encoding, seq }) = resends {
            self.tracks[track].encodings[encoding].history.on_resent(now, seq);
        }
        if let Some(control) = &mut self.control {
            control.on_paced(now, packet.len());
        }
        self.depart(now, &mut packet);
        Some(packet)
    }

    /// When the next frame or packet is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let frames = self.tracks.iter().flat_map(|t| &t.encodings).filter_map(|encoding| encoding.next_frame).min();
        let can_pad = || self.newest_packet().is_some();
        let probes = || self.control.as_ref().is_some_and(UplinkControl::is_probing) && can_pad();
        let paced = self.pacer.poll_timeout().filter(|_| !self.pacer.is_empty() || probes());
        let pads_at = self.control.as_ref().and_then(UplinkControl::pads_at).filter(|_| can_pad());
        let padding = pads_at.max(self.pacer.poll_timeout().filter(|_| pads_at.is_some()));
        let control = self.control.as_ref().and_then(UplinkControl::poll_timeout);
        frames.into_iter().chain(paced).chain(padding).chain(control).min()
    }

    /// Encodes what is due. Audio packets are returned: they do not wait in the pacer.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let mut audio = Vec::new();
        if let Some(control) = &mut self.control {
            control.handle_timeout(now);
        }
        for track in 0..self.tracks.len() {
            for encoding in 0..self.tracks[track].encodings.len() {
                while self.tracks[track].encodings[encoding].next_frame.is_some_and(|at| at <= now) {
                    match self.tracks[track].source {
                        Source::Microphone => audio.extend(self.speak(now, track)),
                        _ => self.encode(now, track, encoding),
                    }
                }
            }
        }
        audio
    }

    /// What sender reports say of each source that flows.
    pub(super) fn sender_infos(&self, now: Instant) -> Vec<SenderInfo> {
        let since = now.saturating_duration_since(self.start);
        let ntp = self.ntp(now);
        let tracks = self.tracks.iter().flat_map(|track| track.encodings.iter().map(move |e| (track.source, e)));
        tracks
            .filter(|(_, encoding)| encoding.packets > 0)
            .map(|(source, encoding)| SenderInfo {
                ssrc: encoding.ssrc,
                ntp,
                rtp_time: RtpTime(encoding.ts_offset.wrapping_add(ticks(source, since))),
                packets: encoding.packets,
                octets: encoding.octets,
            })
            .collect()
    }

    /// Time since the start of the run.
    pub(super) fn since(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.start)
    }

    /// Seconds since the start of the run.
    pub(super) fn second(&self, now: Instant) -> f64 {
        now.saturating_duration_since(self.start).as_secs_f64()
    }

    /// The client's wall clock: another one than the server's.
    pub(super) fn ntp(&self, now: Instant) -> NtpTime {
        let since = now.saturating_duration_since(self.start).as_micros() as u64;
        NtpTime::from_micros((1_000_000 + u64::from(self.place) * 7_919) * 1_000_000 + since)
    }

    fn speak(&mut self, now: Instant, track_index: usize) -> Option<Vec<u8>> {
        let since = now.saturating_duration_since(self.start);
        let level = if self.speaks { self.rng.random_range(22..30) } else { self.rng.random_range(70..80) };
        let track = &mut self.tracks[track_index];
        let (mid, mute) = (track.mid, !track.spec.sends(None, since.as_secs_f64()));
        let encoding = &mut track.encodings[0];
        encoding.next_frame = encoding.next_frame.map(|at| at + AUDIO_PACKET);
        if mute {
            return None;
        }
        let header = encoding.header(payload::OPUS, encoding.packets == 0, ticks(Source::Microphone, since));
        let body = vec![0x78; (encoding.rate / 8.0 * AUDIO_PACKET.as_secs_f64()).round() as usize];
        encoding.count(body.len());
        let level = AudioLevel { level, voice: level < 60 };
        let mut packet = self.packet(header, mid, None, Some(level), &body);
        self.depart(now, &mut packet);
        Some(packet)
    }

    fn encode(&mut self, now: Instant, track_index: usize, index: usize) {
        let since = now.saturating_duration_since(self.start);
        let (codec, place) = (self.codec, self.place);
        let track = &mut self.tracks[track_index];
        let (mid, source, factor) = (track.mid, track.source, track.spec.rate_factor(since.as_secs_f64()));
        let encoding = &mut track.encodings[index];
        encoding.next_frame = encoding.next_frame.map(|at| at + encoding.interval);
        if !encoding.wanted || encoding.share == 0.0 || !track.spec.sends(encoding.name.as_deref(), since.as_secs_f64())
        {
            encoding.flowing = false;
            return;
        }
        let resumed = !std::mem::replace(&mut encoding.flowing, true);
        let may = encoding.last_keyframe.is_none_or(|at| now.saturating_duration_since(at) >= KEYFRAME_INTERVAL);
        let keyframe = resumed || (encoding.keyframe_wanted && may);
        if resumed {
            track.want_keyframe(codec, index);
        }
        let encoding = &mut track.encodings[index];
        let frame = encoding.encoder.encode(&mut self.rng, keyframe, factor * encoding.share);
        if frame.is_keyframe() {
            (encoding.keyframe_wanted, encoding.last_keyframe) = (false, Some(now));
        }
        encoding.numbers.picture_id = (encoding.numbers.picture_id + 1) & 0x7fff;
        if frame.temporal == 0 {
            encoding.numbers.tl0 = encoding.numbers.tl0.wrapping_add(1);
        }
        let stamp = Stamp {
            publisher: place,
            track: track_index as u8,
            encoding: index as u8,
            temporal: frame.temporal,
            number: frame.number,
            reference: frame.reference,
            height: encoding.height,
            captured_us: since.as_micros() as u64,
        };
        let payloads = packetize(codec, &frame, &stamp, encoding.numbers);
        let last = payloads.len() - 1;
        for (number, body) in payloads.into_iter().enumerate() {
            let encoding = &mut self.tracks[track_index].encodings[index];
            let header = encoding.header(video_payload(codec).0, number == last, ticks(source, since));
            encoding.count(body.len());
            let rid = encoding.rid.clone().map(|rid| (extension::RID, rid));
            encoding.history.push(header.seq.0, header.timestamp, header.marker, body.clone());
            let packet = self.packet(header, mid, rid, None, &body);
            self.pacer.push(now, packet);
        }
    }

    /// Writes what is known only when a packet leaves.
    fn depart(&mut self, now: Instant, packet: &mut [u8]) {
        let sent = AbsSendTime::at(now.saturating_duration_since(self.start).as_micros() as i64).write();
        packet[TRANSPORT_SEQ_AT].copy_from_slice(&self.transport_seq.to_be_bytes());
        packet[SEND_TIME_AT].copy_from_slice(&sent);
        if let Some(control) = &mut self.control {
            control.on_sent(now, self.transport_seq, packet.len());
        }
        self.transport_seq = self.transport_seq.wrapping_add(1);
    }

    /// Gives each encoding what congestion control leaves it.
    fn share_out(&mut self, now: Instant) {
        let Some(control) = &mut self.control else { return };
        let is_audio = |track: &&LocalTrack| track.source == Source::Microphone;
        let audio = self.tracks.iter().filter(is_audio).map(|track| track.encodings[0].rate * 2.0).sum();
        let video = || self.tracks.iter().filter(|track| !is_audio(track)).flat_map(|track| &track.encodings);
        let rates: Vec<f64> = video().map(|encoding| if encoding.wanted { encoding.rate } else { 0.0 }).collect();
        let sending: Vec<bool> = video().map(|encoding| encoding.flowing).collect();
        let shares = control.shares(now, &rates, &sending, audio);
        let tracks = self.tracks.iter_mut().filter(|track| track.source != Source::Microphone);
        for (encoding, share) in tracks.flat_map(|track| &mut track.encodings).zip(shares) {
            encoding.share = if share.is_finite() { share } else { 1.0 };
        }
    }

    /// Queues a packet for a probe: the newest one again, as libwebrtc pads.
    fn pad(&mut self, now: Instant) {
        if let Some(newest) = self.newest_packet() {
            self.resend(now, Duration::ZERO, newest, true);
        }
    }

    /// The packet that was last made on the highest encoding that flows.
    fn newest_packet(&self) -> Option<Resent> {
        let tracks = self.tracks.iter().enumerate().filter(|(_, track)| track.source != Source::Microphone);
        let encodings =
            tracks.flat_map(|(index, track)| track.encodings.iter().enumerate().map(move |(e, x)| (index, e, x)));
        let flowing = encodings.filter(|(_, _, encoding)| encoding.flowing);
        let newest = |(track, index, encoding): (usize, usize, &LocalEncoding)| {
            Some(Resent { track, encoding: index, seq: encoding.history.newest()?.seq })
        };
        flowing.filter_map(newest).next_back()
    }

    /// Everything of a packet but what [`Publisher::depart`] writes.
    fn packet(
        &self,
        header: RtpHeader,
        mid: usize,
        rid: Option<(u8, String)>,
        level: Option<AudioLevel>,
        body: &[u8],
    ) -> Vec<u8> {
        let mid = mid.to_string();
        let level = level.map(AudioLevel::write);
        let fixed = [
            (extension::TRANSPORT_CC, &[0; 2][..]),
            (extension::ABS_SEND_TIME, &[0; 3][..]),
            (extension::MID, mid.as_bytes()),
        ];
        let rid = rid.as_ref().map(|(id, rid)| (*id, rid.as_bytes()));
        let level = level.as_ref().map(|level| (extension::AUDIO_LEVEL, &level[..]));
        let mut out = Vec::with_capacity(body.len() + 64);
        write_header(&mut out, &header, fixed.into_iter().chain(rid).chain(level), true);
        out.extend_from_slice(body);
        out
    }
}

impl LocalTrack {
    fn new(mid: usize, spec: &Publish, codec: Codec, rng: &mut ChaCha12Rng) -> LocalTrack {
        let layers = spec.temporal_layers(codec);
        let ladder = spec.ladder();
        let simulcast = ladder.len() > 1;
        let encodings = ladder
            .into_iter()
            .map(|encoding| {
                let rate = encoding.rate.finite() as f64;
                let interval = match spec.source {
                    Source::Microphone => AUDIO_PACKET,
                    _ => Duration::from_secs_f64(1.0 / encoding.fps),
                };
                LocalEncoding {
                    rid: encoding.rid.clone().filter(|_| simulcast),
                    name: encoding.rid,
                    ssrc: Ssrc(rng.next_u32() | 1),
                    rtx_ssrc: Ssrc(rng.next_u32() | 1),
                    height: encoding.height,
                    interval,
                    rate,
                    encoder: Encoder::new(rate, encoding.fps, layers, spec.keyframe_factor, spec.variation),
                    next_frame: None,
                    wanted: true,
                    share: 1.0,
                    flowing: false,
                    keyframe_wanted: false,
                    last_keyframe: None,
                    seq: (rng.next_u32() & 0x7fff) as u16,
                    rtx_seq: (rng.next_u32() & 0x7fff) as u16,
                    ts_offset: rng.next_u32(),
                    numbers: Vp8Numbers { picture_id: (rng.next_u32() & 0x7fff) as u16, tl0: rng.next_u32() as u8 },
                    history: History::default(),
                    packets: 0,
                    octets: 0,
                }
            })
            .collect();
        LocalTrack { spec: spec.clone(), mid, source: spec.source, encodings }
    }

    /// A key frame of an encoding is wanted, or it begins. libvpx encodes all simulcast layers of VP8 in one encoder: a
    /// key frame of one is one of all that are sent.
    fn want_keyframe(&mut self, codec: Codec, index: usize) {
        for (other, encoding) in self.encodings.iter_mut().enumerate().filter(|(_, encoding)| encoding.flowing) {
            encoding.keyframe_wanted |= other == index || codec == Codec::Vp8;
        }
    }

    /// What it shows.
    pub(super) fn source(&self) -> Source {
        self.source
    }

    /// What its section says.
    pub(super) fn sending(&self) -> Sending {
        let first = &self.encodings[0];
        let rtx = (self.source != Source::Microphone).then_some(first.rtx_ssrc);
        Sending { rids: self.encodings.iter().filter_map(|e| e.rid.clone()).collect(), ssrcs: (first.ssrc, rtx) }
    }

    /// Whether it is muted at a second.
    pub(super) fn muted(&self, second: f64) -> bool {
        self.spec.mute_s.iter().any(|(from, to)| (*from..*to).contains(&second))
    }
}

impl LocalEncoding {
    fn header(&mut self, payload_type: u8, marker: bool, ticks: u32) -> RtpHeader {
        let seq = SeqNo(self.seq);
        self.seq = self.seq.wrapping_add(1);
        let timestamp = RtpTime(self.ts_offset.wrapping_add(ticks));
        RtpHeader { marker, payload_type: PayloadType(payload_type), seq, timestamp, ssrc: self.ssrc }
    }

    fn count(&mut self, octets: usize) {
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(octets as u32);
    }
}

fn video_payload(codec: Codec) -> (u8, u8) {
    match codec {
        Codec::Vp8 => payload::VP8,
        Codec::H264 => payload::H264,
    }
}

/// A time since the start on a source's RTP clock.
fn ticks(source: Source, since: Duration) -> u32 {
    let rate = if source == Source::Microphone { 48_000.0 } else { VIDEO_CLOCK };
    (since.as_secs_f64() * rate).round() as u64 as u32
}
