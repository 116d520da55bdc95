//! A simulcasting camera, VP8 until it is told another codec: three encodings of one picture, three temporal layers
//! each, key frames on request, retransmissions on NACK.

use super::picture::{self, Descriptor, OVERHEAD, Picture};
use super::rtp::{self, Extensions, Head};
use super::sdp::{H264, VP8, VP9};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Pictures per second.
pub const FRAME_RATE: u32 = 30;
/// Time from one picture to the next.
pub const FRAME_INTERVAL: Duration = Duration::from_micros(33_333);
/// Longest payload of a packet.
const MAX_PAYLOAD: usize = 1100;
/// Packets kept for retransmission.
const HISTORY: usize = 600;
/// A keyframe is so many times larger than a frame between.
const KEYFRAME_FACTOR: usize = 5;

/// A camera on one section.
pub struct Camera {
    /// Identifies its pictures.
    pub number: u32,
    pub mid: String,
    pub encodings: Vec<Encoding>,
    /// Payload type of its codec.
    codec: u8,
    /// Nothing is sent while true.
    pub muted: bool,
    /// When the first picture was captured.
    pub started: Option<Instant>,
    next_frame: Instant,
    captured: u32,
}

/// One encoding of a camera.
pub struct Encoding {
    pub rid: Option<&'static str>,
    pub ssrc: u32,
    pub rtx_ssrc: u32,
    /// Switched on by the publisher.
    pub active: bool,
    /// Somebody takes it, says the server.
    pub wanted: bool,
    /// Its encoder has stopped for want of processor time; it goes on where it was, without a key frame.
    pub stalled: bool,
    /// The next picture is a key frame.
    pub wants_keyframe: bool,
    /// It was on at the last picture; the first after a pause is a key frame.
    pub flowing: bool,
    /// Ids of the pictures sent, in order.
    pub sent: Vec<Picture>,
    /// When each of them was captured.
    pub sent_at: Vec<Instant>,
    pub keyframe_requests: u32,
    pub retransmitted: u32,
    /// Header extensions of its packets beside those by which the server finds the source.
    pub marks: Vec<(u8, Vec<u8>)>,
    /// The server has reported on the source, so MID and RID need no repeating.
    pub acknowledged: bool,
    size: (u16, u16),
    bytes_per_frame: usize,
    position: u32,
    seq: u16,
    rtx_seq: u16,
    timestamp_offset: u32,
    picture_id: u16,
    tl0: u8,
    key_index: u8,
    number: u32,
    last_base: u32,
    last_middle: u32,
    /// Its parameter sets were sent.
    told_sets: bool,
    history: VecDeque<(u16, u32, bool, u8, Vec<u8>)>,
    packets: u32,
    octets: u32,
    last_timestamp: u32,
}

/// Rids, sizes and kilobits per second as Chrome sends 720p.
const LAYERS: [(&str, (u16, u16), usize); 3] =
    [("q", (320, 180), 150), ("h", (640, 360), 500), ("f", (1280, 720), 1500)];

impl Camera {
    /// `seed` makes its sources and start values. Without `simulcast` it sends the top encoding only, without a rid.
    pub fn new(now: Instant, seed: u32, mid: &str, simulcast: bool) -> Camera {
        let layers = if simulcast { &LAYERS[..] } else { &LAYERS[2..] };
        let encodings = layers.iter().zip(0u32..).map(|((rid, size, kbps), index)| {
            let base = seed.wrapping_mul(0x9E37_79B9).wrapping_add(index.wrapping_mul(0x0101_0101));
            Encoding {
                rid: simulcast.then_some(*rid),
                ssrc: base | 1,
                rtx_ssrc: base & !1,
                active: true,
                wanted: true,
                stalled: false,
                wants_keyframe: true,
                flowing: false,
                sent: Vec::new(),
                sent_at: Vec::new(),
                keyframe_requests: 0,
                retransmitted: 0,
                marks: Vec::new(),
                acknowledged: false,
                size: *size,
                bytes_per_frame: kbps * 1000 / 8 / FRAME_RATE as usize,
                position: 0,
                // Near their ends, so that every run sees them wrap.
                seq: 65_500_u16.wrapping_sub(base as u16 % 500),
                rtx_seq: 65_530,
                timestamp_offset: base.rotate_left(7),
                picture_id: 0x7FE0,
                tl0: 250,
                key_index: 0,
                number: 0,
                last_base: 0,
                last_middle: 0,
                told_sets: false,
                history: VecDeque::new(),
                packets: 0,
                octets: 0,
                last_timestamp: 0,
            }
        });
        Camera {
            number: seed,
            mid: mid.into(),
            encodings: encodings.collect(),
            codec: VP8,
            muted: false,
            started: None,
            next_frame: now,
            captured: 0,
        }
    }

