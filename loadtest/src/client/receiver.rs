//! What a client receives: its slots' packets, what it asks for, what it sees and hears.

use super::decoder::{Decoder, Shown};
use super::nack::{Arrival, NackList};
use super::playout::Playout;
use super::reception::Reception;
use super::sdp::{Answer, payload};
use crate::metrics::record::{Record, ShownFrame, TrackRef};
use crate::scenario::Codec;
use sfu_engine::event::{Sending, SlotState};
use sfu_engine::rtcp::{NtpTime, ReportBlock, write};
use sfu_engine::rtp::packet::RtpPacket;
use sfu_engine::rtp::red::Redundant;
use sfu_engine::units::{ExtSeq, RtpTime, SeqNo, Ssrc};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// How long a receiver waits for a key frame before it asks (again), as libwebrtc.
const KEYFRAME_WAIT: Duration = Duration::from_millis(200);
/// How long without a decodable frame until it gives up on repair and asks for a key frame, as libwebrtc.
const STUCK: Duration = Duration::from_secs(3);
/// A source without packets for so long is not waited for.
const INACTIVE: Duration = Duration::from_secs(5);
/// The NACK module looks this often.
const NACK_INTERVAL: Duration = Duration::from_millis(20);

/// A packet of sound that comes so many later is of no use.
const SOUND_MEMORY: u64 = 50;
/// Clock ticks of a packet of sound: 20 ms.
const SOUND_TICKS: u16 = 960;

/// The receiving half of a client.
pub(super) struct Receiver {
    ssrc: Ssrc,
    start: Instant,
    slots: Vec<Slot>,
    next_nack: Option<Instant>,
}

/// A section on which the server sends.
struct Slot {
    mid: usize,
    ssrc: Ssrc,
    rtx_ssrc: Option<Ssrc>,
    reception: Option<Reception>,
    last_packet: Option<Instant>,
    track: Option<TrackRef>,
    /// Round trip to the server, where known.
    rtt: Option<Duration>,
    kind: Kind,
}

enum Kind {
    Audio(Sound),
    Video(Box<Video>),
}

#[derive(Default)]
struct Sound {
    newest: Option<ExtSeq>,
    /// Those of the last [`SOUND_MEMORY`] numbers that did not come.
    missing: BTreeSet<u64>,
}

struct Video {
    nack: NackList,
    decoder: Decoder,
    playout: Playout,
    /// Set until a frame is shown.
    needs_keyframe: bool,
    newest_frame: Option<RtpTime>,
    /// Since when nothing was shown, while packets come.
    waiting_since: Option<Instant>,
    last_request: Option<Instant>,
}

impl Receiver {
    /// A receiver without slots that reports as `ssrc`.
    pub(super) fn new(ssrc: Ssrc, start: Instant) -> Receiver {
        Receiver { ssrc, start, slots: Vec::new(), next_nack: None }
    }

    /// Adds the slots that an answer opens. `receives` tells for each section whether it is one, and for audio.
    pub(super) fn handle_answer(&mut self, answer: &Answer, receives: &[Option<bool>]) {
        for (mid, (section, audio)) in answer.sections.iter().zip(receives).enumerate() {
            let (Some(audio), Some(ssrc)) = (audio, section.ssrc.filter(|_| section.accepted)) else { continue };
            if self.slots.iter().any(|slot| slot.mid == mid) {
                continue;
            }
            let kind = if *audio { Kind::Audio(Sound::default()) } else { Kind::Video(Box::new(Video::new())) };
            let rtx_ssrc = section.rtx_ssrc;
            self.slots.push(Slot {
                mid,
                ssrc,
                rtx_ssrc,
                reception: None,
                last_packet: None,
                track: None,
                rtt: None,
                kind,
            });
        }
    }

    /// The connection is made anew: the sections get other sources.
    pub(super) fn start_over(&mut self) {
        self.slots.clear();
    }

    /// The server tells what slots carry.
    pub(super) fn handle_slots(&mut self, now: Instant, states: &[SlotState], record: &mut Record) {
        let second = self.second(now);
        for state in states {
            let Some(slot) = self.slots.iter_mut().find(|slot| state.mid.as_str() == slot.mid.to_string()) else {
                continue;
            };
            let track =
                state.track.map(|(id, _)| TrackRef { publisher: id.participant.0 as u16, track: id.index as u8 });
            let paused = state.track.is_none_or(|(_, sending)| matches!(sending, Sending::Paused(_)));
            if slot.track != track
                && let Some(before) = slot.track
            {
                slot.note_paused(second, before, true, record);
            }
            slot.track = track;
            if let Some(track) = track {
                slot.note_paused(second, track, paused, record);
            }
        }
    }