    /// From the next picture on, which is a key frame, it sends VP9 or H.264; of H.264 each encoding's parameter sets
    /// once only.
    pub fn change_codec(&mut self, codec: u8) {
        self.codec = codec;
        self.encodings.iter_mut().for_each(|encoding| encoding.wants_keyframe = true);
    }

    pub fn poll_timeout(&self) -> Instant {
        self.next_frame
    }

    /// Captures and encodes a picture where one is due. Appends packets to `out`, with `transport_seq` counting.
    pub fn handle_timeout(&mut self, now: Instant, transport_seq: &mut u16, out: &mut Vec<Vec<u8>>) {
        if self.started.is_none() {
            self.started = Some(now);
            self.next_frame = now;
        }
        while self.next_frame <= now {
            self.next_frame += FRAME_INTERVAL;
            self.captured += 1;
            let ticks = (u64::from(self.captured) * FRAME_INTERVAL.as_micros() as u64 * 9 / 100) as u32;
            for (index, encoding) in self.encodings.iter_mut().enumerate() {
                if self.muted || !encoding.active || !encoding.wanted {
                    encoding.flowing = false;
                    continue;
                }
                if encoding.stalled {
                    continue;
                }
                encoding.sent_at.push(self.next_frame - FRAME_INTERVAL);
                encoding.encode(self.number, index as u8, self.codec, ticks, &self.mid, transport_seq, out);
            }
        }
    }

    /// When a picture was captured.
    pub fn captured_at(&self, picture: &Picture) -> Instant {
        let sent = &self.encodings[usize::from(picture.encoding)].sent_at;
        sent[picture.number as usize - 1]
    }

    /// A PLI or FIR for a source.
    pub fn request_keyframe(&mut self, ssrc: u32) {
        for encoding in self.encodings.iter_mut().filter(|e| e.ssrc == ssrc) {
            encoding.wants_keyframe = true;
            encoding.keyframe_requests += 1;
        }
    }

    /// A NACK for a source.
    pub fn retransmit(&mut self, ssrc: u32, seq: u16, transport_seq: &mut u16, out: &mut Vec<Vec<u8>>) {
        let Some(encoding) = self.encodings.iter_mut().find(|e| e.ssrc == ssrc) else { return };
        let Some((_, timestamp, marker, codec, payload)) = encoding.history.iter().find(|(s, ..)| *s == seq) else {
            return;
        };
        let mut again = seq.to_be_bytes().to_vec();
        again.extend(payload);
        let head = Head {
            payload_type: codec + 1,
            ssrc: encoding.rtx_ssrc,
            seq: encoding.rtx_seq,
            timestamp: *timestamp,
            marker: *marker,
        };
        let extensions = Extensions { mid: Some(&self.mid), repaired_rid: encoding.rid, ..Extensions::default() };
        out.push(rtp::write(&head, &extensions, *transport_seq, &again));
        *transport_seq = transport_seq.wrapping_add(1);
        encoding.rtx_seq = encoding.rtx_seq.wrapping_add(1);
        encoding.retransmitted += 1;
    }

    /// Source, newest timestamp, time since its capture, packets and octets of each encoding that has sent, for sender
    /// reports.
    pub fn sources(&self, now: Instant) -> impl Iterator<Item = (u32, u32, u32, u32)> {
        let since_capture = now.saturating_duration_since(self.next_frame - FRAME_INTERVAL);
        let ticks = (since_capture.as_micros() * 9 / 100) as u32;
        let started = self.encodings.iter().filter(|e| e.packets > 0 && e.flowing);
        started.map(move |e| (e.ssrc, e.last_timestamp.wrapping_add(ticks), e.packets, e.octets))
    }
}

impl Encoding {
    #[allow(clippy::too_many_arguments)]
    fn encode(
        &mut self,
        camera: u32,
        index: u8,
        codec: u8,
        ticks: u32,
        mid: &str,
        transport_seq: &mut u16,
        out: &mut Vec<Vec<u8>>,
    ) {
        let keyframe = std::mem::take(&mut self.wants_keyframe) || !self.flowing;
        self.flowing = true;
        if keyframe {
            self.position = 0;
            self.key_index = self.key_index.wrapping_add(1);
        }
        self.number += 1;
        // Base, top, middle, top: a top picture after the middle one leans on it, so it is no sync point.
        let (temporal, needs, sync) = match self.position % 4 {
            0 => (0, self.last_base, false),
            1 => (2, self.last_base, true),
            2 => (1, self.last_base, true),
            _ => (2, self.last_middle, false),
        };
        let needs = if keyframe { self.number } else { needs };
        self.position += 1;
        match temporal {
            0 => {
                self.last_base = self.number;
                self.tl0 = self.tl0.wrapping_add(1);
            }
            1 => self.last_middle = self.number,
            _ => {}
        }
        self.picture_id = (self.picture_id + 1) & 0x7FFF;
        let bytes = self.bytes_per_frame * if keyframe { KEYFRAME_FACTOR } else { 1 };
        let count = bytes.div_ceil(MAX_PAYLOAD).max(1);
        self.last_timestamp = self.timestamp_offset.wrapping_add(ticks);
        let mut packets = Vec::new();
        for place in 0..count {
            let descriptor = Descriptor {
                starts: place == 0,
                picture_id: self.picture_id,
                tl0: self.tl0,
                temporal,
                sync,
                key_index: self.key_index,
            };
            let picture = Picture {
                camera,
                encoding: index,
                number: self.number,
                needs,
                temporal,
                index: place as u8,
                count: count as u8,
                width: self.size.0,
                height: self.size.1,
            };
            if place == 0 {
                self.sent.push(picture);
            }
            if codec == H264 && !std::mem::replace(&mut self.told_sets, true) {
                packets.push((false, picture::parameter_sets(&picture)));
            }
            let payload = picture::write(&descriptor, &picture, (bytes / count).max(OVERHEAD));
            let payload = match codec {
                VP9 => picture::as_vp9(&picture, &payload),
                H264 => picture::as_h264(&picture, &payload),
                _ => payload,
            };
            packets.push((place + 1 == count, payload));
        }
        for (marker, payload) in packets {
            let seq = self.seq;
            let head = Head { payload_type: codec, ssrc: self.ssrc, seq, timestamp: self.last_timestamp, marker };
            let named = !self.acknowledged;
            let extensions = Extensions {
                mid: named.then_some(mid),
                rid: self.rid.filter(|_| named),
                others: &self.marks,
                ..Extensions::default()
            };
            out.push(rtp::write(&head, &extensions, *transport_seq, &payload));
            *transport_seq = transport_seq.wrapping_add(1);
            self.seq = self.seq.wrapping_add(1);
            self.packets += 1;
            self.octets += payload.len() as u32;
            self.history.push_back((seq, self.last_timestamp, marker, codec, payload));
            if self.history.len() > HISTORY {
                self.history.pop_front();
            }
        }
    }
}