    /// A plain RTP packet.
    pub(super) fn handle_rtp(&mut self, now: Instant, packet: &RtpPacket<'_>, record: &mut Record) {
        let (start, second) = (self.start, self.second(now));
        let ssrc = packet.ssrc();
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.ssrc == ssrc || slot.rtx_ssrc == Some(ssrc)) else {
            return;
        };
        if slot.ssrc != ssrc {
            // RFC 4588: the original number, then the original payload. Padding has neither.
            if let Some((seq, body)) = packet.payload().split_first_chunk::<2>() {
                let codec = codec_of(packet.payload_type().0);
                let original = (SeqNo(u16::from_be_bytes(*seq)), packet.timestamp(), packet.marker());
                slot.take_video(now, second, codec, original, body, record);
            }
            return;
        }
        let (seq, timestamp) = (packet.seq(), packet.timestamp());
        slot.last_packet = Some(now);
        let clock_rate = if matches!(slot.kind, Kind::Audio(_)) { 48_000 } else { 90_000 };
        let reception = slot.reception.get_or_insert_with(|| Reception::new(slot.ssrc, clock_rate, seq));
        reception.on_packet(now.saturating_duration_since(start), seq, timestamp);
        match slot.kind {
            Kind::Audio(_) => slot.take_audio(second, packet, record),
            Kind::Video(_) => {
                let codec = codec_of(packet.payload_type().0);
                slot.take_video(now, second, codec, (seq, timestamp, packet.marker()), packet.payload(), record);
            }
        }
        if self.next_nack.is_none() {
            self.next_nack = Some(now);
        }
    }

    /// A sender report of the server.
    pub(super) fn handle_sender_report(&mut self, now: Instant, ssrc: Ssrc, ntp: NtpTime) {
        let slot = self.slots.iter_mut().find(|slot| slot.ssrc == ssrc);
        if let Some(reception) = slot.and_then(|slot| slot.reception.as_mut()) {
            reception.on_sender_report(now, ntp);
        }
    }

    /// The blocks of the next receiver report.
    pub(super) fn reports(&mut self, now: Instant) -> Vec<ReportBlock> {
        self.slots.iter_mut().filter_map(|slot| Some(slot.reception.as_mut()?.report(now))).collect()
    }

    /// Any source that was received, for feedback packets.
    pub(super) fn any_source(&self) -> Ssrc {
        self.slots.iter().find(|slot| slot.reception.is_some()).map_or(Ssrc(0), |slot| slot.ssrc)
    }

    /// When [`Receiver::handle_timeout`] is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.next_nack
    }

    /// Asks for what is missing and for key frames, where that is due.
    pub(super) fn handle_timeout(&mut self, now: Instant, rtt: Option<Duration>, record: &mut Record) -> Vec<u8> {
        let mut out = Vec::new();
        if self.next_nack.is_none_or(|at| now < at) {
            return out;
        }
        self.next_nack = Some(now + NACK_INTERVAL);
        let (sender, second) = (self.ssrc, self.second(now));
        for slot in &mut self.slots {
            slot.rtt = rtt;
            let Kind::Video(video) = &mut slot.kind else { continue };
            let (ask, given_up) = video.nack.poll(now, rtt);
            if !ask.is_empty() {
                video.playout.on_repair(now);
            }
            video.show(now, second, record);
            record.lost.add(second, given_up as f64);
            let mut rest = ask.as_slice();
            while !rest.is_empty() {
                rest = write::nack(&mut out, sender, slot.ssrc, rest);
            }
            let active = slot.last_packet.is_some_and(|at| now.saturating_duration_since(at) < INACTIVE);
            if active && video.wants_keyframe(now, given_up > 0) {
                write::pli(&mut out, sender, slot.ssrc);
            }
        }
        out
    }

    fn second(&self, now: Instant) -> f64 {
        now.saturating_duration_since(self.start).as_secs_f64()
    }
}

impl Slot {
    fn take_audio(&mut self, second: f64, packet: &RtpPacket<'_>, record: &mut Record) {
        let Kind::Audio(sound) = &mut self.kind else { return };
        let redundant = Some(packet.payload()).filter(|_| packet.payload_type().0 == payload::RED);
        let redundant = redundant.and_then(Redundant::parse);
        let (seq, advanced) = sound.on_packet(packet.seq());
        match advanced {
            Some(advanced) => {
                record.expected.add(second, advanced as f64);
                record.lost.add(second, advanced as f64 - 1.0);
                if let Some(track) = self.track {
                    record.sounds.entry(track).or_default().arrivals.push(second);
                }
            }
            // It comes late, but it comes; playout may have gone on without it.
            None if sound.missing.remove(&seq.0) => record.lost.add(second, -1.0),
            None => return,
        }
        let bytes = redundant.map_or(packet.payload(), |redundant| redundant.newest).len();
        record.media_bytes.add(second, bytes as f64);
        for block in redundant.into_iter().flat_map(|redundant| redundant.older()) {
            if sound.missing.remove(&(seq.0 - u64::from(block.offset / SOUND_TICKS))) {
                record.lost.add(second, -1.0);
                record.media_bytes.add(second, block.bytes.len() as f64);
            }
        }
    }

    fn take_video(
        &mut self,
        now: Instant,
        second: f64,
        codec: Codec,
        (seq, timestamp, marker): (SeqNo, RtpTime, bool),
        body: &[u8],
        record: &mut Record,
    ) {
        let Kind::Video(video) = &mut self.kind else { return };
        let (seq, arrival) = video.nack.on_packet(now, seq);
        match arrival {
            Arrival::New { advanced } => record.expected.add(second, advanced as f64),
            Arrival::Repaired => {}
            Arrival::Useless => return,
        }
        record.media_bytes.add(second, body.len() as f64);
        video.waiting_since.get_or_insert(now);
        if arrival != Arrival::Repaired && video.newest_frame.replace(timestamp) != Some(timestamp) {
            video.playout.on_frame(now, timestamp, self.rtt);
        }
        video.decoder.on_packet(codec, (seq, timestamp, marker), body);
        video.show(now, second, record);
    }

    fn note_paused(&self, second: f64, track: TrackRef, paused: bool, record: &mut Record) {
        match self.kind {
            Kind::Video(_) => record.screens.entry(track).or_default().set_paused(second, paused),
            Kind::Audio(_) if paused => record.sounds.entry(track).or_default().breaks.push(second),
            Kind::Audio(_) => {}
        }
    }
}

impl Sound {
    /// A packet arrived: its number, and by how many it is newer than all before where it is.
    fn on_packet(&mut self, wire: SeqNo) -> (ExtSeq, Option<u64>) {
        let newest = *self.newest.get_or_insert(ExtSeq(ExtSeq::first(wire).0 - 1));
        let seq = newest.unwrap_near(wire);
        let advanced = seq.0.checked_sub(newest.0).filter(|advanced| *advanced > 0);
        if advanced.is_some() {
            self.missing.extend(newest.0 + 1..seq.0);
            self.missing = self.missing.split_off(&seq.0.saturating_sub(SOUND_MEMORY));
            self.newest = Some(seq);
        }
        (seq, advanced)
    }
}

impl Video {
    fn new() -> Video {
        Video {
            nack: NackList::default(),
            decoder: Decoder::new(),
            playout: Playout::default(),
            needs_keyframe: true,
            newest_frame: None,
            waiting_since: None,
            last_request: None,
        }
    }

    /// Shows what can be decoded now.
    fn show(&mut self, now: Instant, second: f64, record: &mut Record) {
        let playout = &self.playout;
        let due = |timestamp| playout.time_of(timestamp).is_none_or(|at| at <= now);
        let shown: Vec<Shown> = self.decoder.decode(due);
        if let Some(last) = shown.last() {
            record.lost.add(second, self.nack.clear_up_to(last.first) as f64);
            (self.needs_keyframe, self.waiting_since) = (false, None);
        }
        record.undecodable.add(second, self.decoder.take_undecodable() as f64);
        for Shown { stamp, timestamp, .. } in shown {
            let wait = playout.time_of(timestamp).map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
            let screen = record.screens.entry(TrackRef { publisher: stamp.publisher, track: stamp.track }).or_default();
            let earliest = screen.shown.last().map_or(0.0, |frame| frame.at);
            let at = (second + wait.as_secs_f64()).max(earliest);
            record.first_frame_s.get_or_insert(at);
            screen.shown.push(ShownFrame {
                at,
                encoding: stamp.encoding,
                temporal: stamp.temporal,
                height: stamp.height,
            });
        }
    }

    /// Whether to ask for a key frame now: nothing was ever shown, a packet was given up, or nothing could be shown for
    /// long.
    fn wants_keyframe(&mut self, now: Instant, lost_for_good: bool) -> bool {
        let waited = |since: Option<Instant>, limit| since.is_some_and(|at| now.saturating_duration_since(at) >= limit);
        self.needs_keyframe |= lost_for_good && self.waiting_since.is_some();
        let stuck = waited(self.waiting_since, STUCK);
        let due = (self.needs_keyframe && waited(self.waiting_since, KEYFRAME_WAIT)) || stuck;
        if !due || self.last_request.is_some_and(|at| now.saturating_duration_since(at) < KEYFRAME_WAIT) {
            return false;
        }
        self.needs_keyframe = true;
        self.last_request = Some(now);
        true
    }
}

fn codec_of(payload_type: u8) -> Codec {
    if [payload::H264.0, payload::H264.1].contains(&payload_type) { Codec::H264 } else { Codec::Vp8 }
}
